// The public calls: a session on the caller's thread with a pool of its own, or on executors that an agent hands in.
#include "reprotect/sync.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "reprotect/async.hpp"
#include "sync/session.hpp"

namespace reprotect {
namespace {

// Device calls of both disks in flight, each on a thread of its own.
unsigned worker_count(const sync_options& options) {
    const unsigned wanted = 2 * options.depth;
    return options.threads == 0 ? wanted : std::min(wanted, options.threads);
}

sync_report run_here(const sync_request& request, session_mode mode) {
    check_request(request, mode);
    std::optional<sync_report> result;
    boost::asio::io_context loop(1);
    boost::asio::thread_pool workers(worker_count(request.options));  // gone before the loop that it posts to
    const auto running = std::make_shared<session>(loop.get_executor(), workers.get_executor(), request, mode,
                                                   [&result, &loop](sync_report report) {
                                                       result = std::move(report);
                                                       loop.stop();
                                                   });
    // Between a post to the workers and their answer the loop has nothing to do, but must not end.
    const auto guard = boost::asio::make_work_guard(loop);
    running->start();
    loop.run();
    workers.join();
    REPROTECT_ASSERT(result.has_value());
    return std::move(*result);
}

sync_request as_comparison(sync_request request) {
    request.options.keep_differential = true;
    request.options.dry_run = false;
    request.records = nullptr;
    return request;
}

session_mode mode_of(const sync_request& request) {
    return request.options.dry_run ? session_mode::dry_run : session_mode::sync;
}

}  // namespace

const char* to_string(sync_mode mode) noexcept {
    return mode == sync_mode::full ? "full" : "differential";
}

const char* to_string(proof_level value) noexcept {
    switch (value) {
        case proof_level::none:
            return "none";
        case proof_level::root:
            return "root";
        case proof_level::reread:
            return "reread";
        case proof_level::partial:
            return "partial";
    }
    return "none";
}

const char* to_string(sync_phase phase) noexcept {
    switch (phase) {
        case sync_phase::prepare:
            return "prepare";
        case sync_phase::scan:
            return "scan";
        case sync_phase::flush:
            return "flush";
        case sync_phase::verify:
            return "verify";
        case sync_phase::done:
            return "done";
    }
    return "done";
}

sync_report sync(const sync_request& request) {
    return run_here(request, mode_of(request));
}

sync_report diff(const sync_request& request) {
    return run_here(as_comparison(request), session_mode::compare);
}

void detail::start_sync(worker_executor session_on, worker_executor workers, sync_request request, bool compare_only,
                        std::function<void(sync_report)> done) {
    if (compare_only) request = as_comparison(std::move(request));
    const session_mode mode = compare_only ? session_mode::compare : mode_of(request);
    check_request(request, mode);
    std::make_shared<session>(session_on, std::move(workers), std::move(request), mode, std::move(done))->start();
}

}  // namespace reprotect
