// The writer's idle time, on a clock of the test's own.
#include <catch2/catch.hpp>

#include "wire/idle_clock.hpp"

namespace {

using namespace reprotect;
using namespace std::chrono_literals;

// The system's clock is hours from its beginning when a session starts.
const idle_clock::time_point start = idle_clock::time_point() + 5h;

TEST_CASE("time counts from the first work on, however long the clock had run before", "[wire]") {
    idle_clock one;
    SECTION("with nothing being written") {}
    SECTION("with something else being written meanwhile") {
        one.begin_write(start - 1s);
    }
    one.begin(start);
    CHECK(one.read(start + 2s).seconds == Approx(2));
    CHECK(one.read(start + 5s).seconds == Approx(3));
}

TEST_CASE("idle is what lies between the writes, each part counted once", "[wire]") {
    idle_clock one;
    one.begin(start);
    one.begin_write(start + 1s);
    CHECK(one.read(start + 3s).idle_seconds == Approx(1));
    CHECK(one.read(start + 4s).idle_seconds == 0);
    one.end_write(start + 5s);
    CHECK(one.read(start + 7s).idle_seconds == Approx(2));
    one.begin_write(start + 8s);
    one.end_write(start + 9s);
    const idle_clock::reading last = one.read(start + 11s);
    CHECK(last.seconds == Approx(4));
    CHECK(last.idle_seconds == Approx(3));
}

TEST_CASE("a pause with nothing to do is no idleness", "[wire]") {
    idle_clock one;
    one.begin(start);
    one.begin_write(start);
    one.end_write(start + 1s);
    one.begin(start + 100s);
    const idle_clock::reading after = one.read(start + 101s);
    CHECK(after.seconds == Approx(1));
    CHECK(after.idle_seconds == Approx(1));
}

}  // namespace
