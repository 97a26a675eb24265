// Within a stratum the blocks are numbered, and a keyed permutation of these numbers says which one is drawn first, second,
// and so on: nothing has to be remembered, and a longer sample begins with a shorter one. The permutation is a Feistel
// network (Luby and Rackoff, 1988) over the next even number of bits, walked until it falls into the stratum (Black and
// Rogaway, 2002, "cycle walking").
//
// Intervals. Of strata h with N_h blocks, n_h of them sampled, f_h = n_h / N_h, a share p_h of these being hits (Cochran,
// Sampling Techniques, 3rd ed. 1977, chapter 5):
//   hits = sum N_h p_h
//   var  = sum v_h,  v_h = N_h^2 (1 - f_h) p_h (1 - p_h) / (n_h - 1)
// Few hits are distributed askew, and their variance grows with them. Both are set right by moving the interval's middle
// (Hall, Biometrika 69, 1982, for binomials; Kott and Liu, International Statistical Review 77, 2009, for strata):
//   hits + d -+ sqrt(d^2 + z^2 var),  d = sum v_h s_h ((1 - f_h) z^2 / 2 + (1 - 2 f_h) (1 - z^2) / 6) / var
// with s_h = (1 - 2 p_h) / f_h: the first term is how var follows hits, the second Cornish and Fisher's for the third
// moment of a hypergeometric distribution; where little was sampled both are Hall's (1/6 + z^2/3) s_h. Strata may be of
// several plans that sampled different shares. A stratum without hits adds nothing to var; what may hide there is
// bounded by itself, exactly, and so are misses among strata that are all hits: the interval reaches that far at least.
#include "estimate/sampling.hpp"

#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/beta.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/assert.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t strata_max = 32;
constexpr std::uint64_t sampled_least = 64;  // in a stratum, for its variance to mean something
constexpr double tail = 0.05;
// 92%: at 1.645 simulated intervals hold the truth in 89% to 90%, since variances are estimates themselves.
constexpr double deviations = 1.7507;
constexpr double terms_max = 512;           // of a product; beyond it an approximation is good to 0.001%
constexpr double ratio_half_least = 0.02;   // guessed: blocks that were not sampled may be others
constexpr double ratio_half_unknown = 0.3;  // likewise: fewer than three batches do not tell

