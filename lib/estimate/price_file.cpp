// Price books from JSON and back. Every refusal names the line and the field: a book is written by hand.
#include <boost/json.hpp>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <span>
#include <utility>

#include "base/atomic_file.hpp"
#include "base/utf8.hpp"
#include "estimate/json_lines.hpp"
#include "reprotect/error.hpp"
#include "reprotect/prices.hpp"

namespace reprotect {
namespace {

namespace json = boost::json;

constexpr std::size_t text_bytes_max = 1 << 20;  // guessed: some thousand prices
constexpr std::size_t depth_max = 8;             // the format needs five
constexpr std::string_view format_name = "reprotect-prices-1";
// Guessed: more than anyone is billed for, and small enough that the units' bytes cannot wrap.
constexpr std::int64_t up_to_max = 8'000'000'000;

error refusal(const std::string& book, std::size_t line, const std::string& what, const std::string& hint) {
    return error(error_kind::usage, on_one_line(book) + ", line " + std::to_string(line) + ": " + on_one_line(what),
                 {.operation = "read a price book", .hint = hint});
}

class reader {
public:
    reader(std::string_view text, const std::string& book) : text_(text), book_(book) {}

    price_book read() {
        const json::value document = parse();
        if (const auto twice = find_repeated_field(text_))
            throw refusal(book_, twice->line, twice->path + ": stands twice", "keep one of the two");
        price_book result;
        const json::object& root = object(document, "");
        // First, so that a file that is something else altogether is told so.
        if (const json::value* const format = root.if_contains("format");
            format == nullptr || text(*format, "format") != format_name)
            refuse("format", "must be \"" + std::string(format_name) + "\"");
        known_fields(root, "", {"format", "name", "kind", "currency", "date", "zones", "prices"});
        if (const json::value* const name = root.if_contains("name")) result.name = text(*name, "name");
        result.kind = one_of(required(root, "", "kind"), "kind", {"list", "contract"});
        if (const json::value* const currency = root.if_contains("currency"))
            result.currency = currency_of(*currency, "currency");
        if (const json::value* const date = root.if_contains("date")) result.date = date_of(*date, "date");
        if (const json::value* const zones = root.if_contains("zones")) read_zones(*zones, result);
        const json::array& prices = array(required(root, "", "prices"), "prices");
        if (prices.empty()) refuse("prices", "must hold at least one price");
        for (std::size_t i = 0; i < prices.size(); ++i)
            result.prices.push_back(price(prices[i], "prices[" + std::to_string(i) + "]", result));
        return result;
    }

private:
    [[noreturn]] void refuse(const std::string& path, const std::string& what, const std::string& hint = {}) const {
        const json_place at = find_json_path(text_, path);
        throw refusal(
            book_, at.line, (path.empty() ? "the whole" : path) + ": " + what,
            hint.empty() ? "the format stands in prices.hpp; `--list-prices` shows a book that is well-formed" : hint);
    }

    json::value parse() const {
        if (text_.size() > text_bytes_max)
            throw refusal(book_, 1, "longer than 1 MiB", "keep only the prices that are needed");
        json::parse_options strict;
        strict.max_depth = depth_max;
        json::stream_parser parser({}, strict);
        json::error_code why;
        const std::size_t consumed = parser.write_some(text_.data(), text_.size(), why);
        std::size_t broken_at = consumed;
        if (!why) {
            // What stands behind the document is an error, too; space is taken with it.
            if (consumed < text_.size())
                why = json::error::extra_data;
            else
                parser.finish(why);
        }
        // An error at the end of a line break is meant for the line before it.
        if (broken_at > 0 && broken_at >= text_.size()) --broken_at;
        if (why)
            throw refusal(book_, line_at(text_, broken_at), "no valid JSON: " + why.message(),
                          "a common cause is a missing or a superfluous comma or quote just before that place");
        return parser.release();
    }

    const json::object& object(const json::value& value, const std::string& path) const {
        if (!value.is_object()) refuse(path, "must be an object, { … }");
        return value.get_object();
    }
    const json::array& array(const json::value& value, const std::string& path) const {
        if (!value.is_array()) refuse(path, "must be a list, [ … ]");
        return value.get_array();
    }
    const json::value& required(const json::object& from, const std::string& path, const char* key) const {
        const json::value* const found = from.if_contains(key);
        if (found == nullptr) refuse(inside(path, key), "is missing");
        return *found;
    }
    static std::string inside(const std::string& path, std::string_view key) {
        return (path.empty() ? "" : path + ".") + std::string(key);
    }

    std::string text(const json::value& value, const std::string& path) const {
        if (!value.is_string()) refuse(path, "must be text in quotes");
        if (value.get_string().empty()) refuse(path, "is empty");
        return std::string(value.get_string());
    }

