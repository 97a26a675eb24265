// Money is exact, prices are found by region, and traffic is billed through its tiers.
#include "reprotect/prices.hpp"

#include "estimate/refusal.hpp"

#include <catch2/catch.hpp>

#include <limits>
#include <string>
#include <utility>
#include <vector>

using namespace reprotect;
using namespace reprotect::test;

namespace {

egress_price tiered(price_unit unit, std::vector<price_tier> tiers) {
    egress_price price;
    price.unit = unit;
    price.tiers = std::move(tiers);
    return price;
}

std::string cost(const egress_price& price, std::uint64_t bytes, std::uint64_t already = 0) {
    return to_string(cost_of(price, bytes, already));
}

constexpr std::uint64_t gb = 1'000'000'000;
constexpr std::uint64_t gib = 1ull << 30;

}  // namespace

TEST_CASE("money is read and printed exactly", "[estimate][money]") {
    for (const auto& [text, printed] :
         std::vector<std::pair<std::string, std::string>>{{"0", "0.00"},
                                                          {"12", "12.00"},
                                                          {"0.02", "0.02"},
                                                          {"0.1", "0.10"},
                                                          {"0.138", "0.138"},
                                                          {"-0.5", "-0.50"},
                                                          {"0.000000001", "0.000000001"},
                                                          {"007.50", "7.50"},
                                                          {"9223372036.854775807", "9223372036.854775807"},
                                                          {"1.230000000", "1.23"}}) {
        CAPTURE(text);
        CHECK(to_string(money::parse(text)) == printed);
    }
    CHECK(money::parse("0.1") + money::parse("0.2") == money::parse("0.3"));  // what binary fractions get wrong
    CHECK(money::parse("0.07").billionths() == 70'000'000);
    CHECK(to_string(money::from_billionths(std::numeric_limits<std::int64_t>::min())) == "-9223372036.854775808");
}

TEST_CASE("what is no exact amount of money is refused", "[estimate][money]") {
    for (const std::string text : {"", "-", ".5", "1.", "1,5", "1.2.3", "$1", "1 ", "1e3", "+1", "0x1", "NaN"}) {
        CAPTURE(text);
        refusal([&] { money::parse(text); });
    }
    CHECK(mentions(refusal([] { money::parse("0.0000000001"); }), "more than nine digits"));
    CHECK(mentions(refusal([] { money::parse("9223372036.854775808"); }), "out of range"));
    CHECK(mentions(refusal([] { money::parse(std::string(1000, '9')); }), "out of range"));
    CHECK(mentions(refusal([] { (void)(money::parse("9000000000") + money::parse("9000000000")); }), "out of range"));
}

TEST_CASE("money is rounded half to even on a bill", "[estimate][money]") {
    for (const auto& [text, printed] : std::vector<std::pair<std::string, std::string>>{{"0.005", "< 0.01"},
                                                                                        {"0.015", "0.02"},
                                                                                        {"0.025", "0.02"},
                                                                                        {"0.0250001", "0.03"},
                                                                                        {"0.0249999", "0.02"},
                                                                                        {"-0.015", "-0.02"},
                                                                                        {"-0.025", "-0.02"},
                                                                                        {"0", "0.00"},
                                                                                        {"0.9", "0.90"},
                                                                                        {"1234.565", "1234.56"},
                                                                                        {"-0.001", "> -0.01"},
                                                                                        {"0.994999999", "0.99"},
                                                                                        {"0.995000001", "1.00"}}) {
        CAPTURE(text);
        CHECK(format_money(money::parse(text)) == printed);
    }
}

TEST_CASE("bytes are billed by the unit that the provider bills", "[estimate][prices]") {
    const std::vector<price_tier> two_cents{{std::nullopt, money::parse("0.02")}};
    CHECK(cost(tiered(price_unit::gb, two_cents), 45 * gb) == "0.90");
    CHECK(cost(tiered(price_unit::gib, two_cents), 45 * gib) == "0.90");
    CHECK(cost(tiered(price_unit::gib, two_cents), 45 * gb) == "0.838190317");
    CHECK(cost(tiered(price_unit::gb, two_cents), 0) == "0.00");
}

