// How good a probe's intervals are: pairs of generated disks whose difference is known, probed as any disks are.
//   reprotect_intervals [--pairs N] [--blocks N] [--disk MIB] [--check | --check-wide]
// For each kind of change, N pairs (300) with shares from 0.1% to 50% of the data, evenly by their logarithm. Printed are
//   coverage   how many of the 90% intervals hold what really changed
//   half/true  the median of half an interval's width by the truth, where at least 2% changed
//   of bound   half the width by that of a binomial sample as large that sees the same share (1.645 deviations): median
//              and worst
// `new files` lie where the source alone has data, up to 5% of it, and of the rest hardly anything changed: two samples with
// unlike shares. `nothing` has an upper bound instead: how many hold, and the median bound as a share of the data. Everything changed is
// seen at once: there the interval always holds. `as used` is aging once more, but probed as a user's disks are: within the default
// budget, long stretches first, which know a part for certain, so that no binomial bound applies. With --check a coverage outside of 87% to 97% (of the kinds between;
// of new files, of which hits come one by one, only below), a width above 15% of the truth or 1.3 of the bound ends with 1; with
// --check-wide, for a few pairs of small disks, a coverage below 60%, a width above 60% of the truth or 2 of the bound.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "reprotect/device.hpp"
#include "reprotect/error.hpp"
#include "reprotect/probe.hpp"

namespace {

using namespace reprotect;

constexpr std::uint64_t block_bytes = 4096;

// A disk each of whose blocks is one number over and over; of those that changed it is another one.
class generated_disk final : public device {
public:
    generated_disk(std::uint64_t blocks, const std::vector<bool>* changed) : blocks_(blocks), changed_(changed) {}
    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return blocks_ * block_bytes; }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        for (std::size_t at = 0; at < into.size(); at += block_bytes) {
            const std::uint64_t number = (offset + at) / block_bytes;
            std::uint64_t word = number * 2 + 1 + ((*changed_)[number] ? blocks_ * 2 : 0);
            for (std::size_t i = 0; i < block_bytes; i += sizeof word) std::memcpy(&into[at + i], &word, sizeof word);
        }
    }
    void write(std::uint64_t, std::span<const std::byte>) override { std::abort(); }
    void write_zeroes(std::uint64_t, std::uint64_t) override { std::abort(); }
    void flush() override { std::abort(); }

private:
    std::string name_ = "generated";
    device_identity identity_;
    device_properties properties_;
    std::uint64_t blocks_;
    const std::vector<bool>* changed_;
};

using generator = std::mt19937_64;

std::uint64_t below(generator& random, std::uint64_t end) {
    return random() % end;
}
double even(generator& random) {
    return static_cast<double>(random() >> 11) / 9007199254740992.0;
}

struct changes {
    std::vector<bool> set;
    std::uint64_t count = 0;
    void mark(std::uint64_t at) {
        if (at >= set.size() || set[at]) return;
        set[at] = true;
        ++count;
    }
};

void uniform(generator& random, changes& into, std::uint64_t wanted) {
    while (into.count < wanted) into.mark(below(random, into.set.size()));
}

void clustered(generator& random, changes& into, std::uint64_t wanted) {
    const std::uint64_t ranges = 1 + below(random, 8);
    while (into.count < wanted) {
        const std::uint64_t first = below(random, into.set.size());
        for (std::uint64_t i = 0; i < wanted / ranges + 1 && into.count < wanted; ++i) into.mark(first + i);
    }
}

// Pages of 16 KiB of some tables, the low ones of each far more often than the others.
void database(generator& random, changes& into, std::uint64_t wanted) {
    struct table {
        std::uint64_t first, pages;
    };
    std::vector<table> tables;
    std::uint64_t pages = 0;
    while (tables.size() < 12 || pages * 4 < wanted * 2) {
        const std::uint64_t length = 256 + below(random, into.set.size() / 64);
        tables.push_back({below(random, into.set.size() - 4 * length), length});
        pages += length;
    }
    for (std::uint64_t tries = 0; into.count < wanted; ++tries) {
        const table& in = tables[below(random, tables.size())];
        // The hot pages are all changed after a while; then the load moves on.
        const double skew = tries < wanted * 4 ? 3 : 1;
        const auto page = static_cast<std::uint64_t>(static_cast<double>(in.pages) * std::pow(even(random), skew));
        for (std::uint64_t i = 0; i < 4; ++i) into.mark(in.first + 4 * page + i);
        if (tries > wanted * 16) into.mark(below(random, into.set.size()));
    }
}

// Files of all sizes went and came, and each left a trace in the tables of the file system.
void aging(generator& random, changes& into, std::uint64_t wanted) {
    std::normal_distribution<double> bell(3.0, 1.8);
    while (into.count < wanted) {
        const auto length = static_cast<std::uint64_t>(std::clamp(std::exp(bell(random)), 1.0, 65536.0));
        const std::uint64_t first = below(random, into.set.size());
        for (std::uint64_t i = 0; i < length && into.count < wanted; ++i) into.mark(first + i);
        into.mark(below(random, 64) * (into.set.size() / 64) + below(random, 512));
    }
}

// Hardly any, so that often none of them is seen; see without_new_files.
void a_few(generator& random, changes& into, std::uint64_t) {
    const std::uint64_t wanted = below(random, into.set.size() / 1000 + 1);
    while (into.count < wanted) into.mark(below(random, into.set.size()));
}

// What the target has: all but some extents.
extent_set without_new_files(generator& random, std::uint64_t blocks) {
    extent_set data{{0, blocks * block_bytes}};
    const double share = 0.0005 * std::pow(100.0, even(random));
    const auto length = std::max<std::uint64_t>(static_cast<std::uint64_t>(share * static_cast<double>(blocks) / 8), 1);
    for (int i = 0; i < 8; ++i) data.remove({below(random, blocks - length) * block_bytes, length * block_bytes});
    return data;
}

