// A program on a terminal: standard input, output and error are a pseudo-terminal that the test reads and types on.
#pragma once

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace reprotect::test {

class terminal_process {
public:
    explicit terminal_process(const std::vector<std::string>& command, unsigned short columns = 100) {
        std::vector<char*> words;
        for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        const winsize size{24, columns, 0, 0};
        child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
        if (child_ < 0) throw std::runtime_error("forkpty failed");
        if (child_ == 0) {
            ::execvp(words[0], words.data());
            ::_exit(127);
        }
    }
    terminal_process(const terminal_process&) = delete;
    terminal_process& operator=(const terminal_process&) = delete;
    ~terminal_process() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            ::waitpid(child_, nullptr, 0);
        }
        ::close(terminal_);
    }

    /// Reads until the text was shown; false where it was not within the time, or the program ended without it.
    bool shows(const std::string& text, std::chrono::milliseconds limit = std::chrono::milliseconds(20000)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (screen_.find(text) == std::string::npos) {
            if (std::chrono::steady_clock::now() > end || !read_some()) return screen_.find(text) != std::string::npos;
        }
        return true;
    }

    /// Everything that was shown so far, carriage returns and all.
    const std::string& screen() const noexcept { return screen_; }

    void type(const std::string& text) const {
        if (::write(terminal_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
            throw std::runtime_error("typing failed");
    }
    void send(int signal) const { ::kill(child_, signal); }

    /// Reads on until the program ends; its exit code.
    int wait(std::chrono::milliseconds limit = std::chrono::milliseconds(60000)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        int status = 0;
        for (;;) {
            const bool more = read_some();
            const pid_t ended = ::waitpid(child_, &status, WNOHANG);
            if (ended == child_) break;
            if (!more) ::usleep(1000);
            if (std::chrono::steady_clock::now() > end)
                throw std::runtime_error("the program did not end in time; it showed: " + screen_);
        }
        child_ = -1;
        while (read_some()) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

private:
    // False once there will be no more.
    bool read_some() {
        pollfd wait{terminal_, POLLIN, 0};
        if (::poll(&wait, 1, 50) == 0) return child_ > 0;
        char part[4096];
        const ssize_t got = ::read(terminal_, part, sizeof part);
        if (got <= 0) return false;
        screen_.append(part, static_cast<std::size_t>(got));
        return true;
    }

    int terminal_ = -1;
    pid_t child_ = -1;
    std::string screen_;
};

}  // namespace reprotect::test