TEST_CASE("a cost is rounded once, half to even, to a billionth", "[estimate][prices]") {
    // A price of 1 a GB makes a byte a billionth; half and odd prices show how the half is rounded.
    const auto price = [](const char* each) { return tiered(price_unit::gb, {{std::nullopt, money::parse(each)}}); };
    CHECK(cost(price("1"), 1) == "0.000000001");
    CHECK(cost(price("0.5"), 1) == "0.00");
    CHECK(cost(price("0.5"), 3) == "0.000000002");
    CHECK(cost(price("0.5"), 5) == "0.000000002");
    CHECK(cost(price("0.500000001"), 1) == "0.000000001");
    // Two tiers of half a billionth each: rounded apart they would be nothing.
    CHECK(cost(tiered(price_unit::gb, {{1, money::parse("0.5")}, {std::nullopt, money::parse("0.5")}}), 2, gb - 1) ==
          "0.000000001");
}

TEST_CASE("each byte is billed at the tier that it falls into", "[estimate][prices]") {
    const egress_price price = tiered(price_unit::gb, {{100, money::parse("0")},
                                                       {10240, money::parse("0.09")},
                                                       {51200, money::parse("0.085")},
                                                       {std::nullopt, money::parse("0.05")}});
    CHECK(cost(price, 100 * gb) == "0.00");
    CHECK(cost(price, 100 * gb + 1) == "0.00");  // 0.09 billionths
    CHECK(cost(price, 101 * gb) == "0.09");
    CHECK(cost(price, 10240 * gb) == "912.60");
    CHECK(cost(price, 10241 * gb) == "912.685");
    CHECK(cost(price, 60000 * gb) == "4834.20");
    CHECK(cost(price, gb, 99 * gb) == "0.00");
    CHECK(cost(price, gb, 100 * gb) == "0.09");
    CHECK(cost(price, 2 * gb, 10239 * gb) == "0.175");
    CHECK(cost(price, gb, 90000 * gb) == "0.05");
    // Nothing is free because a book made by hand ends too early.
    CHECK(cost(tiered(price_unit::gb, {{10, money::parse("1")}}), 20 * gb) == "20.00");
}

TEST_CASE("a cost that money cannot hold is refused, not wrapped", "[estimate][prices]") {
    const egress_price dear = tiered(price_unit::gb, {{std::nullopt, money::parse("9000000000")}});
    CHECK(cost(dear, gb) == "9000000000.00");
    CHECK(mentions(refusal([&] { cost_of(dear, 2 * gb); }), "more than can be told"));
    CHECK(mentions(refusal([&] {
                       cost_of(dear, std::numeric_limits<std::uint64_t>::max(),
                               std::numeric_limits<std::uint64_t>::max());
                   }),
                   "more than can be told"));
}

TEST_CASE(
    "the shipped book knows Azure, AWS and Google between regions and to "
    "the internet",
    "[estimate][prices]") {
    const price_book& book = default_price_book();
    CHECK(book.kind == "list");
    struct row {
        const char *from, *to,
            *out;  // the cost of 1,000 units, or null where nobody bills
        const char* in;
    };
    for (const row& each : std::vector<row>{{"azure:westeurope", "azure:northeurope", "20.00", "0.00"},
                                            {"azure:eastus", "azure:westus2", "20.00", "0.00"},
                                            {"azure:japaneast", "azure:southeastasia", "80.00", "0.00"},
                                            {"azure:brazilsouth", "azure:brazilsoutheast", "160.00", "0.00"},
                                            {"azure:westeurope", "azure:westeurope", "0.00", "0.00"},
                                            {"azure:westeurope", "internet", "78.30", nullptr},
                                            {"internet", "azure:westeurope", nullptr, "0.00"},
                                            {"aws:eu-west-1", "aws:eu-central-1", "20.00", "0.00"},
                                            {"aws:us-east-1", "aws:us-east-2", "10.00", "0.00"},
                                            {"aws:us-east-1", "aws:us-west-2", "20.00", "0.00"},
                                            {"aws:sa-east-1", "aws:us-east-1", "138.00", "0.00"},
                                            {"aws:eu-west-1", "aws:eu-west-1", "10.00", "10.00"},
                                            {"aws:eu-west-1", "internet", "81.00", nullptr},
                                            {"aws:ap-southeast-2", "internet", "113.886", nullptr},
                                            {"aws:eu-west-1", "azure:northeurope", "81.00", "0.00"},
                                            {"google:europe-west1", "google:europe-west4", "20.00", "0.00"},
                                            {"google:europe-west1", "google:us-east1", "80.00", "0.00"},
                                            {"google:europe-west1", "google:europe-west1", "10.00", "0.00"},
                                            {"google:us-central1", "internet", "120.00", nullptr},
                                            {"internet", "internet", nullptr, nullptr}}) {
        CAPTURE(each.from, each.to);
        const way_price found = book.find(each.from, each.to);
        REQUIRE((found.out != nullptr) == (each.out != nullptr));
        REQUIRE((found.in != nullptr) == (each.in != nullptr));
        if (found.out != nullptr) CHECK(cost(*found.out, 1000 * bytes_of(found.out->unit)) == each.out);
        if (found.in != nullptr) CHECK(cost(*found.in, 1000 * bytes_of(found.in->unit)) == each.in);
    }
    for (const egress_price& price : book.prices) {
        CHECK_FALSE(price.source.empty());
        CHECK_FALSE(price.date.empty());
        CHECK(price.currency == "USD");
        CHECK(price.unit == (price.provider == "google" ? price_unit::gib : price_unit::gb));
    }
}

