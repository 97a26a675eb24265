// The digests are computed where the disk is; while that lasts the server says how far it is, and the client believes that it
// is alive as long as it hears so.
#include "sync/map_exchange.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/utf8.hpp"
#include "plan/file_format.hpp"
#include "reprotect/units.hpp"
#include "sync/errand.hpp"
#include "sync/timed_frames.hpp"
#include "wire/deadline.hpp"
#include "wire/message_codec.hpp"
#include "wire/opening.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using namespace std::chrono_literals;

constexpr auto status_every = 1s;
constexpr std::uint64_t map_rate_least = 16 << 10;  // a guess: bytes a second of a client that is worth waiting for
constexpr std::uint64_t map_bytes_served = 256ull << 20;  // a guess: the chunks of 16 TiB
constexpr std::uint64_t map_bytes_max = 16ull << 30;      // a guess: what no server's operator would allow

// What digests on a thread, and says how far it is.
class digesting final : sync_listener {
public:
    digesting(device& disk, const checksum_options& options, std::stop_token cancel)
        : on_cancel_(cancel, [this] { stop_.request_stop(); }),
          work_(
              [this, &disk, options](const std::stop_token& stop) {
                  report_ = checksum(disk, options, this, stop);
                  file_ = serialize(report_.map);
                  report_.map = {};
              },
              stop_, disk.name(), [] {}) {}
    digesting(const digesting&) = delete;
    digesting& operator=(const digesting&) = delete;

    void stop() { stop_.request_stop(); }
    bool over() const noexcept { return work_.over(); }
    std::uint64_t read_bytes() const noexcept { return read_bytes_; }
    std::uint64_t decided_bytes() const noexcept { return decided_bytes_; }
    // These once it is over.
    const checksum_report& report() const noexcept { return report_; }
    const std::vector<std::byte>& file() const noexcept { return file_; }
    const std::optional<error>& failure() const noexcept { return work_.failure(); }

private:
    void on_progress(const sync_progress& now) override {
        read_bytes_ = now.data_done_bytes;
        decided_bytes_ = now.done_bytes;
    }

    std::atomic<std::uint64_t> read_bytes_ = 0, decided_bytes_ = 0;
    checksum_report report_;
    std::vector<std::byte> file_;
    std::stop_source stop_;
    std::stop_callback<std::function<void()>> on_cancel_;
    errand work_;  // last: it uses the rest
};

awaitable<void> pause(std::chrono::milliseconds time) {
    const auto on = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer(on);
    timer.expires_after(time);
    co_await timer.async_wait(boost::asio::use_awaitable);
}

// What has arrived of a map.
struct incoming_map {
    checksum_options asked;
    std::vector<std::byte> file;
    std::uint64_t decided_bytes = 0;
    checksum_report report;
};

void take_piece(std::span<const std::byte> payload, const connection& link, incoming_map& map) {
    if (payload.empty()) throw broken(link, "a piece of nothing");
    if (map.file.size() >= format_fixed_bytes) {
        const auto length = format_length(std::span(map.file).first(format_fixed_bytes));
        if (!length || *length > map_bytes_max ||
            payload.size() > *length - std::min<std::uint64_t>(*length, map.file.size()))
            throw broken(link, "a digest map that is longer than it says, or than any may be");
    }
    map.file.insert(map.file.end(), payload.begin(), payload.end());
}

void take_end(const wire_map_end& end, const connection& link, incoming_map& map) {
    auto parsed = parse_digest_map(map.file);
    if (end.total_bytes != map.file.size() || !parsed) throw broken(link, "a digest map that does not check out");
    map.report.map = std::move(*parsed);
    const geometry& shape = map.report.map.shape();
    if (shape.chunk_bytes != map.asked.chunk_bytes || shape.block_bytes != map.asked.block_bytes ||
        map.report.map.with_blocks() != map.asked.with_blocks || map.report.map.algorithm() != map.asked.algorithm)
        throw broken(link, "another digest map than was asked for");
    map.report.root = root_of(map.report.map);
    if (map.report.root != end.root) throw broken(link, "a root that is not its digest map's");
    map.report.read_bytes = end.read_bytes;
    map.report.seconds = static_cast<double>(end.duration_us) / 1e6;
}

// One frame into what it brings; true at the end.
bool take(frame_kind kind, std::span<const std::byte> payload, const connection& link, sync_listener* listener,
          incoming_map& map) {
    if (kind == frame_kind::status) {
        const auto status = decode_status(payload);
        if (!status) throw broken(link, status.error().message());
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
        if (!why) throw broken(link, why.error().message());
        throw error(why->kind() == error_kind::interrupted ? error_kind::peer : why->kind(),
                    link.far_name + ": " + on_one_line(why->what()), {.operation = "checksum"});
    } else if (kind == frame_kind::map_end) {
        const auto end = decode_map_end(payload);
        if (!end) throw broken(link, end.error().message());
        take_end(*end, link, map);
        return true;
    } else if (kind != frame_kind::keep_alive && kind != frame_kind::notice) {
        throw broken(link, "a frame that has no place here");
    }
    return false;
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
            const auto until = now + silence_factor * terms.patience;
            const std::span<const std::byte> bytes(frame);
            co_await send_all(&link, bytes, terms.patience, until);
        } catch (const error& why) {
            // Nobody waits for it any more; the disk is let go when the threads have stopped.
            failure = why;
            work.stop();
        }
    }
    if (failure) throw *failure;
    frame.clear();
    const std::span<const std::byte> file(work.file());
    const std::chrono::seconds slowest(file.size() / map_rate_least);
    const auto until = std::chrono::steady_clock::now() + silence_factor * terms.patience + slowest;
    if (work.failure()) {
        const message told = failed{discreet(*work.failure(), terms.names)};
        append(frame, told);
        const std::span<const std::byte> bytes(frame);
        co_await send_all(&link, bytes, terms.patience, until);
        throw *work.failure();
    }
    for (std::size_t at = 0; at < file.size(); at += moved_at_once) {
        if (terms.cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted");
        frame.clear();
        append_map_pieces(frame, file.subspan(at, std::min(moved_at_once, file.size() - at)));
        const std::span<const std::byte> bytes(frame);
        co_await send_all(&link, bytes, terms.patience, until);
    }
    wire_map_end end;
    end.total_bytes = file.size();
    end.read_bytes = work.report().read_bytes;
    end.duration_us = static_cast<std::uint64_t>(work.report().seconds * 1e6);
    end.root = work.report().root;
    frame.clear();
    append(frame, end);
    const std::span<const std::byte> last(frame);
    co_await send_all(&link, last, terms.patience, until);
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
    incoming_map map;
    map.asked = asked;
    auto progressed = std::chrono::steady_clock::now();
    for (bool over = false; !over;) {
        const std::uint64_t before = map.decided_bytes + map.file.size();
        const auto frame = co_await receive_frame(&link, patience);
        if (!frame.ended.empty()) throw lost(link, frame.ended);
        over = take(frame.kind, frame.payload, link, listener, map);
        const auto now = std::chrono::steady_clock::now();
        if (map.decided_bytes + map.file.size() != before) progressed = now;
        if (now - progressed > silence_factor * patience)
            throw error(error_kind::peer, link.far_name + " gave signs of life, and nothing else",
                        {.operation = "receive"});
    }
    co_return map.report;
}

}  // namespace reprotect
