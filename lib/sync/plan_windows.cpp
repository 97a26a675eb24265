// The division of a session's memory; see the header for the formula.
#include "sync/plan_windows.hpp"

#include <algorithm>

#include "scan/disk_worker.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t share_of_digests = 12;
constexpr std::uint64_t buffers_a_read = 3;

struct sizes {
    std::uint64_t scratch, entry, buffer;
};

sizes sizes_of(const sync_options& options, bool whole_chunk_scratch) {
    const std::uint64_t piece = whole_chunk_scratch
                                    ? options.chunk_bytes
                                    : std::min<std::uint64_t>(options.chunk_bytes, disk_worker::piece_bytes);
    return {2ull * options.depth * piece, 2ull * (options.chunk_bytes / options.block_bytes) * sizeof(digest) + 512,
            options.chunk_bytes};
}

}  // namespace

windows plan_windows(const sync_options& options, bool whole_chunk_scratch) {
    const sizes each = sizes_of(options, whole_chunk_scratch);
    const std::uint64_t for_digests = options.memory_bytes / share_of_digests;
    const std::uint64_t rest = options.memory_bytes - for_digests;
    windows result;
    result.digest_entries = std::clamp<std::uint64_t>(for_digests / each.entry, 1, 4096);
    result.buffers = std::clamp<std::uint64_t>(rest > each.scratch ? (rest - each.scratch) / each.buffer : 0, 1,
                                               buffers_a_read * options.depth);
    return result;
}

std::uint64_t memory_minimum(const sync_options& options) {
    const bool whole = options.verify == verify_level::reread;
    const sizes each = sizes_of(options, whole);
    return std::max(share_of_digests * each.entry,
                    (each.scratch + each.buffer) * share_of_digests / (share_of_digests - 1) + 1);
}

}  // namespace reprotect
