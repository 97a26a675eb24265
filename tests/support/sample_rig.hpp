// One side of a look at a disk is real, on a thread of its own; for the other a test speaks by hand, over a socket.
#pragma once

#include <catch2/catch.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>

#include <thread>

#include "base/caught_error.hpp"
#include "reprotect/memory_device.hpp"
#include "support/bytes.hpp"
#include "support/device_doubles.hpp"
#include "support/failures.hpp"
#include "support/gate.hpp"
#include "support/process.hpp"
#include "sync/sample_exchange.hpp"
#include "wire/fields.hpp"
#include "wire/message_codec.hpp"

namespace reprotect::test::sampling {

using namespace std::chrono_literals;
using boost::asio::awaitable;
using local_socket = boost::asio::local::stream_protocol::socket;
using bytes = std::vector<std::byte>;

inline constexpr std::uint32_t block = block_bytes_default;
inline constexpr std::uint64_t blocks = 64;
inline constexpr std::uint64_t disk_bytes = blocks * block;
inline constexpr geometry shape{disk_bytes, chunk_bytes_default, block};

template <typename Value>
inline bytes frame_of(const Value& value) {
    bytes out;
    append(out, value);
    return out;
}

inline bytes layout_question() {
    bytes out;
    append_layout_wish(out);
    return out;
}

inline bytes sample_question(const std::vector<extent>& stretches, bool keep = false, const geometry& of = shape) {
    wire_sample_wish wish;
    wish.keep = keep;
    wish.stretches = stretches;
    bytes out;
    append(out, wish, of);
    return out;
}

inline bytes weigh_question(const std::vector<std::uint64_t>& offsets, const geometry& of = shape) {
    bytes out;
    append_weigh_wish(out, offsets, of);
    return out;
}

inline bytes some_samples(std::size_t count, bool zero = false) {
    bytes out;
    append_samples(out, std::vector<wire_sample>(count, wire_sample{{}, zero}));
    return out;
}

// 2^62 of them.
inline bytes many_zeroes() {
    bytes out;
    const std::size_t frame = begin_frame(out, frame_kind::samples);
    field_writer(out).number(std::uint64_t{1} << 63 | 1);
    end_frame(out, frame);
    return out;
}

inline bytes some_filler(std::size_t count) {
    bytes out;
    append_filler(out, bytes(count));
    return out;
}

// A frame of it without a byte.
inline bytes no_filler() {
    bytes out;
    end_frame(out, begin_frame(out, frame_kind::filler));
    return out;
}

inline bytes twice_weighed() {
    bytes out;
    const std::size_t frame = begin_frame(out, frame_kind::weigh_wish);
    field_writer(out).number(1);
    field_writer(out).number(1);
    end_frame(out, frame);
    return out;
}

inline bytes joined(std::initializer_list<bytes> parts) {
    bytes out;
    for (const bytes& each : parts) out.insert(out.end(), each.begin(), each.end());
    return out;
}

struct heard {
    frame_kind kind = frame_kind::keep_alive;
    bytes payload;
};

// The side that a test speaks for; blocks.
class spoken_side {
public:
    explicit spoken_side(boost::asio::io_context& context) : socket(context) {}

    local_socket socket;

