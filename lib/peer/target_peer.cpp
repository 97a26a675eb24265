// As in the source peer: an event changes state, then `advance` does everything that has become possible, in a fixed order.
#include "peer/target_peer.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "plan/digest_tree.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t disk_bytes_max = std::uint64_t{1} << 62;  // keeps sums of offsets from wrapping

}  // namespace

target_peer::target_peer(target_config config) : config_(std::move(config)) {
    REPROTECT_ASSERT(config_.reads_max >= 1 && config_.applies_max >= 1 && config_.allocation_runs >= 1 &&
                     config_.digest_entries >= 1 && config_.data_messages >= 1 && config_.data_bytes >= 1 &&
                     config_.proof_chunks >= 1);
    config_.data_bytes = std::min(config_.data_bytes, data_bytes_max);  // more would never be used, nor said
    source_runs_granted_ = config_.allocation_runs;
    data_granted_ = config_.data_messages;
    bytes_granted_ = config_.data_bytes;
    proofs_granted_ = config_.proof_chunks;
}

std::optional<action> target_peer::next_action() {
    if (actions_.empty()) return std::nullopt;
    std::optional<action> first(std::move(actions_.front()));
    actions_.pop_front();
    return first;
}

void target_peer::handle(event&& what) {
    if (finished_) return;  // late answers to work that was under way
    std::visit([this](auto&& inner) { on(std::forward<decltype(inner)>(inner)); }, std::move(what));
    if (!finished_) advance();
}

void target_peer::on(message&& what) {
    if (stopping_) return;
    if (!greeted_ && !std::holds_alternative<hello>(what) && !std::holds_alternative<failed>(what))
        return violation("a message before its hello");
    std::visit([this](auto&& inner) { take(std::forward<decltype(inner)>(inner)); }, std::move(what));
}

// ---- opening ----

void target_peer::take(hello&& what) {
    if (greeted_) return violation("a second hello");
    try {
        check_geometry(what.shape);
    } catch (const error& why) {
        return violation(why.what());
    }
    if (what.digest_entries == 0) return violation("a window of nothing");
    if (what.shape.disk_bytes > disk_bytes_max) return violation("a disk of more than 2^62 bytes");
    greeted_ = true;
    mode_ = what.mode;
    reread_ = what.reread;
    shape_ = what.shape;
    entries_window_ = std::min(what.digest_entries, config_.digest_entries);
    entries_granted_ = entries_window_;
    digester_ =
        std::make_shared<const digester>(what.algorithm, derive_secret(what.nonce, config_.nonce, config_.binding));
    zero_.emplace(*digester_, shape_);
    map_ = digest_map(shape_, what.algorithm);
    builder_.emplace(shape_.disk_bytes, shape_.block_bytes, std::nullopt);

    hello answer = std::move(what);
    answer.shape.disk_bytes = config_.disk_bytes;
    answer.nonce = config_.nonce;
    answer.disk = config_.disk;
    answer.permits = config_.permits;
    answer.findings = config_.findings;
    answer.wants_differential = config_.wants_differential;
    answer.egress_max = config_.egress_max;
    answer.generation = config_.generation;
    answer.finished_bytes = config_.finished_bytes;
    answer.digest_entries = entries_window_;
    answer.allocation_runs = source_runs_granted_;
    answer.data_messages = data_granted_;
    answer.data_bytes = bytes_granted_;
    answer.proof_chunks = proofs_granted_;
    emit(std::move(answer));
}

// ---- allocation: the source's arrives, our own is asked for as planning needs it ----

void target_peer::take(allocation&& what) {
    for (const source_run& run : what.runs) {
        if (run.range.offset != source_known_to_ || run.range.empty() ||
            run.range.length > shape_.disk_bytes - run.range.offset ||
            (run.range.end() % shape_.block_bytes != 0 && run.range.end() != shape_.disk_bytes))
            return violation("allocation out of order");
        if (++source_runs_taken_ > source_runs_granted_) return violation("more allocation than it may send");
        source_known_to_ = run.range.end();
        source_runs_.push_back(run);
    }
}

