// One session over several connections, between a client and a server in this process, through a relay where a link is
// to be long or to break.
#include <catch2/catch.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "support/asking.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/long_link.hpp"
#include "support/server_rig.hpp"
#include "sync/lane_controller.hpp"
#include "wire/connection.hpp"
#include "wire/opening.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t disk_bytes = 24 << 20;

// A server with a stale disk, a way to it, and the disk that it is to have.
struct striped_rig {
    explicit striped_rig(unsigned connections_max = 16) {
        server.options.connections_max = connections_max;
        write_whole_file(there, std::vector<std::byte>(disk_bytes));
        server.offer("disk", there, export_role::target);
        server.start();
    }
    std::uint16_t port() const {
        const std::string address = server.address();
        return static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
    }
    long_link::options link() const {
        long_link::options how;
        how.server = {boost::asio::ip::address_v4::loopback(), port()};
        how.to_server.delay = how.to_client.delay = 10ms;
        // So little in flight that more connections are of use, and that a session lasts until they have joined.
        how.to_server.in_flight_bytes_max = 256 << 10;
        return how;
    }
    sync_report push(std::uint16_t to, unsigned connections) {
        memory_device source(disk_bytes, "source");
        source.write(0, content);
        sync_request request;
        request.source = &source;
        connect_options how = server.how();
        how.connections = connections;
        return sync_with_remote(request, "reprotect://127.0.0.1:" + std::to_string(to) + "/disk", how);
    }

    temp_dir folder;
    std::string there = folder.file("there");
    std::vector<std::byte> content = random_bytes(7, disk_bytes);
    server_rig server;
};

void check_counts(const striped_rig& rig, const sync_report& report) {
    CHECK(rig.server.logged("session-end", "to_target") == std::to_string(report.to_target.total()));
    CHECK(rig.server.logged("session-end", "to_source") == std::to_string(report.to_source.total()));
}

// How a connection that wants to join is answered.
std::optional<error> join(const striped_rig& rig, const named_key& key, client_purpose purpose, lane_token token) {
    boost::asio::io_context network;
    std::exception_ptr failure;
    boost::asio::co_spawn(
        network,
        [](dial_terms terms, wire_join wish) -> boost::asio::awaitable<void> {
            auto link = co_await dial(std::move(terms));
            opening::terms agreed;
            agreed.secret = link.secret;
            agreed.far_name = link.far_name;
            opening first(*link.stream, std::move(agreed));
            co_await first.ask(wish);
        }(dial_terms{"127.0.0.1", rig.port(), client_credentials(key), purpose, nullptr}, wire_join{token}),
        [&failure](std::exception_ptr why) { failure = why; });
    network.run_for(30s);
    return failure_of([&] {
        if (failure) std::rethrow_exception(failure);
    });
}

}  // namespace

TEST_CASE("a session is striped over as many connections as told, and both ends count the same bytes", "[sync][wire]") {
    const unsigned connections = GENERATE(1u, 2u, 5u);
    striped_rig rig;
    long_link link(rig.link());
    const sync_report report = rig.push(link.port(), connections);
    REQUIRE_FALSE(report.failure);
    CHECK(read_whole_file(rig.there) == rig.content);
    CHECK(link.connections() == connections);
    check_counts(rig, report);
    // Each had a part of it.
    for (std::size_t i = 0; i < connections; ++i)
        CHECK(link.carried(long_link::toward::server, i).taken > disk_bytes / connections / 8);
}

TEST_CASE("by itself a session takes more connections where the way is long", "[sync][wire]") {
    striped_rig rig;
    auto how = rig.link();
    how.to_server.delay = how.to_client.delay = 30ms;
    long_link link(how);
    const sync_report report = rig.push(link.port(), 0);
    REQUIRE_FALSE(report.failure);
    CHECK(read_whole_file(rig.there) == rig.content);
    CHECK(link.connections() > 2);
}

TEST_CASE("a server says how many connections a session may have", "[sync][wire]") {
    const unsigned most = GENERATE(1u, 2u);
    striped_rig rig(most);
    long_link link(rig.link());
    const sync_report report = rig.push(link.port(), 8);
    REQUIRE_FALSE(report.failure);
    CHECK(read_whole_file(rig.there) == rig.content);
    CHECK(link.connections() == most);
}

TEST_CASE("a session whose connections break off fails, and the next one makes good", "[sync][wire]") {
    const std::size_t which = GENERATE(0u, 1u, 3u);
    striped_rig rig;
    {
        auto how = rig.link();
        how.faults = [which](std::size_t number) {
            connection_faults faults;
            if (number == which) faults.to_server.cut_after = 1 << 20;
            return faults;
        };
        long_link link(how);
        const sync_report report = rig.push(link.port(), 4);
        require_failure(report.failure, error_kind::peer, "");
    }
    CHECK(rig.server.count("session-end") == 0);
    CHECK_FALSE(rig.server.logged("session-failed", "message").empty());
    const sync_report again = rig.push(rig.port(), 4);
    REQUIRE_FALSE(again.failure);
    CHECK(read_whole_file(rig.there) == rig.content);
}

TEST_CASE("nobody joins a session without its token", "[sync][wire]") {
    striped_rig rig;
    for (const client_purpose purpose : {client_purpose::source, client_purpose::target, client_purpose::reader})
        require_failure(join(rig, rig.server.key, purpose, {}), error_kind::not_found,
                        "no session that this connection");
    CHECK(rig.server.count("session-begin") == 0);
    const sync_report report = rig.push(rig.port(), 2);
    CHECK_FALSE(report.failure);
}

TEST_CASE("more connections are asked for as long as that brings more", "[sync]") {
    using clock = lane_controller::clock;
    const auto run = [](unsigned told, unsigned most, std::chrono::nanoseconds round_trip, auto rate_of) {
        lane_controller controller(told, most, round_trip);
        clock::time_point now{1h};
        double moved = 0;
        unsigned lanes = 1;
        for (int i = 0; i < 4000; ++i) {
            controller.observe(static_cast<std::uint64_t>(moved), lanes, now);
            lanes = controller.wanted();
            now += 5ms;
            moved += rate_of(lanes) * 0.005;
        }
        return lanes;
    };
    const auto each_40 = [](double link) { return [link](unsigned lanes) { return std::min(link, 40e6 * lanes); }; };
    CHECK(run(0, 16, 20ms, each_40(1e12)) == 16);
    CHECK(run(0, 6, 20ms, each_40(1e12)) == 6);
    CHECK(run(0, 16, 20ms, each_40(35e6)) == 2);   // one try, which brings nothing
    CHECK(run(0, 16, 20ms, each_40(125e6)) == 8);  // 4 fill it, 8 show it
    CHECK(run(0, 16, 100ms, each_40(125e6)) == 8);
    // What is in flight is less than any buffer: not even a try.
    CHECK(run(0, 16, 20ms, each_40(12.5e6)) == 1);
    CHECK(run(0, 16, 100ms, each_40(9e6)) == 4);
    CHECK(run(0, 16, 100us, each_40(1e12)) == 1);
    CHECK(run(0, 16, 0ns, [](unsigned) { return 0.0; }) == 1);
    CHECK(run(0, 16, 30ms, [](unsigned) { return 0.0; }) == 2);
    CHECK(run(0, 16, 300ms, [](unsigned) { return 0.0; }) == 4);
    CHECK(run(0, 1, 300ms, each_40(1e12)) == 1);
    CHECK(run(3, 16, 300ms, each_40(1e12)) == 3);
    CHECK(run(9, 4, 0ns, each_40(1e12)) == 4);
}
