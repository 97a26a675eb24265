// The source's side of a session: it tells what it holds, takes the target's digests, decides chunk by chunk what differs, and
// sends that. A plain state machine: messages and events in, actions out; no I/O, no clock, no thread.
//
// A chunk's way: the target's digest (or "hole") arrives -> read -> same: done.
//                                                               -> differs, no block digests yet: ask, hold the bytes (or let
//                                                                  them go when too many are held: evicted) -> block digests
//                                                               -> changes known -> (evicted: read those blocks again)
//                                                               -> send, when the target takes data -> done.
// A chunk where the target has a hole is read and sent without comparing; one where this side is zero is decided unread.
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "codec/digester.hpp"
#include "peer/action.hpp"
#include "peer/run_builder.hpp"
#include "reprotect/differential.hpp"
#include "reprotect/digest_map.hpp"

namespace reprotect {

/// Windows count chunks; each is at least 1.
struct source_config {
    session_mode mode = session_mode::sync;
    geometry shape;
    digest_algorithm algorithm = digest_algorithm::xxh3;
    bool reread = false;
    std::array<std::byte, 32> nonce{};
    std::array<std::byte, 32> binding{};  ///< from the connection's own secrets, the same on both sides; zero: none
    disk_facts disk;
    sync_permits permits;
    std::optional<extent_set> within;
    std::uint64_t egress_max = 0;  ///< for the hello; `payload_allowed` enforces it
    std::string generation;
    bool takes_generation = true;    ///< the target's user may name it instead
    std::uint64_t reads_max = 16;    ///< reads in flight
    std::uint64_t buffers_max = 32;  ///< memory for the bytes of so many chunks, being read or sent included
    std::uint64_t digest_entries = 4096;
    bool keep_differential = false;
};

class source_peer {
public:
    explicit source_peer(source_config config);

    void handle(event&& what);

    /// The next thing to do, if there is one.
    std::optional<action> next_action();

    /// Valid once the other side's hello was taken.
    const std::shared_ptr<const digester>& digests() const noexcept { return digester_; }

    const source_counts& counts() const noexcept { return counts_; }
    const target_counts& their_counts() const noexcept { return their_counts_; }
    const std::optional<digest>& root() const noexcept { return root_; }
    bool cache_passed() const noexcept { return cache_passed_; }
    differential& changes() noexcept { return differential_; }
    bool is_finished() const noexcept { return finished_; }
    /// Nothing can be sent before the target takes more: what was sent should not wait for company.
    bool wants_data_credit() const noexcept { return data_sent_ >= data_granted_ || bytes_sent_ >= bytes_granted_; }
    /// Something could be sent but for `payload_allowed`.
    bool is_held_back() const noexcept { return held_back_; }
    /// Once it was told what is allowed, it says so much at once and no more of what is no payload; the same told again lets it go on.
    bool is_paused() const noexcept { return paused_; }
    /// It has ended its data, and all of it was sent. It may be asked for some of it again.
    bool has_ended_data() const noexcept { return root_.has_value(); }
    /// Chunks whose proofs are still to be sent.
    std::uint64_t proofs_left() const noexcept;
    std::uint64_t sent_payload_bytes() const noexcept { return bytes_sent_; }
    /// Below, the target holds what an earlier session sent: it is not looked at.
    std::uint64_t finished_bytes() const noexcept { return finished_bytes_; }

    /// For progress: everything below is decided; up to where the own allocation is known.
    std::uint64_t decided_bytes() const noexcept;
    std::uint64_t allocation_known_bytes() const noexcept { return builder_.built_to(); }

private:
    enum class stage { reading, held, evicted, rereading, ready };
    struct pending_chunk {
        stage at = stage::reading;
        std::uint64_t entry = 0;  // which entry of the target's it came with
        digest_entry::kind target = digest_entry::kind::digest;
        digest target_value;
        std::vector<digest_cut> cuts;  // the target's, once known
        bool cuts_known = false;
        bool resent = false;
        extent_set data;  // what this side holds there; empty: all zero, nothing to read
        std::vector<digest> blocks;
        digest value;
        std::vector<block_run> changed;
        buffer bytes;
        bool packed = false;             // those of the changed blocks only, one after the other
        std::uint64_t buffer_bytes = 0;  // of the buffer that it has, or will have when it was read
    };
    using pending_map = std::map<std::uint64_t, pending_chunk>;

