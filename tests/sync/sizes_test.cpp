// Sizes that do not fit, and disks that shrink, grow or are taken by somebody else while they are synced.
#include <catch2/catch.hpp>

#include <chrono>
#include <filesystem>
#include <thread>

#include "reprotect/open_device.hpp"
#include "support/device_doubles.hpp"
#include "support/loop_device.hpp"
#include "support/run_command.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t c = small_chunk;

// A disk whose system says another size from some read on.
class resizing_device final : public device_decorator {
public:
    resizing_device(device& disk, std::uint64_t reads, std::int64_t by)
        : device_decorator(disk), reads_(reads), by_(by) {}
    std::uint64_t current_size() override {
        return seen >= reads_ ? static_cast<std::uint64_t>(static_cast<std::int64_t>(size()) + by_) : size();
    }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        ++seen;
        if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        device_decorator::read(offset, into);
    }
    std::atomic<std::uint64_t> seen{0};
    bool slow = false;

private:
    std::uint64_t reads_;
    std::int64_t by_;
};

}  // namespace

TEST_CASE("a target of fixed size that is too small is refused before it is touched", "[sync]") {
    memory_device source(4 * c, "the source"), target_disk(4 * c - 1, "the target");
    fill(source, {0, 4 * c}, 1);
    target_disk.mutable_properties().resizable = false;
    recording_device target(target_disk);
    sync_options options = small_sync_options();
    for (const bool loose : {false, true}) {
        options.allow_larger = loose;
        const error why = require_failure(run_sync(source, target, options), error_kind::size_mismatch);
        CHECK(exit_code(why.kind()) == 3);
        CHECK(why.detail().device == "the target");
        CHECK(std::string(why.what()).find(std::to_string(4 * c - 1)) != std::string::npos);
    }
    CHECK(target.writes.empty());
}

TEST_CASE("a larger target is refused, or keeps its tail, or is cut, as was asked", "[sync]") {
    memory_device source(4 * c + 100, "the source"), target(7 * c, "the target");
    fill(source, {0, source.size()}, 1);
    fill(target, {0, target.size()}, 2);
    const auto before = bytes_of(target);
    sync_options options = small_sync_options();
    SECTION("refused") {
        const error why = require_failure(run_sync(source, target, options), error_kind::size_mismatch);
        CHECK(why.detail().hint.find("--allow-larger") != std::string::npos);
        CHECK(why.detail().hint.find("--truncate") != std::string::npos);
        CHECK(bytes_of(target) == before);
    }
    SECTION("kept") {
        options.allow_larger = true;
        require_synced(run_sync(source, target, options), source, target);
        REQUIRE(target.size() == 7 * c);
        const auto after = bytes_of(target);
        CHECK(std::equal(after.begin() + static_cast<std::ptrdiff_t>(source.size()), after.end(),
                         before.begin() + static_cast<std::ptrdiff_t>(source.size())));
    }
    SECTION("cut") {
        options.truncate = true;
        require_synced(run_sync(source, target, options), source, target);
        CHECK(target.size() == source.size());
    }
    SECTION("cut where it cannot be") {
        target.mutable_properties().resizable = false;
        options.truncate = true;
        require_failure(run_sync(source, target, options), error_kind::size_mismatch);
        CHECK(bytes_of(target) == before);
    }
    SECTION("both at once make no sense") {
        options.truncate = options.allow_larger = true;
        CHECK_THROWS_AS(run_sync(source, target, options), error);
    }
}

TEST_CASE("a larger target is cut even where nothing else differs", "[sync]") {
    memory_device source(4 * c), target(7 * c);
    fill(source, {0, c}, 1);
    copy_content(source, target);
    sync_options options = small_sync_options();
    options.truncate = true;
    const sync_report report = run_sync(source, target, options);
    require_synced(report, source, target);
    CHECK(target.size() == 4 * c);
    CHECK_FALSE(report.different());
}

