// The server listens all the time, also while it reads: who has gone is not read for. What it does aside is done on a
// thread of its own; one timer is what the answering side waits on, whatever it waits for. The client is one
// coroutine that asks and listens by turns, and is woken to say that it is still there.
#include "sync/sample_exchange.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "base/utf8.hpp"
#include "codec/digester.hpp"
#include "codec/random.hpp"
#include "sync/errand.hpp"
#include "wire/message_codec.hpp"
#include "wire/opening.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

constexpr auto parting_patience = 5s;            // guessed: a refusal should arrive, and cost little
constexpr std::size_t runs_per_query = 4096;     // of the device
constexpr std::size_t runs_at_once = 12 * 1024;  // a frame or two
// What one client may have of a disk: a probe reads no block twice, asks for the layout once, and weighs some of what it read.
constexpr std::uint64_t layouts_max = 8;                  // a guess
constexpr std::uint64_t sampled_beyond_bytes = 16 << 20;  // a guess: over the disk's size
constexpr std::uint64_t weighed_per_kept = 4;             // a guess
// A measurement of the link takes 22 times that at most, however much its caller allows; by default 32 MiB.
constexpr std::uint64_t echoed_bytes_max = 24 * filler_bytes_max;
// What an honest look may wait for: either of its disks may be the slow one. Guesses: a disk that turns and is busy.
constexpr auto slow_seek = 20ms;
constexpr std::uint64_t slow_bytes_per_ms = 10'000;
// A weight of less would tell what is in a block: its size, packed.
constexpr std::uint64_t weight_blocks_least = 12, weight_bytes_least = 64 << 10;
constexpr std::size_t runs_max = 4 * 1024 * 1024;      // a guess: of a disk, held by the client; 96 MiB
constexpr std::chrono::milliseconds silence_max = 1s;  // as in a session

std::chrono::milliseconds say_something_every(std::chrono::milliseconds patience) {
    return std::min(patience / 4, silence_max);
}

// What no link makes smaller.
std::vector<std::byte> random_filler() {
    std::vector<std::byte> bytes(moved_at_once);
    fill_random(bytes);
    return bytes;
}

awaitable<void> send_filler(const connection* link, std::uint64_t count, std::chrono::milliseconds patience,
                            steady::time_point until) {
    const std::vector<std::byte> bytes = random_filler();
    std::vector<std::byte> frame;
    while (count != 0) {
        const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(count, bytes.size()));
        frame.clear();
        append_filler(frame, std::span(bytes).first(part));
        co_await send_all(link, frame, patience, until);
        count -= part;
    }
}

std::uint64_t as_us(double seconds) {
    return static_cast<std::uint64_t>(std::ceil(std::max(seconds, 0.0) * 1e6));
}

double as_seconds(std::uint64_t us) {
    return static_cast<double>(us) / 1e6;
}

std::uint64_t blocks_in(const extent& range, const geometry& shape) {
    return (range.length + shape.block_bytes - 1) / shape.block_bytes;
}

// ---- the server ----

class sample_server {
public:
    sample_server(connection& link, device& disk, sample_terms terms, boost::asio::any_io_executor on)
        : link_(link),
          disk_(disk),
          terms_(std::move(terms)),
          on_(std::move(on)),
          bell_(std::make_shared<boost::asio::steady_timer>(on_)),
          shape_{disk.size(), chunk_bytes_default, terms_.options.block_bytes},
          on_cancel_(terms_.cancel, [this] { stop_.request_stop(); }) {}

    awaitable<std::uint64_t> run();

private:
    awaitable<void> listen();
    void take(incoming&& frame);
    void refuse(error why);
    void check_time() const;
    void allow_time(std::span<const extent> stretches);
    awaitable<incoming> next();
    awaitable<void> answer();
    awaitable<void> greet(wire_sampler_hello theirs);
    awaitable<void> tell_layout();
    awaitable<void> tell_samples(wire_sample_wish wish);
    awaitable<void> tell_weights(std::vector<std::uint64_t> offsets);
    awaitable<void> echo(wire_echo_wish wish);
    awaitable<void> aside(errand::work what);
    awaitable<void> part(std::exception_ptr why);
    void put_last_words(const std::exception_ptr& why);
    awaitable<void> rest(std::chrono::milliseconds at_most);
    awaitable<void> send_out();
    std::vector<source_run> layout_from(std::uint64_t& at, const std::stop_token& stop);
    template <typename Value>
    Value checked(wire_result<Value>&& value) const {
        if (!value) throw broken(link_, value.error().message());
        return std::move(*value);
    }

