// A gate that holds a thread of the code under test where a test wants it, until the test opens it. Nobody waits for
// ever: who is not let through in time goes on, and the test sees that it was not.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace reprotect::test {

class gate {
public:
    /// Waits until it is open, at most 15 seconds.
    void pass() {
        std::unique_lock lock(mutex_);
        reached_ = true;
        changed_.notify_all();
        if (!changed_.wait_for(lock, limit, [this] { return open_; })) forced_ = true;
    }
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }
    /// Whether somebody has come to it; waits for that as long.
    bool reached() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, limit, [this] { return reached_; });
    }
    /// Whether somebody had to go on although it was shut.
    bool forced() const {
        const std::lock_guard lock(mutex_);
        return forced_;
    }

private:
    static constexpr std::chrono::seconds limit{15};  // longer than any call that is right takes, on a busy machine too
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false, reached_ = false, forced_ = false;
};

}  // namespace reprotect::test