TEST_CASE("a missing file target is created, a smaller one grows, both end equal", "[sync]") {
    const temp_dir directory;
    memory_device source(20 * c + 333, "the source");
    fill(source, {0, 3 * c}, 1);
    fill(source, {20 * c, 333}, 2);
    {
        const auto target = open_device(directory.file("new"), {.mode = access::read_write, .create = true});
        const sync_report report = run_sync(source, *target);
        require_synced(report, source, *target);
        CHECK(report.mode == sync_mode::full);
        CHECK(report.reason == "target missing");
    }
    CHECK(read_whole_file(directory.file("new")) == bytes_of(source));
    CHECK(allocated_bytes(directory.file("new")) < 8 * c);
    write_whole_file(directory.file("small"), random_bytes(1, 2 * c + 5));
    {
        const auto target = open_device(directory.file("small"), {.mode = access::read_write});
        const sync_report report = run_sync(source, *target);
        require_synced(report, source, *target);
        CHECK(report.mode == sync_mode::differential);
    }
    CHECK(read_whole_file(directory.file("small")) == bytes_of(source));
}

TEST_CASE("an empty source equals an empty target, and never empties another", "[sync]") {
    memory_device source(0), target(0), larger(3 * c);
    fill(larger, {0, c}, 1);
    require_ok(run_sync(source, target));
    sync_options options = small_sync_options();
    options.truncate = true;
    require_failure(run_sync(source, larger, options), error_kind::size_mismatch);
    CHECK(larger.size() == 3 * c);
}

TEST_CASE("a report says from what size the target was grown or cut", "[sync]") {
    memory_device source(4 * c), small(c), large(6 * c), equal(4 * c);
    fill(source, {0, c}, 1);
    CHECK(run_sync(source, small).resized_from == c);
    sync_options options = small_sync_options();
    options.truncate = true;
    CHECK(run_sync(source, large, options).resized_from == 6 * c);
    CHECK_FALSE(run_sync(source, equal).resized_from.has_value());
}

TEST_CASE("a dry run onto a file of another size, open for reading only, says what a sync would do", "[sync]") {
    memory_device source(4 * c);
    fill(source, {0, 2 * c}, 1);
    const temp_dir directory;
    write_whole_file(directory.file("small"), std::vector<std::byte>(c));
    const auto target = open_device(directory.file("small"));
    sync_options options = small_sync_options();
    options.dry_run = true;
    const sync_report report = run_sync(source, *target, options);
    require_ok(report);
    CHECK(report.resized_from == c);
    CHECK(report.bytes.changed == 2 * c);
    CHECK(read_whole_file(directory.file("small")).size() == c);
}

TEST_CASE("a target that is open for reading only is refused", "[sync]") {
    memory_device source(c, "the source"), target(c, "the target");
    fill(source, {0, c}, 1);
    target.mutable_properties().read_only = true;
    CHECK(require_failure(run_sync(source, target), error_kind::unsuitable).detail().device == "the target");
}

TEST_CASE("source and target that are one disk are refused", "[sync]") {
    memory_device disk(c, "the disk");
    fill(disk, {0, c}, 1);
    require_failure(run_sync(disk, disk), error_kind::same_disk);
}

TEST_CASE("a disk that shrinks or grows meanwhile fails the sync, at the end at the latest", "[sync]") {
    for (const std::int64_t by : {-512, 512}) {
        for (const bool on_source : {true, false}) {
            for (const std::uint64_t after : {0u, 1u, 12u}) {
                INFO("by " << by << " on the " << (on_source ? "source" : "target") << " after " << after << " reads");
                memory_device source_disk(10 * c, "the source"), target_disk(10 * c, "the target");
                fill(source_disk, {0, 10 * c}, 1);
                fill(target_disk, {0, 10 * c}, 2);
                resizing_device changing(on_source ? source_disk : target_disk, after, by);
                test_store store;
                const sync_report report = on_source ? run_sync(changing, target_disk, small_sync_options(), &store)
                                                     : run_sync(source_disk, changing, small_sync_options(), &store);
                if (after > 10) {
                    require_ok(report);  // it never came to that
                    continue;
                }
                const error why = require_failure(report, error_kind::size_changed);
                CHECK(exit_code(why.kind()) == 4);
                CHECK(why.detail().device == (on_source ? "the source" : "the target"));
                const auto record = store.find_target(target_disk.identity());
                CHECK(record.has_value() == (after != 0));
                if (record) CHECK(record->status == target_status::dirty);
            }
        }
    }
}

