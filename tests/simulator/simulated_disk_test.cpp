// The simulated disk loses what a real one may lose, and nothing else: what the simulator finds depends on it.
#include <catch2/catch.hpp>

#include <algorithm>

#include "simulator/simulated_disk.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t sector = simulated_disk::sector_bytes;

std::vector<std::byte> filled(std::uint64_t length, unsigned value) {
    return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

// How many of the first sectors hold a value; each holds one value or zeroes as a whole.
std::uint64_t sectors_with(const std::vector<std::byte>& bytes, std::uint64_t count, unsigned value) {
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(i * sector);
        REQUIRE(std::all_of(first, first + sector, [&](std::byte each) { return each == *first; }));
        found += *first == static_cast<std::byte>(value) ? 1 : 0;
    }
    return found;
}

}  // namespace

TEST_CASE("a simulated disk keeps what was flushed and any part of what was not", "[simulator]") {
    bool all = false, none = false, torn = false;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        dice random(seed);
        simulated_disk disk("disk", 20 * sector + 7, sector, random);
        disk.write(10 * sector, filled(4 * sector, 1));
        disk.flush();
        disk.write(0, filled(8 * sector, 2));
        CHECK(disk.shown()[0] == std::byte{2});
        disk.stop();
        CHECK_THROWS_AS(disk.flush(), error);
        disk.restart();
        CHECK(disk.shown() == disk.medium());
        const std::uint64_t kept = sectors_with(disk.shown(), 8, 2);
        all = all || kept == 8;
        none = none || kept == 0;
        torn = torn || (kept != 0 && kept != 8);
        CHECK(sectors_with(disk.shown(), 20, 1) == 4);
    }
    CHECK((all && none && torn));
}

TEST_CASE("after a failed flush a simulated disk shows what its medium lacks, until its cache is dropped",
          "[simulator]") {
    bool lacks = false;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        dice random(seed);
        simulated_disk disk("disk", 8 * sector, sector, random);
        disk.set_faults({.failures = {{device_call::flush, 0, false, error_kind::device_io}}});
        disk.write(0, filled(8 * sector, 3));
        CHECK_THROWS_AS(disk.flush(), error);
        CHECK(disk.flush_failed());
        CHECK(sectors_with(disk.shown(), 8, 3) == 8);
        const std::vector<std::byte> after = disk.medium();
        lacks = lacks || after != disk.shown();
        disk.flush();  // it believes that all is written
        CHECK(disk.medium() == after);
        CHECK(disk.drop_cache());
        CHECK(disk.shown() == after);
    }
    CHECK(lacks);
}

TEST_CASE("a write that a simulated disk loses is shown until its cache is dropped", "[simulator]") {
    dice random(1);
    simulated_disk disk("disk", 8 * sector, sector, random);
    disk.set_faults({.loses_write = 1});
    disk.write(0, filled(sector, 4));
    disk.write(sector, filled(sector, 5));
    disk.flush();
    CHECK(sectors_with(disk.shown(), 8, 5) == 1);
    CHECK(disk.drop_cache());
    CHECK(sectors_with(disk.shown(), 8, 5) == 0);
    CHECK(sectors_with(disk.shown(), 8, 4) == 1);
}

TEST_CASE("a simulated disk's holes are what was never written or was given back", "[simulator]") {
    dice random(1);
    simulated_disk disk("disk", 10 * sector, 2 * sector, random);
    disk.write(3 * sector, filled(4 * sector, 6));
    disk.write_zeroes(4 * sector, 2 * sector);
    using run = allocation_run;
    const std::vector<run> expected{{{0, 2 * sector}, content::zero},
                                    {{2 * sector, 2 * sector}, content::data},
                                    {{4 * sector, 2 * sector}, content::zero},
                                    {{6 * sector, 2 * sector}, content::data},
                                    {{8 * sector, 2 * sector}, content::zero}};
    CHECK(disk.allocation({0, 10 * sector}, 100) == expected);
    CHECK(disk.allocation({sector, 9 * sector}, 1) == std::vector<run>{{{sector, sector}, content::zero}});
}
