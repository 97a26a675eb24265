// The differential as a value, and `compare` against a naive oracle: two small disks, digested block by block here,
// whose differential is applied and must make them equal.
#include "reprotect/differential.hpp"

#include "codec/digester.hpp"
#include "reprotect/error.hpp"
#include "support/aborts.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <random>

using namespace reprotect;

namespace {

using disk = std::vector<std::byte>;

digest number(std::uint64_t value) {
    digest result;
    std::memcpy(result.bytes.data(), &value, sizeof value);
    return result;
}

constexpr change data_change(std::uint64_t offset, std::uint64_t length) {
    return {{offset, length}, change_kind::data, change_reason::changed};
}

constexpr std::uint32_t chunk_bytes = 4096;
constexpr std::uint32_t block_bytes = 512;

bool zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

digest_map digest_of(const disk& content, bool with_blocks) {
    const digester with(digest_algorithm::sha256, {});
    const geometry shape{content.size(), chunk_bytes, block_bytes};
    digest_map map(shape, digest_algorithm::sha256, with_blocks);
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
        const extent range = shape.chunk(chunk);
        if (zero(std::span(content).subspan(range.offset, range.length))) continue;
        std::vector<digest> blocks;
        for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
            const extent block = shape.block(chunk, i);
            blocks.push_back(with.bytes(std::span(content).subspan(block.offset, block.length)));
        }
        map.set(chunk, with.chunk(range.length, blocks), with_blocks ? blocks : std::vector<digest>{});
    }
    return map;
}

disk random_disk(std::mt19937_64& random, std::size_t bytes) {
    disk content(bytes);
    for (std::size_t at = 0; at < bytes; at += chunk_bytes) {
        if (random() % 3 == 0) continue;
        for (std::size_t i = at; i < std::min<std::size_t>(at + chunk_bytes, bytes); i += 1 + random() % 200)
            content[i] = static_cast<std::byte>(random());
    }
    return content;
}

disk aged(std::mt19937_64& random, const disk& from, std::size_t bytes) {
    disk content = from;
    content.resize(bytes);
    for (std::size_t at = 0; at < bytes; at += chunk_bytes) {
        const std::size_t end = std::min<std::size_t>(at + chunk_bytes, bytes);
        const auto begin_at = content.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end_at = content.begin() + static_cast<std::ptrdiff_t>(end);
        switch (random() % 8) {
            case 0:
                std::fill(begin_at, end_at, std::byte{0});
                break;
            case 1:
            case 2:
                content[at + random() % (end - at)] ^= std::byte{1};
                break;
            case 3:
                std::generate(begin_at, end_at, [&] { return static_cast<std::byte>(random()); });
                break;
            default:
                break;
        }
    }
    return content;
}

// What each block of the source's disk should be told, decided block by block from the contents alone.
enum class verdict : std::uint8_t { none, changed, target_hole, source_hole };

bool differs(const disk& source, const disk& target, extent at) {
    for (std::uint64_t i = at.offset; i < at.end(); ++i) {
        const std::byte there = i < target.size() ? target[i] : std::byte{0};
        if (source[i] != there) return true;
    }
    return false;
}

std::vector<verdict> oracle(const disk& source, const disk& target, bool by_block) {
    const geometry shape{source.size(), chunk_bytes, block_bytes};
    const geometry target_shape{target.size(), chunk_bytes, block_bytes};
    std::vector<verdict> verdicts(source.size(), verdict::none);
    const auto mark = [&](extent range, verdict value) {
        for (std::uint64_t i = range.offset; i < range.end(); ++i) verdicts[i] = value;
    };
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
        const extent range = shape.chunk(chunk);
        const extent target_range =
            chunk < target_shape.chunk_count() ? target_shape.chunk(chunk) : extent{range.offset, 0};
        const bool in_source = !zero(std::span(source).subspan(range.offset, range.length));
        const bool in_target =
            !target_range.empty() && !zero(std::span(target).subspan(target_range.offset, target_range.length));
        if (!in_source && !in_target) continue;
        if (!in_target) {
            mark(range, verdict::target_hole);
        } else if (!in_source) {
            mark(intersect(range, target_range), verdict::source_hole);
        } else if (!by_block) {
            if (range != target_range || differs(source, target, range)) mark(range, verdict::changed);
        } else {
            for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
                const extent block = shape.block(chunk, i);
                const extent shared = intersect(block, target_range);
                if (shared.empty())
                    mark(block, verdict::target_hole);
                else if (i >= target_shape.blocks_in(chunk) || target_shape.block(chunk, i) != block ||
                         differs(source, target, block))
                    mark(block, verdict::changed);
            }
        }
    }
    return verdicts;
}

