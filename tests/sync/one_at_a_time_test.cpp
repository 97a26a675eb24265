// Jobs that many threads give: each runs once, none beside another, and nobody waits for one.
#include <catch2/catch.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "sync/one_at_a_time.hpp"

namespace {

using namespace reprotect;

TEST_CASE("jobs run one at a time, each once, in the order in which they came", "[sync]") {
    one_at_a_time turn;
    constexpr int givers = 4, each = 500;
    std::vector<std::pair<int, int>> ran;  // guarded by the turn alone
    std::atomic<int> inside = 0;
    std::atomic<bool> overlapped = false;
    std::vector<std::thread> threads;
    for (int giver = 0; giver < givers; ++giver)
        threads.emplace_back([&, giver] {
            for (int i = 0; i < each; ++i)
                turn.run([&, giver, i] {
                    if (inside.fetch_add(1) != 0) overlapped = true;
                    ran.emplace_back(giver, i);
                    inside.fetch_sub(1);
                });
        });
    for (std::thread& one : threads) one.join();
    CHECK_FALSE(overlapped);
    REQUIRE(ran.size() == givers * each);
    std::vector<int> next(givers, 0);
    for (const auto& [giver, i] : ran) {
        REQUIRE(i == next[static_cast<std::size_t>(giver)]);
        ++next[static_cast<std::size_t>(giver)];
    }
}

TEST_CASE("who finds a job under way leaves his own to whoever is at it", "[sync]") {
    one_at_a_time turn;
    std::promise<void> begun, may_end;
    std::thread::id second_ran_on;
    std::thread first([&] {
        turn.run([&] {
            begun.set_value();
            may_end.get_future().wait();
        });
    });
    begun.get_future().wait();
    turn.run([&] { second_ran_on = std::this_thread::get_id(); });  // comes back at once
    const std::thread::id first_id = first.get_id();
    may_end.set_value();
    first.join();
    CHECK(second_ran_on == first_id);
}

TEST_CASE("what a job holds is let go before the next one begins", "[sync]") {
    one_at_a_time turn;
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> seen = held;
    bool let_go = false;
    turn.run(
        [&turn, &let_go, seen, held = std::move(held)] { turn.run([&let_go, seen] { let_go = seen.expired(); }); });
    CHECK(let_go);
}

}  // namespace
