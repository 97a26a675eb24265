// How a session's memory is divided: the formula behind `--memory`.
//
//   scratch   2 x depth x min(chunk, 256 KiB)          (a whole chunk with direct devices or a reread)
//   digests   2 x window x (chunk / block) x 16 bytes  the target's block digests until the verdict, the source's while it asks
//   buffers   count x chunk                            chunks being read, held for block digests, or being written
//
// A twelfth of the whole goes to digests (at most 4096 chunks), the rest that scratch leaves to buffers (at most 3 x depth).
// Measured, 5% changed over 1 Gbit/s with 100 ms: with a third less or a half more of either the link is less full, since a
// side that runs further ahead takes the cores, and finds less of what it comes back to in the caches.
// Where payloads fill their memory badly, buffers may take up to a third more (buffer_pool.hpp). Digest maps come on top, 16 bytes
// a chunk with data on each side, and over a connection the bodies of batches: 1 MiB for each that is being made, sent, received
// or unpacked.
#pragma once

#include <cstdint>

#include "reprotect/sync.hpp"

namespace reprotect {

struct windows {
    std::uint64_t digest_entries = 1;
    std::uint64_t buffers = 1;
};

windows plan_windows(const sync_options& options, bool whole_chunk_scratch);

}  // namespace reprotect
