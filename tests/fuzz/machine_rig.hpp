// Both peers in one thread over two small disks in memory. The fuzzer's bytes
// choose the disks, the windows, and then step by step what happens: a message
// is delivered, work ends or fails, somebody stops; or the side that is not
// under test turns hostile: what it said is altered, dropped, said twice, or
// replaced by messages made of wild numbers or decoded from bytes. Since the
// other side is a peer as well, a few hostile words can be said at any depth of
// an otherwise sound session.
//
// Looked at after every event, of the side under test:
// - what it asks for lies within its disk and its windows; nothing is written
// before `begin_writing` was answered, nor in a mode
//   that writes nothing; a flush has no write beside it and is never tried
//   again; memory for chunks stays within its windows
// - at a word that breaks the protocol it says so, ends, and asks for nothing
// more
// - "done" is said once, after a flush, with both roots equal to that of what
// the disk holds And where nobody was hostile: no deadlock, and without a
// failure both disks are equal.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "fuzz/chooser.hpp"
#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"
#include "reprotect/memory_device.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect::fuzz {

/// A disk that knows when it may be written to, and never hears of an offset
/// that it does not have.
class watched_disk final : public device_decorator {
public:
    using device_decorator::device_decorator;
    void read(std::uint64_t offset, std::span<std::byte> into) override;
    void write(std::uint64_t offset, std::span<const std::byte> from) override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    void flush() override { written = false; }

    bool may_write = false;
    bool written = false;          ///< since the last flush
    const char* broken = nullptr;  ///< a promise; kept, since a worker takes what
                                   ///< is thrown for a disk's failure

private:
    void check(std::uint64_t offset, std::uint64_t length);
    void note_write(std::uint64_t offset, std::uint64_t length);
};

/// Whether the runs are in order and within their chunk, and there is one.
bool is_sound(const geometry& shape, const chunk_data& data);

class machine_rig {
public:
    enum side : std::size_t { source, target };

    machine_rig(chooser& choose, side under_test);
    void run();

private:
    struct peer_state {
        std::vector<action> works;                                // asked for, not answered
        std::array<std::deque<message>, message_classes> coming;  // to this side
        std::set<const std::byte*> buffers;                       // of chunks that were read, all that were ever in use
        bool has_ended = false;
        bool told_to_end = false;  // it was stopped, or told of a failure
        bool failed_work = false;
        std::optional<error> why;
        std::unique_ptr<disk_worker> worker;
    };

    void choose_session();
    void fill_disks();
    void step();
    void drain();
    void check_end();

    // What happens.
    void deliver_some(side to);
    void deliver(side to, std::deque<message>& queue);
    buffer arrived(chunk_data& data);
    void hand(side to, event&& what);
    void hand_message(side to, message&& what);
    bool begin_target(const hello& opening);
    void finish_work(side of, std::size_t index, bool fails);
    void release_payload();
    void stop_one(side which);
    void tamper();
    void drop_or_repeat();
    void breach();

    // What a hostile side says.
    message forged();
    message forged_for_source();
    message forged_for_target();
    chunk_data forged_data();
    std::optional<message> decoded();
    message breach_of_source();
    message breach_of_target();
    void say(message&& what);

    // What is looked at.
    void collect(side of);
    void check_action(side of, const action& what);
    void check_sent(side of, const message& what);
    void check_read(side of, const read_chunk& what);
    void check_apply(const apply_chunk& what);
    void check_success(side of);
    template <typename... Kinds>
    std::size_t count_works(side of) const;
    bool writes_pending() const;
    std::optional<action> next_action(side of) {
        return of == source ? source_->next_action() : target_->next_action();
    }
    std::vector<std::byte> content(side of, extent range);
    digest chunk_digest(side of, std::uint64_t chunk, const digester& with);
    digest root_with(const std::map<std::uint64_t, digest>& instead);
    digest true_root() { return root_with({}); }
    bool has(side which) const { return which == source || target_.has_value(); }
    const geometry& shape_of(side which) const { return which == source ? source_config_.shape : target_->shape(); }

    chooser& choose_;
    side under_test_;
    bool honest_ = true;    // so far nobody was hostile
    bool skipped_ = false;  // ranges were named that the target does not look at
    source_config source_config_;
    target_config target_config_;
    memory_device source_memory_{0}, target_memory_{0};
    watched_disk source_disk_{source_memory_}, target_disk_{target_memory_};
    std::shared_ptr<buffer_pool> source_pool_, target_pool_;
    std::optional<reprotect::source_peer> source_;
    std::optional<reprotect::target_peer> target_;  // once the source's hello is there: what it may do depends on
                                                    // that
    std::array<peer_state, 2> sides_;
    std::deque<std::uint64_t> unreleased_;  // bytes of payloads that the source waits for

    std::uint64_t data_delivered_ = 0, data_applied_ = 0, bytes_delivered_ = 0, bytes_applied_ = 0, data_sent_ = 0,
                  entries_delivered_ = 0, chunks_delivered_ = 0, allocated_to_ = 0;
    std::map<std::uint64_t, digest> written_;  // as the target was told that it has written
    std::optional<end_of_data> last_end_;      // as the target heard it
    std::optional<applied> last_applied_;      // as the source heard it
    bool proved_ = false;
    unsigned begins_asked_ = 0, flushes_asked_ = 0, flushes_done_ = 0;
    std::optional<session_mode> target_mode_;
};

}  // namespace reprotect::fuzz
