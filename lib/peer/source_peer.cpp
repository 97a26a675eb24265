// Every event changes some state, then `advance` does all that has become possible, in a fixed order. No step waits: what
// cannot go on now (no credit, no buffer) is looked at again after the next event, which is the one that brings it.
#include "peer/source_peer.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "plan/digest_tree.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t allocation_grain = 64 * 1024;
constexpr std::size_t runs_per_message = 1024;
constexpr std::uint64_t proofs_per_message = 1024;
constexpr std::uint64_t ahead_max = 64 * 1024;  // a guess: 16 times what a target takes by default
// Of what a limit does not hand out piece by piece, as it does payload: estimated for each, and so much between two looks at what is
// left, whatever a target grants.
constexpr std::uint64_t run_bytes = 12, proof_bytes = 20, data_head_bytes = 48, block_run_bytes = 4;
constexpr std::uint64_t described_max = 32 * 1024;
constexpr std::size_t resends_max = 4096;  // a guess: each stands for a 40-bit collision or a stale read

void append_block(std::vector<block_run>& runs, std::uint32_t block, bool zero) {
    if (!runs.empty() && runs.back().zero == zero && runs.back().first + runs.back().count == block)
        ++runs.back().count;
    else
        runs.push_back({block, 1, zero});
}

std::uint64_t builder_grain(const geometry& shape) {
    return std::min<std::uint64_t>(allocation_grain, shape.block_bytes * 16ull);
}

bool covers(const std::vector<block_run>& runs, std::uint32_t block) {
    return std::any_of(runs.begin(), runs.end(),
                       [block](const block_run& run) { return block >= run.first && block - run.first < run.count; });
}

}  // namespace

source_peer::source_peer(source_config config)
    : config_(std::move(config)),
      builder_(config_.shape.disk_bytes, builder_grain(config_.shape), config_.within),
      map_(config_.shape, config_.algorithm),
      proofs_(config_.shape, digest_algorithm::sha256),
      differential_(config_.shape.disk_bytes) {
    REPROTECT_ASSERT(config_.reads_max >= 1 && config_.buffers_max >= 1 && config_.digest_entries >= 1);
    entries_granted_ = config_.digest_entries;
    hello opening;
    opening.mode = config_.mode;
    opening.shape = config_.shape;
    opening.algorithm = config_.algorithm;
    opening.reread = config_.reread;
    opening.nonce = config_.nonce;
    opening.disk = config_.disk;
    opening.permits = config_.permits;
    opening.whole = !config_.within;
    opening.egress_max = config_.egress_max;
    opening.generation = config_.generation;
    opening.digest_entries = config_.digest_entries;
    emit(std::move(opening));
}

std::optional<action> source_peer::next_action() {
    if (actions_.empty()) return std::nullopt;
    std::optional<action> first(std::move(actions_.front()));
    actions_.pop_front();
    return first;
}

void source_peer::handle(event&& what) {
    if (finished_) return;  // late answers to work that was under way
    paused_ = false;
    described_ = 0;
    std::visit([this](auto&& inner) { on(std::forward<decltype(inner)>(inner)); }, std::move(what));
    if (!finished_) advance();
}

void source_peer::on(message&& what) {
    if (!greeted_ && !std::holds_alternative<hello>(what) && !std::holds_alternative<failed>(what))
        return violation("a message before its hello");
    std::visit([this](auto&& inner) { take(std::forward<decltype(inner)>(inner)); }, std::move(what));
}

// ---- opening ----

