// The public calls: a session on workers of its own while the caller waits, or on executors that an agent hands in.
#include "reprotect/sync.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "reprotect/async.hpp"
#include "sync/session.hpp"
#include "sync/worker_pool.hpp"

namespace reprotect {
namespace {

// A thread for each device call of both disks that may be in flight, and one for what decides.
unsigned threads_max(const sync_options& options) {
    const unsigned wanted = 2 * options.depth + 1;
    return options.threads == 0 ? wanted : std::min(wanted, options.threads);
}

sync_report run_here(const sync_request& request, session_mode mode) {
    check_request(request, mode);
    std::promise<sync_report> promise;
    std::future<sync_report> result = promise.get_future();
    worker_pool pool(threads_max(request.options));
    // What decides runs on the workers, too: an answer and the next action stay on one thread.
    std::make_shared<session>(pool.get_executor(), pool.get_executor(), request, mode, [&promise](sync_report report) {
        promise.set_value(std::move(report));
    })->start();
    while (result.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) pool.tend();
    return result.get();
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
    return run_here(request, mode_of(request.options));
}

void check_sync(const sync_request& request) {
    const session_mode mode = mode_of(request.options);
    check_request(request, mode);
    if (request.target != nullptr) prepare_session(request, *request.target, mode);
}

sync_report diff(const sync_request& request) {
    return run_here(as_comparison(request), session_mode::compare);
}

void detail::start_sync(worker_executor session_on, worker_executor workers, sync_request request, bool compare_only,
                        std::function<void(sync_report)> done) {
    if (compare_only) request = as_comparison(std::move(request));
    const session_mode mode = compare_only ? session_mode::compare : mode_of(request.options);
    check_request(request, mode);
    std::make_shared<session>(session_on, std::move(workers), std::move(request), mode, std::move(done))->start();
}

}  // namespace reprotect
