// Sessions of an agent in one process: they share the contexts, workers, records and limit that it hands to them, and
// nothing else; and they make no thread.
#include <catch2/catch.hpp>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <stop_token>

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/device_doubles.hpp"
#include "support/peer_pair.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using boost::asio::local::stream_protocol;

constexpr std::uint64_t c = small_chunk;
constexpr std::uint64_t disk_bytes = 60 * c + 17;

// Two sides of a session, and the stream between them.
struct session_pair {
    peer_request source, target;
    std::optional<sync_report> sent, received;

    session_pair(boost::asio::io_context& network, device& from, device& to, state_store* records = nullptr) {
        stream_protocol::socket one(network), other(network);
        boost::asio::local::connect_pair(one, other);
        source.stream = make_stream(std::move(one));
        target.stream = make_stream(std::move(other));
        source.role = peer_role::source;
        target.role = peer_role::target;
        source.disk = &from;
        target.disk = &to;
        source.options = target.options = small_sync_options();
        source.records = target.records = records;
    }

    void start(const worker_executor& network, const worker_executor& workers) {
        async_sync_with_peer(network, workers, std::move(source),
                             [this](sync_report report) { sent = std::move(report); });
        async_sync_with_peer(network, workers, std::move(target),
                             [this](sync_report report) { received = std::move(report); });
    }

    void require_ended() const {
        REQUIRE(sent.has_value());
        REQUIRE(received.has_value());
    }

    void require_equal(device& from, device& to) const {
        require_ended();
        require_ok(*sent);
        require_synced(*received, from, to);
        CHECK(sent->bytes == received->bytes);
        CHECK(sent->to_target.total() == received->to_target.total());
        CHECK(sent->to_source.total() == received->to_source.total());
        CHECK(received->verified == proof_level::root);
    }

    std::uint64_t wire_bytes() const { return sent->to_target.total() + sent->to_source.total(); }
};

struct disk_pair {
    memory_device source, target;
    explicit disk_pair(std::uint64_t seed, std::uint64_t changed_chunks = 5)
        : source(disk_bytes, "source " + std::to_string(seed)), target(disk_bytes, "target " + std::to_string(seed)) {
        fill(source, {0, 40 * c}, seed);
        fill(target, {0, 40 * c}, seed);
        fill(target, {3 * c, changed_chunks * c}, seed + 100);
    }
};

// Several sessions may run; the pool is joined before what it works for goes.
struct shared_executors {
    boost::asio::io_context network;
    boost::asio::thread_pool workers;
    explicit shared_executors(unsigned threads) : workers(threads) {}
    void run() {
        network.run_for(std::chrono::seconds(60));
        workers.stop();
        workers.join();
    }
};

// An agent's own: counts, and holds nobody back.
struct counting_limiter final : rate_limiter {
    std::size_t piece_bytes() const override { return 4096; }
    clock::time_point reserve(std::size_t bytes, clock::time_point now) override {
        most = std::max<std::size_t>(most, bytes);
        taken += bytes;
        return now;
    }
    std::uint64_t taken = 0;
    std::size_t most = 0;
};

// Where two meet: the first to come waits for the other, but not for ever.
class meeting {
public:
    void come() {
        std::unique_lock lock(mutex_);
        ++here_;
        changed_.notify_all();
        met_ = changed_.wait_for(lock, std::chrono::seconds(20), [this] { return here_ == 2; }) && met_;
    }
    bool met() const {
        const std::lock_guard lock(mutex_);
        return here_ == 2 && met_;
    }

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    unsigned here_ = 0;
    bool met_ = true;
};

std::size_t threads_now() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

}  // namespace

TEST_CASE("two sessions of one process share a context, workers, records and a limit, and both are right",
          "[sync][wire]") {
    disk_pair one(1), other(2, 9);
    meeting both_read;
    std::atomic<bool> has_read[2] = {false, false};
    const auto meets = [&](unsigned who) {
        return [&, who](device_call call, extent) {
            if (call == device_call::read && !has_read[who].exchange(true)) both_read.come();
        };
    };
    hooked_device one_source(one.source, meets(0)), other_source(other.source, meets(1));
    test_store records;
    const auto limit = std::make_shared<counting_limiter>();

    // All four sides are here, as in an agent that is the source of one pair and the target of another.
    shared_executors shared(3);
    session_pair push(shared.network, one_source, one.target, &records);
    session_pair pull(shared.network, other_source, other.target, &records);
    for (peer_request* side : {&push.source, &push.target, &pull.source, &pull.target}) side->limit = limit;
    push.start(shared.network.get_executor(), shared.workers.get_executor());
    pull.start(shared.network.get_executor(), shared.workers.get_executor());
    shared.run();

    push.require_equal(one.source, one.target);
    pull.require_equal(other.source, other.target);
    CHECK(both_read.met());
    CHECK(push.received->bytes.changed == 5 * c);
    CHECK(pull.received->bytes.changed == 9 * c);
    for (device* target : {&one.target, &other.target}) {
        const auto record = records.find_target(target->identity());
        REQUIRE(record.has_value());
        CHECK(record->status == target_status::clean);
    }
    CHECK(limit->taken >= push.wire_bytes() + pull.wire_bytes());
    CHECK(limit->taken <= push.wire_bytes() + pull.wire_bytes() + 1024);  // signs of life after the last counted byte
    CHECK(limit->most <= limit->piece_bytes());
}

