// A deadline closes the connection, which ends what is waited for.
#include "sync/timed_frames.hpp"

#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>

#include "wire/deadline.hpp"
#include "wire/opening.hpp"

namespace reprotect {

using boost::asio::awaitable;
using steady = std::chrono::steady_clock;

error broken(const connection& link, const std::string& what) {
    return error(error_kind::peer, link.far_name + " broke the rules of the wire: " + what, {.operation = "receive"});
}

error lost(const connection& link, const std::string& why) {
    return error(error_kind::peer, "the connection to " + link.far_name + " was lost: " + why,
                 {.operation = "receive"});
}

awaitable<incoming> receive_frame(const connection* link, std::chrono::milliseconds patience) {
    const auto on = co_await boost::asio::this_coro::executor;
    deadline<byte_stream> limit(on, *link->stream, patience);
    incoming frame;
    bool begun = false;
    std::string failure;
    try {
        std::array<std::byte, frame_header_bytes> head{};
        const std::span<std::byte> first(head);
        co_await read_all(*link->stream, first);
        begun = true;
        const wire_result<frame_header> header = decode_header(head);
        if (!header) throw broken(*link, header.error().message());
        frame.kind = header->kind;
        frame.payload.resize(header->length);
        for (std::size_t at = 0; at < frame.payload.size(); at += moved_at_once) {
            limit.extend(patience);
            const auto part = std::span(frame.payload).subspan(at, std::min(moved_at_once, frame.payload.size() - at));
            co_await read_all(*link->stream, part);
        }
    } catch (const boost::system::system_error& why) {
        failure = why.code().message();
    }
    if (failure.empty()) co_return frame;
    if (limit.passed())
        throw error(error_kind::peer, "nothing was heard from " + link->far_name, {.operation = "receive"});
    if (begun) throw lost(*link, failure);
    frame.ended = failure;
    co_return frame;
}

awaitable<void> send_all(const connection* link, std::span<const std::byte> bytes, std::chrono::milliseconds patience,
                         steady::time_point until) {
    const auto on = co_await boost::asio::this_coro::executor;
    const auto left = [patience, until] {
        const auto most = std::chrono::ceil<std::chrono::milliseconds>(until - steady::now());
        return std::clamp(most, std::chrono::milliseconds(0), patience);
    };
    deadline<byte_stream> limit(on, *link->stream, left());
    std::string failure;
    try {
        for (std::size_t at = 0; at < bytes.size(); at += moved_at_once) {
            if (at != 0) limit.extend(left());
            const auto part = bytes.subspan(at, std::min(moved_at_once, bytes.size() - at));
            co_await write_all(*link->stream, part);
        }
    } catch (const boost::system::system_error& why) {
        failure = why.code().message();
    }
    if (failure.empty()) co_return;
    // It may have been closed for that between one call and the next.
    std::string why = "the connection to " + link->far_name + " was lost: " + failure;
    if (limit.passed()) why = link->far_name + " took nothing of what was sent";
    if (steady::now() >= until) why = link->far_name + " took what was sent too slowly";
    throw error(error_kind::peer, why, {.operation = "send"});
}

}  // namespace reprotect
