// A digest map of a far disk: made there, brought here. What `checksum` of a peer's disk is, after the opening.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <stop_token>

#include "reprotect/checksum.hpp"
#include "sync/discretion.hpp"
#include "wire/connection.hpp"
#include "wire/session_frames.hpp"

namespace reprotect {

/// The map is held in memory by both sides: a server refuses (throws `usage`) one that may take more than 256 MiB, or than
/// `memory_bytes` where that is more.
void check_map_size(const device& disk, const wire_request& wish, std::uint64_t memory_bytes);

struct map_terms {
    checksum_options options;
    std::chrono::milliseconds patience{60'000};
    std::stop_token cancel;
    known_as names;  ///< of the disk, for what the peer is told
};

/// The server's part: digests the disk on a thread of its own and sends the map; says every second that it is alive, and how
/// far. Returns the bytes read. Ends the reading when the client has gone. A failure is told to the peer, then thrown.
boost::asio::awaitable<std::uint64_t> send_map(connection& link, device& disk, map_terms terms);

/// The client's. Throws `error`.
boost::asio::awaitable<checksum_report> receive_map(connection& link, checksum_options asked,
                                                    std::chrono::milliseconds patience, sync_listener* listener);

}  // namespace reprotect
