// One pair of functions for each message: `write` puts its fields after one another, `read_X` takes them back in the
// same order. What is a list in a message is parted over frames here; what else has a length is bounded by it.
#include "wire/message_codec.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "codec/digester.hpp"
#include "wire/fields.hpp"
#include "wire/values.hpp"

namespace reprotect {
namespace {

constexpr std::size_t message_text_max = 4096;
constexpr std::size_t detail_text_max = 1024;
constexpr std::size_t name_max = 4096;
constexpr std::size_t identity_pairs_max = 32;
constexpr std::size_t identity_text_max = 1024;
constexpr std::size_t place_text_max = 64;
constexpr std::size_t unit_name_max = 256;
constexpr std::size_t footings_max = 64;  // of a disk; a list of them takes one as well
constexpr int errno_max = 4095;           // the kernel's own limit (MAX_ERRNO)

// Numbers are for ever; one that is not needed any more stays unused.
struct numbered_kind {
    std::uint64_t number;
    error_kind kind;
};
constexpr std::array error_numbers{
    numbered_kind{1, error_kind::usage},           numbered_kind{2, error_kind::not_found},
    numbered_kind{3, error_kind::permission},      numbered_kind{4, error_kind::unsuitable},
    numbered_kind{5, error_kind::container},       numbered_kind{6, error_kind::in_use},
    numbered_kind{7, error_kind::same_disk},       numbered_kind{8, error_kind::size_mismatch},
    numbered_kind{9, error_kind::recorded_source}, numbered_kind{10, error_kind::corrupt_file},
    numbered_kind{11, error_kind::device_io},      numbered_kind{12, error_kind::no_space},
    numbered_kind{13, error_kind::flush_failed},   numbered_kind{14, error_kind::size_changed},
    numbered_kind{15, error_kind::peer},           numbered_kind{16, error_kind::verification},
    numbered_kind{17, error_kind::limit},          numbered_kind{18, error_kind::interrupted},
};

std::uint64_t number_of(error_kind kind) noexcept {
    const auto at =
        std::find_if(error_numbers.begin(), error_numbers.end(), [=](const auto& each) { return each.kind == kind; });
    REPROTECT_ASSERT(at != error_numbers.end());
    return at->number;
}

error_kind kind_of(std::uint64_t number) noexcept {
    for (const auto& each : error_numbers)
        if (each.number == number) return each.kind;
    return error_kind::peer;
}

enum failure_flag : unsigned { failure_offset = 1, failure_length = 2 };

enum hello_flag : unsigned {
    hello_reread = 1,
    hello_allow_larger = 2,
    hello_truncate = 4,
    hello_reverse = 8,
    hello_full_copy = 16,
    hello_resizes = 32,
    hello_whole = 64,
    hello_wants_differential = 128,
    hello_flags = 255,
};

// What fits in a frame as it stands; repeated ones count in full, so that few bytes cannot become many.
constexpr std::size_t frame_cuts_max = 256 * 1024 / sizeof(digest_cut);

enum entry_tag : unsigned { entry_digest = 0, entry_zero = 1, entry_hole = 2, entry_digest_with_cuts = 4 };

constexpr std::size_t list_bytes_max = 256 * 1024;
// A run or an entry may be one byte on the wire and is up to 64 in memory; a frame of plain digests holds about as
// many.
constexpr std::size_t list_entries_max = 16384;

// ---- what hellos consist of ----

// What stands for a text that must not become equal to another by being cut.
std::string distinct(const std::string& text, std::size_t max) {
    if (text.size() <= max) return text;
    const std::string tail = "~" + to_hex(sha256_128(std::as_bytes(std::span(text))));
    return text.substr(0, max - tail.size()) + tail;
}

void write_range(field_writer& to, extent range) {
    // "To the end, wherever that is" may have been moved.
    const std::uint64_t offset = std::min(range.offset, wire_offset_max);
    to.number(offset);
    to.number(std::min(range.length, wire_offset_max - offset));
}

unsigned node_number(enum disk_node::kind kind) noexcept {
    switch (kind) {
        case disk_node::kind::file:
            return 1;
        case disk_node::kind::block:
            return 2;
        case disk_node::kind::unit:
            return 3;
    }
    return 0;
}

std::optional<enum disk_node::kind> node_kind(unsigned number) noexcept {
    for (const auto kind : {disk_node::kind::file, disk_node::kind::block, disk_node::kind::unit})
        if (node_number(kind) == number) return kind;
    return std::nullopt;
}

using footprints = std::vector<std::vector<footing>>;

// Room for lists and for footings, of a whole hello.
struct place_room {
    std::size_t lists = footings_max;
    std::size_t footings = footings_max;
};

void write_footprints(field_writer& to, const footprints& lists, place_room& room) {
    const std::size_t count = std::min(lists.size(), room.lists);
    room.lists -= count;
    to.number(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t length = std::min(lists[i].size(), room.footings);
        room.footings -= length;
        to.number(length);
        for (std::size_t k = 0; k < length; ++k) {
            const footing& each = lists[i][k];
            to.byte(node_number(each.node.what));
            to.number(each.node.device);
            to.number(each.node.inode);
            to.text(distinct(each.node.world_wide_name, unit_name_max), unit_name_max);
            write_range(to, each.range);
            to.flag(each.exact);
        }
    }
}

footing read_footing(field_reader& from) {
    footing result;
    const auto kind = node_kind(from.byte());
    if (!kind) from.refuse(wire_error::bad_value);
    result.node.what = kind.value_or(disk_node::kind::file);
    result.node.device = from.number();
    result.node.inode = from.number();
    result.node.world_wide_name = from.text(unit_name_max);
    result.range = from.range();
    result.exact = from.flag();
    return result;
}

footprints read_footprints(field_reader& from, place_room& room) {
    footprints lists(from.count(1, room.lists));
    room.lists -= lists.size();
    for (auto& list : lists) {
        const std::size_t count = from.count(7, room.footings);
        room.footings -= count;
        for (std::size_t i = 0; i < count && from.good(); ++i) list.push_back(read_footing(from));
    }
    return lists;
}

void write(field_writer& to, const hello& value) {
    REPROTECT_ASSERT(value.shape.disk_bytes <= wire_offset_max);
    to.byte(number_of(value.mode));
    to.number(value.shape.disk_bytes);
    to.number(value.shape.chunk_bytes);
    to.number(value.shape.block_bytes);
    to.byte(number_of(value.algorithm));
    to.byte((value.reread ? hello_reread : 0u) | (value.permits.allow_larger ? hello_allow_larger : 0u) |
            (value.permits.truncate ? hello_truncate : 0u) | (value.permits.reverse ? hello_reverse : 0u) |
            (value.findings.full_copy ? hello_full_copy : 0u) | (value.findings.resizes ? hello_resizes : 0u) |
            (value.whole ? hello_whole : 0u) | (value.wants_differential ? hello_wants_differential : 0u));
    to.raw(value.nonce);
    to.text(value.disk.name, name_max);
    const disk_place& place = value.disk.place;
    const auto& fields = place.identity.fields;
    const std::size_t pairs = std::min(fields.size(), identity_pairs_max);
    to.number(pairs);
    for (std::size_t i = 0; i < pairs; ++i) {
        to.text(distinct(fields[i].first, identity_text_max), identity_text_max);
        to.text(distinct(fields[i].second, identity_text_max), identity_text_max);
    }
    to.text(place.machine, place_text_max);
    to.text(place.kernel, place_text_max);
    place_room room;
    write_footprints(to, place.written, room);
    write_footprints(to, place.read, room);
    to.text(value.findings.reason, message_text_max);
    to.number(value.digest_entries);
    to.number(value.allocation_runs);
    to.number(value.data_messages);
    to.number(value.data_bytes);
    to.number(value.proof_chunks);
    to.number(value.egress_max);
    to.text(value.generation, generation_max);
    to.number(value.finished_bytes);
}

hello read_hello(field_reader& from) {
    hello value;
    value.mode = read_mode(from);
    value.shape.disk_bytes = from.number_up_to(wire_offset_max, wire_error::bad_geometry);
    value.shape.chunk_bytes = from.number32(wire_error::bad_geometry);
    value.shape.block_bytes = from.number32(wire_error::bad_geometry);
    if (from.good() && !valid_geometry(value.shape)) from.refuse(wire_error::bad_geometry);
    value.algorithm = read_algorithm(from);
    const unsigned flags = from.flags(hello_flags);
    value.reread = (flags & hello_reread) != 0;
    value.permits.allow_larger = (flags & hello_allow_larger) != 0;
    value.permits.truncate = (flags & hello_truncate) != 0;
    value.permits.reverse = (flags & hello_reverse) != 0;
    value.findings.full_copy = (flags & hello_full_copy) != 0;
    value.findings.resizes = (flags & hello_resizes) != 0;
    value.whole = (flags & hello_whole) != 0;
    value.wants_differential = (flags & hello_wants_differential) != 0;
    value.nonce = from.array<32>();
    value.disk.name = from.text(name_max);
    disk_place& place = value.disk.place;
    const std::size_t pairs = from.count(2, identity_pairs_max);
    for (std::size_t i = 0; i < pairs && from.good(); ++i) {
        std::string key = from.text(identity_text_max);
        std::string text = from.text(identity_text_max);
        place.identity.fields.emplace_back(std::move(key), std::move(text));
    }
    place.machine = from.text(place_text_max);
    place.kernel = from.text(place_text_max);
    place_room room;
    place.written = read_footprints(from, room);
    place.read = read_footprints(from, room);
    value.findings.reason = from.text(message_text_max);
    value.digest_entries = from.number();
    value.allocation_runs = from.number();
    value.data_messages = from.number();
    value.data_bytes = from.number();
    value.proof_chunks = from.number();
    value.egress_max = from.number();
    value.generation = from.text(generation_max);
    value.finished_bytes = from.number_up_to(wire_offset_max, wire_error::bad_geometry);
    return value;
}

// ---- lists, which are parted ----

// Frames of one kind for a list that may be too long for one.
class parted_list {
public:
    explicit parted_list(std::vector<std::byte>& out) : out_(out) {}

