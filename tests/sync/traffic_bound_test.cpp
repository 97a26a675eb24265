// A bound on both directions together holds whatever ends the session, whichever side set it, and over all attempts.
#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

#include "support/long_link.hpp"
#include "support/server_rig.hpp"
#include "support/sync_rig.hpp"
#include "sync/retry.hpp"
#include "sync/traffic_bound.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

// What `budget` buys where a byte to the source costs `weight` bytes to the target.
traffic_bound bound_of(std::uint64_t budget, std::uint64_t weight) {
    traffic_bound bound{{}, "a made-up cost"};
    for (std::uint64_t back = 1024; back * weight <= budget; back += back / 32)
        bound.steps.push_back({back, budget - back * weight});
    bound.steps.push_back({budget / weight, 0});
    return bound;
}
std::uint64_t spent(const sync_report& report, std::uint64_t weight) {
    return report.to_target.total() + report.to_source.total() * weight;
}

// A server with a disk to push to or to pull from, and one here. Small chunks of small blocks: digests are a good part of it all.
struct bounded_rig {
    bounded_rig(export_role role, std::uint64_t bytes, bool differ = true)
        : push(role == export_role::target), here(bytes, "here") {
        const auto content = random_bytes(3, bytes);
        stale = content;
        for (std::size_t at = 0; differ && at < bytes; at += 4096) stale[at] ^= std::byte{1};  // one block of eight
        write_whole_file(there, push ? stale : content);
        here.write(0, push ? content : stale);
        server.offer("disk", there, role);
        server.options.options = options();
        server.start();
        (push ? request.source : request.target) = &here;
        request.options = options();
        request.records = records.get();
    }
    static sync_options options() {
        sync_options result = small_sync_options();
        result.block_bytes = 512;
        result.chunk_bytes = 4096;
        result.memory_bytes = 1 << 20;
        return result;
    }
    // A disk as it was before.
    void make_stale() {
        if (push)
            write_whole_file(there, stale);
        else
            here.write(0, stale);
    }
    sync_report run(std::uint16_t port = 0) {
        connect_options how = server.how();
        how.connections = connections;
        how.retry = retry;
        const std::string disk =
            port == 0 ? server.disk("disk") : "reprotect://127.0.0.1:" + std::to_string(port) + "/disk";
        return sync_with_remote(request, disk, how);
    }
    bool equal() { return read_whole_file(there) == bytes_of(here); }

    bool push;
    std::vector<std::byte> stale;
    temp_dir folder;
    std::string there = folder.file("there");
    memory_device here;
    std::unique_ptr<state_store> records = make_memory_state_store();
    sync_request request;
    unsigned connections = 1;
    retry_policy retry;
    server_rig server;
};

std::uint16_t port_of(const std::string& address) {
    return static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
}

}  // namespace

TEST_CASE("a bound on both directions is never exceeded, and most of it is used", "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    const auto [connections, weight] = GENERATE(table<unsigned, std::uint64_t>({{1, 1}, {3, 4}, {1, 20}}));
    bounded_rig rig(role, 16 << 20);
    rig.connections = connections;
    const std::uint64_t least = traffic_minimum(rig.request.options).to_source * weight + (512u << 10);
    // What it takes to the end: then a bound of so much and what is held back lets it finish.
    const sync_report whole = rig.run();
    require_ok(whole);
    for (const std::uint64_t budget : {least, std::max(least, spent(whole, weight) * 7 / 8)}) {
        rig.make_stale();
        INFO(budget << " bytes, a byte back for " << weight << ", " << connections << " connections, pushed "
                    << rig.push);
        rig.request.options.traffic_max = bound_of(budget, weight);
        const sync_report report = rig.run();
        CHECK(spent(report, weight) <= budget);
        if (report.ok()) {
            CHECK(rig.equal());
            continue;
        }
        require_failure(report, error_kind::limit);
        CHECK(exit_code(report.failure->kind()) == 7);
        if (rig.push) {
            CHECK_THAT(report.failure->what(), Catch::Contains("a made-up cost"));
            CHECK(spent(report, weight) + least >= budget);  // used but for what is held back
            CHECK(report.bytes.written == report.to_target.payload);
        }
    }
    rig.request.options.traffic_max = bound_of(4 * (spent(whole, weight) + least), weight);
    require_ok(rig.run());
    CHECK(rig.equal());
}

