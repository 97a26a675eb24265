// Around the models: what is refused, the registry, costs, and the JSON of the command line's contract.
#include "reprotect/estimate.hpp"

#include "estimate/refusal.hpp"

#include <boost/json.hpp>

#include <catch2/catch.hpp>

#include <limits>
#include <memory>
#include <string>
#include <vector>

using namespace reprotect;
using namespace reprotect::test;
namespace json = boost::json;

namespace {

constexpr std::uint64_t gb = 1'000'000'000;

workload simple() {
    workload machine;
    machine.disks = {{.size_bytes = 1000 * gb, .used_bytes = 127 * gb}};
    machine.disks[0].changed_bytes = exactly(45 * gb);
    return machine;
}

estimate run(const char* model, const workload& what) {
    return model_registry().find(model).run(what);
}

std::string assumed(const estimate& result, const std::string& name) {
    for (const estimate_assumption& each : result.assumptions)
        if (each.name == name) return each.value + " | " + each.source;
    return "not assumed";
}

class tea_leaves final : public estimate_model {
public:
    std::string name() const override { return "tea-leaves"; }
    std::string summary() const override { return "always an hour"; }
    estimate run(const workload& what) const override {
        check_workload(what);
        estimate result;
        result.model = name();
        result.total_s = exactly(3600.0);
        return result;
    }
};

}  // namespace

TEST_CASE("a workload that makes no sense is refused by every model, with the figure and the disk",
          "[estimate][bad input]") {
    struct row {
        std::function<void(workload&)> change;
        const char* expected;
    };
    const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
    const auto two = [](workload& w) {
        w.disks.push_back(w.disks[0]);
        w.disks[0].name = "root";
        w.disks[1].name = "data";
    };
    const std::vector<row> table{
        {[](workload& w) { w.disks.clear(); }, "no disk"},
        {[](workload& w) { w.disks[0] = {}; }, "neither the size of the disk is known nor how much"},
        {[](workload& w) { w.disks[0].size_bytes = std::uint64_t(-1); },
         "the size of the disk is 18446744073709551615"},
        {[](workload& w) { w.disks[0].size_bytes = (1ull << 62) + 1; }, "no disk has (or it was negative)"},
        {[](workload& w) { w.disks[0] = {.used_bytes = static_cast<std::uint64_t>(-5)}; },
         "the used part of the disk is"},
        {[](workload& w) { w.disks[0].used_bytes = 1001 * gb; },
         "of the disk more is used (1001000000000 bytes) than its size (1000000000000 bytes)"},
        {[](workload& w) { w.disks[0].target_used_bytes = 1001 * gb; }, "more is used on the target"},
        {[](workload& w) { w.disks[0].changed_bytes = exactly(128 * gb); },
         "more is changed (128000000000 bytes) than is used"},
        {[](workload& w) {
             w.disks[0].changed_bytes = spread<std::uint64_t>{0, 1, 128 * gb};
         },
         "more is changed"},
        {[](workload& w) {
             w.disks[0].used_bytes.reset();
             w.disks[0].changed_bytes = exactly(1001 * gb);
         },
         "more is changed (1001000000000 bytes) than its size"},
        {[](workload& w) {
             w.disks[0].changed_bytes = spread<std::uint64_t>{2, 1, 3};
         },
         "the changed part of the disk is not in order"},
        {[](workload& w) {
             w.disks[0].changed_bytes = spread<std::uint64_t>{1, 4, 3};
         },
         "not in order"},
        {[&](workload& w) {
             two(w);
             w.disks[1].used_bytes = 1001 * gb;
         },
         "of disk data more is used"},
        {[&](workload& w) {
             two(w);
             w.disks[1].name = "root";
         },
         "two disks are called root"},
        {[](workload& w) { w.disks.resize(1025, w.disks[0]); }, "more than 1024 disks"},
        {[](workload& w) {
             w.disks[0].size_bytes = 1ull << 62;
             w.disks.push_back(w.disks[0]);
         },
         "the disks together are larger than 4 EiB"},
        {[](workload& w) { w.effective_rate = exactly(0.0); }, "the effective rate is not above zero"},
        {[](workload& w) { w.effective_rate = exactly(-45e6); }, "the effective rate is not above zero"},
        {[&](workload& w) { w.effective_rate = exactly(nan); }, "the effective rate is not above zero"},
        {[&](workload& w) { w.effective_rate = exactly(infinity); }, "the effective rate"},
        {[](workload& w) {
             w.effective_rate = spread<double>{2, 1, 3};
         },
         "the effective rate is not in order"},
        {[](workload& w) {
             w.effective_rate = spread<double>{0, 1, 3};
         },
         "the effective rate is not above zero"},
        {[](workload& w) { w.disk_rate = 0; }, "the disk's rate is not above zero"},
        {[](workload& w) { w.rates.source_read = exactly(0.0); }, "the source's read rate is not above zero"},
        {[](workload& w) { w.rates.target_read = exactly(0.0); }, "the target's read rate is not above zero"},
        {[](workload& w) { w.disks[0].rates.target_write = exactly(0.0); }, "the target's write rate of the disk"},
        {[](workload& w) { w.link.rate = exactly(0.0); }, "the link's rate is not above zero"},
        {[](workload& w) { w.link.round_trip_s = exactly(-1.0); },
         "the link's round trip in seconds is not within 0 and 3600"},
        {[](workload& w) { w.link.limit_to_target = 0; }, "the limit towards the target is not above zero"},
        {[](workload& w) { w.link.limit_to_source = 0; }, "the limit towards the source is not above zero"},
        {[](workload& w) { w.link.connections = 0; }, "the number of connections is 0"},
        {[](workload& w) { w.link.connections = 17; }, "the number of connections is 17"},
        {[](workload& w) { w.compression_ratio = exactly(0.5); }, "the compression ratio is not within 1 and 1000"},
        {[](workload& w) { w.zero_share = exactly(1.5); }, "the share of zero blocks is not within 0 and 1"},
        {[&](workload& w) { w.zero_share = exactly(nan); }, "the share of zero blocks"},
        {[](workload& w) { w.digest_rate = exactly(0.0); }, "the digest rate"},
        {[](workload& w) { w.encode_rate = exactly(0.0); }, "compression and encryption"},
        {[](workload& w) { w.initial_replication_s = 0; }, "the duration of the initial replication"},
        {[&](workload& w) { w.initial_replication_s = nan; }, "the duration of the initial replication"},
        {[](workload& w) { w.block_bytes = 1000; }, "block"},
        {[](workload& w) { w.disks[0].name = "a\nb", w.disks[0].used_bytes = 1001 * gb; }, "disk a\\x0ab"},
    };
    for (const char* const model : {"asr-2018", "asr-2023", "pipeline"})
        for (const row& each : table) {
            CAPTURE(model, each.expected);
            workload machine = simple();
            each.change(machine);
            const std::string message = refusal([&] { (void)run(model, machine); });
            CAPTURE(message);
            CHECK(mentions(message, each.expected));
        }
    CHECK(mentions(refusal([] { (void)parse_target_state("gone"); }), "\"gone\" is no state of a target"));
}

