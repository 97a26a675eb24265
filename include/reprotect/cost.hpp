// What the traffic of a sync costs, and how much traffic an amount of money buys.
//
//   traffic_bill bill(default_price_book(), "azure:westeurope", "azure:northeurope");
//   request.options.traffic_max = bill.bound(money::parse("1.50"));
//   sync_report report = sync_with_remote(request, remote, how);
//   std::cout << to_string(bill.cost(report.to_target.total(), report.to_source.total()));
#pragma once

#include "reprotect/estimate.hpp"
#include "reprotect/prices.hpp"
#include "reprotect/sync.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

/// An amount as a person writes it. Without a currency it is in whatever the price book bills in.
struct written_amount {
    money amount;
    std::string currency;
};

/// Of "1.50", "1.50USD" or "1.50 USD". Throws `error` (usage), also for an amount below zero.
written_amount parse_amount(std::string_view text);

/// What something cost. Money is exact.
struct paid_amount {
    std::string currency;
    money amount;
    friend bool operator==(const paid_amount&, const paid_amount&) = default;
};

/// What traffic between two places is billed at, in both directions, each at its own price. A value.
class traffic_bill {
public:
    /// The places as `price_book::find` takes them. Throws `error` (usage) as that does, and where the two directions are billed in
    /// different currencies.
    traffic_bill(const price_book& book, std::string_view source_place, std::string_view target_place,
                 const billed_before& before = {});

    const std::string& currency() const noexcept { return currency_; }
    /// "list prices …" or "contract prices …": the book's kind, name and date.
    const std::string& basis() const noexcept { return basis_; }
    /// Of some price the tiers count from nothing, since it was not given what was billed before in the month.
    bool assumes_nothing_before() const noexcept { return assumes_nothing_before_; }
    /// Each price with its source, and what it rests on that was not given: what an estimate lists.
    const std::vector<estimate_assumption>& assumptions() const noexcept { return assumptions_; }
    /// Whatever crosses, in either direction, costs nothing.
    bool is_free() const noexcept;

    /// Of what crossed in both directions. Throws `error` (usage) where the sum is out of range.
    money cost(std::uint64_t to_target, std::uint64_t to_source) const;

    /// Never more than `most` for what crosses under it. Empty where all is free.
    traffic_bound bound(money most) const;

    /// What `bound` needs at least, for a session with these options to begin.
    money least(const sync_options& options) const;

private:
    struct line {
        egress_price price;
        std::uint64_t already = 0;
    };
    bool is_affordable(const traffic_step& what, money most) const;
    std::uint64_t affordable(std::uint64_t traffic_step::*which, traffic_step other, money most) const;

    std::vector<line> to_target_, to_source_;
    std::string currency_;
    std::string basis_;
    std::vector<estimate_assumption> assumptions_;
    bool assumes_nothing_before_ = false;
};

/// Prices the bytes of both directions, and lists what the bill rests on. Throws `error` (usage) where a sum is out of range.
void add_cost(estimate& to, const traffic_bill& bill);

}  // namespace reprotect
