// The vendor's worked examples: what the formulas give, in each reading of the units, and how far that is from what
// the vendor printed. The computed values are the golden ones; no reading gives all printed figures, and nothing is
// tuned to them. Minutes throughout.
#include "reprotect/estimate.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

using namespace reprotect;

namespace {

constexpr std::uint64_t gb = 1'000'000'000;

// One phase of an example in one reading.
struct golden {
    const char* units;
    const char* phase;
    double computed;  // minutes, rounded to a hundredth
    double printed;
    double distance;  // computed less printed
};

const unit_reading& reading_of(const estimate& result, const std::string& units) {
    for (const unit_reading& reading : result.readings)
        if (reading.name == units) return reading;
    FAIL("no reading in " << units);
    throw 0;
}

const estimate_phase& phase_of(const std::vector<estimate_phase>& phases, const std::string& name) {
    for (const estimate_phase& phase : phases)
        if (phase.name == name) return phase;
    FAIL("no phase " << name);
    throw 0;
}

void check(const estimate& result, const std::vector<golden>& table) {
    for (const golden& row : table) {
        CAPTURE(row.units, row.phase, row.printed, row.distance);
        const double minutes = phase_of(reading_of(result, row.units).phases, row.phase).seconds.likely / 60;
        CHECK(minutes == Approx(row.computed).margin(0.005));
        CHECK(minutes - row.printed == Approx(row.distance).margin(0.005));
    }
}

estimate run(const char* model, const workload& what) {
    return model_registry().find(model).run(what);
}

workload example_2018(std::uint64_t changed) {
    workload machine;
    machine.disks = {{.size_bytes = 1000 * gb, .used_bytes = 127 * gb}};
    machine.disks[0].changed_bytes = exactly(changed);
    machine.effective_rate = exactly(45e6);
    return machine;
}

workload example_2023() {
    workload machine;
    machine.disks.resize(1);
    machine.disks[0].changed_bytes = exactly(45 * gb);
    machine.disk_rate = 60e6;
    machine.initial_replication_s = 72 * 60;
    return machine;
}

std::vector<std::string> names_of(const std::vector<estimate_phase>& phases) {
    std::vector<std::string> names;
    for (const estimate_phase& phase : phases) names.push_back(phase.name);
    return names;
}

}  // namespace

TEST_CASE("asr-2018 computes the vendor's first example, nothing changed", "[estimate][vendor]") {
    const estimate result = run("asr-2018", example_2018(0));
    CHECK(names_of(result.phases) == std::vector<std::string>{"checksum", "transfer", "scale-out"});
    check(result, {{"GB and MB/s", "checksum", 47.04, 45, 2.04},
                   {"GiB and MiB/s", "checksum", 48.17, 45, 3.17},
                   {"GB and MiB/s", "checksum", 44.86, 45, -0.14},
                   {"GB and MB/s", "transfer", 0, 0, 0}});
    // Printed: 45 min to 1.5 h in all, no egress charge.
    CHECK(result.total_s.low / 60 == Approx(67.04).margin(0.005));
    CHECK(result.total_s.likely / 60 == Approx(72.04).margin(0.005));
    CHECK(result.total_s.high / 60 == Approx(77.04).margin(0.005));
    CHECK(result.to_target == exactly<std::uint64_t>(0));
    CHECK(result.to_source == exactly<std::uint64_t>(0));
}

TEST_CASE("asr-2018 computes the vendor's second example, 45 GB changed", "[estimate][vendor]") {
    estimate result = run("asr-2018", example_2018(45 * gb));
    check(result, {{"GB and MB/s", "checksum", 47.04, 45, 2.04},
                   {"GB and MB/s", "transfer", 16.67, 17, -0.33},
                   {"GiB and MiB/s", "checksum", 48.17, 45, 3.17},
                   {"GiB and MiB/s", "transfer", 17.07, 17, 0.07},
                   {"GB and MiB/s", "checksum", 44.86, 45, -0.14},
                   {"GB and MiB/s", "transfer", 15.89, 17, -1.11}});
    // Printed: 1 to 2 h. The lower bound is below checksum and transfer alone, which take 63.7 min.
    CHECK(result.total_s.low / 60 == Approx(83.70).margin(0.005));
    CHECK(result.total_s.high / 60 == Approx(93.70).margin(0.005));
    CHECK(result.to_target == exactly<std::uint64_t>(45 * gb));
    add_cost(result, default_price_book(), "azure:westeurope", "azure:northeurope");
    CHECK(to_string(result.cost->amount.likely) == "0.90");
}

