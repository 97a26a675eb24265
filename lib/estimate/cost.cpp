// Money to bytes by bisection over exact costs: tiers and rounding need no inverse of their own, and what is found is affordable
// because it was asked for, not because a formula says so.
#include "reprotect/cost.hpp"

#include <algorithm>
#include <limits>

#include "base/utf8.hpp"
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
    const way_price there = book.find(source_place, target_place);
    const way_price back = book.find(target_place, source_place);
    add_to(to_target_, there.out, before.source_bytes);
    add_to(to_target_, there.in, std::nullopt);
    add_to(to_source_, back.out, before.target_bytes);
    add_to(to_source_, back.in, std::nullopt);
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

void traffic_bill::add_to(std::vector<line>& way, const egress_price* price,
                          const std::optional<std::uint64_t>& already) {
    if (price == nullptr) return;
    way.push_back({*price, already.value_or(0)});
    assumes_nothing_before_ = assumes_nothing_before_ || (price->tiers.size() > 1 && !already);
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

}  // namespace reprotect
