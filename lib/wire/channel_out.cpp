// The sending half of a channel: what is urgent goes first, data in batches that workers compress meanwhile.
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>

#include <time.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/caught_error.hpp"
#include "wire/channel.hpp"
#include "wire/message_codec.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

constexpr auto flush_after = 5ms;  // guessed: far below what a person notices, long enough to fill a batch
constexpr std::size_t unsent_bytes_max = 2 << 20;  // guessed: more than any encoder needs to stay ahead of the wire
constexpr int level_first = 3;                     // measured: log text at 531 MB/s, 590 at level 1, for 2% fewer bytes
constexpr unsigned encoders_max = 8;               // guessed: more than one stream of TLS can carry away

// Asked for once: the system is asked each time.
unsigned encoder_count() {
    static const unsigned count = std::clamp(std::thread::hardware_concurrency(), 1u, encoders_max);
    return count;
}

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

// Of the calling thread.
double core_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

struct channel::outgoing_batch {
    batch raw;
    std::uint64_t frame_bytes_max = 0;
    encoded_batch ready_bytes;
    std::unique_ptr<batch_encoder> with;
    int level = 0;
    double encode_seconds = 0;
    double core_seconds = 0;  // of these, on a core
    bool doubtful = false;
    bool started = false;
    bool ready = false;
};

level_controller channel::starting_level() {
    return level_controller(encoder_count(), level_first);
}

void channel::send(message&& what) {
    if (lost_) return;
    if (auto* data = std::get_if<chunk_data>(&what)) {
        builder_->add(std::move(*data));
        queue_full_batches();
        if (!builder_->empty()) arm_flush_timer();
        return;
    }
    // What this side takes is what the other may send.
    const auto grant = [&](std::uint64_t messages, std::uint64_t bytes) {
        data_granted_ = std::max(data_granted_, messages);
        bytes_granted_ = std::max(bytes_granted_, bytes);
    };
    if (const auto* opening = std::get_if<hello>(&what)) grant(opening->data_messages, opening->data_bytes);
    if (const auto* more = std::get_if<credit>(&what)) grant(more->data_messages, more->data_bytes);
    const message_class kind = class_of(what);
    const std::size_t before = urgent_.size();
    append(urgent_, what);
    sent_.frames += urgent_.size() - before;
    const bool digests =
        kind == message_class::digests || kind == message_class::proofs || std::holds_alternative<block_digests>(what);
    if (digests) sent_.digests += urgent_.size() - before;
    schedule_write();
}

void channel::send(const session_frame& what) {
    if (lost_) return;
    const std::size_t before = urgent_.size();
    if (const auto* found = std::get_if<wire_changes>(&what))
        append_changes(urgent_, found->list);
    else if (const auto* status = std::get_if<wire_status>(&what))
        append(urgent_, *status);
    else if (const auto* notice = std::get_if<wire_notice>(&what))
        append(urgent_, *notice);
    else
        append(urgent_, std::get<wire_goodbye>(what));
    goodbye_queued_ = goodbye_queued_ || std::holds_alternative<wire_goodbye>(what);
    sent_.frames += urgent_.size() - before;
    schedule_write();
}

void channel::flush_data() {
    if (lost_ || !builder_) return;
    while (auto rest = builder_->take_rest()) queue_batch(std::move(*rest));
}

std::uint64_t channel::sent_at_most() const noexcept {
    std::uint64_t frames = sent_.frames + (builder_ ? builder_->bytes() : 0);
    for (const auto& each : batches_)
        if (!each->ready) frames += each->frame_bytes_max;
    // A TLS record of 16 KiB costs 22 bytes and a lane's segment of 128 KiB 12, and each write begins new ones.
    return std::max(meter_->sent_bytes, sent_at_start_ + frames + frames / 512 + writes_ * 64);
}

bool channel::all_encoded() const noexcept {
    return encoding_ == 0 && (!builder_ || builder_->empty()) &&
           std::all_of(batches_.begin(), batches_.end(), [](const auto& each) { return each->ready; });
}

void channel::queue_full_batches() {
    while (auto full = builder_->take_full()) queue_batch(std::move(*full));
}

void channel::queue_batch(batch&& what) {
    auto slot = std::make_shared<outgoing_batch>();
    slot->raw = std::move(what);
    slot->frame_bytes_max = frame_bytes_max(slot->raw);
    if (batches_.empty() && !writing_batch_) idle_clock_.begin(clock::now());
    batches_.push_back(std::move(slot));
    start_encoders();
}

void channel::start_encoders() {
    for (const auto& slot : batches_) {
        if (encoding_ >= encoder_count()) return;
        if (slot->started) continue;
        slot->started = true;
        slot->level = level_.level();
        slot->doubtful = last_stayed_raw_;
        if (encoders_.empty()) encoders_.push_back(std::make_unique<batch_encoder>(bodies_));
        slot->with = std::move(encoders_.back());
        encoders_.pop_back();
        ++encoding_;
        boost::asio::post(workers_, [self = shared_from_this(), slot] {
            const auto begin = clock::now();
            const double core_begin = core_seconds();
            std::optional<error> failure;
            try {
                slot->ready_bytes = slot->with->encode(std::move(slot->raw), slot->level, slot->doubtful);
            } catch (...) {
                failure = caught_error("");
            }
            slot->encode_seconds = seconds_between(begin, clock::now());
            slot->core_seconds = core_seconds() - core_begin;
            boost::asio::post(self->strand_, [self, slot, failure = std::move(failure)] {
                self->guarded([&] {
                    if (failure) throw error(*failure);
                    self->encoded(slot);
                });
            });
        });
    }
}

