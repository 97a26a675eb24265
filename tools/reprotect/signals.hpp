// Signals as the command line's contract has them: the first SIGINT or SIGTERM asks the sync to stop, the second ends the
// process at once, SIGUSR1 prints the progress.
#pragma once

#include <csignal>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "console.hpp"

namespace reprotect::tool {

/// Blocks the watched signals in this thread and those it starts, and ignores SIGPIPE and SIGXFSZ. First thing in `main`: until then
/// SIGUSR1 would end the process.
void block_watched_signals();

/// From now on this thread takes a signal to stop, and the process ends with 130 at once: for what is only waiting to be read.
void quit_at_signals();

/// Takes the blocked signals off a descriptor on a thread of its own, where any code may run (a handler could do next to
/// nothing). Its methods may be called from any thread.
class signal_watcher {
public:
    explicit signal_watcher(console& out);
    ~signal_watcher();
    signal_watcher(const signal_watcher&) = delete;
    signal_watcher& operator=(const signal_watcher&) = delete;

    std::stop_token token() const { return stop_.get_token(); }

    /// Becomes readable at the first request to stop; for a poll beside another descriptor.
    int stop_descriptor() const noexcept { return stopped_; }

    /// What the first request to stop and the second one say.
    void set_messages(std::string first, std::string second);

    /// What SIGUSR1 does, on the watcher's thread and within a moment; empty for nothing. What it refers to may go away once this
    /// was called again.
    void set_status(std::function<void()> say);

private:
    void run();
    void obey(int signal);

    console& out_;
    std::stop_source stop_;
    int signals_ = -1;
    int stopped_ = -1;
    int quit_ = -1;
    std::mutex mutex_;
    std::string first_ = "stopping";
    std::string second_ = "quitting at once";
    std::function<void()> status_;
    std::thread thread_;
};

}  // namespace reprotect::tool
