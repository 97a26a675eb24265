// Places without a price book's entry are refused before any disk is opened: whoever wants to know what it costs should not learn
// afterwards that nobody knows.
#include "cost_options.hpp"

#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <string_view>

#include "text.hpp"

namespace reprotect::tool {
namespace {

// What left the source's region, and after a comma what left the target's.
billed_before parse_billed_before(const std::string& text) {
    const std::size_t comma = text.find(',');
    billed_before result;
    result.source_bytes = parse_size(text.substr(0, comma));
    if (comma != std::string::npos) result.target_bytes = parse_size(text.substr(comma + 1));
    return result;
}

}  // namespace

void read_cost_options(const verb_row& row, const raw_line& line, arguments& result) {
    estimate_arguments& prices = result.estimate;
    prices.price_file = path_option(line, "--prices");
    if (line.has("--egress-from") != line.has("--egress-to"))
        refuse_usage("--egress-from and --egress-to go together",
                     "as in --egress-from azure:westeurope --egress-to internet");
    if (line.has("--egress-from")) {
        prices.egress_from = line.values.at("--egress-from");
        prices.egress_to = line.values.at("--egress-to");
    } else {
        for (const char* const name : {"--max-cost", "--prices", "--billed-before"}) {
            const bool lists = row.what == verb::estimate && std::string_view(name) == "--prices";
            if (line.has(name) && !lists)
                refuse_usage(fmt::format("{} needs to know what is billed where", name),
                             "give --egress-from and --egress-to, too, as in --egress-from azure:westeurope "
                             "--egress-to internet");
        }
    }
    if (line.has("--billed-before")) prices.before = value_option(line, "--billed-before", parse_billed_before);
    if (!line.has("--max-cost")) return;
    result.max_cost = value_option(line, "--max-cost", parse_amount);
    if (result.max_cost->amount == money())
        refuse_usage("--max-cost 0 would send nothing", "leave it out for no limit");
}

price_book book_of(const arguments& line) {
    const std::string& file = line.estimate.price_file;
    return file.empty() ? default_price_book() : load_price_book(file);
}

std::optional<traffic_bill> make_bill(const arguments& line, const price_book& book) {
    const estimate_arguments& asked = line.estimate;
    if (asked.egress_from.empty()) return std::nullopt;
    return traffic_bill(book, asked.egress_from, asked.egress_to, asked.before);
}

std::optional<traffic_bill> make_bill(const arguments& line) {
    return line.estimate.egress_from.empty() ? std::nullopt : make_bill(line, book_of(line));
}

void apply_max_cost(const arguments& line, const std::optional<traffic_bill>& bill, sync_options& options,
                    const surroundings& around) {
    if (!line.max_cost) return;
    const written_amount& most = *line.max_cost;
    if (!most.currency.empty() && most.currency != bill->currency())
        refuse_usage(
            fmt::format("--max-cost is in {}, and the price book bills in {}", most.currency, bill->currency()),
            fmt::format("give it in {}, or a price book with --prices", bill->currency()));
    if (bill->is_free()) {
        around.out.warning(fmt::format("nothing is billed from {} to {} or back: --max-cost is no limit",
                                       line.estimate.egress_from, line.estimate.egress_to));
        return;
    }
    const money least = bill->least(options);
    if (most.amount < least)
        refuse_usage(fmt::format("--max-cost {} {} is too little: a session with a peer needs room for {} {}",
                                 to_string(most.amount), bill->currency(), to_string(least), bill->currency()),
                     "give as much at least, or leave it out for no limit");
    options.traffic_max = bill->bound(most.amount);
}

std::optional<traffic_cost> cost_of(const std::optional<traffic_bill>& bill, const sync_report& report,
                                    const traffic_step& beside) {
    if (!bill) return std::nullopt;
    const std::uint64_t to_target = report.to_target.total() + beside.to_target;
    const std::uint64_t to_source = report.to_source.total() + beside.to_source;
    return traffic_cost{{bill->currency(), bill->cost(to_target, to_source)},
                        bill->basis(),
                        bill->assumes_nothing_before() ? "nothing billed before this month (not given)" : ""};
}

std::string cost_text(const std::optional<traffic_cost>& cost) {
    if (!cost) return {};
    return fmt::format("{} {} ({}{})", format_money(cost->paid.amount), cost->paid.currency, escape(cost->basis),
                       cost->assumed.empty() ? "" : "; assumed: " + cost->assumed);
}

std::string with_cost(std::string document, const std::optional<traffic_cost>& cost) {
    if (!cost) return document;
    json_object value;
    value.text("currency", cost->paid.currency).text("amount", to_string(cost->paid.amount)).text("basis", cost->basis);
    if (!cost->assumed.empty()) value.text("assumed", cost->assumed);
    document.insert(document.rfind('}'), ",\"cost\":" + value.str());
    return document;
}

}  // namespace reprotect::tool
