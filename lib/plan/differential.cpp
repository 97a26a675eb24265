// The differential, and how it comes from two digest maps.
//
// `compare` sweeps both lists of runs at once, from one boundary to the next: between two boundaries each side either
// has every chunk or none. Where one side has none, the whole stretch is one change, however long; where both have,
// chunks are compared one by one. So the cost is that of the stored runs and digests, not of the disk.
#include "reprotect/differential.hpp"

#include "base/assert.hpp"
#include "reprotect/error.hpp"

#include <algorithm>
#include <iterator>
#include <span>

namespace reprotect {
namespace {

bool same_sort(const change& a, const change& b) noexcept {
    return a.kind == b.kind && a.reason == b.reason;
}

std::uint64_t bytes_of(const std::vector<change>& changes, change_kind kind) noexcept {
    std::uint64_t sum = 0;
    for (const change& value : changes)
        if (value.kind == kind) sum += value.range.length;
    return sum;
}

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
    throw error(error_kind::usage, message, {.operation = "compare", .hint = hint});
}

void check_comparable(const digest_map& source, const digest_map& target) {
    if (source.algorithm() != target.algorithm())
        refuse(std::string("the source's digest map holds ") + to_string(source.algorithm()) + ", the target's " +
                   to_string(target.algorithm()) + ": they do not compare",
               "make both maps with --digest sha256");
    if (source.algorithm() != digest_algorithm::sha256)
        refuse("digest maps under xxh3 do not compare: each session has its own secret",
               "make both maps with --digest sha256");
    const auto both = [](std::uint32_t a, std::uint32_t b) { return std::to_string(a) + " and " + std::to_string(b); };
    if (source.shape().chunk_bytes != target.shape().chunk_bytes)
        refuse("the digest maps have chunks of " + both(source.shape().chunk_bytes, target.shape().chunk_bytes) +
                   " bytes: they do not compare",
               "make both maps with the same --chunk-size");
    if (source.shape().block_bytes != target.shape().block_bytes)
        refuse("the digest maps have blocks of " + both(source.shape().block_bytes, target.shape().block_bytes) +
                   " bytes: they do not compare",
               "make both maps with the same --block-size");
}

// The runs of one map, walked from the first to the last.
class run_cursor {
public:
    explicit run_cursor(const digest_map& map) : map_(map) {}

    bool covers(std::uint64_t chunk) const noexcept { return !done() && run().first_chunk <= chunk; }

    // The first chunk from `chunk` on that is in a run, and the first that is not; `limit` where there is none.
    std::uint64_t next_covered(std::uint64_t chunk, std::uint64_t limit) const noexcept {
        return done() ? limit : std::min(limit, std::max(chunk, run().first_chunk));
    }
    std::uint64_t next_boundary(std::uint64_t chunk, std::uint64_t limit) const noexcept {
        return covers(chunk) ? std::min(limit, end()) : next_covered(chunk, limit);
    }
    void pass(std::uint64_t chunk) noexcept {
        if (!done() && end() <= chunk) ++at_;
    }

    // Of a chunk that is covered.
    const digest& chunk_digest(std::uint64_t chunk) const noexcept { return run().chunks[chunk - run().first_chunk]; }
    std::span<const digest> block_digests(std::uint64_t chunk) const noexcept {
        const std::uint64_t before =
            (chunk - run().first_chunk) * (map_.shape().chunk_bytes / map_.shape().block_bytes);
        return std::span(run().blocks).subspan(before, map_.shape().blocks_in(chunk));
    }

private:
    bool done() const noexcept { return at_ == map_.runs().size(); }
    const digest_run& run() const noexcept { return map_.runs()[at_]; }
    std::uint64_t end() const noexcept { return run().first_chunk + run().chunks.size(); }

    const digest_map& map_;
    std::size_t at_ = 0;
};

class comparison {
public:
    comparison(const digest_map& source, const digest_map& target)
        : source_shape_(source.shape()),
          target_shape_(target.shape()),
          by_block_(source.with_blocks() && target.with_blocks()),
          source_(source),
          target_(target),
          result_(source.shape().disk_bytes) {}

