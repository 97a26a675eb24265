// What becomes of a session when its connection, one of its disks or one of its users gives out in the middle: each side ends,
// says why in its own words, the target's record says no more than is true, and the next sync does the rest.
#include "support/small_disks.hpp"

#include <atomic>
#include <functional>
#include <random>
#include <set>

#include "reprotect/memory_device.hpp"
#include "support/alike.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t c = small_chunk;
constexpr std::size_t stream_bytes_min = 128;  // specified: stream.hpp

}  // namespace

TEST_CASE("a connection cut at any byte ends both sides, no record lies, and the next sync does the rest",
          "[sync][wire]") {
    const bool towards_target = GENERATE(true, false);
    const bool slow = GENERATE(false, true);  // a few bytes at a time: nothing of what is cut had been read ahead
    std::set<std::string> records;
    bool whole = false;
    for (std::uint64_t at = 0; !whole; at += slow ? 7 : 3) {
        INFO("cut after " << at << " bytes to the " << (towards_target ? "target" : "source"));
        small_disks disks;
        frailty cut, sound;
        cut.cut_after = at;
        if (slow) {
            cut.piece_bytes_max = sound.piece_bytes_max = 5;
            cut.buffered_bytes_max = sound.buffered_bytes_max = stream_bytes_min;
        }
        const ends what = towards_target ? run_over(disks, cut, sound) : run_over(disks, sound, cut);
        check_lost(what.source);
        check_lost(what.target);
        records.insert(disks.record());
        check_truth_and_mend(disks, what);
        whole = what.source.ok() && what.target.ok();
        REQUIRE(at < 20'000);
    }
    CHECK(records == std::set<std::string>{"none", "dirty", "clean"});
}

TEST_CASE("a connection cut while data streams leaves a target that was flushed", "[sync][wire]") {
    for (std::uint64_t at = 3'000; at < 250'000; at += 24'001) {
        INFO("cut after " << at);
        small_disks disks;
        fill(disks.source, {0, 8 * c}, 9);
        recording_device target(disks.target);
        frailty cut;
        cut.cut_after = at;
        const ends what = run_over(disks, cut, {}, [&](peer_pair& pair) { pair.target.disk = &target; });
        require_failure(what.source, error_kind::peer);
        require_failure(what.target, error_kind::peer);
        if (target.writes.total() != 0) CHECK(target.flushes == 1);
        CHECK(what.target.bytes.written == target.writes.total());
        if (target.writes.total() != 0) CHECK(disks.record() == "dirty");
        const std::uint64_t written = target.writes.total();
        const ends again = run_over(disks);
        require_synced(again.target, disks.source, disks.target);
        CHECK(again.target.bytes.written == 8 * c + 700 - written);
    }
}

// Under the thread sanitizer a byte takes too long for the bound on the time.
TEST_CASE("one byte at a time and windows of one are enough, whichever side has them", "[sync][wire][no-tsan]") {
    const bool reread = GENERATE(false, true);
    for (const unsigned narrow : {1u, 2u, 3u}) {  // source, target, both
        INFO((reread ? "read again" : "root") << ", narrow " << narrow);
        small_disks disks;
        fill(disks.source, {0, 3 * c}, 9);
        frailty trickle;
        trickle.piece_bytes_max = 1;
        trickle.buffered_bytes_max = stream_bytes_min;
        const ends what = run_over(disks, trickle, trickle, [&](peer_pair& pair) {
            for (sync_options* each : {&pair.source.options, &pair.target.options}) {
                each->verify = reread ? verify_level::reread : verify_level::root;
                const unsigned bit = each == &pair.source.options ? 1 : 2;
                if ((narrow & bit) == 0) continue;
                each->depth = 1;
                each->memory_bytes = memory_minimum(*each);
            }
        });
        require_ok(what.source);
        require_synced(what.target, disks.source, disks.target);
        check_alike(what.source, what.target);
    }
}

TEST_CASE("a connection that falls silent is given up, in words that name the other side", "[sync][wire]") {
    const bool towards_target = GENERATE(true, false);
    for (const std::uint64_t at : {300u, 500u, 100'000u}) {
        if (!towards_target && at > 1000) continue;
        INFO("silent after " << at << " bytes to the " << (towards_target ? "target" : "source"));
        small_disks disks;
        fill(disks.source, {0, 8 * c}, 9);
        frailty silent;
        silent.stall_after = at;
        const auto impatient = [](peer_pair& pair) {
            pair.source.patience = pair.target.patience = std::chrono::milliseconds(300);
        };
        const ends what =
            towards_target ? run_over(disks, silent, {}, impatient) : run_over(disks, {}, silent, impatient);
        const error source = require_failure(what.source, error_kind::peer);
        const error target = require_failure(what.target, error_kind::peer);
        INFO("source: " << source.what() << "\ntarget: " << target.what());
        CHECK_THAT(source.what(), Catch::Contains("target.example:1"));
        CHECK_THAT(target.what(), Catch::Contains("source.example:2"));
        const std::string both = std::string(source.what()) + target.what();
        const bool said = both.find("nothing was heard from") != std::string::npos ||
                          both.find("took nothing of what was sent") != std::string::npos;
        CHECK(said);
        check_truth_and_mend(disks, what);
    }
}

TEST_CASE("a connection whose other end is gone without a word is given up by both", "[sync][wire]") {
    for (const std::uint64_t at : {120u, 300u}) {
        INFO("nothing arrives after " << at << " bytes");
        small_disks disks;
        frailty gone;
        gone.swallow_after = at;
        const ends what = run_over(disks, gone, gone, [](peer_pair& pair) {
            pair.source.patience = pair.target.patience = std::chrono::milliseconds(300);
        });
        CHECK_THAT(require_failure(what.source, error_kind::peer).what(),
                   Catch::Contains("nothing was heard from target.example:1"));
        CHECK_THAT(require_failure(what.target, error_kind::peer).what(),
                   Catch::Contains("nothing was heard from source.example:2"));
        check_truth_and_mend(disks, what);
    }
}

TEST_CASE("silence in the greeting is given up after the same patience", "[sync][wire]") {
    for (const std::uint64_t at : {0u, 20u, 60u}) {
        INFO("silent after " << at);
        small_disks disks;
        frailty silent;
        silent.stall_after = at;
        const ends what = run_over(disks, silent, silent, [](peer_pair& pair) {
            pair.source.patience = pair.target.patience = std::chrono::milliseconds(300);
        });
        CHECK_THAT(require_failure(what.source, error_kind::peer).what(), Catch::Contains("target.example:1"));
        CHECK_THAT(require_failure(what.target, error_kind::peer).what(), Catch::Contains("source.example:2"));
        CHECK(disks.record() == "none");
        CHECK(bytes_of(disks.target) == disks.before);
    }
}

TEST_CASE(
    "a stop on one side is an interruption there and the peer's doing on the other, and what was written is flushed",
    "[sync][wire]") {
    const bool at_source = GENERATE(true, false);
    for (const unsigned after : {0u, 1u, 4u, 9u}) {  // writes; 0: before the start
        INFO("stopped at the " << (at_source ? "source" : "target") << " after " << after << " writes");
        memory_device source(60 * c, "the source"), disk(60 * c, "the target");
        fill(source, {0, 60 * c}, 1);
        fill(disk, {0, 60 * c}, 2);
        std::stop_source stop;
        std::atomic<unsigned> writes{0};
        hooked_device hooked(disk, [&](device_call call, extent) {
            if (call == device_call::write && ++writes == after) stop.request_stop();
        });
        if (after == 0) stop.request_stop();
        recording_device target(hooked);
        test_store records;
        peer_pair pair;
        pair.source.disk = &source;
        pair.target.disk = &target;
        pair.target.records = &records;
        pair.source.far_name = "target.example:1";
        pair.target.far_name = "source.example:2";
        (at_source ? pair.source : pair.target).cancel = stop.get_token();
        const ends what = run_over(pair, {}, {});
        const sync_report& here = at_source ? what.source : what.target;
        const sync_report& there = at_source ? what.target : what.source;
        CHECK(exit_code(require_failure(here, error_kind::interrupted).kind()) == 130);
        const error told = require_failure(there, error_kind::peer);
        CHECK_THAT(told.what(), Catch::Contains(at_source ? "source.example:2" : "target.example:1"));
        // A side that is stopped before it has said a word just ends.
        if (after != 0)
            CHECK_THAT(told.what(), Catch::Contains(at_source ? "the source at source.example:2 was stopped"
                                                              : "the target at target.example:1 was stopped"));
        CHECK(target.flushes == (after == 0 ? 0 : 1));
        CHECK(what.target.bytes.written == target.writes.total());
        CHECK(target.writes.total() < 60 * c);
        const auto record = records.find_target(disk.identity());
        CHECK(record.has_value() == (after != 0));
        if (record) CHECK(record->status == target_status::dirty);

        peer_pair again;
        again.source.disk = &source;
        again.target.disk = &disk;
        again.target.records = &records;
        const auto [first, second] = again.run();
        require_ok(first);
        require_synced(second, source, disk);
        CHECK(second.bytes.written == 60 * c - target.writes.total());
    }
}

TEST_CASE("a device call that fails on one side is that failure on both, and says whose it was", "[sync][wire]") {
    const bool on_source = GENERATE(true, false);
    const auto verify = GENERATE(verify_level::root, verify_level::reread);
    bool failed = true;
    std::set<std::string> records;
    for (std::uint64_t nth = 0; failed; ++nth) {
        INFO("call " << nth << " of the " << (on_source ? "source" : "target"));
        small_disks disks;
        failing_device broken(on_source ? disks.source : disks.target, nth, nth % 2 == 0);
        const ends what = run_over(disks, {}, {}, [&](peer_pair& pair) {
            (on_source ? pair.source : pair.target).disk = &broken;
            pair.source.options.verify = pair.target.options.verify = verify;
        });
        const auto failures = broken.failures();
        failed = !failures.empty();
        if (!failed) {
            require_ok(what.source);
            require_ok(what.target);
            break;
        }
        INFO(to_string(failures.front().call));
        const bool flush = std::any_of(failures.begin(), failures.end(),
                                       [](const auto& each) { return each.call == device_call::flush; });
        const error_kind kind = flush ? error_kind::flush_failed : error_kind::device_io;
        const error own = require_failure(on_source ? what.source : what.target, kind);
        const error told = require_failure(on_source ? what.target : what.source, kind);
        INFO("here: " << own.what() << "\nthere: " << told.what());
        CHECK(own.detail().device == (on_source ? "the source" : "the target"));
        CHECK_THAT(told.what(), Catch::StartsWith(on_source ? "the source at source.example:2: "
                                                            : "the target at target.example:1: "));
        CHECK(broken.flushes_after_failed_flush() == 0);
        records.insert(disks.record());
        if (flush) CHECK(disks.record() == "poisoned");
        CHECK_FALSE(disks.record() == "clean");
        if (disks.record() == "none") CHECK(bytes_of(disks.target) == disks.before);
        const ends again = run_over(disks);
        require_synced(again.target, disks.source, disks.target);
        REQUIRE(nth < 2'000);
    }
    CHECK(records.contains("dirty"));
    CHECK(records.contains("poisoned") == !on_source);
}

TEST_CASE("sides that were told different things refuse each other before a byte is written", "[sync][wire]") {
    struct difference {
        const char* what;
        std::function<void(peer_pair&)> make;
        error_kind kind;
        const char* phrase;
    };
    const difference all[] = {
        {"block size", [](peer_pair& pair) { pair.target.options.block_bytes = 8192; }, error_kind::peer,
         "another session"},
        {"chunk size", [](peer_pair& pair) { pair.source.options.chunk_bytes = 65536; }, error_kind::peer,
         "another session"},
        {"digest", [](peer_pair& pair) { pair.target.options.algorithm = digest_algorithm::sha256; }, error_kind::peer,
         "another session"},
        {"proof", [](peer_pair& pair) { pair.source.options.verify = verify_level::reread; }, error_kind::peer,
         "another session"},
        {"a dry run here", [](peer_pair& pair) { pair.target.options.dry_run = true; }, error_kind::peer,
         "another session"},
        {"a dry run there", [](peer_pair& pair) { pair.source.options.dry_run = true; }, error_kind::peer,
         "another session"},
        {"a comparison", [](peer_pair& pair) { pair.target.compare_only = true; }, error_kind::peer, "another session"},
        {"the streams' secrets", [](peer_pair& pair) { pair.source.secret[31] = std::byte{1}; }, error_kind::peer,
         "do not agree on what was said"},
        {"both sources", [](peer_pair& pair) { pair.target.role = peer_role::source; }, error_kind::peer,
         "has nothing to say to it"},
        {"both targets", [](peer_pair& pair) { pair.source.role = peer_role::target; }, error_kind::peer,
         "has nothing to say to it"},
        {"cut and kept",
         [](peer_pair& pair) {
             pair.source.options.truncate = true;
             pair.target.options.allow_larger = true;
         },
         error_kind::usage, "cannot be both cut and left"},
    };
    for (const difference& each : all) {
        INFO(each.what);
        small_disks disks;
        recording_device source(disks.source), target(disks.target);
        const ends what = run_over(disks, {}, {}, [&](peer_pair& pair) {
            pair.source.disk = &source;
            pair.target.disk = &target;
            each.make(pair);
        });
        const error at_source = require_failure(what.source, each.kind);
        const error at_target = require_failure(what.target, each.kind);
        CHECK_THAT(std::string(at_source.what()) + at_target.what(), Catch::Contains(each.phrase));
        CHECK(bytes_of(disks.target) == disks.before);
        CHECK(target.writes.empty());
        CHECK(source.writes.empty());
        CHECK(disks.record() == "none");
    }
}

TEST_CASE("random disks become equal over random connections, and both ends report the same", "[sync][wire]") {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const auto one_in = [&random](unsigned count) { return random() % count == 0; };
        const std::uint64_t sizes[] = {0, 1, 511, 4097, 32768, random() % 900'000};
        const std::uint64_t size = sizes[std::min<std::uint64_t>(random() % 10, 5)];
        const bool other_size = one_in(3);
        memory_device source(size, "source"), target(other_size ? random() % 900'000 : size, "target");
        fill_sparsely(source, random);
        if (!one_in(4)) copy_content(source, target);
        age(target, random, static_cast<unsigned>(random() % 12));
        target.mutable_properties().punches_holes = one_in(2);
        target.mutable_properties().one_writer = one_in(2);

        sync_options shared = small_sync_options();
        const std::uint32_t blocks[] = {512, 4096, 65536};
        shared.block_bytes = blocks[random() % 3];
        shared.chunk_bytes = one_in(10)
                                 ? chunk_bytes_max
                                 : std::max(4096u, shared.block_bytes * static_cast<std::uint32_t>(1 + random() % 20));
        shared.algorithm = one_in(2) ? digest_algorithm::sha256 : digest_algorithm::xxh3;
        const bool compare_only = one_in(6);
        shared.dry_run = !compare_only && one_in(6);
        const bool part = one_in(4);
        shared.verify = !part && one_in(3) ? verify_level::reread : verify_level::root;
        test_store records;
        peer_pair pair;
        pair.source.disk = &source;
        pair.target.disk = &target;
        pair.target.records = &records;
        for (peer_request* each : {&pair.source, &pair.target}) {
            each->options = shared;
            each->compare_only = compare_only;
            each->options.depth = 1 + static_cast<unsigned>(random() % 5);
            each->options.memory_bytes = memory_minimum(each->options);
            if (one_in(2)) each->options.memory_bytes += 8 << 20;
        }
        const bool truncate = size != 0 && one_in(2);
        for (sync_options* each : {&pair.source.options, one_in(2) ? &pair.target.options : &pair.source.options})
            (truncate ? each->truncate : each->allow_larger) = true;
        if (part) {
            extent_set within;
            const std::uint64_t count = (size + shared.block_bytes - 1) / shared.block_bytes;
            for (unsigned i = 0; count != 0 && i < random() % 6; ++i) {
                const std::uint64_t first = random() % count * shared.block_bytes;
                within.add({first, std::min(size - first, (1 + random() % 20) * shared.block_bytes)});
            }
            pair.source.options.within = within;
        }
        frailty ways[2];
        for (frailty& each : ways) {
            each.piece_bytes_max = one_in(2) ? 64 * 1024 : 1 + random() % 500;
            each.buffered_bytes_max = one_in(2) ? 64 * 1024 : stream_bytes_min + random() % 500;
        }
        const auto before = bytes_of(target);
        auto expected = before;
        const bool writes = !compare_only && !shared.dry_run;
        if (writes && (truncate || size > expected.size())) expected.resize(size);
        const auto wanted = bytes_of(source);
        if (writes) {
            const extent_set all = pair.source.options.within.value_or(extent_set{{0, size}});
            for (const extent& range : all)
                std::copy_n(wanted.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                            expected.begin() + static_cast<std::ptrdiff_t>(range.offset));
        }
        sync_request both = request_of(source, target, pair.source.options);
        const sync_report here = diff(both);
        require_ok(here);

        const ends what = run_over(pair, ways[0], ways[1]);
        require_ok(what.source);
        require_ok(what.target);
        check_alike(what.source, what.target);
        CHECK(bytes_of(target) == expected);
        CHECK(what.source.bytes.disk == size);
        if (what.source.different()) CHECK(here.different());  // what was given back unread was not compared
        const proof_level proof = !writes                                 ? proof_level::none
                                  : part                                  ? proof_level::partial
                                  : shared.verify == verify_level::reread ? proof_level::reread
                                                                          : proof_level::root;
        CHECK(what.source.verified == proof);
        if (compare_only) {
            CHECK(what.source.differential == here.differential);
            CHECK(what.target.differential == here.differential);
            CHECK(what.source.different() == here.different());
            CHECK(what.source.bytes.changed == here.bytes.changed);
            CHECK(what.source.bytes.zeroed == here.bytes.zeroed);
        }
        CHECK(records.find_target(target.identity()).has_value() == (writes && !part));
    }
}
