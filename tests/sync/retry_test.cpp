// What ends a session before its time, and going on from there: a limit on what is sent, and lost connections.
#include <catch2/catch.hpp>

#include <atomic>
#include <deque>
#include <thread>

#include "support/long_link.hpp"
#include "support/server_rig.hpp"
#include "support/sync_rig.hpp"
#include "sync/retry.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t c = small_chunk;

sync_report ended(std::uint64_t written, std::optional<error> why = {}) {
    sync_report report;
    report.bytes.written = report.bytes.changed = written;
    report.to_target.payload = written;
    report.to_target.overhead = 1000;
    report.failure = std::move(why);
    return report;
}
error lost() {
    return error(error_kind::peer, "the connection was lost", {.connection_lost = true});
}
error unreachable() {
    return error(error_kind::peer, "connecting failed");
}

struct retry_rig {
    std::deque<sync_report> attempts;
    unsigned made = 0;
    sync_request request;
    retry_policy how{.attempts = 3, .first_pause = 1ms, .longest_pause = 4ms};
    std::vector<std::uint64_t> egress_left;

    sync_report run() {
        return with_retries(how, request, [&](const sync_request& once) {
            egress_left.push_back(once.options.egress_max);
            REQUIRE(made < attempts.size());
            return attempts[made++];
        });
    }
};

// A server with a disk to push to, or to pull from, and one here.
struct far_rig {
    explicit far_rig(export_role role, std::uint64_t bytes, bool compressible = false)
        : content(random_bytes(3, bytes)) {
        if (compressible)
            for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i % 4096 % 40);
        const bool push = role == export_role::target;
        write_whole_file(there, push ? random_bytes(4, bytes) : content);
        here.write(0, push ? content : random_bytes(4, bytes));
        server.offer("disk", there, role);
        server.options.options = small_sync_options();
        server.start();
        (push ? request.source : request.target) = &here;
        request.options = small_sync_options();
        request.records = records.get();
    }
    sync_report run(std::uint16_t port = 0) {
        connect_options how = server.how();
        how.connections = connections;
        how.retry = retry;
        return sync_with_remote(
            request, port == 0 ? server.disk("disk") : "reprotect://127.0.0.1:" + std::to_string(port) + "/disk", how);
    }
    bool equal() { return read_whole_file(there) == bytes_of(here); }

    temp_dir folder;
    std::string there = folder.file("there");
    std::vector<std::byte> content;
    memory_device here{content.size(), "here"};
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

TEST_CASE("a limit on what is sent is kept, all of what was sent is applied, and the next sync goes on from there",
          "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    const unsigned connections = GENERATE(1u, 3u);
    far_rig rig(role, 300 * c);
    rig.connections = connections;
    std::uint64_t written = 0;
    for (const std::uint64_t most : {256u << 10, 1u << 20, 3'000'000u}) {
        INFO(most << " bytes, of " << connections << " connections");
        rig.request.options.egress_max = most;
        const sync_report report = rig.run();
        require_failure(report, error_kind::limit);
        CHECK(exit_code(report.failure->kind()) == 7);
        CHECK_THAT(report.failure->what(), Catch::Contains(std::to_string(most) + " bytes"));
        CHECK(report.to_target.total() <= most);
        CHECK(report.to_target.total() + 192 * 1024 > most);  // and used, but for what is kept in reserve
        CHECK(report.bytes.written == report.to_target.payload);
        written += report.bytes.written;
        // Nothing was sent twice.
        rig.request.options.egress_max = 0;
        rig.request.options.dry_run = true;
        const sync_report left = rig.run();
        require_ok(left);
        CHECK(left.bytes.changed == rig.content.size() - written);
        rig.request.options.dry_run = false;
    }
    CHECK(rig.server.logged("session-failed", "kind") == "limit");
    rig.request.options.egress_max = rig.content.size();  // more than is left
    const sync_report last = rig.run();
    require_ok(last);
    CHECK(last.bytes.written == rig.content.size() - written);
    CHECK(rig.equal());
}

TEST_CASE("a limit on what is sent counts what is sent, not what it stands for", "[sync][wire]") {
    far_rig rig(export_role::target, 300 * c, true);
    rig.request.options.egress_max = 1 << 20;  // of 9.6 MB that shrink to less
    const sync_report report = rig.run();
    require_ok(report);
    CHECK(rig.equal());
    CHECK(report.to_target.total() <= 1 << 20);
}