    connection& link_;
    device& disk_;
    const sample_terms terms_;
    const boost::asio::any_io_executor on_;
    const std::shared_ptr<boost::asio::steady_timer> bell_;  // shared with what is posted to ring it
    const geometry shape_;
    std::unique_ptr<probed_disk> probed_;
    std::vector<std::byte> out_;
    std::uint64_t read_bytes_ = 0;
    std::uint64_t kept_bytes_ = 0;
    std::uint64_t layouts_ = 0, asked_bytes_ = 0, weighed_bytes_ = 0, echoed_bytes_ = 0;

    bool listening_ = true, deaf_ = false, busy_ = false;
    std::optional<incoming> pending_;
    std::uint64_t filler_bytes_ = 0;
    std::optional<error> lost_;
    std::optional<error> breach_;  // of the client's, which it shall hear of
    steady::time_point asked_ = steady::now();
    steady::time_point until_ = asked_ + terms_.longest;  // of all
    steady::time_point answer_until_ = until_;

    std::stop_source stop_;
    std::stop_callback<std::function<void()>> on_cancel_;
};

awaitable<std::uint64_t> sample_server::run() {
    boost::asio::co_spawn(on_, listen(), [this](std::exception_ptr why) {
        listening_ = false;
        try {
            if (why) std::rethrow_exception(why);
        } catch (...) {
            lost_ = caught_error("");
        }
        stop_.request_stop();
        bell_->cancel();
    });
    std::exception_ptr failure;
    try {
        co_await answer();
    } catch (...) {
        failure = std::current_exception();
    }
    co_await part(failure);
    if (failure) std::rethrow_exception(failure);
    co_return read_bytes_;
}

void sample_server::put_last_words(const std::exception_ptr& why) {
    out_.clear();
    try {
        std::rethrow_exception(why);
    } catch (...) {
        const message told = failed{discreet(caught_error(""), terms_.names)};
        append(out_, told);
    }
}

// Tells the client why, if it listens, and ends the connection when it has heard it.
awaitable<void> sample_server::part(std::exception_ptr why) {
    deaf_ = true;
    if (why && listening_) {
        try {
            put_last_words(why);
            answer_until_ = steady::now() + parting_patience;
            co_await send_out();
            // A socket that is closed with something unread in it may lose the last words.
            const auto until = steady::now() + parting_patience;
            while (listening_ && steady::now() < until) {
                co_await rest(parting_patience);
            }
        } catch (...) {
            // It has ended, or was too slow to, or there is no memory for words. What follows must be done all the same.
        }
    }
    link_.stream->close();
    while (listening_) {
        co_await rest(parting_patience);
    }
}

awaitable<void> sample_server::listen() {
    while (true) {
        auto frame = co_await receive_frame(&link_, terms_.patience);
        if (!frame.ended.empty()) {
            if (busy_ || pending_) throw lost(link_, frame.ended);
            co_return;
        }
        if (!deaf_) take(std::move(frame));
    }
}

void sample_server::take(incoming&& frame) {
    if (frame.kind == frame_kind::keep_alive || frame.kind == frame_kind::filler) {
        if (!busy_ && steady::now() - asked_ > terms_.turn_max)
            return refuse(error(error_kind::peer, link_.far_name + " gave signs of life, and asked nothing",
                                {.operation = "receive"}));
        if (frame.kind == frame_kind::keep_alive) return;
        filler_bytes_ += frame.payload.size();
        if (frame.payload.empty() || filler_bytes_ > filler_bytes_max)
            refuse(broken(link_, "filler that there may not be"));
        return;
    }
    // The next question may overtake the news that the last answer has gone out; no more than that.
    if (pending_) return refuse(broken(link_, "a question before the last one was answered"));
    pending_ = std::move(frame);
    bell_->cancel();
}

// Who answers tells it, and ends.
void sample_server::refuse(error why) {
    breach_ = std::move(why);
    deaf_ = true;
    stop_.request_stop();
    bell_->cancel();
}

