// What else may be at the other end of a connection: somebody who speaks HTTP, noise, or not at all. A listener that answers
// each connection by a function, and a client that says what a test wants and waits for the end.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace reprotect::test {

using tcp_socket = boost::asio::ip::tcp::socket;

/// What comes, until the other side ends, or `bytes_max`. A socket's own limit of time ends it, too.
inline std::string read_up_to(tcp_socket& from, std::size_t bytes_max) {
    std::string all;
    std::array<char, 4096> piece{};
    while (all.size() < bytes_max) {
        const ::ssize_t count =
            ::recv(from.native_handle(), piece.data(), std::min(piece.size(), bytes_max - all.size()), 0);
        if (count <= 0) break;
        all.append(piece.data(), static_cast<std::size_t>(count));
    }
    return all;
}

inline void write_whole(tcp_socket& to, std::span<const std::byte> bytes) {
    boost::system::error_code ignored;
    boost::asio::write(to, boost::asio::buffer(bytes.data(), bytes.size()), ignored);
}
inline void write_whole(tcp_socket& to, const std::string& text) {
    write_whole(to, std::as_bytes(std::span(text)));
}

/// Reads and writes of a blocking socket end after this.
inline void limit_waits(tcp_socket& socket, std::chrono::seconds limit) {
    const timeval time{static_cast<time_t>(limit.count()), 0};
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

class odd_server {
public:
    /// `speak` is called for each connection, one after the other; it ends with the call.
    explicit odd_server(std::function<void(tcp_socket&)> speak)
        : acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}), thread_([this, speak = std::move(speak)] {
              while (true) {
                  boost::system::error_code failure;
                  tcp_socket socket = acceptor_.accept(failure);
                  if (failure || ending_) return;
                  limit_waits(socket, std::chrono::seconds(20));
                  speak(socket);
              }
          }) {}
    odd_server(const odd_server&) = delete;
    odd_server& operator=(const odd_server&) = delete;
    ~odd_server() {
        ending_ = true;
        boost::system::error_code ignored;
        tcp_socket last(context_);  // wakes the thread
        last.connect(acceptor_.local_endpoint(), ignored);
        thread_.join();
    }

    std::string address() const { return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }

private:
    boost::asio::io_context context_;
    boost::asio::ip::tcp::acceptor acceptor_;
    std::atomic<bool> ending_ = false;
    std::thread thread_;
};

class odd_client {
public:
    /// `address` is "127.0.0.1:PORT".
    explicit odd_client(const std::string& address) : socket_(context_) {
        const auto port = static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
        socket_.connect({boost::asio::ip::address_v4::loopback(), port});
        limit_waits(socket_, std::chrono::seconds(20));
    }
    tcp_socket& socket() noexcept { return socket_; }
    void say(const std::string& text) { write_whole(socket_, text); }
    void say(std::span<const std::byte> bytes) { write_whole(socket_, bytes); }

    /// What the server said until it ended the connection; the test fails to end only where the server does not.
    std::string listen() { return read_up_to(socket_, 1 << 20); }

private:
    boost::asio::io_context context_;
    tcp_socket socket_;
};

}  // namespace reprotect::test