TEST_CASE("asr-2023 computes the vendor's later example", "[estimate][vendor]") {
    const estimate result = run("asr-2023", example_2023());
    CHECK(names_of(result.phases) == std::vector<std::string>{"checksum", "transfer", "processing", "scale-out"});
    check(result, {{"GB and MB/s", "checksum", 72, 72, 0},
                   {"GB and MB/s", "transfer", 54.35, 55, -0.65},
                   {"GB and MB/s", "processing", 25.27, 25, 0.27},
                   {"GiB and MiB/s", "transfer", 55.65, 55, 0.65},
                   {"GiB and MiB/s", "processing", 25.53, 25, 0.53},
                   {"GB and MiB/s", "transfer", 51.83, 55, -3.17},
                   {"GB and MiB/s", "processing", 24.77, 25, -0.23}});
    // Printed: "at least three hours", 8.4 min more than the least sum of its own phases, 172 min.
    CHECK(result.total_s.low / 60 == Approx(171.62).margin(0.005));
    CHECK(result.total_s.high / 60 == Approx(181.62).margin(0.005));
    CHECK(std::any_of(result.notes.begin(), result.notes.end(),
                      [](const std::string& note) { return note.find("lower bound") != std::string::npos; }));
}

TEST_CASE("every estimate of the vendor's models shows each reading of the units, and names the given one",
          "[estimate][vendor]") {
    const auto units = [](const estimate& result) {
        std::vector<std::string> names;
        for (const unit_reading& reading : result.readings)
            names.push_back((reading.as_given ? "given: " : "") + reading.name);
        return names;
    };
    workload machine = example_2018(45 * gb);
    const estimate decimal = run("asr-2018", machine);
    CHECK(units(decimal) == std::vector<std::string>{"given: GB and MB/s", "GiB and MiB/s", "GB and MiB/s"});
    CHECK(decimal.readings[0].total_s == decimal.total_s);
    // Each reading speaks in its own units.
    CHECK(decimal.phases[0].reason == "used data is read, 127 GB, at 45.0 MB/s");
    CHECK(decimal.readings[1].phases[0].reason == "used data is read, 127 GiB, at 45.0 MiB/s");
    CHECK(decimal.readings[2].phases[1].reason == "changed data is sent, 45.0 GB, at 45.0 MiB/s");

    machine.disks[0] = {.used_bytes = 127ull << 30};
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(45ull << 30);
    machine.effective_rate = exactly(45 * 1048576.0);
    const estimate binary = run("asr-2018", machine);
    CHECK(units(binary) == std::vector<std::string>{"GB and MB/s", "given: GiB and MiB/s", "GB and MiB/s"});
    CHECK(binary.phases[0].seconds.likely == Approx(127 * 1024 / 45.0));
    CHECK(reading_of(binary, "GB and MB/s").phases[0].seconds.likely == Approx(127e3 / 45));

    machine.effective_rate = exactly(45e6);
    CHECK(units(run("asr-2018", machine)) ==
          std::vector<std::string>{"GB and MB/s", "GiB and MiB/s", "GB and MiB/s", "given: GiB and MB/s"});

    // What was measured to the byte was read from a machine, which does not mix units.
    machine.disks[0].used_bytes = 127'123'456'789;
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(4096);
    CHECK(run("asr-2018", machine).readings.empty());
}

