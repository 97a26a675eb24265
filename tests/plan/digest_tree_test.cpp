// The root of a digest map against a recursion over every chunk, and against a value frozen here.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstring>
#include <random>
#include <set>

#include "plan/digest_tree.hpp"
#include "reprotect/error.hpp"
#include "support/bytes.hpp"
#include "support/naive_digests.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

digest random_digest(std::mt19937_64& random) {
    digest value;
    for (std::byte& byte : value.bytes) byte = static_cast<std::byte>(random());
    return value;
}

const digester sha(digest_algorithm::sha256, {});

}  // namespace

TEST_CASE("the root of a sparse map equals a recursion over every chunk", "[plan]") {
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t chunks = seed <= 40 ? seed : 1 + random() % 300;
        const std::uint64_t tail = random() % 3 == 0 ? 1 + random() % 8191 : 8192;
        const geometry shape{(chunks - 1) * 8192 + tail, 8192, 4096};
        const digester with(random() % 2 ? digest_algorithm::sha256 : digest_algorithm::xxh3, random_secret());
        digest_map map(shape, with.algorithm());
        // Runs of data and of holes, from one chunk to many.
        for (std::uint64_t at = random() % 8; at < chunks;) {
            const std::uint64_t run = 1 + (random() % 4 == 0 ? random() % 60 : random() % 3);
            for (std::uint64_t i = at; i < std::min(chunks, at + run); ++i) map.set(i, random_digest(random));
            at += run + 1 + (random() % 4 == 0 ? random() % 120 : random() % 3);
        }
        const zero_digests zero(with, shape);
        const digest expected =
            naive_root(with, shape, [&](std::uint64_t i) { return map.find(i).value_or(zero.chunk(i)); });
        REQUIRE(tree_root(map, with) == expected);
    }
}

TEST_CASE("chunks of zeroes that are stored give the root of those that are left out", "[plan]") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t chunks = 1 + random() % 90;
        const geometry shape{chunks * 8192 - random() % 8192, 8192, 512};
        digest_map sparse(shape, digest_algorithm::sha256), dense(shape, digest_algorithm::sha256);
        const zero_digests zero(sha, shape);
        for (std::uint64_t i = 0; i < chunks; ++i) {
            const bool data = random() % 3 == 0;
            const digest value = data ? random_digest(random) : zero.chunk(i);
            if (data) sparse.set(i, value);
            dense.set(i, value);
        }
        REQUIRE(root_of(sparse) == root_of(dense));
    }
}

TEST_CASE("a root changes with the disk's size, its tail, its geometry and any chunk", "[plan]") {
    const digest value = sha.bytes(random_bytes(1, 100));
    const auto with_value_at = [&](geometry shape, std::uint64_t chunk) {
        digest_map map(shape, digest_algorithm::sha256);
        map.set(chunk, value);
        return to_hex(root_of(map));
    };
    std::set<std::string> seen;
    for (std::uint64_t size = 5 * 8192; size <= 7 * 8192; size += 512) seen.insert(with_value_at({size, 8192, 512}, 2));
    CHECK(seen.size() == 33);
    for (std::uint64_t chunk = 0; chunk < 5; ++chunk) seen.insert(with_value_at({5 * 8192, 8192, 512}, chunk));
    CHECK(seen.size() == 37);
    seen.insert(with_value_at({5 * 8192, 8192, 4096}, 2));
    seen.insert(with_value_at({5 * 8192, 4096, 512}, 2));
    seen.insert(to_hex(root_of(digest_map({5 * 8192, 8192, 512}, digest_algorithm::sha256))));
    CHECK(seen.size() == 40);
}

TEST_CASE("the root of an empty disk and of a single short chunk are those of the recursion", "[plan]") {
    for (const std::uint64_t size : {0, 1, 511, 512, 4095, 4096, 4097}) {
        const std::vector<std::byte> bytes = random_bytes(size + 1, size);
        const geometry shape{size, 4096, 512};
        CHECK(root_of(naive_map(sha, shape, bytes, false)) == naive_root(sha, shape, bytes));
    }
}

TEST_CASE("the root of a sparse disk of 64 TiB is there at once", "[plan]") {
    const std::uint64_t size = (std::uint64_t{64} << 40) + 12345;
    digest_map map({size, 1 << 20, 4096}, digest_algorithm::sha256);
    std::mt19937_64 random(1);
    for (int i = 0; i < 100; ++i) map.set(random() % map.shape().chunk_count(), random_digest(random));
    const auto before = std::chrono::steady_clock::now();
    const digest root = root_of(map);
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(1));  // a walk over 2^26 chunks takes longer
    map.set(map.shape().chunk_count() - 1, random_digest(random));
    CHECK(root_of(map) != root);
}

TEST_CASE("the root of a small disk is frozen", "[plan]") {
    // A disk of five whole chunks and a tail of 100 bytes; chunk 0 counts modulo 251, chunk 3 is all 0xab.
    const geometry shape{5 * 8192 + 100, 8192, 4096};
    std::vector<std::byte> disk(shape.disk_bytes);
    for (std::size_t i = 0; i < 8192; ++i) disk[i] = static_cast<std::byte>(i % 251);
    for (std::size_t i = 3 * 8192; i < 4 * 8192; ++i) disk[i] = std::byte{0xab};
    std::memcpy(&disk[5 * 8192], "tail", 4);
    CHECK(to_hex(root_of(naive_map(sha, shape, disk, false))) == "26c930d17baa2ee860d80d301229484b");
    CHECK(to_hex(root_of(naive_map(sha, shape, disk, true))) == "26c930d17baa2ee860d80d301229484b");
}

TEST_CASE("a root to keep is refused under xxh3", "[plan]") {
    try {
        root_of(digest_map({8192, 8192, 4096}, digest_algorithm::xxh3));
        FAIL("no error");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::usage);
    }
}
