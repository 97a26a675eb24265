// A session's way to its other side: messages in order within their class, over one stream, both ways at once.
//
// Out: what is small and urgent goes first (control, narrowing, digests, allocation, proofs), whatever has queued up in one
// write; data comes after it, in batches that workers compress while others are written. A batch leaves when it is full, when
// the session says that it has nothing more to add for now, or when the wire has been idle for some milliseconds.
// In: a frame is handled before the next one is parsed; data is decompressed by workers and handed on in order.
// Nothing here waits for the other direction, so a reader is never held up by a writer.
//
// A side that has nothing to say sends keep_alive; a side that hears nothing for `patience`, or cannot write for so long, or
// gets nothing but signs of life for 60 times that, gives the connection up. What may be said at any time, and takes no credit
// (keep_alive, status, notice), may be so much in all and so much a second.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/buffer_pool.hpp"
#include "peer/message.hpp"
#include "reprotect/executor.hpp"
#include "reprotect/stream.hpp"
#include "wire/data_batch.hpp"
#include "wire/frame.hpp"
#include "wire/idle_clock.hpp"
#include "wire/level_controller.hpp"
#include "wire/meter.hpp"
#include "wire/session_frames.hpp"
#include "wire/talk_allowance.hpp"

namespace reprotect {

/// Extents that differ, for the side that asked for them.
struct wire_changes {
    std::vector<change> list;
};

/// What goes along with the peers' messages.
using session_frame = std::variant<wire_status, wire_notice, wire_changes, wire_goodbye>;

/// What a channel tells its session; all of it on the channel's strand, never from within a call to the channel.
class channel_user {
public:
    virtual void on_message(message&& what) = 0;
    virtual void on_frame(session_frame&& what) = 0;
    /// This side no longer holds buffers of chunks that were sent, of so many bytes.
    virtual void on_payload_released(std::uint64_t bytes) = 0;
    /// A batch has its size on the wire now: `sent_at_most` may have become less.
    virtual void on_batch_encoded() {}
    /// Something came, though maybe nothing that was told; and now and then when nothing did.
    virtual void on_received() {}
    /// The connection ended or the other side broke the rules of the wire. Once; nothing follows.
    virtual void on_lost(const error& why) = 0;

protected:
    ~channel_user() = default;
};

/// Bytes of one direction, by what they were for.
struct channel_counts {
    std::uint64_t payload = 0;  ///< blocks' bytes as they crossed, compressed or not
    std::uint64_t digests = 0;  ///< chunk and block digests, proofs
    std::uint64_t frames = 0;   ///< all bytes of frames, those above included
    std::uint64_t total = 0;    ///< what the connection carried, with TLS and its handshake
};

struct channel_options {
    std::chrono::milliseconds patience{60'000};
    std::string far_name;  ///< for messages: "10.0.0.1:4711"
};

class channel : public std::enable_shared_from_this<channel> {  // shared by the handlers that are still to run
public:
    using strand = boost::asio::strand<boost::asio::any_io_executor>;

    /// `stream` is where frames begin: preambles and the opening are done.
    channel(strand on, worker_executor workers, std::unique_ptr<byte_stream> stream, std::shared_ptr<wire_meter> meter,
            channel_options options);
    ~channel();

    const strand& executor() const noexcept { return strand_; }
    const std::string& far_name() const noexcept { return options_.far_name; }

    /// Begins to read. `user` lives until `detach` or the channel's end.
    void start(channel_user& user);
    /// Nothing is told any more.
    void detach() noexcept { user_ = nullptr; }

    /// Before data can cross: the session's shape and where its buffers come from.
    void set_shape(const geometry& shape, std::shared_ptr<buffer_pool> pool);

    void send(message&& what);
    /// A goodbye is the last.
    void send(const session_frame& what);
    /// What was collected of a batch shall not wait for more.
    void flush_data();

    /// The bytes that this side will have sent once all that was given to it is out, TLS and lanes included, or a little more.
    /// Exact enough to stop by when nothing is still to be encoded.
    std::uint64_t sent_at_most() const noexcept;
    bool all_encoded() const noexcept;

    /// Nothing is parsed until `resume`; what is being handled is the last.
    void hold() noexcept { held_ = true; }
    void resume();

    /// Writes what is queued, listens for a moment until the other side has ended, too, closes, then calls `done` once.
    void finish(std::function<void()> done);
    /// At once; `done` of `finish` is called.
    void close() noexcept;
    /// The other side broke a rule: the connection ends, and `on_lost` says why.
    void break_off(const std::string& what);
    /// The same for a reason of this side's.
    void lose(error why);

