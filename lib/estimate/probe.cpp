// What is read, in this order:
//
//   allocation       of both disks, whole
//   long stretches   of what both hold, on both at the same time, as a sync reads them: their rates, and what their
//                    blocks are is known from then on
//   blocks           at random of the rest of what both hold: a pilot that tells what a block takes, then as many as
//                    the budget allows, in rounds, each of which is a sample by itself
//   blocks           of what the source alone holds: of these only zeroes are no change
//   compression      of the changed blocks among them, as they would be sent
//
// A block differs or not, so what long stretches showed counts as it is, and the rest by its sample (sampling.hpp).
#include "reprotect/probe.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <limits>
#include <random>
#include <thread>
#include <tuple>
#include <utility>

#include "base/assert.hpp"
#include "base/median.hpp"
#include "estimate/sampling.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::uint64_t stretch_bytes_max = 16 << 20;
constexpr double slow_rate = 50e6;               // of a disk that nothing is known of yet: bytes a second
constexpr std::size_t stretches_at_once = 4;     // a reading long enough for threads to get going
constexpr unsigned stretch_rounds_max = 8;       // at most 512 MiB
constexpr unsigned stretch_rounds_least = 2;     // one could not tell how rates vary
constexpr double stretch_share_of_budget = 0.3;  // guessed
constexpr double stretch_share_of_data = 0.25;   // likewise: a probe is to read little
constexpr double digest_seconds = 0.01;          // guessed, for each figure: thousands of blocks
constexpr std::uint64_t pilot_blocks = 256;
constexpr std::uint64_t pilot_blocks_least = 16;
constexpr double slow_block_s = 0.01;  // a seek
constexpr std::uint64_t round_blocks_max = 4096;
constexpr double source_only_share = 0.2;           // of the time for blocks at random, guessed
constexpr std::uint64_t source_only_blocks = 2000;  // of zeroes among data: a share within 2%

double seconds_since(steady::time_point begin) {
    return std::chrono::duration<double>(steady::now() - begin).count();
}

// A disk's data, widened to whole blocks.
extent_set data_of(const std::vector<allocation_run>& runs, std::uint64_t size, std::uint32_t block) {
    extent_set data;
    for (const allocation_run& run : runs) {
        if (run.kind != content::data) continue;
        const std::uint64_t first = run.range.offset / block * block;
        const std::uint64_t end = std::min(size, (run.range.end() + block - 1) / block * block);
        data.add({first, end - first});
    }
    return data;
}

extent_set common_of(const extent_set& left, const extent_set& right, std::uint64_t end) {
    extent_set both;
    for (const extent& each : left) {
        const extent inside = intersect(each, {0, end});
        if (inside.empty()) continue;
        for (const extent& part : right.within(inside)) both.add(part);
    }
    return both;
}

extent_set without(const extent_set& from, const extent_set& what) {
    extent_set rest;
    for (const extent& each : from)
        for (const extent& part : what.gaps(each)) rest.add(part);
    return rest;
}

// Both at the same time, each with a token: where one fails the other is stopped, and the failure is that of the first.
template <typename Ours, typename Theirs>
auto at_once(const std::stop_token& cancel, Ours ours, Theirs theirs) {
    std::stop_source stop;
    const std::stop_callback on_cancel(cancel, [&stop] { stop.request_stop(); });
    std::exception_ptr first;
    const auto minding = [&](auto&& read) {
        try {
            return read(stop.get_token());
        } catch (...) {
            if (stop.request_stop()) first = std::current_exception();
            throw;
        }
    };
    std::future<decltype(theirs(cancel))> other = std::async(std::launch::async, [&] { return minding(theirs); });
    try {
        auto mine = minding(ours);
        return std::pair(std::move(mine), other.get());
    } catch (...) {
        if (other.valid()) other.wait();
        if (first) std::rethrow_exception(first);
        throw;
    }
}