void source_peer::take(hello&& what) {
    if (greeted_) return violation("a second hello");
    if (what.shape.chunk_bytes != config_.shape.chunk_bytes || what.shape.block_bytes != config_.shape.block_bytes ||
        what.algorithm != config_.algorithm || what.mode != config_.mode || what.reread != config_.reread)
        return violation("a hello that does not answer ours");
    // The target may lower the window, never raise it.
    if (what.digest_entries == 0 || what.digest_entries > config_.digest_entries)
        return violation("a window that was not offered");
    config_.digest_entries = what.digest_entries;
    entries_granted_ = what.digest_entries;
    greeted_ = true;
    digester_ =
        std::make_shared<const digester>(config_.algorithm, derive_secret(config_.nonce, what.nonce, config_.binding));
    zero_.emplace(*digester_, config_.shape);
    if (config_.generation.empty() && config_.takes_generation) config_.generation = what.generation;
    if (what.finished_bytes != 0) {
        const bool vouched = !what.generation.empty() && config_.generation == what.generation;
        if (!vouched || config_.within || config_.reread || config_.mode != session_mode::sync ||
            what.finished_bytes > config_.shape.disk_bytes ||
            (what.finished_bytes % config_.shape.chunk_bytes != 0 && what.finished_bytes != config_.shape.disk_bytes))
            return violation("a claim of finished chunks that cannot be");
        finished_bytes_ = what.finished_bytes;
        config_.within.emplace();
        config_.within->add({finished_bytes_, config_.shape.disk_bytes - finished_bytes_});
        builder_ = run_builder(config_.shape.disk_bytes, builder_grain(config_.shape), config_.within);
    }
    take(credit{what.allocation_runs, what.data_messages, what.data_bytes, what.proof_chunks});
}

// ---- allocation: asked of the device a piece at a time, sent as the target takes it ----

void source_peer::advance_allocation() {
    const std::uint64_t size = config_.shape.disk_bytes;
    while (!unsent_runs_.empty() && runs_sent_ < runs_granted_ && may_describe()) {
        allocation out;
        while (!unsent_runs_.empty() && runs_sent_ < runs_granted_ && out.runs.size() < runs_per_message) {
            out.runs.push_back(unsent_runs_.front());
            unsent_runs_.pop_front();
            ++runs_sent_;
            described_ += run_bytes;
        }
        emit(std::move(out));
    }
    // What is known ahead is bounded by what the target takes plus one answer.
    if (!allocation_asked_ && asked_to_ < size && unsent_runs_.empty()) {
        allocation_asked_ = true;
        const extent rest{asked_to_, size - asked_to_};
        if (config_.reread)
            on(allocation_known{{{rest, content::data}}});
        else
            actions_.emplace_back(query_allocation{rest});
    }
}

void source_peer::on(allocation_known&& what) {
    allocation_asked_ = false;
    // Not from where the runs end, which are rounded: what a device says is counted exactly, and every answer goes on.
    REPROTECT_ASSERT(!what.runs.empty() && what.runs.back().range.end() > asked_to_);
    asked_to_ = what.runs.back().range.end();
    std::deque<source_run> fresh;
    for (const allocation_run& run : what.runs)
        if (run.kind == content::data) counts_.allocated += run.range.length;
    builder_.add(what.runs, fresh);
    if (builder_.built_to() == config_.shape.disk_bytes) {
        // Rounding may reach the end first: what is left is read as data.
        counts_.allocated += config_.shape.disk_bytes - asked_to_;
        asked_to_ = config_.shape.disk_bytes;
    }
    for (const source_run& run : fresh) {
        append_run(own_runs_, run);
        append_run(unsent_runs_, run);
    }
    if (config_.reread) advance_allocation();
}

// The data of a chunk; runs before it are forgotten. Skipped ranges count as zero.
extent_set source_peer::own_data(std::uint64_t chunk) {
    const extent whole = config_.shape.chunk(chunk);
    while (!own_runs_.empty() && own_runs_.front().range.end() <= whole.offset) own_runs_.pop_front();
    extent_set data;
    for (const source_run& run : own_runs_) {
        if (run.range.offset >= whole.end()) break;
        if (run.kind == source_content::data) data.add(intersect(run.range, whole));
    }
    return data;
}

