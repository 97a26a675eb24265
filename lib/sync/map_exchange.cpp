// The digests are computed where the disk is; while that lasts the server says how far it is, and the client believes that it
// is alive as long as it hears so.
#include "sync/map_exchange.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <memory>

#include "base/caught_error.hpp"
#include "plan/file_format.hpp"
#include "wire/deadline.hpp"
#include "wire/message_codec.hpp"
#include "wire/opening.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using namespace std::chrono_literals;

constexpr auto status_every = 1s;
constexpr std::size_t written_at_once = 64 * 1024;

// What the digesting threads leave for the coroutine that waits for them.
struct digesting final : sync_listener {
    void on_progress(const sync_progress& now) override {
        read_bytes = now.data_done_bytes;
        decided_bytes = now.done_bytes;
    }
    std::atomic<std::uint64_t> read_bytes = 0, decided_bytes = 0;
    std::atomic<bool> over = false;
    checksum_report report;        // these two once it is over
    std::optional<error> failure;
};

awaitable<void> pause(std::chrono::milliseconds time) {
    const auto on = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer(on);
    timer.expires_after(time);
    co_await timer.async_wait(boost::asio::use_awaitable);
}

awaitable<std::vector<std::byte>> receive_frame(byte_stream& from, frame_kind& kind) {
    std::array<std::byte, frame_header_bytes> head{};
    const std::span<std::byte> first(head);
    co_await read_all(from, first);
    const wire_result<frame_header> header = decode_header(head);
    if (!header) throw error(error_kind::peer, "the server broke the rules of the wire: " + header.error().message());
    kind = header->kind;
    std::vector<std::byte> payload(header->length);
    const std::span<std::byte> rest(payload);
    co_await read_all(from, rest);
    co_return payload;
}

[[noreturn]] void broken(const connection& link, const std::string& what) {
    throw error(error_kind::peer, link.far_name + " broke the rules of the wire: " + what, {.operation = "receive"});
}

// One frame into what it brings; true at the end.
bool take(frame_kind kind, std::span<const std::byte> payload, const connection& link, sync_listener* listener,
          std::vector<std::byte>& file, checksum_report& report) {
    if (kind == frame_kind::status) {
        const auto status = decode_status(payload);
        if (!status) broken(link, status.error().message());
        if (!listener) return false;
        sync_progress now;
        now.phase = sync_phase::scan;
        now.done_bytes = status->decided_bytes;
        if (const auto* counts = std::get_if<source_counts>(&status->counts)) {
            now.data_done_bytes = counts->read;
            now.data_known_bytes = std::max(counts->allocated, counts->read);
            now.total_bytes = counts->allocated;
        }
        listener->on_progress(now);
    } else if (kind == frame_kind::map_piece) {
        if (file.size() >= format_fixed_bytes) {
            const auto length = format_length(std::span(file).first(format_fixed_bytes));
            if (!length || payload.size() > *length - std::min<std::uint64_t>(*length, file.size()))
                broken(link, "a digest map that is longer than it says");
        }
        file.insert(file.end(), payload.begin(), payload.end());
    } else if (kind == frame_kind::failed) {
        const auto why = decode_failure(payload);
        if (!why) broken(link, why.error().message());
        throw error(why->kind() == error_kind::interrupted ? error_kind::peer : why->kind(),
                    link.far_name + ": " + why->what(), why->detail());
    } else if (kind == frame_kind::map_end) {
        const auto end = decode_map_end(payload);
        if (!end) broken(link, end.error().message());
        auto map = parse_digest_map(file);
        if (end->total_bytes != file.size() || !map) broken(link, "a digest map that does not check out");
        report.map = std::move(*map);
        report.root = root_of(report.map);
        if (report.root != end->root) broken(link, "a root that is not its digest map's");
        report.read_bytes = end->read_bytes;
        report.seconds = static_cast<double>(end->duration_us) / 1e6;
        return true;
    } else if (kind != frame_kind::keep_alive && kind != frame_kind::notice) {
        broken(link, "a frame that has no place here");
    }
    return false;
}

}  // namespace

awaitable<checksum_report> send_map(connection& link, const worker_executor& workers, device& disk,
                                    checksum_options options, std::stop_token cancel) {
    auto work = std::make_shared<digesting>();
    boost::asio::post(workers, [work, &disk, options, cancel] {
        try {
            work->report = checksum(disk, options, work.get(), cancel);
        } catch (...) {
            work->failure = caught_error(disk.name());
        }
        work->over = true;
    });
    // A lost connection must not leave the disk to a thread that still reads it: the error waits until that is over.
    boost::system::error_code lost;
    std::vector<std::byte> frame;
    for (unsigned rounds = 0; !work->over; ++rounds) {
        co_await pause(10ms);
        if (rounds % 100 != 99 || lost) continue;
        source_counts counts;
        counts.allocated = disk.size();
        counts.read = work->read_bytes;
        wire_status status;
        status.counts = counts;
        status.decided_bytes = work->decided_bytes;
        frame.clear();
        append(frame, status);
        try {
            co_await write_all(*link.stream, frame);
        } catch (const boost::system::system_error& why) {
            lost = why.code();
        }
    }
    frame.clear();
    if (work->failure) {
        const message told = failed{*work->failure};
        append(frame, told);
        if (!lost) {
            co_await write_all(*link.stream, frame);
        }
        throw *work->failure;
    }
    if (lost) throw error(error_kind::peer, "the connection to " + link.far_name + " was lost: " + lost.message());
    const std::vector<std::byte> file = serialize(work->report.map);
    for (std::size_t at = 0; at < file.size(); at += written_at_once) {
        frame.clear();
        append_map_pieces(frame, std::span(file).subspan(at, std::min(written_at_once, file.size() - at)));
        co_await write_all(*link.stream, frame);
    }
    wire_map_end end;
    end.total_bytes = file.size();
    end.read_bytes = work->report.read_bytes;
    end.duration_us = static_cast<std::uint64_t>(work->report.seconds * 1e6);
    end.root = work->report.root;
    frame.clear();
    append(frame, end);
    co_await write_all(*link.stream, frame);
    // The client closes when it has all.
    std::array<std::byte, 1> nothing{};
    boost::system::error_code ended;
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, *link.stream, 10s);
    try {
        const std::span<std::byte> into(nothing);
        co_await read_all(*link.stream, into);
    } catch (const boost::system::system_error& why) {
        ended = why.code();
    }
    co_return std::move(work->report);
}

awaitable<checksum_report> receive_map(connection& link, std::chrono::milliseconds patience, sync_listener* listener) {
    const auto on = co_await boost::asio::this_coro::executor;
    std::vector<std::byte> file;
    checksum_report report;
    bool over = false;
    std::string failure;
    while (!over && failure.empty()) {
        const deadline<byte_stream> limit(on, *link.stream, patience);
        frame_kind kind = frame_kind::keep_alive;
        try {
            const auto payload = co_await receive_frame(*link.stream, kind);
            over = take(kind, payload, link, listener, file, report);
        } catch (const boost::system::system_error& why) {
            failure = limit.passed() ? "nothing was heard from " + link.far_name
                                     : "the connection to " + link.far_name + " was lost: " + why.code().message();
        }
    }
    if (!failure.empty()) throw error(error_kind::peer, failure, {.operation = "receive"});
    co_return report;
}

}  // namespace reprotect
