// Which blocks a probe reads, and what follows from them: a stratified random sample, and 90% intervals for what it is
// a sample of.
//
// The population (blocks in order of offset) is cut into strata of equal size. Blocks are drawn from the strata in turn,
// without replacement, so that wherever drawing ends all have been sampled alike. Clustered changes, as disks have them,
// fall into few strata: there the sample says more than one of the whole would, and the interval is narrower.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reprotect/extent.hpp"
#include "reprotect/spread.hpp"

namespace reprotect {

/// A part of the population, in blocks, and what was seen of it.
struct stratum {
    std::uint64_t population = 0;
    std::uint64_t sampled = 0;
    std::uint64_t hits = 0;
};

/// Draws blocks. Needs 16 bytes for an extent of the population and for a block of a round, whatever was drawn before.
class sample_plan {
public:
    /// The population's extents begin on block boundaries; the last block of the last one may be short. Up to
    /// `blocks_max` blocks will be drawn: with fewer than 64 of them in a stratum there are fewer strata.
    sample_plan(const extent_set& population, std::uint32_t block_bytes, std::uint64_t seed, std::uint64_t blocks_max);

    /// The next `count` blocks, or as many as are left, in offset order. Which ones they are depends on the seed and
    /// the population, and not on the sizes of rounds.
    std::vector<extent> next_round(std::uint64_t count);

    /// Whether a block that was drawn, by its offset, is one of those that are counted.
    void record(std::uint64_t offset, bool hit);

    const std::vector<stratum>& strata() const noexcept { return strata_; }

private:
    struct numbered_extent {
        extent range;
        std::uint64_t first_block = 0;  // of the population
    };
    std::uint64_t first_of(std::size_t which) const noexcept;
    extent block(std::uint64_t number) const;

    const std::uint32_t block_bytes_;
    const std::uint64_t seed_;
    std::uint64_t blocks_ = 0;
    std::uint64_t drawn_ = 0;
    std::uint64_t position_ = 0;  // in the row of all turns
    std::uint64_t drawn_max_ = 0;
    std::vector<numbered_extent> extents_;
    std::vector<stratum> strata_;
};

/// How many of a population are hits, in blocks: 90%, that is 5% on either side. Exact where everything was sampled.
/// Where no hit was seen `high` is the bound that holds with 95%, and `low` likewise where nothing else was seen. Strata of
/// several plans may be given together, whatever share each of them sampled.
spread<double> estimate_hits(std::span<const stratum> strata);

/// Of `trials` independent ones how many are hits, as a share: 90%.
spread<double> estimate_share(std::uint64_t trials, std::uint64_t hits);

/// What went in by what came out, of some batches.
struct weighed {
    std::uint64_t raw_bytes = 0;
    std::uint64_t packed_bytes = 0;
};

/// The ratio of all: 90%. Of fewer than three batches a range that is guessed; of none that says anything 1.
spread<double> estimate_ratio(std::span<const weighed> batches);

}  // namespace reprotect
