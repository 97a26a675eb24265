// The far side's tool is named on a command line that a shell over there reads; the disk is not, it travels in the request, so
// that no name needs quoting. The process ignores SIGINT: an interrupt at the terminal is this side's to tell the other, which
// then flushes, and not ssh's to cut.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "base/owned_descriptor.hpp"
#include "wire/connection.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

struct pipe_ends {
    owned_descriptor read, write;
};

[[noreturn]] void fail(const std::string& what) {
    throw error(error_kind::peer, what + ": " + std::strerror(errno), {.operation = "connect"});
}

pipe_ends make_pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("no pipe to ssh");
    pipe_ends result{owned_descriptor(ends[0]), owned_descriptor(ends[1])};
    // Where a standard descriptor is closed an end may have its number, and would be lost to what dup2 puts there.
    for (owned_descriptor* end : {&result.read, &result.write})
        if (end->get() <= STDERR_FILENO)
            *end = owned_descriptor(::fcntl(end->get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!result.read || !result.write) fail("no pipe to ssh");
    return result;
}

// As a POSIX shell reads it back: in single quotes.
std::string quoted(const std::string& word) {
    std::string text = "'";
    for (const char each : word) text += each == '\'' ? std::string("'\\''") : std::string(1, each);
    return text + "'";
}

std::vector<std::string> words_of(const ssh_terms& terms) {
    std::vector<std::string> words = terms.command;
    if (terms.port != 0) words.insert(words.end(), {"-p", std::to_string(terms.port)});
    words.insert(words.end(), {"-T", "--", terms.user.empty() ? terms.host : terms.user + "@" + terms.host});
    words.push_back(quoted(terms.remote_tool) + " serve --stdio");
    return words;
}

}  // namespace

ssh_process::ssh_process(const boost::asio::any_io_executor& on, const ssh_terms& terms) {
    std::vector<std::string> words = words_of(terms);
    command_ = words.front();
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pipe_ends to = make_pipe(), from = make_pipe(), failed = make_pipe();
    process_ = ::fork();
    if (process_ < 0) fail("ssh could not be started");
    if (process_ == 0) {
        // Between fork and exec: system calls alone.
        ::dup2(to.read.get(), STDIN_FILENO);
        ::dup2(from.write.get(), STDOUT_FILENO);
        struct sigaction plain {};
        plain.sa_handler = SIG_DFL;
        ::sigaction(SIGPIPE, &plain, nullptr);
        plain.sa_handler = SIG_IGN;
        ::sigaction(SIGINT, &plain, nullptr);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::execvp(arguments[0], arguments.data());
        const int reason = errno;
        [[maybe_unused]] const ssize_t written = ::write(failed.write.get(), &reason, sizeof reason);
        ::_exit(127);
    }
    failed.write.reset();
    int why = 0;
    ssize_t told = 0;
    do {
        told = ::read(failed.read.get(), &why, sizeof why);
    } while (told < 0 && errno == EINTR);
    if (told == static_cast<ssize_t>(sizeof why)) {
        ::waitpid(process_, nullptr, 0);
        process_ = -1;
        throw error(error_kind::peer, command_ + " could not be started: " + std::strerror(why),
                    {.operation = "connect", .hint = "install ssh, or name it with --ssh"});
    }
    try {
        link_ = join_descriptors(on, from.read.release(), to.write.release(), terms.limit, terms.host);
    } catch (...) {
        ::kill(process_, SIGKILL);
        ::waitpid(process_, nullptr, 0);
        throw;
    }
}

ssh_process::~ssh_process() {
    if (process_ < 0) return;
    link_.stream.reset();
    if (wait(5s)) return;
    ::kill(process_, SIGTERM);
    if (wait(2s)) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
}

bool ssh_process::wait(std::chrono::milliseconds patience) {
    if (ended_) return true;
    for (auto left = patience; left > 0ms; left -= 10ms) {
        if (::waitpid(process_, &status_, WNOHANG) == process_) return ended_ = true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

std::string ssh_process::last_words() {
    if (!wait(1s)) return {};
    if (WIFSIGNALED(status_)) return command_ + " was ended by signal " + std::to_string(WTERMSIG(status_));
    const int code = WEXITSTATUS(status_);
    if (code == 0) return {};
    if (code == 127) return "there is no such command at the far end (" + command_ + " ended with 127)";
    return command_ + " ended with " + std::to_string(code);
}

}  // namespace reprotect
