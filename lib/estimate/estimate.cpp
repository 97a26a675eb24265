// What the models share: checks, the registry, what is assumed of sizes, totals.
#include "reprotect/estimate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/utf8.hpp"
#include "estimate/models.hpp"
#include "reprotect/error.hpp"
#include "reprotect/units.hpp"

namespace reprotect {
namespace {

// As on the wire: no range of a disk ends beyond it. All disks together are bounded by it, too, so that sums never
// wrap.
constexpr std::uint64_t size_max = 1ull << 62;
constexpr std::size_t disks_max = 1024;  // guessed: more disks than any machine has
constexpr double seconds_max = 1e10;     // guessed: three centuries

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
    throw error(error_kind::usage, what, {.operation = "estimate", .hint = hint});
}

std::string label_of(const workload_disk& disk, std::size_t index, std::size_t count) {
    if (!disk.name.empty()) return "disk " + on_one_line(disk.name);
    return count == 1 ? "the disk" : "disk number " + std::to_string(index + 1);
}

void check_size(std::uint64_t bytes, const std::string& what) {
    if (bytes > size_max)
        refuse(what + " is " + std::to_string(bytes) + " bytes, which no disk has (or it was negative)",
               "give a size of at most 4 EiB");
}

template <typename Number>
void check_order(const spread<Number>& value, const std::string& what) {
    if (!(value.low <= value.likely && value.likely <= value.high))
        refuse(what + " is not in order: low, likely, high", "give the lowest figure first and the highest last");
}

void check_rate(const std::optional<spread<double>>& rate, const std::string& what) {
    if (!rate) return;
    if (!(rate->low > 0) || !std::isfinite(rate->high) || std::isnan(rate->likely))
        refuse(what + " is not above zero", "give a rate above zero, such as 45MB/s");
    check_order(*rate, what);
}

void check_rate(const std::optional<double>& rate, const std::string& what) {
    if (rate) check_rate(exactly(*rate), what);
}

struct bounds {
    double least;
    double most;
    const char* hint;
};

void check_between(const std::optional<spread<double>>& value, const bounds& within, const std::string& what) {
    if (!value) return;
    if (!(value->low >= within.least) || !(value->high <= within.most) || std::isnan(value->likely))
        refuse(what + " is not within " + short_number(within.least) + " and " + short_number(within.most),
               within.hint);
    check_order(*value, what);
}

void check_rates(const disk_rates& rates, const std::string& of) {
    check_rate(rates.source_read, "the source's read rate" + of);
    check_rate(rates.target_read, "the target's read rate" + of);
    check_rate(rates.target_write, "the target's write rate" + of);
}

void check_disk(const workload_disk& disk, const std::string& label) {
    if (disk.size_bytes) check_size(*disk.size_bytes, "the size of " + label);
    if (disk.used_bytes) check_size(*disk.used_bytes, "the used part of " + label);
    if (disk.target_used_bytes) check_size(*disk.target_used_bytes, "the target's used part of " + label);
    struct bound {
        std::uint64_t bytes;
        const char* what;
        const char* option;  // also a key of --disk
    };
    const auto given_by = [&](const bound& each) {
        return disk.name.empty() ? std::string("--") + each.option : std::string(each.option) + "=";
    };
    const auto at_most = [&](const bound& part, const bound& whole) {
        if (part.bytes > whole.bytes)
            refuse("of " + label + " more is " + part.what + " (" + std::to_string(part.bytes) + " bytes) than " +
                       whole.what + " (" + std::to_string(whole.bytes) + " bytes)",
                   given_by(part) + " is at most " + given_by(whole) + "; are the units the same?");
    };
    const bound size{disk.size_bytes.value_or(0), "its size", "size"};
    if (disk.size_bytes && disk.used_bytes) at_most({*disk.used_bytes, "used", "used"}, size);
    if (disk.size_bytes && disk.target_used_bytes)
        at_most({*disk.target_used_bytes, "used on the target", "target-used"}, size);
    if (disk.changed_bytes) {
        check_size(disk.changed_bytes->high, "the changed part of " + label);
        check_order(*disk.changed_bytes, "the changed part of " + label);
        const bound changed{disk.changed_bytes->high, "changed", "changed"};
        if (disk.used_bytes)
            at_most(changed, {*disk.used_bytes, "is used", "used"});
        else if (disk.size_bytes)
            at_most(changed, size);
    }
    check_rates(disk.rates, " of " + label);
    check_rates(disk.measured, " as measured of " + label);
}

std::string joined(const std::vector<std::string>& names) {
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    return list;
}

const char* why_full_copy(target_state state) {
    switch (state) {
        case target_state::usable:
            return "the target is usable";
        case target_state::missing:
            return "the target is missing";
        case target_state::deleted:
            return "the target's data is deleted";
        case target_state::corrupted:
            return "the target's data is corrupted";
        case target_state::out_of_reach:
            return "the target is out of reach";
    }
    return "";
}

// Then a sync has nothing to compare with, though nothing happened to the target.
bool holds_nothing(const workload_disk& disk) {
    return disk.target == target_state::usable && disk.target_used_bytes == std::uint64_t{0};
}

constexpr target_state all_states[] = {target_state::usable, target_state::missing, target_state::deleted,
                                       target_state::corrupted, target_state::out_of_reach};

}  // namespace

