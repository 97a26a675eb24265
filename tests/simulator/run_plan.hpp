// Everything about one run that is chosen before it begins: what is asked for, how wide the windows are, what lies
// between the sides, and what goes wrong. Drawn from the dice, so that a seed has the same plans.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "simulator/simulated_disk.hpp"
#include "simulator/simulated_link.hpp"

namespace reprotect::test {

struct run_plan {
    session_mode mode = session_mode::sync;
    sync_options options;  ///< of these the peers and what prepares a session look at the same as in a session
    link_kind link = link_kind::memory;
    int level = 1;

    // Windows, from one up.
    std::array<std::uint64_t, 2> reads_max{};
    std::uint64_t buffers_max = 1;
    std::array<std::uint64_t, 2> digest_entries{};
    std::uint64_t applies_max = 1, allocation_runs = 1, data_messages = 1, data_bytes = 1, proof_chunks = 1;
    unsigned push_percent = 50;

    // How eager each kind of thing is to happen: deliver, perform, answer, collect.
    std::array<unsigned, 4> eagerness{1, 1, 1, 1};

    // Faults. What has a number of a step may never come to it.
    std::array<disk_faults, 2> disks;
    std::optional<std::uint64_t> save_fails;  ///< the n-th saving of a record
    std::optional<frame_corruption> corrupts;
    std::optional<std::uint64_t> cut_at, crash_at, kill_at,
        stop_at;                  ///< crash: the target's machine; kill: its process
    side stopped = side::source;  ///< in memory both are
    std::vector<std::uint64_t> source_changes_at, target_changes_at;
    std::vector<std::uint64_t> checkpoints_at;  ///< where the source's generation is named

    bool rereads() const noexcept { return options.verify == verify_level::reread && mode == session_mode::sync; }
};

/// A run that has no faults in it.
run_plan plan_run(dice& random, const device& source, const device& target);

/// For people, on one line.
std::string to_text(const run_plan& plan);

/// Adds one or two.
void plan_faults(run_plan& plan, dice& random, const simulated_disk& target);

}  // namespace reprotect::test
