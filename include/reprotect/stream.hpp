// A connected stream of bytes: what a session with a peer runs over, whatever carries it.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace reprotect {

/// Ordered, reliable, both ways, and at least 128 bytes are taken in each direction before the other side reads. At most one read and one write are under way at a time; all calls are made on the executor
/// that is handed in, which serialises its handlers, and the handlers run there.
class byte_stream {
public:
    using handler = std::function<void(boost::system::error_code, std::size_t)>;

    virtual ~byte_stream() = default;

    /// At least one byte, or an error; end of file is an error (`boost::asio::error::eof`), too. The buffer lives until then.
    virtual void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                                 handler done) = 0;
    /// A write of nothing is over once all before it is on its way.
    virtual void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                                  handler done) = 0;

    /// Ends both directions now: what is under way completes with an error. May be called twice.
    virtual void close() noexcept = 0;
};

namespace detail {
template <typename Stream>
class owned_stream final : public byte_stream {
public:
    explicit owned_stream(Stream stream) : stream_(std::move(stream)) {}

    void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                         handler done) override {
        stream_.async_read_some(into, boost::asio::bind_executor(on, std::move(done)));
    }
    void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                          handler done) override {
        stream_.async_write_some(from, boost::asio::bind_executor(on, std::move(done)));
    }
    void close() noexcept override {
        boost::system::error_code ignored;
        if constexpr (requires { stream_.lowest_layer(); })
            stream_.lowest_layer().close(ignored);
        else
            stream_.close(ignored);
    }

private:
    Stream stream_;
};
}  // namespace detail

/// Any connected Asio stream (a socket, `ssl::stream`, a pipe's end), moved in: an object with `async_read_some`,
/// `async_write_some` and `close(error_code&)`, its own or its lowest layer's. For `ssl::stream` the handshake is done, and
/// `close` cuts without a shutdown of TLS: a session says itself where it ends.
template <typename AsyncStream>
std::unique_ptr<byte_stream> make_stream(AsyncStream stream) {
    return std::make_unique<detail::owned_stream<std::decay_t<AsyncStream>>>(std::move(stream));
}

}  // namespace reprotect
