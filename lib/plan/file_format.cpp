// Writing and reading the files of digest maps and differentials; the grammar stands in file_format.hpp.
//
// Reading goes in the order in which trust grows: magic and version, then the lengths against the length of the file,
// then the head's checksum, then the pages', and only then the fields and records. Checksums do not make bytes
// trustworthy (anyone can compute them), so every field and record is checked after them all the same.
#include "plan/file_format.hpp"

#include "base/assert.hpp"
#include "base/atomic_file.hpp"
#include "base/little_endian.hpp"
#include "codec/digester.hpp"
#include "reprotect/error.hpp"

#include <sys/types.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace reprotect {
namespace {

using bytes_view = std::span<const std::byte>;

constexpr std::string_view magic = "RPROTECT";
constexpr std::uint32_t version = 1;
enum class file_kind : std::uint32_t { digest_map = 1, differential = 2 };
constexpr std::uint32_t flag_blocks = 1;
constexpr std::uint32_t label_bytes_max = 4096;
constexpr mode_t file_mode = 0600;  // digests let others check what they guess of a disk's content
constexpr std::uint64_t disk_bytes_max = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t page_bytes =
    64 * 1024;  // guessed: small enough to locate damage, its sums are 1/4096 of the file
constexpr std::size_t sum_bytes = sizeof(digest::bytes);
constexpr std::size_t digest_bytes = sizeof(digest::bytes);
constexpr std::size_t run_head_bytes = 16;
constexpr std::size_t change_bytes = 24;

// Digests are copied to and from the body as whole vectors.
static_assert(sizeof(digest) == digest_bytes);

// Offsets of the fixed fields.
enum field : std::size_t {
    at_magic = 0,
    at_version = 8,
    at_kind = 12,
    at_disk_bytes = 16,
    at_chunk_bytes = 24,
    at_block_bytes = 28,
    at_algorithm = 32,
    at_flags = 36,
    at_record_count = 40,
    at_body_bytes = 48,
    at_label_bytes = 56,
    at_reserved = 60,
};

using little_endian::load;
using little_endian::store;

constexpr std::uint64_t page_count(std::uint64_t body_bytes) noexcept {
    return body_bytes / page_bytes + (body_bytes % page_bytes != 0 ? 1 : 0);
}

struct category final : boost::system::error_category {
    const char* name() const noexcept override { return "reprotect.file_format"; }
    std::string message(int value) const override {
        switch (static_cast<format_error>(value)) {
            case format_error::not_ours:
                return "it is neither a digest map nor a differential";
            case format_error::unknown_version:
                return "its version is not known to this build";
            case format_error::too_short:
                return "it ends within its head";
            case format_error::bad_length:
                return "it was cut or extended: its length is not the one that its head gives";
            case format_error::bad_head_sum:
                return "the checksum of its head does not fit";
            case format_error::bad_page_sum:
                return "the checksum of a page does not fit";
            case format_error::wrong_kind:
                return "it is of the other kind (digest map or differential)";
            case format_error::bad_disk_size:
                return "the disk's size is out of range";
            case format_error::bad_geometry:
                return "the chunk or block size is out of range";
            case format_error::bad_algorithm:
                return "the digest algorithm is not one that is kept in files";
            case format_error::bad_flags:
                return "a flag is set that this version does not have";
            case format_error::bad_reserved:
                return "a reserved byte is not zero";
            case format_error::bad_label:
                return "the label is too long or not printable";
            case format_error::bad_count:
                return "the number of records does not fit the body";
            case format_error::bad_run:
                return "a run of digests is out of order or out of range";
            case format_error::bad_change:
                return "a change is out of order or out of range";
        }
        return "unknown";
    }
};

format_failure fail(format_error value, std::uint64_t offset) {
    return {make_error_code(value), offset};
}

// A head whose lengths and checksums fit the file.
struct checked_file {
    bytes_view head;  ///< the fixed fields
    bytes_view label;
    bytes_view body;
    std::uint64_t body_offset = 0;  ///< bytes from the start of the file
    std::uint64_t records = 0;
    std::uint64_t disk_bytes = 0;
};

std::optional<format_failure> check_sums(bytes_view file, std::uint64_t sums_offset, std::uint64_t body_offset) {
    const std::uint64_t head_sum_offset = body_offset - sum_bytes;
    const digest head_sum = sha256_128(file.first(head_sum_offset));
    if (std::memcmp(head_sum.bytes.data(), file.data() + head_sum_offset, sum_bytes) != 0)
        return fail(format_error::bad_head_sum, 0);
    for (std::uint64_t at = body_offset; at < file.size(); at += page_bytes) {
        const std::uint64_t page = (at - body_offset) / page_bytes;
        const digest sum = sha256_128(file.subspan(at, std::min<std::uint64_t>(page_bytes, file.size() - at)));
        if (std::memcmp(sum.bytes.data(), file.data() + sums_offset + page * sum_bytes, sum_bytes) != 0)
            return fail(format_error::bad_page_sum, at);
    }
    return std::nullopt;
}

format_result<checked_file> check_file(bytes_view file, file_kind kind) {
    const format_result<std::uint64_t> length = format_length(file);
    if (!length) return length.error();
    if (*length != file.size()) return fail(format_error::bad_length, std::min<std::uint64_t>(*length, file.size()));

    const auto label_bytes = load<std::uint32_t>(file, at_label_bytes);
    const auto body_bytes = load<std::uint64_t>(file, at_body_bytes);
    const std::uint64_t body_offset = file.size() - body_bytes;
    if (const auto failure = check_sums(file, format_fixed_bytes + label_bytes, body_offset)) return *failure;

    if (load<std::uint32_t>(file, at_kind) != static_cast<std::uint32_t>(kind))
        return fail(format_error::wrong_kind, at_kind);
    const auto disk_bytes = load<std::uint64_t>(file, at_disk_bytes);
    if (disk_bytes > disk_bytes_max) return fail(format_error::bad_disk_size, at_disk_bytes);
    if (load<std::uint32_t>(file, at_reserved) != 0) return fail(format_error::bad_reserved, at_reserved);
    const bytes_view label = file.subspan(format_fixed_bytes, label_bytes);
    for (std::size_t i = 0; i < label.size(); ++i)
        if (label[i] < std::byte{0x20} || label[i] > std::byte{0x7e})
            return fail(format_error::bad_label, format_fixed_bytes + i);
    return checked_file{file.first(format_fixed_bytes),
                        label,
                        file.subspan(body_offset),
                        body_offset,
                        load<std::uint64_t>(file, at_record_count),
                        disk_bytes};
}

std::vector<digest> load_digests(bytes_view bytes) {
    std::vector<digest> result(bytes.size() / digest_bytes);
    if (!result.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
}

// One run from the front of `body`, which it shortens; none where the grammar is broken.
std::optional<digest_run> take_run(bytes_view& body, const digest_map& map) {
    if (body.size() < run_head_bytes) return std::nullopt;
    digest_run run;
    run.first_chunk = load<std::uint64_t>(body, 0);
    const auto count = load<std::uint64_t>(body, 8);
    body = body.subspan(run_head_bytes);

    const std::uint64_t chunks = map.shape().chunk_count();
    if (count == 0 || run.first_chunk >= chunks || count > chunks - run.first_chunk) return std::nullopt;
    if (!map.runs().empty()) {
        const digest_run& last = map.runs().back();
        if (run.first_chunk <= last.first_chunk + last.chunks.size()) return std::nullopt;
    }
    if (count > body.size() / digest_bytes) return std::nullopt;
    const std::uint64_t left = body.size() / digest_bytes - count;
    std::uint64_t blocks = 0;
    if (map.with_blocks()) {
        const std::uint64_t full = map.shape().chunk_bytes / map.shape().block_bytes;
        if (count - 1 > left / full) return std::nullopt;
        blocks = (count - 1) * full + map.shape().blocks_in(run.first_chunk + count - 1);
        if (blocks > left) return std::nullopt;
    }
    run.chunks = load_digests(body.first(count * digest_bytes));
    run.blocks = load_digests(body.subspan(count * digest_bytes, blocks * digest_bytes));
    body = body.subspan((count + blocks) * digest_bytes);
    return run;
}

// The same for a change.
std::optional<change> take_change(bytes_view& body, const differential& before) {
    if (body.size() < change_bytes) return std::nullopt;
    change result;
    result.range = {load<std::uint64_t>(body, 0), load<std::uint64_t>(body, 8)};
    const auto kind = load<std::uint8_t>(body, 16);
    const auto reason = load<std::uint8_t>(body, 17);
    const bytes_view zeroes = body.subspan(18, 6);
    body = body.subspan(change_bytes);

    if (kind != 1 && kind != 2) return std::nullopt;
    if (reason < 1 || reason > 3) return std::nullopt;
    if (std::any_of(zeroes.begin(), zeroes.end(), [](std::byte b) { return b != std::byte{0}; })) return std::nullopt;
    result.kind = static_cast<change_kind>(kind);
    result.reason = static_cast<change_reason>(reason);
    const bool inside = result.range.length != 0 && result.range.offset <= before.disk_bytes() &&
                        result.range.length <= before.disk_bytes() - result.range.offset;
    if (!inside) return std::nullopt;
    if (!before.empty()) {
        const change& last = before.changes().back();
        if (result.range.offset < last.range.end()) return std::nullopt;
        if (result.range.offset == last.range.end() && result.kind == last.kind && result.reason == last.reason)
            return std::nullopt;
    }
    return result;
}

struct fixed_fields {
    file_kind kind = file_kind::digest_map;
    geometry shape;  ///< sizes 0 in a differential
    std::uint32_t algorithm = 0;
    std::uint32_t flags = 0;
    std::uint64_t records = 0;
    std::uint64_t body_bytes = 0;
    std::string_view label;
};

// A file with its head but for the checksums, and an empty body to be filled.
std::vector<std::byte> make_file(const fixed_fields& fields) {
    const std::uint64_t sums = page_count(fields.body_bytes) * sum_bytes;
    std::vector<std::byte> file(format_fixed_bytes + fields.label.size() + sums + sum_bytes + fields.body_bytes);
    std::memcpy(file.data() + at_magic, magic.data(), magic.size());
    store(file, at_version, version);
    store(file, at_kind, static_cast<std::uint32_t>(fields.kind));
    store(file, at_disk_bytes, fields.shape.disk_bytes);
    store(file, at_chunk_bytes, fields.shape.chunk_bytes);
    store(file, at_block_bytes, fields.shape.block_bytes);
    store(file, at_algorithm, fields.algorithm);
    store(file, at_flags, fields.flags);
    store(file, at_record_count, fields.records);
    store(file, at_body_bytes, fields.body_bytes);
    store(file, at_label_bytes, static_cast<std::uint32_t>(fields.label.size()));
    std::copy_n(reinterpret_cast<const std::byte*>(fields.label.data()), fields.label.size(),
                file.begin() + format_fixed_bytes);
    return file;
}

void store_sums(std::span<std::byte> file, std::uint64_t body_bytes) {
    const std::span<std::byte> body = file.last(body_bytes);
    const std::size_t head_sum_offset = file.size() - body.size() - sum_bytes;
    std::byte* sum_at = file.data() + head_sum_offset - page_count(body_bytes) * sum_bytes;
    for (std::size_t at = 0; at < body.size(); at += page_bytes, sum_at += sum_bytes) {
        const digest sum = sha256_128(body.subspan(at, std::min(page_bytes, body.size() - at)));
        std::memcpy(sum_at, sum.bytes.data(), sum_bytes);
    }
    const digest head_sum = sha256_128(file.first(head_sum_offset));
    std::memcpy(sum_at, head_sum.bytes.data(), sum_bytes);
}

std::byte* store_digests(std::byte* at, const std::vector<digest>& digests) {
    if (!digests.empty()) std::memcpy(at, digests.data(), digests.size() * digest_bytes);
    return at + digests.size() * digest_bytes;
}

[[noreturn]] void refuse_file(const std::filesystem::path& path, const std::string& what, const format_failure& failure,
                              const std::string& hint) {
    throw error(error_kind::corrupt_file,
                path.string() + " is no sound " + what + ": at offset " + std::to_string(failure.offset) + ", " +
                    failure.code.message(),
                {.device = path.string(), .operation = "load", .offset = failure.offset, .hint = hint});
}

// The whole file, read only once its first bytes say that it is one of ours and that its length is right: an image that
// is named by mistake is not read into memory. What is missing, must not be read or is no regular file is told by
// `read_whole_file`.
std::vector<std::byte> read_file(const std::filesystem::path& path, const std::string& what, const std::string& hint) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) return read_whole_file(path, format_fixed_bytes);
    std::vector<std::byte> head(format_fixed_bytes);
    std::ifstream stream(path, std::ios::binary);
    if (!stream) return read_whole_file(path, format_fixed_bytes);
    stream.read(reinterpret_cast<char*>(head.data()), static_cast<std::streamsize>(head.size()));
    head.resize(static_cast<std::size_t>(stream.gcount()));
    const format_result<std::uint64_t> length = format_length(head);
    if (!length) refuse_file(path, what, length.error(), hint);
    const std::uint64_t size = std::filesystem::file_size(path, ignored);
    if (*length != size) refuse_file(path, what, fail(format_error::bad_length, std::min(*length, size)), hint);
    return read_whole_file(path, *length);
}

}  // namespace

