// What a session owes its target beyond reads and writes: the interlocks, the state record, the size, the flush that is tried once.
// Wherever the source is.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "peer/action.hpp"
#include "scan/disk_worker.hpp"
#include "sync/prepare.hpp"

namespace reprotect {

/// Called on workers, several at once; each method locks what it needs.
class target_keeper {
public:
    /// `request.source` may be a stand-in that only has a name, an identity and a size. Both devices and `known` are borrowed.
    target_keeper(const sync_request& request, device& target, session_mode mode, preparation& known);

    /// Answers `begin_writing`: the record is durably dirty before the first byte changes.
    event begin_writing();

    /// Carries out `flush_target`: a failure poisons the record, at once, and is never tried again.
    event flush(const disk_worker& worker);

    /// Carries out `checkpoint`: flushes, then keeps what is finished.
    event keep(const disk_worker& worker, digest_map finished);

    /// Before the target is touched: whoever came to it is seen, an opener that waits for our lease is let go, and a disk that
    /// shrank or grew is noticed.
    std::optional<error> look_after();

    /// All is written and flushed: the size still holds, nobody came, and the record becomes clean. Throws `error`.
    void conclude();

    /// The sync failed in a way that puts in doubt what the target holds: what was kept of it is not believed any more.
    void doubt(const error& why);

    /// The target is let go.
    void release();

    /// What could not be done on the way, and did not matter enough to fail; to be taken when nothing runs any more.
    std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

private:
    target_status unfinished_status() const noexcept;
    state_record record(std::uint64_t target_size, target_status status) const;
    void keep_finished(digest_map finished);
    void close_record();

    const sync_request request_;
    device& target_;
    const session_mode mode_;
    preparation& known_;  // its guard is used here alone
    const std::string session_id_;
    std::mutex mutex_;  // the guard and what a device takes from one thread at a time
    std::vector<std::string> warnings_;
    std::chrono::steady_clock::time_point last_look_;
};

}  // namespace reprotect
