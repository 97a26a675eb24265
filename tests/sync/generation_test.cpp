// A source whose state has a name: what an interrupted sync of it finished is kept on record, and not read again by the next
// of the same name. Nor believed for any other reason.
#include <catch2/catch.hpp>

#include <atomic>
#include <functional>
#include <set>

#include "support/device_doubles.hpp"
#include "support/peer_pair.hpp"
#include "support/temp_dir.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t c = small_chunk;
constexpr std::uint64_t chunks = 60;

sync_options named(const std::string& generation) {
    sync_options options = small_sync_options();
    options.algorithm = digest_algorithm::sha256;
    options.source_generation = generation;
    options.depth = 1;
    return options;
}

// A target that lacks all of the source, and an attempt that is stopped after so many chunks have been written.
struct interrupted_pair {
    explicit interrupted_pair(std::uint64_t written = 30) {
        fill(source, {0, chunks * c}, 1);
        fill(target, {0, chunks * c}, 2);
        std::stop_source stop;
        std::atomic<std::uint64_t> writes = 0;
        hooked_device stopping(target, [&](device_call call, extent) {
            if (call == device_call::write && ++writes == written) stop.request_stop();
        });
        sync_request request = request_of(source, stopping, named("monday"), &records);
        request.cancel = stop.get_token();
        require_failure(sync(request), error_kind::interrupted);
        const auto kept = records.find_finished(target.identity());
        REQUIRE(kept);
        finished = kept->shape().disk_bytes;
        REQUIRE(finished >= c);
        REQUIRE(finished < chunks * c);
        CHECK(records.find_target(target.identity())->generation == "monday");
    }

    // The next sync, and the lowest offsets that either disk was read at (but for the look at some of what was kept).
    sync_report go_on(const sync_options& options) {
        lowest_source = chunks * c;
        target_reads.clear();
        hooked_device from(source, [&](device_call call, extent where) {
            if (call == device_call::read) lowest_source = std::min(lowest_source, where.offset);
        });
        hooked_device onto(target, [&](device_call call, extent where) {
            if (call == device_call::read) target_reads.insert(where.offset);
        });
        return sync(request_of(from, onto, options, &records));
    }
    void require_all_read(const sync_report& report) {
        require_synced(report, source, target);
        CHECK(report.verified == proof_level::root);
        CHECK(report.trusted_bytes == 0);
        CHECK(lowest_source == 0);
        CHECK_FALSE(records.find_finished(target.identity()));
        CHECK(records.find_target(target.identity())->status == target_status::clean);
    }

    memory_device source{chunks * c, "the source"}, target{chunks * c, "the target"};
    test_store records;
    std::uint64_t finished = 0;
    std::uint64_t lowest_source = 0;
    std::set<std::uint64_t> target_reads;
};

}  // namespace

TEST_CASE("what an interrupted sync of a named state finished is not read again, and the report says so", "[sync]") {
    interrupted_pair pair;
    const sync_report report = pair.go_on(named("monday"));
    require_synced(report, pair.source, pair.target);
    CHECK(report.verified == proof_level::partial);
    CHECK(report.trusted_bytes == pair.finished);
    CHECK(report.generation == "monday");
    CHECK_FALSE(report.root);
    CHECK(pair.lowest_source == pair.finished);
    CHECK(report.bytes.read_source == chunks * c - pair.finished);
    CHECK(report.bytes.read_target == chunks * c - pair.finished);
    // The look at what was kept.
    const auto below = std::distance(pair.target_reads.begin(), pair.target_reads.lower_bound(pair.finished));
    CHECK(below >= 1);
    CHECK(below <= 16);
    CHECK(to_json(report).find("\"partial\":{\"generation\":\"monday\",\"not_read\":[{\"offset\":0,\"length\":" +
                               std::to_string(pair.finished) + "}]}") != std::string::npos);
    CHECK(pair.records.find_target(pair.target.identity())->status == target_status::clean);
    CHECK_FALSE(pair.records.find_finished(pair.target.identity()));
}

