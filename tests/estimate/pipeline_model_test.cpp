// The estimate of this engine: which stage sets the time, what costs nothing, and bytes that match measured sessions.
#include "reprotect/estimate.hpp"

#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

using namespace reprotect;

namespace {

constexpr std::uint64_t gb = 1'000'000'000, MiB = 1 << 20, GiB = 1ull << 30;

constexpr double likely_link_rate = 125e6;  // where nobody gave or measured one

// Everything is known, so nothing is assumed but what no option says.
workload known() {
    workload machine;
    machine.disks = {{.size_bytes = 400 * gb, .used_bytes = 100 * gb, .target_used_bytes = 80 * gb}};
    machine.disks[0].changed_bytes = exactly(20 * gb);
    machine.rates = {exactly(1e9), exactly(1e9), exactly(1e9)};
    machine.link.rate = exactly(1e9);
    machine.link.round_trip_s = exactly(0.01);
    machine.link.connections = 16;
    machine.compression_ratio = exactly(2.0);
    machine.zero_share = exactly(0.0);
    machine.digest_rate = exactly(1e12);
    machine.encode_rate = exactly(1e12);
    return machine;
}

estimate run(const workload& what) {
    return model_registry().find("pipeline").run(what);
}

const estimate_phase* find(const estimate& result, const std::string& name) {
    for (const estimate_phase& phase : result.phases)
        if (phase.name == name) return &phase;
    return nullptr;
}

double likely(const estimate& result, const std::string& name) {
    const estimate_phase* const phase = find(result, name);
    REQUIRE(phase != nullptr);
    return phase->seconds.likely;
}

// What does not overlap.
double around(const estimate& result) {
    double sum = 0;
    for (const estimate_phase& phase : result.phases)
        if (!phase.overlapping) sum += phase.seconds.likely;
    return sum;
}

bool assumes(const estimate& result, const std::string& name) {
    return std::any_of(result.assumptions.begin(), result.assumptions.end(),
                       [&](const estimate_assumption& each) { return each.name.find(name) != std::string::npos; });
}

bool notes(const estimate& result, const std::string& what) {
    return std::any_of(result.notes.begin(), result.notes.end(),
                       [&](const std::string& note) { return note.find(what) != std::string::npos; });
}

}  // namespace

TEST_CASE("the slowest of reading, link and writing sets the time of the pipeline", "[estimate][pipeline]") {
    const estimate even = run(known());
    CHECK(likely(even, "source-read") == Approx(100));
    CHECK(likely(even, "target-read") == Approx(80));
    CHECK(likely(even, "target-write") == Approx(20));
    CHECK(likely(even, "link") == Approx(10).epsilon(0.01));  // half of 20 GB, and framing
    CHECK(even.total_s.likely == Approx(100 + around(even)));
    CHECK(notes(even, "most likely source-read"));

    workload machine = known();
    machine.rates.target_read = exactly(0.1e9);
    CHECK(run(machine).total_s.likely == Approx(800 + around(run(machine))));
    CHECK(notes(run(machine), "most likely target-read"));
    machine = known();
    machine.link.rate = exactly(0.01e9);
    CHECK(run(machine).total_s.likely == Approx(1000).epsilon(0.01));
    CHECK(notes(run(machine), "most likely link"));
    machine = known();
    machine.rates.target_write = exactly(0.01e9);
    CHECK(run(machine).total_s.likely == Approx(2000 + around(run(machine))));
    CHECK(notes(run(machine), "most likely target-write"));
    machine = known();
    machine.digest_rate = exactly(0.1e9);
    CHECK(likely(run(machine), "source-read") == Approx(1000));
    CHECK(likely(run(machine), "target-read") == Approx(800));
    machine = known();
    machine.encode_rate = exactly(0.1e9);
    CHECK(likely(run(machine), "link") == Approx(200));
    CHECK(find(run(machine), "link")->reason.find("encryption are what is slow") != std::string::npos);
}

