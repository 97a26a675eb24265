// A session's memory by the formula at the head of plan_windows.hpp.
#include <catch2/catch.hpp>

#include "reprotect/sync.hpp"
#include "sync/plan_windows.hpp"

namespace {

using namespace reprotect;

TEST_CASE("a source whose target is far gets more buffers for each read, of the same memory", "[sync]") {
    sync_options options;
    options.memory_bytes = 1 << 30;
    CHECK(plan_windows(options, false).buffers == 3 * options.depth);
    CHECK(plan_windows(options, false, buffers_a_read_far).buffers == 5 * options.depth);
    // By default the memory is what bounds it.
    const sync_options usual;
    const windows far = plan_windows(usual, false, buffers_a_read_far);
    CHECK(far.buffers > 3 * usual.depth);
    const std::uint64_t scratch = 2ull * usual.depth * (256 << 10);
    CHECK(scratch + usual.memory_bytes / 8 + far.buffers * usual.chunk_bytes <= usual.memory_bytes);
    CHECK(plan_windows(usual, false).digest_entries == far.digest_entries);
}

}  // namespace
