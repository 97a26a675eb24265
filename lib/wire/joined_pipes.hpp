// Two pipes as one stream: what a session runs over when ssh started the other side, by its standard input and output.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/system/error_code.hpp>

#include <utility>

namespace reprotect {

/// An Asio stream that reads from one descriptor and writes to the other, both on one executor. Asio makes what they
/// refer to non-blocking, also for other processes that share it. A write to a pipe that nobody reads is `broken_pipe`
/// only where SIGPIPE is ignored. Regular files can't be waited for: Asio refuses them.
class joined_pipes {
public:
    using descriptor = boost::asio::posix::stream_descriptor;
    using executor_type = descriptor::executor_type;
    using lowest_layer_type = joined_pipes;

    joined_pipes(descriptor from, descriptor to) : from_(std::move(from)), to_(std::move(to)) {}

    executor_type get_executor() noexcept { return from_.get_executor(); }
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    const lowest_layer_type& lowest_layer() const noexcept { return *this; }

    /// Closes both, whatever happens to the first; `why` is the first error.
    void close(boost::system::error_code& why) {
        boost::system::error_code second;
        from_.close(why);
        to_.close(second);
        if (!why) why = second;
    }

    template <typename Buffers, typename Token>
    auto async_read_some(const Buffers& into, Token&& token) {
        return from_.async_read_some(into, std::forward<Token>(token));
    }
    template <typename Buffers, typename Token>
    auto async_write_some(const Buffers& from, Token&& token) {
        return to_.async_write_some(from, std::forward<Token>(token));
    }

private:
    descriptor from_;
    descriptor to_;
};

}  // namespace reprotect