// Rates seen in some rounds, and what all of them took of the processors.
class rate_log {
public:
    void add(std::uint64_t bytes, const stretch_samples& seen) {
        if (bytes == 0 || seen.seconds <= 0) return;
        rates_.push_back(static_cast<double>(bytes) / seen.seconds);
        bytes_ += bytes;
        processor_s_ += seen.processor_seconds;
    }
    std::optional<spread<double>> rate() const {
        if (rates_.empty()) return std::nullopt;
        // Of one round nobody knows how the next would have been.
        if (rates_.size() == 1) return spread<double>{rates_[0] / 2, rates_[0], rates_[0] * 1.5};
        return spread_of(rates_);
    }
    bool one_round() const noexcept { return rates_.size() == 1; }
    std::optional<double> processor_s() const {
        if (bytes_ == 0 || processor_s_ <= 0) return std::nullopt;
        return processor_s_ / static_cast<double>(bytes_);
    }

private:
    std::vector<double> rates_;
    std::uint64_t bytes_ = 0;
    double processor_s_ = 0;
};

class probing {
public:
    probing(probed_disk& source, probed_disk* target, const probe_options& options)
        : source_(source), target_(target), options_(options), random_(choose_seed()) {}

    probe_result run();

private:
    std::uint64_t choose_seed() {
        result_.seed = options_.seed ? *options_.seed : std::random_device{}();
        return result_.seed;
    }
    void learn_allocation();
    void read_stretches();
    void measure_digesting();
    std::vector<extent> choose_stretches(extent_set& from, std::uint64_t length);
    std::uint64_t read_round(const std::vector<extent>& stretches, bool pair);
    std::uint64_t blocks_wanted(std::uint64_t data_bytes, std::uint64_t bytes_read, std::uint64_t most) const;
    void sample_common();
    void sample_source_only();
    void weigh();
    void settle();
    std::optional<spread<double>> zero_share() const;

    // Both at the same time; the target only where it takes part.
    void read_both(const std::vector<extent>& stretches, bool keep, bool with_target);
    std::uint64_t blocks_in(const extent& range) const {
        return (range.length + options_.block_bytes - 1) / options_.block_bytes;
    }
    void take(const extent& block, const block_sample& theirs, const block_sample* ours, sample_plan* plan);
    double left_s() const { return options_.budget_s - spent_s_; }
    std::uint64_t count_of_round(std::uint64_t done, std::uint64_t most);
    void read_blocks(const std::vector<extent>& blocks, bool with_target);

    probed_disk& source_;
    probed_disk* target_;
    const probe_options& options_;
    probe_result result_;
    std::mt19937_64 random_;
    extent_set common_, source_only_, unread_;  // unread: of what both hold
    stretch_samples from_source_, from_target_;
    double spent_s_ = 0;
    double reserve_s_ = 0;  // for what is sampled later, at most; and so many blocks
    std::uint64_t reserve_blocks_ = 0;
    double block_s_ = slow_block_s;  // for one at random, of the last round
    rate_log source_rates_, target_rates_;
    std::uint64_t known_changed_ = 0;  // bytes of blocks that were read outside of samples
    std::optional<sample_plan> common_plan_, source_only_plan_;
    std::uint64_t changed_blocks_ = 0, changed_zero_blocks_ = 0;  // of what both hold, at random
    std::uint64_t known_changed_zero_ = 0;                        // of known_changed_
    std::vector<std::uint64_t> to_weigh_;
};

probe_result probing::run() {
    result_.threads = options_.threads;
    learn_allocation();
    if (options_.stretches) {
        read_stretches();
        measure_digesting();
    }
    sample_common();
    sample_source_only();
    weigh();
    settle();
    return result_;
}

void probing::learn_allocation() {
    const std::uint32_t block = options_.block_bytes;
    const auto begin = steady::now();
    const auto data_on = [&](probed_disk& disk) {
        return [&](const std::stop_token& stop) { return data_of(disk.allocation(stop), disk.size(), block); };
    };
    extent_set source, target;
    if (target_) {
        std::tie(source, target) = at_once(options_.cancel, data_on(source_), data_on(*target_));
        result_.target_seen = true;
        result_.target_size = target_->size();
        result_.target_data = target.total();
    } else {
        source = data_on(source_)(options_.cancel);
    }
    result_.source_size = source_.size();
    result_.source_data = source.total();
    spent_s_ += seconds_since(begin);
    // A block that the target has in part is compared by neither side whole: it counts as the source's alone.
    const std::uint64_t shared_end = std::min(result_.source_size, result_.target_size);
    const bool same_end = result_.source_size == result_.target_size;
    common_ = common_of(source, target, same_end ? shared_end : shared_end / block * block);
    source_only_ = without(source, common_);
    unread_ = common_;
    result_.common_data = common_.total();
}

