// A session's memory by the formula at the head of plan_windows.hpp.
#include <catch2/catch.hpp>

#include "reprotect/sync.hpp"
#include "sync/plan_windows.hpp"

namespace {

using namespace reprotect;

std::uint64_t bytes_of(const windows& of, const sync_options& options) {
    const std::uint64_t scratch = 2ull * options.depth * (256 << 10);
    const std::uint64_t blocks = options.chunk_bytes / options.block_bytes;
    return scratch + of.buffers * options.chunk_bytes + 2 * of.digest_entries * blocks * 16;
}

TEST_CASE("a session's windows fit its memory, and grow with it no further than they serve", "[sync]") {
    sync_options options;
    const windows usual = plan_windows(options, false);
    CHECK(usual.buffers == 3 * options.depth);
    CHECK(usual.digest_entries > 900);
    CHECK(bytes_of(usual, options) <= options.memory_bytes);

    options.memory_bytes = 1 << 30;
    CHECK(plan_windows(options, false).buffers == 3 * options.depth);
    CHECK(plan_windows(options, false).digest_entries == 4096);

    options.memory_bytes = 32 << 20;
    const windows small = plan_windows(options, false);
    CHECK(small.buffers < 3 * options.depth);
    CHECK(bytes_of(small, options) <= options.memory_bytes);
    CHECK(bytes_of(small, options) + options.chunk_bytes > options.memory_bytes / 12 * 11);

    options.memory_bytes = memory_minimum(options);
    const windows least = plan_windows(options, false);
    CHECK((least.buffers == 1 && least.digest_entries >= 1));
    CHECK(bytes_of(least, options) <= options.memory_bytes);
}

}  // namespace
