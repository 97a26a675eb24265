// Extents and sets of extents: the arithmetic of byte ranges that everything else counts in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace reprotect {

/// A range of bytes. `offset + length` never wraps: `checked` builds are the caller's duty.
struct extent {
    std::uint64_t offset = 0;  ///< bytes
    std::uint64_t length = 0;  ///< bytes

    constexpr std::uint64_t end() const noexcept { return offset + length; }
    constexpr bool empty() const noexcept { return length == 0; }
    constexpr bool contains(extent other) const noexcept { return offset <= other.offset && other.end() <= end(); }
    friend constexpr bool operator==(extent, extent) = default;
};

/// The bytes that two extents share; length 0 where they share none.
constexpr extent intersect(extent a, extent b) noexcept {
    const std::uint64_t begin = a.offset > b.offset ? a.offset : b.offset;
    const std::uint64_t end = a.end() < b.end() ? a.end() : b.end();
    return begin < end ? extent{begin, end - begin} : extent{begin, 0};
}

/// Sorted, disjoint, non-adjacent extents. Cost: adding at the end is O(1), elsewhere O(n).
class extent_set {
public:
    extent_set() = default;
    extent_set(std::initializer_list<extent> extents);

    /// Adds a range; merges with what it touches. Empty ranges are ignored.
    void add(extent range);

    /// Takes a range out.
    void remove(extent range);

    bool empty() const noexcept { return extents_.empty(); }
    std::size_t count() const noexcept { return extents_.size(); }

    /// Bytes covered.
    std::uint64_t total() const noexcept;

    /// True where every byte of the range is covered; an empty range always is.
    bool contains(extent range) const noexcept;

    /// True where at least one byte of the range is covered.
    bool overlaps(extent range) const noexcept;

    /// The parts of the set that lie within a range. Cost O(log n + result).
    extent_set within(extent range) const;

    /// The parts of a range that the set does not cover.
    extent_set gaps(extent range) const;

    auto begin() const noexcept { return extents_.begin(); }
    auto end() const noexcept { return extents_.end(); }
    const extent& operator[](std::size_t index) const { return extents_[index]; }
    friend bool operator==(const extent_set&, const extent_set&) = default;

private:
    std::vector<extent> extents_;
};

}  // namespace reprotect
