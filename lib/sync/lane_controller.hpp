// How many connections a session should have: as many as told, or, automatically, more as long as that brings more.
//
// One connection carries no more than its window in a round trip (a kernel's buffer of some MiB), however fat the pipe
// is. So where the round trip is long, a few are opened at once; then the rate over some round trips is compared with
// that before: where doubling the lanes brought at least a seventh more, they are doubled again, else that was the last
// time. Where a lane carries so little in a round trip that no buffer can be what holds it back, none is added: each
// would only be one more queue before a thin link, behind which every question waits.
#pragma once

#include <chrono>
#include <cstdint>

namespace reprotect {

class lane_controller {
public:
    using clock = std::chrono::steady_clock;

    /// `told` 0: automatic. At most `most`, at least 1.
    lane_controller(unsigned told, unsigned most, std::chrono::nanoseconds round_trip);

    unsigned wanted() const noexcept { return wanted_; }

    /// Some times a second: what has passed in both directions since the start, and how many lanes there are.
    void observe(std::uint64_t moved_bytes, unsigned lanes, clock::time_point now);

private:
    unsigned most_;
    unsigned wanted_;
    std::chrono::duration<double> round_trip_;
    clock::duration period_;
    bool settled_;
    bool ramping_ = true;  // the period that has begun is not to be measured: it began with something else
    clock::time_point begun_{};
    std::uint64_t begun_bytes_ = 0;
    double before_ = 0;  // bytes a second with fewer lanes
};

}  // namespace reprotect
