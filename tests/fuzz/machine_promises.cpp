// What is looked at after every event; see machine_rig.hpp.
#include <algorithm>

#include "fuzz/machine_rig.hpp"
#include "plan/digest_tree.hpp"

namespace reprotect::fuzz {
namespace {

// An event brings at most what its windows allow; those here are a dozen, and
// disks have some hundred chunks.
constexpr unsigned actions_max = 1024;

bool is_writing(const action& what) {
    if (const auto* read = std::get_if<read_chunk>(&what)) return !read->punch.empty();
    return std::holds_alternative<punch>(what) || std::holds_alternative<apply_chunk>(what);
}

bool has_payload(const std::vector<block_run>& runs) {
    return std::any_of(runs.begin(), runs.end(), [](const block_run& run) { return !run.zero; });
}

}  // namespace

bool is_sound(const geometry& shape, const chunk_data& data) {
    if (data.chunk >= shape.chunk_count()) return false;
    const std::uint32_t blocks = shape.blocks_in(data.chunk);
    std::uint32_t next = 0;
    for (const block_run& run : data.runs) {
        if (run.count == 0 || run.first < next || run.first >= blocks || run.count > blocks - run.first) return false;
        next = run.first + run.count;
    }
    return !data.runs.empty();
}

template <typename... Kinds>
std::size_t machine_rig::count_works(side of) const {
    const auto is_one = [](const action& each) { return (std::holds_alternative<Kinds>(each) || ...); };
    return static_cast<std::size_t>(std::count_if(sides_[of].works.begin(), sides_[of].works.end(), is_one));
}

bool machine_rig::writes_pending() const {
    return std::any_of(sides_[target].works.begin(), sides_[target].works.end(), is_writing);
}

void machine_rig::collect(side of) {
    peer_state& it = sides_[of];
    for (unsigned count = 0; auto next = next_action(of); ++count) {
        promise(count < actions_max, "an event brings a bounded number of actions");
        promise(!it.has_ended, "who has ended asks for nothing more");
        if (auto* end = std::get_if<finished>(&*next)) {
            it.has_ended = true;
            it.why = std::move(end->why);
            if (!it.why) check_success(of);
            continue;
        }
        check_action(of, *next);
        if (auto* out = std::get_if<send>(&*next)) {
            check_sent(of, out->what);
            const auto in_class = static_cast<std::size_t>(class_of(out->what));
            sides_[1 - of].coming[in_class].push_back(std::move(out->what));
        } else {
            it.works.push_back(std::move(*next));
        }
    }
    promise(it.has_ended == (of == source ? source_->is_finished() : target_->is_finished()), "who has ended says so");
}

void machine_rig::check_action(side of, const action& what) {
    if (std::holds_alternative<send>(what)) return;
    if (const auto* query = std::get_if<query_allocation>(&what)) {
        const std::uint64_t size = (of == source ? source_memory_ : target_memory_).size();
        promise(count_works<query_allocation>(of) == 0, "one question about allocation at a time");
        promise(!query->within.empty() && extent{0, size}.contains(query->within),
                "allocation is asked of the disk alone");
        return;
    }
    if (const auto* read = std::get_if<read_chunk>(&what)) check_read(of, *read);
    if (of == source) return promise(std::holds_alternative<read_chunk>(what), "a source does nothing but read");

    if (is_writing(what)) {
        promise(target_mode_ == session_mode::sync, "only a sync writes");
        promise(target_disk_.may_write, "nothing is written before writing was begun");
        promise(flushes_asked_ == 0, "nothing is written beside or after the flush");
    }
    if (std::holds_alternative<begin_writing>(what)) {
        promise(target_mode_ == session_mode::sync && ++begins_asked_ == 1, "writing is begun once, in a sync");
    } else if (const auto* holes = std::get_if<punch>(&what)) {
        promise(count_works<read_chunk, punch, read_proof>(target) < target_config_.reads_max,
                "reads keep to their window");
        for (const extent& range : holes->ranges)
            promise(extent{0, target_memory_.size()}.contains(range), "holes are punched within the disk");
    } else if (const auto* apply = std::get_if<apply_chunk>(&what)) {
        check_apply(*apply);
    } else if (std::holds_alternative<flush_target>(what)) {
        promise(target_mode_ == session_mode::sync && ++flushes_asked_ == 1, "a flush is asked for once, in a sync");
        promise(!writes_pending(), "a flush covers what was written before it");
    } else if (std::holds_alternative<drop_cache>(what)) {
        promise(flushes_done_ == 1, "the cache is dropped after the flush");
    } else if (const auto* again = std::get_if<read_proof>(&what)) {
        promise(flushes_done_ == 1 && again->chunk < target_->shape().chunk_count(), "a proof is read after the flush");
        promise(count_works<read_chunk, punch, read_proof>(target) < target_config_.reads_max,
                "reads keep to their window");
    }
}

void machine_rig::check_read(side of, const read_chunk& what) {
    const std::uint64_t window = of == source ? source_config_.reads_max : target_config_.reads_max;
    const geometry& shape = shape_of(of);
    promise(count_works<read_chunk, punch, read_proof>(of) < window, "reads keep to their window");
    promise(what.chunk < shape.chunk_count(), "a chunk that is read is one of the disk's");
    for (const action& each : sides_[of].works) {
        const auto* other = std::get_if<read_chunk>(&each);
        promise(!other || other->chunk != what.chunk, "a chunk is read once at a time");
    }
    const extent whole = shape.chunk(what.chunk);
    for (const extent_set* ranges : {&what.data, &what.punch})
        for (const extent& range : *ranges) promise(whole.contains(range), "what is read of a chunk lies within it");
    promise(of == target || what.punch.empty(), "a source punches nothing");
    promise(of == source || !what.keep_bytes, "a target keeps no bytes");
}

void machine_rig::check_apply(const apply_chunk& what) {
    const geometry& shape = target_->shape();
    promise(count_works<apply_chunk>(target) < target_config_.applies_max, "writes keep to their window");
    promise(what.data.chunk < shape.chunk_count(), "a chunk that is written is one of the disk's");
    for (const action& each : sides_[target].works) {
        const auto* other = std::get_if<apply_chunk>(&each);
        promise(!other || other->data.chunk != what.data.chunk, "a chunk is written once at a time");
    }
    const std::uint32_t blocks = shape.blocks_in(what.data.chunk);
    promise(is_sound(shape, what.data), "what is written of a chunk lies within it");
    promise(what.blocks.empty() || what.blocks.size() == blocks, "a chunk has as many digests as blocks");
    const std::uint64_t bytes =
        what.data.packed ? payload_bytes(shape, what.data.chunk, what.data.runs) : shape.chunk(what.data.chunk).length;
    promise(!has_payload(what.data.runs) || what.data.payload.bytes().size() >= bytes, "there are bytes to write");
}

void machine_rig::check_sent(side of, const message& what) {
    if (of == target) return;
    if (const auto* end = std::get_if<end_of_data>(&what))
        promise(end->data_sent == data_sent_ && end->root == source_->root(), "an end says what was sent");
    const auto* data = std::get_if<chunk_data>(&what);
    if (!data) return;
    ++data_sent_;
    const geometry& shape = source_config_.shape;
    promise(source_config_.mode == session_mode::sync && is_sound(shape, *data),
            "what is sent of a chunk lies within it");
    promise(has_payload(data->runs) == static_cast<bool>(data->payload), "data has bytes where its runs have");
    const extent whole = shape.chunk(data->chunk);
    promise(data->value == chunk_digest(source, data->chunk, *source_->digests()), "data has its chunk's digest");
    const std::vector<std::byte> held = content(source, whole);
    std::uint64_t packed_to = 0;
    for (const block_run& run : data->runs) {
        for (std::uint32_t i = run.first; i < run.first + run.count; ++i) {
            const extent block = shape.block(data->chunk, i);
            const auto bytes = input(held).subspan(block.offset - whole.offset, block.length);
            const std::uint64_t place = data->packed ? packed_to : block.offset - whole.offset;
            const bool right = run.zero
                                   ? std::ranges::all_of(bytes, [](std::byte each) { return each == std::byte{0}; })
                                   : std::ranges::equal(bytes, data->payload.bytes().subspan(place, block.length));
            packed_to += run.zero ? 0 : block.length;
            promise(right, "what is sent is what the disk holds");
        }
    }
}

void machine_rig::check_success(side of) {
    const bool syncs = (of == source ? source_config_.mode : *target_mode_) == session_mode::sync;
    if (!syncs) return promise(!target_disk_.written, "a session that only looks writes nothing");
    if (of == source) {
        promise(last_applied_ && source_->root() && last_applied_->root == *source_->root(),
                "a source is done where the target's root is its own");
        promise(!source_config_.reread || proved_, "a source is done when the target has read everything again");
        return;
    }
    promise(target_->root() && target_->their_root() == target_->root(), "a target is done where both roots are equal");
    promise(flushes_done_ == 1 && !target_disk_.written && !writes_pending(), "a target is done after its flush");
    // What lies outside the set to stay within is in no root.
    if (!skipped_) promise(*target_->root() == true_root(), "a target's root is that of what its disk holds");
}

// Zero where the disk ends, and of a source where it stays within other ranges.
std::vector<std::byte> machine_rig::content(side of, extent range) {
    memory_device& disk = of == source ? source_memory_ : target_memory_;
    std::vector<std::byte> all(range.length);
    const extent there = intersect(range, {0, disk.size()});
    if (!there.empty()) disk.read(there.offset, std::span(all).first(there.length));
    if (of == source && source_config_.within)
        for (const extent& gap : source_config_.within->gaps(range))
            std::fill_n(all.begin() + static_cast<std::ptrdiff_t>(gap.offset - range.offset), gap.length, std::byte{0});
    return all;
}

digest machine_rig::chunk_digest(side of, std::uint64_t chunk, const digester& with) {
    const geometry& shape = shape_of(of);
    const extent whole = shape.chunk(chunk);
    const std::vector<std::byte> held = content(of, whole);
    std::vector<digest> blocks;
    for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
        const extent block = shape.block(chunk, i);
        blocks.push_back(with.bytes(input(held).subspan(block.offset - whole.offset, block.length)));
    }
    return with.chunk(whole.length, blocks);
}

// Of what the target's disk holds, but for some chunks.
digest machine_rig::root_with(const std::map<std::uint64_t, digest>& instead) {
    const digester& with = *target_->digests();
    const geometry& shape = target_->shape();
    const zero_digests zero(with, shape);
    digest_map map(shape, with.algorithm());
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
        const auto other = instead.find(chunk);
        const digest value = other == instead.end() ? chunk_digest(target, chunk, with) : other->second;
        if (value != zero.chunk(chunk)) map.set(chunk, value);
    }
    return tree_root(map, with);
}

}  // namespace reprotect::fuzz
