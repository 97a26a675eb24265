// How a connection begins: who speaks, which version, what is asked for, and that nobody stood between.
//
//   both            preamble                                    at once, without waiting
//   client          request, or join: another connection of a session that has begun
//   server                    answer                            accepted, or why not
//   both            confirm                                     a MAC over all of the above
//
// The MAC is HMAC-SHA256 under the connection's secret (32 bytes that TLS exports, see tls.hpp; zeroes where there is no TLS)
// over "reprotect confirm 1 " || the sender's side (source, target, client, server) || 0 || SHA-256(transcript); the transcript is
// the client's preamble, the server's, the request's and the answer's frames (between two peers: the source's preamble, the
// target's). So versions, roles and wishes can't be changed by anyone, and who ends TLS and begins it anew is found out.
// The binding, from which the digest secret is derived (reprotect/digest.hpp), is the same with "reprotect binding 1" || 0.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "reprotect/error.hpp"
#include "reprotect/stream.hpp"
#include "wire/frame.hpp"
#include "wire/session_frames.hpp"

namespace reprotect {

/// All of it must be over within `patience`. Throws `error` (peer), in words that name `far_name`.
class opening {
public:
    struct terms {
        wire_side side = wire_side::client;
        std::array<std::byte, 32> secret{};
        std::string far_name;
        std::chrono::milliseconds patience{10'000};
        std::chrono::milliseconds answer_patience{60'000};  ///< a client's, while the server opens the disk
        /// What a failed transfer means; empty where its own words do.
        std::function<error(const boost::system::error_code&)> explain{};
    };

    /// The stream is borrowed, and is closed when time is up.
    opening(byte_stream& stream, terms agreed);

    /// Between two peers of agents.
    boost::asio::awaitable<void> meet_peer();

    /// A client: throws what the server said where it refused.
    boost::asio::awaitable<wire_answer> ask(wire_request wish);
    boost::asio::awaitable<wire_answer> ask(wire_join wish);

    /// A server, in turn: what is asked, then one of the other two. `refuse` also waits a moment for the client to end.
    boost::asio::awaitable<std::variant<wire_request, wire_join>> receive_request();
    boost::asio::awaitable<void> accept(wire_answer agreed);
    boost::asio::awaitable<void> refuse(error why);

    /// Once all is said: the same on both sides, and new for each connection.
    std::array<std::byte, 32> binding() const;

private:
    struct received_frame {
        frame_kind kind = frame_kind::request;
        std::vector<std::byte> payload;
    };
    boost::asio::awaitable<void> exchange_preambles();
    boost::asio::awaitable<void> exchange_confirms();
    boost::asio::awaitable<void> send(std::vector<std::byte> bytes);
    boost::asio::awaitable<void> receive(std::byte* into, std::size_t count);
    boost::asio::awaitable<wire_answer> ask_by(std::vector<std::byte> frame);
    boost::asio::awaitable<received_frame> receive_frame();
    boost::asio::awaitable<std::vector<std::byte>> receive_frame(frame_kind kind);
    void take_preamble(std::array<std::byte, preamble_bytes> theirs);
    std::array<std::byte, 32> mac(const std::string& label) const;
    void check_transfer(const boost::system::error_code& failure) const;
    [[noreturn]] void fail(const std::string& what, const std::string& hint = {}) const;

    byte_stream& stream_;
    terms terms_;
    preamble ours_;
    wire_side theirs_ = wire_side::server;
    std::array<std::byte, preamble_bytes> our_bytes_{};
    std::vector<std::byte> transcript_;
    std::function<bool()> timed_out_;  // of the step that is being taken
};

/// Whole transfers on a stream, for what is not a session yet, or none. Throw `boost::system::system_error`.
boost::asio::awaitable<void> write_all(byte_stream& to, std::span<const std::byte> bytes);
boost::asio::awaitable<void> read_all(byte_stream& from, std::span<std::byte> into);

}  // namespace reprotect
