// Frames between a server and who only looks at a disk of it: a whole one at a time, and none of them may take for ever.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "reprotect/error.hpp"
#include "wire/connection.hpp"
#include "wire/frame.hpp"

namespace reprotect {

inline constexpr unsigned silence_factor = 60;           // as in a session
inline constexpr std::size_t moved_at_once = 16 * 1024;  // guessed: so much passes within the patience over any link

struct incoming {
    frame_kind kind = frame_kind::keep_alive;
    std::vector<std::byte> payload;
    std::string ended;  ///< how the connection did before a frame began; empty: here is one
};

error broken(const connection& link, const std::string& what);
error lost(const connection& link, const std::string& why);

/// The next frame. Throws `error`, also where nothing comes within the patience. Borrows the connection.
boost::asio::awaitable<incoming> receive_frame(const connection* link, std::chrono::milliseconds patience);

/// Some of it within each patience and, however it is taken, all of it by `until`: else, and where the connection is lost, throws `error`.
/// Borrows the connection and the bytes.
boost::asio::awaitable<void> send_all(const connection* link, std::span<const std::byte> bytes,
                                      std::chrono::milliseconds patience, std::chrono::steady_clock::time_point until);

}  // namespace reprotect