    differential run() {
        const std::uint64_t limit = source_shape_.chunk_count();
        std::uint64_t first = 0;
        while (true) {
            first = std::min(source_.next_covered(first, limit), target_.next_covered(first, limit));
            if (first == limit) return std::move(result_);
            const std::uint64_t end =
                std::min(source_.next_boundary(first, limit), target_.next_boundary(first, limit));
            const bool in_source = source_.covers(first);
            const bool in_target = target_.covers(first);
            if (in_source && in_target)
                for (std::uint64_t chunk = first; chunk < end; ++chunk) compare_chunk(chunk);
            else if (in_source)
                add(stretch(first, end, source_shape_.disk_bytes), change_kind::data, change_reason::target_hole);
            else
                add(stretch(first, end, std::min(source_shape_.disk_bytes, target_shape_.disk_bytes)),
                    change_kind::zero, change_reason::source_hole);
            source_.pass(end);
            target_.pass(end);
            first = end;
        }
    }

private:
    extent stretch(std::uint64_t first, std::uint64_t end, std::uint64_t disk_bytes) const noexcept {
        const std::uint64_t offset = first * source_shape_.chunk_bytes;
        return {offset, std::min(end * source_shape_.chunk_bytes, disk_bytes) - offset};
    }

    void add(extent range, change_kind kind, change_reason reason) { result_.add({range, kind, reason}); }

    void compare_chunk(std::uint64_t chunk) {
        const bool same_length = source_shape_.chunk(chunk) == target_shape_.chunk(chunk);
        if (same_length && source_.chunk_digest(chunk) == target_.chunk_digest(chunk)) return;
        // A map whose chunk differs while no block does contradicts itself; it must not hide the change.
        if (by_block_ && compare_blocks(chunk)) return;
        add(source_shape_.chunk(chunk), change_kind::data, change_reason::changed);
    }

    bool compare_blocks(std::uint64_t chunk) {
        const std::span<const digest> source = source_.block_digests(chunk);
        const std::span<const digest> target = target_.block_digests(chunk);
        bool found = false;
        for (std::uint32_t index = 0; index < source.size(); ++index) {
            const extent range = source_shape_.block(chunk, index);
            if (index >= target.size()) {
                add(range, change_kind::data, change_reason::target_hole);
            } else if (range == target_shape_.block(chunk, index) && source[index] == target[index]) {
                continue;
            } else {
                add(range, change_kind::data, change_reason::changed);
            }
            found = true;
        }
        // A longer target's chunk may differ beyond the source's end alone.
        return found || source_shape_.chunk(chunk).length < target_shape_.chunk(chunk).length;
    }

    geometry source_shape_;
    geometry target_shape_;
    bool by_block_;
    run_cursor source_;
    run_cursor target_;
    differential result_;
};

}  // namespace

const char* to_string(change_kind kind) noexcept {
    switch (kind) {
        case change_kind::data:
            return "data";
        case change_kind::zero:
            return "zero";
    }
    return "unknown";
}

const char* to_string(change_reason reason) noexcept {
    switch (reason) {
        case change_reason::changed:
            return "changed";
        case change_reason::target_hole:
            return "target_hole";
        case change_reason::source_hole:
            return "source_hole";
    }
    return "unknown";
}

std::uint64_t differential::data_bytes() const noexcept {
    return bytes_of(changes_, change_kind::data);
}

std::uint64_t differential::zero_bytes() const noexcept {
    return bytes_of(changes_, change_kind::zero);
}

extent_set differential::extents() const {
    extent_set result;
    for (const change& value : changes_) result.add(value.range);
    return result;
}

void differential::add(const change& value) {
    if (value.range.empty()) return;
    REPROTECT_ASSERT(value.range.offset < disk_bytes_ && value.range.length <= disk_bytes_ - value.range.offset);
    const auto next = changes_.empty() || changes_.back().range.end() <= value.range.offset
                          ? changes_.end()
                          : std::partition_point(changes_.begin(), changes_.end(), [&](const change& other) {
                                return other.range.end() <= value.range.offset;
                            });
    REPROTECT_ASSERT(next == changes_.end() || value.range.end() <= next->range.offset);
    const bool joins_next =
        next != changes_.end() && next->range.offset == value.range.end() && same_sort(*next, value);
    if (next != changes_.begin()) {
        change& previous = *std::prev(next);
        if (previous.range.end() == value.range.offset && same_sort(previous, value)) {
            previous.range.length += value.range.length;
            if (joins_next) {
                previous.range.length += next->range.length;
                changes_.erase(next);
            }
            return;
        }
    }
    if (joins_next)
        next->range = {value.range.offset, value.range.length + next->range.length};
    else
        changes_.insert(next, value);
}

differential compare(const digest_map& source, const digest_map& target) {
    check_comparable(source, target);
    return comparison(source, target).run();
}

std::string to_text(const differential& value) {
    std::string text;
    for (const change& one : value.changes()) {
        text += std::to_string(one.range.offset);
        text += ' ';
        text += std::to_string(one.range.length);
        text += ' ';
        text += to_string(one.kind);
        text += ' ';
        text += to_string(one.reason);
        text += '\n';
    }
    return text;
}

}  // namespace reprotect
