// How a session writes: one write at a time where writers exclude each other, several where they do not; and what was written
// begins to reach the medium while the sync goes on.
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
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
    void begin_writeback() noexcept override { writebacks.enter(); }
    crowd writes, writebacks;
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
    sync_options options;
    require_synced(run_sync(source, watching, options), source, target);
    CHECK(watching.writebacks.calls() >= 1);
    CHECK(watching.writebacks.calls() <= 4);
    CHECK(watching.writebacks.most() == 1);
}

}  // namespace