TEST_CASE("a target that changes its size is noticed long before the end", "[sync]") {
    memory_device source(600 * c), target_disk(600 * c, "the target");
    fill(source, {0, 600 * c}, 1);
    copy_content(source, target_disk);
    resizing_device target(target_disk, 20, -512);
    target.slow = true;
    sync_options options = small_sync_options();
    options.depth = 1;
    CHECK(require_failure(run_sync(source, target, options), error_kind::size_changed).detail().device == "the target");
    CHECK(target.seen < 400);  // of 600; it is looked at ten times a second
}

TEST_CASE("a source file that is cut while it is read is named as such, never read as zeroes", "[sync]") {
    const temp_dir directory;
    write_whole_file(directory.file("source"), random_bytes(1, 100 * c));
    const auto file = open_device(directory.file("source"));
    memory_device target(100 * c);
    std::atomic<unsigned> reads{0};
    hooked_device source(*file, [&](device_call call, extent) {
        if (call == device_call::read && ++reads == 20)
            std::filesystem::resize_file(directory.file("source"), 30 * c + 1);
    });
    const error why = require_failure(run_sync(source, target), error_kind::size_changed);
    CHECK(why.detail().device == directory.file("source"));
    CHECK(why.detail().offset.has_value());
}

TEST_CASE("a full file system under the target is an error of its own", "[sync]") {
    if (!loop_devices_available()) {
        WARN("no file systems can be mounted here");
        return;
    }
    const temp_dir directory;
    const mounted_file_system small("tmpfs", directory.path(), 1 << 20);
    memory_device source(200 * c);
    fill(source, {0, 200 * c}, 1);
    test_store store;
    const auto target = open_device(small.file("target"), {.mode = access::read_write, .create = true});
    const error why = require_failure(run_sync(source, *target, small_sync_options(), &store), error_kind::no_space);
    CHECK(exit_code(why.kind()) == 4);
    CHECK(why.detail().device == small.file("target"));
    CHECK(why.detail().offset.has_value());
    CHECK(store.find_target(target->identity())->status == target_status::dirty);
}

TEST_CASE("whoever opens the target to read it during a long sync waits for a moment only", "[sync]") {
    const temp_dir directory;
    write_whole_file(directory.file("target"), random_bytes(1, 300 * c));
    const auto target = open_device(directory.file("target"), {.mode = access::read_write});
    memory_device source_disk(300 * c);
    fill(source_disk, {0, 300 * c}, 2);
    std::atomic<unsigned> reads{0};
    hooked_device source(source_disk, [&](device_call call, extent) {
        if (call != device_call::read) return;
        ++reads;
        std::this_thread::sleep_for(std::chrono::milliseconds(6));
    });
    std::chrono::duration<double> waited{};
    bool opened = false;
    std::jthread opener([&] {
        while (reads < 10) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        const auto before = std::chrono::steady_clock::now();
        opened =
            run_command({"dd", "if=" + directory.file("target"), "of=/dev/null", "bs=512", "count=1", "status=none"})
                .ok();
        waited = std::chrono::steady_clock::now() - before;
    });
    sync_options options = small_sync_options();
    options.depth = 1;
    const sync_report report = run_sync(source, *target, options);
    const auto total = report.seconds.total;
    opener.join();
    CHECK(opened);
    CHECK(waited.count() < 0.6 * total);
    require_synced(report, source_disk, *target);
}

TEST_CASE("chunks and a memory so large that no eighth of the window is ever in flight do not stop a sync", "[sync]") {
    memory_device source(200 << 20, "source"), target(200 << 20, "target");
    const std::vector<std::byte> bytes = random_bytes(3, 1 << 20);
    for (std::uint64_t at = 0; at < source.size(); at += bytes.size()) source.write(at, bytes);
    sync_request request;
    request.source = &source;
    request.target = &target;
    request.options.chunk_bytes = 16 << 20;
    request.options.memory_bytes = std::uint64_t{2} << 30;
    const sync_report report = sync(request);
    CHECK_FALSE(report.failure);
    CHECK(report.bytes.written == source.size());
}
