// One disk becomes equal to another: the request, the options, the report, and the blocking calls.
#pragma once

#include "reprotect/checksum.hpp"
#include "reprotect/device.hpp"
#include "reprotect/differential.hpp"
#include "reprotect/digest_map.hpp"
#include "reprotect/error.hpp"
#include "reprotect/geometry.hpp"
#include "reprotect/progress.hpp"
#include "reprotect/state_record.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace reprotect {

enum class verify_level {
    root,  ///< both sides' roots are equal: proves what was read and handed to the device
    reread,  ///< and the target is read again past its cache, every chunk against the source's SHA-256; ignores allocation
};

/// As long as no more than `to_source` bytes have crossed to the source's side, `to_target` may cross to the target's.
struct traffic_step {
    std::uint64_t to_source = 0;
    std::uint64_t to_target = 0;
    friend bool operator==(const traffic_step&, const traffic_step&) = default;
};

/// A bound on both directions together, for traffic that is paid by direction. What crosses to the source's side (digests, for
/// the most part) is known only once it has crossed, and takes from what may cross to the target's: so the bound is a falling
/// staircase. Which prices it comes from is not a session's business; `traffic_bill` (cost.hpp) makes one of money.
struct traffic_bound {
    std::vector<traffic_step> steps;  ///< `to_source` rises, `to_target` falls; beyond the last nothing may cross
    std::string name;                 ///< for messages: "a cost of 1.50 USD"
    bool empty() const noexcept { return steps.empty(); }
    friend bool operator==(const traffic_bound&, const traffic_bound&) = default;
};

