// checksum: digest a disk, save its map, or say where it differs from one that was saved.
#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <utility>

#include "remote_options.hpp"
#include "report_text.hpp"
#include "run.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

std::string label_of(const std::string& name) {
    constexpr std::size_t label_bytes_max = 4096;  // specified by digest_map
    const std::string stamp = ", " + utc_now();
    return name.substr(0, label_bytes_max - stamp.size()) + stamp;
}

// The disk must be cut as the map is; an option that says otherwise is a contradiction, not a wish.
void take_shape(const arguments& line, const digest_map& reference, checksum_options& options) {
    const geometry& shape = reference.shape();
    const bool other_block = line.block_bytes_given && line.options.block_bytes != shape.block_bytes;
    const bool other_chunk = line.chunk_bytes_given && line.options.chunk_bytes != shape.chunk_bytes;
    if (other_block || other_chunk) {
        throw make_error(
            error_kind::usage,
            fmt::format("{} has blocks of {} and chunks of {} bytes, not as --{} says", line.against, shape.block_bytes,
                        shape.chunk_bytes, other_block ? "block-size" : "chunk-size"),
            {.device = line.against, .hint = "leave --block-size and --chunk-size out: the map's are used"});
    }
    options.block_bytes = shape.block_bytes;
    options.chunk_bytes = shape.chunk_bytes;
    options.with_blocks = options.with_blocks || reference.with_blocks();
}

struct finding {
    differential changes;
    std::uint64_t map_bytes = 0;
    std::string label;
    bool differs(std::uint64_t disk_bytes) const { return !changes.empty() || disk_bytes != map_bytes; }
};

std::string extents_json(const differential& changes) {
    json_array extents;
    for (const change& one : changes.changes()) {
        extents.add(json_object()
                        .number("offset", one.range.offset)
                        .number("length", one.range.length)
                        .text("kind", to_string(one.kind))
                        .str());
    }
    return extents.str();
}

std::string document(const arguments& line, const checksum_report& report, const std::optional<finding>& found) {
    const geometry& shape = report.map.shape();
    json_object json;
    json.text("disk", line.disks[0])
        .number("size", shape.disk_bytes)
        .text("digest", to_string(report.map.algorithm()))
        .number("block_size", std::uint64_t{shape.block_bytes})
        .number("chunk_size", std::uint64_t{shape.chunk_bytes})
        .boolean("blocks", report.map.with_blocks())
        .number("read", report.read_bytes)
        .number("seconds", report.seconds);
    json.text_or_null("root", report.map.algorithm() == digest_algorithm::sha256 ? to_hex(report.root) : "");
    json.text_or_null("map", line.output);
    if (found) {
        json.text("against", line.against)
            .text("against_label", found->label)
            .number("against_size", found->map_bytes)
            .boolean("different", found->differs(shape.disk_bytes))
            .raw("extents", extents_json(found->changes));
    }
    return json.str() + "\n";
}

std::string text(const arguments& line, const checksum_report& report, const std::optional<finding>& found) {
    const std::uint64_t bytes = report.map.shape().disk_bytes;
    const bool keyed = report.map.algorithm() != digest_algorithm::sha256;
    summary lines;
    lines.add("disk", escape(line.disks[0]));
    lines.add("size", fmt::format("{} ({} bytes)", format_size(bytes), bytes));
    lines.add("root",
              keyed ? "none: an xxh3 digest means nothing outside this run" : to_hex(report.root) + " (sha256)");
    lines.add("read", format_size(report.read_bytes));
    lines.add("time", fmt::format("{}{}", format_duration(report.seconds),
                                  report.seconds > 0
                                      ? ", " + format_rate(static_cast<double>(report.read_bytes) / report.seconds)
                                      : ""));
    if (!line.output.empty()) lines.add("map", escape(line.output));
    if (!found) return lines.str();
    lines.add("against", fmt::format("{} ({})", escape(line.against), escape(found->label)));
    if (bytes != found->map_bytes)
        lines.add("sizes differ", fmt::format("the map's disk has {} bytes", found->map_bytes));
    lines.add("result", !found->differs(bytes) ? "nothing differs"
                        : found->changes.empty()
                            ? "what both hold is equal"
                            : fmt::format("{} extent(s) differ:", found->changes.changes().size()));
    return lines.str() + to_text(found->changes);
}

// Said, not refused: the result is the same.
void tell_what_the_peer_decides(const arguments& line, console& out) {
    const std::string text = " has no effect on a peer's disk: give it to 'reprotect serve'";
    if (line.direct) out.note("--direct" + text);
    if (line.options.threads != 0) out.note("--threads" + text);
}

}  // namespace

outcome run_checksum(const arguments& line, const surroundings& around) {
    checksum_options options;
    options.block_bytes = line.options.block_bytes;
    options.chunk_bytes = line.options.chunk_bytes;
    options.algorithm = line.options.algorithm;
    options.with_blocks = line.blocks;
    options.depth = line.options.threads != 0 ? std::min(line.options.depth, line.options.threads) : line.options.depth;
    options.ignore_allocation = line.ignore_allocation;
    std::optional<digest_map> reference;
    if (!line.against.empty()) {
        reference = load_digest_map(line.against);
        take_shape(line, *reference, options);
    }
    const bool remote = is_remote(line, 0);
    std::unique_ptr<device> disk;
    connect_options how;
    if (remote) {
        how = make_connect_options(line);
        tell_what_the_peer_decides(line, around.out);
    } else {
        disk = open_device(line.disks[0], {access::read_only, line.direct, false});
    }
    if (!line.output.empty()) check_output(line.output, disk ? std::vector{disk.get()} : std::vector<device*>());

    checksum_report report;
    {
        watched_run run(line, around, reading_words());
        const std::stop_token stop = around.signals.token();
        report = remote ? checksum_remote(line.disks[0], options, how, &run.progress(), stop)
                        : checksum(*disk, options, &run.progress(), stop);
    }
    if (!line.output.empty()) {
        report.map.set_label(label_of(line.disks[0]));
        save(report.map, line.output);
    }
    std::optional<finding> found;
    if (reference) found = finding{compare(*reference, report.map), reference->shape().disk_bytes, reference->label()};

    outcome result;
    result.code = found && found->differs(report.map.shape().disk_bytes) ? 1 : 0;
    if (line.json) {
        result.output = document(line, report, found);
    } else if (!line.quiet) {
        result.output = text(line, report, found);
    }
    return result;
}

}  // namespace reprotect::tool
