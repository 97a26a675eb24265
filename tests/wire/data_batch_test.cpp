// Chunks' data there and back through batches, over odd geometries and in any order of filling; and hostile batches.
#include <catch2/catch.hpp>

#include <limits>
#include <random>

#include "support/aborts.hpp"
#include "wire/fields.hpp"
#include "wire/frame_samples.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

// A message as a value that stays.
struct kept_chunk {
    std::uint64_t chunk;
    std::vector<block_run> runs;
    digest value;
    std::vector<bytes> content;
    friend bool operator==(const kept_chunk& a, const kept_chunk& b) {
        const auto same = [](const block_run& x, const block_run& y) {
            return x.first == y.first && x.count == y.count && x.zero == y.zero;
        };
        return a.chunk == b.chunk && a.value == b.value && a.content == b.content &&
               std::equal(a.runs.begin(), a.runs.end(), b.runs.begin(), b.runs.end(), same);
    }
};

kept_chunk kept(const geometry& shape, const chunk_data& data) {
    kept_chunk result{data.chunk, data.runs, data.value, {}};
    std::uint64_t packed_to = 0;
    for (const block_run& run : data.runs) {
        if (run.zero) continue;
        const extent range = bytes_of(shape, data.chunk, run);
        const auto part = data.payload.bytes().subspan(data.packed ? packed_to : range.offset, range.length);
        packed_to += range.length;
        result.content.emplace_back(part.begin(), part.end());
    }
    return result;
}

// A data frame taken apart.
struct received {
    batch_header header;
    bytes head;
    bytes body;
};

received receive(const encoded_batch& from) {
    bytes whole = from.head;
    whole.insert(whole.end(), from.body().begin(), from.body().end());
    const auto frames = split(whole);
    REQUIRE(frames.size() == 1);
    REQUIRE((frames[0].header.kind == frame_kind::data));
    const std::span<const std::byte> payload(frames[0].payload);
    const auto header = decode_batch_header(payload.first<batch_header_bytes>(), frames[0].header.length);
    REQUIRE(header.has_value());
    CHECK(header->raw_bytes == from.raw_bytes);
    CHECK((header->codec == from.codec));
    const auto head = payload.subspan(batch_header_bytes, header->head_bytes);
    const auto body = payload.subspan(batch_header_bytes + header->head_bytes);
    return {*header, {head.begin(), head.end()}, {body.begin(), body.end()}};
}

const auto scratch = std::make_shared<buffer_pool>(batch_raw_bytes_max);

std::shared_ptr<buffer_pool> pool_for(const geometry& shape) {
    return std::make_shared<buffer_pool>(shape.chunk_bytes);
}

// There is room for what is written, and for nothing else: what goes beside it is the address sanitizer's to find.
void check_room(const geometry& shape, const chunk_data& data) {
    CHECK(data.packed);
    CHECK(data.payload.bytes().size() == payload_bytes(shape, data.chunk, data.runs));
}

constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();

// All that was added, through batches that are filled in an order of their own.
std::vector<kept_chunk> through(const geometry& shape, std::vector<chunk_data> all, std::mt19937_64& random) {
    batch_builder builder(shape);
    batch_encoder with;
    decompressor without;
    batch_reader reader(shape, pool_for(shape));
    std::vector<std::pair<incoming_batch, bytes>> opened;
    const auto open = [&](const batch& made) {
        CHECK(made.raw_bytes <= batch_raw_bytes_max);
        const std::uint32_t chunks = made.chunks;
        const received got = receive(with.encode(made, 1 + static_cast<int>(random() % 3)));
        auto batch = reader.open(got.header, got.head, {chunks, unbounded});
        REQUIRE(batch.has_value());
        opened.emplace_back(std::move(*batch), got.body);
    };
    for (chunk_data& each : all) {
        builder.add(std::move(each));
        while (const auto full = builder.take_full()) open(*full);
        if (random() % 16 == 0)
            while (const auto rest = builder.take_rest()) open(*rest);
    }
    while (const auto rest = builder.take_rest()) open(*rest);
    CHECK(builder.empty());

    std::vector<std::size_t> order(opened.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
        auto& [batch, body] = opened[i];
        const std::span<std::byte> direct = direct_destination(batch);
        if (!direct.empty()) {
            REQUIRE(direct.size() == body.size());
            std::copy(body.begin(), body.end(), direct.begin());
            REQUIRE(fill(batch, direct, without, *scratch).has_value());
        } else {
            REQUIRE(fill(batch, body, without, *scratch).has_value());
        }
    }
    std::vector<kept_chunk> result;
    for (auto& [batch, body] : opened)
        for (const chunk_data& each : batch.complete) {
            result.push_back(kept(shape, each));
            check_room(shape, each);
        }
    return result;
}

