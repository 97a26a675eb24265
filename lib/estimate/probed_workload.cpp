// What a probe saw, as a workload for the models. What the user said stands.
#include <algorithm>
#include <thread>

#include "reprotect/estimate.hpp"
#include "reprotect/probe.hpp"

namespace reprotect {
namespace {

// README, "Two machines": TLS and TCP at both ends take 1.6 s of processor time for 2 GiB.
constexpr double crossing_s = 0.75e-9;
constexpr double unpacking_s = 0.7e-9;  // guessed: a byte that zstd unpacks

// Where much of it is next to each other it is written in long pieces; a few blocks all over the disk are not.
constexpr double dense_share = 0.5;  // guessed

template <typename Value>
void fill(std::optional<Value>& into, const std::optional<Value>& seen) {
    if (!into) into = seen;
}

}  // namespace

void add_probe(workload& what, const probe_result& seen, bool one_machine) {
    if (what.disks.empty()) what.disks.emplace_back();
    workload_disk& disk = what.disks.front();
    if (!disk.size_bytes) disk.size_bytes = seen.source_size;
    if (!disk.used_bytes) disk.used_bytes = seen.source_data;
    // Without a target that was looked at, what it holds and lacks is as unknown as on paper.
    if (!disk.target_used_bytes && seen.target_seen)
        disk.target_used_bytes = std::min(seen.target_data, *disk.size_bytes);
    if (!disk.changed_bytes && seen.target_seen && disk.target == target_state::usable)
        disk.changed_bytes = seen.changed;
    fill(disk.rates.source_read, seen.rates.source_read);
    fill(disk.rates.target_read, seen.rates.target_read);
    fill(what.zero_share, seen.zero_share);
    if (seen.compression_ratio) {
        // What is one pattern over and over packs better than any figure that is taken.
        const auto sane = [](double ratio) { return std::clamp(ratio, 1.0, 1000.0); };
        const spread<double>& ratio = *seen.compression_ratio;
        fill(what.compression_ratio,
             std::optional(spread<double>{sane(ratio.low), sane(ratio.likely), sane(ratio.high)}));
    }
    const double common = static_cast<double>(seen.common_data);
    const bool dense = common == 0 || static_cast<double>(seen.changed.likely) / common > dense_share;
    if (seen.rates.write && !disk.rates.target_write)
        disk.rates.target_write = dense ? seen.rates.write->whole : seen.rates.write->scattered;
    if (seen.link) {
        fill(what.link.rate, std::optional(seen.link->to_target));
        fill(what.link.round_trip_s, std::optional(seen.link->round_trip_s));
    }
    if (seen.rates.encode) {
        const double rate = seen.rates.encode->likely, cores = std::max(std::thread::hardware_concurrency(), 1u);
        fill(what.encode_rate, std::optional(spread<double>{rate / 2, rate, rate * cores}));
    }
    // What is digested is part of what reading was measured with.
    if (!what.digest_rate && seen.rates.source_read) what.digest_rate = exactly(1e12);
    if (!one_machine || what.processors || !seen.rates.source_processor_s) return;
    processor_costs costs;
    costs.cores = std::max(std::thread::hardware_concurrency(), 1u);
    costs.source_read_s = *seen.rates.source_processor_s;
    costs.target_read_s = seen.rates.target_processor_s.value_or(costs.source_read_s);
    if (seen.rates.write) costs.write_s = seen.rates.write->processor_s;
    if (!what.link.one_machine) {
        const double ratio = what.compression_ratio ? std::max(what.compression_ratio->likely, 1.0) : 1;
        costs.encode_s = crossing_s / ratio + unpacking_s;
        if (seen.rates.encode) costs.encode_s += 1 / seen.rates.encode->likely;
    }
    what.processors = costs;
}

}  // namespace reprotect