void target_peer::advance_allocation() {
    const std::uint64_t own = std::min(config_.disk_bytes, shape_.disk_bytes);
    // One question at a time, and only when planning has used up what is known.
    if (allocation_asked_ || builder_->built_to() >= shape_.disk_bytes) return;
    const extent rest{asked_to_, own - std::min(asked_to_, own)};
    if (rest.empty()) {
        asked_to_ = shape_.disk_bytes;
        builder_->add({{{own, shape_.disk_bytes - own}, content::zero}}, own_runs_);
    } else if (reread_ || config_.ignore_allocation) {
        on(allocation_known{{{rest, content::data}}});
        advance_allocation();
    } else {
        allocation_asked_ = true;
        actions_.emplace_back(query_allocation{rest});
    }
}

void target_peer::on(allocation_known&& what) {
    allocation_asked_ = false;
    REPROTECT_ASSERT(!what.runs.empty() && what.runs.back().range.end() > asked_to_);
    asked_to_ = what.runs.back().range.end();
    for (const allocation_run& run : what.runs)
        if (run.kind == content::data) counts_.allocated += run.range.length;
    builder_->add(what.runs, own_runs_);
}

// ---- planning: what of a chunk must be read, given what both sides hold ----

void target_peer::advance_plan() {
    // A device is not read while it is resized.
    if (config_.resize_needed && mode_ == session_mode::sync && !writing_allowed()) return;
    const std::uint64_t chunks = shape_.chunk_count();
    while (next_chunk_ < chunks && may_begin_entry() && reads_ < config_.reads_max) {
        // What arrived is written first, while the source has enough to compare: reads ahead of it would take the disk and the cores
        // from the writes that its credits wait for.
        if (to_apply_.size() >= config_.applies_max && entries_granted_ - entries_planned_ < entries_window_ / 2) break;
        const std::uint64_t end = shape_.chunk(next_chunk_).end();
        if (source_known_to_ < end) break;
        if (builder_->built_to() < end) {
            advance_allocation();
            if (builder_->built_to() < end) break;
        }
        if (!plan_hole_run()) plan_chunk();
    }
}

// Several chunks at once where the source holds nothing and we hold nothing (or may give back what we hold). True if it planned.
bool target_peer::plan_hole_run() {
    const std::uint64_t begin = shape_.chunk(next_chunk_).offset;
    forget_own_runs(begin);
    const source_run& theirs = source_runs_.front();
    const source_run& ours = own_runs_.front();
    const bool hole = ours.kind == source_content::zero;  // nothing to read, whatever they hold
    if (theirs.kind == source_content::data && !hole) return false;
    const bool may_punch =
        theirs.kind == source_content::zero && config_.punches_holes && mode_ != session_mode::compare;
    if (!hole && theirs.kind != source_content::skip && !may_punch) return false;
    std::uint64_t end = std::min(source_known_to_, ours.range.end());
    if (!hole) end = theirs.kind == source_content::skip ? theirs.range.end() : std::min(end, theirs.range.end());
    const std::uint64_t count =
        end == shape_.disk_bytes ? shape_.chunk_count() - next_chunk_ : (end - begin) / shape_.chunk_bytes;
    if (count == 0) return false;
    if (!hole && may_punch) {
        const std::uint64_t last = shape_.chunk(next_chunk_ + count - 1).end();
        if (mode_ == session_mode::dry_run) {
            counts_.deallocated += last - begin;
        } else {
            ++reads_;
            if (punches_++ == 0) punching_from_ = next_chunk_;
            punch give_back;
            give_back.ranges.add({begin, std::min(last, config_.disk_bytes) - begin});
            punching_.add({begin, last - begin});
            if (writing_allowed())
                actions_.emplace_back(std::move(give_back));
            else
                after_begin_.emplace_back(std::move(give_back));
        }
    }
    queue_hole(next_chunk_, count);
    next_chunk_ += count;
    return true;
}

