// How long a writer was out of work, for who decides how much work to put into what it writes. Told the time, so that it can
// be tried without any.
#pragma once

#include <chrono>
#include <utility>

namespace reprotect {

/// For one thread at a time.
class idle_clock {
public:
    using time_point = std::chrono::steady_clock::time_point;
    struct reading {
        double seconds = 0;       ///< since the last reading, or since there was something to do
        double idle_seconds = 0;  ///< of these, that nothing was written
    };

    /// There is something to do again: the pause before was nobody's fault.
    void begin(time_point now) noexcept {
        since_ = idle_since_ = now;
        idle_ = {};
    }
    void begin_write(time_point now) noexcept {
        idle_ += now - idle_since_;
        writing_ = true;
    }
    void end_write(time_point now) noexcept {
        idle_since_ = now;
        writing_ = false;
    }
    reading read(time_point now) noexcept {
        if (!writing_) idle_ += now - std::exchange(idle_since_, now);
        return {seconds(now - std::exchange(since_, now)), seconds(std::exchange(idle_, {}))};
    }

private:
    using duration = std::chrono::steady_clock::duration;
    static double seconds(duration time) noexcept { return std::chrono::duration<double>(time).count(); }

    time_point since_, idle_since_;
    duration idle_{};
    bool writing_ = false;
};

}  // namespace reprotect
