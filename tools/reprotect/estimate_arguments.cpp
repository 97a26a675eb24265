// A figure is one value, or LOW..HIGH, or LOW..LIKELY..HIGH; a disk is a name and what is known of it, separated by commas.
#include "estimate_arguments.hpp"

#include "reprotect/connect.hpp"
#include "reprotect/units.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

namespace reprotect::tool {
namespace {

constexpr double budget_max_s = 1e6;  // specified by probe_options

std::vector<std::string> split(std::string_view text, std::string_view by) {
    std::vector<std::string> parts;
    while (true) {
        const std::size_t end = text.find(by);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + by.size());
    }
}

double parse_number(const std::string& text) {
    double value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || value < 0)
        refuse_usage(fmt::format("'{}' is no number of zero or more", text));
    return value;
}

// "20ms", "90s", "72m" or "72min", "1h12m".
double parse_seconds(const std::string& text) {
    struct unit {
        std::string_view name;
        double seconds;
    };
    static constexpr unit units[] = {{"ms", 0.001}, {"min", 60}, {"m", 60}, {"s", 1}, {"h", 3600}};
    double total = 0;
    std::string_view rest = text;
    do {
        const std::size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
        const double count = digits == 0 ? -1 : parse_number(std::string(rest.substr(0, digits)));
        rest.remove_prefix(digits);
        const auto* const found = std::find_if(std::begin(units), std::end(units),
                                               [&](const unit& each) { return rest.starts_with(each.name); });
        if (count < 0 || found == std::end(units))
            throw make_error(error_kind::usage, fmt::format("'{}' is no duration", text),
                             {.device = {}, .hint = "as in 20ms, 90s, 72m or 1h12m"});
        total += count * found->seconds;
        rest.remove_prefix(found->name.size());
    } while (!rest.empty());
    return total;
}

double parse_percent(const std::string& text) {
    if (!text.ends_with('%'))
        throw make_error(error_kind::usage, fmt::format("'{}' is no percentage", text),
                         {.device = {}, .hint = "as in 30%"});
    const double value = parse_number(text.substr(0, text.size() - 1)) / 100;
    if (value > 1) refuse_usage(fmt::format("{} is more than all", text));
    return value;
}

double rate_of(const std::string& text) {
    return parse_rate(text);
}
std::uint64_t size_of(const std::string& text) {
    return parse_size(text);
}

template <typename Read>
auto parse_spread(const std::string& text, Read read) {
    using number = std::decay_t<decltype(read(text))>;
    const std::vector<std::string> parts = split(text, "..");
    if (parts.size() > 3)
        throw make_error(error_kind::usage, fmt::format("'{}' has too many parts", text),
                         {.device = {}, .hint = "a figure is VALUE, LOW..HIGH or LOW..LIKELY..HIGH"});
    const number low = read(parts.front());
    const number high = read(parts.back());
    const number likely = parts.size() == 3 ? read(parts[1]) : static_cast<number>(low + (high - low) / 2);
    if (low > high || likely < low || likely > high)
        throw make_error(error_kind::usage, fmt::format("'{}' is not in order", text),
                         {.device = {}, .hint = "LOW..LIKELY..HIGH, the lowest first"});
    return spread<number>{low, likely, high};
}

// Of an option where it was given.
template <typename Read>
auto optional_value(const raw_line& line, const std::string& name, Read read)
    -> std::optional<std::decay_t<decltype(read(name))>> {
    if (!line.has(name)) return std::nullopt;
    return value_option(line, name, read);
}
template <typename Read>
auto optional_spread(const raw_line& line, const std::string& name, Read read) {
    return optional_value(line, name, [&](const std::string& text) { return parse_spread(text, read); });
}

