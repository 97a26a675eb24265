// Whole buffers and parts of them: apart from each other, aligned, and used again.
#include "base/buffer_pool.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <cstring>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace reprotect;

namespace {

constexpr std::size_t large = buffer_pool::large_bytes;

bool is_aligned(const buffer& which) {
    return reinterpret_cast<std::uintptr_t>(which.bytes().data()) % buffer_pool::alignment == 0;
}

}  // namespace

TEST_CASE("a whole buffer that was given back is the next one that is taken", "[pool]") {
    const std::size_t bytes =
        GENERATE(std::size_t{512}, std::size_t{64 << 10}, large, large + 4096, 3 * large, 16 * large);
    const auto pool = std::make_shared<buffer_pool>(bytes);
    buffer first = pool->take(), second = pool->take();
    CHECK(first.bytes().size() == bytes);
    CHECK((is_aligned(first) && is_aligned(second)));
    const std::byte* const was = second.bytes().data();
    second = {};
    CHECK(pool->take().bytes().data() == was);
    CHECK(pool->take().bytes().data() == was);
}

TEST_CASE("of a large buffer up to a quarter is a part, which its neighbours share", "[pool]") {
    const auto pool = std::make_shared<buffer_pool>(large);
    const buffer first = pool->take(10), second = pool->take(large / 4), third = pool->take(large / 8);
    CHECK((is_aligned(first) && is_aligned(second) && is_aligned(third)));
    CHECK(second.bytes().data() == first.bytes().data() + buffer_pool::alignment);
    CHECK(third.bytes().data() == second.bytes().data() + large / 4);
    CHECK(third.bytes().size() == large / 8);
    const auto is_beside = [&](const buffer& other) {
        return other.bytes().data() >= first.bytes().data() + large || other.bytes().data() < first.bytes().data();
    };
    const buffer half = pool->take(large / 2), most = pool->take(large / 4 * 3 + 1);
    CHECK((is_beside(half) && is_beside(most)));
    CHECK(half.bytes().size() == large / 2);
    CHECK(most.bytes().size() == large / 4 * 3 + 1);
}

TEST_CASE("memory whose parts are all given back is whole again", "[pool]") {
    const auto pool = std::make_shared<buffer_pool>(large);
    std::vector<buffer> parts;
    for (int i = 0; i < 4; ++i) parts.push_back(pool->take(large / 4));
    const std::byte* const memory = parts.front().bytes().data();
    buffer next;
    const bool is_full = GENERATE(false, true);
    if (is_full) next = pool->take(large / 4);  // by which the first four have theirs for themselves
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
        REQUIRE(content.front() == static_cast<std::byte>(which->first % 251));
        REQUIRE(std::memcmp(content.data(), content.data() + 1, content.size() - 1) == 0);  // all of it
        held.erase(which);
    }
    pool.reset();  // what is held keeps it
    for (const auto& [i, each] : held)
        REQUIRE(each.bytes()[each.bytes().size() - 1] == static_cast<std::byte>(i % 251));
}

TEST_CASE("a pool serves several threads, and what one took another may give back", "[pool]") {
    const auto pool = std::make_shared<buffer_pool>(large);
    std::mutex mutex;
    std::vector<buffer> passed;  // by one to another
    const auto work = [&](unsigned seed) {
        std::mt19937 random(seed);
        for (int i = 0; i < 2000; ++i) {
            buffer mine = pool->take(random() % 3 == 0 ? large : 1 + random() % (large / 4));
            const auto mark = static_cast<std::byte>(seed);
            mine.bytes().front() = mine.bytes().back() = mark;
            buffer other;
            const std::lock_guard lock(mutex);
            if (mine.bytes().front() != mark || mine.bytes().back() != mark) throw std::logic_error("not ours");
            passed.push_back(std::move(mine));
            if (passed.size() > 8) {
                std::swap(passed[random() % passed.size()], passed.back());
                other = std::move(passed.back());
                passed.pop_back();
            }
        }
    };
    auto one = std::async(std::launch::async, work, 1), two = std::async(std::launch::async, work, 2);
    CHECK_NOTHROW(one.get());
    CHECK_NOTHROW(two.get());
}
