// Rows of names and values, as the other summaries; what overlapped is compared as one scan, since a report knows no more. Compared is
// what both mean: a sync's scan has all in it but the last flush and verify, and its changed bytes have no zeroes.
#include "estimate_text.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "report_text.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

std::string duration_text(const spread<double>& seconds) {
    if (seconds.low == seconds.high) return format_duration(seconds.likely);
    return fmt::format("{} to {}, likely {}", format_duration(seconds.low), format_duration(seconds.high),
                       format_duration(seconds.likely));
}

// In both kinds of units: bills come in either, and in GB where it is worth a bill.
std::string size_text(std::uint64_t bytes) {
    if (bytes < 1000) return format_size(bytes);
    const auto value = static_cast<double>(bytes);
    const auto [unit, name] = value >= 1e8   ? std::pair(1e9, "GB")
                              : value >= 1e5 ? std::pair(1e6, "MB")
                                             : std::pair(1e3, "kB");
    return fmt::format("{:.2f} {} ({})", value / unit, name, format_size(bytes));
}

std::string bytes_text(const spread<std::uint64_t>& bytes) {
    if (bytes.low == bytes.high) return size_text(bytes.likely);
    return fmt::format("{} to {}, likely {}", size_text(bytes.low), size_text(bytes.high), size_text(bytes.likely));
}

void add_probe_lines(summary& lines, const probe_result& seen) {
    lines.add("read", fmt::format("{} of the source's {} of data, {} of the target's {}",
                                  format_size(seen.read_source_bytes), format_size(seen.source_data),
                                  format_size(seen.read_target_bytes), format_size(seen.target_data)));
    lines.add("sampled", fmt::format("{} blocks at random, --seed {}{}", seen.blocks_sampled, seen.seed,
                                     seen.out_of_budget ? "; then the budget was used up" : ""));
    if (seen.link)
        lines.add("crossed", fmt::format("{} to the target, {} to the source, for this look",
                                         format_size(seen.crossed_to_target), format_size(seen.crossed_to_source)));
    const bool certain = seen.changed.low == seen.changed.high;
    if (seen.changed_given)
        lines.add("changed", bytes_text(*seen.changed_given) + " (as given)");
    else if (seen.none_changed && seen.target_size != 0)
        lines.add("changed", certain
                                 ? "nothing"
                                 : fmt::format("nothing was seen to; at most {} (95%)", size_text(seen.changed.high)));
    else
        lines.add(seen.target_size != 0 ? "changed" : "to copy", bytes_text(seen.changed) + (certain ? "" : " (90%)"));
    if (seen.zero_share)
        lines.add("of it zero",
                  fmt::format("{:.1f}% to {:.1f}%", seen.zero_share->low * 100, seen.zero_share->high * 100));
    if (seen.compression_ratio)
        lines.add("compresses",
                  fmt::format("{:.2f} to {:.2f} to 1", seen.compression_ratio->low, seen.compression_ratio->high));
}

}  // namespace

std::string estimate_text(const estimate& result) {
    summary lines;
    lines.add("model", result.model);
    if (result.probe) add_probe_lines(lines, *result.probe);
    for (const estimate_phase& phase : result.phases)
        lines.add(phase.name, fmt::format("{}{}: {}", duration_text(phase.seconds),
                                          phase.overlapping ? " (beside others)" : "", escape(phase.reason)));
    lines.add("total", duration_text(result.total_s));
    for (const unit_reading& reading : result.readings)
        lines.add(reading.as_given ? "as given" : "if meant as",
                  fmt::format("{}: {}", reading.name, duration_text(reading.total_s)));
    lines.add("to target", bytes_text(result.to_target));
    lines.add("to source", bytes_text(result.to_source));
    if (result.cost) {
        const spread<money>& amount = result.cost->amount;
        lines.add(
            "cost",
            amount.low == amount.high
                ? fmt::format("{} {} ({})", format_money(amount.likely), result.cost->currency, result.cost->basis)
                : fmt::format("{} to {} {}, likely {} ({})", format_money(amount.low), format_money(amount.high),
                              result.cost->currency, format_money(amount.likely), result.cost->basis));
    }
    lines.add("full copy", (result.full_copy.needed ? "yes: " : "no: ") + escape(result.full_copy.reason));
    for (const std::string& note : result.notes) lines.add("note", escape(note));
    for (const estimate_assumption& each : result.assumptions)
        lines.add("assumed", fmt::format("{} {} ({})", each.name, escape(each.value), escape(each.source)));
    return lines.str();
}