// What may be asked for is bounded, and so is all the time that this adds up to.
void sample_server::allow_time(std::span<const extent> stretches) {
    for (const extent& each : stretches)
        until_ += slow_seek + std::chrono::milliseconds(each.length / slow_bytes_per_ms);
    answer_until_ = std::min(until_, steady::now() + terms_.turn_max);
}

// What it has of the disk, no other may write to meanwhile.
void sample_server::check_time() const {
    if (steady::now() > until_)
        throw error(error_kind::peer, link_.far_name + " looked at the disk for longer than it may",
                    {.operation = "sample", .hint = "ask for a look with a smaller budget"});
}

awaitable<void> sample_server::rest(std::chrono::milliseconds at_most) {
    bell_->expires_after(at_most);
    boost::system::error_code rung;
    auto token = boost::asio::redirect_error(boost::asio::use_awaitable, rung);
    co_await bell_->async_wait(token);
}

awaitable<void> sample_server::send_out() {
    const std::span<const std::byte> bytes(out_);
    co_await send_all(&link_, bytes, terms_.patience, answer_until_);
    out_.clear();
}

// Its `ended` says that the client has.
awaitable<incoming> sample_server::next() {
    busy_ = false;
    asked_ = steady::now();
    while (!pending_ && listening_ && !breach_ && steady::now() <= until_) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - steady::now());
        co_await rest(left + 1ms);
    }
    if (breach_) throw *breach_;
    if (terms_.cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted");
    if (lost_) throw *lost_;
    if (listening_) check_time();
    answer_until_ = std::min(until_, steady::now() + terms_.turn_max);
    incoming frame;
    frame.ended = "ended";
    if (pending_) frame = std::move(*pending_);
    pending_.reset();
    busy_ = true;
    co_return frame;
}

awaitable<void> sample_server::answer() {
    auto first = co_await next();
    if (!first.ended.empty()) co_return;
    if (first.kind != frame_kind::sampler_hello) throw broken(link_, "a frame that has no place here");
    auto theirs = checked(decode_sampler_hello(first.payload));
    co_await greet(theirs);
    while (true) {
        const auto frame = co_await next();
        if (!frame.ended.empty()) co_return;
        if (frame.kind == frame_kind::layout_wish) {
            co_await tell_layout();
        } else if (frame.kind == frame_kind::sample_wish) {
            auto wish = checked(decode_sample_wish(frame.payload, shape_));
            co_await tell_samples(std::move(wish));
        } else if (frame.kind == frame_kind::weigh_wish) {
            auto offsets = checked(decode_weigh_wish(frame.payload, shape_));
            co_await tell_weights(std::move(offsets));
        } else if (frame.kind == frame_kind::echo_wish) {
            auto wish = checked(decode_echo_wish(frame.payload));
            co_await echo(wish);
        } else {
            throw broken(link_, "a frame that has no place here");
        }
    }
}

awaitable<void> sample_server::greet(wire_sampler_hello theirs) {
    if (shape_.disk_bytes > wire_offset_max)
        throw error(error_kind::unsuitable, "a disk of this size cannot be spoken of", {.device = disk_.name()});
    wire_sampled_disk ours;
    ours.nonce = random_nonce();
    ours.disk_bytes = shape_.disk_bytes;
    sampling_options options = terms_.options;
    options.kept_bytes = kept_bytes_ = std::min(options.kept_bytes, theirs.kept_bytes);
    probed_ = make_probed_disk(disk_, options, derive_secret(theirs.nonce, ours.nonce, terms_.binding));
    append(out_, ours);
    co_await send_out();
}

std::vector<source_run> sample_server::layout_from(std::uint64_t& at, const std::stop_token& stop) {
    std::vector<source_run> runs;
    while (at < shape_.disk_bytes && runs.size() < runs_at_once) {
        if (stop.stop_requested()) throw error(error_kind::interrupted, "interrupted", {.device = disk_.name()});
        for (const allocation_run& run : disk_.allocation({at, shape_.disk_bytes - at}, runs_per_query)) {
            REPROTECT_ASSERT(run.range.offset == at && !run.range.empty());
            at = run.range.end();
            const auto kind = run.kind == content::data ? source_content::data : source_content::zero;
            if (!runs.empty() && runs.back().kind == kind)
                runs.back().range.length += run.range.length;
            else
                runs.push_back({run.range, kind});
        }
    }
    return runs;
}