std::vector<verdict> verdicts_of(const differential& value) {
    std::vector<verdict> verdicts(value.disk_bytes(), verdict::none);
    for (const change& one : value.changes())
        for (std::uint64_t i = one.range.offset; i < one.range.end(); ++i)
            verdicts[i] = static_cast<verdict>(static_cast<std::uint8_t>(one.reason));
    return verdicts;
}

void check_canonical(const differential& value) {
    for (std::size_t i = 0; i < value.changes().size(); ++i) {
        const change& one = value.changes()[i];
        REQUIRE_FALSE(one.range.empty());
        REQUIRE(one.range.end() <= value.disk_bytes());
        REQUIRE((one.kind == change_kind::zero) == (one.reason == change_reason::source_hole));
        if (i == 0) continue;
        const change& before = value.changes()[i - 1];
        REQUIRE(before.range.end() <= one.range.offset);
        REQUIRE_FALSE(
            (before.range.end() == one.range.offset && before.kind == one.kind && before.reason == one.reason));
    }
}

error_kind refusal(const digest_map& source, const digest_map& target, const std::string& word) {
    try {
        (void)compare(source, target);
    } catch (const error& e) {
        CHECK(std::string(e.what()).find(word) != std::string::npos);
        CHECK_FALSE(e.detail().hint.empty());
        return e.kind();
    }
    return error_kind::interrupted;
}

}  // namespace

TEST_CASE("a differential merges adjacent changed blocks", "[plan]") {
    differential value(1 << 20);
    value.add(data_change(4096, 4096));
    value.add(data_change(8192, 4096));
    CHECK(value.changes() == std::vector{data_change(4096, 8192)});
    value.add(data_change(16384, 4096));
    CHECK(value.changes().size() == 2);
    value.add(data_change(12288, 4096));
    CHECK(value.changes() == std::vector{data_change(4096, 16384)});
    value.add(data_change(0, 4096));
    CHECK(value.changes() == std::vector{data_change(0, 20480)});
    value.add(data_change(0, 0));
    value.add(data_change(65536, 0));
    CHECK(value.changes().size() == 1);
}

TEST_CASE("a differential keeps neighbours of another kind or reason apart", "[plan]") {
    differential value(1 << 20);
    value.add({{4096, 4096}, change_kind::data, change_reason::changed});
    value.add({{8192, 4096}, change_kind::data, change_reason::target_hole});
    value.add({{0, 4096}, change_kind::zero, change_reason::source_hole});
    REQUIRE(value.changes().size() == 3);
    CHECK(value.changes()[0].kind == change_kind::zero);
    CHECK(value.changes()[2].reason == change_reason::target_hole);
    CHECK(value.data_bytes() == 8192);
    CHECK(value.zero_bytes() == 4096);
    CHECK(value.extents() == extent_set{{0, 12288}});
    CHECK(to_text(value) ==
          "0 4096 zero source_hole\n"
          "4096 4096 data changed\n"
          "8192 4096 data target_hole\n");
}

