// A long link between two programs of one machine, where the kernel offers none (netem is a module): a relay on 127.0.0.1
// that hands on each connection with the delay, the rate, the jitter and the faults that were asked for. long_link.cpp
// says how.
//
// A sender whose bytes in flight reach the cap is not read any more until receipts come in, so it is held back as by the
// send buffer of a kernel, which keeps what was not acknowledged. To the cap come the bytes in the kernel's own buffers;
// those of the relay are kept small. Opening a connection costs no round trip here.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <vector>

namespace reprotect::test {

using link_clock = std::chrono::steady_clock;

/// One direction of a link.
struct link_way {
    link_clock::duration delay{};   ///< one way: a round trip takes that of both directions
    link_clock::duration jitter{};  ///< the most that is added to it at random; a connection's bytes stay in order
    std::optional<std::uint64_t> bytes_per_second = {};  ///< of all connections together; none: as fast as it goes
    std::size_t in_flight_bytes_max = 4 << 20;           ///< of each connection; Linux' default bound of a send buffer
};

/// How both ends of a connection find it closed that was cut.
enum class link_cut {
    reset,
    end  ///< in order; what they still send is taken, and lost
};

/// What happens to one direction of one connection. Offsets count the bytes that its sender sent.
struct link_faults {
    static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();
    static constexpr link_clock::duration for_ever = link_clock::duration::max();
    std::uint64_t stall_after = never;  ///< so many bytes arrive, and then nothing for `stall_for`
    link_clock::duration stall_for = for_ever;
    std::uint64_t cut_after = never;  ///< so many bytes arrive, then both directions are cut
    link_cut cut_by = link_cut::reset;
    std::uint64_t flip_at = never;    ///< of this byte the lowest bit
    std::uint64_t duplicate_at = 0;   ///< from here on, `duplicate_bytes` arrive twice, one run after the other
    std::size_t duplicate_bytes = 0;  ///< 0: none
};

struct connection_faults {
    link_faults to_server, to_client;
};

/// The times of one direction, from those that it is given: without a clock of its own.
class link_schedule {
public:
    using time_point = link_clock::time_point;

    link_schedule(const link_way& how, std::uint64_t seed) : how_(how), random_(seed) {}

    /// Books `count` bytes, at most `piece_bytes_max()`, that were there at `ready`; says when the last of them arrives.
    time_point send(std::size_t count, time_point ready) {
        free_at_ = std::max(free_at_, ready) + time_of(count);
        return free_at_ + how_.delay + link_clock::duration(spread_(random_, until(how_.jitter)));
    }
    time_point free_at() const noexcept { return free_at_; }

    /// About a millisecond, so that turns are short; more would not be faster.
    std::size_t piece_bytes_max() const noexcept {
        if (!how_.bytes_per_second) return 256 << 10;
        return static_cast<std::size_t>(std::clamp<std::uint64_t>(*how_.bytes_per_second / 1000, 1 << 10, 64 << 10));
    }

private:
    using spread = std::uniform_int_distribution<link_clock::rep>;
    static spread::param_type until(link_clock::duration most) { return spread::param_type(0, most.count()); }

    // Rounded up, so that the rate is never exceeded.
    link_clock::duration time_of(std::uint64_t count) const {
        if (!how_.bytes_per_second) return {};
        constexpr std::uint64_t second = std::chrono::nanoseconds(std::chrono::seconds(1)).count();
        const std::uint64_t rate = *how_.bytes_per_second;
        return std::chrono::nanoseconds(static_cast<std::int64_t>((count * second + rate - 1) / rate));
    }

    link_way how_;
    std::mt19937_64 random_;
    spread spread_;
    time_point free_at_ = time_point::min();
};

/// How much of the rate was used by what a link delivered, by its log of `interval`s: between the moments when the first
/// and the last 5% of the bytes had passed, taken as even within an interval. 0 where nothing was delivered.
double share_of_rate(const std::vector<std::uint64_t>& log, link_clock::duration interval,
                     std::uint64_t bytes_per_second);

/// The relay. Its clients connect to `port()` of 127.0.0.1. It works on a thread of its own; every function may be called
/// from any thread, but `finish`, `stop` and the destructor from one only.
class long_link {
public:
    using tcp = boost::asio::ip::tcp;
    static constexpr link_clock::duration log_interval = std::chrono::milliseconds(10);

    enum class toward { server, client };

    struct options {
        tcp::endpoint server;
        std::uint16_t port = 0;  ///< to listen on; 0: a free one
        link_way to_server = {}, to_client = {};
        std::uint64_t seed = 1;  ///< of the jitter
        /// The faults of a connection by its number, counted from 0 as they came; called on the relay's thread.
        std::function<connection_faults(std::size_t)> faults = {};
    };

    /// Bytes: read from the sender, and handed to the receiver (with what was duplicated).
    struct traffic {
        std::uint64_t taken = 0, delivered = 0;
    };

    /// Listens already when it returns. Throws std::invalid_argument for a rate or a cap of zero, and
    /// boost::system::system_error where it cannot listen.
    explicit long_link(options how);
    long_link(const long_link&) = delete;
    long_link& operator=(const long_link&) = delete;
    ~long_link();

    std::uint16_t port() const noexcept;

    /// Takes no more connections, and returns when those that there are have ended by themselves.
    void finish();
    /// Resets the connections that there are.
    void stop();

    std::size_t connections() const;
    traffic carried(toward way, std::size_t number) const;
    /// Of all connections.
    traffic carried(toward way) const;
    /// Bytes of all connections that were delivered in each `log_interval` since the relay was made.
    std::vector<std::uint64_t> delivered_log(toward way) const;
    /// `share_of_rate` of this direction so far, which must have a rate.
    double share(toward way) const;

private:
    class relay;
    const std::unique_ptr<relay> relay_;
};

}  // namespace reprotect::test
