// What traffic costs, for the verbs that cause it: the options, the limit that an amount of money sets, and what was paid.
#pragma once

#include "reprotect/cost.hpp"

#include <optional>
#include <string>

#include "raw_line.hpp"
#include "verbs.hpp"

namespace reprotect::tool {

/// --egress-from, --egress-to, --prices, --billed-before and --max-cost. Throws `usage`.
void read_cost_options(const verb_row& row, const raw_line& line, arguments& result);

/// The price book that the line names; else the shipped one.
price_book book_of(const arguments& line);

/// What the line's two places are billed at; nothing where none are named. Without a price book it reads the line's.
std::optional<traffic_bill> make_bill(const arguments& line, const price_book& book);
std::optional<traffic_bill> make_bill(const arguments& line);

/// Makes a bound of --max-cost, where there is one. Throws `usage` where it buys too little, or is in another currency.
void apply_max_cost(const arguments& line, const std::optional<traffic_bill>& bill, sync_options& options,
                    const surroundings& around);

/// What the traffic of a report cost, and what crossed beside it.
struct traffic_cost {
    paid_amount paid;
    std::string basis;
    std::string assumed;  ///< empty: nothing
};
std::optional<traffic_cost> cost_of(const std::optional<traffic_bill>& bill, const sync_report& report,
                                    const traffic_step& beside = {});

/// "0.90 USD (list prices …)"; empty for none.
std::string cost_text(const std::optional<traffic_cost>& cost);

/// A report's JSON with `cost` added, where there is one.
std::string with_cost(std::string document, const std::optional<traffic_cost>& cost);

}  // namespace reprotect::tool
