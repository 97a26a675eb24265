// Time is booked, not spent. What is read from a sender waits at the link; the connections take turns there, a piece each.
// A piece leaves when the link is free, keeps it for its length divided by the rate, arrives a delay later, and counts as
// in flight until its receipt could have come back to the sender. Booked is from the moment at which the piece was there
// and the link was free, also when the relay only gets to it later: a thread that wakes late delays what it hands on, but
// takes nothing from the rate. Nothing is done a byte: bytes are read into a ring and written out of it, and what
// happens to them is a list of lengths with times. Faults are entries of that list with no length.
#include "support/long_link.hpp"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>

namespace reprotect::test {

double share_of_rate(const std::vector<std::uint64_t>& log, link_clock::duration interval,
                     std::uint64_t bytes_per_second) {
    double all = 0;
    for (const std::uint64_t each : log) all += static_cast<double>(each);
    if (all == 0) return 0;
    const auto intervals_until = [&](double wanted) {
        double before = 0;
        for (std::size_t i = 0; i < log.size(); ++i) {
            const auto here = static_cast<double>(log[i]);
            if (before + here >= wanted) return static_cast<double>(i) + (wanted - before) / here;
            before += here;
        }
        return static_cast<double>(log.size());
    };
    const double took =
        (intervals_until(0.95 * all) - intervals_until(0.05 * all)) * std::chrono::duration<double>(interval).count();
    return 0.9 * all / took / static_cast<double>(bytes_per_second);
}

class long_link::relay {
public:
    using time_point = link_clock::time_point;

    explicit relay(options how)
        : how_(std::move(how)), lanes_{lane(how_.to_server, how_.seed), lane(how_.to_client, how_.seed + 1)} {
        for (const lane& each : lanes_)
            if (each.how.bytes_per_second == 0u || each.how.in_flight_bytes_max == 0)
                throw std::invalid_argument("a link carries nothing with a rate or a cap of zero");
        acceptor_.open(tcp::v4());
        acceptor_.set_option(tcp::acceptor::reuse_address(true));
        acceptor_.set_option(kernel_buffer);  // before it listens, so that connections inherit it
        acceptor_.bind({boost::asio::ip::address_v4::loopback(), how_.port});
        acceptor_.listen();
        port_ = acceptor_.local_endpoint().port();
        accept();
        thread_ = std::thread([this] { context_.run(); });
    }
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;
    ~relay() { stop(); }

    std::uint16_t port() const noexcept { return port_; }

    void finish() {
        if (!thread_.joinable()) return;
        boost::asio::post(context_, [this] { stop_accepting(); });
        thread_.join();
    }
    void stop() {
        if (!thread_.joinable()) return;
        boost::asio::post(context_, [this] {
            stop_accepting();
            for (const auto& each : connections_) close(*each, link_cut::reset);
            arm();
        });
        thread_.join();
    }

    std::size_t connections() const {
        const std::lock_guard lock(mutex_);
        return tallies_.size();
    }
    traffic carried(toward way, std::size_t number) const {
        const std::lock_guard lock(mutex_);
        return tallies_.at(number)[index(way)];
    }
    traffic carried(toward way) const {
        const std::lock_guard lock(mutex_);
        traffic all;
        for (const auto& each : tallies_) {
            all.taken += each[index(way)].taken;
            all.delivered += each[index(way)].delivered;
        }
        return all;
    }
    std::vector<std::uint64_t> delivered_log(toward way) const {
        const std::lock_guard lock(mutex_);
        return logs_[index(way)];
    }
    double share(toward way) const {
        return share_of_rate(delivered_log(way), log_interval, lanes_[index(way)].how.bytes_per_second.value());
    }

private:
    using error_code = boost::system::error_code;

    // Where the relay wakes for what is due, then for all of it that came due meanwhile: guessed.
    static constexpr link_clock::duration tick = std::chrono::microseconds(1000);
    // What one read takes at most, and what the kernel is to hold at most (it doubles it).
    static constexpr std::size_t read_bytes_max = 256 << 10;
    static inline const boost::asio::socket_base::receive_buffer_size kernel_buffer{128 << 10};
    static inline const boost::asio::socket_base::send_buffer_size kernel_send_buffer{256 << 10};
    // A receiver that takes nothing cannot put off a reset for longer; guessed.
    static constexpr link_clock::duration reset_waits_max = std::chrono::seconds(10);

