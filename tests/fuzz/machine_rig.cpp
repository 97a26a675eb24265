// The session itself: how it is set up, what may happen next, and that it ends.
// What a hostile side says stands in hostile_side.cpp, what is looked at in
// machine_promises.cpp.
#include "fuzz/machine_rig.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace reprotect::fuzz {
namespace {

constexpr unsigned steps_max = 4096;                    // an input has fewer
constexpr unsigned drain_steps_max = 20000;             // some dozens are usual
constexpr std::uint32_t chunk_bytes_taken = 64 * 1024;  // what is larger makes inputs slow and nothing new

constexpr std::uint64_t disk_bytes_taken = 1024 * 1024;  // likewise: a chunk is a step even where nothing is read

}  // namespace

void watched_disk::check(std::uint64_t offset, std::uint64_t length) {
    if (offset > size() || length > size() - offset) broken = "a disk is only asked for what it has";
}

void watched_disk::note_write(std::uint64_t offset, std::uint64_t length) {
    check(offset, length);
    if (!may_write)
        broken =
            "nothing is written before writing was begun, or where nothing is "
            "to be written";
    written = true;
}

void watched_disk::read(std::uint64_t offset, std::span<std::byte> into) {
    check(offset, into.size());
    device_decorator::read(offset, into);
}

void watched_disk::write(std::uint64_t offset, std::span<const std::byte> from) {
    note_write(offset, from.size());
    device_decorator::write(offset, from);
}

void watched_disk::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    note_write(offset, length);
    device_decorator::write_zeroes(offset, length);
}

machine_rig::machine_rig(chooser& choose, side under_test) : choose_(choose), under_test_(under_test) {
    choose_session();
    fill_disks();
    source_pool_ = std::make_shared<buffer_pool>(source_config_.shape.chunk_bytes);
    source_.emplace(source_config_);
    collect(source);
}

// ---- the session ----

void machine_rig::choose_session() {
    static constexpr session_mode modes[] = {session_mode::sync, session_mode::sync, session_mode::sync,
                                             session_mode::dry_run, session_mode::compare};
    geometry& shape = source_config_.shape;
    shape.block_bytes = 512u << choose_.below(2);
    shape.chunk_bytes = shape.block_bytes * static_cast<std::uint32_t>(choose_.between(8, 12));
    shape.disk_bytes = choose_.byte() * 97ull;
    const unsigned bits = choose_.byte();
    source_config_.mode = modes[bits % 5];
    source_config_.reread = source_config_.mode == session_mode::sync && (bits & 8) != 0;
    source_config_.algorithm = (bits & 16) != 0 ? digest_algorithm::sha256 : digest_algorithm::xxh3;
    source_config_.keep_differential = (bits & 32) != 0;
    source_config_.reads_max = choose_.between(1, 4);
    source_config_.buffers_max = choose_.between(1, 6);
    source_config_.digest_entries = choose_.between(1, 12);
    if ((bits & 64) != 0) {
        extent_set within;
        for (unsigned i = 0; i < 2; ++i) {
            const std::uint64_t blocks = shape.disk_bytes / shape.block_bytes;
            const std::uint64_t first = blocks == 0 ? 0 : choose_.byte() % blocks;
            within.add({first * shape.block_bytes,
                        std::min<std::uint64_t>(choose_.below(32), blocks - first) * shape.block_bytes});
        }
        source_config_.within = within;
    }
    source_memory_.resize(shape.disk_bytes);

    static constexpr unsigned pushes[] = {0, 50, 101};
    std::uint64_t size = shape.disk_bytes;
    if (const unsigned how = choose_.byte(); (how & 3) == 3) size = how * 89ull;
    target_memory_.resize(size);
    target_config_.disk_bytes = size;
    target_config_.punches_holes = (bits & 128) != 0;
    target_memory_.mutable_properties().punches_holes = target_config_.punches_holes;
    target_config_.reads_max = choose_.between(1, 4);
    target_config_.applies_max = choose_.between(1, 4);
    target_config_.allocation_runs = choose_.between(1, 6);
    target_config_.digest_entries = choose_.between(1, 12);
    target_config_.data_messages = choose_.between(1, 4);
    target_config_.proof_chunks = choose_.between(1, 6);
    const unsigned more = choose_.byte();
    target_config_.push_percent = pushes[more % 3];
    target_config_.ignore_allocation = (more & 16) != 0;
    target_config_.wants_differential = (more & 32) != 0;
    if ((more & 64) != 0) target_config_.data_bytes = 2048;
}

