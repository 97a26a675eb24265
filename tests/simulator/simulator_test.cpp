// Whole syncs over disks and links that fail, in one thread, from one seed: see simulation.hpp for a seed's story and
// properties.hpp for what must hold in it.
//
// 1000 seeds; REPROTECT_SOAK=100000 makes 100000, from another seed each time. A failure prints REPROTECT_SEED=n, and
// with that variable set the one run is made again.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <random>
#include <string>

#include "simulator/simulation.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

std::optional<std::uint64_t> number_from(const char* variable) {
    const char* const set = std::getenv(variable);
    return set != nullptr ? std::optional<std::uint64_t>(std::strtoull(set, nullptr, 10)) : std::nullopt;
}

}  // namespace

TEST_CASE("whatever fails in a simulated sync, nothing is called done that is not, and the next sync ends equal",
          "[simulator][soak]") {
    const auto soak = number_from("REPROTECT_SOAK");
    const auto replayed = number_from("REPROTECT_SEED");
    const std::uint64_t rounds = soak ? *soak : replayed ? 1 : 1000;
    const std::uint64_t first = replayed ? *replayed : soak ? std::random_device()() : 1;
    tally counts;
    for (std::uint64_t seed = first; seed - first < rounds; ++seed) {
        INFO("REPROTECT_SEED=" << seed);
        const simulation_result result = simulate(seed, counts);
        INFO(result.story << result.broken);
        REQUIRE(result.broken.empty());
    }
    if (soak || replayed)
        for (const auto& [what, count] : counts) WARN(what << ": " << count);
    if (rounds < 1000) return;
    // A simulator in which nothing goes wrong any more would show nothing.
    for (const char* what : {"done",
                             "failed",
                             "refused",
                             "refused as poisoned",
                             "distrusted",
                             "resized",
                             "cut",
                             "crashed",
                             "killed",
                             "stopped",
                             "source changed",
                             "target changed",
                             "source failed",
                             "target failed",
                             "flush failed",
                             "record not saved",
                             "refused frame",
                             "sent again",
                             "evicted",
                             "punched",
                             "read again",
                             "checkpoint",
                             "not read again",
                             "within",
                             "lied"}) {
        INFO(what);
        CHECK(counts[what] > 0);
    }
}

TEST_CASE("a seed brings back the same run", "[simulator]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        tally counts;
        const simulation_result once = simulate(seed, counts);
        CHECK(simulate(seed, counts).trace == once.trace);
    }
}