TEST_CASE("a limit on what is sent holds where much of it says which blocks they are", "[sync][wire]") {
    far_rig rig(export_role::target, 2 << 20);
    auto there = rig.content;
    for (std::size_t at = 0; at < there.size(); at += 1024) there[at] ^= std::byte{1};  // every other block
    write_whole_file(rig.there, there);
    rig.request.options.block_bytes = 512;
    rig.request.options.chunk_bytes = 4096;
    for (const std::uint64_t most : {300'000u, 400'000u, 500'000u}) {
        rig.request.options.egress_max = most;
        const sync_report report = rig.run();
        CHECK(report.to_target.total() <= most);
        if (report.failure) require_failure(report, error_kind::limit);
    }
}

TEST_CASE("what is granted of a limit shrinks where saying which blocks they are costs more than was thought",
          "[sync][wire]") {
    far_rig rig(export_role::target, 64 << 20);
    auto there = rig.content;
    for (std::size_t at = 0; at < there.size(); at += 4096) there[at] ^= std::byte{1};  // one block of eight
    write_whole_file(rig.there, there);
    rig.request.options.block_bytes = 512;
    rig.request.options.chunk_bytes = 4096;
    rig.request.options.egress_max = 8'000'000;  // a few hundredths more would be past what is kept in reserve
    const sync_report report = rig.run();
    require_failure(report, error_kind::limit);
    CHECK(report.to_target.total() <= rig.request.options.egress_max);
}

TEST_CASE("a sync that has sent all is not stopped at its limit", "[sync][wire]") {
    far_rig rig(export_role::target, 40 * c);
    const auto stale = read_whole_file(rig.there);
    const bool both = GENERATE(false, true);
    rig.request.options.verify = GENERATE(verify_level::root, verify_level::reread);
    const auto run_with = [&](std::uint64_t egress_max) {
        write_whole_file(rig.there, stale);
        if (both)
            rig.request.options.traffic_max = {{{1u << 30, egress_max}}, "a made-up cost"};
        else
            rig.request.options.egress_max = egress_max;
        const sync_report report = rig.run();
        if (report.failure) {
            require_failure(report, error_kind::limit);
            CHECK_FALSE(rig.equal());  // whoever has sent all has nothing left to stop for
        }
        return !report.failure;
    };
    // The lowest limit under which it ends well: there, what follows the last block passes the limit's reserve.
    std::uint64_t stopped = 256 << 10, done = 64 << 20;
    REQUIRE(run_with(done));
    while (done - stopped > 16) {
        const std::uint64_t middle = stopped + (done - stopped) / 2;
        (run_with(middle) ? done : stopped) = middle;
    }
    for (std::uint64_t more = 0; more < 400; more += 20) run_with(done + more);
}

TEST_CASE("too low a limit on what is sent is refused", "[sync]") {
    memory_device source(c, "source"), target(c, "target");
    sync_options options = small_sync_options();
    options.egress_max = 200'000;
    CHECK_THROWS_AS(run_sync(source, target, options), error);
}

TEST_CASE("after a lost connection a sync is tried again, as often as told, and the report is of all attempts",
          "[sync]") {
    retry_rig rig;
    SECTION("until it is done") {
        rig.attempts = {ended(10, lost()), ended(0, unreachable()),
                        ended(0, error(error_kind::in_use, "its old session")), ended(5, lost()), ended(7)};
        const sync_report report = rig.run();
        CHECK(report.ok());
        CHECK(report.attempts == 5);
        CHECK(report.bytes.written == 22);
        CHECK(report.bytes.changed == 22);
        CHECK(report.to_target.payload == 22);
        CHECK(report.to_target.overhead == 5000);
        REQUIRE(report.warnings.size() == 4);
        CHECK_THAT(report.warnings[2], Catch::Contains("its old session; trying again in"));
        CHECK_THAT(report.warnings[2], Catch::Contains("(3 of 3)"));
        CHECK_THAT(report.warnings[3], Catch::Contains("(1 of 3)"));  // something was written meanwhile
    }
    SECTION("no more often in a row than told") {
        rig.attempts = {ended(10, lost()), ended(0, lost()), ended(0, lost()), ended(0, unreachable())};
        const sync_report report = rig.run();
        require_failure(report, error_kind::peer);
        CHECK(report.attempts == 4);
        CHECK(report.bytes.written == 10);
    }
    SECTION("never, where not told") {
        rig.how.attempts = 0;
        rig.attempts = {ended(10, lost())};
        CHECK(rig.run().attempts == 1);
    }
    SECTION("not where the peer was never reached") {
        rig.attempts = {ended(0, unreachable())};
        CHECK(rig.run().attempts == 1);
    }
    SECTION("not for another failure") {
        const auto kind = GENERATE(error_kind::device_io, error_kind::verification, error_kind::limit,
                                   error_kind::interrupted, error_kind::flush_failed);
        rig.attempts = {ended(1, lost()), ended(0, error(kind, "no"))};
        require_failure(rig.run(), kind);
        CHECK(rig.made == 2);
    }
    SECTION("not where the disk that is here came to be used by somebody") {
        memory_device here(c, "here");
        rig.request.target = &here;
        rig.attempts = {ended(1, lost()), ended(0, error(error_kind::in_use, "mounted", {.device = "here"}))};
        require_failure(rig.run(), error_kind::in_use);
        CHECK(rig.made == 2);
    }
    SECTION("a limit on what is sent is one for all attempts") {
        memory_device here(c, "here");
        rig.request.source = &here;
        rig.request.options.egress_max = 2'000'000;
        rig.attempts = {ended(1'000'000, lost()), ended(800'000, lost())};
        const sync_report report = rig.run();
        require_failure(report, error_kind::limit);
        CHECK(rig.egress_left == std::vector<std::uint64_t>{2'000'000, 999'000});
        CHECK(report.to_target.total() == 1'802'000);
        CHECK_THAT(report.failure->what(), Catch::Contains("were sent") && !Catch::Contains("under way"));
    }
    SECTION("what was not counted is called a guess where a limit is used up") {
        memory_device here(c, "here");
        rig.request.target = &here;
        rig.request.options.egress_max = 2'000'000;
        rig.attempts = {ended(1'700'000, lost())};
        const error why = require_failure(rig.run(), error_kind::limit);
        CHECK_THAT(why.what(), Catch::Contains("may have been under way"));
    }
    SECTION("a pause ends when the sync is stopped") {
        rig.how.first_pause = rig.how.longest_pause = 1h;
        std::stop_source stop;
        rig.request.cancel = stop.get_token();
        rig.attempts = {ended(1, lost())};
        std::thread other([&] { stop.request_stop(); });
        require_failure(rig.run(), error_kind::interrupted);
        other.join();
    }
}

TEST_CASE("over a link that breaks again and again a sync ends equal by itself, and sends nothing twice",
          "[sync][wire]") {
    const export_role role = GENERATE(export_role::target, export_role::source);
    far_rig rig(role, 300 * c);
    long_link::options link;
    link.server = {boost::asio::ip::address_v4::loopback(), port_of(rig.server.address())};
    // A MiB takes 20 ms, so that a target elsewhere has the time to tell what it has written.
    link.to_server.bytes_per_second = link.to_client.bytes_per_second = 50 << 20;
    std::atomic<unsigned> made = 0;
    link.faults = [&](std::size_t) {
        connection_faults faults;
        ++made;
        (role == export_role::target ? faults.to_server : faults.to_client).cut_after = 2'500'000;
        return faults;
    };
    long_link between(link);
    rig.retry = {.attempts = 5, .first_pause = 10ms, .longest_pause = 100ms};
    const sync_report report = rig.run(between.port());
    require_ok(report);
    CHECK(rig.equal());
    CHECK(report.attempts == made);
    CHECK(report.attempts >= 4);
    // A target here knows all; of one elsewhere what it told last may be lost with each link.
    CHECK(report.bytes.written <= rig.content.size());
    CHECK(report.bytes.written >= rig.content.size() / (role == export_role::source ? 1 : 3));
    CHECK(report.to_target.total() > rig.content.size());
    CHECK(report.to_target.total() < rig.content.size() * 2);
    CHECK(has_warning(report, "trying again"));
}

TEST_CASE("a server that goes away for good is given up after the last try", "[sync][wire]") {
    far_rig rig(export_role::target, 20 * c);
    std::stop_source never;
    rig.retry = {.attempts = 2, .first_pause = 1ms, .longest_pause = 1ms};
    class stopper final : public sync_listener {
    public:
        explicit stopper(far_rig& rig) : rig_(rig) {}
        void on_progress(const sync_progress&) override {
            if (!std::exchange(stopped_, true)) other_ = std::thread([this] { rig_.server.stop(); });
        }
        void on_warning(const std::string&) override {}
        ~stopper() override {
            if (other_.joinable()) other_.join();
        }

    private:
        far_rig& rig_;
        bool stopped_ = false;
        std::thread other_;
    };
    stopper listener(rig);
    rig.request.listener = &listener;
    const sync_report report = rig.run();
    // It may have been done before it was told to stop.
    if (report.failure) {
        CHECK(report.failure->kind() == error_kind::peer);
        CHECK(report.attempts == 3);
    }
}
