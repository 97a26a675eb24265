// How much a side may say of what it may say at any time. A bucket: it leaks at a rate that no honest side reaches, and
// quiet hours are not saved up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace reprotect {

class talk_allowance {
public:
    using clock = std::chrono::steady_clock;

    // An honest side says a tenth of this at the most: a hundred statuses a second.
    static constexpr std::uint64_t bytes_per_second = 64 << 10;
    static constexpr std::uint64_t bytes_at_once = 4
                                                   << 20;  // a guess: whatever has piled up behind a link that stalled

    explicit talk_allowance(clock::time_point now) : seen_(now) {}

    /// Whether so many bytes more may come now. `now` never goes back.
    bool take(std::uint64_t bytes, clock::time_point now) noexcept {
        const std::chrono::duration<double> passed = now - seen_;
        seen_ = now;
        level_bytes_ = std::max(level_bytes_ - passed.count() * static_cast<double>(bytes_per_second), 0.0);
        level_bytes_ += static_cast<double>(bytes);
        return level_bytes_ <= static_cast<double>(bytes_at_once);
    }

private:
    double level_bytes_ = 0;
    clock::time_point seen_;
};

}  // namespace reprotect
