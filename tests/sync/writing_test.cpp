// How a session writes: one write at a time where writers exclude each other, several where they do not; and what was written
// begins to reach the medium while the sync goes on.
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <stop_token>
#include <thread>

#include "support/device_doubles.hpp"
#include "support/peer_pair.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t mib = 1 << 20;

// Counts who is in a call at once, and stays there for a moment.
class crowd {
public:
    void enter() {
        const int inside = inside_.fetch_add(1) + 1;
        int most = most_;
        while (inside > most && !most_.compare_exchange_weak(most, inside)) {
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        inside_.fetch_sub(1);
        ++calls_;
    }
    int most() const { return most_; }
    int calls() const { return calls_; }

private:
    std::atomic<int> inside_ = 0, most_ = 0, calls_ = 0;
};

class watched final : public hooked_device {
public:
    explicit watched(memory_device& disk)
        : hooked_device(disk, [this](device_call call, extent) {
              if (call == device_call::write || call == device_call::write_zeroes) writes.enter();
          }) {}
    void begin_writeback() noexcept override {
        writebacks.enter();
        writes_at_writeback = writes.calls();
        std::this_thread::sleep_for(writeback_takes);
        ++writebacks_ended;
    }
    crowd writes, writebacks;
    std::chrono::milliseconds writeback_takes{0};
    std::atomic<int> writes_at_writeback = 0, writebacks_ended = 0;
};

// A target that is written to everywhere, punched in chunks as a whole, and in part.
struct pair_of_disks {
    memory_device source{64 * small_chunk}, target{64 * small_chunk};
    pair_of_disks() {
        for (std::uint64_t i = 0; i < 64; ++i) {
            const extent whole{i * small_chunk, small_chunk};
            fill(target, whole, 1);
            if (i % 4 != 0) fill(source, i % 4 == 1 ? extent{whole.offset, whole.length / 2} : whole, i % 4 + 1);
        }
    }
};

TEST_CASE("a target whose writers exclude each other is written to by one at a time, any other by several", "[sync]") {
    for (const bool one_writer : {true, false}) {
        for (const bool far : {false, true}) {
            INFO("one writer " << one_writer << ", over a connection " << far);
            pair_of_disks disks;
            disks.target.mutable_properties().one_writer = one_writer;
            watched target(disks.target);
            sync_options options = small_sync_options();
            options.depth = 16;
            options.threads = 8;
            if (far) {
                peer_pair pair;
                pair.source.options = pair.target.options = options;
                pair.source.disk = &disks.source;
                pair.target.disk = &target;
                require_synced(pair.run().second, disks.source, disks.target);
            } else {
                require_synced(run_sync(disks.source, target, options), disks.source, disks.target);
            }
            CHECK(target.writes.calls() > 64);
            CHECK((target.writes.most() == 1) == one_writer);
        }
    }
}

TEST_CASE("what was written begins to reach the medium while the sync goes on, one call at a time", "[sync]") {
    memory_device source(128 * mib), target(128 * mib);
    fill(source, {0, source.size()}, 3);
    watched watching(target);
    require_synced(run_sync(source, watching, sync_options()), source, target);
    CHECK(watching.writebacks.calls() >= 1);
    CHECK(watching.writebacks.calls() <= 4);
    CHECK(watching.writebacks.most() == 1);
    CHECK(watching.writes_at_writeback > 0);
}

TEST_CASE("a sync does not end before the disk has come back from writing", "[sync]") {
    memory_device source(40 * mib), target(40 * mib);
    fill(source, {0, source.size()}, 3);
    watched watching(target);
    watching.writeback_takes = std::chrono::milliseconds(300);
    require_synced(run_sync(source, watching, sync_options()), source, target);
    CHECK(watching.writebacks.calls() == 1);
    CHECK(watching.writebacks_ended == 1);
}

// The strand of a local session is on the workers: what a write has to tell is not to wait for the writes behind it.
TEST_CASE("a slow target is heard of write by write", "[sync]") {
    class slow final : public hooked_device {
    public:
        explicit slow(memory_device& disk)
            : hooked_device(disk, [this](device_call call, extent) {
                  if (call == device_call::write) {
                      std::this_thread::sleep_for(std::chrono::milliseconds(20));
                      ++writes;
                  }
              }) {}
        std::atomic<int> writes = 0;
    };
    memory_device source(64 * small_chunk), target(64 * small_chunk);
    fill(source, {0, source.size()}, 3);
    target.mutable_properties().one_writer = true;
    slow watching(target);
    std::stop_source cancel;
    std::jthread canceller([&] {
        while (watching.writes < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        cancel.request_stop();
    });
    sync_options options = small_sync_options();
    options.depth = 16;
    sync_request request = request_of(source, watching, options);
    request.cancel = cancel.get_token();
    const sync_report report = sync(std::move(request));
    REQUIRE(report.failure.has_value());
    CHECK(report.failure->kind() == error_kind::interrupted);
    // Those that had been given to the workers are written; no more are begun.
    CHECK(watching.writes < 40);
}

}  // namespace