    std::string one_of(const json::value& value, const std::string& path,
                       std::initializer_list<std::string_view> words) const {
        const std::string found = value.is_string() ? std::string(value.get_string()) : std::string();
        if (std::find(words.begin(), words.end(), found) != words.end()) return found;
        std::string list;
        for (const std::string_view word : words) list += (list.empty() ? "\"" : " or \"") + std::string(word) + "\"";
        refuse(path, "must be " + list);
    }

    void known_fields(const json::object& in, const std::string& path,
                      std::initializer_list<std::string_view> known) const {
        for (const json::key_value_pair& field : in) {
            const std::string_view key(field.key().data(), field.key().size());
            if (std::find(known.begin(), known.end(), key) != known.end()) continue;
            std::string list;
            for (const std::string_view each : known) list += (list.empty() ? "" : ", ") + std::string(each);
            refuse(inside(path, key), "is no field of a price book", "here it knows " + list);
        }
    }

    std::string currency_of(const json::value& value, const std::string& path) const {
        const std::string code = text(value, path);
        if (code.size() != 3 || !std::all_of(code.begin(), code.end(), [](char c) { return c >= 'A' && c <= 'Z'; }))
            refuse(path, "must be a currency's three capital letters, such as \"USD\"");
        return code;
    }

    // "2026", "2026-11" or "2026-11-22".
    std::string date_of(const json::value& value, const std::string& path) const {
        const std::string date = text(value, path);
        const auto number = [&](std::size_t at, std::size_t count, int low, int high) {
            int result = 0;
            for (std::size_t i = at; i < at + count; ++i) {
                if (i >= date.size() || date[i] < '0' || date[i] > '9') return false;
                result = result * 10 + (date[i] - '0');
            }
            return result >= low && result <= high;
        };
        const bool year = number(0, 4, 1990, 9999) && (date.size() == 4 || date[4] == '-');
        const bool month = date.size() == 4 || (number(5, 2, 1, 12) && (date.size() == 7 || date[7] == '-'));
        const bool day = date.size() <= 7 || number(8, 2, 1, 31);
        if (!year || !month || !day || (date.size() != 4 && date.size() != 7 && date.size() != 10))
            refuse(path, "must be a date such as \"2026\", \"2026-11\" or \"2026-11-22\"");
        return date;
    }

    // Names of providers, zones and regions: what a user can type on a command line.
    std::string name_of(const std::string& name, const std::string& path) const {
        const bool fits = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        });
        if (!fits) refuse(path, "must be a name of small letters, digits and hyphens");
        return name;
    }

    void read_zones(const json::value& value, price_book& into) const {
        for (const json::key_value_pair& provider : object(value, "zones")) {
            const std::string provider_name(provider.key());
            const std::string provider_path = inside("zones", provider_name);
            name_of(provider_name, provider_path);
            for (const json::key_value_pair& zone : object(provider.value(), provider_path)) {
                const std::string zone_name(zone.key());
                const std::string zone_path = inside(provider_path, zone_name);
                name_of(zone_name, zone_path);
                if (zone_name == "internet" || zone_name == "same")
                    refuse(zone_path, "is a word with a meaning of its own");
                const json::array& regions = array(zone.value(), zone_path);
                std::vector<std::string>& names = into.zones[provider_name][zone_name];
                for (std::size_t i = 0; i < regions.size(); ++i) {
                    const std::string path = zone_path + "[" + std::to_string(i) + "]";
                    names.push_back(name_of(text(regions[i], path), path));
                }
            }
        }
    }

    std::string place(const json::value& value, const std::string& path) const {
        const std::string name = text(value, path);
        return name == "*" ? name : name_of(name, path);
    }

    egress_price price(const json::value& value, const std::string& path, const price_book& book) const {
        const json::object& from = object(value, path);
        known_fields(from, path,
                     {"provider", "direction", "from", "to", "unit", "tiers", "currency", "date", "source", "note"});
        egress_price result;
        const auto field = [&](const char* key) -> const json::value& { return required(from, path, key); };
        result.provider = name_of(text(field("provider"), inside(path, "provider")), inside(path, "provider"));
        result.direction = one_of(field("direction"), inside(path, "direction"), {"out", "in"}) == "in"
                               ? price_direction::in
                               : price_direction::out;
        result.from = place(field("from"), inside(path, "from"));
        result.to = place(field("to"), inside(path, "to"));
        if (result.from == "same") refuse(inside(path, "from"), "\"same\" may only be what \"to\" says");
        if (result.direction == price_direction::out && result.from == "internet")
            refuse(inside(path, "from"), "what leaves the internet is billed by no provider",
                   "write \"in\" as direction");
        if (result.direction == price_direction::in && result.to == "internet")
            refuse(inside(path, "to"), "what enters the internet is billed by no provider",
                   "write \"out\" as direction");
        result.unit =
            one_of(field("unit"), inside(path, "unit"), {"GB", "GiB"}) == "GiB" ? price_unit::gib : price_unit::gb;
        read_tiers(field("tiers"), inside(path, "tiers"), result);
        const json::value* const currency = from.if_contains("currency");
        result.currency = currency != nullptr ? currency_of(*currency, inside(path, "currency")) : book.currency;
        if (result.currency.empty()) refuse(inside(path, "currency"), "is missing, here and for the whole book");
        const json::value* const date = from.if_contains("date");
        result.date = date != nullptr ? date_of(*date, inside(path, "date")) : book.date;
        if (result.date.empty()) refuse(inside(path, "date"), "is missing, here and for the whole book");
        result.source = text(field("source"), inside(path, "source"));
        if (const json::value* const note = from.if_contains("note")) result.note = text(*note, inside(path, "note"));
        return result;
    }

