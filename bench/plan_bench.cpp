// How fast maps of a million blocks are compared, and how fast a million chunks become a root.
//
// Comparing is bounded by the digests that have to be looked at: all chunks', and the blocks' of chunks that differ
// (with 1% of the blocks changed at random places, nine chunks of ten differ). The floor `look` is that loop, which
// counts and keeps nothing. A root takes one hash over 48 bytes for each chunk; the floor is as many bare ones.
#include <algorithm>

#include "floor.hpp"
#include "plan/digest_tree.hpp"
#include "reprotect/differential.hpp"

namespace reprotect::bench {
namespace {

std::vector<digest> random_digests(std::uint64_t count, std::uint64_t seed) {
    const std::vector<std::byte> bytes = random_bytes(count * sizeof(digest), seed);
    std::vector<digest> digests(count);
    std::memcpy(digests.data(), bytes.data(), bytes.size());
    return digests;
}

geometry shape_of(std::uint64_t chunks) {
    return {chunks * chunk_bytes_default, chunk_bytes_default, block_bytes_default};
}

digest_map map_of(digest_run run) {
    digest_map map(shape_of(run.chunks.size()), digest_algorithm::sha256, true);
    map.append(std::move(run));
    return map;
}

constexpr std::uint64_t blocks_per_chunk = chunk_bytes_default / block_bytes_default;

std::uint64_t look(const digest_run& source, const digest_run& target) {
    std::uint64_t found = 0;
    for (std::size_t chunk = 0; chunk < source.chunks.size(); ++chunk) {
        if (source.chunks[chunk] == target.chunks[chunk]) continue;
        for (std::size_t block = chunk * blocks_per_chunk; block < (chunk + 1) * blocks_per_chunk; ++block)
            found += source.blocks[block] == target.blocks[block] ? 0u : 1u;
    }
    return found;
}

// Rate: blocks a second.
void compare_maps(benchmark::State& state) {
    const std::uint64_t blocks = sized(1 << 20, 1 << 16);
    const std::uint64_t changed = blocks * static_cast<std::uint64_t>(state.range(0)) / 100;
    digest_run source{0, random_digests(blocks / blocks_per_chunk, 4), random_digests(blocks, 5)};
    digest_run target = source;
    std::vector<std::uint64_t> order(blocks);
    for (std::uint64_t i = 0; i < blocks; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937_64(6));
    for (std::uint64_t i = 0; i < changed; ++i) {
        target.blocks[order[i]].bytes[0] ^= std::byte{1};
        target.chunks[order[i] / blocks_per_chunk].bytes[0] = ~source.chunks[order[i] / blocks_per_chunk].bytes[0];
    }
    const digest_map source_map = map_of(std::move(source));
    const digest_map target_map = map_of(std::move(target));
    against(
        state, amount{unit::items, blocks}, [&] { benchmark::DoNotOptimize(compare(source_map, target_map)); },
        floor{"look", [&] { benchmark::DoNotOptimize(look(source_map.runs()[0], target_map.runs()[0])); }});
    state.counters["extents"] = static_cast<double>(compare(source_map, target_map).changes().size());
}
BENCHMARK(compare_maps)->ArgName("percent")->Arg(0)->Arg(1)->Arg(5)->Arg(50)->Unit(benchmark::kMillisecond);

// Rate: stored chunks a second. `runs`: into how many pieces, parted by holes as long, the data falls.
void root_of_chunks(benchmark::State& state) {
    const std::uint64_t chunks = sized(1 << 20, 1 << 14);
    const auto runs = static_cast<std::uint64_t>(state.range(0));
    digest_map map(shape_of(runs == 1 ? chunks : 2 * chunks), digest_algorithm::xxh3);
    for (std::uint64_t run = 0; run < runs; ++run)
        map.append({2 * run * (chunks / runs), random_digests(chunks / runs, 7 + run), {}});
    const digester with(digest_algorithm::xxh3, random_secret());
    const std::vector<std::byte> node = random_bytes(48, 8);
    against(
        state, amount{unit::items, chunks}, [&] { benchmark::DoNotOptimize(tree_root(map, with)); },
        floor{"xxh3", [&] {
                  for (std::uint64_t i = 0; i < chunks; ++i) bare_xxh3(node, node.size());
              }});
}
BENCHMARK(root_of_chunks)->ArgName("runs")->Arg(1)->Arg(1024)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reprotect::bench
