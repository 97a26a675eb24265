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
#include <utility>

#include "base/caught_error.hpp"
#include "sync/far_disk.hpp"
#include "sync/session.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

constexpr auto status_every = 500ms;  // guessed: a progress bar looks alive, and an hour costs 300 KB
constexpr std::size_t changes_per_frame = 8192;

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
        if (far_hello_) return on_lost(error(error_kind::peer, "a second hello from " + far_->link->far_name()));
        far_->link->hold();
        if (preparing_) {
            far_hello_ = std::move(*opening);
            return;
        }
        return receive_hello(std::move(*opening));
    }
    if (auto* bad = std::get_if<failed>(&what)) return take_failure_of_far_side(named_by_far_side(bad->why));
    if (!source_peer_ && !target_peer_)
        return on_lost(error(error_kind::peer, "a message before its hello from " + far_->link->far_name()));
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
        return report_progress(false);
    }
    if (auto* notice = std::get_if<wire_notice>(&what)) {
        if (known_.warnings.size() >= 64) return;  // a guess: more is not worth reading
        const std::string text = far_->link->far_name() + ": " + notice->text;
        known_.warnings.push_back(text);
        return tell_listener([&text](sync_listener& listener) { listener.on_warning(text); });
    }
    if (auto* found = std::get_if<wire_changes>(&what)) {
        if (!far_differential_) return on_lost(error(error_kind::peer, "extents that nobody asked for"));
        for (const change& each : found->list) far_differential_->add(each);
        return;
    }
    auto& parting = std::get<wire_goodbye>(what);
    const bool in_time = far_->here == side::source ? goodbye_said_ : done_sides_[static_cast<std::size_t>(side::target)];
    if (!in_time) return on_lost(error(error_kind::peer, "a goodbye before the end from " + far_->link->far_name()));
    if (far_->here == side::source) {
        seconds_.flush = static_cast<double>(parting.flush_us) / 1e6;
        seconds_.verify = static_cast<double>(parting.verify_us) / 1e6;
        far_goodbye_ = std::move(parting);
        return finish_link();
    }
    known_.source_in_use = parting.source_in_use;
    far_goodbye_ = std::move(parting);
    conclude_when_idle();
}

void session::on_payload_released() {
    if (!source_peer_) return;
    guarded([&] {
        events_.push_back({side::source, payload_released{}});
        exchange();
    });
}

// What was written is still flushed by a target: the next sync then finds it.
void session::on_lost(const error& why) {
    link_lost_ = true;
    told_ = true;  // there is nobody to tell
    take_failure_of_far_side(why);
}

