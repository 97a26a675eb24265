// The library's workers: few where nothing sleeps, many where everything does.
#include "sync/worker_pool.hpp"

#include <catch2/catch.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

using namespace reprotect;
using namespace std::chrono_literals;

namespace {

unsigned cores() {
    return std::max(std::thread::hardware_concurrency(), 1u);
}

void run_all(worker_pool& pool, unsigned count, const std::function<void()>& task) {
    std::latch left(count);
    for (unsigned i = 0; i < count; ++i)
        boost::asio::post(pool.get_executor(), [&] {
            task();
            left.count_down();
        });
    while (!left.try_wait()) {
        std::this_thread::sleep_for(1ms);
        pool.tend();
    }
}

}  // namespace

TEST_CASE("a pool runs every task, on one thread too", "[sync]") {
    for (const unsigned most : {1u, 2u, 33u}) {
        worker_pool pool(most);
        std::atomic<unsigned> ran{0};
        run_all(pool, 1000, [&] { ++ran; });
        CHECK(ran == 1000);
        CHECK(pool.thread_count() <= most);
    }
}

TEST_CASE("a pool grows to its limit where tasks sleep, and not beyond", "[sync]") {
    worker_pool pool(cores() + 6);
    run_all(pool, 600, [] { std::this_thread::sleep_for(500us); });
    CHECK(pool.thread_count() == cores() + 6);
}

TEST_CASE("a pool whose threads are all stuck gets another one", "[sync]") {
    worker_pool pool(cores() + 1);
    std::promise<void> release;
    std::shared_future<void> released = release.get_future().share();
    for (unsigned i = 0; i < cores(); ++i) boost::asio::post(pool.get_executor(), [released] { released.wait(); });
    std::atomic<bool> ran{false};
    boost::asio::post(pool.get_executor(), [&] { ran = true; });
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!ran && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(1ms);
        pool.tend();
    }
    CHECK(ran);
    release.set_value();
}

TEST_CASE("a task that a worker queues is run, though nobody is woken for it", "[sync]") {
    worker_pool pool(4);
    std::promise<void> ended;
    std::atomic<int> left{500};
    std::function<void()> step = [&] {
        if (--left == 0) return ended.set_value();
        boost::asio::post(pool.get_executor(), step);
    };
    boost::asio::post(pool.get_executor(), step);
    CHECK(ended.get_future().wait_for(10s) == std::future_status::ready);
}

TEST_CASE("a task that a worker queues does not wait for the end of the one that queued it", "[sync]") {
    worker_pool pool(4);
    std::promise<void> ran;
    std::promise<bool> ended;
    boost::asio::post(pool.get_executor(), [&] {
        boost::asio::post(pool.get_executor(), [&] { ran.set_value(); });
        ended.set_value(ran.get_future().wait_for(10s) == std::future_status::ready);
    });
    std::future<bool> in_time = ended.get_future();
    while (in_time.wait_for(1ms) != std::future_status::ready) pool.tend();
    CHECK(in_time.get());
}

TEST_CASE("a strand on the pool runs one task at a time, in order", "[sync]") {
    worker_pool pool(4);
    boost::asio::strand<boost::asio::any_io_executor> strand(pool.get_executor());
    std::vector<int> order;
    std::promise<void> ended;
    for (int i = 0; i < 1000; ++i)
        boost::asio::post(strand, [&, i] {
            order.push_back(i);
            if (i == 999) ended.set_value();
        });
    REQUIRE(ended.get_future().wait_for(10s) == std::future_status::ready);
    REQUIRE(order.size() == 1000);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("a pool that ends drops what waits and frees it", "[sync]") {
    const auto owned = std::make_shared<int>(1);
    {
        worker_pool pool(1);
        std::promise<void> begun;
        boost::asio::post(pool.get_executor(), [&begun] {
            begun.set_value();
            std::this_thread::sleep_for(20ms);
        });
        for (int i = 0; i < 10; ++i)
            boost::asio::post(pool.get_executor(), [owned] { std::this_thread::sleep_for(1s); });
        begun.get_future().wait();
    }
    CHECK(owned.use_count() == 1);
}