void channel::encoded(const std::shared_ptr<outgoing_batch>& what) {
    --encoding_;
    if (lost_) return;
    what->ready = true;
    encoders_.push_back(std::move(what->with));
    const std::size_t head = what->ready_bytes.head.size(), body = what->ready_bytes.body().size();
    sent_.frames += head + body;
    sent_.payload += body;
    unsent_bytes_ += body;
    last_stayed_raw_ = what->ready_bytes.codec == batch_codec::raw;

    const idle_clock::reading passed = idle_clock_.read(clock::now());
    batch_observation seen;
    seen.level = what->level;
    seen.raw_bytes = what->ready_bytes.raw_bytes;
    seen.encoded_bytes = body;
    seen.encode_seconds = what->encode_seconds;
    seen.core_seconds = what->core_seconds;
    seen.seconds = passed.seconds;
    seen.wire_idle_seconds = passed.idle_seconds;
    seen.encoders_waiting = static_cast<unsigned>(
        std::count_if(batches_.begin(), batches_.end(), [](const auto& slot) { return !slot->started; }));
    level_.observe(seen);
    start_encoders();
    write_next();
    if (user_) user_->on_batch_encoded();
}

// Not at once: what else is said in the same breath goes out in the same write.
void channel::schedule_write() {
    if (!writing_.empty() || std::exchange(write_scheduled_, true)) return;
    boost::asio::post(strand_, [self = shared_from_this()] {
        self->write_scheduled_ = false;
        self->guarded([&] { self->write_next(); });
    });
}

void channel::write_next() {
    if (lost_ || draining_ || !writing_.empty()) return;
    if (!urgent_.empty()) {
        writing_bytes_.swap(urgent_);
        urgent_.clear();
        writing_.emplace_back(writing_bytes_);
    } else if (!batches_.empty() && batches_.front()->ready) {
        writing_batch_ = std::move(batches_.front());
        batches_.pop_front();
        writing_.emplace_back(writing_batch_->ready_bytes.head);
        if (!writing_batch_->ready_bytes.body().empty()) writing_.push_back(writing_batch_->ready_bytes.body());
    } else {
        if (finished_ && all_written()) linger_or_end();
        return;
    }
    last_wrote_ = clock::now();
    idle_clock_.begin_write(last_wrote_);
    write_some();
}

bool channel::all_written() const noexcept {
    return urgent_.empty() && writing_.empty() && !draining_ && batches_.empty() && (!builder_ || builder_->empty());
}

void channel::write_some() {
    drained_ = false;
    ++writes_;
    const std::span<const std::byte> next = writing_.front();
    stream_->async_write_some(strand_, boost::asio::const_buffer(next.data(), next.size()),
                              [self = shared_from_this()](boost::system::error_code failure, std::size_t count) {
                                  self->guarded([&] { self->wrote(failure, count); });
                              });
}

void channel::wrote(boost::system::error_code failure, std::size_t count) {
    if (lost_) return;
    if (failure)
        return lose(
            error(error_kind::peer,
                  "the connection to " + options_.far_name + " was lost while sending: " + failure.message(),
                  {.operation = "send", .hint = "run the same again: it goes on from there", .connection_lost = true}));
    last_wrote_ = clock::now();
    writing_.front() = writing_.front().subspan(count);
    if (writing_.front().empty()) writing_.pop_front();
    if (!writing_.empty()) return write_some();
    if (writing_batch_) unsent_bytes_ -= writing_batch_->ready_bytes.body().size();
    writing_batch_.reset();
    release_payloads();
    idle_clock_.end_write(last_wrote_);
    if (all_written() && (goodbye_queued_ || finished_)) return drain();
    write_next();
}

// The last words are on their way, and all before them: up to a goodbye is what both sides report.
void channel::drain() {
    draining_ = true;
    stream_->async_write_some(strand_, {}, [self = shared_from_this()](boost::system::error_code failure, std::size_t) {
        self->guarded([&] {
            self->draining_ = false;
            self->drained_ = true;
            if (failure || self->lost_) return self->wrote(failure, 0);
            if (self->goodbye_queued_ && !self->sent_at_goodbye_) self->sent_at_goodbye_ = self->meter_->sent_bytes;
            self->write_next();
        });
    });
}

void channel::arm_flush_timer() {
    if (std::exchange(flush_armed_, true)) return;
    flush_timer_.expires_after(flush_after);
    flush_timer_.async_wait(boost::asio::bind_executor(strand_, [weak = weak_from_this()](boost::system::error_code) {
        const auto self = weak.lock();
        if (!self || self->lost_) return;
        self->flush_armed_ = false;
        if (self->builder_->empty()) return;
        self->guarded([&] {
            // While the wire has work, a batch may still grow.
            if (self->batches_.empty() && !self->writing_batch_)
                self->flush_data();
            else
                self->arm_flush_timer();
        });
    }));
}

// What is encoded counts as held as long as it waits behind so much else: the source reads no further then.
void channel::release_payloads() {
    if (user_ && released_bytes_ != 0 && unsent_bytes_ <= unsent_bytes_max)
        user_->on_payload_released(std::exchange(released_bytes_, 0));
}

}  // namespace reprotect