const boost::system::error_category& format_category() noexcept {
    static const category instance;
    return instance;
}

boost::system::error_code make_error_code(format_error value) noexcept {
    return {static_cast<int>(value), format_category()};
}

format_result<std::uint64_t> format_length(std::span<const std::byte> head) {
    const std::size_t known = std::min(head.size(), magic.size());
    if (known == 0 || std::memcmp(head.data(), magic.data(), known) != 0) return fail(format_error::not_ours, at_magic);
    if (head.size() < format_fixed_bytes) return fail(format_error::too_short, head.size());
    if (load<std::uint32_t>(head, at_version) != version) return fail(format_error::unknown_version, at_version);
    const auto label_bytes = load<std::uint32_t>(head, at_label_bytes);
    if (label_bytes > label_bytes_max) return fail(format_error::bad_label, at_label_bytes);
    // No file is longer than 2^63 - 1, so a body is not either, and the sum below does not wrap.
    const auto body_bytes = load<std::uint64_t>(head, at_body_bytes);
    if (body_bytes > disk_bytes_max) return fail(format_error::bad_length, at_body_bytes);
    return format_fixed_bytes + label_bytes + page_count(body_bytes) * sum_bytes + sum_bytes + body_bytes;
}

format_result<digest_map> parse_digest_map(std::span<const std::byte> file) {
    const format_result<checked_file> checked = check_file(file, file_kind::digest_map);
    if (!checked) return checked.error();

    const geometry shape{checked->disk_bytes, load<std::uint32_t>(checked->head, at_chunk_bytes),
                         load<std::uint32_t>(checked->head, at_block_bytes)};
    if (!valid_geometry(shape)) return fail(format_error::bad_geometry, at_chunk_bytes);
    if (load<std::uint32_t>(checked->head, at_algorithm) != static_cast<std::uint32_t>(digest_algorithm::sha256))
        return fail(format_error::bad_algorithm, at_algorithm);
    const auto flags = load<std::uint32_t>(checked->head, at_flags);
    if ((flags & ~flag_blocks) != 0) return fail(format_error::bad_flags, at_flags);

    digest_map map(shape, digest_algorithm::sha256, (flags & flag_blocks) != 0);
    map.set_label(std::string(reinterpret_cast<const char*>(checked->label.data()), checked->label.size()));
    bytes_view body = checked->body;
    for (std::uint64_t i = 0; i < checked->records; ++i) {
        const std::uint64_t offset = file.size() - body.size();
        if (body.empty()) return fail(format_error::bad_count, at_record_count);
        std::optional<digest_run> run = take_run(body, map);
        if (!run) return fail(format_error::bad_run, offset);
        map.append(std::move(*run));
    }
    if (!body.empty()) return fail(format_error::bad_count, file.size() - body.size());
    return map;
}

