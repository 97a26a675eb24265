// A target file that somebody removed: what is written to it goes with its last descriptor, so a sync onto it must not end
// well, and must not begin where that can be seen before. A file of which another name is left is no such file.
#include <catch2/catch.hpp>

#include <atomic>
#include <filesystem>

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/device_doubles.hpp"
#include "support/failures.hpp"
#include "support/peer_pair.hpp"
#include "support/server_rig.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t c = small_chunk;
constexpr std::uint64_t chunks = 60;

// A source, and a file that differs from it in every block.
struct pair_of_disks {
    pair_of_disks() : source(chunks * c, "the source") {
        fill(source, {0, chunks * c}, 1);
        write_whole_file(path, random_bytes(2, chunks * c));
        file = open_device(path, {.mode = reprotect::access::read_write});
    }
    void remove() const { std::filesystem::remove(path); }

    temp_dir folder;
    const std::string path = folder.file("disk.img");
    memory_device source;
    std::unique_ptr<device> file;
    test_store records;
};

void check_removed(const std::optional<error>& failure) {
    require_failure(failure, error_kind::device_io, "was removed: what is written to it would be lost");
    CHECK(exit_code(failure->kind()) == 4);
    CHECK_THAT(failure->detail().hint, Catch::Contains("run the sync again"));
}

}  // namespace

TEST_CASE("a target that was removed before the sync is refused, and not written to", "[sync][interlock]") {
    pair_of_disks disks;
    recording_device target(*disks.file);
    disks.remove();
    const sync_report report = run_sync(disks.source, target, small_sync_options(), &disks.records);
    check_removed(report.failure);
    CHECK_THAT(report.failure->what(), Catch::Contains("disk.img"));
    CHECK(target.reads.empty());
    CHECK(target.writes.empty());
    CHECK(target.flushes == 0);
    CHECK(report.bytes.written == 0);
    CHECK_FALSE(disks.records.find_target(target.identity()));
}

TEST_CASE("a target that is removed before the first write is not written to, nor recorded", "[sync][interlock]") {
    pair_of_disks disks;
    std::atomic<bool> removed = false;
    // The interlocks are taken by the time a disk is read.
    hooked_device source(disks.source, [&](device_call call, extent) {
        if (call == device_call::read && !removed.exchange(true)) disks.remove();
    });
    recording_device target(*disks.file);
    const sync_report report = run_sync(source, target, small_sync_options(), &disks.records);
    check_removed(report.failure);
    CHECK(target.writes.empty());
    CHECK_FALSE(disks.records.find_target(target.identity()));
}

TEST_CASE("a target that is removed in the middle or at the very end is no success, and on record as incomplete",
          "[sync][interlock]") {
    for (const unsigned nth : {1u, 30u, unsigned{chunks}}) {
        for (const bool far : {false, true}) {
            INFO("at write " << nth << (far ? ", over a wire" : ""));
            pair_of_disks disks;
            std::atomic<unsigned> writes = 0;
            hooked_device target(*disks.file, [&](device_call call, extent) {
                if (call == device_call::write && ++writes == nth) disks.remove();
            });
            if (far) {
                peer_pair pair;
                pair.source.disk = &disks.source;
                pair.target.disk = &target;
                pair.target.records = &disks.records;
                const auto [at_source, at_target] = pair.run();
                check_removed(at_target.failure);
                check_removed(at_source.failure);
            } else {
                check_removed(run_sync(disks.source, target, small_sync_options(), &disks.records).failure);
            }
            CHECK(writes >= nth);
            const auto record = disks.records.find_target(target.identity());
            REQUIRE(record);
            CHECK(record->status == target_status::dirty);
        }
    }
}

TEST_CASE("a target that is removed while it is flushed is no success either", "[sync][interlock]") {
    pair_of_disks disks;
    hooked_device target(*disks.file, [&](device_call call, extent) {
        if (call == device_call::flush) disks.remove();
    });
    check_removed(run_sync(disks.source, target, small_sync_options(), &disks.records).failure);
    CHECK(disks.records.find_target(target.identity())->status == target_status::dirty);
}

TEST_CASE("a server's export that is removed during a push fails it on both sides, and its path is not told",
          "[sync][wire][interlock]") {
    const pair_of_disks disks;
    server_rig server;
    server.offer("disk", disks.path, export_role::target);
    server.start();
    memory_device inner(chunks * c, "here");
    fill(inner, {0, chunks * c}, 1);
    std::atomic<unsigned> reads = 0;
    hooked_device source(inner, [&](device_call call, extent) {
        if (call == device_call::read && ++reads == 30) disks.remove();
    });
    sync_request request;
    request.source = &source;
    request.options = small_sync_options();
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    check_removed(report.failure);
    CHECK_THAT(std::string(report.failure->what()) + report.failure->detail().device,
               !Catch::Contains(disks.folder.path().string()));
    CHECK(server.logged("session-failed", "kind") == "device_io");
    CHECK_THAT(server.logged("session-failed", "message"), Catch::Contains(disks.path));
}

TEST_CASE("a target that has another name left, or is only renamed, is synced", "[sync][interlock]") {
    const bool linked = GENERATE(true, false);
    pair_of_disks disks;
    const std::string other = disks.folder.file("other.img");
    if (linked) std::filesystem::create_hard_link(disks.path, other);
    std::atomic<bool> done = false;
    hooked_device target(*disks.file, [&](device_call call, extent) {
        if (call != device_call::write || done.exchange(true)) return;
        if (linked)
            disks.remove();
        else
            std::filesystem::rename(disks.path, other);
    });
    const sync_report report = run_sync(disks.source, target, small_sync_options(), &disks.records);
    require_ok(report);
    CHECK(read_whole_file(other) == bytes_of(disks.source));
}
