// Whole syncs between real block devices that fail: reads, writes, a full medium, a flush, zeroing and writes that are
// acknowledged and not done. What the medium holds is read from the server's own image, past every cache.
#include <catch2/catch.hpp>

#include "base/owned_descriptor.hpp"
#include "support/device_sync.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t disk_bytes = 4 << 20;

// Stale everywhere in its first half, and in the second where `age` says so.
std::vector<std::byte> half_stale_copy(std::vector<std::byte> content) {
    for (std::size_t at = 0; at < content.size(); at += 64 << 10)
        if (at < content.size() / 2 || at % (1 << 20) == 0) content[at + 7] ^= std::byte{1};
    return content;
}

// The kernel may merge requests of several threads, and reads ahead into a cache: all that is in a request that fails, fails.
// One direct request at a time is told apart exactly; else the place is within a request's length of the bad one.
constexpr unsigned one_at_a_time = 1;
constexpr std::uint64_t request_bytes = 1 << 20;

extent where_of(const error& why) {
    return {why.detail().offset.value_or(0), why.detail().length.value_or(0)};
}

bool names(const error& why, extent bad, bool exactly) {
    if (!why.detail().offset || where_of(why).empty()) return false;
    const extent near{bad.offset - request_bytes, bad.length + 2 * request_bytes};
    return intersect(where_of(why), exactly ? bad : near).length >= (exactly ? bad.length : 1);
}

const char* way(bool direct) {
    return direct ? "direct" : "cached";
}

}  // namespace

TEST_CASE("a source that cannot be read in its middle is named there, and nothing takes the place of its bytes",
          "[faults]") {
    if (no_failing_disks()) return;
    const auto content = random_bytes(1, disk_bytes);
    const auto stale = half_stale_copy(content);
    const extent bad{(disk_bytes / 2) - 2 * 4096, 4096};
    const std::uint64_t chunk = pair_sync_options().chunk_bytes;
    const extent its_chunk{bad.offset / chunk * chunk, chunk};
    for (const bool direct : {false, true}) {
        INFO(way(direct));
        const failing_disk source(content);
        const failing_disk target(stale);
        const auto records = make_memory_state_store();
        source.fail("pread", "EIO", bad);

        const error why = require_failure(
            sync_pair(source.path(), target.path(), *records, {.direct = direct, .depth = one_at_a_time}),
            error_kind::device_io);
        CHECK(exit_code(why.kind()) == 4);
        CHECK(why.detail().device == source.path());
        CHECK(why.detail().operation == "read");
        CHECK(names(why, bad, direct));
        if (direct) CHECK(its_chunk.contains(where_of(why)));
        CHECK(has(why.what(), "Input/output error"));
        CHECK((target.medium(its_chunk) == std::vector<std::byte>(stale.begin() + static_cast<long>(its_chunk.offset),
                                                                  stale.begin() + static_cast<long>(its_chunk.end()))));
        CHECK(recorded(*records, target.path()) == "dirty");

        source.heal();
        require_ok(sync_pair(source.path(), target.path(), *records, {.direct = direct}));
        CHECK((target.medium() == content));
        CHECK(recorded(*records, target.path()) == "clean");
    }
}

TEST_CASE("a target that cannot be read in its middle ends the sync, though it could be written there", "[faults]") {
    if (no_failing_disks()) return;
    const auto content = random_bytes(2, disk_bytes);
    const failing_disk source(content);
    const failing_disk target(half_stale_copy(content));
    const extent bad{disk_bytes / 2 + 8192, 4096};
    for (const bool direct : {false, true}) {
        INFO(way(direct));
        const auto records = make_memory_state_store();
        target.fail("pread", "EIO", bad);
        const error why = require_failure(
            sync_pair(source.path(), target.path(), *records, {.direct = direct, .depth = one_at_a_time}),
            error_kind::device_io);
        CHECK(why.detail().device == target.path());
        CHECK(why.detail().operation == "read");
        CHECK(names(why, bad, direct));
        target.heal();
        require_ok(sync_pair(source.path(), target.path(), *records, {.direct = direct}));
        CHECK((target.medium() == content));
    }
}