awaitable<void> sample_server::tell_layout() {
    if (++layouts_ > layouts_max) throw broken(link_, "the layout again and again");
    for (std::uint64_t at = 0; at < shape_.disk_bytes;) {
        reprotect::allocation some;
        errand::work ask = [&](const std::stop_token& stop) { some.runs = layout_from(at, stop); };
        co_await aside(std::move(ask));
        const message told = std::move(some);
        append(out_, told);
        co_await send_out();
    }
}

awaitable<void> sample_server::tell_samples(wire_sample_wish wish) {
    for (const extent& each : wish.stretches) asked_bytes_ += each.length;
    if (asked_bytes_ > shape_.disk_bytes + sampled_beyond_bytes)
        throw broken(link_, "more to be sampled than there is on the disk");
    allow_time(wish.stretches);
    stretch_samples seen;
    errand::work read = [&](const std::stop_token& stop) { seen = probed_->sample(wish.stretches, wish.keep, stop); };
    co_await aside(std::move(read));
    for (const extent& each : wish.stretches) read_bytes_ += each.length;
    std::vector<wire_sample> samples;
    samples.reserve(seen.blocks.size());
    for (const block_sample& each : seen.blocks) samples.push_back({each.value, each.zero});
    append_samples(out_, samples);
    wire_samples_end end;
    end.duration_us = as_us(seen.seconds);
    end.processor_us = as_us(seen.processor_seconds);
    append(out_, end);
    co_await send_out();
}

awaitable<void> sample_server::tell_weights(std::vector<std::uint64_t> offsets) {
    if (weighed_bytes_ > weighed_per_kept * kept_bytes_)
        throw broken(link_, "the same blocks to be weighed again and again");
    std::vector<packed_batch> batches;
    errand::work weigh = [&](const std::stop_token& stop) { batches = probed_->weigh(offsets, stop); };
    co_await aside(std::move(weigh));
    std::vector<wire_weight> weights;
    const std::uint64_t least = std::min(weight_blocks_least * shape_.block_bytes, weight_bytes_least);
    for (const packed_batch& each : batches) {
        weighed_bytes_ += each.raw_bytes;
        if (each.raw_bytes >= least)
            weights.push_back({each.raw_bytes, each.packed_bytes, as_us(each.processor_seconds)});
    }
    append_weights(out_, weights);
    co_await send_out();
}

awaitable<void> sample_server::echo(wire_echo_wish wish) {
    wire_echo came;
    came.bytes = std::exchange(filler_bytes_, 0);
    echoed_bytes_ += wish.bytes;
    if (echoed_bytes_ > echoed_bytes_max) throw broken(link_, "filler without end");
    co_await send_filler(&link_, wish.bytes, terms_.patience, answer_until_);
    append(out_, came);
    co_await send_out();
}

// What blocks; the client hears meanwhile that this side lives.
awaitable<void> sample_server::aside(errand::work what) {
    const auto every = say_something_every(terms_.patience);
    errand doing(std::move(what), stop_, disk_.name(),
                 [on = on_, bell = bell_] { boost::asio::post(on, [bell] { bell->cancel(); }); });
    std::optional<error> failure;
    auto due = steady::now() + every;
    while (!doing.over()) {
        co_await rest(every);
        if (doing.over() || failure || !listening_ || breach_) continue;
        if (steady::now() > until_) stop_.request_stop();
        if (steady::now() < due) continue;
        due = steady::now() + every;
        append_keep_alive(out_);
        try {
            co_await send_out();
        } catch (const error& why) {
            // Nobody waits for it any more; the disk is let go when the threads have stopped.
            failure = why;
            stop_.request_stop();
        }
    }
    if (breach_) throw *breach_;
    if (lost_) throw *lost_;
    if (failure) throw *failure;
    check_time();
    if (doing.failure()) throw *doing.failure();
}

}  // namespace

awaitable<std::uint64_t> serve_samples(connection& link, device& disk, sample_terms terms) {
    const auto on = co_await boost::asio::this_coro::executor;
    const auto server = std::make_unique<sample_server>(link, disk, std::move(terms), on);
    const auto read_bytes = co_await server->run();
    co_return read_bytes;
}

