// Measures a period at a time; the one in which lanes are added counts for nothing.
#include "sync/lane_controller.hpp"

#include <algorithm>
#include <utility>

namespace reprotect {
namespace {

using namespace std::chrono_literals;

constexpr unsigned at_once_max = 4;
constexpr auto round_trip_of_a_lane = 25ms;  // guessed: 4 MiB in each is then 1.3 Gbit/s
constexpr auto period_least = 500ms;
constexpr int round_trips_of_a_period = 8;
constexpr std::uint64_t flow_least = 1 << 20;  // bytes in a period: below it nobody waits for the link
constexpr double gain_least = 1.15;
// By a lane in a round trip; a guess: any kernel's buffers hold as much, so below it they do not hold a lane back.
constexpr double carried_least = 256 << 10;

}  // namespace

lane_controller::lane_controller(unsigned told, unsigned most, std::chrono::nanoseconds round_trip)
    : most_(std::max(most, 1u)),
      wanted_(std::min(told, most_)),
      round_trip_(round_trip),
      period_(std::max<clock::duration>(period_least, round_trips_of_a_period * round_trip)),
      settled_(told != 0) {
    if (told == 0)
        wanted_ = std::min(
            {most_, at_once_max,
             1 + static_cast<unsigned>(std::min<std::chrono::nanoseconds>(round_trip, 1s) / round_trip_of_a_lane)});
}

void lane_controller::observe(std::uint64_t moved_bytes, unsigned lanes, clock::time_point now) {
    if (settled_ || lanes < wanted_) {
        begun_ = now;
        begun_bytes_ = moved_bytes;
        ramping_ = true;
        return;
    }
    if (begun_ == clock::time_point()) begun_ = now;
    if (now - begun_ < period_) return;
    const std::uint64_t moved = moved_bytes - begun_bytes_;
    const double rate = static_cast<double>(moved) / std::chrono::duration<double>(now - begun_).count();
    begun_ = now;
    begun_bytes_ = moved_bytes;
    if (moved < flow_least) ramping_ = true;
    if (std::exchange(ramping_, false)) return;
    if (rate * round_trip_.count() < carried_least * lanes) return;
    if (before_ != 0 && rate < gain_least * before_) {
        settled_ = true;
        return;
    }
    before_ = rate;
    wanted_ = std::min(most_, 2 * wanted_);
    settled_ = wanted_ == lanes;
    ramping_ = true;
}

}  // namespace reprotect
