// One disk read in parallel against a slow oracle, and what happens when the disk, the listener or the user says no.
#include <catch2/catch.hpp>

#include <chrono>
#include <thread>

#include "plan/digest_tree.hpp"
#include "reprotect/checksum.hpp"
#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/device_doubles.hpp"
#include "support/naive_digests.hpp"
#include "support/sparse_disk.hpp"
#include "support/temp_dir.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

const digester sha(digest_algorithm::sha256, {});

checksum_options small_options(unsigned depth) {
    checksum_options options;
    options.block_bytes = 4096;
    options.chunk_bytes = 32 * 1024;
    options.depth = depth;
    return options;
}

error failure_of(device& disk, const checksum_options& options, sync_listener* listener = nullptr,
                 std::stop_token cancel = {}) {
    try {
        checksum(disk, options, listener, cancel);
    } catch (const error& why) {
        return why;
    }
    FAIL("no error");
    return error(error_kind::usage, "");
}

void check_against_oracle(device& disk, const checksum_options& options) {
    const checksum_report report = checksum(disk, options);
    const geometry shape{disk.size(), options.chunk_bytes, options.block_bytes};
    const std::vector<std::byte> bytes = bytes_of(disk);
    CHECK(report.map == naive_map(sha, shape, bytes, options.with_blocks));
    CHECK(report.root == naive_root(sha, shape, bytes));
    CHECK(report.root == root_of(report.map));
}

}  // namespace

TEST_CASE("a checksum equals a slow one over random sparse disks, at any depth", "[scan]") {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        memory_device disk(random() % 9 == 0 ? random() % 3 : random() % 1'500'000);
        fill_sparsely(disk, random);
        checksum_options options = small_options(seed % 2 ? 1 : 16);
        options.block_bytes = seed % 3 == 0 ? 512 : 4096;
        options.chunk_bytes = options.block_bytes * static_cast<std::uint32_t>(8 + random() % 30);
        options.with_blocks = seed % 5 < 2;
        options.ignore_allocation = seed % 7 == 0;
        check_against_oracle(disk, options);
    }
}

TEST_CASE("a checksum of a sparse file equals a slow one", "[scan]") {
    const temp_dir directory;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::string name = directory.file("disk" + std::to_string(seed));
        make_sparse_file(name, 1'000'000 + random() % 5000);
        const auto disk = open_device(name, {.mode = access::read_write});
        fill_sparsely(*disk, random);
        for (const unsigned depth : {1u, 16u}) check_against_oracle(*disk, small_options(depth));
    }
}