namespace {

// One thing that was predicted and then seen. Times in seconds, everything else in bytes.
struct outcome_row {
    const char* name;
    bool time;
    spread<double> predicted;
    double actual;
};

spread<double> real(const spread<std::uint64_t>& value) {
    return {static_cast<double>(value.low), static_cast<double>(value.likely), static_cast<double>(value.high)};
}

spread<double> phase_of(const estimate& predicted, const std::string& name) {
    for (const estimate_phase& phase : predicted.phases)
        if (phase.name == name) return phase.seconds;
    return {};
}

// All but what follows it: opening, what overlaps, and what that costs where it shares processors.
spread<double> scan_of(const estimate& predicted) {
    spread<double> scan = predicted.total_s;
    for (const char* const after : {"flush", "verify"}) {
        const spread<double> phase = phase_of(predicted, after);
        scan = {scan.low - phase.low, scan.likely - phase.likely, scan.high - phase.high};
    }
    return {std::max(scan.low, 0.0), std::max(scan.likely, 0.0), std::max(scan.high, 0.0)};
}

// Zero blocks are no changed data to a sync: it counts what it zeroes by itself.
spread<double> changed_of(const probe_result& seen) {
    const spread<double> changed = real(seen.changed), zero = seen.zero_share.value_or(spread<double>{});
    return {changed.low * (1 - zero.high), changed.likely * (1 - zero.likely), changed.high * (1 - zero.low)};
}

std::vector<outcome_row> rows_of(const estimate& predicted, const sync_report& report) {
    std::vector<outcome_row> rows;
    // Predicted was a sync; a dry run reads and compares, and neither sends data nor writes.
    if (!report.dry_run) {
        rows = {{"scan", true, scan_of(predicted), report.seconds.scan},
                {"flush", true, phase_of(predicted, "flush"), report.seconds.flush}};
        if (report.seconds.verify > 0)
            rows.push_back({"verify", true, phase_of(predicted, "verify"), report.seconds.verify});
        rows.push_back({"total", true, predicted.total_s, report.seconds.total});
    }
    if (predicted.probe)
        rows.push_back({"changed", false, changed_of(*predicted.probe), static_cast<double>(report.bytes.changed)});
    if (predicted.to_target.high == 0 && report.to_target.total() == 0) return rows;  // on one machine
    if (!report.dry_run)
        rows.push_back({"to_target", false, real(predicted.to_target), static_cast<double>(report.to_target.total())});
    rows.push_back({"to_source", false, real(predicted.to_source), static_cast<double>(report.to_source.total())});
    return rows;
}

void put(json_object& into, const char* key, const outcome_row& row, double value) {
    if (row.time)
        into.number(key, value);
    else
        into.number(key, static_cast<std::uint64_t>(value));
}

std::string value_text(const outcome_row& row, double value) {
    return row.time ? format_duration(value) : format_size(static_cast<std::uint64_t>(value));
}

}  // namespace

std::string against_text(const estimate& predicted, const sync_report& report, const std::optional<paid_amount>& paid) {
    summary lines;
    for (const outcome_row& row : rows_of(predicted, report)) {
        const bool within = row.actual >= row.predicted.low && row.actual <= row.predicted.high;
        std::string name = row.name;
        std::ranges::replace(name, '_', ' ');
        lines.add(name, fmt::format("{}, predicted {} ({} to {}){}", value_text(row, row.actual),
                                    value_text(row, row.predicted.likely), value_text(row, row.predicted.low),
                                    value_text(row, row.predicted.high), within ? "" : ": outside"));
    }
    if (paid && predicted.cost && !report.dry_run)
        lines.add("cost",
                  fmt::format("{} {}, predicted {} ({} to {})", format_money(paid->amount), paid->currency,
                              format_money(predicted.cost->amount.likely), format_money(predicted.cost->amount.low),
                              format_money(predicted.cost->amount.high)));
    return lines.str();
}

std::string against_json(const estimate& predicted, const sync_report& report, const std::optional<paid_amount>& paid) {
    json_object all;
    for (const outcome_row& row : rows_of(predicted, report)) {
        json_object predicted_json, row_json;
        put(predicted_json, "low", row, row.predicted.low);
        put(predicted_json, "likely", row, row.predicted.likely);
        put(predicted_json, "high", row, row.predicted.high);
        row_json.raw("predicted", predicted_json.str());
        put(row_json, "actual", row, row.actual);
        all.raw(std::string(row.name) + (row.time ? "_s" : "_bytes"), row_json.str());
    }
    if (paid && predicted.cost && !report.dry_run) {
        const spread<money>& amount = predicted.cost->amount;
        const auto spread_json = json_object()
                                     .text("low", to_string(amount.low))
                                     .text("likely", to_string(amount.likely))
                                     .text("high", to_string(amount.high))
                                     .str();
        all.raw("cost", json_object().raw("predicted", spread_json).text("actual", to_string(paid->amount)).str());
    }
    return all.str();
}

}  // namespace reprotect::tool