TEST_CASE("a change that overlaps another or leaves the disk is a bug of the caller", "[plan]") {
    differential value(65536);
    value.add(data_change(8192, 8192));
    value.add(data_change(32768, 4096));
    const auto adds = [&](std::uint64_t offset, std::uint64_t length) {
        return test::aborts([&] {
            differential copy = value;
            copy.add({{offset, length}, change_kind::zero, change_reason::source_hole});
        });
    };
    CHECK_FALSE(adds(4096, 4096));
    CHECK_FALSE(adds(16384, 16384));
    CHECK_FALSE(adds(36864, 28672));
    for (const auto& [offset, length] : {std::pair{4096ull, 4097ull},
                                         {8192ull, 8192ull},
                                         {10000ull, 1ull},
                                         {16383ull, 1ull},
                                         {16384ull, 16385ull},
                                         {0ull, 65536ull},
                                         {36863ull, 1ull},
                                         {36864ull, 28673ull},
                                         {65536ull, 1ull},
                                         {~0ull, 1ull},
                                         {40000ull, ~0ull}}) {
        CAPTURE(offset, length);
        CHECK(adds(offset, length));
    }
}

TEST_CASE("an empty differential has no text and no bytes", "[plan]") {
    const differential value(4096);
    CHECK(value.empty());
    CHECK(to_text(value).empty());
    CHECK(value.data_bytes() + value.zero_bytes() == 0);
    CHECK(value.extents().empty());
    CHECK(differential().disk_bytes() == 0);
}

TEST_CASE("changes added in any order give the same differential", "[plan]") {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        std::vector<change> changes;
        for (std::uint64_t block = 0; block < 60; ++block) {
            const auto reason = random() % 4;
            if (reason == 0) continue;
            changes.push_back({{block * 512, 512},
                               reason == 3 ? change_kind::zero : change_kind::data,
                               static_cast<change_reason>(reason)});
        }
        differential ordered(60 * 512);
        for (const change& one : changes) ordered.add(one);
        std::shuffle(changes.begin(), changes.end(), random);
        differential shuffled(60 * 512);
        for (const change& one : changes) shuffled.add(one);
        REQUIRE(shuffled == ordered);
        check_canonical(ordered);
    }
}

TEST_CASE("comparing digest maps finds what a comparison of the bytes finds", "[plan]") {
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        std::mt19937_64 random(seed);
        const bool source_blocks = random() % 3 != 0;
        const bool target_blocks = random() % 3 != 0;
        const std::size_t target_bytes = 1 + random() % (12 * chunk_bytes);
        std::size_t source_bytes = random() % 2 == 0 ? target_bytes : 1 + random() % (12 * chunk_bytes);
        if (random() % 5 == 0) source_bytes = (source_bytes + block_bytes - 1) / block_bytes * block_bytes;
        CAPTURE(seed, source_bytes, target_bytes, source_blocks, target_blocks);
        const disk target = random_disk(random, target_bytes);
        const disk source = aged(random, target, source_bytes);

        const differential value = compare(digest_of(source, source_blocks), digest_of(target, target_blocks));
        REQUIRE(value.disk_bytes() == source.size());
        check_canonical(value);
        REQUIRE(verdicts_of(value) == oracle(source, target, source_blocks && target_blocks));

        disk result = target;
        result.resize(source.size());
        for (const change& one : value.changes())
            for (std::uint64_t i = one.range.offset; i < one.range.end(); ++i)
                result[i] = one.kind == change_kind::data ? source[i] : std::byte{0};
        REQUIRE(result == source);
    }
}

TEST_CASE("a disk compared with itself has no differential", "[plan]") {
    std::mt19937_64 random(7);
    const disk content = random_disk(random, 10 * chunk_bytes + 77);
    for (const bool blocks : {false, true})
        CHECK(compare(digest_of(content, blocks), digest_of(content, blocks)).empty());
}

