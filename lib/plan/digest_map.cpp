// The digest map: sorted runs of consecutive chunks. A chunk is found by binary search over the runs. Scans deliver
// chunks in nearly the order of the disk, so a chunk is usually appended to the last run or closes a gap right before
// it; runs that come to touch are joined at once, which keeps the form canonical: the same chunks give the same runs in
// whatever order they were set.
#include "reprotect/digest_map.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace reprotect {
namespace {

constexpr std::size_t label_bytes_max = 4096;  // guessed: the longest path and a date
constexpr std::string_view label_cut = "...";

std::uint64_t end_of(const digest_run& run) noexcept {
    return run.first_chunk + run.chunks.size();
}

// A run cannot hold more blocks than memory, so this fits; only the disk's last chunk has fewer, and nothing follows
// it.
std::ptrdiff_t blocks_before(const geometry& shape, const digest_run& run, std::uint64_t chunk) noexcept {
    return static_cast<std::ptrdiff_t>((chunk - run.first_chunk) * (shape.chunk_bytes / shape.block_bytes));
}

void join(digest_run& run, digest_run&& next) {
    run.chunks.insert(run.chunks.end(), next.chunks.begin(), next.chunks.end());
    run.blocks.insert(run.blocks.end(), next.blocks.begin(), next.blocks.end());
}

}  // namespace

digest_map::digest_map(geometry shape, digest_algorithm algorithm, bool with_blocks)
    : shape_(shape), algorithm_(algorithm), with_blocks_(with_blocks) {
    check_geometry(shape_);
}

void digest_map::set_label(const std::string& label) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string printable;
    for (const char letter : label) {
        const auto code = static_cast<unsigned char>(letter);
        const bool plain = code >= 0x20 && code < 0x7f;
        if (plain)
            printable += letter;
        else
            printable.append({'\\', 'x', digits[code >> 4], digits[code & 15]});
        if (printable.size() > label_bytes_max) {
            printable.resize(label_bytes_max - label_cut.size());
            printable += label_cut;
            break;
        }
    }
    label_ = std::move(printable);
}

void digest_map::set(std::uint64_t chunk, const digest& value, const std::vector<digest>& blocks) {
    REPROTECT_ASSERT(chunk < shape_.chunk_count());
    REPROTECT_ASSERT(blocks.size() == (with_blocks_ ? shape_.blocks_in(chunk) : 0));
    const auto next =
        std::partition_point(runs_.begin(), runs_.end(), [&](const digest_run& run) { return end_of(run) <= chunk; });
    if (next != runs_.end() && next->first_chunk <= chunk) {
        next->chunks[chunk - next->first_chunk] = value;
        if (with_blocks_)
            std::copy(blocks.begin(), blocks.end(), next->blocks.begin() + blocks_before(shape_, *next, chunk));
        return;
    }
    const bool touches_next = next != runs_.end() && next->first_chunk == chunk + 1;
    if (next != runs_.begin() && end_of(*std::prev(next)) == chunk) {
        digest_run& previous = *std::prev(next);
        previous.chunks.push_back(value);
        previous.blocks.insert(previous.blocks.end(), blocks.begin(), blocks.end());
        if (touches_next) {
            join(previous, std::move(*next));
            runs_.erase(next);
        }
    } else if (touches_next) {
        next->first_chunk = chunk;
        next->chunks.insert(next->chunks.begin(), value);
        next->blocks.insert(next->blocks.begin(), blocks.begin(), blocks.end());
    } else {
        runs_.insert(next, digest_run{chunk, {value}, blocks});
    }
}

void digest_map::append(digest_run run) {
    if (run.chunks.empty()) return;
    const std::uint64_t count = run.chunks.size();
    REPROTECT_ASSERT(run.first_chunk < shape_.chunk_count() && count <= shape_.chunk_count() - run.first_chunk);
    REPROTECT_ASSERT(runs_.empty() || end_of(runs_.back()) <= run.first_chunk);
    const std::uint64_t last = run.first_chunk + count - 1;
    const std::uint64_t before_last = (count - 1) * (shape_.chunk_bytes / shape_.block_bytes);
    REPROTECT_ASSERT(run.blocks.size() == (with_blocks_ ? before_last + shape_.blocks_in(last) : 0));
    if (!runs_.empty() && end_of(runs_.back()) == run.first_chunk)
        join(runs_.back(), std::move(run));
    else
        runs_.push_back(std::move(run));
}

std::optional<digest> digest_map::find(std::uint64_t chunk) const {
    const auto at =
        std::partition_point(runs_.begin(), runs_.end(), [&](const digest_run& run) { return end_of(run) <= chunk; });
    if (at == runs_.end() || at->first_chunk > chunk) return std::nullopt;
    return at->chunks[chunk - at->first_chunk];
}

}  // namespace reprotect
