// libnbd keeps a connection's state machine; somebody has to wait for the socket and turn it. Here that is one of the threads
// that wait for an answer, the leader: it polls, and libnbd tells each request's owner when its answer has come. A leader whose
// own answer has come hands the lead to another that still waits. So one connection carries as many requests as there are
// callers, and costs no thread of its own.
//
// libnbd checks that a structured answer covers all of a read only where a finished command is fetched
// (nbd_aio_command_completed), so each is fetched; and buffers are cleared before (its default), so that a server that leaves
// something out shows nobody old memory.
#include "device/nbd_connection.hpp"

#include "reprotect/error.hpp"

#include <fcntl.h>
#include <libnbd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

namespace reprotect {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int slow_drip_factor = 10;               // a trickle of bytes may stretch one answer so far, and no further
constexpr milliseconds goodbye_patience{1000};     // for a disconnect that the server need not even answer
constexpr std::uint64_t unit_bytes_max = 1 << 20;  // the specification says 64 KiB; larger ones were never seen
constexpr std::uint64_t request_bytes_max = 32 << 20;  // what every server takes, by the specification
constexpr std::size_t runs_max = 4096;                 // of one answer about allocation; the rest is asked for again
constexpr int socket_buffer_bytes = 1 << 20;           // guessed: a chunk; unix sockets start with a fifth of it

const char* last_error() noexcept {
    const char* said = nbd_get_error();
    if (said == nullptr) return "unknown error";
    // "nbd_connect_uri: " names the function of a library that the reader has never called.
    const char* colon = std::strstr(said, ": ");
    return std::strncmp(said, "nbd_", 4) == 0 && colon != nullptr ? colon + 2 : said;
}

int milliseconds_until(clock::time_point when) {
    const auto left = std::chrono::duration_cast<milliseconds>(when - clock::now()).count();
    return static_cast<int>(std::clamp<long>(left + 1, 0, 3'600'000));
}

// Waits for the socket until the deadline and turns the state machine once. True where the socket had something for us.
bool turn(nbd_handle* handle, int wake, clock::time_point deadline) {
    const unsigned direction = nbd_aio_get_direction(handle);
    pollfd waiting[2] = {{nbd_aio_get_fd(handle), 0, 0}, {wake, POLLIN, 0}};
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) waiting[0].events |= POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) waiting[0].events |= POLLOUT;
    if (::poll(waiting, 2, milliseconds_until(deadline)) <= 0) return false;
    if (waiting[1].revents != 0) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t taken = ::read(wake, &count, sizeof count);
    }
    const short events = waiting[0].revents;
    if (events == 0) return false;
    if ((events & ~POLLOUT) != 0 && (direction & LIBNBD_AIO_DIRECTION_READ) != 0)
        nbd_aio_notify_read(handle);
    else
        nbd_aio_notify_write(handle);
    return true;
}

// The socket of a server that libnbd started. Its folder, which is only ours, stays until libnbd removes both: the name must not
// become free for somebody else in between.
void remove_socket(int socket) {
    sockaddr_un address{};
    socklen_t length = sizeof address;
    if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 || address.sun_family != AF_UNIX)
        return;
    const std::string path(address.sun_path, strnlen(address.sun_path, sizeof address.sun_path));
    if (!path.empty()) ::unlink(path.c_str());
}

bool is_gone(nbd_handle* handle) noexcept {
    return nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1;
}

}  // namespace

struct nbd_connection::request {
    const char* operation;
    extent where = {};
    bool is_flush = false;

    error_detail detail(const std::string& device) const {
        error_detail detail{.device = device, .operation = operation};
        if (!is_flush) {
            detail.offset = where.offset;
            detail.length = where.length;
        }
        return detail;
    }
};

struct nbd_connection::command {
    explicit command(nbd_connection& connection) : owner(connection) {}
    nbd_connection& owner;
    std::condition_variable ready;  // with the connection's mutex: done, or the lead is free
    bool done = false;
    clock::time_point started = clock::now();
    std::list<command*> place{this};  // its link in the list of followers, made before there is anything to lose
};

nbd_connection::nbd_connection(std::string name, const nbd_endpoint& server, const nbd_patience& patience)
    : name_(std::move(name)), patience_(patience), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_)
        throw system_error(
            error_kind::device_io, errno,
            {.device = name_, .operation = "open", .hint = "raise the limit of descriptors (ulimit -n)"});
    handle_ = nbd_create();
    if (handle_ == nullptr)
        throw error(error_kind::device_io, "cannot open " + name_ + ": " + last_error(),
                    {.device = name_, .operation = "open"});
    try {
        connect(server);
        learn_facts();
    } catch (...) {
        // A server that was started and hangs would make the closing of its connection hang, too.
        if (server.uri.empty()) nbd_kill_subprocess(handle_, SIGKILL);
        nbd_close(handle_);
        throw;
    }
}

