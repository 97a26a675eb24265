// The digests are computed where the disk is; while that lasts the server says how far it is, and the client believes that it
// is alive as long as it hears so.
#include "sync/map_exchange.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "base/caught_error.hpp"
#include "base/utf8.hpp"
#include "plan/file_format.hpp"
#include "reprotect/units.hpp"
#include "wire/deadline.hpp"
#include "wire/message_codec.hpp"
#include "wire/opening.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using namespace std::chrono_literals;

constexpr auto status_every = 1s;
constexpr unsigned silence_factor = 60;                   // as in a session
constexpr std::size_t written_at_once = 16 * 1024;        // guessed: so much goes out within the patience over any link
constexpr std::uint64_t map_bytes_served = 256ull << 20;  // a guess: the chunks of 16 TiB
constexpr std::uint64_t map_bytes_max = 16ull << 30;      // a guess: what no server's operator would allow

// A thread that digests, and what it leaves for the coroutine that waits for it.
class digesting final : sync_listener {
public:
    digesting(device& disk, const checksum_options& options, std::stop_token cancel)
        : on_cancel_(cancel, [this] { stop_.request_stop(); }), thread_([this, &disk, options] {
              try {
                  report_ = checksum(disk, options, this, stop_.get_token());
                  file_ = serialize(report_.map);
                  report_.map = {};
              } catch (...) {
                  failure_ = caught_error(disk.name());
              }
              over_ = true;
          }) {}
    digesting(const digesting&) = delete;
    digesting& operator=(const digesting&) = delete;
    ~digesting() override {
        stop_.request_stop();
        thread_.join();
    }

    void stop() { stop_.request_stop(); }
    bool over() const noexcept { return over_; }
    std::uint64_t read_bytes() const noexcept { return read_bytes_; }
    std::uint64_t decided_bytes() const noexcept { return decided_bytes_; }
    // These once it is over.
    const checksum_report& report() const noexcept { return report_; }
    const std::vector<std::byte>& file() const noexcept { return file_; }
    const std::optional<error>& failure() const noexcept { return failure_; }

private:
    void on_progress(const sync_progress& now) override {
        read_bytes_ = now.data_done_bytes;
        decided_bytes_ = now.done_bytes;
    }

    std::atomic<std::uint64_t> read_bytes_ = 0, decided_bytes_ = 0;
    std::atomic<bool> over_ = false;
    checksum_report report_;
    std::vector<std::byte> file_;
    std::optional<error> failure_;
    std::stop_source stop_;
    std::stop_callback<std::function<void()>> on_cancel_;
    std::thread thread_;
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

// What has arrived of a map.
struct incoming_map {
    checksum_options asked;
    std::vector<std::byte> file;
    std::uint64_t decided_bytes = 0;
    checksum_report report;
};

void take_piece(std::span<const std::byte> payload, const connection& link, incoming_map& map) {
    if (payload.empty()) broken(link, "a piece of nothing");
    if (map.file.size() >= format_fixed_bytes) {
        const auto length = format_length(std::span(map.file).first(format_fixed_bytes));
        if (!length || *length > map_bytes_max ||
            payload.size() > *length - std::min<std::uint64_t>(*length, map.file.size()))
            broken(link, "a digest map that is longer than it says, or than any may be");
    }
    map.file.insert(map.file.end(), payload.begin(), payload.end());
}

void take_end(const wire_map_end& end, const connection& link, incoming_map& map) {
    auto parsed = parse_digest_map(map.file);
    if (end.total_bytes != map.file.size() || !parsed) broken(link, "a digest map that does not check out");
    map.report.map = std::move(*parsed);
    const geometry& shape = map.report.map.shape();
    if (shape.chunk_bytes != map.asked.chunk_bytes || shape.block_bytes != map.asked.block_bytes ||
        map.report.map.with_blocks() != map.asked.with_blocks || map.report.map.algorithm() != map.asked.algorithm)
        broken(link, "another digest map than was asked for");
    map.report.root = root_of(map.report.map);
    if (map.report.root != end.root) broken(link, "a root that is not its digest map's");
    map.report.read_bytes = end.read_bytes;
    map.report.seconds = static_cast<double>(end.duration_us) / 1e6;
}

// One frame into what it brings; true at the end.
bool take(frame_kind kind, std::span<const std::byte> payload, const connection& link, sync_listener* listener,
          incoming_map& map) {
    if (kind == frame_kind::status) {
        const auto status = decode_status(payload);
        if (!status) broken(link, status.error().message());
        map.decided_bytes = std::max(map.decided_bytes, status->decided_bytes);
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
        take_piece(payload, link, map);
    } else if (kind == frame_kind::failed) {
        const auto why = decode_failure(payload);
        if (!why) broken(link, why.error().message());
        throw error(why->kind() == error_kind::interrupted ? error_kind::peer : why->kind(),
                    link.far_name + ": " + on_one_line(why->what()), {.operation = "checksum"});
    } else if (kind == frame_kind::map_end) {
        const auto end = decode_map_end(payload);
        if (!end) broken(link, end.error().message());
        take_end(*end, link, map);
        return true;
    } else if (kind != frame_kind::keep_alive && kind != frame_kind::notice) {
        broken(link, "a frame that has no place here");
    }
    return false;
}

// The whole of it, or an error when the peer does not take it in time.
awaitable<void> write_in_time(connection& link, const std::vector<std::byte>& bytes,
                              std::chrono::milliseconds patience) {
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, *link.stream, patience);
    std::string failure;
    try {
        co_await write_all(*link.stream, bytes);
    } catch (const boost::system::system_error& why) {
        failure = why.code().message();
    }
    if (failure.empty()) co_return;
    throw error(error_kind::peer,
                limit.passed() ? link.far_name + " took nothing of what was sent"
                               : "the connection to " + link.far_name + " was lost: " + failure,
                {.operation = "send"});
}

}  // namespace