// Each 2 KiB of both disks: the same or different data, or none on one side or
// both.
void machine_rig::fill_disks() {
    constexpr std::uint64_t unit = 2048;
    std::array<std::byte, unit> bytes{};
    const auto put = [&](memory_device& disk, std::uint64_t at, unsigned seed) {
        if (at >= disk.size()) return;
        bytes.fill(static_cast<std::byte>(1 + seed % 255));
        disk.write(at, std::span(bytes).first(std::min(unit, disk.size() - at)));
    };
    unsigned kinds = 0;
    for (std::uint64_t at = 0, i = 0; at < std::max(source_memory_.size(), target_memory_.size()); at += unit, ++i) {
        if (i % 3 == 0) kinds = choose_.byte();
        const auto seed = static_cast<unsigned>(i);
        const unsigned kind = kinds & 7;
        kinds = kinds >> 3 | (kinds & 3) << 6;
        if (kind >= 3) put(source_memory_, at, seed);
        if (kind >= 2 && kind != 3) put(target_memory_, at, kind == 4 || kind == 2 ? seed + 100 : seed);
    }
}

void machine_rig::run() {
    for (unsigned i = 0; i < steps_max && !choose_.over(); ++i) step();
    drain();
    check_end();
}

// Of 32 steps 25 are sound ones, so that sessions get somewhere.
void machine_rig::step() {
    const unsigned what = choose_.byte();
    const side to = (what & 128) != 0 ? target : source;
    peer_state& it = sides_[to];
    switch (const unsigned kind = what & 31) {
        case 25:
            return tamper();
        case 26:
        case 27:
            return say(forged());
        case 28:
            if (auto words = decoded()) say(std::move(*words));
            return;
        case 29:
            return drop_or_repeat();
        case 30:
            return breach();
        case 31:
            if ((what & 64) != 0 && !it.works.empty()) return finish_work(to, 0, true);
            if ((what & 32) != 0 && has(to)) stop_one(to);
            return;
        case 24:
            return release_payload();
        default:
            if (kind < 12) return deliver_some(to);
            if (!it.works.empty()) finish_work(to, (what >> 5 & 3) % it.works.size(), false);
    }
}

void machine_rig::deliver_some(side to) {
    std::array<std::deque<message>*, message_classes> waiting{};
    std::size_t count = 0;
    for (auto& queue : sides_[to].coming)
        if (!queue.empty()) waiting[count++] = &queue;
    if (count != 0) deliver(to, *waiting[count == 1 ? 0 : choose_.below(count)]);
}

// Everything that is still to come comes, in a fixed order.
void machine_rig::drain() {
    for (unsigned i = 0;; ++i) {
        promise(i < drain_steps_max, "a session ends in a bounded number of steps");
        bool moved = false;
        for (const side each : {source, target}) {
            peer_state& it = sides_[each];
            for (auto& queue : it.coming) {
                if (queue.empty()) continue;
                deliver(each, queue);
                moved = true;
            }
            if (it.works.empty()) continue;
            finish_work(each, 0, false);
            moved = true;
        }
        if (!unreleased_.empty()) {
            release_payload();
            moved = true;
        }
        if (!moved) return;
    }
}

void machine_rig::check_end() {
    const bool any_failed = sides_[source].failed_work || sides_[target].failed_work || sides_[source].told_to_end ||
                            sides_[target].told_to_end;
    if (!honest_) return;
    promise(sides_[source].has_ended && (!has(target) || sides_[target].has_ended), "nothing waits for ever");
    if (any_failed) return;
    promise(!sides_[source].why && !sides_[target].why, "two sound peers succeed");
    if (source_config_.mode != session_mode::sync || source_config_.within) return;
    std::vector<std::byte> ours(source_memory_.size()), theirs(source_memory_.size());
    if (ours.empty()) return;
    source_memory_.read(0, ours);
    target_memory_.read(0, theirs);
    promise(ours == theirs, "a sync makes the disks equal");
}

// ---- what happens ----

// As a wire does, the bytes arrive in a buffer of the other side's; packed every other time.
buffer machine_rig::arrived(chunk_data& data) {
    buffer into = target_pool_->take();
    const auto from = std::as_const(data.payload).bytes();
    const bool was_packed = std::exchange(data.packed, data_delivered_ % 2 == 0);
    // What a wire would refuse comes as it is, with any bytes: a peer has to refuse it, too.
    if (!is_sound(source_config_.shape, data)) return into;
    std::size_t to = 0;
    for (const block_run& run : data.runs) {
        if (run.zero) continue;
        const extent place = bytes_of(source_config_.shape, data.chunk, run);
        std::memcpy(into.bytes().data() + (data.packed ? to : place.offset),
                    from.data() + (was_packed ? to : place.offset), place.length);
        to += place.length;
    }
    return into;
}

void machine_rig::deliver(side to, std::deque<message>& queue) {
    message what = std::move(queue.front());
    queue.pop_front();
    auto* data = std::get_if<chunk_data>(&what);
    if (data && data->payload) unreleased_.push_back(data->payload.bytes().size());
    if (to == target && !target_) {
        // Where the source takes words for a target's that none said, more than a hello may come.
        auto* opening = std::get_if<hello>(&what);
        if (!opening || !begin_target(*opening)) return;
    }
    if (data && data->payload) data->payload = arrived(*data);
    hand_message(to, std::move(what));
}

