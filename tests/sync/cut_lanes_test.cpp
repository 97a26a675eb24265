// What becomes of a session that is striped over two connections when one of them is cut, after each of its bytes: as
// with the only one (broken_links_test), both sides end, no record lies, and the next sync does the rest. What a cut
// takes with it is what was not carried yet, or also what had been on its way, of whose loss its sender knows nothing.
#include "support/small_disks.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "wire/striped_stream.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t c = small_chunk;
constexpr std::size_t stream_bytes_min = 128;  // specified: stream.hpp

// A connection whose reader is cut off after so many bytes, whatever its writer got rid of meanwhile.
class cut_off final : public byte_stream {
public:
    cut_off(std::unique_ptr<byte_stream> whole, std::uint64_t after) : whole_(std::move(whole)), left_(after) {}

    void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                         handler done) override {
        if (left_ == 0) {
            whole_->close();
            return boost::asio::post(on, [done = std::move(done)] { done(boost::asio::error::connection_reset, 0); });
        }
        const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
        whole_->async_read_some(on, {into.data(), most},
                                [this, done = std::move(done)](boost::system::error_code why, std::size_t count) {
                                    left_ -= count;
                                    done(why, count);
                                });
    }
    void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                          handler done) override {
        whole_->async_write_some(on, from, std::move(done));
    }
    void close() noexcept override { whole_->close(); }

private:
    std::unique_ptr<byte_stream> whole_;
    std::uint64_t left_;
};

struct cut {
    std::size_t lane = 0;
    bool towards_target = true;
    std::uint64_t after = frailty::never;
    bool loses_what_is_in_flight = false;
};

ends run_over_lanes(peer_pair& pair, const cut& where, const frailty& usual = {}) {
    const auto on = pair.network().get_executor();
    std::unique_ptr<striped_stream> source, target;
    for (std::size_t number = 0; number < 2; ++number) {
        frailty ways[2] = {usual, usual};
        const bool is_cut = number == where.lane;
        if (is_cut && !where.loses_what_is_in_flight) ways[where.towards_target ? 0 : 1].cut_after = where.after;
        frail_link link(ways[0], ways[1]);
        auto at_source = link.first(), at_target = link.second();
        if (is_cut && where.loses_what_is_in_flight) {
            auto& reader = where.towards_target ? at_target : at_source;
            reader = std::make_unique<cut_off>(std::move(reader), where.after);
        }
        if (number == 0) {
            source = std::make_unique<striped_stream>(on, std::move(at_source));
            target = std::make_unique<striped_stream>(on, std::move(at_target));
        } else {
            CHECK(source->lane_gate().add(std::move(at_source)));
            CHECK(target->lane_gate().add(std::move(at_target)));
        }
    }
    pair.source.stream = std::move(source);
    pair.target.stream = std::move(target);
    return run_in_time(pair);
}

ends run_over_lanes(small_disks& disks, const cut& where, const frailty& usual = {}) {
    peer_pair pair;
    join(pair, disks);
    return run_over_lanes(pair, where, usual);
}

}  // namespace

TEST_CASE("one of two connections cut at any byte leaves no record that lies, and the next sync does the rest",
          "[sync][wire][no-tsan]") {          // thousands of sessions
    const bool slow = GENERATE(false, true);  // a few bytes at a time: heads and segments come in parts
    frailty usual;
    if (slow) {
        usual.piece_bytes_max = 5;
        usual.buffered_bytes_max = stream_bytes_min;
    }
    std::set<std::string> records;
    for (const std::size_t lane : {0u, 1u})
        for (const bool towards_target : {true, false}) {
            // Cut between two segments it goes on over the other connection; so often in a row, it was over before.
            constexpr unsigned over = 12;
            unsigned whole = 0, broken = 0;
            for (std::uint64_t at = 0; whole < over; at += slow ? 7 : 1) {
                INFO("connection " << lane << " cut after " << at << " bytes to the "
                                   << (towards_target ? "target" : "source") << (slow ? ", slow" : ""));
                small_disks disks;
                const ends what = run_over_lanes(disks, {lane, towards_target, at}, usual);
                check_lost(what.source);
                check_lost(what.target);
                records.insert(disks.record());
                check_truth_and_mend(disks, what);
                whole = what.source.ok() && what.target.ok() ? whole + 1 : 0;
                if (whole == 0) ++broken;
                REQUIRE(at < 20'000);
            }
            CHECK(broken > 10);
        }
    CHECK(records == std::set<std::string>{"none", "dirty", "clean"});
}

TEST_CASE("one of two connections cut while data streams leaves a target that was flushed", "[sync][wire]") {
    unsigned dirty = 0;
    for (const std::size_t lane : {0u, 1u})
        for (std::uint64_t at = 10'000; at < 1'000'000; at += 50'021) {
            INFO("connection " << lane << " cut after " << at);
            memory_device source(60 * c, "the source"), disk(60 * c, "the target");
            fill(source, {0, 60 * c}, 1);
            fill(disk, {0, 60 * c}, 2);
            recording_device target(disk);
            test_store records;
            peer_pair pair;
            pair.source.disk = &source;
            pair.target.disk = &target;
            pair.target.records = &records;
            const ends what = run_over_lanes(pair, {lane, true, at});
            check_lost(what.source);
            check_lost(what.target);
            const std::uint64_t written = target.writes.total();
            CHECK(what.target.bytes.written == written);
            if (what.target.failure && written != 0) {
                ++dirty;
                CHECK(target.flushes == 1);
                const auto record = records.find_target(disk.identity());
                REQUIRE(record);
                CHECK(record->status == target_status::dirty);
            }
            peer_pair next;
            next.source.disk = &source;
            next.target.disk = &disk;
            next.target.records = &records;
            const ends again = run_over(next, {}, {});
            require_synced(again.target, source, disk);
            CHECK(again.target.bytes.written == 60 * c - written);
        }
    CHECK(dirty > 10);
}

TEST_CASE("a connection of two that is cut and takes with it what its sender was rid of ends the session, too",
          "[sync][wire]") {
    // Where nothing else is on its way, the other connection has five seconds to bring what is missing.
    const auto [lane, towards_target, after] = GENERATE(table<std::size_t, bool, std::uint64_t>({{0, true, 5},
                                                                                                 {0, true, 50},
                                                                                                 {0, true, 150},
                                                                                                 {0, false, 12},
                                                                                                 {0, false, 250},
                                                                                                 {1, true, 5},
                                                                                                 {1, true, 250},
                                                                                                 {1, false, 50},
                                                                                                 {1, false, 150}}));
    INFO("connection " << lane << " cut after " << after << " bytes to the " << (towards_target ? "target" : "source"));
    small_disks disks;
    fill(disks.source, {0, 8 * c}, 9);
    const ends what = run_over_lanes(disks, {lane, towards_target, after, true});
    check_lost(what.source);
    check_lost(what.target);
    CHECK(what.target.failure);
    check_truth_and_mend(disks, what);
}
