// Which price of a book counts for which way of traffic, and what bytes cost at it.
#include "reprotect/prices.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/assert.hpp"
#include "base/utf8.hpp"
#include "estimate/money.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr std::size_t listed_max = 64;  // guessed: more than the regions of any one provider in the shipped book

// One end of a way. Without a provider it is the internet.
struct place {
    std::string provider;
    std::string region;
    bool internet() const { return provider.empty(); }
};

std::string name_of(const place& at) {
    return at.internet() ? "the internet" : at.provider + ":" + at.region;
}

std::string listed(const std::vector<std::string>& names) {
    std::string list;
    for (std::size_t i = 0; i < names.size() && i < listed_max; ++i) list += (i == 0 ? "" : ", ") + names[i];
    return names.size() > listed_max ? list + " and " + std::to_string(names.size() - listed_max) + " more" : list;
}

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
    throw error(error_kind::usage, what, {.operation = "find a price", .hint = hint});
}

std::vector<std::string> providers_of(const price_book& book) {
    std::set<std::string> names;
    for (const egress_price& price : book.prices) names.insert(price.provider);
    return {names.begin(), names.end()};
}

place parse_place(const price_book& book, std::string_view text) {
    if (text == "internet") return {};
    const std::size_t colon = text.find(':');
    if (colon == 0 || colon == std::string_view::npos || colon + 1 == text.size())
        refuse("\"" + on_one_line(text) + "\" names no region",
               "write PROVIDER:REGION, such as azure:westeurope, or internet");
    place at{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
    const std::vector<std::string> providers = providers_of(book);
    if (!std::binary_search(providers.begin(), providers.end(), at.provider))
        refuse("the price book has no provider \"" + on_one_line(at.provider) + "\": it has " + listed(providers),
               "name one of these, or give a book of your own");
    const std::vector<std::string> regions = book.regions_of(at.provider);
    if (!std::binary_search(regions.begin(), regions.end(), at.region))
        refuse("the price book has no region \"" + on_one_line(at.region) + "\" of " + at.provider + ": it has " +
                   listed(regions),
               "name one of these, or give a book of your own");
    return at;
}

// How exactly what a price says fits a region: 3 the region itself, 2 a zone, 1 any; 0 not at all.
int fit(const price_book& book, const std::string& provider, const std::string& said, const std::string& region) {
    if (said == region) return 3;
    if (said == "*") return 1;
    const auto zones = book.zones.find(provider);
    if (zones == book.zones.end()) return 0;
    const auto zone = zones->second.find(said);
    if (zone == zones->second.end()) return 0;
    return std::find(zone->second.begin(), zone->second.end(), region) == zone->second.end() ? 0 : 2;
}

// The same for an end that may be the internet, as the provider of the other end sees it.
int fit_end(const price_book& book, const std::string& provider, const std::string& said, const place& at) {
    if (at.internet() || at.provider != provider) return said == "internet" ? 3 : 0;
    return said == "internet" || said == "same" ? 0 : fit(book, provider, said, at.region);
}

const egress_price* best(const price_book& book, price_direction direction, const place& from, const place& to) {
    const place& billed_at = direction == price_direction::out ? from : to;
    if (billed_at.internet()) return nullptr;
    const bool within = from.provider == to.provider && from.region == to.region;
    const egress_price* found = nullptr;
    std::pair<int, int> found_fit{0, 0};
    for (const egress_price& price : book.prices) {
        if (price.provider != billed_at.provider || price.direction != direction) continue;
        std::pair<int, int> its{fit_end(book, price.provider, price.from, from),
                                fit_end(book, price.provider, price.to, to)};
        // Zones are about traffic between regions: within one counts "same", or that region named at both ends.
        if (within) {
            if (price.to == "same")
                its.second = 2;
            else if (its.first != 3 || its.second != 3)
                continue;
        }
        if (its.first == 0 || its.second == 0 || its <= found_fit) continue;
        found = &price;
        found_fit = its;
    }
    return found;
}

}  // namespace

const char* to_string(price_unit unit) noexcept {
    return unit == price_unit::gib ? "GiB" : "GB";
}

std::uint64_t bytes_of(price_unit unit) noexcept {
    return unit == price_unit::gib ? 1ull << 30 : 1'000'000'000;
}

const char* to_string(price_direction direction) noexcept {
    return direction == price_direction::in ? "in" : "out";
}

money cost_of(const egress_price& price, std::uint64_t bytes, std::uint64_t already_bytes) {
    REPROTECT_ASSERT(!price.tiers.empty());
    const wide_integer unit = static_cast<wide_integer>(bytes_of(price.unit));
    wide_integer begin = already_bytes;
    const wide_integer end = begin + bytes;
    wide_integer sum = 0;  // billionths times bytes; at most 2^64 bytes at 2^63 each
    bool overflow = false;
    for (const price_tier& tier : price.tiers) {
        const bool ends = tier.up_to && &tier != &price.tiers.back();
        const wide_integer tier_end = ends ? static_cast<wide_integer>(*tier.up_to) * unit : end;
        const wide_integer until = std::min(tier_end, end);
        if (until <= begin) continue;
        wide_integer part = 0;
        overflow = overflow ||
                   __builtin_mul_overflow(until - begin, static_cast<wide_integer>(tier.price.billionths()), &part);
        overflow = overflow || __builtin_add_overflow(sum, part, &sum);
        begin = until;
    }
    const std::optional<money> total = overflow ? std::nullopt : divide_half_even(sum, unit);
    if (!total)
        refuse("the cost of " + std::to_string(bytes) + " bytes is more than can be told",
               "check the sizes and the prices");
    return *total;
}

std::vector<std::string> price_book::regions_of(std::string_view provider) const {
    std::set<std::string> names;
    const auto of_provider = zones.find(std::string(provider));
    if (of_provider != zones.end())
        for (const auto& [zone, regions] : of_provider->second) names.insert(regions.begin(), regions.end());
    const auto is_region = [&](const std::string& said) {
        return said != "*" && said != "internet" && said != "same" &&
               (of_provider == zones.end() || !of_provider->second.contains(said));
    };
    for (const egress_price& price : prices) {
        if (price.provider != provider) continue;
        if (is_region(price.from)) names.insert(price.from);
        if (is_region(price.to)) names.insert(price.to);
    }
    return {names.begin(), names.end()};
}

way_price price_book::find(std::string_view from, std::string_view to) const {
    const place source = parse_place(*this, from), target = parse_place(*this, to);
    way_price result{best(*this, price_direction::out, source, target),
                     best(*this, price_direction::in, source, target)};
    if (result.out == nullptr && !source.internet()) {
        std::vector<std::string> has;
        for (const egress_price& price : prices)
            if (price.provider == source.provider && price.direction == price_direction::out)
                has.push_back(price.from + " to " + price.to);
        refuse("the price book has no price for traffic from " + name_of(source) + " to " + name_of(target) +
                   (has.empty() ? ": it has none for what leaves " + source.provider
                                : ": of " + source.provider + " it has " + listed(has)),
               "give a book that has it, beginning with a copy of the shipped one");
    }
    return result;
}

}  // namespace reprotect
