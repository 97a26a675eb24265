// A stream that counts what passes and holds it back: it lies right on the socket, below TLS, so that every byte on the
// wire counts and a stranger's flood ends before OpenSSL sees it.
//
// Reading asks the layer below for no more than what is left of `received_bytes_max`, so that the excess is never taken
// out of the socket; a read that starts with nothing left fails with `message_size`. Without a limit, writing is one
// handler around the lower layer's, with its executor, allocator and cancellation. With one, each write takes leave for
// at most a piece of it, waits until the leave is due, and writes no more than that; leave that a short or cancelled
// write did not use is kept for the next, since whoever has taken leave does not ask again for the same bytes.
//
// What waits for leave may outlive the stream, which may also move meanwhile: it holds the gate, not the stream, and
// the gate says where the stream is, if it is still there and open.
#pragma once

#include <boost/asio/append.hpp>
#include <boost/asio/associator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "wire/meter.hpp"

namespace reprotect {

namespace detail {

/// Adds what was transferred to a count of the meter, then calls `handler`, in whose place it stands for Asio.
template <typename Handler>
struct counting_handler {
    std::shared_ptr<wire_meter> meter;  // shared: the handler may outlive the stream
    std::uint64_t wire_meter::*count;
    Handler handler;

    void operator()(boost::system::error_code why, std::size_t bytes) {
        meter->add(count, bytes);
        std::move(handler)(why, bytes);
    }
};

/// The first bytes of a buffer sequence. Only some of its buffers, since a transfer may always be shorter: four are
/// more than TLS hands over.
template <typename Buffer>
class front_buffers {
public:
    template <typename Sequence>
    front_buffers(const Sequence& from, std::size_t bytes_max) {
        const auto end = boost::asio::buffer_sequence_end(from);
        for (auto at = boost::asio::buffer_sequence_begin(from); at != end && bytes_max > 0 && count_ < all_.size();
             ++at) {
            const Buffer part = boost::asio::buffer(Buffer(*at), bytes_max);
            if (part.size() == 0) continue;
            bytes_max -= part.size();
            all_[count_++] = part;
        }
    }
    const Buffer* begin() const noexcept { return all_.data(); }
    const Buffer* end() const noexcept { return all_.data() + count_; }

private:
    std::array<Buffer, 4> all_{};
    std::size_t count_ = 0;
};

}  // namespace detail

/// A movable, connected Asio stream and its meter. At most one read and one write at a time; all calls, and the
/// handlers, on one executor that serialises them. It is its own lowest layer, so that `lowest_layer().close(ignored)`
/// of an `ssl::stream` on top also ends a wait for leave; the socket itself is `next_layer()`.
template <typename Lower>
class metered_stream {
public:
    using next_layer_type = Lower;
    using lowest_layer_type = metered_stream;
    using executor_type = typename Lower::executor_type;

    /// The meter must not be null; it is shared with whoever reads the counts and lifts the limits.
    metered_stream(Lower lower, std::shared_ptr<wire_meter> meter)
        : lower_(std::move(lower)), meter_(std::move(meter)) {}
    metered_stream(metered_stream&& other) noexcept
        : lower_(std::move(other.lower_)),
          meter_(std::move(other.meter_)),
          gate_(std::move(other.gate_)),
          closed_(other.closed_) {
        if (gate_ && gate_->stream) gate_->stream = this;
    }
    metered_stream& operator=(metered_stream&&) = delete;
    ~metered_stream() { shut_gate(); }

    executor_type get_executor() noexcept { return lower_.get_executor(); }
    next_layer_type& next_layer() noexcept { return lower_; }
    const next_layer_type& next_layer() const noexcept { return lower_; }
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    const lowest_layer_type& lowest_layer() const noexcept { return *this; }
    const std::shared_ptr<wire_meter>& meter() const noexcept { return meter_; }

    /// Ends both directions: what is under way, a wait for leave too, completes with `operation_aborted`.
    void close(boost::system::error_code& why) {
        shut_gate();
        closed_ = true;
        if constexpr (requires { lower_.close(why); })
            lower_.close(why);
        else
            lower_.lowest_layer().close(why);
    }

    /// Asio's AsyncReadStream; fails with `boost::asio::error::message_size` where nothing more may be received.
    template <typename Buffers, typename Token>
    auto async_read_some(const Buffers& into, Token&& token) {
        return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
            [this](auto&& handler, const Buffers& buffers) {
                this->start_read(buffers, std::forward<decltype(handler)>(handler));
            },
            token, into);
    }

