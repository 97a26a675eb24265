// What crossed is billed in both directions, and what an amount buys never costs more than it.
#include "reprotect/cost.hpp"

#include "estimate/refusal.hpp"
#include "sync/traffic_bound.hpp"

#include <catch2/catch.hpp>

#include <limits>
#include <random>
#include <string>

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t gb = 1'000'000'000;

// `there` and `back` are the tiers of what leaves a:x and a:y.
price_book book_of(const std::string& there, const std::string& back, const std::string& currency_back = "USD") {
    const auto price = [](const char* from, const char* to, const std::string& tiers, const std::string& currency) {
        return std::string(R"({"provider": "a", "direction": "out", "from": ")") + from + R"(", "to": ")" + to +
               R"(", "unit": "GB", "tiers": )" + tiers + R"(, "currency": ")" + currency +
               R"(", "date": "2026-11", "source": "made up"})";
    };
    return parse_price_book(R"({"format": "reprotect-prices-1", "name": "made up", "kind": "contract",)"
                            R"( "currency": "USD", "date": "2026-11", "prices": [)" +
                            price("x", "y", there, "USD") + "," + price("y", "x", back, currency_back) + "]}");
}
traffic_bill bill_of(const std::string& there, const std::string& back, const billed_before& before = {}) {
    return {book_of(there, back), "a:x", "a:y", before};
}
std::string flat(const std::string& price) {
    return R"([{"price": ")" + price + R"("}])";
}

// Of every step and of what lies right behind it.
void check_tight(const traffic_bill& bill, money most) {
    const traffic_bound bound = bill.bound(most);
    REQUIRE_FALSE(bound.empty());
    std::uint64_t before = 0, allowed = std::numeric_limits<std::uint64_t>::max();
    for (const traffic_step& step : bound.steps) {
        INFO(step.to_target << " to the target, " << step.to_source << " to the source");
        CHECK(step.to_source > before);
        CHECK(step.to_target <= allowed);
        before = step.to_source;
        allowed = step.to_target;
        const auto billed = [](std::uint64_t bytes) { return std::min<std::uint64_t>(bytes, 1ull << 62); };
        CHECK(bill.cost(billed(step.to_target), billed(step.to_source)) <= most);
        if (step.to_target < 1ull << 62) CHECK(bill.cost(step.to_target + 1, billed(step.to_source)) > most);
    }
    const traffic_step& last = bound.steps.back();
    if (last.to_source < 1ull << 62) CHECK(bill.cost(0, last.to_source + 1) > most);
}

}  // namespace

TEST_CASE("an amount of money is read with and without its currency", "[estimate][money]") {
    CHECK(parse_amount("1.50").amount == money::parse("1.50"));
    CHECK(parse_amount("1.50").currency.empty());
    CHECK(parse_amount("1.50USD").currency == "USD");
    CHECK(parse_amount("12 EUR").amount == money::parse("12"));
    CHECK(parse_amount("12 EUR").currency == "EUR");
    for (const char* const bad : {"", "USD", "1.5 US", "1.5  USD", "1.5 USD ", "$1.5", "1.5usd", "1,5", "1.5$", "."})
        CHECK_FALSE(refusal([&] { parse_amount(bad); }).empty());
    CHECK(mentions(refusal([] { parse_amount("-1"); }), "below zero"));
}

TEST_CASE("what crossed is billed in each direction at its own price", "[estimate][money]") {
    const traffic_bill bill = bill_of(flat("0.02"), flat("0.5"));
    CHECK(bill.currency() == "USD");
    CHECK(bill.basis() == "contract prices: made up (2026-11)");
    CHECK_FALSE(bill.is_free());
    CHECK(to_string(bill.cost(45 * gb, 0)) == "0.90");
    CHECK(to_string(bill.cost(0, gb)) == "0.50");
    CHECK(to_string(bill.cost(45 * gb, 2 * gb)) == "1.90");
    CHECK(bill_of(flat("0"), flat("0")).is_free());
    CHECK_FALSE(bill_of(flat("0"), flat("0.1")).is_free());
    // As an estimate bills it.
    estimate paper;
    paper.to_target = exactly(45 * gb);
    paper.to_source = exactly(2 * gb);
    add_cost(paper, default_price_book(), "azure:westeurope", "azure:northeurope");
    const traffic_bill listed(default_price_book(), "azure:westeurope", "azure:northeurope");
    CHECK(listed.cost(45 * gb, 2 * gb) == paper.cost->amount.likely);
    CHECK(listed.basis() == paper.cost->basis);
    CHECK(mentions(refusal([] { traffic_bill(book_of(flat("1"), flat("1"), "EUR"), "a:x", "a:y"); }), "EUR"));
    CHECK(mentions(refusal([] { traffic_bill(default_price_book(), "azure:atlantis", "internet"); }), "atlantis"));
}

TEST_CASE("what an amount of money buys costs no more than it, and one byte more would", "[estimate][money]") {
    const std::string tiers = R"([{"up_to": 1, "price": "0"}, {"up_to": 10, "price": "0.09"}, {"price": "0.03"}])";
    for (const char* const most : {"0.000001", "0.01", "0.333333333", "1.50", "1000", "5000000"}) {
        INFO(most);
        check_tight(bill_of(flat("0.02"), flat("0.02")), money::parse(most));
        check_tight(bill_of(flat("0.02"), flat("0")), money::parse(most));
        check_tight(bill_of(flat("0"), flat("0.02")), money::parse(most));
        check_tight(bill_of(flat("0.001"), flat("7")), money::parse(most));
        check_tight(bill_of(tiers, tiers), money::parse(most));
        // What the month has had already may stand anywhere in the tiers, and each side has its own.
        check_tight(bill_of(tiers, tiers, {gb / 2, 9 * gb + 1}), money::parse(most));
        check_tight(bill_of(tiers, flat("0.02"), {11 * gb, std::nullopt}), money::parse(most));
    }
    CHECK(bill_of(flat("0"), flat("0")).bound(money::parse("1")).empty());
}

