// Three views of one disk: what it shows, what it holds, and what lies between. All faults act on the last two.
#include "simulator/simulated_disk.hpp"

#include <algorithm>
#include <utility>

#include "device/range_check.hpp"

namespace reprotect::test {
namespace {

constexpr std::size_t kinds_of_calls = static_cast<std::size_t>(device_call::drop_cache) + 1;

auto at(const std::vector<std::byte>& bytes, std::uint64_t offset) {
    return bytes.begin() + static_cast<std::ptrdiff_t>(offset);
}
auto at(std::vector<std::byte>& bytes, std::uint64_t offset) {
    return bytes.begin() + static_cast<std::ptrdiff_t>(offset);
}

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
}

}  // namespace

simulated_disk::simulated_disk(std::string name, std::uint64_t bytes, std::uint64_t grain, dice& random)
    : name_(std::move(name)),
      grain_(grain),
      random_(random),
      shown_(bytes),
      medium_(bytes),
      allocated_((bytes + grain - 1) / grain),
      calls_(kinds_of_calls) {
    identity_.fields = {{"kind", "simulated"}, {"name", name_}};
    properties_.punches_holes = true;
    properties_.resizable = true;
}

void simulated_disk::set_faults(disk_faults faults) {
    faults_ = std::move(faults);
    calls_.assign(kinds_of_calls, 0);
    writes_ = 0;
    failed_.clear();
    flush_failed_ = lost_a_write_ = false;
}

// ---- calls ----

// Whatever a call begins with: it is told of, it may be outside of the disk, the machine may stop, it may fail.
void simulated_disk::begin(device_call call, extent where, std::span<const std::byte> from) {
    if (stopped_) throw error(error_kind::device_io, "the machine has stopped", {.device = name_});
    if (before) before(call, where, from);
    if (call != device_call::resize)
        check_range(name_, test::to_string(call), {where.offset, where.length, shown_.size()});
    const bool writes = call == device_call::write || call == device_call::write_zeroes;
    if (writes && writes_++ == faults_.stops_at_write) {
        // Some of it was on its way.
        if (random_.one_in(2)) put(where, from, false);
        stopped_ = true;
        throw error(error_kind::device_io, "the machine stops", {.device = name_});
    }
    const std::uint64_t number = calls_[static_cast<std::size_t>(call)]++;
    for (const disk_faults::failure& each : faults_.failures) {
        if (each.call != call || (each.for_good ? number < each.nth : number != each.nth)) continue;
        error_detail detail;
        detail.device = name_;
        detail.operation = test::to_string(call);
        if (!where.empty()) {
            detail.offset = where.offset;
            detail.length = where.length;
        }
        failed_.emplace_back(each.kind, name_ + ": " + detail.operation + " fails", std::move(detail));
        // What a write that failed leaves behind is anything between all and nothing.
        if (writes) {
            const std::uint64_t part =
                std::min(where.length, random_.below(where.length + 1) / sector_bytes * sector_bytes);
            put({where.offset, part}, from.empty() ? from : from.first(part), false);
        }
        if (call == device_call::flush) {
            flush_failed_ = doubtful_ = true;
            let_chance_write();
        }
        throw error(failed_.back());
    }
}

void simulated_disk::read(std::uint64_t offset, std::span<std::byte> into) {
    begin(device_call::read, {offset, into.size()}, {});
    std::copy_n(at(std::as_const(shown_), offset), into.size(), into.begin());
    if (after_read) after_read({offset, into.size()}, into);
}

void simulated_disk::write(std::uint64_t offset, std::span<const std::byte> from) {
    begin(device_call::write, {offset, from.size()}, from);
    put({offset, from.size()}, from, false);
}

void simulated_disk::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    begin(device_call::write_zeroes, {offset, length}, {});
    put({offset, length}, {}, properties_.punches_holes);
}

void simulated_disk::flush() {
    begin(device_call::flush, {}, {});
    settle();
    doubtful_ = false;
}

void simulated_disk::resize(std::uint64_t bytes) {
    begin(device_call::resize, {0, bytes}, {});
    settle();  // a file system's journal orders these
    shown_.resize(bytes);
    medium_.resize(bytes);
    allocated_.resize((bytes + grain_ - 1) / grain_);
}

