// The sample itself, and the arithmetic of its intervals: by hand where that can be done, else by many samples of a
// population that is known.
#include "estimate/sampling.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <random>
#include <set>
#include <vector>

using namespace reprotect;

namespace {

constexpr std::uint32_t block = 4096;

extent_set two_extents() {
    extent_set population;
    population.add({10 * block, 1000 * block});
    population.add({5000 * block, 499 * block + 100});  // the disk's end
    return population;
}

std::vector<std::uint64_t> all_of(sample_plan& plan, std::uint64_t at_once) {
    std::vector<std::uint64_t> offsets;
    for (;;) {
        const auto round = plan.next_round(at_once);
        if (round.empty()) return offsets;
        CHECK(std::ranges::is_sorted(round, {}, &extent::offset));
        for (const extent& each : round) offsets.push_back(each.offset);
    }
}

double half(const spread<double>& value) {
    return (value.high - value.low) / 2;
}

}  // namespace

TEST_CASE("a sample of everything draws each block once, and the short one at the end as it is", "[estimate]") {
    const extent_set population = two_extents();
    sample_plan plan(population, block, 1, 1'000'000);
    extent_set drawn;
    std::size_t count = 0;
    for (auto round = plan.next_round(77); !round.empty(); round = plan.next_round(77))
        for (const extent& each : round) {
            CHECK_FALSE(drawn.overlaps(each));
            drawn.add(each);
            ++count;
            plan.record(each.offset, true);
        }
    CHECK(drawn == population);
    CHECK(count == 1500);
    for (const stratum& each : plan.strata()) CHECK(each.sampled == each.population);
    CHECK(estimate_hits(plan.strata()) == exactly(1500.0));
}

TEST_CASE("what is drawn depends on the seed, not on how many at a time", "[estimate]") {
    const auto drawn = [](std::uint64_t seed, std::uint64_t at_once) {
        sample_plan plan(two_extents(), block, seed, 600);
        auto offsets = all_of(plan, at_once);
        CHECK(offsets.size() == 600);
        std::ranges::sort(offsets);
        return offsets;
    };
    CHECK(drawn(5, 600) == drawn(5, 7));
    CHECK(drawn(5, 600) != drawn(6, 600));
}

TEST_CASE("all strata are sampled alike, wherever drawing ends", "[estimate]") {
    for (const std::uint64_t end : {33u, 256u, 600u}) {
        sample_plan plan(two_extents(), block, 3, 1400);
        for (const extent& each : plan.next_round(end)) plan.record(each.offset, false);
        std::uint64_t least = ~0ull, most = 0, all = 0;
        for (const stratum& each : plan.strata()) {
            least = std::min(least, each.sampled);
            most = std::max(most, each.sampled);
            all += each.sampled;
        }
        CHECK(all == end);
        CHECK(most - least <= 1);
    }
}

TEST_CASE("a turn that is not finished favours no stratum", "[estimate]") {
    extent_set population;
    population.add({0, 1600 * block});
    std::array<unsigned, 16> drawn{};
    for (unsigned seed = 0; seed < 2000; ++seed) {
        sample_plan plan(population, block, seed, 1024);  // 16 strata of 100 blocks
        REQUIRE(plan.strata().size() == drawn.size());
        for (const extent& each : plan.next_round(4)) ++drawn[each.offset / block / 100];
    }
    // Each is binomial of 2000 and a quarter: 500 with a deviation of 19.
    for (const unsigned each : drawn) {
        CHECK(each > 400);
        CHECK(each < 600);
    }
}

TEST_CASE("every block is as likely to be drawn as any other", "[estimate]") {
    std::vector<unsigned> drawn(200);
    extent_set population;
    population.add({0, 200 * block});
    constexpr unsigned samples = 4000, size = 20;
    for (unsigned seed = 0; seed < samples; ++seed) {
        sample_plan plan(population, block, seed, size);
        for (const extent& each : plan.next_round(size)) ++drawn[each.offset / block];
    }
    // Each is binomial of 4000 and a tenth: 400 with a deviation of 19.
    for (const unsigned each : drawn) {
        CHECK(each > 300);
        CHECK(each < 500);
    }
}

TEST_CASE("among few blocks every two are as likely to be drawn first as any other two", "[estimate]") {
    extent_set population;
    population.add({0, 5 * block});
    std::array<unsigned, 25> drawn{};
    for (unsigned seed = 0; seed < 40'000; ++seed) {
        sample_plan plan(population, block, seed, 5);
        const std::uint64_t first = plan.next_round(1)[0].offset / block;
        ++drawn[first * 5 + plan.next_round(1)[0].offset / block];
    }
    // Each of 20 is binomial of 40,000 and a twentieth: 2000 with a deviation of 44.
    for (std::size_t i = 0; i < drawn.size(); ++i) {
        if (i / 5 == i % 5)
            CHECK(drawn[i] == 0);
        else
            CHECK(std::abs(static_cast<int>(drawn[i]) - 2000) < 200);
    }
}

