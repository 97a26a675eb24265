// Whether a call breaks an assertion: it runs in a child process, whose abort is seen from here.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <stdexcept>

namespace reprotect::test {

/// True where `run` ends in abort(). What it prints is dropped; nothing that it does is seen by the caller.
template <typename Function>
bool aborts(Function run) {
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        ::dup2(null, STDOUT_FILENO);
        ::dup2(null, STDERR_FILENO);
        try {
            run();
        } catch (...) {
            ::_exit(1);
        }
        ::_exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) throw std::runtime_error("waitpid failed");
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace reprotect::test
