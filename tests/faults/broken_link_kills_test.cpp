// Syncs between two programs that are broken off at random moments: kill -9 and SIGTERM of either side, a link that is
// cut or falls silent, pushes and pulls, over one connection and over three, with TLS. After each: what the record
// says is true, success was told of a disk that is right alone, and the next sync ends equal and sends the blocks that
// still differ, and no other.
// 50 rounds, under sanitizers 20; REPROTECT_SOAK=1000 makes 1000 (some minutes). The seed is printed by a failure;
// REPROTECT_SEED takes one.
#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/killed_session.hpp"
#include "support/places.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

using toward = long_link::toward;

constexpr std::uint64_t mib = 1 << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t usual_rounds = 20;
#else
constexpr std::uint64_t usual_rounds = 50;
#endif

const far_pair::shape shapes[] = {
    {.push = true, .connections = 1, .disk_bytes = 16 * mib},
    {.push = false, .connections = 1, .disk_bytes = 8 * mib},
    {.push = true, .connections = 3, .disk_bytes = 32 * mib},
    {.push = false, .connections = 3, .disk_bytes = 8 * mib},
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* const set = std::getenv(variable);
    return set && *set ? std::strtoull(set, nullptr, 10) : otherwise;
}

struct tally {
    std::map<std::string, unsigned> said;               // by what was on record after the breach
    std::map<std::string, unsigned> suffered;           // by the breach, and how the client ended
    std::uint64_t blocks_applied = 0, blocks_left = 0;  // of rounds that ended dirty
};

class broken_pair {
public:
    using duration = link_session::duration;

    broken_pair(const far_pair::shape& how, std::mt19937_64& random) : random_(random), pair_(how, random) {
        pair_.change_source(random);
        require_equal_after_a_run();
        // A session that is over before its other connections have joined says little.
        for (int tries = 0; tries < 5 && usual_.carried[0].size() != how.connections; ++tries) measure();
        REQUIRE(usual_.carried[0].size() == how.connections);
    }

    void round(breach what, tally& all) {
        pair_.change_source(random_);
        if (random_() % 2 == 0) pair_.forget_record();
        const auto source = pair_.source_bytes();
        const auto before = pair_.target_bytes();
        const auto record_before = pair_.record();
        const std::uint64_t stale_blocks = pair_.differing_blocks();

        const link_session::ends ends = broken_off(what);
        INFO("client: " << ends.client.exit_code << ", said " << ends.client.errors);
        INFO("server: " << ends.server.exit_code << ", said " << ends.server.errors);
        check_codes(what, ends);

        const auto record = pair_.record();
        const bool of_this_round = record && (!record_before || record->session != record_before->session);
        const auto after = pair_.target_bytes();
        std::string said = record ? reprotect::to_string(record->status) : "none";
        CHECK((pair_.source_bytes() == source));
        if (!of_this_round) {
            CHECK((after == before));
            if (record) said = "as before";
        } else if (record->status == target_status::clean) {
            CHECK((after == source));
        } else {
            CHECK(record->status == target_status::dirty);
        }
        if (ends.client.exit_code == 0) {
            CHECK((after == source));
            CHECK(of_this_round);
            CHECK(said == "clean");
        }
        check_map(record);
        const std::uint64_t left = require_equal_after_a_run();
        if (said == "dirty") {
            CHECK(left <= stale_blocks);
            all.blocks_applied += stale_blocks - std::min(stale_blocks, left);
            all.blocks_left += left;
        }
        ++all.said[said];
        ++all.suffered[std::string(test::to_string(what)) + ": client ended with " +
                       std::to_string(ends.client.exit_code)];
    }

private:
    // How long a sync takes, and what it carries, where nothing happens.
    struct usual {
        duration until_dirty{}, from_dirty{};
        std::vector<long_link::traffic> carried[2];  // toward the server, toward the client
    };

    void measure() {
        pair_.change_source(random_);
        usual_ = {};
        const auto begin = std::chrono::steady_clock::now();
        link_session whole(pair_);
        whole.wait_for_dirty();
        const auto dirty = std::chrono::steady_clock::now();
        whole.wait_for_client();
        usual_.from_dirty = std::chrono::steady_clock::now() - dirty;
        usual_.until_dirty = dirty - begin;
        const link_session::ends ends = whole.end();
        INFO(ends.client.errors);
        REQUIRE(ends.client.exit_code == 0);
        REQUIRE(pair_.differing_blocks() == 0);
        for (std::size_t number = 0; number < whole.link().connections(); ++number) {
            usual_.carried[0].push_back(whole.link().carried(toward::server, number));
            usual_.carried[1].push_back(whole.link().carried(toward::client, number));
        }
    }

