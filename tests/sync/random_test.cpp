// Seeded random disks, edits, sizes and options end in byte equality, on memory, files and a loop device.
#include <catch2/catch.hpp>

#include "reprotect/open_device.hpp"
#include "support/loop_device.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

sync_options random_options(std::mt19937_64& random) {
    sync_options options;
    const std::uint32_t blocks[] = {512, 1024, 4096, 65536};
    options.block_bytes = blocks[random() % 4];
    options.chunk_bytes = std::max(4096u, options.block_bytes * static_cast<std::uint32_t>(1 + random() % 20));
    const unsigned depths[] = {1, 2, 5, 16};
    options.depth = depths[random() % 4];
    options.threads = random() % 3 == 0 ? 1 + static_cast<unsigned>(random() % 3) : 0;
    options.algorithm = random() % 2 ? digest_algorithm::xxh3 : digest_algorithm::sha256;
    options.verify = random() % 4 == 0 ? verify_level::reread : verify_level::root;
    options.keep_differential = random() % 2;
    options.memory_bytes =
        random() % 2 ? memory_minimum(options) : std::max<std::uint64_t>(memory_minimum(options), 32 << 20);
    return options;
}

// Content of the target as an earlier sync may have left it.
void make_target(device& source, device& target, std::mt19937_64& random) {
    switch (random() % 4) {
        case 0:
            break;
        case 1:
            fill_sparsely(target, random);
            break;
        default:
            copy_content(source, target);
            age(target, random, static_cast<unsigned>(random() % 12));
    }
}

void check_counts(const sync_report& report, std::uint64_t size) {
    const byte_counts& bytes = report.bytes;
    CHECK(bytes.disk == size);
    CHECK(bytes.read_source <= size);
    CHECK(bytes.read_target <= size);
    CHECK(bytes.same <= bytes.compared);
    CHECK(bytes.written <= bytes.changed + bytes.reread_source);
    CHECK(report.verified != proof_level::none);
}

}  // namespace

TEST_CASE("random disks in memory become equal under random options", "[sync]") {
    for (std::uint64_t seed = 1; seed <= 120; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t size = random() % 10 == 0 ? random() % 5 : random() % 1'200'000;
        memory_device source(size, "source");
        const bool other_size = random() % 3 == 0;
        memory_device target(other_size ? random() % 1'200'000 : size, "target");
        fill_sparsely(source, random);
        make_target(source, target, random);
        target.mutable_properties().punches_holes = random() % 2;
        target.mutable_properties().one_writer = seed % 2 == 0;
        sync_options options = random_options(random);
        options.truncate = random() % 2;
        options.allow_larger = !options.truncate;
        const auto before = bytes_of(target);
        const auto store = make_memory_state_store();

        const sync_report report = run_sync(source, target, options, store.get());
        require_synced(report, source, target);
        check_counts(report, size);
        if (before.size() > size && options.allow_larger) {
            const auto after = bytes_of(target);
            REQUIRE(after.size() == before.size());
            CHECK(std::equal(after.begin() + static_cast<std::ptrdiff_t>(size), after.end(),
                             before.begin() + static_cast<std::ptrdiff_t>(size)));
        } else {
            CHECK(target.size() == size);
        }
        // And once more: nothing is left to do.
        const sync_report again = run_sync(source, target, options, store.get());
        require_ok(again);
        CHECK_FALSE(again.different());
        CHECK(again.bytes.written == 0);
    }
}

TEST_CASE("within a random extent set, what lies in it becomes equal and the rest stays", "[sync]") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t size = 1 + random() % 800'000;
        memory_device source(size, "source"), target(size, "target");
        fill_sparsely(source, random);
        make_target(source, target, random);
        target.mutable_properties().punches_holes = random() % 2;
        target.mutable_properties().one_writer = seed % 2 == 0;
        sync_options options = random_options(random);
        options.verify = verify_level::root;
        extent_set within;
        const std::uint64_t blocks = (size + options.block_bytes - 1) / options.block_bytes;
        for (unsigned i = 0; i < random() % 6; ++i) {
            const std::uint64_t first = random() % blocks * options.block_bytes;
            within.add({first, std::min(size - first, (1 + random() % 20) * options.block_bytes)});
        }
        options.within = within;
        auto expected = bytes_of(target);
        const auto wanted = bytes_of(source);
        for (const extent& range : within)
            std::copy_n(wanted.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                        expected.begin() + static_cast<std::ptrdiff_t>(range.offset));
        const sync_report report = run_sync(source, target, options);
        require_ok(report);
        REQUIRE(bytes_of(target) == expected);
        CHECK(report.verified == proof_level::partial);
        CHECK_FALSE(report.root.has_value());
    }
}

TEST_CASE("random sparse files become equal, holes kept", "[sync]") {
    const temp_dir directory;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::string from = directory.file("source"), to = directory.file("target");
        const std::uint64_t size = random() % 1'500'000;
        make_sparse_file(from, size);
        make_sparse_file(to, random() % 3 == 0 ? random() % 1'500'000 : size);
        sync_options options = random_options(random);
        options.truncate = true;
        {
            const auto source = open_device(from, {.mode = access::read_write});
            const auto target = open_device(to, {.mode = access::read_write});
            fill_sparsely(*source, random);
            make_target(*source, *target, random);
        }
        const auto source = open_device(from, {.direct = seed % 5 == 0});
        const auto target = open_device(to, {.mode = access::read_write, .direct = seed % 7 == 0});
        require_ok(run_sync(*source, *target, options));
        REQUIRE(read_whole_file(from) == read_whole_file(to));
    }
}

TEST_CASE("a random disk on a loop device becomes equal", "[sync]") {
    if (!loop_devices_available()) {
        WARN("no loop devices here");
        return;
    }
    const temp_dir directory;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t size = 4096 * (1 + random() % 300);
        const std::string file = directory.file("backing" + std::to_string(seed));
        make_sparse_file(file, size + (seed % 2 ? 0 : 8192));
        const loop_device loop(file, {.sector_bytes = seed == 3 ? 4096u : 512u});
        memory_device source(size, "source");
        fill_sparsely(source, random);
        sync_options options = random_options(random);
        options.allow_larger = true;
        for (int round = 0; round < 2; ++round) {
            const auto target = open_device(loop.path(), {.mode = access::read_write, .direct = seed == 4});
            require_synced(run_sync(source, *target, options), source, *target);
            age(source, random, 5);
        }
    }
}