chunk_data random_chunk(const geometry& shape, const std::shared_ptr<buffer_pool>& pool, std::mt19937_64& random) {
    chunk_data data;
    data.chunk = random() % shape.chunk_count();
    data.value = digest_from(static_cast<unsigned>(random()));
    const std::uint32_t blocks = shape.blocks_in(data.chunk);
    const std::uint64_t style = random() % 4;  // alternating single blocks, all, long runs, few
    bool zero = random() % 2 == 0;
    for (std::uint32_t at = 0; at < blocks;) {
        const std::uint64_t most = style == 0 ? 1 : style == 1 ? blocks : style == 2 ? 300 : 3;
        const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks - at, 1 + random() % most));
        data.runs.push_back({at, style == 1 ? blocks - at : count, zero});
        at += data.runs.back().count;
        if (style >= 2) at += static_cast<std::uint32_t>(random() % (style == 2 ? 200 : 2000));
        zero = style == 0 ? !zero : random() % 3 == 0;
    }
    const bool pays = std::any_of(data.runs.begin(), data.runs.end(), [](const block_run& run) { return !run.zero; });
    if (!pays) return data;
    data.payload = pool->take();
    const bytes content = random() % 2 == 0 ? random_bytes(random(), data.payload.bytes().size())
                                            : bytes(data.payload.bytes().size(), std::byte{7});
    std::copy(content.begin(), content.end(), data.payload.bytes().begin());
    data.packed = random() % 2 == 0;
    return data;
}

