// What blocks while a connection is to be answered: a thread of its own does it.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "base/caught_error.hpp"

namespace reprotect {

/// A thread that does one thing, and what it leaves for the coroutine that waits for it. Its end stops it, and waits.
class errand {
public:
    using work = std::function<void(std::stop_token)>;

    /// `then` is called on the thread, when it is over. What fails is of `device`.
    errand(work what, std::stop_source stop, std::string device, std::function<void()> then)
        : stop_(std::move(stop)),
          thread_([this, what = std::move(what), device = std::move(device), then = std::move(then)] {
              try {
                  what(stop_.get_token());
              } catch (...) {
                  failure_ = caught_error(device);
              }
              over_ = true;
              then();
          }) {}
    errand(const errand&) = delete;
    errand& operator=(const errand&) = delete;
    ~errand() {
        if (!over_) stop_.request_stop();
        thread_.join();
    }

    bool over() const noexcept { return over_; }
    /// Once it is over.
    const std::optional<error>& failure() const noexcept { return failure_; }

private:
    std::atomic<bool> over_ = false;
    std::optional<error> failure_;
    std::stop_source stop_;
    std::thread thread_;
};

}  // namespace reprotect