TEST_CASE("an interval of one stratum is Hall's of its binomial", "[estimate]") {
    // Of 10 in 100 with z = 1.7507: the middle moves by 0.8 (1/6 + z^2/3) / 100 = 0.009507 to 0.109507, the variance is
    // 0.09 / 99, and half is the root of 0.009507^2 + z^2 0.09 / 99: 0.053634.
    const std::vector<stratum> one{{100'000'000, 100, 10}};
    const spread<double> found = estimate_hits(one);
    CHECK(found.likely == Approx(1e7));
    CHECK(found.low / 1e8 == Approx(0.055873).margin(0.00001));
    CHECK(found.high / 1e8 == Approx(0.163141).margin(0.00001));
    // As many misses are the same from the other end.
    const spread<double> turned = estimate_hits(std::vector<stratum>{{100'000'000, 100, 90}});
    CHECK(turned.low == Approx(1e8 - found.high));
    CHECK(turned.high == Approx(1e8 - found.low));
}

TEST_CASE("half an interval is within 1.3 of the binomial's, however few hits", "[estimate]") {
    for (const std::uint64_t hits : {1u, 2u, 5u, 20u, 200u, 5000u, 9000u, 9999u}) {
        const std::vector<stratum> one{{100'000'000, 10'000, hits}};
        const double share = static_cast<double>(hits) / 10'000;
        const double bound = 1.645 * std::sqrt(share * (1 - share) / 10'000) * 1e8;
        CHECK(half(estimate_hits(one)) < bound * 1.3);
        CHECK(half(estimate_hits(one)) > bound);
    }
}

TEST_CASE("where no hit was seen there is a bound, and where nothing else was, too", "[estimate]") {
    const std::vector<stratum> none{{1'000'000, 1000, 0}};
    const spread<double> found = estimate_hits(none);
    CHECK(found.low == 0);
    CHECK(found.likely == 0);
    CHECK(found.high == Approx(1e6 * (1 - std::pow(0.05, 0.001))).epsilon(0.001));  // 2,991
    const std::vector<stratum> all{{1'000'000, 1000, 1000}};
    CHECK(estimate_hits(all).low == Approx(1e6 - found.high));
    CHECK(estimate_hits(all).high == 1e6);
    CHECK(estimate_hits(std::vector<stratum>{{1000, 0, 0}}).high == 1000);
    CHECK(estimate_hits({}) == spread<double>{});
    // By hand: of 100 of which 50 were sampled, 4 hits stay unseen in 50 49 48 47 / (100 99 98 97) = 5.9% of all samples,
    // 5 in 2.8%; between the two the bound is 4 and ln(0.0587 / 0.05) / ln(96 / 46).
    CHECK(estimate_hits(std::vector<stratum>{{100, 50, 0}}).high == Approx(4.218).margin(0.01));
    // One block was not looked at: it is all that may be.
    CHECK(estimate_hits(std::vector<stratum>{{100, 99, 0}}).high <= 1);
}

TEST_CASE("hits hide where little was sampled", "[estimate]") {
    // A bound of the first stratum alone: what was sampled of another one says nothing of it.
    const double alone = estimate_hits(std::vector<stratum>{{1'000'000, 256, 0}}).high;
    CHECK(alone == Approx(1e6 * (1 - std::pow(0.05, 1.0 / 256))).epsilon(0.001));
    CHECK(estimate_hits(std::vector<stratum>{{1'000'000, 256, 0}, {5'000, 2'000, 0}}).high >= alone);
    const spread<double> beside = estimate_hits(std::vector<stratum>{{1'000'000, 256, 0}, {5'000, 2'000, 2'000}});
    CHECK(beside.likely == 5'000);
    CHECK(beside.high >= 5'000 + alone * 0.999);
    const spread<double> turned = estimate_hits(std::vector<stratum>{{1'000'000, 256, 256}, {5'000, 2'000, 0}});
    CHECK(turned.low <= 1'000'000 - alone * 0.999);
    // Where all strata were sampled alike it does not matter how many there are.
    const std::vector<stratum> many(10, {100'000, 1'000, 0});
    CHECK(estimate_hits(many).high == Approx(estimate_hits(std::vector<stratum>{{1'000'000, 10'000, 0}}).high));
}

TEST_CASE("a sample of much of the population knows more than one of little", "[estimate]") {
    const std::vector<stratum> most{{1000, 900, 90}}, little{{1'000'000, 900, 90}};
    CHECK(half(estimate_hits(most)) / 1000 < half(estimate_hits(little)) / 1'000'000 * 0.4);
    CHECK(estimate_hits(most).low >= 90);
    CHECK(estimate_hits(most).high <= 190);
}

TEST_CASE("strata that are pure narrow the interval, but not to nothing", "[estimate]") {
    std::vector<stratum> mixed(32, {1'000'000, 300, 30}), pure(32, {1'000'000, 300, 0});
    for (std::size_t i = 0; i < 3; ++i) pure[i].hits = 300;
    pure[3].hits = 60;
    CHECK(estimate_hits(pure).likely == Approx(estimate_hits(mixed).likely));
    CHECK(half(estimate_hits(pure)) < half(estimate_hits(mixed)) * 0.5);
    pure[3].hits = 0;
    CHECK(half(estimate_hits(pure)) > 0);
}

TEST_CASE("intervals hold the truth nine times of ten, scattered and clustered", "[estimate]") {
    constexpr std::uint64_t blocks = 100'000;
    extent_set population;
    population.add({0, blocks * block});
    for (const bool clusters : {false, true}) {
        unsigned held = 0;
        constexpr unsigned samples = 400;
        for (unsigned i = 0; i < samples; ++i) {
            std::mt19937_64 random(i);
            std::vector<bool> changed(blocks);
            for (unsigned k = 0; k < (clusters ? 4 : 4000); ++k) {
                const std::uint64_t first = random() % blocks;
                for (std::uint64_t j = first; j < std::min(blocks, first + (clusters ? 1500 : 1)); ++j)
                    changed[j] = true;
            }
            const auto truth = static_cast<double>(std::ranges::count(changed, true));
            sample_plan plan(population, block, random(), 2000);
            for (const extent& each : plan.next_round(2000)) plan.record(each.offset, changed[each.offset / block]);
            const spread<double> found = estimate_hits(plan.strata());
            held += found.low <= truth && truth <= found.high ? 1 : 0;
        }
        CHECK(held >= samples * 87 / 100);
        CHECK(held <= samples * 97 / 100);
    }
}

TEST_CASE("intervals of two plans that sampled unlike shares hold the truth nine times of ten", "[estimate]") {
    // Little changed of what both have, and all is new that the source alone has.
    constexpr std::uint64_t common = 100'000, alone = 5'000;
    extent_set first, second;
    first.add({0, common * block});
    second.add({common * block, alone * block});
    for (const unsigned changed_count : {100u, 125u, 500u}) {
        unsigned held = 0;
        constexpr unsigned samples = 400;
        for (unsigned i = 0; i < samples; ++i) {
            std::mt19937_64 random(i);
            std::set<std::uint64_t> changed;
            while (changed.size() < changed_count) changed.insert(random() % common);
            sample_plan one(first, block, random(), 2000), other(second, block, random(), 2000);
            for (const extent& each : one.next_round(2000))
                one.record(each.offset, changed.contains(each.offset / block));
            for (const extent& each : other.next_round(2000)) other.record(each.offset, true);
            std::vector<stratum> strata = one.strata();
            strata.insert(strata.end(), other.strata().begin(), other.strata().end());
            const spread<double> found = estimate_hits(strata);
            const double truth = changed_count + alone;
            held += found.low <= truth && truth <= found.high ? 1 : 0;
        }
        CHECK(held >= samples * 87 / 100);
        CHECK(held <= samples * 99 / 100);  // two hits expected: they come in steps
    }
}

TEST_CASE("a ratio of batches has an interval by how they differ", "[estimate]") {
    const std::vector<weighed> alike(10, {1000, 500});
    CHECK(estimate_ratio(alike).likely == Approx(2));
    CHECK(half(estimate_ratio(alike)) == Approx(0.04));  // what was not sampled may be otherwise
    std::vector<weighed> unlike;
    for (unsigned i = 0; i < 10; ++i) unlike.push_back({1000, i % 2 == 0 ? 1000u : 250u});
    CHECK(estimate_ratio(unlike).likely == Approx(1.6));
    CHECK(estimate_ratio(unlike).low < 1.4);
    CHECK(estimate_ratio(unlike).high > 1.8);
    CHECK(estimate_ratio(unlike).low >= 1);
    CHECK(half(estimate_ratio(std::vector<weighed>{{1000, 500}})) > 0.1);
    CHECK(estimate_ratio(std::vector<weighed>{{1000, 500}, {0, 0}, {1000, 0}}).likely == 2);
    CHECK(estimate_ratio(std::vector<weighed>{{1000, 0}}) == exactly(1.0));
}

TEST_CASE("a share of trials has Jeffreys' interval", "[estimate]") {
    CHECK(estimate_share(10, 0).low == 0);
    CHECK(estimate_share(10, 0).high > 0.1);
    CHECK(estimate_share(10, 10).high == 1);
    CHECK(estimate_share(100, 10).low == Approx(0.05908).margin(0.00005));
}