TEST_CASE("the tool names what it could not read, ends with 4, and goes on when the disk is well again", "[faults]") {
    if (no_failing_disks()) return;
    const tool_rig tool;
    const auto content = random_bytes(3, disk_bytes);
    const failing_disk source(content);
    const failing_disk target(half_stale_copy(content));
    const extent bad{3 << 20, 512};
    source.fail("pread", "EIO", bad);
    const command_result failed =
        tool.run({"sync", source.path(), target.path(), "--direct", "--depth", "1", "--json"});
    INFO(failed.errors);
    CHECK(failed.exit_code == 4);
    const auto report = parse_json(failed.output);
    CHECK(text_at(report, "error.kind") == "device_io");
    CHECK(text_at(report, "error.device") == source.path());
    CHECK(count_at(report, "error.offset") <= bad.offset);
    CHECK(count_at(report, "error.offset") + count_at(report, "error.length") >= bad.end());
    CHECK(has(failed.errors, "read of " + source.path()));

    source.heal();
    const command_result again = tool.run({"sync", source.path(), target.path(), "--direct"});
    INFO(again.errors);
    CHECK(again.exit_code == 0);
    CHECK(has(again.errors, "did not finish"));
    CHECK((target.medium() == content));
}

TEST_CASE("a direct write that fails ends the sync, and one that was put off fails the flush and poisons", "[faults]") {
    if (no_failing_disks()) return;
    const auto content = random_bytes(4, disk_bytes);
    const failing_disk source(content);
    const extent bad{disk_bytes / 4 + 4096, 4096};
    for (const bool direct : {false, true}) {
        INFO(way(direct));
        auto stale = half_stale_copy(content);
        for (std::size_t at = bad.offset; at < bad.end(); ++at) stale[at] = std::byte{9};
        const failing_disk target(stale);
        const auto records = make_memory_state_store();
        target.fail("pwrite", "EIO", bad);
        const error why = require_failure(
            sync_pair(source.path(), target.path(), *records, {.direct = direct, .depth = one_at_a_time}),
            direct ? error_kind::device_io : error_kind::flush_failed);
        CHECK(exit_code(why.kind()) == 4);
        CHECK(why.detail().device == target.path());
        CHECK(why.detail().operation == (direct ? "write" : "flush"));
        if (direct) CHECK(intersect(where_of(why), bad) == bad);
        CHECK(recorded(*records, target.path()) == (direct ? "dirty" : "poisoned"));
        CHECK((target.medium(bad) == std::vector<std::byte>(bad.length, std::byte{9})));

        target.heal();
        const sync_report again = sync_pair(source.path(), target.path(), *records, {.direct = direct});
        require_ok(again);
        CHECK(has_warning(again, "read past the cache") == !direct);
        CHECK((target.medium() == content));
        CHECK(recorded(*records, target.path()) == "clean");
    }
}

TEST_CASE("a write that the medium refuses while the sync still goes on fails the flush at its end, and poisons",
          "[faults]") {
    if (no_failing_disks()) return;
    // More than what is written before the disk is told to begin: the bad place is long behind when the flush comes.
    constexpr std::uint64_t large_bytes = 40 << 20;
    const extent bad{2 << 20, 4096};
    const tool_rig tool;
    const auto content = random_bytes(14, large_bytes);
    const std::string source = tool.file("source");
    write_whole_file(source, content);
    const failing_disk target(random_bytes(15, large_bytes));
    target.fail("pwrite", "EIO", bad);
    const command_result failed = tool.run({"sync", source, target.path(), "--json", "--depth", "1"});
    INFO(failed.errors);
    CHECK(failed.exit_code == 4);
    const auto report = parse_json(failed.output);
    CHECK(text_at(report, "error.kind") == "flush_failed");
    CHECK(text_at(report, "error.device") == target.path());
    CHECK(recorded(*open_state_directory(tool.records()), target.path()) == "poisoned");
    CHECK((target.medium() != content));

    target.heal();
    const command_result again = tool.run({"sync", source, target.path()});
    INFO(again.errors);
    CHECK(again.exit_code == 0);
    CHECK(has(again.errors, "read past the cache"));
    CHECK((target.medium() == content));
}

TEST_CASE("a medium that is full says so, ends with 4, and the next sync goes on once there is room", "[faults]") {
    if (no_failing_disks()) return;
    const tool_rig tool;
    const auto content = random_bytes(5, disk_bytes);
    const failing_disk source(content);
    const failing_disk target(half_stale_copy(content));
    target.fail("pwrite", "ENOSPC", {disk_bytes / 4, disk_bytes});
    const command_result failed = tool.run({"sync", source.path(), target.path(), "--direct", "--json"});
    INFO(failed.errors);
    CHECK(failed.exit_code == 4);
    const auto report = parse_json(failed.output);
    CHECK(text_at(report, "error.kind") == "no_space");
    CHECK(text_at(report, "error.device") == target.path());
    CHECK(has(failed.errors, "No space left on device"));
    CHECK((target.medium() != content));

    target.heal();
    const command_result again = tool.run({"sync", source.path(), target.path(), "--direct"});
    INFO(again.errors);
    CHECK(again.exit_code == 0);
    CHECK(has(again.errors, "did not finish"));
    CHECK((target.medium() == content));
}

