// The target's side of a session: it digests what it has, tells the source, takes what differs, checks it, writes it, flushes,
// and proves that both are equal. A plain state machine, as the source's is.
//
// A chunk's way: planned (is there anything to read, given both allocations?) -> read -> its digest goes out, in order; its block
// digests stay -> forgotten at the source's verdict, or: asked for block digests -> data arrives -> digest with the data in
// place equals the source's -> written (else the whole chunk is asked for, once).
// Where the source has a hole and this device punches, the range is punched unread and counts as zero from then on.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "codec/digester.hpp"
#include "peer/action.hpp"
#include "peer/run_builder.hpp"
#include "reprotect/digest_map.hpp"

namespace reprotect {

/// Windows are each at least 1.
struct target_config {
    std::uint64_t disk_bytes = 0;  ///< the target's own size; it counts as zero beyond
    bool punches_holes = false;
    bool resize_needed = false;      ///< `begin_writing` must happen even if nothing differs
    bool ignore_allocation = false;  ///< a poisoned target: trust nothing
    std::array<std::byte, 32> nonce{};
    std::array<std::byte, 32> binding{};  ///< from the connection's own secrets, the same on both sides; zero: none
    disk_facts disk;
    sync_permits permits;
    target_findings findings;
    bool wants_differential = false;
    std::uint64_t egress_max = 0;  ///< what the user of this side set; for the hello
    std::string generation;        ///< of the source, as this side's user or record names it
    std::uint64_t finished_bytes =
        0;                           ///< what an earlier session of this generation finished: whole chunks, or the disk
    bool keeps_finished = false;     ///< checkpoints are wanted
    std::uint64_t reads_max = 16;    ///< reads and punches in flight
    std::uint64_t applies_max = 16;  ///< chunks being written
    std::uint64_t allocation_runs = 4096;
    std::uint64_t digest_entries = 4096;  ///< the most whose block digests are kept; the source may ask for fewer
    std::uint64_t data_messages = 64;
    std::uint64_t data_bytes = 64ull << 20;  ///< of payloads; one more chunk may come
    std::uint64_t proof_chunks = 4096;
    unsigned push_percent =
        50;  ///< block digests go unasked where more of the recent chunks differed; above 100: never
};

class target_peer {
public:
    explicit target_peer(target_config config);

    void handle(event&& what);
    std::optional<action> next_action();

    /// Valid once the other side's hello was taken.
    const std::shared_ptr<const digester>& digests() const noexcept { return digester_; }
    /// The session's shape, which is the source's; valid from then on.
    const geometry& shape() const noexcept { return shape_; }

    const target_counts& counts() const noexcept { return counts_; }
    const source_counts& their_counts() const noexcept { return their_counts_; }
    const std::optional<digest>& root() const noexcept { return root_; }
    /// The source's root, once it said so; in a sync that ended well, the target's, too.
    std::optional<digest> their_root() const noexcept { return end_ ? std::optional(end_->root) : std::nullopt; }
    bool cache_passed() const noexcept { return cache_passed_; }
    bool is_finished() const noexcept { return finished_; }
    bool has_written() const noexcept { return begun_; }

    /// For progress: everything below was decided by the source; up to where the own allocation is known.
    std::uint64_t decided_bytes() const noexcept;
    std::uint64_t allocation_known_bytes() const noexcept { return builder_ ? builder_->built_to() : 0; }

    /// Bytes read again for the proof, for progress.
    std::uint64_t proved_bytes() const noexcept { return proofs_done_ * shape_.chunk_bytes; }

private:
    enum class stage { reading, known, waiting, applying, asked_again };
    struct pending_chunk {
        stage at = stage::reading;
        bool hole = false;           // reads as zero without having been read
        bool again = false;          // the data that came is the whole chunk, asked for again
        bool differs = false;        // narrowed, pushed or sent
        std::vector<digest> blocks;  // empty: all zero
        digest value;
        extent_set skipped;               // by the source: outside of what it stays within
        chunk_data data;                  // arrived, waiting to be applied
        std::uint64_t payload_bytes = 0;  // of that
    };
    struct outgoing_entry {
        digest_entry entry;
        bool ready = false;
    };

    void on(message&& what);
    void on(allocation_known&& what);
    void on(chunk_read&& what);
    void on(punched&& what);
    void on(writing_begun&& what);
    void on(chunk_applied&& what);
    void on(target_flushed&& what);
    void on(checkpointed&& what);
    void on(checkpoint_due&& what);
    void on(cache_dropped&& what);
    void on(proof_read&& what);
    void on(action_failed&& what);
    void on(stop&& what);
    template <typename Other>
    void on(Other&&) {
        violation("an event that a target does not expect");
    }