TEST_CASE("what is known exactly at the bounds is taken", "[estimate]") {
    for (const char* const model : {"asr-2018", "asr-2023", "pipeline"}) {
        CAPTURE(model);
        workload machine;
        machine.disks = {{.size_bytes = 1ull << 62, .used_bytes = 1ull << 62}};
        machine.disks[0].changed_bytes = exactly<std::uint64_t>(1ull << 62);
        CHECK(run(model, machine).to_target.high >= 1ull << 62);
        machine.disks = {{.size_bytes = 0}};
        const estimate nothing = run(model, machine);
        CHECK(nothing.total_s.low >= 0);
        CHECK(nothing.total_s.likely <= 1800);
    }
}

TEST_CASE("a target that holds nothing needs a full copy, of what it was seen to lack", "[estimate]") {
    workload blank = simple();
    blank.disks[0].target_used_bytes = 0;
    for (const std::string& name : model_registry().names()) {
        INFO(name);
        const estimate result = run(name.c_str(), blank);
        CHECK(result.full_copy.needed);
        CHECK(result.full_copy.reason == "the target holds no data");
    }
    const estimate seen = run("pipeline", blank);
    CHECK(seen.to_target.likely < 46 * gb);
    CHECK(seen.to_source.high < 1'000'000);  // no digest crosses
    blank.disks[0].changed_bytes.reset();
    blank.compression_ratio = exactly(1.0);
    CHECK(run("pipeline", blank).to_target.likely > 127 * gb);
    blank.disks[0].target = target_state::deleted;
    CHECK(run("pipeline", blank).full_copy.reason == "the target's data is deleted");
}

