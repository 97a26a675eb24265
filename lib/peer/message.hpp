// The messages that a source peer and a target peer exchange.
//
// A channel delivers every message once, and keeps the order within a class (below); messages of different classes may
// overtake each other, so that a session may be striped over several connections. What must not be overtaken says so by a count.
//
//   class        from    messages                                   bounded by
//   control      both    hello, verdict, credit, end_of_data, failed, …  one of each outstanding, or cumulative
//   allocation   source  allocation                                 credit.allocation (runs, cumulative)
//   digests      target  chunk_digests                              verdict.entries_granted (entries, cumulative)
//   narrowing    both    narrow (source), block_digests, resend (target)   one a chunk in the digests window
//   data         source  chunk_data                                 credit.data (messages and bytes, cumulative)
//   proofs       source  proof                                      credit.proof (chunks, cumulative)
//
// Each side sends nothing after its hello until it has the other's.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/buffer_pool.hpp"
#include "device/place.hpp"
#include "reprotect/digest.hpp"
#include "reprotect/error.hpp"
#include "reprotect/extent.hpp"
#include "reprotect/geometry.hpp"

namespace reprotect {

enum class message_class : std::uint8_t { control, allocation, digests, narrowing, data, proofs };
inline constexpr std::size_t message_classes = 6;

/// What the two sides do together.
enum class session_mode : std::uint8_t {
    sync,     ///< make the target equal
    dry_run,  ///< decide what a sync would do, trusting allocation as a sync does; write nothing
    compare,  ///< diff: read all data on both sides; write nothing
};

/// Which disk a side has: for the other side's interlocks, records and messages. The peers pass it on unread.
struct disk_facts {
    std::string name;  ///< as its user names it
    disk_place place;
};

/// What the user allows, said by the side that the user is at. Both sides' permissions add up.
struct sync_permits {
    bool allow_larger = false;
    bool truncate = false;
    bool reverse = false;
};

/// What the target found before it answered; for the report.
struct target_findings {
    bool full_copy = false;
    bool resizes = false;
    std::string reason;
};

/// Bytes of the name of a source's generation.
inline constexpr std::size_t generation_max = 255;

/// The source's opening, and the target's answer with the same shape.
struct hello {
    session_mode mode = session_mode::sync;
    geometry shape;  ///< of the source; the target answers with its own size and the same chunk and block size
    digest_algorithm algorithm = digest_algorithm::xxh3;
    bool reread = false;  ///< prove by reading the target again; allocation is ignored on both sides
    std::array<std::byte, 32> nonce{};
    disk_facts disk;
    sync_permits permits;
    target_findings findings;          ///< from the target
    bool whole = true;                 ///< from the source: no extent set to stay within
    bool wants_differential = false;   ///< from the target: the extents shall come at the end
    std::uint64_t egress_max = 0;      ///< bytes on the wire to the target that this session may cost; 0: any
    std::string generation;            ///< the name of the source's state, which does not change; empty: nobody vouches
    std::uint64_t finished_bytes = 0;  ///< from the target: below, an earlier session of this generation made all equal
    std::uint64_t digest_entries =
        0;  ///< entries that the target may send before the first verdict; its answer may lower it
    std::uint64_t allocation_runs = 0;  ///< from the target: runs that the source may send before the first credit
    std::uint64_t data_messages = 0;    ///< from the target
    std::uint64_t data_bytes = 0;       ///< from the target: see `credit`
    std::uint64_t proof_chunks = 0;     ///< from the target
};

/// What the source says of a range. skip: outside the extent set to stay within; neither side reads or touches it.
enum class source_content : std::uint8_t { data, zero, skip };

struct source_run {
    extent range;
    source_content kind = source_content::data;
};

/// The next runs in offset order, without gaps; the last one ends at the source's size.
struct allocation {
    std::vector<source_run> runs;
};

/// The first 40 bits of a block's digest.
using digest_cut = std::array<std::byte, 5>;
digest_cut cut(const digest& value) noexcept;

/// One step of the target through its chunks, in order and without gaps.
struct digest_entry {
    enum class kind : std::uint8_t {
        digest,  ///< one chunk, read; `value` is its digest, `cuts` its blocks' where the target pushes them unasked
        zero,    ///< one chunk, read and found to be all zero
        hole,    ///< `count` chunks that read as zero by allocation, or are about to be punched, or are to be skipped
    };
    kind what = kind::digest;
    std::uint64_t first_chunk = 0;
    std::uint64_t count = 1;
    digest value;
    std::vector<digest_cut> cuts;
};

struct chunk_digests {
    std::vector<digest_entry> entries;
};

/// The source asks for a chunk's block digests.
struct narrow {
    std::uint64_t chunk = 0;
};

struct block_digests {
    std::uint64_t chunk = 0;
    std::vector<digest_cut> cuts;
};

/// The source's cumulative verdict: every chunk below is decided, and changed only if one of the first `data_sent` data
/// messages says so. The target waits for those, then forgets the rest. Also the credit for digest entries.
struct verdict {
    std::uint64_t below_chunk = 0;
    std::uint64_t entries_granted = 0;
    std::uint64_t data_sent = 0;
};

/// Consecutive blocks of a chunk that the target must have as the source has them.
struct block_run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool zero = false;  ///< no payload: they read as zeroes
};