// How many of the next chunks hold no data here.
std::uint64_t source_peer::zero_chunks_ahead(std::uint64_t chunk, std::uint64_t count) {
    const extent whole = config_.shape.chunk(chunk);
    while (!own_runs_.empty() && own_runs_.front().range.end() <= whole.offset) own_runs_.pop_front();
    std::uint64_t end = whole.offset;
    for (const source_run& run : own_runs_) {
        if (run.kind == source_content::data) break;
        end = run.range.end();
    }
    if (end == config_.shape.disk_bytes) return count;
    return std::min(count, (end - whole.offset) / config_.shape.chunk_bytes);
}

// ---- the target's entries ----

void source_peer::take(chunk_digests&& what) {
    for (digest_entry& entry : what.entries) {
        const std::uint64_t left = config_.shape.chunk_count() - next_entry_chunk_;
        if (entry.first_chunk != next_entry_chunk_ || entry.count == 0 || entry.count > left ||
            (entry.what != digest_entry::kind::hole && entry.count != 1))
            return violation("chunk digests out of order");
        if (entries_received_ >= entries_granted_) return violation("more chunk digests than it may send");
        const std::size_t blocks =
            entry.what == digest_entry::kind::digest ? config_.shape.blocks_in(entry.first_chunk) : 0;
        if (!entry.cuts.empty() && entry.cuts.size() != blocks) return violation("a wrong number of block digests");
        const std::uint64_t end = config_.shape.chunk(entry.first_chunk + entry.count - 1).end();
        if (end > builder_.built_to()) return violation("digests of what it was not told of");
        next_entry_chunk_ += entry.count;
        entries_.push_back({std::move(entry), entries_received_++});
    }
}

bool source_peer::may_describe() noexcept {
    paused_ = paused_ || (bounded_ && described_ >= described_max);
    return !paused_;
}

bool source_peer::may_read() const noexcept {
    // While a chunk is read, it takes a whole buffer.
    const std::uint64_t others_max = (config_.buffers_max - 1) * config_.shape.chunk_bytes;
    return reads_ < config_.reads_max && (config_.mode != session_mode::sync || buffer_bytes_ <= others_max);
}

void source_peer::advance_entries() {
    while (!entries_.empty()) {
        digest_entry& entry = entries_.front().entry;
        if (entry.what == digest_entry::kind::hole) {
            const std::uint64_t zero = zero_chunks_ahead(entry.first_chunk, entry.count);
            entry.first_chunk += zero;
            entry.count -= zero;
            next_chunk_ += zero;
            if (entry.count != 0) {
                if (!may_read()) return;
                begin_chunk(entry, entry.first_chunk);
                ++entry.first_chunk;
                --entry.count;
            }
            if (entry.count == 0) entries_.pop_front();
        } else {
            if (!may_read()) return;
            begin_chunk(entry, entry.first_chunk);
            entries_.pop_front();
        }
    }
}

void source_peer::begin_chunk(const digest_entry& entry, std::uint64_t chunk) {
    pending_chunk& state = pending_[chunk];
    state.entry = entries_.front().number;
    state.target = entry.what;
    state.target_value = entry.what == digest_entry::kind::digest ? entry.value : zero_->chunk(chunk);
    state.cuts = entry.cuts;
    state.cuts_known = !entry.cuts.empty();
    state.data = own_data(chunk);
    next_chunk_ = chunk + 1;
    if (!state.data.empty()) return emit_read(chunk, state, state.data, false);
    // Nothing to read: all zero (or skipped) here.
    state.value = zero_->chunk(chunk);
    for (std::uint32_t i = 0; i < config_.shape.blocks_in(chunk); ++i) state.blocks.push_back(zero_->block(chunk, i));
    compare_chunk(pending_.find(chunk));
}

void source_peer::emit_read(std::uint64_t chunk, pending_chunk& state, extent_set data, bool again) {
    read_chunk read;
    read.chunk = chunk;
    read.data = std::move(data);
    read.keep_bytes = config_.mode == session_mode::sync;
    read.want_proof = config_.reread;
    read.again = again;
    if (read.keep_bytes && !again) {
        read.unless = state.target_value;
        if (!config_.reread) read.cuts = state.cuts;
    }
    state.at = again ? stage::rereading : stage::reading;
    if (read.keep_bytes) count_buffer(state, config_.shape.chunk_bytes);
    ++reads_;
    actions_.emplace_back(std::move(read));
}

