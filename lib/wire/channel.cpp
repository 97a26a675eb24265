// What comes in, and how a connection lives and ends; what goes out is in channel_out.cpp. One write and one read are under way at most.
// Everything runs on the strand but compressing and decompressing.
#include "wire/channel.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "wire/message_codec.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

constexpr auto linger_for = 10s;                 // specified: as long as an opening may take
constexpr unsigned silence_factor = 60;          // signs of life alone are believed for an hour
constexpr std::size_t input_bytes = 128 * 1024;  // what the stream reads at once
constexpr std::size_t slots_max = 16;            // batches that wait for a decoder

bool is_digests(frame_kind kind) noexcept {
    return kind == frame_kind::chunk_digests || kind == frame_kind::block_digests || kind == frame_kind::proof;
}

std::string in_seconds(std::chrono::milliseconds time) {
    return std::to_string((time.count() + 999) / 1000) + " s";
}

}  // namespace

struct channel::incoming_slot {
    incoming_batch what;
    buffer body;  // none where it is read straight to its place
    std::size_t body_bytes = 0;
    boost::system::error_code failure;
    bool ready = false;
};

channel::channel(strand on, worker_executor workers, std::unique_ptr<byte_stream> stream,
                 std::shared_ptr<wire_meter> meter, channel_options options)
    : strand_(std::move(on)),
      workers_(std::move(workers)),
      stream_(std::move(stream)),
      meter_(std::move(meter)),
      options_(std::move(options)),
      bodies_(std::make_shared<buffer_pool>(batch_raw_bytes_max)),
      level_(starting_level()),
      flush_timer_(strand_),
      input_(input_bytes),
      tick_timer_(strand_) {}

channel::~channel() = default;

void channel::start(channel_user& user) {
    user_ = &user;
    sent_at_start_ = meter_->sent_bytes;
    last_heard_ = last_message_ = last_wrote_ = clock::now();
    arm_tick();
    if (lost_) return;
    read_some();
}

void channel::set_shape(const geometry& shape, std::shared_ptr<buffer_pool> pool) {
    shape_ = shape;
    reader_.emplace(shape, std::move(pool));
    builder_.emplace(shape, [weak = weak_from_this()](std::size_t bytes) {
        const auto self = weak.lock();
        if (!self) return;
        boost::asio::post(self->strand_, [self, bytes] {
            self->released_bytes_ += bytes;
            self->release_payloads();
        });
    });
}

// ---- in ----

void channel::read_some() {
    if (lost_ || reading_ || read_failure_) return;
    std::span<std::byte> into = body_left_;
    if (into.empty()) {
        if (input_begin_ == input_end_) input_begin_ = input_end_ = 0;
        if (input_begin_ != 0 && input_.size() - input_begin_ < std::max(frame_wants_, input_bytes / 2)) {
            std::memmove(input_.data(), input_.data() + input_begin_, input_end_ - input_begin_);
            input_end_ -= std::exchange(input_begin_, 0);
        }
        if (input_.size() - input_begin_ < frame_wants_) input_.resize(input_begin_ + frame_wants_);
        into = std::span(input_).subspan(input_end_);
        if (into.empty()) return;  // held, and full
    }
    reading_ = true;
    reading_body_ = !body_left_.empty();
    stream_->async_read_some(strand_, boost::asio::mutable_buffer(into.data(), into.size()),
                             [self = shared_from_this()](boost::system::error_code failure, std::size_t count) {
                                 self->guarded([&] { self->took(failure, count); });
                             });
}

void channel::took(boost::system::error_code failure, std::size_t count) {
    reading_ = false;
    if (lost_) return;
    if (failure) {
        const bool ended = failure == boost::asio::error::eof || failure == boost::asio::error::connection_reset ||
                           failure == boost::asio::ssl::error::stream_truncated;
        read_failure_ = error(
            error_kind::peer,
            ended ? "the connection was closed by " + options_.far_name
                  : "the connection to " + options_.far_name + " was lost: " + failure.message(),
            {.operation = "receive", .hint = "run the same again: it goes on from there", .connection_lost = true});
        return parse();  // which loses it at its end: after `resume` not all was looked at yet
    }
    last_heard_ = clock::now();
    if (reading_body_) {
        REPROTECT_ASSERT(count <= body_left_.size());
        body_left_ = body_left_.subspan(count);
        if (body_left_.empty()) body_arrived();
    } else {
        // A batch may have begun while this was read: then its body comes first.
        input_end_ += count;
        feed_body();
    }
    parse();
    if (user_ && !lost_) user_->on_received();
    read_some();
}

