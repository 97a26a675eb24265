// The file of a digest map or a differential, as it is and with checksums that
// fit it, since anybody can compute those.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/little_endian.hpp"
#include "codec/digester.hpp"
#include "fuzz/fuzzers.hpp"
#include "plan/file_format.hpp"

namespace reprotect::fuzz {
namespace {

constexpr std::size_t body_bytes_at = 48;
constexpr std::size_t page_bytes = 64 * 1024;
constexpr std::size_t sum_bytes = 16;

// The same file with the checksums that its grammar asks for, and the length of
// its body that its own length leaves.
std::vector<std::byte> resealed(input file) {
    std::vector<std::byte> result(file.begin(), file.end());
    const auto length = format_length(file);
    if (!length || *length != file.size()) return {};
    const auto body_bytes = little_endian::load<std::uint64_t>(file, body_bytes_at);
    const std::size_t body_at = file.size() - static_cast<std::size_t>(body_bytes);
    const std::size_t pages = (static_cast<std::size_t>(body_bytes) + page_bytes - 1) / page_bytes;
    const auto put = [&](std::size_t at, const digest& sum) {
        std::memcpy(result.data() + at, sum.bytes.data(), sum_bytes);
    };
    const input body = input(result).subspan(body_at);
    for (std::size_t page = 0; page < pages; ++page) {
        const std::size_t begin = page * page_bytes;
        put(body_at - (pages - page + 1) * sum_bytes,
            sha256_128(body.subspan(begin, std::min(page_bytes, body.size() - begin))));
    }
    put(body_at - sum_bytes, sha256_128(input(result).first(body_at - sum_bytes)));
    return result;
}

void check_map(const digest_map& map) {
    const geometry& shape = map.shape();
    std::uint64_t next = 0;
    for (const digest_run& run : map.runs()) {
        promise(!run.chunks.empty() && run.first_chunk >= next, "runs are sorted and disjoint");
        promise(run.first_chunk < shape.chunk_count() && run.chunks.size() <= shape.chunk_count() - run.first_chunk,
                "runs end within the disk");
        next = run.first_chunk + run.chunks.size() + 1;
    }
    promise(root_of(map) == root_of(map), "a map has a root");
    promise(compare(map, map).empty(), "a map does not differ from itself");
}

void check_differential(const differential& value) {
    std::uint64_t next = 0;
    for (const change& each : value.changes()) {
        promise(!each.range.empty() && each.range.offset >= next && each.range.offset <= value.disk_bytes() &&
                    each.range.length <= value.disk_bytes() - each.range.offset,
                "changes are sorted, disjoint and within the disk");
        next = each.range.end();
    }
    promise(value.data_bytes() + value.zero_bytes() == value.extents().total(), "changes cover what they count");
}

void check(input file) {
    const auto length = format_length(file.first(std::min(file.size(), format_fixed_bytes)));
    const auto map = parse_digest_map(file);
    const auto changes = parse_differential(file);
    promise(!(map && changes), "a file is of one kind");
    if (!map) promise(map.error().offset <= file.size(), "damage lies within the file");
    if (!map && !changes) return;
    promise(length && *length == file.size(), "a file that is read has the length that it says");
    const auto again = map ? serialize(*map) : serialize(*changes);
    promise(std::ranges::equal(again, file), "a value has one file");
    if (map)
        check_map(*map);
    else
        check_differential(*changes);
}

}  // namespace

void map_file(input bytes) {
    check(bytes);
    check(resealed(bytes));
}

}  // namespace reprotect::fuzz