TEST_CASE("where allocation ends in the middle of a block or chunk, nothing is lost", "[scan]") {
    memory_device disk(1'000'000);
    fill(disk, {0, 1'000'000}, 1);
    for (const std::uint64_t edge : {1, 511, 4095, 4096, 4097, 32767, 32768, 65535, 65536, 65537, 999'999}) {
        INFO("edge " << edge);
        // The device says: data up to the edge, then a hole (and it is one).
        memory_device cut(1'000'000);
        cut.write(0, bytes_of(disk, edge));
        allocated_device said(cut, {{0, edge}});
        check_against_oracle(said, small_options(3));
    }
}

TEST_CASE("a device that tells of one run at a time is read the same", "[scan]") {
    class terse final : public device_decorator {
    public:
        explicit terse(device& disk) : device_decorator(disk) {}
        std::vector<allocation_run> allocation(extent within, std::size_t) override {
            return device_decorator::allocation(within, 1);
        }
    };
    std::mt19937_64 random(3);
    memory_device disk(900'000);
    for (std::uint64_t at = 0; at < 800'000; at += 8192 + 4096 * (random() % 3)) fill(disk, {at, 4096}, at);
    terse said(disk);
    check_against_oracle(said, small_options(4));
}

TEST_CASE("a checksum under xxh3 is keyed anew each time", "[scan]") {
    memory_device disk(100'000);
    fill(disk, {0, 100'000}, 1);
    checksum_options options = small_options(2);
    options.algorithm = digest_algorithm::xxh3;
    CHECK(checksum(disk, options).root != checksum(disk, options).root);
}

TEST_CASE("each allocated byte is read once and no hole is read", "[scan]") {
    for (const unsigned depth : {1u, 16u}) {
        memory_device disk(4 << 20);
        fill(disk, {0, 1 << 20}, 1);
        fill(disk, {3 << 20, 65536}, 2);
        recording_device recorder(disk);
        const checksum_report report = checksum(recorder, small_options(depth));
        CHECK(recorder.reads == extent_set{{0, 1 << 20}, {3 << 20, 65536}});
        CHECK(recorder.read_twice.empty());
        CHECK(report.read_bytes == (1 << 20) + 65536);
    }
}

TEST_CASE("holes are read where allocation is to be ignored", "[scan]") {
    memory_device disk(1 << 20);
    fill(disk, {500'000, 5000}, 1);
    allocated_device blind(disk, {});  // says: all hole
    checksum_options options = small_options(4);
    const digest believed = checksum(blind, options).root;
    options.ignore_allocation = true;
    recording_device recorder(blind);
    const checksum_report report = checksum(recorder, options);
    CHECK(report.read_bytes == 1 << 20);
    CHECK(recorder.read_twice.empty());
    CHECK(report.root != believed);
    CHECK(report.root == naive_root(sha, {1 << 20, options.chunk_bytes, options.block_bytes}, bytes_of(disk)));
}

TEST_CASE("a hole of 32 TiB costs nothing", "[scan]") {
    const std::uint64_t size = std::uint64_t{1} << 45;
    memory_device disk(size + 77);
    fill(disk, {size / 2, 4096}, 1);
    const auto before = std::chrono::steady_clock::now();
    const checksum_report report = checksum(disk, checksum_options{});
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(2));
    CHECK(report.read_bytes == 65536);
    CHECK(report.map.runs().size() == 1);
    CHECK(report.root == root_of(report.map));
}

TEST_CASE("a read that fails is named, whichever it is, and never becomes data", "[scan]") {
    for (const unsigned depth : {1u, 16u}) {
        bool hit = true;
        for (std::uint64_t nth = 0; hit; ++nth) {
            memory_device disk(300'000, "the disk");
            fill(disk, {0, 150'000}, 1);
            fill(disk, {250'000, 50'000}, 2);
            failing_device broken(disk, nth, nth % 2 == 0);
            INFO("call " << nth << ", depth " << depth);
            try {
                const checksum_report report = checksum(broken, small_options(depth));
                hit = false;
                CHECK(broken.failures().empty());
                CHECK(report.root == checksum(disk, small_options(1)).root);
                CHECK(nth > 5);
            } catch (const error& why) {
                REQUIRE_FALSE(broken.failures().empty());
                CHECK(why.kind() == error_kind::device_io);
                CHECK(why.detail().device == "the disk");
                bool named = false;
                for (const auto& each : broken.failures())
                    named = named || (why.detail().operation == test::to_string(each.call) &&
                                      (each.where.length == 0 || why.detail().offset == each.where.offset));
                CHECK(named);
            }
        }
    }
}

TEST_CASE("whatever a device throws while it is summed becomes an error that names it", "[scan]") {
    memory_device disk(100'000, "the disk");
    fill(disk, {0, 100'000}, 1);
    const std::function<void()> raises[] = {[] { throw std::bad_alloc(); }, [] { throw std::runtime_error("odd"); },
                                            [] { throw 42; }};
    for (const auto& raise : raises) {
        failing_device broken(disk, 2, true, raise);
        const error why = failure_of(broken, small_options(3));
        CHECK(why.kind() == error_kind::device_io);
        CHECK(why.detail().device == "the disk");
    }
}

TEST_CASE("a checksum that is cancelled ends soon and says so", "[scan]") {
    memory_device disk(64 << 20);
    fill(disk, {0, 64 << 20}, 1);
    std::stop_source stop;
    std::atomic<unsigned> reads{0};
    hooked_device slow(disk, [&](device_call call, extent) {
        if (call != device_call::read) return;
        if (++reads == 10) stop.request_stop();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    });
    const auto before = std::chrono::steady_clock::now();
    const error why = failure_of(slow, small_options(2), nullptr, stop.get_token());
    CHECK(why.kind() == error_kind::interrupted);
    CHECK(reads < 1500);  // of 2048
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(1));
}

TEST_CASE("a disk that changes its size while it is summed fails the checksum", "[scan]") {
    memory_device disk(1 << 20, "the disk");
    fill(disk, {0, 1 << 20}, 1);
    class growing final : public device_decorator {
    public:
        explicit growing(device& inner_disk) : device_decorator(inner_disk) {}
        std::uint64_t current_size() override { return size() + 512; }
    } grown(disk);
    const error why = failure_of(grown, small_options(2));
    CHECK(why.kind() == error_kind::size_changed);
    CHECK(why.detail().device == "the disk");
}

TEST_CASE("progress of a checksum only grows and ends at the disk's size", "[scan]") {
    struct listener final : sync_listener {
        void on_progress(const sync_progress& now) override { seen.push_back(now); }
        std::vector<sync_progress> seen;
    } progress;
    memory_device disk(4 << 20);
    fill(disk, {0, 2 << 20}, 1);
    hooked_device slow(disk, [](device_call call, extent) {
        if (call == device_call::read) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    });
    checksum(slow, small_options(2), &progress);
    REQUIRE(progress.seen.size() >= 2);
    for (std::size_t i = 1; i < progress.seen.size(); ++i) {
        const sync_progress &before = progress.seen[i - 1], &now = progress.seen[i];
        CHECK(now.done_bytes >= before.done_bytes);
        CHECK(now.data_done_bytes >= before.data_done_bytes);
        CHECK(now.data_known_bytes >= now.data_done_bytes);
        CHECK(now.total_bytes == 4 << 20);
        CHECK(now.seconds >= before.seconds);
    }
    CHECK(progress.seen.back().phase == sync_phase::done);
    CHECK(progress.seen.back().done_bytes == 4 << 20);
    CHECK(progress.seen.back().data_known_final);
    CHECK(progress.seen.size() <= static_cast<std::size_t>(progress.seen.back().seconds * 10) + 3);
}

TEST_CASE("a listener that throws ends the checksum, and no thread is left behind", "[scan]") {
    struct listener final : sync_listener {
        void on_progress(const sync_progress&) override {
            ++calls;
            throw std::runtime_error("no more");
        }
        unsigned calls = 0;
    } thrower;
    memory_device disk(16 << 20);
    fill(disk, {0, 16 << 20}, 1);
    std::atomic<unsigned> reads{0};
    hooked_device slow(disk, [&](device_call call, extent) {
        if (call != device_call::read) return;
        ++reads;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    });
    const error why = failure_of(slow, small_options(2), &thrower);
    CHECK(why.kind() == error_kind::interrupted);
    CHECK(std::string(why.what()).find("no more") != std::string::npos);
    CHECK(reads < 500);  // of 512, which take half a second
    CHECK(thrower.calls == 1);
}

TEST_CASE("options of a checksum that make no sense are refused", "[scan]") {
    memory_device disk(100'000);
    checksum_options options = small_options(0);
    CHECK(failure_of(disk, options).kind() == error_kind::usage);
    options.depth = 257;
    CHECK(failure_of(disk, options).kind() == error_kind::usage);
    options.depth = 1;
    options.block_bytes = 1000;
    CHECK(failure_of(disk, options).kind() == error_kind::usage);
}
