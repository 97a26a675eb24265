// The part of a session that deals with a far side: greeting, what each insists on, how each ends.
//
//   source here                                            target here
//   hello ->                                               checks the disks, the options, the records, takes the interlocks
//   checks that the direction is right, the disks are two  <- hello
//   ... the peers' messages ...
//   finished: sizes again, goodbye ->                      the record becomes clean
//                                                          <- goodbye
// Until its goodbye either side may say `failed` instead, and a target whose source did so does not call itself clean.
#include <boost/asio/post.hpp>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/caught_error.hpp"
#include "base/utf8.hpp"
#include "reprotect/units.hpp"
#include "sync/far_disk.hpp"
#include "sync/session.hpp"
#include "sync/traffic_bound.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

constexpr auto status_every = 500ms;  // guessed: a progress bar looks alive, and an hour costs 300 KB
constexpr std::uint64_t status_every_written = 1 << 20;  // guessed: some 30 bytes each
constexpr auto status_pause = 10ms;                      // or a fast disk would say more than the other side takes
constexpr std::size_t changes_per_frame = 8192;
// Of a limit on what is sent: for handshakes of more lanes, what else a side says, and its last words. A guess.
constexpr std::uint64_t egress_reserve = 96 << 10;
// Of a bound on both directions, once all was sent: for what the other side still says of it. The same guess.
constexpr std::uint64_t last_words_reserve = 96 << 10;
// Of either, once all was sent: for what the source itself still says.
constexpr std::uint64_t parting_reserve = 16 << 10;
// A window of proofs is kept in reserve, too: 16 bytes each, and where some chunks are zero a message for every two.
constexpr std::uint64_t proof_bytes = 24, proofs_reserved = 4096;
constexpr std::size_t changes_max = std::size_t{1} << 24;  // a guess: half a GiB of them

std::uint64_t microseconds(double seconds) {
    return static_cast<std::uint64_t>(seconds * 1e6);
}

error same_disk_error(const std::string& source, const std::string& target) {
    return error(error_kind::same_disk, "source and target are one disk: " + source + " and " + target,
                 {.device = target, .operation = "open", .hint = "check both names"});
}

}  // namespace

// ---- what comes ----

void session::on_message(message&& what) {
    if (concluding_ && !std::holds_alternative<failed>(what)) return;
    if (auto* opening = std::get_if<hello>(&what)) {
        // A target answers a source's hello, and each says one.
        if (far_hello_ || (far_->here == side::source && !source_peer_))
            return far_->link->break_off("a hello that was not due");
        far_->link->hold();
        far_hello_ = *opening;
        if (!preparing_) receive_hello(std::move(*opening));
        return;
    }
    if (auto* bad = std::get_if<failed>(&what)) return take_failure_of_far_side(named_by_far_side(bad->why));
    if (!source_peer_ && !target_peer_) return far_->link->break_off("a message before its hello");
    // The source's share of the time ends where the target took all.
    if (std::holds_alternative<chunk_data>(what) || std::holds_alternative<applied>(what)) note_data();
    guarded([&] {
        events_.push_back({far_->here, std::move(what)});
        exchange();
    });
}

void session::on_frame(session_frame&& what) {
    if (auto* status = std::get_if<wire_status>(&what)) {
        if (auto* source = std::get_if<source_counts>(&status->counts)) far_source_ = *source;
        if (auto* target = std::get_if<target_counts>(&status->counts)) far_target_ = *target;
        far_proved_bytes_ = status->proved_bytes;
        report_progress(false);
        return;
    }
    if (auto* notice = std::get_if<wire_notice>(&what)) {
        if (far_warnings_.size() >= 64) return;  // a guess: more is not worth reading
        const std::string text = far_->link->far_name() + ": " + on_one_line(notice->text);
        far_warnings_.push_back(text);
        return tell_listener([&text](sync_listener& listener) { listener.on_warning(text); });
    }
    if (auto* found = std::get_if<wire_changes>(&what)) {
        if (!far_differential_) return far_->link->break_off("extents that nobody asked for");
        const std::uint64_t block = request_.options.block_bytes;
        for (const change& each : found->list) {
            const bool whole = each.range.offset % block == 0 &&
                               (each.range.end() % block == 0 || each.range.end() == far_differential_->disk_bytes());
            if (!whole) return far_->link->break_off("an extent that does not fall on blocks");
            far_differential_->add(each);
        }
        if (far_differential_->changes().size() > changes_max)
            far_->link->break_off("more extents than any disk should have");
        return;
    }
    auto& parting = std::get<wire_goodbye>(what);
    const bool in_time =
        far_->here == side::source ? goodbye_said_ : done_sides_[static_cast<std::size_t>(side::target)];
    if (!in_time) return far_->link->break_off("a goodbye before the end");
    if (far_->here == side::source) {
        seconds_.flush = static_cast<double>(parting.flush_us) / 1e6;
        seconds_.verify = static_cast<double>(parting.verify_us) / 1e6;
        far_goodbye_ = std::move(parting);
        return finish_link();
    }
    known_.source_in_use = on_one_line(parting.source_in_use);
    far_goodbye_ = std::move(parting);
    conclude_when_idle();
}

