// An agent's session: the opening, then a channel, then the session that both share with all others.
#include "reprotect/remote.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <exception>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "sync/session.hpp"
#include "wire/metered_link.hpp"
#include "wire/opening.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;

struct pending_peer {
    pending_peer(peer_request asked, const worker_executor& network, worker_executor with,
                 std::function<void(sync_report)> then)
        : request(std::move(asked)),
          workers(std::move(with)),
          done(std::move(then)),
          network_busy(network),
          workers_busy(workers) {}

    peer_request request;
    worker_executor workers;
    std::function<void(sync_report)> done;
    std::shared_ptr<wire_meter> meter;
    std::string far_name;
    // Neither context runs out of work before there is a session, which sees to it from then on.
    boost::asio::executor_work_guard<worker_executor> network_busy, workers_busy;
    std::optional<std::stop_callback<std::function<void()>>> on_cancel;
};

awaitable<std::array<std::byte, 32>> open_peer(std::shared_ptr<pending_peer> self) {
    const opening::terms terms{
        self->request.role == peer_role::source ? wire_side::source_peer : wire_side::target_peer,
        self->request.secret,
        self->far_name,
        std::min<std::chrono::milliseconds>(self->request.patience, std::chrono::seconds(10)),
        {}};
    opening first(*self->request.stream, terms);
    co_await first.meet_peer();
    const std::array<std::byte, 32> binding = first.binding();
    co_return binding;
}

sync_request request_of(const peer_request& from) {
    sync_request request;
    (from.role == peer_role::source ? request.source : request.target) = from.disk;
    request.options = from.options;
    request.records = from.records;
    request.listener = from.listener;
    request.cancel = from.cancel;
    if (from.compare_only) request = as_comparison(std::move(request));
    return request;
}

void fail(pending_peer& self, error why) {
    self.request.stream->close();
    if (self.request.cancel.stop_requested()) why = error(error_kind::interrupted, "interrupted");
    sync_report report;
    report.failure = std::move(why);
    const auto done = std::move(self.done);
    done(std::move(report));
}

}  // namespace

void detail::start_peer(const worker_executor& network, worker_executor workers, peer_request request,
                        std::function<void(sync_report)> done) {
    REPROTECT_ASSERT(request.disk != nullptr && request.stream != nullptr);
    if (request.role == peer_role::target) request.options.within.reset();  // the source's alone
    check_options(request.options, request.role == peer_role::source ? request.disk->size() : 0);
    const channel::strand strand(network);
    const std::string far_name = request.far_name.empty() ? "the other side" : request.far_name;
    auto meter = std::make_shared<wire_meter>();
    meter->limit = request.limit;
    request.stream = metered(std::move(request.stream), strand, meter);
    auto self = std::make_shared<pending_peer>(std::move(request), strand.get_inner_executor(), std::move(workers),
                                               std::move(done));
    self->meter = std::move(meter);
    self->far_name = far_name;
    self->on_cancel.emplace(self->request.cancel, [strand, weak = std::weak_ptr(self)] {
        boost::asio::post(strand, [weak] {
            const auto there = weak.lock();
            if (there && there->request.stream) there->request.stream->close();
        });
    });
    boost::asio::co_spawn(
        strand, open_peer(self), [self, strand](std::exception_ptr failure, std::array<std::byte, 32> binding) {
            self->on_cancel.reset();
            try {
                if (failure) std::rethrow_exception(failure);
            } catch (...) {
                return fail(*self, caught_error(""));
            }
            peer_request& from = self->request;
            far_end far;
            far.here = from.role == peer_role::source ? side::source : side::target;
            far.link = std::make_shared<channel>(strand, self->workers, std::move(from.stream), self->meter,
                                                 channel_options{from.patience, self->far_name});
            far.binding = binding;
            far.alias = from.disk_name;
            far.wants_differential = from.compare_only && from.role == peer_role::target;
            const session_mode mode = from.compare_only ? session_mode::compare : mode_of(from.options);
            std::make_shared<session>(self->workers, request_of(from), mode, std::move(far), std::move(self->done))
                ->start();
        });
}

}  // namespace reprotect
