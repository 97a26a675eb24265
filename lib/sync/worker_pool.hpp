// The library's own workers: as many threads as work that blocks needs, and no more than cores for work that does not.
//
// Disks in the page cache are read at the speed of the cores; more threads than cores then only take turns. Disks that make a
// thread sleep want one thread for each call in flight. Which it is shows while it runs: a thread that had to sleep in several
// tasks in turn, with others waiting, brings another thread; and so does `tend`, when nothing at all came to an end meanwhile.
#pragma once

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace reprotect {

class worker_pool : public boost::asio::execution_context {
public:
    /// Starts with one thread a core, but never has more than `threads_max`.
    explicit worker_pool(unsigned threads_max);
    worker_pool(const worker_pool&) = delete;
    worker_pool& operator=(const worker_pool&) = delete;
    /// Waits for the tasks that run; those that wait are dropped.
    ~worker_pool();

    /// To be called every few milliseconds by a thread that has nothing else to do.
    void tend();

    std::size_t thread_count();

    /// An Asio executor: never runs a task within `execute`.
    class executor_type {
    public:
        explicit executor_type(worker_pool& pool) noexcept : pool_(&pool) {}
        boost::asio::execution_context& query(boost::asio::execution::context_t) const noexcept { return *pool_; }
        static constexpr boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t) noexcept {
            return boost::asio::execution::blocking.never;
        }
        template <typename Function>
        void execute(Function&& function) const {
            pool_->push(std::make_unique<task_of<std::decay_t<Function>>>(std::forward<Function>(function)));
        }
        friend bool operator==(const executor_type&, const executor_type&) noexcept = default;

    private:
        worker_pool* pool_;
    };
    executor_type get_executor() noexcept { return executor_type(*this); }

private:
    struct task {
        virtual ~task() = default;
        virtual void run() = 0;
    };
    template <typename Function>
    struct task_of final : task {
        explicit task_of(Function given) : function(std::move(given)) {}
        void run() override { std::move(function)(); }
        Function function;
    };

    void push(std::unique_ptr<task> what);
    void work();
    void add_thread();  // with the mutex held

    const std::size_t threads_max_;
    std::mutex mutex_;  // guards all below
    std::condition_variable wanted_;
    std::deque<std::unique_ptr<task>> queue_;
    std::vector<std::thread> threads_;
    unsigned idle_ = 0;
    unsigned waking_ = 0;  // of the idle: told, but not yet up
    bool stopping_ = false;
    std::size_t ended_ = 0;  // tasks since the last `tend`
};

}  // namespace reprotect
