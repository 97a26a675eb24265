// The two peers driven to the end in one thread, over every window, order, hole and size that a seed can bring up.
#include <catch2/catch.hpp>

#include "peer/peer_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

struct scenario {
    std::uint64_t source_bytes = 0, target_bytes = 0;
    source_config source;
    target_config target;
};

std::uint64_t pick(std::mt19937_64& random, std::uint64_t low, std::uint64_t high) {
    return std::uniform_int_distribution<std::uint64_t>(low, high)(random);
}

// Small geometry, so that a few hundred KiB have many chunks.
scenario random_scenario(std::mt19937_64& random, bool tight) {
    scenario it;
    it.source.shape.block_bytes = random() % 2 ? 512 : 4096;
    it.source.shape.chunk_bytes = it.source.shape.block_bytes * static_cast<std::uint32_t>(pick(random, 1, 12));
    if (it.source.shape.chunk_bytes < chunk_bytes_min) it.source.shape.chunk_bytes = chunk_bytes_min;
    it.source_bytes = random() % 8 == 0 ? pick(random, 0, 2) : pick(random, 1, 400'000);
    it.source.shape.disk_bytes = it.source_bytes;
    it.target_bytes = it.source_bytes;
    it.source.algorithm = random() % 2 ? digest_algorithm::xxh3 : digest_algorithm::sha256;
    const auto window = [&](std::uint64_t most) { return tight ? 1 : pick(random, 1, most); };
    it.source.reads_max = window(8);
    it.source.buffers_max = window(8);
    it.source.digest_entries = window(40);
    it.target.reads_max = window(8);
    it.target.applies_max = window(8);
    it.target.allocation_runs = window(20);
    it.target.data_messages = window(8);
    it.target.data_bytes = window(64) * 512;
    it.target.proof_chunks = window(20);
    it.target.punches_holes = random() % 2;
    const unsigned pushes[] = {0, 50, 101};
    it.target.push_percent = pushes[random() % 3];
    it.target.disk_bytes = it.target_bytes;
    return it;
}

void require_equal_disks(device& source, device& target) {
    REQUIRE(contents(source, source.size()) == contents(target, source.size()));
}

void run_to_success(peer_rig& rig) {
    REQUIRE(rig.run());
    if (rig.source_end->has_value()) FAIL("source: " << (*rig.source_end)->what());
    if (rig.target_end->has_value()) FAIL("target: " << (*rig.target_end)->what());
}

void random_sync(std::uint64_t seed, bool tight) {
    std::mt19937_64 random(seed);
    scenario it = random_scenario(random, tight);
    memory_device source(it.source_bytes, "source");
    memory_device target(it.target_bytes, "target");
    fill_randomly(source, random, static_cast<unsigned>(pick(random, 0, 100)));
    switch (random() % 4) {
        case 0:
            break;  // an empty target
        case 1:
            fill_randomly(target, random);
            break;
        default:
            copy_disk(source, target);
            age_randomly(target, random, static_cast<unsigned>(pick(random, 0, 20)));
    }
    it.source.reread = random() % 4 == 0;
    peer_rig rig(source, target, it.source, it.target, seed);
    run_to_success(rig);
    require_equal_disks(source, target);
    CHECK(*rig.source().root() == *rig.target().root());
    CHECK(rig.buffers_high <= it.source.buffers_max);
    const source_counts& counts = rig.source().counts();
    CHECK(counts.read + rig.target().counts().read <= 2 * it.source_bytes);
}

}  // namespace

TEST_CASE("random disks become equal under every order that the channel allows", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        INFO("seed " << seed);
        random_sync(seed, false);
    }
}

TEST_CASE("with every window at one nothing blocks and disks become equal", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        INFO("seed " << seed);
        random_sync(seed, true);
    }
}
