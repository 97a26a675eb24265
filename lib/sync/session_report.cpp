// What a session says of itself: progress while it runs, warnings, and the report at its end. Where one side is elsewhere, its
// counts are what it said last, and the final ones those that came with its last message.
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

#include "sync/session.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

wire_counts wire_counts_of(const channel_counts& counts) {
    wire_counts result;
    result.payload = counts.payload;
    result.digests = counts.digests;
    result.overhead = counts.total - std::min(counts.total, counts.payload + counts.digests);
    result.frames = counts.frames;
    return result;
}

}  // namespace

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
    if (!request_.listener || (!source_peer_ && !target_peer_)) return;
    const auto time = clock::now();
    if (!now && phase_ == sync_phase::done) return;  // it is told once
    if (!now && time - last_progress_ < 100ms) return;
    last_progress_ = time;
    sync_progress progress;
    progress.phase = phase_;
    progress.total_bytes = disk_bytes();
    const source_counts source = counts_of_source();
    const target_counts target = counts_of_target();
    const std::uint64_t proved = target_peer_ ? target_peer_->proved_bytes() : far_proved_bytes_;
    const std::uint64_t decided = source_peer_ ? source_peer_->decided_bytes() : target_peer_->decided_bytes();
    const std::uint64_t known =
        source_peer_ ? source_peer_->allocation_known_bytes() : target_peer_->allocation_known_bytes();
    progress.done_bytes = phase_ == sync_phase::verify ? std::min(proved, progress.total_bytes) : decided;
    if (phase_ == sync_phase::done && !failure_) progress.done_bytes = progress.total_bytes;
    progress.data_done_bytes = source.read + target.read;
    progress.data_known_bytes = std::max(source.allocated + target.allocated, progress.data_done_bytes);
    progress.data_known_final = known == progress.total_bytes;
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
    if (phase_ == sync_phase::done) return warnings_.push_back("the progress listener failed: " + text);
    if (!failure_) failure_ = error(error_kind::interrupted, "the progress listener failed: " + text);
    boost::asio::post(strand_, [self = shared_from_this()] { self->stop_peers(); });
}

void session::warn(const std::string& text) {
    warnings_.push_back(text);
    tell_listener([&text](sync_listener& listener) { listener.on_warning(text); });
    if (far_) far_->link->send(session_frame(wire_notice{discreet(text, names_here())}));
}

// What is known of either side here: its own counts, or what the far side said last.
source_counts session::counts_of_source() const {
    if (source_peer_) return source_peer_->counts();
    const bool final_counts = target_peer_ && target_peer_->is_finished() && !failure_;
    return final_counts ? target_peer_->their_counts() : far_source_;
}

target_counts session::counts_of_target() const {
    if (target_peer_) return target_peer_->counts();
    const bool final_counts = source_peer_ && source_peer_->is_finished() && done_sides_[0] && !failure_;
    return final_counts ? source_peer_->their_counts() : far_target_;
}

std::uint64_t session::disk_bytes() const noexcept {
    return request_.source ? request_.source->size() : 0;
}

sync_report session::make_report() {
    sync_report report;
    report.mode = known_.mode;
    report.reason = known_.reason;
    report.dry_run = mode_ == session_mode::dry_run;
    report.algorithm = request_.options.algorithm;
    report.warnings = warnings_;
    report.warnings.insert(report.warnings.end(), far_warnings_.begin(), far_warnings_.end());
    report.source_in_use = known_.source_in_use;
    report.seconds = seconds_;
    report.seconds.total = seconds_between(started_, clock::now());
    if (first_data_ && last_data_) report.seconds.transfer = seconds_between(*first_data_, *last_data_);
    report.bytes.disk = disk_bytes();
    report.failure = failure_;
    if (known_.resize_to && (mode_ == session_mode::dry_run || target_->size() != size_at_open_))
        report.resized_from = size_at_open_;
    if (far_) {
        if (far_->here == side::source && far_hello_ && far_hello_->findings.resizes)
            report.resized_from = far_hello_->shape.disk_bytes;
        report.to_target = wire_counts_of(far_->here == side::source ? sent_ : received_);
        report.to_source = wire_counts_of(far_->here == side::source ? received_ : sent_);
    }
    if (!source_peer_ && !target_peer_) return report;

    const source_counts source = counts_of_source();
    const target_counts target = counts_of_target();
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
    if (request_.options.keep_differential && source_peer_) report.differential = std::move(source_peer_->changes());
    if (far_differential_) report.differential = std::move(far_differential_);
    if (failure_) return report;

    const bool whole = !request_.options.within;
    if (request_.options.algorithm == digest_algorithm::sha256 && whole)
        report.root = source_peer_ ? source_peer_->root() : target_peer_->their_root();
    if (mode_ != session_mode::sync) return report;
    report.verified = proof_level::root;
    if (target_peer_ && known_.finished) report.trusted_bytes = known_.finished->shape().disk_bytes;
    if (source_peer_) report.trusted_bytes = source_peer_->finished_bytes();
    if (report.trusted_bytes != 0) {
        report.generation = target_peer_ ? known_.generation : far_hello_->generation;
        report.root.reset();  // of a whole disk
    }
    if (!whole || report.trusted_bytes != 0) report.verified = proof_level::partial;
    if (phase_ == sync_phase::done && request_.options.verify == verify_level::reread)
        report.verified = proof_level::reread;
    report.cache_passed = source_peer_ ? source_peer_->cache_passed() : target_peer_->cache_passed();
    return report;
}

}  // namespace reprotect
