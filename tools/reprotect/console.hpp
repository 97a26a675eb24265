// What the tool says on standard error: one place, since the progress bar's line must be cleared before anything else is
// printed, and since `--progress json` makes a JSON object of every line.
#pragma once

#include "reprotect/error.hpp"

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace reprotect::tool {

/// A failure as it is shown; the stable words of `error_kind`, and two of the tool's own: "declined" and "resources".
struct failure {
    int code = 0;  ///< the exit code
    std::string kind;
    std::string message;
    std::string device;
    std::optional<std::uint64_t> offset;
    std::optional<std::uint64_t> length;
    std::string holder;
    std::string hint;
};

failure make_failure(const error& cause);

struct advice {
    std::string device;
    std::string hint;
};

/// An error of the tool's own, from before any device was asked for anything.
error make_error(error_kind kind, const std::string& message, advice about);

/// `{code, kind, message, device, offset, length, holder, hint}`, unknown ones null.
std::string to_json(const failure& value);

/// Standard error. Safe to call from any thread.
class console {
public:
    /// From now on each line is a JSON object with an `event`.
    void use_json_lines() noexcept { json_lines_ = true; }

    /// A line as it stands, above the bar.
    void line(std::string_view text);
    void note(std::string_view text);
    void warning(std::string_view text);
    void report(const failure& value);

    /// The same, for those who must not wait: left out where standard error takes nothing now. False: it was.
    bool line_unless_held_up(std::string_view text);
    void note_unless_held_up(std::string_view text);

    /// False where standard error takes nothing now: a full pipe, a terminal that was stopped.
    static bool takes_more();

    /// Draws a line that the next call overwrites; `clear_status` takes it away.
    void status(std::string text);
    void clear_status();

    /// Columns of the terminal; 80 where standard error is none.
    static std::size_t columns();
    static bool is_terminal();

private:
    std::string as_note(std::string_view text) const;
    void print(std::string_view text);
    void print_locked(std::string_view text);

    std::mutex mutex_;
    bool json_lines_ = false;
    std::string status_;
};

}  // namespace reprotect::tool
