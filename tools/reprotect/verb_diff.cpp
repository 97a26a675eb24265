// diff: compare both disks, write nothing to them. The target counts as zero beyond its end; what it has beyond the source's
// end is a difference of its own, which --allow-larger overlooks as it does for sync.
#include <fmt/format.h>

#include <utility>

#include "report_text.hpp"
#include "run.hpp"

namespace reprotect::tool {

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
    const bool overlooked = line.options.allow_larger || request.options.within.has_value();
    const std::uint64_t larger = !overlooked && target->size() > source->size() ? target->size() - source->size() : 0;

    outcome result;
    if (line.json) result.output = to_json(report) + "\n";
    if (report.failure) {
        result.code = report_failure(report, around);
        return result;
    }
    if (!line.output.empty()) save(report.differential.value(), line.output);
    if (larger != 0) {
        around.out.warning(fmt::format("{} is {} bytes larger than {}; --allow-larger overlooks it", line.disks[1],
                                       larger, line.disks[0]));
    }
    if (!line.json && line.extents) {
        result.output = to_text(report.differential.value());
    } else if (!line.json && !line.quiet) {
        result.output = diff_summary(report, {line.disks[0], line.disks[1]}, larger);
    }
    result.code = report.different() || larger != 0 ? 1 : 0;
    return result;
}

}  // namespace reprotect::tool
