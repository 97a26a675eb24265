// What an agent brings of its own: a device, a listener, executors, an allocation, an extent set.
#include <catch2/catch.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <thread>

#include "reprotect/async.hpp"
#include "support/device_doubles.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t c = small_chunk;

// The least that a device must be: it knows no allocation, cannot punch, cannot grow.
class array_device final : public device {
public:
    array_device(std::string name, std::uint64_t size) : name_(std::move(name)), bytes_(size) {
        identity_.fields = {{"kind", "array"}, {"name", name_}};
    }
    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return bytes_.size(); }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        const std::lock_guard lock(mutex_);
        std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    }
    void write(std::uint64_t offset, std::span<const std::byte> from) override {
        const std::lock_guard lock(mutex_);
        std::copy(from.begin(), from.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override {
        const std::vector<std::byte> zeroes(length);
        write(offset, zeroes);
    }
    void flush() override { ++flushes; }
    unsigned flushes = 0;

private:
    std::string name_;
    device_identity identity_;
    device_properties properties_;
    std::mutex mutex_;
    std::vector<std::byte> bytes_;
};

struct pair_of_arrays {
    array_device source, target;
    explicit pair_of_arrays(std::uint64_t seed = 1, const std::string& prefix = "")
        : source(prefix + "source", 50 * c + 17), target(prefix + "target", 50 * c + 17) {
        fill(source, {0, 30 * c}, seed);
        fill(target, {0, 25 * c}, seed);
        fill(target, {4 * c, 3 * c}, seed + 100);
        fill(source, {50 * c, 17}, seed);
    }
};

struct progress_keeper final : sync_listener {
    void on_progress(const sync_progress& now) override {
        CHECK_FALSE(inside.exchange(true));
        seen.push_back(now);
        times.push_back(std::chrono::steady_clock::now());
        inside = false;
    }
    void on_warning(const std::string& text) override { warnings.push_back(text); }
    std::atomic<bool> inside{false};
    std::vector<sync_progress> seen;
    std::vector<std::chrono::steady_clock::time_point> times;
    std::vector<std::string> warnings;
};

}  // namespace

TEST_CASE("a device of an agent's own is synced, from and to", "[sync]") {
    pair_of_arrays pair;
    const sync_report report = run_sync(pair.source, pair.target);
    require_synced(report, pair.source, pair.target);
    CHECK(pair.target.flushes == 1);
    CHECK(report.bytes.allocated_source == pair.source.size());
    CHECK(report.bytes.changed + report.bytes.zeroed >= 8 * c);
    require_ok(run_sync(pair.source, pair.target));
    CHECK(pair.target.flushes == 2);
}

TEST_CASE("an asynchronous sync keeps the contexts that it runs on from running out of work", "[sync]") {
    pair_of_arrays pair;
    boost::asio::thread_pool workers(2);
    boost::asio::io_context session, handlers;
    sync_request request;
    request.source = &pair.source;
    request.target = &pair.target;
    request.options = small_sync_options();
    std::optional<sync_report> result;
    async_sync(session.get_executor(), workers.get_executor(), request,
               boost::asio::bind_executor(handlers, [&result](sync_report report) { result = std::move(report); }));
    session.run();   // ends when the session has
    handlers.run();  // ends when the handler has run
    REQUIRE(result.has_value());
    require_synced(*result, pair.source, pair.target);
    workers.join();
}

TEST_CASE("an allocation that is handed in spares the reading of what it leaves out", "[sync]") {
    pair_of_arrays pair;
    allocated_device source(pair.source, {{0, 30 * c}, {50 * c, 17}});
    recording_device recorder(source);
    const sync_report report = run_sync(recorder, pair.target);
    require_synced(report, pair.source, pair.target);
    CHECK(recorder.reads.total() == 30 * c + 17);
    CHECK(report.bytes.allocated_source == 30 * c + 17);
}

TEST_CASE("an extent set keeps a sync within it", "[sync]") {
    pair_of_arrays pair;
    const auto before = bytes_of(pair.target);
    sync_options options = small_sync_options();
    options.within = extent_set{{4 * c, c}};
    recording_device source(pair.source), target(pair.target);
    require_ok(run_sync(source, target, options));
    CHECK(source.reads == *options.within);
    CHECK(target.writes == *options.within);
    auto expected = before;
    pair.source.read(4 * c, std::span(expected).subspan(4 * c, c));
    CHECK(bytes_of(pair.target) == expected);
    SECTION("off the blocks it is refused") {
        for (const extent wrong : {extent{1, small_block}, extent{0, 100}, extent{50 * c, 18}}) {
            options.within = extent_set{wrong};
            try {
                run_sync(source, target, options);
                FAIL("accepted " << wrong.offset);
            } catch (const error& why) {
                CHECK(why.kind() == error_kind::usage);
                CHECK(why.detail().offset == wrong.offset);
            }
        }
        options.within = extent_set{{50 * c, 17}};  // to the disk's end
        require_ok(run_sync(source, target, options));
    }
}