// Vigna's splitmix64, as a mixing function.
std::uint64_t mix(std::uint64_t value) noexcept {
    value += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

// Fewer would do for a cipher's size; among 3 to 16 numbers six favour some pairs by a tenth.
constexpr std::uint64_t rounds = 10;

// The permutation's value at `at`, of 0 to `count` - 1.
std::uint64_t permuted(std::uint64_t at, std::uint64_t count, std::uint64_t key) noexcept {
    if (count <= 1) return at;
    const int half = std::max(1, (static_cast<int>(std::bit_width(count - 1)) + 1) / 2);
    const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
    do {
        std::uint64_t left = at >> half, right = at & mask;
        for (std::uint64_t round = 0; round < rounds; ++round) {
            const std::uint64_t next = left ^ (mix(mix(key + round) ^ right) & mask);
            left = right;
            right = next;
        }
        at = left << half | right;
    } while (at >= count);
    return at;
}

std::uint64_t blocks_of(const extent& range, std::uint32_t block_bytes) noexcept {
    return (range.length + block_bytes - 1) / block_bytes;
}

// A share of `hits` in `trials`, which need not be whole numbers.
double jeffreys(double hits, double trials, double at) {
    return boost::math::ibeta_inv(hits + 0.5, trials - hits + 0.5, at);
}

// The logarithm of the chance that a sample shows none of `hits`: the hypergeometric product over hits or over samples,
// whichever is shorter. Where both are long little was sampled, and all factors are nearly the middle one.
double log_chance_of_none(const stratum& of, double hits) {
    const auto population = static_cast<double>(of.population), sampled = static_cast<double>(of.sampled);
    double sum = 0;
    if (hits <= terms_max) {
        const double whole = std::floor(hits);
        for (double i = 0; i < whole; ++i) sum += std::log1p(-sampled / (population - i));
        if (hits > whole) sum += (hits - whole) * std::log1p(-sampled / (population - whole));
    } else if (sampled <= terms_max) {
        for (double i = 0; i < sampled; ++i) sum += std::log1p(-hits / (population - i));
    } else {
        sum = sampled * std::log1p(-hits / (population - (sampled - 1) / 2));
    }
    return sum;
}

// The most hits, at 95%, that strata may have of which none was seen, wherever they lie. One hit more in a stratum with K
// of them lessens the chance to see none by n / (N - K) of it; so they hide best where that is the same everywhere, which
// is what is sought: fewer than n / r blocks of a stratum are left without a hit then.
double most_unseen(std::span<const stratum> strata) {
    double low = 1, high = 1;
    for (const stratum& each : strata)
        low = std::min(low, static_cast<double>(each.sampled) / static_cast<double>(each.population));
    double most = 0;
    for (int step = 0; step < 60 && low < high; ++step) {
        const double r = low + (high - low) / 2;
        double chance = 0, all = 0;
        for (const stratum& each : strata) {
            const double hits = static_cast<double>(each.population) - static_cast<double>(each.sampled) / r;
            if (hits <= 0) continue;
            all += hits;
            chance += log_chance_of_none(each, hits);
        }
        if (chance < std::log(tail)) {
            high = r;
            continue;
        }
        low = r;
        most = all;
    }
    return most;
}

struct totals {
    double population = 0;
    double sampled = 0;
    double hits = 0;  // seen
    double likely = 0;
    double variance = 0;
    double shift = 0;  // of the interval's middle
};

totals add_up(std::span<const stratum> strata) {
    constexpr double squared = deviations * deviations;
    totals all;
    double looked_at = 0;
    for (const stratum& each : strata) {
        const auto population = static_cast<double>(each.population), sampled = static_cast<double>(each.sampled);
        all.population += population;
        all.sampled += sampled;
        all.hits += static_cast<double>(each.hits);
        if (each.sampled == 0) continue;
        looked_at += population;
        all.likely += population * static_cast<double>(each.hits) / sampled;
    }
    if (looked_at == 0) return all;
    // Of what was not looked at, what the rest says is the best guess.
    const double pooled = all.likely / looked_at;
    all.likely = pooled * all.population;
    for (const stratum& each : strata) {
        const auto population = static_cast<double>(each.population), sampled = static_cast<double>(each.sampled);
        const double share = sampled < 2 ? pooled : static_cast<double>(each.hits) / sampled;
        const double of_all = sampled / population;
        const double variance =
            population * population * (1 - of_all) * share * (1 - share) / std::max(sampled - 1, 1.0);
        all.variance += variance;
        if (each.sampled != 0)
            all.shift += variance * (1 - 2 * share) / of_all *
                         ((1 - of_all) * squared / 2 + (1 - 2 * of_all) * (1 - squared) / 6);
    }
    if (all.variance > 0) all.shift /= all.variance;
    return all;
}

}  // namespace

sample_plan::sample_plan(const extent_set& population, std::uint32_t block_bytes, std::uint64_t seed,
                         std::uint64_t blocks_max)
    : block_bytes_(block_bytes), seed_(seed) {
    extents_.reserve(population.count());
    for (const extent& each : population) {
        extents_.push_back({each, blocks_});
        blocks_ += blocks_of(each, block_bytes);
    }
    drawn_max_ = std::min(blocks_, blocks_max);
    const std::uint64_t count = std::clamp<std::uint64_t>(drawn_max_ / sampled_least, 1, strata_max);
    strata_.resize(blocks_ == 0 ? 0 : count);
    for (std::size_t i = 0; i < strata_.size(); ++i) strata_[i].population = first_of(i + 1) - first_of(i);
}

std::uint64_t sample_plan::first_of(std::size_t which) const noexcept {
    const std::uint64_t count = strata_.size(), each = blocks_ / count, more = blocks_ % count;
    return which * each + std::min<std::uint64_t>(which, more);
}

extent sample_plan::block(std::uint64_t number) const {
    const auto after = std::ranges::upper_bound(extents_, number, {}, &numbered_extent::first_block);
    const numbered_extent& inside = *std::prev(after);
    const std::uint64_t offset = inside.range.offset + (number - inside.first_block) * block_bytes_;
    return {offset, std::min<std::uint64_t>(block_bytes_, inside.range.end() - offset)};
}

