// A look at a peer's disk as a user runs it: the peer reads, digests cross, and nothing is written on either side.
#include <catch2/catch.hpp>

#include "support/served.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;
using words = std::vector<std::string>;

constexpr std::size_t disk_bytes = 32 << 20, block = 4096;

struct pair_rig : tool_rig {
    pair_rig() {
        run_checked({tool_path, "key", "new", "--quiet", key});
        auto stale = read_whole_file(current);
        for (std::size_t at = 0; at < stale.size(); at += 8 * block) stale[at] ^= std::byte{1};
        write_whole_file(file("stale"), stale);
    }
    words serving() const {
        return {"--export", "current=" + current, "--export", "stale=" + file("stale") + ",target", "--key", key};
    }
    command_result estimate(words line) const {
        line.insert(line.begin(), {tool_path, "estimate"});
        line.insert(line.end(), {"--key", key});
        return run_command(line);
    }

    std::string key = file("laptop.key");
    std::string current = random_disk("current", 1, disk_bytes);
};

double number_at(const boost::json::object& document, const std::string& path) {
    return at_path(document, path).to_number<double>();
}

}  // namespace

TEST_CASE("a peer's disk is looked at for a push and for a pull", "[tool][stream]") {
    const pair_rig rig;
    const auto before = read_whole_file(rig.file("stale"));
    served here(rig, rig.serving());
    for (const words& pair : {words{rig.current, here.disk("stale")}, words{here.disk("current"), rig.file("stale")}}) {
        const command_result result = rig.estimate({pair[0], pair[1], "--json", "--sample", "30%", "--seed", "5"});
        INFO(result.errors);
        REQUIRE(result.exit_code == 0);
        const auto document = parse_json(result.output);
        constexpr double changed = disk_bytes / 8;
        CHECK(number_at(document, "probe.changed.low_bytes") <= changed);
        CHECK(number_at(document, "probe.changed.high_bytes") >= changed);
        CHECK(number_at(document, "probe.rates.link_to_target.likely") > 0);
        CHECK(number_at(document, "probe.rates.round_trip_s.likely") > 0);
        CHECK(number_at(document, "probe.rates.target_read.likely") > 0);
        // Random bytes do not compress: what changed crosses as it is.
        CHECK(number_at(document, "probe.compression_ratio.likely") == Approx(1).epsilon(0.01));
        CHECK(number_at(document, "egress.to_target.low_bytes") <= changed * 1.02);
        CHECK(number_at(document, "egress.to_target.high_bytes") >= changed);
        CHECK_FALSE(at_path(document, "full_copy.needed").as_bool());
        CHECK(number_at(document, "probe.crossed.to_target") > 0);
        CHECK(number_at(document, "probe.crossed.to_source") > 0);
        CHECK(has(result.output, "the peer's address is one of this machine"));
    }
    CHECK(here.logged("session-begin", "client") == "sampler");
    CHECK(read_whole_file(rig.file("stale")) == before);
}

TEST_CASE("a limit holds back what this side sends: the data of a push, the digests of a pull", "[tool][stream]") {
    const pair_rig rig;
    served here(rig, rig.serving());
    constexpr double changed = disk_bytes / 8, limit = 2e6;
    const auto link = [&](const words& pair) {
        const command_result result =
            rig.estimate({pair[0], pair[1], "--json", "--sample", "30%", "--compression", "1", "--limit", "2MB/s"});
        INFO(result.errors);
        REQUIRE(result.exit_code == 0);
        const boost::json::object document = parse_json(result.output);
        for (const auto& phase : document.at("phases").as_array())
            if (phase.at("name") == "link") return phase.as_object();
        throw std::runtime_error("no phase of the link");
    };
    const auto push = link({rig.current, here.disk("stale")});
    CHECK(push.at("likely_s").to_number<double>() >= 0.7 * changed / limit);
    CHECK(has(push.at("reason").as_string(), "at most 2.00 MB/s to the target"));
    const auto pull = link({here.disk("current"), rig.file("stale")});
    CHECK(pull.at("likely_s").to_number<double>() < 0.3 * changed / limit);
    CHECK(has(pull.at("reason").as_string(), "at most 2.00 MB/s to the source"));
}

TEST_CASE("a push that estimates first closes with what crossed beside what was predicted", "[tool][stream]") {
    const pair_rig rig;
    served here(rig, rig.serving());
    const command_result result =
        rig.run({"sync", rig.current, here.disk("stale"), "--yes", "--estimate-first", "--json", "--key", rig.key});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    CHECK(same_bytes(rig.current, rig.file("stale")));
    const auto document = parse_json(result.output);
    const double crossed = number_at(document, "predicted_against_actual.to_target_bytes.actual");
    CHECK(crossed == number_at(document, "wire.to_target.total"));
    CHECK(number_at(document, "predicted_against_actual.to_target_bytes.predicted.likely") ==
          Approx(crossed).epsilon(0.2));
}

