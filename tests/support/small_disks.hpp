// Two small disks that differ in every way, a session of theirs over links that break, and what must hold after each:
// the record is true, and the next session over a sound link makes all good.
#pragma once

#include "support/peer_pair.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "reprotect/memory_device.hpp"
#include "support/device_doubles.hpp"
#include "support/frail_link.hpp"

namespace reprotect::test {

/// Every kind of difference, in so few bytes of wire that a test can cut at each of them.
struct small_disks {
    static constexpr std::uint64_t c = small_chunk;
    memory_device source{8 * c + 700, "the source"}, target{8 * c + 700, "the target"};
    std::vector<std::byte> before;
    test_store records;

    small_disks() {
        fill(source, {0, 6 * c}, 1);
        copy_content(source, target);
        source.write(small_block, std::vector<std::byte>(2 * small_block, std::byte{7}));
        source.write(5 * c, std::vector<std::byte>(small_block));  // zeroes where the target holds data
        source.write_zeroes(2 * c, c);                             // a hole where it does
        source.write(8 * c, std::vector<std::byte>(700, std::byte{9}));
        before = bytes_of(target);
    }
    bool equal() { return bytes_of(source) == bytes_of(target); }
    std::string record() {
        const auto found = records.find_target(target.identity());
        return found ? to_string(found->status) : "none";
    }
};

struct ends {
    sync_report source, target;
};

/// Once both have their streams.
inline ends run_in_time(peer_pair& pair) {
    const auto begun = std::chrono::steady_clock::now();
    auto [source, target] = pair.run();
    // Whatever happens, no side waits for the other one's patience of ten seconds or more.
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    CHECK(took.count() < 8);
    return {std::move(source), std::move(target)};
}

inline ends run_over(peer_pair& pair, const frailty& to_target, const frailty& to_source) {
    frail_link link(to_target, to_source);
    pair.source.stream = link.first();
    pair.target.stream = link.second();
    return run_in_time(pair);
}

inline void join(peer_pair& pair, small_disks& disks) {
    pair.source.disk = &disks.source;
    pair.target.disk = &disks.target;
    pair.target.records = &disks.records;
    pair.source.far_name = "target.example:1";
    pair.target.far_name = "source.example:2";
}

inline ends run_over(small_disks& disks, const frailty& to_target = {}, const frailty& to_source = {},
                     const std::function<void(peer_pair&)>& prepare = {}) {
    peer_pair pair;
    join(pair, disks);
    if (prepare) prepare(pair);
    return run_over(pair, to_target, to_source);
}

inline void check_truth_and_mend(small_disks& disks, const ends& what) {
    const std::string record = disks.record();
    INFO("the record says " << record);
    if (record == "clean") CHECK(disks.equal());
    if (record == "none") CHECK(bytes_of(disks.target) == disks.before);
    if (what.source.ok() || what.target.ok()) CHECK(record == "clean");
    if (what.target.failure && record == "clean") CHECK(what.source.failure);
    const ends again = run_over(disks);
    require_ok(again.source);
    require_synced(again.target, disks.source, disks.target);
    CHECK(disks.record() == "clean");
}

inline void check_lost(const sync_report& report) {
    if (!report.failure) return;
    INFO(report.failure->what());
    CHECK(report.failure->kind() == error_kind::peer);
    CHECK(report.verified == proof_level::none);
}

}  // namespace reprotect::test
