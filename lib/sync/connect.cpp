// The tool's way to a peer: connect, ask, and then the session that all others have, while the caller waits. Meanwhile more
// connections are opened for the session, where that helps.
#include "reprotect/connect.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>

#include <exception>
#include <functional>
#include <list>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "sync/lane_controller.hpp"
#include "sync/map_exchange.hpp"
#include "sync/retry.hpp"
#include "sync/session.hpp"
#include "sync/worker_pool.hpp"
#include "wire/connection.hpp"
#include "wire/opening.hpp"
#include "wire/striped_stream.hpp"

#ifndef REPROTECT_VERSION
#define REPROTECT_VERSION "unknown"
#endif

namespace reprotect {
namespace {

using boost::asio::awaitable;

// Another connection of a session, until it has joined.
struct lane_attempt {
    std::function<void()> close = [] {};
    connection link;
    boost::asio::cancellation_signal cancelling;
    bool begun = false, given_up = false;
};

// One call's context: everything that outlives its coroutines.
struct call {
    call(const std::string& remote, const connect_options& options, unsigned threads)
        : name(parse_remote_name(remote)), how(options), strand(network.get_executor()), pool(threads) {
        if (name.how == remote_name::scheme::tcp && !how.credentials && !how.insecure_plaintext)
            throw error(error_kind::usage, remote + " needs a key or a certificate",
                        {.device = remote,
                         .operation = "connect",
                         .hint = "give --key FILE, the one that the server has ('reprotect key new FILE' makes one)"});
    }

    const remote_name name;
    const connect_options& how;
    boost::asio::io_context network{1};
    channel::strand strand;
    worker_pool pool;  // ends before the context that its tasks post to
    std::unique_ptr<ssh_process> ssh;
    connection link;
    wire_answer agreed;
    std::function<void()> close = [] {};          // what ends a handshake
    boost::asio::cancellation_signal cancelling;  // of connecting and asking

    // From any thread. Before the session has begun there is nothing to be stopped gently.
    void break_off() {
        boost::asio::post(strand, [this] {
            if (link.stream) link.stream->close();
            close();
            broken_off = true;
            // A coroutine of Boost 1.81 that is cancelled before its first step throws out of the context instead of failing.
            if (begun) cancelling.emit(boost::asio::cancellation_type::terminal);
        });
    }
    bool begun = false, broken_off = false;  // on the strand

    // Runs until all is over; meanwhile the workers are tended.
    void run() {
        boost::asio::steady_timer tick(network);
        std::function<void(boost::system::error_code)> tend = [&](boost::system::error_code failure) {
            if (failure || ended) return;  // a tick that was due already is not cancelled any more
            pool.tend();
            tend_lanes();
            tick.expires_after(std::chrono::milliseconds(5));
            tick.async_wait(tend);
        };
        tend({});
        over = [this, &tick] {
            ended = true;
            tick.cancel();
            give_lanes_up();
        };
        network.run();
    }
    std::function<void()> over;  // to be called once, at the end
    bool ended = false;