std::vector<allocation_run> simulated_disk::allocation(extent within, std::size_t runs_max) {
    begin(device_call::allocation, within, {});
    const std::size_t most = std::min<std::uint64_t>(std::max<std::size_t>(runs_max, 1), faults_.runs_per_answer);
    const bool lies = faults_.false_hints || doubtful_;
    std::vector<allocation_run> runs;
    for (std::uint64_t position = within.offset; position < within.end() && runs.size() < most;) {
        const bool data = lies ? random_.one_in(2) : allocated_[position / grain_];
        std::uint64_t end = (position / grain_ + 1) * grain_;
        while (!lies && end < within.end() && allocated_[end / grain_] == data) end += grain_;
        end = std::min(end, within.end());
        runs.push_back({{position, end - position}, data ? content::data : content::zero});
        position = end;
    }
    return runs;
}

bool simulated_disk::drop_cache() {
    begin(device_call::drop_cache, {}, {});
    if (passes_cache) evict();
    return passes_cache;
}

// ---- what becomes of writes ----

// `from` empty: zeroes.
void simulated_disk::put(extent where, std::span<const std::byte> from, bool hole) {
    if (where.empty()) return;
    show(where, from, hole);
    pending_write write{where.offset, std::vector<std::byte>(from.begin(), from.end())};
    write.bytes.resize(where.length);
    if (faults_.loses_write && writes_ == *faults_.loses_write + 1 && !std::exchange(lost_a_write_, true)) {
        if (!faults_.misdirects) return;
        write.offset = random_.below(shown_.size() - where.length + 1) / sector_bytes * sector_bytes;
    }
    unflushed_.push_back(std::move(write));
}

void simulated_disk::show(extent where, std::span<const std::byte> from, bool hole) {
    if (where.empty()) return;
    if (from.empty())
        std::fill_n(at(shown_, where.offset), where.length, std::byte{0});
    else
        std::copy(from.begin(), from.end(), at(shown_, where.offset));
    for (std::uint64_t i = where.offset / grain_; i * grain_ < where.end(); ++i) {
        const extent whole{i * grain_, std::min(grain_, shown_.size() - i * grain_)};
        if (!hole)
            allocated_[i] = true;
        else if (extent(where).contains(whole))
            allocated_[i] = false;
    }
}

void simulated_disk::settle() {
    for (const pending_write& each : unflushed_)
        std::copy(each.bytes.begin(), each.bytes.end(), at(medium_, each.offset));
    unflushed_.clear();
}

// Each unflushed write reaches the medium or not; and is not tried again.
void simulated_disk::let_chance_write() {
    const auto how = random_.below(4);  // nothing, everything, whole writes, sectors
    for (const pending_write& each : unflushed_) {
        const bool whole = how == 1 || (how == 2 && random_.one_in(2));
        for (std::uint64_t done = 0; done < each.bytes.size();) {
            const std::uint64_t begin = each.offset + done;
            const std::uint64_t end =
                std::min((begin / sector_bytes + 1) * sector_bytes, each.offset + each.bytes.size());
            if (whole || (how == 3 && random_.one_in(2)))
                std::copy_n(at(each.bytes, done), end - begin, at(medium_, begin));
            done += end - begin;
        }
    }
    unflushed_.clear();
}

void simulated_disk::show_medium() {
    for (std::uint64_t i = 0; i < allocated_.size(); ++i) {
        const extent whole{i * grain_, std::min(grain_, shown_.size() - i * grain_)};
        const std::span<const std::byte> now(medium_.data() + whole.offset, whole.length);
        if (std::equal(now.begin(), now.end(), at(shown_, whole.offset))) continue;
        std::copy(now.begin(), now.end(), at(shown_, whole.offset));
        allocated_[i] = !all_zero(now) || random_.one_in(2);
    }
}

void simulated_disk::restart() {
    let_chance_write();
    show_medium();
    stopped_ = doubtful_ = false;
}

void simulated_disk::evict() {
    show_medium();
    for (const pending_write& each : unflushed_) show({each.offset, each.bytes.size()}, each.bytes, false);
}

void simulated_disk::overwrite(extent range, std::span<const std::byte> from) {
    show(range, from, from.empty());
    pending_write write{range.offset, std::vector<std::byte>(from.begin(), from.end())};
    write.bytes.resize(range.length);
    unflushed_.push_back(std::move(write));
}

}  // namespace reprotect::test
