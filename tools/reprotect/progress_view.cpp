// The percentage is of the disk's bytes that are decided, since those can only grow; the time left is of the data still to
// be read, since holes cost nothing. While allocation still streams in, that data is known in part, and the view says so.
#include "progress_view.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "text.hpp"

namespace reprotect::tool {
namespace {

constexpr std::chrono::milliseconds draw_interval{100};  // specified: ten times a second
constexpr double rate_window_seconds = 5;                // guessed: calm to read, yet quick to follow a change
constexpr double shown_before_done = 0.99;               // 100% is shown when it is done, not when it is about to be

// Two disks are read in the scan and one in the verification, which shares no work with it (guessed from that).
constexpr double scan_share_with_reread = 0.6;

}  // namespace

progress_view::progress_view(console& out, progress_mode mode, bool rereads)
    : out_(out), mode_(mode), rereads_(rereads) {}

progress_view::~progress_view() {
    if (mode_ == progress_mode::bar) out_.clear_status();
    if (mode_ == progress_mode::json && !last_.empty()) out_.line(last_);
}

double progress_view::percent_of(const sync_progress& now) const {
    const double share = rereads_ ? scan_share_with_reread : shown_before_done;
    const double part = now.total_bytes == 0
                            ? 0
                            : std::min(1.0, static_cast<double>(now.done_bytes) / static_cast<double>(now.total_bytes));
    switch (now.phase) {
        case sync_phase::prepare:
            return 0;
        case sync_phase::scan:
            return 100 * share * part;
        case sync_phase::flush:
            return 100 * share;
        case sync_phase::verify:
            return 100 * (share + (shown_before_done - share) * part);
        case sync_phase::done:
            return 100;
    }
    return 0;
}

progress_view::estimate progress_view::estimate_end() const {
    estimate result;
    result.at_least = !now_.data_known_final || (rereads_ && now_.phase != sync_phase::verify);
    if (now_.phase == sync_phase::done) return {0, 0, false};
    if (samples_.size() < 2) return result;
    const double seconds = samples_.back().seconds - samples_.front().seconds;
    const std::uint64_t bytes = samples_.back().bytes - samples_.front().bytes;
    if (seconds <= 0 || bytes == 0) return result;
    result.bytes_per_second = static_cast<double>(bytes) / seconds;
    const std::uint64_t left = now_.data_known_bytes - std::min(now_.data_known_bytes, now_.data_done_bytes);
    result.seconds = static_cast<double>(left) / result.bytes_per_second;
    return result;
}

std::string progress_view::eta_text(const estimate& end) const {
    const char* const counting = now_.data_known_final ? "" : ", still counting";
    if (end.seconds < 0) return fmt::format("ETA unknown{}", counting);
    return fmt::format("ETA {}{}{}", end.at_least ? "at least " : "", format_duration(end.seconds), counting);
}

std::string progress_view::plain_line() const {
    const estimate end = estimate_end();
    return fmt::format("{} {:.0f}%, {} of {}, {}, changed {}, written {}, {} elapsed, {}", to_string(now_.phase),
                       percent_, format_size(now_.done_bytes), format_size(now_.total_bytes),
                       format_rate(end.bytes_per_second), format_size(now_.changed_bytes),
                       format_size(now_.written_bytes), format_duration(now_.seconds), eta_text(end));
}

std::string progress_view::bar_line() const {
    constexpr std::size_t bar_min = 8;
    constexpr std::size_t bar_max = 40;
    const std::size_t room = console::columns() - 1;
    const estimate end = estimate_end();
    const std::string head = fmt::format("{:<7} {:3.0f}%", to_string(now_.phase), percent_);
    std::string tail = fmt::format("  {} of {}", format_size(now_.done_bytes), format_size(now_.total_bytes));
    // What there is no room for is left out, the least telling first; the bar itself comes before all but the time left.
    tail += "  " + eta_text(end);
    std::vector<std::string> more{"  changed " + format_size(now_.changed_bytes)};
    if (end.bytes_per_second > 0) more.insert(more.begin(), "  " + format_rate(end.bytes_per_second));
    for (const std::string& part : more) {
        if (head.size() + tail.size() + part.size() + bar_min + 3 <= room) tail += part;
    }
    std::string bar;
    if (head.size() + tail.size() + bar_min + 3 <= room) {
        const std::size_t cells = std::min(bar_max, room - head.size() - tail.size() - 3);
        const auto full = static_cast<std::size_t>(percent_ / 100 * static_cast<double>(cells));
        bar = " [" + std::string(full, '#') + std::string(cells - full, '-') + "]";
    }
    return (head + bar + tail).substr(0, room);
}

std::string progress_view::json_line() const {
    const estimate end = estimate_end();
    json_object line;
    line.text("event", "progress")
        .text("phase", to_string(now_.phase))
        .number("percent", percent_)
        .number("done_bytes", now_.done_bytes)
        .number("total_bytes", now_.total_bytes)
        .number("data_done_bytes", now_.data_done_bytes)
        .number("data_known_bytes", now_.data_known_bytes)
        .boolean("data_known_final", now_.data_known_final)
        .number("changed_bytes", now_.changed_bytes)
        .number("written_bytes", now_.written_bytes)
        .number("seconds", now_.seconds)
        .number("bytes_per_second", end.bytes_per_second);
    if (end.seconds < 0) {
        line.null("eta_seconds");
    } else {
        line.number("eta_seconds", end.seconds);
    }
    return line.boolean("eta_at_least", end.at_least).str();
}

void progress_view::on_progress(const sync_progress& now) {
    std::unique_lock lock(mutex_);
    const bool new_phase = now.phase != now_.phase;
    if (new_phase) samples_.clear();
    now_ = now;
    percent_ = std::max(percent_, percent_of(now));
    samples_.push_back({now.seconds, now.data_done_bytes});
    while (samples_.size() > 2 && samples_.back().seconds - samples_.front().seconds > rate_window_seconds)
        samples_.pop_front();

    const auto time = std::chrono::steady_clock::now();
    if (!new_phase && time - drawn_ < draw_interval) return;
    drawn_ = time;
    if (mode_ == progress_mode::none) return;
    std::string shown = mode_ == progress_mode::json ? json_line() : bar_line();
    if (now.phase == sync_phase::done) {
        last_ = std::move(shown);
        return;
    }
    // Standard error may take its time: meanwhile SIGUSR1 wants the mutex, and the sync wants to go on and hear a stop. So what
    // the next call says anew is left out there, and the last is said when the sync is over.
    lock.unlock();
    if (!console::takes_more()) return;
    if (mode_ == progress_mode::json) {
        out_.line(shown);
    } else {
        out_.status(std::move(shown));
    }
}

void progress_view::on_warning(const std::string& text) {
    out_.warning(text);
}

void progress_view::say_now() {
    // Said before the next call may count on: a line that is late would tell of less than the one before it.
    const std::lock_guard lock(mutex_);
    out_.line_unless_held_up(mode_ == progress_mode::json ? json_line() : "reprotect: " + plain_line());
}

}  // namespace reprotect::tool