void check_map_size(const device& disk, const wire_request& wish, std::uint64_t memory_bytes) {
    const std::uint64_t limit = std::max(map_bytes_served, memory_bytes);
    const std::uint64_t unit = wish.with_blocks ? wish.block_bytes : wish.chunk_bytes;
    const std::uint64_t bytes = disk.size() / unit * sizeof(digest) + disk.size() / wish.chunk_bytes * sizeof(digest);
    if (bytes <= limit) return;
    throw error(
        error_kind::usage,
        "the digest map of this disk may take " + format_size(bytes) + ", more than the server's " + format_size(limit),
        {.operation = "checksum",
         .hint = "leave --blocks out, or give a larger --block-size or --chunk-size, or the server more --memory"});
}

awaitable<std::uint64_t> send_map(connection& link, device& disk, map_terms terms) {
    std::vector<std::byte> frame;
    std::optional<error> failure;
    digesting work(disk, terms.options, terms.cancel);
    auto status_due = std::chrono::steady_clock::now();
    while (!work.over()) {
        co_await pause(10ms);
        const auto now = std::chrono::steady_clock::now();
        if (now < status_due || failure) continue;
        status_due = now + status_every;
        source_counts counts;
        counts.allocated = disk.size();
        counts.read = work.read_bytes();
        wire_status status;
        status.counts = counts;
        status.decided_bytes = work.decided_bytes();
        frame.clear();
        append(frame, status);
        try {
            co_await write_in_time(link, frame, terms.patience);
        } catch (const error& why) {
            // Nobody waits for it any more; the disk is let go when the threads have stopped.
            failure = why;
            work.stop();
        }
    }
    if (failure) throw *failure;
    frame.clear();
    if (work.failure()) {
        const message told = failed{discreet(*work.failure(), terms.names)};
        append(frame, told);
        co_await write_in_time(link, frame, terms.patience);
        throw *work.failure();
    }
    const std::span<const std::byte> file(work.file());
    for (std::size_t at = 0; at < file.size(); at += written_at_once) {
        if (terms.cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted");
        frame.clear();
        append_map_pieces(frame, file.subspan(at, std::min(written_at_once, file.size() - at)));
        co_await write_in_time(link, frame, terms.patience);
    }
    wire_map_end end;
    end.total_bytes = file.size();
    end.read_bytes = work.report().read_bytes;
    end.duration_us = static_cast<std::uint64_t>(work.report().seconds * 1e6);
    end.root = work.report().root;
    frame.clear();
    append(frame, end);
    co_await write_in_time(link, frame, terms.patience);
    // The client closes when it has all.
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, *link.stream, 10s);
    std::array<std::byte, 1> nothing{};
    try {
        const std::span<std::byte> into(nothing);
        co_await read_all(*link.stream, into);
    } catch (const boost::system::system_error&) {
        // As it should be.
    }
    co_return work.report().read_bytes;
}

awaitable<checksum_report> receive_map(connection& link, checksum_options asked, std::chrono::milliseconds patience,
                                       sync_listener* listener) {
    const auto on = co_await boost::asio::this_coro::executor;
    incoming_map map;
    map.asked = asked;
    auto progressed = std::chrono::steady_clock::now();
    std::string failure;
    for (bool over = false; !over && failure.empty();) {
        const deadline<byte_stream> limit(on, *link.stream, patience);
        const std::uint64_t before = map.decided_bytes + map.file.size();
        frame_kind kind = frame_kind::keep_alive;
        try {
            const auto payload = co_await receive_frame(*link.stream, kind);
            over = take(kind, payload, link, listener, map);
        } catch (const boost::system::system_error& why) {
            failure = limit.passed() ? "nothing was heard from " + link.far_name
                                     : "the connection to " + link.far_name + " was lost: " + why.code().message();
        }
        const auto now = std::chrono::steady_clock::now();
        if (map.decided_bytes + map.file.size() != before) progressed = now;
        if (now - progressed > silence_factor * patience)
            failure = link.far_name + " gave signs of life, and nothing else";
    }
    if (!failure.empty()) throw error(error_kind::peer, failure, {.operation = "receive"});
    co_return map.report;
}

}  // namespace reprotect
