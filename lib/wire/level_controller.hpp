// How hard to compress: the level that lets the CPU just keep up with the link, found from what each batch cost.
//
// The link is the bottleneck while the writer is never out of work: then a higher level, if the encoders have time left
// for it, brings more over. The CPU is while the writer runs dry though batches wait: then the level goes down, at once as
// far as the speeds that were seen on the way up say. A level that failed so is not tried again for a while, and each
// time for longer, so that the level does not swing around its best. Where neither holds (the disks are the bottleneck),
// it stays. Encoders that work much and wait for a core take it from somebody, where both sides are on one machine even
// from the link: then the level goes down, too.
//
// Judged is a span of several batches, a MiB and a tenth of a second at least, all of the level that holds: what was begun
// before a change does not count. A pure function of what it is told: it has no clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace reprotect {

/// What is known when a batch has been encoded. Seconds are of a monotonic clock.
struct batch_observation {
    int level = 0;                    ///< at which it was encoded: `level()` when its encoding began
    std::uint64_t raw_bytes = 0;      ///< before
    std::uint64_t encoded_bytes = 0;  ///< after
    double encode_seconds = 0;        ///< that its encoder worked on it
    double core_seconds = 0;          ///< of these, that it had a core; 0: not known
    double seconds = 0;               ///< since the last observation; pauses, with nothing to encode, may be left out
    double wire_idle_seconds = 0;     ///< of `seconds`: that the writer had no encoded batch that it could write
    unsigned encoders_waiting = 0;  ///< full batches that wait for an encoder at this moment, or for room to be encoded
};

/// One for each connection, touched by one thread at a time.
class level_controller {
public:
    static constexpr int level_min = 1;
    static constexpr int level_max = 15;  ///< guessed: what comes above takes seconds a batch and saves a percent

    /// `encoders` is how many batches are encoded at once at most, at least 1.
    explicit level_controller(unsigned encoders, int first = level_min);

    /// For the next batch.
    int level() const noexcept { return level_; }

    /// To be called once for each batch, in the order in which their encoding ended.
    void observe(const batch_observation& batch);

private:
    struct span {
        unsigned batches = 0;
        unsigned batches_with_more_waiting = 0;
        std::uint64_t raw_bytes = 0;
        std::uint64_t encoded_bytes = 0;
        double encode_seconds = 0;
        double core_seconds = 0;
        double seconds = 0;
        double wire_idle_seconds = 0;
    };

    void judge(const span& seen);
    void raise(double busy);
    void lower(double wire_idle);
    void change_to(int level);
    double& speed_of(int level) { return speeds_[static_cast<std::size_t>(level - level_min)]; }

    unsigned encoders_;
    int level_;
    span seen_{};
    std::array<double, level_max - level_min + 1> speeds_{};  // raw bytes a second of one encoder; 0: never seen
    unsigned spans_at_level_ = 0;                             // that were judged
    bool went_down_ = false;                                  // to this level, not up
    int failed_level_ = 0;            // where the CPU did not keep up, the last time; 0: nowhere
    double retry_seconds_ = 0;        // for how long it was not to be tried again
    double seconds_until_retry_ = 0;  // what is left of that
};

}  // namespace reprotect