// A field of a disk, from its option or from --disk.
void set_field(workload_disk& disk, const std::string& key, const std::string& value) {
    if (key == "size")
        disk.size_bytes = parse_size(value);
    else if (key == "used")
        disk.used_bytes = parse_size(value);
    else if (key == "target-used")
        disk.target_used_bytes = parse_size(value);
    else if (key == "changed")
        disk.changed_bytes = parse_spread(value, size_of);
    else if (key == "target")
        disk.target = parse_target_state(value);
    else if (key == "source-read")
        disk.rates.source_read = parse_spread(value, rate_of);
    else if (key == "target-read")
        disk.rates.target_read = parse_spread(value, rate_of);
    else if (key == "target-write")
        disk.rates.target_write = parse_spread(value, rate_of);
    else
        throw make_error(error_kind::usage, fmt::format("a disk has no '{}'", key),
                         {.device = {},
                          .hint = "there are size, used, target-used, changed, target, source-read, target-read and "
                                  "target-write"});
}

workload_disk parse_disk(const std::string& text) {
    const std::vector<std::string> parts = split(text, ",");
    workload_disk disk;
    disk.name = parts.front();
    if (disk.name.empty() || disk.name.find('=') != std::string::npos)
        throw make_error(error_kind::usage, fmt::format("'{}' does not begin with a name", text),
                         {.device = {}, .hint = "as in --disk root,size=127GB,used=60GB,changed=3GB"});
    for (std::size_t i = 1; i < parts.size(); ++i) {
        const std::size_t equals = parts[i].find('=');
        if (equals == std::string::npos) refuse_usage(fmt::format("'{}' is no KEY=VALUE", parts[i]));
        const std::string key = parts[i].substr(0, equals);
        try {
            set_field(disk, key, parts[i].substr(equals + 1));
        } catch (const error& problem) {
            throw error(problem.kind(), fmt::format("{}: {}: {}", disk.name, key, problem.what()), problem.detail());
        }
    }
    return disk;
}

constexpr const char* one_disk_options[] = {"--size", "--used", "--target-used", "--changed", "--target"};

// Of disks that are looked at, only what the look cannot tell may be given.
std::vector<workload_disk> read_probed_disk(const raw_line& line, std::size_t named) {
    for (const char* const name : {"--disk", "--size", "--used", "--target-used"}) {
        if (line.has(name))
            refuse_usage(fmt::format("{} is for an estimate on paper, and {} named to be looked at", name,
                                     named == 1 ? "a disk is" : "disks are"),
                         "leave it out, or name no disk");
    }
    for (const char* const name : {"--changed", "--target"}) {
        if (line.has(name) && named == 2)
            refuse_usage(fmt::format("{} is what a look at both disks finds out", name),
                         "leave it out, or leave TARGET out to ask what would be");
    }
    workload_disk disk;
    disk.target = line.has("--changed") ? target_state::usable : target_state::missing;
    for (const char* const name : {"--changed", "--target"}) {
        if (!line.has(name)) continue;
        value_option(line, name, [&](const std::string& text) {
            set_field(disk, std::string(name).substr(2), text);
            return 0;
        });
    }
    if (named == 2) disk.target = target_state::usable;
    return {disk};
}

void read_probing(const raw_line& line, estimate_arguments& result) {
    probe_options& probing = result.probing;
    if (line.has("--budget") && line.has("--sample"))
        refuse_usage("--budget and --sample are two bounds on what is read: give one of them");
    if (const auto budget = optional_value(line, "--budget", parse_seconds)) {
        if (*budget < 0.1) refuse_usage("--budget is too short", "at least 100ms, as in 10s or 2m");
        if (*budget > budget_max_s) refuse_usage("--budget is too long", "at most 277h, as in 10s or 2m");
        probing.budget_s = *budget;
    }
    if (const auto share = optional_value(line, "--sample", parse_percent)) {
        if (*share == 0) refuse_usage("--sample 0% looks at nothing", "as in 2%");
        probing.share = share;
    }
    probing.seed = optional_value(line, "--seed", [](const std::string& text) {
        std::uint64_t seed = 0;
        const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seed);
        if (problem != std::errc{} || end != text.data() + text.size())
            refuse_usage(fmt::format("'{}' is no number from 0 to 18446744073709551615", text));
        return seed;
    });
    result.probe_write = path_option(line, "--probe-write");
}

