// An operation that takes a `byte_stream::handler`, awaited, and Asio's own handlers as such: they may be moved only, and what
// `std::function` holds must be copyable.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <type_traits>
#include <utility>

#include "reprotect/stream.hpp"

namespace reprotect {

template <typename Handler>
byte_stream::handler copyable(Handler&& handler) {
    auto kept = std::make_shared<std::decay_t<Handler>>(std::forward<Handler>(handler));
    return [kept](boost::system::error_code failure, std::size_t count) { std::move (*kept)(failure, count); };
}

/// `start(handler)` begins the operation, once it is awaited. A failure is thrown as `boost::system::system_error`.
template <typename Start>
auto awaited(Start start) {
    return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&,
                                       void(boost::system::error_code, std::size_t)>(
        [start = std::move(start)](auto&& handler) { start(copyable(std::forward<decltype(handler)>(handler))); },
        boost::asio::use_awaitable);
}

}  // namespace reprotect
