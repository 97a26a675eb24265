// Set arithmetic on sorted vectors of extents. Searches are binary; adding at the end, the usual case, is constant.
#include "reprotect/extent.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace reprotect {
namespace {

// The first extent that ends after `offset`.
template <typename Extents>
auto first_ending_after(Extents& extents, std::uint64_t offset) {
    return std::partition_point(extents.begin(), extents.end(),
                                [offset](const extent& e) { return e.end() <= offset; });
}

}  // namespace

extent_set::extent_set(std::initializer_list<extent> extents) {
    for (const extent& range : extents) add(range);
}

void extent_set::add(extent range) {
    if (range.empty()) return;
    REPROTECT_ASSERT(range.offset + range.length > range.offset);
    if (extents_.empty() || extents_.back().end() < range.offset) {
        extents_.push_back(range);
        return;
    }
    // Everything that touches the range, neighbours included, becomes one extent.
    const auto first =
        std::partition_point(extents_.begin(), extents_.end(), [&](const extent& e) { return e.end() < range.offset; });
    const auto last =
        std::partition_point(first, extents_.end(), [&](const extent& e) { return e.offset <= range.end(); });
    if (first == last) {
        extents_.insert(first, range);
        return;
    }
    const std::uint64_t begin = std::min(first->offset, range.offset);
    const std::uint64_t end = std::max(std::prev(last)->end(), range.end());
    *first = {begin, end - begin};
    extents_.erase(std::next(first), last);
}

void extent_set::remove(extent range) {
    if (range.empty()) return;
    const auto first = first_ending_after(extents_, range.offset);
    const auto last =
        std::partition_point(first, extents_.end(), [&](const extent& e) { return e.offset < range.end(); });
    if (first == last) return;
    const extent head{first->offset, first->offset < range.offset ? range.offset - first->offset : 0};
    const std::uint64_t old_end = std::prev(last)->end();
    const extent tail{range.end(), old_end > range.end() ? old_end - range.end() : 0};
    auto at = extents_.erase(first, last);
    if (!tail.empty()) at = extents_.insert(at, tail);
    if (!head.empty()) extents_.insert(at, head);
}

std::uint64_t extent_set::total() const noexcept {
    std::uint64_t sum = 0;
    for (const extent& range : extents_) sum += range.length;
    return sum;
}

bool extent_set::contains(extent range) const noexcept {
    if (range.empty()) return true;
    const auto at = first_ending_after(extents_, range.offset);
    return at != extents_.end() && at->contains(range);
}

bool extent_set::overlaps(extent range) const noexcept {
    if (range.empty()) return false;
    const auto at = first_ending_after(extents_, range.offset);
    return at != extents_.end() && at->offset < range.end();
}

extent_set extent_set::within(extent range) const {
    extent_set result;
    for (auto at = first_ending_after(extents_, range.offset); at != extents_.end() && at->offset < range.end(); ++at)
        result.add(intersect(*at, range));
    return result;
}

extent_set extent_set::gaps(extent range) const {
    extent_set result;
    std::uint64_t position = range.offset;
    for (auto at = first_ending_after(extents_, range.offset); at != extents_.end() && at->offset < range.end(); ++at) {
        if (at->offset > position) result.add({position, at->offset - position});
        position = at->end();
    }
    if (position < range.end()) result.add({position, range.end() - position});
    return result;
}

}  // namespace reprotect