format_result<differential> parse_differential(std::span<const std::byte> file) {
    const format_result<checked_file> checked = check_file(file, file_kind::differential);
    if (!checked) return checked.error();

    for (const std::size_t at : {at_chunk_bytes, at_block_bytes, at_algorithm, at_flags, at_label_bytes})
        if (load<std::uint32_t>(checked->head, at) != 0) return fail(format_error::bad_reserved, at);

    differential result(checked->disk_bytes);
    bytes_view body = checked->body;
    for (std::uint64_t i = 0; i < checked->records; ++i) {
        const std::uint64_t offset = file.size() - body.size();
        if (body.empty()) return fail(format_error::bad_count, at_record_count);
        const std::optional<change> one = take_change(body, result);
        if (!one) return fail(format_error::bad_change, offset);
        result.add(*one);
    }
    if (!body.empty()) return fail(format_error::bad_count, file.size() - body.size());
    return result;
}

std::vector<std::byte> serialize(const digest_map& map) {
    REPROTECT_ASSERT(map.algorithm() == digest_algorithm::sha256);
    std::uint64_t body_bytes = 0;
    for (const digest_run& run : map.runs())
        body_bytes += run_head_bytes + (run.chunks.size() + run.blocks.size()) * digest_bytes;
    std::vector<std::byte> file = make_file({.kind = file_kind::digest_map,
                                             .shape = map.shape(),
                                             .algorithm = static_cast<std::uint32_t>(map.algorithm()),
                                             .flags = map.with_blocks() ? flag_blocks : 0,
                                             .records = map.runs().size(),
                                             .body_bytes = body_bytes,
                                             .label = map.label()});
    std::byte* at = file.data() + file.size() - body_bytes;
    for (const digest_run& run : map.runs()) {
        const std::span<std::byte> head(at, run_head_bytes);
        store(head, 0, run.first_chunk);
        store(head, 8, std::uint64_t{run.chunks.size()});
        at = store_digests(at + run_head_bytes, run.chunks);
        at = store_digests(at, run.blocks);
    }
    store_sums(file, body_bytes);
    return file;
}