    /// An entry of so many bytes does not go into the frame that is open.
    bool full(std::size_t more) const noexcept {
        return open_ &&
               (entries_ == list_entries_max || out_.size() - frame_ - frame_header_bytes + more > list_bytes_max);
    }
    /// Before each entry. True where a frame was begun, and what it opens with is to be written.
    bool begin(frame_kind kind) {
        const bool begins = !open_;
        if (begins) frame_ = begin_frame(out_, kind);
        open_ = true;
        entries_ = begins ? 1 : entries_ + 1;
        return begins;
    }
    void end() {
        if (open_) end_frame(out_, frame_);
        open_ = false;
    }

private:
    std::vector<std::byte>& out_;
    bool open_ = false;
    std::size_t frame_ = 0;
    std::size_t entries_ = 0;
};

void append_list(std::vector<std::byte>& out, const allocation& value) {
    field_writer to(out);
    parted_list list(out);
    std::uint64_t next = value.runs.empty() ? 0 : value.runs.front().range.offset;
    for (const source_run& run : value.runs) {
        REPROTECT_ASSERT(run.range.offset == next && next <= wire_offset_max && !run.range.empty() &&
                         run.range.length <= wire_offset_max - next);
        next = run.range.end();
        const std::uint64_t number = (run.range.length - 1) << 2 | static_cast<std::uint64_t>(run.kind);
        if (list.full(number_bytes(number))) list.end();
        if (list.begin(frame_kind::allocation)) to.number(run.range.offset);
        to.number(number);
    }
    list.end();
}

allocation read_allocation(field_reader& from) {
    allocation value;
    std::uint64_t next = from.number_up_to(wire_offset_max, wire_error::bad_range);
    do {
        const std::uint64_t number = from.number();
        const std::uint64_t length = (number >> 2) + 1;
        if ((number & 3) > 2) from.refuse(wire_error::bad_value);
        if (length > wire_offset_max - next) from.refuse(wire_error::bad_range);
        if (value.runs.size() == list_entries_max) from.refuse(wire_error::bad_count);
        if (!from.good()) break;
        value.runs.push_back({{next, length}, static_cast<source_content>(number & 3)});
        next += length;
    } while (from.left() != 0);
    return value;
}

// Blocks of zeroes have one digest, and a chunk that is half hole would otherwise pay for it 128 times.
void write_cuts(field_writer& to, const std::vector<digest_cut>& cuts) {
    static_assert(sizeof(digest_cut) == 5);
    for (std::size_t at = 0; at < cuts.size(); ++at) {
        to.raw(cuts[at]);
        if (at == 0 || cuts[at] != cuts[at - 1]) continue;
        const auto end = std::find_if(cuts.begin() + static_cast<std::ptrdiff_t>(at), cuts.end(),
                                      [&](const digest_cut& each) { return each != cuts[at]; });
        const std::size_t more = static_cast<std::size_t>(end - cuts.begin()) - at - 1;
        to.number(more);
        at += more;
    }
}

// Until there are `count`, or to the end of the payload.
std::vector<digest_cut> read_cuts(field_reader& from, std::optional<std::size_t> count) {
    std::vector<digest_cut> cuts;
    bool after_repeats = false;
    while (from.good() && (count ? cuts.size() < *count : from.left() != 0)) {
        const digest_cut next = from.array<sizeof(digest_cut)>();
        const bool again = !cuts.empty() && next == cuts.back();
        if ((again && after_repeats) || cuts.size() >= frame_cuts_max) from.refuse(wire_error::bad_count);
        if (!from.good()) return {};
        cuts.push_back(next);
        after_repeats = again;
        if (!again) continue;
        const std::uint64_t more =
            from.number_up_to(count.value_or(frame_cuts_max) - std::min(cuts.size(), count.value_or(frame_cuts_max)),
                              wire_error::bad_count);
        cuts.insert(cuts.end(), static_cast<std::size_t>(more), next);
    }
    return cuts;
}

// At most what an entry takes; tight enough, since only the cuts are long.
std::size_t entry_bytes_max(const digest_entry& entry) {
    return 1 + 10 + sizeof(digest) + entry.cuts.size() * sizeof(digest_cut) + entry.cuts.size() / 2;
}

void append_list(std::vector<std::byte>& out, const chunk_digests& value) {
    field_writer to(out);
    parted_list list(out);
    std::uint64_t next = value.entries.empty() ? 0 : value.entries.front().first_chunk;
    std::size_t cuts_left = frame_cuts_max;
    for (const digest_entry& entry : value.entries) {
        const bool hole = entry.what == digest_entry::kind::hole;
        REPROTECT_ASSERT(entry.first_chunk == next && next <= wire_offset_max && entry.count != 0 &&
                         entry.count <= wire_offset_max - next && (hole || entry.count == 1));
        REPROTECT_ASSERT(entry.what == digest_entry::kind::digest || entry.cuts.empty());
        next += entry.count;
        if (list.full(entry_bytes_max(entry)) || entry.cuts.size() > cuts_left) list.end();
        if (list.begin(frame_kind::chunk_digests)) {
            to.number(entry.first_chunk);
            cuts_left = frame_cuts_max;
        }
        cuts_left -= entry.cuts.size();
        switch (entry.what) {
            case digest_entry::kind::digest:
                to.byte(entry.cuts.empty() ? entry_digest : entry_digest_with_cuts);
                to.raw(entry.value.bytes);
                if (!entry.cuts.empty()) to.number(entry.cuts.size());
                write_cuts(to, entry.cuts);
                break;
            case digest_entry::kind::zero:
                to.byte(entry_zero);
                break;
            case digest_entry::kind::hole:
                to.byte(entry_hole);
                to.number(entry.count);
                break;
        }
    }
    list.end();
}

digest_entry read_entry(field_reader& from, std::uint64_t first_chunk, std::size_t& cuts_left) {
    digest_entry entry;
    entry.first_chunk = first_chunk;
    const unsigned tag = from.byte();
    switch (tag) {
        case entry_digest:
        case entry_digest_with_cuts:
            entry.value = from.value();
            if (tag == entry_digest_with_cuts) {
                const std::uint64_t count = from.number_up_to(cuts_left, wire_error::bad_count);
                if (count == 0) from.refuse(wire_error::bad_count);
                entry.cuts = read_cuts(from, static_cast<std::size_t>(count));
                cuts_left -= entry.cuts.size();
            }
            break;
        case entry_zero:
            entry.what = digest_entry::kind::zero;
            break;
        case entry_hole:
            entry.what = digest_entry::kind::hole;
            entry.count = from.number();
            if (entry.count == 0) from.refuse(wire_error::bad_count);
            break;
        default:
            from.refuse(wire_error::bad_value);
    }
    if (entry.count > wire_offset_max - first_chunk) from.refuse(wire_error::bad_range);
    return entry;
}

chunk_digests read_chunk_digests(field_reader& from) {
    chunk_digests value;
    std::size_t cuts_left = frame_cuts_max;
    std::uint64_t next = from.number_up_to(wire_offset_max, wire_error::bad_range);
    do {
        digest_entry entry = read_entry(from, next, cuts_left);
        if (value.entries.size() == list_entries_max) from.refuse(wire_error::bad_count);
        if (!from.good()) break;
        next += entry.count;
        value.entries.push_back(std::move(entry));
    } while (from.left() != 0);
    return value;
}

void append_list(std::vector<std::byte>& out, const proof& value) {
    REPROTECT_ASSERT(value.digests.empty() || value.digests.size() == value.count);
    REPROTECT_ASSERT(value.first_chunk <= wire_offset_max && value.count <= wire_offset_max - value.first_chunk);
    constexpr std::uint64_t digests_max = (list_bytes_max - 2 * 10 - 1) / sizeof(digest);
    field_writer to(out);
    for (std::uint64_t done = 0; done < value.count;) {
        const std::uint64_t count = value.digests.empty() ? value.count : std::min(digests_max, value.count - done);
        const std::size_t frame = begin_frame(out, frame_kind::proof);
        to.number(value.first_chunk + done);
        to.number(count);
        to.flag(!value.digests.empty());
        if (!value.digests.empty()) to.raw(std::as_bytes(std::span(value.digests).subspan(done, count)));
        end_frame(out, frame);
        done += count;
    }
}

proof read_proof(field_reader& from) {
    static_assert(sizeof(digest) == 16);
    proof value;
    value.first_chunk = from.number_up_to(wire_offset_max, wire_error::bad_range);
    value.count = from.number_up_to(wire_offset_max - value.first_chunk, wire_error::bad_range);
    if (value.count == 0) from.refuse(wire_error::bad_count);
    if (!from.flag()) return value;
    if (value.count > from.left() / sizeof(digest)) from.refuse(wire_error::bad_count);
    if (!from.good()) return value;
    const std::span<const std::byte> bytes = from.raw(value.count * sizeof(digest));
    value.digests.resize(value.count);
    std::memcpy(value.digests.data(), bytes.data(), bytes.size());
    return value;
}

// ---- the rest ----

void write(field_writer& to, const narrow& value) {
    to.number(value.chunk);
}

void write(field_writer& to, const block_digests& value) {
    to.number(value.chunk);
    write_cuts(to, value.cuts);
}

block_digests read_block_digests(field_reader& from) {
    block_digests value;
    value.chunk = read_chunk(from);
    value.cuts = read_cuts(from, std::nullopt);
    return value;
}

void write(field_writer& to, const verdict& value) {
    to.number(value.below_chunk);
    to.number(value.entries_granted);
    to.number(value.data_sent);
}

verdict read_verdict(field_reader& from) {
    verdict value;
    value.below_chunk = read_chunk(from);
    value.entries_granted = from.number();
    value.data_sent = from.number();
    return value;
}

void write(field_writer& to, const resend& value) {
    to.number(value.chunk);
}

void write(field_writer& to, const credit& value) {
    to.number(value.allocation_runs);
    to.number(value.data_messages);
    to.number(value.data_bytes);
    to.number(value.proof_chunks);
}

credit read_credit(field_reader& from) {
    credit value;
    value.allocation_runs = from.number();
    value.data_messages = from.number();
    value.data_bytes = from.number();
    value.proof_chunks = from.number();
    return value;
}

void write(field_writer& to, const end_of_data& value) {
    to.number(value.data_sent);
    to.raw(value.root.bytes);
    write_counts(to, value.counts);
}

end_of_data read_end_of_data(field_reader& from) {
    end_of_data value;
    value.data_sent = from.number();
    value.root = from.value();
    value.counts = read_source_counts(from);
    return value;
}

void write(field_writer& to, const applied& value) {
    to.raw(value.root.bytes);
    write_counts(to, value.counts);
}

applied read_applied(field_reader& from) {
    applied value;
    value.root = from.value();
    value.counts = read_target_counts(from);
    return value;
}

void write(field_writer& to, const proved& value) {
    to.flag(value.cache_passed);
}

error read_failure(field_reader& from) {
    const error_kind kind = kind_of(from.number());
    const std::string message = from.text(message_text_max);
    // An exception's text ends there.
    if (message.find('\0') != std::string::npos) from.refuse(wire_error::bad_text);
    error_detail detail;
    detail.device = from.text(detail_text_max);
    detail.operation = from.text(detail_text_max);
    detail.holder = from.text(detail_text_max);
    detail.hint = from.text(detail_text_max);
    const unsigned flags = from.flags(failure_offset | failure_length);
    if ((flags & failure_offset) != 0) detail.offset = from.number();
    if ((flags & failure_length) != 0) detail.length = from.number();
    detail.system_errno = static_cast<int>(from.number_up_to(errno_max, wire_error::bad_value));
    return error(kind, message, std::move(detail));
}

void write(field_writer& to, const failed& value) {
    const error_detail& detail = value.why.detail();
    to.number(number_of(value.why.kind()));
    to.text(value.why.what(), message_text_max);
    to.text(detail.device, detail_text_max);
    to.text(detail.operation, detail_text_max);
    to.text(detail.holder, detail_text_max);
    to.text(detail.hint, detail_text_max);
    to.byte((detail.offset ? failure_offset : 0u) | (detail.length ? failure_length : 0u));
    if (detail.offset) to.number(*detail.offset);
    if (detail.length) to.number(*detail.length);
    const bool known = detail.system_errno >= 0 && detail.system_errno <= errno_max;
    to.number(known ? static_cast<std::uint64_t>(detail.system_errno) : 0);
}

// ---- frames ----

template <typename Message>
void append_one(std::vector<std::byte>& out, frame_kind kind, const Message& value) {
    const std::size_t frame = begin_frame(out, kind);
    field_writer to(out);
    write(to, value);
    end_frame(out, frame);
}

struct append_message {
    std::vector<std::byte>& out;

