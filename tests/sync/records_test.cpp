// The state record's way through a sync: dirty before the first write, clean after the last flush, poisoned at a failed one;
// and what the next sync makes of each.
#include <catch2/catch.hpp>

#include <fstream>

#include "support/device_doubles.hpp"
#include "support/failures.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t c = small_chunk;

// An older state of the same content on the target.
struct aged_pair {
    memory_device source{40 * c, "the source"}, target{40 * c, "the target"};
    aged_pair() {
        fill(source, {0, 30 * c}, 1);
        copy_content(source, target);
        fill(target, {3 * c, 5 * c}, 2);
        fill(target, {35 * c, c}, 3);  // to be punched
    }
};

state_record record_of(device& source, device& target, target_status status) {
    state_record record;
    record.source = source.identity();
    record.target = target.identity();
    record.source_name = source.name();
    record.target_name = target.name();
    record.source_size = source.size();
    record.target_size = target.size();
    record.session = std::string(32, 'a');
    record.status = status;
    record.updated = "2026-11-22T10:00:00Z";
    return record;
}

// One byte in the middle of every record.
void damage_records(const temp_dir& directory) {
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        if (!entry.is_regular_file() || entry.file_size() == 0) continue;
        std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
        file.put('\0');
    }
}

}  // namespace

TEST_CASE("the record is dirty before the first change and clean after the last flush, never between", "[sync]") {
    for (const bool smaller : {false, true}) {
        for (const auto verify : {verify_level::root, verify_level::reread}) {
            aged_pair pair;
            if (smaller) pair.target.resize(20 * c);
            event_log log;
            logging_device target(pair.target, log);
            test_store store(&log);
            sync_options options = small_sync_options();
            options.verify = verify;
            require_synced(run_sync(pair.source, target, options, &store), pair.source, pair.target);
            REQUIRE(log.count("dirty") == 1);
            REQUIRE(log.count("clean") == 1);
            REQUIRE(log.count("flush") == 1);
            REQUIRE(log.count("write") > 0);
            CHECK(log.first("dirty") < log.first("write"));
            CHECK(log.first("dirty") < log.first("write_zeroes"));
            CHECK(log.first("dirty") < log.first("resize"));
            CHECK(log.count("resize") == (smaller ? 1 : 0));
            CHECK(log.last("write") < log.first("flush"));
            CHECK(log.first("flush") < log.first("clean"));
            if (verify == verify_level::reread) {
                CHECK(log.first("flush") < log.first("drop_cache"));
                CHECK(log.last("read") < log.first("clean"));
            }
        }
    }
}

TEST_CASE("a record says which pair, sizes and session it is of", "[sync]") {
    aged_pair pair;
    pair.target.resize(20 * c);
    std::vector<state_record> saved;
    test_store store;
    store.on_save = [&](const state_record& record) { saved.push_back(record); };
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    REQUIRE(saved.size() == 2);
    CHECK(saved[0].status == target_status::dirty);
    CHECK(saved[1].status == target_status::clean);
    for (const state_record& record : saved) {
        CHECK(record.source == pair.source.identity());
        CHECK(record.target == pair.target.identity());
        CHECK(record.source_size == 40 * c);
        CHECK(record.target_size == 40 * c);
        CHECK(record.session.size() == 32);
        CHECK(record.session == saved[0].session);
    }
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    CHECK(saved.back().session != saved[0].session);
}

TEST_CASE("after a failed flush the next sync drops the cache first and trusts no allocation", "[sync]") {
    aged_pair pair;
    const temp_dir directory;  // another process would find the same record
    hooked_device failing(pair.target, [](device_call call, extent) {
        if (call == device_call::flush) throw error(error_kind::flush_failed, "no flush");
    });
    {
        const auto store = open_state_directory(directory.path());
        require_failure(run_sync(pair.source, failing, small_sync_options(), store.get()), error_kind::flush_failed);
    }
    const auto store = open_state_directory(directory.path());
    REQUIRE(store->find_target(pair.target.identity())->status == target_status::poisoned);
    event_log log;
    logging_device target(pair.target, log);
    const sync_report report = run_sync(pair.source, target, small_sync_options(), store.get());
    require_synced(report, pair.source, pair.target);
    CHECK(has_warning(report, "an earlier flush of the target failed"));
    CHECK(log.count("drop_cache") == 1);
    CHECK(log.first("drop_cache") < log.first("read"));
    CHECK(log.count("allocation") == 0);
    CHECK(report.bytes.allocated_target == pair.target.size());
    CHECK(store->find_target(pair.target.identity())->status == target_status::clean);
    // Once clean it is trusted again.
    const sync_report trusting = run_sync(pair.source, target, small_sync_options(), store.get());
    CHECK(trusting.warnings.empty());
    CHECK(trusting.bytes.allocated_target == 30 * c);
}

