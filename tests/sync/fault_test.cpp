// Every device call of a whole small sync fails once, for every call there is, on either side, once and from then on. Whatever
// fails: the report says what and where, the record says that the target is not done, and the next sync makes it good.
#include <catch2/catch.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "support/device_doubles.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

// Small, and yet every kind of device call comes up: data that differs, holes on either side, zero blocks, a tail.
struct disks {
    memory_device source{10 * small_chunk + 700, "the source"};
    memory_device target;

    explicit disks(bool smaller_target) : target(smaller_target ? 7 * small_chunk + 100 : source.size(), "the target") {
        fill(source, {0, 6 * small_chunk}, 1);
        copy_content(source, target);
        fill(target, {small_block, 2 * small_block}, 2);
        source.write(2 * small_chunk, std::vector<std::byte>(small_block));  // zeroes where the target holds data
        source.write_zeroes(4 * small_chunk, small_chunk);                   // a hole where the target holds data
        fill(source, {8 * small_chunk, small_chunk}, 3);
        fill(source, {10 * small_chunk, 700}, 4);
    }
};

struct sweep {
    const char* name;
    bool smaller_target;  // it is resized
    bool punches;
    bool one_writer;
    verify_level verify;
    digest_algorithm algorithm;
};

const sweep sweeps[] = {
    {"grown, punching", true, true, false, verify_level::root, digest_algorithm::xxh3},
    {"no punching, read again", false, false, false, verify_level::reread, digest_algorithm::sha256},
    {"grown, punching, one writer at a time", true, true, true, verify_level::root, digest_algorithm::xxh3},
};

// One sync with one failure; returns the calls that failed.
std::vector<failing_device::failure> run_one(const sweep& how, bool on_source, std::uint64_t nth, bool sticky,
                                             const std::function<void()>& raise) {
    disks pair(how.smaller_target);
    pair.target.mutable_properties().punches_holes = how.punches;
    pair.target.mutable_properties().one_writer = how.one_writer;
    failing_device broken(on_source ? pair.source : pair.target, nth, sticky, raise);
    test_store store;
    bool begun = false;
    store.on_save = [&](const state_record&) { begun = true; };
    sync_options options = small_sync_options();
    options.verify = how.verify;
    options.algorithm = how.algorithm;

    const sync_report report =
        on_source ? run_sync(broken, pair.target, options, &store) : run_sync(pair.source, broken, options, &store);
    const auto failures = broken.failures();
    if (failures.empty()) {
        require_synced(report, pair.source, pair.target);
        CHECK(store.find_target(pair.target.identity())->status == target_status::clean);
        return failures;
    }
    REQUIRE(report.failure.has_value());
    const error& why = *report.failure;
    INFO(why.what());
    const bool flush_failed =
        std::any_of(failures.begin(), failures.end(), [](auto& each) { return each.call == device_call::flush; });
    CHECK(why.kind() == (flush_failed ? error_kind::flush_failed : error_kind::device_io));
    CHECK(exit_code(why.kind()) == 4);
    CHECK(why.detail().device == (on_source ? "the source" : "the target"));
    CHECK(report.verified == proof_level::none);
    CHECK_FALSE(report.root.has_value());
    if (!raise) {
        const bool named = std::any_of(failures.begin(), failures.end(), [&](auto& each) {
            return why.detail().operation == test::to_string(each.call) &&
                   (each.where.empty() ||
                    (why.detail().offset == each.where.offset && why.detail().length == each.where.length));
        });
        CHECK(named);
    }
    CHECK(broken.flushes_after_failed_flush() == 0);

    const auto record = store.find_target(pair.target.identity());
    CHECK(record.has_value() == begun);
    if (begun) CHECK(record->status == (flush_failed ? target_status::poisoned : target_status::dirty));

    const sync_report again = run_sync(pair.source, pair.target, options, &store);
    require_synced(again, pair.source, pair.target);
    CHECK(store.find_target(pair.target.identity())->status == target_status::clean);
    return failures;
}

}  // namespace

