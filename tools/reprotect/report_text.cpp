// Bytes as powers of 1024, rates as powers of 1000: format_size and format_rate keep them apart.
#include "report_text.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "text.hpp"

namespace reprotect::tool {
namespace {

std::string rate_of(std::uint64_t bytes, double seconds) {
    return seconds > 0 ? ", " + format_rate(static_cast<double>(bytes) / seconds) : "";
}

void add_scan(summary& lines, const sync_report& report) {
    const byte_counts& bytes = report.bytes;
    std::string read =
        fmt::format("{} source, {} target", format_size(bytes.read_source), format_size(bytes.read_target));
    if (bytes.reread_source != 0) read += fmt::format(", {} of the source again", format_size(bytes.reread_source));
    lines.add("read", read);
    lines.add("compared",
              fmt::format("{}, of which {} the same", format_size(bytes.compared), format_size(bytes.same)));
}

void add_end(summary& lines, const sync_report& report) {
    const second_counts& seconds = report.seconds;
    std::string time = format_duration(seconds.total);
    if (seconds.flush >= 0.01) time += fmt::format(", flush {}", format_duration(seconds.flush));
    if (seconds.verify > 0) time += fmt::format(", verify {}", format_duration(seconds.verify));
    lines.add("time", time + rate_of(report.bytes.read_source + report.bytes.read_target, seconds.total));
    if (report.root) lines.add("root", fmt::format("{} ({})", to_hex(*report.root), to_string(report.algorithm)));
}

// Nothing between two disks of this machine.
void add_wire(summary& lines, const sync_report& report, bool far_source) {
    const wire_counts& sent = far_source ? report.to_source : report.to_target;
    const wire_counts& received = far_source ? report.to_target : report.to_source;
    if (sent.total() + received.total() == 0) return;
    for (const auto& [name, wire] : {std::pair{"sent", &sent}, std::pair{"received", &received}}) {
        lines.add(name, fmt::format("{} (payload {}, digests {}, overhead {}){}", format_size(wire->total()),
                                    format_size(wire->payload), format_size(wire->digests), format_size(wire->overhead),
                                    rate_of(wire->total(), report.seconds.total)));
    }
}

std::string proof_text(const sync_report& report) {
    switch (report.verified) {
        case proof_level::none:
            return "nothing was verified";
        case proof_level::root:
            return fmt::format("root: both disks' digests are equal ({})", to_string(report.algorithm));
        case proof_level::reread:
            return report.cache_passed ? "reread: the target was read again past its cache"
                                       : "reread: the target was read again, but its cache could not be passed";
        case proof_level::partial:
            return report.trusted_bytes == 0
                       ? fmt::format("partial: what was read is equal ({})", to_string(report.algorithm))
                       : fmt::format(
                             "partial: what was read is equal ({}); the first {} were finished by an earlier sync of "
                             "generation {}, and not read again",
                             to_string(report.algorithm), format_size(report.trusted_bytes), escape(report.generation));
    }
    return {};
}

std::string headline(const sync_report& report) {
    if (report.failure) return "not finished";
    // What was given back unread may have held anything.
    const bool change = report.different() || report.bytes.deallocated != 0 || report.resized_from;
    if (report.dry_run) return change ? "the target would change" : "nothing differs";
    return change ? "done, the target was changed" : "done, nothing differed";
}

}  // namespace

void summary::add(std::string_view name, std::string value) {
    rows_.emplace_back(name, std::move(value));
}

std::string summary::str() const {
    std::size_t width = 0;
    for (const auto& [name, value] : rows_) width = std::max(width, name.size());
    std::string text;
    for (const auto& [name, value] : rows_) text += fmt::format("{:<{}}  {}\n", name, width, value);
    return text;
}

std::string sync_summary(const sync_report& report, const named_pair& names, bool dry_run) {
    const byte_counts& bytes = report.bytes;
    const char* const would = dry_run ? " (dry run: nothing was written)" : "";
    summary lines;
    lines.add(dry_run ? "dry run" : "sync", fmt::format("{} -> {}", escape(names.source), escape(names.target)));
    lines.add("result", headline(report));
    lines.add("mode", fmt::format("{} ({})", to_string(report.mode), escape(report.reason)));
    if (!report.source_in_use.empty()) lines.add("source", "in use meanwhile: " + escape(report.source_in_use));
    lines.add("disk", fmt::format("{}, {} allocated", format_size(bytes.disk), format_size(bytes.allocated_source)));
    if (report.resized_from) {
        lines.add("size", fmt::format("{} -> {} ({} -> {} bytes)", format_size(*report.resized_from),
                                      format_size(bytes.disk), *report.resized_from, bytes.disk));
    }
    add_scan(lines, report);
    lines.add("changed", fmt::format("{}, zeroed {}, given back {}", format_size(bytes.changed),
                                     format_size(bytes.zeroed), format_size(bytes.deallocated)));
    lines.add("written", format_size(bytes.written) + would);
    if (report.attempts > 1) lines.add("attempts", std::to_string(report.attempts));
    add_wire(lines, report, names.far_source);
    if (!names.cost.empty()) lines.add("cost", names.cost);
    if (!report.failure && !dry_run) lines.add("verified", proof_text(report));
    add_end(lines, report);
    return lines.str();
}

std::string diff_summary(const sync_report& report, const named_pair& names, const std::string& sizes_differ) {
    const byte_counts& bytes = report.bytes;
    summary lines;
    lines.add("diff", fmt::format("{} -> {}", escape(names.source), escape(names.target)));
    lines.add("result", report.different()      ? "the disks differ"
                        : !sizes_differ.empty() ? "the sizes differ"
                                                : "nothing differs");
    lines.add("disk", format_size(bytes.disk));
    if (!sizes_differ.empty()) lines.add("target", sizes_differ);
    add_scan(lines, report);
    lines.add("changed", fmt::format("{}, to zero {}", format_size(bytes.changed), format_size(bytes.zeroed)));
    add_wire(lines, report, names.far_source);
    if (!names.cost.empty()) lines.add("cost", names.cost);
    if (report.differential) lines.add("extents", std::to_string(report.differential->changes().size()));
    add_end(lines, report);
    return lines.str();
}

}  // namespace reprotect::tool