void read_probe_options(const raw_line& line, bool probes, estimate_arguments& result) {
    if (!probes) {
        for (const char* const name : {"--budget", "--sample", "--seed", "--probe-write", "--direct", "--depth",
                                       "--source-allocation", "--target-allocation"}) {
            if (line.has(name))
                refuse_usage(fmt::format("{} is for a look at disks, and none is named", name),
                             "as in reprotect estimate SOURCE TARGET --budget 10s");
        }
        return;
    }
    read_probing(line, result);
}

std::vector<workload_disk> read_disks(const raw_line& line) {
    std::vector<workload_disk> disks;
    for (const std::string& text : line.repeated.at("--disk")) {
        try {
            disks.push_back(parse_disk(text));
        } catch (const error& problem) {
            throw error(problem.kind(), fmt::format("--disk: {}", problem.what()), problem.detail());
        }
    }
    for (const char* const name : one_disk_options) {
        if (!line.has(name)) continue;
        if (!disks.empty() && line.has("--disk"))
            refuse_usage(fmt::format("{} and --disk do not go together", name),
                         "say what is known of each disk in its --disk");
        if (disks.empty()) disks.emplace_back();
        value_option(line, name, [&](const std::string& text) {
            set_field(disks.front(), std::string(name).substr(2), text);
            return 0;
        });
    }
    if (disks.empty())
        refuse_usage("estimate needs to know how much there is",
                     "name SOURCE and TARGET to look at them; or give --used and --changed (and --size), or --disk "
                     "NAME,size=…,used=…,changed=… for each disk");
    return disks;
}

// Whoever tells of a link, or where traffic is billed, means disks of two machines, also where both can be looked at here.
void read_link(const raw_line& line, estimate_arguments& result, const std::vector<std::string>& disks) {
    workload_link& link = result.what.link;
    link.one_machine = line.has("--one-machine");
    link.rate = optional_spread(line, "--link", rate_of);
    link.round_trip_s = optional_spread(line, "--round-trip", parse_seconds);
    const auto peer = std::find_if(disks.begin(), disks.end(), names_peer);
    if (peer != disks.end() && link.one_machine)
        refuse_usage(fmt::format("--one-machine is for two disks that are here, and {} is a peer's", *peer),
                     "leave it out");
    const bool both_here = disks.size() == 2 && peer == disks.end();
    if (!both_here && !link.one_machine) return;
    for (const char* const name :
         {"--link", "--round-trip", "--compression", "--connections", "--limit", "--egress-from"}) {
        if (!line.has(name)) continue;
        if (link.one_machine)
            refuse_usage(fmt::format("--one-machine and {} do not go together: nothing crosses a link", name),
                         "leave one of them out");
        result.across = name;
        return;
    }
}

struct model_option {
    const char* name;
    const char* model;
};

// What one model alone takes; all others are for all.
constexpr model_option model_options[] = {
    {"--rate", "asr-2018"},         {"--disk-rate", "asr-2023"},   {"--initial-replication", "asr-2023"},
    {"--target-used", "pipeline"},  {"--source-read", "pipeline"}, {"--target-read", "pipeline"},
    {"--target-write", "pipeline"}, {"--one-machine", "pipeline"}, {"--link", "pipeline"},
    {"--round-trip", "pipeline"},   {"--compression", "pipeline"}, {"--zero-share", "pipeline"},
    {"--connections", "pipeline"},  {"--verify", "pipeline"},      {"--digest", "pipeline"},
    {"--chunk-size", "pipeline"},
};
// These are for a look, too.
constexpr const char* pipeline_options_on_paper[] = {"--limit", "--block-size"};

