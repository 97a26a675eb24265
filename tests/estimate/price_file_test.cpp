// Price books as files: what is read, and that each thing that is wrong is refused with its line and its field.
#include "reprotect/prices.hpp"

#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace reprotect;

namespace {

// Each price stands on lines of its own, as the numbers below count on.
const std::string good = R"({"format": "reprotect-prices-1",
 "name": "ours",
 "kind": "contract",
 "currency": "EUR",
 "date": "2026-11-22",
 "zones": {"azure": {
   "europe": ["westeurope",
              "northeurope"]}},
 "prices": [
  {"provider": "azure", "direction": "out", "from": "europe", "to": "europe", "unit": "GB",
   "tiers": [{"up_to": 100, "price": "0"},
             {"up_to": 200, "price": "0.0175"},
             {"price": "0.01"}],
   "source": "contract 17"},
  {"provider": "google", "direction": "in", "from": "internet", "to": "*",
   "unit": "GiB",
   "tiers": [{"price": "0"}],
   "currency": "USD",
   "date": "2025",
   "source": "a page",
   "note": "free"}
 ]}
)";

struct refused {
    std::string message;
    std::string hint;
};

refused refusal(const std::string& text) {
    try {
        (void)parse_price_book(text, "book.json");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::usage);
        CHECK_FALSE(why.detail().hint.empty());
        return {why.what(), why.detail().hint};
    }
    FAIL("accepted:\n" << text);
    return {};
}

std::string with(std::string text, const std::string& part, const std::string& instead) {
    const std::size_t at = text.find(part);
    REQUIRE(at != std::string::npos);
    return text.replace(at, part.size(), instead);
}

