// The lease shuts the door, the watch looks at who came through it. A lease alone would let anybody end a sync of hours by
// trying to open its target: a VM that its own locks then refuse, a second sync that ours refuse. So a broken lease is given
// up and the watch decides: who only opened does no harm, who wrote does.
#include "device/write_watch.hpp"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <string>

namespace reprotect {

write_lease::write_lease(int descriptor) : descriptor_(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)) {}

write_lease::result write_lease::take() {
    // A broken lease sends a signal, by default one that kills. We ask instead of being told: SIGURG is ignored by default,
    // and without an owner not even that is sent.
    ::fcntl(descriptor_.get(), F_SETSIG, SIGURG);
    const int set = ::fcntl(descriptor_.get(), F_SETLEASE, F_WRLCK);
    const int code = errno;
    ::fcntl(descriptor_.get(), F_SETOWN, 0);
    if (set == 0) {
        held_ = true;
        return result::held;
    }
    return code == EAGAIN || code == EBUSY ? result::others_have_it_open : result::unsupported;
}

void write_lease::release() noexcept {
    if (held_) ::fcntl(descriptor_.get(), F_SETLEASE, F_UNLCK);
    held_ = false;
}

write_lease::waiting write_lease::who_waits() const noexcept {
    switch (::fcntl(descriptor_.get(), F_GETLEASE)) {
        case F_WRLCK:
            return waiting::nobody;
        case F_RDLCK:
            return waiting::reader;
        default:
            return waiting::writer;
    }
}

write_watch::write_watch(int descriptor, int server) : server_(server) {
    // Reporting file ids instead of descriptors, it opens nothing, and needs no privilege since Linux 5.13.
    owned_descriptor events(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY));
    if (!events) return;
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    if (::fanotify_mark(events.get(), FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, path.c_str()) != 0) return;
    events_ = std::move(events);
}

int write_watch::foreign_writer() {
    const pid_t own = ::getpid();
    int found = 0;
    std::array<char, 8192> buffer{};
    for (;;) {
        const ssize_t count = ::read(events_.get(), buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return found;
        std::span<const char> rest(buffer.data(), static_cast<std::size_t>(count));
        // The kernel merges what one process did between two calls, so our own writes fill no queue. It does not align the
        // second event of a buffer, so each is copied.
        while (rest.size() >= sizeof(fanotify_event_metadata)) {
            fanotify_event_metadata event{};
            std::memcpy(&event, rest.data(), sizeof event);
            if (event.event_len < sizeof event || event.event_len > rest.size()) break;
            rest = rest.subspan(event.event_len);
            const bool overflow = (event.mask & FAN_Q_OVERFLOW) != 0;
            // Without privilege the kernel names only ourselves, and gives 0 for everybody else, the server included. With it,
            // 0 is somebody of another PID namespace.
            const bool may_be_server = server_ != 0 && (event.pid == server_ || (event.pid == 0 && ::geteuid() != 0));
            if (!overflow && (event.pid == own || may_be_server)) continue;
            found = !overflow && event.pid > 0 ? event.pid : -1;
        }
    }
}

}  // namespace reprotect
