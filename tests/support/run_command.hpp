// Runs a program and keeps what it said. No shell is involved, and no pipe that could fill: output goes to memory files.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace reprotect::test {

struct command_result {
    int exit_code = -1;  ///< 128 + signal for a program that a signal ended, 127 where it could not be started
    std::string output;  ///< standard output
    std::string errors;  ///< standard error
    bool ok() const noexcept { return exit_code == 0; }
};

namespace detail {

class memory_file {
public:
    explicit memory_file(const std::string& content = {}) : descriptor_(::memfd_create("test", MFD_CLOEXEC)) {
        if (descriptor_ < 0) throw std::runtime_error("memfd_create failed");
        if (!content.empty() &&
            ::pwrite(descriptor_, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size())) {
            ::close(descriptor_);
            throw std::runtime_error("writing a memory file failed");
        }
    }
    memory_file(const memory_file&) = delete;
    memory_file& operator=(const memory_file&) = delete;
    ~memory_file() { ::close(descriptor_); }

    int descriptor() const noexcept { return descriptor_; }
    std::string content() const {
        std::string all;
        char part[65536];
        ssize_t got = 0;
        while ((got = ::pread(descriptor_, part, sizeof part, static_cast<off_t>(all.size()))) > 0)
            all.append(part, static_cast<std::size_t>(got));
        return all;
    }

private:
    int descriptor_;
};

}  // namespace detail

/// `command[0]` is looked up in PATH; `input` is its standard input. Waits for its end.
inline command_result run_command(const std::vector<std::string>& command, const std::string& input = {}) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);

    const detail::memory_file in(input);
    const detail::memory_file out;
    const detail::memory_file err;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err.descriptor(), STDERR_FILENO);
    pid_t child = -1;
    const int failed = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return {127, {}, command[0] + ": " + std::strerror(failed)};

    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return {code, out.content(), err.content()};
}

/// The same, and throws unless it ends with 0. Returns standard output without the last newline.
inline std::string run_checked(const std::vector<std::string>& command) {
    command_result result = run_command(command);
    if (!result.ok()) {
        std::string line;
        for (const std::string& word : command) line += word + " ";
        throw std::runtime_error(line + "ended with " + std::to_string(result.exit_code) + ": " + result.errors);
    }
    while (!result.output.empty() && result.output.back() == '\n') result.output.pop_back();
    return std::move(result.output);
}

}  // namespace reprotect::test
