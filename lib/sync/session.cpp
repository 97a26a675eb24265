// The pipeline is start -> prepare -> open_peers -> exchange -> conclude. `exchange` is the loop: an event goes to a peer, the
// peer's actions are carried out, its messages become the other peer's events, until both have finished.
#include "sync/session.hpp"

#include <openssl/rand.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "scan/caught_error.hpp"
#include "sync/plan_windows.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

std::array<std::byte, 32> random_nonce() {
    std::array<std::byte, 32> nonce{};
    if (RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size())) != 1)
        throw error(error_kind::device_io, "the system's random generator failed",
                    {.operation = "start", .hint = "it wants memory, and getrandom(2) or /dev/urandom"});
    return nonce;
}

std::string random_id() {
    const auto nonce = random_nonce();
    digest half;
    std::copy_n(nonce.begin(), half.bytes.size(), half.bytes.begin());
    return to_hex(half);
}

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

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

void session::start() {
    started_ = phase_started_ = last_progress_ = last_watch_ = clock::now();
    boost::asio::post(workers_, [self = shared_from_this()] { self->prepare(); });
}

// On a worker: everything that looks before anything is touched.
void session::prepare() {
    std::optional<error> refused;
    try {
        session_id_ = random_id();
        known_ = prepare_session(request_, *target_, mode_);
    } catch (...) {
        refused = caught_error("");
    }
    boost::asio::post(strand_, [self = shared_from_this(), refused = std::move(refused)] {
        if (refused) return self->refuse(*refused);
        self->guarded([&self] { self->open_peers(); });
    });
}

void session::open_peers() {
    const sync_options& options = request_.options;
    const bool reread = options.verify == verify_level::reread && mode_ == session_mode::sync;
    const bool whole_scratch = reread || request_.source->properties().direct || target_->properties().direct;
    const windows window = plan_windows(options, whole_scratch);

    source_config ours;
    ours.mode = mode_;
    ours.shape = {request_.source->size(), options.chunk_bytes, options.block_bytes};
    ours.algorithm = options.algorithm;
    ours.reread = reread;
    ours.nonce = random_nonce();
    ours.within = options.within;
    ours.reads_max = options.depth;
    ours.buffers_max = window.buffers;
    ours.digest_entries = window.digest_entries;
    ours.keep_differential = options.keep_differential;

    target_config theirs;
    theirs.disk_bytes = target_->size();
    theirs.punches_holes = target_->properties().punches_holes;
    theirs.resize_needed = known_.resize_to.has_value();
    theirs.ignore_allocation = known_.distrust_target;
    theirs.nonce = random_nonce();
    theirs.reads_max = options.depth;
    theirs.applies_max = options.depth;
    theirs.data_messages = window.buffers;
    theirs.digest_entries = window.digest_entries;

    pool_ = std::make_shared<buffer_pool>(options.chunk_bytes);
    source_peer_.emplace(std::move(ours));
    target_peer_.emplace(std::move(theirs));
    tell_listener([this](sync_listener& listener) {
        for (const std::string& text : known_.warnings) listener.on_warning(text);
    });
    on_cancel_.emplace(request_.cancel, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) boost::asio::post(self->strand_, [self] { self->stop_peers(); });
    });
    enter(sync_phase::scan);
    exchange();
}

// Until both peers rest: their actions are carried out, and what that gives is handed to them.
void session::exchange() {
    while (!broken_) {
        while (auto next = source_peer_->next_action()) perform(source_side, std::move(*next));
        while (auto next = target_peer_->next_action()) perform(target_side, std::move(*next));
        if (events_.empty()) break;
        answer next = std::move(events_.front());
        events_.pop_front();
        if (next.to == source_side)
            source_peer_->handle(std::move(next.what));
        else
            target_peer_->handle(std::move(next.what));
    }
    report_progress(false);
    conclude_when_idle();
}

void session::conclude_when_idle() {
    const bool ended = broken_ || (done_sides_[source_side] && done_sides_[target_side]);
    if (!ended || in_flight_ != 0 || std::exchange(concluding_, true)) return;
    boost::asio::post(workers_, [self = shared_from_this()] { self->conclude(); });
}

void session::perform(side from, action&& what) {
    if (auto* out = std::get_if<send>(&what)) return deliver(from, std::move(out->what));
    if (auto* end = std::get_if<finished>(&what)) return take_finished(from, std::move(*end));
    if (std::holds_alternative<flush_target>(what)) enter(sync_phase::flush);
    if (std::holds_alternative<drop_cache>(what)) enter(sync_phase::verify);
    work(from, std::move(what));
}

void session::deliver(side from, message&& what) {
    if (std::holds_alternative<chunk_data>(what) && !first_data_) first_data_ = clock::now();
    events_.push_back({from == source_side ? target_side : source_side, std::move(what)});
}