    // More connections of the session that runs.
    void stripe(std::unique_ptr<byte_stream>& stream);
    void tend_lanes();
    void open_lane();
    void give_lanes_up();
    striped_stream::gate more_lanes;
    std::optional<lane_controller> lanes;
    std::list<std::shared_ptr<lane_attempt>> attempts;  // shared with their coroutines
    client_purpose purpose = client_purpose::reader;
    bool lane_failed = false;
};

client_purpose purpose_of(asked_role role) {
    switch (role) {
        case asked_role::source:
            return client_purpose::source;
        case asked_role::target:
            return client_purpose::target;
        case asked_role::reader:
            break;
    }
    return client_purpose::reader;
}

dial_terms dial_terms_of(const call& self, std::function<void()>& close) {
    dial_terms terms;
    terms.host = self.name.host;
    terms.port = self.name.port == 0 ? port_default : self.name.port;
    terms.credentials = self.how.credentials;
    terms.purpose = self.purpose;
    terms.limit = self.how.limit;
    terms.close = &close;
    terms.patience = std::min<std::chrono::milliseconds>(self.how.patience, terms.patience);
    return terms;
}

opening::terms opening_terms_of(const call& self, const connection& link) {
    opening::terms terms;
    terms.side = wire_side::client;
    terms.secret = link.secret;
    terms.far_name = link.far_name;
    terms.explain = link.explain;
    // A password may have to be typed.
    terms.patience =
        self.ssh ? std::chrono::minutes(5) : std::min<std::chrono::milliseconds>(self.how.patience, terms.patience);
    return terms;
}

awaitable<std::array<std::byte, 32>> connect_and_ask(call* self, wire_request wish) {
    const auto on = co_await boost::asio::this_coro::executor;
    self->begun = true;
    if (self->broken_off) throw error(error_kind::interrupted, "interrupted");
    const remote_name& name = self->name;
    if (name.how == remote_name::scheme::ssh) {
        const ssh_terms terms{self->how.ssh_command, self->how.ssh_remote_tool, name.user, name.host, name.port,
                              self->how.limit};
        self->ssh = std::make_unique<ssh_process>(on, terms);
        self->link = self->ssh->take_connection();
    } else {
        self->purpose = purpose_of(wish.role);
        dial_terms terms = dial_terms_of(*self, self->close);
        self->link = co_await dial(std::move(terms));
    }
    opening::terms agreed = opening_terms_of(*self, self->link);
    opening first(*self->link.stream, std::move(agreed));
    const unsigned lanes_asked = wish.lanes;
    self->agreed = co_await first.ask(std::move(wish));
    if (self->agreed.lanes > lanes_asked)
        throw error(error_kind::peer, self->link.far_name + " allows more connections than were asked for",
                    {.operation = "connect", .hint = "see that both sides run versions that fit each other"});
    const std::array<std::byte, 32> binding = first.binding();
    co_return binding;
}

// ---- more connections ----

awaitable<void> join_session(call* self, std::shared_ptr<lane_attempt> attempt) {
    attempt->begun = true;
    if (attempt->given_up) co_return;
    dial_terms terms = dial_terms_of(*self, attempt->close);
    attempt->link = co_await dial(std::move(terms));
    opening::terms agreed = opening_terms_of(*self, attempt->link);
    opening first(*attempt->link.stream, std::move(agreed));
    const wire_join wish{self->agreed.token};
    const auto answer = co_await first.ask(wish);
    attempt->link.meter->join(self->link.meter);
    self->more_lanes.add(std::move(attempt->link.stream));
}

void call::stripe(std::unique_ptr<byte_stream>& stream) {
    if (agreed.lanes <= 1) return;
    auto striped = std::make_unique<striped_stream>(strand, std::move(stream));
    more_lanes = striped->lane_gate();
    lanes.emplace(how.connections, agreed.lanes, link.round_trip);
    stream = std::move(striped);
}

void call::tend_lanes() {
    const auto have = static_cast<unsigned>(more_lanes.lanes());
    if (!lanes || have == 0) return;
    lanes->observe(link.meter->sent_bytes + link.meter->received_bytes, have, std::chrono::steady_clock::now());
    // One that fails is not tried again: the session has what it needs.
    while (!lane_failed && have + attempts.size() < lanes->wanted()) open_lane();
}

void call::open_lane() {
    const auto attempt = attempts.emplace_back(std::make_shared<lane_attempt>());
    boost::asio::co_spawn(
        strand, join_session(this, attempt),
        boost::asio::bind_cancellation_slot(attempt->cancelling.slot(), [this, attempt](std::exception_ptr failure) {
            lane_failed = lane_failed || failure;
            attempts.remove(attempt);
        }));
}

void call::give_lanes_up() {
    for (const auto& each : std::list(attempts)) {
        each->given_up = true;
        if (each->link.stream) each->link.stream->close();
        each->close();
        if (each->begun) each->cancelling.emit(boost::asio::cancellation_type::terminal);
    }
}

// ssh's own end says more than "the connection was closed".
error with_last_words(call& self, error why) {
    if (!self.ssh || why.kind() != error_kind::peer) return why;
    self.link.stream.reset();
    const std::string words = self.ssh->last_words();
    if (words.empty()) return why;
    error_detail detail = why.detail();
    detail.hint = "try the same ssh command by hand; --ssh and --remote-tool say what is run";
    return error(why.kind(), std::string(why.what()) + "; " + words, std::move(detail));
}

wire_request wish_of(const sync_request& request, session_mode mode, const remote_name& name, unsigned connections) {
    const sync_options& options = request.options;
    wire_request wish;
    wish.export_name = name.disk;
    wish.role = request.source ? asked_role::source : asked_role::target;
    wish.mode = mode;
    wish.block_bytes = options.block_bytes;
    wish.chunk_bytes = options.chunk_bytes;
    wish.algorithm = options.algorithm;
    wish.reread = options.verify == verify_level::reread && mode == session_mode::sync;
    wish.permits = {options.allow_larger, options.truncate, options.reverse};
    wish.keep_differential = options.keep_differential && !request.source;
    if (!request.source) wish.within = options.within;  // a source here knows it itself
    wish.tool_version = REPROTECT_VERSION;
    if (name.how == remote_name::scheme::tcp) wish.lanes = connections == 0 ? lanes_max : connections;
    return wish;
}

unsigned threads_of(const sync_options& options) {
    const unsigned wanted = options.depth + 4;  // one disk, and what compresses
    return options.threads == 0 ? wanted : std::min(wanted, options.threads);
}

// Whether extents to stay within fall on the source's blocks is for the source's side to say.
void check_own_options(const sync_request& request) {
    sync_options options = request.options;
    if (!request.source) options.within.reset();
    check_options(options, request.source ? request.source->size() : 0);
}

sync_report run_once(const sync_request& request, const std::string& remote, const connect_options& how,
                     session_mode mode) {
    check_own_options(request);
    if (how.connections > lanes_max)
        throw error(error_kind::usage, "a session may have 1 to " + std::to_string(lanes_max) + " connections");
    call self(remote, how, threads_of(request.options));
    sync_report result;
    const auto end = [&](sync_report report) {
        result = std::move(report);
        self.over();
    };
    std::optional<std::stop_callback<std::function<void()>>> on_cancel;
    on_cancel.emplace(request.cancel, [&self] { self.break_off(); });
    boost::asio::co_spawn(
        self.strand, connect_and_ask(&self, wish_of(request, mode, self.name, how.connections)),
        boost::asio::bind_cancellation_slot(
            self.cancelling.slot(), [&](std::exception_ptr failure, std::array<std::byte, 32> binding) {
                on_cancel.reset();
                try {
                    if (failure) std::rethrow_exception(failure);
                    if (request.cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted");
                    far_end far;
                    far.here = request.source ? side::source : side::target;
                    const std::string far_name = self.link.far_name;
                    std::unique_ptr<byte_stream> stream = std::move(self.link.stream);
                    self.stripe(stream);
                    far.link = std::make_shared<channel>(self.strand, self.pool.get_executor(), std::move(stream),
                                                         self.link.meter, channel_options{how.patience, far_name});
                    far.binding = binding;
                    far.far_name = remote;
                    far.asked_here = true;
                    far.wants_differential = request.options.keep_differential && !request.source;
                    std::make_shared<session>(self.pool.get_executor(), request, mode, std::move(far), end)->start();
                } catch (...) {
                    sync_report report;
                    report.failure = caught_error("");
                    if (request.cancel.stop_requested())
                        report.failure = error(error_kind::interrupted, "interrupted", {.hint = "nothing was written"});
                    end(std::move(report));
                }
            }));
    self.run();
    if (result.failure) result.failure = with_last_words(self, *result.failure);
    return result;
}

sync_report run_with(const sync_request& request, const std::string& remote, const connect_options& how,
                     session_mode mode) {
    REPROTECT_ASSERT((request.source == nullptr) != (request.target == nullptr));
    return with_retries(how.retry, request,
                        [&](const sync_request& once) { return run_once(once, remote, how, mode); });
}

}  // namespace

sync_report sync_with_remote(const sync_request& request, const std::string& remote, const connect_options& how) {
    return run_with(request, remote, how, mode_of(request.options));
}

sync_report diff_with_remote(const sync_request& request, const std::string& remote, const connect_options& how) {
    return run_with(as_comparison(request), remote, how, session_mode::compare);
}

checksum_report checksum_remote(const std::string& remote, const checksum_options& options, const connect_options& how,
                                sync_listener* listener, std::stop_token cancel) {
    if (options.algorithm != digest_algorithm::sha256)
        throw error(error_kind::usage, "a peer's disk is digested with sha256 alone",
                    {.hint = "leave --digest out: an xxh3 digest means nothing outside the process that made it"});
    check_geometry({0, options.chunk_bytes, options.block_bytes});
    call self(remote, how, 1);
    wire_request wish;
    wish.export_name = self.name.disk;
    wish.role = asked_role::reader;
    wish.mode = session_mode::compare;
    wish.block_bytes = options.block_bytes;
    wish.chunk_bytes = options.chunk_bytes;
    wish.algorithm = options.algorithm;
    wish.with_blocks = options.with_blocks;
    wish.ignore_allocation = options.ignore_allocation;
    wish.tool_version = REPROTECT_VERSION;

    std::exception_ptr failed;
    checksum_report report;
    const auto end = [&](std::exception_ptr failure, checksum_report got) {
        failed = failure;
        report = std::move(got);
        if (self.link.stream) self.link.stream->close();
        self.over();
    };
    {
        const std::stop_callback on_cancel(cancel, [&self] { self.break_off(); });
        boost::asio::co_spawn(self.strand, connect_and_ask(&self, std::move(wish)),
                              boost::asio::bind_cancellation_slot(
                                  self.cancelling.slot(), [&](std::exception_ptr failure, std::array<std::byte, 32>) {
                                      if (failure || cancel.stop_requested()) return end(failure, {});
                                      boost::asio::co_spawn(
                                          self.strand, receive_map(self.link, options, how.patience, listener), end);
                                  }));
        self.run();
    }
    if (cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted");
    if (!failed) return report;
    try {
        std::rethrow_exception(failed);
    } catch (...) {
        throw with_last_words(self, caught_error(""));
    }
}

}  // namespace reprotect
