// Stopping what waits for another machine: a server that says nothing yet, one that stops in the middle of a digest
// map, and a far side that takes its time over its last words. Without a word about it each would be waited for as long
// as the patience with a silent peer lasts; a stop ends the wait at once, as an interruption, and says no more of the
// target than is true.
#include "support/peer_pair.hpp"
#include "support/server_rig.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "reprotect/rate_limiter.hpp"
#include "support/asking.hpp"
#include "support/device_doubles.hpp"
#include "support/gate.hpp"
#include "support/odd_peers.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

constexpr std::uint64_t c = small_chunk;

// Whether what is done here ends before any patience of a client's would; the shortest, for a handshake, is 10 seconds.
class stopwatch {
public:
    bool soon() const { return std::chrono::steady_clock::now() - begun_ < 7s; }

private:
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

connect_options keyed() {
    connect_options how;
    how.credentials = named_key{"laptop", generate_key()};
    return how;
}

connect_options plain() {
    connect_options how;
    how.insecure_plaintext = true;
    return how;
}

constexpr wish all_wishes[] = {wish::push, wish::pull, wish::diff, wish::checksum};

// An interruption in time, and a disk here that nobody wrote to.
void check_interrupted(wish what, const std::string& remote, const connect_options& how, std::stop_token cancel) {
    memory_device inner(20 * c, "here");
    fill(inner, {0, 20 * c}, 1);
    recording_device disk(inner);
    const stopwatch watch;
    const auto failure = ask(what, remote, how, disk, small_sync_options(), cancel);
    CHECK(watch.soon());
    REQUIRE(failure);
    INFO(failure->what());
    CHECK(std::string(reprotect::to_string(failure->kind())) == "interrupted");
    CHECK(exit_code(failure->kind()) == 130);
    CHECK(disk.writes.empty());
    CHECK(disk.flushes == 0);
}

// A port at which connections are neither taken nor refused: its queue is full.
class full_queue {
public:
    full_queue() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address_;
        auto* const where = reinterpret_cast<sockaddr*>(&address_);
        REQUIRE(::bind(listener_, where, length) == 0);
        REQUIRE(::getsockname(listener_, where, &length) == 0);
        REQUIRE(::listen(listener_, 0) == 0);
        for (int& each : waiting_) {
            each = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            ::connect(each, where, length);
        }
    }
    full_queue(const full_queue&) = delete;
    full_queue& operator=(const full_queue&) = delete;
    ~full_queue() {
        for (const int each : waiting_) ::close(each);
        ::close(listener_);
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(ntohs(address_.sin_port)); }

private:
    int listener_;
    sockaddr_in address_{};
    int waiting_[4] = {-1, -1, -1, -1};
};

// Lets so many bytes pass, tells of it, and is slow from then on.
class slowing_limiter final : public rate_limiter {
public:
    slowing_limiter(std::size_t bytes, std::function<void()> when_slow)
        : bytes_(bytes), when_slow_(std::move(when_slow)) {}
    std::size_t piece_bytes() const override { return 64; }
    clock::time_point reserve(std::size_t bytes, clock::time_point now) override {
        const std::lock_guard lock(mutex_);
        bytes_ -= std::min(bytes, bytes_);
        if (bytes_ != 0) return now;
        if (when_slow_) std::exchange(when_slow_, {})();
        return now + 200ms;
    }

private:
    std::mutex mutex_;
    std::size_t bytes_;
    std::function<void()> when_slow_;
};

// Records that stop a session when they become clean, and hold it there.
struct clean_stop {
    gate saving;
    std::stop_source stop;
    test_store records;

    clean_stop() {
        records.on_save = [this](const state_record& record) {
            if (record.status != target_status::clean) return;
            stop.request_stop();
            saving.pass();
        };
    }
};

}  // namespace