    void on(message&& what);
    void on(allocation_known&& what);
    void on(chunk_read&& what);
    void on(payload_released&& what);
    void on(payload_allowed&& what);
    void on(action_failed&& what);
    void on(stop&& what);
    template <typename Other>
    void on(Other&&) {
        violation("an event that a source does not expect");
    }

    void take(hello&& what);
    void take(chunk_digests&& what);
    void take(block_digests&& what);
    void take(resend&& what);
    void take(credit&& what);
    void take(applied&& what);
    void take(proved&& what);
    void take(failed&& what);
    template <typename Other>
    void take(Other&&) {
        violation("a message that only a source sends");
    }

    void advance();
    void advance_allocation();
    void advance_entries();
    void advance_rereads();
    void advance_ready();
    void advance_verdict();
    void advance_end();
    void advance_proofs();

    bool may_read() const noexcept;
    bool may_describe() noexcept;
    void begin_chunk(const digest_entry& entry, std::uint64_t chunk);
    void emit_read(std::uint64_t chunk, pending_chunk& state, extent_set data, bool again);
    void compare_chunk(pending_map::iterator at);
    void find_changes(pending_map::iterator at);
    void record_changes(std::uint64_t chunk, const pending_chunk& state);
    void decide(pending_map::iterator at);
    void count_buffer(pending_chunk& state, std::uint64_t bytes) noexcept;
    void drop_buffer(pending_chunk& state);
    bool is_wanted(std::uint64_t chunk, std::uint32_t block) const;
    void add_changed_since(pending_chunk& state, const std::vector<digest>& now);
    void regroup(std::uint64_t chunk, pending_chunk& state);
    void remember(std::uint64_t chunk, const digest& value, const digest& proof, bool has_proof);
    extent_set own_data(std::uint64_t chunk);
    std::uint64_t zero_chunks_ahead(std::uint64_t chunk, std::uint64_t count);
    std::uint64_t watermark() const noexcept;
    void emit(message&& what) { actions_.emplace_back(send{std::move(what)}); }
    void fail(error why, bool tell);
    void violation(const std::string& what);
    void finish();

    source_config config_;
    std::deque<action> actions_;
    std::shared_ptr<const digester> digester_;  // shared with the workers that digest
    std::optional<zero_digests> zero_;
    bool greeted_ = false;
    bool finished_ = false;

    run_builder builder_;
    std::deque<source_run> own_runs_;  // from the next chunk to take
    std::deque<source_run> unsent_runs_;
    bool allocation_asked_ = false;
    std::uint64_t asked_to_ = 0;  // what the device's allocation is known of; not all of it may be in runs yet
    std::uint64_t runs_sent_ = 0;
    std::uint64_t runs_granted_ = 0;

    struct queued_entry {
        digest_entry entry;
        std::uint64_t number;
    };
    std::deque<queued_entry> entries_;  // taken from the target, not yet begun (the first may be begun in part)
    std::uint64_t entries_received_ = 0;
    std::uint64_t entries_granted_ = 0;
    std::uint64_t next_entry_chunk_ = 0;  // where the next entry must begin
    std::uint64_t next_chunk_ = 0;        // the next chunk to begin

    pending_map pending_;
    std::deque<std::uint64_t> to_reread_;
    std::deque<std::uint64_t> ready_;
    std::uint64_t reads_ = 0;
    std::uint64_t buffer_bytes_ = 0;  // of all chunks, and of what was sent and is not released
    std::uint64_t held_ = 0;
    std::uint64_t data_sent_ = 0;
    std::uint64_t data_granted_ = 0;
    std::uint64_t bytes_sent_ = 0;  // of payloads
    std::uint64_t bytes_granted_ = 0;
    std::uint64_t payload_allowed_ = std::numeric_limits<std::uint64_t>::max();
    bool held_back_ = false;
    bool bounded_ = false;
    bool paused_ = false;
    std::uint64_t described_ = 0;  // bytes, about, that this event gave beside payloads
    std::uint64_t finished_bytes_ = 0;
    std::set<std::uint64_t> resent_;
    bool end_current_ = false;  // the last end_of_data still tells the truth

    digest_map map_;
    digest_map proofs_;
    bool proving_ = false;
    std::uint64_t proof_next_ = 0;
    std::uint64_t proof_granted_ = 0;

    differential differential_;
    source_counts counts_;
    target_counts their_counts_;
    std::optional<digest> root_;
    bool cache_passed_ = false;
};

}  // namespace reprotect
