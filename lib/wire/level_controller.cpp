// The numbers here are guessed, and were tried in the simulation of its test, over links from 2 Mbit/s to 10 Gbit/s,
// one to eight encoders, small and large socket buffers.
#include "wire/level_controller.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/assert.hpp"

namespace reprotect {
namespace {

constexpr unsigned span_batches_min = 3;
constexpr double span_seconds_min = 0.1;
constexpr std::uint64_t span_bytes_min = 1 << 20;  // less says nothing of a link: the first batches are small

// Shares of time that the writer was out of work. Between the two, link and CPU fit each other.
constexpr double idle_max_to_raise = 0.02;
constexpr double idle_min_to_lower = 0.05;
// In the first span after it went down, what is sent fills the socket's buffer again, and the writer looks idler than
// it is.
constexpr double idle_min_to_lower_again = 0.5;

// One level costs up to twice the time, mostly less; what fails is undone.
constexpr double busy_max_to_raise = 0.8;
constexpr double busy_max_to_raise_by_two = 0.2;
constexpr double busy_max_to_raise_by_four = 0.04;
// What failed is tried before its time only where it is now clear that it fits.
constexpr double busy_max_to_retry_early = 0.5;
// Encoders that are never out of work are the bottleneck of a dry wire, whether or not more waits for them.
constexpr double busy_min_to_lower = 0.9;

// Data that barely shrinks is sent as it is, whatever the level: batches that save less than 1/32.
constexpr double shrinks_below = 31.0 / 32;

constexpr double retry_seconds_first = 1;
constexpr double retry_seconds_max = 60;
constexpr int near = 2;  // levels: a failure this near to the last is the same one again

constexpr double weight_of_newest_speed = 0.25;

// Encoders that get less of their time than this wait for a core that something else here wants. That counts where they
// take much: batches that come in bursts wait for each other, on a machine that is idle most of the time.
constexpr double core_share_min = 0.8;
constexpr double cores_wanted_max_to_raise = 0.1;  // taken, of a second; one level costs up to twice the time
constexpr double cores_wanted_min_to_lower = 0.25;

}  // namespace

level_controller::level_controller(unsigned encoders, int first) : encoders_(encoders), level_(first) {
    REPROTECT_ASSERT(encoders >= 1 && first >= level_min && first <= level_max);
}

void level_controller::observe(const batch_observation& batch) {
    REPROTECT_ASSERT(batch.level >= level_min && batch.level <= level_max);
    if (batch.encode_seconds > 0) {
        const double newest = static_cast<double>(batch.raw_bytes) / batch.encode_seconds;
        double& speed = speed_of(batch.level);
        speed = speed == 0 ? newest : speed + weight_of_newest_speed * (newest - speed);
    }
    seconds_until_retry_ = std::max(0.0, seconds_until_retry_ - batch.seconds);
    if (batch.level != level_) {
        seen_ = {};
        return;
    }
    ++seen_.batches;
    if (batch.encoders_waiting > 0) ++seen_.batches_with_more_waiting;
    seen_.raw_bytes += batch.raw_bytes;
    seen_.encoded_bytes += batch.encoded_bytes;
    seen_.encode_seconds += batch.encode_seconds;
    seen_.core_seconds += batch.core_seconds;
    seen_.seconds += batch.seconds;
    // A channel that pauses need not count the pause; then it may name more idleness than time.
    seen_.wire_idle_seconds += std::clamp(batch.wire_idle_seconds, 0.0, batch.seconds);
    if (seen_.batches < span_batches_min || seen_.seconds < span_seconds_min || seen_.raw_bytes < span_bytes_min)
        return;
    judge(std::exchange(seen_, {}));
}

void level_controller::judge(const span& seen) {
    const double idle = seen.wire_idle_seconds / seen.seconds;
    const double busy = seen.encode_seconds / (seen.seconds * encoders_);
    const bool batches_wait = 2 * seen.batches_with_more_waiting > seen.batches || busy > busy_min_to_lower;
    const bool shrinks = static_cast<double>(seen.encoded_bytes) < shrinks_below * static_cast<double>(seen.raw_bytes);
    ++spans_at_level_;
    const bool cores_wanted = seen.core_seconds < core_share_min * seen.encode_seconds;
    if (cores_wanted && seen.core_seconds > cores_wanted_max_to_raise * seen.seconds) {
        if (level_ > level_min && seen.core_seconds > cores_wanted_min_to_lower * seen.seconds) change_to(level_ - 1);
        return;
    }
    const bool settling = went_down_ && spans_at_level_ == 1;
    if (idle > (settling ? idle_min_to_lower_again : idle_min_to_lower) && batches_wait)
        lower(idle);
    else if (idle < idle_max_to_raise && shrinks)
        raise(busy);
}

void level_controller::raise(double busy) {
    // The encoders of a level that has just begun have not had the time to be as busy as they will be.
    const bool settled = spans_at_level_ > 1;
    if (busy > busy_max_to_raise || (busy > busy_max_to_raise_by_two && !settled)) return;
    const int step = busy > busy_max_to_raise_by_two ? 1 : busy > busy_max_to_raise_by_four ? 2 : 4;
    int next = std::min(level_ + step, level_max);
    if (seconds_until_retry_ > 0 && next >= failed_level_ &&
        busy * speed_of(level_) > busy_max_to_retry_early * speed_of(failed_level_))
        next = failed_level_ - 1;
    if (next > level_) change_to(next);
}

void level_controller::lower(double wire_idle) {
    if (level_ == level_min) return;
    retry_seconds_ = retry_seconds_ > 0 && std::abs(level_ - failed_level_) <= near
                         ? std::min(2 * retry_seconds_, retry_seconds_max)
                         : retry_seconds_first;
    seconds_until_retry_ = retry_seconds_;
    failed_level_ = level_;
    // As much faster as the wire has room for. Level 1 where none is known to be.
    const double wanted = speed_of(level_) / std::max(1 - wire_idle, 0.001);
    int next = level_ - 1;
    while (next > level_min && speed_of(next) < wanted) --next;
    change_to(next);
}

void level_controller::change_to(int level) {
    went_down_ = level < level_;
    level_ = level;
    spans_at_level_ = 0;
}

}  // namespace reprotect