    void take(hello&& what);
    void take(allocation&& what);
    void take(narrow&& what);
    void take(verdict&& what);
    void take(chunk_data&& what);
    void take(end_of_data&& what);
    void take(proof&& what);
    void take(failed&& what);
    template <typename Other>
    void take(Other&&) {
        violation("a message that only a target sends");
    }

    void advance();
    void advance_allocation();
    void advance_plan();
    void advance_entries();
    void advance_verdict();
    void advance_applies();
    void advance_end();
    void advance_proofs();

    bool plan_hole_run();
    void plan_chunk();
    void queue_hole(std::uint64_t first, std::uint64_t count);
    bool may_begin_entry() const noexcept { return entries_planned_ < entries_granted_; }
    bool writing_allowed();
    void forget_own_runs(std::uint64_t below);
    bool valid_runs(const chunk_data& data) const;
    void note_difference(bool differs);
    std::vector<digest_cut> cuts_of(std::uint64_t chunk, const pending_chunk& state) const;
    void send_credit();
    digest_map finished_map() const;
    void stop_softly(error why);
    void advance_stopping();
    bool all_data_applied() const noexcept {
        return data_received_ >= verdict_.data_sent && data_applied_ == data_received_;
    }
    void emit(message&& what) { actions_.emplace_back(send{std::move(what)}); }
    void fail(error why);
    void violation(const std::string& what);

    target_config config_;
    std::deque<action> actions_;
    std::shared_ptr<const digester> digester_;  // shared with the workers that digest
    std::optional<zero_digests> zero_;
    bool greeted_ = false;
    bool finished_ = false;
    std::optional<error> stopping_;
    std::optional<error> stop_reached_;  // to stop with once all data that was sent is applied

    session_mode mode_ = session_mode::sync;
    bool reread_ = false;
    geometry shape_;

    std::deque<source_run> source_runs_;  // told by the source, from the next chunk to plan
    std::uint64_t source_known_to_ = 0;
    std::uint64_t source_runs_taken_ = 0;
    std::uint64_t source_runs_granted_ = 0;
    std::deque<source_run> own_runs_;  // never `skip`
    std::optional<run_builder> builder_;
    bool allocation_asked_ = false;
    std::uint64_t asked_to_ = 0;  // what the device's allocation is known of; not all of it may be in runs yet

    std::uint64_t next_chunk_ = 0;                     // the next to plan
    std::deque<outgoing_entry> outgoing_;              // planned, not yet sent; in chunk order
    std::uint64_t outgoing_first_ = 0;                 // number of outgoing_.front()
    std::map<std::uint64_t, std::uint64_t> entry_of_;  // chunk being read -> its entry's number
    std::uint64_t entries_planned_ = 0;
    std::uint64_t entries_window_ = 0;  // agreed in the hello
    std::uint64_t entries_granted_ = 0;
    std::uint64_t reads_ = 0;
    std::uint64_t punches_ = 0;        // in flight, of runs of chunks
    std::uint64_t punching_from_ = 0;  // nothing below is being punched while there are any
    extent_set punching_;              // all that was asked for since there were none
    bool checkpointing_ = false;

    std::map<std::uint64_t, pending_chunk> pending_;
    verdict verdict_;
    std::uint64_t verdict_done_ = 0;         // chunks below are forgotten
    std::uint64_t differing_unsettled_ = 0;  // noted since the last verdict that was done
    unsigned recent_differences_ = 0;        // of 256ths: an exponential average over about 16 chunks

    enum class writing { no, beginning, begun } writing_ = writing::no;
    bool begun_ = false;
    std::deque<action> after_begin_;
    std::deque<std::uint64_t> to_apply_;
    std::uint64_t applies_ = 0;
    std::uint64_t data_received_ = 0;
    std::uint64_t data_applied_ = 0;
    std::uint64_t data_granted_ = 0;
    std::uint64_t bytes_received_ = 0;  // of payloads
    std::uint64_t bytes_applied_ = 0;
    std::uint64_t bytes_granted_ = 0;
    std::uint64_t asked_again_ = 0;  // chunks whose second sending is awaited
    std::optional<end_of_data> end_;
    enum class ending { no, flushing, proving } ending_ = ending::no;

    digest_map map_;
    std::optional<digest> root_;
    target_counts counts_;
    source_counts their_counts_;

    std::deque<proof> proofs_;
    std::map<std::uint64_t, digest> proofs_expected_;  // being read
    std::uint64_t proofs_next_ = 0;
    std::uint64_t proofs_done_ = 0;
    std::uint64_t proofs_granted_ = 0;
    std::uint64_t proofs_received_ = 0;
    bool cache_known_ = false;
    bool cache_passed_ = false;
};

}  // namespace reprotect