TEST_CASE("what is kept grows with each attempt, by checkpoints too", "[sync]") {
    interrupted_pair pair(10);
    std::uint64_t before = pair.finished;
    // Killed: nothing is flushed or kept at the end, so only checkpoints are.
    for (unsigned attempt = 0; attempt < 3; ++attempt) {
        sync_options options = named("monday");
        options.checkpoint_every = std::chrono::milliseconds(0);
        std::atomic<std::uint64_t> writes = 0;
        hooked_device dying(pair.target, [&](device_call call, extent) {
            if (call == device_call::write && ++writes > 12)
                throw error(error_kind::device_io, "the target is gone", {.operation = "write"});
        });
        require_failure(run_sync(pair.source, dying, options, &pair.records), error_kind::device_io);
        const auto kept = pair.records.find_finished(pair.target.identity());
        REQUIRE(kept);
        CHECK(kept->label() == pair.records.find_target(pair.target.identity())->session);
        CHECK(kept->shape().disk_bytes >= before);
        before = kept->shape().disk_bytes;
        const std::uint64_t count = before / c;
        REQUIRE(kept->runs().size() == 1);
        CHECK(kept->runs()[0].first_chunk == 0);
        CHECK(kept->runs()[0].chunks.size() == count);
        CHECK(bytes_of(pair.source, before) == bytes_of(pair.target, before));
    }
    CHECK(before > pair.finished);
    const sync_report report = pair.go_on(named("monday"));
    require_synced(report, pair.source, pair.target);
    CHECK(report.trusted_bytes == before);
}

TEST_CASE("what is kept is not believed for another state, disk, size or session, and a line says why", "[sync]") {
    interrupted_pair pair;
    sync_options options = named("monday");
    std::string why;
    const auto change_record = [&](const std::function<void(state_record&)>& how) {
        state_record record = *pair.records.find_target(pair.target.identity());
        how(record);
        pair.records.save(record);
    };
    SECTION("no name") {
        options.source_generation.clear();
        pair.require_all_read(pair.go_on(options));
        return;
    }
    SECTION("another name") {
        options.source_generation = "tuesday";
        why = "it was of generation monday, not tuesday";
    }
    SECTION("a record without one") {
        change_record([](state_record& record) { record.generation.clear(); });
        why = "it named no generation";
    }
    SECTION("another session") {
        change_record([](state_record& record) { record.session = std::string(32, '0'); });
        why = "what was kept is of another session";
    }
    SECTION("another target size") {
        change_record([](state_record& record) { record.target_size += 512; });
        why = "a disk's size has changed";
    }
    SECTION("other units") {
        options.chunk_bytes *= 2;
        why = "it was kept in other units";
    }
    SECTION("all shall be read again") {
        options.verify = verify_level::reread;
        why = "read all that they are told to";
        const sync_report report = pair.go_on(options);
        require_synced(report, pair.source, pair.target);
        CHECK(report.verified == proof_level::reread);
        CHECK(has_warning(report, why));
        return;
    }
    SECTION("nothing kept") {
        pair.records.remove_finished(pair.target.identity());
        why = "nothing was kept yet";
    }
    SECTION("somebody wrote to the target") {
        fill(pair.target, {0, chunks * c}, 3);
        why = "the target does not hold what was written to it";
    }
    SECTION("it is now a disk of zeroes") {
        pair.target.write_zeroes(0, chunks * c);
        why = "the target does not hold what was written to it";
    }
    const sync_report report = pair.go_on(options);
    pair.require_all_read(report);
    INFO(why);
    CHECK(has_warning(report, "is read again: "));
    CHECK(has_warning(report, why));
}

TEST_CASE("what is kept is not believed after a sync that found the target to be otherwise", "[sync]") {
    interrupted_pair pair;
    sync_options options = named("monday");
    error_kind kind{};
    std::atomic<bool> flushed = false;
    const auto meddle = [&](device_call call, extent where) {
        if (call == device_call::flush) flushed = true;
        if (kind == error_kind::verification && call == device_call::read && flushed)
            fill(pair.target, {where.offset, 1}, 99);
        if (kind == error_kind::size_changed && call == device_call::current_size && flushed)
            throw error(kind, "it has another size", {.operation = "open"});
    };
    SECTION("it lost what was written") {
        kind = error_kind::verification;
        options.verify = verify_level::reread;
    }
    SECTION("it changed its size") {
        kind = error_kind::size_changed;
    }
    hooked_device other(pair.target, meddle);
    require_failure(run_sync(pair.source, other, options, &pair.records), kind);
    CHECK_FALSE(pair.records.find_finished(pair.target.identity()));
    CHECK(pair.records.find_target(pair.target.identity())->status == target_status::dirty);
    pair.require_all_read(pair.go_on(named("monday")));
}

