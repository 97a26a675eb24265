// The digest map as a value: order does not matter, runs join, labels are safe to print.
#include "reprotect/digest_map.hpp"

#include "reprotect/error.hpp"
#include "support/aborts.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

using namespace reprotect;

namespace {

digest number(std::uint64_t value) {
    digest result;
    std::memcpy(result.bytes.data(), &value, sizeof value);
    return result;
}

constexpr geometry ten_chunks{9 * 4096 + 600, 4096, 512};

std::vector<digest> blocks_of(const geometry& shape, std::uint64_t chunk, std::uint64_t salt) {
    std::vector<digest> result;
    for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) result.push_back(number(salt * 1000 + chunk * 100 + i));
    return result;
}

}  // namespace

TEST_CASE("a digest map finds what was set and nothing else", "[plan]") {
    digest_map map(ten_chunks, digest_algorithm::sha256);
    CHECK_FALSE(map.find(0));
    map.set(3, number(3));
    map.set(9, number(9));
    for (std::uint64_t chunk = 0; chunk < 12; ++chunk) {
        CAPTURE(chunk);
        const bool there = chunk == 3 || chunk == 9;
        REQUIRE(map.find(chunk).has_value() == there);
        if (there) CHECK(*map.find(chunk) == number(chunk));
    }
    map.set(3, number(33));
    CHECK(*map.find(3) == number(33));
    CHECK(map.runs().size() == 2);
}

TEST_CASE("runs of a digest map join where they touch", "[plan]") {
    digest_map map(ten_chunks, digest_algorithm::sha256);
    map.set(2, number(2));
    map.set(4, number(4));
    REQUIRE(map.runs().size() == 2);
    map.set(3, number(3));
    REQUIRE(map.runs().size() == 1);
    CHECK(map.runs()[0] == digest_run{2, {number(2), number(3), number(4)}, {}});
    map.set(1, number(1));
    map.set(5, number(5));
    REQUIRE(map.runs().size() == 1);
    CHECK(map.runs()[0].first_chunk == 1);
    CHECK(map.runs()[0].chunks.size() == 5);
}

TEST_CASE("digest maps of the same chunks are equal in whatever order they were set", "[plan]") {
    for (const bool with_blocks : {false, true}) {
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            CAPTURE(with_blocks, seed);
            std::mt19937_64 random(seed);
            const geometry shape{40 * 4096 + random() % 4096, 4096, 512};
            std::map<std::uint64_t, digest> content;
            for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk)
                if (random() % 4 != 0) content[chunk] = number(random());

            digest_map ordered(shape, digest_algorithm::sha256, with_blocks);
            std::vector<std::uint64_t> order;
            const auto set = [&](digest_map& map, std::uint64_t chunk, std::uint64_t salt) {
                map.set(chunk, salt == 0 ? content[chunk] : number(salt),
                        with_blocks ? blocks_of(shape, chunk, salt) : std::vector<digest>{});
            };
            for (const auto& [chunk, value] : content) {
                set(ordered, chunk, 0);
                order.push_back(chunk);
            }
            std::shuffle(order.begin(), order.end(), random);
            digest_map shuffled(shape, digest_algorithm::sha256, with_blocks);
            for (const std::uint64_t chunk : order) {
                if (random() % 3 == 0) set(shuffled, chunk, 1 + random() % 100);
                set(shuffled, chunk, 0);
            }
            for (const std::uint64_t chunk : order)
                if (random() % 3 == 0) set(shuffled, chunk, 0);
            REQUIRE(shuffled == ordered);

            digest_map appended(shape, digest_algorithm::sha256, with_blocks);
            for (const digest_run& run : ordered.runs()) appended.append(run);
            REQUIRE(appended == ordered);

            std::uint64_t free_from = 0;  // canonical: sorted, disjoint, not adjacent
            for (const digest_run& run : ordered.runs()) {
                REQUIRE((run.first_chunk > free_from || free_from == 0));
                free_from = run.first_chunk + run.chunks.size();
                std::size_t blocks = 0;
                for (std::uint64_t chunk = run.first_chunk; chunk < free_from; ++chunk) {
                    REQUIRE(*ordered.find(chunk) == content[chunk]);
                    if (!with_blocks) continue;
                    const std::vector<digest> expected = blocks_of(shape, chunk, 0);
                    REQUIRE(run.blocks.size() >= blocks + expected.size());
                    REQUIRE(std::equal(expected.begin(), expected.end(),
                                       run.blocks.begin() + static_cast<std::ptrdiff_t>(blocks)));
                    blocks += expected.size();
                }
                REQUIRE(run.blocks.size() == blocks);
            }
        }
    }
}