TEST_CASE("a look before a sync takes from the sync's limits, and its traffic is paid", "[tool][stream]") {
    const pair_rig rig;
    const std::string prices = rig.text_file("prices.json", R"({"format": "reprotect-prices-1", "name": "made up",
        "kind": "contract", "currency": "EUR", "date": "2026-11", "prices": [
        {"provider": "a", "direction": "out", "from": "x", "to": "y", "unit": "GB", "tiers": [{"price": "10"}],
         "source": "made up"},
        {"provider": "a", "direction": "out", "from": "y", "to": "x", "unit": "GB", "tiers": [{"price": "20"}],
         "source": "made up"}]})");
    served here(rig, rig.serving());
    const bool push = GENERATE(true, false);
    const words pair = push ? words{rig.current, here.disk("stale")} : words{here.disk("current"), rig.file("stale")};
    const auto sync = [&](words more) {
        more.insert(more.begin(), {"sync", pair[0], pair[1], "--yes", "--estimate-first", "--json", "--key", rig.key,
                                   "--egress-from", "a:x", "--egress-to", "a:y", "--prices", prices});
        return rig.run(more);
    };
    const auto before = read_whole_file(rig.file("stale"));

    const command_result stopped = sync({"--max-egress", "3MiB"});
    INFO(stopped.errors);
    CHECK(stopped.exit_code == 7);
    const auto report = parse_json(stopped.output);
    const double looked = number_at(report, "estimate.probe.crossed.to_target");
    CHECK(looked > 0);
    CHECK(looked <= 3 << 18);
    CHECK(number_at(report, "wire.to_target.total") + looked <= 3 << 20);
    const double cost =
        10e-9 * (number_at(report, "wire.to_target.total") + looked) +
        20e-9 * (number_at(report, "wire.to_source.total") + number_at(report, "estimate.probe.crossed.to_source"));
    CHECK(std::stod(text_at(report, "cost.amount")) == Approx(cost).margin(1e-8));

    // Less than a look and a sync need: then nothing is written.
    write_whole_file(rig.file("stale"), before);
    const command_result refused = sync({"--max-egress", "256KiB"});
    CHECK(refused.exit_code == 2);
    CHECK(has(refused.errors, "too little for a look"));
    const command_result little = sync({"--max-egress", "600KiB"});
    INFO(little.errors);
    CHECK(little.exit_code == 7);
    const auto some = parse_json(little.output);
    CHECK(number_at(some, "wire.to_target.total") + number_at(some, "estimate.probe.crossed.to_target") <= 600 << 10);
    write_whole_file(rig.file("stale"), before);
    CHECK(read_whole_file(rig.file("stale")) == before);

    // A dry run neither sends data nor costs what a sync would.
    const command_result dry = sync({"--dry-run"});
    INFO(dry.errors);
    const auto compared = at_path(parse_json(dry.output), "predicted_against_actual").as_object();
    for (const char* const row : {"cost", "to_target_bytes", "total_s", "scan_s", "flush_s"})
        CHECK_FALSE(compared.contains(row));
    for (const char* const row : {"changed_bytes", "to_source_bytes"}) CHECK(compared.contains(row));

    const command_result paid = sync({"--max-cost", "1.5"});
    INFO(paid.errors);
    CHECK(paid.exit_code == 0);
    CHECK(std::stod(text_at(parse_json(paid.output), "cost.amount")) <= 1.5);
    CHECK(same_bytes(rig.current, rig.file("stale")));
}

TEST_CASE("measuring the link takes little of it, and what a look costs is told", "[tool][stream]") {
    const pair_rig rig;
    served here(rig, rig.serving());
    const command_result result =
        rig.estimate({rig.current, here.disk("stale"), "--json", "--sample", "10%", "--egress-from", "azure:westeurope",
                      "--egress-to", "azure:northeurope"});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    const auto document = parse_json(result.output);
    for (const char* const way : {"probe.crossed.to_target", "probe.crossed.to_source"}) {
        CHECK(number_at(document, way) > 1 << 20);
        CHECK(number_at(document, way) < 36 << 20);
    }
    CHECK(number_at(document, "probe.rates.link_to_target.likely") > 1e6);
    CHECK(has(boost::json::serialize(document.at("notes")), "what crossed for this look costs "));
    CHECK_FALSE(has(rig.estimate({rig.current, here.disk("stale"), "--sample", "10%"}).output, "this look costs"));
}

TEST_CASE("writing is measured where the target is", "[tool][stream]") {
    const pair_rig rig;
    const command_result result =
        rig.estimate({rig.current, "reprotect://elsewhere/stale", "--probe-write", rig.file("scratch")});
    CHECK(result.exit_code == 2);
    CHECK(has(result.errors, "--probe-write measures this machine"));
    // A peer at an address of this machine writes as this machine does.
    served here(rig, rig.serving());
    const command_result alike =
        rig.estimate({rig.current, here.disk("stale"), "--probe-write", rig.file("scratch"), "--json"});
    INFO(alike.errors);
    REQUIRE(alike.exit_code == 0);
    CHECK(number_at(parse_json(alike.output), "probe.rates.write.likely") > 0);
}

TEST_CASE("a look at a peer fails as a sync would, before anything is read", "[tool][stream]") {
    const pair_rig rig;
    served here(rig, rig.serving());
    CHECK(rig.estimate({rig.current, here.disk("nowhere")}).exit_code == 3);
    const command_result keyless =
        run_command({tool_path, "estimate", rig.current, here.disk("stale"), "--key", rig.file("none")});
    CHECK(keyless.exit_code != 0);
    const command_result apart = rig.estimate({rig.current, here.disk("stale"), "--one-machine"});
    CHECK(apart.exit_code == 2);
    CHECK(has(apart.errors, "--one-machine is for two disks that are here"));
    const command_result both = rig.estimate({here.disk("current"), here.disk("stale")});
    CHECK(both.exit_code == 2);
    CHECK(has(both.errors, "both a peer's"));
}