TEST_CASE("holes of a disk cost nothing to compare, however long", "[plan]") {
    // 2^51 chunks: any loop over them would run for days.
    const geometry shape{0x7fffffffffffffff, 4096, 512};
    const std::uint64_t last = shape.chunk_count() - 1;
    digest_map source(shape, digest_algorithm::sha256);
    digest_map target(shape, digest_algorithm::sha256);
    CHECK(compare(source, target).empty());
    source.set(5, number(1));
    source.set(1ull << 40, number(2));
    target.set(1ull << 40, number(3));
    target.set(last, number(4));
    const differential value = compare(source, target);
    CHECK(value.changes() == std::vector<change>{
                                 {{5 * 4096, 4096}, change_kind::data, change_reason::target_hole},
                                 {{1ull << 52, 4096}, change_kind::data, change_reason::changed},
                                 {{last * 4096, 4095}, change_kind::zero, change_reason::source_hole},
                             });
}

TEST_CASE("a target's data beyond the source's end is left out", "[plan]") {
    digest_map source({2 * 4096 + 100, 4096, 512}, digest_algorithm::sha256);
    digest_map target({8 * 4096, 4096, 512}, digest_algorithm::sha256);
    for (std::uint64_t chunk = 0; chunk < 8; ++chunk) target.set(chunk, number(chunk));
    const differential value = compare(source, target);
    CHECK(value.changes() == std::vector<change>{{{0, 2 * 4096 + 100}, change_kind::zero, change_reason::source_hole}});
    CHECK(compare(digest_map({0, 4096, 512}, digest_algorithm::sha256), target).empty());
}

TEST_CASE("chunks of different length count as changed even where their digests claim otherwise", "[plan]") {
    digest_map source({4096, 4096, 512}, digest_algorithm::sha256);
    digest_map target({3000, 4096, 512}, digest_algorithm::sha256);
    source.set(0, number(1));
    target.set(0, number(1));
    CHECK(compare(source, target).changes() == std::vector{data_change(0, 4096)});
}

TEST_CASE("blocks of different length count as changed even where their digests claim otherwise", "[plan]") {
    digest_map source({4096, 4096, 2048}, digest_algorithm::sha256, true);
    digest_map target({3000, 4096, 2048}, digest_algorithm::sha256, true);
    source.set(0, number(1), {number(10), number(11)});
    target.set(0, number(2), {number(10), number(11)});
    CHECK(compare(source, target).changes() == std::vector{data_change(2048, 2048)});
}

TEST_CASE("a map whose chunk differs while no block does cannot hide the change", "[plan]") {
    const std::vector<digest> blocks(8, number(9));
    digest_map source({3 * 4096, 4096, 512}, digest_algorithm::sha256, true);
    digest_map target({3 * 4096, 4096, 512}, digest_algorithm::sha256, true);
    source.set(1, number(1), blocks);
    target.set(1, number(2), blocks);
    CHECK(compare(source, target).changes() == std::vector{data_change(4096, 4096)});
}

TEST_CASE("digest maps that do not compare are refused with the option to set", "[plan]") {
    const geometry shape{1 << 20, 65536, 4096};
    const digest_map sha(shape, digest_algorithm::sha256);
    const digest_map xxh(shape, digest_algorithm::xxh3);
    CHECK(refusal(sha, xxh, "xxh3") == error_kind::usage);
    CHECK(refusal(xxh, sha, "xxh3") == error_kind::usage);
    CHECK(refusal(xxh, xxh, "secret") == error_kind::usage);
    CHECK(refusal(sha, digest_map({1 << 20, 32768, 4096}, digest_algorithm::sha256), "chunks of 65536 and 32768") ==
          error_kind::usage);
    CHECK(refusal(sha, digest_map({1 << 20, 65536, 512}, digest_algorithm::sha256), "blocks of 4096 and 512") ==
          error_kind::usage);
}

TEST_CASE("kinds and reasons of changes have stable words", "[plan]") {
    CHECK(std::string(to_string(change_kind::data)) == "data");
    CHECK(std::string(to_string(change_kind::zero)) == "zero");
    CHECK(std::string(to_string(change_reason::changed)) == "changed");
    CHECK(std::string(to_string(change_reason::target_hole)) == "target_hole");
    CHECK(std::string(to_string(change_reason::source_hole)) == "source_hole");
}