// From random places on, data that was not read yet: what lies between is passed over, as a sync passes over it.
std::vector<extent> probing::choose_stretches(extent_set& from, std::uint64_t length) {
    extent_set chosen;
    const std::uint64_t total = from.total(), block = options_.block_bytes;
    for (std::size_t i = 0; i < stretches_at_once && total != 0; ++i) {
        std::uint64_t skip = random_() % total, wanted = length;
        for (const extent& each : from) {
            if (skip >= each.length) {
                skip -= each.length;
                continue;
            }
            const std::uint64_t begin = std::max((each.offset + skip) / block * block, each.offset);
            const extent part = intersect({begin, wanted}, each);
            chosen.add(part);
            wanted -= part.length;
            skip = 0;
            if (wanted < block) break;
        }
    }
    from = without(from, chosen);
    return {chosen.begin(), chosen.end()};
}

void probing::read_both(const std::vector<extent>& stretches, bool keep, bool with_target) {
    std::uint64_t bytes = 0;
    for (const extent& each : stretches) bytes += each.length;
    const auto begin = steady::now();
    const auto ours = [&](const std::stop_token& stop) { return source_.sample(stretches, keep, stop); };
    const auto theirs = [&](const std::stop_token& stop) { return target_->sample(stretches, false, stop); };
    if (with_target) {
        std::tie(from_source_, from_target_) = at_once(options_.cancel, ours, theirs);
    } else {
        from_source_ = ours(options_.cancel);
        from_target_ = {};
    }
    spent_s_ += seconds_since(begin);
    result_.read_source_bytes += bytes;
    if (with_target) result_.read_target_bytes += bytes;
    if (with_target && from_source_.blocks.size() != from_target_.blocks.size())
        throw error(error_kind::peer, "both sides did not sample the same blocks", {.operation = "read"});
}

void probing::take(const extent& block, const block_sample& theirs, const block_sample* ours, sample_plan* plan) {
    const bool differs = ours ? theirs.value != ours->value : !theirs.zero;
    if (plan) plan->record(block.offset, differs);
    if (!differs) return;
    if (!plan) {
        known_changed_ += block.length;
        known_changed_zero_ += theirs.zero ? block.length : 0;
    } else if (ours) {
        ++changed_blocks_;
        changed_zero_blocks_ += theirs.zero ? 1 : 0;
    }
    if (plan && !theirs.zero) to_weigh_.push_back(block.offset);
}

// Bytes.
std::uint64_t probing::read_round(const std::vector<extent>& stretches, bool pair) {
    read_both(stretches, false, pair);
    std::uint64_t bytes = 0;
    std::size_t index = 0;
    for (const extent& each : stretches) {
        bytes += each.length;
        for (std::uint64_t at = each.offset; at < each.end(); at += options_.block_bytes, ++index) {
            const extent block{at, std::min<std::uint64_t>(options_.block_bytes, each.end() - at)};
            take(block, from_source_.blocks[index], pair ? &from_target_.blocks[index] : nullptr, nullptr);
        }
    }
    source_rates_.add(bytes, from_source_);
    if (pair) target_rates_.add(bytes, from_target_);
    return bytes;
}

// The first round is as long as even a slow disk has the time for; it tells how long the next ones may be.
void probing::read_stretches() {
    const bool pair = !common_.empty();
    extent_set& unread = pair ? unread_ : source_only_;
    const double data = static_cast<double>(unread.total());
    double bytes_allowed = data * stretch_share_of_data;
    if (options_.share) bytes_allowed = std::min(bytes_allowed, data * *options_.share * stretch_share_of_budget);
    // Of a small disk short ones: a rate from little is still one, and rounds tell how it varies.
    const double length = std::min(bytes_allowed / stretches_at_once / stretch_rounds_least, double{stretch_bytes_max});
    const std::uint64_t grain = options_.block_bytes;
    const auto whole_blocks = [&](double bytes) { return static_cast<std::uint64_t>(bytes) / grain * grain; };
    const double end_s = spent_s_ + std::max(left_s(), 0.0) * stretch_share_of_budget;
    const auto stretch_for = [&](double rate, unsigned rounds) {
        return whole_blocks(std::min(length, rate * (end_s - spent_s_) / rounds / stretches_at_once));
    };
    if (length < static_cast<double>(grain) || spent_s_ >= end_s) return;
    const std::uint64_t first = std::max(stretch_for(slow_rate, stretch_rounds_least), grain);
    double taken = 0;
    const auto round_of = [&](std::uint64_t stretch) {
        const double before = spent_s_;
        const std::uint64_t bytes = read_round(choose_stretches(unread, stretch), pair);
        taken += static_cast<double>(bytes);
        return static_cast<double>(bytes) / std::max(spent_s_ - before, 1e-9);
    };
    double rate = round_of(first);
    for (unsigned i = 1; i < stretch_rounds_max && !unread.empty() && taken < bytes_allowed; ++i) {
        if (spent_s_ >= end_s) break;
        const bool due = i < stretch_rounds_least;
        const std::uint64_t stretch = stretch_for(rate, due ? stretch_rounds_least - i : 1);
        if (stretch < (due ? std::max(grain, first / 8) : first)) break;
        if (options_.share && taken + static_cast<double>(stretch * stretches_at_once) > bytes_allowed) break;
        rate = round_of(stretch);
    }
}

