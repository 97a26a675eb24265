// The middle of an even number of measurements is between two of them.
#include "base/median.hpp"

#include <catch2/catch.hpp>

using namespace reprotect;

TEST_CASE("the median of an even number of values is the mean of the two in the middle", "[median]") {
    CHECK(median({3}) == 3);
    CHECK(median({9, 1}) == 5);
    CHECK(median({7, 1, 3}) == 3);
    CHECK(median({4, 1, 9, 2}) == 3);
    CHECK(spread_of({4, 1}) == spread<double>{1, 2.5, 4});
    CHECK(spread_of({4, 1, 2}) == spread<double>{1, 2, 4});
}
