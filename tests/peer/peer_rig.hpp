// Both peers in one thread: a seeded chooser picks what happens next among the messages that the channel may deliver (in order
// within a class, in any order between classes) and the work that may end. So every interleaving that a network and a pool of
// workers could show can come up, and a seed brings it back.
#pragma once

#include <catch2/catch.hpp>

#include <array>
#include <deque>
#include <functional>
#include <optional>
#include <random>

#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"
#include "reprotect/memory_device.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect::test {

class peer_rig {
public:
    peer_rig(device& source_disk, device& target_disk, source_config source, target_config target, std::uint64_t seed)
        : source_disk_(source_disk),
          target_disk_(target_disk),
          shape_(source.shape),
          random_(seed),
          source_(std::move(source)),
          target_(std::move(target)) {}

    /// Runs until both have finished; false if nothing can happen any more before that (a deadlock).
    bool run() {
        for (std::uint64_t step = 0;; ++step) {
            collect(0);
            collect(1);
            if (on_step) on_step(step);
            std::vector<std::function<void()>> choices;
            for (std::size_t to = 0; to < 2; ++to) {
                for (auto& queue : channel_[to])
                    if (!queue.empty()) choices.emplace_back([this, to, &queue] { deliver(to, queue); });
                for (std::size_t i = 0; i < works_[to].size(); ++i)
                    choices.emplace_back([this, to, i] { finish_work(to, i); });
            }
            if (!released_.empty()) choices.emplace_back([this] { release(); });
            if (choices.empty()) return source_end.has_value() && target_end.has_value();
            choices[std::uniform_int_distribution<std::size_t>(0, choices.size() - 1)(random_)]();
        }
    }

    source_peer& source() { return source_; }
    target_peer& target() { return target_; }

    /// What each ended with: an empty optional inside is success.
    std::optional<std::optional<error>> source_end, target_end;
    std::function<void(std::uint64_t step)> on_step;
    std::function<void(message&)> on_message;                                      ///< may alter what is delivered
    std::function<std::optional<event>(std::size_t side, const action&)> on_work;  ///< may answer in place of the disk
    unsigned begun_writing = 0;
    unsigned flushes = 0;
    std::uint64_t buffers_high = 0;

    void stop() {
        source_.handle(reprotect::stop{});
        target_.handle(reprotect::stop{});
    }

private:
    void collect(std::size_t side) {
        while (auto next = side == 0 ? source_.next_action() : target_.next_action()) {
            if (auto* out = std::get_if<send>(&*next)) {
                channel_[1 - side][static_cast<std::size_t>(class_of(out->what))].push_back(std::move(out->what));
            } else if (auto* end = std::get_if<finished>(&*next)) {
                auto& slot = side == 0 ? source_end : target_end;
                REQUIRE_FALSE(slot.has_value());
                slot.emplace(std::move(end->why));
            } else {
                // A flush covers what was written before it: nothing may still be under way.
                if (std::holds_alternative<flush_target>(*next)) REQUIRE(works_[side].empty());
                works_[side].push_back(std::move(*next));
            }
        }
        std::uint64_t buffers = 0;
        for (const action& work : works_[0])
            if (auto* read = std::get_if<read_chunk>(&work)) buffers += read->keep_bytes ? 1 : 0;
        buffers_high = std::max(buffers_high, buffers);
    }

    void deliver(std::size_t to, std::deque<message>& queue) {
        message what = std::move(queue.front());
        queue.pop_front();
        if (on_message) on_message(what);
        hand(to, std::move(what));
    }

    void finish_work(std::size_t side, std::size_t index) {
        action what = std::move(works_[side][index]);
        works_[side].erase(works_[side].begin() + static_cast<std::ptrdiff_t>(index));
        if (on_work)
            if (auto answer = on_work(side, what)) return hand(side, std::move(*answer));
        if (std::holds_alternative<begin_writing>(what)) {
            ++begun_writing;
            return hand(side, writing_begun{});
        }
        const bool writes = std::holds_alternative<apply_chunk>(what) || std::holds_alternative<punch>(what) ||
                            (std::holds_alternative<read_chunk>(what) && !std::get<read_chunk>(what).punch.empty());
        if (writes) REQUIRE(begun_writing == 1);
        if (std::holds_alternative<flush_target>(what)) ++flushes;
        const auto* apply = std::get_if<apply_chunk>(&what);
        const std::uint64_t carried_bytes = apply ? apply->data.payload.bytes().size() : 0;
        event answer = worker(side).perform(std::move(what));
        if (carried_bytes != 0) released_.push_back(carried_bytes);
        hand(side, std::move(answer));
    }

