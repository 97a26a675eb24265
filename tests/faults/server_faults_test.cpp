// What a disk stands on goes away, or says nothing any more, in the middle of a sync of the tool. A server that is gone is an
// error at once. One that stalls holds the calls that are under way, and a block device gives no deadline for them: so the
// first signal waits for them (it promises a flush), and the second one ends all of the tool that does not wait: the kernel
// keeps a process that has calls of its own in the block layer until they come back, whatever signal it got.
#include <catch2/catch.hpp>

#include "support/device_sync.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/tool_rig.hpp"

#include <fstream>
#include <iterator>

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t disk_bytes = 4 << 20;

// A pair on which the tool is busy for seconds, since every read of the source takes a while.
struct busy_pair {
    std::vector<std::byte> content;
    failing_disk source;
    failing_disk target;
    tool_rig tool;

    explicit busy_pair(std::uint64_t seed)
        : content(random_bytes(seed, disk_bytes)), source(content), target(stale_copy(content)) {
        source.delay("pread", 100);
    }
    std::vector<std::string> command(bool direct) const {
        std::vector<std::string> words{"sync", source.path(), target.path(), "--chunk-size", "64KiB", "--depth", "2"};
        if (direct) words.push_back("--direct");
        return tool.command(words);
    }
    // In the middle: something was read, and not all of it.
    void wait_for_the_middle() const {
        const std::size_t before = source.requests("pread");
        REQUIRE(wait_until([&] { return source.requests("pread") > before + 8; }));
    }
    void require_made_good() {
        source.heal();
        target.heal();
        const command_result again = tool.run({"sync", source.path(), target.path()});
        INFO(again.errors);
        REQUIRE(again.exit_code == 0);
        CHECK((target.medium() == content));
    }
};

// Whether the main thread has ended; others of it may still be in the kernel.
bool ends_within(const process& program, std::chrono::milliseconds limit) {
    return wait_until(
        [&] {
            std::ifstream file("/proc/" + std::to_string(program.id()) + "/stat");
            std::string text((std::istreambuf_iterator<char>(file)), {});
            const std::size_t name_end = text.rfind(')');
            return name_end == std::string::npos || text.compare(name_end, 3, ") Z") == 0;
        },
        limit);
}

}  // namespace

TEST_CASE("a disk whose server dies in the middle of a sync is an error at once", "[faults]") {
    if (no_failing_disks()) return;
    for (const bool of_source : {true, false}) {
        for (const bool direct : {true, false}) {
            INFO((of_source ? "the source's" : "the target's") << (direct ? ", direct" : ", cached"));
            busy_pair pair(21);
            process sync(pair.command(direct));
            pair.wait_for_the_middle();
            (of_source ? pair.source : pair.target).server().kill();
            pair.source.heal();
            const command_result ended = sync.wait(30s);
            INFO(ended.errors);
            CHECK(ended.exit_code == 4);
            CHECK(has(ended.errors, of_source ? pair.source.path() : pair.target.path()));
            CHECK(has(ended.errors, "Input/output error"));
            const auto records = open_state_directory(pair.tool.records());
            if (!of_source) continue;
            CHECK(recorded(*records, pair.target.path()) == "dirty");
            // Another way to the same content.
            const auto spare = pair.tool.file("spare");
            write_whole_file(spare, pair.content);
            const command_result again = pair.tool.run({"sync", spare, pair.target.path()});
            INFO(again.errors);
            CHECK(again.exit_code == 0);
            CHECK((pair.target.medium() == pair.content));
        }
    }
}

TEST_CASE("a stalled disk holds the tool until it goes on: a signal then ends it with a flush", "[faults]") {
    if (no_failing_disks()) return;
    for (const bool of_source : {true, false}) {
        INFO((of_source ? "the source's" : "the target's"));
        busy_pair pair(22);
        nbdkit_server& stalled = (of_source ? pair.source : pair.target).server();
        process sync(pair.command(true));
        pair.wait_for_the_middle();
        stalled.stall();
        sync.send(SIGINT);
        REQUIRE(sync.says("stopping: flushing what was written"));
        CHECK_FALSE(ends_within(sync, 500ms));
        stalled.go_on();
        const command_result ended = sync.wait(30s);
        INFO(ended.errors);
        CHECK(ended.exit_code == 130);
        CHECK(recorded(*open_state_directory(pair.tool.records()), pair.target.path()) == "dirty");
        pair.require_made_good();
    }
}

TEST_CASE("a second signal quits the tool on a stalled disk, and the kernel lets it go when the disk does",
          "[faults]") {
    if (no_failing_disks()) return;
    for (const bool of_source : {true, false}) {
        for (const bool direct : {true, false}) {
            INFO((of_source ? "the source's" : "the target's") << (direct ? ", direct" : ", cached"));
            busy_pair pair(23);
            nbdkit_server& stalled = (of_source ? pair.source : pair.target).server();
            process sync(pair.command(direct));
            pair.wait_for_the_middle();
            stalled.stall();
            sync.send(SIGINT);
            REQUIRE(sync.says("stopping"));
            sync.send(SIGINT);
            REQUIRE(sync.says("quitting at once: the target stays on record as incomplete"));
            // It has ended as far as it is for the tool to say; calls under way are the kernel's.
            CHECK(ends_within(sync, 20s));
            stalled.go_on();
            CHECK(sync.wait(30s).exit_code == 130);
            CHECK(recorded(*open_state_directory(pair.tool.records()), pair.target.path()) == "dirty");
            pair.require_made_good();
        }
    }
}
