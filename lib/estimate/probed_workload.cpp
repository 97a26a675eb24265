// What a probe saw, as a workload for the models. What the user said stands.
#include <algorithm>
#include <thread>

#include "estimate/models.hpp"
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

// As many as a process of so many threads keeps busy; 0: no cap.
unsigned core_count(unsigned threads_max) {
    const unsigned cores = std::max(std::thread::hardware_concurrency(), 1u);
    return threads_max == 0 ? cores : std::min(cores, threads_max);
}

// Of one disk's threads: as many as there are cores or as the sync may have, unless one disk does not keep them busy.
spread<double> by_threads(const thread_rates& rates) {
    return {std::min(rates.one, rates.all), rates.all, std::max(rates.one, rates.all)};
}

// Of a byte that is read, the probe's own digest of it taken out: no more than there is, since both are measured.
double reading_s(double processor_s, const digest_rates& digests) {
    return std::max(processor_s - 1 / digests.sampled.one, 0.0);
}

processor_costs costs_of(const workload& what, const probe_result& probed) {
    const probed_rates& seen = probed.rates;
    processor_costs costs;
    // The cap is one process's: a peer on this machine has threads of its own, as many as it likes.
    costs.cores = core_count(what.link.one_machine ? probed.threads : 0);
    costs.source_read_s = *seen.source_processor_s;
    costs.target_read_s = costs.verify_s = seen.target_processor_s.value_or(costs.source_read_s);
    if (seen.digest) {
        const digest_rates& digests = *seen.digest;
        costs.verify_s = reading_s(costs.target_read_s, digests) + 1 / digests.proof.one;
        if (what.algorithm != digest_algorithm::xxh3)
            for (double* const each : {&costs.source_read_s, &costs.target_read_s})
                *each = reading_s(*each, digests) + 1 / digests.session.one;
        if (what.verify == verify_level::reread) costs.source_read_s += 1 / digests.proof.one;
    }
    if (seen.write) costs.write_s = seen.write->processor_s;
    return costs;
}

}  // namespace

void add_probe(workload& what, const probe_result& seen, bool one_machine) {
    if (what.disks.empty()) what.disks.emplace_back();
    workload_disk& disk = what.disks.front();
    if (!disk.size_bytes) disk.size_bytes = seen.source_size;
    if (!disk.used_bytes) disk.used_bytes = seen.source_data;
    // Without a target that was looked at, what it holds is as unknown as on paper.
    if (!disk.target_used_bytes && seen.target_seen)
        disk.target_used_bytes = std::min(seen.target_data, *disk.size_bytes);
    if (!disk.changed_bytes && seen.target_seen && disk.target == target_state::usable)
        disk.changed_bytes = seen.changed;
    fill(disk.measured.source_read, seen.rates.source_read);
    fill(disk.measured.target_read, seen.rates.target_read);
    const auto counts = [&](std::optional<spread<double>> disk_rates::*kind) {
        return !(disk.rates.*kind) && !(what.rates.*kind);
    };
    if (seen.rates.one_round && (counts(&disk_rates::source_read) || counts(&disk_rates::target_read)))
        what.guessed.push_back({"spread of the read rates", "half to one and a half of what was measured",
                                "a guess: the disks were read for long once only"});
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
    if (seen.rates.write) {
        fill(disk.measured.target_write, std::optional(dense ? seen.rates.write->whole : seen.rates.write->scattered));
        if (counts(&disk_rates::target_write))
            what.guessed.push_back({"spread of the write rate", "half to one and a half of what was measured",
                                    "a guess: what a cache takes for a moment it may not take for long"});
    }
    fill(what.link.measured, seen.link);
    if (seen.rates.encode && !what.encode_rate && !what.link.one_machine) {
        const double rate = seen.rates.encode->likely;
        what.encode_rate = spread<double>{rate / 2, rate, rate * core_count(seen.threads)};
        what.guessed.push_back({"compression and encryption", show_rate(*what.encode_rate),
                                "one thread's compression as measured, with a guess of half of it to all threads"});
    }
    if (seen.rates.digest) {
        fill(what.digest_rate, std::optional(by_threads(seen.rates.digest->session)));
        fill(what.proof_rate, std::optional(by_threads(seen.rates.digest->proof)));
        // XXH3 is nowhere what is slow.
        const bool slow = what.algorithm != digest_algorithm::xxh3 || what.verify == verify_level::reread;
        if (slow && !one_machine && !what.link.one_machine)
            what.guessed.push_back({"digest rate of the other machine", show_rate(*what.digest_rate),
                                    "as measured here; nobody asked that machine"});
    }
    if (!one_machine || what.processors || !seen.rates.source_processor_s) return;
    processor_costs costs = costs_of(what, seen);
    if (!what.link.one_machine) {
        const double ratio = what.compression_ratio ? std::max(what.compression_ratio->likely, 1.0) : 1;
        costs.encode_s = crossing_s / ratio + unpacking_s;
        if (seen.rates.encode) costs.encode_s += 1 / seen.rates.encode->likely;
        what.guessed.push_back({"processor time to cross between two processes",
                                "0.75 ns a byte, and 0.7 ns to unpack it",
                                "README, two machines: TLS and TCP at both ends; unpacking is a guess"});
    }
    what.processors = costs;
}

}  // namespace reprotect
