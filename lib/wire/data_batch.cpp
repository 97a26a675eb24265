// The sender's side cuts, the receiver's side decides where the cuts belong; both walk a chunk's runs in the same
// order.
//
// A hostile head costs what it is long: entries take 20 bytes at least and runs 2, and no buffer is taken from the pool
// before the whole of it is known to be right.
//
// Noise is told by a sample of a piece: how often two of its bytes are alike. Of bytes that are even and independent one pair in
// 256 is; the fewer bits a byte is worth, the more are. What repeats itself in whole but looks like noise otherwise is
// not seen, unless pieces are alike from their beginning on.
#include "wire/data_batch.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "base/little_endian.hpp"
#include "wire/fields.hpp"

namespace reprotect {
namespace {

// Compression has to save this part of the bytes: below it the other side's time is not worth it. Guessed.
constexpr std::size_t saving_least = 32;

enum batch_field : std::size_t { at_codec = 0, at_raw_bytes = 1, at_head_bytes = 4 };

std::span<const std::byte> bytes_of(const batch_piece& piece) noexcept {
    return piece.of->bytes().subspan(piece.offset, piece.length);
}

// ---- split bodies ----

constexpr std::size_t pieces_max = batch_raw_bytes_max / split_piece_bytes;

}  // namespace

// Which pieces of a split body are compressed, and what follows from that.
struct split_marks {
    std::bitset<pieces_max> compressed;
    std::size_t pieces;
    std::size_t raw_bytes;