    void read_tiers(const json::value& value, const std::string& path, egress_price& into) const {
        const json::array& tiers = array(value, path);
        if (tiers.empty()) refuse(path, "must hold at least one tier");
        std::uint64_t before = 0;
        for (std::size_t i = 0; i < tiers.size(); ++i) {
            const std::string at = path + "[" + std::to_string(i) + "]";
            const json::object& tier = object(tiers[i], at);
            known_fields(tier, at, {"up_to", "price"});
            const bool last = i + 1 == tiers.size();
            const json::value* const up_to = tier.if_contains("up_to");
            price_tier result;
            if (up_to == nullptr && !last) refuse(inside(at, "up_to"), "is missing: only the last tier has no end");
            if (up_to != nullptr && last) refuse(inside(at, "up_to"), "the last tier must have no end");
            if (up_to != nullptr) {
                const std::int64_t units = up_to->is_int64() ? up_to->get_int64() : -1;
                if (units < 1 || units > up_to_max)
                    refuse(inside(at, "up_to"),
                           "must be a whole number of units from 1 to " + std::to_string(up_to_max));
                result.up_to = static_cast<std::uint64_t>(units);
                if (*result.up_to <= before)
                    refuse(inside(at, "up_to"),
                           "must be above the tier before it, which ends at " + std::to_string(before));
                before = *result.up_to;
            }
            result.price = price_of(required(tier, at, "price"), inside(at, "price"));
            into.tiers.push_back(result);
        }
    }

    money price_of(const json::value& value, const std::string& path) const {
        if (value.is_number())
            refuse(path, "is a bare number, which JSON readers take for a binary fraction",
                   "write it in quotes: \"0.02\"");
        const std::string digits = text(value, path);
        money result;
        try {
            result = money::parse(digits);
        } catch (const error& why) {
            refuse(path, why.what(), why.detail().hint);
        }
        if (result < money()) refuse(path, "is negative");
        return result;
    }

    std::string_view text_;
    const std::string& book_;
};

}  // namespace

price_book parse_price_book(std::string_view text, const std::string& name) {
    return reader(text, name).read();
}

price_book load_price_book(const std::filesystem::path& path) {
    std::vector<std::byte> content;
    try {
        content = read_whole_file(path, text_bytes_max);
    } catch (const error& why) {
        if (why.kind() != error_kind::corrupt_file) throw;
        throw refusal(path.string(), 1, "longer than 1 MiB", "keep only the prices that are needed");
    }
    return parse_price_book({reinterpret_cast<const char*>(content.data()), content.size()}, path.string());
}

std::string to_json(const price_book& book) {
    json::object out{{"format", format_name}, {"kind", valid_utf8(book.kind)}};
    if (!book.name.empty()) out["name"] = valid_utf8(book.name);
    if (!book.currency.empty()) out["currency"] = valid_utf8(book.currency);
    if (!book.date.empty()) out["date"] = valid_utf8(book.date);
    json::object zones;
    for (const auto& [provider, of_provider] : book.zones) {
        json::object named;
        for (const auto& [zone, regions] : of_provider) named[zone] = json::array(regions.begin(), regions.end());
        zones[provider] = std::move(named);
    }
    out["zones"] = std::move(zones);
    json::array prices;
    for (const egress_price& price : book.prices) {
        json::array tiers;
        for (const price_tier& tier : price.tiers) {
            json::object one;
            if (tier.up_to) one["up_to"] = *tier.up_to;
            one["price"] = to_string(tier.price);
            tiers.push_back(std::move(one));
        }
        json::object one{{"provider", price.provider},
                         {"direction", to_string(price.direction)},
                         {"from", price.from},
                         {"to", price.to},
                         {"unit", to_string(price.unit)},
                         {"tiers", std::move(tiers)},
                         {"currency", price.currency},
                         {"date", price.date},
                         {"source", valid_utf8(price.source)}};
        if (!price.note.empty()) one["note"] = valid_utf8(price.note);
        prices.push_back(std::move(one));
    }
    out["prices"] = std::move(prices);
    return json::serialize(out);
}

}  // namespace reprotect