nbd_connection::~nbd_connection() {
    disconnect();
    nbd_close(handle_);
}

void nbd_connection::disconnect() {
    if (nbd_aio_is_ready(handle_) != 1 || nbd_aio_disconnect(handle_, 0) != 0) return;
    const clock::time_point deadline = clock::now() + goodbye_patience;
    while (!is_gone(handle_) && clock::now() < deadline) turn(handle_, -1, deadline);
}

void nbd_connection::fail_to_connect(const std::string& why, int code) {
    error_kind kind = error_kind::peer;
    const bool over_tls = name_.starts_with("nbds");
    std::string hint = "check that the server runs, and that its address and port are right";
    if (why.find("no export named") != std::string::npos || why.find("server has no export") != std::string::npos) {
        kind = error_kind::not_found;
        hint = "`nbdinfo --list` with the server's address tells the names of its exports";
    } else if (code == ENOENT && !over_tls) {
        kind = error_kind::not_found;
        hint = "check the socket's name";
    } else if ((code == EACCES || code == EPERM) && !over_tls) {
        kind = error_kind::permission;
        hint = "run it as root or as a user who may use the socket";
    } else if (over_tls || why.find("TLS") != std::string::npos) {
        hint = over_tls ? "check that the server runs, its certificate and name, the authority in "
                          "tls-certificates=FOLDER, or USER@ and the "
                          "key in tls-psk-file=FILE; all must be readable"
                        : "the server wants TLS: write nbds:// or nbds+unix://, with tls-certificates=FOLDER or "
                          "tls-psk-file=FILE";
    } else if (why.find("URI") != std::string::npos || why.find("socket parameter") != std::string::npos) {
        kind = error_kind::usage;
        hint = "write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH";
    }
    throw error(kind, "cannot open " + name_ + ": " + why,
                {.device = name_, .operation = "open", .hint = std::move(hint), .system_errno = code});
}

void nbd_connection::connect(const nbd_endpoint& server) {
    nbd_add_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION);
    int started = 0;
    if (!server.uri.empty()) {
        nbd_set_uri_allow_transports(handle_, LIBNBD_ALLOW_TRANSPORT_TCP | LIBNBD_ALLOW_TRANSPORT_UNIX);
        nbd_set_uri_allow_local_file(handle_, true);  // certificates and keys, which the user named himself
        started = nbd_aio_connect_uri(handle_, server.uri.c_str());
    } else {
        std::vector<char*> words;
        for (const std::string& word : server.command) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        started = nbd_aio_connect_systemd_socket_activation(handle_, words.data());
    }
    if (started != 0) fail_to_connect(last_error(), nbd_get_errno());
    const clock::time_point deadline = clock::now() + patience_.greeting;
    while (nbd_aio_is_ready(handle_) == 0) {
        if (is_gone(handle_)) fail_to_connect(last_error(), nbd_get_errno());
        if (clock::now() >= deadline) fail_to_connect("the server does not finish its greeting", ETIMEDOUT);
        turn(handle_, -1, deadline);
    }
    socket_ = owned_descriptor(::fcntl(nbd_aio_get_fd(handle_), F_DUPFD_CLOEXEC, 0));
    if (!socket_) fail_to_connect("no descriptors are left", errno);
    // Nobody else is to connect; and what a killed process leaves behind is then an empty folder.
    if (server.uri.empty()) remove_socket(socket_.get());
    for (const int option : {SO_SNDBUF, SO_RCVBUF})  // where it is not to be had, it is only slower
        ::setsockopt(socket_.get(), SOL_SOCKET, option, &socket_buffer_bytes, sizeof socket_buffer_bytes);
}