TEST_CASE("a poisoned target whose cache cannot be passed is refused: nobody can know what it holds", "[sync]") {
    class cached final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        bool drop_cache() override { return false; }
    };
    aged_pair pair;
    test_store store;
    store.save(record_of(pair.source, pair.target, target_status::poisoned));
    cached target(pair.target);
    recording_device recorder(target);
    require_failure(run_sync(pair.source, recorder, small_sync_options(), &store), error_kind::unsuitable);
    CHECK(recorder.writes.empty());
    CHECK(store.find_target(pair.target.identity())->status == target_status::poisoned);
}

TEST_CASE("a cache that cannot even be asked to go leaves a poisoned target as it is", "[sync]") {
    aged_pair pair;
    test_store store;
    store.save(record_of(pair.source, pair.target, target_status::poisoned));
    hooked_device failing(pair.target, [](device_call call, extent) {
        if (call == device_call::drop_cache) throw std::runtime_error("no");
    });
    recording_device target(failing);
    const error why =
        require_failure(run_sync(pair.source, target, small_sync_options(), &store), error_kind::device_io);
    CHECK(why.detail().device == "the target");
    CHECK(target.reads.empty());
    CHECK(target.writes.empty());
    CHECK(store.find_target(pair.target.identity())->status == target_status::poisoned);
}

TEST_CASE("after an unfinished sync the next one says that it goes on from there", "[sync]") {
    aged_pair pair;
    test_store store;
    store.save(record_of(pair.source, pair.target, target_status::dirty));
    const sync_report report = run_sync(pair.source, pair.target, small_sync_options(), &store);
    require_synced(report, pair.source, pair.target);
    CHECK(has_warning(report, "did not finish"));
}

TEST_CASE("a record of another source is replaced, with a warning", "[sync]") {
    aged_pair pair;
    memory_device other(40 * c, "another disk");
    test_store store;
    std::string why;
    SECTION("another identity") {
        store.save(record_of(other, pair.target, target_status::clean));
        why = "is of another source (another disk) and is ignored";
    }
    SECTION("another size") {
        state_record record = record_of(pair.source, pair.target, target_status::clean);
        record.source_size -= 512;
        store.save(record);
        why = "is ignored: the source had " + std::to_string(record.source_size) + " bytes then";
    }
    const sync_report report = run_sync(pair.source, pair.target, small_sync_options(), &store);
    require_synced(report, pair.source, pair.target);
    CHECK(has_warning(report, why));
    const auto record = store.find_target(pair.target.identity());
    CHECK(record->source == pair.source.identity());
    CHECK(record->source_size == pair.source.size());
}

TEST_CASE("a disk on record as the source of the pair is refused as its target, unless reversing is meant", "[sync]") {
    aged_pair pair;
    test_store store;
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    const auto before = bytes_of(pair.source);
    fill(pair.target, {0, c}, 77);  // the failover's side moved on
    recording_device old_source(pair.source);
    const error why =
        require_failure(run_sync(pair.target, old_source, small_sync_options(), &store), error_kind::recorded_source);
    CHECK(exit_code(why.kind()) == 3);
    CHECK(why.detail().device == "the source");
    CHECK(why.detail().hint.find("--reverse") != std::string::npos);
    CHECK(old_source.writes.empty());
    CHECK(bytes_of(pair.source) == before);

    // Who has something long to do first may ask before.
    sync_request asked;
    asked.source = &pair.target;
    asked.target = &old_source;
    asked.options = small_sync_options();
    asked.records = &store;
    require_failure(failure_of([&] { check_sync(asked); }), error_kind::recorded_source, "on record as the source");
    asked.options.reverse = true;
    CHECK_NOTHROW(check_sync(asked));
    CHECK(old_source.writes.empty());

    sync_options options = small_sync_options();
    options.reverse = true;
    const sync_report report = run_sync(pair.target, pair.source, options, &store);
    require_synced(report, pair.target, pair.source);
    CHECK(has_warning(report, "reversed"));
    // From then on the new direction is the one that goes without saying, and the old one has to be said.
    require_ok(run_sync(pair.target, pair.source, small_sync_options(), &store));
    require_failure(run_sync(pair.source, pair.target, small_sync_options(), &store), error_kind::recorded_source);
    // Another pair is nobody's business.
    memory_device third(40 * c, "a third disk");
    require_ok(run_sync(third, pair.source, small_sync_options(), &store));
}