void target_peer::plan_chunk() {
    const extent whole = shape_.chunk(next_chunk_);
    const bool may_punch = config_.punches_holes && mode_ != session_mode::compare;
    read_chunk read;
    read.chunk = next_chunk_;
    extent_set ours;
    for (const source_run& run : own_runs_) {
        if (run.range.offset >= whole.end()) break;
        if (run.kind == source_content::data) ours.add(intersect(run.range, whole));
    }
    extent_set compared, skipped;
    for (const source_run& run : source_runs_) {
        if (run.range.offset >= whole.end()) break;
        const extent part = intersect(run.range, whole);
        if (part.empty()) continue;
        if (run.kind == source_content::skip) {
            skipped.add(part);
            continue;
        }
        if (run.kind == source_content::data) compared.add(part);
        for (const extent& held : ours.within(part)) {
            if (run.kind == source_content::zero && may_punch) {
                read.punch.add(held);
            } else {
                read.data.add(held);
                compared.add(held);
            }
        }
    }
    forget_own_runs(whole.end());
    const bool dry = mode_ == session_mode::dry_run;
    if (dry) {
        counts_.deallocated += read.punch.total();
        read.punch = {};
    }
    const std::uint64_t chunk = next_chunk_++;
    if (read.data.empty() && read.punch.empty()) {
        queue_hole(chunk, 1);
        return;
    }
    counts_.compared += read.data.empty() ? 0 : compared.total();
    entry_of_[chunk] = entries_planned_++;
    outgoing_.push_back({digest_entry{digest_entry::kind::digest, chunk, 1, {}, {}}, false});
    pending_[chunk].hole = read.data.empty();
    pending_[chunk].skipped = std::move(skipped);
    ++reads_;
    const bool writes = !read.punch.empty();
    if (!writes || writing_allowed())
        actions_.emplace_back(std::move(read));
    else
        after_begin_.emplace_back(std::move(read));
}

void target_peer::queue_hole(std::uint64_t first, std::uint64_t count) {
    if (!outgoing_.empty()) {
        digest_entry& last = outgoing_.back().entry;
        if (last.what == digest_entry::kind::hole && last.first_chunk + last.count == first) {
            last.count += count;
            return;
        }
    }
    ++entries_planned_;
    outgoing_.push_back({digest_entry{digest_entry::kind::hole, first, count, {}, {}}, true});
}

// Runs that end below are not looked at again; the one that reaches `below` stays.
void target_peer::forget_own_runs(std::uint64_t below) {
    for (auto* runs : {&own_runs_, &source_runs_})
        while (!runs->empty() && runs->front().range.end() <= below) runs->pop_front();
}

void target_peer::on(chunk_read&& what) {
    const auto entry = entry_of_.find(what.chunk);
    REPROTECT_ASSERT(entry != entry_of_.end() && reads_ > 0);
    --reads_;
    counts_.read += what.read_bytes;
    counts_.deallocated += what.deallocated_bytes;
    pending_chunk& state = pending_.at(what.chunk);
    outgoing_entry& out = outgoing_[entry->second - outgoing_first_];
    entry_of_.erase(entry);
    out.ready = true;
    state.at = stage::known;
    state.value = what.value;
    if (what.value == zero_->chunk(what.chunk)) {
        out.entry.what = state.hole ? digest_entry::kind::hole : digest_entry::kind::zero;
        if (!state.hole) {
            state.blocks = {};
            return;
        }
        pending_.erase(what.chunk);
        return;
    }
    state.blocks = std::move(what.blocks);
    out.entry.value = what.value;
    if (recent_differences_ * 100 > config_.push_percent * 256) out.entry.cuts = cuts_of(what.chunk, state);
}

std::vector<digest_cut> target_peer::cuts_of(std::uint64_t chunk, const pending_chunk& state) const {
    std::vector<digest_cut> cuts;
    const std::uint32_t blocks = shape_.blocks_in(chunk);
    cuts.reserve(blocks);
    for (std::uint32_t i = 0; i < blocks; ++i)
        cuts.push_back(cut(state.blocks.empty() ? zero_->block(chunk, i) : state.blocks[i]));
    return cuts;
}

