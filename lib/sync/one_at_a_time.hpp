// Jobs that would only wait for each other: whoever comes does his own, unless somebody is at it, who then does it after his.
// So nobody waits, and no thread is needed for it.
#pragma once

#include <deque>
#include <functional>
#include <mutex>

namespace reprotect {

/// Thread-safe. Must outlive what was given to it.
class one_at_a_time {
public:
    /// Jobs run in the order in which they come, each on the thread of one who gave some. A job must not throw.
    void run(std::function<void()> job) {
        std::unique_lock lock(mutex_);
        jobs_.push_back(std::move(job));
        if (busy_) return;
        busy_ = true;
        while (!jobs_.empty()) {
            std::function<void()> next = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            next();
            next = {};  // what it held is let go before the next one comes in
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
