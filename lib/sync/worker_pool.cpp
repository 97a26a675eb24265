// A queue under one mutex. Two things keep it from being a storm of wake-ups: nobody is woken for the first task that a worker
// queues, since that worker will come for it itself (so tasks queue at their end, not before they wait); and threads that were woken but are not up yet count.
#include "sync/worker_pool.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <string>

#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr int sleeps_before_growth = 4;  // measured: cached reads now and then sleep for a lock, disks do each time

struct worker_state {
    const worker_pool* pool = nullptr;
    bool queued_one = false;  // by the task that runs
};
thread_local worker_state this_worker;

// How often this thread has given up its core by itself.
long sleeps() {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

}  // namespace

worker_pool::worker_pool(unsigned threads_max) : threads_max_(std::max(threads_max, 1u)) {
    const std::lock_guard lock(mutex_);
    const std::size_t cores = std::max(std::thread::hardware_concurrency(), 1u);
    for (std::size_t i = 0; i < std::min(cores, threads_max_); ++i) add_thread();
}

worker_pool::~worker_pool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wanted_.notify_all();
    for (std::thread& each : threads_) each.join();
    queue_.clear();
    shutdown();
}

std::size_t worker_pool::thread_count() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
}

void worker_pool::push(std::unique_ptr<task> what) {
    bool wake = false;
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(what));
        const bool own = this_worker.pool == this && !std::exchange(this_worker.queued_one, true);
        wake = !own && idle_ > waking_;
        if (wake) ++waking_;
    }
    if (wake) wanted_.notify_one();
}

void worker_pool::tend() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, 0) == 0 && !queue_.empty() && idle_ == 0) add_thread();
    // A worker that queued a task and went on with long work of its own does not come for it.
    if (!queue_.empty() && idle_ > waking_) {
        ++waking_;
        wanted_.notify_one();
    }
}

// Where the system gives no more threads, those that there are must do.
void worker_pool::add_thread() {
    if (threads_.size() >= threads_max_ || stopping_) return;
    try {
        threads_.emplace_back([this] { work(); });
    } catch (const std::exception& why) {
        if (threads_.empty())
            throw error(error_kind::device_io, std::string("no thread could be started: ") + why.what(),
                        {.operation = "start", .hint = "raise the limit of processes and threads (ulimit -u)"});
    }
}

void worker_pool::work() {
    this_worker = {this, false};
    int slept_in_turn = 0;
    std::optional<long> before;  // the count after the last task, where this thread did not wait since
    std::unique_lock lock(mutex_);
    for (;;) {
        while (queue_.empty() && !stopping_) {
            before.reset();
            ++idle_;
            wanted_.wait(lock);
            --idle_;
            if (waking_ != 0) --waking_;
        }
        if (stopping_) return;
        std::unique_ptr<task> next = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        this_worker.queued_one = false;
        if (!before) before = sleeps();
        next->run();
        next.reset();
        const long after = sleeps();
        const bool slept = after != std::exchange(before, after);
        if (!lock.try_lock()) {
            before.reset();
            lock.lock();
        }
        ++ended_;
        slept_in_turn = slept ? slept_in_turn + 1 : std::max(0, slept_in_turn - 1);
        if (slept_in_turn < sleeps_before_growth) continue;
        slept_in_turn = 0;
        if (!queue_.empty()) add_thread();
    }
}

}  // namespace reprotect