TEST_CASE("random chunks come out of batches as they went in, over odd geometries", "[wire]") {
    struct {
        geometry shape;
        unsigned chunks;
    } const cases[] = {
        {{100 * 4096 + 513, 4096, 512}, 2000},         {{7 * 1536 * 1024 + 1, 1536 * 1024, 512}, 60},
        {{std::uint64_t{3} << 24, 16 << 20, 512}, 8},  {{(std::uint64_t{2} << 24) + 70'001, 16 << 20, 64 * 1024}, 8},
        {{std::uint64_t{1} << 50, 1 << 20, 4096}, 60}, {{1, 4096, 512}, 5},
    };
    for (const auto& [shape, chunks] : cases) {
        const std::uint64_t seed = 20261122 + shape.disk_bytes;
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        auto pool = std::make_shared<buffer_pool>(shape.chunk_bytes);
        std::vector<chunk_data> all;
        std::vector<kept_chunk> wanted;
        for (unsigned i = 0; i < chunks; ++i) {
            all.push_back(random_chunk(shape, pool, random));
            wanted.push_back(kept(shape, all.back()));
        }
        const auto found = through(shape, std::move(all), random);
        REQUIRE(found.size() == wanted.size());
        for (std::size_t i = 0; i < found.size(); ++i) REQUIRE((found[i] == wanted[i]));
    }
}

TEST_CASE("the longest head of one chunk is about half of what a head may be", "[wire]") {
    const geometry shape{std::uint64_t{1} << 62, chunk_bytes_max, block_bytes_min};
    chunk_data data;
    data.chunk = shape.chunk_count() - 1;
    data.payload = std::make_shared<buffer_pool>(shape.chunk_bytes)->take();
    for (std::uint32_t block = 0; block < 32768; ++block) data.runs.push_back({block, 1, block % 2 != 0});
    std::fill(data.payload.bytes().begin(), data.payload.bytes().end(), std::byte{1});
    batch_builder builder(shape);
    builder.add(std::move(data));
    const auto first = builder.take_full();
    REQUIRE(first);
    CHECK(first->head.size() > 65536);
    CHECK(first->head.size() <= 2 * 32768 + 8 + 16 + 3);
    CHECK(first->head.size() <= batch_head_bytes_max);
}

TEST_CASE("a head that is full closes its batch", "[wire]") {
    const geometry shape{std::uint64_t{1} << 40, 4096, 512};
    std::mt19937_64 random(1);
    std::vector<chunk_data> all;
    std::vector<kept_chunk> wanted;
    batch_builder builder(shape);
    for (std::uint64_t i = 0; i < 20'000; ++i) {
        all.push_back({i, {{0, 8, true}}, {}, digest_from(static_cast<unsigned>(i))});
        wanted.push_back(kept(shape, all.back()));
        builder.add({i, {{0, 8, true}}, {}, {}});
    }
    unsigned batches = 0;
    while (const auto made = builder.take_rest()) {
        ++batches;
        CHECK(made->head.size() <= batch_head_bytes_max);
        CHECK(made->raw_bytes == 0);
    }
    CHECK(batches == 4);
    CHECK((through(shape, std::move(all), random) == wanted));
}

TEST_CASE("batches are handed out when they are full, the rest when it is asked for", "[wire]") {
    const geometry shape{std::uint64_t{64} << 20, 1 << 20, 4096};
    auto pool = std::make_shared<buffer_pool>(shape.chunk_bytes);
    batch_builder builder(shape);
    CHECK(builder.empty());
    CHECK_FALSE(builder.take_rest());
    const auto add = [&](std::uint64_t chunk, std::uint32_t blocks) {
        chunk_data data{chunk, {{0, blocks, false}}, pool->take(), {}};
        std::fill(data.payload.bytes().begin(), data.payload.bytes().end(), std::byte{1});
        builder.add(std::move(data));
    };
    add(0, 255);
    CHECK_FALSE(builder.take_full());
    add(1, 2);
    const auto full = builder.take_full();
    REQUIRE(full);
    CHECK(full->raw_bytes == batch_raw_bytes_max);
    CHECK(full->chunks == 2);
    CHECK_FALSE(builder.take_full());
    CHECK_FALSE(builder.empty());
    const auto rest = builder.take_rest();
    REQUIRE(rest);
    CHECK(rest->raw_bytes == 4096);
    CHECK(rest->chunks == 0);
    CHECK(rest->head.empty());
    CHECK(builder.empty());
    add(2, 256);
    REQUIRE(builder.take_full());
    CHECK(builder.empty());
    // An entry stands with the first of its bytes, not in a batch that is full already.
    add(3, 256);
    add(4, 1);
    REQUIRE(builder.take_full()->chunks == 1);
    CHECK(builder.take_rest()->chunks == 1);
}

TEST_CASE("a payload is released once, when its last piece is let go", "[wire]") {
    const geometry shape{std::uint64_t{64} << 20, 4 << 20, 4096};
    auto pool = std::make_shared<buffer_pool>(shape.chunk_bytes);
    unsigned released = 0;
    batch_builder builder(shape, [&](std::size_t held) {
        CHECK(held == shape.chunk_bytes);
        ++released;
    });
    chunk_data data{0, {{0, 513, false}}, pool->take(), {}};
    const bytes content = random_bytes(1, shape.chunk_bytes);  // stays raw
    std::copy(content.begin(), content.end(), data.payload.bytes().begin());
    builder.add(std::move(data));
    batch_encoder with;
    {
        const encoded_batch first = with.encode(*builder.take_full(), 1);
        CHECK((first.codec == batch_codec::raw));
        const encoded_batch second = with.encode(*builder.take_full(), 1);
        const encoded_batch last = with.encode(*builder.take_rest(), 1);
        CHECK(released == 0);
        CHECK(std::equal(first.body().begin(), first.body().end(), content.begin()));
    }
    CHECK(released == 1);
    // What was compressed or gathered needs the buffer no more.
    chunk_data other{0, {{0, 1, false}, {2, 1, false}}, pool->take(), {}};
    std::copy(content.begin(), content.end(), other.payload.bytes().begin());
    builder.add(std::move(other));
    const encoded_batch gathered = with.encode(*builder.take_rest(), 1);
    CHECK((gathered.codec == batch_codec::raw));
    CHECK(released == 2);
    chunk_data third{0, {{0, 1, false}}, pool->take(), {}};
    std::fill(third.payload.bytes().begin(), third.payload.bytes().end(), std::byte{1});
    builder.add(std::move(third));
    const encoded_batch compressed = with.encode(*builder.take_rest(), 1);
    CHECK((compressed.codec == batch_codec::zstd));
    CHECK(released == 3);
    builder.add({0, {{0, 1, true}}, {}, {}});
    CHECK(released == 3);
}

TEST_CASE("what compression saves too little of is sent as it is, without a copy", "[wire]") {
    const geometry shape{1 << 20, 1 << 20, 4096};
    auto pool = std::make_shared<buffer_pool>(shape.chunk_bytes);
    batch_encoder with;
    const auto encoded = [&](std::size_t random_part) {
        chunk_data data{0, {{0, 256, false}}, pool->take(), {}};
        std::fill(data.payload.bytes().begin(), data.payload.bytes().end(), std::byte{1});
        const bytes content = random_bytes(1, random_part);
        std::copy(content.begin(), content.end(), data.payload.bytes().begin());
        const std::byte* where = data.payload.bytes().data();
        batch_builder builder(shape);
        builder.add(std::move(data));
        encoded_batch made = with.encode(*builder.take_rest(), 1);
        CHECK((made.body().data() == where) == (made.codec == batch_codec::raw));
        return made;
    };
    constexpr std::size_t all = 1 << 20;
    CHECK((encoded(all).codec == batch_codec::raw));
    CHECK((encoded(all - all / 40).codec == batch_codec::raw));
    const encoded_batch saved = encoded(all - all / 24);
    CHECK((saved.codec == batch_codec::split));
    CHECK(saved.body().size() <= all - all / 32);
}

// ---- what shrinks and what does not, in one batch ----

constexpr std::size_t piece = split_piece_bytes;

bytes repetitive(std::size_t length) {
    bytes made(length);
    for (std::size_t i = 0; i < length; ++i) made[i] = static_cast<std::byte>(i % 97 * (i / 970 % 5));
    return made;
}

// Of one chunk of 1 MiB, all of it changed.
encoded_batch whole_chunk(const bytes& content, batch_encoder& with, bool doubtful = false) {
    const geometry shape{1 << 20, 1 << 20, 4096};
    chunk_data data{0, {{0, 256, false}}, pool_for(shape)->take(), {}};
    std::copy(content.begin(), content.end(), data.payload.bytes().begin());
    batch_builder builder(shape);
    builder.add(std::move(data));
    return with.encode(*builder.take_rest(), 3, doubtful);
}

bytes arrived(const encoded_batch& made) {
    const geometry shape{1 << 20, 1 << 20, 4096};
    const received got = receive(made);
    batch_reader reader(shape, pool_for(shape));
    decompressor without;
    auto batch = reader.open(got.header, got.head, {1, unbounded});
    REQUIRE(batch.has_value());
    REQUIRE(fill(*batch, got.body, without, *scratch).has_value());
    const auto content = batch->complete.at(0).payload.bytes();
    return {content.begin(), content.end()};
}

TEST_CASE("noise among what shrinks stays out of the compressor, and both arrive", "[wire]") {
    batch_encoder with;
    bytes content = repetitive(1 << 20);
    const bytes noise = random_bytes(7, 1 << 20);
    for (std::size_t at = 0; at < content.size(); at += 3 * piece)
        std::copy_n(noise.begin() + static_cast<std::ptrdiff_t>(at), piece,
                    content.begin() + static_cast<std::ptrdiff_t>(at));
    const std::size_t noisy = (content.size() / piece + 2) / 3 * piece;
    for (const bool doubtful : {false, true}) {
        const encoded_batch made = whole_chunk(content, with, doubtful);
        CHECK((made.codec == batch_codec::split));
        CHECK(made.body().size() > noisy);
        CHECK(made.body().size() < noisy + noisy / 16);
        CHECK((arrived(made) == content));
    }
    // A little of it costs less than to part it.
    bytes mostly = repetitive(1 << 20);
    std::copy_n(noise.begin(), 4 * piece, mostly.begin());
    const encoded_batch whole = whole_chunk(mostly, with);
    CHECK((whole.codec == batch_codec::zstd));
    CHECK((arrived(whole) == mostly));
}

TEST_CASE("noise that is there twice is compressed", "[wire]") {
    batch_encoder with;
    const bytes noise = random_bytes(8, 1 << 19);
    bytes content = noise;
    content.insert(content.end(), noise.begin(), noise.end());
    const encoded_batch made = whole_chunk(content, with);
    CHECK((made.codec == batch_codec::zstd));
    CHECK(made.body().size() < noise.size() + noise.size() / 16);
    CHECK((arrived(made) == content));
    // Also where its second time begins within a piece, and a little beside it is none.
    content = repetitive(piece);
    content.insert(content.end(), noise.begin(), noise.end() - static_cast<std::ptrdiff_t>(piece + 512));
    content.insert(content.end(), noise.begin(), noise.end());
    content.resize(1 << 20);
    const encoded_batch shifted = whole_chunk(content, with);
    CHECK(shifted.body().size() < noise.size() + noise.size() / 16);
    CHECK((arrived(shifted) == content));
}

TEST_CASE("after noise a look here and there spares the compressor more of it, and finds what is none", "[wire]") {
    batch_encoder with;
    const bytes noise = random_bytes(10, 1 << 19);
    bytes twice = noise;
    twice.insert(twice.end(), noise.begin(), noise.end());
    CHECK((whole_chunk(twice, with, true).codec == batch_codec::raw));
    bytes half = random_bytes(11, 1 << 20);
    const bytes text = repetitive(1 << 19);
    std::copy(text.begin(), text.end(), half.begin());
    const encoded_batch made = whole_chunk(half, with, true);
    CHECK((made.codec == batch_codec::split));
    CHECK((arrived(made) == half));
}

TEST_CASE("tables with columns of noise and bytes of few bits are not taken for noise", "[wire]") {
    compressor plain;
    batch_encoder with;
    const bytes noise = random_bytes(9, 1 << 20);
    const auto check = [&](auto&& make) {
        bytes content(noise.size());
        for (std::size_t i = 0; i < content.size(); ++i) content[i] = make(i);
        bytes whole(compressor::bound(content.size()));
        whole.resize(plain.compress(content, 3, whole)->size());
        const bool shrinks = whole.size() <= content.size() - content.size() / 32;
        CHECK((whole_chunk(content, with, true).codec == (shrinks ? batch_codec::zstd : batch_codec::raw)));
        // Beside noise each of its pieces is judged, and no more is sent than if all were compressed together.
        std::copy_n(noise.begin(), content.size() / 2, content.begin());
        whole.resize(compressor::bound(content.size()));
        whole.resize(plain.compress(content, 3, whole)->size());
        const encoded_batch made = whole_chunk(content, with);
        const std::size_t together =
            whole.size() <= content.size() - content.size() / 32 ? whole.size() : content.size();
        CHECK(made.body().size() <= together + together / 256);
        CHECK((arrived(made) == content));
    };
    for (const std::size_t width : {2u, 3u, 4u, 5u, 8u, 12u, 16u, 17u, 24u, 32u})
        for (const std::size_t column : {std::size_t{0}, width - 1}) {
            INFO("rows of " << width << " bytes, column " << column << " even");
            check([&](std::size_t i) { return i % width == column ? std::byte{0} : noise[i]; });
        }
    check([&](std::size_t i) { return noise[i] & std::byte{0x7f}; });
    check([&](std::size_t i) { return noise[i] & std::byte{0x0f}; });
    check([&](std::size_t i) { return i % piece < piece * 7 / 8 ? noise[i] : std::byte{0}; });
}

// ---- hostile ----

bytes entry(std::uint64_t chunk, std::initializer_list<std::uint64_t> count_and_runs) {
    bytes out;
    field_writer to(out);
    to.number(chunk);
    to.raw(digest{}.bytes);
    for (const std::uint64_t each : count_and_runs) to.number(each);
    return out;
}

constexpr std::uint64_t pays(std::uint64_t blocks) {
    return blocks << 1;
}
constexpr std::uint64_t zero(std::uint64_t blocks) {
    return blocks << 1 | 1;
}

// Five chunks of 8 blocks of 512 bytes, the last one of 700 bytes.
class hostile {
public:
    hostile() : reader_(shape_, pool_) {}

    wire_result<incoming_batch> open(const bytes& head, std::uint32_t raw_bytes, std::uint64_t chunks_max = 99,
                                     std::uint64_t bytes_max = unbounded) {
        return reader_.open({batch_codec::raw, raw_bytes, static_cast<std::uint32_t>(head.size()), raw_bytes}, head,
                            {chunks_max, bytes_max});
    }
    static void check(const bytes& head, std::uint32_t raw_bytes, wire_error why, std::uint64_t chunks_max = 99,
                      std::uint64_t bytes_max = unbounded) {
        hostile fresh;
        const auto result = fresh.open(head, raw_bytes, chunks_max, bytes_max);
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().message() == make_error_code(why).message());
    }

private:
    geometry shape_{4 * 4096 + 700, 4096, 512};
    std::shared_ptr<buffer_pool> pool_ = std::make_shared<buffer_pool>(4096);
    batch_reader reader_;
};

bytes operator+(bytes a, const bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

TEST_CASE("a batch's head that breaks a rule is refused by it", "[wire]") {
    const bytes good = entry(0, {1, 0, pays(1)});
    REQUIRE(hostile().open(good, 512).has_value());
    hostile::check(entry(5, {1, 0, pays(1)}), 512, wire_error::bad_chunk);
    hostile::check(entry(UINT64_MAX, {1, 0, pays(1)}), 512, wire_error::bad_chunk);
    hostile::check(entry(0, {0}), 0, wire_error::bad_count);
    hostile::check(entry(0, {2, 0, pays(1)}), 512, wire_error::bad_count);
    hostile::check(entry(0, {UINT64_MAX, 0, pays(1)}), 512, wire_error::bad_count);
    hostile::check(entry(0, {1, 0, pays(0)}), 0, wire_error::bad_run);
    hostile::check(entry(0, {1, 0, zero(0)}), 0, wire_error::bad_run);
    hostile::check(entry(0, {1, 0, pays(9)}), 9 * 512, wire_error::bad_run);
    hostile::check(entry(0, {1, 0, pays(UINT64_MAX >> 1)}), 512, wire_error::bad_run);
    hostile::check(entry(0, {1, 0, pays(std::uint64_t{1} << 32 | 1)}), 512, wire_error::bad_run);
    hostile::check(entry(0, {1, 8, pays(1)}), 512, wire_error::bad_run);
    hostile::check(entry(0, {1, 9, pays(1)}), 512, wire_error::bad_run);
    hostile::check(entry(0, {1, std::uint64_t{1} << 32, pays(1)}), 512, wire_error::bad_run);
    hostile::check(entry(0, {2, 4, pays(1), 3, pays(1)}), 1024, wire_error::bad_run);
    hostile::check(entry(4, {1, 0, pays(3)}), 1536, wire_error::bad_run);  // two blocks in the disk's last chunk
    REQUIRE(hostile().open(entry(4, {1, 0, pays(2)}), 700).has_value());
    hostile::check(entry(4, {1, 0, pays(2)}), 1024, wire_error::bad_payload);
    hostile::check(good, 513, wire_error::bad_payload);
    hostile::check(good, 0, wire_error::bad_payload);
    hostile::check({}, 0, wire_error::bad_payload);
    hostile::check({}, 512, wire_error::bad_payload);
    hostile::check(good + good, 511, wire_error::bad_payload);  // the first is left open
    hostile::check(good + good, 512, wire_error::bad_payload);  // nothing for the second
    hostile::check(good + entry(1, {1, 0, zero(1)}), 100, wire_error::bad_payload);
    REQUIRE(hostile().open(good + good, 513).has_value());
    hostile::check(entry(0, {1, 0, zero(1)}), 1, wire_error::bad_payload);
    hostile::check(good + good, 1024, wire_error::too_many_chunks, 1);
    REQUIRE(hostile().open(good + good, 1024, 2).has_value());
    REQUIRE(hostile().open(entry(0, {1, 0, zero(1)}) + good, 512, 1).has_value());
    hostile::check(good, 512, wire_error::too_many_chunks, 0);
    hostile::check(good, 512, wire_error::too_many_chunks, 99, 0);
    hostile::check(good + good, 1024, wire_error::too_many_chunks, 99, 512);
    REQUIRE(hostile().open(good + good, 1024, 99, 513)->payload_bytes == 1024);
}

TEST_CASE("a chunk that was left open is finished first", "[wire]") {
    const bytes start = entry(0, {2, 0, pays(2), 1, pays(2)});
    const bytes next = entry(1, {1, 0, pays(1)});
    const auto opened = [&] {
        hostile made;
        const auto first = made.open(start, 600);
        REQUIRE(first.has_value());
        CHECK(first->complete.empty());
        return made;
    };
    {
        hostile reader = opened();
        const auto batch = reader.open(next, 2048 - 600 + 512, 1);
        REQUIRE(batch.has_value());
        CHECK(batch->complete.size() == 2);
        REQUIRE(batch->destinations.size() == 2);
        CHECK(batch->destinations[0].size() == 2048 - 600);
    }
    {
        hostile reader = opened();
        CHECK(reader.open({}, 1).has_value());
        CHECK(reader.open({}, 1447, 0)->complete.size() == 1);
    }
    CHECK(opened().open({}, 0).error() == wire_error::bad_payload);
    CHECK(opened().open(next, 1448).error() == wire_error::bad_payload);
    CHECK(opened().open(next, 100).error() == wire_error::bad_payload);
    CHECK(opened().open(entry(1, {1, 0, zero(1)}), 100).error() == wire_error::bad_payload);
    CHECK(opened().open({}, 1449).error() == wire_error::bad_payload);
}

TEST_CASE("a chunk's bytes are one destination", "[wire]") {
    hostile reader;
    auto batch = reader.open(entry(0, {2, 0, pays(2), 1, pays(3)}), 5 * 512);
    REQUIRE(batch.has_value());
    REQUIRE(batch->destinations.size() == 1);
    CHECK(direct_destination(*batch).size() == 5 * 512);
    const auto two = reader.open(entry(1, {1, 0, pays(1)}) + entry(2, {1, 0, pays(1)}), 2 * 512);
    REQUIRE(two.has_value());
    CHECK(two->destinations.size() == 2);
    batch->header.codec = batch_codec::zstd;
    CHECK(direct_destination(*batch).empty());
}

TEST_CASE("a batch whose sizes do not fit is refused before anything is read", "[wire]") {
    const auto refusal = [](unsigned codec, std::uint32_t raw, std::uint32_t head, std::uint32_t length) {
        std::array<std::byte, batch_header_bytes> all{};
        all[0] = static_cast<std::byte>(codec);
        for (std::size_t i = 0; i < 3; ++i) {
            all[1 + i] = static_cast<std::byte>(raw >> 8 * i);
            all[4 + i] = static_cast<std::byte>(head >> 8 * i);
        }
        const auto result = decode_batch_header(all, length);
        return result ? boost::system::error_code() : result.error();
    };
    CHECK_FALSE(refusal(0, 512, 20, 7 + 20 + 512));
    CHECK_FALSE(refusal(1, 512, 20, 7 + 20 + 511));
    CHECK_FALSE(refusal(0, 1 << 20, 128 * 1024, frame_max_of_all));
    CHECK_FALSE(refusal(2, 512, 20, 7 + 20 + 511));
    CHECK(refusal(2, 512, 20, 7 + 20 + 512) == wire_error::bad_batch);
    CHECK(refusal(2, 0, 20, 7 + 20) == wire_error::bad_batch);
    CHECK(refusal(3, 512, 20, 7 + 20 + 512) == wire_error::bad_value);
    CHECK(refusal(0, 0, 0, 6) == wire_error::truncated);
    CHECK(refusal(0, 512, 20, 7 + 20 + 511) == wire_error::bad_batch);
    CHECK(refusal(0, 512, 20, 7 + 20 + 513) == wire_error::bad_batch);
    CHECK(refusal(1, 512, 20, 7 + 20 + 512) == wire_error::bad_batch);
    CHECK(refusal(1, 0, 20, 7 + 20) == wire_error::bad_batch);
    CHECK(refusal(1, 512, 20, 7 + 20) == wire_error::bad_batch);
    CHECK(refusal(2, 512, 20, 7 + 20) == wire_error::bad_batch);
    CHECK(refusal(0, 512, 20, 7 + 19) == wire_error::bad_batch);
    CHECK(refusal(0, 0, 128 * 1024 + 1, 7 + 128 * 1024 + 1) == wire_error::bad_batch);
    CHECK(refusal(1, (1 << 20) + 1, 0, 100) == wire_error::bad_batch);
}

TEST_CASE("a frame that announces or holds more than the batch's bytes is refused, and touches nothing else",
          "[wire]") {
    compressor with;
    decompressor without;
    const geometry shape{4096, 4096, 512};
    for (const std::size_t size : {511u, 513u, 4096u, 1u << 20, 64u << 20}) {
        bytes bomb(compressor::bound(size));
        bomb.resize(with.compress(bytes(size), 1, bomb)->size());
        if (bomb.size() >= 512) bomb.resize(511);
        for (const bool scattered : {false, true}) {
            batch_reader reader(shape, pool_for(shape));
            const std::uint32_t raw = scattered ? 1024 : 512;
            const bytes head = scattered ? entry(0, {2, 1, pays(1), 1, pays(1)}) : entry(0, {1, 1, pays(1)});
            auto batch = reader.open({batch_codec::zstd, raw, static_cast<std::uint32_t>(head.size()),
                                      static_cast<std::uint32_t>(bomb.size())},
                                     head, {1, unbounded});
            REQUIRE(batch.has_value());
            const auto result = fill(*batch, bomb, without, *scratch);
            REQUIRE_FALSE(result.has_value());
            CHECK(result.error() == make_error_code(compression_error::wrong_size));
            check_room(shape, batch->complete.at(0));
        }
    }
}

TEST_CASE("a split body that breaks a rule is refused", "[wire]") {
    // Three pieces and a short one, in blocks of 512 bytes.
    const geometry shape{4 * piece, 4 * piece, 512};
    constexpr std::uint32_t raw = 3 * piece + 512;
    const bytes head = entry(0, {1, 0, pays(raw / 512)});
    const bytes content = random_bytes(3, raw);
    compressor with;
    const auto frame_of = [&](const bytes& of) {
        bytes made(compressor::bound(of.size()));
        made.resize(with.compress(of, 1, made)->size());
        return made;
    };
    const auto part = [&](std::size_t from, std::size_t length) {
        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(from);
        return bytes(begin, begin + static_cast<std::ptrdiff_t>(length));
    };
    const auto filled = [&](const bytes& body) -> boost::system::error_code {
        decompressor without;
        batch_reader reader(shape, pool_for(shape));
        auto batch = reader.open(
            {batch_codec::split, raw, static_cast<std::uint32_t>(head.size()), static_cast<std::uint32_t>(body.size())},
            head, {1, unbounded});
        REQUIRE(batch.has_value());
        const auto result = fill(*batch, body, without, *scratch);
        if (!result) return result.error();
        const auto got = batch->complete.at(0).payload.bytes();
        CHECK(std::equal(got.begin(), got.end(), content.begin(), content.end()));
        return {};
    };
    const bytes first_and_last = part(0, piece) + part(3 * piece, 512), middle = part(piece, 2 * piece);
    const bytes good = bytes{std::byte{0b1001}} + middle + frame_of(first_and_last);
    REQUIRE_FALSE(filled(good));
    REQUIRE_FALSE(filled(bytes{std::byte{0b0110}} + first_and_last + frame_of(middle)));
    CHECK(filled({}) == wire_error::truncated);
    CHECK(filled(bytes{std::byte{0b1001}} + part(0, 2 * piece - 1)) == wire_error::truncated);
    CHECK(filled(bytes{std::byte{0b1001}} + middle) == make_error_code(compression_error::not_a_frame));
    CHECK(filled(bytes{std::byte{0b11001}} + middle + frame_of(first_and_last)) == wire_error::bad_batch);
    CHECK(filled(bytes{std::byte{0b1111}} + frame_of(content)) == wire_error::bad_batch);
    CHECK(filled(bytes{std::byte{0}} + content) == wire_error::bad_batch);
    CHECK(filled(bytes{std::byte{0b0001}} + part(piece, 2 * piece + 512) + frame_of(first_and_last)) ==
          make_error_code(compression_error::wrong_size));
    for (std::size_t length = 0; length < good.size(); ++length)
        REQUIRE(filled(bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length))));
}