    bool say(const bytes& what) {
        boost::system::error_code failure;
        boost::asio::write(socket, boost::asio::buffer(what), failure);
        return !failure;
    }
    /// The next frame, signs of life too; nothing where the other side has ended.
    std::optional<heard> hear_all() {
        boost::system::error_code failure;
        std::array<std::byte, frame_header_bytes> head{};
        boost::asio::read(socket, boost::asio::buffer(head), failure);
        if (failure) return std::nullopt;
        const auto header = decode_header(head);
        if (!header) return std::nullopt;
        heard frame{header->kind, bytes(header->length)};
        boost::asio::read(socket, boost::asio::buffer(frame.payload), failure);
        if (failure) return std::nullopt;
        return frame;
    }
    std::optional<heard> hear() {
        while (true) {
            auto frame = hear_all();
            if (!frame || frame->kind != frame_kind::keep_alive) return frame;
        }
    }
    /// Also while another thread hears.
    void cut() {
        boost::system::error_code ignored;
        socket.shutdown(local_socket::shutdown_both, ignored);
    }
    void end() {
        boost::system::error_code ignored;
        socket.close(ignored);
    }
};

// One real side on a thread of its own.
class real_side {
public:
    real_side() : other(network_), strand_(network_.get_executor()) {
        local_socket one(network_);
        boost::asio::local::connect_pair(one, other.socket);
        one.set_option(boost::asio::socket_base::send_buffer_size(16 << 10));  // who takes little shows soon
        link.stream = make_stream(std::move(one));
        link.far_name = "the other side";
    }
    ~real_side() {
        other.end();
        if (thread_.joinable()) thread_.join();
    }

    void start(awaitable<void> what) {
        boost::asio::co_spawn(strand_, std::move(what), [this](std::exception_ptr why) {
            try {
                if (why) std::rethrow_exception(why);
            } catch (...) {
                failure_ = caught_error("");
            }
            link.stream->close();
        });
        thread_ = std::thread([this] { network_.run(); });
    }
    std::optional<error> wait() {
        thread_.join();
        return failure_;
    }

private:
    boost::asio::io_context network_;

public:
    spoken_side other;
    connection link;

private:
    boost::asio::strand<boost::asio::any_io_executor> strand_;
    std::optional<error> failure_;
    std::thread thread_;
};

inline awaitable<void> serve_once(connection* link, device* disk, sample_terms terms, std::uint64_t* read_bytes) {
    const auto count = co_await serve_samples(*link, *disk, std::move(terms));
    *read_bytes = count;
}

struct server_side : real_side {
    explicit server_side(device& disk, std::chrono::milliseconds patience = 20s,
                         std::uint64_t kept_bytes = sampling_options{}.kept_bytes,
                         std::chrono::milliseconds longest = sample_terms{}.longest,
                         std::optional<std::chrono::milliseconds> turn_max = {}) {
        sample_terms terms;
        terms.longest = longest;
        terms.turn_max = turn_max.value_or(silence_factor * patience);
        terms.options.depth = 1;
        terms.options.kept_bytes = kept_bytes;
        terms.patience = patience;
        terms.cancel = stop.get_token();
        terms.names = {disk.name(), "alias"};
        start(serve_once(&link, &disk, std::move(terms), &read_bytes));
    }
    bool greet(std::uint64_t kept_bytes = UINT64_MAX) {
        other.say(frame_of(wire_sampler_hello{{}, kept_bytes}));
        const auto answer = other.hear();
        return answer && answer->kind == frame_kind::sampled_disk;
    }
    /// Of the first so many blocks.
    std::uint64_t weighed(std::uint64_t count) {
        std::vector<std::uint64_t> offsets;
        for (std::uint64_t i = 0; i < count; ++i) offsets.push_back(i * block);
        other.say(weigh_question(offsets));
        const auto answer = other.hear();
        if (!answer || answer->kind != frame_kind::weights) return UINT64_MAX;
        std::uint64_t raw = 0;
        for (const wire_weight& each : decode_weights(answer->payload).value()) raw += each.raw_bytes;
        return raw;
    }
    std::stop_source stop;
    std::uint64_t read_bytes = 0;
};

// What the server said last, if it said why it ends.
inline std::optional<error> told_by(spoken_side& other) {
    while (const auto frame = other.hear()) {
        if (frame->kind != frame_kind::failed) continue;
        const auto why = decode(frame->kind, frame->payload);
        if (why) return std::get<failed>(*why).why;
    }
    return std::nullopt;
}

inline memory_device random_disk(std::uint64_t size = disk_bytes) {
    return memory_device(size, "/dev/vdb");
}

}  // namespace reprotect::test::sampling
