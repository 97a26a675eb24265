// A session between two disks of one machine: joins the peers, their workers and a channel that hands over buffers in memory.
//
// Everything that decides runs on one strand; everything that blocks runs on the workers. A worker's answer goes into an inbox,
// and the strand drains it: so the peers see one event at a time and need no lock.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/strand.hpp>

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"
#include "reprotect/executor.hpp"
#include "reprotect/memory_device.hpp"
#include "scan/disk_worker.hpp"
#include "sync/prepare.hpp"

namespace reprotect {

class session : public std::enable_shared_from_this<session> {  // shared by the handlers that are still to run
public:
    using completion = std::function<void(sync_report)>;

    session(const worker_executor& strand_on, worker_executor workers, sync_request request, session_mode mode,
            completion done);

    /// Begins; `done` is called once, on the strand.
    void start();

private:
    using clock = std::chrono::steady_clock;
    enum side : std::size_t { source_side = 0, target_side = 1 };
    struct answer {
        side to;
        event what;
    };

    // The pipeline, in order.
    void prepare();
    void open_peers();
    void exchange();
    void conclude();

    void perform(side from, action&& what);
    void deliver(side from, message&& what);
    void work(side from, action&& what);
    target_status unfinished_status() const noexcept;
    void look_at_source_again();
    void close_record();
    event begin_writing_now();
    event flush_now(action&& what);
    void post_answer(side to, event&& what);
    void drain();
    void take_finished(side from, finished&& what);
    void conclude_when_idle();
    void stop_peers();
    template <typename Step>
    void guarded(Step step);
    void refuse(error why);
    void finish();
    std::optional<error> look_after_target();
    void report_progress(bool now);
    void tell_listener(const std::function<void(sync_listener&)>& what);
    void enter(sync_phase phase);
    sync_report make_report();
    device& disk(side which) noexcept { return which == source_side ? *request_.source : *target_; }

    boost::asio::strand<worker_executor> strand_;
    worker_executor workers_;
    struct busy {
        boost::asio::executor_work_guard<worker_executor> session, workers;
    };
    std::optional<busy> busy_;  // neither context runs out of work before the report is out
    sync_request request_;
    session_mode mode_;
    completion done_;

    std::unique_ptr<memory_device> stand_in_;  // for a missing target in a dry run
    device* target_;
    std::uint64_t size_at_open_ = 0;  // the target's
    preparation known_;
    std::string session_id_;

    std::optional<source_peer> source_peer_;
    std::optional<target_peer> target_peer_;
    std::shared_ptr<buffer_pool> pool_;  // shared with the buffers that are out
    std::array<std::unique_ptr<disk_worker>, 2> workers_of_;
    std::deque<answer> events_;  // on the strand
    std::array<bool, 2> done_sides_{};
    std::size_t in_flight_ = 0;
    bool broken_ = false;  // deciding itself failed: the peers are not asked any more
    bool concluding_ = false;

    std::mutex watch_mutex_;  // the guard and what a device takes from one thread at a time
    clock::time_point last_watch_;

    std::mutex inbox_mutex_;
    std::vector<answer> inbox_;
    bool draining_posted_ = false;

    std::optional<std::stop_callback<std::function<void()>>> on_cancel_;
    std::optional<error> failure_;

    sync_phase phase_ = sync_phase::prepare;
    clock::time_point started_, phase_started_, last_progress_;
    std::optional<clock::time_point> first_data_, last_data_;
    second_counts seconds_;
};

}  // namespace reprotect