void session::on_payload_released(std::uint64_t bytes) {
    if (!source_peer_) return;
    guarded([&] {
        events_.push_back({side::source, payload_released{bytes}});
        exchange();
    });
}

void session::on_batch_encoded() {
    if (!is_bounded() || !source_peer_) return;
    guarded([this] { exchange(); });
}

// Signs of life, notices and statuses count as all else does, and may be all that comes.
void session::on_received() {
    if (is_minding()) return guarded([this] { exchange(); });
    if (!is_beyond_limit()) return;
    const bool by_both = is_here(side::source) || !egress_max_ || egress_max_ != request_.options.egress_max;
    far_->link->lose(by_both && !request_.options.traffic_max.empty() ? bound_used_up() : egress_used_up());
}

// Whether this side can still stop as it should, with all that it has said so far.
bool session::is_minding() const noexcept {
    return far_ && is_bounded() && (source_peer_ || target_peer_) && !egress_reached_ && !concluding_ &&
           !done_sides_[static_cast<std::size_t>(far_->here)];
}

// Where nothing is held in reserve any more, or nothing has begun: who has nothing left to do here but to hear how the other side
// ends, or who it is, does not hear it at any price.
bool session::is_beyond_limit() const {
    const sync_options& options = request_.options;
    const traffic_bound& both = options.traffic_max;
    const std::uint64_t received = far_->link->received_in_all();
    if (is_here(side::source)) return !both.empty() && allowed_to_target(both, received) < far_->link->sent_at_most();
    const auto most = egress_max_
                          ? egress_max_
                          : egress_of(options, both.empty() ? std::nullopt : std::optional(allowed_to_target(both, 0)));
    return most && received > *most;
}

error session::egress_used_up() const {
    const std::uint64_t most = egress_max_.value_or(request_.options.egress_max);
    return error(error_kind::limit,
                 "stopped before more than " + std::to_string(most) + " bytes (" + format_size(most) +
                     ") were sent to the target" + (request_.options.egress_max == most ? "" : ", as its side asked"),
                 {.operation = "send", .hint = "what was sent stands; run the same again to go on from there"});
}

error session::bound_used_up() const {
    const bool push = far_->here == side::source;
    const std::uint64_t sent = far_->link->sent().total, received = far_->link->received_in_all();
    return error(error_kind::limit,
                 "stopped before " + on_one_line(request_.options.traffic_max.name) + " was exceeded, with " +
                     format_size(push ? sent : received) + " sent to the target and " +
                     format_size(push ? received : sent) + " to the source",
                 {.operation = "send", .hint = "what was sent stands; run the same again to go on from there"});
}

bool session::stop_at_limit(error why) {
    egress_reached_ = true;
    events_.push_back({far_->here, stop{std::move(why)}});
    return true;
}

