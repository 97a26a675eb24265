// What must hold before a session begins, and what it has to know: options, sizes, records, interlocks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "peer/message.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/sync.hpp"

namespace reprotect {

struct preparation {
    std::unique_ptr<target_guard> guard;     ///< null without interlocks, and where nothing is to be written
    std::optional<std::uint64_t> resize_to;  ///< the target's new size
    bool distrust_target = false;            ///< poisoned: past the cache, allocation ignored
    bool had_record = false;                 ///< of the target, readable or not
    bool was_clean = false;                  ///< the target's record says that it equalled this source
    bool was_poisoned = false;               ///< and stays so until a whole sync has ended well
    bool reversed = false;                   ///< the record of the other direction is to go
    std::string generation;                  ///< of the source, where what is finished is kept; else empty
    std::optional<digest_map>
        finished;  ///< by an interrupted sync of this generation: neither disk is read below its end
    sync_mode mode = sync_mode::differential;
    std::string reason;
    std::string source_in_use;
    std::vector<std::string> warnings;
};

/// Less than this a limit on what is sent may not be. A guess: greetings and digests alone may take so much.
inline constexpr std::uint64_t egress_least = 256 << 10;

/// Of a sync.
session_mode mode_of(const sync_options& options) noexcept;

/// What a diff asks for: the extents, and nothing written or recorded.
sync_request as_comparison(sync_request request);

/// Throws `error` (usage) for options that make no sense with each other. No I/O.
void check_request(const sync_request& request, session_mode mode);

/// The same of options alone, and of a source of that size.
void check_options(const sync_options& options, std::uint64_t source_bytes);

/// Looks at both disks, the records and the interlocks. Blocking; throws `error`, kinds that lead to exit code 3 or 4.
/// Writes nothing to either disk.
preparation prepare_session(const sync_request& request, device& target, session_mode mode);

/// The source's part of it, where the target is elsewhere: what can be said before the target is known.
preparation prepare_source(const sync_request& request, session_mode mode);

/// And the rest, once it is: `target` is a stand-in with the far disk's name and identity. Adds to `known`; throws `error` where
/// the direction is the wrong one.
void prepare_far_target(const sync_request& request, device& target, session_mode mode, preparation& known);

/// Throws `size_changed` where a disk shrank or grew since it was opened or resized.
void check_unchanged_size(device& disk);

/// Who writes to the source now, or nothing.
std::optional<std::string> find_source_writer(const device& source);

/// The record of this pair as of now.
state_record make_record(const device& source, const device& target, std::uint64_t target_size,
                         const std::string& session, const std::string& generation, target_status status);

}  // namespace reprotect