TEST_CASE("a cancel while the server is silent in the handshake ends the call at once, whatever was asked",
          "[sync][wire]") {
    struct row {
        const char* what;
        connect_options how;
        std::string answer;  // what the server says before it falls silent
    };
    const row rows[] = {
        {"before its first word of TLS", keyed(), ""},
        {"within a record of TLS", keyed(), std::string("\x16\x03\x03\x00\x7a\x02\x00", 7)},
        {"before its first word of the opening", plain(), ""},
    };
    for (const row& each : rows) {
        for (const wish what : all_wishes) {
            INFO(each.what << ", " << to_string(what));
            std::stop_source stop;
            // By the server when the first bytes have come: so the handshake is under way.
            odd_server silent([&](tcp_socket& socket) {
                if (read_up_to(socket, 1).empty()) return;
                write_whole(socket, each.answer);
                stop.request_stop();
                read_up_to(socket, 1 << 20);
            });
            check_interrupted(what, "reprotect://" + silent.address() + "/disk", each.how, stop.get_token());
            CHECK(stop.stop_requested());
        }
    }
}

TEST_CASE("a cancel while a connection is made ends the call at once", "[sync][wire]") {
    for (const wish what : all_wishes) {
        INFO(to_string(what));
        const full_queue nobody;
        const std::string remote = "reprotect://" + nobody.address() + "/disk";
        std::stop_source meanwhile;
        const std::jthread stopper([&] {
            std::this_thread::sleep_for(100ms);
            meanwhile.request_stop();
        });
        check_interrupted(what, remote, keyed(), meanwhile.get_token());
    }
}

TEST_CASE("a cancel while ssh connects ends the call at once, and ssh with it", "[sync][wire]") {
    for (const wish what : {wish::push, wish::checksum}) {
        INFO(to_string(what));
        const temp_dir folder;
        const std::string began = folder.file("began"), ended = folder.file("ended");
        connect_options how;
        // In place of ssh: it says nothing, and goes when it is told that no more will come.
        how.ssh_command = {"sh", "-c", "echo > '" + began + "'; cat > /dev/null; echo > '" + ended + "'"};
        std::stop_source stop;
        const std::jthread stopper([&] {
            wait_until([&] { return std::filesystem::exists(began); });
            stop.request_stop();
        });
        check_interrupted(what, "ssh://somewhere.invalid/disk", how, stop.get_token());
        CHECK(std::filesystem::exists(ended));
    }
}

TEST_CASE(
    "a checksum of a peer's disk that is cancelled while the server digests ends at once, and the server's reading",
    "[sync][wire]") {
    const temp_dir folder;
    constexpr std::uint64_t disk_bytes = 1ull << 40;  // minutes of reading
    make_sparse_file(folder.file("disk.img"), disk_bytes);
    server_rig server;
    server.offer("disk", folder.file("disk.img"), export_role::source);
    server.options.options.depth = 1;
    server.options.direct = true;  // no cache is filled with zeroes
    server.start();
    struct final : sync_listener {
        void on_progress(const sync_progress& now) override {
            done_bytes = now.done_bytes;
            stop.request_stop();
        }
        std::stop_source stop;
        std::uint64_t done_bytes = 0;
    } watching;
    checksum_options options;
    options.ignore_allocation = true;
    connect_options how = server.how();
    how.patience = 60s;
    const stopwatch watch;
    const auto failure =
        failure_of([&] { checksum_remote(server.disk("disk"), options, how, &watching, watching.stop.get_token()); });
    require_failure(failure, error_kind::interrupted, "interrupted");
    CHECK(watch.soon());
    CHECK(watching.done_bytes < disk_bytes);
    // The server notices with its next sign of life, and its reading has ended when it says so: not after minutes.
    CHECK(server.logged("session-failed", "kind") == "peer");
}

TEST_CASE("a checksum of a peer's disk that is cancelled while its map arrives ends at once", "[sync][wire]") {
    const temp_dir folder;
    write_whole_file(folder.file("disk.img"), random_bytes(1, 4 << 20));
    std::stop_source stop;
    server_rig server;
    server.offer("disk", folder.file("disk.img"), export_role::source);
    // A map of 1,024 blocks takes more than 16 KiB, all that comes before it less than 4. The rest would take 12 seconds.
    std::atomic<bool> in_the_middle = false;
    server.options.limit = std::make_shared<slowing_limiter>(12 << 10, [&] {
        in_the_middle = true;
        stop.request_stop();
    });
    server.start();
    checksum_options options;
    options.with_blocks = true;
    connect_options how = server.how();
    how.patience = 60s;
    const stopwatch watch;
    const auto failure =
        failure_of([&] { checksum_remote(server.disk("disk"), options, how, nullptr, stop.get_token()); });
    require_failure(failure, error_kind::interrupted, "interrupted");
    CHECK(in_the_middle);
    CHECK(watch.soon());
}