// What a limit leaves is handed out as payload that is not compressed; once it is, there may be more. Where nothing is left, the
// source stops. True if there is an event more.
//
// Of a bound on both directions the source hands out what is left if three windows more came back. What comes back until it looks
// again is one window at most, and what it cannot hold up any more another one: so it stops, at the latest, where what it sent
// already is too much for two.
//
// Who has sent all is not stopped for what it held in reserve until then, but where proofs take more than was thought.
bool session::mind_egress() {
    if (!is_minding()) return false;
    const traffic_bound& both = request_.options.traffic_max;
    channel& link = *far_->link;
    const std::uint64_t received = link.received_in_all();
    if (target_peer_) {
        // A target only sees to it that its source kept the limit.
        if (egress_max_ && received > *egress_max_)
            return stop_at_limit(both.empty() ? egress_used_up() : bound_used_up());
        const bool told_all = target_peer_->decided_bytes() == disk_bytes();
        const std::uint64_t ahead = told_all ? last_words_reserve : back_window(request_.options);
        const bool too_much = back_max_ && *back_max_ - std::min(*back_max_, ahead) < link.sent_at_most();
        return too_much && stop_at_limit(bound_used_up());
    }
    const bool held_back = source_peer_->is_held_back();
    const bool sent_all = source_peer_->has_ended_data() && !held_back;
    const bool paused = source_peer_->is_paused();
    const std::uint64_t proofs = std::min(source_peer_->proofs_left(), proofs_reserved) * proof_bytes;
    const std::uint64_t bound = link.sent_at_most() + (sent_all ? parting_reserve : egress_reserve) + proofs;
    std::uint64_t most = egress_max_.value_or(std::numeric_limits<std::uint64_t>::max());
    bool both_count = false;
    if (!both.empty()) {
        const std::uint64_t window = back_window(request_.options);
        if (allowed_to_target(both, received + (sent_all ? last_words_reserve : 2 * window)) < bound)
            return stop_at_limit(bound_used_up());
        const std::uint64_t by_both = allowed_to_target(both, received + 3 * window);
        both_count = by_both <= most;
        most = std::min(most, by_both);
    }
    const auto allow = [this](std::uint64_t payload_bytes) {
        egress_allowed_ = payload_bytes;
        events_.push_back({side::source, payload_allowed{payload_bytes}});
        return true;
    };
    if (sent_all) {
        if (proofs != 0 && egress_max_ && *egress_max_ < bound) return stop_at_limit(egress_used_up());
        return paused && allow(egress_allowed_);
    }
    const std::uint64_t left = most - std::min(most, bound);
    // Of each 64 bytes one is for what describes the others. Where that was too little, less is left, and allowed.
    const std::uint64_t allowed = source_peer_->sent_payload_bytes() + left / 64 * 63;
    if (allowed < egress_allowed_ || (held_back && allowed > egress_allowed_) || (paused && left != 0))
        return allow(allowed);
    if (!held_back && left != 0) return false;
    if (link.all_encoded()) return stop_at_limit(both_count ? bound_used_up() : egress_used_up());
    link.flush_data();
    return false;
}

// What was written is still flushed by a target: the next sync then finds it.
void session::on_lost(const error& why) {
    far_knows_ = true;  // there is nobody to tell
    take_failure_of_far_side(why);
}

void session::take_failure_of_far_side(error why) {
    far_knows_ = true;
    if (preparing_) {
        if (!failure_) failure_ = std::move(why);
        return;
    }
    if (goodbye_said_) {
        // All was well here. A target that cannot be told so any more is clean all the same; a source does not know.
        if (far_->here == side::source && !failure_) failure_ = std::move(why);
        return finish_link();
    }
    if (concluding_) {
        // A target whose source said its goodbye is clean, whoever may still hear of it.
        if (!failure_ && !far_goodbye_) far_failure_ = std::move(why);
        return;
    }
    if (!source_peer_ && !target_peer_) return refuse(std::move(why));
    if (done_sides_[static_cast<std::size_t>(far_->here)]) {
        if (!failure_) failure_ = std::move(why);
        return conclude_when_idle();
    }
    guarded([&] {
        events_.push_back({far_->here, message(failed{std::move(why)})});
        exchange();
    });
}

// ---- the greeting ----

// What a worker found out for a hello, to be taken on the strand.
struct session::far_view {
    preparation known;
    sync_options options;
    std::unique_ptr<far_disk> source;  // where it is the far one
};

void session::receive_hello(hello&& what) {
    preparing_ = true;
    auto theirs = std::make_shared<hello>(std::move(what));
    // A copy: the listener in it may be let go meanwhile.
    boost::asio::post(workers_, [self = shared_from_this(), theirs, asked = request_] {
        std::optional<error> refused;
        auto seen = std::make_shared<std::optional<far_view>>();
        try {
            *seen = self->is_here(side::source) ? self->check_far_target(*theirs, asked)
                                                : self->prepare_for_source(*theirs, asked);
        } catch (...) {
            refused = caught_error("");
        }
        boost::asio::post(self->strand_, [self, theirs, seen, refused = std::move(refused)] {
            self->preparing_ = false;
            if (*seen) self->take_view(std::move(**seen));
            self->answer_hello(std::move(*theirs), refused);
        });
    });
}

// Whatever ended the session meanwhile: a target has no peer yet, a source's has failed or has yet to hear of it.
void session::answer_hello(hello&& theirs, const std::optional<error>& refused) {
    if (!source_peer_) {
        if (refused || failure_) return refuse(refused ? *refused : *failure_);
    } else if (broken_ || done_sides_[static_cast<std::size_t>(side::source)]) {
        return conclude_when_idle();
    } else if (refused || failure_) {
        if (refused)
            events_.push_back({side::source, action_failed{*refused}});
        else
            events_.push_back({side::source, message(failed{*std::exchange(failure_, {})})});
        return guarded([this] { exchange(); });
    }
    guarded([&] { accept_hello(std::move(theirs)); });
}

