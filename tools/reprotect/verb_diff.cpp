// diff: compare both disks, write nothing to them. The target counts as zero beyond its end. Another size is a
// difference of its own, since a sync would not leave it so: --allow-larger overlooks a larger target as it does for
// sync, and with --within the sizes are not looked at.
#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "cost_options.hpp"
#include "remote_options.hpp"
#include "report_text.hpp"
#include "run.hpp"

namespace reprotect::tool {
namespace {

// How the target's size differs, where that counts. A peer's target does not tell its size, but a difference is among
// the warnings.
std::string size_difference(const arguments& line, std::uint64_t source_bytes, const device* target) {
    if (!line.within.empty() || target == nullptr || target->size() == source_bytes) return {};
    const std::uint64_t bytes = std::max(source_bytes, target->size()) - std::min(source_bytes, target->size());
    const std::string shown = fmt::format("{} ({} bytes)", format_size(bytes), bytes);
    if (target->size() < source_bytes) return shown + " smaller than the source";
    return line.options.allow_larger ? "" : shown + " larger than the source; --allow-larger overlooks it";
}

// Null where the disk is a peer's.
std::optional<opened_disk> open_unless_remote(const arguments& line, std::size_t which) {
    std::optional<opened_disk> opened;
    if (is_remote(line, which)) return opened;
    auto disk = open_device(line.disks[which], {access::read_only, line.direct, false});
    if (which == 0) {
        opened.emplace(std::move(disk), line.source_allocation, "--source-allocation");
    } else {
        opened.emplace(std::move(disk), line.target_allocation, "--target-allocation");
    }
    return opened;
}

device* pointer(const std::optional<opened_disk>& opened) {
    return opened ? &**opened : nullptr;
}

sync_report compare_disks(const sync_request& request, const arguments& line, const connect_options& how) {
    return line.remote.disk ? diff_with_remote(request, line.disks[*line.remote.disk], how) : diff(request);
}

}  // namespace

outcome run_diff(const arguments& line, const surroundings& around) {
    const connect_options how = line.remote.disk ? make_connect_options(line) : connect_options();
    const std::optional<traffic_bill> bill = make_bill(line);
    const auto source = open_unless_remote(line, 0);
    const auto target = open_unless_remote(line, 1);
    sync_request request;
    request.source = pointer(source);
    request.target = pointer(target);
    if (!line.output.empty()) {
        std::vector<device*> here{request.source, request.target};
        std::erase(here, nullptr);
        check_output(line.output, here);
    }
    request.options = line.options;
    request.options.allow_larger = true;
    request.options.within = load_within(line, request.source);
    request.cancel = around.signals.token();
    sync_report report;
    {
        watched_run run(line, around, reading_words());
        request.listener = &run.progress();
        report = compare_disks(request, line, how);
    }
    const std::string sizes_differ =
        size_difference(line, request.source != nullptr ? request.source->size() : report.bytes.disk, request.target);

    outcome result;
    const auto cost = cost_of(bill, report);
    if (line.json) result.output = with_cost(to_json(report), cost) + "\n";
    if (report.failure) {
        result.code = report_failure(report, around);
        return result;
    }
    if (!line.output.empty()) save(report.differential.value(), line.output);
    if (!sizes_differ.empty()) around.out.warning(fmt::format("{} is {}", line.disks[1], sizes_differ));
    if (!line.json && line.extents) {
        result.output = to_text(report.differential.value());
    } else if (!line.json && !line.quiet) {
        result.output =
            diff_summary(report, {line.disks[0], line.disks[1], is_remote(line, 0), cost_text(cost)}, sizes_differ);
    }
    result.code = report.different() || !sizes_differ.empty() ? 1 : 0;
    return result;
}

}  // namespace reprotect::tool
