// One connection to an NBD server, used by many threads at once: requests are pipelined, and no thread is made for them.
#pragma once

#include "base/owned_descriptor.hpp"
#include "reprotect/extent.hpp"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <vector>

struct nbd_handle;

namespace reprotect {

/// How long a server may leave us without a byte while it owes an answer. A flush may take longer than all else.
struct nbd_patience {
    std::chrono::milliseconds greeting{60'000};  ///< until the connection stands
    std::chrono::milliseconds answer{60'000};
    std::chrono::milliseconds flush{600'000};
};

/// Where a server is, or how one is started (for socket activation, systemd's protocol: it finds its socket as descriptor 3).
struct nbd_endpoint {
    std::string uri;
    std::vector<std::string> command;  ///< used where `uri` is empty
};

/// What a server says of its export. Nothing of it is believed beyond what it can be held to.
struct nbd_export {
    std::uint64_t size_bytes = 0;
    std::uint64_t unit_bytes = 1;         ///< offsets and lengths are a multiple of it, a power of two
    std::uint64_t request_bytes_max = 0;  ///< of one read or write, a multiple of the unit
    bool read_only = false;
    bool flushes = false;
    bool zeroes = false;
    bool zeroes_fast = false;
    bool trims = false;
    bool tells_allocation = false;
    bool takes_connections = false;  ///< a flush on one connection covers all
    friend bool operator==(const nbd_export&, const nbd_export&) = default;
};

/// All calls block, throw `error`, and may be made from many threads at once. A server's own refusal is a device error; a
/// connection that is lost, silent or breaks the protocol is `peer`, and every later call fails for the same reason.
class nbd_connection {
public:
    /// `name` is the disk's, for messages.
    nbd_connection(std::string name, const nbd_endpoint& server, const nbd_patience& patience);
    nbd_connection(const nbd_connection&) = delete;
    nbd_connection& operator=(const nbd_connection&) = delete;
    ~nbd_connection();

    const nbd_export& facts() const noexcept { return facts_; }

    // Ranges are within the export, whole units, and no longer than `request_bytes_max`.
    void read(std::uint64_t offset, std::span<std::byte> into);
    void write(std::uint64_t offset, std::span<const std::byte> from);
    void flush();
    void trim(extent range);
    /// False: the server cannot do it quickly, and did nothing (`fast_only`).
    bool zero(extent range, bool fast_only);

    struct status {
        std::uint64_t length = 0;
        bool reads_as_zero = false;
    };
    /// From the range's begin on; clipped to it, neighbours of different kinds, perhaps ending early, perhaps empty.
    std::vector<status> allocation(extent range);

    unsigned in_flight();

    /// Ends the session in good order, without waiting for long. No other call may run meanwhile; every later one fails.
    void disconnect();

private:
    struct command;
    using issue = std::function<std::int64_t(command&)>;  // a cookie of libnbd's, or -1
    struct request;

    void connect(const nbd_endpoint& server);
    void learn_facts();
    void run(const request& what, const issue& start);
    void await(command& own) noexcept;
    void lead(command& own) noexcept;
    void wake_leader() noexcept;
    void break_off(const char* why) noexcept;
    bool is_broken() noexcept;
    std::chrono::milliseconds patience_now() noexcept;
    [[noreturn]] void fail_to_connect(const std::string& why, int code);
    [[noreturn]] void fail_lost(const request& what);
    static int completed(void* data, int* error);

    std::string name_;
    nbd_patience patience_;
    nbd_handle* handle_ = nullptr;
    nbd_export facts_;
    owned_descriptor wake_;    // an eventfd: a request was queued that the leader has to send
    owned_descriptor socket_;  // our own name for it, which libnbd does not close

    std::mutex mutex_;  // never held while libnbd is called; libnbd's own lock may be held while it is taken
    bool led_ = false;
    std::list<command*> followers_;
    unsigned in_flight_ = 0;
    unsigned flushes_ = 0;
    std::array<char, 256> broken_{};  // why, once it is; no memory is asked for while an answer is owed
};

}  // namespace reprotect
