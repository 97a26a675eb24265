// TLS on a socket, metered below: OpenSSL reads and writes the socket itself, and Asio only waits for it. That carries half as
// much again for the same processor time as `boost::asio::ssl::stream`, whose engine copies every record through a pair of memory
// buffers and makes an operation of each; see bench/wire_bench.cpp.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>

#include <functional>
#include <memory>

#include "reprotect/stream.hpp"
#include "wire/meter.hpp"

namespace reprotect {

/// One connection; what is under way when it is destroyed completes with `operation_aborted`. Errors are those of
/// `boost::asio::ssl::stream`: of the system, of OpenSSL, or `stream_truncated` where the other side ended without saying so in TLS
/// (as a session does, which says itself where it ends). A read past the meter's ceiling is `message_size`.
class tls_stream final : public byte_stream {
public:
    enum class end { client, server };

    /// `keeps` lives as long as the stream: whatever the context's callbacks need.
    tls_stream(boost::asio::ip::tcp::socket socket, std::shared_ptr<wire_meter> meter,
               boost::asio::ssl::context& context, end which, std::shared_ptr<void> keeps);
    ~tls_stream() override;

    void async_handshake(const boost::asio::any_io_executor& on, handler done);
    void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                         handler done) override;
    /// The bytes that were not taken must come first in the next write.
    void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                          handler done) override;
    void close() noexcept override;

    ssl_st* handle() noexcept;
    boost::asio::ip::tcp::socket& socket() noexcept;

private:
    struct core;
    std::shared_ptr<core> core_;  // shared with handlers that are still to run
};

}  // namespace reprotect