    /// Up to the goodbye where there was one.
    channel_counts sent() const noexcept;
    channel_counts received() const noexcept;
    /// What crossed to here, whatever was said before: the other side's goodbye ends nothing that is paid for.
    std::uint64_t received_in_all() const noexcept { return meter_->received_bytes; }

private:
    using clock = std::chrono::steady_clock;
    struct outgoing_batch;
    struct incoming_slot;

    // out
    void schedule_write();
    void queue_full_batches();
    void queue_batch(batch&& what);
    void start_encoders();
    void encoded(const std::shared_ptr<outgoing_batch>& what);
    void write_next();
    void write_some();
    void drain();
    void wrote(boost::system::error_code failure, std::size_t count);
    void arm_flush_timer();
    void release_payloads();
    bool all_written() const noexcept;

    // in
    void read_some();
    void took(boost::system::error_code failure, std::size_t count);
    void parse();
    bool parse_frame();
    bool begin_batch(const frame_header& header, std::span<const std::byte> arrived);
    void feed_body();
    void body_arrived();
    void deliver_batches();
    void take_frame(frame_kind kind, std::span<const std::byte> payload);
    template <typename Value>
    std::optional<Value> checked(wire_result<Value>&& value, frame_kind kind);

    void arm_tick();
    void tick();
    void lose_if_all_read();
    void linger_or_end();
    void end_lingering();
    template <typename Step>
    void guarded(Step step) noexcept {
        try {
            step();
        } catch (...) {
            lose_to_exception();
        }
    }
    void lose_to_exception() noexcept;
    static level_controller starting_level();

    strand strand_;
    worker_executor workers_;
    std::unique_ptr<byte_stream> stream_;
    std::shared_ptr<wire_meter> meter_;
    channel_options options_;
    channel_user* user_ = nullptr;
    std::shared_ptr<buffer_pool> bodies_;  // of batches, both ways; shared with the workers
    bool lost_ = false;
    bool closed_ = false;
    bool far_ended_ = false;             // its last word was heard
    std::optional<error> read_failure_;  // told once what came before it is handled

    std::vector<std::byte> urgent_;  // whole frames, not yet being written
    bool goodbye_queued_ = false;    // the last frame in urgent_
    bool draining_ = false;          // after the last words
    bool drained_ = false;           // nothing was written since
    bool write_scheduled_ = false;
    std::optional<batch_builder> builder_;
    std::deque<std::shared_ptr<outgoing_batch>> batches_;   // in order, on their way; shared with the encoders
    std::vector<std::unique_ptr<batch_encoder>> encoders_;  // those that are idle
    std::size_t encoding_ = 0;
    bool last_stayed_raw_ = false;
    std::uint64_t unsent_bytes_ = 0;   // of encoded batches
    std::uint64_t sent_at_start_ = 0;  // of the connection, before the first frame
    std::uint64_t writes_ = 0;
    std::uint64_t released_bytes_ = 0;  // of payloads, not yet told
    std::vector<std::byte> writing_bytes_;
    std::shared_ptr<outgoing_batch> writing_batch_;
    std::deque<std::span<const std::byte>> writing_;  // what is left of the write that is under way
    level_controller level_;
    idle_clock idle_clock_;
    boost::asio::steady_timer flush_timer_;
    bool flush_armed_ = false;

    std::vector<std::byte> input_;
    std::size_t input_begin_ = 0, input_end_ = 0;
    bool reading_ = false, reading_body_ = false, held_ = false, parsing_ = false;
    std::size_t frame_wants_ = 0;    // bytes of the frame that is arriving
    std::uint64_t changes_end_ = 0;  // of the extents that came
    std::optional<geometry> shape_;
    std::optional<batch_reader> reader_;
    std::uint64_t data_granted_ = 0, data_received_ = 0;    // chunks
    std::uint64_t bytes_granted_ = 0, bytes_received_ = 0;  // of their payloads
    std::shared_ptr<incoming_slot> incoming_;  // the batch whose body is arriving; shared with the decoders
    std::span<std::byte> body_left_;
    std::deque<std::shared_ptr<incoming_slot>> slots_;  // in order; being decompressed or ready

    boost::asio::steady_timer tick_timer_;
    clock::time_point last_heard_, last_message_, last_wrote_;
    talk_allowance beside_{clock::now()};  // frames that take no credit
    std::uint64_t sent_at_tick_ = 0;       // bytes

    std::function<void()> finished_;
    std::optional<clock::time_point> linger_until_;
    clock::time_point linger_most_;  // however much the other side has still to say

    channel_counts sent_, received_;
    std::optional<std::uint64_t> sent_at_goodbye_, received_at_goodbye_;
};

}  // namespace reprotect