    link_session::ends broken_off(breach what) {
        // Anywhere; once the first byte may have been written; about the end, where success is told.
        const std::uint64_t kind = random_() % 3;
        const double share = static_cast<double>(random_() % 1000) / 1000;
        const duration moment = kind == 0   ? share * (usual_.until_dirty + usual_.from_dirty)
                                : kind == 1 ? share * usual_.from_dirty
                                            : (0.9 + 0.15 * share) * usual_.from_dirty;
        std::optional<link_session::stall> silence;
        if (what == breach::link_stalled) {
            const std::size_t connection = random_() % pair_.how().connections, way = random_() % 2;
            const auto all = static_cast<double>(usual_.carried[way][connection].delivered);
            const double after = kind == 0   ? share * std::min(all, 4000.0)
                                 : kind == 1 ? share * all
                                             : (0.99 + 0.01 * share) * all;
            silence.emplace(link_session::stall{way == 0 ? toward::server : toward::client, connection,
                                                static_cast<std::uint64_t>(after)});
        }
        link_session session(pair_, silence);
        if (silence) {
            session.wait_for_silence();
            std::this_thread::sleep_for(duration(0.03 * share));
        } else {
            if (kind != 0) session.wait_for_dirty();
            std::this_thread::sleep_for(moment);
        }
        session.suffer(what);
        return session.end();
    }

    // What each side says of its end; 0 of a sync that was over before.
    void check_codes(breach what, const link_session::ends& ends) const {
        const int client = ends.client.exit_code, server = ends.server.exit_code;
        switch (what) {
            case breach::client_killed:
                CHECK((client == 0 || client == 128 + SIGKILL));
                break;
            case breach::client_stopped:
                // The signal's own end came before the tool had a word in it.
                CHECK((client == 0 || client == 130 || client == 128 + SIGTERM));
                break;
            default:
                CHECK((client == 0 || client == 5));
        }
        CHECK(server == (what == breach::server_killed ? 128 + SIGKILL : 0));
        if (what == breach::server_killed) return;
        const auto count = [&](const char* event) {
            return std::count_if(ends.server_log.begin(), ends.server_log.end(),
                                 [&](const std::string& line) { return has(line + " ", event); });
        };
        const auto begun = count(" event=session-begin "), good = count(" event=session-end ");
        CHECK((begun == 0 || good + count(" event=session-failed ") == begun));
        // A source may be stopped while the word of a good end is on its way to it.
        if (client == 0 && pair_.how().push) CHECK(good == 1);
    }

    void check_map(const std::optional<state_record>& record) const {
        const command_result shown =
            run_command({tool_path, "map", pair_.target(), "--json", "--state", pair_.records()});
        INFO(shown.errors);
        REQUIRE(shown.exit_code == 0);
        const auto map = parse_json(shown.output);
        CHECK(map.at("record").is_null() == !record);
        if (!record) return;
        CHECK(text_at(map, "record.status") == reprotect::to_string(record->status));
        CHECK(text_at(map, "record.session") == record->session);
    }

    // Returns how many blocks there were to send.
    std::uint64_t require_equal_after_a_run() const {
        const std::uint64_t differing = pair_.differing_blocks();
        served fresh(pair_.tool(), pair_.server_options());
        const command_result done = run_command(pair_.client_line(fresh.port()));
        INFO("the next sync, with " << differing << " blocks to send: " << done.errors << fresh.running().errors());
        REQUIRE(done.exit_code == 0);
        REQUIRE(pair_.differing_blocks() == 0);
        const auto record = pair_.record();
        REQUIRE(record);
        CHECK(record->status == target_status::clean);
        const auto report = parse_json(done.output);
        const std::uint64_t bytes = differing * far_pair::block_bytes;
        CHECK(count_at(report, "bytes.changed") == bytes);
        CHECK(count_at(report, "bytes.written") == bytes);
        CHECK(count_at(report, "bytes.zeroed") == 0);
        CHECK(count_at(report, "wire.to_target.payload") == bytes);
        CHECK(fresh.stop().exit_code == 0);
        return differing;
    }

    std::mt19937_64& random_;
    far_pair pair_;
    usual usual_;
};

}  // namespace

TEST_CASE(
    "a sync over a link that breaks, or whose sides are killed, at any moment leaves a record that is true, and the "
    "next "
    "one sends what still differs alone",
    "[faults][soak][links][slow]") {
    const std::uint64_t seed = number_from("REPROTECT_SEED", std::random_device()());
    const std::uint64_t rounds = number_from("REPROTECT_SOAK", usual_rounds);
    std::mt19937_64 random(seed);
    tally all;
    for (std::size_t at = 0; at < std::size(shapes); ++at) {
        const far_pair::shape& how = shapes[at];
        const std::uint64_t share = rounds * (at + 1) / std::size(shapes) - rounds * at / std::size(shapes);
        if (share == 0) continue;
        INFO("REPROTECT_SEED=" << seed << " REPROTECT_SOAK=" << rounds << ", a " << (how.push ? "push" : "pull")
                               << " over " << how.connections << " connections");
        broken_pair pair(how, random);
        for (std::uint64_t number = 0; number < share; ++number) {
            const breach what = all_breaches[number % std::size(all_breaches)];
            INFO("round " << number << ": " << test::to_string(what));
            pair.round(what, all);
        }
    }
    // Rounds that all ended before the first write, or after the last, would show nothing.
    INFO("REPROTECT_SEED=" << seed);
    CHECK((all.said["dirty"] > 0 || rounds < 10));
    if (rounds <= 50) return;
    for (const auto* counts : {&all.said, &all.suffered})
        for (const auto& [what, count] : *counts) WARN(what << ": " << count << " of " << rounds);
    WARN("of the blocks of syncs that ended dirty " << all.blocks_applied << " were there already, " << all.blocks_left
                                                    << " were left to the next");
}