struct sync_options {
    std::uint32_t block_bytes = block_bytes_default;
    std::uint32_t chunk_bytes = chunk_bytes_default;
    digest_algorithm algorithm = digest_algorithm::xxh3;
    verify_level verify = verify_level::root;
    unsigned depth = 16;  ///< device calls in flight for each disk, 1 to 256
    /// Cap on the threads for both disks together; 0 for none.
    unsigned threads = 0;
    /// Bound on the session's buffers and windows; at least `memory_minimum(options)`. Digest maps come on top:
    /// 16 bytes a chunk with data, for each side.
    std::uint64_t memory_bytes = 96ull << 20;
    bool dry_run = false;       ///< compare and count, write nothing
    bool allow_larger = false;  ///< a larger target keeps its tail
    bool truncate = false;      ///< a larger file target is cut to the source's size
    bool reverse = false;       ///< the target is on record as the source of this pair, and that is meant
    bool interlocks = true;     ///< an agent that has its own may switch them off
    bool keep_differential =
        false;  ///< `report.differential` holds the extents (32 bytes each); `diff` always keeps them
    /// Stop in time, with `limit`, before more bytes than this have crossed the wire to the target: payload, digests, framing and TLS
    /// count. At least 256 KiB (else `usage`); 0: no limit. The source's side keeps it; the target's tells the source, and stops where that
    /// does not. Means nothing between two disks of one machine.
    std::uint64_t egress_max = 0;
    /// The same for both directions: stop in time, with `limit`, before what crossed is beyond the bound. Must allow `traffic_minimum`
    /// (else `usage`). The side that sets it keeps it, whichever it is, on top of `egress_max`: a source's counts what comes back as
    /// it comes; a target's settles at the beginning how much of the bound each direction gets, and tells the source. Empty: none.
    traffic_bound traffic_max;
    /// What the source's state is called that this sync copies, and that does not change: a snapshot's name, an agent's token; at most
    /// 255 bytes, and `sha256` (else `usage`). From the first write on, what is finished is kept on record with its digests, and an
    /// interrupted sync of the same generation is not read again up to there, provided that nobody else wrote to the target
    /// meanwhile (some of it is checked). Empty: nobody vouches.
    std::string source_generation;
    /// With a generation: how often to flush, and keep what is finished; 0: whenever something was done.
    std::chrono::milliseconds checkpoint_every{15'000};
    /// Only these bytes are compared and written; must fall on block boundaries (or the disk's end). Absent: the whole disk.
    std::optional<extent_set> within;
};

/// Bytes of buffers that a session takes at least with these options.
std::uint64_t memory_minimum(const sync_options& options);

/// What a bound on both directions must allow at least with these options: greetings, and what both sides may have under way.
traffic_step traffic_minimum(const sync_options& options);

/// What may cross before a sync, for a look at a peer's disk, of what its limits allow: a quarter, so that most is left for the sync.
/// The largest number there is where nothing limits it. Throws `usage` for limits that are too low for a look and a sync.
traffic_step traffic_of_look(const sync_options& options);

/// The options with what is left of their limits once that much has crossed. Throws `limit` where that is too little to begin with.
sync_options with_limits_left(sync_options options, const traffic_step& crossed);

/// Everything a sync touches. Pointers are borrowed and must outlive the call.
struct sync_request {
    device* source = nullptr;
    device* target = nullptr;  ///< null only with `dry_run`: as if it were missing
    sync_options options;
    state_store* records = nullptr;  ///< null: no record is kept, and nothing known is used
    sync_listener* listener = nullptr;
    std::stop_token cancel;  ///< may be triggered from any thread: no new work, a flush, then a partial report
};

enum class sync_mode { differential, full };
const char* to_string(sync_mode mode) noexcept;

/// How the equality of a finished sync was shown.
enum class proof_level { none, root, reread, partial };
const char* to_string(proof_level value) noexcept;

struct byte_counts {
    std::uint64_t disk = 0;              ///< the source's size
    std::uint64_t allocated_source = 0;  ///< what the source's allocation calls data
    std::uint64_t allocated_target = 0;
    std::uint64_t read_source = 0;  ///< read once for the comparison
    std::uint64_t read_target = 0;
    std::uint64_t reread_source = 0;  ///< changed blocks read again after an eviction or a chunk asked for twice
    std::uint64_t compared = 0;       ///< data on either side, compared by digest
    std::uint64_t same = 0;           ///< of `compared`
    std::uint64_t changed = 0;        ///< source data that the target did not have
    std::uint64_t zeroed = 0;         ///< target data where the source reads as zeroes
    std::uint64_t deallocated = 0;    ///< given back unread, because the source has a hole there
    std::uint64_t written = 0;        ///< bytes of data written to the target (zeroes not counted)
    friend bool operator==(const byte_counts&, const byte_counts&) = default;
};

/// Bytes on the wire in one direction, the same as both sides count them; all zero between two disks of one machine.
/// Over a stream that an agent brought, what the stream adds itself (its TLS) is not seen and not counted.
struct wire_counts {
    std::uint64_t payload = 0;
    std::uint64_t digests = 0;
    std::uint64_t overhead = 0;  ///< framing, acknowledgements, TLS and its handshake
    std::uint64_t frames = 0;    ///< of the total: what is not TLS
    std::uint64_t total() const noexcept { return payload + digests + overhead; }
};

struct second_counts {
    double total = 0;
    double scan = 0;      ///< reading, comparing and applying; they overlap
    double transfer = 0;  ///< from the first data sent to the last applied
    double flush = 0;
    double verify = 0;
};

/// What happened, complete or up to the failure.
struct sync_report {
    sync_mode mode = sync_mode::differential;
    std::string reason;  ///< "both disks hold data", "target missing", "target holds no data"
    bool dry_run = false;
    byte_counts bytes;
    std::optional<std::uint64_t> resized_from;  ///< the target's size before it was grown or cut (a dry run: would be)
    wire_counts to_target;
    wire_counts to_source;
    second_counts seconds;
    digest_algorithm algorithm = digest_algorithm::xxh3;
    std::optional<digest> root;  ///< of the source; only under sha256, and only of a whole disk
    proof_level verified = proof_level::none;
    /// With `partial`: not read, because an earlier sync of the same generation finished it.
    std::uint64_t trusted_bytes = 0;  ///< from the disk's beginning
    std::string generation;           ///< as that sync and this one name it
    /// More where a link was lost. Then what was read, written and sent, and the total time, are of all of them; what the other side wrote
    /// counts as far as it came to tell.
    unsigned attempts = 1;
    unsigned connections = 1;   ///< with a peer: of the last attempt, at the most, those counted that were being opened
    bool cache_passed = false;  ///< with `proof_level::reread`: the medium was read, not a cache
    std::vector<std::string> warnings;
    std::string source_in_use;  ///< who writes to the source meanwhile, or empty
    std::optional<reprotect::differential> differential;
    std::optional<error> failure;  ///< absent: done

    bool ok() const noexcept { return !failure; }
    /// Content differs (diff, dry run) or differed (sync).
    bool different() const noexcept { return bytes.changed + bytes.zeroed != 0; }
};

/// Makes the target equal to the source. Never throws for a failed operation: `failure` says what, and the counts stand as
/// they were. Throws `error` (usage) for options that make no sense. Blocks the caller; works on
/// as many threads as there are cores, up to 2 × depth + 1 where the disks make them wait.
sync_report sync(const sync_request& request);

/// Throws what `sync` would be refused for before its scan: options, sizes, records, and who uses the target. For whoever does
/// something long first, and asks early. Writes nothing to either disk and holds nothing afterwards; a target that is null is not
/// looked at.
void check_sync(const sync_request& request);

/// Compares; writes nothing, takes no interlock, keeps no record. Reads every allocated byte of both, also where the other
/// has a hole: content is what it compares.
sync_report diff(const sync_request& request);

/// One JSON document, as the command line's contract has it; `extents` where a differential was kept.
std::string to_json(const sync_report& report);

/// A failure before there was a report, in the same shape: {"error": {…}}.
std::string to_json(const error& why);

}  // namespace reprotect
