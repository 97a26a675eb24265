// The same sync, asynchronously, for agents that live on Asio: no thread is blocked, and none is made that was not given.
#pragma once

#include "reprotect/executor.hpp"
#include "reprotect/sync.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>

#include <functional>
#include <memory>
#include <utility>

namespace reprotect {

namespace detail {
/// `done` is called once, on `session`.
void start_sync(worker_executor session, worker_executor workers, sync_request request, bool compare_only,
                std::function<void(sync_report)> done);

/// What `async_sync` and `async_diff` share.
template <typename CompletionToken>
auto async_start(worker_executor session, worker_executor workers, sync_request request, bool compare_only,
                 CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(sync_report)>(
        [compare_only](auto handler, worker_executor on, worker_executor with, sync_request what) {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));  // std::function must be copyable
            auto work = boost::asio::make_work_guard(*shared);  // its context must not run out of work meanwhile
            start_sync(
                std::move(on), std::move(with), std::move(what), compare_only, [shared, work](sync_report report) {
                    // Where the token wants it: on the handler's own executor, or else the session's.
                    auto executor = boost::asio::get_associated_executor(*shared);
                    boost::asio::dispatch(
                        executor, [shared, report = std::move(report)]() mutable { (*shared)(std::move(report)); });
                });
        },
        token, std::move(session), std::move(workers), std::move(request));
}

}  // namespace detail

/// Starts a sync. `session` runs the deciding code (short handlers, serialised by a strand made on it); `workers` runs the
/// blocking device calls, of which at most 2 x depth are posted at once. Completes with `void(sync_report)`; throws at once
/// what `sync` throws for options that make no sense. What the request points to must live until completion; the context of
/// `session` until the threads of `workers` are joined (so declare it first).
template <typename CompletionToken>
auto async_sync(worker_executor session, worker_executor workers, sync_request request, CompletionToken&& token) {
    return detail::async_start(std::move(session), std::move(workers), std::move(request), false,
                               std::forward<CompletionToken>(token));
}

/// Starts a comparison, as `diff`.
template <typename CompletionToken>
auto async_diff(worker_executor session, worker_executor workers, sync_request request, CompletionToken&& token) {
    return detail::async_start(std::move(session), std::move(workers), std::move(request), true,
                               std::forward<CompletionToken>(token));
}

}  // namespace reprotect
