// The checks while a run goes on. Those at its end stand in properties_at_end.cpp.
#include "simulator/properties.hpp"

#include <algorithm>
#include <utility>

namespace reprotect::test {
namespace {

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
}

bool changes_disk(const action& what) {
    const auto* read = std::get_if<read_chunk>(&what);
    return std::holds_alternative<apply_chunk>(what) || std::holds_alternative<punch>(what) ||
           (read && !read->punch.empty());
}

constexpr std::size_t number_of(side value) noexcept {
    return static_cast<std::size_t>(value);
}

}  // namespace

properties::properties(const run_plan& plan, simulated_disk& source, simulated_disk& target, state_store& records,
                       const extent_set& settled)
    : plan_(plan),
      source_(source),
      target_(target),
      records_(records),
      settled_(settled),
      shape_{source.size(), plan.options.chunk_bytes, plan.options.block_bytes},
      seen_(source.size()) {}

void properties::break_one(const std::string& what) {
    if (broken_.empty()) broken_ = what;
}

void properties::require(bool holds, const char* what, extent where) {
    if (holds || !broken_.empty()) return;
    broken_ = what;
    if (!where.empty())
        broken_ += " (offset " + std::to_string(where.offset) + ", length " + std::to_string(where.length) + ")";
}

bool properties::wanted(extent where) const {
    return !plan_.options.within || plan_.options.within->contains(where);
}

// ---- the disks ----

void properties::on_call(side of, device_call call, extent where, std::span<const std::byte> from) {
    const bool writes = call == device_call::write || call == device_call::write_zeroes;
    if (of == side::source) {
        require(!writes && call != device_call::resize && call != device_call::flush, "the source is written to",
                where);
        return;
    }
    if (writes || call == device_call::resize) {
        require(plan_.mode == session_mode::sync, "something is written that is no sync", where);
        require(!flush_failed_ || checkpointing_, "a write after a failed flush", where);
        const auto record = records_.find_target(target_.identity());
        require(record && record->status != target_status::clean, "a write before the record says dirty", where);
    }
    if (writes) check_write(where, from);
    if (call == device_call::flush) {
        ++(checkpointing_ ? checkpoints_ : flushes_);
        unflushed_ = {};
        being_flushed_ = std::exchange(written_, {});
        require(!flush_failed_, "a flush after a failed one");
        flush_failed_ = true;  // until its answer comes
    }
    if (call == device_call::drop_cache && plan_.rereads() && target_.passes_cache) unseen_ = unflushed_;
}

void properties::check_write(extent where, std::span<const std::byte> from) {
    wrote_ = true;
    written_.add(where);
    require(where.end() <= shape_.disk_bytes && where.end() <= target_.size(), "a write beyond the end", where);
    require(wanted(where), "a write outside of the extents to stay within", where);
    // A chunk's bytes are proved before they are written, and its number by the root at the end.
    if (!broken_.empty() || misplaced_) return;
    for (std::uint64_t i = 0; i < where.length; ++i) {
        const std::byte value = from.empty() ? std::byte{0} : from[i];
        if (source_.shown()[where.offset + i] == value || held_by_source(where.offset + i, value)) continue;
        return require(false, "bytes are written that the source never held there", where);
    }
}

bool properties::held_by_source(std::uint64_t offset, std::byte value) const {
    return std::any_of(former_.begin(), former_.end(), [&](const auto& then) { return then[offset] == value; });
}

void properties::on_source_read(extent where, std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), seen_.begin() + static_cast<std::ptrdiff_t>(where.offset));
}

void properties::on_source_change() {
    former_.push_back(source_.shown());
    source_changed_ = true;
}

void properties::on_target_change(extent where) {
    altered_.add(where);
    unseen_.add(where);
    unflushed_.add(where);
}

// ---- work ----

