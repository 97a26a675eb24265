// The relay that makes a link long, with plain sockets at both ends. Times are only bounded from below, by what the link
// must take; a busy machine may take longer. What must hold exactly is asked of the schedule, which has no clock.
#include <catch2/catch.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <future>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "support/long_link.hpp"

namespace {

using namespace reprotect::test;
using namespace std::chrono_literals;
using bytes = std::vector<std::uint8_t>;
using toward = long_link::toward;

constexpr std::size_t kib = 1024, mib = 1024 * kib;

// A blocking socket whose calls fail with EAGAIN after a while, so that a test that waits in vain ends.
class plain_socket {
public:
    explicit plain_socket(int descriptor) : descriptor_(descriptor) {
        if (descriptor < 0) throw std::runtime_error("no socket, errno " + std::to_string(errno));
        const timeval patience{20, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    plain_socket() : plain_socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
    plain_socket(plain_socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    ~plain_socket() { close(); }

    int descriptor() const noexcept { return descriptor_; }

    // 0, or why not all of it was taken.
    int send(const bytes& data) {
        for (std::size_t at = 0; at < data.size();) {
            const ssize_t sent = ::send(descriptor_, data.data() + at, data.size() - at, MSG_NOSIGNAL);
            if (sent < 0) return errno;
            at += static_cast<std::size_t>(sent);
        }
        return 0;
    }
    // Up to `count` bytes; fewer when it ended before, and why is left in `ended_with`: 0 for an end in order.
    bytes receive(std::size_t count) {
        bytes data(count);
        std::size_t at = 0;
        while (at < count) {
            const ssize_t got = ::recv(descriptor_, data.data() + at, count - at, 0);
            ended_with = got < 0 ? errno : 0;
            if (got <= 0) break;
            at += static_cast<std::size_t>(got);
        }
        data.resize(at);
        return data;
    }
    bytes receive_all() { return receive(32 * mib); }
    // Nothing is to be read for a while, not even the end.
    bool silent_for(std::chrono::milliseconds time) {
        std::this_thread::sleep_for(time);
        char byte = 0;
        return ::recv(descriptor_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    }
    // Of what was received and not read; the kernel doubles it.
    void hold_at_most(int count) { ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &count, sizeof count); }
    void end() { ::shutdown(descriptor_, SHUT_WR); }
    void reset() {
        const linger hard{1, 0};
        ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close();
    }
    void close() {
        if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    }

    int ended_with = 0;

private:
    int descriptor_;
};

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

class listener {
public:
    listener() {
        sockaddr_in address = loopback(0);
        socklen_t size = sizeof address;
        REQUIRE(::bind(socket_.descriptor(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
        REQUIRE(::listen(socket_.descriptor(), 16) == 0);
        REQUIRE(::getsockname(socket_.descriptor(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
        port = ntohs(address.sin_port);
    }
    plain_socket accept() { return plain_socket(::accept(socket_.descriptor(), nullptr, nullptr)); }

    std::uint16_t port = 0;

private:
    plain_socket socket_;
};

plain_socket connected_to(std::uint16_t port) {
    plain_socket one;
    const sockaddr_in address = loopback(port);
    REQUIRE(::connect(one.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return one;
}

struct ends {
    plain_socket client, server;
};

// A link with a server behind it.
struct rig {
    explicit rig(link_way to_server = {}, link_way to_client = {},
                 std::function<connection_faults(std::size_t)> faults = {})
        : link({.server = {boost::asio::ip::address_v4::loopback(), behind.port},
                .to_server = to_server,
                .to_client = to_client,
                .faults = std::move(faults)}) {}

    // One connection at a time, so that both ends are of the same.
    ends connect() {
        plain_socket client = connected_to(link.port());
        return {std::move(client), behind.accept()};
    }
    // These wait until the link has taken so much from the clients, or handed so much on to the server.
    bool takes(std::uint64_t count) const { return comes_to(count, &long_link::traffic::taken); }
    bool delivers(std::uint64_t count) const { return comes_to(count, &long_link::traffic::delivered); }

    listener behind;
    long_link link;

private:
    bool comes_to(std::uint64_t count, std::uint64_t long_link::traffic::*which) const {
        for (int i = 0; i < 4000 && link.carried(toward::server).*which < count; ++i) std::this_thread::sleep_for(5ms);
        return link.carried(toward::server).*which >= count;
    }
};

// With the same faults for what the clients of all connections send.
rig with_faults(link_faults faults, link_way to_server = {}) {
    return rig(to_server, {}, [faults](std::size_t) { return connection_faults{faults, {}}; });
}

bytes some_bytes(std::size_t count, std::uint32_t seed = 1) {
    bytes data(count);
    std::minstd_rand random(seed);
    for (auto& each : data) each = static_cast<std::uint8_t>(random() >> 8);
    return data;
}

bytes part(const bytes& data, std::size_t from, std::size_t to) {
    return {data.begin() + static_cast<std::ptrdiff_t>(from), data.begin() + static_cast<std::ptrdiff_t>(to)};
}
bytes joined(bytes first, const bytes& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

// A sender on a thread of its own, which says how it ended.
std::future<int> sending(plain_socket& from, const bytes& data) {
    return std::async(std::launch::async, [&from, &data] {
        const int why = from.send(data);
        from.end();
        return why;
    });
}

std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

double seconds_since(link_clock::time_point start) {
    return std::chrono::duration<double>(link_clock::now() - start).count();
}

}  // namespace

TEST_CASE("what leaves a link keeps it for its length over the rate, and arrives a delay later", "[wire]") {
    const link_clock::time_point start{1h};
    link_schedule link({.delay = 50ms, .bytes_per_second = 1000}, 1);
    CHECK(link.send(100, start) == start + 150ms);
    CHECK(link.free_at() == start + 100ms);
    SECTION("what comes meanwhile waits") {
        CHECK(link.send(10, start + 20ms) == start + 160ms);
        CHECK(link.free_at() == start + 110ms);
    }
    SECTION("an idle link gives nothing back") {
        CHECK(link.send(10, start + 200ms) == start + 260ms);
    }
    SECTION("a length that is no whole number of nanoseconds is rounded up") {
        link_schedule odd({.bytes_per_second = 3}, 1);
        CHECK(odd.send(1, start) == start + 333333334ns);
    }
    SECTION("without a rate only the delay is left") {
        link_schedule fast({.delay = 7ms}, 1);
        CHECK(fast.send(1 << 20, start) == start + 7ms);
        CHECK(fast.send(1 << 20, start) == start + 7ms);
    }
}

TEST_CASE("jitter lies between nothing and its bound, and follows from the seed", "[wire]") {
    const link_clock::time_point start{1h};
    const auto arrivals = [&](std::uint64_t seed) {
        link_schedule link({.delay = 10ms, .jitter = 4ms}, seed);
        std::vector<link_clock::time_point> all;
        for (int i = 0; i < 1000; ++i) all.push_back(link.send(1, start));
        return all;
    };
    const auto all = arrivals(1);
    const auto [least, most] = std::minmax_element(all.begin(), all.end());
    CHECK(*least >= start + 10ms);
    CHECK(*least < start + 11ms);
    CHECK(*most <= start + 14ms);
    CHECK(*most > start + 13ms);
    CHECK(arrivals(1) == all);
    CHECK(arrivals(2) != all);
}

TEST_CASE("the share of the rate is taken without the first and the last 5% of the bytes", "[wire]") {
    CHECK(share_of_rate({}, 10ms, 1000) == 0);
    CHECK(share_of_rate({0, 0}, 10ms, 1000) == 0);
    CHECK(share_of_rate({10}, 10ms, 1000) == Approx(1));
    CHECK(share_of_rate({0, 0, 10, 10, 10, 10, 0}, 10ms, 1000) == Approx(1));
    CHECK(share_of_rate({5, 5, 5, 5}, 10ms, 1000) == Approx(0.5));
    // A slow start of 4 bytes and a slow end of 4 among 100 are left out; a gap between is not.
    CHECK(share_of_rate({1, 1, 1, 1, 46, 46, 1, 1, 1, 1}, 10ms, 4600) == Approx(1));
    CHECK(share_of_rate({50, 0, 0, 50}, 10ms, 5000) == Approx(0.9 * 100 / (3.8 * 50)));
}

TEST_CASE("a link hands on both directions unchanged and in order, with delay and jitter", "[wire]") {
    const link_way way{.delay = 3ms, .jitter = 5ms, .in_flight_bytes_max = 200'000};
    rig both(way, way);
    ends one = both.connect();
    const bytes forth = some_bytes(3 * mib + 1, 1), back = some_bytes(2 * mib + 7, 2);
    auto client = sending(one.client, forth);
    auto server = sending(one.server, back);
    auto at_server = std::async(std::launch::async, [&] { return one.server.receive_all(); });
    CHECK((one.client.receive_all() == back));
    CHECK((at_server.get() == forth));
    CHECK(client.get() == 0);
    CHECK(server.get() == 0);
    CHECK(one.client.ended_with == 0);
    CHECK(one.server.ended_with == 0);
    both.link.finish();
    CHECK(both.link.connections() == 1);
    CHECK(both.link.carried(toward::server, 0).taken == forth.size());
    CHECK(both.link.carried(toward::server, 0).delivered == forth.size());
    CHECK(both.link.carried(toward::client, 0).taken == back.size());
    CHECK(both.link.carried(toward::client, 0).delivered == back.size());
    const auto log = both.link.delivered_log(toward::server);
    CHECK(std::accumulate(log.begin(), log.end(), std::uint64_t{0}) == forth.size());
}

TEST_CASE("each direction of a link has its own delay", "[wire]") {
    rig slow({.delay = 40ms}, {.delay = 90ms});
    ends one = slow.connect();
    const auto start = link_clock::now();
    REQUIRE(one.client.send({1}) == 0);
    CHECK(one.server.receive(1) == bytes{1});
    CHECK(seconds_since(start) >= 0.04);
    const auto middle = link_clock::now();
    REQUIRE(one.server.send({2}) == 0);
    CHECK(one.client.receive(1) == bytes{2});
    CHECK(seconds_since(middle) >= 0.09);
}

TEST_CASE("a close passes through a link as a half-close, behind what was sent", "[wire]") {
    rig far({.delay = 20ms}, {.delay = 20ms});
    const auto before = open_descriptors() + 2;  // those of this test's ends
    ends one = far.connect();
    const bytes question = some_bytes(100), answer = some_bytes(300 * kib, 2);
    REQUIRE(one.client.send(question) == 0);
    one.client.end();
    CHECK(one.server.receive_all() == question);
    CHECK(one.server.ended_with == 0);
    CHECK(one.client.silent_for(50ms));
    auto server = sending(one.server, answer);
    CHECK((one.client.receive_all() == answer));
    CHECK(one.client.ended_with == 0);
    CHECK(server.get() == 0);
    // With both ends handed on the relay keeps nothing of the connection.
    for (int i = 0; i < 4000 && open_descriptors() > before; ++i) std::this_thread::sleep_for(5ms);
    CHECK(open_descriptors() == before);
}

TEST_CASE("connections share the rate of a link", "[wire]") {
    rig narrow({.bytes_per_second = 2 * mib});
    ends first = narrow.connect(), second = narrow.connect();
    const bytes data = some_bytes(256 * kib);
    const auto start = link_clock::now();
    auto one = sending(first.client, data);
    auto other = sending(second.client, data);
    CHECK((first.server.receive_all() == data));
    CHECK((second.server.receive_all() == data));
    CHECK(seconds_since(start) >= 0.25);
    CHECK(narrow.link.carried(toward::server).delivered == 512 * kib);
    CHECK(narrow.link.carried(toward::server, 1).delivered == 256 * kib);
    // The other direction has no rate.
    CHECK(first.server.send({1}) == 0);
    CHECK(first.client.receive(1) == bytes{1});
}

TEST_CASE("a connection does not wait at the link until another has sent all that it has", "[wire]") {
    rig narrow({.bytes_per_second = 32 * kib});
    ends first = narrow.connect();
    const bytes much = some_bytes(256 * kib), little = some_bytes(1 * kib);  // eight seconds, and next to nothing
    auto sender = sending(first.client, much);
    REQUIRE(narrow.takes(much.size()));
    ends second = narrow.connect();
    REQUIRE(second.client.send(little) == 0);
    CHECK(second.server.receive(little.size()) == little);
    CHECK(narrow.link.carried(toward::server, 0).delivered < much.size());
    narrow.link.stop();
    sender.wait();
}

TEST_CASE("a link takes no more from a sender than may be in flight", "[wire]") {
    constexpr std::size_t cap = 300'001;
    rig far({.delay = 1h, .in_flight_bytes_max = cap});
    ends one = far.connect();
    const bytes data = some_bytes(8 * mib);
    auto sender = sending(one.client, data);
    REQUIRE(far.takes(cap));
    CHECK(sender.wait_for(100ms) == std::future_status::timeout);
    CHECK(far.link.carried(toward::server).taken == cap);
    CHECK(far.link.carried(toward::server).delivered == 0);
    // Each connection has its own.
    ends two = far.connect();
    auto second_sender = sending(two.client, data);
    REQUIRE(far.takes(2 * cap));
    far.link.stop();
    CHECK(sender.get() != 0);
    CHECK(second_sender.get() != 0);
}

TEST_CASE("bytes are in flight for a round trip", "[wire]") {
    rig far({.delay = 50ms, .in_flight_bytes_max = 64 * kib}, {.delay = 70ms});
    ends one = far.connect();
    const bytes data = some_bytes(4 * 64 * kib);
    const auto start = link_clock::now();
    auto sender = sending(one.client, data);
    CHECK((one.server.receive(data.size()) == data));
    CHECK(seconds_since(start) >= 3 * 0.120 + 0.050);
}

TEST_CASE("a receiver that takes nothing holds the sender back", "[wire]") {
    rig plain;
    ends one = plain.connect();
    one.server.hold_at_most(32 * kib);
    const bytes data = some_bytes(30 * mib);
    auto sender = sending(one.client, data);
    REQUIRE(plain.takes(4 * mib));
    CHECK(sender.wait_for(200ms) == std::future_status::timeout);
    const long_link::traffic so_far = plain.link.carried(toward::server);
    CHECK(so_far.taken - so_far.delivered <= 4 * mib);
    CHECK((one.server.receive_all() == data));
    CHECK(sender.get() == 0);
}

TEST_CASE("a stall begins after exactly so many bytes, and holds back the end, too", "[wire]") {
    const bytes data = some_bytes(200'000);
    SECTION("for a time") {
        rig stalls = with_faults({.stall_after = 70'001, .stall_for = 300ms});
        ends one = stalls.connect();
        const auto start = link_clock::now();
        auto sender = sending(one.client, data);
        CHECK((one.server.receive_all() == data));
        CHECK(seconds_since(start) >= 0.3);
    }
    SECTION("for ever") {
        const std::size_t after = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{70'001}, std::size_t{200'000});
        rig stalls = with_faults({.stall_after = after});
        ends one = stalls.connect();
        auto sender = sending(one.client, data);
        CHECK((one.server.receive(after) == part(data, 0, after)));
        CHECK(one.server.silent_for(100ms));
        CHECK(stalls.link.carried(toward::server).delivered == after);
        // The other direction goes on.
        REQUIRE(one.server.send({7}) == 0);
        CHECK(one.client.receive(1) == bytes{7});
    }
}

TEST_CASE("a cut comes after exactly so many bytes, to both ends", "[wire]") {
    const bytes data = some_bytes(300'000);
    const std::size_t after = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{123'457}, std::size_t{300'000});
    const bool is_end = GENERATE(false, true);
    rig cuts = with_faults({.cut_after = after, .cut_by = is_end ? link_cut::end : link_cut::reset}, {.delay = 5ms});
    ends one = cuts.connect();
    const int why = one.client.send(data);
    CHECK((one.server.receive_all() == part(data, 0, after)));
    CHECK(one.server.ended_with == (is_end ? 0 : ECONNRESET));
    CHECK(one.client.receive_all().empty());
    // The kernel tells of a reset once: to a send that it stopped, or else to what comes next.
    CHECK((why == 0 ? one.client.ended_with : why) == (is_end ? 0 : ECONNRESET));
    CHECK(cuts.link.carried(toward::server).taken == after);
    CHECK(cuts.link.carried(toward::server).delivered == after);
    if (is_end) return;
    // Nothing of it is left, so this is over at once.
    cuts.link.finish();
}

TEST_CASE("what a slow receiver has still to take is not lost by a reset", "[wire]") {
    constexpr std::size_t after = 400 * kib;  // more than its kernel holds, and less than that and the link's together
    rig cuts = with_faults({.cut_after = after});
    ends one = cuts.connect();
    one.server.hold_at_most(32 * kib);
    const bytes data = some_bytes(after + 1);
    auto sender = sending(one.client, data);
    REQUIRE(cuts.delivers(after));
    std::this_thread::sleep_for(50ms);
    CHECK((one.server.receive_all() == part(data, 0, after)));
    CHECK(one.server.ended_with == ECONNRESET);
    sender.wait();
}

TEST_CASE("of the byte that was asked for a link flips a bit, and of no other", "[wire]") {
    bytes data = some_bytes(300'000);
    const std::size_t at = GENERATE(std::size_t{0}, std::size_t{65'536}, std::size_t{299'999});
    rig flips = with_faults({.flip_at = at});
    ends one = flips.connect();
    auto sender = sending(one.client, data);
    const bytes arrived = one.server.receive_all();
    sender.wait();
    data[at] ^= 1;
    CHECK((arrived == data));
}

TEST_CASE("a link hands on a run of bytes twice", "[wire]") {
    const bytes data = some_bytes(300'000);
    const auto [at, count] = GENERATE(table<std::size_t, std::size_t>(
        {{0, 1}, {100, 100}, {65'000, 100'000}, {105'000, 10'000}, {290'000, 10'000}, {290'001, 10'000}, {7, 0}}));
    // Less in flight than a run, and at a rate that keeps the relay's ring filled, so that runs lie across its end, too.
    rig repeats = with_faults({.duplicate_at = at, .duplicate_bytes = count},
                              {.bytes_per_second = 5'000'000, .in_flight_bytes_max = 50'000});
    ends one = repeats.connect();
    auto sender = sending(one.client, data);
    const bytes arrived = one.server.receive_all();
    sender.wait();
    // A run that the sender does not finish is not repeated.
    const std::size_t end = at + count <= data.size() ? at + count : at;
    CHECK((arrived == joined(joined(part(data, 0, end), part(data, at, end)), part(data, end, data.size()))));
    CHECK(repeats.link.carried(toward::server).taken == data.size());
    CHECK(repeats.link.carried(toward::server).delivered == arrived.size());
}

TEST_CASE("faults are those of a connection, by its number, and of a direction", "[wire]") {
    rig frail({}, {}, [](std::size_t number) {
        connection_faults faults;
        if (number == 0) faults.to_server.cut_after = 10;
        if (number == 1) faults.to_client.flip_at = 2;
        return faults;
    });
    const bytes data{10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
    {
        ends one = frail.connect();
        REQUIRE(one.client.send(data) == 0);
        CHECK(one.server.receive_all().size() == 10);
    }
    ends two = frail.connect();
    REQUIRE(two.client.send(data) == 0);
    CHECK(two.server.receive(data.size()) == data);
    REQUIRE(two.server.send(data) == 0);
    CHECK(two.client.receive(4) == bytes{10, 20, 31, 40});
    CHECK(frail.link.connections() == 2);
}

TEST_CASE("a reset passes through a link, behind what was sent before", "[wire]") {
    rig far({.delay = 20ms});
    ends one = far.connect();
    REQUIRE(one.client.send({1, 2, 3}) == 0);
    REQUIRE(far.takes(3));
    one.client.reset();
    CHECK(one.server.receive_all() == bytes{1, 2, 3});
    CHECK(one.server.ended_with == ECONNRESET);
}

TEST_CASE("the last words of a receiver that goes reach the sender before the reset", "[wire]") {
    const bool in_order = GENERATE(true, false);
    rig far({}, {.delay = 20ms});
    ends one = far.connect();
    const bytes data = some_bytes(20 * mib);
    auto sender = std::async(std::launch::async, [&] { return one.client.send(data); });
    CHECK(one.server.receive(1000).size() == 1000);
    REQUIRE(one.server.send({'n', 'o'}) == 0);
    if (in_order) {
        one.server.end();
        CHECK(one.client.receive_all() == bytes{'n', 'o'});
        CHECK(one.client.ended_with == 0);
    }
    one.server.close();  // with unread bytes, of which its kernel makes a reset
    if (!in_order) CHECK(one.client.receive(2) == bytes{'n', 'o'});
    const int why = sender.get();
    CHECK((why == ECONNRESET || why == EPIPE));
    far.link.finish();
}

TEST_CASE("a link to nobody ends the connection, and one that carries nothing is refused", "[wire]") {
    std::uint16_t unused = listener().port;
    const boost::asio::ip::tcp::endpoint nobody(boost::asio::ip::address_v4::loopback(), unused);
    long_link link({.server = nobody});
    plain_socket client = connected_to(link.port());
    CHECK(client.receive_all().empty());
    CHECK(client.ended_with != EAGAIN);
    CHECK_THROWS_AS(long_link({.server = nobody, .to_server = {.bytes_per_second = 0}}), std::invalid_argument);
    CHECK_THROWS_AS(long_link({.server = nobody, .to_client = {.in_flight_bytes_max = 0}}), std::invalid_argument);
}

TEST_CASE("a link that finishes takes nobody any more, and ends with its last connection", "[wire]") {
    rig plain;
    ends one = plain.connect();
    auto finished = std::async(std::launch::async, [&] { plain.link.finish(); });
    CHECK(finished.wait_for(50ms) == std::future_status::timeout);
    const bytes data = some_bytes(100);
    REQUIRE(one.client.send(data) == 0);
    CHECK(one.server.receive(100) == data);
    const sockaddr_in address = loopback(plain.link.port());
    plain_socket late;
    CHECK(::connect(late.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0);
    one.client.close();
    one.server.close();
    finished.get();
    CHECK(plain.link.carried(toward::server).delivered == 100);
}