TEST_CASE("holes and zero blocks cost nothing", "[estimate][pipeline]") {
    workload machine = known();
    const estimate before = run(machine);
    machine.disks[0].size_bytes = 64ull << 40;
    const estimate larger = run(machine);
    CHECK(larger.total_s.likely == Approx(before.total_s.likely));
    CHECK(larger.to_target.likely == before.to_target.likely);

    machine = known();
    machine.zero_share = exactly(0.25);
    const estimate quarter = run(machine);
    CHECK(likely(quarter, "target-write") == Approx(15));
    CHECK(static_cast<double>(quarter.to_target.likely) == Approx(7.5e9 * 1.0026).epsilon(1e-5));
    machine.zero_share = exactly(1.0);
    CHECK(likely(run(machine), "target-write") == 0);
    CHECK(run(machine).to_target.likely < 100'000);
    machine.zero_share = spread<double>{0.1, 0.2, 0.3};
    const estimate some = run(machine);
    CHECK(find(some, "target-write")->seconds.low == Approx(14));
    CHECK(find(some, "target-write")->seconds.high == Approx(18));
}

// README, bytes between two processes: 8 GiB with 2 GiB of data, 171 MB changed; and the same disks, equal.
TEST_CASE("bytes are those that a measured session sent", "[estimate][pipeline]") {
    workload machine = known();
    machine.disks[0] = {.size_bytes = 8 * GiB, .used_bytes = 2 * GiB, .target_used_bytes = 2 * GiB};
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(171'000'000);
    machine.compression_ratio = exactly(171 / 107.25);
    const estimate changed = run(machine);
    CHECK(static_cast<double>(changed.to_target.likely) == Approx(107.52e6).epsilon(0.005));
    CHECK(static_cast<double>(changed.to_source.likely) == Approx(2.58e6).epsilon(0.1));
    CHECK(changed.to_source.low < 2'580'000);
    CHECK(changed.to_source.high > 2'580'000);

    machine.disks[0].changed_bytes = exactly<std::uint64_t>(0);
    const estimate same = run(machine);
    CHECK(static_cast<double>(same.to_target.likely) == Approx(18e3).epsilon(0.1));
    CHECK(static_cast<double>(same.to_source.likely) == Approx(97e3).epsilon(0.1));
    CHECK(same.to_source.low < 97'000);
    CHECK(same.to_source.high > 97'000);
}

TEST_CASE("digests are counted towards the source: 16 bytes a chunk and 5 a block of changed chunks",
          "[estimate][pipeline]") {
    // All chunks hold data and all of them changed: no scatter is left to guess.
    workload machine = known();
    machine.disks[0] = {.size_bytes = 1024 * MiB, .used_bytes = 1024 * MiB, .target_used_bytes = 1024 * MiB};
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(1024 * MiB);
    const double digests = 1024 * 16 + 1024 * 256 * 5;
    const estimate result = run(machine);
    CHECK(static_cast<double>(result.to_source.low) == Approx(digests * 1.0026 + 12e3).margin(1));
    CHECK(static_cast<double>(result.to_source.likely) == Approx(digests * 1.0026 + 25e3).margin(1));
    CHECK(static_cast<double>(result.to_source.high) == Approx(digests * 1.0026 + 50e3).margin(1));
    machine.block_bytes = 64 * 1024;
    machine.chunk_bytes = 4 * MiB;
    CHECK(static_cast<double>(run(machine).to_source.likely) ==
          Approx((256 * 16 + 256 * 64 * 5) * 1.0026 + 25e3).margin(1));

    // One changed block in each chunk, or all in one: the bounds.
    machine = known();
    machine.disks[0] = {.size_bytes = 1024 * MiB, .used_bytes = 1024 * MiB, .target_used_bytes = 1024 * MiB};
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(1 * MiB);
    CHECK(static_cast<double>(run(machine).to_source.low) == Approx((1024 * 16 + 256 * 5) * 1.0026 + 12e3).margin(1));
    CHECK(static_cast<double>(run(machine).to_source.high) ==
          Approx((1024 * 16 + 256 * 256 * 5) * 1.0026 + 50e3).margin(1));
}

TEST_CASE("a limit, a round trip and the number of connections slow the link", "[estimate][pipeline]") {
    workload machine = known();
    machine.link.limit_to_target = 5e6;
    CHECK(likely(run(machine), "link") == Approx(10e9 * 1.0026 / 5e6).epsilon(1e-4));
    CHECK(find(run(machine), "link")->reason.find("at most 5.00 MB/s to the target") != std::string::npos);
    machine = known();
    machine.link.limit_to_source = 1000;
    CHECK(likely(run(machine), "link") == Approx(static_cast<double>(run(machine).to_source.likely) / 1000));

    machine = known();
    machine.link.round_trip_s = exactly(0.1);
    machine.link.connections = 1;  // 4 MiB in 100 ms
    CHECK(likely(run(machine), "link") == Approx(10e9 * 1.0026 / (40 * 1048576)).epsilon(1e-4));
    CHECK(assumes(run(machine), "in flight on a connection"));
    machine.link.connections = 4;
    CHECK(likely(run(machine), "link") == Approx(10e9 * 1.0026 / (160 * 1048576)).epsilon(1e-4));
    CHECK(likely(run(machine), "opening") == Approx(0.39));
    machine.link.round_trip_s = exactly(0.0);
    CHECK(likely(run(machine), "link") == Approx(10.026).epsilon(1e-4));
    CHECK(likely(run(machine), "opening") == 0);
}

TEST_CASE("two disks of one machine send nothing", "[estimate][pipeline]") {
    workload machine = known();
    machine.link = {.one_machine = true};
    machine.compression_ratio.reset();
    machine.encode_rate.reset();
    const estimate result = run(machine);
    CHECK(find(result, "link") == nullptr);
    CHECK(find(result, "opening") == nullptr);
    CHECK(result.to_target == exactly<std::uint64_t>(0));
    CHECK(result.to_source == exactly<std::uint64_t>(0));
    CHECK_FALSE(assumes(result, "link"));
    CHECK_FALSE(assumes(result, "compression"));
    CHECK(likely(result, "target-write") == Approx(20));
}

TEST_CASE("reread reads whole disks, the target twice, and sends proofs", "[estimate][pipeline]") {
    workload machine = known();
    const estimate plain = run(machine);
    CHECK(find(plain, "verify") == nullptr);
    machine.verify = verify_level::reread;
    const estimate result = run(machine);
    CHECK(likely(result, "source-read") == Approx(400));
    CHECK(likely(result, "target-read") == Approx(400));
    CHECK(likely(result, "verify") == Approx(400));
    CHECK(result.total_s.likely == Approx(400 + around(result)));
    const double chunks = std::ceil(400e9 / 1048576);
    CHECK(static_cast<double>(result.to_target.likely - plain.to_target.likely) ==
          Approx(chunks * 16 * 1.0026).margin(2));
    // SHA-256 comes on top then, of the source as it is read and of the target as it is read again, whatever the disks can do.
    machine.digest_rate.reset();
    machine.rates = {exactly(10e9), exactly(10e9), exactly(10e9)};
    CHECK(likely(run(machine), "source-read") == Approx(400 / 24.0 + 400 / 1.36));
    CHECK(likely(run(machine), "target-read") == Approx(40));
    CHECK(likely(run(machine), "verify") == Approx(400 / 1.36));
    CHECK(assumes(run(machine), "SHA-256 for reread"));
    machine.proof_rate = exactly(2e9);
    CHECK(likely(run(machine), "verify") == Approx(200));
    machine.verify = verify_level::root;
    CHECK(likely(run(machine), "source-read") == Approx(10));
    machine.algorithm = digest_algorithm::sha256;
    CHECK(likely(run(machine), "source-read") == Approx(100 / 1.36));
}

TEST_CASE("a full copy compares nothing and sends all used data, whatever was said to have changed",
          "[estimate][pipeline]") {
    for (const target_state state :
         {target_state::missing, target_state::deleted, target_state::corrupted, target_state::out_of_reach}) {
        CAPTURE(to_string(state));
        workload machine = known();
        machine.disks[0].target = state;
        const estimate result = run(machine);
        CHECK(result.full_copy.needed);
        CHECK(likely(result, "target-read") == 0);
        CHECK(likely(result, "target-write") == Approx(100));
        CHECK(static_cast<double>(result.to_target.likely) == Approx(50e9 * 1.0026).epsilon(1e-5));
        CHECK(result.to_source.likely == 25'000);
        CHECK(parse_target_state(to_string(state)) == state);
        machine.verify = verify_level::reread;
        const estimate reread = run(machine);
        CHECK(likely(reread, "target-read") == 0);
        CHECK(likely(reread, "verify") == Approx(400));
        CHECK(reread.to_source.likely == 25'000);
    }
    CHECK_FALSE(run(known()).full_copy.needed);
}

TEST_CASE("disks run side by side, the link is shared", "[estimate][pipeline]") {
    workload machine = known();
    machine.disks.push_back(machine.disks[0]);
    machine.disks[0].name = "root";
    machine.disks[1].name = "data";
    machine.disks[1].rates.source_read = exactly(0.5e9);
    machine.disks[1].rates.target_write = exactly(0.1e9);
    const estimate one = run(known()), both = run(machine);
    CHECK(likely(both, "source-read") == Approx(200));
    CHECK(likely(both, "target-read") == Approx(80));
    CHECK(likely(both, "target-write") == Approx(200));
    CHECK(likely(both, "link") == Approx(2 * likely(one, "link")));
    CHECK(both.to_target.likely == Approx(2.0 * static_cast<double>(one.to_target.likely)));
    CHECK(likely(both, "opening") == Approx(likely(one, "opening")));
    CHECK(notes(both, "side by side"));
    CHECK_FALSE(notes(one, "side by side"));
    machine.encode_rate = exactly(0.1e9);
    CHECK(likely(run(machine), "link") == Approx(400));
}

TEST_CASE("the upper end counts the target's reads and writes one after the other", "[estimate][pipeline]") {
    workload machine = known();
    machine.rates.target_write = exactly(0.25e9);  // 80 s of reading and 80 s of writing
    machine.rates.source_read = exactly(100e9);
    const estimate result = run(machine);
    const auto outside = [&](auto part) {
        double sum = 0;
        for (const estimate_phase& phase : result.phases)
            if (!phase.overlapping) sum += part(phase.seconds);
        return sum;
    };
    CHECK(result.total_s.likely == Approx(80 + outside([](const spread<double>& s) { return s.likely; })));
    CHECK(result.total_s.high == Approx(160 + outside([](const spread<double>& s) { return s.high; })));
}

TEST_CASE("the last flush takes what is still in caches", "[estimate][pipeline]") {
    workload machine = known();
    machine.rates.target_write = exactly(32.0 * MiB);
    const estimate result = run(machine);
    CHECK(find(result, "flush")->seconds.low == 0);
    CHECK(find(result, "flush")->seconds.likely == Approx(1));
    CHECK(find(result, "flush")->seconds.high == Approx(16));
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(16 * MiB);
    CHECK(find(run(machine), "flush")->seconds.likely == Approx(0.5));
    CHECK(find(run(machine), "flush")->seconds.high == Approx(0.5));
}

TEST_CASE("each input that is not given is assumed by name, and no other", "[estimate][pipeline]") {
    // What no option says stays, and is said to be a guess.
    const estimate all_known = run(known());
    const std::vector<std::string> always{"in flight on a connection", "in caches at the last flush",
                                          "chunks that hold data", "runs of changes",
                                          "round trips to open and close a session"};
    CHECK(all_known.assumptions.size() == always.size());
    for (const std::string& each : always) CHECK(assumes(all_known, each));

    const auto missing = [&](auto change) {
        workload machine = known();
        change(machine);
        const estimate result = run(machine);
        REQUIRE(result.assumptions.size() == always.size() + 1);
        for (const estimate_assumption& each : result.assumptions) {
            CHECK_FALSE(each.value.empty());
            CHECK_FALSE(each.source.empty());
        }
        const auto fresh = std::find_if(result.assumptions.begin(), result.assumptions.end(), [&](const auto& each) {
            return std::find(always.begin(), always.end(), each.name) == always.end();
        });
        return fresh->name;
    };
    CHECK(missing([](workload& w) { w.disks[0].size_bytes.reset(); }) == "size of the disk");
    CHECK(missing([](workload& w) { w.disks[0].used_bytes.reset(); }) == "used of the disk");
    CHECK(missing([](workload& w) { w.disks[0].target_used_bytes.reset(); }) == "used on the target of the disk");
    CHECK(missing([](workload& w) { w.disks[0].changed_bytes.reset(); }) == "changed of the disk");
    CHECK(missing([](workload& w) { w.rates.source_read.reset(); }) == "source read rate of the disk");
    CHECK(missing([](workload& w) { w.rates.target_read.reset(); }) == "target read rate of the disk");
    CHECK(missing([](workload& w) { w.rates.target_write.reset(); }) == "target write rate of the disk");
    CHECK(missing([](workload& w) { w.link.rate.reset(); }) == "link rate");
    CHECK(missing([](workload& w) { w.link.round_trip_s.reset(); }) == "link round trip in seconds");
    CHECK(missing([](workload& w) { w.link.connections.reset(); }) == "connections");
    CHECK(missing([](workload& w) { w.compression_ratio.reset(); }) == "compression ratio");
    CHECK(missing([](workload& w) { w.zero_share.reset(); }) == "share of zero blocks in what changed");
    CHECK(missing([](workload& w) { w.digest_rate.reset(); }) == "digest rate");
    CHECK(missing([](workload& w) { w.encode_rate.reset(); }) == "compression and encryption");
}

TEST_CASE("figures stay in order: low, likely, high", "[estimate][pipeline]") {
    std::mt19937_64 random(17);
    const auto number = [&](double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(random);
    };
    const auto some = [&](double low, double high) {
        double values[] = {number(low, high), number(low, high), number(low, high)};
        std::sort(std::begin(values), std::end(values));
        return spread<double>{values[0], values[1], values[2]};
    };
    const auto ordered = [](const auto& value) { return value.low <= value.likely && value.likely <= value.high; };
    for (int round = 0; round < 2000; ++round) {
        workload machine;
        machine.disks.resize(1 + random() % 3);
        for (std::size_t i = 0; i < machine.disks.size(); ++i) {
            workload_disk& disk = machine.disks[i];
            disk.name = std::to_string(i);
            disk.size_bytes = random() >> (2 + random() % 60);
            if (random() % 2) disk.used_bytes = *disk.size_bytes == 0 ? 0 : random() % (*disk.size_bytes + 1);
            if (random() % 2) disk.target_used_bytes = *disk.size_bytes == 0 ? 0 : random() % (*disk.size_bytes + 1);
            disk.size_bytes = *disk.size_bytes / 4;
            if (disk.used_bytes) *disk.used_bytes /= 4;
            if (disk.target_used_bytes) *disk.target_used_bytes /= 4;
            const double used = static_cast<double>(disk.used_bytes.value_or(*disk.size_bytes));
            if (random() % 2) {
                const spread<double> changed = some(0, used * 0.999);
                disk.changed_bytes = spread<std::uint64_t>{static_cast<std::uint64_t>(changed.low),
                                                           static_cast<std::uint64_t>(changed.likely),
                                                           static_cast<std::uint64_t>(changed.high)};
            }
            disk.target = random() % 4 == 0 ? target_state::missing : target_state::usable;
        }
        if (random() % 2) machine.link.rate = some(1, 1e10);
        if (random() % 2) machine.link.round_trip_s = some(0, 1);
        if (random() % 2) machine.link.limit_to_target = number(1, 1e9);
        if (random() % 2) machine.compression_ratio = some(1, 10);
        if (random() % 2) machine.zero_share = some(0, 1);
        if (random() % 2) machine.rates.target_write = some(1, 1e10);
        if (random() % 2) machine.verify = verify_level::reread;
        for (const char* const model : {"pipeline", "asr-2018", "asr-2023"}) {
            const estimate result = model_registry().find(model).run(machine);
            CAPTURE(round, model, to_json(result));
            for (const estimate_phase& phase : result.phases) {
                REQUIRE(ordered(phase.seconds));
                REQUIRE(phase.seconds.low >= 0);
                REQUIRE_FALSE(phase.reason.empty());
            }
            REQUIRE(ordered(result.total_s));
            REQUIRE(ordered(result.to_target));
            REQUIRE(ordered(result.to_source));
            REQUIRE(result.to_target.high < 1ull << 63);
        }
    }
}

TEST_CASE("a measured link is one connection's, and a sync opens more where a window held it back",
          "[estimate][pipeline]") {
    const auto measured = [](double rate, double round_trip, unsigned connections = 16) {
        workload machine = known();
        machine.link = {};
        machine.link.connections = connections;
        machine.link.measured = link_rates{exactly(round_trip), exactly(rate), exactly(rate / 2)};
        return run(machine);
    };
    const double sent = 10e9 * 1.0026;
    // Near, or slow: one connection fills the link.
    for (const auto& near : {measured(100e6, 0.0001), measured(2e6, 0.1), measured(100e6, 0.1, 1)}) {
        CHECK_FALSE(assumes(near, "link rate"));
        CHECK(find(near, "link")->seconds.low == Approx(find(near, "link")->seconds.high));
    }
    CHECK(likely(measured(100e6, 0.0001), "link") == Approx(sent / 100e6).epsilon(1e-4));
    CHECK(likely(measured(2e6, 0.1), "link") == Approx(sent / 2e6).epsilon(1e-4));
    // Far: as many as a sync begins with, at least one, at best all.
    const estimate far = measured(10e6, 0.1);
    CHECK(likely(far, "link") == Approx(sent / 40e6).epsilon(1e-4));
    CHECK(find(far, "link")->seconds.high == Approx(sent / 10e6).epsilon(1e-4));
    CHECK(find(far, "link")->seconds.low == Approx(sent / 160e6).epsilon(1e-4));
    CHECK(assumes(far, "link rate"));
    CHECK(likely(measured(10e6, 0.06), "link") == Approx(sent / 30e6).epsilon(1e-4));
    CHECK(likely(measured(10e6, 0.1, 2), "link") == Approx(sent / 20e6).epsilon(1e-4));
    CHECK(likely(measured(50e6, 0.01), "link") == Approx(sent / 50e6).epsilon(1e-4));  // one at first
    // Each direction has its own.
    workload machine = known();
    machine.link = {};
    machine.link.measured = link_rates{exactly(0.0001), exactly(1e12), exactly(1000.0)};
    CHECK(likely(run(machine), "link") == Approx(static_cast<double>(run(machine).to_source.likely) / 1000));
    // What was given is the whole link's, and stands.
    machine.link.rate = exactly(100e6);
    CHECK(likely(run(machine), "link") == Approx(sent / 100e6).epsilon(1e-4));
    machine.link.measured->to_target = exactly(0.0);
    CHECK_THROWS_AS(run(machine), error);
}

TEST_CASE("guesses are named where figures rest on them, and only there", "[estimate][pipeline]") {
    workload machine = known();
    machine.disks[0] = {.size_bytes = 8 * MiB, .used_bytes = 8 * MiB, .target_used_bytes = 8 * MiB};
    machine.disks[0].changed_bytes = exactly<std::uint64_t>(0);
    CHECK(assumes(run(machine), "what a session sends besides"));
    CHECK_FALSE(assumes(run(machine), "runs of changes"));
    CHECK_FALSE(assumes(run(machine), "chunks that hold data"));
    machine.disks[0].target = target_state::missing;
    CHECK_FALSE(assumes(run(machine), "chunks that hold data"));
    machine = known();
    CHECK_FALSE(assumes(run(machine), "what a session sends besides"));
    CHECK_FALSE(assumes(run(machine), "contention"));
    machine.link = {.one_machine = true};
    for (const char* const name : {"chunks", "runs of changes", "session", "contention", "opening"})
        CHECK_FALSE(assumes(run(machine), name));
    machine.processors = processor_costs{.cores = 2, .source_read_s = 1e-9};
    machine.guessed = {{"something", "1", "why"}};
    for (const char* const name : {"contention", "opening disks and records", "something"})
        CHECK(assumes(run(machine), name));
}

TEST_CASE("a stage says whether a figure of the user's sets its time", "[estimate][pipeline]") {
    const auto given = [](const workload& what, const std::string& name) { return find(run(what), name)->given; };
    for (const char* const name : {"source-read", "target-read", "target-write", "link"}) CHECK(given(known(), name));
    workload machine = known();
    machine.encode_rate = exactly(1e6);
    CHECK_FALSE(given(machine, "link"));
    machine = known();
    machine.link.round_trip_s = exactly(1.0);  // windows hold it back
    CHECK_FALSE(given(machine, "link"));
    machine.link.limit_to_target = 1e6;
    CHECK(given(machine, "link"));
    // A link measured under a limit may seem to carry a little less; one that carries far less is what is slow.
    machine.link = {.connections = 1};
    machine.link.limit_to_target = 1e6;
    const auto measured = [&](double rate) {
        machine.link.measured = link_rates{exactly(0.0001), exactly(rate), exactly(rate)};
        return given(machine, "link");
    };
    CHECK(measured(0.97e6));
    CHECK_FALSE(measured(0.8e6));
    machine.link.measured.reset();
    machine.link.round_trip_s = exactly(0.0);
    machine.link.limit_to_target = 1.05 * likely_link_rate;
    CHECK_FALSE(given(machine, "link"));
    machine = known();
    machine.digest_rate = exactly(1e6);
    machine.rates.target_write.reset();
    machine.disks[0].measured.target_write = exactly(5e8);
    CHECK(likely(run(machine), "target-write") == Approx(40));
    for (const char* const name : {"source-read", "target-read", "target-write", "flush"})
        CHECK_FALSE(given(machine, name));

    // What is done around the rest rests on the target's rates.
    machine = known();
    machine.verify = verify_level::reread;
    machine.proof_rate = exactly(1e12);
    for (const char* const name : {"flush", "verify"}) CHECK(given(machine, name));
    machine.proof_rate = exactly(1e6);
    CHECK_FALSE(given(machine, "verify"));
    machine.proof_rate = exactly(1e12);
    machine.processors = processor_costs{.verify_s = 1e-6};
    CHECK_FALSE(given(machine, "verify"));
    machine.processors.reset();
    machine.disks.push_back(machine.disks[0]);
    machine.rates.target_read.reset();
    machine.disks[0].rates.target_read = exactly(1e9);
    CHECK_FALSE(given(machine, "verify"));
    machine.disks[1].rates.target_read = exactly(1e9);
    CHECK(given(machine, "verify"));
}

TEST_CASE("a stage that there is not is set by nobody", "[estimate][pipeline]") {
    workload machine = known();
    machine.rates = {};
    machine.link.rate.reset();
    machine.disks[0].target = target_state::missing;
    for (const estimate_phase& phase : run(machine).phases) {
        INFO(phase.name);
        CHECK_FALSE(phase.given);
    }
    // With reread it is read, but only after it was written.
    machine.verify = verify_level::reread;
    machine.rates.target_read = exactly(1e6);
    CHECK_FALSE(find(run(machine), "target-read")->given);
    CHECK(find(run(machine), "verify")->given);
}
