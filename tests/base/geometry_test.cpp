// Which geometries are refused, in which words, and where chunks and blocks lie at the edges of a disk.
#include "reprotect/geometry.hpp"

#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace reprotect;

namespace {

struct refused {
    error_kind kind;
    std::string message;
    std::string hint;
};

refused check(std::uint32_t chunk_bytes, std::uint32_t block_bytes) {
    try {
        check_geometry({1 << 20, chunk_bytes, block_bytes});
    } catch (const error& e) {
        return {e.kind(), e.what(), e.detail().hint};
    }
    return {error_kind::interrupted, "", ""};
}

constexpr std::uint32_t KiB = 1024;
constexpr std::uint32_t MiB = 1024 * 1024;

}  // namespace

TEST_CASE("a geometry within its bounds is accepted", "[base]") {
    for (const auto& [chunk, block] : {std::pair{MiB, 4 * KiB},
                                       {4 * KiB, 512u},
                                       {4 * KiB, 4 * KiB},
                                       {64 * KiB, 64 * KiB},
                                       {16 * MiB, 64 * KiB},
                                       {16 * MiB, 512u},
                                       {12 * KiB, 4 * KiB},
                                       {7 * 64 * KiB, 64 * KiB}}) {
        CAPTURE(chunk, block);
        CHECK(check(chunk, block).message.empty());
        CHECK(valid_geometry({1, chunk, block}));
    }
}

TEST_CASE("a bad block size is refused by the name of its option", "[base]") {
    for (const std::uint32_t block : {0u, 1u, 256u, 511u, 513u, 3000u, 4095u, 4097u, 6 * KiB, 128 * KiB, 0x80000000u}) {
        CAPTURE(block);
        const refused answer = check(MiB, block);
        CHECK(answer.kind == error_kind::usage);
        CHECK(answer.message.find("--block-size " + std::to_string(block)) != std::string::npos);
        CHECK(answer.hint.find("--block-size") != std::string::npos);
        CHECK_FALSE(valid_geometry({1, MiB, block}));
    }
}

TEST_CASE("a bad chunk size is refused by the name of its option", "[base]") {
    for (const std::uint32_t chunk :
         {0u, 512u, 2048u, 4095u, 4097u, MiB + 512, 16 * MiB + 4096, 32 * MiB, 0xffffffffu}) {
        CAPTURE(chunk);
        const refused answer = check(chunk, 4 * KiB);
        CHECK(answer.kind == error_kind::usage);
        CHECK(answer.message.find("--chunk-size " + std::to_string(chunk)) != std::string::npos);
        CHECK(answer.hint.find("--chunk-size") != std::string::npos);
        CHECK_FALSE(valid_geometry({1, chunk, 4 * KiB}));
    }
    CHECK(check(32 * KiB, 64 * KiB).message.find("whole number of blocks") != std::string::npos);
}

TEST_CASE("the last chunk and the last block have their exact lengths", "[base]") {
    CHECK(geometry{0, 4096, 512}.chunk_count() == 0);
    CHECK(geometry{1, 4096, 512}.chunk_count() == 1);
    CHECK(geometry{4095, 4096, 512}.chunk_count() == 1);
    CHECK(geometry{4096, 4096, 512}.chunk_count() == 1);
    CHECK(geometry{4097, 4096, 512}.chunk_count() == 2);

    const geometry shape{2 * 4096 + 513, 4096, 512};
    CHECK(shape.chunk(0) == extent{0, 4096});
    CHECK(shape.chunk(2) == extent{8192, 513});
    CHECK(shape.blocks_in(1) == 8);
    CHECK(shape.blocks_in(2) == 2);
    CHECK(shape.block(1, 7) == extent{4096 + 7 * 512, 512});
    CHECK(shape.block(2, 0) == extent{8192, 512});
    CHECK(shape.block(2, 1) == extent{8704, 1});

    const geometry largest{0x7fffffffffffffff, 4096, 512};
    CHECK(largest.chunk_count() == 1ull << 51);
    CHECK(largest.chunk((1ull << 51) - 1) == extent{0x7ffffffffffff000, 4095});
}
