// What a whole sync, with its threads, does to its disks: only changed blocks are written, and what is read is read once.
#include <catch2/catch.hpp>

#include <boost/asio/io_context.hpp>

#include "reprotect/async.hpp"
#include "support/device_doubles.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

TEST_CASE("a sync writes only the blocks that differ and reads each chunk once on each side", "[sync]") {
    for (const unsigned depth : {1u, 8u}) {
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            INFO("seed " << seed << ", depth " << depth);
            std::mt19937_64 random(seed);
            memory_device source_disk(100 * small_chunk + 1234), target_disk(source_disk.size());
            fill(source_disk, {0, source_disk.size()}, seed);
            copy_content(source_disk, target_disk);
            age(target_disk, random, 15);
            extent_set changed;
            const auto ours = bytes_of(source_disk), theirs = bytes_of(target_disk);
            for (std::uint64_t at = 0; at < ours.size(); at += small_block) {
                const std::uint64_t length = std::min<std::uint64_t>(small_block, ours.size() - at);
                if (!std::equal(&ours[at], &ours[at] + length, &theirs[at])) changed.add({at, length});
            }
            recording_device source(source_disk), target(target_disk);
            sync_options options = small_sync_options();
            options.depth = depth;
            options.memory_bytes = 64 << 20;  // nothing is evicted
            const sync_report report = run_sync(source, target, options);
            require_synced(report, source_disk, target_disk);
            CHECK(target.writes == changed);
            CHECK(target.zeroes.empty());
            CHECK(target.written_twice.empty());
            CHECK(source.reads == extent_set{{0, source_disk.size()}});
            CHECK(source.read_twice.empty());
            CHECK(target.read_twice.empty());
            CHECK(target.flushes == 1);
            CHECK(source.writes.empty());
            CHECK(report.bytes.written == changed.total());
            CHECK(report.bytes.reread_source == 0);
        }
    }
}

TEST_CASE("with few buffers, evicted chunks are counted and nothing else is read twice", "[sync]") {
    memory_device source_disk(240 * small_chunk), target_disk(source_disk.size());
    fill(source_disk, {0, source_disk.size()}, 1);
    copy_content(source_disk, target_disk);
    // Pairs of neighbours differ, but fewer than half of all: block digests are asked for, not pushed.
    std::uint64_t changed = 0;
    for (std::uint64_t i = 0; i < 240; ++i) {
        if (i % 6 > 1) continue;
        fill(target_disk, {i * small_chunk + (i % 8) * small_block, small_block}, i + 9);
        changed += small_block;
    }
    recording_device source(source_disk), target(target_disk);
    sync_options options = small_sync_options();
    options.depth = 8;
    options.memory_bytes = (2 * 8 + 3) * small_chunk * 12 / 11 + small_block;  // scratch and three buffers
    // On one thread, reads that were asked for together come back together, so that chunks pile up.
    boost::asio::io_context loop;
    std::optional<sync_report> report;
    async_sync(loop.get_executor(), loop.get_executor(), request_of(source, target, options),
               [&](sync_report result) { report = std::move(result); });
    loop.run();
    REQUIRE(report.has_value());
    require_synced(*report, source_disk, target_disk);
    CHECK(report->bytes.read_source == source_disk.size());
    CHECK(report->bytes.reread_source > 0);
    CHECK(report->bytes.reread_source == source.read_twice.total());
    CHECK(report->bytes.reread_source <= changed);
    CHECK(report->bytes.changed == changed);
    CHECK(report->bytes.written == changed);
    CHECK(target.read_twice.empty());
}

TEST_CASE("equal disks are not written, but flushed once, and the record becomes clean", "[sync]") {
    memory_device source(30 * small_chunk + 1), target_disk(source.size());
    fill(source, {0, source.size()}, 1);
    copy_content(source, target_disk);
    recording_device target(target_disk);
    test_store store;
    const sync_report report = run_sync(source, target, small_sync_options(), &store);
    require_ok(report);
    CHECK(target.writes.empty());
    CHECK(target.zeroes.empty());
    CHECK(target.flushes == 1);  // what an earlier session wrote may still be in the cache
    CHECK_FALSE(report.different());
    CHECK(store.find_target(target.identity())->status == target_status::clean);
}

TEST_CASE("a dry run and a comparison write nothing, flush nothing and keep no record", "[sync]") {
    memory_device source(30 * small_chunk), target_disk(20 * small_chunk);
    fill(source, {0, source.size()}, 1);
    fill(target_disk, {0, target_disk.size()}, 2);
    recording_device target(target_disk);
    event_log log;
    test_store store(&log);
    sync_options options = small_sync_options();
    options.dry_run = true;
    require_ok(run_sync(source, target, options, &store));
    require_ok(diff(request_of(source, target, small_sync_options(), &store)));
    CHECK(target.writes.empty());
    CHECK(target.zeroes.empty());
    CHECK(target.flushes == 0);
    CHECK(target_disk.size() == 20 * small_chunk);
    CHECK(log.all().empty());
}

TEST_CASE("one worker, one call in flight and the least memory are enough for any sync", "[sync]") {
    for (const auto verify : {verify_level::root, verify_level::reread}) {
        for (std::uint64_t seed = 1; seed <= 6; ++seed) {
            INFO("seed " << seed);
            std::mt19937_64 random(seed);
            memory_device source(40 * small_chunk + 99), target(30 * small_chunk);
            fill_sparsely(source, random);
            fill_sparsely(target, random);
            sync_options options = small_sync_options();
            options.verify = verify;
            options.depth = seed % 2 ? 1 : 4;
            options.threads = 1;
            options.memory_bytes = memory_minimum(options);
            require_synced(run_sync(source, target, options), source, target);
        }
    }
}
