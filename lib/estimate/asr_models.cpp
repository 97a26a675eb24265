// The vendor's two tables, as formulas. Neither is tuned to its printed examples: no reading of their units gives all
// printed figures, so each estimate carries the other readings beside it.
//
// asr-2018   checksum: used data at the effective rate; transfer: changed data at the same rate; scale-out: 20 to 30
//            minutes.
// asr-2023   checksum: as long as the initial replication took; transfer: changed data at 23% of the disk's throughput;
//            processing of the recovery points that piled up meanwhile: a fifth of the two before it; scale-out as
//            above. "At least" the sum of these.
//
// A disk that needs a full copy has neither checksum nor transfer: all used data travels, at the effective rate (2018),
// or as long as the initial replication took (2023).
#include <cmath>
#include <numeric>
#include <utility>

#include "estimate/models.hpp"
#include "reprotect/units.hpp"

namespace reprotect {
namespace {

constexpr double effective_rate_default = 45e6;  // the vendor's example: 45 "MBs" of a standard disk of 60 MiB/s
constexpr double disk_rate_default = 60e6;  // the vendor's example, and its documented cap of standard disks up to S50
constexpr double transfer_share = 0.23;     // specified by the vendor's second document
constexpr double processing_share = 1.0 / 5;                            // likewise
constexpr spread<double> scale_out_s{20 * 60.0, 25 * 60.0, 30 * 60.0};  // specified as 20 to 30; likely is the middle

spread<double> seconds_for(const spread<std::uint64_t>& bytes, const spread<double>& rate) {
    return {static_cast<double>(bytes.low) / rate.high, static_cast<double>(bytes.likely) / rate.likely,
            static_cast<double>(bytes.high) / rate.low};
}

spread<std::uint64_t> operator+(const spread<std::uint64_t>& left, const spread<std::uint64_t>& right) {
    return {left.low + right.low, left.likely + right.likely, left.high + right.high};
}

spread<double> scaled(const spread<double>& value, double by) {
    return {value.low * by, value.likely * by, value.high * by};
}

// All disks of the machine, as one appliance takes them.
struct volume {
    std::uint64_t used_compared = 0;
    std::uint64_t used_copied = 0;
    spread<std::uint64_t> changed;  // of the disks that are compared
    bool compares = false;
    bool copies = false;
};

volume volume_of(const std::vector<settled_disk>& disks) {
    volume sum;
    for (const settled_disk& disk : disks) {
        (disk.full_copy ? sum.used_copied : sum.used_compared) += disk.used;
        (disk.full_copy ? sum.copies : sum.compares) = true;
        if (!disk.full_copy) sum.changed = sum.changed + disk.changed;
    }
    return sum;
}

enum class prefix { decimal, binary, unknown };

// A tenth of a GB or of a MB/s is the finest that people write; an eighth of a GiB likewise.
prefix prefix_of_sizes(const workload& what) {
    bool decimal = true, binary = true;
    const auto look = [&](std::uint64_t bytes) {
        decimal = decimal && bytes % 100'000'000 == 0;
        binary = binary && bytes % (1ull << 27) == 0;
    };
    for (const workload_disk& disk : what.disks) {
        look(disk.used_bytes.value_or(disk.size_bytes.value_or(0)));
        if (!disk.changed_bytes) continue;
        look(disk.changed_bytes->low);
        look(disk.changed_bytes->likely);
        look(disk.changed_bytes->high);
    }
    return decimal ? prefix::decimal : binary ? prefix::binary : prefix::unknown;
}

prefix prefix_of_rate(const workload& what) {
    bool decimal = true, binary = true;
    const auto look = [&](double rate) {
        decimal = decimal && std::fmod(rate, 1e5) == 0;
        binary = binary && std::fmod(rate, 131072.0) == 0;
    };
    if (what.disk_rate) look(*what.disk_rate);
    if (what.effective_rate) {
        look(what.effective_rate->low);
        look(what.effective_rate->likely);
        look(what.effective_rate->high);
    }
    return decimal ? prefix::decimal : binary ? prefix::binary : prefix::unknown;
}

struct units_used {
    prefix sizes = prefix::unknown;
    prefix rates = prefix::unknown;
    std::string show(const spread<double>& rate) const {
        return rates == prefix::binary ? show_binary_rate(rate) : show_rate(rate);
    }
};

units_used units_of(const workload& what) {
    return {prefix_of_sizes(what), prefix_of_rate(what)};
}

void add_scale_out(estimate& to, assumption_list& assumptions) {
    to.phases.push_back({"scale-out", scale_out_s, "the vendor's 20 to 30 minutes for its appliance"});
    assumptions.add("scale-out", "25 min", "the middle of the vendor's 20 to 30 minutes");
}

void finish(estimate& to, const workload& what, const volume& all) {
    to.to_target = all.changed + exactly(all.used_copied);
    to.full_copy = full_copy_of(what);
    to.scope = {!what.link.one_machine, to.full_copy.needed, all.used_compared + all.used_copied, to.to_target.likely};
    to.total_s = total_of(to.phases);
    to.notes.emplace_back(
        "this model counts no traffic towards the source, no compression and no framing: the vendor's documents do "
        "not");
    if (what.disks.size() > 1)
        to.notes.emplace_back("the disks' bytes are added up: one appliance takes them all at one rate");
}

// In the units of the figures themselves, so that GB and GiB are not mixed silently.
std::string at_rate(const std::string& what, const spread<std::uint64_t>& bytes, const spread<double>& rate,
                    const units_used& units) {
    return what + ", " + (units.sizes == prefix::binary ? show_binary_size(bytes) : show_size(bytes)) + ", at " +
           units.show(rate);
}

// What both have in common: the rate is filled in, then all is computed, also with the figures read in other units.
class asr_model : public estimate_model {
public:
    estimate run(const workload& what) const final {
        check_workload(what);
        estimate result;
        assumption_list assumptions(result.assumptions);
        const workload complete = completed(what, assumptions);
        compute(complete, result, assumptions);
        result.readings = read_in_other_units(complete, [this](const workload& other) {
            estimate reading;
            assumption_list ignored(reading.assumptions);
            compute(other, reading, ignored);
            return reading;
        });
        return result;
    }

private:
    virtual workload completed(const workload& what, assumption_list& assumptions) const = 0;
    virtual void compute(const workload& what, estimate& into, assumption_list& assumptions) const = 0;
};

class asr_2018 final : public asr_model {
public:
    std::string name() const override { return "asr-2018"; }
    std::string summary() const override {
        return "the vendor's first table: used data is read and changed data sent at one rate, and 20 to 30 minutes";
    }

private:
    workload completed(const workload& what, assumption_list& assumptions) const override {
        workload complete = what;
        complete.disk_rate.reset();
        complete.effective_rate =
            assumptions.take<spread<double>>(what.effective_rate, exactly(effective_rate_default), "effective rate",
                                             show_rate, "not given: the vendor's example, 45 \"MBs\" read as MB/s");
        return complete;
    }
    void compute(const workload& what, estimate& into, assumption_list& assumptions) const override {
        into.model = name();
        const volume all = volume_of(settle_disks(what, assumptions, {}));
        const spread<double> rate = *what.effective_rate;
        const units_used units = units_of(what);
        if (all.compares) {
            const spread<std::uint64_t> used = exactly(all.used_compared);
            into.phases.push_back(
                {"checksum", seconds_for(used, rate), at_rate("used data is read", used, rate, units)});
            into.phases.push_back({"transfer", seconds_for(all.changed, rate),
                                   at_rate("changed data is sent", all.changed, rate, units)});
        }
        if (all.copies) {
            const spread<std::uint64_t> used = exactly(all.used_copied);
            into.phases.push_back(
                {"full-copy", seconds_for(used, rate), at_rate("all used data is sent", used, rate, units)});
        }
        add_scale_out(into, assumptions);
        finish(into, what, all);
    }
};

class asr_2023 final : public asr_model {
public:
    std::string name() const override { return "asr-2023"; }
    std::string summary() const override {
        return "its successor: the initial replication again, changed data at 23% of the disk's rate, a fifth for "
               "recovery points";
    }

private:
    workload completed(const workload& what, assumption_list& assumptions) const override {
        workload complete = what;
        complete.effective_rate.reset();
        complete.disk_rate = assumptions.take<double>(
            what.disk_rate, disk_rate_default, "disk rate", format_rate,
            "not given: the vendor's example, which is its documented cap of standard disks up to S50");
        return complete;
    }
    void compute(const workload& what, estimate& into, assumption_list& assumptions) const override {
        into.model = name();
        bool copies = false;
        for (const workload_disk& disk : what.disks) copies = copies || disk.target != target_state::usable;
        // With the duration given, used data counts only where bytes are told from it, or the duration is divided by
        // it.
        const settle_options options{.used_may_be_unknown = what.initial_replication_s && !copies};
        const volume all = volume_of(settle_disks(what, assumptions, options));
        const double rate = *what.disk_rate;
        const units_used units = units_of(what);
        const double used = static_cast<double>(all.used_compared) + static_cast<double>(all.used_copied);
        const double replication_s = what.initial_replication_s.value_or(used / rate);
        if (!what.initial_replication_s)
            assumptions.add("initial replication", format_duration(replication_s),
                            "not given: used data at the disk's rate, " + format_rate(rate));
        const std::string measure = what.initial_replication_s ? "the initial replication took"
                                                               : "the initial replication is assumed to have taken";

        spread<double> before;
        const auto add = [&](const char* phase, const spread<double>& seconds, const std::string& reason) {
            into.phases.push_back({phase, seconds, reason});
            before = {before.low + seconds.low, before.likely + seconds.likely, before.high + seconds.high};
        };
        // One duration stands for all disks: each kind gets its share by used data.
        const double copied_share = all.compares ? (used > 0 ? static_cast<double>(all.used_copied) / used : 0) : 1;
        if (all.compares) {
            add("checksum", exactly(replication_s * (1 - copied_share)),
                "as long as " + measure + (all.copies ? ", by the share of used data" : ""));
            const spread<double> share = exactly(rate * transfer_share);
            add("transfer", seconds_for(all.changed, share),
                at_rate("changed data is sent", all.changed, share, units) + ", 23% of the disk's " +
                    units.show(exactly(rate)));
        }
        if (all.copies)
            add("full-copy", exactly(replication_s * copied_share),
                "at least as long as " + measure + (all.compares ? ", by the share of used data" : ""));
        into.phases.push_back({"processing", scaled(before, processing_share),
                               "a fifth of the phases before, for the recovery points that piled up meanwhile"});
        add_scale_out(into, assumptions);
        finish(into, what, all);
        into.notes.emplace_back("the total is a lower bound: the vendor says \"at least\" the sum of the phases");
    }
};

// ---- readings ----

constexpr double gib_by_gb = 1.073741824;
constexpr double mib_by_mb = 1.048576;

double factor(prefix from, prefix to, double binary_by_decimal) {
    if (from == to) return 1;
    return to == prefix::binary ? binary_by_decimal : 1 / binary_by_decimal;
}

workload converted(workload what, double sizes, double rates) {
    const auto bytes = [&](std::uint64_t& value) {
        value = static_cast<std::uint64_t>(std::llround(static_cast<double>(value) * sizes));
    };
    for (workload_disk& disk : what.disks) {
        if (disk.size_bytes) bytes(*disk.size_bytes);
        if (disk.used_bytes) bytes(*disk.used_bytes);
        if (!disk.changed_bytes) continue;
        bytes(disk.changed_bytes->low);
        bytes(disk.changed_bytes->likely);
        bytes(disk.changed_bytes->high);
    }
    if (what.disk_rate) *what.disk_rate *= rates;
    if (what.effective_rate) what.effective_rate = scaled(*what.effective_rate, rates);
    return what;
}

}  // namespace

std::vector<unit_reading> read_in_other_units(const workload& what,
                                              const std::function<estimate(const workload&)>& run) {
    const auto [sizes, rates] = units_of(what);
    std::vector<unit_reading> result;
    if (sizes == prefix::unknown || rates == prefix::unknown) return result;
    const std::pair<prefix, prefix> pairs[] = {{prefix::decimal, prefix::decimal},
                                               {prefix::binary, prefix::binary},
                                               {prefix::decimal, prefix::binary},
                                               {prefix::binary, prefix::decimal}};
    for (const auto& [of_sizes, of_rates] : pairs) {
        const bool as_given = of_sizes == sizes && of_rates == rates;
        // Nobody writes GiB beside MB/s by mistake.
        if (of_sizes == prefix::binary && of_rates == prefix::decimal && !as_given) continue;
        const estimate read =
            run(converted(what, factor(sizes, of_sizes, gib_by_gb), factor(rates, of_rates, mib_by_mb)));
        unit_reading reading;
        reading.name = std::string(of_sizes == prefix::decimal ? "GB" : "GiB") + " and " +
                       (of_rates == prefix::decimal ? "MB/s" : "MiB/s");
        reading.as_given = as_given;
        reading.phases = read.phases;
        reading.total_s = read.total_s;
        result.push_back(std::move(reading));
    }
    return result;
}

std::shared_ptr<const estimate_model> make_asr_2018() {
    return std::make_shared<asr_2018>();
}
std::shared_ptr<const estimate_model> make_asr_2023() {
    return std::make_shared<asr_2023>();
}

}  // namespace reprotect