std::vector<std::byte> serialize(const differential& value) {
    const std::uint64_t body_bytes = value.changes().size() * change_bytes;
    std::vector<std::byte> file = make_file({.kind = file_kind::differential,
                                             .shape = {value.disk_bytes(), 0, 0},
                                             .records = value.changes().size(),
                                             .body_bytes = body_bytes,
                                             .label = {}});
    std::byte* at = file.data() + file.size() - body_bytes;
    for (const change& one : value.changes()) {
        const std::span<std::byte> record(at, change_bytes);
        store(record, 0, one.range.offset);
        store(record, 8, one.range.length);
        store(record, 16, static_cast<std::uint8_t>(one.kind));
        store(record, 17, static_cast<std::uint8_t>(one.reason));
        at += change_bytes;
    }
    store_sums(file, body_bytes);
    return file;
}

void save(const digest_map& map, const std::filesystem::path& path) {
    if (map.algorithm() != digest_algorithm::sha256)
        throw error(error_kind::usage,
                    std::string("a digest map under ") + to_string(map.algorithm()) + " cannot be saved to " +
                        path.string() + ": its secret is never kept, so no later map would compare with it",
                    {.device = path.string(), .operation = "save", .hint = "make the map with --digest sha256"});
    write_file_atomically(path, serialize(map), file_mode);
}

digest_map load_digest_map(const std::filesystem::path& path) {
    const std::string hint = "make the map again with `reprotect checksum DISK -o MAP`, or take it from a copy";
    const std::vector<std::byte> file = read_file(path, "digest map", hint);
    format_result<digest_map> map = parse_digest_map(file);
    if (!map) refuse_file(path, "digest map", map.error(), hint);
    return std::move(*map);
}

void save(const differential& value, const std::filesystem::path& path) {
    write_file_atomically(path, serialize(value), file_mode);
}

differential load_differential(const std::filesystem::path& path) {
    const std::string hint =
        "make the differential again with `reprotect diff SOURCE TARGET -o FILE`, or take it from a copy";
    const std::vector<std::byte> file = read_file(path, "differential", hint);
    format_result<differential> value = parse_differential(file);
    if (!value) refuse_file(path, "differential", value.error(), hint);
    return std::move(*value);
}

}  // namespace reprotect