// ---- the client ----

struct sample_client::received_frame : incoming {};

sample_client::sample_client(connection& link, std::uint32_t block_bytes, std::chrono::milliseconds patience,
                             std::optional<std::chrono::milliseconds> turn_max)
    : link_(link),
      patience_(patience),
      turn_max_(turn_max.value_or(silence_factor * patience)),
      shape_{0, chunk_bytes_default, block_bytes} {}

std::chrono::milliseconds sample_client::keep_every() const noexcept {
    return say_something_every(patience_);
}

awaitable<void> sample_client::send(std::span<const std::byte> bytes, steady::time_point until) {
    co_await send_all(&link_, bytes, patience_, until);
    said_ = steady::now();
}

// However busily the peer sends, or slowly it takes, an answer ends in time.
awaitable<void> sample_client::ask(std::span<const std::byte> question) {
    asked_ = steady::now();
    const auto until = asked_ + turn_max_;
    co_await send(question, until);
}

awaitable<void> sample_client::keep_alive() {
    std::vector<std::byte> frame;
    append_keep_alive(frame);
    const std::span<const std::byte> bytes(frame);
    const auto until = steady::now() + patience_;
    co_await send(bytes, until);
}

// The next frame that is more than a sign of life.
awaitable<sample_client::received_frame> sample_client::receive() {
    received_frame frame;
    while (true) {
        auto came = co_await receive_frame(&link_, patience_);
        if (!came.ended.empty()) throw lost(link_, came.ended);
        const auto now = steady::now();
        const bool due = now - said_ >= keep_every();
        if (due) {
            co_await keep_alive();
        }
        if (now - asked_ > turn_max_)
            throw error(error_kind::peer, link_.far_name + " gave signs of life, and no whole answer",
                        {.operation = "receive"});
        if (came.kind == frame_kind::keep_alive) continue;
        if (came.kind == frame_kind::failed) {
            const auto why = decode(came.kind, came.payload);
            if (!why) throw broken(link_, why.error().message());
            const error& told = std::get<failed>(*why).why;
            throw error(told.kind() == error_kind::interrupted ? error_kind::peer : told.kind(),
                        link_.far_name + ": " + on_one_line(told.what()), {.operation = "sample"});
        }
        frame.kind = came.kind;
        frame.payload = std::move(came.payload);
        break;
    }
    co_return frame;
}

awaitable<void> sample_client::begin(std::array<std::byte, 32> binding, std::uint64_t kept_bytes) {
    wire_sampler_hello ours;
    ours.nonce = random_nonce();
    ours.kept_bytes = kept_bytes;
    std::vector<std::byte> out;
    append(out, ours);
    const std::span<const std::byte> bytes(out);
    co_await ask(bytes);
    const auto frame = co_await receive();
    if (frame.kind != frame_kind::sampled_disk) throw broken(link_, "a frame that has no place here");
    const auto theirs = decode_sampled_disk(frame.payload);
    if (!theirs) throw broken(link_, theirs.error().message());
    if (theirs->nonce == ours.nonce) throw broken(link_, "it sent our own words back");
    shape_.disk_bytes = theirs->disk_bytes;
    secret_ = derive_secret(ours.nonce, theirs->nonce, binding);
}

awaitable<void> sample_client::allocation(std::vector<allocation_run>* into) {
    std::vector<std::byte> out;
    append_layout_wish(out);
    const std::span<const std::byte> bytes(out);
    co_await ask(bytes);
    for (std::uint64_t at = 0; at < shape_.disk_bytes;) {
        const auto frame = co_await receive();
        if (frame.kind != frame_kind::allocation) throw broken(link_, "a frame that has no place here");
        const auto some = decode(frame.kind, frame.payload);
        if (!some) throw broken(link_, some.error().message());
        for (const source_run& run : std::get<reprotect::allocation>(*some).runs) {
            if (run.range.offset != at || run.range.length > shape_.disk_bytes - at || run.kind == source_content::skip)
                throw broken(link_, "an allocation that is not its disk's");
            at = run.range.end();
            const content kind = run.kind == source_content::data ? content::data : content::zero;
            if (!into->empty() && into->back().kind == kind)
                into->back().range.length += run.range.length;
            else
                into->push_back({run.range, kind});
            if (into->size() > runs_max)
                throw error(error_kind::unsuitable,
                            "the disk at " + link_.far_name + " lies in too many pieces to be probed",
                            {.operation = "allocation"});
        }
    }
}

