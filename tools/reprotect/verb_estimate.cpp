// estimate: time, bytes and money before anything moves, from what is known of the disks. Nothing is opened.
#include "reprotect/estimate.hpp"
#include "reprotect/units.hpp"

#include <fmt/format.h>

#include "report_text.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace reprotect::tool {
namespace {

std::string duration_text(const spread<double>& seconds) {
    if (seconds.low == seconds.high) return format_duration(seconds.likely);
    return fmt::format("{} to {}, likely {}", format_duration(seconds.low), format_duration(seconds.high),
                       format_duration(seconds.likely));
}

// In both kinds of units: bills come in either.
std::string size_text(std::uint64_t bytes) {
    return fmt::format("{:.2f} GB ({})", static_cast<double>(bytes) / 1e9, format_size(bytes));
}

std::string bytes_text(const spread<std::uint64_t>& bytes) {
    if (bytes.low == bytes.high) return size_text(bytes.likely);
    return fmt::format("{} to {}, likely {}", size_text(bytes.low), size_text(bytes.high), size_text(bytes.likely));
}

std::string text_of(const estimate& result) {
    summary lines;
    lines.add("model", result.model);
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

std::string text_of(const price_book& book) {
    std::string text = fmt::format("{}: {} prices, {}, {}\n", escape(book.name), book.kind, book.currency, book.date);
    for (const egress_price& price : book.prices) {
        text += fmt::format("{} {} {} -> {}:", price.provider, to_string(price.direction), escape(price.from),
                            escape(price.to));
        for (const price_tier& tier : price.tiers) {
            text += fmt::format(" {} {}/{}", to_string(tier.price),
                                price.currency.empty() ? book.currency : price.currency, to_string(price.unit));
            if (tier.up_to) text += fmt::format(" up to {},", *tier.up_to);
        }
        text += fmt::format("  ({}; {})\n", price.date.empty() ? book.date : price.date, escape(price.source));
    }
    return text;
}

}  // namespace

outcome run_estimate(const arguments& line) {
    const estimate_arguments& asked = line.estimate;
    const price_book book = asked.price_file.empty() ? default_price_book() : load_price_book(asked.price_file);
    if (asked.list_prices) return {0, line.json ? to_json(book) + "\n" : text_of(book)};
    const model_registry models;
    estimate result = models.find(asked.model).run(asked.what);
    if (!asked.egress_from.empty()) add_cost(result, book, asked.egress_from, asked.egress_to);
    return {0, line.json ? to_json(result) + "\n" : text_of(result)};
}

}  // namespace reprotect::tool