// What both disks' threads do besides reading. A probe digests by XXH3; where a sync will not, or not alone, the difference counts.
void probing::measure_digesting() {
    rate_options how;
    how.block_bytes = options_.block_bytes;
    how.seconds = digest_seconds;
    // More than there are cores digest nothing faster, and may be more than the system has.
    how.threads = std::min(options_.threads, std::max(std::thread::hardware_concurrency(), 1u));
    digest_rates rates;
    rates.sampled = rates.session = measure_digests(digest_algorithm::xxh3, how, options_.cancel);
    if (options_.algorithm != digest_algorithm::xxh3)
        rates.session = measure_digests(options_.algorithm, how, options_.cancel);
    how.block_bytes = block_bytes_max;  // a proof is of a whole chunk
    rates.proof = measure_digests(digest_algorithm::sha256, how, options_.cancel);
    result_.rates.digest = rates;
}

// Blocks at random that there is time for, at most `most`: 0 once the budget is used up, but for the first few. Half of what is left:
// what a block takes may grow, and a budget is a promise.
std::uint64_t probing::count_of_round(std::uint64_t done, std::uint64_t most) {
    if (options_.share) return most;
    const double reserve_s = std::min(reserve_s_, static_cast<double>(reserve_blocks_) * block_s_);
    const double affordable = std::clamp((left_s() - reserve_s) / std::max(block_s_, 1e-9), 0.0, 1e15);
    if (done != 0 && affordable < 1) {
        result_.out_of_budget = true;
        return 0;
    }
    const std::uint64_t least = done == 0 ? pilot_blocks_least : 1;
    return std::min(std::max(static_cast<std::uint64_t>(affordable / 2), least), most);
}

void probing::read_blocks(const std::vector<extent>& blocks, bool with_target) {
    const double before = spent_s_;
    read_both(blocks, true, with_target);
    block_s_ = (spent_s_ - before) / static_cast<double>(blocks.size());
}

// What is to be read at random of some data, of which long stretches have read a part: that is within the share, too.
std::uint64_t probing::blocks_wanted(std::uint64_t data_bytes, std::uint64_t bytes_read, std::uint64_t most) const {
    if (!options_.share) return most;
    const double wanted = static_cast<double>(data_bytes) * *options_.share - static_cast<double>(bytes_read);
    const double blocks = std::ceil(std::max(wanted, 0.0) / options_.block_bytes);
    return std::max(static_cast<std::uint64_t>(blocks), pilot_blocks_least);
}

void probing::sample_common() {
    if (unread_.empty() || common_.empty()) return;
    const std::uint64_t wanted =
        blocks_wanted(result_.common_data, result_.common_data - unread_.total(), options_.blocks_max);
    common_plan_.emplace(unread_, options_.block_bytes, random_(), wanted);
    reserve_s_ = std::max(left_s(), 0.0) * source_only_share;
    reserve_blocks_ = std::min(source_only_.total() / options_.block_bytes + 1, source_only_blocks);
    if (source_only_.empty()) reserve_blocks_ = 0;
    for (std::uint64_t done = 0; done < wanted;) {
        const std::uint64_t count =
            count_of_round(done, std::min(wanted - done, done == 0 ? pilot_blocks : round_blocks_max));
        const std::vector<extent> blocks = common_plan_->next_round(count);
        if (blocks.empty()) break;
        read_blocks(blocks, true);
        for (std::size_t i = 0; i < blocks.size(); ++i)
            take(blocks[i], from_source_.blocks[i], &from_target_.blocks[i], &*common_plan_);
        done += blocks.size();
        result_.blocks_sampled += blocks.size();
    }
}

