// A digest map of a far disk: made there, brought here. What `checksum` of a peer's disk is, after the opening.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <stop_token>

#include "reprotect/checksum.hpp"
#include "reprotect/executor.hpp"
#include "wire/connection.hpp"
#include "wire/session_frames.hpp"

namespace reprotect {

/// The server's part: digests the disk on `workers` and sends the map; says every second that it is alive, and where it is.
/// A failure is told to the peer, then thrown.
boost::asio::awaitable<checksum_report> send_map(connection& link, const worker_executor& workers, device& disk,
                                                 checksum_options options, std::stop_token cancel);

/// The client's. Throws `error`.
boost::asio::awaitable<checksum_report> receive_map(connection& link, std::chrono::milliseconds patience,
                                                    sync_listener* listener);

}  // namespace reprotect