// Each turn draws one block of every stratum, in another order each time, so that a turn that is not finished favours none.
std::vector<extent> sample_plan::next_round(std::uint64_t count) {
    std::vector<extent> blocks;
    const std::uint64_t strata = strata_.size();
    for (; count > 0 && drawn_ < drawn_max_; ++position_) {
        const std::uint64_t turn = position_ / strata;
        const auto which = static_cast<std::size_t>(permuted(position_ % strata, strata, mix(seed_ ^ ~turn)));
        const stratum& from = strata_[which];
        if (turn >= from.population) continue;  // it has a block less than others
        blocks.push_back(block(first_of(which) + permuted(turn, from.population, mix(mix(seed_) + which))));
        ++drawn_;
        --count;
    }
    std::ranges::sort(blocks, {}, &extent::offset);
    return blocks;
}

void sample_plan::record(std::uint64_t offset, bool hit) {
    const auto after =
        std::ranges::upper_bound(extents_, offset, {}, [](const auto& each) { return each.range.offset; });
    REPROTECT_ASSERT(after != extents_.begin());
    const numbered_extent& inside = *std::prev(after);
    const std::uint64_t number = inside.first_block + (offset - inside.range.offset) / block_bytes_;
    const std::uint64_t each = blocks_ / strata_.size(), more = blocks_ % strata_.size();
    const std::uint64_t larger = more * (each + 1);
    const std::uint64_t which = number < larger ? number / (each + 1) : more + (number - larger) / each;
    ++strata_[which].sampled;
    strata_[which].hits += hit ? 1 : 0;
}

spread<double> estimate_hits(std::span<const stratum> strata) {
    std::vector<stratum> all_strata, without_hits, all_hits;
    for (const stratum& each : strata) {
        REPROTECT_ASSERT(each.hits <= each.sampled && each.sampled <= each.population);
        if (each.population == 0) continue;
        all_strata.push_back(each);
        if (each.sampled == 0) continue;
        if (each.hits == 0) without_hits.push_back(each);
        if (each.hits == each.sampled) all_hits.push_back(each);
    }
    const totals all = add_up(all_strata);
    if (all.sampled == 0) return {0, 0, all.population};
    if (all.sampled == all.population) return exactly(all.hits);
    if (all.hits == 0) return {0, 0, most_unseen(all_strata)};
    if (all.hits == all.sampled) return {all.population - most_unseen(all_strata), all.population, all.population};
    const double middle = all.likely + all.shift;
    const double half = std::sqrt(all.shift * all.shift + deviations * deviations * all.variance);
    const double low = std::min(middle - half, all.likely - most_unseen(all_hits));
    const double high = std::max(middle + half, all.likely + most_unseen(without_hits));
    // At least what was seen, and at most what is left of it.
    const double least = all.hits, most = all.population - (all.sampled - all.hits);
    return {std::clamp(low, std::min(least, all.likely), all.likely), all.likely,
            std::clamp(high, all.likely, std::max(most, all.likely))};
}

spread<double> estimate_share(std::uint64_t trials, std::uint64_t hits) {
    REPROTECT_ASSERT(trials > 0 && hits <= trials);
    const auto of = static_cast<double>(trials), found = static_cast<double>(hits);
    const double likely = found / of;
    const double low = hits == 0 ? 0 : jeffreys(found, of, tail),
                 high = hits == trials ? 1 : jeffreys(found, of, 1 - tail);
    return {std::min(low, likely), likely, std::max(high, likely)};
}

// The jackknife of a ratio (Cochran 1977, chapter 6), with Student's distribution.
spread<double> estimate_ratio(std::span<const weighed> batches) {
    double raw = 0, packed = 0;
    std::vector<weighed> some;
    for (const weighed& each : batches) {
        if (each.raw_bytes == 0 || each.packed_bytes == 0) continue;
        some.push_back(each);
        raw += static_cast<double>(each.raw_bytes);
        packed += static_cast<double>(each.packed_bytes);
    }
    if (some.empty()) return exactly(1.0);
    const double ratio = raw / packed;
    const auto count = static_cast<double>(some.size());
    double half = ratio * ratio_half_unknown;
    if (some.size() >= 3) {
        double mean = 0, squares = 0;
        std::vector<double> without;
        for (const weighed& each : some) {
            without.push_back((raw - static_cast<double>(each.raw_bytes)) /
                              (packed - static_cast<double>(each.packed_bytes)));
            mean += without.back() / count;
        }
        for (const double each : without) squares += (each - mean) * (each - mean);
        const double deviation = std::sqrt(squares * (count - 1) / count);
        half = std::max(deviation * boost::math::quantile(boost::math::students_t(count - 1), 1 - tail),
                        ratio * ratio_half_least);
    }
    return {std::max(std::min(1.0, ratio), ratio - half), ratio, ratio + half};
}

}  // namespace reprotect
