// The order of what is made durable is the point: dirty, data, flush, clean.
#include "sync/target_keeper.hpp"

#include <algorithm>
#include <utility>

#include "base/caught_error.hpp"
#include "codec/random.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

std::string random_id() {
    const auto nonce = random_nonce();
    digest half;
    std::copy_n(nonce.begin(), half.bytes.size(), half.bytes.begin());
    return to_hex(half);
}

}  // namespace

target_keeper::target_keeper(const sync_request& request, device& target, session_mode mode, preparation& known)
    : request_(request),
      target_(target),
      mode_(mode),
      known_(known),
      session_id_(random_id()),
      last_look_(std::chrono::steady_clock::now()) {}

// What the record says until a whole sync has ended well.
target_status target_keeper::unfinished_status() const noexcept {
    return known_.was_poisoned ? target_status::poisoned : target_status::dirty;
}

event target_keeper::begin_writing() {
    const std::lock_guard lock(mutex_);
    try {
        if (known_.guard) known_.guard->check();
        const std::uint64_t size = known_.resize_to.value_or(target_.size());
        if (request_.records) {
            request_.records->save(record(size, unfinished_status()));
            if (known_.finished)
                keep_finished(*known_.finished);
            else
                request_.records->remove_finished(target_.identity());
        }
        if (known_.resize_to) target_.resize(*known_.resize_to);
        return writing_begun{};
    } catch (...) {
        return action_failed{caught_error(target_.name())};
    }
}

std::optional<error> target_keeper::look_after() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || std::chrono::steady_clock::now() - last_look_ < 20ms) return std::nullopt;  // guessed: costs nothing
    last_look_ = std::chrono::steady_clock::now();
    try {
        if (known_.guard) known_.guard->check();
        check_unchanged_size(target_);
        return std::nullopt;
    } catch (...) {
        return caught_error(target_.name());
    }
}

state_record target_keeper::record(std::uint64_t target_size, target_status status) const {
    return make_record(*request_.source, target_, target_size, session_id_, known_.generation, status);
}

event target_keeper::flush(const disk_worker& worker) {
    const std::lock_guard lock(mutex_);
    event result = worker.perform(flush_target{});
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
        request_.records->save(record(target_.size(), target_status::poisoned));
    } catch (...) {
        warnings_.push_back(std::string("the poisoned state could not be recorded: ") + caught_error("").what());
    }
    return result;
}

event target_keeper::keep(const disk_worker& worker, digest_map finished) {
    event result = flush(worker);
    if (!std::holds_alternative<target_flushed>(result)) return result;
    const std::lock_guard lock(mutex_);
    try {
        keep_finished(std::move(finished));
    } catch (...) {
        warnings_.push_back(std::string("what is finished could not be kept: ") + caught_error("").what());
    }
    return checkpointed{};
}

// With what an earlier session finished, and this one did not look at.
void target_keeper::keep_finished(digest_map finished) {
    if (known_.finished) {
        digest_map all(finished.shape().disk_bytes > known_.finished->shape().disk_bytes ? finished.shape()
                                                                                         : known_.finished->shape(),
                       finished.algorithm());
        for (const digest_map* part : std::initializer_list<const digest_map*>{&*known_.finished, &finished})
            for (const digest_run& run : part->runs())
                for (std::size_t i = 0; i < run.chunks.size(); ++i) all.set(run.first_chunk + i, run.chunks[i]);
        finished = std::move(all);
    }
    finished.set_label(session_id_);
    request_.records->save_finished(target_.identity(), finished);
}

void target_keeper::conclude() {
    const std::lock_guard lock(mutex_);
    check_unchanged_size(target_);
    if (known_.guard) known_.guard->check();
    if (request_.records && mode_ == session_mode::sync) close_record();
}

// A part that was synced makes no whole: what was known of the target before stays known, and nothing more.
void target_keeper::close_record() {
    const bool whole = !request_.options.within || known_.was_clean;
    request_.records->remove_finished(target_.identity());
    if (whole || known_.had_record)
        request_.records->save(record(target_.size(), whole ? target_status::clean : unfinished_status()));
    else
        request_.records->remove(target_.identity());
    // Saved before this is removed: at no moment may both disks be written to without a word.
    if (known_.reversed) request_.records->remove(request_.source->identity());
}

void target_keeper::doubt(const error& why) {
    const bool doubtful = why.kind() == error_kind::verification || why.kind() == error_kind::in_use ||
                          why.kind() == error_kind::size_changed || why.kind() == error_kind::flush_failed;
    if (!doubtful || !request_.records || known_.generation.empty()) return;
    const std::lock_guard lock(mutex_);
    try {
        request_.records->remove_finished(target_.identity());
    } catch (...) {
        warnings_.push_back(std::string("what was kept of the target could not be removed: ") +
                            caught_error("").what() + "; do not name the same generation again");
    }
}

void target_keeper::release() {
    const std::lock_guard lock(mutex_);
    known_.guard.reset();
}

}  // namespace reprotect