TEST_CASE("what is kept is forgotten once a sync without a name has begun to write", "[sync]") {
    interrupted_pair pair;
    std::stop_source stop;
    hooked_device stopping(pair.target, [&](device_call call, extent) {
        if (call == device_call::write) stop.request_stop();
    });
    sync_options plain = named("");
    sync_request request = request_of(pair.source, stopping, plain, &pair.records);
    request.cancel = stop.get_token();
    require_failure(sync(request), error_kind::interrupted);
    CHECK_FALSE(pair.records.find_finished(pair.target.identity()));
    pair.require_all_read(pair.go_on(named("monday")));
}

TEST_CASE("between two peers either side's user may name the state, and both may not name two", "[sync][wire]") {
    interrupted_pair disks;
    peer_pair pair;
    pair.source.disk = &disks.source;
    pair.target.disk = &disks.target;
    pair.target.records = &disks.records;
    pair.source.options = pair.target.options = named("");
    // Over a connection the far source has another identity: that of its machine and name.
    state_record record = *disks.records.find_target(disks.target.identity());
    SECTION("two names") {
        pair.source.options.source_generation = "monday";
        pair.target.options.source_generation = "tuesday";
        const auto [at_source, at_target] = pair.run();
        require_failure(at_target, error_kind::peer);
        CHECK_THAT(at_target.failure->what(), Catch::Contains("is at generation monday, not tuesday"));
        return;
    }
    const bool by_source = GENERATE(true, false);
    (by_source ? pair.source : pair.target).options.source_generation = "monday";
    // One interrupted session between the two, to have a record of this pair.
    std::stop_source stop;
    std::atomic<unsigned> writes = 0;
    hooked_device stopping(disks.target, [&](device_call call, extent) {
        if (call == device_call::write && ++writes == 20) stop.request_stop();
    });
    pair.target.disk = &stopping;
    pair.target.cancel = stop.get_token();
    const auto [first_source, first_target] = pair.run();
    require_failure(first_target, error_kind::interrupted);
    const auto kept = disks.records.find_finished(disks.target.identity());
    REQUIRE(kept);

    peer_pair next;
    next.source.disk = &disks.source;
    next.target.disk = &disks.target;
    next.target.records = &disks.records;
    next.source.options = next.target.options = named("");
    (by_source ? next.target : next.source).options.source_generation = "monday";
    const auto [at_source, at_target] = next.run();
    require_synced(at_target, disks.source, disks.target);
    require_ok(at_source);
    for (const sync_report* report : {&at_source, &at_target}) {
        CHECK(report->verified == proof_level::partial);
        CHECK(report->trusted_bytes == kept->shape().disk_bytes);
        CHECK(report->generation == "monday");
        CHECK(report->bytes.read_source == chunks * c - kept->shape().disk_bytes);
    }
}

TEST_CASE("a name for a state needs digests that can be kept, and a length", "[sync]") {
    memory_device source(c, "source"), target(c, "target");
    sync_options options = named("x");
    options.algorithm = digest_algorithm::xxh3;
    CHECK_THROWS_AS(run_sync(source, target, options), error);
    options = named(std::string(256, 'x'));
    CHECK_THROWS_AS(run_sync(source, target, options), error);
    require_ok(run_sync(source, target, named(std::string(255, 'x'))));
}

TEST_CASE("a store in a directory keeps what is finished beside the record, and lets both go", "[sync]") {
    const temp_dir folder;
    const auto store = open_state_directory(folder.file("state"));
    device_identity disk;
    disk.fields = {{"kind", "file"}, {"inode", "7"}};
    CHECK_FALSE(store->find_finished(disk));
    digest_map finished({3 * c, small_chunk, small_block}, digest_algorithm::sha256);
    finished.set(1, digest{{std::byte{5}}});
    finished.set_label("0123");
    store->save_finished(disk, finished);
    CHECK(store->find_finished(disk) == finished);
    state_record record;
    record.target = disk;
    record.generation = "of monday: 100%";
    record.session = std::string(32, '1');
    store->save(record);
    CHECK(store->find_target(disk)->generation == "of monday: 100%");
    store->remove(disk);
    CHECK_FALSE(store->find_target(disk));
    CHECK_FALSE(store->find_finished(disk));
    CHECK(std::filesystem::is_empty(folder.file("state")));
}
