// Jobs that would only wait for each other: whoever comes does his own, unless somebody is at it, who then does it after his.
// So nobody waits, and no thread is needed for it.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace reprotect {

/// Thread-safe. Must outlive every call of `run`.
class one_at_a_time {
public:
    /// Jobs run in the order in which they come, within a call of `run`: this one, or that of who is at it. A job must not throw.
    /// Throws `std::bad_alloc`; then the job is not run.
    void run(std::function<void()> job) {
        std::unique_lock lock(mutex_);
        jobs_.push_back(std::move(job));
        if (std::exchange(busy_, true)) return;
        while (!jobs_.empty()) {
            std::function<void()> next = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            next();
            next = {};  // what it held is let go before the next one begins
            lock.lock();
        }
        busy_ = false;
    }

private:
    std::mutex mutex_;  // guards all below
    std::deque<std::function<void()>> jobs_;
    bool busy_ = false;
};

}  // namespace reprotect