void nbd_connection::learn_facts() {
    const auto refuse = [this](const std::string& why) { fail_to_connect("the server's export " + why, 0); };
    const std::int64_t size = nbd_get_size(handle_);
    if (size < 0) refuse(std::string("has no usable size (") + last_error() + ")");
    facts_.size_bytes = static_cast<std::uint64_t>(size);
    const auto flag = [](int answer) { return answer == 1; };
    facts_.read_only = flag(nbd_is_read_only(handle_));
    facts_.flushes = flag(nbd_can_flush(handle_));
    facts_.zeroes = flag(nbd_can_zero(handle_));
    facts_.zeroes_fast = facts_.zeroes && flag(nbd_can_fast_zero(handle_));
    facts_.trims = flag(nbd_can_trim(handle_));
    facts_.tells_allocation = flag(nbd_can_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION));
    facts_.takes_connections = flag(nbd_can_multi_conn(handle_));

    // 0 or less: it did not say, and then the specification has a default.
    const std::int64_t unit = nbd_get_block_size(handle_, LIBNBD_SIZE_MINIMUM);
    const std::int64_t most = nbd_get_block_size(handle_, LIBNBD_SIZE_MAXIMUM);
    facts_.unit_bytes = unit > 0 ? static_cast<std::uint64_t>(unit) : 1;
    if (facts_.unit_bytes > unit_bytes_max || !std::has_single_bit(facts_.unit_bytes))
        refuse("asks for requests in units of " + std::to_string(facts_.unit_bytes) + " bytes");
    facts_.request_bytes_max =
        std::min(request_bytes_max, most > 0 ? static_cast<std::uint64_t>(most) : request_bytes_max);
    facts_.request_bytes_max -= facts_.request_bytes_max % facts_.unit_bytes;
    if (facts_.request_bytes_max == 0) refuse("takes requests of at most " + std::to_string(most) + " bytes");
}

// ---- requests ----

int nbd_connection::completed(void* data, int*) {
    command& done = *static_cast<command*>(data);
    const std::lock_guard lock(done.owner.mutex_);
    done.done = true;
    done.ready.notify_one();  // under the lock: once it is free, the command may be gone
    return 0;                 // its result is fetched by the one who waits
}

void nbd_connection::run(const request& what, const issue& start) {
    command own(*this);
    {
        const std::lock_guard lock(mutex_);
        ++in_flight_;
        if (what.is_flush) ++flushes_;
    }
    // From a request that was taken until its answer nothing may throw: libnbd holds `own` and the buffer.
    const std::int64_t cookie = start(own);
    if (cookie >= 0) {
        wake_leader();
        await(own);
    } else if (is_gone(handle_)) {
        break_off(last_error());
    }
    const bool done = cookie >= 0 && nbd_aio_command_completed(handle_, static_cast<std::uint64_t>(cookie)) == 1;
    const int code = done ? 0 : nbd_get_errno();
    {
        const std::lock_guard lock(mutex_);
        --in_flight_;
        if (what.is_flush) --flushes_;
    }
    if (done) return;
    if (code == ENOTCONN || code == ESHUTDOWN || cookie < 0) {
        if (is_gone(handle_)) break_off("the server closed the connection");
        if (is_broken()) fail_lost(what);
    }
    throw system_error(error_kind::device_io, code != 0 ? code : EIO, what.detail(name_));
}

void nbd_connection::await(command& own) noexcept {
    std::unique_lock lock(mutex_);
    while (!own.done) {
        if (led_) {
            const auto place = own.place.begin();
            followers_.splice(followers_.end(), own.place);
            own.ready.wait(lock, [&] { return own.done || !led_; });
            own.place.splice(own.place.begin(), followers_, place);
            continue;
        }
        led_ = true;
        lock.unlock();
        lead(own);
        lock.lock();
        led_ = false;
    }
    // The lead is free: for one who still waits, also where it was offered to us and we had our answer by then.
    if (!led_ && !followers_.empty()) followers_.front()->ready.notify_one();
}

void nbd_connection::lead(command& own) noexcept {
    const auto is_done = [&] {
        const std::lock_guard lock(mutex_);
        return own.done;
    };
    clock::time_point last_moved = clock::now();
    bool cut = false;
    while (!is_done()) {
        if (is_gone(handle_)) {
            // All that were under way have been told; should one be left, its owner must not wait for ever.
            break_off("the connection is closed");
            const std::lock_guard lock(mutex_);
            own.done = true;
            return;
        }
        const milliseconds patience = patience_now();
        clock::time_point deadline = std::min(last_moved + patience, own.started + slow_drip_factor * patience);
        if (!cut && clock::now() >= deadline) {
            std::array<char, 64> why{};
            std::snprintf(why.data(), why.size(), "the server has not answered for %lld s",
                          static_cast<long long>((patience.count() + 999) / 1000));
            break_off(why.data());
            // The state machine finds the end of the stream next and gives all requests up.
            ::shutdown(socket_.get(), SHUT_RDWR);
            cut = true;
        }
        if (cut) deadline = clock::now() + goodbye_patience;
        if (turn(handle_, wake_.get(), deadline)) last_moved = clock::now();
        if (nbd_aio_is_dead(handle_) == 1) break_off(last_error());
    }
}

