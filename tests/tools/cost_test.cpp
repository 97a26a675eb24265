// Money on the command line: what a sync's traffic cost, the limit that an amount sets, and estimates that learn from earlier runs.
#include <catch2/catch.hpp>

#include "reprotect/cost.hpp"
#include "reprotect/history.hpp"
#include "reprotect/open_device.hpp"
#include "support/served.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;
using words = std::vector<std::string>;

words operator+(words left, const words& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// A book with a price for each way, and a server with a disk to push to and one to pull from.
struct billed_rig : tool_rig {
    std::string key = file("laptop.key");
    std::string prices = text_file("prices.json", R"({"format": "reprotect-prices-1", "name": "made up",
        "kind": "contract", "currency": "EUR", "date": "2026-11", "prices": [
        {"provider": "a", "direction": "out", "from": "x", "to": "y", "unit": "GB", "tiers": [{"price": "10"}],
         "source": "made up"},
        {"provider": "a", "direction": "out", "from": "y", "to": "x", "unit": "GB", "tiers": [{"price": "20"}],
         "source": "made up"}]})");
    billed_rig() { run_checked({tool_path, "key", "new", "--quiet", key}); }

    words billed() const { return {"--egress-from", "a:x", "--egress-to", "a:y", "--prices", prices}; }
    command_result client(const words& line) const { return run(line + words{"--key", key, "--progress", "none"}); }
    static double cost_of(const boost::json::object& report) {
        return static_cast<double>(count_at(report, "wire.to_target.total")) * 10e-9 +
               static_cast<double>(count_at(report, "wire.to_source.total")) * 20e-9;
    }
};

TEST_CASE("a limit in money stops a push and a pull in time, and what crossed is told with its cost",
          "[tool][stream]") {
    const billed_rig rig;
    const std::string a = rig.random_disk("a", 1, 48'000'000);
    const std::string b = rig.random_disk("b", 2, 48'000'000);
    const std::string c = rig.copy(b, "c");
    served here(rig, words{"--export", "a=" + a + ",source", "--export", "b=" + b + ",target", "--key", rig.key});
    for (const words& pair : {words{a, here.disk("b")}, words{here.disk("a"), c}}) {
        const words line = words{"sync"} + pair + words{"--yes"} + rig.billed();
        const command_result stopped = rig.client(line + words{"--max-cost", "0.4 EUR", "--json"});
        INFO(stopped.errors);
        CHECK(stopped.exit_code == 7);
        const auto report = parse_json(stopped.output);
        CHECK(text_at(report, "error.kind") == "limit");
        CHECK(count_at(report, "bytes.written") > 1'000'000);
        CHECK(text_at(report, "cost.currency") == "EUR");
        CHECK(text_at(report, "cost.basis") == "contract prices: made up (2026-11)");
        const double cost = std::stod(text_at(report, "cost.amount"));
        CHECK(cost == Approx(rig.cost_of(report)).margin(1e-8));
        CHECK(cost <= 0.4);

        const command_result rest = rig.client(line + words{"--max-cost", "5"});
        INFO(rest.errors);
        CHECK(rest.exit_code == 0);
        CHECK(has(rest.output, "cost"));
        CHECK(has(rest.output, " EUR (contract prices: made up (2026-11))"));
        CHECK(same_bytes(pair == words{a, here.disk("b")} ? b : c, a));
    }
    // A diff costs, too; and without places nothing is said of money.
    const auto compared = parse_json(rig.client(words{"diff", a, here.disk("b"), "--json"} + rig.billed()).output);
    CHECK(std::stod(text_at(compared, "cost.amount")) == Approx(rig.cost_of(compared)).margin(1e-8));
    CHECK(has(rig.client(words{"diff", a, here.disk("b")} + rig.billed()).output, "< 0.01 EUR"));
    CHECK_FALSE(parse_json(rig.client({"sync", a, here.disk("b"), "--json"}).output).contains("cost"));

    const command_result free = rig.client({"sync", a, here.disk("b"), "--max-cost", "1", "--egress-from", "internet",
                                            "--egress-to", "internet", "--json"});
    CHECK(free.exit_code == 0);
    CHECK(has(free.errors, "--max-cost is no limit"));
    CHECK(text_at(parse_json(free.output), "cost.amount") == "0.00");
}

