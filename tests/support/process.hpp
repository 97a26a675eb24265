// A program that runs beside the test: it can be sent signals, watched while it speaks, and started in unfriendly
// circumstances (a closed output, a broken pipe, another user). Killed when the test ends before it.
#pragma once

#include "support/run_command.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace reprotect::test {

/// Tries until it holds; false when it did not within the time.
inline bool wait_until(const std::function<bool()>& holds,
                       std::chrono::milliseconds limit = std::chrono::milliseconds(20000)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

struct process_options {
    enum class output { kept, closed, broken_pipe, full };  ///< closed: standard input too
    output standard_output = output::kept;
    std::optional<unsigned> user;          ///< user and group id to run as
    std::vector<std::string> environment;  ///< "NAME=value", added
};

class process {
public:
    explicit process(const std::vector<std::string>& command, const process_options& options = {}) {
        std::vector<char*> words;
        for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        int ends[2] = {-1, -1};
        if (options.standard_output == process_options::output::broken_pipe && ::pipe2(ends, O_CLOEXEC) != 0)
            throw std::runtime_error("pipe2 failed");
        if (ends[0] >= 0) ::close(ends[0]);
        // A handler of the test program's must not run in the child: it would take locks that nobody holds there any more.
        sigset_t handled, before;
        ::sigemptyset(&handled);
        for (const int signal : handled_by_tests) ::sigaddset(&handled, signal);
        ::pthread_sigmask(SIG_BLOCK, &handled, &before);
        child_ = ::fork();
        if (child_ == 0) {
            for (const int signal : handled_by_tests) ::signal(signal, SIG_DFL);
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            run_child(words, options, ends[1]);
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        if (child_ < 0) throw std::runtime_error("fork failed");
        if (ends[1] >= 0) ::close(ends[1]);
    }
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    ~process() {
        if (child_ <= 0) return;
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }

    pid_t id() const noexcept { return child_; }
    void send(int signal) const { ::kill(child_, signal); }
    /// Whether it has not ended yet.
    bool runs() const {
        siginfo_t ended{};
        return child_ > 0 && ::waitid(P_PID, static_cast<id_t>(child_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               ended.si_pid == 0;
    }
    std::string output() const { return output_.content(); }
    std::string errors() const { return errors_.content(); }
    bool says(const std::string& text) const {
        return wait_until([&] { return errors().find(text) != std::string::npos; });
    }

    /// Waits for its end; throws where it does not come within the time.
    command_result wait(std::chrono::milliseconds limit = std::chrono::milliseconds(60000)) {
        int status = 0;
        if (!wait_until([&] { return ::waitpid(child_, &status, WNOHANG) == child_; }, limit))
            throw std::runtime_error("the program did not end in time; it said: " + errors());
        child_ = -1;
        return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), output(), errors()};
    }

private:
    static constexpr int handled_by_tests[] = {SIGINT, SIGTERM, SIGABRT, SIGSEGV, SIGFPE, SIGILL};

    [[noreturn]] void run_child(const std::vector<char*>& words, const process_options& options, int pipe_end) const {
        using kind = process_options::output;
        const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        ::dup2(nothing, STDIN_FILENO);
        ::dup2(errors_.descriptor(), STDERR_FILENO);
        switch (options.standard_output) {
            case kind::kept:
                ::dup2(output_.descriptor(), STDOUT_FILENO);
                break;
            case kind::closed:
                ::close(STDOUT_FILENO);
                break;
            case kind::broken_pipe:
                ::dup2(pipe_end, STDOUT_FILENO);
                break;
            case kind::full:
                ::dup2(::open("/dev/full", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
                break;
        }
        if (options.user &&
            (::setgroups(0, nullptr) != 0 || ::setgid(*options.user) != 0 || ::setuid(*options.user) != 0))
            ::_exit(126);
        for (const std::string& entry : options.environment) ::putenv(const_cast<char*>(entry.c_str()));
        ::execvp(words[0], words.data());
        ::_exit(127);
    }

    detail::memory_file output_;
    detail::memory_file errors_;
    pid_t child_ = -1;
};

}  // namespace reprotect::test