// The leader waits for the socket as it stood when it began to wait: for what is to be written now, and for a connection that was
// found dead by the one who sends, it has to look again.
void nbd_connection::wake_leader() noexcept {
    if (!is_gone(handle_) && (nbd_aio_get_direction(handle_) & LIBNBD_AIO_DIRECTION_WRITE) == 0) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

// The first reason is the right one: what follows only tells that there is no connection any more.
void nbd_connection::break_off(const char* why) noexcept {
    const std::lock_guard lock(mutex_);
    if (broken_[0] == '\0') std::snprintf(broken_.data(), broken_.size(), "%s", why);
}

bool nbd_connection::is_broken() noexcept {
    const std::lock_guard lock(mutex_);
    return broken_[0] != '\0';
}

milliseconds nbd_connection::patience_now() noexcept {
    const std::lock_guard lock(mutex_);
    return flushes_ != 0 ? std::max(patience_.flush, patience_.answer) : patience_.answer;
}

unsigned nbd_connection::in_flight() {
    const std::lock_guard lock(mutex_);
    return in_flight_;
}

void nbd_connection::fail_lost(const request& what) {
    error_detail detail = what.detail(name_);
    detail.hint = "look at the server and its log, then run the sync again: it sends only what is still missing";
    const std::lock_guard lock(mutex_);
    throw error(error_kind::peer, std::string(what.operation) + " of " + name_ + " failed: " + broken_.data(),
                std::move(detail));
}

void nbd_connection::read(std::uint64_t offset, std::span<std::byte> into) {
    run({"read", {offset, into.size()}}, [&](command& own) {
        return nbd_aio_pread(handle_, into.data(), into.size(), offset, {completed, &own, nullptr}, 0);
    });
}

void nbd_connection::write(std::uint64_t offset, std::span<const std::byte> from) {
    run({"write", {offset, from.size()}}, [&](command& own) {
        return nbd_aio_pwrite(handle_, from.data(), from.size(), offset, {completed, &own, nullptr}, 0);
    });
}

void nbd_connection::flush() {
    run({"flush", {}, true}, [&](command& own) { return nbd_aio_flush(handle_, {completed, &own, nullptr}, 0); });
}

void nbd_connection::trim(extent range) {
    run({"discard", range}, [&](command& own) {
        return nbd_aio_trim(handle_, range.length, range.offset, {completed, &own, nullptr}, 0);
    });
}

bool nbd_connection::zero(extent range, bool fast_only) {
    try {
        run({"write_zeroes", range}, [&](command& own) {
            return nbd_aio_zero(handle_, range.length, range.offset, {completed, &own, nullptr},
                                fast_only ? LIBNBD_CMD_FLAG_FAST_ZERO : 0);
        });
        return true;
    } catch (const error& why) {
        if (fast_only && (why.detail().system_errno == ENOTSUP || why.detail().system_errno == EOPNOTSUPP))
            return false;
        throw;
    }
}

std::vector<nbd_connection::status> nbd_connection::allocation(extent range) {
    struct answer {
        extent wanted;
        std::uint64_t seen = 0;
        std::vector<status> list = {};
    } found{range};
    found.list.reserve(runs_max);  // nothing may throw through libnbd
    // Entries beyond the range, empty ones and contexts that were not asked for are possible, and say nothing.
    const auto take = [](void* data, const char* context, std::uint64_t offset, std::uint32_t* entries,
                         std::size_t count, int*) {
        answer& to = *static_cast<answer*>(data);
        if (std::strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 || offset != to.wanted.offset || to.seen != 0)
            return 0;
        for (std::size_t index = 0; index + 1 < count; index += 2) {
            const std::uint64_t length = std::min<std::uint64_t>(entries[index], to.wanted.length - to.seen);
            if (length == 0) continue;
            // A hole that is not said to read as zeroes may hold anything.
            const bool zero = (entries[index + 1] & LIBNBD_STATE_ZERO) != 0;
            if (!to.list.empty() && to.list.back().reads_as_zero == zero)
                to.list.back().length += length;
            else if (to.list.size() < runs_max)
                to.list.push_back({length, zero});
            else
                break;
            to.seen += length;
        }
        return 0;
    };
    run({"allocation", range}, [&](command& own) {
        return nbd_aio_block_status(handle_, range.length, range.offset, {take, &found, nullptr},
                                    {completed, &own, nullptr}, 0);
    });
    return std::move(found.list);
}

}  // namespace reprotect