TEST_CASE("what was billed before this month moves what follows into its tier; where it is not given, that is said",
          "[tool][stream]") {
    const billed_rig rig;
    const std::string tiers =
        R"("unit": "GB", "tiers": [{"up_to": 1, "price": "0"}, {"price": "10"}], "source": "made up"})";
    const std::string book = rig.text_file(
        "tiers.json",
        R"({"format": "reprotect-prices-1", "kind": "contract", "currency": "EUR", "date": "2026-11", "prices": [
        {"provider": "a", "direction": "out", "from": "x", "to": "y", )" +
            tiers + R"(, {"provider": "a", "direction": "out", "from": "y", "to": "x", )" + tiers + "]}");
    const words places{"--egress-from", "a:x", "--egress-to", "a:y", "--prices", book};
    const auto paper = [&](const words& more) {
        return parse_json(run_checked(
            words{tool_path, "estimate", "--model", "asr-2018", "--used", "2GB", "--changed", "2GB", "--json"} +
            places + more));
    };
    const auto assumes = [](const boost::json::object& document, const char* part) {
        return has(boost::json::serialize(document.at("assumptions")), part);
    };
    const auto without = paper({});
    CHECK(text_at(without, "cost.likely") == "10.00");
    CHECK(assumes(without, "billed before this month for what leaves from a:x to a:y"));
    const auto with = paper({"--billed-before", "500MB"});
    CHECK(text_at(with, "cost.likely") == "15.00");
    CHECK_FALSE(assumes(with, "billed before this month for what leaves from a:x to a:y"));
    CHECK(assumes(with, "billed before this month for what leaves from a:y to a:x"));
    CHECK_FALSE(assumes(paper({"--billed-before", "500MB,3GB"}), "billed before"));

    const std::string a = rig.random_disk("a", 1, 8'000'000), b = rig.random_disk("b", 2, 8'000'000);
    const std::string stale = rig.copy(b, "stale");
    served here(rig, words{"--export", "b=" + b + ",target", "--key", rig.key});
    const words push = words{"sync", a, here.disk("b"), "--yes"} + places;
    const auto free = parse_json(rig.client(push + words{"--json"}).output);
    CHECK(text_at(free, "cost.amount") == "0.00");
    CHECK(has(text_at(free, "cost.assumed"), "nothing billed before this month"));
    CHECK(has(rig.client(push).output, "; assumed: nothing billed before this month (not given))"));
    rig.copy(stale, "b");
    const auto billed = parse_json(rig.client(push + words{"--billed-before", "1GB,1GB", "--json"}).output);
    CHECK(std::stod(text_at(billed, "cost.amount")) >= 0.08);
    CHECK_FALSE(billed.at("cost").as_object().contains("assumed"));
    const command_result compared = rig.client(words{"diff", a, here.disk("b"), "--billed-before", "1GB,1GB"} + places);
    CHECK(has(compared.output, "< 0.01 EUR"));
    // A limit counts it, too.
    CHECK(rig.client(push + words{"--max-cost", "0.04"}).exit_code == 0);
    const command_result refused = rig.client(push + words{"--billed-before", "1GB,1GB", "--max-cost", "0.04"});
    CHECK(refused.exit_code == 2);
    CHECK(has(refused.errors, "--max-cost 0.04 EUR is too little"));
}

TEST_CASE("money that makes no sense is refused with what was expected", "[tool]") {
    const billed_rig rig;
    const words push{"sync", rig.random_disk("a", 1, 4096), "reprotect://127.0.0.1:1/b"};
    const std::vector<std::pair<words, std::string>> lines{
        {{"--max-cost", "1"}, "--max-cost needs to know what is billed where"},
        {{"--prices", rig.prices}, "--prices needs to know what is billed where"},
        {{"--billed-before", "1GB"}, "--billed-before needs to know what is billed where"},
        {rig.billed() + words{"--billed-before", "1G"}, "--billed-before: "},
        {rig.billed() + words{"--billed-before", "1GB,"}, "--billed-before: "},
        {{"--egress-from", "a:x"}, "go together"},
        {rig.billed() + words{"--max-cost", "0"}, "--max-cost 0 would send nothing"},
        {rig.billed() + words{"--max-cost", "-1"}, "--max-cost"},
        {rig.billed() + words{"--max-cost", "1.5.0"}, "--max-cost"},
        {rig.billed() + words{"--max-cost", "a lot"}, "--max-cost"},
        {rig.billed() + words{"--max-cost", "1 USD"}, "bills in EUR"},
        {rig.billed() + words{"--max-cost", "0.0001"}, "--max-cost 0.0001 EUR is too little"},
        {{"--egress-from", "azure:atlantis", "--egress-to", "internet"}, "atlantis"},
    };
    for (const auto& [line, says] : lines) {
        const command_result result = rig.client(push + line);
        INFO(says << "\nsaid: " << result.errors);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, says));
        CHECK(has(result.errors, "hint: "));
    }
    // What is told to be enough is enough: then the peer is asked, which is not there.
    const std::string said = rig.client(push + rig.billed() + words{"--max-cost", "0.0001"}).errors;
    const std::string least = said.substr(said.find("room for ") + 9, said.find(" EUR\n") - said.find("room for ") - 9);
    CHECK(rig.client(push + rig.billed() + words{"--max-cost", least}).exit_code == 5);
    for (const char* const option : {"--max-cost", "--egress-from"}) {
        const command_result local = rig.run({"sync", rig.file("a"), rig.file("b"), option, "1"});
        CHECK(local.exit_code == 2);
        CHECK(has(local.errors, std::string(option) + " is for a disk of a peer"));
    }
}

