// A connected stream with what is known of it: what passed, the secret that both ends share, and words for what goes wrong.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reprotect/credentials.hpp"
#include "reprotect/stream.hpp"
#include "wire/meter.hpp"
#include "wire/tls.hpp"

namespace reprotect {

struct connection {
    std::unique_ptr<byte_stream> stream;
    std::shared_ptr<wire_meter> meter;
    std::array<std::byte, 32> secret{};      ///< exported from TLS; zeroes without
    std::string far_name;                    ///< "HOST:PORT", for messages
    std::chrono::nanoseconds round_trip{0};  ///< about so much: what a client's handshake took; 0: not known
    /// What a failed transfer means; empty where its own words do.
    std::function<error(const boost::system::error_code&)> explain;
};

/// "127.0.0.1:4711", "[::1]:4711".
std::string to_text(const boost::asio::ip::tcp::endpoint& where);

struct dial_terms {
    std::string host;
    std::uint16_t port = 0;
    std::optional<client_credentials> credentials;  ///< none: plain text, to this machine alone
    client_purpose purpose = client_purpose::reader;
    std::shared_ptr<rate_limiter> limit;
    std::chrono::milliseconds patience{10'000};  ///< for each address, and for the handshake
    std::function<void()>* close = nullptr;      ///< set to what ends the handshake from outside, while it lasts
};

/// Resolves, connects and secures. Throws `error`: `peer`, what credentials' files are refused for, or `usage` for plain text to
/// another machine.
boost::asio::awaitable<connection> dial(dial_terms terms);

/// The server's end of an accepted socket.
struct accepted_connection {
    connection link;
    authenticated_client who;
};

struct secure_terms {
    std::shared_ptr<tls_server> tls;  ///< null: plain text
    std::shared_ptr<rate_limiter> limit;
    std::chrono::milliseconds patience{10'000};
    std::function<void()>* close = nullptr;  ///< set to what ends the handshake from outside, until it has ended
};

/// Throws `error` (peer).
boost::asio::awaitable<accepted_connection> secure_accepted(boost::asio::ip::tcp::socket socket, secure_terms terms);

/// Two descriptors, taken over, as a connection without TLS.
connection join_descriptors(const boost::asio::any_io_executor& on, int in, int out,
                            std::shared_ptr<rate_limiter> limit, std::string far_name);

/// The system's ssh with a `reprotect serve --stdio` at its far end. The process ends with the object.
struct ssh_terms {
    std::vector<std::string> command{"ssh"};
    std::string remote_tool = "reprotect";
    std::string user, host;
    std::uint16_t port = 0;
    std::shared_ptr<rate_limiter> limit;
};

class ssh_process {
public:
    ssh_process(const boost::asio::any_io_executor& on, const ssh_terms& terms);
    ssh_process(const ssh_process&) = delete;
    ssh_process& operator=(const ssh_process&) = delete;
    /// Waits a moment for it to end by itself, once its pipes are closed.
    ~ssh_process();

    connection take_connection() { return std::move(link_); }

    /// What its end says of a connection that failed, or nothing: "ssh ended with 255: …". Waits up to a second for that.
    std::string last_words();

private:
    bool wait(std::chrono::milliseconds patience);

    int process_ = -1;
    int status_ = 0;
    bool ended_ = false;
    std::string command_;
    connection link_;
};

}  // namespace reprotect