TEST_CASE("progress comes in order, only grows within a phase, and not more often than ten times a second", "[sync]") {
    memory_device source_disk(120 * c), target(120 * c);
    fill(source_disk, {0, 100 * c}, 1);
    hooked_device source(source_disk, [](device_call call, extent) {
        if (call == device_call::read) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    });
    progress_keeper progress;
    sync_options options = small_sync_options();
    options.depth = 2;
    options.verify = verify_level::reread;
    sync_request request = request_of(source, target, options);
    request.listener = &progress;
    const sync_report report = sync(request);
    require_ok(report);
    const auto& seen = progress.seen;
    REQUIRE(seen.size() > 6);
    std::size_t changes_of_phase = 1;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        CHECK(seen[i].total_bytes == 120 * c);
        CHECK(seen[i].done_bytes <= seen[i].total_bytes);
        if (i == 0) continue;
        const sync_progress &before = seen[i - 1], &now = seen[i];
        CHECK(now.phase >= before.phase);
        CHECK(now.seconds >= before.seconds);
        if (now.phase != before.phase) {
            ++changes_of_phase;
            continue;
        }
        CHECK(now.done_bytes >= before.done_bytes);
        CHECK(now.data_done_bytes >= before.data_done_bytes);
        CHECK(now.data_known_bytes >= before.data_known_bytes);
        CHECK(now.changed_bytes >= before.changed_bytes);
        CHECK(now.written_bytes >= before.written_bytes);
        CHECK(progress.times[i] - progress.times[i - 1] >= std::chrono::milliseconds(99));
    }
    CHECK(changes_of_phase == 4);  // scan, flush, verify, done
    CHECK(seen.front().phase == sync_phase::scan);
    CHECK(seen.back().phase == sync_phase::done);
    CHECK(seen.back().done_bytes == 120 * c);
    CHECK(seen.back().written_bytes == report.bytes.written);
    CHECK(seen.back().data_known_final);
}

TEST_CASE("warnings reach the listener and the report", "[sync]") {
    memory_device source(4 * c, "the source"), target(4 * c, "the target");
    test_store store;
    store.on_save = {};
    require_ok(run_sync(source, target, small_sync_options(), &store));
    state_record record = *store.find_target(target.identity());
    record.status = target_status::dirty;
    store.save(record);
    progress_keeper progress;
    sync_request request = request_of(source, target, small_sync_options(), &store);
    request.listener = &progress;
    const sync_report report = sync(request);
    REQUIRE(report.warnings.size() == 1);
    CHECK(progress.warnings == report.warnings);
}

TEST_CASE("a listener that throws ends the sync as a cancel does and is not called again", "[sync]") {
    struct thrower final : sync_listener {
        void on_progress(const sync_progress& now) override {
            ++calls;
            if (now.phase == when && now.done_bytes >= from) throw std::runtime_error("no more of this");
        }
        void on_warning(const std::string&) override {
            if (on_warnings) throw 42;
        }
        sync_phase when = sync_phase::scan;
        std::uint64_t from = 0;
        bool on_warnings = false;
        unsigned calls = 0;
    } listener;
    memory_device source_disk(200 * c, "the source"), target_disk(200 * c, "the target");
    fill(source_disk, {0, 200 * c}, 1);
    hooked_device source(source_disk, [](device_call call, extent) {
        if (call == device_call::read) std::this_thread::sleep_for(std::chrono::milliseconds(3));
    });
    recording_device target(target_disk);
    test_store store;
    sync_request request = request_of(source, target, small_sync_options(), &store);
    request.listener = &listener;
    SECTION("at once") {
        const error why = require_failure(sync(request), error_kind::interrupted);
        CHECK(std::string(why.what()).find("no more of this") != std::string::npos);
        CHECK(listener.calls == 1);
        CHECK(target.writes.empty());
        CHECK(target.flushes == 0);
    }
    SECTION("in the middle") {
        listener.from = 1;
        const sync_report report = sync(request);
        require_failure(report, error_kind::interrupted);
        CHECK(report.bytes.written > 0);
        CHECK(report.bytes.written < 200 * c);
        CHECK(target.flushes == 1);
        CHECK(store.find_target(target.identity())->status == target_status::dirty);
    }
    SECTION("at a warning, with no exception at all") {
        state_record record;
        record.source = source.identity();
        record.target = target.identity();
        record.source_size = record.target_size = 200 * c;
        record.session = std::string(32, '0');
        record.updated = "2026-11-22T10:00:00Z";
        store.save(record);
        listener.on_warnings = true;
        require_failure(sync(request), error_kind::interrupted);
        CHECK(target.writes.empty());
    }
    SECTION("when all is done it is too late for more than a warning") {
        listener.when = sync_phase::done;
        const sync_report report = sync(request);
        require_synced(report, source_disk, target_disk);
        CHECK(has_warning(report, "no more of this"));
    }
}