TEST_CASE(
    "a source that is stopped while it waits for the target's last word ends, and the target is clean all the same",
    "[sync][wire]") {
    memory_device source(20 * c, "the source"), target(20 * c, "the target");
    fill(source, {0, 20 * c}, 1);
    clean_stop at_clean;
    gate& saving = at_clean.saving;
    std::stop_source& stop = at_clean.stop;
    test_store& records = at_clean.records;
    peer_pair pair;
    pair.source.disk = &source;
    pair.source.cancel = stop.get_token();
    pair.target.disk = &target;
    pair.target.records = &records;
    pair.source_ended = [&] { saving.open(); };
    const auto [at_source, at_target] = pair.run();
    CHECK(saving.reached());
    CHECK_FALSE(saving.forced());  // the source ended first, without the goodbye
    CHECK(exit_code(require_failure(at_source, error_kind::interrupted).kind()) == 130);
    require_synced(at_target, source, target);
    CHECK(records.find_target(target.identity())->status == target_status::clean);
}

TEST_CASE("a target that is stopped while it waits for the source's last word ends, and is not called clean",
          "[sync][wire]") {
    memory_device disk(20 * c, "the source"), target(20 * c, "the target");
    fill(disk, {0, 20 * c}, 1);
    gate looking;
    std::stop_source stop;
    std::atomic<bool> proved = false;
    // The source looks at its size a last time when all is proved, and before it says so.
    hooked_device source(disk, [&](device_call call, extent) {
        if (call != device_call::current_size || !proved) return;
        stop.request_stop();
        looking.pass();
    });
    hooked_device flushed(target, [&](device_call call, extent) {
        if (call == device_call::flush) proved = true;
    });
    test_store records;
    peer_pair pair;
    pair.source.disk = &source;
    pair.target.disk = &flushed;
    pair.target.records = &records;
    pair.target.cancel = stop.get_token();
    pair.target_ended = [&] { looking.open(); };
    const auto [at_source, at_target] = pair.run();
    CHECK(looking.reached());
    CHECK_FALSE(looking.forced());
    CHECK(exit_code(require_failure(at_target, error_kind::interrupted).kind()) == 130);
    require_failure(at_source, error_kind::peer);
    CHECK(records.find_target(target.identity())->status == target_status::dirty);
    CHECK(bytes_of(disk) == bytes_of(target));
}

TEST_CASE("a push that is stopped while the server makes its record clean ends, and the server's session well",
          "[sync][wire]") {
    const temp_dir folder;
    const std::string file = folder.file("there.img");
    write_whole_file(file, random_bytes(2, 20 * c));
    clean_stop at_clean;
    gate& saving = at_clean.saving;
    std::stop_source& stop = at_clean.stop;
    test_store& records = at_clean.records;
    server_rig server;
    server.options.records = &records;
    server.offer("disk", file, export_role::target);
    server.start();
    memory_device source(20 * c, "here");
    fill(source, {0, 20 * c}, 1);
    connect_options how = server.how();
    how.patience = 60s;
    const auto failure = ask(wish::push, server.disk("disk"), how, source, small_sync_options(), stop.get_token());
    saving.open();
    require_failure(failure, error_kind::interrupted, "interrupted");
    CHECK(saving.reached());
    CHECK_FALSE(saving.forced());
    CHECK(server.logged("session-end", "written") == std::to_string(20 * c));
    CHECK(read_whole_file(file) == bytes_of(source));
    CHECK(records.find_target(open_device(file)->identity())->status == target_status::clean);
}

TEST_CASE("a cancel before the start ends the call without a connection", "[sync][wire]") {
    for (const wish what : all_wishes) {
        INFO(to_string(what));
        const full_queue nobody;
        std::stop_source stop;
        stop.request_stop();
        check_interrupted(what, "reprotect://" + nobody.address() + "/disk", keyed(), stop.get_token());
    }
}
