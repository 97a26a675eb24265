// The root of a disk: a binary tree over its chunks' digests.
//
// A tree over the chunks [a, a+n) is the chunk's digest for n = 1, else a node over the first k and the remaining n-k, k the
// largest power of two below n (the shape of RFC 6962, section 2.1). Each node hashes its kind and the bytes that it covers.
// Subtrees that no run of the map touches are zeroes: whole ones come from a table by level, so that a hole of any length costs
// no more than its two edges.
#pragma once

#include "codec/digester.hpp"
#include "reprotect/digest_map.hpp"

namespace reprotect {

/// Pure. `with` must be what made the map's digests. Cost: one hash a stored chunk, plus O(log chunks) a run.
digest tree_root(const digest_map& map, const digester& with);

}  // namespace reprotect
