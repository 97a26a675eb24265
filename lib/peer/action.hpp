// What a peer asks its driver to do (actions), and what the driver tells it (events). A peer never blocks and never does I/O;
// each action but `send` and `finished` is answered by exactly one event, in any order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/buffer_pool.hpp"
#include "peer/message.hpp"
#include "reprotect/device.hpp"
#include "reprotect/digest_map.hpp"

namespace reprotect {

// ---- actions ----

/// Hand a message to the channel. Of a `chunk_data` with a payload the driver says `payload_released` once this side no longer
/// holds its buffer.
struct send {
    message what;
};

/// Ask the device for its allocation from `within.offset` on. Answer: `allocation_known`.
struct query_allocation {
    extent within;
};

/// Read the data ranges of a chunk (block-aligned or at the disk's end; the rest of the chunk is zero), digest its blocks.
/// `punch` ranges, none of which is in `data`, are made zero, too. Answer: `chunk_read`.
struct read_chunk {
    std::uint64_t chunk = 0;
    extent_set data;
    extent_set punch;
    /// The answer carries the chunk's buffer. Unless it is packed, outside of `data` it holds anything.
    bool keep_bytes = false;
    std::optional<digest> unless;  ///< if this is the chunk's digest, no bytes are kept
    /// The other side's: if not empty, only the bytes of blocks that differ from them and are not zero are kept, packed.
    std::vector<digest_cut> cuts;
    /// The answer carries the SHA-256 of the chunk, zero outside of `data`; there are no `cuts`.
    bool want_proof = false;
    /// Only `data` is read, for blocks evicted before, and kept packed; other blocks' digests are not computed.
    bool again = false;
};

/// Give ranges back where the source has holes. Answer: `punched`.
struct punch {
    extent_set ranges;
};

/// Make the record dirty and the target's size right: before the first write. Answer: `writing_begun`.
struct begin_writing {};

/// Check the chunk's digest with the changes in place; if it is right, write them. Answer: `chunk_applied`.
struct apply_chunk {
    chunk_data data;
    std::vector<digest> blocks;   ///< the target's own, all of the chunk; empty: all zero
    bool skip_zero_runs = false;  ///< the target is a hole there already
};

/// Answer: `target_flushed`.
struct flush_target {};

/// Flush, then keep the digests of what is finished: a map of the disk's beginning, up to where all is equal. Answer: `checkpointed`.
struct checkpoint {
    digest_map finished;
};

/// Answer: `cache_dropped`.
struct drop_cache {};

/// Read a whole chunk again for its SHA-256; `expect_zero`: the answer is a zero digest if it holds only zeroes.
/// Answer: `proof_read`.
struct read_proof {
    std::uint64_t chunk = 0;
    bool expect_zero = false;
};

/// The peer has nothing more to do; `why` is set where it failed or was stopped.
struct finished {
    std::optional<error> why;
};

using action = std::variant<send, query_allocation, read_chunk, punch, begin_writing, apply_chunk, flush_target,
                            checkpoint, drop_cache, read_proof, finished>;

// ---- events ----

struct allocation_known {
    std::vector<allocation_run> runs;
};

struct chunk_read {
    std::uint64_t chunk = 0;
    std::vector<digest> blocks;
    digest value;
    digest proof;
    buffer bytes;
    bool packed = false;  ///< the bytes that are kept follow each other, from the buffer's beginning on
    std::uint64_t read_bytes = 0;
    std::uint64_t deallocated_bytes = 0;
    bool again = false;
};

struct punched {
    std::uint64_t bytes = 0;
};

struct writing_begun {};

/// `matched` false: nothing was written, and `blocks` are the target's own again.
struct chunk_applied {
    std::uint64_t chunk = 0;
    bool matched = false;
    digest value;
    std::vector<digest> blocks;
    std::uint64_t written_bytes = 0;
};

struct target_flushed {};

struct checkpointed {};

struct cache_dropped {
    bool passed = false;
};

struct proof_read {
    std::uint64_t chunk = 0;
    digest value;
};

/// To a source: buffers of payloads, of so many bytes in all, are no longer held. Those of the buffers, not of the runs.
struct payload_released {
    std::uint64_t bytes = 0;
};

/// To a source: payloads of so many bytes in all may be sent; more will be allowed, or a stop follows.
struct payload_allowed {
    std::uint64_t bytes = 0;
};

/// To a target: it is time for a checkpoint.
struct checkpoint_due {};

/// An action failed; nothing follows it.
struct action_failed {
    error why;
};

/// Stop: no new work; a target that has written flushes what it has. A source that stops at a `limit` has the target take first what
/// was sent.
struct stop {
    error why{error_kind::interrupted, "interrupted", {.hint = "run the same sync again: it goes on from there"}};
};

using event = std::variant<message, allocation_known, chunk_read, punched, writing_begun, chunk_applied, target_flushed,
                           checkpointed, cache_dropped, proof_read, payload_released, payload_allowed, checkpoint_due,
                           action_failed, stop>;

}  // namespace reprotect