void target_peer::on(punched&& what) {
    REPROTECT_ASSERT(reads_ > 0 && punches_ > 0);
    --reads_;
    if (--punches_ == 0) punching_ = {};
    counts_.deallocated += what.bytes;
}

void target_peer::advance_entries() {
    chunk_digests out;
    while (!outgoing_.empty() && outgoing_.front().ready) {
        out.entries.push_back(std::move(outgoing_.front().entry));
        outgoing_.pop_front();
        ++outgoing_first_;
    }
    if (!out.entries.empty()) emit(std::move(out));
}

// ---- narrowing and verdicts ----

void target_peer::take(narrow&& what) {
    const auto at = pending_.find(what.chunk);
    if (at == pending_.end() || at->second.at != stage::known || at->second.differs)
        return violation("asking for block digests that are not to be had");
    at->second.differs = true;
    ++differing_unsettled_;
    note_difference(true);
    emit(block_digests{what.chunk, cuts_of(what.chunk, at->second)});
}

void target_peer::note_difference(bool differs) {
    recent_differences_ = recent_differences_ - recent_differences_ / 16 + (differs ? 16u : 0u);
}

void target_peer::take(verdict&& what) {
    if (what.below_chunk < verdict_.below_chunk || what.below_chunk > next_chunk_ ||
        what.data_sent < verdict_.data_sent || what.entries_granted < verdict_.entries_granted)
        return violation("a verdict that goes back");
    // It decides on entries that were sent, so it can grant no more than those and a window.
    if (what.entries_granted > outgoing_first_ + entries_window_) return violation("a verdict on what was not sent");
    verdict_ = what;
    entries_granted_ = std::max(entries_granted_, what.entries_granted);
}

std::uint64_t target_peer::decided_bytes() const noexcept {
    const std::uint64_t below = verdict_.below_chunk;
    return below == shape_.chunk_count() ? shape_.disk_bytes : below * shape_.chunk_bytes;
}

// Data may arrive after the verdict that counts it; until then nothing below is known to be the same.
void target_peer::advance_verdict() {
    if (data_received_ < verdict_.data_sent || verdict_done_ >= verdict_.below_chunk) return;
    std::uint64_t same = 0;
    for (auto at = pending_.begin(); at != pending_.end() && at->first < verdict_.below_chunk;) {
        if (at->second.at != stage::known) {
            ++at;
            continue;
        }
        if (mode_ == session_mode::sync && at->second.value != zero_->chunk(at->first))
            map_.set(at->first, at->second.value);
        same += at->second.differs ? 0 : 1;
        at = pending_.erase(at);
    }
    // One verdict may settle hundreds: as if those that differ had come evenly among them.
    for (std::uint64_t i = 1, told = 0; i <= same; ++i) {
        for (; told < differing_unsettled_ * i / same; ++told) note_difference(true);
        note_difference(false);
    }
    differing_unsettled_ = 0;
    verdict_done_ = verdict_.below_chunk;
}

// ---- applying ----

bool target_peer::valid_runs(const chunk_data& data) const {
    const std::uint32_t blocks = shape_.blocks_in(data.chunk);
    std::uint32_t next = 0;
    bool payload = false;
    for (const block_run& run : data.runs) {
        if (run.count == 0 || run.first < next || run.first >= blocks || run.count > blocks - run.first) return false;
        next = run.first + run.count;
        payload = payload || !run.zero;
    }
    return !data.runs.empty() && payload == static_cast<bool>(data.payload) &&
           (!payload || data.payload.bytes().size() >= (data.packed ? payload_bytes(shape_, data.chunk, data.runs)
                                                                    : shape_.chunk(data.chunk).length));
}

