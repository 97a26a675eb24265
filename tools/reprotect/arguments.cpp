// One table lists every option with its verbs and its help; the parser, the help and the suggestions are made from it. CLI11
// finds the options in the line, and what it leaves are the disks (registered as a list they would be read as one: CLI11 takes
// "[a,b]" for two). Sizes, words and counts are then read here, so that each message names its option.
#include "arguments.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <numeric>

#ifndef REPROTECT_VERSION
#define REPROTECT_VERSION "0.1.0"
#endif

namespace reprotect::tool {
namespace {

constexpr unsigned in_sync = 1;
constexpr unsigned in_diff = 2;
constexpr unsigned in_checksum = 4;
constexpr unsigned in_map = 8;
constexpr unsigned in_bench = 16;
constexpr unsigned in_all = in_sync | in_diff | in_checksum | in_map | in_bench;
constexpr unsigned in_reading = in_sync | in_diff | in_checksum;
constexpr unsigned in_measured = in_reading | in_bench;

constexpr unsigned depth_max = 256;     // specified by sync_options
constexpr unsigned threads_max = 4096;  // guessed: beyond any machine this will see

struct option_row {
    const char* names;  ///< for CLI11
    const char* value;  ///< what it takes, or null for a switch
    unsigned verbs;
    const char* help;
};

constexpr std::array option_table{
    option_row{"--verify", "HOW", in_sync,
               "root: equal digests prove the sync (default); reread: read the target again, past its cache"},
    option_row{"--allow-larger", nullptr, in_sync | in_diff, "a target larger than the source keeps its tail"},
    option_row{"--truncate", nullptr, in_sync, "a target file larger than the source is cut to its size"},
    option_row{"--reverse", nullptr, in_sync, "the target is on record as the source of this pair, and that is meant"},
    option_row{"--within", "FILE", in_sync | in_diff,
               "only these extents: a file saved by 'diff -o', or lines \"offset length\""},
    option_row{"--source-allocation", "FILE", in_sync | in_diff,
               "where the source holds data: lines \"offset length\"; the rest reads as zeroes"},
    option_row{"--target-allocation", "FILE", in_sync | in_diff, "the same of the target"},
    option_row{"-n,--dry-run", nullptr, in_all, "compare and count, write nothing to a disk"},
    option_row{"-y,--yes", nullptr, in_all, "ask nothing"},
    option_row{"-o,--output", "FILE", in_diff, "save the differential, for 'sync --within'"},
    option_row{"-o,--output", "FILE", in_checksum, "save the digest map, for 'checksum --against'"},
    option_row{"--against", "MAP", in_checksum, "compare the disk with a saved digest map; exit 1 if they differ"},
    option_row{"--blocks", nullptr, in_checksum, "keep the digests of blocks too, not of chunks alone"},
    option_row{"--ignore-allocation", nullptr, in_checksum, "read holes too"},
    option_row{"--extents", nullptr, in_diff | in_map,
               "print the extents, a line each, and nothing else, on standard output"},
    option_row{"--direct", nullptr, in_all, "open the disks past the page cache"},
    option_row{"--digest", "NAME", in_reading,
               "xxh3 (default; sha256 for checksum) or sha256 (content that an adversary may choose)"},
    option_row{"--block-size", "SIZE", in_measured,
               "the unit of transfer, a power of two from 512 to 64KiB (default 4KiB)"},
    option_row{"--chunk-size", "SIZE", in_measured,
               "the unit of reading and first comparison, up to 16MiB (default 1MiB)"},
    option_row{"--depth", "N", in_measured, "reads in flight for each disk, 1 to 256 (default 16)"},
    option_row{"--threads", "N", in_measured, "cap on the working threads of all disks together"},
    option_row{"--memory", "SIZE", in_reading, "bound on the buffers (default 96MiB)"},
    option_row{"--limit", "RATE", in_reading, "bytes a second to write to the wire; two disks of one machine use none"},
    option_row{"--state", "DIR", in_all, "where the records of targets are kept"},
    option_row{"--progress", "HOW", in_all, "auto (a bar on a terminal), bar, json (an object a line) or none"},
    option_row{"--json", nullptr, in_all, "one JSON document on standard output, everything else on standard error"},
    option_row{"-q,--quiet", nullptr, in_all, "no summary and no progress; warnings and errors are still printed"},
    option_row{"-h,--help", nullptr, in_all, "this text"},
};

struct verb_row {
    verb what;
    const char* name;
    unsigned bit;
    std::size_t disks;
    std::size_t disks_least;
    const char* usage;
    const char* summary;
    const char* examples;
};

constexpr std::array verb_table{
    verb_row{verb::sync, "sync", in_sync, 2, 2, "SOURCE TARGET", "make TARGET equal to SOURCE",
             "  reprotect sync /dev/vg0/current /dev/vg0/stale\n"
             "  reprotect sync disk.img /backup/disk.img --verify=reread\n"
             "  reprotect sync disk.img /dev/sdx --dry-run --json\n"
             "  reprotect sync disk.img old.img --within changes.diff --yes\n"},
    verb_row{verb::diff, "diff", in_diff, 2, 2, "SOURCE TARGET", "compare only; exit 1 if they differ",
             "  reprotect diff disk.img old.img\n"
             "  reprotect diff disk.img old.img --extents\n"
             "  reprotect diff disk.img old.img -o changes.diff --json\n"},
    verb_row{verb::checksum, "checksum", in_checksum, 1, 1, "DISK",
             "digest map of a disk; --against MAP checks a disk against one",
             "  reprotect checksum disk.img\n"
             "  reprotect checksum disk.img -o disk.map --blocks\n"
             "  reprotect checksum copy.img --against disk.map\n"},
    verb_row{verb::map, "map", in_map, 1, 1, "DISK", "size, sectors, allocation, who holds it, what is on record",
             "  reprotect map /dev/sdx\n"
             "  reprotect map disk.img --extents\n"},
    verb_row{verb::bench, "bench", in_bench, 1, 0, "[DISK]",
             "what this machine copies, digests, compresses and reads per second; writes nothing",
             "  reprotect bench\n"
             "  reprotect bench /dev/sdx --depth 32\n"
             "  reprotect bench disk.img --direct --json\n"},
};

const verb_row& row_of(verb value) {
    return *std::find_if(verb_table.begin(), verb_table.end(), [&](const verb_row& row) { return row.what == value; });
}

[[noreturn]] void usage(const std::string& message, const std::string& hint = {}) {
    throw make_error(error_kind::usage, message,
                     {.device = {}, .hint = hint.empty() ? "see 'reprotect --help'" : hint});
}

std::string help_hint(const verb_row& row) {
    return fmt::format("see 'reprotect {} --help'", row.name);
}

// "-o,--output" → "--output"
std::string long_name(const option_row& row) {
    const std::string names = row.names;
    return names.substr(names.find("--"));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> line(b.size() + 1);
    std::iota(line.begin(), line.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = line[0];
        line[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = line[j + 1];
            line[j + 1] = std::min({line[j] + 1, line[j + 1] + 1, change});
        }
    }
    return line.back();
}

// The nearest of `known`, or nothing where none is near.
std::string nearest(const std::string& given, const std::vector<std::string>& known) {
    std::string best;
    std::size_t best_distance = 3;
    for (const std::string& candidate : known) {
        if (given.size() > 3 && candidate.starts_with(given)) return candidate;
        const std::size_t distance = edit_distance(given, candidate);
        if (distance < best_distance && distance < candidate.size()) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

std::string general_help() {
    std::string text =
        "reprotect makes a stale disk equal to a current one: it reads each allocated byte once and writes only what "
        "differs.\n\n"
        "Usage: reprotect VERB [OPTIONS] DISK...\n\nVerbs:\n";
    for (const verb_row& row : verb_table)
        text += fmt::format("  {:<24}{}\n", fmt::format("{} {}", row.name, row.usage), row.summary);
    text +=
        "\nA disk is a path to a block device or a raw image ('raw:PATH' skips the check for image formats).\n"
        "Sizes: 4096, 64KiB, 1.5GiB (powers of 1024), 45GB (powers of 1000).\n\n"
        "Examples:\n"
        "  reprotect diff /dev/vg0/current /dev/vg0/stale\n"
        "  reprotect sync /dev/vg0/current /dev/vg0/stale\n"
        "  reprotect checksum disk.img -o disk.map\n\n"
        "Exit codes: 0 done, 1 differences found, 2 usage, 3 refused before anything was written, 4 device I/O "
        "failed,\n"
        "5 peer failed, 6 verification failed, 7 stopped at a limit, 130 interrupted.\n\n"
        "'reprotect VERB --help' lists a verb's options; 'reprotect --version' prints the version.\n";
    return text;
}

std::string verb_help(const verb_row& row) {
    std::string text = fmt::format("reprotect {}: {}\n\nUsage: reprotect {} [OPTIONS] {}\n\nOptions:\n", row.name,
                                   row.summary, row.name, row.usage);
    for (const option_row& option : option_table) {
        if ((option.verbs & row.bit) == 0) continue;
        std::string names = option.names;
        if (const std::size_t comma = names.find(','); comma != std::string::npos) names.insert(comma + 1, " ");
        if (option.value != nullptr) names += fmt::format(" {}", option.value);
        text += fmt::format("  {:<28}{}\n", names, option.help);
    }
    return text + "\nExamples:\n" + row.examples;
}

// What CLI11 found: the value of each option that takes one, and whether each was given.
struct raw_line {
    std::map<std::string, std::string> values;
    std::map<std::string, bool> given;
    std::vector<std::string> disks;
    bool has(const std::string& name) const { return given.at(name); }
};

std::vector<std::string> names_for(const verb_row& row) {
    std::vector<std::string> names;
    for (const option_row& option : option_table) {
        if ((option.verbs & row.bit) != 0) names.push_back(long_name(option));
    }
    return names;
}

bool looks_like_option(const std::string& word) {
    return word.size() > 1 && word[0] == '-';
}

[[noreturn]] void refuse_unknown(const verb_row& row, const std::string& word) {
    const std::string name = word.substr(0, word.find('='));
    const std::string near = nearest(name, names_for(row));
    const std::string suggestion = near.empty() ? "" : fmt::format("did you mean {}? ", near);
    usage(fmt::format("{} has no option {}", row.name, name), suggestion + help_hint(row));
}

// "-o,--output" is named by "-o" and "--output".
bool is_named(const option_row& row, const std::string& word) {
    const std::string names = row.names;
    return word == long_name(row) || (names[1] != '-' && word == names.substr(0, 2));
}

bool takes_value(const std::string& word) {
    return std::any_of(option_table.begin(), option_table.end(),
                       [&](const option_row& row) { return row.value != nullptr && is_named(row, word); });
}

// CLI11 reads "--reverse=no" in ways of its own, and most of them switch it on.
void refuse_switch_with_value(const verb_row& row, const std::vector<std::string>& words) {
    for (std::size_t at = 0; at < words.size(); at += takes_value(words[at]) ? 2 : 1) {
        const std::size_t equals = words[at].find('=');
        if (!looks_like_option(words[at]) || equals == std::string::npos) continue;
        const std::string name = words[at].substr(0, equals);
        for (const option_row& option : option_table) {
            if (option.value == nullptr && (option.verbs & row.bit) != 0 && is_named(option, name))
                usage(fmt::format("{} takes no value", name), "leave it out where it is not meant");
        }
    }
}

raw_line split(const verb_row& row, std::vector<std::string> words) {
    CLI::App parser;
    parser.set_help_flag();
    parser.allow_extras();
    raw_line line;
    std::map<std::string, CLI::Option*> options;
    for (const option_row& option : option_table) {
        const std::string name = long_name(option);
        line.given[name] = false;
        if ((option.verbs & row.bit) == 0) continue;
        options[name] = option.value != nullptr ? parser.add_option(option.names, line.values[name])
                                                : parser.add_flag(option.names);
        options[name]->take_last();
        if (option.value != nullptr) options[name]->type_name(option.value);
    }
    // After "--" every word is a disk, also one that starts with a dash.
    const auto dashes = std::find(words.begin(), words.end(), "--");
    const std::vector<std::string> plain(dashes == words.end() ? dashes : dashes + 1, words.end());
    words.erase(dashes, words.end());
    refuse_switch_with_value(row, words);
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    try {
        parser.parse(std::move(words));
    } catch (const CLI::ArgumentMismatch& problem) {
        const std::string text = problem.what();
        usage(fmt::format("{} needs a value", text.substr(0, text.find(':'))), help_hint(row));
    } catch (const CLI::ParseError& problem) {
        usage(problem.what(), help_hint(row));
    }
    for (const auto& [name, option] : options) line.given[name] = option->count() > 0;
    if (line.has("--help")) return line;
    for (const std::string& word : parser.remaining()) {
        if (looks_like_option(word)) refuse_unknown(row, word);
        line.disks.push_back(word);
    }
    line.disks.insert(line.disks.end(), plain.begin(), plain.end());
    if (line.disks.size() > row.disks) {
        usage(fmt::format("'{}' is one disk too many: {} takes {}", line.disks[row.disks], row.name, row.usage),
              help_hint(row));
    }
    return line;
}

// What `read` makes of an option's value; what is wrong with it names the option.
template <typename Read>
auto value_option(const raw_line& line, const std::string& name, Read read) {
    try {
        return read(line.values.at(name));
    } catch (const error& problem) {
        throw error(problem.kind(), fmt::format("{}: {}", name, problem.what()), problem.detail());
    }
}

std::uint32_t size_option(const raw_line& line, const std::string& name, std::uint32_t otherwise) {
    if (!line.has(name)) return otherwise;
    const std::uint64_t bytes = value_option(line, name, parse_size);
    if (bytes > std::numeric_limits<std::uint32_t>::max())
        usage(fmt::format("{} {} is too large", name, line.values.at(name)));
    return static_cast<std::uint32_t>(bytes);
}

struct count_range {
    unsigned low;
    unsigned high;
};

unsigned count_option(const raw_line& line, const std::string& name, count_range range) {
    const std::string& text = line.values.at(name);
    unsigned count = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
    const bool number = problem == std::errc{} && end == text.data() + text.size();
    if (!number || count < range.low || count > range.high)
        usage(fmt::format("{} takes a number from {} to {}, not '{}'", name, range.low, range.high, text));
    return count;
}

std::string word_option(const raw_line& line, const std::string& name, const std::vector<std::string>& words) {
    const std::string& text = line.values.at(name);
    if (std::find(words.begin(), words.end(), text) == words.end())
        usage(fmt::format("{} takes {}, not '{}'", name, fmt::join(words, " or "), text));
    return text;
}

std::string path_option(const raw_line& line, const std::string& name) {
    if (!line.has(name)) return {};
    if (line.values.at(name).empty()) usage(fmt::format("{} is empty: it takes a path", name));
    return line.values.at(name);
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
    if (line.has("--limit")) value_option(line, "--limit", parse_rate);  // local disks have no wire to limit
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
        usage("--allow-larger keeps a larger target's tail and --truncate cuts it: give one of them", help_hint(row));
    if (row.what == verb::map || row.what == verb::bench) return;
    if (const std::uint64_t least = memory_minimum(options); options.memory_bytes < least) {
        usage(fmt::format("--memory {} is too little: these options need at least {}",
                          format_size(options.memory_bytes), format_size(least)),
              "give more memory, a smaller --depth or a smaller --chunk-size");
    }
    if (row.what != verb::checksum || !result.algorithm_given || options.algorithm != digest_algorithm::xxh3) return;
    if (!result.output.empty() || !result.against.empty())
        usage("--digest xxh3 and a digest map do not go together: xxh3 is keyed with a secret that only this run knows",
              "leave --digest out; digest maps hold sha256");
}

arguments interpret(const verb_row& row, const raw_line& line) {
    arguments result;
    result.what = row.what;
    result.disks = line.disks;
    if (row.what == verb::checksum) result.options.algorithm = digest_algorithm::sha256;
    if (result.disks.size() < row.disks_least) {
        const std::string missing = row.disks == 1 ? "DISK" : result.disks.empty() ? "SOURCE and TARGET" : "TARGET";
        usage(fmt::format("{} is missing: {} takes {}", missing, row.name, row.usage), help_hint(row));
    }
    for (const std::string& disk : result.disks) {
        if (disk.empty()) usage("a disk's name is empty", help_hint(row));
    }
    read_engine_options(line, result);
    result.state_directory = path_option(line, "--state");
    result.output = path_option(line, "--output");
    result.against = path_option(line, "--against");
    result.within = path_option(line, "--within");
    result.source_allocation = path_option(line, "--source-allocation");
    result.target_allocation = path_option(line, "--target-allocation");
    result.progress = read_progress(line);
    result.json = line.has("--json");
    result.quiet = line.has("--quiet");
    result.yes = line.has("--yes");
    result.direct = line.has("--direct");
    result.extents = line.has("--extents");
    result.blocks = line.has("--blocks");
    result.ignore_allocation = line.has("--ignore-allocation");
    check_combinations(row, result);
    return result;
}

// The verb is the first word that is neither an option nor an option's value.
std::size_t verb_position(std::span<const std::string> line) {
    std::size_t at = 0;
    while (at < line.size() && looks_like_option(line[at])) at += takes_value(line[at]) ? 2 : 1;
    return std::min(at, line.size());
}

const verb_row& find_verb(const std::string& name) {
    std::vector<std::string> names;
    for (const verb_row& row : verb_table) {
        if (name == row.name) return row;
        names.emplace_back(row.name);
    }
    const std::string near = nearest(name, names);
    usage(fmt::format("'{}' is no verb of reprotect; there are {}", name, fmt::join(names, ", ")),
          near.empty() ? "" : fmt::format("did you mean '{}'? see 'reprotect --help'", near));
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
    if (no_verb) usage("a verb is missing: sync, diff, checksum, map or bench");
    if (line[at] == "help")
        return {std::nullopt, at + 1 < line.size() ? verb_help(find_verb(line[at + 1])) : general_help()};

    const verb_row& row = find_verb(line[at]);
    std::vector<std::string> words(before.begin(), before.end());
    words.insert(words.end(), line.begin() + static_cast<std::ptrdiff_t>(at) + 1, line.end());
    const raw_line raw = split(row, std::move(words));
    if (raw.has("--help")) return {std::nullopt, verb_help(row)};
    return {interpret(row, raw), {}};
}

}  // namespace reprotect::tool