awaitable<void> sample_client::sample(std::span<const extent> stretches, bool keep, stretch_samples* into) {
    REPROTECT_ASSERT(!stretches.empty());
    wire_sample_wish wish;
    wish.keep = keep;
    wish.stretches.assign(stretches.begin(), stretches.end());
    std::uint64_t left = 0;
    for (const extent& each : stretches) left += blocks_in(each, shape_);
    std::vector<std::byte> out;
    append(out, wish, shape_);
    const std::span<const std::byte> bytes(out);
    co_await ask(bytes);

    // Zeroes come without a digest.
    const digester with(digest_algorithm::xxh3, secret_);
    const std::vector<std::byte> zeroes(shape_.block_bytes);
    const digest zero = with.bytes(zeroes);
    while (true) {
        const auto frame = co_await receive();
        if (frame.kind == frame_kind::samples_end) {
            const auto end = decode_samples_end(frame.payload);
            if (!end) throw broken(link_, end.error().message());
            if (left != 0) throw broken(link_, "fewer samples than were asked for");
            into->seconds += as_seconds(end->duration_us);
            into->processor_seconds += as_seconds(end->processor_us);
            break;
        }
        if (frame.kind != frame_kind::samples) throw broken(link_, "a frame that has no place here");
        const auto some = decode_samples(frame.payload, static_cast<std::size_t>(left));
        if (!some) throw broken(link_, some.error().message());
        for (const wire_sample& each : *some) into->blocks.push_back({each.zero ? zero : each.value, each.zero});
        left -= some->size();
    }
    // Only the last block of a disk may be short.
    const std::size_t tail = static_cast<std::size_t>(stretches.back().end() % shape_.block_bytes);
    if (tail != 0 && into->blocks.back().zero) into->blocks.back().value = with.bytes(std::span(zeroes).first(tail));
}

awaitable<void> sample_client::weigh(std::span<const std::uint64_t> offsets, std::vector<packed_batch>* into) {
    std::vector<std::byte> out;
    append_weigh_wish(out, offsets, shape_);
    const std::span<const std::byte> bytes(out);
    co_await ask(bytes);
    const auto frame = co_await receive();
    if (frame.kind != frame_kind::weights) throw broken(link_, "a frame that has no place here");
    const auto weights = decode_weights(frame.payload);
    if (!weights) throw broken(link_, weights.error().message());
    std::uint64_t left = offsets.size() * std::uint64_t{shape_.block_bytes};
    for (const wire_weight& each : *weights) {
        if (each.raw_bytes > left || each.packed_bytes > each.raw_bytes)
            throw broken(link_, "weights of more than was to be weighed");
        left -= each.raw_bytes;
        into->push_back({each.raw_bytes, each.packed_bytes, as_seconds(each.processor_us)});
    }
}

awaitable<void> sample_client::exchange_filler(std::uint64_t there, std::uint64_t back, double* seconds) {
    REPROTECT_ASSERT(there <= filler_bytes_max && back <= filler_bytes_max);
    const auto begun = steady::now();
    asked_ = begun;  // what it takes slowly is a part of the question
    const auto until = asked_ + turn_max_;
    co_await send_filler(&link_, there, patience_, until);
    wire_echo_wish wish;
    wish.bytes = back;
    std::vector<std::byte> out;
    append(out, wish);
    const std::span<const std::byte> bytes(out);
    co_await send(bytes, until);
    while (true) {
        const auto frame = co_await receive();
        if (frame.kind == frame_kind::echo) {
            const auto came = decode_echo(frame.payload);
            if (!came) throw broken(link_, came.error().message());
            if (came->bytes != there || back != 0) throw broken(link_, "another echo than was asked for");
            break;
        }
        if (frame.kind != frame_kind::filler) throw broken(link_, "a frame that has no place here");
        if (frame.payload.empty() || frame.payload.size() > back)
            throw broken(link_, "other filler than was asked for");
        back -= frame.payload.size();
    }
    *seconds = std::chrono::duration<double>(steady::now() - begun).count();
}

}  // namespace reprotect
