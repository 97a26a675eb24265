// Rates: that there are figures, that a disk is read once and only read, and how measuring ends early. No figure is
// compared with a clock's: a busy machine is no failure.
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <limits>
#include <new>
#include <thread>

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "reprotect/rates.hpp"
#include "support/device_doubles.hpp"
#include "support/loop_device.hpp"
#include "support/sparse_disk.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint32_t chunk = 64 << 10;

rate_options quick_options() {
    rate_options options;
    options.chunk_bytes = chunk;
    options.depth = 3;
    options.threads = 2;
    options.seconds = 0.01;
    options.disk_seconds = 60;
    return options;
}

// What measuring a disk fails with.
error failure_of(device& disk, const rate_options& options = quick_options(), std::stop_token cancel = {}) {
    try {
        measure_disk(disk, options, cancel);
    } catch (const error& why) {
        return why;
    }
    FAIL("nothing failed");
    throw;
}

TEST_CASE("every figure of a machine is there and above zero", "[scan]") {
    const machine_rates rates = measure_machine(quick_options());
    CHECK(rates.threads == 2);
    for (const thread_rates& each : {rates.copy, rates.xxh3, rates.sha256}) {
        CHECK(each.one > 0);
        CHECK(each.all > 0);
    }
    REQUIRE(rates.zstd.size() == 4);
    for (const compression_rate& each : rates.zstd) {
        CHECK((each.level == 1 || each.level == 3));
        CHECK(each.bytes_per_second > 0);
        if (each.content == "text") {
            CHECK(each.ratio > 1.5);
            CHECK(each.ratio < 10);
        } else {
            CHECK(each.content == "random");
            CHECK(each.ratio == Approx(1).margin(0.01));
        }
    }
}

TEST_CASE("all cores are measured where no number of threads is given", "[scan]") {
    rate_options options = quick_options();
    options.threads = 0;
    CHECK(measure_machine(options).threads == std::max(1u, std::thread::hardware_concurrency()));
}

TEST_CASE("measuring a machine ends when it is cancelled", "[scan]") {
    std::stop_source stop;
    rate_options options = quick_options();
    options.seconds = 60;  // ten minutes in all
    const std::jthread canceller([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        stop.request_stop();
    });
    const auto begin = std::chrono::steady_clock::now();
    try {
        measure_machine(options, stop.get_token());
        FAIL("was not interrupted");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::interrupted);
    }
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
}

TEST_CASE("a disk is read once where it holds data, in whole chunks, and nothing else is done to it", "[scan]") {
    memory_device disk(20 * chunk + 777, "the disk");
    fill(disk, {0, 3 * chunk}, 1);
    fill(disk, {7 * chunk + 5000, 100}, 2);
    fill(disk, {12 * chunk - 10, 20}, 3);
    fill(disk, {20 * chunk + 700, 77}, 4);
    recording_device recorded(disk);
    event_log log;
    logging_device logged(recorded, log);
    const disk_rate rate = measure_disk(logged, quick_options());
    const extent_set expected{{0, 3 * chunk}, {7 * chunk, chunk}, {11 * chunk, 2 * chunk}, {20 * chunk, 777}};
    CHECK(recorded.reads == expected);
    CHECK(recorded.read_twice.empty());
    CHECK(rate.read_bytes == expected.total());
    CHECK(rate.whole);
    CHECK_FALSE(rate.direct);
    CHECK(rate.depth == 3);
    CHECK(rate.piece_bytes == chunk);
    REQUIRE(rate.bytes_per_second().has_value());
    CHECK(*rate.bytes_per_second() > 0);
    for (const std::string& what : log.all()) CHECK((what == "read" || what == "allocation"));
}

TEST_CASE("a disk without a byte, without data or with one byte can be measured", "[scan]") {
    memory_device none(0), holes(std::uint64_t{64} << 40), one(1);
    for (device* each : {static_cast<device*>(&none), static_cast<device*>(&holes)}) {
        const disk_rate rate = measure_disk(*each, quick_options());
        CHECK(rate.read_bytes == 0);
        CHECK(rate.whole);
        CHECK_FALSE(rate.bytes_per_second().has_value());
    }
    fill(one, {0, 1}, 1);
    const disk_rate rate = measure_disk(one, quick_options());
    CHECK(rate.read_bytes == 1);
    CHECK(rate.whole);
    CHECK(rate.bytes_per_second().has_value());
}

