// How fast bytes become digests: blocks of each size under each algorithm, chunks from their blocks' digests.
//
// The bytes are a piece as the workers read it, so they come from the second-level cache, as they do right after a
// read. Blocks are bounded by the bare hash (xxh3); that one by what the cache delivers (memcpy). Under SHA-256 the
// processor's SHA instructions are the bound, which OpenSSL's one-shot call over the whole piece shows (sha256).
#include <openssl/evp.h>

#include <array>

#include "codec/digester.hpp"
#include "floor.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect::bench {
namespace {

constexpr std::uint64_t piece_bytes = disk_worker::piece_bytes;

void digest_blocks(benchmark::State& state, digest_algorithm algorithm) {
    const auto block_bytes = static_cast<std::uint64_t>(state.range(0));
    const std::vector<std::byte> piece = random_bytes(piece_bytes, 2);
    std::vector<std::byte> copy(piece.size());
    std::vector<digest> digests(piece_bytes / block_bytes);
    const digester with(algorithm, random_secret());
    const auto work = [&] {
        for (std::size_t i = 0; i < digests.size(); ++i)
            digests[i] = with.bytes(std::span(piece).subspan(i * block_bytes, block_bytes));
        benchmark::ClobberMemory();
    };
    const floor copying{"memcpy", [&] {
                            std::memcpy(copy.data(), piece.data(), piece.size());
                            benchmark::ClobberMemory();
                        }};
    if (algorithm == digest_algorithm::xxh3) {
        against(state, amount{unit::bytes, piece_bytes}, work, floor{"xxh3", [&] { bare_xxh3(piece, block_bytes); }},
                copying);
    } else {
        std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
        const floor whole{"sha256", [&] {
                              EVP_Digest(piece.data(), piece.size(), sum.data(), nullptr, EVP_sha256(), nullptr);
                              benchmark::ClobberMemory();
                          }};
        against(state, amount{unit::bytes, piece_bytes}, work, whole, copying);
    }
}
BENCHMARK_CAPTURE(digest_blocks, xxh3, digest_algorithm::xxh3)->ArgName("block")->RangeMultiplier(2)->Range(512, 65536);
BENCHMARK_CAPTURE(digest_blocks, sha256, digest_algorithm::sha256)
    ->ArgName("block")
    ->RangeMultiplier(8)
    ->Range(512, 65536);

// Rate: chunks' digests a second. A disk of 1 TiB has a million of them.
void digest_chunk(benchmark::State& state) {
    const auto blocks_count = static_cast<std::size_t>(state.range(0));
    std::vector<digest> blocks(blocks_count);
    const std::vector<std::byte> input = random_bytes(blocks_count * sizeof(digest), 3);
    std::memcpy(blocks.data(), input.data(), input.size());
    const digester with(digest_algorithm::xxh3, random_secret());
    against(
        state, amount{unit::items, 1}, [&] { benchmark::DoNotOptimize(with.chunk(blocks_count * 4096, blocks)); },
        floor{"xxh3", [&] { bare_xxh3(input, input.size()); }});
}
BENCHMARK(digest_chunk)->ArgName("blocks")->Arg(16)->Arg(256)->Arg(2048);

}  // namespace
}  // namespace reprotect::bench