void session::take_failure_of_far_side(error why) {
    told_ = true;
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
        if (!failure_) far_failure_ = std::move(why);
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

void session::receive_hello(hello&& what) {
    far_hello_ = what;
    preparing_ = true;
    auto theirs = std::make_shared<hello>(std::move(what));
    boost::asio::post(workers_, [self = shared_from_this(), theirs] {
        std::optional<error> refused;
        try {
            if (self->is_here(side::source))
                self->check_far_target(*theirs);
            else
                self->prepare_for_source(*theirs);
        } catch (...) {
            refused = caught_error("");
        }
        boost::asio::post(self->strand_, [self, theirs, refused = std::move(refused)] {
            self->preparing_ = false;
            if (refused) {
                if (!self->source_peer_) return self->refuse(*refused);
                self->events_.push_back({side::source, action_failed{*refused}});
                return self->guarded([&] { self->exchange(); });
            }
            if (self->failure_) {
                const error why = *std::exchange(self->failure_, std::nullopt);
                if (!self->source_peer_) return self->refuse(why);
                self->events_.push_back({side::source, message(failed{why})});
                return self->guarded([&] { self->exchange(); });
            }
            self->guarded([&] { self->accept_hello(std::move(*theirs)); });
        });
    });
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
    events_.push_back({far_->here, message(std::move(what))});
    far_->link->resume();
    exchange();
}

// On a worker. The target is a disk of its own, and this is the right direction.
void session::check_far_target(const hello& theirs) {
    const std::string name = far_->far_name.empty() ? theirs.disk.name : far_->far_name;
    auto disk = std::make_unique<far_disk>(name, theirs.disk, theirs.shape.disk_bytes);
    if (mode_ != session_mode::compare && would_change(theirs.disk.place, place_of(*request_.source)))
        throw same_disk_error(request_.source->name(), name);
    request_.options.reverse = request_.options.reverse || theirs.permits.reverse;
    prepare_far_target(request_, *disk, mode_, known_);
    known_.mode = theirs.findings.full_copy ? sync_mode::full : sync_mode::differential;
    known_.reason = theirs.findings.reason;
    stand_in_ = std::move(disk);
}

// On a worker. What the source wants is what this side was asked for, and the target may be used for it.
void session::prepare_for_source(const hello& theirs) {
    const sync_options& ours = request_.options;
    const bool reread = ours.verify == verify_level::reread && mode_ == session_mode::sync;
    if (theirs.mode != mode_ || theirs.reread != reread || theirs.algorithm != ours.algorithm ||
        theirs.shape.block_bytes != ours.block_bytes || theirs.shape.chunk_bytes != ours.chunk_bytes)
        throw error(error_kind::peer, "the source at " + far_->link->far_name() + " began another session than was agreed on",
                    {.operation = "open", .hint = "give both sides the same block size, chunk size, digest and mode"});
    if (theirs.shape.disk_bytes > wire_offset_max)
        throw error(error_kind::peer, "the source at " + far_->link->far_name() + " claims a disk of more than 2^62 bytes");
    const std::string name = far_->far_name.empty() ? theirs.disk.name : far_->far_name;
    auto disk = std::make_unique<far_disk>(name, theirs.disk, theirs.shape.disk_bytes);
    if (mode_ != session_mode::compare && would_change(place_of(*target_), theirs.disk.place))
        throw same_disk_error(name, target_->name());
    request_.options.allow_larger = ours.allow_larger || theirs.permits.allow_larger;
    request_.options.truncate = ours.truncate || theirs.permits.truncate;
    request_.options.reverse = ours.reverse || theirs.permits.reverse;
    if (!theirs.whole) request_.options.within = extent_set{};  // which, only the source knows
    check_options(ours, theirs.shape.disk_bytes);
    request_.source = disk.get();
    stand_in_source_ = std::move(disk);
    known_ = prepare_session(request_, *target_, mode_);
    if (far_->wants_differential) far_differential_.emplace(theirs.shape.disk_bytes);
}

// ---- the end ----

// On the strand, after `conclude` found all well here.
void session::say_goodbye() {
    if (far_failure_) {
        failure_ = std::move(far_failure_);
        return finish_link();
    }
    if (send_extents_) send_differential();
    wire_goodbye parting;
    parting.flush_us = microseconds(seconds_.flush);
    parting.scan_us = microseconds(seconds_.scan);
    parting.verify_us = microseconds(seconds_.verify);
    parting.source_in_use = as_the_far_side_may_see(known_.source_in_use);
    goodbye_said_ = true;
    far_->link->send(session_frame(std::move(parting)));
    // The source waits for the target's; the target has it already.
    if (is_here(side::target)) finish_link();
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

void session::send_status() {
    const auto now = clock::now();
    if (now - last_status_ < status_every || concluding_) return;
    last_status_ = now;
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
    if (failure_ && !std::exchange(told_, true)) {
        far_->link->send(message(failed{as_the_far_side_may_see(*failure_)}));
    }
    far_->link->finish([self = shared_from_this()] {
        self->sent_ = self->far_->link->sent();
        self->received_ = self->far_->link->received();
        self->finish();
    });
}

// Peers name exports, never paths: nor do they learn them.
std::string session::as_the_far_side_may_see(std::string text) const {
    const device* here = far_ && far_->here == side::source ? request_.source : target_;
    if (!far_ || far_->alias.empty() || !here) return text;
    const std::string& name = here->name();
    for (std::size_t at = text.find(name); !name.empty() && at != std::string::npos;
         at = text.find(name, at + far_->alias.size()))
        text.replace(at, name.size(), far_->alias);
    return text;
}

error session::as_the_far_side_may_see(const error& why) const {
    error_detail detail = why.detail();
    detail.device = as_the_far_side_may_see(detail.device);
    detail.hint = as_the_far_side_may_see(detail.hint);
    detail.holder = as_the_far_side_may_see(detail.holder);
    return error(why.kind(), as_the_far_side_may_see(std::string(why.what())), std::move(detail));
}

// As this side's user should read it: which side failed, and that an interruption there is none here.
error session::named_by_far_side(const error& why) const {
    const char* role = far_->here == side::source ? "the target" : "the source";
    error_detail detail = why.detail();
    if (why.kind() == error_kind::interrupted)
        return error(error_kind::peer, std::string(role) + " at " + far_->link->far_name() + " was stopped",
                     {.operation = detail.operation, .hint = "run the same again: it goes on from there"});
    return error(why.kind(), std::string(role) + " at " + far_->link->far_name() + ": " + why.what(), std::move(detail));
}

}  // namespace reprotect
