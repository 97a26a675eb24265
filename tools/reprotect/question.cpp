// The question before the first sync of a pair. It waits for the answer and for a signal at once, so that Ctrl-C ends it.
#include "reprotect/units.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "content.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace reprotect::tool {
namespace {

std::string describe(const char* role, const shown_disk& shown) {
    const std::string head = fmt::format("  {}  {}\n", role, escape(shown.name));
    if (shown.disk == nullptr) return head + "          a peer's\n";
    device& disk = *shown.disk;
    return head + fmt::format("          identity  {}\n          size      {} ({} bytes)\n          holds     {}\n",
                              escape(disk.identity().text()), format_size(disk.size()), disk.size(),
                              escape(describe_content(disk)));
}

std::string read_answer(int stop_descriptor) {
    constexpr std::size_t answer_max = 256;
    std::string answer;
    while (answer.size() < answer_max) {
        std::array<pollfd, 2> waits{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{stop_descriptor, POLLIN, 0}};
        if (::poll(waits.data(), waits.size(), -1) < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (waits[1].revents != 0) throw error(error_kind::interrupted, "interrupted before anything was written");
        char letter = 0;
        const ssize_t got = ::read(STDIN_FILENO, &letter, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || letter == '\n') break;
        answer += letter;
    }
    return answer;
}

}  // namespace

void show_to_person(const std::string& text) {
    int descriptor = STDERR_FILENO;
    const int terminal = console::is_terminal() ? -1 : ::open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (terminal >= 0) descriptor = terminal;
    std::string_view left = text;
    while (!left.empty()) {
        const ssize_t written = ::write(descriptor, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) break;
        left.remove_prefix(static_cast<std::size_t>(written));
    }
    if (terminal >= 0) ::close(terminal);
}

bool confirm(const std::string& why, const shown_disk& source, const shown_disk& target, const surroundings& around) {
    std::string text = escape(why) + ":\n";
    text += describe("source", source);
    text += describe("target", target);
    text += fmt::format("\n  {}  ->  {}\n\nWhat differs on the target will be overwritten. Type yes to go on: ",
                        escape(source.name), escape(target.name));
    show_to_person(text);
    return read_answer(around.signals.stop_descriptor()) == "yes";
}

}  // namespace reprotect::tool
