// sync --estimate-first as a user runs it: what is printed, asked and kept, and that a look changes nothing of the sync.
#include <catch2/catch.hpp>

#include "support/bytes.hpp"
#include "support/temp_dir.hpp"
#include "support/tool_rig.hpp"

#include <filesystem>
#include <fstream>

namespace {

using namespace reprotect::test;

struct rig {
    rig() {
        write_whole_file(source, random_bytes(1, 8 << 20));
        write_whole_file(target, stale);
    }
    command_result sync(std::vector<std::string> more) {
        std::vector<std::string> line{tool_path, "sync", source, target, "--yes", "--state", folder.file("state")};
        line.insert(line.end(), more.begin(), more.end());
        return run_command(line);
    }
    bool equal() { return read_whole_file(source) == read_whole_file(target); }

    temp_dir folder;
    std::string source = folder.file("source"), target = folder.file("target"), past = folder.file("past");
    std::vector<std::byte> stale = random_bytes(2, 8 << 20);
};

std::size_t lines_of(const std::string& path) {
    std::ifstream file(path);
    std::size_t count = 0;
    for (std::string each; std::getline(file, each);) ++count;
    return count;
}

}  // namespace

TEST_CASE("a sync that estimates first prints what it will take, runs, and closes with predicted beside actual",
          "[tool]") {
    rig here;
    const command_result result = here.sync({"--estimate-first", "--history", here.past});
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    CHECK(here.equal());
    for (const char* const part : {"model         pipeline", "changed", "total"}) CHECK(has(result.errors, part));
    for (const char* const part : {"actual beside predicted", "scan ", "total ", "predicted"})
        CHECK(has(result.output, part));
    CHECK(lines_of(here.past) == 1);

    // Later estimates know of it.
    write_whole_file(here.target, here.stale);
    const command_result later = here.sync({"--estimate-first", "--history", here.past});
    CHECK(later.exit_code == 0);
    CHECK(has(later.errors, "calibrated from 1 earlier run of this pair"));
    CHECK(lines_of(here.past) == 2);
}

TEST_CASE("predicted and actual stand in the JSON document, in one", "[tool]") {
    rig here;
    const command_result result = here.sync({"--estimate-first", "--json", "--quiet"});
    REQUIRE(result.exit_code == 0);
    const auto document = parse_json(result.output);
    CHECK(text_at(document, "estimate.model") == "pipeline");
    CHECK(at_path(document, "estimate.probe.changed.low_bytes").to_number<double>() <= 8 << 20);
    CHECK(at_path(document, "predicted_against_actual.changed_bytes.actual").to_number<double>() == 8 << 20);
    CHECK(at_path(document, "predicted_against_actual.total_s.actual").to_number<double>() ==
          Approx(at_path(document, "seconds.total").to_number<double>()));
    CHECK(at_path(document, "predicted_against_actual.total_s.predicted.likely").to_number<double>() > 0);
    // A scan is predicted with all that is in it.
    const auto likely = [&](const std::string& row) {
        return at_path(document, "predicted_against_actual." + row + ".predicted.likely").to_number<double>();
    };
    CHECK(likely("flush_s") > 0);
    CHECK(likely("scan_s") == Approx(likely("total_s") - likely("flush_s")));
    CHECK(result.errors.empty());
}

TEST_CASE("a sync on one thread is predicted for one", "[tool]") {
    rig here;
    const command_result result =
        here.sync({"--estimate-first", "--digest", "sha256", "--threads", "1", "--json", "--quiet"});
    REQUIRE(result.exit_code == 0);
    const auto document = parse_json(result.output);
    const auto digest = [&](const std::string& end) {
        return at_path(document, "estimate.probe.rates.digest." + end).to_number<double>();
    };
    CHECK(digest("low") == digest("high"));
    bool any = false;
    const boost::json::value phases = at_path(document, "estimate.phases");
    for (const auto& phase : phases.as_array()) {
        if (phase.at("name") != "processors") continue;
        any = true;
        // Of both disks.
        CHECK(phase.at("likely_s").to_number<double>() > (16 << 20) / digest("likely") * 0.9);
        CHECK(has(phase.at("reason").as_string().c_str(), "on 1 core"));
    }
    CHECK(any);
}