TEST_CASE("an asynchronous sync gives its report to a future", "[sync]") {
    pair_of_arrays pair;
    boost::asio::thread_pool session(1), workers(4);
    std::future<sync_report> future = async_sync(session.get_executor(), workers.get_executor(),
                                                 request_of(pair.source, pair.target), boost::asio::use_future);
    require_synced(future.get(), pair.source, pair.target);
    future = async_diff(session.get_executor(), workers.get_executor(), request_of(pair.source, pair.target),
                        boost::asio::use_future);
    const sync_report report = future.get();
    require_ok(report);
    CHECK_FALSE(report.different());
}

namespace {

boost::asio::awaitable<void> sync_in_coroutine(worker_executor session, worker_executor workers, sync_request request,
                                               sync_report* report, std::thread::id* resumed_on) {
    *report = co_await async_sync(session, workers, request, boost::asio::use_awaitable);
    *resumed_on = std::this_thread::get_id();
}

}  // namespace

TEST_CASE("a coroutine awaits a sync and goes on where it was", "[sync]") {
    pair_of_arrays pair;
    boost::asio::io_context own;
    boost::asio::thread_pool session(1), workers(4);
    sync_report report;
    std::thread::id resumed_on;
    boost::asio::co_spawn(own,
                          sync_in_coroutine(session.get_executor(), workers.get_executor(),
                                            request_of(pair.source, pair.target), &report, &resumed_on),
                          boost::asio::detached);
    own.run();
    require_synced(report, pair.source, pair.target);
    CHECK(resumed_on == std::this_thread::get_id());
}

TEST_CASE("one thread in all is enough for an asynchronous sync", "[sync]") {
    for (const auto verify : {verify_level::root, verify_level::reread}) {
        pair_of_arrays pair;
        sync_options options = small_sync_options();
        options.verify = verify;
        boost::asio::io_context only;
        std::optional<sync_report> report;
        async_sync(only.get_executor(), only.get_executor(), request_of(pair.source, pair.target, options),
                   [&](sync_report result) { report = std::move(result); });
        only.run();
        REQUIRE(report.has_value());
        require_synced(*report, pair.source, pair.target);
    }
}

TEST_CASE("two sessions at once share executors", "[sync]") {
    pair_of_arrays one(1, "first "), other(2, "second ");
    boost::asio::thread_pool pool(2);
    auto first = async_sync(pool.get_executor(), pool.get_executor(), request_of(one.source, one.target),
                            boost::asio::use_future);
    auto second = async_sync(pool.get_executor(), pool.get_executor(), request_of(other.source, other.target),
                             boost::asio::use_future);
    require_synced(first.get(), one.source, one.target);
    require_synced(second.get(), other.source, other.target);
}

TEST_CASE("a failure and a cancel come through an asynchronous sync as reports", "[sync]") {
    pair_of_arrays pair;
    boost::asio::thread_pool pool(2);
    failing_device broken(pair.source, 3, true);
    require_failure(
        async_sync(pool.get_executor(), pool.get_executor(), request_of(broken, pair.target), boost::asio::use_future)
            .get(),
        error_kind::device_io);
    std::stop_source stop;
    stop.request_stop();
    sync_request request = request_of(pair.source, pair.target);
    request.cancel = stop.get_token();
    require_failure(async_sync(pool.get_executor(), pool.get_executor(), request, boost::asio::use_future).get(),
                    error_kind::interrupted);
}

TEST_CASE("options that make no sense are refused at once", "[sync]") {
    pair_of_arrays pair;
    const std::pair<const char*, std::function<void(sync_options&)>> table[] = {
        {"no depth", [](sync_options& o) { o.depth = 0; }},
        {"a depth of 257", [](sync_options& o) { o.depth = 257; }},
        {"a block of 1000", [](sync_options& o) { o.block_bytes = 1000; }},
        {"a chunk that is no whole number of blocks", [](sync_options& o) { o.chunk_bytes = 10'000; }},
        {"less memory than the least", [](sync_options& o) { o.memory_bytes = memory_minimum(o) - 1; }},
        {"reread within a set",
         [](sync_options& o) {
             o.verify = verify_level::reread;
             o.within = extent_set{{0, small_block}};
         }},
    };
    boost::asio::io_context loop;
    for (const auto& [name, spoil] : table) {
        INFO(name);
        sync_options options = small_sync_options();
        spoil(options);
        const sync_request request = request_of(pair.source, pair.target, options);
        for (const bool async : {false, true}) {
            try {
                if (async)
                    async_sync(loop.get_executor(), loop.get_executor(), request, [](sync_report) {});
                else
                    sync(request);
                FAIL("accepted");
            } catch (const error& why) {
                CHECK(why.kind() == error_kind::usage);
            }
        }
    }
    CHECK(pair.target.flushes == 0);
}
