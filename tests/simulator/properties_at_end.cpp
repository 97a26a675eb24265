// What an end must mean. Everything here is computed from the disks' bytes again.
#include <algorithm>

#include "plan/digest_tree.hpp"
#include "simulator/properties.hpp"

namespace reprotect::test {
namespace {

std::span<const std::byte> part_of(const std::vector<std::byte>& bytes, extent where) {
    return {bytes.data() + where.offset, where.length};
}

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
}

// A disk counts as zero beyond its end.
bool equal_up_to_end(std::span<const std::byte> whole, const std::vector<std::byte>& disk, std::uint64_t offset) {
    for (std::uint64_t i = 0; i < whole.size(); ++i)
        if (whole[i] != (offset + i < disk.size() ? disk[offset + i] : std::byte{0})) return false;
    return true;
}

}  // namespace

void properties::at_end(const run_end& end) {
    const bool any_done = end.done[0] || end.done[1];
    if (end.refused) {
        require(!wrote_, "a run that was refused has written");
    } else {
        if (any_done) check_done(end);
        check_failure(end);
    }
    if (!end.crashed) check_record(end);
    const bool failed = !source_.failed().empty() || !target_.failed().empty() || target_.lost_a_write();
    require(!any_done || (source_.failed().empty() && target_.failed().empty()), "done, although a disk failed");
    const bool finds_changes = plan_.rereads() && !altered_.empty();
    if (disturbed_ || failed || end.crashed || finds_changes) return;
    const auto record = records_.find_target(target_.identity());
    const bool cannot_know = record && record->status == target_status::poisoned && !target_.passes_cache;
    if (end.refused && cannot_know && end.refused->kind() == error_kind::unsuitable) return;
    require(end.refused || !cannot_know || plan_.mode == session_mode::compare, "a poisoned disk is trusted");
    if (end.refused) return break_one(std::string("refused without a fault: ") + end.refused->what());
    for (const auto& each : end.failure)
        if (each) return break_one(std::string("failed without a fault: ") + each->what());
    require(end.done[0] && end.done[1], "not done without a fault");
    if (!source_changed_ && altered_.empty()) check_changes(end);
}

void properties::check_done(const run_end& end) {
    require(!end.done[0] || end.done[1] || end.crashed, "done for the source, but not for the target");
    if (plan_.mode != session_mode::sync) return;
    require(flushes_ == 1 && !flush_failed_, "done without one good flush");
    require(written_.empty(), "done, and something was written after the flush");
    require(target_.size() == source_.size() || plan_.options.allow_larger, "done, and the sizes differ");
    check_equal();
    check_root(end);
}

void properties::check_equal() {
    const std::uint64_t size = source_.size();
    if (target_.size() < size) return require(false, "done, and the target is smaller");
    extent_set parts = plan_.options.within ? *plan_.options.within : extent_set{{0, size}};
    for (const extent& each : unseen_) parts.remove(each);
    for (const extent& each : parts) {
        const auto read = part_of(seen_, each);
        const auto same = [&](const std::vector<std::byte>& bytes) {
            return std::equal(read.begin(), read.end(), part_of(bytes, each).begin());
        };
        require(source_changed_ || same(source_.shown()), "done, and the source was not read as it is", each);
        require(same(target_.shown()), "done, and the disks differ", each);
        require(same(target_.medium()), "done, and the target's medium differs", each);
    }
    if (target_.size() <= size || before_.size() != target_.size()) return;
    const auto tail_now = part_of(target_.shown(), {size, target_.size() - size});
    extent_set tail{{size, target_.size() - size}};
    for (const extent& each : altered_) tail.remove(each);
    for (const extent& each : tail)
        require(std::equal(tail_now.begin() + static_cast<std::ptrdiff_t>(each.offset - size),
                           tail_now.begin() + static_cast<std::ptrdiff_t>(each.end() - size),
                           part_of(before_, each).begin()),
                "a larger target's tail has changed", each);
}

