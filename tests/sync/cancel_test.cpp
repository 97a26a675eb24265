// Stopping a sync from outside: what was begun ends and is flushed, the report is partial, and the next sync does the rest.
#include <catch2/catch.hpp>

#include <chrono>
#include <thread>

#include "support/device_doubles.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t c = small_chunk;

}  // namespace

TEST_CASE("a sync cancelled by another thread flushes once, and the next one sends only the rest", "[sync]") {
    for (const unsigned after : {1u, 7u, 60u}) {
        memory_device source(200 * c), target_disk(200 * c);
        fill(source, {0, 200 * c}, 1);
        fill(target_disk, {0, 200 * c}, 2);
        std::atomic<unsigned> writes{0};
        hooked_device slow(target_disk, [&](device_call call, extent) {
            if (call != device_call::write) return;
            ++writes;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
        recording_device target(slow);
        test_store store;
        std::stop_source stop;
        std::jthread stopper([&] {
            while (writes < after) std::this_thread::yield();
            stop.request_stop();
        });
        sync_request request = request_of(source, target, small_sync_options(), &store);
        request.cancel = stop.get_token();
        const sync_report report = sync(request);
        const error why = require_failure(report, error_kind::interrupted);
        CHECK(exit_code(why.kind()) == 130);
        CHECK(target.flushes == 1);
        CHECK(report.bytes.written > 0);
        CHECK(report.bytes.written < 200 * c);
        CHECK(report.bytes.written == target.writes.total());
        CHECK(store.find_target(target.identity())->status == target_status::dirty);

        const sync_report rest = run_sync(source, target_disk, small_sync_options(), &store);
        require_synced(rest, source, target_disk);
        CHECK(rest.bytes.written == 200 * c - report.bytes.written);
        CHECK(store.find_target(target.identity())->status == target_status::clean);
    }
}

TEST_CASE("a cancel before the start leaves the target untouched and unflushed", "[sync]") {
    memory_device source(20 * c), target_disk(20 * c);
    fill(source, {0, 20 * c}, 1);
    recording_device target(target_disk);
    test_store store;
    std::stop_source stop;
    stop.request_stop();
    sync_request request = request_of(source, target, small_sync_options(), &store);
    request.cancel = stop.get_token();
    require_failure(sync(request), error_kind::interrupted);
    CHECK(target.writes.empty());
    CHECK(target.flushes == 0);
    CHECK_FALSE(store.find_target(target.identity()).has_value());
}

TEST_CASE("a cancel at any device call ends the sync, and never lets the record say more than is true", "[sync]") {
    for (std::uint64_t nth = 0;; ++nth) {
        INFO("at call " << nth);
        REQUIRE(nth < 1000);
        memory_device source_disk(12 * c), target_disk(12 * c);
        fill(source_disk, {0, 9 * c}, 1);
        copy_content(source_disk, target_disk);
        fill(target_disk, {c, 2 * c}, 2);
        fill(target_disk, {10 * c, c}, 3);
        std::stop_source stop;
        std::atomic<std::uint64_t> calls{0};
        const auto hook = [&](device_call, extent) {
            if (calls++ == nth) stop.request_stop();
        };
        hooked_device source(source_disk, hook), hooked_target(target_disk, hook);
        recording_device target(hooked_target);
        test_store store;
        sync_options options = small_sync_options();
        options.verify = nth % 2 ? verify_level::root : verify_level::reread;
        sync_request request = request_of(source, target, options, &store);
        request.cancel = stop.get_token();
        const sync_report report = sync(request);
        const auto record = store.find_target(target.identity());
        CHECK(target.flushes <= 1);
        if (report.ok()) {
            // It came too late, or not at all.
            require_synced(report, source_disk, target_disk);
            CHECK(record->status == target_status::clean);
        } else {
            require_failure(report, error_kind::interrupted);
            if (record) CHECK(record->status == target_status::dirty);
            if (!target.writes.empty() || !target.zeroes.empty()) CHECK(target.flushes == 1);
        }
        require_synced(run_sync(source_disk, target_disk, options, &store), source_disk, target_disk);
        if (calls <= nth) break;
    }
}

TEST_CASE("a cancelled comparison tells what it found so far", "[sync]") {
    memory_device source_disk(200 * c), target(200 * c);
    fill(source_disk, {0, 200 * c}, 1);
    std::stop_source stop;
    std::atomic<unsigned> reads{0};
    hooked_device source(source_disk, [&](device_call call, extent) {
        if (call == device_call::read && ++reads == 50) stop.request_stop();
    });
    sync_request request = request_of(source, target);
    request.cancel = stop.get_token();
    const sync_report report = diff(request);
    require_failure(report, error_kind::interrupted);
    REQUIRE(report.differential.has_value());
    CHECK(report.bytes.changed > 0);
    CHECK(report.bytes.changed < 200 * c);
    CHECK(report.differential->data_bytes() == report.bytes.changed);
}