void target_peer::take(chunk_data&& what) {
    if (mode_ != session_mode::sync) return violation("data where nothing is to be written");
    if (what.chunk >= next_chunk_ || !valid_runs(what)) return violation("data that does not fit its chunk");
    if (++data_received_ > data_granted_ || (what.payload && bytes_received_ >= bytes_granted_))
        return violation("more data than it may send");
    auto at = pending_.find(what.chunk);
    if (at == pending_.end()) {
        // Nothing is pending where we had a hole; anything else was decided.
        if (what.chunk < verdict_done_) return violation("data for a chunk that was decided");
        if (map_.find(what.chunk)) return violation("data for a chunk twice");
        // It would be written beside the punch, which of the two comes last being anybody's guess.
        if (punching_.overlaps(shape_.chunk(what.chunk))) return violation("data for a chunk that it called empty");
        at = pending_.emplace(what.chunk, pending_chunk{}).first;
        at->second.at = stage::known;
        at->second.hole = true;
        at->second.value = zero_->chunk(what.chunk);
    }
    pending_chunk& state = at->second;
    // What is skipped counts as zero: a digest says nothing of zeroes that a run would write there.
    if (overlaps(shape_, what, state.skipped)) return violation("data for what it said it would leave alone");
    if (state.at == stage::asked_again) {
        state.again = true;
        --asked_again_;
    } else if (state.at == stage::known) {
        if (!state.differs) {
            ++differing_unsettled_;
            note_difference(true);
        }
        state.differs = true;
    } else {
        return violation("data for a chunk twice");
    }
    state.at = stage::waiting;
    state.payload_bytes = payload_bytes(shape_, what.chunk, what.runs);
    bytes_received_ += state.payload_bytes;
    state.data = std::move(what);
    to_apply_.push_back(at->first);
}

// True when writing may begin now; asks for what must happen first.
bool target_peer::writing_allowed() {
    if (writing_ == writing::no) {
        writing_ = writing::beginning;
        actions_.emplace_back(begin_writing{});
    }
    return writing_ == writing::begun;
}

void target_peer::on(writing_begun&&) {
    REPROTECT_ASSERT(writing_ == writing::beginning);
    writing_ = writing::begun;
    begun_ = true;
    if (stopping_) return;
    for (action& waiting : after_begin_) actions_.push_back(std::move(waiting));
    after_begin_.clear();
}

void target_peer::advance_applies() {
    while (!to_apply_.empty() && applies_ < config_.applies_max) {
        if (!writing_allowed()) return;
        const std::uint64_t chunk = to_apply_.front();
        to_apply_.pop_front();
        pending_chunk& state = pending_.at(chunk);
        state.at = stage::applying;
        ++applies_;
        apply_chunk apply;
        apply.data = std::move(state.data);
        apply.blocks = std::move(state.blocks);
        apply.skip_zero_runs = state.hole;
        actions_.emplace_back(std::move(apply));
    }
}

void target_peer::on(chunk_applied&& what) {
    const auto at = pending_.find(what.chunk);
    REPROTECT_ASSERT(at != pending_.end() && applies_ > 0);
    --applies_;
    ++data_applied_;
    bytes_applied_ += at->second.payload_bytes;
    counts_.written += what.written_bytes;
    if (what.matched) {
        if (what.value != zero_->chunk(what.chunk)) map_.set(what.chunk, what.value);
        pending_.erase(at);
    } else if (at->second.again) {
        return fail(error(error_kind::verification, "the digest of what the source sent does not match, twice",
                          {.operation = "apply",
                           .offset = shape_.chunk(what.chunk).offset,
                           .length = shape_.chunk(what.chunk).length,
                           .hint = "check the memory of both machines, and that nothing else writes to the target"}));
    } else if (!stopping_ && !stop_reached_) {
        at->second.at = stage::asked_again;
        at->second.blocks = std::move(what.blocks);
        ++asked_again_;
        emit(resend{what.chunk});
    }
    if (!stopping_ && !stop_reached_) send_credit();
}