    explicit split_marks(std::size_t raw) : pieces((raw + split_piece_bytes - 1) / split_piece_bytes), raw_bytes(raw) {}
    std::size_t bytes() const noexcept { return (pieces + 7) / 8; }
    std::size_t piece_bytes(std::size_t which) const noexcept {
        return std::min<std::size_t>(split_piece_bytes, raw_bytes - which * split_piece_bytes);
    }
    // Of all that are compressed, before they are.
    std::size_t compressed_bytes() const noexcept {
        const std::size_t last = pieces - 1;
        return compressed.count() * split_piece_bytes -
               (compressed.test(last) ? split_piece_bytes - piece_bytes(last) : 0);
    }
    bool is_mixed() const noexcept { return compressed.any() && compressed.count() < pieces; }
};

namespace {

constexpr std::size_t noise_samples = 512;
constexpr std::size_t noise_stride = 17;  // prime, so that of no table's columns the same one is looked at
// Counts of each byte among the samples, squared and added up: 1534 is what noise gives on average, with a deviation of
// 45; samples * (1 + (samples - 1) / 2^7.75) = 1727 where a byte is worth 7.75 bits, of which 1/32 could be saved.
constexpr std::uint32_t noise_max = 1727;
constexpr std::size_t noise_share_least = 16;  // guessed: where less of the pieces is noise, zstd may have all

bool looks_like_noise(std::span<const std::byte> piece) noexcept {
    if (piece.size() < split_piece_bytes) return false;
    std::array<std::uint16_t, 256> counts{};
    for (std::size_t i = 0; i < noise_samples; ++i)
        ++counts[static_cast<std::size_t>(piece[i * noise_stride % split_piece_bytes])];
    std::uint32_t sum = 0;
    for (const std::uint32_t each : counts) sum += each * each;
    return sum <= noise_max;
}

split_marks judge(std::span<const std::byte> raw) {
    split_marks marks(raw.size());
    std::array<std::pair<std::uint64_t, std::size_t>, pieces_max> noise;  // how each begins, and which it is
    std::size_t count = 0;
    for (std::size_t i = 0; i < marks.pieces; ++i) {
        const auto piece = raw.subspan(i * split_piece_bytes, marks.piece_bytes(i));
        if (looks_like_noise(piece))
            noise[count++] = {little_endian::load<std::uint64_t>(piece, 0), i};
        else
            marks.compressed.set(i);
    }
    // Noise that is there twice is none: zstd finds it.
    const auto last = noise.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(noise.begin(), last);
    for (std::size_t i = 1; i < count; ++i) {
        if (noise[i].first != noise[i - 1].first) continue;
        marks.compressed.set(noise[i].second);
        marks.compressed.set(noise[i - 1].second);
    }
    return marks;
}

}  // namespace

// ---- sending ----

std::uint64_t frame_bytes_max(const batch& of) noexcept {
    return frame_header_bytes + batch_header_bytes + of.head.size() + of.raw_bytes;
}

std::uint64_t batch_builder::bytes() const noexcept {
    std::uint64_t total = open_.head.empty() && open_.raw_bytes == 0 ? 0 : frame_bytes_max(open_);
    for (const batch& each : full_) total += frame_bytes_max(each);
    return total;
}

batch_builder::batch_builder(const geometry& shape, std::function<void(std::size_t)> released)
    : shape_(shape), released_(std::move(released)) {}

void batch_builder::add(chunk_data&& data) {
    REPROTECT_ASSERT(data.chunk < shape_.chunk_count() && !data.runs.empty());
    std::vector<std::byte> entry;
    field_writer to(entry);
    to.number(data.chunk);
    to.raw(data.value.bytes);
    to.number(data.runs.size());
    const std::uint32_t blocks = shape_.blocks_in(data.chunk);
    std::uint32_t next = 0;
    bool pays = false;
    for (const block_run& run : data.runs) {
        REPROTECT_ASSERT(run.count != 0 && run.first >= next && run.first < blocks && run.count <= blocks - run.first);
        to.number(run.first - next);
        to.number(std::uint64_t{run.count} << 1 | (run.zero ? 1 : 0));
        next = run.first + run.count;
        pays = pays || !run.zero;
    }
    REPROTECT_ASSERT(entry.size() <= batch_head_bytes_max);

    std::shared_ptr<const buffer> payload;
    if (data.payload && released_)
        payload.reset(new buffer(std::move(data.payload)), [released = released_](const buffer* held) {
            const std::size_t bytes = held->bytes().size();
            delete held;
            released(bytes);
        });
    else if (data.payload)
        payload = std::make_shared<const buffer>(std::move(data.payload));

    // Of a chunk that has bytes at least one stands beside its entry.
    const bool full = pays && open_.raw_bytes == batch_raw_bytes_max;
    if (full || open_.head.size() + entry.size() > batch_head_bytes_max) close();
    open_.head.insert(open_.head.end(), entry.begin(), entry.end());
    ++open_.chunks;
    std::uint64_t packed_to = 0;
    for (const block_run& run : data.runs) {
        if (run.zero) continue;
        const extent range = bytes_of(shape_, data.chunk, run);
        const std::uint64_t place = data.packed ? packed_to : range.offset;
        packed_to += range.length;
        REPROTECT_ASSERT(payload && range.length <= payload->bytes().size() &&
                         place <= payload->bytes().size() - range.length);
        add_piece(payload, place, range.length);
    }
}

void batch_builder::add_piece(const std::shared_ptr<const buffer>& payload, std::size_t offset, std::size_t length) {
    while (length != 0) {
        // Closed only when there is more: a message without bytes still goes into a batch that is full of them.
        if (open_.raw_bytes == batch_raw_bytes_max) close();
        const std::size_t part = std::min<std::size_t>(length, batch_raw_bytes_max - open_.raw_bytes);
        batch_piece* last = open_.pieces.empty() ? nullptr : &open_.pieces.back();
        if (last && last->of == payload && last->offset + last->length == offset)
            last->length += part;
        else
            open_.pieces.push_back({payload, offset, part});
        open_.raw_bytes += static_cast<std::uint32_t>(part);
        offset += part;
        length -= part;
    }
}

void batch_builder::close() {
    full_.push_back(std::exchange(open_, {}));
}

std::optional<batch> batch_builder::take_full() {
    if (open_.raw_bytes == batch_raw_bytes_max) close();
    if (full_.empty()) return std::nullopt;
    std::optional<batch> first(std::move(full_.front()));
    full_.pop_front();
    return first;
}

std::optional<batch> batch_builder::take_rest() {
    if (full_.empty() && !empty()) close();
    return take_full();
}

namespace {

// Of bytes that come after noise: a sixteenth of them, here and there, says whether it goes on.
bool seems_all_noise(std::span<const std::byte> raw) noexcept {
    constexpr std::size_t looks = 16;
    const std::size_t pieces = raw.size() / split_piece_bytes;
    if (pieces < 2 * looks) return false;
    for (std::size_t i = 0; i < looks; ++i)
        if (!looks_like_noise(raw.subspan(i * pieces / looks * split_piece_bytes, split_piece_bytes))) return false;
    return true;
}

}  // namespace

struct batch_encoder::packed_body {
    batch_codec codec;
    buffer holder;
    std::size_t length;
};

batch_encoder::batch_encoder(std::shared_ptr<buffer_pool> bodies) : bodies_(std::move(bodies)) {}

// Of all bytes, without the noise among them: marks, noise, and the frame of the rest. Nothing where that is more than `room`.
std::optional<std::span<std::byte>> batch_encoder::split(std::span<const std::byte> raw, const split_marks& marks,
                                                         int level, std::span<std::byte> room) {
    const std::size_t compressed = marks.compressed_bytes(), stored = raw.size() - compressed;
    if (marks.bytes() + stored >= room.size()) return std::nullopt;
    buffer gathered = bodies_->take();
    std::fill_n(room.begin(), marks.bytes(), std::byte{0});
    std::byte *to_stored = room.data() + marks.bytes(), *to_gathered = gathered.bytes().data();
    for (std::size_t i = 0; i < marks.pieces; ++i) {
        const auto piece = raw.subspan(i * split_piece_bytes, marks.piece_bytes(i));
        const bool is_compressed = marks.compressed.test(i);
        std::byte*& to = is_compressed ? to_gathered : to_stored;
        std::memcpy(to, piece.data(), piece.size());
        to += piece.size();
        if (is_compressed) room[i / 8] |= std::byte{1} << i % 8;
    }
    const auto frame = with_.compress(gathered.bytes().first(compressed), level, room.subspan(marks.bytes() + stored));
    if (!frame) return std::nullopt;
    return room.first(marks.bytes() + stored + frame->size());
}

// Nothing where it saves too little.
std::optional<batch_encoder::packed_body> batch_encoder::pack(std::span<const std::byte> raw, int level,
                                                              bool doubtful) {
    // The buffer's size is the bound, so that zstd itself stops where it does not pay.
    const std::size_t room = raw.size() - (raw.size() + saving_least - 1) / saving_least;
    if (room == 0 || (doubtful && seems_all_noise(raw))) return std::nullopt;
    const split_marks marks = judge(raw);
    const std::size_t noise = marks.pieces - marks.compressed.count();
    const bool splits = marks.is_mixed() && noise * noise_share_least >= marks.pieces;
    packed_body made{batch_codec::split, bodies_->take(), 0};
    const std::span<std::byte> into = made.holder.bytes().first(room);
    auto used = splits ? split(raw, marks, level, into) : std::nullopt;
    if (!used && !(splits && doubtful)) {
        made.codec = batch_codec::zstd;
        used = with_.compress(raw, level, into);
    }
    if (!used) return std::nullopt;
    made.length = used->size();
    // What waits to be sent takes about the memory that it is counted as.
    if (made.length <= made.holder.bytes().size() / 2) {
        buffer fitting = bodies_->take(made.length);
        std::memcpy(fitting.bytes().data(), into.data(), made.length);
        made.holder = std::move(fitting);
    }
    return made;
}

encoded_batch batch_encoder::encode(batch from, int level, bool doubtful) {
    encoded_batch result;
    result.raw_bytes = from.raw_bytes;
    if (from.pieces.size() == 1) {
        result.body_ = bytes_of(from.pieces.front());
        result.from_ = std::move(from.pieces.front().of);
    } else if (!from.pieces.empty()) {
        // What is small and stays as it is takes no more than that.
        const bool large = from.raw_bytes > batch_raw_bytes_max / 2;
        result.own_ = large ? bodies_->take() : bodies_->take(from.raw_bytes);
        std::byte* at = result.own_.bytes().data();
        for (const batch_piece& piece : from.pieces) {
            const std::span<const std::byte> bytes = bytes_of(piece);
            std::memcpy(at, bytes.data(), bytes.size());
            at += bytes.size();
        }
        result.body_ = result.own_.bytes().first(from.raw_bytes);
    }
    from.pieces.clear();
    REPROTECT_ASSERT(result.body_.size() == from.raw_bytes);

    if (auto made = pack(result.body_, level, doubtful)) {
        result.codec = made->codec;
        result.own_ = std::move(made->holder);
        result.body_ = result.own_.bytes().first(made->length);
        result.from_.reset();
    }

    const std::size_t length = batch_header_bytes + from.head.size() + result.body_.size();
    const auto header = reprotect::encode(frame_header{frame_kind::data, static_cast<std::uint32_t>(length)});
    std::array<std::byte, batch_header_bytes> sizes{};
    little_endian::store(sizes, at_codec, static_cast<std::uint8_t>(result.codec));
    little_endian::store<3>(sizes, at_raw_bytes, from.raw_bytes);
    little_endian::store<3>(sizes, at_head_bytes, static_cast<std::uint32_t>(from.head.size()));
    result.head.reserve(header.size() + sizes.size() + from.head.size());
    field_writer to(result.head);
    to.raw(header);
    to.raw(sizes);
    to.raw(from.head);
    return result;
}

// ---- receiving ----

wire_result<batch_header> decode_batch_header(std::span<const std::byte, batch_header_bytes> bytes,
                                              std::uint32_t length) noexcept {
    batch_header header;
    const auto codec = little_endian::load<std::uint8_t>(bytes, at_codec);
    if (codec > static_cast<std::uint8_t>(batch_codec::split)) return make_error_code(wire_error::bad_value);
    header.codec = static_cast<batch_codec>(codec);
    header.raw_bytes = little_endian::load<std::uint32_t, 3>(bytes, at_raw_bytes);
    header.head_bytes = little_endian::load<std::uint32_t, 3>(bytes, at_head_bytes);
    if (length < batch_header_bytes) return make_error_code(wire_error::truncated);
    if (header.raw_bytes > batch_raw_bytes_max || header.head_bytes > batch_head_bytes_max ||
        header.head_bytes > length - batch_header_bytes)
        return make_error_code(wire_error::bad_batch);
    header.body_bytes = length - static_cast<std::uint32_t>(batch_header_bytes) - header.head_bytes;
    const bool shorter = header.body_bytes != 0 && header.body_bytes < header.raw_bytes;
    const bool fits = header.codec == batch_codec::raw ? header.body_bytes == header.raw_bytes : shorter;
    if (!fits) return make_error_code(wire_error::bad_batch);
    return header;
}

batch_reader::batch_reader(const geometry& shape, std::shared_ptr<buffer_pool> pool)
    : shape_(shape), pool_(std::move(pool)) {
    REPROTECT_ASSERT(valid_geometry(shape_));
}

wire_result<std::vector<batch_reader::partial_chunk>> batch_reader::parse(std::span<const std::byte> head,
                                                                          data_allowance allowed) const {
    field_reader from(head);
    std::vector<partial_chunk> parts;
    std::uint64_t with_payload = 0, announced = 0;
    while (from.left() != 0) {
        partial_chunk part;
        part.data.chunk = from.number();
        if (part.data.chunk >= shape_.chunk_count()) from.refuse(wire_error::bad_chunk);
        part.data.value = from.value();
        const std::size_t count = from.count(2);
        if (count == 0) from.refuse(wire_error::bad_count);
        if (!from.good()) break;

        const std::uint32_t blocks = shape_.blocks_in(part.data.chunk);
        part.data.runs.reserve(count);
        std::uint32_t next = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t skipped = from.number_up_to(blocks - next, wire_error::bad_run);
            const std::uint64_t number = from.number();
            const std::uint64_t length = number >> 1;
            if (length == 0 || length > blocks - next - skipped) from.refuse(wire_error::bad_run);
            if (!from.good()) break;
            const block_run run{next + static_cast<std::uint32_t>(skipped), static_cast<std::uint32_t>(length),
                                (number & 1) != 0};
            part.data.runs.push_back(run);
            next = run.first + run.count;
        }
        part.data.packed = true;
        part.missing = payload_bytes(shape_, part.data.chunk, part.data.runs);
        // As `credit` says it: what came before counts.
        if (part.missing != 0 && (++with_payload > allowed.messages || announced >= allowed.bytes))
            from.refuse(wire_error::too_many_chunks);
        announced += part.missing;
        if (from.good()) parts.push_back(std::move(part));
    }
    return from.done(std::move(parts));
}