    enum class kind { data, stall, end, close, reset };
    struct piece {
        kind what;
        std::size_t length;
        time_point at;  // there to be sent; arrives; is known to have arrived
    };

    // Where a huge page fits, in such pages: it would take the relay longer to touch small ones first than to copy into them.
    static std::unique_ptr<std::byte[], decltype(&std::free)> make_ring(std::size_t bytes) {
        constexpr std::size_t huge = 2 << 20;
        const std::size_t alignment = bytes < huge ? alignof(std::max_align_t) : huge;
        const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
        auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, whole));
        if (!memory) throw std::bad_alloc();
        if (bytes >= huge) ::madvise(memory, whole, MADV_HUGEPAGE);
        return {memory, &std::free};
    }

    // One direction of a connection.
    struct flow {
        flow(toward direction, link_faults faults, std::size_t cap, tcp::socket& sender, tcp::socket& receiver)
            : way(direction),
              how(faults),
              from(sender),
              into(receiver),
              ring_bytes(cap + faults.duplicate_bytes),
              ring(make_ring(ring_bytes)) {}

        const toward way;
        const link_faults how;
        tcp::socket &from, &into;

        std::size_t ring_bytes, head = 0, held = 0;  // where the oldest byte lies, and how many there are
        std::unique_ptr<std::byte[], decltype(&std::free)> ring;
        std::vector<std::byte> run;                         // what is to arrive a second time
        std::deque<piece> waiting, flying, unacknowledged;  // in the order in which a piece passes through them
        std::size_t in_flight = 0;
        std::uint64_t taken = 0;
        time_point open_at = time_point::min();  // before it, nothing is handed on
        std::optional<time_point> cut_since;
        bool reading = false;         // an operation is under way
        bool read_over = false;       // nothing more is to be read
        bool blocked = false;         // the receiver takes nothing for now
        bool ended = false;           // its end was handed on
        bool sender_is_gone = false;  // what comes behind its bytes is a reset
    };

    struct connection {
        connection(std::size_t index, boost::asio::io_context& context, tcp::socket accepted, connection_faults faults,
                   const options& how)
            : number(index),
              client(std::move(accepted)),
              server(context),
              flows{flow(toward::server, faults.to_server, how.to_server.in_flight_bytes_max, client, server),
                    flow(toward::client, faults.to_client, how.to_client.in_flight_bytes_max, server, client)} {}

        flow& other(const flow& one) { return flows[&one == &flows[0] ? 1 : 0]; }

        const std::size_t number;
        tcp::socket client, server;
        std::array<flow, 2> flows;
        bool draining = false;  // was cut in order, and takes what the ends still send
        bool closed = false;
    };
    using shared_connection = std::shared_ptr<connection>;  // by the operations that are under way on its sockets

    // One direction of all connections.
    struct lane {
        lane(const link_way& each, std::uint64_t seed) : how(each), schedule(each, seed) {}
        link_way how;
        link_schedule schedule;
        std::size_t turn = 0;  // the connection that is asked first
    };

    static std::size_t index(toward way) noexcept { return way == toward::server ? 0 : 1; }

    // ---- connections come and go ----

    void accept() {
        acceptor_.async_accept([this](error_code failure, tcp::socket client) {
            if (!acceptor_.is_open()) return;
            if (!failure) begin(std::move(client));
            accept();
        });
    }
    void stop_accepting() {
        error_code ignored;
        acceptor_.close(ignored);
    }

    void begin(tcp::socket client) {
        std::size_t number = 0;
        {
            const std::lock_guard lock(mutex_);
            number = tallies_.size();
            tallies_.emplace_back();
        }
        const auto whole = std::make_shared<connection>(number, context_, std::move(client),
                                                        how_.faults ? how_.faults(number) : connection_faults{}, how_);
        connections_.push_back(whole);
        error_code failure;
        whole->server.open(how_.server.protocol(), failure);
        whole->server.set_option(kernel_buffer, failure);
        whole->server.async_connect(how_.server, [this, whole](error_code refused) {
            if (whole->closed) return;
            if (refused) {
                close(*whole, link_cut::reset);
                return arm();
            }
            for (tcp::socket* each : {&whole->client, &whole->server}) {
                error_code ignored;
                each->non_blocking(true, ignored);
                each->set_option(tcp::no_delay(true), ignored);
                each->set_option(kernel_send_buffer, ignored);
            }
            for (flow& each : whole->flows) reach_offset(each, link_clock::now());
            step(whole);
        });
    }

    static void close(connection& whole, link_cut how) {
        if (std::exchange(whole.closed, true)) return;
        for (tcp::socket* each : {&whole.client, &whole.server}) {
            error_code ignored;
            if (how == link_cut::reset) each->set_option(boost::asio::socket_base::linger(true, 0), ignored);
            each->close(ignored);
        }
    }

    // Both ends are told that it is over; it closes when they are gone, since a kernel makes a reset of what comes after.
    void leave(const shared_connection& whole) {
        whole->draining = true;
        error_code ignored;
        whole->client.shutdown(tcp::socket::shutdown_send, ignored);
        whole->server.shutdown(tcp::socket::shutdown_send, ignored);
        for (flow& each : whole->flows) {
            forget(each);
            each.ended = false;
            drain(whole, each);
        }
    }
    void drain(const shared_connection& whole, flow& each) {
        if (each.reading) return;
        each.reading = true;
        each.from.async_read_some(boost::asio::buffer(each.ring.get(), std::min(each.ring_bytes, read_bytes_max)),
                                  [this, whole, &each](error_code failure, std::size_t) {
                                      each.reading = false;
                                      drained(whole, each, failure);
                                  });
    }
    void drained(const shared_connection& whole, flow& each, error_code failure) {
        if (whole->closed) return;
        if (!failure) return drain(whole, each);
        each.ended = true;
        if (!whole->other(each).ended) return;
        close(*whole, link_cut::end);
        arm();
    }
    static void forget(flow& each) {
        each.read_over = true;
        for (std::deque<piece>* list : {&each.waiting, &each.flying, &each.unacknowledged}) list->clear();
    }

    // ---- from the sender to the link ----

    void read(const shared_connection& whole, flow& each, time_point now) {
        if (each.reading || each.read_over || whole->draining || whole->closed) return;
        while (!each.unacknowledged.empty() && each.unacknowledged.front().at <= now) {
            each.in_flight -= each.unacknowledged.front().length;
            each.unacknowledged.pop_front();
        }
        if (each.held == 0) each.head = 0;  // keeps a ring that is hardly used in the processor's cache
        const std::size_t cap = lanes_[index(each.way)].how.in_flight_bytes_max;
        const std::size_t tail = (each.head + each.held) % each.ring_bytes;
        std::uint64_t count = std::min({cap - std::min(cap, each.in_flight), each.ring_bytes - tail, read_bytes_max});
        for (const std::uint64_t offset : {each.how.stall_after, each.how.cut_after, each.how.duplicate_at,
                                           each.how.duplicate_at + each.how.duplicate_bytes})
            if (offset > each.taken) count = std::min(count, offset - each.taken);
        if (count == 0) return;
        each.reading = true;
        each.from.async_read_some(boost::asio::buffer(each.ring.get() + tail, count),
                                  [this, whole, &each, tail](error_code failure, std::size_t got) {
                                      each.reading = false;
                                      took(whole, each, failure, {each.ring.get() + tail, got});
                                  });
    }

    void took(const shared_connection& whole, flow& each, error_code failure, std::span<std::byte> bytes) {
        if (whole->closed) return;
        if (whole->draining) return drained(whole, each, failure);
        if (each.read_over) return;
        const time_point now = link_clock::now();
        if (failure) {
            each.read_over = true;
            const bool in_order = failure == boost::asio::error::eof && !each.sender_is_gone;
            each.waiting.push_back({in_order ? kind::end : kind::reset, 0, now});
        } else {
            if (each.how.flip_at - each.taken < bytes.size()) bytes[each.how.flip_at - each.taken] ^= std::byte{1};
            if (each.taken - each.how.duplicate_at < each.how.duplicate_bytes)
                each.run.insert(each.run.end(), bytes.begin(), bytes.end());
            each.taken += bytes.size();
            queue(each, bytes.size(), now);
            {
                const std::lock_guard lock(mutex_);
                tallies_[whole->number][index(each.way)].taken += bytes.size();
            }
            reach_offset(each, now);
        }
        step(whole);
    }

    static void queue(flow& each, std::size_t count, time_point now) {
        each.held += count;
        each.in_flight += count;
        each.waiting.push_back({kind::data, count, now});
    }

    // What is to happen between the bytes that were read and the next; once for each offset at which a read ended.
    static void reach_offset(flow& each, time_point now) {
        if (!each.run.empty() && each.taken == each.how.duplicate_at + each.how.duplicate_bytes) {
            const std::size_t tail = (each.head + each.held) % each.ring_bytes;
            const std::size_t first = std::min(each.run.size(), each.ring_bytes - tail);
            std::memcpy(each.ring.get() + tail, each.run.data(), first);
            std::memcpy(each.ring.get(), each.run.data() + first, each.run.size() - first);
            queue(each, each.run.size(), now);
            each.run.clear();
        }
        if (each.taken == each.how.stall_after) each.waiting.push_back({kind::stall, 0, now});
        if (each.taken == each.how.cut_after) {
            each.read_over = true;
            each.waiting.push_back({each.how.cut_by == link_cut::reset ? kind::reset : kind::close, 0, now});
        }
    }

    // ---- over the link ----

    void send_off(lane& on, time_point now) {
        while (on.schedule.free_at() <= now) {
            flow* next = next_in_turn(on);
            if (!next) return;
            piece& first = next->waiting.front();
            const std::size_t count = std::min(first.length, on.schedule.piece_bytes_max());
            // With jitter it may be there before the piece ahead of it; it is only looked at behind that.
            next->flying.push_back({first.what, count, on.schedule.send(count, first.at)});
            first.length -= count;
            if (first.length == 0) next->waiting.pop_front();
        }
    }

    // Of those that were there when the link became free, or else came first, the one whose turn it is.
    flow* next_in_turn(lane& on) {
        const auto which = static_cast<std::size_t>(&on - lanes_.data());
        time_point earliest = time_point::max();
        for (const auto& each : connections_)
            if (!each->flows[which].waiting.empty())
                earliest = std::min(earliest, each->flows[which].waiting.front().at);
        const time_point start = std::max(earliest, on.schedule.free_at());
        for (std::size_t i = 0; i < connections_.size(); ++i) {
            const std::size_t at = (on.turn + i) % connections_.size();
            flow& each = connections_[at]->flows[which];
            if (each.waiting.empty() || each.waiting.front().at > start) continue;
            on.turn = at + 1;
            return &each;
        }
        return nullptr;
    }

    // ---- from the link to the receiver ----

    void deliver(const shared_connection& whole, flow& each, time_point now) {
        while (!whole->closed && !each.blocked && !each.flying.empty()) {
            const piece first = each.flying.front();
            if (std::max(first.at, each.open_at) > now) return;
            switch (first.what) {
                case kind::data:
                    write(whole, each, now);
                    continue;
                case kind::stall:
                    each.open_at =
                        each.how.stall_for == link_faults::for_ever ? time_point::max() : now + each.how.stall_for;
                    break;
                case kind::end: {
                    error_code ignored;
                    each.into.shutdown(tcp::socket::shutdown_send, ignored);
                    each.ended = true;
                    if (whole->other(each).ended) close(*whole, link_cut::end);
                    break;
                }
                case kind::close:
                    return leave(whole);
                case kind::reset: {
                    // A reset would take along what the receiver's kernel has not got yet.
                    if (!each.cut_since) each.cut_since = now;
                    int left = 0;
                    if (::ioctl(each.into.native_handle(), SIOCOUTQ, &left) == 0 && left > 0 &&
                        now - *each.cut_since < reset_waits_max) {
                        each.open_at = now + tick;
                        return;
                    }
                    return close(*whole, link_cut::reset);
                }
            }
            each.flying.pop_front();
        }
    }

    // Hands on what has arrived and lies in one piece in the ring.
    void write(const shared_connection& whole, flow& each, time_point now) {
        std::size_t due = 0;
        for (const piece& next : each.flying) {
            if (next.what != kind::data || next.at > now) break;
            due += next.length;
        }
        error_code failure;
        std::size_t sent = each.into.write_some(
            boost::asio::buffer(each.ring.get() + each.head, std::min(due, each.ring_bytes - each.head)), failure);
        if (failure == boost::asio::error::would_block) {
            each.blocked = true;
            each.into.async_wait(tcp::socket::wait_write, [this, whole, &each](error_code) {
                each.blocked = false;
                each.open_at = std::max(each.open_at, link_clock::now());
                step(whole);
            });
            return;
        }
        if (failure) return lose_receiver(whole, each, now);
        {
            const std::lock_guard lock(mutex_);
            tallies_[whole->number][index(each.way)].delivered += sent;
            std::vector<std::uint64_t>& log = logs_[index(each.way)];
            log.resize(static_cast<std::size_t>((now - born_) / log_interval) + 1);  // never shrinks: time goes forward
            log.back() += sent;
        }
        each.held -= sent;
        each.head = (each.head + sent) % each.ring_bytes;
        const link_clock::duration back = lanes_[1 - index(each.way)].how.delay;
        while (sent != 0) {
            piece& first = each.flying.front();
            const std::size_t count = std::min(sent, first.length);
            // The receipt counts from the booked arrival, not from when this thread woke, unless the receiver was late.
            each.unacknowledged.push_back({kind::data, count, std::max(first.at, each.open_at) + back});
            sent -= count;
            first.length -= count;
            if (first.length == 0) each.flying.pop_front();
        }
    }

    // The receiver is gone, though what it sent before is still to arrive; behind that the sender finds a reset.
    static void lose_receiver(const shared_connection& whole, flow& each, time_point now) {
        forget(each);
        flow& back = whole->other(each);
        back.sender_is_gone = true;
        if (back.read_over) back.waiting.push_back({kind::reset, 0, now});
    }

    // ---- the clock ----

    // After something happened to a connection.
    void step(const shared_connection& whole) {
        const time_point now = link_clock::now();
        for (lane& each : lanes_) send_off(each, now);
        work(whole, now);
        arm();
    }
    void work(const shared_connection& whole, time_point now) {
        if (whole->closed) return;
        for (flow& each : whole->flows) deliver(whole, each, now);
        for (flow& each : whole->flows) read(whole, each, now);
    }

    void wake() {
        const time_point now = woke_ = link_clock::now();
        for (lane& each : lanes_) send_off(each, now);
        for (const shared_connection& each : connections_) work(each, now);
        arm();
    }

    // Sets the timer to the next thing that is due; takes leave of what is closed.
    void arm() {
        std::erase_if(connections_, [](const shared_connection& each) { return each->closed; });
        time_point next = time_point::max();
        for (const shared_connection& whole : connections_) {
            for (const flow& each : whole->flows) {
                if (!each.waiting.empty()) next = std::min(next, lanes_[index(each.way)].schedule.free_at());
                if (!each.flying.empty() && !each.blocked)
                    next = std::min(next, std::max(each.flying.front().at, each.open_at));
                if (!each.unacknowledged.empty() && !each.reading && !each.read_over)
                    next = std::min(next, each.unacknowledged.front().at);
            }
        }
        if (next == time_point::max()) {
            timer_.cancel();
            armed_for_ = next;
            return;
        }
        next = std::max(next, woke_ + tick);
        if (armed_for_ <= next) return;  // it wakes before, and looks again
        armed_for_ = next;
        timer_.expires_at(next);
        timer_.async_wait([this](error_code failure) {
            if (failure) return;
            armed_for_ = time_point::max();
            wake();
        });
    }

    options how_;
    std::array<lane, 2> lanes_;
    boost::asio::io_context context_{1};
    tcp::acceptor acceptor_{context_};
    boost::asio::steady_timer timer_{context_};
    const time_point born_ = link_clock::now();
    time_point woke_ = born_, armed_for_ = time_point::max();
    std::vector<shared_connection> connections_;
    std::uint16_t port_ = 0;

    mutable std::mutex mutex_;  // over what follows
    std::vector<std::array<traffic, 2>> tallies_;
    std::array<std::vector<std::uint64_t>, 2> logs_;
    std::thread thread_;
};

long_link::long_link(options how) : relay_(std::make_unique<relay>(std::move(how))) {}
long_link::~long_link() = default;
std::uint16_t long_link::port() const noexcept {
    return relay_->port();
}
void long_link::finish() {
    relay_->finish();
}
void long_link::stop() {
    relay_->stop();
}
std::size_t long_link::connections() const {
    return relay_->connections();
}
long_link::traffic long_link::carried(toward way, std::size_t number) const {
    return relay_->carried(way, number);
}
long_link::traffic long_link::carried(toward way) const {
    return relay_->carried(way);
}
std::vector<std::uint64_t> long_link::delivered_log(toward way) const {
    return relay_->delivered_log(way);
}
double long_link::share(toward way) const {
    return relay_->share(way);
}

}  // namespace reprotect::test