TEST_CASE("a free tier that the month has used up already buys nothing", "[estimate][money]") {
    const std::string tiers = R"([{"up_to": 1, "price": "0"}, {"price": "0.10"}])";
    const money cent = money::parse("0.01");
    const auto bought = [&](std::uint64_t already) {
        return allowed_to_target(bill_of(tiers, flat("0"), {already, 0}).bound(cent), 0);
    };
    // Half of the last billionth is rounded away: five bytes.
    CHECK(bought(0) == gb + gb / 10 + 5);
    CHECK(bought(gb / 2) == gb / 2 + gb / 10 + 5);
    CHECK(bought(gb) == gb / 10 + 5);
    CHECK(bought(5 * gb) == gb / 10 + 5);
    CHECK(bill_of(tiers, flat("0")).assumes_nothing_before());
    CHECK_FALSE(bill_of(tiers, flat("0"), {0, std::nullopt}).assumes_nothing_before());
    CHECK_FALSE(bill_of(flat("1"), flat("0")).assumes_nothing_before());
    // Each side has its own month.
    CHECK(to_string(bill_of(tiers, tiers, {std::nullopt, 5 * gb}).cost(gb, gb)) == "0.10");
    CHECK(to_string(bill_of(tiers, tiers, {5 * gb, std::nullopt}).cost(gb, gb / 2)) == "0.10");
}

TEST_CASE("what is left of a bound costs what is left of the money", "[estimate][money]") {
    const std::string tiers = R"([{"up_to": 1, "price": "0.01"}, {"price": "0.10"}])";
    const traffic_bill bill = bill_of(tiers, flat("0.05"));
    const money most = money::parse("0.25");
    const traffic_bound whole = bill.bound(most);
    std::mt19937_64 random(7);
    for (unsigned i = 0; i < 200; ++i) {
        const traffic_step crossed{random() % (2 * gb), random() % (3 * gb)};
        const traffic_bound left = left_of(whole, crossed);
        REQUIRE_FALSE(left.empty());
        CHECK(left.name == whole.name);
        for (const traffic_step& step : left.steps) {
            if (step == traffic_step{}) continue;
            CHECK(bill.cost(crossed.to_target + step.to_target, crossed.to_source + step.to_source) <= most);
        }
        // And all of it.
        const std::uint64_t more = random() % gb;
        const std::uint64_t now = allowed_to_target(whole, crossed.to_source + more);
        const std::uint64_t expected = now < crossed.to_target ? 0 : now - crossed.to_target;
        CHECK(allowed_to_target(left, more) == expected);
    }
    for (const traffic_step& all : {traffic_step{100 * gb, 0}, traffic_step{0, 100 * gb}}) {
        CHECK_FALSE(left_of(whole, all).empty());  // which would be no bound
        CHECK(allowed_to_target(left_of(whole, all), 0) == 0);
    }
    const traffic_bound one_way = bill_of(flat("1"), flat("0")).bound(most);
    REQUIRE(one_way.steps.size() == 1);
    const traffic_bound left = left_of(one_way, {17 * gb, 1000});
    CHECK(left.steps[0].to_source == std::numeric_limits<std::uint64_t>::max());
    CHECK(left.steps[0].to_target == one_way.steps[0].to_target - 1000);
}

TEST_CASE("the least amount that a session begins with is told, and is enough", "[estimate][money]") {
    sync_options options;
    for (const auto& [there, back] : {std::pair{"0.02", "0.02"}, {"0.001", "9"}, {"0", "1"}, {"1", "0"}}) {
        const traffic_bill bill = bill_of(flat(there), flat(back));
        const money least = bill.least(options);
        CHECK(least > money());
        CHECK(allows_minimum(bill.bound(least), options));
        CHECK_FALSE(allows_minimum(bill.bound(money::from_billionths(least.billionths() * 4 / 5)), options));
    }
}

TEST_CASE("a target settles on room for all digests, but leaves the data half of what it could have",
          "[estimate][money]") {
    const sync_options options;
    const traffic_bound bound = bill_of(flat("0.02"), flat("0.02")).bound(money::parse("1"));  // 50 GB
    const std::uint64_t most = bound.steps.front().to_target;
    const traffic_step small = step_for_target(bound, options, gb);
    CHECK(small.to_target > most - most / 500);
    CHECK(small.to_source > 2 * back_window(options));
    const traffic_step large = step_for_target(bound, options, 1000 * gb);
    // Of each MiB the digests of its 256 blocks, its own, and what goes with it.
    CHECK(large.to_source >= 1000 * gb / 1048576 * (256 * 5 + 16));
    CHECK(large.to_target < small.to_target);
    const traffic_step huge = step_for_target(bound, options, 1'000'000 * gb);
    CHECK(huge.to_target >= most / 2);
    CHECK(huge.to_source >= 23 * gb);
    // Where one direction is free, nothing is to be shared out.
    CHECK(step_for_target(bill_of(flat("0"), flat("1")).bound(money::parse("1")), options, gb).to_source >= gb);
    CHECK(step_for_target(bill_of(flat("1"), flat("0")).bound(money::parse("1")), options, gb).to_target >= gb);
}