void session::work(side from, action&& what) {
    if (!workers_of_[from]) {
        const auto& digests = from == source_side ? source_peer_->digests() : target_peer_->digests();
        const std::uint64_t readable = from == source_side ? request_.source->size() : target_->size();
        workers_of_[from] = std::make_unique<disk_worker>(
            disk(from), geometry{request_.source->size(), request_.options.chunk_bytes, request_.options.block_bytes},
            readable, digests, pool_);
    }
    auto shared = std::make_shared<action>(std::move(what));  // a handler must be copyable for any_io_executor
    boost::asio::post(workers_, [self = shared_from_this(), from, shared] {
        if (std::holds_alternative<begin_writing>(*shared)) return self->post_answer(from, self->begin_writing_now());
        if (std::holds_alternative<flush_target>(*shared))
            return self->post_answer(from, self->flush_now(std::move(*shared)));
        if (from == target_side)
            if (auto failed = self->look_after_target())
                return self->post_answer(from, action_failed{std::move(*failed)});
        const bool carries_payload =
            std::holds_alternative<apply_chunk>(*shared) && std::get<apply_chunk>(*shared).data.payload;
        event result = self->workers_of_[from]->perform(std::move(*shared));
        *shared = finished{};  // frees the payload's buffer before the source may count on it
        if (carries_payload) self->post_answer(source_side, payload_released{});
        self->post_answer(from, std::move(result));
    });
    ++in_flight_;  // answers are taken on this strand, so not before
}

// What the record says until a whole sync has ended well.
target_status session::unfinished_status() const noexcept {
    return known_.was_poisoned ? target_status::poisoned : target_status::dirty;
}

// On a worker: the record is durably dirty before the first byte changes.
event session::begin_writing_now() {
    const std::lock_guard lock(watch_mutex_);
    try {
        if (known_.guard) known_.guard->check();
        const std::uint64_t size = known_.resize_to.value_or(target_->size());
        if (request_.records)
            request_.records->save(make_record(*request_.source, *target_, size, session_id_, unfinished_status()));
        if (known_.resize_to) target_->resize(*known_.resize_to);
        return writing_begun{};
    } catch (...) {
        return action_failed{caught_error(target_->name())};
    }
}

// On a worker, before it touches the target: whoever came to the target is seen, an opener that waits for our lease is let
// go, and a disk that shrank or grew is noticed.
std::optional<error> session::look_after_target() {
    const std::unique_lock lock(watch_mutex_, std::try_to_lock);
    if (!lock || clock::now() - last_watch_ < 20ms) return std::nullopt;  // guessed: it costs nothing at that rate
    last_watch_ = clock::now();
    try {
        if (known_.guard) known_.guard->check();
        check_unchanged_size(*target_);
        return std::nullopt;
    } catch (...) {
        return caught_error(target_->name());
    }
}

// On a worker: a failed flush poisons the record, at once, and is never tried again.
event session::flush_now(action&& what) {
    const std::lock_guard lock(watch_mutex_);
    event result = workers_of_[target_side]->perform(std::move(what));
    auto* failed = std::get_if<action_failed>(&result);
    if (!failed) return result;
    // Whatever kind of error a device makes of it.
    if (failed->why.kind() != error_kind::flush_failed) {
        error_detail detail = failed->why.detail();
        detail.operation = "flush";
        failed->why = error(error_kind::flush_failed, failed->why.what(), std::move(detail));
    }
    if (!request_.records) return result;
    try {
        request_.records->save(
            make_record(*request_.source, *target_, target_->size(), session_id_, target_status::poisoned));
    } catch (...) {
        known_.warnings.push_back(std::string("the poisoned state could not be recorded: ") + caught_error("").what());
    }
    return result;
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
            if (std::holds_alternative<chunk_applied>(each.what)) last_data_ = clock::now();
            events_.push_back(std::move(each));
        }
        exchange();
    });
}

// Deciding throws nothing but for want of memory. Then the session ends where it is, once its workers have come back: what
// was written stays, unflushed, and the record dirty.
template <typename Step>
void session::guarded(Step step) {
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
    done_sides_[from] = true;
    const bool flush_failed = from == target_side && what.why && what.why->kind() == error_kind::flush_failed;
    // The first to fail knows why; the other only heard of it. But that a flush failed must not be lost behind anything.
    if (what.why && (!failure_ || flush_failed)) failure_ = with_name(std::move(*what.why), target_->name());
}

void session::stop_peers() {
    if (concluding_ || !source_peer_) return;
    events_.push_back({source_side, stop{}});
    events_.push_back({target_side, stop{}});
    guarded([this] { exchange(); });
}

// Before anything began.
void session::refuse(error why) {
    failure_ = std::move(why);
    finish();
}

// On a worker: nothing is in flight any more. Sizes still hold, the record becomes clean, the target is let go.
void session::conclude() {
    try {
        if (!failure_) {
            check_unchanged_size(*request_.source);
            check_unchanged_size(*target_);
            if (known_.guard) known_.guard->check();
            look_at_source_again();
            if (request_.records && mode_ == session_mode::sync) close_record();
        }
    } catch (...) {
        failure_ = caught_error("");
    }
    known_.guard.reset();
    boost::asio::post(strand_, [self = shared_from_this()] {
        self->on_cancel_.reset();
        self->enter(sync_phase::done);
        self->finish();
    });
}

