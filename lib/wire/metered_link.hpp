// A stream that is known only by its interface, as an Asio stream: so that it can be metered like any other.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>

#include <memory>
#include <utility>

#include "reprotect/stream.hpp"
#include "wire/awaited.hpp"
#include "wire/metered_stream.hpp"

namespace reprotect {

class stream_adapter {
public:
    using executor_type = boost::asio::any_io_executor;
    using lowest_layer_type = stream_adapter;

    stream_adapter(std::unique_ptr<byte_stream> stream, executor_type on)
        : stream_(std::move(stream)), on_(std::move(on)) {}

    executor_type get_executor() const noexcept { return on_; }
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    void close(boost::system::error_code& why) {
        why = {};
        stream_->close();
    }

    template <typename Buffers, typename Token>
    auto async_read_some(const Buffers& into, Token&& token) {
        return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
            [this](auto&& handler, const boost::asio::mutable_buffer& first) {
                stream_->async_read_some(on_, first, copyable(std::forward<decltype(handler)>(handler)));
            },
            token, first_of<boost::asio::mutable_buffer>(into));
    }
    template <typename Buffers, typename Token>
    auto async_write_some(const Buffers& from, Token&& token) {
        return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
            [this](auto&& handler, const boost::asio::const_buffer& first) {
                stream_->async_write_some(on_, first, copyable(std::forward<decltype(handler)>(handler)));
            },
            token, first_of<boost::asio::const_buffer>(from));
    }

private:
    template <typename Buffer, typename Buffers>
    static Buffer first_of(const Buffers& all) {
        for (auto at = boost::asio::buffer_sequence_begin(all); at != boost::asio::buffer_sequence_end(all); ++at)
            if (Buffer(*at).size() != 0) return Buffer(*at);
        return Buffer();
    }

    std::unique_ptr<byte_stream> stream_;
    executor_type on_;
};

/// Counted and held back by `meter`.
inline std::unique_ptr<byte_stream> metered(std::unique_ptr<byte_stream> stream, const boost::asio::any_io_executor& on,
                                            std::shared_ptr<wire_meter> meter) {
    return make_stream(metered_stream<stream_adapter>(stream_adapter(std::move(stream), on), std::move(meter)));
}

}  // namespace reprotect