void source_peer::on(chunk_read&& what) {
    const auto at = pending_.find(what.chunk);
    REPROTECT_ASSERT(at != pending_.end() && reads_ > 0);
    pending_chunk& state = at->second;
    --reads_;
    state.bytes = std::move(what.bytes);
    state.packed = what.packed;
    count_buffer(state, state.bytes.bytes().size());
    if (state.at == stage::reading) {
        counts_.read += what.read_bytes;
        state.blocks = std::move(what.blocks);
        state.value = what.value;
        remember(what.chunk, state.value, what.proof, config_.reread);
        return compare_chunk(at);
    }
    REPROTECT_ASSERT(state.at == stage::rereading);
    counts_.reread += what.read_bytes;
    if (!what.again && !state.resent) add_changed_since(state, what.blocks);
    if (what.again) {
        // Only the changed blocks were read: what is sent is what was hashed now.
        for (const block_run& run : state.changed)
            for (std::uint32_t i = run.first; i < run.first + run.count; ++i)
                if (!run.zero) state.blocks[i] = what.blocks[i];
        state.value = digester_->chunk(config_.shape.chunk(what.chunk).length, state.blocks);
        remember(what.chunk, state.value, {}, false);
    } else {
        state.blocks = std::move(what.blocks);
        state.value = what.value;
        remember(what.chunk, state.value, what.proof, config_.reread);
    }
    state.at = stage::ready;
    ready_.push_back(what.chunk);
}

// Of a chunk that was read again as a whole: what changed between the two readings is in the new digest, and must go, too.
void source_peer::add_changed_since(pending_chunk& state, const std::vector<digest>& now) {
    const std::vector<block_run> before = std::exchange(state.changed, {});
    for (std::uint32_t i = 0; i < now.size(); ++i)
        if (covers(before, i) || state.blocks[i] != now[i]) append_block(state.changed, i, false);
}

void source_peer::remember(std::uint64_t chunk, const digest& value, const digest& proof, bool has_proof) {
    // Chunks of zeroes stay out of the maps, unless a first reading found data there.
    if (value != zero_->chunk(chunk) || map_.find(chunk)) map_.set(chunk, value);
    if (has_proof) proofs_.set(chunk, proof);
}

// ---- comparing ----

void source_peer::compare_chunk(pending_map::iterator at) {
    pending_chunk& state = at->second;
    if (state.value == state.target_value) return decide(at);
    if (state.target != digest_entry::kind::digest) {
        // The target is all zero: its block digests are known.
        for (std::uint32_t i = 0; i < state.blocks.size(); ++i) state.cuts.push_back(cut(zero_->block(at->first, i)));
        state.cuts_known = true;
    }
    if (state.cuts_known) return find_changes(at);
    emit(narrow{at->first});
    // The bytes are kept while there is room; at least one chunk may always be held, so that small windows still go on.
    const std::uint64_t held_max = std::max<std::uint64_t>(1, config_.buffers_max / 2);
    if (state.bytes && held_ >= held_max) {
        drop_buffer(state);
        state.at = stage::evicted;
    } else {
        held_ += state.bytes ? 1 : 0;
        state.at = stage::held;
    }
}

void source_peer::take(block_digests&& what) {
    const auto at = pending_.find(what.chunk);
    if (at == pending_.end() || (at->second.at != stage::held && at->second.at != stage::evicted) ||
        at->second.cuts_known)
        return violation("block digests that were not asked for");
    if (what.cuts.size() != at->second.blocks.size()) return violation("a wrong number of block digests");
    at->second.cuts = std::move(what.cuts);
    at->second.cuts_known = true;
    if (at->second.at == stage::held && at->second.bytes) --held_;
    find_changes(at);
}