TEST_CASE("a head that is cut or has any bit flipped is refused, or stays within its chunks", "[wire]") {
    const geometry shape{4 * 4096 + 700, 4096, 512};
    const bytes head = entry(2, {3, 1, pays(2), 0, zero(1), 3, pays(1)}) + entry(4, {1, 1, pays(1)});
    const std::uint32_t raw = 3 * 512 + 188;
    const bytes body(raw, std::byte{1});
    decompressor without;
    unsigned taken = 0;
    const auto attempt = [&](const bytes& damaged) {
        batch_reader reader(shape, pool_for(shape));
        auto batch = reader.open({batch_codec::raw, raw, static_cast<std::uint32_t>(damaged.size()), raw}, damaged,
                                 {2, unbounded});
        if (!batch) return;
        ++taken;
        std::size_t total = 0;
        for (const auto& each : batch->destinations) total += each.size();
        REQUIRE(total == raw);
        REQUIRE(fill(*batch, body, without, *scratch).has_value());
        for (const chunk_data& each : batch->complete) check_room(shape, each);
    };
    attempt(head);
    REQUIRE(taken == 1);
    for (std::size_t length = 0; length < head.size(); ++length)
        attempt(bytes(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK(taken == 1);
    for (std::size_t bit = 0; bit < 8 * head.size(); ++bit) {
        bytes damaged = head;
        damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        attempt(damaged);
    }
    // The digests' bits are not a head's affair, and most others are.
    CHECK(taken >= 2 * 128);
    CHECK(taken < 2 * 128 + 30);
}

}  // namespace
