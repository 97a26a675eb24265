// A session: joins a source peer and a target peer, their workers and what connects them. Both peers may be here; then messages
// are handed over in memory. Or one of them is here, and a channel leads to the other.
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
#include <string>
#include <vector>

#include "base/core_pressure.hpp"
#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"
#include "reprotect/executor.hpp"
#include "scan/disk_worker.hpp"
#include "sync/discretion.hpp"
#include "sync/one_at_a_time.hpp"
#include "sync/prepare.hpp"
#include "sync/target_keeper.hpp"
#include "wire/channel.hpp"

namespace reprotect {

enum class side : std::size_t { source = 0, target = 1 };
constexpr side other(side value) noexcept {
    return value == side::source ? side::target : side::source;
}

/// Where only one side is in this process: which, and the way to the other.
struct far_end {
    std::shared_ptr<channel> link;  // shared with the channel's own handlers
    side here = side::source;
    std::array<std::byte, 32> binding{};  ///< from the connection; the same on both sides
    std::string far_name;                 ///< of the far disk, as the user gave it, or empty: as its side names it
    std::string alias;                    ///< what the far side may know the disk here as, or empty: by its name
    bool wants_differential = false;      ///< a target here asks for the extents that a comparison found
    bool asked_here = false;              ///< by the user of this side alone
};

class session final : public std::enable_shared_from_this<session>,
                      private channel_user {  // shared by its pending handlers
public:
    using completion = std::function<void(sync_report)>;
    using executor = boost::asio::strand<worker_executor>;

    /// Both sides here.
    session(const worker_executor& strand_on, worker_executor workers, sync_request request, session_mode mode,
            completion done);
    /// One side here; the request's other disk is null. The options and the mode are what this side insists on.
    session(worker_executor workers, sync_request request, session_mode mode, far_end far, completion done);

    /// Begins; `done` is called once, on the strand.
    void start();

private:
    using clock = std::chrono::steady_clock;
    struct answer {
        side to;
        event what;
    };

    // The pipeline, in order.
    void prepare();
    void open_peers();
    void exchange();
    void conclude();

    bool is_here(side which) const noexcept { return !far_ || far_->here == which; }
    void open_source();
    void open_target(const geometry& shape);
    void perform(side from, action&& what);
    void deliver(side from, message&& what);
    void note_data();
    void work(side from, action&& what);
    void carry_out(side from, const std::shared_ptr<action>& what);
    bool write_in_turn(const std::shared_ptr<action>& what);
    void look_at_source_again();
    void write_back();
    void post_answer(side to, event&& what);
    void drain();
    void take_finished(side from, finished&& what);
    void conclude_when_idle();
    void stop_peers();
    void guarded(const std::function<void()>& step);
    void refuse(error why);
    void finish();

    // The far side (far_session.cpp).
    void on_message(message&& what) override;
    void on_frame(session_frame&& what) override;
    void on_payload_released(std::uint64_t bytes) override;
    void on_batch_encoded() override;
    void on_received() override;
    void on_lost(const error& why) override;
    void receive_hello(hello&& what);
    struct far_view;
    far_view check_far_target(const hello& theirs, sync_request asked) const;
    far_view prepare_for_source(const hello& theirs, sync_request asked) const;
    std::string name_of_far_disk(const hello& theirs) const;
    void answer_hello(hello&& theirs, const std::optional<error>& refused);
    void take_view(far_view&& seen);
    void accept_hello(hello&& what);
    void take_failure_of_far_side(error why);
    void say_goodbye();
    void forget_other_direction();
    void send_differential();
    void send_status(bool now = false);
    bool mind_egress();
    bool stop_at_limit(error why);
    error egress_used_up() const;
    error bound_used_up() const;
    bool is_bounded() const noexcept { return egress_max_ || !request_.options.traffic_max.empty(); }
    bool is_minding() const noexcept;
    bool is_beyond_limit() const;
    void mind_checkpoint();
    void finish_link();
    error named_by_far_side(const error& why) const;
    known_as names_here() const;

    // Progress and report (session_report.cpp).
    void report_progress(bool now);
    void tell_listener(const std::function<void(sync_listener&)>& what);
    void warn(const std::string& text);
    void enter(sync_phase phase);
    sync_report make_report();
    source_counts counts_of_source() const;
    target_counts counts_of_target() const;
    std::uint64_t disk_bytes() const noexcept;
    device& disk(side which) noexcept { return which == side::source ? *request_.source : *target_; }

    executor strand_;
    worker_executor workers_;
    struct busy {
        boost::asio::executor_work_guard<worker_executor> session, workers;
    };
    std::optional<busy> busy_;  // neither context runs out of work before the report is out
    sync_request request_;
    session_mode mode_;
    completion done_;
    std::optional<far_end> far_;

    std::unique_ptr<device> stand_in_;         // for a target that is missing in a dry run
    std::unique_ptr<device> stand_in_source_;  // for a source that is elsewhere
    device* target_ = nullptr;
    std::uint64_t size_at_open_ = 0;  // the target's
    preparation known_;               // the guard has moved to the keeper
    std::optional<target_keeper> keeper_;

    std::optional<source_peer> source_peer_;
    std::optional<target_peer> target_peer_;
    std::shared_ptr<buffer_pool> pool_;  // shared with the buffers that are out
    std::array<std::unique_ptr<disk_worker>, 2> workers_of_;
    std::optional<one_at_a_time> in_turn_;                   // writes to a target with `one_writer`
    std::uint64_t unwritten_bytes_ = 0;                      // that may still be in the target's cache alone
    std::uint64_t write_back_at_ = device::writeback_bytes;  // so many of them
    bool writing_back_ = false;
    std::optional<core_pressure> core_pressure_;  // on a target's cores, where its source is far
    std::deque<answer> events_;                   // on the strand
    std::array<bool, 2> done_sides_{};
    std::size_t in_flight_ = 0;
    bool preparing_ = false;  // a worker looks at disks before a peer is made, or goes on
    bool broken_ = false;     // deciding itself failed: the peers are not asked any more
    bool concluding_ = false;

    std::shared_ptr<session> alive_;  // itself, while a far side may still speak
    std::optional<hello> far_hello_;
    std::optional<wire_goodbye> far_goodbye_;
    bool goodbye_said_ = false;
    bool send_extents_ = false;
    bool ending_ = false;
    std::optional<error> far_failure_;       // that came while this side concluded
    std::vector<std::string> far_warnings_;  // what the other side told
    std::vector<std::string> warnings_;      // what was told here
    bool far_knows_ = false;                 // the far side knows how this one failed, or told it
    source_counts far_source_;
    target_counts far_target_;
    std::uint64_t far_proved_bytes_ = 0;
    std::uint64_t told_written_ = 0;           // to the far side
    std::optional<std::uint64_t> egress_max_;  // the lower of both sides'
    std::uint64_t egress_allowed_ = 0;         // bytes of payload, as told to the source's peer
    std::optional<std::uint64_t> back_max_;    // bytes to the source that a target here may send
    bool egress_reached_ = false;
    std::optional<differential> far_differential_;
    channel_counts sent_, received_;

    std::mutex inbox_mutex_;
    std::vector<answer> inbox_;
    bool draining_posted_ = false;

    std::optional<std::stop_callback<std::function<void()>>> on_cancel_;
    std::optional<error> failure_;

    sync_phase phase_ = sync_phase::prepare;
    clock::time_point started_, phase_started_, last_progress_, last_status_, last_checkpoint_;
    std::optional<clock::time_point> first_data_, last_data_;
    second_counts seconds_;
};

}  // namespace reprotect
