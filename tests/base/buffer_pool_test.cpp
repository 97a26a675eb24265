// Whole buffers and parts of them: apart from each other, aligned, and used again.
#include "base/buffer_pool.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

using namespace reprotect;

namespace {

constexpr std::size_t large = buffer_pool::large_bytes;

bool is_aligned(const buffer& which) {
    return reinterpret_cast<std::uintptr_t>(which.bytes().data()) % buffer_pool::alignment == 0;
}

}  // namespace

TEST_CASE("a whole buffer that was given back is the next one that is taken", "[pool]") {
    const std::size_t bytes = GENERATE(std::size_t{512}, std::size_t{64 << 10}, large, 3 * large, 16 * large);
    const auto pool = std::make_shared<buffer_pool>(bytes);
    buffer first = pool->take(), second = pool->take();
    CHECK(first.bytes().size() == bytes);
    CHECK((is_aligned(first) && is_aligned(second)));
    const std::byte* const was = second.bytes().data();
    second = {};
    CHECK(pool->take().bytes().data() == was);
    CHECK(pool->take().bytes().data() == was);
}

TEST_CASE("of a large buffer up to a half is a part, which its neighbours share", "[pool]") {
    const auto pool = std::make_shared<buffer_pool>(large);
    const buffer first = pool->take(10), second = pool->take(large / 4), third = pool->take(large / 2);
    CHECK((is_aligned(first) && is_aligned(second) && is_aligned(third)));
    CHECK(second.bytes().data() == first.bytes().data() + buffer_pool::alignment);
    CHECK(third.bytes().data() == second.bytes().data() + large / 4);
    CHECK(third.bytes().size() == large / 2);
    // There is room for no more than a quarter behind it, and a whole one is no part.
    const buffer fourth = pool->take(large / 2), most = pool->take(large / 2 + 1);
    CHECK((fourth.bytes().data() < first.bytes().data() || fourth.bytes().data() >= first.bytes().data() + large));
    CHECK(most.bytes().size() == large / 2 + 1);
}

TEST_CASE("memory whose parts are all given back is whole again", "[pool]") {
    const auto pool = std::make_shared<buffer_pool>(large);
    std::vector<buffer> parts;
    for (int i = 0; i < 4; ++i) parts.push_back(pool->take(large / 4));
    const std::byte* const memory = parts.front().bytes().data();
    const buffer next = pool->take(large / 4);  // by which the first four have theirs for themselves
    std::swap(parts[0], parts[2]);
    while (parts.size() > 1) {
        parts.pop_back();
        const buffer other = pool->take();
        CHECK(other.bytes().data() != memory);
    }
    parts.clear();
    CHECK(pool->take().bytes().data() == memory);
}

TEST_CASE("buffers of all sizes stay apart while they are held, on small pools and on large ones", "[pool]") {
    const std::size_t bytes = GENERATE(std::size_t{64 << 10}, large, 2 * large);
    auto pool = std::make_shared<buffer_pool>(bytes);
    std::mt19937 random(7);
    std::map<int, buffer> held;
    for (int i = 1; i <= 3000; ++i) {
        const std::size_t kind = random() % 4;
        const std::size_t size = kind == 0 ? bytes : 1 + random() % (kind == 1 ? bytes : bytes / 16);
        buffer fresh = pool->take(size);
        REQUIRE(fresh.bytes().size() == size);
        std::memset(fresh.bytes().data(), i % 251, size);
        held[i] = std::move(fresh);
        if (held.size() < 24) continue;
        const auto which = std::next(held.begin(), static_cast<long>(random() % held.size()));
        const auto content = which->second.bytes();
        const auto expected = static_cast<std::byte>(which->first % 251);
        REQUIRE(std::all_of(content.begin(), content.end(), [&](std::byte each) { return each == expected; }));
        held.erase(which);
    }
    pool.reset();  // what is held keeps it
    for (const auto& [i, each] : held)
        REQUIRE(each.bytes()[each.bytes().size() - 1] == static_cast<std::byte>(i % 251));
}