void properties::on_work(side of, const action& what) {
    in_flight& now = under_way_[number_of(of)];
    if (changes_disk(what)) ++now.writes;
    if (const auto* read = std::get_if<read_chunk>(&what)) {
        ++now.reads;
        now.buffers += read->keep_bytes ? 1 : 0;
        require(read->chunk < shape_.chunk_count(), "a chunk that is none is read");
    }
    if (std::holds_alternative<punch>(what) || std::holds_alternative<read_proof>(what)) ++now.reads;
    require(now.reads <= plan_.reads_max[number_of(of)], "more reads under way than there may be");
    if (of == side::source) {
        const bool keeps = plan_.mode == session_mode::sync;
        require(!keeps || now.buffers * shape_.chunk_bytes + payload_bytes_ <= plan_.buffers_max * shape_.chunk_bytes,
                "more buffers out than there may be");
        return;
    }
    if (const auto* apply = std::get_if<apply_chunk>(&what)) {
        ++now.applies;
        applying_[apply->data.chunk] = payload_bytes(shape_, apply->data.chunk, apply->data.runs);
        require(now.applies <= plan_.applies_max, "more chunks being written than there may be");
        check_apply(*apply);
    }
    if (std::holds_alternative<flush_target>(what)) require(now.writes == 0, "a flush while writes are under way");
    if (std::holds_alternative<checkpoint>(what)) checkpointing_ = true;
    if (std::holds_alternative<query_allocation>(what))
        require(!plan_.rereads(), "allocation is asked for and should not be trusted");
}

// Where nothing but the two peers is at work, what comes differs from what is there, block by block.
void properties::check_apply(const apply_chunk& what) {
    if (corrupted_ || source_changed_ || !altered_.empty() || resent_.contains(what.data.chunk)) return;
    const std::span<const std::byte> payload = std::as_const(what.data.payload).bytes();
    std::uint64_t packed_to = 0;
    for (const block_run& run : what.data.runs) {
        for (std::uint32_t i = run.first; i < run.first + run.count; ++i) {
            const extent block = shape_.block(what.data.chunk, i);
            if (block.end() > target_.size()) return require(false, "data beyond the target's end", block);
            const std::span<const std::byte> now(target_.shown().data() + block.offset, block.length);
            const std::uint64_t place =
                what.data.packed ? packed_to : block.offset - shape_.chunk(what.data.chunk).offset;
            if (!run.zero) packed_to += block.length;
            const bool same = run.zero ? all_zero(now) : std::ranges::equal(now, payload.subspan(place, block.length));
            require(!same, "a block is sent that was the same", block);
        }
    }
}

void properties::on_answer(side of, const event& what) {
    in_flight& now = under_way_[number_of(of)];
    if (const auto* read = std::get_if<chunk_read>(&what)) {
        --now.reads;
        if (of == side::source && plan_.mode == session_mode::sync) --now.buffers;
        if (read->deallocated_bytes != 0) --now.writes;
    } else if (std::holds_alternative<punched>(what)) {
        --now.reads;
        --now.writes;
    } else if (std::holds_alternative<proof_read>(what)) {
        --now.reads;
        ++proofs_read_;
    } else if (const auto* applied_one = std::get_if<chunk_applied>(&what)) {
        bytes_applied_ += applying_[applied_one->chunk];
        --now.applies;
        --now.writes;
        ++data_applied_;
    } else if (std::holds_alternative<target_flushed>(what) || std::holds_alternative<checkpointed>(what)) {
        flush_failed_ = checkpointing_ = false;
        for (const extent& each : std::exchange(being_flushed_, {})) flushed_.add(each);
    } else if (const auto* released = std::get_if<payload_released>(&what)) {
        payload_bytes_ -= released->bytes;
    }
}

// ---- messages ----