reprotect::history_record run_that_took(double factor, bool peer = true, const std::string& model = "pipeline") {
    reprotect::estimate predicted;
    predicted.model = model;
    predicted.total_s = {9, 10, 12};
    predicted.scope = {peer, false, 10'000'000'000, 1'000'000'000};
    reprotect::sync_report report;
    report.seconds.total = 10 * factor;
    return reprotect::record_of(predicted, report, {{"/dev/a", "kind=file"}, {"/dev/b", "kind=file x"}});
}

TEST_CASE("an estimate with a history is scaled by how earlier runs went, and says so", "[tool]") {
    const tool_rig rig;
    const std::string path = rig.file("runs");
    const words paper{tool_path, "estimate", "--used", "10GB", "--changed", "1GB"};
    const words with = paper + words{"--history", path};
    const auto total = [](const words& line) {
        return at_path(parse_json(run_checked(line + words{"--json"})), "total.likely_s").to_number<double>();
    };
    const double raw = total(paper);
    CHECK(has(run_checked(with), "not calibrated"));
    CHECK(total(with) == raw);
    for (const double factor : {1.4, 1.5, 1.7}) reprotect::append_history(path, run_that_took(factor));
    reprotect::append_history(path, run_that_took(9, true, "asr-2018"));
    const std::string text = run_checked(with);
    CHECK(has(text,
              "calibrated from 3 earlier runs on this machine: they took 1.40 to 1.70 of what was predicted, "
              "1.50 in the middle"));
    CHECK(has(text, "times by 1.50"));
    CHECK(total(with) == Approx(1.5 * raw));
    // What local runs took says nothing of a link, nor what any took of a rate that is given.
    const std::string local = rig.file("local");
    for (unsigned i = 0; i < 3; ++i) reprotect::append_history(local, run_that_took(0.3, false));
    CHECK(has(run_checked(paper + words{"--history", local}), "not calibrated"));
    CHECK(total(paper + words{"--history", local}) == raw);
    const words slow = paper + words{"--link", "1Mbit/s"};
    CHECK(total(slow + words{"--history", path}) == Approx(total(slow)).epsilon(0.01));
    std::ofstream(path, std::ios::app) << "torn";
    CHECK(has(run_checked(with), "1 line of "));
    CHECK(total(with) == Approx(1.5 * raw));

    rig.text_file("notes", "not a history\n");
    const command_result refused = run_command(paper + words{"--history", rig.file("notes")});
    CHECK(refused.exit_code != 0);
    CHECK(has(refused.errors, "holds no history"));
    CHECK(has(refused.errors, "hint: "));
}

TEST_CASE("a look at two disks is calibrated by runs of these two", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, 8 << 20), b = rig.copy(a, "b"), path = rig.file("runs");
    const words look{tool_path, "estimate", a, b, "--budget", "200ms", "--seed", "1", "--history", path};
    reprotect::history_record other = run_that_took(3, false);
    other.prediction.scope = {false, false, 8 << 20, 0};
    reprotect::append_history(path, other);
    CHECK(has(run_checked(look), "1 earlier run on this machine"));
    reprotect::history_record mine = run_that_took(2);
    mine.pair = {{a, reprotect::open_device(a, {})->identity().text()},
                 {b, reprotect::open_device(b, {})->identity().text()}};
    reprotect::append_history(path, mine);
    CHECK(has(run_checked(look), "1 earlier run of this pair"));
}

}  // namespace