void session::take_view(far_view&& seen) {
    known_ = std::move(seen.known);
    request_.options = std::move(seen.options);
    if (is_here(side::source)) return;
    request_.source = seen.source.get();
    stand_in_source_ = std::move(seen.source);
    if (far_->wants_differential) far_differential_.emplace(request_.source->size());
}

void session::accept_hello(hello&& what) {
    const std::vector<std::string> warnings = std::exchange(known_.warnings, {});
    if (is_here(side::target)) {
        keeper_.emplace(request_, *target_, mode_, known_);
        open_target(what.shape);
        enter(sync_phase::scan);
    }
    for (const std::string& text : warnings) warn(text);
    if (what.wants_differential && is_here(side::source)) send_extents_ = true;
    if (is_here(side::source)) {
        // The lower limit holds, whoever set it.
        if (what.egress_max != 0 && (!egress_max_ || what.egress_max < *egress_max_)) egress_max_ = what.egress_max;
        if (is_bounded()) events_.push_back({side::source, payload_allowed{0}});
    }
    events_.push_back({far_->here, message(std::move(what))});
    far_->link->resume();
    exchange();
}

// On a worker. The target is a disk of its own, and this is the right direction.
session::far_view session::check_far_target(const hello& theirs, sync_request asked) const {
    far_disk target(name_of_far_disk(theirs), theirs.disk, theirs.shape.disk_bytes);
    if (mode_ != session_mode::compare && would_change(theirs.disk.place, far_place_of(*asked.source)))
        throw same_disk_error(asked.source->name(), target.name());
    asked.options.reverse = asked.options.reverse || theirs.permits.reverse;
    far_view seen;
    seen.known.source_in_use = known_.source_in_use;
    prepare_far_target(asked, target, mode_, seen.known);
    seen.known.mode = theirs.findings.full_copy ? sync_mode::full : sync_mode::differential;
    seen.known.reason = on_one_line(theirs.findings.reason);
    seen.options = std::move(asked.options);
    return seen;
}

// On a worker. What the source wants is what this side was asked for, and the target may be used for it.
session::far_view session::prepare_for_source(const hello& theirs, sync_request asked) const {
    sync_options& ours = asked.options;
    const bool reread = ours.verify == verify_level::reread && mode_ == session_mode::sync;
    if (theirs.mode != mode_ || theirs.reread != reread || theirs.algorithm != ours.algorithm ||
        theirs.shape.block_bytes != ours.block_bytes || theirs.shape.chunk_bytes != ours.chunk_bytes)
        throw error(error_kind::peer,
                    "the source at " + far_->link->far_name() + " began another session than was agreed on",
                    {.operation = "open", .hint = "give both sides the same block size, chunk size, digest and mode"});
    if (theirs.shape.disk_bytes > wire_offset_max)
        throw error(error_kind::peer,
                    "the source at " + far_->link->far_name() + " claims a disk of more than 2^62 bytes");
    far_view seen;
    seen.source = std::make_unique<far_disk>(name_of_far_disk(theirs), theirs.disk, theirs.shape.disk_bytes);
    if (mode_ != session_mode::compare && would_change(far_place_of(*target_), theirs.disk.place))
        throw same_disk_error(seen.source->name(), target_->name());
    asked.source = seen.source.get();
    ours.allow_larger = ours.allow_larger || theirs.permits.allow_larger;
    ours.truncate = ours.truncate || theirs.permits.truncate;
    ours.reverse = ours.reverse || theirs.permits.reverse;
    if (!theirs.whole) ours.within = extent_set{};  // which, only the source knows
    if (ours.source_generation.empty()) ours.source_generation = theirs.generation;
    if (!theirs.generation.empty() && theirs.generation != ours.source_generation)
        throw error(error_kind::peer,
                    "the source at " + far_->link->far_name() + " is at generation " + on_one_line(theirs.generation) +
                        ", not " + ours.source_generation,
                    {.operation = "open", .hint = "give both sides the same --source-generation, or one of them none"});
    if (ours.algorithm != digest_algorithm::sha256) ours.source_generation.clear();  // nothing that could be kept
    check_options(ours, theirs.shape.disk_bytes);
    seen.known = prepare_session(asked, *target_, mode_);
    seen.options = std::move(ours);
    return seen;
}

