// What blocks, awaited: for who decides on one thread and lets others wait.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include "reprotect/executor.hpp"

namespace reprotect {

/// Awaited, runs a function on the workers and comes back with what it returned or threw. What it returns can be made of nothing.
template <typename Function>
auto on_worker(const worker_executor& workers, Function function) {
    using result = decltype(function());
    return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void(std::exception_ptr, result)>(
        [workers, function = std::move(function)](auto&& handler) mutable {
            auto shared = std::make_shared<std::decay_t<decltype(handler)>>(std::forward<decltype(handler)>(handler));
            boost::asio::post(workers, [shared, function = std::move(function)]() mutable {
                std::exception_ptr failure;
                result value{};
                try {
                    value = function();
                } catch (...) {
                    failure = std::current_exception();
                }
                auto on = boost::asio::get_associated_executor(*shared);
                auto kept = std::make_shared<result>(std::move(value));
                boost::asio::post(on, [shared, failure, kept] { std::move (*shared)(failure, std::move(*kept)); });
            });
        },
        boost::asio::use_awaitable);
}

}  // namespace reprotect