void channel::parse() {
    if (std::exchange(parsing_, true)) return;
    while (!lost_ && !held_ && body_left_.empty() && slots_.size() < slots_max && parse_frame()) {
    }
    parsing_ = false;
    if (read_failure_) lose_if_all_read();
}

// The last words of a side that has ended count, also those that are still to be looked at.
void channel::lose_if_all_read() {
    if (!lost_ && !held_ && slots_.empty()) lose(*read_failure_);
}

void channel::resume() {
    held_ = false;
    last_heard_ = clock::now();
    boost::asio::post(strand_, [self = shared_from_this()] {
        self->guarded([&] {
            self->parse();
            self->read_some();
        });
    });
}

bool channel::parse_frame() {
    const std::span<const std::byte> arrived(input_.data() + input_begin_, input_end_ - input_begin_);
    frame_wants_ = frame_header_bytes;
    if (arrived.size() < frame_header_bytes) return false;
    const auto header = decode_header(arrived.first<frame_header_bytes>());
    if (!header) return break_off(header.error().message()), false;
    if (header->kind == frame_kind::data) return begin_batch(*header, arrived.subspan(frame_header_bytes));
    frame_wants_ = frame_header_bytes + header->length;
    if (arrived.size() < frame_wants_) return false;
    input_begin_ += frame_wants_;
    received_.frames += frame_wants_;
    if (is_digests(header->kind)) received_.digests += frame_wants_;
    take_frame(header->kind, arrived.subspan(frame_header_bytes, header->length));
    return true;
}

bool channel::begin_batch(const frame_header& header, std::span<const std::byte> arrived) {
    if (!reader_) return break_off("data before the hello"), false;
    frame_wants_ = frame_header_bytes + batch_header_bytes;
    if (arrived.size() < batch_header_bytes) return false;
    const auto sizes = decode_batch_header(arrived.first<batch_header_bytes>(), header.length);
    if (!sizes) return break_off(sizes.error().message()), false;
    frame_wants_ += sizes->head_bytes;
    arrived = arrived.subspan(batch_header_bytes);
    if (arrived.size() < sizes->head_bytes) return false;

    if (data_received_ > data_granted_) return break_off("more data than it may send"), false;
    auto opened =
        reader_->open(*sizes, arrived.first(sizes->head_bytes),
                      {data_granted_ - data_received_, bytes_granted_ - std::min(bytes_granted_, bytes_received_)});
    if (!opened) return break_off(opened.error().message()), false;
    input_begin_ += frame_wants_;
    incoming_ = std::make_shared<incoming_slot>();
    incoming_->what = std::move(*opened);
    incoming_->body_bytes = sizes->body_bytes;
    received_.frames += frame_wants_ + sizes->body_bytes;
    received_.payload += sizes->body_bytes;
    data_received_ += incoming_->what.complete.size();
    bytes_received_ += incoming_->what.payload_bytes;
    last_message_ = clock::now();

    body_left_ = direct_destination(incoming_->what);
    if (body_left_.empty() && sizes->body_bytes != 0) {
        incoming_->body = bodies_->take();  // a whole one, however small: there are few, and those are used again
        body_left_ = incoming_->body.bytes().first(sizes->body_bytes);
    }
    if (body_left_.empty())
        body_arrived();
    else
        feed_body();
    return true;
}

// What lies in the input of a body that is arriving.
void channel::feed_body() {
    const std::size_t here = std::min(body_left_.size(), input_end_ - input_begin_);
    if (here == 0) return;
    std::memcpy(body_left_.data(), input_.data() + input_begin_, here);
    input_begin_ += here;
    body_left_ = body_left_.subspan(here);
    if (body_left_.empty()) body_arrived();
}

