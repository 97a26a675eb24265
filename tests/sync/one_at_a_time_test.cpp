// Jobs that many threads give: each runs once, none beside another, and nobody waits for one.
#include <catch2/catch.hpp>

#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "sync/one_at_a_time.hpp"

namespace {

using namespace reprotect;

constexpr std::chrono::milliseconds a_long_time{40};  // for a job: the next is for the workers

struct turns {
    boost::asio::thread_pool workers{2};
    one_at_a_time turn{workers.get_executor()};
};

TEST_CASE("jobs run one at a time, each once, in the order in which they came", "[sync]") {
    const auto it = std::make_shared<turns>();
    constexpr int givers = 4, each = 500;
    std::vector<std::pair<int, int>> ran;  // guarded by the turn alone
    std::atomic<int> inside = 0;
    std::atomic<bool> overlapped = false;
    std::vector<std::thread> threads;
    for (int giver = 0; giver < givers; ++giver)
        threads.emplace_back([&, giver] {
            for (int i = 0; i < each; ++i)
                it->turn.run(
                    [&, giver, i] {
                        if (inside.fetch_add(1) != 0) overlapped = true;
                        ran.emplace_back(giver, i);
                        inside.fetch_sub(1);
                    },
                    it);
        });
    for (std::thread& one : threads) one.join();
    it->workers.join();
    CHECK_FALSE(overlapped);
    REQUIRE(ran.size() == givers * each);
    std::vector<int> next(givers, 0);
    for (const auto& [giver, i] : ran) {
        REQUIRE(i == next[static_cast<std::size_t>(giver)]);
        ++next[static_cast<std::size_t>(giver)];
    }
}

TEST_CASE("who finds a job under way comes back at once, and who is long at it does his own alone", "[sync]") {
    const auto it = std::make_shared<turns>();
    std::promise<void> begun, may_end, first_came_back;
    std::atomic<bool> second_ran = false;
    std::thread first([&] {
        it->turn.run(
            [&] {
                begun.set_value();
                may_end.get_future().wait();
            },
            it);
        first_came_back.set_value();
    });
    begun.get_future().wait();
    auto came_back = first_came_back.get_future();
    it->turn.run(
        [&] {
            came_back.wait();  // would wait for ever on the first one's thread
            second_ran = true;
        },
        it);
    CHECK_FALSE(second_ran);
    std::this_thread::sleep_for(a_long_time);
    may_end.set_value();
    first.join();
    it->workers.join();
    CHECK(second_ran);
}

TEST_CASE("jobs that wait keep alive what they lie in, and what ran is let go", "[sync]") {
    boost::asio::thread_pool workers(1);
    struct owner {
        explicit owner(boost::asio::thread_pool& on) : turn(on.get_executor()) {}
        one_at_a_time turn;
    };
    auto it = std::make_shared<owner>(workers);
    const std::weak_ptr<owner> seen = it;
    std::promise<void> may_end;
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> held_seen = held;
    std::atomic<bool> ran = false, kept = false, let_go = false;
    it->turn.run(
        [&, held] {
            std::this_thread::sleep_for(a_long_time);
            it->turn.run(
                [&] {
                    may_end.get_future().wait();
                    kept = !seen.expired();
                    let_go = held_seen.expired();
                    ran = true;
                },
                it);
        },
        it);
    held.reset();
    it.reset();
    may_end.set_value();
    workers.join();
    CHECK(ran);
    CHECK(kept);
    CHECK(let_go);
    CHECK(seen.expired());
}

}  // namespace