void target_peer::send_credit() {
    // Planned chunks free the runs that they used; what is held back is at most what the window allows.
    std::uint64_t runs = source_runs_taken_ - source_runs_.size() + config_.allocation_runs;
    // A chunk may have more runs than the window: what it lacks is always granted.
    const bool lacking = next_chunk_ < shape_.chunk_count() && source_known_to_ < shape_.chunk(next_chunk_).end();
    if (lacking) runs = std::max(runs, source_runs_taken_ + 1);
    const std::uint64_t data = data_applied_ + config_.data_messages;
    const std::uint64_t bytes = bytes_applied_ + config_.data_bytes;
    const std::uint64_t proofs = proofs_done_ + config_.proof_chunks;
    const auto worth = [](std::uint64_t now, std::uint64_t before, std::uint64_t window) {
        return now >= before + std::max<std::uint64_t>(1, window / 8);
    };
    const bool starving = lacking && source_runs_taken_ == source_runs_granted_;
    if (!starving && !worth(runs, source_runs_granted_, config_.allocation_runs) &&
        !worth(data, data_granted_, config_.data_messages) && !worth(bytes, bytes_granted_, config_.data_bytes) &&
        !worth(proofs, proofs_granted_, config_.proof_chunks))
        return;
    source_runs_granted_ = std::max(runs, source_runs_granted_);
    data_granted_ = data;
    bytes_granted_ = bytes;
    proofs_granted_ = proofs;
    emit(credit{source_runs_granted_, data, bytes, proofs});
}

// ---- the end ----

void target_peer::take(end_of_data&& what) {
    if (end_ && what.data_sent <= end_->data_sent) return violation("an end that goes back");
    if (ending_ != ending::no) return violation("an end after the end");
    end_ = what;
}

void target_peer::advance_end() {
    if (!end_ || ending_ != ending::no || next_chunk_ < shape_.chunk_count() || !outgoing_.empty()) return;
    if (data_received_ != end_->data_sent || data_applied_ != data_received_ || asked_again_ != 0 || reads_ != 0)
        return;
    if (writing_ == writing::beginning || checkpointing_) return;
    // Everything that is still pending was the same.
    verdict_.below_chunk = shape_.chunk_count();
    verdict_.data_sent = end_->data_sent;
    advance_verdict();
    their_counts_ = end_->counts;
    ending_ = ending::flushing;
    if (mode_ == session_mode::sync)
        actions_.emplace_back(flush_target{});
    else
        on(target_flushed{});
}

void target_peer::on(target_flushed&&) {
    if (stopping_) {
        finished_ = true;
        actions_.emplace_back(finished{std::move(stopping_)});
        return;
    }
    if (mode_ == session_mode::sync) {
        root_ = tree_root(map_, *digester_);
        if (*root_ != end_->root)
            return fail(error(error_kind::verification, "the roots of source and target differ after the sync",
                              {.operation = "verify", .hint = "run the sync again"}));
    }
    emit(applied{root_.value_or(digest{}), counts_});
    if (mode_ != session_mode::sync || !reread_) {
        finished_ = true;
        actions_.emplace_back(finished{});
        return;
    }
    ending_ = ending::proving;
    actions_.emplace_back(drop_cache{});
}

// ---- checkpoints ----

// The digests of the disk's beginning, up to the first chunk that is not yet decided, or not yet what was decided.
digest_map target_peer::finished_map() const {
    std::uint64_t below = verdict_done_;
    while (below < shape_.chunk_count() && map_.find(below)) ++below;  // applied, and the verdict is on its way
    if (!pending_.empty()) below = std::min(below, pending_.begin()->first);
    if (punches_ != 0) below = std::min(below, punching_from_);
    digest_map finished(
        {std::min(below * shape_.chunk_bytes, shape_.disk_bytes), shape_.chunk_bytes, shape_.block_bytes},
        map_.algorithm());
    for (const digest_run& run : map_.runs()) {
        for (std::size_t i = 0; i < run.chunks.size() && run.first_chunk + i < below; ++i)
            finished.set(run.first_chunk + i, run.chunks[i]);
    }
    return finished;
}

void target_peer::on(checkpoint_due&&) {
    if (!config_.keeps_finished || !begun_ || checkpointing_ || stopping_ || ending_ != ending::no) return;
    checkpointing_ = true;
    actions_.emplace_back(checkpoint{finished_map()});
}

void target_peer::on(checkpointed&&) {
    checkpointing_ = false;
    if (ending_ == ending::flushing) on(target_flushed{});
}

// ---- the proof by reading again ----

void target_peer::on(cache_dropped&& what) {
    cache_known_ = true;
    cache_passed_ = what.passed;
}