const char* to_string(target_state state) noexcept {
    switch (state) {
        case target_state::usable:
            return "usable";
        case target_state::missing:
            return "missing";
        case target_state::deleted:
            return "deleted";
        case target_state::corrupted:
            return "corrupted";
        case target_state::out_of_reach:
            return "out-of-reach";
    }
    return "unknown";
}

target_state parse_target_state(std::string_view text) {
    std::vector<std::string> words;
    for (const target_state state : all_states) {
        if (text == to_string(state)) return state;
        words.emplace_back(to_string(state));
    }
    refuse("\"" + on_one_line(text) + "\" is no state of a target", "write one of " + joined(words));
}

void check_workload(const workload& what) {
    if (what.disks.empty()) refuse("there is no disk to estimate", "describe at least one disk");
    if (what.disks.size() > disks_max)
        refuse("there are more than " + std::to_string(disks_max) + " disks", "estimate one machine at a time");
    std::uint64_t together = 0;
    for (std::size_t i = 0; i < what.disks.size(); ++i) {
        const workload_disk& disk = what.disks[i];
        check_disk(disk, label_of(disk, i, what.disks.size()));
        std::uint64_t largest =
            std::max({disk.size_bytes.value_or(0), disk.used_bytes.value_or(0), disk.target_used_bytes.value_or(0)});
        if (disk.changed_bytes) largest = std::max(largest, disk.changed_bytes->high);
        if (largest > size_max - together) refuse("the disks together are larger than 4 EiB", "check the sizes' units");
        together += largest;
        for (std::size_t j = 0; j < i; ++j)
            if (!disk.name.empty() && what.disks[j].name == disk.name)
                refuse("two disks are called " + on_one_line(disk.name), "give each disk a name of its own");
    }
    check_rates(what.rates, "");
    check_rate(what.link.rate, "the link's rate");
    const bounds round_trips{0, 3600, "--round-trip takes 0s to 1h, such as 20ms"};
    check_between(what.link.round_trip_s, round_trips, "the link's round trip in seconds");
    if (what.link.measured) {
        check_between(what.link.measured->round_trip_s, round_trips, "the link's round trip in seconds");
        check_rate(what.link.measured->to_target, "the link's rate towards the target");
        check_rate(what.link.measured->to_source, "the link's rate towards the source");
    }
    check_rate(what.link.limit_to_target, "the limit towards the target");
    check_rate(what.link.limit_to_source, "the limit towards the source");
    if (what.link.connections && (*what.link.connections < 1 || *what.link.connections > 16))
        refuse("the number of connections is " + std::to_string(*what.link.connections), "give a number from 1 to 16");
    check_between(what.compression_ratio, {1, 1000, "--compression takes 1 (nothing is saved) to 1000, such as 1.6"},
                  "the compression ratio");
    check_between(what.zero_share, {0, 1, "--zero-share takes 0% to 100%"}, "the share of zero blocks");
    check_rate(what.digest_rate, "the digest rate");
    check_rate(what.proof_rate, "the rate of SHA-256");
    check_rate(what.encode_rate, "the rate of compression and encryption");
    check_geometry({size_max, what.chunk_bytes, what.block_bytes});
    check_rate(what.effective_rate, "the effective rate");
    check_rate(what.disk_rate, "the disk's rate");
    if (what.initial_replication_s && !(*what.initial_replication_s > 0 && *what.initial_replication_s <= seconds_max))
        refuse("the duration of the initial replication is not above zero, or longer than three centuries",
               "--initial-replication takes how long it took, such as 72m");
}

model_registry::model_registry() : models_{make_asr_2018(), make_asr_2023(), make_pipeline()} {}

void model_registry::add(std::shared_ptr<const estimate_model> model) {
    const std::string name = model->name();
    for (const auto& known : models_)
        if (known->name() == name)
            refuse("there is a model called \"" + on_one_line(name) + "\" already", "give the model another name");
    models_.push_back(std::move(model));
}

const estimate_model& model_registry::find(std::string_view name) const {
    for (const auto& model : models_)
        if (model->name() == name) return *model;
    refuse("there is no model \"" + on_one_line(name) + "\": there are " + joined(names()), "name one of these");
}

std::vector<std::string> model_registry::names() const {
    std::vector<std::string> result;
    for (const auto& model : models_) result.push_back(model->name());
    return result;
}

// ---- for the models ----