    void operator()(const hello& value) const { append_one(out, frame_kind::hello, value); }
    void operator()(const allocation& value) const { append_list(out, value); }
    void operator()(const chunk_digests& value) const { append_list(out, value); }
    void operator()(const narrow& value) const { append_one(out, frame_kind::narrow, value); }
    void operator()(const block_digests& value) const { append_one(out, frame_kind::block_digests, value); }
    void operator()(const verdict& value) const { append_one(out, frame_kind::verdict, value); }
    void operator()(const chunk_data&) const { assertion_failed("data goes in batches", __FILE__, __LINE__); }
    void operator()(const resend& value) const { append_one(out, frame_kind::resend, value); }
    void operator()(const credit& value) const { append_one(out, frame_kind::credit, value); }
    void operator()(const end_of_data& value) const { append_one(out, frame_kind::end_of_data, value); }
    void operator()(const applied& value) const { append_one(out, frame_kind::applied, value); }
    void operator()(const proof& value) const { append_list(out, value); }
    void operator()(const proved& value) const { append_one(out, frame_kind::proved, value); }
    void operator()(const failed& value) const { append_one(out, frame_kind::failed, value); }
};

message read_message(frame_kind kind, field_reader& from) {
    switch (kind) {
        case frame_kind::hello:
            return read_hello(from);
        case frame_kind::allocation:
            return read_allocation(from);
        case frame_kind::chunk_digests:
            return read_chunk_digests(from);
        case frame_kind::narrow:
            return narrow{read_chunk(from)};
        case frame_kind::block_digests:
            return read_block_digests(from);
        case frame_kind::verdict:
            return read_verdict(from);
        case frame_kind::resend:
            return resend{read_chunk(from)};
        case frame_kind::credit:
            return read_credit(from);
        case frame_kind::end_of_data:
            return read_end_of_data(from);
        case frame_kind::applied:
            return read_applied(from);
        case frame_kind::proof:
            return read_proof(from);
        case frame_kind::proved:
            return proved{from.flag()};
        case frame_kind::failed:
            return failed{read_failure(from)};
        case frame_kind::data:
        case frame_kind::request:
        case frame_kind::answer:
        case frame_kind::confirm:
        case frame_kind::join:
        case frame_kind::keep_alive:
        case frame_kind::status:
        case frame_kind::notice:
        case frame_kind::changes:
        case frame_kind::goodbye:
        case frame_kind::map_piece:
        case frame_kind::map_end:
        case frame_kind::sampler_hello:
        case frame_kind::sampled_disk:
        case frame_kind::layout_wish:
        case frame_kind::sample_wish:
        case frame_kind::samples:
        case frame_kind::samples_end:
        case frame_kind::weigh_wish:
        case frame_kind::weights:
        case frame_kind::filler:
        case frame_kind::echo_wish:
        case frame_kind::echo:
            break;
    }
    from.refuse(wire_error::wrong_kind);
    return proved{};
}

}  // namespace

void append(std::vector<std::byte>& out, const message& value) {
    std::visit(append_message{out}, value);
}

wire_result<message> decode(frame_kind kind, std::span<const std::byte> payload) {
    const std::optional<std::uint32_t> max = frame_max(kind);
    if (!max) return make_error_code(wire_error::unknown_kind);
    if (payload.size() > *max) return make_error_code(wire_error::too_long);
    field_reader from(payload);
    message value = read_message(kind, from);
    return from.done(std::move(value));
}

void append_failure(std::vector<std::byte>& out, const error& value) {
    field_writer to(out);
    write(to, failed{value});
}

wire_result<error> decode_failure(std::span<const std::byte> bytes) {
    field_reader from(bytes);
    error value = read_failure(from);
    return from.done(std::move(value));
}

}  // namespace reprotect
