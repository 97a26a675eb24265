// What lies between a source peer and a target peer. Three kinds, from what is real to what is promised:
//
//   memory   both in one process: messages are handed over in order, with their buffers
//   stream   one connection, as lib/wire/channel.cpp drives it: bytes; everything but data stays in order and may
//            overtake data (a sender writes it first, a receiver decompresses beside it); data never overtakes anything
//   lanes    all that lib/peer/message.hpp promises: bytes; order within a class, none between classes
//
// Bytes are made and read by the real codecs: frames, and batches of compressed data. Faults: the n-th frame arrives
// with a bit flipped, or all is cut at once, and any part of what is under way is lost with it.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/buffer_pool.hpp"
#include "peer/message.hpp"
#include "simulator/dice.hpp"
#include "sync/session.hpp"
#include "wire/data_batch.hpp"

namespace reprotect::test {

enum class link_kind { memory, stream, lanes };

/// What came out of one lane at once.
struct arrival {
    std::vector<message> messages;
    bool goodbye = false;
    std::optional<error> refused;  ///< the other side broke the rules of the wire
};

/// A bit is flipped in a frame.
struct frame_corruption {
    std::uint64_t nth = 0;           ///< of the frames that may be hit
    std::optional<frame_kind> kind;  ///< only these
    bool for_good = false;           ///< and in all after it
};

class simulated_link {
public:
    struct options {
        link_kind kind = link_kind::memory;
        geometry shape;
        std::optional<frame_corruption> corrupts;
        int level = 1;  ///< of compression
    };
    /// `released` is called for each payload that the sending side holds no longer; not in memory.
    simulated_link(options how, dice& random, std::shared_ptr<buffer_pool> pool_of_target,
                   std::function<void(std::size_t bytes)> released);

    void send(side from, message&& what);
    void send_goodbye(side from);
    /// What was collected of a batch goes; nothing in memory.
    void flush_data();
    bool collects_data() const noexcept { return !builder_.empty(); }

    /// The lanes from which something may arrive at a side now.
    void arriving_at(side to, std::vector<std::size_t>& lanes) const;
    arrival take(side to, std::size_t lane);
    bool quiet(side to) const noexcept;

    /// The connection ends: what is sent from now on is lost, and so is any part of what is under way.
    void cut();
    bool is_cut() const noexcept { return cut_; }
    bool corrupted() const noexcept { return corrupted_; }
    bool corrupted_data() const noexcept { return corrupted_data_; }
    std::uint64_t frames() const noexcept { return sent_; }

private:
    struct frame {
        std::uint64_t number = 0;
        std::vector<std::byte> bytes;
        std::optional<message> whole;        // in memory
        std::optional<encoded_batch> holds;  // a batch may lie in the chunk's own buffer until it is written
    };
    using lanes = std::array<std::deque<frame>, message_classes>;

    void send_frames(side to, std::size_t lane, std::vector<std::byte>&& bytes);
    void put(side to, std::size_t lane, frame&& what);
    void corrupt(frame& what);
    void parse(side to, const frame& from, arrival& into);
    void parse_batch(const frame& from, arrival& into);
    std::size_t lane_of(message_class kind) const noexcept;

    options how_;
    dice& random_;
    std::array<lanes, 2> to_;
    std::uint64_t sent_ = 0;
    std::uint64_t corruptible_ = 0;
    bool cut_ = false, corrupted_ = false, corrupted_data_ = false;
    batch_builder builder_;
    batch_reader reader_;
    // As the target's channel counts them: messages, and the bytes of their payloads.
    data_allowance granted_, received_;
};

}  // namespace reprotect::test
