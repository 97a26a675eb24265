// What passes a connection, counted and held back: the layer between a socket and TLS, so that every byte on the wire counts.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "reprotect/rate_limiter.hpp"

namespace reprotect {

/// One connection's. Touched only where its stream's handlers run.
struct wire_meter {
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t received_bytes_max =
        std::numeric_limits<std::uint64_t>::max();  ///< more is an error: lifted once the peer is known
    std::shared_ptr<rate_limiter> limit;            ///< null: none; shared by the sessions that share a limit
};

}  // namespace reprotect