TEST_CASE("after a failed flush another process reads past the cache, and mends what the medium never got",
          "[faults]") {
    if (no_failing_disks()) return;
    const tool_rig tool;
    const auto content = random_bytes(6, disk_bytes);
    const failing_disk source(content);
    failing_disk target(half_stale_copy(content));
    // A reader that keeps the block device open keeps its cache: without it the next process would find none.
    const owned_descriptor reader(::open(target.path().c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(reader);
    const extent lost{1 << 20, 512 << 10};
    target.lose_writes(lost);
    target.fail_once("flush", "EIO");
    const std::size_t flushes_before = target.requests("flush");
    const command_result failed = tool.run({"sync", source.path(), target.path(), "--json"});
    INFO(failed.errors);
    CHECK(failed.exit_code == 4);
    CHECK(text_at(parse_json(failed.output), "error.kind") == "flush_failed");
    // A second flush would have succeeded, and said nothing of what was lost.
    CHECK(target.requests("flush") == flushes_before + 1);
    target.heal();

    // The cache shows what the medium does not hold.
    std::vector<std::byte> shown(lost.length);
    REQUIRE(::pread(reader.get(), shown.data(), shown.size(), static_cast<off_t>(lost.offset)) ==
            static_cast<ssize_t>(shown.size()));
    const std::vector<std::byte> wanted(content.begin() + static_cast<long>(lost.offset),
                                        content.begin() + static_cast<long>(lost.end()));
    REQUIRE((shown == wanted));
    REQUIRE((target.medium(lost) != wanted));

    const command_result again = tool.run({"sync", source.path(), target.path()});
    INFO(again.errors);
    CHECK(again.exit_code == 0);
    CHECK(has(again.errors, "read past the cache"));
    CHECK((target.medium() == content));

    const command_result last = tool.run({"sync", source.path(), target.path()});
    CHECK(last.exit_code == 0);
    CHECK_FALSE(has(last.errors, "flush"));
}

TEST_CASE("after a failed flush a target whose cache cannot be passed is refused, by every process", "[faults]") {
    if (no_failing_disks()) return;
    const tool_rig tool;
    const auto content = random_bytes(7, disk_bytes);
    const failing_disk source(content);
    // The loop driver goes through the cache of a file system that this program knows nothing of.
    failing_disk target(half_stale_copy(content), {.loop_direct = false});
    target.fail_once("flush", "EIO");
    const command_result failed = tool.run({"sync", source.path(), target.path()});
    INFO(failed.errors);
    REQUIRE(failed.exit_code == 4);
    const auto after = target.medium();
    for (int times = 0; times < 2; ++times) {
        const std::size_t writes = target.requests("pwrite");
        const command_result refused = tool.run({"sync", source.path(), target.path(), "--json"});
        INFO(refused.errors);
        CHECK(refused.exit_code == 3);
        CHECK(text_at(parse_json(refused.output), "error.kind") == "unsuitable");
        CHECK(has(refused.errors, "cannot be passed"));
        CHECK(target.requests("pwrite") == writes);
        CHECK((target.medium() == after));
    }
}

TEST_CASE("writes that are lost, or land elsewhere, pass a proof by root and fail one by reading again", "[faults]") {
    if (no_failing_disks()) return;
    const auto content = random_bytes(8, disk_bytes);
    const failing_disk source(content);
    const extent changed{1 << 20, 64 << 10};
    auto stale = content;
    for (std::size_t at = changed.offset; at < changed.end(); ++at) stale[at] ^= std::byte{1};
    for (const bool misdirected : {false, true}) {
        for (const bool direct : {false, true}) {
            INFO((misdirected ? "misdirected, " : "lost, ") << way(direct));
            const failing_disk target(stale);
            if (misdirected)
                target.misdirect_writes(changed, 1 << 20);
            else
                target.lose_writes(changed);
            const auto records = make_memory_state_store();
            const sync_report by_root = sync_pair(source.path(), target.path(), *records, {.direct = direct});
            require_ok(by_root);
            CHECK(by_root.verified == proof_level::root);
            REQUIRE((target.medium() != content));

            const sync_report by_reading =
                sync_pair(source.path(), target.path(), *records, {.direct = direct, .verify = verify_level::reread});
            const error why = require_failure(by_reading, error_kind::verification);
            CHECK(exit_code(why.kind()) == 6);
            CHECK(why.detail().device == target.path());
            CHECK(where_of(why).length != 0);
            CHECK(recorded(*records, target.path()) == "dirty");

            target.heal();
            const sync_report mended =
                sync_pair(source.path(), target.path(), *records, {.direct = direct, .verify = verify_level::reread});
            require_ok(mended);
            CHECK(mended.cache_passed);
            CHECK((target.medium() == content));
        }
    }
}

TEST_CASE("the tool ends with 6 where the medium does not hold what was written", "[faults]") {
    if (no_failing_disks()) return;
    const tool_rig tool;
    const auto content = random_bytes(9, disk_bytes);
    const failing_disk source(content);
    const failing_disk target(half_stale_copy(content));
    target.lose_writes({disk_bytes / 4, 4096});
    const command_result failed = tool.run({"sync", source.path(), target.path(), "--verify=reread", "--json"});
    INFO(failed.errors);
    CHECK(failed.exit_code == 6);
    const auto report = parse_json(failed.output);
    CHECK(text_at(report, "error.kind") == "verification");
    CHECK(text_at(report, "error.device") == target.path());
    CHECK(has(failed.errors, "verification of " + target.path() + " failed at offset "));
    CHECK(text_at(report, "verified") == "none");
    const std::uint64_t offset = count_at(report, "error.offset");
    CHECK(offset <= disk_bytes / 4);
    CHECK(offset + count_at(report, "error.length") >= disk_bytes / 4 + 4096);
    target.heal();
    CHECK(tool.run({"sync", source.path(), target.path(), "--verify=reread"}).exit_code == 0);
    CHECK((target.medium() == content));
}

TEST_CASE("zeroing that is acknowledged and not done passes a proof by root and fails one by reading again",
          "[faults]") {
    if (no_failing_disks()) return;
    auto content = random_bytes(10, disk_bytes);
    const failing_disk target(content);
    const extent zeroed{1 << 20, 512 << 10};
    std::fill_n(content.begin() + zeroed.offset, zeroed.length, std::byte{0});
    const failing_disk source(content);
    target.ignore_zeroing();
    const auto records = make_memory_state_store();
    const sync_report by_root = sync_pair(source.path(), target.path(), *records, {.direct = true});
    require_ok(by_root);
    CHECK(by_root.bytes.zeroed == zeroed.length);
    REQUIRE(target.requests("zero") != 0);
    REQUIRE((target.medium() != content));
    require_failure(sync_pair(source.path(), target.path(), *records, {.direct = true, .verify = verify_level::reread}),
                    error_kind::verification);
    target.heal();
    require_ok(sync_pair(source.path(), target.path(), *records, {.direct = true, .verify = verify_level::reread}));
    CHECK((target.medium() == content));
}

TEST_CASE("zeroing that the device refuses is done by writing zeroes", "[faults]") {
    if (no_failing_disks()) return;
    auto content = random_bytes(11, disk_bytes);
    const failing_disk target(content);
    const extent zeroed{1 << 20, 512 << 10};
    std::fill_n(content.begin() + zeroed.offset, zeroed.length, std::byte{0});
    const failing_disk source(content);
    for (const char* code : {"EOPNOTSUPP", "EIO"}) {
        INFO(code);
        target.fail("zero", code);
        target.fail("trim", code);
        const auto records = make_memory_state_store();
        require_ok(
            sync_pair(source.path(), target.path(), *records, {.direct = false, .verify = verify_level::reread}));
        CHECK((target.medium() == content));
        target.heal();
        const auto blank = open_target(target.path());
        blank->write(zeroed.offset, random_bytes(12, zeroed.length));
        blank->flush();
    }
}

TEST_CASE("a hole hint that lies about the source is believed by a plain sync and not by one that reads again",
          "[faults]") {
    if (no_failing_disks()) return;
    const auto content = random_bytes(13, disk_bytes);
    const failing_disk source(content);
    const failing_disk target(half_stale_copy(content));
    const auto from = open_source(source.path());
    extent_set data{{0, disk_bytes}};
    data.remove({2 << 20, 1 << 20});
    allocated_device lying(*from, data);
    const auto to = open_target(target.path());
    const auto records = make_memory_state_store();
    require_ok(run_sync(lying, *to, pair_sync_options(), records.get()));
    REQUIRE((target.medium() != content));
    sync_options options = pair_sync_options();
    options.verify = verify_level::reread;
    require_ok(run_sync(lying, *to, options, records.get()));
    CHECK((target.medium() == content));
}
