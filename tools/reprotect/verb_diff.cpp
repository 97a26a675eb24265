// diff: compare both disks, write nothing to them. The target counts as zero beyond its end. Another size is a difference of
// its own, since a sync would not leave it so: --allow-larger overlooks a larger target as it does for sync, and with --within
// the sizes are not looked at.
#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "report_text.hpp"
#include "run.hpp"

namespace reprotect::tool {
namespace {

// How the target's size differs, where that counts.
std::string size_difference(const arguments& line, const device& source, const device& target) {
    if (!line.within.empty() || target.size() == source.size()) return {};
    const std::uint64_t bytes = std::max(source.size(), target.size()) - std::min(source.size(), target.size());
    const std::string shown = fmt::format("{} ({} bytes)", format_size(bytes), bytes);
    if (target.size() < source.size()) return shown + " smaller than the source";
    return line.options.allow_larger ? "" : shown + " larger than the source; --allow-larger overlooks it";
}

}  // namespace

outcome run_diff(const arguments& line, const surroundings& around) {
    const open_options how{access::read_only, line.direct, false};
    const opened_disk source(open_device(line.disks[0], how), line.source_allocation, "--source-allocation");
    const opened_disk target(open_device(line.disks[1], how), line.target_allocation, "--target-allocation");
    if (!line.output.empty()) check_output(line.output, {&*source, &*target});

    sync_request request;
    request.source = &*source;
    request.target = &*target;
    request.options = line.options;
    request.options.allow_larger = true;
    request.options.within = load_within(line, *source);
    request.cancel = around.signals.token();
    sync_report report;
    {
        watched_run run(line, around, reading_words());
        request.listener = &run.progress();
        report = diff(request);
    }
    const std::string sizes_differ = size_difference(line, *source, *target);

    outcome result;
    if (line.json) result.output = to_json(report) + "\n";
    if (report.failure) {
        result.code = report_failure(report, around);
        return result;
    }
    if (!line.output.empty()) save(report.differential.value(), line.output);
    if (!sizes_differ.empty()) around.out.warning(fmt::format("{} is {}", line.disks[1], sizes_differ));
    if (!line.json && line.extents) {
        result.output = to_text(report.differential.value());
    } else if (!line.json && !line.quiet) {
        result.output = diff_summary(report, {line.disks[0], line.disks[1]}, sizes_differ);
    }
    result.code = report.different() || !sizes_differ.empty() ? 1 : 0;
    return result;
}

}  // namespace reprotect::tool