    void release() {
        const std::uint64_t bytes = released_.back();
        released_.pop_back();
        hand(0, payload_released{bytes});
    }

    void hand(std::size_t side, event&& what) {
        if (side == 0)
            source_.handle(std::move(what));
        else
            target_.handle(std::move(what));
    }

    disk_worker& worker(std::size_t side) {
        auto& slot = workers_[side];
        if (!slot) {
            device& disk = side == 0 ? source_disk_ : target_disk_;
            slot.emplace(disk, shape_, disk.size(), side == 0 ? source_.digests() : target_.digests(), pool_);
        }
        return *slot;
    }

    device& source_disk_;
    device& target_disk_;
    geometry shape_;
    std::mt19937_64 random_;
    source_peer source_;
    target_peer target_;
    std::shared_ptr<buffer_pool> pool_ = std::make_shared<buffer_pool>(shape_.chunk_bytes);
    std::array<std::optional<disk_worker>, 2> workers_;
    std::array<std::array<std::deque<message>, message_classes>, 2> channel_;
    std::array<std::vector<action>, 2> works_;
    std::vector<std::uint64_t> released_;  // bytes of payloads that the source waits for
};

/// Bytes of a device; for comparing.
inline std::vector<std::byte> contents(device& disk, std::uint64_t length) {
    std::vector<std::byte> all(length);
    if (length != 0) disk.read(0, all);
    return all;
}

/// Writes random content and leaves random holes: runs of 1 to 24 units of 512 bytes, half of them data.
inline void fill_randomly(device& disk, std::mt19937_64& random, unsigned data_percent = 50) {
    std::uint64_t at = 0;
    while (at < disk.size()) {
        const std::uint64_t length = std::min<std::uint64_t>(
            disk.size() - at, 512 * std::uniform_int_distribution<std::uint64_t>(1, 24)(random));
        const auto kind = std::uniform_int_distribution<unsigned>(0, 99)(random);
        if (kind < data_percent) {
            std::vector<std::byte> bytes(length);
            // A tenth of the data is zeroes that are allocated.
            if (kind % 10 != 0)
                for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
            disk.write(at, bytes);
        }
        at += length;
    }
}

/// The same content with edits: blocks overwritten, zeroed, single bytes flipped.
inline void age_randomly(device& disk, std::mt19937_64& random, unsigned edits) {
    for (unsigned i = 0; i < edits && disk.size() != 0; ++i) {
        const std::uint64_t at = std::uniform_int_distribution<std::uint64_t>(0, disk.size() - 1)(random);
        const std::uint64_t length =
            std::min<std::uint64_t>(disk.size() - at, std::uniform_int_distribution<std::uint64_t>(1, 9000)(random));
        switch (random() % 3) {
            case 0:
                disk.write_zeroes(at, length);
                break;
            case 1: {
                std::vector<std::byte> bytes(length);
                for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
                disk.write(at, bytes);
                break;
            }
            default: {
                std::array<std::byte, 1> one{};
                disk.read(at, one);
                one[0] ^= std::byte{1};
                disk.write(at, one);
            }
        }
    }
}

inline void copy_disk(device& from, device& to) {
    for (std::uint64_t at = 0; at < std::min(from.size(), to.size());) {
        const auto run = from.allocation({at, std::min(from.size(), to.size()) - at}, 1).front();
        if (run.kind == content::data) {
            std::vector<std::byte> bytes(run.range.length);
            from.read(at, bytes);
            to.write(at, bytes);
        }
        at = run.range.end();
    }
}

}  // namespace reprotect::test
