// Virtual scheduling, the form of the leaky bucket that ATM calls GCRA (ITU-T I.371, annex A): all that is kept is when
// the next byte is due. Each leave moves that on by what its bytes take at the rate, to the nanosecond and with the
// remainder carried over, so that nothing drifts.
//
// Timers wake late, and what is late must not be lost: leave that is asked for up to `catch_up` behind the schedule
// leaves the schedule as it is, so that the next pieces go out at once until it is met again. From whoever comes later
// than that, the rest is lost, and after `idle` all of it: that was a pause, which earns nothing.
//
// Why any 5 seconds stay within 2%: what is written in them, by n sharers, was asked for in them but for one piece
// each; what was asked for in them is due no earlier than `catch_up` before them. So there are at most
//     5 s + catch_up + (n + 1) pieces = 5 s + 40 ms + (n + 1) * 10 ms
// worth of bytes, which is 2% for five sharers; for more, while their timers are at most 50 ms late, since what was due
// before is then written before. Below 100 bytes a second a piece is one byte, longer than 10 ms, and below about 35
// whole bytes are too coarse for 2%.
#include "reprotect/rate_limiter.hpp"

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/assert.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

using nanoseconds = std::chrono::nanoseconds;

constexpr std::uint64_t pieces_per_second = 100;
constexpr std::uint64_t piece_bytes_max = 256 << 10;  // guessed: a system call this large costs nothing beside its copy
constexpr nanoseconds catch_up = std::chrono::milliseconds(40);
constexpr nanoseconds idle = std::chrono::milliseconds(200);  // guessed: no timer is that late on a machine that works

constexpr std::uint64_t nanoseconds_per_second = 1'000'000'000;
// More is no limit to anything; a piece's nanoseconds and the remainder, which is below the rate, add up within 64
// bits.
constexpr std::uint64_t rate_max = std::uint64_t{1} << 62;
static_assert(piece_bytes_max * nanoseconds_per_second < rate_max);

class pacer final : public rate_limiter {
public:
    explicit pacer(std::uint64_t bytes_per_second)
        : rate_(std::min(bytes_per_second, rate_max)),
          piece_bytes_(static_cast<std::size_t>(
              std::clamp<std::uint64_t>(bytes_per_second / pieces_per_second, 1, piece_bytes_max))) {}

    std::size_t piece_bytes() const override { return piece_bytes_; }

    clock::time_point reserve(std::size_t bytes, clock::time_point now) override {
        REPROTECT_ASSERT(bytes <= piece_bytes_);
        const std::lock_guard lock(mutex_);
        if (!due_ || now - *due_ > idle) {
            due_ = now;
            remainder_ = 0;
        } else if (now - *due_ > catch_up) {
            due_ = now - catch_up;
            remainder_ = 0;
        }
        const clock::time_point from = std::max(now, *due_);
        const std::uint64_t scaled = bytes * nanoseconds_per_second + remainder_;
        *due_ += nanoseconds(scaled / rate_);
        remainder_ = scaled % rate_;
        return from;
    }

private:
    const std::uint64_t rate_;
    const std::size_t piece_bytes_;
    std::mutex mutex_;
    std::optional<clock::time_point> due_;  // of the next byte; none before the first
    std::uint64_t remainder_ = 0;           // of a nanosecond, in units of 1 / rate: what is due later than `due_`
};

}  // namespace

std::shared_ptr<rate_limiter> make_rate_limiter(std::uint64_t bytes_per_second) {
    if (bytes_per_second == 0)
        throw error(error_kind::usage, "a rate limit of 0 bytes a second lets nothing through",
                    {.hint = "leave the limit out for none"});
    return std::make_shared<pacer>(bytes_per_second);
}

}  // namespace reprotect