void source_peer::find_changes(pending_map::iterator at) {
    const std::uint64_t chunk = at->first;
    pending_chunk& state = at->second;
    const auto is_zero = [&](std::uint32_t i) { return state.blocks[i] == zero_->block(chunk, i); };
    const std::uint32_t blocks = static_cast<std::uint32_t>(state.blocks.size());
    for (std::uint32_t i = 0; i < blocks; ++i)
        if (state.cuts[i] != cut(state.blocks[i])) append_block(state.changed, i, is_zero(i));
    // The chunks differ and no block seems to: a collision of 40 bits. Then everything goes.
    if (state.changed.empty())
        for (std::uint32_t i = 0; i < blocks; ++i)
            if (is_wanted(chunk, i)) append_block(state.changed, i, is_zero(i));
    if (state.changed.empty()) return decide(at);  // a target that lies outside of what is wanted: the roots will tell
    record_changes(chunk, state);
    state.cuts = {};
    if (config_.mode != session_mode::sync) return decide(at);

    const bool payload = std::any_of(state.changed.begin(), state.changed.end(), [](auto& run) { return !run.zero; });
    if (!payload) drop_buffer(state);
    if (payload && !state.bytes) {
        state.at = stage::evicted;
        to_reread_.push_back(chunk);
        return;
    }
    state.at = stage::ready;
    ready_.push_back(chunk);
}

void source_peer::record_changes(std::uint64_t chunk, const pending_chunk& state) {
    for (const block_run& run : state.changed) {
        const std::uint64_t begin = config_.shape.block(chunk, run.first).offset;
        const extent range{begin, config_.shape.block(chunk, run.first + run.count - 1).end() - begin};
        if (run.zero)
            counts_.zeroed += range.length;
        else if (state.target == digest_entry::kind::hole)
            counts_.changed_uncompared += range.length;
        else
            counts_.changed_compared += range.length;
        if (!config_.keep_differential) continue;
        change_reason reason = change_reason::changed;
        if (state.target != digest_entry::kind::digest) reason = change_reason::target_hole;
        if (run.zero && !state.data.overlaps(range)) reason = change_reason::source_hole;
        differential_.add({range, run.zero ? change_kind::zero : change_kind::data, reason});
    }
}

void source_peer::advance_rereads() {
    while (!to_reread_.empty() && may_read()) {
        const std::uint64_t chunk = to_reread_.front();
        to_reread_.pop_front();
        pending_chunk& state = pending_.at(chunk);
        // A proof covers the whole chunk at one moment, and so does a chunk that is sent again.
        if (config_.reread || state.resent) {
            emit_read(chunk, state, state.data, true);
            std::get<read_chunk>(actions_.back()).again = false;
            continue;
        }
        extent_set data;
        for (const block_run& run : state.changed) {
            if (run.zero) continue;
            const std::uint64_t begin = config_.shape.block(chunk, run.first).offset;
            data.add({begin, config_.shape.block(chunk, run.first + run.count - 1).end() - begin});
        }
        emit_read(chunk, state, std::move(data), true);
    }
}

// ---- sending ----

void source_peer::advance_ready() {
    held_back_ = false;
    while (!ready_.empty() && data_sent_ < data_granted_) {
        const std::uint64_t chunk = ready_.front();
        const auto at = pending_.find(chunk);
        pending_chunk& state = at->second;
        if (state.bytes && bytes_sent_ >= bytes_granted_) return;
        if (state.resent || config_.reread) regroup(chunk, state);
        const std::uint64_t payload = payload_bytes(config_.shape, chunk, state.changed);
        const std::uint64_t describing = data_head_bytes + state.changed.size() * block_run_bytes;
        held_back_ = bounded_ && bytes_sent_ + payload + describing > payload_allowed_;
        if (held_back_ || !may_describe()) return;
        described_ += describing;
        ready_.pop_front();
        chunk_data out;
        out.chunk = chunk;
        out.runs = std::move(state.changed);
        out.packed = state.packed;
        out.payload = std::move(state.bytes);  // counted until `payload_released`
        out.value = state.value;
        ++data_sent_;
        bytes_sent_ += payload;
        emit(std::move(out));
        pending_.erase(at);
    }
}

