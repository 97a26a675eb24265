// The pipeline is start -> prepare -> open_peers -> exchange -> conclude. `exchange` is the loop: an event goes to a peer, the
// peer's actions are carried out, its messages become the other peer's events (or go into the channel), until all have finished.
#include "sync/session.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "codec/random.hpp"
#include "reprotect/memory_device.hpp"
#include "sync/plan_windows.hpp"
#include "sync/traffic_bound.hpp"

namespace reprotect {
namespace {

// The peers know no names: what they found wrong with the target is said with its name and the place.
error with_name(error why, const std::string& target) {
    if (why.kind() != error_kind::verification || !why.detail().device.empty()) return why;
    error_detail detail = why.detail();
    detail.device = target;
    std::string place;
    if (detail.offset && detail.length)
        place = " at offset " + std::to_string(*detail.offset) + ", length " + std::to_string(*detail.length);
    return error(why.kind(), "verification of " + target + " failed" + place + ": " + why.what(), std::move(detail));
}

std::uint64_t payload_buffer_bytes(const action& what) noexcept {
    const auto* apply = std::get_if<apply_chunk>(&what);
    return apply ? apply->data.payload.bytes().size() : 0;
}

// What a disk may be behind at most where the cores are short. Guessed: slow ones write it in one or two seconds.
constexpr std::uint64_t unwritten_bytes_max = 8 * device::writeback_bytes;

constexpr std::size_t index(side value) noexcept {
    return static_cast<std::size_t>(value);
}

}  // namespace

session::session(const worker_executor& strand_on, worker_executor workers, sync_request request, session_mode mode,
                 completion done)
    : strand_(strand_on),
      workers_(std::move(workers)),
      busy_(std::in_place, busy{boost::asio::make_work_guard(strand_on), boost::asio::make_work_guard(workers_)}),
      request_(std::move(request)),
      mode_(mode),
      done_(std::move(done)),
      target_(request_.target) {
    if (!target_) {
        stand_in_ = std::make_unique<memory_device>(0, "(missing)");
        target_ = stand_in_.get();
    }
    size_at_open_ = target_->size();
}

session::session(worker_executor workers, sync_request request, session_mode mode, far_end far, completion done)
    : strand_(far.link->executor()),
      workers_(std::move(workers)),
      busy_(std::in_place,
            busy{boost::asio::make_work_guard(strand_.get_inner_executor()), boost::asio::make_work_guard(workers_)}),
      request_(std::move(request)),
      mode_(mode),
      done_(std::move(done)),
      far_(std::move(far)),
      target_(request_.target) {
    REPROTECT_ASSERT((far_->here == side::source) == (request_.source != nullptr));
    REPROTECT_ASSERT((far_->here == side::target) == (request_.target != nullptr));
    if (target_) size_at_open_ = target_->size();
}

void session::start() {
    started_ = phase_started_ = last_progress_ = last_status_ = last_checkpoint_ = clock::now();
    boost::asio::dispatch(strand_, [self = shared_from_this()] {
        self->on_cancel_.emplace(self->request_.cancel, [weak = self->weak_from_this()] {
            if (const auto there = weak.lock()) boost::asio::post(there->strand_, [there] { there->stop_peers(); });
        });
        if (self->far_) {
            self->alive_ = self;
            self->far_->link->start(*self);
        }
        self->preparing_ = true;
        boost::asio::post(self->workers_, [self] { self->prepare(); });
    });
}

// On a worker: everything that looks before anything is touched. What needs to know the far disk comes with its hello.
void session::prepare() {
    std::optional<error> refused;
    auto known = std::make_shared<preparation>();
    try {
        if (!far_)
            *known = prepare_session(request_, *target_, mode_);
        else if (is_here(side::source))
            *known = prepare_source(request_, mode_);
        else
            check_unchanged_size(*target_);
    } catch (...) {
        refused = caught_error("");
    }
    boost::asio::post(strand_, [self = shared_from_this(), known, refused = std::move(refused)] {
        self->preparing_ = false;
        self->known_ = std::move(*known);
        if (refused) return self->refuse(*refused);
        if (self->failure_) return self->refuse(*self->failure_);
        self->guarded([&self] { self->open_peers(); });
    });
}

void session::open_peers() {
    if (!is_here(side::source)) {
        // The target's peer is made when the source has said what there is to sync.
        if (far_hello_) receive_hello(hello(*far_hello_));
        return;
    }
    open_source();
    if (!far_) {
        keeper_.emplace(request_, *target_, mode_, known_);
        open_target({request_.source->size(), request_.options.chunk_bytes, request_.options.block_bytes});
    }
    enter(sync_phase::scan);
    const std::vector<std::string> warnings = std::exchange(known_.warnings, {});
    if (far_) exchange();  // nothing is said to the far side before our hello
    for (const std::string& text : warnings) warn(text);
    exchange();
}

void session::open_source() {
    const sync_options& options = request_.options;
    const bool reread = options.verify == verify_level::reread && mode_ == session_mode::sync;
    const bool direct = request_.source->properties().direct || (target_ && target_->properties().direct);
    const windows window = plan_windows(options, reread || direct);
    source_config ours;
    ours.mode = mode_;
    ours.shape = {request_.source->size(), options.chunk_bytes, options.block_bytes};
    ours.algorithm = options.algorithm;
    ours.reread = reread;
    ours.nonce = random_nonce();
    ours.permits = {options.allow_larger, options.truncate, options.reverse};
    ours.within = options.within;
    ours.reads_max = options.depth;
    ours.buffers_max = window.buffers;
    ours.digest_entries = window.digest_entries;
    ours.keep_differential = options.keep_differential;
    const bool bounded = !options.traffic_max.empty();
    if (far_)
        egress_max_ =
            egress_of(options, bounded ? std::optional(allowed_to_target(options.traffic_max, 0)) : std::nullopt);
    ours.egress_max = egress_max_.value_or(0);
    ours.generation = options.source_generation;
    ours.takes_generation = !far_ || !far_->asked_here;
    pool_ = std::make_shared<buffer_pool>(options.chunk_bytes);
    if (far_) {
        ours.binding = far_->binding;
        ours.disk = {far_->alias.empty() ? request_.source->name() : far_->alias, far_place_of(*request_.source)};
        far_->link->set_shape(ours.shape, pool_);
    }
    source_peer_.emplace(std::move(ours));
}

void session::open_target(const geometry& shape) {
    sync_options options = request_.options;
    const bool reread = options.verify == verify_level::reread && mode_ == session_mode::sync;
    const bool direct = target_->properties().direct || request_.source->properties().direct;
    const windows window = plan_windows(options, reread || direct);
    target_config theirs;
    theirs.disk_bytes = target_->size();
    theirs.punches_holes = target_->properties().punches_holes;
    theirs.resize_needed = known_.resize_to.has_value();
    theirs.ignore_allocation = known_.distrust_target;
    theirs.nonce = random_nonce();
    theirs.reads_max = options.depth;
    theirs.applies_max = options.depth;
    theirs.data_messages = std::max(window.buffers, window.digest_entries);
    theirs.data_bytes = window.buffers * options.chunk_bytes;
    theirs.digest_entries = window.digest_entries;
    theirs.generation = known_.generation;
    if (known_.finished) theirs.finished_bytes = known_.finished->shape().disk_bytes;
    theirs.keeps_finished = mode_ == session_mode::sync && request_.records && !known_.generation.empty();
    if (!pool_) pool_ = std::make_shared<buffer_pool>(options.chunk_bytes);
    if (far_) {
        core_pressure_.emplace();
        theirs.binding = far_->binding;
        theirs.disk = {far_->alias.empty() ? target_->name() : far_->alias, far_place_of(*target_)};
        theirs.permits = {options.allow_larger, options.truncate, options.reverse};
        theirs.findings = {known_.mode == sync_mode::full, known_.resize_to.has_value(), known_.reason};
        theirs.wants_differential = far_->wants_differential;
        std::optional<std::uint64_t> there;
        if (!options.traffic_max.empty()) {
            const auto share =
                step_for_target(options.traffic_max, options, std::min(shape.disk_bytes, target_->size()));
            there = share.to_target;
            back_max_ = share.to_source;
        }
        egress_max_ = egress_of(options, there);
        theirs.egress_max = egress_max_.value_or(0);
        far_->link->set_shape(shape, pool_);
    }
    if (target_->properties().one_writer) in_turn_.emplace();
    target_peer_.emplace(std::move(theirs));
}

// Until the peers rest: their actions are carried out, and what that gives is handed to them.
void session::exchange() {
    mind_checkpoint();
    while (!broken_) {
        while (source_peer_) {
            auto next = source_peer_->next_action();
            if (!next) break;
            perform(side::source, std::move(*next));
        }
        while (target_peer_) {
            auto next = target_peer_->next_action();
            if (!next) break;
            perform(side::target, std::move(*next));
        }
        if (events_.empty() && !mind_egress()) break;
        answer next = std::move(events_.front());
        events_.pop_front();
        if (next.to == side::source)
            source_peer_->handle(std::move(next.what));
        else
            target_peer_->handle(std::move(next.what));
    }
    report_progress(false);
    if (far_) send_status();
    conclude_when_idle();
}

void session::perform(side from, action&& what) {
    if (auto* out = std::get_if<send>(&what)) return deliver(from, std::move(out->what));
    if (auto* end = std::get_if<finished>(&what)) return take_finished(from, std::move(*end));
    if (std::holds_alternative<flush_target>(what)) enter(sync_phase::flush);
    if (std::holds_alternative<drop_cache>(what)) enter(sync_phase::verify);
    work(from, std::move(what));
}

void session::deliver(side from, message&& what) {
    if (std::holds_alternative<chunk_data>(what)) note_data();
    if (!far_) {
        events_.push_back({other(from), std::move(what)});
        return;
    }
    // What the target tells itself here, a source sees by its own words.
    const bool ends = std::holds_alternative<end_of_data>(what);
    if (ends) enter(sync_phase::flush);
    if (std::holds_alternative<proof>(what) && phase_ != sync_phase::verify) enter(sync_phase::verify);
    if (auto* bad = std::get_if<failed>(&what)) {
        far_knows_ = true;
        bad->why = discreet(bad->why, names_here());
    }
    far_->link->send(std::move(what));
    if (ends || (source_peer_ && source_peer_->wants_data_credit())) far_->link->flush_data();
}

void session::note_data() {
    last_data_ = clock::now();
    if (!first_data_) first_data_ = last_data_;
}

void session::work(side from, action&& what) {
    if (!workers_of_[index(from)]) {
        const auto& digests = from == side::source ? source_peer_->digests() : target_peer_->digests();
        workers_of_[index(from)] = std::make_unique<disk_worker>(
            disk(from), geometry{disk_bytes(), request_.options.chunk_bytes, request_.options.block_bytes},
            disk(from).size(), digests, pool_);
    }
    auto shared = std::make_shared<action>(std::move(what));  // a handler must be copyable for any_io_executor
    boost::asio::post(workers_, [self = shared_from_this(), from, shared] { self->carry_out(from, shared); });
    ++in_flight_;  // answers are taken on this strand, so not before
}

// On a worker.
void session::carry_out(side from, const std::shared_ptr<action>& what) {
    const disk_worker& worker = *workers_of_[index(from)];
    if (std::holds_alternative<begin_writing>(*what)) return post_answer(from, keeper_->begin_writing());
    if (std::holds_alternative<flush_target>(*what)) return post_answer(from, keeper_->flush(worker));
    if (auto* kept = std::get_if<checkpoint>(&*what))
        return post_answer(from, keeper_->keep(worker, std::move(kept->finished)));
    if (from == side::target) {
        if (auto failed = keeper_->look_after()) return post_answer(from, action_failed{std::move(*failed)});
        try {
            if (in_turn_ && write_in_turn(what)) return;
        } catch (...) {  // no memory, before anything was given away
            return post_answer(from, action_failed{caught_error(target_->name())});
        }
    }
    const std::uint64_t carried_bytes = far_ ? 0 : payload_buffer_bytes(*what);
    event result = worker.perform(std::move(*what));
    *what = finished{};  // frees the payload's buffer before the source may count on it
    if (carried_bytes != 0) post_answer(side::source, payload_released{carried_bytes});
    post_answer(from, std::move(result));
}

// Where a target takes one write at a time: reading and digesting is done here, writing by whose turn it is. False: there is
// nothing to write.
bool session::write_in_turn(const std::shared_ptr<action>& what) {
    const disk_worker& worker = *workers_of_[index(side::target)];
    if (auto* apply = std::get_if<apply_chunk>(&*what)) {
        const std::uint64_t carried_bytes = far_ ? 0 : payload_buffer_bytes(*what);
        auto checked = std::make_shared<checked_chunk>(worker.check(std::move(*apply)));  // copyable, as above
        const auto finish = [this, carried_bytes, checked, &worker] {
            event result = worker.perform(std::move(*checked));
            *checked = {};
            if (carried_bytes != 0) post_answer(side::source, payload_released{carried_bytes});
            post_answer(side::target, std::move(result));
        };
        if (checked->is_right())
            in_turn_->run(finish);
        else
            finish();
        return true;
    }
    auto* read = std::get_if<read_chunk>(&*what);
    if (read && !read->punch.empty()) {
        auto give_back = std::make_shared<punch>(punch{std::exchange(read->punch, {})});
        auto result = std::make_shared<event>(worker.perform(std::move(*what)));
        const auto finish = [this, result, give_back, &worker] {
            if (auto* done = std::get_if<chunk_read>(&*result)) {
                event after = worker.perform(std::move(*give_back));
                if (const auto* given_back = std::get_if<punched>(&after))
                    done->deallocated_bytes = given_back->bytes;
                else
                    *result = std::move(after);
            }
            post_answer(side::target, std::move(*result));
        };
        in_turn_->run(finish);
        return true;
    }
    if (!std::holds_alternative<punch>(*what)) return false;
    in_turn_->run([this, what, &worker] { post_answer(side::target, worker.perform(std::move(*what))); });
    return true;
}

void session::post_answer(side to, event&& what) {
    bool post = false;
    {
        const std::lock_guard lock(inbox_mutex_);
        inbox_.push_back({to, std::move(what)});
        post = !std::exchange(draining_posted_, true);
    }
    if (post) boost::asio::post(strand_, [self = shared_from_this()] { self->drain(); });
}

void session::drain() {
    std::vector<answer> batch;
    {
        const std::lock_guard lock(inbox_mutex_);
        batch.swap(inbox_);
        draining_posted_ = false;
    }
    for (const answer& each : batch)
        if (!std::holds_alternative<payload_released>(each.what)) --in_flight_;
    guarded([&] {
        for (answer& each : batch) {
            if (const auto* applied = std::get_if<chunk_applied>(&each.what)) {
                note_data();
                unwritten_bytes_ += applied->written_bytes;
            }
            events_.push_back(std::move(each));
        }
        write_back();
        exchange();
    });
}

// The disk begins to write while the sync goes on. Where a far source waits for the cores of this machine, writing back waits: it
// would take them now from what is to be received, while in the flush at the end they have nothing else to do.
void session::write_back() {
    if (unwritten_bytes_ < write_back_at_ || writing_back_) return;
    if (core_pressure_ && unwritten_bytes_ < unwritten_bytes_max && core_pressure_->is_high()) {
        write_back_at_ = unwritten_bytes_ + device::writeback_bytes;
        return;
    }
    writing_back_ = true;
    unwritten_bytes_ = 0;
    write_back_at_ = device::writeback_bytes;
    boost::asio::post(workers_, [self = shared_from_this()] {
        self->target_->begin_writeback();
        boost::asio::post(self->strand_, [self] {
            --self->in_flight_;
            self->writing_back_ = false;
            self->conclude_when_idle();
        });
    });
    ++in_flight_;
}

// While data flows, now and then: what is finished is flushed and kept.
void session::mind_checkpoint() {
    if (!target_peer_ || known_.generation.empty() || done_sides_[index(side::target)]) return;
    const auto now = clock::now();
    if (now - last_checkpoint_ < request_.options.checkpoint_every) return;
    last_checkpoint_ = now;
    events_.push_back({side::target, checkpoint_due{}});
}

// Deciding throws nothing but for want of memory. Then the session ends where it is, once its workers have come back: what
// was written stays, unflushed, and the record dirty.
void session::guarded(const std::function<void()>& step) {
    try {
        step();
    } catch (...) {
        broken_ = true;
        events_.clear();
        if (!failure_) failure_ = caught_error("");
    }
    if (broken_) conclude_when_idle();
}

void session::take_finished(side from, finished&& what) {
    done_sides_[index(from)] = true;
    const bool flush_failed = from == side::target && what.why && what.why->kind() == error_kind::flush_failed;
    // The first to fail knows why; the other only heard of it. But that a flush failed must not be lost behind anything.
    if (what.why && (!failure_ || flush_failed))
        failure_ = with_name(std::move(*what.why), target_                   ? target_->name()
                                                   : !far_->far_name.empty() ? far_->far_name
                                                   : far_hello_              ? far_hello_->disk.name
                                                                             : far_->link->far_name());
}

void session::conclude_when_idle() {
    bool ended = broken_ || (done_sides_[0] && done_sides_[1]);
    // A source's goodbye says that all was well with it, too: only then does the target's record become clean.
    if (far_ && done_sides_[index(far_->here)]) ended = failure_ || far_->here == side::source || far_goodbye_;
    if (!ended || in_flight_ != 0 || preparing_ || std::exchange(concluding_, true)) return;
    boost::asio::post(workers_, [self = shared_from_this()] { self->conclude(); });
}

void session::stop_peers() {
    // Nothing is left to do here but to hear how the other side ends: that may take long.
    const bool waits = far_ && done_sides_[index(far_->here)] && !failure_ && !preparing_ &&
                       (goodbye_said_ || (far_->here == side::target && !far_goodbye_));
    const error interrupted(error_kind::interrupted, "interrupted",
                            {.hint = "run the same sync again: it goes on from there"});
    if (waits && !ending_) return far_->link->lose(interrupted);
    if (concluding_) return;
    if (!source_peer_ && !target_peer_) {
        if (preparing_ || !far_) {
            if (!failure_) failure_ = interrupted;
            return;
        }
        return refuse(interrupted);
    }
    if (source_peer_) events_.push_back({side::source, stop{}});
    if (target_peer_) events_.push_back({side::target, stop{}});
    guarded([this] { exchange(); });
}

// Before anything began.
void session::refuse(error why) {
    if (std::exchange(concluding_, true)) return;
    failure_ = std::move(why);
    on_cancel_.reset();
    finish_link();
}

// On a worker: nothing is in flight any more. Sizes still hold, the record becomes clean, the target is let go.
void session::conclude() {
    try {
        if (!failure_) {
            if (is_here(side::source)) {
                check_unchanged_size(*request_.source);
                look_at_source_again();
            }
            if (keeper_) keeper_->conclude();
        }
    } catch (...) {
        failure_ = caught_error("");
    }
    if (keeper_ && failure_) keeper_->doubt(*failure_);
    if (keeper_) keeper_->release();
    boost::asio::post(strand_, [self = shared_from_this()] {
        if (self->keeper_)
            for (std::string& text : self->keeper_->take_warnings()) self->warnings_.push_back(std::move(text));
        for (std::string& text : std::exchange(self->known_.warnings, {})) self->warnings_.push_back(std::move(text));
        self->enter(sync_phase::done);
        if (self->far_ && !self->failure_) return self->say_goodbye();
        self->finish_link();
    });
}

// A machine may have been started on the source meanwhile.
void session::look_at_source_again() {
    if (!request_.options.interlocks || mode_ == session_mode::compare || !known_.source_in_use.empty()) return;
    const auto who = find_source_writer(*request_.source);
    if (!who) return;
    known_.source_in_use = *who;
    known_.warnings.push_back("the source " + request_.source->name() + " came to be used meanwhile (" + *who +
                              "): what was sent is what was read, at different moments");
}

// The report goes out, and nothing of it stays behind: this object may end on another thread.
void session::finish() {
    on_cancel_.reset();
    known_.guard.reset();
    sync_report report = make_report();
    failure_.reset();
    if (far_) far_->link->detach();
    const std::shared_ptr<session> last = std::move(alive_);
    const completion done = std::move(done_);
    busy_.reset();  // before: once it is told, the contexts may go
    done(std::move(report));
}

}  // namespace reprotect