std::string session::name_of_far_disk(const hello& theirs) const {
    return far_->far_name.empty() ? on_one_line(theirs.disk.name) : far_->far_name;
}

// ---- the end ----

// On the strand, after `conclude` found all well here.
void session::say_goodbye() {
    if (far_failure_) {
        failure_ = std::move(far_failure_);
        return finish_link();
    }
    if (is_here(side::source)) forget_other_direction();
    if (send_extents_) send_differential();
    wire_goodbye parting;
    parting.flush_us = microseconds(seconds_.flush);
    parting.verify_us = microseconds(seconds_.verify);
    if (!known_.source_in_use.empty()) parting.source_in_use = discreet(known_.source_in_use, names_here());
    goodbye_said_ = true;
    far_->link->send(session_frame(std::move(parting)));
    // The source waits for the target's; the target has it already.
    if (is_here(side::target)) finish_link();
}

// The target's record of this direction is about to be clean: the record of the other one, which is kept here, goes.
void session::forget_other_direction() {
    if (!known_.reversed || !request_.records || mode_ != session_mode::sync) return;
    try {
        request_.records->remove(request_.source->identity());
    } catch (...) {
        warn(std::string("the record of the other direction could not be removed: ") + caught_error("").what());
    }
}

void session::send_differential() {
    const std::vector<change>& all = source_peer_->changes().changes();
    for (std::size_t at = 0; at < all.size(); at += changes_per_frame) {
        wire_changes part;
        part.list.assign(all.begin() + static_cast<std::ptrdiff_t>(at),
                         all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), at + changes_per_frame)));
        far_->link->send(session_frame(std::move(part)));
    }
}

void session::send_status(bool now) {
    const auto time = clock::now();
    // What has been written should be known to the other side even where the connection is lost soon.
    const std::uint64_t written = target_peer_ ? target_peer_->counts().written : 0;
    const bool due = time - last_status_ >= status_every ||
                     (written - told_written_ >= status_every_written && time - last_status_ >= status_pause);
    // Once a source has sent all, and that is bounded, its target knows all that there is to say.
    const bool all_said = source_peer_ && is_bounded() && source_peer_->has_ended_data();
    if (!now && (!due || concluding_ || all_said)) return;
    last_status_ = time;
    told_written_ = written;
    wire_status status;
    if (source_peer_) {
        status.counts = source_peer_->counts();
        status.decided_bytes = source_peer_->decided_bytes();
    } else if (target_peer_) {
        status.counts = target_peer_->counts();
        status.decided_bytes = target_peer_->decided_bytes();
        status.proved_bytes = target_peer_->proved_bytes();
    }
    far_->link->send(session_frame(status));
}

// The last step: what is queued goes out, the connection ends, then the report is made.
void session::finish_link() {
    if (std::exchange(ending_, true)) return;
    if (!far_) return finish();
    if (failure_ && target_peer_) send_status(true);  // what was reached
    if (failure_ && !std::exchange(far_knows_, true)) {
        far_->link->send(message(failed{discreet(*failure_, names_here())}));
    }
    far_->link->finish([self = shared_from_this()] {
        self->sent_ = self->far_->link->sent();
        self->received_ = self->far_->link->received();
        self->finish();
    });
}

// Peers name exports, never paths: nor do they learn them.
known_as session::names_here() const {
    const device* here = far_->here == side::source ? request_.source : target_;
    return {here ? here->name() : "", far_->alias, far_hello_ ? on_one_line(far_hello_->disk.name) : ""};
}

// As this side's user should read it: which side failed, and that an interruption there is none here.
error session::named_by_far_side(const error& why) const {
    const char* role = far_->here == side::source ? "the target" : "the source";
    error_detail detail = why.detail();
    detail.device = on_one_line(detail.device);
    detail.hint = on_one_line(detail.hint);
    detail.holder = on_one_line(detail.holder);
    // That a flush failed is for the side to say that has the target.
    const error_kind kind =
        why.kind() == error_kind::flush_failed && far_->here == side::target ? error_kind::peer : why.kind();
    if (kind == error_kind::interrupted)
        return error(error_kind::peer, std::string(role) + " at " + far_->link->far_name() + " was stopped",
                     {.operation = detail.operation,
                      .hint = "run the same again: it goes on from there",
                      .connection_lost = true});
    return error(kind, std::string(role) + " at " + far_->link->far_name() + ": " + on_one_line(why.what()),
                 std::move(detail));
}

}  // namespace reprotect
