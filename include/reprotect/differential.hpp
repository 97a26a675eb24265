// The differential: the extents of the target that must be written or zeroed to equal the source, and why.
#pragma once

#include "reprotect/digest_map.hpp"
#include "reprotect/extent.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace reprotect {

/// data: the source holds data there. zero: the source reads as zeroes there.
enum class change_kind : std::uint8_t { data = 1, zero = 2 };

/// changed: both hold data and it differs. target_hole: the target has nothing there. source_hole: the source has
/// nothing there.
enum class change_reason : std::uint8_t { changed = 1, target_hole = 2, source_hole = 3 };

const char* to_string(change_kind kind) noexcept;
const char* to_string(change_reason reason) noexcept;

struct change {
    extent range;
    change_kind kind = change_kind::data;
    change_reason reason = change_reason::changed;
    friend bool operator==(const change&, const change&) = default;
};

/// Sorted, disjoint; neighbours of the same kind and reason are merged. Memory: 32 bytes an extent.
class differential {
public:
    differential() = default;
    explicit differential(std::uint64_t disk_bytes) : disk_bytes_(disk_bytes) {}

    std::uint64_t disk_bytes() const noexcept { return disk_bytes_; }
    const std::vector<change>& changes() const noexcept { return changes_; }
    bool empty() const noexcept { return changes_.empty(); }
    std::uint64_t data_bytes() const noexcept;
    std::uint64_t zero_bytes() const noexcept;

    /// The extents of both kinds, to hand to a sync as the set to stay within.
    extent_set extents() const;

    /// Adds a change; ranges may come in any order but must not overlap or end beyond the disk (asserted). Empty ones
    /// are ignored. At the end O(1), else O(n).
    void add(const change& value);

    friend bool operator==(const differential&, const differential&) = default;

private:
    std::uint64_t disk_bytes_ = 0;
    std::vector<change> changes_;
};

/// What makes the disk of `target` equal to the disk of `source`: by block where both maps hold blocks, else by chunk.
/// Pure. Throws `usage` where algorithm, chunk or block size differ or the algorithm is xxh3 (maps of different
/// sessions do not compare). Where the sizes differ the target counts as zero beyond its end, and what it has beyond
/// the source is left out.
differential compare(const digest_map& source, const digest_map& target);

/// One line an extent: "offset length kind reason".
std::string to_text(const differential& value);

/// As for digest maps: temporary file, fsync, rename; every bit flip is found. Same errors.
void save(const differential& value, const std::filesystem::path& path);
differential load_differential(const std::filesystem::path& path);

}  // namespace reprotect