// What a session does before its target takes part: it knows the size that the
// disk shall have.
bool machine_rig::begin_target(const hello& opening) {
    if (valid_geometry(opening.shape) && opening.shape.chunk_bytes > chunk_bytes_taken) return false;
    // A session refuses what its disk cannot be; the two beyond are for the
    // target itself to refuse.
    if (opening.shape.disk_bytes > disk_bytes_taken && opening.shape.disk_bytes <= std::uint64_t{1} << 62) return false;
    target_config_.resize_needed = opening.shape.disk_bytes > target_memory_.size();
    target_.emplace(target_config_);
    target_pool_ =
        std::make_shared<buffer_pool>(std::clamp(opening.shape.chunk_bytes, chunk_bytes_min, chunk_bytes_taken));
    target_mode_ = opening.mode;
    return true;
}

void machine_rig::hand_message(side to, message&& what) {
    const bool is_data = to == target && std::holds_alternative<chunk_data>(what);
    data_delivered_ += is_data ? 1 : 0;
    if (const auto* data = std::get_if<chunk_data>(&what);
        is_data && data->payload && is_sound(target_->shape(), *data))
        bytes_delivered_ += payload_bytes(target_->shape(), data->chunk, data->runs);
    if (auto* end = std::get_if<end_of_data>(&what)) last_end_ = *end;
    if (auto* end = std::get_if<applied>(&what)) last_applied_ = *end;
    if (std::holds_alternative<proved>(what)) proved_ = true;
    if (std::holds_alternative<failed>(what)) sides_[to].told_to_end = true;
    if (auto* runs = std::get_if<allocation>(&what))
        for (const source_run& run : runs->runs) {
            skipped_ = skipped_ || run.kind == source_content::skip;
            allocated_to_ = run.range.end();
        }
    if (auto* list = std::get_if<chunk_digests>(&what)) {
        entries_delivered_ += list->entries.size();
        for (const digest_entry& each : list->entries) chunks_delivered_ = each.first_chunk + each.count;
    }
    hand(to, std::move(what));
    if (is_data && !sides_[target].has_ended && !sides_[target].told_to_end)
        promise(data_delivered_ - data_applied_ <= target_config_.data_messages &&
                    bytes_delivered_ - bytes_applied_ < target_config_.data_bytes + chunk_bytes_taken,
                "a target holds no more data than it granted");
}

void machine_rig::hand(side to, event&& what) {
    if (to == source)
        source_->handle(std::move(what));
    else
        target_->handle(std::move(what));
    collect(to);
}

void machine_rig::finish_work(side of, std::size_t index, bool fails) {
    peer_state& it = sides_[of];
    action what = std::move(it.works[index]);
    it.works.erase(it.works.begin() + static_cast<std::ptrdiff_t>(index));
    const bool flushes = std::holds_alternative<flush_target>(what);
    if (fails) {
        it.failed_work = true;
        const auto kind = flushes ? error_kind::flush_failed : error_kind::device_io;
        return hand(of, action_failed{error(kind, "a disk that fails")});
    }
    if (std::holds_alternative<begin_writing>(what)) {
        if (target_config_.resize_needed) target_memory_.resize(target_->shape().disk_bytes);
        target_disk_.may_write = target_mode_ == session_mode::sync;
        return hand(of, writing_begun{});
    }
    flushes_done_ += flushes ? 1 : 0;
    if (!it.worker) {
        watched_disk& disk = of == source ? source_disk_ : target_disk_;
        it.worker = std::make_unique<disk_worker>(disk, shape_of(of), disk.size(),
                                                  of == source ? source_->digests() : target_->digests(),
                                                  of == source ? source_pool_ : target_pool_);
    }
    const auto* apply = std::get_if<apply_chunk>(&what);
    const std::uint64_t bytes =
        apply && apply->data.payload ? payload_bytes(target_->shape(), apply->data.chunk, apply->data.runs) : 0;
    event answer = it.worker->perform(std::move(what));
    for (const watched_disk* disk : {&source_disk_, &target_disk_})
        if (disk->broken) throw broken_promise(disk->broken);
    const std::size_t whole_bytes = source_config_.shape.chunk_bytes;
    if (auto* read = std::get_if<chunk_read>(&answer); read && read->bytes.bytes().size() == whole_bytes) {
        it.buffers.insert(read->bytes.bytes().data());
        promise(it.buffers.size() <= source_config_.buffers_max, "a source keeps within its buffers");
    }
    if (const auto* done = std::get_if<chunk_applied>(&answer)) {
        ++data_applied_;
        bytes_applied_ += bytes;
        if (done->matched) written_[done->chunk] = done->value;
    }
    hand(of, std::move(answer));
}

void machine_rig::release_payload() {
    if (unreleased_.empty()) return;
    const std::uint64_t bytes = unreleased_.front();
    unreleased_.pop_front();
    hand(source, payload_released{bytes});
}

void machine_rig::stop_one(side which) {
    sides_[which].told_to_end = true;
    hand(which, stop{});
}

}  // namespace reprotect::fuzz