TEST_CASE("a sync of a part leaves a whole target clean, and no other", "[sync]") {
    sync_options part = small_sync_options();
    part.within = extent_set{{0, c}};
    for (const target_status before : {target_status::clean, target_status::dirty, target_status::poisoned}) {
        aged_pair pair;
        test_store store;
        require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
        state_record record = *store.find_target(pair.target.identity());
        record.status = before;
        store.save(record);
        fill(pair.source, {0, c}, 99);
        require_ok(run_sync(pair.source, pair.target, part, &store));
        CHECK(store.find_target(pair.target.identity())->status == before);
    }
    aged_pair pair;
    test_store store;
    require_ok(run_sync(pair.source, pair.target, part, &store));
    CHECK_FALSE(
        store.find_target(pair.target.identity()).has_value());  // nothing was known of the rest, and is not now
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    CHECK(store.find_target(pair.target.identity())->status == target_status::clean);
}

TEST_CASE("a poisoned target stays poisoned until a whole sync has ended well", "[sync]") {
    aged_pair pair;
    test_store store;
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    state_record record = *store.find_target(pair.target.identity());
    record.status = target_status::poisoned;
    store.save(record);
    fill(pair.source, {0, c}, 99);
    hooked_device broken(pair.target, [](device_call call, extent) {
        if (call == device_call::write) throw error(error_kind::device_io, "broken");
    });
    require_failure(run_sync(pair.source, broken, small_sync_options(), &store), error_kind::device_io);
    CHECK(store.find_target(pair.target.identity())->status == target_status::poisoned);
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
    CHECK(store.find_target(pair.target.identity())->status == target_status::clean);
}

TEST_CASE("a target whose sync did not end well is no silent source, and never one for the disk it came from",
          "[sync]") {
    for (const target_status status : {target_status::dirty, target_status::poisoned}) {
        aged_pair pair;
        test_store store;
        require_ok(run_sync(pair.source, pair.target, small_sync_options(), &store));
        state_record record = *store.find_target(pair.target.identity());
        record.status = status;
        store.save(record);
        const auto before = bytes_of(pair.source);
        sync_options options = small_sync_options();
        options.reverse = true;
        require_failure(run_sync(pair.target, pair.source, options, &store), error_kind::recorded_source);
        CHECK(bytes_of(pair.source) == before);
        memory_device third(pair.target.size(), "a third disk");
        event_log log;
        logging_device source(pair.target, log);
        const sync_report report = run_sync(source, third, small_sync_options(), &store);
        require_ok(report);
        CHECK(has_warning(report, "did not end well"));
        CHECK(log.count("drop_cache") == (status == target_status::poisoned ? 1 : 0));
    }
}

TEST_CASE("a corrupt record is a warning, and nothing known of the target is trusted", "[sync]") {
    aged_pair pair;
    const temp_dir directory;
    {
        const auto store = open_state_directory(directory.path());
        require_ok(run_sync(pair.source, pair.target, small_sync_options(), store.get()));
    }
    damage_records(directory);
    const auto store = open_state_directory(directory.path());
    event_log log;
    logging_device target(pair.target, log);
    const sync_report report = run_sync(pair.source, target, small_sync_options(), store.get());
    require_synced(report, pair.source, pair.target);
    CHECK(has_warning(report, "record is ignored"));
    CHECK(log.count("allocation") == 0);
    CHECK(store->find_target(pair.target.identity())->status == target_status::clean);
}

TEST_CASE("a corrupt record of the source refuses the sync unless the direction is said to be meant", "[sync]") {
    // It may be the one that says: this target is the source of the pair.
    aged_pair pair;
    const temp_dir directory;
    const auto store = open_state_directory(directory.path());
    require_ok(run_sync(pair.source, pair.target, small_sync_options(), store.get()));
    damage_records(directory);
    recording_device old_source(pair.source);
    const error why =
        require_failure(run_sync(pair.target, old_source, small_sync_options(), store.get()), error_kind::corrupt_file);
    CHECK(exit_code(why.kind()) == 3);
    CHECK_FALSE(why.detail().hint.empty());
    CHECK(old_source.writes.empty());
    sync_options options = small_sync_options();
    options.reverse = true;
    const sync_report report = run_sync(pair.target, old_source, options, store.get());
    require_synced(report, pair.target, pair.source);
    CHECK(has_warning(report, "record is ignored"));
}

TEST_CASE("a corrupt record of another pair is nobody else's business", "[sync]") {
    aged_pair pair, other;
    const temp_dir directory;
    const auto store = open_state_directory(directory.path());
    require_ok(run_sync(other.source, other.target, small_sync_options(), store.get()));
    damage_records(directory);
    const sync_report report = run_sync(pair.source, pair.target, small_sync_options(), store.get());
    require_synced(report, pair.source, pair.target);
    CHECK(report.warnings.empty());
}

TEST_CASE("a store that cannot be asked refuses the sync before anything is read", "[sync]") {
    aged_pair pair;
    recording_device target(pair.target);
    test_store store;
    store.on_find = [] { throw error(error_kind::permission, "the state directory is closed to us"); };
    require_failure(run_sync(pair.source, target, small_sync_options(), &store), error_kind::permission);
    CHECK(target.reads.empty());
    CHECK(target.writes.empty());
}