TEST_CASE("the registry knows the shipped models and takes an agent's own", "[estimate]") {
    model_registry models;
    CHECK(models.names() == std::vector<std::string>{"asr-2018", "asr-2023", "pipeline"});
    CHECK(mentions(refusal([&] { (void)models.find("asr"); }),
                   "there is no model \"asr\": there are asr-2018, asr-2023, pipeline"));
    for (const std::string& name : models.names()) {
        CHECK(models.find(name).name() == name);
        CHECK_FALSE(models.find(name).summary().empty());
        CHECK(models.find(name).run(simple()).model == name);
    }
    model_registry more = models;
    more.add(std::make_shared<tea_leaves>());
    CHECK(more.find("tea-leaves").run(simple()).total_s.likely == 3600);
    CHECK(mentions(refusal([&] { (void)models.find("tea-leaves"); }), "no model"));  // a value: the copy has it alone
    CHECK(mentions(refusal([&] { (void)more.find("oracle"); }), "pipeline, tea-leaves"));
    CHECK(mentions(refusal([&] { more.add(std::make_shared<tea_leaves>()); }), "called \"tea-leaves\" already"));
}

TEST_CASE("every default of the vendor's models is stated with its source", "[estimate]") {
    workload machine;
    machine.disks = {{.size_bytes = 100 * gb}};
    const estimate first = run("asr-2018", machine);
    CHECK(assumed(first, "effective rate") == "45.0 MB/s | not given: the vendor's example, 45 \"MBs\" read as MB/s");
    CHECK(mentions(assumed(first, "used of the disk"), "the whole disk, the most that it can be"));
    CHECK(mentions(assumed(first, "changed of the disk"), "a guess"));
    CHECK(mentions(assumed(first, "scale-out"), "middle"));
    CHECK(first.to_target.low == 0);
    CHECK(first.to_target.high == 100 * gb);
    const estimate second = run("asr-2023", machine);
    CHECK(mentions(assumed(second, "disk rate"), "60.0 MB/s"));
    CHECK(mentions(assumed(second, "initial replication"), "used data at the disk's rate"));
    CHECK(second.phases[0].reason == "as long as the initial replication is assumed to have taken");
    // Given, none of them is assumed.
    machine = simple();
    machine.effective_rate = exactly(45e6);
    machine.disk_rate = 60e6;
    machine.initial_replication_s = 4320;
    CHECK(run("asr-2018", machine).assumptions.size() == 1);
    CHECK(run("asr-2023", machine).assumptions.size() == 1);
}

TEST_CASE("each direction is billed where it leaves, digests in their own", "[estimate][prices]") {
    const price_book book = parse_price_book(R"({
        "format": "reprotect-prices-1", "kind": "contract", "name": "ours", "currency": "EUR", "date": "2026-11",
        "prices": [
        {"provider": "x", "direction": "out", "from": "here", "to": "there", "unit": "GB",
         "tiers": [{"price": "1"}], "source": "a"},
        {"provider": "x", "direction": "out", "from": "there", "to": "here", "unit": "GB",
         "tiers": [{"up_to": 5, "price": "0"}, {"price": "10"}], "source": "b", "note": "dear"},
        {"provider": "x", "direction": "in", "from": "here", "to": "there", "unit": "GB",
         "tiers": [{"price": "0.1"}], "source": "c"},
        {"provider": "y", "direction": "out", "from": "place", "to": "internet", "unit": "GB",
         "tiers": [{"price": "1"}], "currency": "USD", "source": "d"},
        {"provider": "x", "direction": "out", "from": "here", "to": "internet", "unit": "GB",
         "tiers": [{"price": "3"}], "source": "e"}]})");
    estimate result;
    result.to_target = {1 * gb, 2 * gb, 4 * gb};
    result.to_source = {2 * gb, 6 * gb, 8 * gb};
    estimate first = result;
    add_cost(first, book, "x:here", "x:there");
    REQUIRE(first.cost);
    CHECK(first.cost->currency == "EUR");
    CHECK(to_string(first.cost->amount.low) == "1.10");
    CHECK(to_string(first.cost->amount.likely) == "12.20");
    CHECK(to_string(first.cost->amount.high) == "34.40");
    CHECK(first.cost->basis == "contract prices: ours (2026-11)");
    CHECK(assumed(first, "price for what leaves from x:here to x:there") ==
          "1.00 EUR/GB | contract price of 2026-11, a");
    CHECK(assumed(first, "price for what leaves from x:there to x:here") ==
          "0.00 up to 5 GB, then 10.00 EUR/GB | contract price of 2026-11, b; dear");
    CHECK(mentions(assumed(first, "price for what arrives from x:there to x:here"), "has none for what arrives"));
    CHECK(mentions(assumed(first, "billed before this month for what leaves from x:there to x:here"), "0 B"));
    CHECK(assumed(first, "billed before this month for what leaves from x:here to x:there") == "not assumed");

    estimate later = result;
    add_cost(later, book, "x:here", "x:there", {.source_bytes = 100 * gb, .target_bytes = 5 * gb});
    CHECK(to_string(later.cost->amount.likely) == "62.20");
    CHECK(assumed(later, "billed before this month for what leaves from x:there to x:here") == "not assumed");

    // Home: nobody bills what leaves there.
    estimate home = result;
    add_cost(home, book, "x:here", "internet");
    CHECK(to_string(home.cost->amount.likely) == "6.00");
    CHECK(mentions(assumed(home, "price for what leaves from internet to x:here"), "no provider bills it"));

    estimate mixed = result;
    CHECK(mentions(refusal([&] { add_cost(mixed, book, "x:here", "y:place"); }), "EUR and USD"));
    CHECK_FALSE(mixed.cost);
    CHECK(mixed.assumptions.empty());
    CHECK(mentions(refusal([&] { add_cost(mixed, book, "x:nowhere", "x:there"); }),
                   "no region \"nowhere\" of x: it has here, there"));
}