// The next `count` missing bytes of a chunk become a destination.
void batch_reader::assign(partial_chunk& to, std::uint64_t count, std::vector<std::span<std::byte>>& destinations) {
    if (count == 0) return;
    const std::span<std::byte> payload = to.data.payload.bytes();
    destinations.push_back(payload.subspan(payload.size() - to.missing, count));
    to.missing -= count;
}

wire_result<incoming_batch> batch_reader::open(const batch_header& header, std::span<const std::byte> head,
                                               data_allowance allowed) {
    REPROTECT_ASSERT(head.size() == header.head_bytes);
    auto parsed = parse(head, allowed);
    if (!parsed) return parsed.error();
    std::vector<partial_chunk>& parts = *parsed;

    // Who gets how many of the bytes: all that are missing, but for the last of all.
    std::vector<std::uint64_t> shares;
    shares.reserve(parts.size());
    std::uint64_t left = header.raw_bytes;
    const std::uint64_t open_share = open_ ? std::min(left, open_->missing) : 0;
    left -= open_share;
    if (open_ ? open_share == 0 : parts.empty()) return make_error_code(wire_error::bad_payload);
    bool cut = open_ && open_share < open_->missing;
    for (const partial_chunk& part : parts) {
        if (cut || (part.missing != 0 && left == 0)) return make_error_code(wire_error::bad_payload);
        shares.push_back(std::min(left, part.missing));
        left -= shares.back();
        cut = shares.back() < part.missing;
    }
    if (left != 0) return make_error_code(wire_error::bad_payload);

    incoming_batch result{header, {}, {}, 0};
    if (open_) {
        assign(*open_, open_share, result.destinations);
        if (open_->missing == 0) {
            result.complete.push_back(std::move(open_->data));
            open_.reset();
        }
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
        partial_chunk& part = parts[i];
        if (part.missing != 0) part.data.payload = pool_->take(part.missing);
        result.payload_bytes += part.missing;
        assign(part, shares[i], result.destinations);
        if (part.missing == 0)
            result.complete.push_back(std::move(part.data));
        else
            open_.emplace(std::move(part));
    }
    return result;
}