bool source_peer::is_wanted(std::uint64_t chunk, std::uint32_t block) const {
    return !config_.within || config_.within->overlaps(config_.shape.block(chunk, block));
}

// A chunk that was read again as a whole: data and zeroes may have changed places since its runs were formed.
void source_peer::regroup(std::uint64_t chunk, pending_chunk& state) {
    const std::vector<block_run> before = std::exchange(state.changed, {});
    for (std::uint32_t i = 0; i < state.blocks.size(); ++i) {
        const bool wanted = state.resent ? is_wanted(chunk, i) : covers(before, i);
        if (wanted) append_block(state.changed, i, state.blocks[i] == zero_->block(chunk, i));
    }
    // It may be all zero now.
    if (std::all_of(state.changed.begin(), state.changed.end(), [](const block_run& run) { return run.zero; }))
        drop_buffer(state);
}

void source_peer::on(payload_released&& what) {
    REPROTECT_ASSERT(what.bytes <= buffer_bytes_);
    buffer_bytes_ -= what.bytes;
}

void source_peer::on(payload_allowed&& what) {
    payload_allowed_ = what.bytes;
    bounded_ = true;
}

void source_peer::count_buffer(pending_chunk& state, std::uint64_t bytes) noexcept {
    buffer_bytes_ = buffer_bytes_ - state.buffer_bytes + bytes;
    state.buffer_bytes = bytes;
}

void source_peer::drop_buffer(pending_chunk& state) {
    state.bytes = {};
    count_buffer(state, 0);
}

void source_peer::decide(pending_map::iterator at) {
    drop_buffer(at->second);
    pending_.erase(at);
}

void source_peer::take(resend&& what) {
    if (config_.mode != session_mode::sync || what.chunk >= config_.shape.chunk_count() || what.chunk >= next_chunk_ ||
        pending_.contains(what.chunk))
        return violation("asking again for a chunk that was not sent");
    const extent whole = config_.shape.chunk(what.chunk);
    extent_set wanted = config_.within ? config_.within->within(whole) : extent_set{whole};
    if (wanted.empty()) return violation("asking again for a chunk that was not sent");
    if (resent_.size() >= resends_max || !resent_.insert(what.chunk).second)
        return violation("asking again and again for chunks that were sent");
    pending_chunk& state = pending_[what.chunk];
    state.at = stage::evicted;
    state.resent = true;
    state.entry = entries_received_;  // long decided: it holds no credit back
    state.data = std::move(wanted);
    end_current_ = false;
    to_reread_.push_back(what.chunk);
}

void source_peer::take(credit&& what) {
    // Only so far ahead of what was sent: what the target grants at its own cost must not become ours.
    const auto take_up_to = [](std::uint64_t& granted, std::uint64_t more, std::uint64_t sent,
                               std::uint64_t ahead = ahead_max) {
        granted = std::max(granted, std::min(more, sent + ahead));
    };
    take_up_to(runs_granted_, what.allocation_runs, runs_sent_);
    take_up_to(data_granted_, what.data_messages, data_sent_);
    take_up_to(bytes_granted_, what.data_bytes, bytes_sent_, data_bytes_max);
    take_up_to(proof_granted_, what.proof_chunks, proof_next_);
}

// ---- verdicts and the end ----

std::uint64_t source_peer::watermark() const noexcept {
    for (const auto& [chunk, state] : pending_)
        if (!state.resent) return std::min(next_chunk_, chunk);
    return next_chunk_;
}

std::uint64_t source_peer::decided_bytes() const noexcept {
    const std::uint64_t below = watermark();
    return below == config_.shape.chunk_count() ? config_.shape.disk_bytes : below * config_.shape.chunk_bytes;
}

