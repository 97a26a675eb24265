// The recursion over [first, first + count), cut short where no run reaches in.
#include "plan/digest_tree.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "reprotect/error.hpp"

namespace reprotect {
namespace {

class tree {
public:
    tree(const digest_map& map, const digester& with) : map_(map), with_(with), zero_(with, map.shape()) {
        const std::uint64_t chunks = map.shape().chunk_count();
        std::uint64_t covered = map.shape().chunk_bytes;
        zero_levels_.push_back(chunks > 1 ? zero_.chunk(0) : digest{});
        while ((std::uint64_t{1} << zero_levels_.size()) <= chunks) {
            covered *= 2;
            zero_levels_.push_back(with.node(covered, zero_levels_.back(), zero_levels_.back()));
        }
    }

    digest over(std::uint64_t first, std::uint64_t count) const {
        const auto run = first_run_reaching(first);
        const bool empty = run == map_.runs().end() || run->first_chunk >= first + count;
        const bool whole = first + count < map_.shape().chunk_count();  // the last chunk may be a short one
        if (empty && whole && std::has_single_bit(count))
            return zero_levels_[static_cast<std::size_t>(std::countr_zero(count))];
        if (count == 1)
            return empty || run->first_chunk > first ? zero_.chunk(first) : run->chunks[first - run->first_chunk];
        const std::uint64_t left = std::bit_floor(count - 1);
        const std::uint64_t begin = map_.shape().chunk(first).offset;
        const std::uint64_t end = map_.shape().chunk(first + count - 1).end();
        const digest left_digest = over(first, left);
        return with_.node(end - begin, left_digest, over(first + left, count - left));
    }

private:
    std::vector<digest_run>::const_iterator first_run_reaching(std::uint64_t chunk) const {
        return std::partition_point(map_.runs().begin(), map_.runs().end(), [chunk](const digest_run& run) {
            return run.first_chunk + run.chunks.size() <= chunk;
        });
    }

    const digest_map& map_;
    const digester& with_;
    zero_digests zero_;
    std::vector<digest> zero_levels_;  // by level, of whole chunks
};

}  // namespace

digest tree_root(const digest_map& map, const digester& with) {
    const std::uint64_t chunks = map.shape().chunk_count();
    if (chunks == 0) return with.root(map.shape(), nullptr);
    const digest top = tree(map, with).over(0, chunks);
    return with.root(map.shape(), &top);
}

digest root_of(const digest_map& map) {
    if (map.algorithm() != digest_algorithm::sha256)
        throw error(error_kind::usage, "a root can be compared later only under sha256",
                    {.hint = "make the digest map with --digest sha256"});
    return tree_root(map, digester(digest_algorithm::sha256, digest_secret{}));
}

}  // namespace reprotect
