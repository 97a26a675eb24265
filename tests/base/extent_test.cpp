// Extents and extent sets, against a plain array of booleans.
#include "reprotect/extent.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <random>

using namespace reprotect;

namespace {

constexpr std::size_t universe = 64;
using flags = std::array<bool, universe>;

flags flags_of(const extent_set& set) {
    flags result{};
    for (const extent& range : set)
        for (std::uint64_t i = range.offset; i < range.end(); ++i) result.at(i) = true;
    return result;
}

void check_canonical(const extent_set& set) {
    for (std::size_t i = 0; i < set.count(); ++i) {
        REQUIRE_FALSE(set[i].empty());
        if (i > 0) REQUIRE(set[i - 1].end() < set[i].offset);
    }
}

}  // namespace

TEST_CASE("extents intersect in the bytes that they share", "[base]") {
    CHECK(intersect({0, 10}, {5, 10}) == extent{5, 5});
    CHECK(intersect({5, 10}, {0, 10}) == extent{5, 5});
    CHECK(intersect({0, 10}, {2, 3}) == extent{2, 3});
    CHECK(intersect({0, 10}, {10, 5}).empty());
    CHECK(intersect({0, 10}, {20, 5}).empty());
    CHECK(extent{0, 10}.contains({0, 10}));
    CHECK(extent{0, 10}.contains({10, 0}));
    CHECK_FALSE(extent{0, 10}.contains({9, 2}));
}

TEST_CASE("an extent set merges what touches and ignores what is empty", "[base]") {
    extent_set set{{10, 5}, {0, 5}, {5, 0}};
    CHECK(set.count() == 2);
    set.add({5, 5});
    CHECK(set == extent_set{{0, 15}});
    set.add({20, 5});
    set.add({30, 5});
    set.add({14, 20});
    CHECK(set == extent_set{{0, 35}});
    CHECK(set.total() == 35);
    CHECK(extent_set{}.total() == 0);
    CHECK(extent_set{}.empty());
}

TEST_CASE("an extent set holds ranges at the end of the numbers", "[base]") {
    const std::uint64_t top = 0xffffffffffffffff;
    extent_set set;
    set.add({top - 10, 10});
    set.add({top - 20, 5});
    CHECK(set.count() == 2);
    CHECK(set.contains({top - 1, 1}));
    CHECK(set.gaps({top - 20, 20}) == extent_set{{top - 15, 5}});
    set.remove({top - 5, 5});
    CHECK(set.total() == 10);
}

TEST_CASE("extent sets agree with an array of booleans", "[base]") {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        extent_set set;
        flags expected{};
        const auto any_range = [&] {
            const std::uint64_t offset = random() % universe;
            const std::uint64_t longest =
                random() % 3 == 0 ? universe - offset : std::min<std::uint64_t>(8, universe - offset);
            return extent{offset, random() % (longest + 1)};
        };
        for (int step = 0; step < 60; ++step) {
            const extent range = any_range();
            const bool add = random() % 3 != 0;
            if (add)
                set.add(range);
            else
                set.remove(range);
            for (std::uint64_t i = range.offset; i < range.end(); ++i) expected.at(i) = add;
            check_canonical(set);
            REQUIRE(flags_of(set) == expected);

            const extent asked = any_range();
            flags inside{};
            flags outside{};
            std::uint64_t covered = 0;
            for (std::uint64_t i = asked.offset; i < asked.end(); ++i) {
                (expected.at(i) ? inside : outside).at(i) = true;
                if (expected.at(i)) ++covered;
            }
            REQUIRE(set.contains(asked) == (covered == asked.length));
            REQUIRE(set.overlaps(asked) == (covered != 0));
            const extent_set within = set.within(asked);
            const extent_set gaps = set.gaps(asked);
            check_canonical(within);
            check_canonical(gaps);
            REQUIRE(flags_of(within) == inside);
            REQUIRE(flags_of(gaps) == outside);
            REQUIRE(within.total() == covered);
            REQUIRE(within.total() + gaps.total() == asked.length);
        }
    }
}