TEST_CASE("where digests use up what may come back, comparing stops", "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    bounded_rig rig(role, 48 << 20);
    const traffic_step least = traffic_minimum(rig.request.options);
    rig.request.options.traffic_max = {{{least.to_source, 1u << 30}}, "a made-up cost"};  // more would come back
    // Nor is what nothing can come back for taken for what anything may.
    if (GENERATE(false, true))
        rig.request.options.traffic_max.steps.insert(rig.request.options.traffic_max.steps.begin(),
                                                     traffic_step{0, 3u << 30});
    const sync_report report = rig.run();
    const error why = require_failure(report, error_kind::limit);
    CHECK_THAT(why.what(), Catch::Contains("a made-up cost"));
    CHECK(report.to_source.total() <= least.to_source);
    CHECK(report.to_source.total() > least.to_source / 4);
    CHECK(report.bytes.written > 0);
}

TEST_CASE("the lower of a limit and a bound counts", "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    bounded_rig rig(role, 16 << 20);
    rig.request.options.traffic_max = bound_of(1ull << 40, 1);
    rig.request.options.egress_max = 1 << 20;
    const sync_report report = rig.run();
    const error why = require_failure(report, error_kind::limit);
    CHECK_THAT(why.what(), Catch::Contains("1048576 bytes"));
    CHECK(report.to_target.total() <= 1 << 20);
    rig.request.options.egress_max = 1ull << 40;
    rig.request.options.traffic_max = bound_of(2 << 20, 1);
    const sync_report second = rig.run();
    require_failure(second, error_kind::limit);
    CHECK(spent(second, 1) <= 2 << 20);
}

TEST_CASE("a bound holds over all attempts together", "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    bounded_rig rig(role, 16 << 20);
    long_link::options link;
    link.server = {boost::asio::ip::address_v4::loopback(), port_of(rig.server.address())};
    std::atomic<unsigned> made = 0;
    link.faults = [&](std::size_t) {
        connection_faults faults;
        ++made;
        (rig.push ? faults.to_server : faults.to_client).cut_after = 500'000;
        return faults;
    };
    long_link between(link);
    rig.retry = {.attempts = 5, .first_pause = 10ms, .longest_pause = 100ms};
    const std::uint64_t budget = 2'000'000;
    rig.request.options.traffic_max = bound_of(budget, 1);
    const sync_report report = rig.run(between.port());
    require_failure(report, error_kind::limit);
    CHECK(made > 1);
    CHECK(spent(report, 1) <= budget);
}

TEST_CASE("too low a bound on both directions is refused with what it must allow", "[sync]") {
    memory_device source(small_chunk, "source"), target(small_chunk, "target");
    sync_options options = small_sync_options();
    const traffic_step least = traffic_minimum(options);
    options.traffic_max = {{{least.to_source, least.to_target}}, "a made-up cost"};
    CHECK(run_sync(source, target, options).ok());  // and means nothing here
    const traffic_bound too_low = GENERATE_COPY(
        traffic_bound{{{least.to_source - 1, least.to_target}}, "a made-up cost"},
        traffic_bound{{{least.to_source, least.to_target - 1}}, "a made-up cost"}, left_of(options.traffic_max, least));
    options.traffic_max = too_low;
    try {
        run_sync(source, target, options);
        FAIL("accepted");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::usage);
        CHECK_THAT(why.what(), Catch::Contains("a made-up cost"));
        CHECK_THAT(why.detail().hint, Catch::Contains("to the source"));
    }
}

TEST_CASE("a target settles on no step under which it could not begin", "[sync]") {
    const sync_options options;
    const traffic_step least = traffic_minimum(options);
    for (const std::uint64_t shared : {std::uint64_t{0}, std::uint64_t{1} << 20, std::uint64_t{1} << 50}) {
        const traffic_bound bound{{{0, 1u << 30}, {least.to_source, 100'000'000}, {least.to_source * 2, 99'000'000}},
                                  ""};
        const traffic_step share = step_for_target(bound, options, shared);
        CHECK(share.to_source >= least.to_source);
        CHECK(share.to_target >= least.to_target);
    }
}