void probing::sample_source_only() {
    if (source_only_.empty()) return;
    reserve_blocks_ = 0;
    const std::uint64_t all = result_.source_data - result_.common_data, read = all - source_only_.total();
    const std::uint64_t wanted = std::min(blocks_wanted(all, read, source_only_blocks), source_only_blocks);
    source_only_plan_.emplace(source_only_, options_.block_bytes, random_(), wanted);
    for (std::uint64_t done = 0; done < wanted;) {
        const std::vector<extent> blocks =
            source_only_plan_->next_round(count_of_round(done, std::min(wanted - done, pilot_blocks)));
        if (blocks.empty()) break;
        read_blocks(blocks, false);
        for (std::size_t i = 0; i < blocks.size(); ++i)
            take(blocks[i], from_source_.blocks[i], nullptr, &*source_only_plan_);
        done += blocks.size();
        result_.blocks_sampled += blocks.size();
    }
}

void probing::weigh() {
    if (to_weigh_.empty()) return;
    std::ranges::sort(to_weigh_);
    const std::vector<packed_batch> batches = source_.weigh(to_weigh_, options_.cancel);
    std::vector<weighed> weights;
    std::vector<double> rates;
    for (const packed_batch& each : batches) {
        weights.push_back({each.raw_bytes, each.packed_bytes});
        if (each.processor_seconds > 0) rates.push_back(static_cast<double>(each.raw_bytes) / each.processor_seconds);
    }
    if (!weights.empty()) result_.compression_ratio = estimate_ratio(weights);
    if (!rates.empty()) result_.rates.encode = spread_of(rates);
}

// Each part by what it stands for: what was read is known, what both hold has its sample, and what the source alone holds
// has not changed where it is zero.
std::optional<spread<double>> probing::zero_share() const {
    const auto all = static_cast<double>(result_.changed.likely);
    if (all == 0) return std::nullopt;
    const auto known = static_cast<double>(known_changed_zero_);
    if (changed_blocks_ == 0) return exactly(std::min(known / all, 1.0));
    const double sampled = estimate_hits(common_plan_->strata()).likely * options_.block_bytes;
    const spread<double> of_sampled = estimate_share(changed_blocks_, changed_zero_blocks_);
    const auto share = [&](double part) { return std::min((known + part * sampled) / all, 1.0); };
    return spread<double>{share(of_sampled.low), share(of_sampled.likely), share(of_sampled.high)};
}

void probing::settle() {
    std::vector<stratum> strata;
    for (const auto* plan : {&common_plan_, &source_only_plan_}) {
        if (!*plan) continue;
        strata.insert(strata.end(), (*plan)->strata().begin(), (*plan)->strata().end());
    }
    const spread<double> found = estimate_hits(strata);
    const auto bytes = [&](double blocks) {
        return known_changed_ + static_cast<std::uint64_t>(std::llround(blocks * options_.block_bytes));
    };
    result_.changed = {bytes(found.low), bytes(found.likely), bytes(found.high)};
    // The last block of a disk may be short.
    result_.changed.high = std::min(result_.changed.high, result_.source_data);
    result_.changed.likely = std::min(result_.changed.likely, result_.changed.high);
    result_.changed.low = std::min(result_.changed.low, result_.changed.likely);
    result_.none_changed = result_.changed.likely == 0;
    result_.zero_share = zero_share();
    result_.rates.source_read = source_rates_.rate();
    result_.rates.target_read = target_rates_.rate();
    result_.rates.one_round = source_rates_.one_round() || target_rates_.one_round();
    result_.rates.source_processor_s = source_rates_.processor_s();
    result_.rates.target_processor_s = target_rates_.processor_s();
}

}  // namespace

probe_result probe(probed_disk& source, probed_disk* target, const probe_options& options) {
    if (!(options.budget_s >= 0.1) || options.budget_s > 1e6)
        throw error(error_kind::usage, "a probe's budget is from 0.1 seconds to a million");
    if (options.share && !(*options.share > 0 && *options.share <= 1))
        throw error(error_kind::usage, "a probe's share of the data is above 0 and at most 1");
    return probing(source, target, options).run();
}

}  // namespace reprotect