struct settings {
    std::uint64_t pairs = 300;
    std::uint64_t blocks = 10'000;
    std::uint64_t disk_mib = 4096;
    bool check = false;
    bool check_wide = false;
};

struct kind {
    const char* name;
    void (*make)(generator&, changes&, std::uint64_t);
    bool whole = false;      // everything
    bool new_files = false;  // the source's alone
    bool as_used = false;    // with what a probe does by default
};

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::ranges::sort(values);
    return values[values.size() / 2];
}

bool run(const kind& what, const settings& how, std::uint64_t seed) {
    const std::uint64_t blocks = how.disk_mib * (1 << 20) / block_bytes;
    std::uint64_t held = 0, bounded = 0;
    std::vector<double> widths, of_bound, bounds;
    for (std::uint64_t i = 0; i < how.pairs; ++i) {
        generator random(seed * 1'000'003 + i);
        changes made{std::vector<bool>(blocks, what.whole), what.whole ? blocks : 0};
        const double share = 0.001 * std::pow(500.0, even(random));
        if (what.make) what.make(random, made, static_cast<std::uint64_t>(share * static_cast<double>(blocks)));
        const std::vector<bool> none(blocks);
        generated_disk source(blocks, &none), other(blocks, &made.set);
        const extent_set all{{0, blocks * block_bytes}};
        const extent_set data = what.new_files ? without_new_files(random, blocks) : all;
        allocated_device target(other, data);
        for (const extent& gap : data.gaps(all[0]))
            for (std::uint64_t at = gap.offset; at < gap.end(); at += block_bytes) made.mark(at / block_bytes);
        const digest_secret secret{};
        sampling_options sampling;
        sampling.depth = 2;
        sampling.kept_bytes = 0;
        const auto here = make_probed_disk(source, sampling, secret),
                   there = make_probed_disk(target, sampling, secret);
        probe_options options;
        options.blocks_max = how.blocks;
        if (!what.as_used) {
            options.budget_s = 600;
            options.stretches = false;
        }
        options.seed = random();
        const probe_result seen = probe(*here, there.get(), options);
        const std::uint64_t truth = made.count * block_bytes;
        held += seen.changed.low <= truth && truth <= seen.changed.high ? 1 : 0;
        if (seen.none_changed) {
            ++bounded;
            bounds.push_back(static_cast<double>(seen.changed.high) / static_cast<double>(seen.source_data));
            continue;
        }
        const double half = static_cast<double>(seen.changed.high - seen.changed.low) / 2;
        if (made.count * 50 >= blocks) widths.push_back(half / static_cast<double>(truth));
        const double of = static_cast<double>(seen.source_data);
        const double p = static_cast<double>(seen.changed.likely) / of;
        const double bound = 1.645 * std::sqrt(p * (1 - p) / static_cast<double>(seen.blocks_sampled)) * of;
        if (bound > 0 && !what.as_used) of_bound.push_back(half / bound);
    }
    const double coverage = 100 * static_cast<double>(held) / static_cast<double>(how.pairs);
    const double width = median(widths), worst = of_bound.empty() ? 0 : *std::ranges::max_element(of_bound);
    std::printf("%-12s %5llu  %7.1f%%  %8.1f%%  %8.2f  %6.2f", what.name, static_cast<unsigned long long>(how.pairs),
                coverage, 100 * width, median(of_bound), worst);
    if (bounded != 0)
        std::printf("  none seen in %llu: at most %.3f%%", static_cast<unsigned long long>(bounded),
                    100 * median(bounds));
    std::printf("\n");
    std::fflush(stdout);
    const bool between = what.make != nullptr;
    const double coverage_least = between ? 87 : 95, coverage_most = between && !what.new_files ? 97 : 100;
    if (how.check_wide) return coverage >= 60 && width <= 0.6 && worst <= 2;
    return coverage >= coverage_least && coverage <= coverage_most && width <= 0.15 && worst <= 1.3;
}

int usage() {
    std::fprintf(stderr, "usage: reprotect_intervals [--pairs N] [--blocks N] [--disk MIB] [--check | --check-wide]\n");
    return 2;
}

}  // namespace

int main(int count, char** words) {
    settings how;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--check" || word == "--check-wide") {
            how.check = true;
            how.check_wide = word == "--check-wide";
            continue;
        }
        std::uint64_t* const into = word == "--pairs"    ? &how.pairs
                                    : word == "--blocks" ? &how.blocks
                                    : word == "--disk"   ? &how.disk_mib
                                                         : nullptr;
        if (into == nullptr || ++i == count) return usage();
        const char* const end = words[i] + std::strlen(words[i]);
        const auto [stop, problem] = std::from_chars(words[i], end, *into);
        if (problem != std::errc{} || stop != end || *into == 0) return usage();
    }
    constexpr kind kinds[] = {{"uniform", uniform},
                              {"clustered", clustered},
                              {"database", database},
                              {"aging", aging},
                              {"as used", aging, false, false, true},
                              {"new files", a_few, false, true},
                              {"nothing", nullptr},
                              {"everything", nullptr, true}};
    std::printf("kind         pairs  coverage  half/true  of bound   worst\n");
    bool good = true;
    std::uint64_t seed = 1;
    try {
        for (const kind& each : kinds) good = run(each, how, seed++) && good;
    } catch (const std::exception& why) {
        std::fprintf(stderr, "reprotect_intervals: %s\n", why.what());
        return 1;
    }
    return how.check && !good ? 1 : 0;
}