void properties::on_send(side from, const message& what, std::uint64_t decided_chunks) {
    if (from == side::target) {
        if (const auto* opening = std::get_if<hello>(&what))
            entries_window_ = entries_.granted = opening->digest_entries;
        if (const auto* digests = std::get_if<chunk_digests>(&what)) check_entries(*digests, decided_chunks);
        if (const auto* again = std::get_if<resend>(&what)) {
            // What is sent is what was hashed, whatever the source does meanwhile.
            require(corrupted_, "a chunk is asked for again that came as it was sent");
            require(resent_.insert(again->chunk).second, "a chunk is asked for again for the second time");
        }
        if (const auto* more = std::get_if<credit>(&what)) {
            if (corrupted_) return;
            require(more->data_messages <= data_applied_ + plan_.data_messages, "too much data is granted");
            require(more->data_bytes <= bytes_applied_ + plan_.data_bytes, "too many bytes of data are granted");
            require(more->proof_chunks <= proofs_read_ + plan_.proof_chunks, "too many proofs are granted");
            require(more->allocation_runs <= runs_delivered_ + std::max<std::uint64_t>(plan_.allocation_runs, 1),
                    "too much allocation is granted");
        }
        return;
    }
    if (const auto* more = std::get_if<allocation>(&what)) {
        runs_.sent += more->runs.size();
        require(runs_.sent <= runs_.granted, "more allocation than was granted");
    }
    if (const auto* data = std::get_if<chunk_data>(&what)) check_data(*data);
    if (const auto* so_far = std::get_if<verdict>(&what)) {
        require(so_far->entries_granted <= entries_delivered_ + entries_window_, "too many digests are granted");
        require(so_far->data_sent == data_.sent, "a verdict that counts its data wrong");
    }
    if (const auto* end = std::get_if<end_of_data>(&what))
        require(end->data_sent == data_.sent, "an end that counts its data wrong");
    if (const auto* part = std::get_if<proof>(&what)) {
        proofs_.sent += part->count;
        require(proofs_.sent <= proofs_.granted, "more proofs than were granted");
        require(corrupted_ || proofs_.sent <= proofs_read_ + plan_.proof_chunks,
                "more proofs under way than there may be");
    }
}

void properties::check_data(const chunk_data& what) {
    ++data_.sent;
    payload_bytes_ += what.payload.bytes().size();
    require(plan_.mode == session_mode::sync, "data is sent that nobody is to write");
    require(data_.sent <= data_.granted, "more data than was granted");
    require(corrupted_ || data_.sent <= data_applied_ + plan_.data_messages, "more data under way than there may be");
    // One more chunk may go while there is any room.
    require(!what.payload || bytes_.sent < bytes_.granted, "more bytes of data than were granted");
    require(corrupted_ || !what.payload || bytes_.sent < bytes_applied_ + plan_.data_bytes,
            "more bytes of data under way than there may be");
    bytes_.sent += payload_bytes(shape_, what.chunk, what.runs);
    if (corrupted_ || resent_.contains(what.chunk)) return;
    for (const block_run& run : what.runs) {
        for (std::uint32_t i = run.first; i < run.first + run.count; ++i) {
            const extent block = shape_.block(what.chunk, i);
            const bool touched = source_changed_ || !altered_.empty();
            require(touched || !settled_.contains(block), "what was written and flushed before is sent again", block);
            require(wanted(block), "data is sent from outside of the extents to stay within", block);
        }
    }
}

// Entries that the source has not decided yet are what the window is for.
void properties::check_entries(const chunk_digests& what, std::uint64_t decided_chunks) {
    for (const digest_entry& each : what.entries) {
        ++entries_.sent;
        entry_ends_.push_back(each.first_chunk + each.count);
    }
    require(entries_.sent <= entries_.granted, "more chunk digests than were granted");
    while (!entry_ends_.empty() && entry_ends_.front() <= decided_chunks) entry_ends_.pop_front();
    require(corrupted_ || entry_ends_.size() <= entries_window_, "more chunk digests under way than there may be");
}

void properties::on_delivery(side to, const message& what) {
    const auto raise = [](std::uint64_t& granted, std::uint64_t now) { granted = std::max(granted, now); };
    if (to == side::target) {
        if (const auto* end = std::get_if<end_of_data>(&what)) root_heard_[1] = end->root;
        if (const auto* more = std::get_if<verdict>(&what)) raise(entries_.granted, more->entries_granted);
        if (const auto* more = std::get_if<allocation>(&what)) runs_delivered_ += more->runs.size();
        return;
    }
    if (const auto* digests = std::get_if<chunk_digests>(&what)) entries_delivered_ += digests->entries.size();
    if (const auto* end = std::get_if<applied>(&what)) root_heard_[0] = end->root;
    if (const auto* opening = std::get_if<hello>(&what)) {
        runs_.granted = opening->allocation_runs;
        data_.granted = opening->data_messages;
        bytes_.granted = opening->data_bytes;
        proofs_.granted = opening->proof_chunks;
    }
    if (const auto* more = std::get_if<credit>(&what)) {
        raise(runs_.granted, more->allocation_runs);
        raise(data_.granted, more->data_messages);
        raise(bytes_.granted, more->data_bytes);
        raise(proofs_.granted, more->proof_chunks);
    }
}

}  // namespace reprotect::test