/// All of a chunk's changes. `payload` is the source's chunk buffer (bytes at their place in the chunk, only the runs valid)
/// or `packed`, as a wire carries it. `value` is the source's digest of the whole chunk.
struct chunk_data {
    std::uint64_t chunk = 0;
    std::vector<block_run> runs;
    buffer payload;
    digest value;
    bool packed = false;  ///< the runs' bytes follow each other, from the payload's beginning on
};

/// A run's bytes within its chunk.
extent bytes_of(const geometry& shape, std::uint64_t chunk, const block_run& run) noexcept;

/// Whether a run, of zeroes or not, lies in these parts of the disk, if only with a byte.
bool overlaps(const geometry& shape, const chunk_data& data, const extent_set& with);

/// Of all runs that are not zero: what a wire carries.
std::uint64_t payload_bytes(const geometry& shape, std::uint64_t chunk, const std::vector<block_run>& runs) noexcept;

/// The target asks for a whole chunk, once: what it had plus what came did not give the source's digest.
struct resend {
    std::uint64_t chunk = 0;
};

/// The most that is in flight, whatever a target would take. Specified (FAULTS: ceilings).
inline constexpr std::uint64_t data_bytes_max = 64 << 20;

/// What the target takes next, cumulative counts since the start. A data message with a payload may be sent while the payloads before
/// it are fewer bytes than `data_bytes`: what is in flight is bounded, and one chunk always gets through.
struct credit {
    std::uint64_t allocation_runs = 0;
    std::uint64_t data_messages = 0;
    std::uint64_t data_bytes = 0;
    std::uint64_t proof_chunks = 0;
};

/// Bytes as the source counts them; see `byte_counts` in sync.hpp.
struct source_counts {
    std::uint64_t allocated = 0, read = 0, reread = 0, changed_compared = 0, changed_uncompared = 0, zeroed = 0;
};

/// Bytes as the target counts them.
struct target_counts {
    std::uint64_t allocated = 0, read = 0, compared = 0, deallocated = 0, written = 0;
};

/// Every chunk is decided and `data_sent` data messages were sent.
struct end_of_data {
    std::uint64_t data_sent = 0;
    digest root;
    source_counts counts;
};

/// The target applied and flushed everything and its root is equal (in a sync). Its last word unless proofs follow.
struct applied {
    digest root;
    target_counts counts;
};

/// SHA-256 digests of consecutive chunks from the source's first pass; without `digests` they are `count` chunks of zeroes.
struct proof {
    std::uint64_t first_chunk = 0;
    std::uint64_t count = 0;
    std::vector<digest> digests;
};

/// The target read everything again and it was as the source said.
struct proved {
    bool cache_passed = false;
};

/// One side gives up and says why.
struct failed {
    error why;
};

using message = std::variant<hello, allocation, chunk_digests, narrow, block_digests, verdict, chunk_data, resend,
                             credit, end_of_data, applied, proof, proved, failed>;

message_class class_of(const message& value) noexcept;

}  // namespace reprotect