void channel::body_arrived() {
    auto slot = std::move(incoming_);
    slots_.push_back(slot);
    if (!slot->body) {
        slot->ready = true;
        return deliver_batches();
    }
    boost::asio::post(workers_, [self = shared_from_this(), slot] {
        try {
            thread_local decompressor with;
            const auto body = std::as_const(slot->body).bytes().first(slot->body_bytes);
            const auto filled = fill(slot->what, body, with, *self->bodies_);
            if (!filled) slot->failure = filled.error();
        } catch (...) {
            slot->failure = boost::asio::error::no_memory;
        }
        slot->body = {};
        boost::asio::post(self->strand_, [self, slot] {
            slot->ready = true;
            self->guarded([&] {
                self->deliver_batches();
                self->parse();
                self->read_some();
            });
        });
    });
}

void channel::deliver_batches() {
    while (!lost_ && !slots_.empty() && slots_.front()->ready) {
        const auto slot = std::move(slots_.front());
        slots_.pop_front();
        if (slot->failure) return break_off(slot->failure.message());
        for (chunk_data& each : slot->what.complete)
            if (user_ && !linger_until_) user_->on_message(std::move(each));
    }
}

// A value, or nothing once the connection was broken off for it.
template <typename Value>
std::optional<Value> channel::checked(wire_result<Value>&& value, frame_kind kind) {
    if (value) return std::move(*value);
    break_off("a frame of kind " + std::to_string(static_cast<unsigned>(kind)) + ": " + value.error().message());
    return std::nullopt;
}

void channel::take_frame(frame_kind kind, std::span<const std::byte> payload) {
    const bool beside = kind == frame_kind::keep_alive || kind == frame_kind::status || kind == frame_kind::notice;
    if (beside && !beside_.take(frame_header_bytes + payload.size(), clock::now()))
        return break_off("more beside its messages than there may be");
    if (kind == frame_kind::keep_alive) return;
    const bool last = kind == frame_kind::goodbye || kind == frame_kind::failed;
    if (linger_until_) {
        // How far the other side has come is worth hearing to the last.
        if (kind == frame_kind::status && user_) {
            if (const auto status = decode_status(payload)) user_->on_frame(*status);
            linger_until_ = std::min(clock::now() + linger_for, linger_most_);
        }
        if (last) end_lingering();
        return;
    }
    far_ended_ = far_ended_ || kind == frame_kind::failed;
    if (!user_) return;
    if (received_at_goodbye_) return break_off("a frame after its goodbye");
    if (!shape_ && kind != frame_kind::hello && kind != frame_kind::failed)
        return break_off("a frame before its hello");
    switch (kind) {
        case frame_kind::status: {
            auto status = checked(decode_status(payload), kind);
            if (status) user_->on_frame(*status);
            return;
        }
        case frame_kind::notice: {
            auto notice = checked(decode_notice(payload), kind);
            if (notice) user_->on_frame(std::move(*notice));
            return;
        }
        case frame_kind::changes: {
            auto found = checked(decode_changes(payload, {changes_end_, shape_->disk_bytes - changes_end_}), kind);
            if (!found) return;
            last_message_ = clock::now();
            if (!found->empty()) changes_end_ = found->back().range.end();
            user_->on_frame(wire_changes{std::move(*found)});
            return;
        }
        case frame_kind::goodbye: {
            auto parting = checked(decode_goodbye(payload), kind);
            if (!parting) return;
            received_at_goodbye_ = meter_->received_bytes;
            user_->on_frame(std::move(*parting));
            return;
        }
        case frame_kind::request:
        case frame_kind::answer:
        case frame_kind::confirm:
        case frame_kind::join:
        case frame_kind::map_piece:
        case frame_kind::map_end:
        case frame_kind::sampler_hello:
        case frame_kind::sampled_disk:
        case frame_kind::layout_wish:
        case frame_kind::sample_wish:
        case frame_kind::samples:
        case frame_kind::samples_end:
        case frame_kind::weigh_wish:
        case frame_kind::weights:
        case frame_kind::filler:
        case frame_kind::echo_wish:
        case frame_kind::echo:
            return break_off("a frame of kind " + std::to_string(static_cast<unsigned>(kind)) + " within a session");
        default:
            break;
    }
    auto what = checked(decode(kind, payload), kind);
    if (!what) return;
    last_message_ = clock::now();
    user_->on_message(std::move(*what));
}

// ---- life and end ----

