// The order in which a line is understood: its verb, what CLI11 makes of the words, the values, and what does not go
// together.
#include "arguments.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cost_options.hpp"
#include "estimate_arguments.hpp"
#include "option_table.hpp"
#include "raw_line.hpp"
#include "remote_options.hpp"
#include "serve_arguments.hpp"

#ifndef REPROTECT_VERSION
#define REPROTECT_VERSION "0.1.0"
#endif

namespace reprotect::tool {
namespace {

constexpr unsigned depth_max = 256;       // specified by sync_options
constexpr unsigned connections_max = 16;  // specified by connect_options
constexpr unsigned retries_max = 1'000'000;
constexpr unsigned threads_max = 4096;  // guessed: beyond any machine this will see

std::uint64_t parse_limit(const std::string& text) {
    constexpr double most = 9e18;  // what is more is no limit, and would not fit
    const double rate = parse_rate(text);
    if (rate < 1)
        throw make_error(error_kind::usage, "less than a byte a second",
                         {.device = {}, .hint = "as in 60MiB/s; leave it out for no limit"});
    return static_cast<std::uint64_t>(std::min(rate, most));
}

void read_engine_options(const raw_line& line, arguments& result) {
    sync_options& options = result.options;
    options.block_bytes = size_option(line, "--block-size", options.block_bytes);
    options.chunk_bytes = size_option(line, "--chunk-size", options.chunk_bytes);
    result.block_bytes_given = line.has("--block-size");
    result.chunk_bytes_given = line.has("--chunk-size");
    check_geometry({0, options.chunk_bytes, options.block_bytes});
    result.algorithm_given = line.has("--digest");
    if (result.algorithm_given)
        options.algorithm = parse_digest_algorithm(word_option(line, "--digest", {"xxh3", "sha256"}));
    if (line.has("--depth")) options.depth = count_option(line, "--depth", {1, depth_max});
    if (line.has("--threads")) options.threads = count_option(line, "--threads", {1, threads_max});
    if (line.has("--memory")) options.memory_bytes = value_option(line, "--memory", parse_size);
    if (line.has("--limit")) result.limit = value_option(line, "--limit", parse_limit);
    if (line.has("--connections") && line.values.at("--connections") != "auto")
        result.connections = count_option(line, "--connections", {1, connections_max});
    if (line.has("--retry")) result.retries = count_option(line, "--retry", {0, retries_max});
    if (line.has("--max-egress")) {
        options.egress_max = value_option(line, "--max-egress", parse_size);
        if (options.egress_max == 0) refuse_usage("--max-egress 0 would send nothing", "leave it out for no limit");
    }
    if (line.has("--source-generation")) {
        options.source_generation = line.values.at("--source-generation");
        if (options.source_generation.empty())
            refuse_usage("--source-generation is empty", "name the snapshot or state that the source is");
        if (!result.algorithm_given) options.algorithm = digest_algorithm::sha256;
    }
    if (line.has("--verify") && word_option(line, "--verify", {"root", "reread"}) == "reread")
        options.verify = verify_level::reread;
    options.dry_run = line.has("--dry-run");
    options.allow_larger = line.has("--allow-larger");
    options.truncate = line.has("--truncate");
    options.reverse = line.has("--reverse");
}

progress_mode read_progress(const raw_line& line) {
    const std::string how =
        line.has("--progress") ? word_option(line, "--progress", {"auto", "bar", "json", "none"}) : "auto";
    if (how == "json") return progress_mode::json;
    if (how == "bar") return progress_mode::bar;
    if (how == "none" || line.has("--quiet")) return progress_mode::none;
    return console::is_terminal() ? progress_mode::bar : progress_mode::none;
}

void check_combinations(const verb_row& row, const arguments& result) {
    const sync_options& options = result.options;
    if (options.allow_larger && options.truncate)
        refuse_usage("--allow-larger keeps a larger target's tail and --truncate cuts it: give one of them",
                     help_hint(row));
    if (row.what == verb::map || row.what == verb::bench) return;
    if (const std::uint64_t least = memory_minimum(options); options.memory_bytes < least) {
        refuse_usage(fmt::format("--memory {} is too little: these options need at least {}",
                                 format_size(options.memory_bytes), format_size(least)),
                     "give more memory, a smaller --depth or a smaller --chunk-size");
    }
    if (row.what != verb::checksum || !result.algorithm_given || options.algorithm != digest_algorithm::xxh3) return;
    if (!result.output.empty() || !result.against.empty())
        refuse_usage(
            "--digest xxh3 and a digest map do not go together: xxh3 is keyed with a secret that only this run knows",
            "leave --digest out; digest maps hold sha256");
}

void read_disks(const verb_row& row, const raw_line& line, arguments& result) {
    result.disks = line.words;
    if (result.disks.size() < row.words_least) {
        const std::string missing = row.words == 1 ? "DISK" : result.disks.empty() ? "SOURCE and TARGET" : "TARGET";
        refuse_usage(fmt::format("{} is missing: {} takes {}", missing, row.name, row.usage), help_hint(row));
    }
    for (const std::string& disk : result.disks) {
        if (disk.empty()) refuse_usage("a disk's name is empty", help_hint(row));
    }
}

arguments interpret(const verb_row& row, const raw_line& line) {
    arguments result;
    result.what = row.what;
    result.json = line.has("--json");
    result.quiet = line.has("--quiet");
    if (row.what == verb::key) {
        read_key_line(line, result);
        return result;
    }
    if (row.what == verb::estimate) {
        read_disks(row, line, result);
        read_engine_options(line, result);
        result.direct = line.has("--direct");
        result.source_allocation = path_option(line, "--source-allocation");
        result.target_allocation = path_option(line, "--target-allocation");
        read_cost_options(row, line, result);
        read_estimate_line(line, result);
        read_remote_options(row, line, result);
        return result;
    }
    if (row.what == verb::checksum) result.options.algorithm = digest_algorithm::sha256;
    read_disks(row, line, result);
    read_engine_options(line, result);
    result.state_directory = path_option(line, "--state");
    result.output = path_option(line, "--output");
    result.against = path_option(line, "--against");
    result.within = path_option(line, "--within");
    result.source_allocation = path_option(line, "--source-allocation");
    result.target_allocation = path_option(line, "--target-allocation");
    result.progress = read_progress(line);
    result.yes = line.has("--yes");
    result.direct = line.has("--direct");
    result.extents = line.has("--extents");
    result.blocks = line.has("--blocks");
    result.ignore_allocation = line.has("--ignore-allocation");
    check_combinations(row, result);
    if (row.what == verb::serve) {
        read_serve_line(line, result);
    } else {
        read_remote_options(row, line, result);
        read_cost_options(row, line, result);
        if (row.what == verb::sync) read_estimate_first(line, result);
    }
    return result;
}

// The verb is the first word that is neither an option nor an option's value.
std::size_t verb_position(std::span<const std::string> line) {
    std::size_t at = 0;
    while (at < line.size() && looks_like_option(line[at])) at += takes_value(line[at]) ? 2 : 1;
    return std::min(at, line.size());
}

}  // namespace

const char* to_string(verb value) noexcept {
    return row_of(value).name;
}

parsed_line parse_arguments(std::span<const std::string> line) {
    const std::size_t at = verb_position(line);
    const auto before = line.first(at);
    const bool help = std::any_of(before.begin(), before.end(), [](auto& w) { return w == "-h" || w == "--help"; });
    const bool no_verb = at == line.size();
    if (std::find(before.begin(), before.end(), "--version") != before.end())
        return {std::nullopt, "reprotect " REPROTECT_VERSION "\n"};
    if (no_verb && help) return {std::nullopt, general_help()};
    if (no_verb) refuse_usage(fmt::format("a verb is missing: {}", fmt::join(verb_names(), ", ")));
    if (line[at] == "help")
        return {std::nullopt, at + 1 < line.size() ? verb_help(find_verb(line[at + 1])) : general_help()};

    const verb_row& row = find_verb(line[at]);
    std::vector<std::string> words(before.begin(), before.end());
    words.insert(words.end(), line.begin() + static_cast<std::ptrdiff_t>(at) + 1, line.end());
    const raw_line raw = split_line(row, std::move(words));
    if (raw.has("--help")) return {std::nullopt, verb_help(row)};
    return {interpret(row, raw), {}};
}

}  // namespace reprotect::tool