    /// Asio's AsyncWriteStream.
    template <typename Buffers, typename Token>
    auto async_write_some(const Buffers& from, Token&& token) {
        return boost::asio::async_initiate<Token, void(boost::system::error_code, std::size_t)>(
            [this](auto&& handler, const Buffers& buffers) {
                this->start_write(buffers, std::forward<decltype(handler)>(handler));
            },
            token, from);
    }

private:
    // Made by the first write under a limit. Shared by the stream and its waiting write.
    struct gate {
        explicit gate(metered_stream& of) : timer(of.get_executor()), stream(&of) {}

        boost::asio::steady_timer timer;
        metered_stream* stream;  // null once it is closed or gone
        write_leave leave;
    };

    template <typename Buffers>
    struct limited_write {
        std::shared_ptr<gate> through;
        std::shared_ptr<wire_meter> meter;
        Buffers buffers;

        template <typename Self>
        void operator()(Self& self) {
            self.reset_cancellation_state(boost::asio::enable_total_cancellation());
            if (allowed() != 0) return write(self);
            boost::asio::steady_timer& timer = through->timer;
            timer.expires_at(through->leave.due());
            timer.async_wait(std::move(self));
        }
        template <typename Self>
        void operator()(Self& self, boost::system::error_code why) {
            // The timer may have fired just before the stream was closed, or the write cancelled.
            if (!through->stream || self.cancelled() != boost::asio::cancellation_type::none)
                why = boost::asio::error::operation_aborted;
            if (why) return self.complete(why, 0);
            write(self);
        }
        template <typename Self>
        void operator()(Self& self, boost::system::error_code why, std::size_t bytes) {
            through->leave.used(bytes);
            meter->add(&wire_meter::sent_bytes, bytes);
            self.complete(why, bytes);
        }

        std::size_t allowed() const {
            return through->leave.take(*meter->limit, boost::asio::buffer_size(buffers), rate_limiter::clock::now());
        }
        template <typename Self>
        void write(Self& self) {
            Lower& lower = through->stream->lower_;
            const detail::front_buffers<boost::asio::const_buffer> front(buffers, allowed());
            lower.async_write_some(front, std::move(self));
        }
    };

    template <typename Handler>
    detail::counting_handler<std::decay_t<Handler>> counting(std::uint64_t wire_meter::*count, Handler&& handler) {
        return {meter_, count, std::forward<Handler>(handler)};
    }

    template <typename Buffers, typename Handler>
    void start_read(const Buffers& into, Handler&& handler) {
        const std::uint64_t left =
            meter_->received_bytes_max - std::min(meter_->received_bytes, meter_->received_bytes_max);
        const std::size_t wanted = boost::asio::buffer_size(into);
        if (wanted <= left)
            return lower_.async_read_some(into, counting(&wire_meter::received_bytes, std::forward<Handler>(handler)));
        if (left == 0) {
            const boost::system::error_code why = boost::asio::error::message_size;
            boost::asio::post(get_executor(), boost::asio::append(std::forward<Handler>(handler), why, std::size_t{0}));
            return;
        }
        const detail::front_buffers<boost::asio::mutable_buffer> allowed(into, static_cast<std::size_t>(left));
        lower_.async_read_some(allowed, counting(&wire_meter::received_bytes, std::forward<Handler>(handler)));
    }

    template <typename Buffers, typename Handler>
    void start_write(const Buffers& from, Handler&& handler) {
        if (!meter_->limit || closed_ || boost::asio::buffer_size(from) == 0)
            return lower_.async_write_some(from, counting(&wire_meter::sent_bytes, std::forward<Handler>(handler)));
        if (!gate_) gate_ = std::make_shared<gate>(*this);
        // Named: Asio takes a handler that is moved in as a token of its own type.
        std::decay_t<Handler> token(std::forward<Handler>(handler));
        boost::asio::async_compose<std::decay_t<Handler>, void(boost::system::error_code, std::size_t)>(
            limited_write<Buffers>{gate_, meter_, from}, token, lower_);
    }

    void shut_gate() {
        if (!gate_) return;
        gate_->stream = nullptr;
        gate_->timer.cancel();
    }

    Lower lower_;
    std::shared_ptr<wire_meter> meter_;
    std::shared_ptr<gate> gate_;
    bool closed_ = false;
};

}  // namespace reprotect

/// Executor, allocator and cancellation slot are those of the handler inside.
template <template <typename, typename> class Associator, typename Handler, typename Default>
struct boost::asio::associator<Associator, reprotect::detail::counting_handler<Handler>, Default>
    : Associator<Handler, Default> {
    static auto get(const reprotect::detail::counting_handler<Handler>& of) noexcept {
        return Associator<Handler, Default>::get(of.handler);
    }
    static auto get(const reprotect::detail::counting_handler<Handler>& of, const Default& otherwise) noexcept {
        return Associator<Handler, Default>::get(of.handler, otherwise);
    }
};