TEST_CASE("a run that is appended joins the one that it touches", "[plan]") {
    digest_map map(ten_chunks, digest_algorithm::sha256);
    map.append({2, {number(2)}, {}});
    map.append({3, {number(3), number(4)}, {}});
    map.append({9, {}, {}});
    map.append({9, {number(9)}, {}});
    REQUIRE(map.runs().size() == 2);
    CHECK(map.runs()[0] == digest_run{2, {number(2), number(3), number(4)}, {}});
}

TEST_CASE("chunks beyond the disk and a wrong number of blocks are bugs of the caller", "[plan]") {
    const std::vector<digest> eight(8);
    const std::vector<digest> two(2);
    const auto sets = [&](bool with_blocks, std::uint64_t chunk, const std::vector<digest>& blocks) {
        return test::aborts(
            [&] { digest_map(ten_chunks, digest_algorithm::sha256, with_blocks).set(chunk, number(1), blocks); });
    };
    CHECK_FALSE(sets(false, 9, {}));
    CHECK(sets(false, 10, {}));
    CHECK(sets(false, ~0ull, {}));
    CHECK(sets(false, 0, eight));
    CHECK_FALSE(sets(true, 0, eight));
    CHECK_FALSE(sets(true, 9, two));
    CHECK(sets(true, 0, {}));
    CHECK(sets(true, 0, two));
    CHECK(sets(true, 9, eight));

    const auto appends = [&](bool with_blocks, const digest_run& run) {
        return test::aborts([&] {
            digest_map map(ten_chunks, digest_algorithm::sha256, with_blocks);
            map.set(3, number(3), with_blocks ? eight : std::vector<digest>{});
            map.append(run);
        });
    };
    CHECK_FALSE(appends(false, {4, std::vector<digest>(6), {}}));
    CHECK_FALSE(appends(true, {8, std::vector<digest>(2), std::vector<digest>(10)}));
    CHECK(appends(false, {3, {number(1)}, {}}));
    CHECK(appends(false, {0, {number(1)}, {}}));
    CHECK(appends(false, {4, std::vector<digest>(7), {}}));
    CHECK(appends(false, {10, {number(1)}, {}}));
    CHECK(appends(false, {5, {number(1)}, eight}));
    CHECK(appends(true, {8, std::vector<digest>(2), std::vector<digest>(16)}));
}

TEST_CASE("a digest map of a bad geometry is refused", "[plan]") {
    CHECK_THROWS_AS(digest_map({1 << 20, 4096, 1000}, digest_algorithm::sha256), error);
}

TEST_CASE("a digest map differs where algorithm, geometry, label or blocks differ", "[plan]") {
    const digest_map plain(ten_chunks, digest_algorithm::sha256);
    digest_map labelled = plain;
    labelled.set_label("x");
    CHECK_FALSE(plain == labelled);
    CHECK_FALSE(plain == digest_map(ten_chunks, digest_algorithm::xxh3));
    CHECK_FALSE(plain == digest_map(ten_chunks, digest_algorithm::sha256, true));
    CHECK_FALSE(plain == digest_map({9 * 4096 + 601, 4096, 512}, digest_algorithm::sha256));
}

TEST_CASE("a label is made printable and short, and stays what it is when set again", "[plan]") {
    digest_map map(ten_chunks, digest_algorithm::sha256);
    map.set_label("/dev/vdb, 2026-11-22T10:00:00Z ~\\");
    CHECK(map.label() == "/dev/vdb, 2026-11-22T10:00:00Z ~\\");
    map.set_label(std::string("a\x1b[2J\n\0\x7f\xc3\xa9", 10));
    CHECK(map.label() == "a\\x1b[2J\\x0a\\x00\\x7f\\xc3\\xa9");
    map.set_label(map.label());
    CHECK(map.label() == "a\\x1b[2J\\x0a\\x00\\x7f\\xc3\\xa9");

    map.set_label(std::string(4096, 'x'));
    CHECK(map.label() == std::string(4096, 'x'));
    map.set_label(std::string(4097, 'x'));
    CHECK(map.label() == std::string(4093, 'x') + "...");
    map.set_label(std::string(5000, '\n'));
    CHECK(map.label().size() == 4096);
    CHECK(map.label().ends_with("..."));
}
