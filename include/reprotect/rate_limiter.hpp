// How many bytes a second may be written to a wire: one limiter may be shared by all sessions of an agent.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace reprotect {

/// Thread-safe. An agent may bring its own.
class rate_limiter {
public:
    using clock = std::chrono::steady_clock;

    virtual ~rate_limiter() = default;

    /// The most bytes that one write should take, at least 1: so that a slow limit is kept smoothly, too.
    virtual std::size_t piece_bytes() const = 0;

    /// Takes leave for `bytes` (at most `piece_bytes()`) and returns when they may be written; `now` or earlier: at once.
    /// Whoever takes leave waits until then, and does not ask again for the same bytes.
    virtual clock::time_point reserve(std::size_t bytes, clock::time_point now) = 0;
};

/// Keeps to `bytes_per_second` within 2% over any 5 seconds, from the first byte on: what was not used is not saved up.
/// Below about 35 bytes a second whole bytes are too coarse for that. Throws `error` (usage) for 0.
std::shared_ptr<rate_limiter> make_rate_limiter(std::uint64_t bytes_per_second);

}  // namespace reprotect
