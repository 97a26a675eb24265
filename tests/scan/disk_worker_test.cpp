// What a worker keeps of a chunk that it reads: all of it, what differs from the other side's, or nothing.
#include "scan/disk_worker.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "reprotect/memory_device.hpp"

namespace {

using namespace reprotect;

constexpr std::uint64_t mebibyte = 1 << 20;

// A disk of one chunk and of the beginning of another, full of noise but for some zeroes.
struct rig {
    explicit rig(std::uint32_t chunk_bytes, std::uint32_t block_bytes)
        : shape{chunk_bytes + chunk_bytes / 2 + 100, chunk_bytes, block_bytes},
          disk(shape.disk_bytes),
          digests(std::make_shared<const digester>(digest_algorithm::xxh3, digest_secret{})),
          worker(disk, shape, disk.size(), digests, pool = std::make_shared<buffer_pool>(chunk_bytes)) {
        std::vector<std::byte> content(shape.disk_bytes);
        for (std::byte& each : content) each = static_cast<std::byte>(random());
        for (std::uint32_t i = 0; i < shape.blocks_in(0); i += 5) {
            const extent block = shape.block(0, i);
            std::fill_n(content.begin() + static_cast<long>(block.offset), block.length, std::byte{0});
        }
        disk.write(0, content);
    }

    chunk_read read(const read_chunk& what) { return worker.read(what); }
    std::vector<digest_cut> cuts(std::uint64_t chunk) {
        read_chunk all;
        all.chunk = chunk;
        all.data.add(shape.chunk(chunk));
        std::vector<digest_cut> result;
        for (const digest& each : read(all).blocks) result.push_back(cut(each));
        return result;
    }
    std::vector<std::byte> content(extent range) {
        std::vector<std::byte> result(range.length);
        disk.read(range.offset, result);
        return result;
    }
    void check_kept(const chunk_read& found, const std::vector<std::byte>& expected) {
        CHECK(found.packed);
        CHECK(static_cast<bool>(found.bytes) == !expected.empty());
        REQUIRE(found.bytes.bytes().size() >= expected.size());
        CHECK(std::equal(expected.begin(), expected.end(), std::as_const(found.bytes).bytes().begin()));
    }

    std::mt19937 random{3};
    geometry shape;
    memory_device disk;
    std::shared_ptr<const digester> digests;
    std::shared_ptr<buffer_pool> pool;
    disk_worker worker;
};

TEST_CASE("of a chunk whose block digests are known only what differs is kept, and no zeroes", "[scan]") {
    const auto [chunk_bytes, block_bytes] = GENERATE(std::pair<std::uint32_t, std::uint32_t>{64 << 10, 512},
                                                     std::pair<std::uint32_t, std::uint32_t>{mebibyte, 4096},
                                                     std::pair<std::uint32_t, std::uint32_t>{4 * mebibyte, 64 << 10});
    const bool direct = GENERATE(false, true);
    rig it(chunk_bytes, block_bytes);
    it.disk.mutable_properties().direct = direct;
    const std::uint64_t chunk = GENERATE(0u, 1u);
    // Of a thousand blocks: none, few, half, nearly all, all.
    const unsigned share = GENERATE(0u, 20u, 500u, 980u, 1000u);
    read_chunk what;
    what.chunk = chunk;
    what.keep_bytes = true;
    what.cuts = it.cuts(chunk);
    // In its middle the disk holds nothing, or so it is said.
    const std::uint64_t blocks = it.shape.blocks_in(chunk);
    for (std::uint64_t i = 0; i < blocks; ++i)
        if (i < blocks / 3 || i > blocks / 2) what.data.add(it.shape.block(chunk, static_cast<std::uint32_t>(i)));
    std::vector<std::byte> expected;
    for (std::uint32_t i = 0; i < blocks; ++i) {
        const extent block = it.shape.block(chunk, i);
        if (it.random() % 1000 >= share) continue;
        what.cuts[i][0] ^= std::byte{1};
        const auto bytes = it.content(block);
        const bool zero = std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
        if (!zero && what.data.overlaps(block)) expected.insert(expected.end(), bytes.begin(), bytes.end());
    }
    const chunk_read found = it.read(what);
    it.check_kept(found, expected);
    // It takes no more memory than it is worth, where it is much less than a whole buffer.
    if (expected.size() <= chunk_bytes / 2) CHECK(found.bytes.bytes().size() == expected.size());
}

TEST_CASE("what is read again of a chunk is kept packed", "[scan]") {
    rig it(mebibyte, 4096);
    read_chunk what;
    what.keep_bytes = what.again = true;
    what.data.add({5 * 4096, 2 * 4096});
    what.data.add({200 * 4096, 3 * 4096});
    std::vector<std::byte> expected = it.content({5 * 4096, 2 * 4096});
    const auto more = it.content({200 * 4096, 3 * 4096});
    expected.insert(expected.end(), more.begin(), more.end());
    it.check_kept(it.read(what), expected);  // the first of these blocks is zero
}

TEST_CASE("of a chunk that is the other side's nothing is kept", "[scan]") {
    rig it(mebibyte, 4096);
    read_chunk what;
    what.data.add(it.shape.chunk(0));
    const digest value = it.read(what).value;
    what.keep_bytes = true;
    SECTION("but without a digest to compare with, all is") {
        const chunk_read found = it.read(what);
        CHECK_FALSE(found.packed);
        REQUIRE(found.bytes);
        CHECK(std::ranges::equal(found.bytes.bytes(), it.content(it.shape.chunk(0))));
    }
    SECTION("nor is anything left out where it is another") {
        digest other = value;
        other.bytes[0] ^= std::byte{1};
        what.unless = other;
        CHECK(it.read(what).bytes);
    }
    SECTION("nor where block digests that differ come with it") {
        what.unless = value;
        what.cuts = it.cuts(0);
        what.cuts[1][0] ^= std::byte{1};
        CHECK_FALSE(it.read(what).bytes);
        what.unless.reset();
        CHECK(it.read(what).bytes.bytes().size() == 4096);
    }
    SECTION("and with it") {
        what.unless = value;
        what.want_proof = true;
        const chunk_read found = it.read(what);
        CHECK_FALSE(found.bytes);
        CHECK((found.value == value));
        CHECK((found.proof == sha256_128(it.content(it.shape.chunk(0)))));
    }
}

}  // namespace
