// Every input of tests/fuzz/seeds through its fuzzer, in the ordinary build;
// and what lies close to it: cut short, or with bits flipped. Fuzzing for long
// is tools/fuzz's affair.
#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "fuzz/fuzzers.hpp"
#include "support/bytes.hpp"
#include "support/places.hpp"

using namespace reprotect;

namespace {

const std::filesystem::path folder = std::filesystem::path(reprotect::test::tests_folder) / "fuzz";

struct seed {
    std::string path;
    std::vector<std::byte> content;
};

std::vector<seed> seeds_of(const fuzz::fuzzer& which) {
    std::vector<seed> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "seeds" / which.name))
        all.push_back({entry.path().string(), test::read_whole_file(entry.path().string())});
    std::sort(all.begin(), all.end(), [](const seed& a, const seed& b) { return a.path < b.path; });
    return all;
}

// Says what was broken without stopping at the first.
void run(const fuzz::fuzzer& which, std::span<const std::byte> input) {
    CHECK_NOTHROW(which.run(input));
}

}  // namespace

TEST_CASE("every fuzzer has seeds, and keeps its promises on them", "[fuzz]") {
    for (const fuzz::fuzzer& each : fuzz::fuzzers) {
        const std::vector<seed> seeds = seeds_of(each);
        INFO(each.name);
        CHECK(seeds.size() >= 1);
        for (const seed& one : seeds) {
            INFO(one.path);
            run(each, one.content);
        }
    }
}

TEST_CASE(
    "fuzzers keep their promises on nothing, and on seeds cut short or "
    "with bits flipped",
    "[fuzz]") {
    constexpr std::size_t cuts = 16, flips = 32;  // of each seed; a second in all
    for (const fuzz::fuzzer& each : fuzz::fuzzers) {
        run(each, {});
        for (const seed& one : seeds_of(each)) {
            const std::size_t size = one.content.size();
            for (std::size_t i = 0; i < cuts && size != 0; ++i) {
                INFO(one.path << " cut to " << i * size / cuts);
                run(each, std::span(one.content).first(i * size / cuts));
            }
            for (std::size_t i = 0; i < flips && size != 0; ++i) {
                std::vector<std::byte> flipped = one.content;
                // A stride that is no divisor of much, so that long seeds are hit
                // everywhere.
                const std::size_t bit = i * (size * 8 / flips + 3) % (size * 8);
                flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
                INFO(one.path << " with bit " << bit << " flipped");
                run(each, flipped);
            }
        }
    }
}

TEST_CASE("the table of fuzzers, their files and their seeds fit together", "[fuzz]") {
    std::set<std::string> named, with_file, with_seeds;
    for (const fuzz::fuzzer& each : fuzz::fuzzers) named.emplace(each.name);
    const std::string ending = "_fuzz.cpp";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.ends_with(ending)) with_file.insert(name.substr(0, name.size() - ending.size()));
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder / "seeds"))
        with_seeds.insert(entry.path().filename().string());
    CHECK(with_file == named);
    CHECK(with_seeds == named);
}