TEST_CASE("whichever device call fails, once or for good, the sync says so and the next one makes it good", "[sync]") {
    std::set<std::pair<bool, std::string>> seen;
    for (const sweep& how : sweeps) {
        for (const bool on_source : {true, false}) {
            for (const bool sticky : {false, true}) {
                for (std::uint64_t nth = 0;; ++nth) {
                    INFO(how.name << ", on the " << (on_source ? "source" : "target") << ", call " << nth
                                  << (sticky ? " and all after it" : ""));
                    const auto failures = run_one(how, on_source, nth, sticky, {});
                    if (failures.empty()) break;
                    seen.insert({on_source, test::to_string(failures.front().call)});
                    REQUIRE(nth < 500);
                }
            }
        }
    }
    // The sweep means little if it misses a kind of call.
    const std::set<std::pair<bool, std::string>> all{
        {true, "read"},    {true, "allocation"},    {true, "current_size"}, {false, "read"},
        {false, "write"},  {false, "write_zeroes"}, {false, "flush"},       {false, "allocation"},
        {false, "resize"}, {false, "current_size"}, {false, "drop_cache"}};
    CHECK(seen == all);
}

TEST_CASE("whatever a device throws instead of an error ends the sync as one", "[sync]") {
    const std::pair<const char*, std::function<void()>> raises[] = {
        {"out of memory", [] { throw std::bad_alloc(); }},
        {"an exception of its own", [] { throw std::runtime_error("of its own"); }},
        {"no exception at all", [] { throw 42; }},
        {"an error without a device", [] { throw error(error_kind::device_io, "bare"); }},
    };
    for (const auto& [name, raise] : raises) {
        for (const sweep& how : sweeps) {
            for (const bool on_source : {true, false}) {
                for (std::uint64_t nth = 0;; ++nth) {
                    INFO(how.name << ", " << name << ", on the " << (on_source ? "source" : "target") << ", call "
                                  << nth);
                    if (run_one(how, on_source, nth, false, raise).empty()) break;
                    REQUIRE(nth < 500);
                }
            }
        }
    }
}

TEST_CASE("memory that runs out anywhere else ends the sync with a report, too", "[sync]") {
    // What a device is asked for between its calls may fail as well, on whichever thread.
    class brittle final : public device_decorator {
    public:
        brittle(device& disk, std::uint64_t nth) : device_decorator(disk), nth_(nth) {}
        const device_identity& identity() const override {
            count();
            return device_decorator::identity();
        }
        const device_properties& properties() const override {
            count();
            return device_decorator::properties();
        }
        bool broke() const { return calls_ > nth_; }

    private:
        void count() const {
            if (calls_++ == nth_) throw std::bad_alloc();
        }
        std::uint64_t nth_;
        mutable std::atomic<std::uint64_t> calls_{0};
    };
    for (const bool on_source : {true, false}) {
        for (std::uint64_t nth = 0;; ++nth) {
            INFO("on the " << (on_source ? "source" : "target") << ", question " << nth);
            REQUIRE(nth < 500);
            disks pair(true);
            brittle broken(on_source ? pair.source : pair.target, nth);
            test_store store;
            const sync_report report = on_source ? run_sync(broken, pair.target, small_sync_options(), &store)
                                                 : run_sync(pair.source, broken, small_sync_options(), &store);
            if (!broken.broke()) {
                require_synced(report, pair.source, pair.target);
                break;
            }
            require_failure(report, error_kind::device_io);
            const auto record = store.find_target(pair.target.identity());
            CHECK((!record || record->status == target_status::dirty));
            require_synced(run_sync(pair.source, pair.target, small_sync_options(), &store), pair.source, pair.target);
        }
    }
}