// A part that was synced makes no whole: what was known of the target before stays known, and nothing more.
void session::close_record() {
    const bool whole = !request_.options.within || known_.was_clean;
    if (whole || known_.had_record)
        request_.records->save(make_record(*request_.source, *target_, target_->size(), session_id_,
                                           whole ? target_status::clean : unfinished_status()));
    else
        request_.records->remove(target_->identity());
    // Saved before this is removed: at no moment may both disks be written to without a word.
    if (known_.reversed) request_.records->remove(request_.source->identity());
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
    sync_report report = make_report();
    failure_.reset();
    const completion done = std::move(done_);
    busy_.reset();  // before: once it is told, the contexts may go
    done(std::move(report));
}

// ---- progress and report ----

void session::enter(sync_phase phase) {
    const auto now = clock::now();
    const double spent = seconds_between(phase_started_, now);
    if (phase_ == sync_phase::scan) seconds_.scan += spent;
    if (phase_ == sync_phase::flush) seconds_.flush += spent;
    if (phase_ == sync_phase::verify) seconds_.verify += spent;
    phase_ = phase;
    phase_started_ = now;
    report_progress(true);
}

void session::report_progress(bool now) {
    if (!request_.listener || !source_peer_) return;
    const auto time = clock::now();
    if (!now && time - last_progress_ < 100ms) return;
    last_progress_ = time;
    sync_progress progress;
    progress.phase = phase_;
    progress.total_bytes = request_.source->size();
    const source_counts& source = source_peer_->counts();
    const target_counts& target = target_peer_->counts();
    progress.done_bytes = phase_ == sync_phase::verify ? std::min(target_peer_->proved_bytes(), progress.total_bytes)
                                                       : source_peer_->decided_bytes();
    if (phase_ == sync_phase::done && !failure_) progress.done_bytes = progress.total_bytes;
    progress.data_done_bytes = source.read + target.read;
    progress.data_known_bytes = source.allocated + target.allocated;
    progress.data_known_final = source_peer_->allocation_known_bytes() == progress.total_bytes;
    progress.changed_bytes = source.changed_compared + source.changed_uncompared + source.zeroed;
    progress.written_bytes = target.written;
    progress.seconds = seconds_between(started_, time);
    tell_listener([&progress](sync_listener& listener) { listener.on_progress(progress); });
}

// A listener that throws ends the sync as a cancel does; it is not called again.
void session::tell_listener(const std::function<void(sync_listener&)>& what) {
    if (!request_.listener) return;
    std::string text;
    try {
        return what(*request_.listener);
    } catch (const std::exception& why) {
        text = why.what();
    } catch (...) {
        text = "an exception of an unknown type";
    }
    request_.listener = nullptr;
    if (phase_ == sync_phase::done) return known_.warnings.push_back("the progress listener failed: " + text);
    if (!failure_) failure_ = error(error_kind::interrupted, "the progress listener failed: " + text);
    boost::asio::post(strand_, [self = shared_from_this()] { self->stop_peers(); });
}

sync_report session::make_report() {
    sync_report report;
    report.mode = known_.mode;
    report.reason = known_.reason;
    report.dry_run = mode_ == session_mode::dry_run;
    report.algorithm = request_.options.algorithm;
    report.warnings = known_.warnings;
    report.source_in_use = known_.source_in_use;
    report.seconds = seconds_;
    report.seconds.total = seconds_between(started_, clock::now());
    if (first_data_ && last_data_) report.seconds.transfer = seconds_between(*first_data_, *last_data_);
    report.bytes.disk = request_.source->size();
    report.failure = failure_;
    if (known_.resize_to && (mode_ == session_mode::dry_run || target_->size() != size_at_open_))
        report.resized_from = size_at_open_;
    if (!source_peer_) return report;

    const source_counts& source = source_peer_->counts();
    const target_counts& target = target_peer_->counts();
    byte_counts& bytes = report.bytes;
    bytes.allocated_source = source.allocated;
    bytes.allocated_target = target.allocated;
    bytes.read_source = source.read;
    bytes.read_target = target.read;
    bytes.reread_source = source.reread;
    bytes.compared = target.compared;
    bytes.same = target.compared - std::min(target.compared, source.changed_compared + source.zeroed);
    bytes.changed = source.changed_compared + source.changed_uncompared;
    bytes.zeroed = source.zeroed;
    bytes.deallocated = target.deallocated;
    bytes.written = target.written;
    if (request_.options.keep_differential) report.differential = std::move(source_peer_->changes());
    if (failure_) return report;

    const bool whole = !request_.options.within;
    if (request_.options.algorithm == digest_algorithm::sha256 && whole) report.root = source_peer_->root();
    if (mode_ != session_mode::sync) return report;
    report.verified = proof_level::root;
    if (!whole) report.verified = proof_level::partial;
    if (phase_ == sync_phase::done && request_.options.verify == verify_level::reread)
        report.verified = proof_level::reread;
    report.cache_passed = source_peer_->cache_passed();
    return report;
}

}  // namespace reprotect
