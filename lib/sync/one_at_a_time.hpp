// Jobs that would only wait for each other: whoever comes does his own, unless somebody is at it; then it is done after that
// one. So nobody waits, and no thread is needed for it.
#pragma once

#include <boost/asio/post.hpp>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "reprotect/executor.hpp"

namespace reprotect {

/// Thread-safe.
class one_at_a_time {
public:
    explicit one_at_a_time(worker_executor workers) : workers_(std::move(workers)) {}

    /// Jobs run in the order in which they come: the first at once, within this call, those that come meanwhile after it or on the workers.
    /// A job must not throw. `owner` keeps alive what they and this lie in. Throws `std::bad_alloc`; then it is not run.
    void run(std::function<void()> job, const std::shared_ptr<const void>& owner) {
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(std::move(job));
            if (busy_) return;
            busy_ = true;
        }
        go_on(owner);
    }

private:
    // What a job has posted may wait for this thread, so it is not to wait for all the jobs behind it: for a moment of them.
    // Measured: with 2 ms, too, W1 over 1 Gbit/s loses some percent, since the next job then queues behind reads.
    static constexpr std::chrono::milliseconds moment{20};

    void go_on(const std::shared_ptr<const void>& owner) noexcept {
        const auto begin = std::chrono::steady_clock::now();
        for (;;) {
            run_next();
            {
                const std::lock_guard lock(mutex_);
                busy_ = !jobs_.empty();
                if (!busy_) return;
            }
            if (std::chrono::steady_clock::now() - begin < moment) continue;
            try {
                return boost::asio::post(workers_, [this, owner] { go_on(owner); });
            } catch (...) {
                // No memory for a task: then here.
            }
        }
    }
    void run_next() noexcept {
        std::unique_lock lock(mutex_);
        const std::function<void()> job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        job();
    }

    worker_executor workers_;
    std::mutex mutex_;  // guards all below
    std::deque<std::function<void()>> jobs_;
    bool busy_ = false;
};

}  // namespace reprotect
