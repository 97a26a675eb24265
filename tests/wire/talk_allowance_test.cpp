// What a side may say at any time, in simulated time.
#include <catch2/catch.hpp>

#include "wire/talk_allowance.hpp"

using namespace reprotect;
using namespace std::chrono_literals;

namespace {

constexpr talk_allowance::clock::time_point beginning{1'000'000s};
constexpr std::uint64_t at_once = talk_allowance::bytes_at_once, a_second = talk_allowance::bytes_per_second;

}  // namespace

TEST_CASE("a side that was quiet for a day may say no more at once than a new one", "[wire]") {
    for (const auto quiet : {0s, 1s, 24 * 3600s}) {
        talk_allowance talk(beginning);
        const auto now = beginning + quiet;
        std::uint64_t said = 0;
        while (said <= 2 * at_once && talk.take(4, now)) said += 4;
        CHECK(said == at_once);
    }
}

TEST_CASE("a side may say for ever what leaks away meanwhile, however small its frames are", "[wire]") {
    talk_allowance talk(beginning);
    REQUIRE(talk.take(at_once, beginning));
    const unsigned parts = GENERATE(1, 1024);
    bool all_taken = true;
    auto now = beginning;
    for (unsigned i = 0; i < 100 * parts; ++i) {
        now += 1'000'000'000ns / parts + 1ns;
        all_taken = all_taken && talk.take(a_second / parts, now);
    }
    CHECK(all_taken);
    CHECK_FALSE(talk.take(64, now));
}
