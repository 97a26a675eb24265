// Turns a device's allocation into runs that are worth acting on: data is rounded outward and holes inward to a grain, since
// reading a small hole is cheaper than naming it; and what lies outside the set to stay within becomes `skip`.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "peer/message.hpp"
#include "reprotect/device.hpp"

namespace reprotect {

class run_builder {
public:
    /// `grain` is a power of two; `within` is cut exactly, not rounded.
    run_builder(std::uint64_t disk_bytes, std::uint64_t grain, std::optional<extent_set> within)
        : disk_bytes_(disk_bytes), grain_(grain), within_(std::move(within)) {}

    /// Appends the runs that these make certain to `into`.
    void add(const std::vector<allocation_run>& runs, std::deque<source_run>& into);

    /// Everything below is in runs already.
    std::uint64_t built_to() const noexcept { return built_to_; }

private:
    void emit(std::uint64_t end, source_content kind, std::deque<source_run>& into);

    std::uint64_t disk_bytes_;
    std::uint64_t grain_;
    std::optional<extent_set> within_;
    std::uint64_t built_to_ = 0;
};

/// Appends a run, merging it with the last one where kinds agree.
void append_run(std::deque<source_run>& runs, const source_run& run);

}  // namespace reprotect
