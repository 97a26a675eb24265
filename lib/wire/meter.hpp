// What passes a connection, counted and held back: the layer between a socket and TLS, so that every byte on the wire counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "reprotect/rate_limiter.hpp"

namespace reprotect {

/// One connection's. Touched only where its stream's handlers run.
struct wire_meter {
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t received_bytes_max =
        std::numeric_limits<std::uint64_t>::max();  ///< more is an error: lifted once the peer is known
    std::shared_ptr<rate_limiter> limit;            ///< null: none; shared by the sessions that share a limit
    std::shared_ptr<wire_meter> whole;              ///< where this is one of several connections: counts all of them

    void add(std::uint64_t wire_meter::*count, std::uint64_t bytes) noexcept {
        this->*count += bytes;
        if (whole) (*whole).*count += bytes;
    }
    /// From now on, and for what passed already.
    void join(std::shared_ptr<wire_meter> all) noexcept {
        all->sent_bytes += sent_bytes;
        all->received_bytes += received_bytes;
        whole = std::move(all);
    }
};

/// Leave to write under a limit. What a short or cancelled write did not use is kept for the next: whoever has taken leave does not
/// ask again for the same bytes.
class write_leave {
public:
    /// How many of `wanted` bytes may be written now; 0: none before `due()`, then ask again.
    std::size_t take(rate_limiter& limit, std::size_t wanted, rate_limiter::clock::time_point now) {
        if (bytes_ == 0) {
            const std::size_t piece = std::min(wanted, std::max<std::size_t>(limit.piece_bytes(), 1));
            due_ = limit.reserve(piece, now);
            bytes_ = piece;
        }
        return due_ <= now ? std::min(wanted, bytes_) : 0;
    }
    rate_limiter::clock::time_point due() const noexcept { return due_; }
    void used(std::size_t bytes) noexcept { bytes_ -= std::min(bytes, bytes_); }

private:
    std::size_t bytes_ = 0;
    rate_limiter::clock::time_point due_{};
};

}  // namespace reprotect
