// A run is `go`: plan events, gather what may happen, let one thing happen, see whether somebody has come to an end.
#include "simulator/simulated_run.hpp"

#include <algorithm>
#include <utility>

#include "base/caught_error.hpp"

namespace reprotect::test {
namespace {

constexpr std::uint64_t steps_max = 100'000;  // measured: the longest of 10^5 seeds takes 1,600

constexpr std::size_t number_of(side value) noexcept {
    return static_cast<std::size_t>(value);
}

constexpr std::array both{side::source, side::target};

std::array<std::byte, 32> nonce_from(dice& random) {
    std::array<std::byte, 32> nonce{};
    random.fill(nonce);
    return nonce;
}

error interrupted() {
    return error(error_kind::interrupted, "interrupted");
}

}  // namespace

simulated_run::simulated_run(const run_plan& plan, simulated_disk& source, simulated_disk& target, state_store& records,
                             const extent_set& settled, dice& random, tally& counts)
    : plan_(plan),
      source_disk_(source),
      target_disk_(target),
      records_(records),
      random_(random),
      counts_(counts),
      checks_(plan, source, target, records, settled) {
    source.set_faults(plan.disks[0]);
    target.set_faults(plan.disks[1]);
    source.before = [this](device_call call, extent where, std::span<const std::byte> from) {
        checks_.on_call(side::source, call, where, from);
    };
    target.before = [this](device_call call, extent where, std::span<const std::byte> from) {
        checks_.on_call(side::target, call, where, from);
    };
    source.after_read = [this](extent where, std::span<const std::byte> bytes) {
        checks_.on_source_read(where, bytes);
    };
    request_.source = &source;
    request_.target = &target;
    request_.options = plan.options;
    request_.records = &records;
}

run_end simulated_run::go() {
    if (prepare()) {
        open_peers();
        collect(side::source);
        collect(side::target);
        for (; checks_.broken().empty(); ++steps_) {
            if (steps_ == steps_max) checks_.break_one("it takes no end");
            happen(steps_);
            if (target_disk_.stopped() || plan_.kill_at == steps_) {
                stop_target();
                break;
            }
            gather();
            if (choices_.empty()) {
                if (at(side::source).ended && at(side::target).ended) break;
                if (link_->corrupted() && !link_->is_cut()) {
                    // Both wait for what was not understood: their patience ends.
                    link_->cut();
                    continue;
                }
                checks_.break_one("a deadlock: nothing can happen any more");
                break;
            }
            take_one();
            note_losses();
            conclude();
        }
    }
    run_end result = make_end();
    if (checks_.broken().empty()) checks_.at_end(result);
    for (simulated_disk* disk : {&source_disk_, &target_disk_}) {
        disk->before = {};
        disk->after_read = {};
    }
    mix(result.steps);
    return result;
}

// ---- opening, as session::prepare and open_peers do it ----

bool simulated_run::prepare() {
    try {
        known_ = prepare_session(request_, target_disk_, plan_.mode);
        return true;
    } catch (const error& why) {
        refused_ = why;
        return false;
    }
}

void simulated_run::open_peers() {
    checks_.on_begin(known_.finished ? known_.finished->shape().disk_bytes : 0);
    const sync_options& options = plan_.options;
    const bool wire = !in_memory();
    pools_[0] = std::make_shared<buffer_pool>(options.chunk_bytes);
    pools_[1] = wire ? std::make_shared<buffer_pool>(options.chunk_bytes) : pools_[0];
    keeper_.emplace(request_, target_disk_, plan_.mode, known_);

    source_config source;
    source.mode = plan_.mode;
    source.shape = {source_disk_.size(), options.chunk_bytes, options.block_bytes};
    source.algorithm = options.algorithm;
    source.reread = plan_.rereads();
    source.nonce = nonce_from(random_);
    source.within = options.within;
    source.reads_max = plan_.reads_max[0];
    source.buffers_max = plan_.buffers_max;
    source.digest_entries = plan_.digest_entries[0];
    source.keep_differential = options.keep_differential;
    source.generation = options.source_generation;

    target_config target;
    target.disk_bytes = target_disk_.size();
    target.punches_holes = target_disk_.properties().punches_holes;
    target.resize_needed = known_.resize_to.has_value();
    target.ignore_allocation = known_.distrust_target;
    target.nonce = nonce_from(random_);
    target.reads_max = plan_.reads_max[1];
    target.applies_max = plan_.applies_max;
    target.allocation_runs = plan_.allocation_runs;
    target.digest_entries = plan_.digest_entries[1];
    target.data_messages = plan_.data_messages;
    target.data_bytes = plan_.data_bytes;
    target.proof_chunks = plan_.proof_chunks;
    target.push_percent = plan_.push_percent;
    target.generation = known_.generation;
    target.keeps_finished = !known_.generation.empty();
    if (known_.finished) target.finished_bytes = known_.finished->shape().disk_bytes;
    if (known_.finished) ++counts_["not read again"];
    if (wire) {
        source.binding = target.binding = nonce_from(random_);
        source.disk.name = "source";
        target.disk.name = "target";
    }
    link_.emplace(simulated_link::options{plan_.link, source.shape, plan_.corrupts, plan_.level}, random_, pools_[1],
                  [this](std::size_t bytes) { at(side::source).answers.emplace_back(payload_released{bytes}); });
    source_.emplace(std::move(source));
    target_.emplace(std::move(target));
    if (known_.resize_to) ++counts_["resized"];
    if (known_.distrust_target) ++counts_["distrusted"];
}

// ---- what comes from outside ----

void simulated_run::happen(std::uint64_t step) {
    if (plan_.cut_at == step && !link_->is_cut()) {
        ++counts_["cut"];
        link_->cut();
    }
    if (plan_.stop_at == step) stop();
    if (plan_.crash_at == step) target_disk_.stop();
    for (const std::uint64_t when : plan_.checkpoints_at)
        if (when == step) hand(side::target, checkpoint_due{});
    for (const std::uint64_t when : plan_.source_changes_at)
        if (when == step) change_disk(side::source);
    for (const std::uint64_t when : plan_.target_changes_at)
        if (when == step) change_disk(side::target);
}

void simulated_run::change_disk(side which) {
    simulated_disk& disk = which == side::source ? source_disk_ : target_disk_;
    if (disk.size() == 0) return;
    const std::uint64_t offset = random_.below(disk.size());
    const extent range{offset, std::min(disk.size() - offset, 1 + random_.of_any_size(20'000))};
    std::vector<std::byte> bytes(random_.one_in(3) ? 0 : range.length);
    random_.fill(bytes);
    if (which == side::source)
        checks_.on_source_change();
    else
        checks_.on_target_change(range);
    disk.overwrite(range, bytes);
    ++counts_[which == side::source ? "source changed" : "target changed"];
}

void simulated_run::stop() {
    ++counts_["stopped"];
    checks_.on_disturbance();
    for (const side which : both) {
        one_side& self = at(which);
        if (!in_memory() && which != plan_.stopped) continue;
        if (self.ended) continue;
        if (!in_memory() && self.peer_done && !self.failure && (self.goodbye_said || !self.goodbye_heard)) {
            // It only waits for the other side's last word.
            link_->cut();
            self.noticed = true;
            hear_failure(which, interrupted());
            continue;
        }
        hand(which, reprotect::stop{});
    }
    conclude();
}

// Its process is gone, and the machine perhaps, too.
void simulated_run::stop_target() {
    ++counts_[target_disk_.stopped() ? "crashed" : "killed"];
    crashed_ = true;
    checks_.on_disturbance();
    if (at(side::source).ended) return;
    if (in_memory()) return;
    // The source lives on: what it was sent may still arrive, then it hears nothing any more, and must end.
    link_->cut();
    std::vector<std::size_t> lanes;
    for (;;) {
        lanes.clear();
        link_->arriving_at(side::source, lanes);
        if (lanes.empty() || at(side::source).ended) break;
        deliver(side::source, lanes[random_.below(lanes.size())]);
    }
    if (!at(side::source).ended) hear_failure(side::source, error(error_kind::peer, "the connection is lost"));
    if (!source_->is_finished()) checks_.break_one("a source whose target has gone goes on");
    at(side::source).ended = true;
}

// ---- what may happen, and one of it ----

void simulated_run::gather() {
    choices_.clear();
    static thread_local std::vector<std::size_t> lanes;
    for (const side which : both) {
        one_side& self = at(which);
        lanes.clear();
        link_->arriving_at(which, lanes);
        for (const std::size_t lane : lanes) choices_.push_back({step_kind::deliver, which, lane});
        for (std::size_t i = 0; i < self.works.size(); ++i) choices_.push_back({step_kind::perform, which, i});
        if (!self.answers.empty()) choices_.push_back({step_kind::answer, which});
        // What has come before an end is heard before it, unless a write is what fails.
        if (link_->is_cut() && !self.noticed && !self.ended && (lanes.empty() || random_.one_in(8)))
            choices_.push_back({step_kind::notice, which});
    }
    if (link_->collects_data() && !link_->is_cut()) choices_.push_back({step_kind::collect, side::source});
}

void simulated_run::take_one() {
    const auto weight = [this](const choice& each) -> std::uint64_t {
        const auto kind = static_cast<std::size_t>(each.kind);
        return kind < plan_.eagerness.size() ? plan_.eagerness[kind] : 1;
    };
    std::uint64_t all = 0;
    for (const choice& each : choices_) all += weight(each);
    std::uint64_t left = random_.below(all);
    auto chosen = choices_.begin();
    while (left >= weight(*chosen)) left -= weight(*chosen++);
    mix(static_cast<std::uint64_t>(chosen->kind) << 40 | number_of(chosen->where) << 32 | chosen->which);
    const choice next = *chosen;
    switch (next.kind) {
        case step_kind::deliver:
            return deliver(next.where, next.which);
        case step_kind::perform:
            return perform(next.where, next.which);
        case step_kind::answer: {
            event answer = std::move(at(next.where).answers.front());
            at(next.where).answers.pop_front();
            checks_.on_answer(next.where, answer);
            return hand(next.where, std::move(answer));
        }
        case step_kind::collect:
            return link_->flush_data();
        case step_kind::notice:
            at(next.where).noticed = true;
            return hear_failure(next.where, error(error_kind::peer, "the connection is lost"));
    }
}

void simulated_run::deliver(side to, std::size_t lane) {
    arrival came = link_->take(to, lane);
    one_side& self = at(to);
    if (self.ended || self.noticed) return;
    for (message& each : came.messages) {
        checks_.on_delivery(to, each);
        if (auto* bad = std::get_if<failed>(&each); bad && !in_memory())
            hear_failure(to, bad->why);
        else
            hand(to, std::move(each));
    }
    if (came.goodbye) self.goodbye_heard = true;
    if (came.refused) {
        ++counts_["refused frame"];
        link_->cut();
        self.noticed = true;
        hear_failure(to, *came.refused);
    }
}

disk_worker& simulated_run::worker(side of) {
    auto& slot = workers_[number_of(of)];
    if (!slot) {
        device& disk = of == side::source ? source_disk_ : target_disk_;
        const geometry shape{source_disk_.size(), plan_.options.chunk_bytes, plan_.options.block_bytes};
        slot.emplace(disk, shape, disk.size(), of == side::source ? source_->digests() : target_->digests(),
                     pools_[number_of(of)]);
    }
    return *slot;
}

void simulated_run::perform(side of, std::size_t which) {
    one_side& self = at(of);
    action what = std::move(self.works[which]);
    self.works.erase(self.works.begin() + static_cast<std::ptrdiff_t>(which));
    if (std::holds_alternative<begin_writing>(what)) {
        self.answers.push_back(keeper_->begin_writing());
    } else if (std::holds_alternative<flush_target>(what)) {
        self.answers.push_back(keeper_->flush(worker(of)));
    } else if (auto* kept = std::get_if<checkpoint>(&what)) {
        if (kept->finished.shape().disk_bytes != 0) ++counts_["checkpoint"];
        self.answers.push_back(keeper_->keep(worker(of), std::move(kept->finished)));
    } else {
        const auto* apply = std::get_if<apply_chunk>(&what);
        const std::uint64_t carried_bytes = in_memory() && apply ? apply->data.payload.bytes().size() : 0;
        event answer = worker(of).perform(std::move(what));
        what = finished{};  // frees the payload's buffer before the source may count on it
        if (carried_bytes != 0) at(side::source).answers.emplace_back(payload_released{carried_bytes});
        self.answers.push_back(std::move(answer));
    }
    // Whatever a machine says after it stopped is not heard.
    if (target_disk_.stopped() && of == side::target) self.answers.pop_back();
}

void simulated_run::hand(side to, event&& what) {
    if (to == side::source)
        source_->handle(std::move(what));
    else
        target_->handle(std::move(what));
    collect(to);
}

void simulated_run::collect(side from) {
    while (auto next = from == side::source ? source_->next_action() : target_->next_action()) {
        if (auto* end = std::get_if<finished>(&*next)) {
            take_finished(from, std::move(end->why));
        } else if (auto* out = std::get_if<send>(&*next)) {
            const std::uint64_t decided =
                (source_->decided_bytes() + plan_.options.chunk_bytes - 1) / plan_.options.chunk_bytes;
            checks_.on_send(from, out->what, decided);
            const bool ends = std::holds_alternative<end_of_data>(out->what);
            if (std::holds_alternative<chunk_data>(out->what)) ++data_messages_;
            if (std::holds_alternative<resend>(out->what)) ++counts_["sent again"];
            link_->send(from, std::move(out->what));
            if (from == side::source && (ends || source_->wants_data_credit())) link_->flush_data();
        } else {
            checks_.on_work(from, *next);
            if (auto* read = std::get_if<read_chunk>(&*next); read && read->again) ++counts_["evicted"];
            if (std::holds_alternative<punch>(*next)) ++counts_["punched"];
            at(from).works.push_back(std::move(*next));
        }
    }
}

// ---- ends, as session and far_session do them ----

void simulated_run::take_finished(side from, std::optional<error>&& why) {
    one_side& self = at(from);
    if (std::exchange(self.peer_done, true)) return checks_.break_one("a peer finishes twice");
    std::optional<error>& failure = in_memory() ? at(side::source).failure : self.failure;
    const bool flush_failed = from == side::target && why && why->kind() == error_kind::flush_failed;
    if (why && (!failure || flush_failed)) failure = std::move(why);
}

// That the other side failed, or cannot be heard any more.
void simulated_run::hear_failure(side which, const error& why) {
    one_side& self = at(which);
    if (self.ended) return;
    if (self.peer_done) {
        if (!self.failure) self.failure = why;
        if (self.goodbye_said) end(which, false);
        return;
    }
    hand(which, message(failed{why}));
}

void simulated_run::conclude() {
    if (in_memory()) return conclude_in_memory();
    conclude_at(side::source);
    conclude_at(side::target);
}

bool simulated_run::conclude_target() {
    try {
        keeper_->conclude();
        return true;
    } catch (...) {
        std::optional<error>& failure = at(in_memory() ? side::source : side::target).failure;
        failure = caught_error("");
        return false;
    }
}

void simulated_run::conclude_in_memory() {
    for (const side which : both) {
        const one_side& self = at(which);
        if (!self.peer_done || !self.works.empty() || !self.answers.empty() || self.ended) return;
    }
    const bool done = !at(side::source).failure && conclude_target();
    at(side::target).failure = at(side::source).failure;
    end(side::source, done);
    end(side::target, done);
}

void simulated_run::conclude_at(side which) {
    one_side& self = at(which);
    if (self.ended || !self.peer_done || !self.works.empty()) return;
    if (self.failure) return end(which, false);
    if (which == side::source) {
        if (!std::exchange(self.goodbye_said, true)) link_->send_goodbye(which);
        if (self.goodbye_heard) end(which, true);
        return;
    }
    if (!self.goodbye_heard) return;
    const bool done = conclude_target();
    if (done)
        link_->send_goodbye(which);
    else
        link_->send(which, failed{*self.failure});
    end(which, done);
}

void simulated_run::end(side which, bool done) {
    at(which).ended = true;
    at(which).done = done;
}

// The first time that a fault of the link shows.
void simulated_run::note_losses() {
    if (link_->corrupted()) checks_.on_corruption(link_->corrupted_data());
    if (link_->is_cut()) checks_.on_disturbance();
}

run_end simulated_run::make_end() {
    run_end result;
    result.refused = refused_;
    result.crashed = crashed_;
    result.data_messages = data_messages_;
    result.steps = steps_;
    if (refused_ || !source_) return result;
    for (std::size_t i = 0; i < 2; ++i) {
        result.done[i] = sides_[i].done;
        result.failure[i] = sides_[i].failure;
    }
    result.root = {source_->root(), target_->root()};
    result.digests = source_->digests();
    result.written_bytes = target_->counts().written;
    if (plan_.options.keep_differential) result.changes = source_->changes();
    return result;
}

}  // namespace reprotect::test
