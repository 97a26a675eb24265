// The status line is drawn with a carriage return and erased with spaces, which every terminal knows.
#include "console.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "text.hpp"

namespace reprotect::tool {
namespace {

// Whatever standard error does not take is lost: there is no place left to say so.
void write_error(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

std::string event(std::string_view name, std::string_view message) {
    return json_object().text("event", name).text("message", message).str();
}

}  // namespace

failure make_failure(const error& cause) {
    const error_detail& detail = cause.detail();
    return {exit_code(cause.kind()), to_string(cause.kind()), cause.what(),  detail.device,
            detail.offset,           detail.length,           detail.holder, detail.hint};
}

error make_error(error_kind kind, const std::string& message, advice about) {
    error_detail detail;
    detail.device = std::move(about.device);
    detail.hint = std::move(about.hint);
    return error(kind, message, std::move(detail));
}

std::string to_json(const failure& value) {
    return json_object()
        .number("code", static_cast<std::uint64_t>(value.code))
        .text("kind", value.kind)
        .text("message", value.message)
        .text_or_null("device", value.device)
        .number_or_null("offset", value.offset)
        .number_or_null("length", value.length)
        .text_or_null("holder", value.holder)
        .text_or_null("hint", value.hint)
        .str();
}

void console::print(std::string_view text) {
    const std::lock_guard lock(mutex_);
    print_locked(text);
}

void console::print_locked(std::string_view text) {
    std::string all;
    if (!status_.empty()) all = "\r" + std::string(status_.size(), ' ') + "\r";
    all += text;
    all += '\n';
    if (!status_.empty()) all += status_;
    write_error(all);
}

void console::line(std::string_view text) {
    print(text);
}

std::string console::as_note(std::string_view text) const {
    return json_lines_ ? event("note", text) : "reprotect: " + escape(text);
}

void console::note(std::string_view text) {
    print(as_note(text));
}

void console::warning(std::string_view text) {
    print(json_lines_ ? event("warning", text) : "reprotect: warning: " + escape(text));
}

bool console::line_unless_held_up(std::string_view text) {
    // Somebody who is writing is done in a moment, or is held up himself.
    constexpr int tries = 50;
    constexpr std::chrono::milliseconds pause{2};
    std::unique_lock lock(mutex_, std::try_to_lock);
    for (int i = 0; i < tries && !lock; ++i) {
        std::this_thread::sleep_for(pause);
        (void)lock.try_lock();
    }
    if (!lock || !takes_more()) return false;
    print_locked(text);
    return true;
}

void console::note_unless_held_up(std::string_view text) {
    line_unless_held_up(as_note(text));
}

void console::report(const failure& value) {
    if (json_lines_) {
        print(json_object().text("event", "error").raw("error", to_json(value)).str());
        return;
    }
    std::string text = "reprotect: " + escape(value.message);
    const bool named = value.message.find(value.holder) != std::string::npos;
    if (!named) text += "\n  held by: " + escape(value.holder);
    if (!value.hint.empty()) text += "\n  hint: " + escape(value.hint);
    print(text);
}

void console::status(std::string text) {
    const std::lock_guard lock(mutex_);
    std::string all = "\r" + text;
    if (status_.size() > text.size()) {
        all += std::string(status_.size() - text.size(), ' ');
        all += "\r" + text;
    }
    status_ = std::move(text);
    write_error(all);
}

void console::clear_status() {
    const std::lock_guard lock(mutex_);
    if (status_.empty()) return;
    write_error("\r" + std::string(status_.size(), ' ') + "\r");
    status_.clear();
}

bool console::takes_more() {
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    // Where nobody reads any more a write fails at once, and holds nothing up.
    return ::poll(&ready, 1, 0) == 1 && (ready.revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL)) != 0;
}

std::size_t console::columns() {
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

bool console::is_terminal() {
    return ::isatty(STDERR_FILENO) == 1;
}

}  // namespace reprotect::tool