TEST_CASE("two sessions that share a limit share its rate", "[sync][wire]") {
    disk_pair one(1, 32), other(2, 32);
    shared_executors shared(3);
    session_pair first(shared.network, one.source, one.target), second(shared.network, other.source, other.target);
    first.source.limit = second.source.limit = make_rate_limiter(4'000'000);
    const auto begin = std::chrono::steady_clock::now();
    first.start(shared.network.get_executor(), shared.workers.get_executor());
    second.start(shared.network.get_executor(), shared.workers.get_executor());
    shared.run();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    first.require_equal(one.source, one.target);
    second.require_equal(other.source, other.target);
    const auto sent = first.sent->to_target.total() + second.sent->to_target.total();
    REQUIRE(sent > 2'000'000);
    CHECK(seconds > 0.9 * static_cast<double>(sent) / 4'000'000);
}

TEST_CASE("a session that fails or is cancelled leaves another of the same process alone", "[sync][wire]") {
    disk_pair one(1), other(2);
    std::stop_source stop;
    bool broken = false;
    SECTION("a source that cannot be read") {
        broken = true;
    }
    SECTION("a cancel in the middle") {}
    std::atomic<unsigned> reads = 0;
    hooked_device source(one.source, [&](device_call call, extent) {
        if (call == device_call::read && ++reads == 5 && !broken) stop.request_stop();
    });
    failing_device failing(source, 5, true);
    shared_executors shared(3);
    session_pair bad(shared.network, broken ? static_cast<device&>(failing) : source, one.target);
    session_pair good(shared.network, other.source, other.target);
    bad.source.cancel = stop.get_token();
    bad.start(shared.network.get_executor(), shared.workers.get_executor());
    good.start(shared.network.get_executor(), shared.workers.get_executor());
    shared.run();
    bad.require_ended();
    require_failure(*bad.sent, broken ? error_kind::device_io : error_kind::interrupted);
    CHECK_FALSE(bad.received->ok());
    good.require_equal(other.source, other.target);
}

TEST_CASE("one thread in all is enough for both sides of two sessions", "[sync][wire]") {
    for (const auto verify : {verify_level::root, verify_level::reread}) {
        disk_pair one(1), other(2);
        boost::asio::io_context only;
        session_pair first(only, one.source, one.target), second(only, other.source, other.target);
        for (peer_request* side : {&first.source, &first.target, &second.source, &second.target})
            side->options.verify = verify;
        first.start(only.get_executor(), only.get_executor());
        second.start(only.get_executor(), only.get_executor());
        only.run_for(std::chrono::seconds(60));
        for (const session_pair* pair : {&first, &second}) {
            pair->require_ended();
            require_ok(*pair->sent);
            require_ok(*pair->received);
        }
        require_synced(*first.received, one.source, one.target);
        require_synced(*second.received, other.source, other.target);
    }
}

TEST_CASE("a session between files makes no thread", "[sync][wire]") {
    temp_dir folder;
    std::vector<std::byte> content = random_bytes(1, 60 * c);
    write_whole_file(folder.file("source"), content);
    std::fill_n(content.begin() + 10 * c, 7 * c, std::byte{1});
    write_whole_file(folder.file("target"), content);
    const auto source = open_device(folder.file("source"));
    const auto target = open_device(folder.file("target"), {.mode = access::read_write});
    const auto records = open_state_directory(folder.file("records"));

    std::atomic<std::size_t> most = 0, looks = 0;
    const auto look = [&] {
        const std::size_t now = threads_now();
        std::size_t before = most;
        while (before < now && !most.compare_exchange_weak(before, now)) {
        }
        ++looks;
    };
    hooked_device source_watch(*source, [&](device_call, extent) { look(); });
    hooked_device target_watch(*target, [&](device_call, extent) { look(); });
    struct watcher final : sync_listener {
        explicit watcher(std::function<void()> what) : look(std::move(what)) {}
        void on_progress(const sync_progress&) override { look(); }
        std::function<void()> look;
    } listener(look);

    shared_executors shared(2);
    const std::size_t given = threads_now();
    session_pair pair(shared.network, source_watch, target_watch, records.get());
    pair.source.listener = pair.target.listener = &listener;
    pair.source.limit = make_rate_limiter(100'000'000);
    pair.start(shared.network.get_executor(), shared.workers.get_executor());
    look();
    shared.network.run_for(std::chrono::seconds(60));
    look();
    pair.require_equal(*source, *target);
    CHECK(pair.received->bytes.changed == 7 * c);
    CHECK(looks > 60);
    CHECK(most == given);
    shared.run();
}
