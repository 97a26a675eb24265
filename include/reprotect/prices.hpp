// What traffic costs: exact decimal money, and price books that say what leaving or entering a region is billed at.
//
// A price book is a JSON file; money in it stands in quotes, so that no reader makes a binary fraction of it:
//
//   {"format": "reprotect-prices-1", "name": "list prices", "kind": "list", "currency": "USD", "date": "2026-11",
//    "zones": {"azure": {"europe": ["westeurope", "northeurope"]}},
//    "prices": [{"provider": "azure", "direction": "out", "from": "europe", "to": "europe", "unit": "GB",
//                "tiers": [{"up_to": 100, "price": "0"}, {"price": "0.02"}],
//                "date": "2026-05", "source": "where the figure stands", "note": "what else to know"}]}
//
// - `kind` is "list" (what anyone pays) or "contract"; what is printed says which.
// - `from` and `to` are a region, a zone of the provider, or "*" (any region that the book names); `to` may also be
//   "internet" or "same" (traffic that stays within the region, which takes no price of a zone or "*").
// - `direction` is "out" (billed where traffic leaves, by the provider of `from`) or "in" (billed where it arrives, by
//   the provider of `to`; there `from` may be "internet").
// - `tiers` bill what leaves in a month, each byte at the price of the tier that it falls into. `up_to` counts units
//   from the month's start; the last tier has none.
// - `currency` and `date` may stand at a price, too, and then count there. `note` and `name` may be left out.
// - Of several prices that fit, the one with the most exact `from` counts (a region before a zone before "*"), then the
//   one with the most exact `to`, then the first in the book.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

/// An amount in billionths of a currency's unit, exact, up to about nine billion in either direction. Which currency,
/// its holder knows.
class money {
public:
    constexpr money() = default;

    /// Of "12", "0.02", "-0.138": at most nine digits behind the point. Throws `error` (usage).
    static money parse(std::string_view text);
    static constexpr money from_billionths(std::int64_t count) noexcept {
        money result;
        result.billionths_ = count;
        return result;
    }
    constexpr std::int64_t billionths() const noexcept { return billionths_; }

    /// Throws `error` (usage) where the sum is out of range.
    friend money operator+(money left, money right);
    friend constexpr auto operator<=>(const money&, const money&) = default;

private:
    std::int64_t billionths_ = 0;
};

/// Exact, with at least two digits behind the point: "0.90", "0.138".
std::string to_string(money amount);

/// Rounded half to even to two digits, as on a bill: "0.90". What is not zero but rounds to it is "< 0.01".
std::string format_money(money amount);

/// A billed unit of bytes: GB is 10^9, GiB is 2^30.
enum class price_unit { gb, gib };
const char* to_string(price_unit unit) noexcept;
std::uint64_t bytes_of(price_unit unit) noexcept;

enum class price_direction { out, in };
const char* to_string(price_direction direction) noexcept;

struct price_tier {
    std::optional<std::uint64_t> up_to;  ///< units since the month's start; the last tier has no end
    money price;                         ///< for each unit
};

/// One line of a book.
struct egress_price {
    std::string provider;
    price_direction direction = price_direction::out;
    std::string from;
    std::string to;
    price_unit unit = price_unit::gb;
    std::vector<price_tier> tiers;
    std::string currency;
    std::string date;
    std::string source;
    std::string note;
};

/// What `bytes` cost at a price when `already_bytes` were billed in the same month before. Exact over all tiers, then
/// rounded once, half to even, to a billionth. Throws `error` (usage) where the sum is out of range.
money cost_of(const egress_price& price, std::uint64_t bytes, std::uint64_t already_bytes = 0);

/// One way of traffic and who bills it. Null: nobody that the book knows does (the internet's side, or no entry for
/// what arrives).
struct way_price {
    const egress_price* out = nullptr;
    const egress_price* in = nullptr;
};

/// A value. Its functions may be called from several threads at once.
class price_book {
public:
    std::string name;
    std::string kind;      ///< "list" or "contract"
    std::string currency;  ///< where a price has none of its own
    std::string date;      ///< likewise
    std::map<std::string, std::map<std::string, std::vector<std::string>>> zones;  ///< provider, zone, its regions
    std::vector<egress_price> prices;

    /// What traffic from one place to another is billed at: "azure:westeurope", "aws:eu-west-1" or "internet" (also
    /// for a data centre of one's own). What leaves for another provider is traffic to the internet. The pointers
    /// live as long as the book stays as it is. Throws `error` (usage) for a name of another form, and for a
    /// provider, a region or a way that the book lacks, with what it has.
    way_price find(std::string_view from, std::string_view to) const;

    /// All regions of a provider that the book names, sorted.
    std::vector<std::string> regions_of(std::string_view provider) const;
};

/// A price book of JSON text. Throws `error` (usage) that names the line and the field, e.g.
/// `prices[3].tiers[1].up_to`; `name` is how messages call the book. At most 1 MiB; a field that is unknown or stands
/// twice is refused, too.
price_book parse_price_book(std::string_view text, const std::string& name = "the price book");

/// The same of a file. Throws also what reading it does (`not_found`, `permission`, `unsuitable`, `device_io`).
price_book load_price_book(const std::filesystem::path& path);

/// The shipped book: list prices of Azure, AWS and Google as secondary pages had them at its date, each with its
/// source. What no page told is not in it.
const price_book& default_price_book();

/// The JSON text of the shipped book: a beginning for one's own.
std::string_view default_price_book_text() noexcept;

/// The book as JSON in the format above.
std::string to_json(const price_book& book);

}  // namespace reprotect