// An estimate that leaves out what was given would be believed to be made from it. A name that is no model's is refused later, with
// those that there are.
void refuse_other_models_options(const raw_line& line, const estimate_arguments& result, bool on_paper) {
    const auto refuse = [&](const std::string& what, const char* model) {
        refuse_usage(fmt::format("{} is for the model {}, and this estimate is by {}", what, model, result.model),
                     fmt::format("leave it out, or give --model {}", model));
    };
    const std::vector<std::string> names = model_registry().names();
    if (std::find(names.begin(), names.end(), result.model) == names.end()) return;
    for (const model_option& option : model_options)
        if (line.has(option.name) && result.model != option.model) refuse(option.name, option.model);
    if (result.model == "pipeline") return;
    for (const char* const name : pipeline_options_on_paper)
        if (line.has(name) && on_paper) refuse(name, "pipeline");
    for (const workload_disk& disk : result.what.disks) {
        const bool rates = disk.rates.source_read || disk.rates.target_read || disk.rates.target_write;
        if (rates || disk.target_used_bytes)
            refuse(fmt::format("a {} of --disk", rates ? "rate" : "target-used"), "pipeline");
    }
}

void refuse_beside_list_prices(const raw_line& line, const arguments& all) {
    if (!all.disks.empty())
        refuse_usage(fmt::format("--list-prices looks at no disk, and '{}' is named", all.disks.front()),
                     "leave one of them out");
    for (const auto& [name, given] : line.given) {
        const bool fits = name == "--list-prices" || name == "--prices" || name == "--json" || name == "--quiet";
        if (given && !fits) refuse_usage(fmt::format("--list-prices and {} do not go together", name), "leave it out");
    }
}

// What the engine will be told, the model has to know. Of a pull, this side writes towards the source.
void take_engine_options(arguments& all) {
    workload& what = all.estimate.what;
    const bool pull = !all.disks.empty() && names_peer(all.disks.front());
    if (all.limit) (pull ? what.link.limit_to_source : what.link.limit_to_target) = static_cast<double>(*all.limit);
    what.link.connections = all.connections;
    what.block_bytes = all.options.block_bytes;
    what.chunk_bytes = all.options.chunk_bytes;
    what.algorithm = all.options.algorithm;
    what.verify = all.options.verify;
    all.estimate.probing.block_bytes = all.options.block_bytes;
}

}  // namespace

void read_estimate_line(const raw_line& line, arguments& all) {
    estimate_arguments& result = all.estimate;
    if (line.has("--model")) result.model = line.values.at("--model");
    result.list_prices = line.has("--list-prices");
    result.history_file = path_option(line, "--history");
    if (result.list_prices) return refuse_beside_list_prices(line, all);

    workload& what = result.what;
    const bool probes = !all.disks.empty();
    read_probe_options(line, probes, result);
    what.disks = probes ? read_probed_disk(line, all.disks.size()) : read_disks(line);
    what.rates.source_read = optional_spread(line, "--source-read", rate_of);
    what.rates.target_read = optional_spread(line, "--target-read", rate_of);
    what.rates.target_write = optional_spread(line, "--target-write", rate_of);
    read_link(line, result, all.disks);
    what.compression_ratio = optional_spread(line, "--compression", parse_number);
    what.zero_share = optional_spread(line, "--zero-share", parse_percent);
    what.effective_rate = optional_spread(line, "--rate", rate_of);
    what.disk_rate = optional_value(line, "--disk-rate", rate_of);
    what.initial_replication_s = optional_value(line, "--initial-replication", parse_seconds);
    take_engine_options(all);
    refuse_other_models_options(line, result, !probes);
}

void read_estimate_first(const raw_line& line, arguments& all) {
    all.estimate.first = line.has("--estimate-first");
    if (!all.estimate.first) {
        for (const char* const name : {"--budget", "--sample", "--seed", "--probe-write", "--history"}) {
            if (line.has(name)) refuse_usage(fmt::format("{} is for --estimate-first", name), "give that, too");
        }
        return;
    }
    if (!all.within.empty()) refuse_usage("--estimate-first and --within do not go together", "leave one of them out");
    read_probing(line, all.estimate);
    all.estimate.history_file = path_option(line, "--history");
    take_engine_options(all);
}

}  // namespace reprotect::tool