bool mentions(const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("a price book is read field by field", "[estimate][prices]") {
    const price_book book = parse_price_book(good);
    CHECK(book.name == "ours");
    CHECK(book.kind == "contract");
    CHECK(book.currency == "EUR");
    CHECK(book.zones.at("azure").at("europe") == std::vector<std::string>{"westeurope", "northeurope"});
    REQUIRE(book.prices.size() == 2);
    const egress_price& first = book.prices[0];
    CHECK(first.provider == "azure");
    CHECK(first.direction == price_direction::out);
    CHECK(first.unit == price_unit::gb);
    CHECK(first.currency == "EUR");
    CHECK(first.date == "2026-11-22");
    CHECK(first.source == "contract 17");
    REQUIRE(first.tiers.size() == 3);
    CHECK(first.tiers[1].up_to == 200u);
    CHECK(to_string(first.tiers[1].price) == "0.0175");
    CHECK_FALSE(first.tiers[2].up_to);
    const egress_price& second = book.prices[1];
    CHECK(second.direction == price_direction::in);
    CHECK(second.unit == price_unit::gib);
    CHECK(second.currency == "USD");
    CHECK(second.date == "2025");
    CHECK(second.note == "free");
    CHECK(book.regions_of("azure") == std::vector<std::string>{"northeurope", "westeurope"});
}

TEST_CASE("a price book written as JSON reads as the same book", "[estimate][prices]") {
    for (const std::string& text : {good, std::string(default_price_book_text())}) {
        const price_book book = parse_price_book(text);
        const std::string once = to_json(book);
        CHECK(to_json(parse_price_book(once)) == once);
        CHECK(parse_price_book(once).prices.size() == book.prices.size());
    }
    CHECK(mentions(to_json(parse_price_book(good)), R"({"up_to":200,"price":"0.0175"})"));
}

TEST_CASE(
    "each thing that is wrong with a price book is refused with its line "
    "and field",
    "[estimate][prices]") {
    struct row {
        const char *part, *instead;  // of the good book
        const char* expected;
    };
    for (const row& each : std::vector<row>{
             {R"("reprotect-prices-1")", R"("prices-2")", "line 1: format: must be \"reprotect-prices-1\""},
             {R"("format": "reprotect-prices-1",)", "", "line 1: format: must be"},
             {R"("kind": "contract",)", "", "line 1: kind: is missing"},
             {R"("contract",)", R"("guess",)", "line 3: kind: must be \"list\" or \"contract\""},
             {R"("currency": "EUR")", R"("currency": "eur")", "line 4: currency: must be a currency's three"},
             {R"("currency": "EUR",)", "", "prices[0].currency: is missing, here and for the whole book"},
             {R"("2026-11-22")", R"("2026-13-22")", "line 5: date: must be a date"},
             {R"("2026-11-22")", R"("22.11.2026")", "line 5: date: must be a date"},
             {R"("date": "2026-11-22",)", "", "prices[0].date: is missing"},
             {R"("northeurope")", "17", "line 8: zones.azure.europe[1]: must be text"},
             {R"("northeurope")", R"("North Europe")",
              "line 8: zones.azure.europe[1]: must be a name of small letters"},
             {R"("europe": [)", R"("internet": [)",
              "line 7: zones.azure.internet: is a word with a meaning of its own"},
             {R"({"azure": {)", R"({"azure": 5, "other": {)", "line 6: zones.azure: must be an object"},
             {R"("direction": "out")", R"("direction": "up")",
              "line 10: prices[0].direction: must be \"out\" or \"in\""},
             {R"("unit": "GB")", R"("unit": "G")", "line 10: prices[0].unit: must be \"GB\" or \"GiB\""},
             {R"("unit": "GB",)", "", "line 10: prices[0].unit: is missing"},
             {R"("from": "europe")", R"("from": "same")", "line 10: prices[0].from: \"same\" may only"},
             {R"("from": "europe")", R"("from": "internet")", "line 10: prices[0].from: what leaves the internet"},
             {R"("to": "*")", R"("to": "internet")", "line 15: prices[1].to: what enters the internet"},
             {R"("up_to": 200)", R"("up_to": 100)",
              "line 12: prices[0].tiers[1].up_to: must be above the tier before "
              "it, which ends at 100"},
             {R"("up_to": 200)", R"("up_to": -5)", "line 12: prices[0].tiers[1].up_to: must be a whole number"},
             {R"("up_to": 200)", R"("up_to": 200.5)", "line 12: prices[0].tiers[1].up_to: must be a whole number"},
             {R"("up_to": 200)", R"("up_to": "200")", "line 12: prices[0].tiers[1].up_to: must be a whole number"},
             {R"("up_to": 200)", R"("up_to": 8000000001)", "line 12: prices[0].tiers[1].up_to: must be a whole number"},
             {R"("up_to": 200,)", "",
              "line 12: prices[0].tiers[1].up_to: is missing: only the last tier "
              "has no end"},
             {R"({"price": "0.01"})", R"({"up_to": 300, "price": "0.01"})",
              "line 13: prices[0].tiers[2].up_to: the last tier must have no end"},
             {R"("0.0175")", "0.0175", "line 12: prices[0].tiers[1].price: is a bare number"},
             {R"("0.0175")", R"("-0.0175")", "line 12: prices[0].tiers[1].price: is negative"},
             {R"("0.0175")", R"("2 cents")",
              "line 12: prices[0].tiers[1].price: \"2 cents\" is no amount of "
              "money"},
             {R"("0.0175")", R"("0.00000000001")", "line 12: prices[0].tiers[1].price"},
             {R"("0.0175")", "null", "line 12: prices[0].tiers[1].price: must be text in quotes"},
             {R"([{"price": "0"}])", "[]", "line 17: prices[1].tiers: must hold at least one tier"},
             {R"([{"price": "0"}])", "{}", "line 17: prices[1].tiers: must be a list"},
             {R"([{"price": "0"}])", "[7]", "line 17: prices[1].tiers[0]: must be an object"},
             {R"("source": "a page",)", "", "line 15: prices[1].source: is missing"},
             {R"("a page")", R"("")", "line 20: prices[1].source: is empty"},
             {R"("note": "free")", R"("notes": "free")", "line 21: prices[1].notes: is no field of a price book"},
             {R"("name": "ours",)", R"("title": "ours",)", "line 2: title: is no field"},
             {R"("date": "2025",)", R"("currency": "EUR",)", "line 19: prices[1].currency: stands twice"},
             {R"("provider": "azure")", R"("provider": "Azure")", "line 10: prices[0].provider: must be a name"},
             {R"("ours",)", R"("o\"u,r]s\\",
 "title": 1,)",
              "line 3: title: is no field"},
             // Syntax.
             {R"("kind": "contract",)", R"("kind": "contract")", "line 4: no valid JSON"},
             {R"("up_to": 200)", R"("up_to": 0200)", "line 12: no valid JSON"},
             {R"(]}
)",
              "]\n", "line 22: no valid JSON: incomplete"},
             {R"(]}
)",
              "]", "line 22: no valid JSON: incomplete"},
             {R"(]}
)",
              "]}\n\nmore", "line 24: no valid JSON: extra data"},
             {R"("ours")", "\"\xff\"", "line 2: no valid JSON"},
             {R"("ours")", "[[[[[[[[[[]]]]]]]]]]", "line 2: no valid JSON: too deep"},
         }) {
        CAPTURE(each.part, each.instead, each.expected);
        const refused why = refusal(with(good, each.part, each.instead));
        CAPTURE(why.message);
        CHECK(mentions(why.message, "book.json, line "));
        CHECK(mentions(why.message, each.expected));
    }
    CHECK(mentions(refusal(with(good, "\"0.0175\"", "0.0175")).hint, "in quotes"));
    CHECK(mentions(refusal("").message, "line 1: no valid JSON: incomplete"));
    CHECK(mentions(refusal("[]").message, "line 1: the whole: must be an object"));
    CHECK(mentions(refusal(R"({"a": "\u000a\u0007"})").message, "line 1: format"));
    CHECK(mentions(refusal(std::string(2 << 20, ' ')).message, "longer than 1 MiB"));
    const std::string empty = R"({"format": "reprotect-prices-1", "kind": "list", "prices": []})";
    CHECK(mentions(refusal(empty).message, "prices: must hold at least one price"));
}

TEST_CASE("a price book that is cut anywhere is refused, and never crashes", "[estimate][prices]") {
    for (std::size_t length = 0; length + 2 < good.size(); ++length) {
        CAPTURE(length);
        CHECK_THROWS_AS(parse_price_book(good.substr(0, length)), error);
    }
    // Any one byte turned: read or refused.
    for (std::size_t at = 0; at < good.size(); ++at)
        for (const char other : {'"', '{', ']', ',', '\\', '0', '\n', '\xff'}) {
            std::string text = good;
            text[at] = other;
            try {
                (void)parse_price_book(text);
            } catch (const error& why) {
                REQUIRE(mentions(why.what(), "line "));
            }
        }
}

TEST_CASE("a price book is read from a file, and messages name it", "[estimate][prices]") {
    const std::filesystem::path folder = std::filesystem::temp_directory_path() / "reprotect-price-book-test";
    std::filesystem::create_directories(folder);
    const std::filesystem::path path = folder / "ours.json";
    std::ofstream(path) << good;
    CHECK(load_price_book(path).prices.size() == 2);
    std::ofstream(path) << with(good, "\"GB\"", "\"TB\"");
    try {
        (void)load_price_book(path);
        FAIL("accepted");
    } catch (const error& why) {
        CHECK(mentions(why.what(), path.string() + ", line 10: prices[0].unit"));
    }
    std::filesystem::remove_all(folder);
    try {
        (void)load_price_book(path);
        FAIL("accepted");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::not_found);
    }
}