TEST_CASE("blocks of zeroes are no changed data, neither predicted nor counted", "[tool]") {
    rig here;
    write_whole_file(here.source, std::vector<std::byte>(8 << 20));
    const command_result result = here.sync({"--estimate-first", "--json", "--quiet", "--sample", "100%"});
    REQUIRE(result.exit_code == 0);
    CHECK(here.equal());
    const auto document = parse_json(result.output);
    CHECK(at_path(document, "estimate.probe.changed.likely_bytes").to_number<double>() == 8 << 20);
    CHECK(at_path(document, "predicted_against_actual.changed_bytes.actual").to_number<double>() == 0);
    CHECK(at_path(document, "predicted_against_actual.changed_bytes.predicted.likely").to_number<double>() == 0);
}

TEST_CASE("a target that is not there yet is estimated as a full copy, and made", "[tool]") {
    rig here;
    std::filesystem::remove(here.target);
    const command_result result = here.sync({"--estimate-first"});
    CHECK(result.exit_code == 0);
    CHECK(has(result.errors, "full copy     yes"));
    CHECK(here.equal());
}

TEST_CASE("a dry run is predicted, too, and leaves no history", "[tool]") {
    rig here;
    const command_result result = here.sync({"--estimate-first", "--dry-run", "--history", here.past});
    CHECK(result.exit_code == 0);
    CHECK(has(result.output, "actual beside predicted"));
    CHECK(has(result.output, "changed "));
    for (const char* const part : {"flush ", "scan ", "total "}) CHECK_FALSE(has(result.output, part));
    CHECK(read_whole_file(here.target) == here.stale);
    CHECK_FALSE(std::filesystem::exists(here.past));
}

TEST_CASE("a history that cannot be read refuses the sync before anything is written", "[tool]") {
    rig here;
    std::filesystem::create_directory(here.past);
    const command_result result = here.sync({"--estimate-first", "--history", here.past});
    CHECK(result.exit_code != 0);
    CHECK(read_whole_file(here.target) == here.stale);
}

TEST_CASE("what a sync is refused for is told before a look", "[tool]") {
    rig here;
    REQUIRE(here.sync({}).exit_code == 0);
    std::swap(here.source, here.target);
    const std::string scratch = here.folder.file("scratch");
    const command_result reversed = here.sync({"--estimate-first", "--probe-write", scratch});
    INFO(reversed.errors);
    CHECK(reversed.exit_code == 3);
    CHECK(has(reversed.errors, "on record as the source of this pair"));
    CHECK_FALSE(has(reversed.errors, "pipeline"));
    std::filesystem::resize_file(here.target, 16 << 20);
    const command_result larger = here.sync({"--estimate-first", "--reverse"});
    CHECK(larger.exit_code == 3);
    CHECK_FALSE(has(larger.errors, "pipeline"));
    std::filesystem::resize_file(here.target, 8 << 20);
    const command_result meant = here.sync({"--estimate-first", "--reverse"});
    INFO(meant.errors);
    CHECK(meant.exit_code == 0);
    CHECK(has(meant.errors, "pipeline"));
}

TEST_CASE("options of a look without one are refused", "[tool]") {
    rig here;
    const std::vector<std::vector<std::string>> bad{
        {"--budget", "3s"}, {"--sample", "2%"}, {"--seed", "1"}, {"--probe-write", "/tmp/x"}, {"--history", "h"}};
    for (const auto& each : bad) {
        const command_result result = here.sync(each);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, each[0] + " is for --estimate-first"));
    }
    CHECK(read_whole_file(here.target) == here.stale);
}
