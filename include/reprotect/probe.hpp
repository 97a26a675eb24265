// A probe: what a sync would find, from a sample of both disks, before anything moves. It reads both allocations, a few
// long stretches for the disks' rates, and blocks at random; it writes to neither disk and reads nothing twice.
//
//   auto source = make_probed_disk(*source_device, {});
//   auto target = make_probed_disk(*target_device, {});
//   probe_result seen = probe(*source, target.get(), {});
//   workload machine;
//   machine.disks = {{.name = "root"}};
//   add_probe(machine, seen, true);
//   estimate result = model_registry().find("pipeline").run(machine);
#pragma once

#include "reprotect/geometry.hpp"
#include "reprotect/probed_disk.hpp"
#include "reprotect/rates.hpp"
#include "reprotect/spread.hpp"

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace reprotect {

struct workload;

struct probe_options {
    std::uint32_t block_bytes = block_bytes_default;
    /// For the disks, their allocation included; at least 0.1. What it begins with is small, so that even a slow disk keeps to it;
    /// a few blocks are read whatever it is.
    double budget_s = 30;
    /// Of each disk's data, above 0 to 1: long stretches and blocks together read no more than that, but for a few blocks that are read
    /// whatever it is. Then the budget does not count.
    std::optional<double> share{};
    std::uint64_t blocks_max = 10'000;    ///< within the budget
    bool stretches = true;                ///< read long ones, too; without them no rates are known
    std::optional<std::uint64_t> seed{};  ///< what is sampled is the same for the same seed and allocation
    digest_algorithm algorithm =
        digest_algorithm::xxh3;  ///< of the sync: its rate is measured (samples are compared by xxh3)
    unsigned threads = 0;        ///< the sync's cap (`sync_options`): its digests are measured with no more; 0: none
    std::stop_token cancel{};
};

/// How writing was measured, on a scratch file.
struct write_rates {
    spread<double> whole{};      ///< bytes a second of long writes, flush included
    spread<double> scattered{};  ///< of single blocks all over data that is there, flush included
    double processor_s = 0;      ///< seconds of one core for a byte
};

/// Bytes a second that this machine digests, of blocks that were just read.
struct digest_rates {
    thread_rates session{};  ///< by the sync's algorithm
    thread_rates proof{};    ///< by SHA-256, as reread does besides
    thread_rates sampled{};  ///< as a probe's own reading does: its rates have this in them
};

/// Bytes a second that a probe saw; absent where it had nothing to measure with.
struct probed_rates {
    std::optional<spread<double>> source_read{};  ///< long stretches, both disks at the same time
    std::optional<spread<double>> target_read{};
    std::optional<spread<double>> encode{};      ///< compression, one thread
    std::optional<write_rates> write{};          ///< by consent
    std::optional<double> source_processor_s{};  ///< processor seconds for a byte that is read and digested
    std::optional<double> target_processor_s{};
    bool one_round = false;  ///< disks were read long once: how far their rates vary is a guess
    std::optional<digest_rates> digest{};
};

/// Intervals hold the truth nine times of ten.
struct probe_result {
    std::uint64_t source_size = 0;
    std::uint64_t target_size = 0;
    bool target_seen = false;       ///< there was one to look at
    std::uint64_t source_data = 0;  ///< bytes that the source calls data
    std::uint64_t target_data = 0;
    std::uint64_t common_data = 0;  ///< of those, where both do
    std::uint64_t read_source_bytes = 0;
    std::uint64_t read_target_bytes = 0;
    std::uint64_t blocks_sampled = 0;  ///< at random; what long stretches read comes on top
    std::uint64_t seed = 0;
    unsigned threads = 0;             ///< the sync's cap, as the probe was told; 0: none
    bool out_of_budget = false;       ///< fewer blocks than were asked for
    spread<std::uint64_t> changed{};  ///< source data that the target lacks, zero blocks included
    bool none_changed = false;        ///< nothing was seen to change: `changed.high` is an upper bound (95%)
    std::optional<spread<std::uint64_t>>
        changed_given{};                         ///< the user's instead, of a disk that has no target to look at
    std::optional<spread<double>> zero_share{};  ///< of what changed
    std::optional<spread<double>> compression_ratio{};
    probed_rates rates{};
    std::optional<link_rates> link{};
    std::uint64_t crossed_to_target = 0;  ///< what looking at a peer's disk took of the link, measuring it included
    std::uint64_t crossed_to_source = 0;
};

/// `target` null: there is none, and all is to be copied. Throws `usage` for options that make no sense, and what
/// reading throws.
probe_result probe(probed_disk& source, probed_disk* target, const probe_options& options);

/// Throws where `measure_writing` could not make its file: `unsuitable` where it is there, `not_found` where its folder is not.
void check_scratch_file(const std::string& path);

/// Makes a file (which must not be there yet), writes up to `bytes_max` to it, flushes, writes blocks all over it,
/// flushes, and removes it. Throws what that meets; `unsuitable` where the file is there.
write_rates measure_writing(const std::string& path, std::uint32_t block_bytes, std::uint64_t bytes_max = 256ull << 20,
                            std::stop_token cancel = {});

/// What a probe saw becomes the workload's only disk's, and its rates, where the workload has not been told otherwise.
/// `one_machine`: both sides share their processors.
void add_probe(workload& what, const probe_result& seen, bool one_machine);

}  // namespace reprotect
