// The digest map: the digests of one disk at one moment, as a value to hold, save, load and compare.
#pragma once

#include "reprotect/digest.hpp"
#include "reprotect/geometry.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace reprotect {

/// Digests of consecutive chunks (and, with `blocks`, of each of their blocks, chunk after chunk).
struct digest_run {
    std::uint64_t first_chunk = 0;
    std::vector<digest> chunks;
    std::vector<digest> blocks;  ///< every block of these chunks in order, where the map keeps blocks; else empty
    friend bool operator==(const digest_run&, const digest_run&) = default;
};

/// Chunks that no run covers read as zeroes. Runs are sorted, disjoint and not adjacent, so equal content means equal
/// maps. Memory: 16 bytes a chunk that holds data, plus 16 a block where blocks are kept, plus about 100 a run; vectors
/// grow by doubling.
class digest_map {
public:
    digest_map() = default;
    /// Throws `error` (usage) where `check_geometry` does.
    digest_map(geometry shape, digest_algorithm algorithm, bool with_blocks = false);

    const geometry& shape() const noexcept { return shape_; }
    digest_algorithm algorithm() const noexcept { return algorithm_; }
    bool with_blocks() const noexcept { return with_blocks_; }
    const std::vector<digest_run>& runs() const noexcept { return runs_; }

    /// What the map is of: free text for people, at most 4096 bytes ("/dev/vdb, 2026-11-22T10:00:00Z"); always safe to
    /// print.
    const std::string& label() const noexcept { return label_; }
    /// Bytes that are not printable ASCII become "\xNN"; what is too long is cut and ends in "...".
    void set_label(const std::string& label);

    /// Sets one chunk's digest, or replaces it. Chunks may come in any order; near order is cheap. `blocks` holds the
    /// digest of each block of the chunk where the map keeps blocks, and is empty where it does not (asserted).
    void set(std::uint64_t chunk, const digest& value, const std::vector<digest>& blocks = {});

    /// Adds a run behind all others (asserted); joins it to the last one where they touch.
    void append(digest_run run);

    /// The digest of a chunk; none where the chunk reads as zeroes.
    std::optional<digest> find(std::uint64_t chunk) const;

    friend bool operator==(const digest_map&, const digest_map&) = default;

private:
    geometry shape_;
    digest_algorithm algorithm_ = digest_algorithm::sha256;
    bool with_blocks_ = false;
    std::string label_;
    std::vector<digest_run> runs_;
};

/// The root of a map: a binary tree over chunk indexes, with the node's kind and length in what is hashed. See
/// lib/plan/digest_tree.hpp. Only for `sha256` maps; throws `usage` otherwise.
digest root_of(const digest_map& map);

/// Writes a map by temporary file, fsync and rename. Only `sha256` maps may be saved (an xxh3 secret is never
/// persisted): throws `usage` otherwise, `device_io` or `no_space` where writing fails. Format:
/// lib/plan/file_format.hpp.
void save(const digest_map& map, const std::filesystem::path& path);

/// Throws `corrupt_file` (with the offset where it was found) where any bit differs from what was saved or the file is
/// something else; `not_found`, `permission`, `unsuitable` (a directory or a device) or `device_io` where it cannot be
/// read.
digest_map load_digest_map(const std::filesystem::path& path);

}  // namespace reprotect