void assumption_list::add(std::string name, std::string value, std::string source) {
    for (const estimate_assumption& known : into_)
        if (known.name == name) return;
    into_.push_back({std::move(name), std::move(value), std::move(source)});
}

std::vector<settled_disk> settle_disks(const workload& what, assumption_list& assumptions, settle_options options) {
    std::vector<settled_disk> result;
    for (std::size_t i = 0; i < what.disks.size(); ++i) {
        const workload_disk& given = what.disks[i];
        settled_disk disk;
        disk.given = &given;
        disk.label = label_of(given, i, what.disks.size());
        const bool blank = holds_nothing(given);
        disk.full_copy = given.target != target_state::usable || blank;
        const std::string of = " of " + disk.label;
        const bool known = given.size_bytes || given.used_bytes;
        if (!known && !(options.used_may_be_unknown && !disk.full_copy && given.changed_bytes))
            refuse("neither the size" + of + " is known nor how much of it is used", "give at least one of the two");
        disk.size = given.size_bytes.value_or(given.used_bytes.value_or(0));
        if (options.with_size && !given.size_bytes)
            assumptions.add("size" + of, decimal_size(disk.size), "not given: what is used stands for the whole disk");
        disk.used = given.used_bytes.value_or(disk.size);
        if (!given.used_bytes && known)
            assumptions.add("used" + of, decimal_size(disk.used), "not given: the whole disk, the most that it can be");
        if (disk.full_copy) {
            // What was seen of a blank target counts: zero blocks of the source are none that it lacks.
            disk.changed = blank ? given.changed_bytes.value_or(exactly(disk.used)) : exactly(disk.used);
        } else {
            disk.target_used = given.target_used_bytes.value_or(disk.used);
            if (options.with_target && !given.target_used_bytes)
                assumptions.add("used on the target" + of, decimal_size(disk.target_used),
                                "not given: as much as on the source");
            // The only published example that has both figures: 45 of 127 GB.
            const auto likely = static_cast<std::uint64_t>(static_cast<double>(disk.used) * 45 / 127);
            disk.changed = given.changed_bytes.value_or(spread<std::uint64_t>{0, likely, disk.used});
            if (!given.changed_bytes)
                assumptions.add("changed" + of, show_size(disk.changed),
                                "not given: a guess; between nothing and all that is used, likely the share of the "
                                "vendor's example, 45 of 127 GB");
        }
        result.push_back(disk);
    }
    return result;
}

full_copy_estimate full_copy_of(const workload& what) {
    full_copy_estimate result;
    for (std::size_t i = 0; i < what.disks.size(); ++i) {
        const workload_disk& disk = what.disks[i];
        if (disk.target == target_state::usable && !holds_nothing(disk)) continue;
        result.reason += (result.needed ? "; " : "") +
                         (what.disks.size() == 1 ? "" : label_of(disk, i, what.disks.size()) + ": ") +
                         (holds_nothing(disk) ? "the target holds no data" : why_full_copy(disk.target));
        result.needed = true;
    }
    if (!result.needed)
        result.reason = what.disks.size() == 1 ? "the target is usable, so only what changed is sent"
                                               : "all targets are usable, so only what changed is sent";
    return result;
}

std::string short_number(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
}

namespace {
template <typename Number, typename Show>
std::string show(const spread<Number>& value, Show one) {
    if (value.low == value.high) return one(value.likely);
    return one(value.low) + " to " + one(value.high) + ", likely " + one(value.likely);
}
}  // namespace

std::string show_rate(const spread<double>& rate) {
    return show(rate, format_rate);
}
std::string show_size(const spread<std::uint64_t>& bytes) {
    return show(bytes, decimal_size);
}
std::string decimal_size(std::uint64_t bytes) {
    std::string text = format_rate(static_cast<double>(bytes));
    text.resize(text.size() - 2);  // without "/s"
    return text;
}
std::string show_binary_size(const spread<std::uint64_t>& bytes) {
    return show(bytes, format_size);
}
std::string show_binary_rate(const spread<double>& rate) {
    return show(rate, [](double value) { return format_size(static_cast<std::uint64_t>(value)) + "/s"; });
}
std::string show_number(const spread<double>& value) {
    return show(value, short_number);
}

spread<double> total_of(const std::vector<estimate_phase>& phases) {
    spread<double> sum, slowest;
    for (const estimate_phase& phase : phases) {
        if (phase.overlapping) {
            slowest.low = std::max(slowest.low, phase.seconds.low);
            slowest.likely = std::max(slowest.likely, phase.seconds.likely);
            slowest.high = std::max(slowest.high, phase.seconds.high);
        } else {
            sum.low += phase.seconds.low;
            sum.likely += phase.seconds.likely;
            sum.high += phase.seconds.high;
        }
    }
    return {sum.low + slowest.low, sum.likely + slowest.likely, sum.high + slowest.high};
}

}  // namespace reprotect
