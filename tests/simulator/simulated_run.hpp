// One session in one thread: what lib/sync/session.cpp does with strands, workers and a channel, done step by step,
// with the dice to choose each step among all that could happen next. The peers, their workers, what prepares a session
// and what keeps the target's record are the real ones; the disks and the link are simulated.
//
// A step is one of: a message arrives · a worker carries out an action (any that is open) · a worker's answer is taken,
// in the order in which they came · collected data is sent, because time went by · a side notices that the connection
// is gone.
// Two things a session does by the clock are left out: it looks after the target's holders, and it reports progress.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "simulator/properties.hpp"
#include "sync/target_keeper.hpp"

namespace reprotect::test {

/// How often something happened; so that a simulator that has become blind is noticed.
using tally = std::map<std::string, std::uint64_t>;

class simulated_run {
public:
    simulated_run(const run_plan& plan, simulated_disk& source, simulated_disk& target, state_store& records,
                  const extent_set& settled, dice& random, tally& counts);

    run_end go();

    const properties& checked() const noexcept { return checks_; }
    /// Something beyond disks and link goes wrong: the run need not succeed.
    void on_disturbance() { checks_.on_disturbance(); }
    /// What was chosen, step by step, as one number.
    std::uint64_t trace() const noexcept { return trace_; }

private:
    enum class step_kind { deliver, perform, answer, collect, notice };
    struct choice {
        step_kind kind;
        side where;
        std::size_t which = 0;
    };
    struct one_side {
        std::optional<error> failure;
        bool peer_done = false, goodbye_said = false, goodbye_heard = false, noticed = false;
        bool ended = false, done = false;
        std::vector<action> works;
        std::deque<event> answers;
    };

    bool prepare();
    void open_peers();
    void happen(std::uint64_t step);
    void change_disk(side which);
    void gather();
    void take_one();
    void deliver(side to, std::size_t lane);
    void perform(side of, std::size_t which);
    void hand(side to, event&& what);
    void collect(side from);
    void take_finished(side from, std::optional<error>&& why);
    void hear_failure(side at, const error& why);
    void conclude();
    void conclude_in_memory();
    void conclude_at(side which);
    bool conclude_target();
    void stop();
    void end(side which, bool done);
    void stop_target();
    void note_losses();
    void mix(std::uint64_t value) noexcept { trace_ = (trace_ ^ value) * 0x100000001b3u; }

    one_side& at(side which) noexcept { return sides_[static_cast<std::size_t>(which)]; }
    bool in_memory() const noexcept { return plan_.link == link_kind::memory; }
    disk_worker& worker(side of);
    run_end make_end();

    const run_plan& plan_;
    simulated_disk& source_disk_;
    simulated_disk& target_disk_;
    state_store& records_;
    dice& random_;
    tally& counts_;
    properties checks_;
    std::uint64_t trace_ = 0xcbf29ce484222325u;  // FNV-1a

    sync_request request_;
    preparation known_;
    std::optional<target_keeper> keeper_;
    std::optional<source_peer> source_;
    std::optional<target_peer> target_;
    std::array<std::shared_ptr<buffer_pool>, 2> pools_;  // shared with the buffers that are out
    std::array<std::optional<disk_worker>, 2> workers_;
    std::array<one_side, 2> sides_;
    std::optional<simulated_link> link_;
    std::vector<choice> choices_;
    std::optional<error> refused_;
    bool crashed_ = false;
    std::uint64_t data_messages_ = 0;
    std::uint64_t steps_ = 0;
};

}  // namespace reprotect::test