TEST_CASE("reading a disk ends when the time is up", "[scan]") {
    memory_device disk(4096 * std::uint64_t{chunk});
    allocated_device data(disk, {{0, disk.size()}});
    hooked_device slow(data, [](device_call call, extent) {
        if (call == device_call::read) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    rate_options options = quick_options();
    options.disk_seconds = 0.1;  // the whole takes half a minute
    const disk_rate rate = measure_disk(slow, options);
    CHECK(rate.read_bytes > 0);
    CHECK(rate.read_bytes < disk.size());
    CHECK_FALSE(rate.whole);
    CHECK(rate.seconds >= 0.1);
}

TEST_CASE("reads are in flight up to the depth, and no more", "[scan]") {
    memory_device disk(200 * chunk);
    fill(disk, {0, disk.size()}, 1);
    std::atomic<int> now{0}, most{0};
    hooked_device counted(disk, [&](device_call call, extent) {
        if (call != device_call::read) return;
        const int seen = ++now;
        for (int before = most; seen > before && !most.compare_exchange_weak(before, seen);) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        --now;
    });
    rate_options options = quick_options();
    options.depth = 8;
    measure_disk(counted, options);
    CHECK(most <= 8);
    CHECK(most > 1);
    options.depth = 1;
    most = 0;
    measure_disk(counted, options);
    CHECK(most == 1);
}

TEST_CASE("a read error ends the measuring and names disk and place, whichever call fails", "[scan]") {
    memory_device disk(8 * chunk, "the disk");
    fill(disk, {0, disk.size()}, 1);
    for (std::uint64_t nth = 0; nth < 9; ++nth) {
        INFO("call " << nth);
        failing_device broken(disk, nth, false);
        const error why = failure_of(broken);
        CHECK(why.kind() == error_kind::device_io);
        CHECK(why.detail().device == "the disk");
        REQUIRE(broken.failures().size() == 1);
        CHECK(why.detail().offset == broken.failures()[0].where.offset);
    }
    // The others stop too, after what each has begun.
    memory_device large_disk(4096 * std::uint64_t{chunk});
    allocated_device data(large_disk, {{0, large_disk.size()}});
    std::atomic<unsigned> reads{0};
    hooked_device counted(data, [&](device_call call, extent) {
        if (call == device_call::read) ++reads;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    failing_device broken(counted, 5, false);
    failure_of(broken);
    CHECK(reads < 100);
    failing_device odd(disk, 3, true, [] { throw std::runtime_error("odd"); });
    CHECK(failure_of(odd).kind() == error_kind::device_io);
    CHECK(failure_of(odd).detail().device == "the disk");
}

TEST_CASE("no memory for a disk is an error that says what takes less, on a reader's thread and on the caller's",
          "[scan]") {
    // Asked by the caller's thread, before there is a reader.
    class unready final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        const device_properties& properties() const override { throw std::bad_alloc(); }
    };
    memory_device disk(8 * chunk, "the disk");
    fill(disk, {0, disk.size()}, 1);
    unready early(disk);
    failing_device late(disk, 3, true, [] { throw std::bad_alloc(); });
    for (device* each : {static_cast<device*>(&early), static_cast<device*>(&late)}) {
        const error why = failure_of(*each);
        CHECK(why.kind() == error_kind::device_io);
        CHECK(why.detail().device == "the disk");
        CHECK(std::string(why.what()).find("out of memory") != std::string::npos);
        CHECK(why.detail().hint.find("--chunk-size") != std::string::npos);
    }
}

TEST_CASE("the depth and the piece of a rate are those that were read with", "[scan]") {
    memory_device disk(8 << 20);
    fill(disk, {0, disk.size()}, 1);
    rate_options options = quick_options();
    options.depth = 16;
    options.chunk_bytes = 4 << 20;
    const disk_rate rate = measure_disk(disk, options);
    CHECK(rate.depth == 2);
    CHECK(rate.piece_bytes == 256 << 10);
}

TEST_CASE("reading a disk ends soon when it is cancelled", "[scan]") {
    memory_device disk(4096 * std::uint64_t{chunk}, "the disk");
    allocated_device data(disk, {{0, disk.size()}});
    std::stop_source stop;
    std::atomic<unsigned> reads{0};
    hooked_device slow(data, [&](device_call call, extent) {
        if (call != device_call::read) return;
        if (++reads == 10) stop.request_stop();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    });
    const error why = failure_of(slow, quick_options(), stop.get_token());
    CHECK(why.kind() == error_kind::interrupted);
    CHECK(why.detail().device == "the disk");
    CHECK(reads < 20);
    reads = 100;
    CHECK(failure_of(slow, quick_options(), stop.get_token()).kind() == error_kind::interrupted);
    CHECK(reads == 100);
}

TEST_CASE("options of measuring that make no sense are refused", "[scan]") {
    memory_device disk(chunk);
    const auto refused = [&](const rate_options& options) {
        CHECK(failure_of(disk, options).kind() == error_kind::usage);
        CHECK_THROWS_AS(measure_machine(options), error);
    };
    const auto with = [](auto change) {
        rate_options options = quick_options();
        change(options);
        return options;
    };
    for (const unsigned depth : {0u, 257u}) refused(with([&](rate_options& options) { options.depth = depth; }));
    refused(with([](rate_options& options) { options.threads = 5000; }));
    refused(with([](rate_options& options) { options.block_bytes = 1000; }));
    refused(with([](rate_options& options) { options.chunk_bytes = 0; }));
    for (const double seconds : {0.0, -1.0, 1e9, std::numeric_limits<double>::quiet_NaN()}) {
        refused(with([&](rate_options& options) { options.seconds = seconds; }));
        refused(with([&](rate_options& options) { options.disk_seconds = seconds; }));
    }
}

TEST_CASE("a loop device that may only be read is measured, past the cache and through it", "[scan]") {
    if (!loop_devices_available()) {
        WARN("no loop device can be made here");
        return;
    }
    const temp_dir folder;
    write_whole_file(folder.file("disk"), random_bytes(1, 5 << 20));
    const loop_device loop(folder.file("disk"), {.read_only = true});
    for (const bool direct : {false, true}) {
        const auto disk = open_device(loop.path(), {.direct = direct});
        const disk_rate rate = measure_disk(*disk, quick_options());
        CHECK(rate.read_bytes == 5 << 20);
        CHECK(rate.direct == disk->properties().direct);
    }
}

}  // namespace