TEST_CASE("the vendor's models estimate a full copy, with its reason", "[estimate][vendor]") {
    for (const auto& [state, reason] : std::vector<std::pair<target_state, std::string>>{
             {target_state::missing, "the target is missing"},
             {target_state::deleted, "the target's data is deleted"},
             {target_state::corrupted, "the target's data is corrupted"},
             {target_state::out_of_reach, "the target is out of reach"}}) {
        CAPTURE(reason);
        workload machine = example_2018(45 * gb);
        machine.disks[0].target = state;
        const estimate first = run("asr-2018", machine);
        CHECK(first.full_copy.needed);
        CHECK(first.full_copy.reason == reason);
        CHECK(names_of(first.phases) == std::vector<std::string>{"full-copy", "scale-out"});
        CHECK(first.phases[0].seconds.likely == Approx(127e9 / 45e6));
        CHECK(first.to_target == exactly<std::uint64_t>(127 * gb));

        machine.initial_replication_s = 72 * 60;
        const estimate second = run("asr-2023", machine);
        CHECK(second.full_copy.reason == reason);
        CHECK(names_of(second.phases) == std::vector<std::string>{"full-copy", "processing", "scale-out"});
        CHECK(second.phases[0].seconds.likely == Approx(72 * 60));
        CHECK(second.phases[0].reason.find("at least") == 0);
        CHECK(second.to_target == exactly<std::uint64_t>(127 * gb));
    }
    CHECK_FALSE(run("asr-2018", example_2018(0)).full_copy.needed);
}

TEST_CASE("the vendor's models add up the disks of a machine", "[estimate][vendor]") {
    workload machine;
    machine.disks = {{.name = "root", .used_bytes = 100 * gb}, {.name = "data", .used_bytes = 27 * gb}};
    machine.disks[0].changed_bytes = exactly(40 * gb);
    machine.disks[1].changed_bytes = exactly(5 * gb);
    machine.effective_rate = exactly(45e6);
    const estimate both = run("asr-2018", machine);
    CHECK(both.phases[0].seconds.likely == Approx(127e9 / 45e6));
    CHECK(both.phases[1].seconds.likely == Approx(45e9 / 45e6));
    CHECK(both.to_target == exactly<std::uint64_t>(45 * gb));

    // One disk of the two has to be copied as a whole.
    machine.disks[1].target = target_state::deleted;
    const estimate mixed = run("asr-2018", machine);
    CHECK(names_of(mixed.phases) == std::vector<std::string>{"checksum", "transfer", "full-copy", "scale-out"});
    CHECK(phase_of(mixed.phases, "checksum").seconds.likely == Approx(100e9 / 45e6));
    CHECK(phase_of(mixed.phases, "full-copy").seconds.likely == Approx(27e9 / 45e6));
    CHECK(mixed.to_target == exactly<std::uint64_t>(67 * gb));
    CHECK(mixed.full_copy.reason == "disk data: the target's data is deleted");

    machine.initial_replication_s = 12700;
    const estimate later = run("asr-2023", machine);
    CHECK(phase_of(later.phases, "checksum").seconds.likely == Approx(10000));
    CHECK(phase_of(later.phases, "full-copy").seconds.likely == Approx(2700));
    const double transfer = 40e9 / (0.23 * 60e6);
    CHECK(phase_of(later.phases, "processing").seconds.likely == Approx((12700 + transfer) / 5));
}

TEST_CASE("a spread of what changed and of the rate becomes a spread of seconds", "[estimate][vendor]") {
    workload machine = example_2018(0);
    machine.disks[0].changed_bytes = spread<std::uint64_t>{10 * gb, 45 * gb, 90 * gb};
    machine.effective_rate = spread<double>{40e6, 45e6, 60e6};
    const estimate result = run("asr-2018", machine);
    CHECK(result.phases[0].seconds.low == Approx(127e9 / 60e6));
    CHECK(result.phases[0].seconds.high == Approx(127e9 / 40e6));
    CHECK(result.phases[1].seconds.low == Approx(10e9 / 60e6));
    CHECK(result.phases[1].seconds.likely == Approx(45e9 / 45e6));
    CHECK(result.phases[1].seconds.high == Approx(90e9 / 40e6));
    CHECK(result.to_target == spread<std::uint64_t>{10 * gb, 45 * gb, 90 * gb});
    CHECK(result.total_s.low == Approx(127e9 / 60e6 + 10e9 / 60e6 + 1200));
    CHECK(result.total_s.high == Approx(127e9 / 40e6 + 90e9 / 40e6 + 1800));
}