void channel::arm_tick() {
    tick_timer_.expires_after(std::clamp<std::chrono::milliseconds>(options_.patience / 8, 20ms, 1000ms));
    tick_timer_.async_wait(
        boost::asio::bind_executor(strand_, [weak = weak_from_this()](boost::system::error_code failure) {
            const auto self = weak.lock();
            if (failure || !self || self->closed_) return;
            self->guarded([&] { self->tick(); });
            if (!self->closed_) self->arm_tick();
        }));
}

void channel::tick() {
    const auto now = clock::now();
    // What TLS takes for itself is never read here.
    if (user_) user_->on_received();
    if (lost_) return;
    if (linger_until_) {
        if (now >= *linger_until_) end_lingering();
        return;
    }
    if (writing_.empty() && !goodbye_queued_ && now - last_wrote_ > options_.patience / 4) {
        const std::size_t before = urgent_.size();
        append_keep_alive(urgent_);
        sent_.frames += urgent_.size() - before;
        schedule_write();
    }
    const auto give_up = [this](const std::string& what) {
        lose(error(error_kind::peer, what,
                   {.operation = "receive", .hint = "check the other side and the network", .connection_lost = true}));
    };
    // A write ends when much of it has gone; that it moves shows on the wire.
    if (std::exchange(sent_at_tick_, meter_->sent_bytes) != meter_->sent_bytes) last_wrote_ = now;
    if ((!writing_.empty() || draining_) && now - last_wrote_ > options_.patience)
        return give_up(options_.far_name + " took nothing of what was sent for " + in_seconds(options_.patience));
    if (received_at_goodbye_) return;  // it has no more to say; what is left is this side's to do
    if (!held_ && slots_.size() < slots_max && now - last_heard_ > options_.patience)
        return give_up("nothing was heard from " + options_.far_name + " for " + in_seconds(options_.patience));
    // A flush may take its time, however short the patience with the network is.
    const auto without_progress = std::max<std::chrono::milliseconds>(silence_factor * options_.patience, 600s);
    if (!held_ && now - last_message_ > without_progress)
        return give_up(options_.far_name + " gave signs of life, and nothing else, for " +
                       in_seconds(without_progress));
}

void channel::break_off(const std::string& what) {
    lose(error(error_kind::peer, options_.far_name + " broke the rules of the wire: " + what,
               {.operation = "receive", .hint = "see that both sides run versions of reprotect that fit each other"}));
}

void channel::lose(error why) {
    if (std::exchange(lost_, true)) return;
    close();
    batches_.clear();
    if (finished_) return end_lingering();
    boost::asio::post(strand_, [self = shared_from_this(), why = std::move(why)] {
        if (self->user_) self->user_->on_lost(why);
    });
}

void channel::finish(std::function<void()> done) {
    finished_ = std::move(done);
    if (lost_) return end_lingering();
    flush_data();
    if (!all_written() || write_scheduled_) return;
    if (drained_)
        linger_or_end();
    else
        drain();
}

// A socket that is closed while something lies unread in it is reset, and the other side may lose our last words with that.
void channel::linger_or_end() {
    if (linger_until_) return;
    if (far_ended_ || (received_at_goodbye_ && sent_at_goodbye_)) return end_lingering();
    linger_until_ = clock::now() + linger_for;
    linger_most_ = clock::now() + std::max<std::chrono::milliseconds>(linger_for, options_.patience);
    held_ = false;
    parse();
    read_some();
}

void channel::end_lingering() {
    close();
    if (!finished_) return;
    boost::asio::post(strand_, [self = shared_from_this(), done = std::exchange(finished_, {})] { done(); });
}

void channel::close() noexcept {
    if (std::exchange(closed_, true)) return;
    lost_ = true;
    stream_->close();
    try {
        flush_timer_.cancel();
        tick_timer_.cancel();
    } catch (...) {
        // They end by themselves.
    }
}

// Called where one was caught.
void channel::lose_to_exception() noexcept {
    try {
        lose(caught_error(""));
    } catch (...) {
        close();
    }
}

channel_counts channel::sent() const noexcept {
    channel_counts counts = sent_;
    counts.total = sent_at_goodbye_.value_or(meter_->sent_bytes);
    return counts;
}

channel_counts channel::received() const noexcept {
    channel_counts counts = received_;
    counts.total = received_at_goodbye_.value_or(meter_->received_bytes);
    return counts;
}

}  // namespace reprotect