void target_peer::take(proof&& what) {
    const bool zero = what.digests.empty();
    if (ending_ != ending::proving || what.first_chunk != proofs_received_ || what.count == 0 ||
        what.count > shape_.chunk_count() - what.first_chunk || (!zero && what.digests.size() != what.count))
        return violation("proofs out of order");
    proofs_received_ += what.count;
    if (proofs_received_ > proofs_granted_) return violation("more proofs than it may send");
    proofs_.push_back(std::move(what));
}

void target_peer::advance_proofs() {
    if (ending_ != ending::proving || !cache_known_) return;
    while (!proofs_.empty() && reads_ < config_.reads_max) {
        proof& first = proofs_.front();
        const std::uint64_t index = proofs_next_ - first.first_chunk;
        proofs_expected_[proofs_next_] = first.digests.empty() ? digest{} : first.digests[index];
        actions_.emplace_back(read_proof{proofs_next_, first.digests.empty()});
        ++reads_;
        if (++proofs_next_ == first.first_chunk + first.count) proofs_.pop_front();
    }
    if (proofs_done_ == shape_.chunk_count()) {
        emit(proved{cache_passed_});
        finished_ = true;
        actions_.emplace_back(finished{});
    }
}

void target_peer::on(proof_read&& what) {
    const auto at = proofs_expected_.find(what.chunk);
    REPROTECT_ASSERT(at != proofs_expected_.end() && reads_ > 0);
    --reads_;
    if (at->second != what.value)
        return fail(error(error_kind::verification, "the target does not hold what was written to it",
                          {.operation = "verify",
                           .offset = shape_.chunk(what.chunk).offset,
                           .length = shape_.chunk(what.chunk).length,
                           .hint = "distrust this disk: it lost, misplaced or altered a write"}));
    proofs_expected_.erase(at);
    ++proofs_done_;
    send_credit();
}

// ---- failing, stopping ----

void target_peer::take(failed&& what) {
    // What the source sent before it reached its limit is paid for, and taken before this side stops. It may be on its way still.
    if (what.why.kind() == error_kind::limit && !stop_reached_ && ending_ == ending::no)
        stop_reached_ = std::move(what.why);
    else
        stop_softly(stop_reached_ ? *stop_reached_ : std::move(what.why));
}

void target_peer::on(stop&& what) {
    emit(failed{what.why});
    stop_softly(std::move(what.why));
}

// No new work; what is being written ends, then it is flushed, so that the next sync finds it.
void target_peer::stop_softly(error why) {
    if (stopping_) return;
    stopping_ = std::move(why);
    to_apply_.clear();
    reads_ -= after_begin_.size();  // reads and punches that will not be asked for
    after_begin_.clear();
}

void target_peer::advance_stopping() {
    if (applies_ != 0 || reads_ != 0 || writing_ == writing::beginning || ending_ == ending::flushing) return;
    if (checkpointing_) return;
    if (begun_ && ending_ == ending::no) {
        ending_ = ending::flushing;
        if (config_.keeps_finished)
            actions_.emplace_back(checkpoint{finished_map()});
        else
            actions_.emplace_back(flush_target{});
        return;
    }
    finished_ = true;
    actions_.emplace_back(finished{std::move(stopping_)});
}

void target_peer::on(action_failed&& what) {
    fail(std::move(what.why));
}

void target_peer::violation(const std::string& what) {
    fail(error(error_kind::peer, "the source peer broke the protocol: " + what));
}

void target_peer::fail(error why) {
    if (finished_) return;
    finished_ = true;
    actions_.clear();
    emit(failed{why});
    actions_.emplace_back(finished{std::move(why)});
}

void target_peer::advance() {
    if (stop_reached_ && !stopping_) {
        advance_applies();
        if (all_data_applied()) stop_softly(*stop_reached_);
    }
    if (stopping_) return advance_stopping();
    if (!greeted_ || stop_reached_) return;
    advance_plan();
    advance_entries();
    advance_verdict();
    advance_applies();
    send_credit();
    advance_end();
    advance_proofs();
}

}  // namespace reprotect