TEST_CASE("an estimate as JSON has the fields of the contract", "[estimate][json]") {
    estimate result = run("pipeline", simple());
    const json::value without = json::parse(to_json(result));
    CHECK(without.at("cost").is_null());
    add_cost(result, default_price_book(), "azure:westeurope", "azure:northeurope");
    const json::value value = json::parse(to_json(result));
    CHECK(value.at("model") == "pipeline");
    CHECK(value.at("phases").as_array().size() == 6);
    for (const json::value& phase : value.at("phases").as_array()) {
        CHECK(phase.at("name").is_string());
        CHECK(phase.at("low_s").as_double() <= phase.at("likely_s").as_double());
        CHECK(phase.at("likely_s").as_double() <= phase.at("high_s").as_double());
        CHECK_FALSE(phase.at("reason").as_string().empty());
        CHECK(phase.at("overlapping").is_bool());
    }
    CHECK(value.at("total").at("likely_s").as_double() == result.total_s.likely);
    for (const char* const way : {"to_target", "to_source"})
        for (const char* const bound : {"low_bytes", "likely_bytes", "high_bytes"})
            CHECK(value.at("egress").at(way).at(bound).to_number<std::uint64_t>() > 0);
    CHECK(value.at("cost").at("currency") == "USD");
    CHECK(money::parse(std::string(value.at("cost").at("low").as_string())) == result.cost->amount.low);
    CHECK(money::parse(std::string(value.at("cost").at("likely").as_string())) == result.cost->amount.likely);
    CHECK(money::parse(std::string(value.at("cost").at("high").as_string())) == result.cost->amount.high);
    CHECK(mentions(std::string(value.at("cost").at("basis").as_string()), "list prices"));
    CHECK(value.at("full_copy").at("needed") == false);
    CHECK_FALSE(value.at("full_copy").at("reason").as_string().empty());
    CHECK(value.at("assumptions").as_array().size() == result.assumptions.size());
    for (const json::value& each : value.at("assumptions").as_array())
        for (const char* const field : {"name", "value", "source"}) CHECK_FALSE(each.at(field).as_string().empty());

    const json::value vendor = json::parse(to_json(run("asr-2018", simple())));
    CHECK(vendor.at("readings").as_array().size() == 3);
    CHECK(vendor.at("readings").at(0).at("units") == "GB and MB/s");
    CHECK(vendor.at("readings").at(0).at("as_given") == true);
    CHECK(vendor.at("readings").at(1).at("phases").at(0).at("name") == "checksum");
    // What an agent's model or a file's name says need not be UTF-8; the JSON is.
    estimate strange;
    const std::string bytes =
        "a\xff"
        "b";
    strange.model = strange.full_copy.reason = bytes;
    strange.phases = {{.name = bytes, .reason = bytes}};
    strange.assumptions = {{bytes, bytes, bytes}};
    strange.notes = {bytes};
    strange.cost = cost_estimate{bytes, {}, bytes};
    const std::string text = to_json(strange);
    CHECK_NOTHROW(json::parse(text));
    CHECK_FALSE(mentions(text, "\xff"));
}
