// Whatever changes a lane ends in `go_on`, which does what has become possible in each direction.
#include "wire/striped_stream.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/little_endian.hpp"

namespace reprotect {
namespace {

// What the other lanes still carry arrives in that time after one has ended. Guessed: many round trips.
constexpr auto grace = std::chrono::seconds(5);

enum head_field : std::size_t { at_position = 0, at_length = 8 };

}  // namespace

struct striped_stream::core : std::enable_shared_from_this<core> {
    struct lane {
        std::unique_ptr<byte_stream> stream;
        bool ended = false;
        bool used = false;  // in either direction

        std::vector<std::byte> out;  // a segment with its head
        std::size_t out_begin = 0;
        bool writing = false;

        std::array<std::byte, head_bytes> head{};
        std::size_t head_filled = 0;
        std::uint64_t position = 0;
        std::size_t left = 0;  // of the segment at the front; 0: its head is not known
    };
    struct pending_read {
        boost::asio::any_io_executor on;
        boost::asio::mutable_buffer into;
        handler done;
    };
    struct pending_write {
        boost::asio::any_io_executor on;
        boost::asio::const_buffer from;
        handler done;
        std::size_t taken = 0;
    };

    core(const boost::asio::any_io_executor& executor, std::chrono::milliseconds patience)
        : on(executor), timer(executor), joining(executor), joining_max(patience) {}

    void add(std::unique_ptr<byte_stream> stream);
    void go_on();
    void go_on_reading();
    void go_on_writing();
    void wait_for_lane();
    void read_head(const std::shared_ptr<lane>& from);
    void take_head(lane& from);
    void read_body(const std::shared_ptr<lane>& from);
    void write_out(const std::shared_ptr<lane>& to);
    void end_lane(lane& which, boost::system::error_code why);
    void fail(boost::system::error_code why);
    void complete_read(boost::system::error_code why, std::size_t count);
    void complete_write(boost::system::error_code why, std::size_t count);
    void close() noexcept;

