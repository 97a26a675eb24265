// Tables of constants, and the text that is made of them.
#include "option_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "console.hpp"

namespace reprotect::tool {
namespace {

constexpr unsigned in_sync = 1;
constexpr unsigned in_diff = 2;
constexpr unsigned in_checksum = 4;
constexpr unsigned in_map = 8;
constexpr unsigned in_bench = 16;
constexpr unsigned in_serve = 32;
constexpr unsigned in_key = 64;
constexpr unsigned in_estimate = 128;
constexpr unsigned in_reading = in_sync | in_diff | in_checksum;
constexpr unsigned in_measured = in_reading | in_bench;
constexpr unsigned in_probing = in_reading | in_estimate;
constexpr unsigned in_disk_verbs = in_measured | in_map;
constexpr unsigned in_all = in_disk_verbs | in_serve | in_key | in_estimate;

constexpr std::array option_table{
    option_row{"--listen", "ADDR:PORT", in_serve, "where to listen; :PORT for all addresses, port 0 for a free one",
               true},
    option_row{"--export", "NAME=DISK", in_serve,
               "offer a disk to be pulled from; NAME=DISK,target: to be pushed to instead", true},
    option_row{
        "--key", "[NAME=]FILE", in_serve,
        "a key that peers may hold; by its name (default: the file's, less the extension) it is allowed and logged",
        true},
    option_row{"--allow", "KEY=EXPORT,...", in_serve,
               "the exports of one key or certificate, by name (default: everybody all)", true},
    option_row{"--once", nullptr, in_serve, "serve one session and end as it ended"},
    option_row{"--stdio", nullptr, in_serve,
               "one session over standard input and output, run by ssh; without --export the peer names the disk"},
    option_row{"--model", "NAME", in_estimate,
               "pipeline (default): this engine; asr-2018 and asr-2023: the vendor's documents"},
    option_row{"--disk", "NAME,KEY=VALUE,...", in_estimate,
               "one disk of several: size, used, target-used, changed, target, source-read, target-read, target-write",
               true},
    option_row{"--size", "SIZE", in_estimate, "of the one disk"},
    option_row{"--used", "SIZE", in_estimate, "data on the source"},
    option_row{"--target-used", "SIZE", in_estimate, "data on the target (default: as much as on the source)"},
    option_row{"--changed", "SIZE", in_estimate,
               "source data that the target lacks; figures may be LOW..HIGH or LOW..LIKELY..HIGH"},
    option_row{"--target", "STATE", in_estimate,
               "usable (default), or missing, deleted, corrupted, out-of-reach: a full copy"},
    option_row{"--rate", "RATE", in_estimate, "asr-2018: of reading and of sending"},
    option_row{"--disk-rate", "RATE", in_estimate, "asr-2023: the disk's throughput"},
    option_row{"--initial-replication", "TIME", in_estimate,
               "asr-2023: how long the first copy took, as in 72m or 1h12m"},
    option_row{"--source-read", "RATE", in_estimate, "pipeline: the source's disk"},
    option_row{"--target-read", "RATE", in_estimate, "pipeline: the target's disk"},
    option_row{"--target-write", "RATE", in_estimate, "pipeline: the target's disk"},
    option_row{"--one-machine", nullptr, in_estimate, "pipeline: both disks are here, nothing crosses a link"},
    option_row{"--link", "RATE", in_estimate, "pipeline: what the link carries"},
    option_row{"--round-trip", "TIME", in_estimate, "pipeline: of the link, as in 20ms"},
    option_row{"--compression", "RATIO", in_estimate, "pipeline: what goes in by what comes out, as in 1.6"},
    option_row{"--zero-share", "PERCENT", in_estimate, "pipeline: of the changed data, blocks of zeroes"},
    option_row{"--estimate-first", nullptr, in_sync,
               "look at the disks, print what it will take, ask, and close with predicted beside actual"},
    option_row{"--budget", "TIME", in_estimate | in_sync, "read the disks for no longer than this (default 30s)"},
    option_row{"--sample", "PERCENT", in_estimate | in_sync,
               "instead of a budget: this share of what both disks hold, as in 2%"},
    option_row{"--seed", "N", in_estimate | in_sync, "sample the same blocks again"},
    option_row{
        "--probe-write", "PATH", in_estimate | in_sync,
        "measure writing on a scratch file of up to 256 MiB, made here and removed: on the target's file system"},
    option_row{"--egress-from", "PLACE", in_estimate | in_sync | in_diff,
               "where the source is billed: azure:westeurope, aws:eu-west-1, internet"},
    option_row{"--egress-to", "PLACE", in_estimate | in_sync | in_diff, "where the target is"},
    option_row{"--prices", "FILE", in_estimate | in_sync | in_diff,
               "a price book of your own instead of the shipped list prices"},
    option_row{"--billed-before", "SIZE[,SIZE]", in_estimate | in_sync | in_diff,
               "for prices with tiers: what left the source's region this month, and the target's (default: nothing)"},
    option_row{
        "--history", "FILE", in_estimate | in_sync,
        "what was predicted of earlier runs and how they went, by which an estimate is calibrated; sync adds itself"},
    option_row{"--list-prices", nullptr, in_estimate, "print the price book; with --json a beginning for one's own"},
    option_row{"--verify", "HOW", in_sync | in_estimate,
               "root: equal digests prove the sync (default); reread: read the target again, past its cache"},
    option_row{"--allow-larger", nullptr, in_sync | in_diff, "a target larger than the source keeps its tail"},
    option_row{"--truncate", nullptr, in_sync, "a target file larger than the source is cut to its size"},
    option_row{"--reverse", nullptr, in_sync, "the target is on record as the source of this pair, and that is meant"},
    option_row{"--within", "FILE", in_sync | in_diff,
               "only these extents: a file saved by 'diff -o', or lines \"offset length\""},
    option_row{"--source-allocation", "FILE", in_sync | in_diff | in_estimate,
               "where the source holds data: lines \"offset length\"; the rest reads as zeroes"},
    option_row{"--target-allocation", "FILE", in_sync | in_diff | in_estimate, "the same of the target"},
    option_row{"-n,--dry-run", nullptr, in_disk_verbs, "compare and count, write nothing to a disk"},
    option_row{"-y,--yes", nullptr, in_disk_verbs, "ask nothing"},
    option_row{"-o,--output", "FILE", in_diff, "save the differential, for 'sync --within'"},
    option_row{"-o,--output", "FILE", in_checksum, "save the digest map, for 'checksum --against'"},
    option_row{"--against", "MAP", in_checksum, "compare the disk with a saved digest map; exit 1 if they differ"},
    option_row{"--blocks", nullptr, in_checksum, "keep the digests of blocks too, not of chunks alone"},
    option_row{"--ignore-allocation", nullptr, in_checksum, "read holes too"},
    option_row{"--extents", nullptr, in_diff | in_map,
               "print the extents, a line each, and nothing else, on standard output"},
    option_row{"--direct", nullptr, in_disk_verbs | in_serve | in_estimate, "open the disks past the page cache"},
    option_row{"--digest", "NAME", in_reading | in_estimate,
               "xxh3 (default; sha256 for checksum) or sha256 (content that an adversary may choose)"},
    option_row{"--block-size", "SIZE", in_measured | in_estimate,
               "the unit of transfer, a power of two from 512 to 64KiB (default 4KiB)"},
    option_row{"--chunk-size", "SIZE", in_measured | in_estimate,
               "the unit of reading and first comparison, up to 16MiB (default 1MiB)"},
    option_row{"--depth", "N", in_measured | in_serve | in_estimate,
               "reads in flight for each disk, 1 to 256 (default 16)"},
    option_row{"--threads", "N", in_measured | in_serve, "cap on the working threads of all disks together"},
    option_row{"--memory", "SIZE", in_reading | in_serve, "bound on the buffers (default 96MiB)"},
    option_row{"--limit", "RATE", in_reading | in_estimate,
               "bytes a second that this side writes to the wire; two disks of one machine use none"},
    option_row{"--limit", "RATE", in_serve, "bytes a second that this side writes to the wire, all sessions together"},
    option_row{"--connections", "N", in_sync | in_diff | in_estimate,
               "stripe a session with a peer over so many, 1 to 16; auto (default): more as long as that helps"},
    option_row{"--retry", "N", in_sync,
               "after a lost connection try again, up to N times in a row without progress, pausing 1 s to 1 min"},
    option_row{"--max-egress", "SIZE", in_sync,
               "stop in time, with exit code 7, before more than this has been sent to a peer's side, all counted"},
    option_row{"--max-cost", "MONEY", in_sync,
               "the same before what crossed, both ways, costs more, as in 1.50 or 1.50USD; with --egress-from and "
               "--egress-to"},
    option_row{
        "--source-generation", "NAME", in_sync,
        "the source is the unchanging state of this name, say a snapshot: a sync of it that was interrupted is not "
        "read again up to where it was, if nobody else wrote to the target"},
    option_row{"--connections", "N", in_serve, "the most that one session may have, 1 to 16 (default 16)"},
    option_row{"--key", "FILE", in_probing,
               "the key shared with a 'reprotect serve' (default: $REPROTECT_KEY); made by 'reprotect key new'"},
    option_row{"--cert", "FILE", in_probing | in_serve, "instead of a key: the certificate of this side, PEM"},
    option_row{"--cert-key", "FILE", in_probing | in_serve, "the key of that certificate, for its owner alone to read"},
    option_row{"--ca", "FILE", in_probing | in_serve, "who must have signed the other side's certificate"},
    option_row{"--insecure-plaintext", nullptr, in_probing | in_serve,
               "no encryption and nobody is asked who he is; between programs of this machine alone"},
    option_row{"--ssh", "COMMAND", in_probing,
               "what connects to an ssh:// disk, split at spaces (default: $REPROTECT_SSH, else ssh)"},
    option_row{"--remote-tool", "PATH", in_probing, "the tool at the far end of ssh (default reprotect)"},
    option_row{"--state", "DIR", in_disk_verbs | in_serve, "where the records of targets are kept"},
    option_row{"--progress", "HOW", in_disk_verbs, "auto (a bar on a terminal), bar, json (an object a line) or none"},
    option_row{"--json", nullptr, in_all, "one JSON document on standard output, everything else on standard error"},
    option_row{"-q,--quiet", nullptr, in_all,
               "no summary, no progress, no log of what goes well; warnings and errors are still printed"},
    option_row{"-h,--help", nullptr, in_all, "this text"},
};

constexpr std::array verb_table{
    verb_row{verb::sync, "sync", in_sync, 2, 2, "SOURCE TARGET", "make TARGET equal to SOURCE",
             "  reprotect sync /dev/vg0/current /dev/vg0/stale\n"
             "  reprotect sync disk.img /backup/disk.img --verify=reread\n"
             "  reprotect sync disk.img /dev/sdx --dry-run --json\n"
             "  reprotect sync disk.img old.img --within changes.diff --yes\n"
             "  reprotect sync /dev/vg0/current reprotect://backup.example/vm1 --key vm1.key --limit 60MiB/s\n"
             "  reprotect sync /dev/vg0/current reprotect://backup.example/vm1 --key vm1.key --max-cost 1.50 "
             "--egress-from azure:westeurope --egress-to internet\n"
             "  reprotect sync ssh://root@old.example/dev/vg0/current /dev/vg0/stale\n"},
    verb_row{verb::diff, "diff", in_diff, 2, 2, "SOURCE TARGET", "compare only; exit 1 if they differ",
             "  reprotect diff disk.img old.img\n"
             "  reprotect diff disk.img old.img --extents\n"
             "  reprotect diff disk.img old.img -o changes.diff --json\n"},
    verb_row{verb::estimate, "estimate", in_estimate, 2, 0, "[SOURCE [TARGET]]",
             "time, egress and cost of a sync, from a look at the disks or from what is known of them",
             "  reprotect estimate /dev/vg0/current /dev/vg0/stale --budget 10s\n"
             "  reprotect estimate /dev/vg0/current reprotect://backup.example/vm1 --key vm1.key\n"
             "  reprotect estimate disk.img --changed 5GB --target-write 200MB/s\n"
             "  reprotect estimate --model asr-2018 --size 1TB --used 127GB --changed 45GB --rate 45MB/s\n"
             "  reprotect estimate --used 127GB --changed 30GB..45GB..60GB --link 1Gbit/s --round-trip 20ms\n"
             "  reprotect estimate --disk root,used=60GB,changed=3GB --disk "
             "data,used=2TB,changed=90GB,target-write=200MB/s\n"
             "  reprotect estimate --used 127GB --changed 45GB --egress-from azure:westeurope --egress-to "
             "azure:northeurope\n"
             "  reprotect estimate --list-prices\n"},
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
    verb_row{verb::serve, "serve", in_serve, 0, 0, "", "offer named disks to peers that are known",
             "  reprotect serve --listen 10.0.0.1:7722 --export vm1=/dev/vg0/stale,target --key vm1.key\n"
             "  reprotect serve --listen :7722 --export a=/dev/a --export b=/dev/b --key ann.key --key bob.key "
             "--allow ann=a,b --allow bob=b\n"
             "  reprotect serve --listen 127.0.0.1:0 --export vm1=disk.img --insecure-plaintext --once\n"},
    verb_row{verb::key, "key", in_key, 2, 2, "new|show FILE",
             "a pre-shared key for serve and sync: make one, or print which one it is",
             "  reprotect key new vm1.key\n"
             "  reprotect key show vm1.key\n"},
};

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

std::vector<std::string> names_for(const verb_row& row) {
    std::vector<std::string> names;
    for (const option_row& option : option_table) {
        if ((option.verbs & row.bit) != 0) names.push_back(long_name(option));
    }
    return names;
}

}  // namespace

std::span<const option_row> all_options() {
    return option_table;
}

const verb_row& row_of(verb value) {
    return *std::find_if(verb_table.begin(), verb_table.end(), [&](const verb_row& row) { return row.what == value; });
}

std::vector<std::string> verb_names() {
    std::vector<std::string> names;
    for (const verb_row& row : verb_table) names.emplace_back(row.name);
    return names;
}

const verb_row& find_verb(const std::string& name) {
    for (const verb_row& row : verb_table) {
        if (name == row.name) return row;
    }
    const std::string near = nearest(name, verb_names());
    refuse_usage(fmt::format("'{}' is no verb of reprotect; there are {}", name, fmt::join(verb_names(), ", ")),
                 near.empty() ? "" : fmt::format("did you mean '{}'? see 'reprotect --help'", near));
}

std::string long_name(const option_row& row) {
    const std::string names = row.names;
    return names.substr(names.find("--"));
}

bool is_named(const option_row& row, const std::string& word) {
    const std::string names = row.names;
    return word == long_name(row) || (names[1] != '-' && word == names.substr(0, 2));
}

bool takes_value(const std::string& word) {
    return std::any_of(option_table.begin(), option_table.end(),
                       [&](const option_row& row) { return row.value != nullptr && is_named(row, word); });
}

std::string general_help() {
    std::string text =
        "reprotect makes a stale disk equal to a current one: it reads each allocated byte once and writes only what "
        "differs.\n\n"
        "Usage: reprotect VERB [OPTIONS] DISK...\n\nVerbs:\n";
    for (const verb_row& row : verb_table)
        text += fmt::format("  {:<29}{}\n", fmt::format("{} {}", row.name, row.usage), row.summary);
    text +=
        "\nA disk is a path to a block device or a raw image ('raw:PATH' skips the check for image formats), or, for\n"
        "sync, diff, estimate and checksum and as one of two at most, a peer's: reprotect://HOST[:PORT]/NAME at a\n"
        "'reprotect serve', or ssh://[USER@]HOST[:PORT]/PATH.\n"
        "Sizes: 4096, 64KiB, 1.5GiB (powers of 1024), 45GB (powers of 1000).\n\n"
        "Examples:\n"
        "  reprotect diff /dev/vg0/current /dev/vg0/stale\n"
        "  reprotect estimate /dev/vg0/current /dev/vg0/stale\n"
        "  reprotect sync /dev/vg0/current /dev/vg0/stale\n"
        "  reprotect sync /dev/vg0/current reprotect://backup.example/vm1 --key vm1.key\n"
        "  reprotect checksum disk.img -o disk.map\n\n"
        "Exit codes: 0 done, 1 differences found, 2 usage, 3 refused before anything was written, 4 device I/O "
        "failed,\n"
        "5 peer failed, 6 verification failed, 7 stopped at a limit, 130 interrupted.\n\n"
        "'reprotect VERB --help' lists a verb's options; 'reprotect --version' prints the version.\n";
    return text;
}

std::string verb_help(const verb_row& row) {
    std::string text = fmt::format("reprotect {}: {}\n\nUsage: reprotect {} [OPTIONS]{}{}\n\nOptions:\n", row.name,
                                   row.summary, row.name, *row.usage == 0 ? "" : " ", row.usage);
    for (const option_row& option : option_table) {
        if ((option.verbs & row.bit) == 0) continue;
        std::string names = option.names;
        if (const std::size_t comma = names.find(','); comma != std::string::npos) names.insert(comma + 1, " ");
        if (option.value != nullptr) names += fmt::format(" {}", option.value);
        text += fmt::format("  {:<28}{}\n", names, option.help);
    }
    return text + "\nExamples:\n" + row.examples;
}

void refuse_usage(const std::string& message, const std::string& hint) {
    throw make_error(error_kind::usage, message,
                     {.device = {}, .hint = hint.empty() ? "see 'reprotect --help'" : hint});
}

void refuse_unknown_option(const verb_row& row, const std::string& word) {
    const std::string name = word.substr(0, word.find('='));
    const std::string near = nearest(name, names_for(row));
    const std::string suggestion = near.empty() ? "" : fmt::format("did you mean {}? ", near);
    refuse_usage(fmt::format("{} has no option {}", row.name, name), suggestion + help_hint(row));
}

std::string help_hint(const verb_row& row) {
    return fmt::format("see 'reprotect {} --help'", row.name);
}

}  // namespace reprotect::tool
