// A second process for tests of what happens between processes: it runs a function, step by step as the test says.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <stdexcept>

namespace reprotect::test {

class other_process {
public:
    /// What the child has: `tell` lets one `wait` of the test go on with a value, `wait` waits for one `go` of it.
    class side {
    public:
        side(int in, int out) : in_(in), out_(out) {}
        void tell(char value = 'r') {
            if (::write(out_, &value, 1) != 1) ::_exit(3);
        }
        void wait() {
            char value = 0;
            if (::read(in_, &value, 1) != 1) ::_exit(3);
        }

    private:
        int in_;
        int out_;
    };

    /// `run` must leave alone what belongs to the test (Catch's macros, its temporary directories). An exception exits with 1.
    explicit other_process(const std::function<void(side&)>& run) {
        if (::pipe(to_child_.data()) != 0 || ::pipe(from_child_.data()) != 0) throw std::runtime_error("pipe failed");
        child_ = ::fork();
        if (child_ < 0) throw std::runtime_error("fork failed");
        if (child_ > 0) {
            ::close(to_child_[0]);
            ::close(from_child_[1]);
            return;
        }
        ::close(to_child_[1]);
        ::close(from_child_[0]);
        side mine(to_child_[0], from_child_[1]);
        try {
            run(mine);
        } catch (...) {
            ::_exit(1);
        }
        ::_exit(0);
    }
    other_process(const other_process&) = delete;
    other_process& operator=(const other_process&) = delete;
    ~other_process() {
        end();
        ::close(to_child_[1]);
        ::close(from_child_[0]);
    }

    pid_t id() const noexcept { return child_; }

    /// The next value that the child tells; 0 where it ended or says nothing for `timeout_ms`.
    char wait(int timeout_ms = 20000) {
        pollfd waiting{from_child_[0], POLLIN, 0};
        char value = 0;
        if (::poll(&waiting, 1, timeout_ms) <= 0 || ::read(from_child_[0], &value, 1) != 1) return 0;
        return value;
    }
    void go() {
        const char value = 'g';
        if (::write(to_child_[1], &value, 1) != 1) throw std::runtime_error("the other process is gone");
    }
    /// kill -9, and waits until it is gone.
    void end() {
        if (child_ <= 0) return;
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
        child_ = -1;
    }

private:
    pid_t child_ = -1;
    std::array<int, 2> to_child_{};
    std::array<int, 2> from_child_{};
};

}  // namespace reprotect::test