TEST_CASE("where no more threads are to be had, a sync does with those it has, or says so", "[sync][no-tsan]") {
    if (::geteuid() != 0) {
        WARN("the limit of threads is only ours to set as root");
        return;
    }
    // A child with a user of its own, of each call another, so that the limit counts its threads alone: not those of a child
    // that has just ended, nor of another run (and no thread sanitizer's). 0: synced, 1: an error that says why.
    uid_t user = 20'000 + static_cast<uid_t>(::getpid() % 10'000) * 3;
    const auto sync_with_threads = [&user](rlim_t threads_max) {
        ++user;
        const pid_t child = ::fork();
        if (child == 0) {
            const rlimit limit{threads_max, threads_max};
            if (::setrlimit(RLIMIT_NPROC, &limit) != 0 || ::setresuid(user, user, user) != 0) ::_exit(9);
            try {
                memory_device source(100 * small_chunk), target(source.size());
                fill(source, {0, source.size()}, 1);
                hooked_device slow(source, [](device_call call, extent) {
                    if (call == device_call::read) ::usleep(500);
                });
                sync_options options = small_sync_options();
                options.depth = 16;
                const sync_report report = run_sync(slow, target, options);
                ::_exit(report.ok() && bytes_of(source) == bytes_of(target) ? 0 : 2);
            } catch (const error& why) {
                ::_exit(std::string(why.what()).find("thread") != std::string::npos ? 1 : 3);
            } catch (...) {
                ::_exit(4);
            }
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    };
    CHECK(sync_with_threads(3) == 0);
    CHECK(sync_with_threads(2) == 0);
    CHECK(sync_with_threads(1) == 1);
}

TEST_CASE("a failed flush after a cancel or a source's failure is not lost behind it", "[sync]") {
    memory_device source(64 * small_chunk, "the source"), target(64 * small_chunk, "the target");
    fill(source, {0, source.size()}, 1);
    std::atomic<unsigned> writes{0};
    hooked_device no_flush(target, [&](device_call call, extent) {
        if (call == device_call::write) ++writes;
        if (call == device_call::flush) throw error(error_kind::flush_failed, "no flush", {.device = "the target"});
    });
    test_store store;
    std::stop_source stop;
    SECTION("a read of the source fails") {
        hooked_device broken(source, [&](device_call call, extent) {
            if (call == device_call::read && writes > 0) throw error(error_kind::device_io, "no read");
        });
        require_failure(run_sync(broken, no_flush, small_sync_options(), &store), error_kind::flush_failed);
    }
    SECTION("it is cancelled") {
        hooked_device stopping(source, [&](device_call call, extent) {
            if (call == device_call::read && writes > 0) stop.request_stop();
        });
        sync_request request = request_of(stopping, no_flush, small_sync_options(), &store);
        request.cancel = stop.get_token();
        require_failure(sync(request), error_kind::flush_failed);
    }
    CHECK(writes > 0);
    CHECK(store.find_target(target.identity())->status == target_status::poisoned);
}

TEST_CASE("a store that cannot save before the first write leaves the target untouched", "[sync]") {
    disks pair(true);
    const auto before = bytes_of(pair.target);
    recording_device target(pair.target);
    test_store store;
    store.on_save = [](const state_record&) { throw error(error_kind::no_space, "the state directory is full"); };
    require_failure(run_sync(pair.source, target, small_sync_options(), &store), error_kind::no_space);
    CHECK(target.writes.empty());
    CHECK(target.zeroes.empty());
    CHECK(target.flushes == 0);
    CHECK(bytes_of(pair.target) == before);

    store.on_save = [](const state_record&) { throw std::bad_alloc(); };
    require_failure(run_sync(pair.source, target, small_sync_options(), &store), error_kind::device_io);
    CHECK(bytes_of(pair.target) == before);
}

TEST_CASE("a store that cannot save the end leaves the record dirty and the sync failed", "[sync]") {
    disks pair(false);
    test_store store;
    store.on_save = [](const state_record& record) {
        if (record.status == target_status::clean) throw error(error_kind::no_space, "the state directory is full");
    };
    require_failure(run_sync(pair.source, pair.target, small_sync_options(), &store), error_kind::no_space);
    CHECK(bytes_of(pair.source) == bytes_of(pair.target));
    CHECK(store.find_target(pair.target.identity())->status == target_status::dirty);
}

TEST_CASE("a poisoned state that cannot be recorded is a warning beside the failed flush", "[sync]") {
    disks pair(false);
    test_store store;
    store.on_save = [](const state_record& record) {
        if (record.status == target_status::poisoned) throw error(error_kind::no_space, "the state directory is full");
    };
    hooked_device target(pair.target, [](device_call call, extent) {
        if (call == device_call::flush) throw error(error_kind::flush_failed, "no flush");
    });
    const sync_report report = run_sync(pair.source, target, small_sync_options(), &store);
    require_failure(report, error_kind::flush_failed);
    CHECK(has_warning(report, "could not be recorded"));
    CHECK(store.find_target(pair.target.identity())->status == target_status::dirty);
}
