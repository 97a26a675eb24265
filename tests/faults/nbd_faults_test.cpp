// Whole syncs between NBD exports that fail: the same faults as on block devices, but with no kernel between, so that each
// write is seen at once, a server's claims of holes are heard, and nothing of its cache can be passed.
#include <catch2/catch.hpp>

#include "support/device_sync.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t disk_bytes = 4 << 20;

bool no_nbdkit() {
    if (run_command({"nbdkit", "--version"}).ok()) return false;
    WARN("no nbdkit here");
    return true;
}

struct export_pair {
    std::vector<std::byte> content;
    failing_server source;
    failing_server target;
    tool_rig tool;

    explicit export_pair(std::uint64_t seed)
        : content(random_bytes(seed, disk_bytes)), source(content), target(stale_copy(content)) {}
    std::vector<std::string> words(std::vector<std::string> more = {}) const {
        more.insert(more.begin(), {"sync", source.name(), target.name(), "--json", "--chunk-size", "64KiB"});
        return more;
    }
    void require_made_good(const std::vector<std::string>& more = {}) const {
        source.heal();
        target.heal();
        const command_result again = tool.run(words(more));
        INFO(again.errors);
        REQUIRE(again.exit_code == 0);
        CHECK((target.medium() == content));
    }
    std::string status() const { return recorded(*open_state_directory(tool.records()), target.name()); }
};

}  // namespace

TEST_CASE("an export's failed reads and writes are named with their place, and the next sync goes on", "[faults]") {
    if (no_nbdkit()) return;
    struct row {
        bool of_source;
        const char* operation;
        const char* code;
        const char* kind;
    };
    const row rows[] = {{true, "pread", "EIO", "device_io"},
                        {false, "pread", "EIO", "device_io"},
                        {false, "pwrite", "EIO", "device_io"},
                        {false, "pwrite", "ENOSPC", "no_space"}};
    for (const row& each : rows) {
        INFO((each.of_source ? "source, " : "target, ") << each.operation << ", " << each.code);
        const export_pair pair(61);
        const failing_server& broken = each.of_source ? pair.source : pair.target;
        const extent bad{3 << 20, 4096};  // a stale block
        broken.fail(each.operation, each.code, bad);
        const command_result failed = pair.tool.run(pair.words());
        INFO(failed.errors);
        CHECK(failed.exit_code == 4);
        const auto report = parse_json(failed.output);
        CHECK(text_at(report, "error.kind") == each.kind);
        CHECK(text_at(report, "error.device") == broken.name());
        CHECK(count_at(report, "error.offset") <= bad.offset);
        CHECK(count_at(report, "error.offset") + count_at(report, "error.length") >= bad.end());
        const auto wanted = stale_copy(pair.content);
        CHECK((pair.target.medium(bad) ==
               std::vector<std::byte>(wanted.begin() + (3 << 20), wanted.begin() + (3 << 20) + 4096)));
        CHECK(pair.status() == "dirty");
        pair.require_made_good();
    }
}

TEST_CASE("after an export's failed flush no process takes its cache for its medium", "[faults]") {
    if (no_nbdkit()) return;
    export_pair pair(62);
    pair.target.fail_once("flush", "EIO");
    const command_result failed = pair.tool.run(pair.words());
    INFO(failed.errors);
    CHECK(failed.exit_code == 4);
    CHECK(text_at(parse_json(failed.output), "error.kind") == "flush_failed");
    CHECK(pair.target.requests("flush") == 1);
    CHECK(pair.status() == "poisoned");
    const std::size_t writes = pair.target.requests("pwrite");
    const command_result refused = pair.tool.run(pair.words());
    INFO(refused.errors);
    CHECK(refused.exit_code == 3);
    CHECK(has(refused.errors, "cannot be passed"));
    CHECK(pair.target.requests("pwrite") == writes);
    CHECK(pair.status() == "poisoned");
}

TEST_CASE("an export that loses writes, or zeroes nothing, passes a proof by root and fails one by reading again",
          "[faults]") {
    if (no_nbdkit()) return;
    for (const bool zeroes : {false, true}) {
        INFO((zeroes ? "zeroing that is not done" : "lost writes"));
        const extent where{1 << 20, 512 << 10};
        auto content = random_bytes(63, disk_bytes);
        const failing_server target(stale_copy(content));
        if (zeroes) std::fill_n(content.begin() + (1 << 20), 512 << 10, std::byte{0});
        const failing_server source(content);
        if (zeroes)
            target.ignore_zeroing();
        else
            target.lose_writes(where);
        const auto records = make_memory_state_store();
        require_ok(sync_pair(source.name(), target.name(), *records));
        REQUIRE((target.medium() != content));
        const error why =
            require_failure(sync_pair(source.name(), target.name(), *records, {.verify = verify_level::reread}),
                            error_kind::verification);
        CHECK(why.detail().device == target.name());
        target.heal();
        const sync_report mended = sync_pair(source.name(), target.name(), *records, {.verify = verify_level::reread});
        require_ok(mended);
        CHECK_FALSE(mended.cache_passed);  // the server may have one
        CHECK((target.medium() == content));
    }
}

TEST_CASE("an export that lies of its holes is believed by a plain sync and not by one that reads again", "[faults]") {
    if (no_nbdkit()) return;
    for (const bool of_source : {true, false}) {
        INFO((of_source ? "the source's" : "the target's"));
        const export_pair pair(64);
        (of_source ? pair.source : pair.target).claim_hole({1 << 20, 1 << 20});
        const command_result plain = pair.tool.run(pair.words());
        INFO(plain.errors);
        CHECK(plain.exit_code == 0);
        // A target's hole is filled from the source, so that only a source's lie does harm.
        CHECK((pair.target.medium() != pair.content) == of_source);
        pair.require_made_good({"--verify=reread"});
    }
}

TEST_CASE("an export whose server dies in the middle of a sync is an error at once", "[faults]") {
    if (no_nbdkit()) return;
    for (const bool of_source : {true, false}) {
        INFO((of_source ? "the source's" : "the target's"));
        export_pair pair(65);
        pair.source.delay("pread", 100);
        process sync(pair.tool.command(pair.words({"--depth", "2"})));
        REQUIRE(wait_until([&] { return pair.source.requests("pread") > 8; }));
        (of_source ? pair.source : pair.target).server().kill();
        const command_result ended = sync.wait(30s);
        INFO(ended.errors);
        // A target's loss may first be seen by the flush.
        CHECK((ended.exit_code == 5 || (!of_source && ended.exit_code == 4)));
        CHECK(text_at(parse_json(ended.output), "error.device") ==
              (of_source ? pair.source.name() : pair.target.name()));
    }
}

TEST_CASE("an export that stalls does not keep the tool from being quit", "[faults]") {
    if (no_nbdkit()) return;
    for (const bool of_source : {true, false}) {
        INFO((of_source ? "the source's" : "the target's"));
        export_pair pair(66);
        nbdkit_server& stalled = (of_source ? pair.source : pair.target).server();
        pair.source.delay("pread", 100);
        process sync(pair.tool.command(pair.words({"--depth", "2"})));
        REQUIRE(wait_until([&] { return a_record_says_dirty(pair.tool.records()); }));
        stalled.stall();
        sync.send(SIGINT);
        REQUIRE(sync.says("stopping"));
        sync.send(SIGINT);
        CHECK(sync.wait(20s).exit_code == 130);
        stalled.go_on();
        CHECK(pair.status() == "dirty");
        pair.require_made_good();
    }
}