    boost::asio::any_io_executor on;
    std::vector<std::shared_ptr<lane>> lanes;  // shared with their handlers
    std::optional<pending_read> read;
    std::optional<pending_write> write;
    bool reading_body = false;
    std::uint64_t read_to = 0;  // position of the next byte in,
    std::uint64_t written = 0;  // and of the next byte out
    boost::system::error_code failure;
    boost::system::error_code first_end;  // of the first lane that ended
    boost::asio::steady_timer timer;      // once one has
    boost::asio::steady_timer joining;    // while a lane that is not known yet must bring what is due
    const std::chrono::milliseconds joining_max;
    bool waits_for_lane = false;
    bool closed = false;
};

void striped_stream::core::add(std::unique_ptr<byte_stream> stream) {
    auto added = std::make_shared<lane>();
    added->stream = std::move(stream);
    added->out.reserve(head_bytes + segment_bytes_max);
    lanes.push_back(added);
    if (std::exchange(waits_for_lane, false)) joining.cancel();  // this one may bring what is due
    read_head(added);
    go_on();
}

void striped_stream::core::go_on() {
    go_on_reading();
    go_on_writing();
}

// ---- in ----

void striped_stream::core::read_head(const std::shared_ptr<lane>& from) {
    const boost::asio::mutable_buffer rest(from->head.data() + from->head_filled, head_bytes - from->head_filled);
    from->stream->async_read_some(on, rest,
                                  [self = shared_from_this(), from](boost::system::error_code why, std::size_t count) {
                                      if (self->closed) return;
                                      if (why) {
                                          self->end_lane(*from, why);
                                          return self->go_on();
                                      }
                                      from->head_filled += count;
                                      if (from->head_filled < head_bytes) return self->read_head(from);
                                      self->take_head(*from);
                                      self->go_on();
                                  });
}

void striped_stream::core::take_head(lane& from) {
    from.head_filled = 0;
    from.used = true;
    from.position = little_endian::load<std::uint64_t>(std::span<const std::byte>(from.head), at_position);
    const auto length = little_endian::load<std::uint32_t>(std::span<const std::byte>(from.head), at_length);
    from.left = length;
    if (length == 0 || length > segment_bytes_max || from.position < read_to)
        fail(boost::system::errc::make_error_code(boost::system::errc::bad_message));
}

void striped_stream::core::go_on_reading() {
    if (!read || reading_body) return;
    if (failure) return complete_read(failure, 0);
    bool all_known = true, any_open = false;
    for (const auto& each : lanes) {
        if (each->left != 0 && each->position == read_to) return read_body(each);
        // Overtaken by what another lane brought for the same place.
        if (each->left != 0 && each->position < read_to)
            return fail(boost::system::errc::make_error_code(boost::system::errc::bad_message));
        all_known = all_known && (each->left != 0 || each->ended);
        any_open = any_open || !each->ended;
    }
    if (!all_known) return;
    if (any_open && !first_end) return wait_for_lane();
    // Nobody can bring what is due.
    fail(first_end ? first_end : boost::system::error_code(boost::asio::error::eof));
}

// Nobody who is known brings what is due. It may be on a lane that the other side has joined already: nothing keeps the bytes of one
// connection from overtaking those of another.
void striped_stream::core::wait_for_lane() {
    if (std::exchange(waits_for_lane, true)) return;
    joining.expires_after(joining_max);
    joining.async_wait(boost::asio::bind_executor(on, [weak = weak_from_this()](boost::system::error_code cancelled) {
        const auto self = weak.lock();
        if (self && !cancelled && self->waits_for_lane)
            self->fail(boost::system::errc::make_error_code(boost::system::errc::bad_message));
    }));
}

void striped_stream::core::read_body(const std::shared_ptr<lane>& from) {
    reading_body = true;
    if (std::exchange(waits_for_lane, false)) joining.cancel();
    const boost::asio::mutable_buffer into(read->into.data(), std::min(read->into.size(), from->left));
    from->stream->async_read_some(on, into,
                                  [self = shared_from_this(), from](boost::system::error_code why, std::size_t count) {
                                      self->reading_body = false;
                                      if (self->closed)
                                          return self->complete_read(boost::asio::error::operation_aborted, 0);
                                      if (why) {
                                          self->end_lane(*from, why);
                                          self->fail(why);
                                          return;
                                      }
                                      from->left -= count;
                                      from->position += count;
                                      self->read_to += count;
                                      self->complete_read({}, count);
                                      if (from->left == 0) self->read_head(from);
                                  });
}

// ---- out ----

void striped_stream::core::go_on_writing() {
    if (!write) return;
    if (failure) return complete_write(failure, 0);
    const auto usable = [](const auto& each) { return !each->ended && !each->writing; };
    if (write->taken == 0 && write->from.size() != 0) {
        // In turn: a slow lane is passed over as long as its last segment waits.
        std::rotate(lanes.begin(), lanes.begin() + 1, lanes.end());
        const auto free = std::find_if(lanes.begin(), lanes.end(), usable);
        if (free == lanes.end()) return;
        const auto to = *free;
        write->taken = std::min(write->from.size(), segment_bytes_max);
        to->out.resize(head_bytes + write->taken);
        little_endian::store<8>(std::span(to->out), at_position, written);
        little_endian::store<4>(std::span(to->out), at_length, write->taken);
        std::memcpy(to->out.data() + head_bytes, write->from.data(), write->taken);
        to->out_begin = 0;
        to->writing = true;
        to->used = true;
        written += write->taken;
        write_out(to);
    }
    const bool all_idle = std::none_of(lanes.begin(), lanes.end(), [](const auto& each) { return each->writing; });
    if (all_idle || (write->from.size() != 0 && std::any_of(lanes.begin(), lanes.end(), usable)))
        complete_write({}, write->taken);
}

void striped_stream::core::write_out(const std::shared_ptr<lane>& to) {
    const boost::asio::const_buffer rest(to->out.data() + to->out_begin, to->out.size() - to->out_begin);
    to->stream->async_write_some(on, rest,
                                 [self = shared_from_this(), to](boost::system::error_code why, std::size_t count) {
                                     if (self->closed)
                                         return self->complete_write(boost::asio::error::operation_aborted, 0);
                                     if (why) return self->fail(why);
                                     to->out_begin += count;
                                     if (to->out_begin < to->out.size()) return self->write_out(to);
                                     to->writing = false;
                                     self->go_on_writing();
                                 });
}

// ---- ends ----

void striped_stream::core::end_lane(lane& which, boost::system::error_code why) {
    which.ended = true;
    // One that was never joined by both sides carried nothing, and nothing is lost with it.
    if (first_end || (!which.used && lanes.size() > 1)) return;
    first_end = why;
    timer.expires_after(grace);
    timer.async_wait(boost::asio::bind_executor(on, [weak = weak_from_this()](boost::system::error_code cancelled) {
        const auto self = weak.lock();
        if (self && !cancelled) self->fail(self->first_end);
    }));
}

void striped_stream::core::fail(boost::system::error_code why) {
    if (!failure) failure = why;
    if (!reading_body) complete_read(failure, 0);
    complete_write(failure, 0);
}

void striped_stream::core::complete_read(boost::system::error_code why, std::size_t count) {
    if (!read) return;
    auto over = std::exchange(read, std::nullopt);
    boost::asio::post(over->on, [done = std::move(over->done), why, count] { done(why, count); });
}

void striped_stream::core::complete_write(boost::system::error_code why, std::size_t count) {
    if (!write) return;
    auto over = std::exchange(write, std::nullopt);
    boost::asio::post(over->on, [done = std::move(over->done), why, count] { done(why, count); });
}

void striped_stream::core::close() noexcept {
    if (std::exchange(closed, true)) return;
    failure = boost::asio::error::operation_aborted;
    for (const auto& each : lanes) each->stream->close();
    try {
        timer.cancel();
        joining.cancel();
        if (!reading_body) complete_read(failure, 0);
        if (std::none_of(lanes.begin(), lanes.end(), [](const auto& each) { return each->writing; }))
            complete_write(failure, 0);
    } catch (...) {
        // What waits is let go with its context.
    }
}

// ---- the stream ----

striped_stream::striped_stream(const boost::asio::any_io_executor& on, std::unique_ptr<byte_stream> first,
                               std::chrono::milliseconds joining_max)
    : core_(std::make_shared<core>(on, joining_max)) {
    core_->add(std::move(first));
}

striped_stream::~striped_stream() {
    close();
}

void striped_stream::async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                                     handler done) {
    REPROTECT_ASSERT(!core_->read && into.size() != 0);
    core_->read.emplace(core::pending_read{on, into, std::move(done)});
    core_->go_on_reading();
}

void striped_stream::async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                                      handler done) {
    REPROTECT_ASSERT(!core_->write);
    core_->write.emplace(core::pending_write{on, from, std::move(done)});
    core_->go_on_writing();
}

void striped_stream::close() noexcept {
    core_->close();
}

striped_stream::gate striped_stream::lane_gate() const {
    gate made;
    made.core_ = core_;
    return made;
}

bool striped_stream::gate::add(std::unique_ptr<byte_stream> lane) const {
    const auto there = core_.lock();
    if (!there || there->closed || there->failure) {
        lane->close();
        return false;
    }
    there->add(std::move(lane));
    return true;
}

std::size_t striped_stream::gate::lanes() const noexcept {
    const auto there = core_.lock();
    return there ? there->lanes.size() : 0;
}

}  // namespace reprotect