namespace {

// Bytes in their order go to where each belongs.
class scatterer {
public:
    explicit scatterer(std::span<const std::span<std::byte>> destinations) : destinations_(destinations) {}
    void put(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            if (into_.empty()) {
                into_ = destinations_.front();
                destinations_ = destinations_.subspan(1);
            }
            const std::size_t count = std::min(bytes.size(), into_.size());
            std::memcpy(into_.data(), bytes.data(), count);
            bytes = bytes.subspan(count);
            into_ = into_.subspan(count);
        }
    }

private:
    std::span<const std::span<std::byte>> destinations_;
    std::span<std::byte> into_;
};

wire_result<split_marks> read_marks(std::span<const std::byte> body, std::uint32_t raw_bytes) {
    split_marks marks(raw_bytes);
    if (body.size() < marks.bytes()) return make_error_code(wire_error::truncated);
    for (std::size_t i = 0; i < marks.bytes() * 8; ++i) {
        if ((body[i / 8] >> i % 8 & std::byte{1}) == std::byte{0}) continue;
        if (i >= marks.pieces) return make_error_code(wire_error::bad_batch);
        marks.compressed.set(i);
    }
    if (!marks.is_mixed()) return make_error_code(wire_error::bad_batch);
    return marks;
}

wire_result<void> fill_split(incoming_batch& into, std::span<const std::byte> body, decompressor& with,
                             buffer_pool& scratch) {
    const auto marks = read_marks(body, into.header.raw_bytes);
    if (!marks) return marks.error();
    const std::size_t compressed = marks->compressed_bytes(), stored_bytes = into.header.raw_bytes - compressed;
    if (body.size() - marks->bytes() < stored_bytes) return make_error_code(wire_error::truncated);
    std::span<const std::byte> stored = body.subspan(marks->bytes(), stored_bytes);
    buffer holder = scratch.take();
    const std::span<std::byte> unpacked = holder.bytes().first(compressed);
    if (const auto result = with.decompress(body.subspan(marks->bytes() + stored_bytes), unpacked); !result)
        return result.error();
    std::span<const std::byte> rest = unpacked;
    scatterer to(into.destinations);
    for (std::size_t i = 0; i < marks->pieces; ++i) {
        std::span<const std::byte>& from = marks->compressed.test(i) ? rest : stored;
        to.put(from.first(marks->piece_bytes(i)));
        from = from.subspan(marks->piece_bytes(i));
    }
    return {};
}

}  // namespace

wire_result<void> fill(incoming_batch& into, std::span<const std::byte> body, decompressor& with,
                       buffer_pool& scratch) {
    REPROTECT_ASSERT(body.size() == into.header.body_bytes);
    if (into.header.codec == batch_codec::split) return fill_split(into, body, with, scratch);
    const bool compressed = into.header.codec == batch_codec::zstd;
    if (compressed && into.destinations.size() == 1) return with.decompress(body, into.destinations.front());
    if (!body.empty() && body.data() == direct_destination(into).data()) return {};

    buffer holder;
    if (compressed) {
        holder = scratch.take();
        const std::span<std::byte> raw = holder.bytes().first(into.header.raw_bytes);
        if (const auto result = with.decompress(body, raw); !result) return result.error();
        body = raw;
    }
    scatterer(into.destinations).put(body);
    return {};
}

std::span<std::byte> direct_destination(incoming_batch& of) noexcept {
    const bool direct = of.header.codec == batch_codec::raw && of.destinations.size() == 1;
    return direct ? of.destinations.front() : std::span<std::byte>();
}

}  // namespace reprotect