void source_peer::advance_verdict() {
    std::uint64_t decided_entries = entries_.empty() ? entries_received_ : entries_.front().number;
    for (const auto& [chunk, state] : pending_) {
        decided_entries = std::min(decided_entries, state.entry);
        if (!state.resent) break;  // entries come in the chunks' order; resent ones are out of it
    }
    const std::uint64_t granted = decided_entries + config_.digest_entries;
    // Where what is finished is kept, little should be lost.
    const std::uint64_t quantum =
        std::clamp<std::uint64_t>(config_.digest_entries / 16, 1, config_.generation.empty() ? ahead_max : 16);
    if (granted < entries_granted_ + quantum) return;
    entries_granted_ = granted;
    emit(verdict{watermark(), granted, data_sent_});
}

void source_peer::advance_end() {
    if (!greeted_ || end_current_ || builder_.built_to() < config_.shape.disk_bytes || !unsent_runs_.empty()) return;
    if (next_chunk_ < config_.shape.chunk_count() || !pending_.empty()) return;
    end_current_ = true;
    root_ = tree_root(map_, *digester_);
    emit(end_of_data{data_sent_, *root_, counts_});
}

void source_peer::take(applied&& what) {
    if (!end_current_) return violation("the end before ours");
    if (config_.mode == session_mode::sync && what.root != *root_) return violation("a root that is not ours");
    their_counts_ = what.counts;
    if (!config_.reread || config_.mode != session_mode::sync) return finish();
    proving_ = true;
}

void source_peer::advance_proofs() {
    const std::uint64_t chunks = config_.shape.chunk_count();
    while (proving_ && proof_next_ < chunks && proof_next_ < proof_granted_ && may_describe()) {
        proof out;
        out.first_chunk = proof_next_;
        const std::uint64_t end = std::min({chunks, proof_granted_, proof_next_ + proofs_per_message});
        const bool stored = proofs_.find(proof_next_).has_value();
        for (; proof_next_ < end; ++proof_next_) {
            const auto value = proofs_.find(proof_next_);
            if (value.has_value() != stored) break;
            if (stored) out.digests.push_back(*value);
        }
        out.count = proof_next_ - out.first_chunk;
        described_ += proof_bytes * (1 + out.digests.size());
        emit(std::move(out));
    }
}

std::uint64_t source_peer::proofs_left() const noexcept {
    return config_.reread && config_.mode == session_mode::sync ? config_.shape.chunk_count() - proof_next_ : 0;
}

void source_peer::take(proved&& what) {
    if (!proving_ || proof_next_ < config_.shape.chunk_count()) return violation("a proof that was not asked for");
    cache_passed_ = what.cache_passed;
    finish();
}

// ---- failing, stopping ----

void source_peer::take(failed&& what) {
    fail(std::move(what.why), false);
}

void source_peer::on(action_failed&& what) {
    fail(std::move(what.why), true);
}

void source_peer::on(stop&& what) {
    if (finished_ || !greeted_ || what.why.kind() != error_kind::limit) return fail(std::move(what.why), true);
    // What was sent is paid for: the target shall take it before it ends.
    emit(verdict{watermark(), entries_granted_, data_sent_});
    finished_ = true;
    emit(failed{what.why});
    pending_.clear();
    actions_.emplace_back(finished{std::move(what.why)});
}

void source_peer::violation(const std::string& what) {
    fail(error(error_kind::peer, "the target peer broke the protocol: " + what), true);
}

void source_peer::fail(error why, bool tell) {
    if (finished_) return;
    finished_ = true;
    actions_.clear();
    if (tell) emit(failed{why});
    pending_.clear();
    actions_.emplace_back(finished{std::move(why)});
}

void source_peer::finish() {
    finished_ = true;
    actions_.emplace_back(finished{});
}

void source_peer::advance() {
    if (!greeted_) return;
    advance_allocation();
    advance_rereads();
    advance_entries();
    advance_ready();
    advance_verdict();
    advance_end();
    advance_proofs();
}

}  // namespace reprotect
