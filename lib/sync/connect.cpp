// The tool's way to a peer: connect, ask, and then the session that all others have, while the caller waits. Meanwhile more
// connections are opened for the session, where that helps.
#include "reprotect/connect.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <thread>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "base/median.hpp"
#include "reprotect/remote.hpp"
#include "reprotect/units.hpp"
#include "sync/lane_controller.hpp"
#include "sync/map_exchange.hpp"
#include "sync/retry.hpp"
#include "sync/sample_exchange.hpp"
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
    unsigned lanes_most = 1;
};

client_purpose purpose_of(asked_role role) {
    switch (role) {
        case asked_role::source:
            return client_purpose::source;
        case asked_role::target:
            return client_purpose::target;
        case asked_role::reader:
        case asked_role::sampler:
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
    lanes_most = std::max(lanes_most, have + static_cast<unsigned>(attempts.size()));
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
    result.connections = self.lanes_most;
    return result;
}

sync_report run_with(const sync_request& request, const std::string& remote, const connect_options& how,
                     session_mode mode) {
    REPROTECT_ASSERT((request.source == nullptr) != (request.target == nullptr));
    return with_retries(how.retry, request,
                        [&](const sync_request& once) { return run_once(once, remote, how, mode); });
}

// ---- a disk that is sampled ----

// Of an answer: a block that is no zeroes, with a count; and what else there is, signs of life too.
constexpr std::uint64_t sample_bytes = sizeof(digest) + 1, answer_bytes = 4096;

// The caller's thread asks and waits; another one has the connection, and keeps it alive between questions.
class far_sampled_disk final : public probed_disk {
public:
    far_sampled_disk(const std::string& remote, const sampling_options& options, const connect_options& how,
                     std::stop_token cancel, const link_traffic& most)
        : name_(remote), how_(how), most_(most), self_(remote, how_, 1), wake_(self_.strand) {
        wire_request wish;
        wish.export_name = self_.name.disk;
        wish.role = asked_role::sampler;
        wish.mode = session_mode::compare;
        wish.block_bytes = options.block_bytes;
        wish.chunk_bytes = std::max(chunk_bytes_default, options.block_bytes);
        wish.tool_version = REPROTECT_VERSION;
        boost::asio::co_spawn(
            self_.strand, converse(this, std::move(wish), options.kept_bytes),
            boost::asio::bind_cancellation_slot(self_.cancelling.slot(),
                                                [this](std::exception_ptr failure) { conversation_over(failure); }));
        try {
            thread_ = std::thread([this] { self_.run(); });
        } catch (...) {
            throw caught_error(name_);
        }
        try {
            // Once it is done, there is a disk.
            perform([](sample_client& with) { return with.keep_alive(); }, cancel);
        } catch (...) {
            end();
            throw;
        }
    }
    far_sampled_disk(const far_sampled_disk&) = delete;
    far_sampled_disk& operator=(const far_sampled_disk&) = delete;
    ~far_sampled_disk() override { end(); }

    const std::string& name() const override { return name_; }
    std::uint64_t size() const override { return client_->shape().disk_bytes; }
    const digest_secret& secret() const noexcept { return client_->secret(); }
    const link_traffic& most() const noexcept { return most_; }
    link_traffic traffic() const;
    error used_up() const {
        const auto bound = [](std::uint64_t bytes, const char* way) {
            return bytes == unlimited_traffic.sent ? "" : " " + format_size(bytes) + way;
        };
        return error(error_kind::limit,
                     "looking at " + name_ + " would take more than may cross for it:" + bound(most_.sent, " there") +
                         bound(most_.received, " back"),
                     {.device = name_, .operation = "sample", .hint = "allow more, or sync without a look before it"});
    }

    std::vector<allocation_run> allocation(std::stop_token cancel) override {
        std::vector<allocation_run> runs;
        perform([&](sample_client& with) { return with.allocation(&runs); }, cancel);
        return runs;
    }
    stretch_samples sample(std::span<const extent> stretches, bool keep, std::stop_token cancel) override;
    std::vector<packed_batch> weigh(std::span<const std::uint64_t> offsets, std::stop_token cancel) override;

    /// Seconds that so many bytes there and so many back took.
    double transfer(std::uint64_t there, std::uint64_t back, std::stop_token cancel) {
        double seconds = 0;
        perform([&](sample_client& with) { return with.exchange_filler(there, back, &seconds); }, cancel);
        return seconds;
    }

private:
    using step = std::function<awaitable<void>(sample_client&)>;
    struct task {
        step begin;
        std::promise<void> done;
    };

    static awaitable<void> converse(far_sampled_disk* disk, wire_request wish, std::uint64_t kept_bytes);
    void perform(step what, const std::stop_token& cancel);
    // Who waits goes, and the task with it, as soon as the promise is kept.
    std::promise<void> take_promise() { return std::move(std::exchange(pending_, nullptr)->done); }
    void conversation_over(std::exception_ptr why);
    void end();

    const std::string name_;
    const connect_options how_;
    const link_traffic most_;
    call self_;
    // On the strand.
    boost::asio::steady_timer wake_;
    std::optional<sample_client> client_;
    task* pending_ = nullptr;
    std::exception_ptr failure_;  // once the conversation is over
    bool over_ = false, unwanted_ = false, is_bounded_ = false;
    std::thread thread_;
};

awaitable<void> far_sampled_disk::converse(far_sampled_disk* disk, wire_request wish, std::uint64_t kept_bytes) {
    const std::uint32_t block_bytes = wish.block_bytes;
    const auto binding = co_await connect_and_ask(&disk->self_, std::move(wish));
    wire_meter& meter = *disk->self_.link.meter;
    meter.received_bytes_max = disk->most_.received;
    disk->is_bounded_ = true;
    sample_client& client = disk->client_.emplace(disk->self_.link, block_bytes, disk->how_.patience);
    co_await client.begin(binding, kept_bytes);
    while (true) {
        if (!disk->pending_) {
            disk->wake_.expires_after(client.keep_every());
            boost::system::error_code woken;
            auto token = boost::asio::redirect_error(boost::asio::use_awaitable, woken);
            co_await disk->wake_.async_wait(token);
        }
        if (meter.sent_bytes >= disk->most_.sent) throw disk->used_up();
        if (disk->pending_) {
            awaitable<void> doing = disk->pending_->begin(client);
            co_await std::move(doing);
            disk->take_promise().set_value();
        } else {
            co_await client.keep_alive();
        }
    }
}

void far_sampled_disk::conversation_over(std::exception_ptr why) {
    over_ = true;
    try {
        if (why) std::rethrow_exception(why);
    } catch (...) {
        const bool all_came = is_bounded_ && self_.link.meter->received_bytes >= most_.received;
        failure_ = std::make_exception_ptr(all_came ? used_up() : with_last_words(self_, caught_error("")));
    }
    if (self_.link.stream) self_.link.stream->close();
    if (pending_) take_promise().set_exception(failure_);
    if (unwanted_) self_.over();
}

void far_sampled_disk::perform(step what, const std::stop_token& cancel) {
    task mine{std::move(what), {}};
    std::future<void> done = mine.done.get_future();
    boost::asio::post(self_.strand, [this, &mine] {
        pending_ = &mine;
        if (over_) take_promise().set_exception(failure_);
        wake_.cancel();
    });
    try {
        const std::stop_callback on_cancel(cancel, [this] { self_.break_off(); });
        done.get();
    } catch (const error&) {
        if (!cancel.stop_requested()) throw;
    }
    if (cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted", {.device = name_});
}

link_traffic far_sampled_disk::traffic() const {
    // Shared: the waiter may be gone before the promise is done with being kept.
    const auto counted = std::make_shared<std::promise<link_traffic>>();
    boost::asio::post(self_.strand, [this, counted] {
        const wire_meter* const meter = self_.link.meter.get();
        counted->set_value(meter ? link_traffic{meter->sent_bytes, meter->received_bytes} : link_traffic());
    });
    return counted->get_future().get();
}

void far_sampled_disk::end() {
    boost::asio::post(self_.strand, [this] {
        unwanted_ = true;
        if (over_) return self_.over();
        self_.break_off();
    });
    thread_.join();
}

stretch_samples far_sampled_disk::sample(std::span<const extent> stretches, bool keep, std::stop_token cancel) {
    const std::uint32_t block = client_->shape().block_bytes;
    std::uint64_t reached = 0;
    for (const extent& each : stretches) {
        const bool inside = each.offset <= size() && each.length <= size() - each.offset;
        if (each.empty() || each.offset < reached || !inside || each.offset % block != 0 ||
            (each.length % block != 0 && each.end() != size()))
            throw error(error_kind::usage, "a stretch that cannot be sampled", {.device = name_});
        reached = each.end();
    }
    stretch_samples seen;
    std::vector<extent> part;
    std::uint64_t bytes = 0;
    const auto ask = [&] {
        if (part.empty()) return;
        const bool fits = most_.received == unlimited_traffic.received ||
                          traffic().received + bytes / block * sample_bytes + answer_bytes <= most_.received;
        if (!fits) throw used_up();
        perform([&](sample_client& with) { return with.sample(part, keep, &seen); }, cancel);
        part.clear();
        bytes = 0;
    };
    for (const extent& each : stretches) {
        for (std::uint64_t at = each.offset; at < each.end();) {
            if (part.size() == sample_stretches_max || bytes + block > sample_bytes_max) ask();
            const std::uint64_t room = (sample_bytes_max - bytes) / block * block;
            part.push_back({at, std::min(room, each.end() - at)});
            at = part.back().end();
            bytes += part.back().length;
        }
    }
    ask();
    return seen;
}

std::vector<packed_batch> far_sampled_disk::weigh(std::span<const std::uint64_t> offsets, std::stop_token cancel) {
    std::uint64_t reached = 0;
    for (const std::uint64_t each : offsets) {
        if (each < reached || each >= size() || each % client_->shape().block_bytes != 0)
            throw error(error_kind::usage, "a block that cannot be weighed", {.device = name_});
        reached = each + 1;
    }
    std::vector<packed_batch> batches;
    while (!offsets.empty()) {
        // Parts of one length, so that no batch is made of a few that are left over.
        const std::size_t parts = (offsets.size() + weigh_blocks_max - 1) / weigh_blocks_max;
        const auto part = offsets.first((offsets.size() + parts - 1) / parts);
        perform([&](sample_client& with) { return with.weigh(part, &batches); }, cancel);
        offsets = offsets.subspan(part.size());
    }
    return batches;
}

// What a link does, by what crosses it.
class link_meter {
public:
    static constexpr std::uint64_t transfer_bytes_least = 64 << 10;

    link_meter(far_sampled_disk& disk, double seconds, const link_traffic& most, std::stop_token cancel)
        : disk_(disk), seconds_(seconds), most_(most), cancel_(std::move(cancel)) {}

    spread<double> round_trips() {
        std::vector<double> seen;
        double left = seconds_ * trips_share;
        while (seen.size() < trips_least || (left > 0 && seen.size() < trips_most)) {
            seen.push_back(disk_.transfer(0, 0, cancel_));
            left -= seen.back();
        }
        const spread<double> trip = spread_of(seen);
        trip_s_ = trip.likely;
        return trip;
    }

    /// Bytes a second, there or back. Transfers are doubled until they take long against a round trip, as TCP takes that to
    /// get going; those that then last are what counts.
    spread<double> rate(bool there) {
        const link_traffic before = disk_.traffic();
        std::uint64_t allowed = (there ? disk_.most().sent - std::min(disk_.most().sent, before.sent)
                                       : disk_.most().received - std::min(disk_.most().received, before.received)) /
                                2;
        allowed = std::min(allowed, there ? most_.sent : most_.received);
        const std::uint64_t grown = allowed / transfers_wanted;
        std::uint64_t bytes = transfer_bytes_least;
        if (allowed < bytes) throw disk_.used_up();
        double left = seconds_ * (1 - trips_share) / 2;
        std::vector<double> seen;
        while (allowed >= bytes && (seen.empty() || (left > 0 && seen.size() < transfers_most))) {
            allowed -= bytes;
            const double took = disk_.transfer(there ? bytes : 0, there ? 0 : bytes, cancel_);
            left -= took;
            const bool lasts = took >= std::max(transfer_s_least, trip_s_ * trips_of_transfer);
            // A few that are long against a round trip tell more than one that takes all that is allowed.
            const bool enough = 2 * bytes > grown && took >= trip_s_ * trips_of_grown;
            const bool grows = !lasts && !enough && bytes < filler_bytes_max && left > 2 * took && allowed >= 2 * bytes;
            // At least half of it was the transfer's: a round trip may have been a quick one.
            if (!grows) seen.push_back(static_cast<double>(bytes) / std::max(took - trip_s_, took / 2));
            if (grows) bytes *= 2;
        }
        return spread_of(seen);
    }

private:
    // Guessed, all of them.
    static constexpr double trips_share = 0.2, transfer_s_least = 0.1, trips_of_transfer = 10, trips_of_grown = 4;
    static constexpr std::size_t trips_least = 3, trips_most = 20, transfers_most = 20, transfers_wanted = 8;

    far_sampled_disk& disk_;
    const double seconds_;
    const link_traffic most_;
    const std::stop_token cancel_;
    double trip_s_ = 0;
};

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

far_probed_disk probe_remote_disk(const std::string& remote, const sampling_options& options,
                                  const connect_options& how, std::stop_token cancel, const link_traffic& most) {
    check_geometry({0, std::max(chunk_bytes_default, options.block_bytes), options.block_bytes});
    auto disk = std::make_unique<far_sampled_disk>(remote, options, how, std::move(cancel), most);
    far_probed_disk result;
    result.secret = disk->secret();
    result.disk = std::move(disk);
    return result;
}

link_traffic traffic_of(const probed_disk& far) {
    const auto* const disk = dynamic_cast<const far_sampled_disk*>(&far);
    if (!disk) throw error(error_kind::usage, "there is no link to this disk", {.device = far.name()});
    return disk->traffic();
}

link_rates measure_link(probed_disk& far, peer_role far_is, double seconds, std::stop_token cancel,
                        const link_traffic& most) {
    auto* const disk = dynamic_cast<far_sampled_disk*>(&far);
    if (!disk) throw error(error_kind::usage, "there is no link to this disk", {.device = far.name()});
    if (std::min(most.sent, most.received) < link_meter::transfer_bytes_least)
        throw error(error_kind::usage, "a link is not measured with less than 64 KiB each way", {.device = far.name()});
    link_meter meter(*disk, std::max(seconds, 0.0), most, std::move(cancel));
    const spread<double> trip = meter.round_trips(), there = meter.rate(true), back = meter.rate(false);
    return far_is == peer_role::target ? link_rates{trip, there, back} : link_rates{trip, back, there};
}

}  // namespace reprotect