TEST_CASE("a place that the book lacks is refused with what it has", "[estimate][prices]") {
    const price_book& book = default_price_book();
    const auto find = [&](const char* from, const char* to) { return refusal([&] { (void)book.find(from, to); }); };
    CHECK(mentions(find("azure:marsnorth", "azure:westeurope"), "no region \"marsnorth\" of azure: it has"));
    CHECK(mentions(find("azure:westeurope", "azure:marsnorth"), "westeurope"));
    CHECK(mentions(find("oracle:phx", "internet"), "no provider \"oracle\": it has aws, azure, google"));
    CHECK(mentions(find("westeurope", "internet"), "names no region"));
    CHECK(mentions(find("azure:", "internet"), "names no region"));
    CHECK(mentions(find("", "internet"), "names no region"));
    // A zone is no region.
    CHECK(mentions(find("azure:europe", "internet"), "no region \"europe\""));
    // Both regions are known, the way between them is not.
    const std::string way = find("azure:westeurope", "azure:eastus");
    CHECK(mentions(way, "from azure:westeurope to azure:eastus"));
    CHECK(mentions(way, "europe to europe"));
    CHECK(mentions(find("aws:ap-northeast-1", "aws:us-east-1"), "of aws it has north-america-europe to *"));
    CHECK(mentions(find("azure:a\nb", "internet"), "a\\x0ab"));
}

TEST_CASE("the most exact price counts, whatever the order in the book", "[estimate][prices]") {
    price_book book;
    book.zones["here"]["zone"] = {"a", "b", "c"};
    const auto add = [&](const char* from, const char* to, const char* each) {
        egress_price price = tiered(price_unit::gb, {{std::nullopt, money::parse(each)}});
        price.provider = "here";
        price.from = from;
        price.to = to;
        book.prices.push_back(price);
    };
    add("*", "*", "1");
    add("zone", "zone", "2");
    add("*", "b", "3");
    add("a", "*", "4");
    add("a", "b", "5");
    add("zone", "zone", "6");
    add("*", "same", "7");
    add("c", "c", "8");
    const auto price = [&](const char* from, const char* to) {
        return to_string(book.find(from, to).out->tiers[0].price);
    };
    CHECK(price("here:a", "here:b") == "5.00");
    CHECK(price("here:a", "here:c") == "4.00");
    CHECK(price("here:c", "here:b") == "2.00");
    CHECK(price("here:c", "here:a") == "2.00");
    CHECK(price("here:a", "here:a") == "7.00");
    CHECK(price("here:c", "here:c") == "8.00");
    // "*" is any region, not the internet.
    CHECK(mentions(refusal([&] { (void)book.find("here:a", "internet"); }), "no price"));
    book.zones["here"]["zone"].push_back("d");
    add("d", "internet", "9");
    CHECK(price("here:d", "internet") == "9.00");
}