TEST_CASE("what was on its way here when a link was lost takes from a limit", "[sync]") {
    memory_device target(small_chunk, "target");
    sync_request request;
    request.target = &target;
    request.options = bounded_rig::options();
    request.options.egress_max = 400 << 20;
    const unsigned connections = GENERATE(1u, 2u);
    request.options.chunk_bytes = 1 << 20;
    request.options.block_bytes = 4096;
    request.options.depth = 16;
    request.options.memory_bytes = 256 << 20;
    REQUIRE(data_window(request.options) > 8 << 20);
    std::vector<sync_options> seen;
    const auto report =
        with_retries({.attempts = 3, .first_pause = 1ms, .longest_pause = 1ms}, request, [&](const sync_request& once) {
            seen.push_back(once.options);
            sync_report made;
            made.to_target.overhead = 1000;
            made.connections = connections;
            // Lost, then given up here for what came.
            if (seen.size() < 3) made.failure = error(error_kind::peer, "no", {.connection_lost = seen.size() == 1});
            return made;
        });
    REQUIRE(report.ok());
    // What a kernel may take unread, and no more than the source may have under way.
    std::uint64_t before = request.options.egress_max;
    for (std::size_t i = 1; i < 3; ++i) {
        const std::uint64_t charged = before - 1000 - seen.at(i).egress_max;
        CHECK(charged >= std::min<std::uint64_t>(data_window(request.options), connections * (8u << 20)));
        CHECK(charged <= data_window(request.options));
        before = seen.at(i).egress_max;
    }
}

TEST_CASE("a look before a sync has a quarter of its limits, and what it took is taken from them", "[sync]") {
    sync_options options = small_sync_options();
    const traffic_step none = traffic_of_look(options);
    CHECK(none == traffic_step{UINT64_MAX, UINT64_MAX});
    CHECK(with_limits_left(options, {1u << 30, 1u << 30}).egress_max == 0);

    options.egress_max = 256 << 10;
    CHECK_THROWS_AS(traffic_of_look(options), error);
    options.egress_max = 4 << 20;
    CHECK(traffic_of_look(options) == traffic_step{UINT64_MAX, 1 << 20});
    CHECK(with_limits_left(options, {1u << 30, 1 << 20}).egress_max == 3 << 20);
    CHECK_THROWS_AS(with_limits_left(options, {0, 4 << 20}), error);

    const traffic_step least = traffic_minimum(options);
    const std::uint64_t weight = GENERATE(1u, 20u);
    const std::uint64_t budget = 8 * weight * (least.to_source + least.to_target);
    options.egress_max = 0;
    options.traffic_max = bound_of(budget, weight);
    const traffic_step most = traffic_of_look(options);
    CHECK(most.to_source * weight <= budget / 4);
    CHECK(most.to_source * weight > budget / 8);
    CHECK(most.to_target <= budget / 4);
    CHECK(most.to_target > 0);
    // All of it may be used, and there is enough left to begin with.
    const sync_options left = with_limits_left(options, most);
    options.traffic_max = {{least}, "a made-up cost"};
    CHECK_THROWS_AS(traffic_of_look(options), error);
    options.traffic_max = bound_of(budget, weight);
    CHECK(allows_minimum(left.traffic_max, left));
    CHECK(allowed_to_target(left.traffic_max, 0) + most.to_target + most.to_source * weight <= budget);
    try {
        with_limits_left(options, {budget / weight, 0});
        FAIL("accepted");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::limit);
        CHECK_THAT(why.what(), Catch::Contains("a made-up cost"));
    }
}

TEST_CASE("attempts that came to no session take from a bound, too", "[sync]") {
    memory_device source(small_chunk, "source");
    sync_request request;
    request.source = &source;
    request.options = small_sync_options();
    const traffic_step least = traffic_minimum(request.options);
    request.options.egress_max = 10 << 20;
    request.options.traffic_max = {{{least.to_source * 2, 8 << 20}}, "a made-up cost"};
    std::vector<sync_options> seen;
    const auto report =
        with_retries({.attempts = 3, .first_pause = 1ms, .longest_pause = 1ms}, request, [&](const sync_request& once) {
            seen.push_back(once.options);
            sync_report made;
            if (seen.size() == 1) {
                made.to_target.overhead = 1000;
                made.to_source.overhead = 500;
            }
            if (seen.size() < 3) made.failure = error(error_kind::peer, "lost", {.connection_lost = seen.size() == 1});
            return made;
        });
    REQUIRE(report.ok());
    REQUIRE(seen.size() == 3);
    CHECK(seen[1].egress_max == (10 << 20) - 1000);
    // What may have been on its way here, too.
    const std::uint64_t left = least.to_source * 2 - 500 - back_window(request.options);
    CHECK(seen[1].traffic_max.steps == std::vector<traffic_step>{{left, (8 << 20) - 1000}});
    CHECK(seen[2].egress_max == (10 << 20) - 1000 - (16 << 10));
    CHECK(seen[2].traffic_max.steps == std::vector<traffic_step>{{left - (16 << 10), (8 << 20) - 1000 - (16 << 10)}});
}