// The root of what was read, from its bytes.
void properties::check_root(const run_end& end) {
    if (plan_.options.within || !end.digests) return;
    digest_map map(shape_, plan_.options.algorithm);
    for (std::uint64_t chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
        const extent whole = shape_.chunk(chunk);
        if (whole.offset < finished_ || all_zero(part_of(seen_, whole))) continue;
        std::vector<digest> blocks;
        for (std::uint32_t i = 0; i < shape_.blocks_in(chunk); ++i)
            blocks.push_back(end.digests->bytes(part_of(seen_, shape_.block(chunk, i))));
        map.set(chunk, end.digests->chunk(whole.length, blocks));
    }
    const digest root = tree_root(map, *end.digests);
    for (const auto& said : end.root) require(said == root, "done with a root that is not that of the bytes");
    for (std::size_t i = 0; i < 2; ++i)
        require(!end.done[i] || root_heard_[i] == root, "done, although the other side told another root");
}

// What is said to differ did, and is what was written.
void properties::check_changes(const run_end& end) {
    const auto record = records_.find_target(target_.identity());
    const bool poisoned = record && record->status == target_status::poisoned;
    // A comparison keeps no record, and so believes a disk whose flush failed.
    if (!end.changes || (poisoned && plan_.mode == session_mode::compare)) return;
    extent_set data, zero, data_said, zero_said;
    for (std::uint64_t chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
        for (std::uint32_t i = 0; i < shape_.blocks_in(chunk); ++i) {
            const extent block = shape_.block(chunk, i);
            const auto bytes = part_of(source_.shown(), block);
            if (!wanted(block) || equal_up_to_end(bytes, before_, block.offset)) continue;
            (all_zero(bytes) ? zero : data).add(block);
        }
    }
    for (const change& each : end.changes->changes())
        (each.kind == change_kind::zero ? zero_said : data_said).add(each.range);
    require(data == data_said, "the changes told are not those that there are");
    for (const extent& each : zero_said) require(zero.contains(each), "zeroes are told where there were some", each);
    require(plan_.mode != session_mode::compare || zero == zero_said, "a comparison misses zeroes");
    if (plan_.mode == session_mode::sync)
        require(end.written_bytes == data.total() && (end.data_messages == 0) == (data.empty() && zero_said.empty()),
                "what was written is not what had changed");
}

void properties::check_failure(const run_end& end) {
    if (end.crashed) return;
    require(end.done[0] || end.failure[0], "the source has neither succeeded nor failed");
    require(end.done[1] || end.failure[1], "the target has neither succeeded nor failed");
    const simulated_disk* const disks[] = {&source_, &target_};
    const bool once = plan_.corrupts && !plan_.corrupts->for_good && plan_.corrupts->kind == frame_kind::data;
    if (once && end.failure[1] && end.failure[1]->kind() == error_kind::verification)
        require(end.failure[1]->detail().operation != "apply", "a chunk that was sent again is no better");
    // Stopped from outside, or by the other side: what is written is flushed all the same.
    if (wrote_ && target_.failed().empty() && !corrupted_ && !target_.lost_a_write() &&
        !(plan_.rereads() && !altered_.empty()) && !end.done[1] && !plan_.save_fails)
        require(flushes_ + checkpoints_ > 0 && written_.empty(), "stopped, and what was written is not flushed");
    for (std::size_t i = 0; i < 2; ++i) {
        const auto& failed = disks[i]->failed();
        if (disks[i]->failed().empty() || disturbed_ || !disks[1 - i]->failed().empty() ||
            (plan_.rereads() && !altered_.empty()))
            continue;
        if (target_.lost_a_write()) continue;
        const auto& told = end.failure[i];
        if (!told) return require(false, "a disk failed and its side does not say so");
        const bool named = std::any_of(failed.begin(), failed.end(), [&](const error& each) {
            const bool flush = each.detail().operation == "flush";
            return told->kind() == (flush ? error_kind::flush_failed : each.kind()) &&
                   told->detail().operation == each.detail().operation &&
                   told->detail().offset == each.detail().offset && told->detail().length == each.detail().length &&
                   told->detail().device == each.detail().device;
        });
        if (!named) return break_one(std::string("a disk failed, and what is told is: ") + told->what());
    }
}

void properties::check_record(const run_end& end) {
    const auto record = records_.find_target(target_.identity());
    if (end.done[1] && plan_.mode == session_mode::sync && !plan_.options.within)
        require(record && record->status == target_status::clean, "done, and the record is not clean");
    if (wrote_ && !end.done[1])
        require(record && record->status != target_status::clean, "not done, and the record is clean");
    if (target_.flush_failed() && !plan_.save_fails)
        require(record && record->status == target_status::poisoned, "a flush failed, and the record is not poisoned");
}

}  // namespace reprotect::test
