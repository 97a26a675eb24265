// A signalfd and two eventfds: one wakes the thread at the end, the other tells a waiting question that it is over.
//
// Nothing that waits for standard error may make the tool deaf: a full pipe or a stopped terminal takes no words, and then a
// person presses Ctrl-C again. So SIGUSR1 prints only where that does not wait, and while the first stop is being said, the
// thread takes further signals through a handler that does nothing but end the process.
#include "signals.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace reprotect::tool {
namespace {

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM}) sigaddset(&set, number);
    // A lost terminal is a request to stop too, unless nohup or the like ignores it.
    struct sigaction hangup {};
    if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
    return set;
}

sigset_t watched_signals() {
    sigset_t set = stop_signals();
    sigaddset(&set, SIGUSR1);
    return set;
}

int checked(int descriptor) {
    if (descriptor < 0) {
        throw system_error(error_kind::device_io, errno,
                           {.device = {}, .operation = "watching signals", .holder = {}, .hint = {}});
    }
    return descriptor;
}

void wake(int descriptor) {
    const std::uint64_t one = 1;
    while (::write(descriptor, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

constexpr int interrupted_code = 130;

void quit(int) {
    ::_exit(interrupted_code);
}

bool is_stop_waiting() {
    sigset_t waiting;
    sigset_t both;
    const sigset_t stops = stop_signals();
    ::sigpending(&waiting);
    ::sigandset(&both, &waiting, &stops);
    return ::sigisemptyset(&both) == 0;
}

}  // namespace

void block_watched_signals() {
    const sigset_t set = watched_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);  // a write past a limit fails, as on a full disk
}

void quit_at_signals() {
    const sigset_t set = stop_signals();
    struct sigaction handler {};
    handler.sa_handler = quit;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        if (sigismember(&set, number) == 1) ::sigaction(number, &handler, nullptr);
    }
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

signal_watcher::signal_watcher(console& out) : out_(out) {
    const sigset_t set = watched_signals();
    try {
        signals_ = checked(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
        stopped_ = checked(::eventfd(0, EFD_CLOEXEC));
        quit_ = checked(::eventfd(0, EFD_CLOEXEC));
        thread_ = std::thread([this] { run(); });
    } catch (...) {
        for (const int descriptor : {signals_, stopped_, quit_}) {
            if (descriptor >= 0) ::close(descriptor);
        }
        throw;
    }
}

signal_watcher::~signal_watcher() {
    wake(quit_);
    thread_.join();
    for (const int descriptor : {signals_, stopped_, quit_}) ::close(descriptor);
}

void signal_watcher::set_messages(std::string first, std::string second) {
    const std::lock_guard lock(mutex_);
    first_ = std::move(first);
    second_ = std::move(second);
}

void signal_watcher::set_status(std::function<void()> say) {
    const std::lock_guard lock(mutex_);
    status_ = std::move(say);
}

void signal_watcher::run() {
    for (;;) {
        std::array<pollfd, 2> waits{pollfd{signals_, POLLIN, 0}, pollfd{quit_, POLLIN, 0}};
        if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
        if (waits[1].revents != 0) return;
        signalfd_siginfo info{};
        if (::read(signals_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) continue;
        obey(static_cast<int>(info.ssi_signo));
    }
}

void signal_watcher::obey(int signal) {
    std::unique_lock lock(mutex_);
    if (signal == SIGUSR1) {
        if (status_) status_();
        return;
    }
    if (stop_.stop_requested()) {
        out_.note_unless_held_up(second_);
        ::_exit(interrupted_code);
    }
    const std::string said = first_;
    lock.unlock();
    stop_.request_stop();
    wake(stopped_);
    if (is_stop_waiting()) return out_.note_unless_held_up(said);  // it comes next, and has its own words
    quit_at_signals();
    out_.note(said);
    const sigset_t set = stop_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace reprotect::tool
