// What must hold in every run, whatever goes wrong in it. The run tells what happens; the first broken property is kept
// as a sentence. A property knows only what is told and what the disks hold: it shares nothing with the peers.
//
//   while it runs   every byte written is one that the source held there during the run; nothing is written outside of
//                   the disk, of the extents to stay within, of a sync, before the record says dirty or after a failed
//                   flush; only what differs is sent; what was written and flushed before is not sent again; windows
//                   and credits hold; a flush begins when no write is under way, and never again after it failed
//   at the end      "done" means: what the source was read as is on the target's medium, the roots are that of these
//                   bytes, and the record is clean; a disk's failure is reported with its place; a target that wrote
//                   and was stopped has flushed; what met no fault is done
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "codec/digester.hpp"
#include "peer/action.hpp"
#include "reprotect/differential.hpp"
#include "simulator/run_plan.hpp"

namespace reprotect::test {

/// How a run ended.
struct run_end {
    std::optional<error> refused;  ///< nothing was begun
    bool crashed = false;          ///< the target's process ended before it could say how, perhaps with its machine
    std::array<bool, 2> done{};    ///< said to be done, by side
    std::array<std::optional<error>, 2> failure;
    std::array<std::optional<digest>, 2> root;
    std::shared_ptr<const digester> digests;  // shared with the peer that made it
    std::optional<differential> changes;
    std::uint64_t written_bytes = 0;  ///< as the target counted them
    std::uint64_t data_messages = 0;
    std::uint64_t steps = 0;
};

class properties {
public:
    /// `settled`: what earlier runs wrote and flushed, and nobody has touched since.
    properties(const run_plan& plan, simulated_disk& source, simulated_disk& target, state_store& records,
               const extent_set& settled);

    const std::string& broken() const noexcept { return broken_; }
    void break_one(const std::string& what);

    // What happens.

    /// The disks are as the peers will find them.
    /// `finished`: what neither side will look at, since it is equal.
    void on_begin(std::uint64_t finished) {
        before_ = target_.shown();
        finished_ = finished;
        std::copy_n(source_.shown().begin(), finished, seen_.begin());
    }
    void on_call(side of, device_call call, extent where, std::span<const std::byte> from);
    void on_source_read(extent where, std::span<const std::byte> bytes);
    void on_work(side of, const action& what);
    void on_answer(side of, const event& what);
    /// `decided_chunks`: what the source has decided by then.
    void on_send(side from, const message& what, std::uint64_t decided_chunks);
    void on_delivery(side to, const message& what);
    /// Before it changes.
    void on_source_change();
    void on_target_change(extent where);
    /// Something other than a disk went wrong: then a run need not succeed.
    void on_disturbance() { disturbed_ = true; }
    /// A message comes as it was not sent.
    void on_corruption(bool of_data) {
        disturbed_ = corrupted_ = true;
        misplaced_ = misplaced_ || of_data;
    }

    void at_end(const run_end& end);

    /// Written, and then flushed with success.
    const extent_set& flushed() const noexcept { return flushed_; }
    /// A disk was changed by others.
    bool altered() const noexcept { return !altered_.empty(); }
    bool source_changed() const noexcept { return source_changed_; }

private:
    void check_write(extent where, std::span<const std::byte> from);
    bool held_by_source(std::uint64_t offset, std::byte value) const;
    void check_data(const chunk_data& what);
    void check_apply(const apply_chunk& what);
    void check_entries(const chunk_digests& what, std::uint64_t decided_chunks);
    void check_done(const run_end& end);
    void check_equal();
    void check_root(const run_end& end);
    void check_changes(const run_end& end);
    void check_failure(const run_end& end);
    void check_record(const run_end& end);
    bool wanted(extent where) const;
    void require(bool holds, const char* what, extent where = {});

    const run_plan& plan_;
    simulated_disk& source_;
    simulated_disk& target_;
    state_store& records_;
    const extent_set& settled_;
    const geometry shape_;
    std::string broken_;

    bool disturbed_ = false, corrupted_ = false, misplaced_ = false, source_changed_ = false;
    std::vector<std::vector<std::byte>> former_;  // what the source held before each change
    std::vector<std::byte> seen_;                 // what it was last read as; zeroes where it was not
    std::vector<std::byte> before_;               // the target's bytes at the beginning
    extent_set altered_, unseen_, unflushed_;     // by others: ever, not read again as proof since, not flushed since

    bool wrote_ = false, flush_failed_ = false;
    bool checkpointing_ = false;  // a flush beside writes
    std::uint64_t finished_ = 0;
    unsigned flushes_ = 0, checkpoints_ = 0;
    extent_set written_, being_flushed_, flushed_;
    std::set<std::uint64_t> resent_;
    std::array<std::optional<digest>, 2> root_heard_;

    struct in_flight {
        std::uint64_t reads = 0, buffers = 0, applies = 0, writes = 0, proofs = 0;
    };
    std::array<in_flight, 2> under_way_;
    std::uint64_t payload_bytes_ = 0;  // buffers of what was sent and is not released
    struct count_and_credit {
        std::uint64_t sent = 0, granted = 0;
    };
    count_and_credit runs_, data_, bytes_, entries_, proofs_;
    std::uint64_t runs_delivered_ = 0, entries_delivered_ = 0, data_applied_ = 0, bytes_applied_ = 0, proofs_read_ = 0,
                  entries_window_ = 0;
    std::map<std::uint64_t, std::uint64_t> applying_;  // chunk -> bytes of its payload
    std::deque<std::uint64_t> entry_ends_;  // in chunks, of entries that were not decided when last looked at
};

}  // namespace reprotect::test
