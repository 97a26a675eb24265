// Money to bytes by bisection over exact costs: tiers and rounding need no inverse of their own, and what is found is affordable
// because it was asked for, not because a formula says so.
#include "reprotect/cost.hpp"

#include <algorithm>
#include <limits>

#include "base/utf8.hpp"
#include "estimate/models.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t bytes_max = 1ull << 62;  // as on the wire: no disk is larger
// The staircase's first step, and how much each is wider than the one before: what a step is too wide for is not spent. A guess; seven
// hundred steps reach `bytes_max`.
constexpr std::uint64_t first_step = 64 << 10;
constexpr std::uint64_t widen_by = 16;

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
    throw error(error_kind::usage, what, {.operation = "find a price", .hint = hint});
}

std::uint64_t next_step(std::uint64_t bytes) {
    return bytes + bytes / widen_by;
}

bool costs_nothing(const egress_price& price) {
    return std::all_of(price.tiers.begin(), price.tiers.end(),
                       [](const price_tier& tier) { return tier.price == money(); });
}

// "0.02 USD/GB", with its tiers.
std::string price_text(const egress_price& price) {
    std::string text;
    for (const price_tier& tier : price.tiers) {
        if (!text.empty()) text += ", then ";
        text += to_string(tier.price);
        if (tier.up_to) text += " up to " + std::to_string(*tier.up_to) + " " + to_string(price.unit);
    }
    return text + " " + price.currency + "/" + to_string(price.unit);
}

}  // namespace

written_amount parse_amount(std::string_view text) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789.-"), text.size());
    std::string_view currency = text.substr(digits);
    if (currency.starts_with(' ')) currency.remove_prefix(1);
    const auto is_letter = [](char letter) { return letter >= 'A' && letter <= 'Z'; };
    const bool named = currency.size() == 3 && std::all_of(currency.begin(), currency.end(), is_letter);
    if (digits == 0 || (digits != text.size() && !named))
        refuse("\"" + on_one_line(text.substr(0, 64)) + "\" is no amount of money",
               "as in 1.50, 1.50USD or '1.50 USD'");
    const written_amount result{money::parse(text.substr(0, digits)), std::string(currency)};
    if (result.amount < money()) refuse("an amount of money is below zero", "as in 1.50, 1.50USD or '1.50 USD'");
    return result;
}

traffic_bill::traffic_bill(const price_book& book, std::string_view source_place, std::string_view target_place,
                           const billed_before& before) {
    assumption_list assumptions(assumptions_);
    const auto add = [&](std::vector<line>& lines, const egress_price* price, const std::string& way,
                         const std::optional<std::uint64_t>& already, const char* free_because) {
        if (price == nullptr) {
            assumptions.add("price " + way, "0", free_because);
            return;
        }
        lines.push_back({*price, already.value_or(0)});
        assumptions.add("price " + way, price_text(*price),
                        book.kind + " price of " + price->date + ", " + price->source +
                            (price->note.empty() ? "" : "; " + price->note));
        if (price->tiers.size() <= 1 || already) return;
        assumes_nothing_before_ = true;
        assumptions.add("billed before this month " + way, "0 B", "not given: the tiers count from the month's start");
    };
    const auto add_way = [&](std::vector<line>& lines, std::string_view from, std::string_view at,
                             const std::optional<std::uint64_t>& already) {
        const std::string way = "from " + std::string(from) + " to " + std::string(at);
        const way_price found = book.find(from, at);
        add(lines, found.out, "for what leaves " + way, already,
            "no provider bills it; what a line of one's own costs is not in the book");
        add(lines, found.in, "for what arrives " + way, std::nullopt,
            at == "internet" ? "no provider bills it" : "the price book has none for what arrives there");
    };
    add_way(to_target_, source_place, target_place, before.source_bytes);
    add_way(to_source_, target_place, source_place, before.target_bytes);
    for (const auto* way : {&to_target_, &to_source_})
        for (const line& each : *way) {
            if (currency_.empty()) currency_ = each.price.currency;
            if (each.price.currency != currency_)
                refuse("the two directions are billed in " + currency_ + " and " + each.price.currency +
                           ", which cannot be added",
                       "give a price book with one currency");
        }
    if (currency_.empty()) currency_ = book.currency;
    if (currency_.empty() && !book.prices.empty()) currency_ = book.prices.front().currency;
    basis_ = book.kind + " prices" + (book.name.empty() ? "" : ": " + book.name) +
             (book.date.empty() ? "" : " (" + book.date + ")");
}

bool traffic_bill::is_free() const noexcept {
    const auto free = [](const line& each) { return costs_nothing(each.price); };
    return std::all_of(to_target_.begin(), to_target_.end(), free) &&
           std::all_of(to_source_.begin(), to_source_.end(), free);
}

money traffic_bill::cost(std::uint64_t to_target, std::uint64_t to_source) const {
    money sum;
    for (const line& each : to_target_) sum = sum + cost_of(each.price, to_target, each.already);
    for (const line& each : to_source_) sum = sum + cost_of(each.price, to_source, each.already);
    return sum;
}

bool traffic_bill::is_affordable(const traffic_step& what, money most) const {
    try {
        return cost(what.to_target, what.to_source) <= most;
    } catch (const error&) {
        return false;  // more than can be told
    }
}

// The most bytes of one direction beside those of the other.
std::uint64_t traffic_bill::affordable(std::uint64_t traffic_step::*which, traffic_step other, money most) const {
    other.*which = bytes_max;
    if (is_affordable(other, most)) return unbounded;
    std::uint64_t least = 0, too_much = bytes_max;
    while (too_much - least > 1) {
        const std::uint64_t middle = other.*which = least + (too_much - least) / 2;
        (is_affordable(other, most) ? least : too_much) = middle;
    }
    return least;
}

traffic_bound traffic_bill::bound(money most) const {
    traffic_bound result;
    if (is_free()) return result;
    result.name = "a cost of " + to_string(most) + " " + currency_;
    const std::uint64_t back_max = affordable(&traffic_step::to_source, {}, most);
    const auto add = [&](std::uint64_t to_source, std::uint64_t billed) {
        const traffic_step step{to_source, affordable(&traffic_step::to_target, {billed, 0}, most)};
        if (!result.steps.empty() && result.steps.back().to_target == step.to_target) result.steps.pop_back();
        result.steps.push_back(step);
    };
    for (std::uint64_t back = first_step; back < std::min(back_max, bytes_max); back = next_step(back)) add(back, back);
    add(back_max, std::min(back_max, bytes_max));
    return result;
}

// Of the step that has room for what a session needs, which may be wider.
money traffic_bill::least(const sync_options& options) const {
    const traffic_step needed = traffic_minimum(options);
    return cost(needed.to_target, std::max(first_step, next_step(needed.to_source)));
}

void add_cost(estimate& to, const traffic_bill& bill) {
    const auto cost = [&](std::uint64_t spread<std::uint64_t>::*end) {
        return bill.cost(to.to_target.*end, to.to_source.*end);
    };
    using ends = spread<std::uint64_t>;
    to.cost = cost_estimate{bill.currency(), {cost(&ends::low), cost(&ends::likely), cost(&ends::high)}, bill.basis()};
    assumption_list assumptions(to.assumptions);
    for (const estimate_assumption& each : bill.assumptions()) assumptions.add(each.name, each.value, each.source);
}

void add_cost(estimate& to, const price_book& book, std::string_view source_place, std::string_view target_place,
              const billed_before& before) {
    add_cost(to, traffic_bill(book, source_place, target_place, before));
}

}  // namespace reprotect
