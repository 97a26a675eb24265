// Progress: what a sync says of itself while it runs.
#pragma once

#include <cstdint>
#include <string>

namespace reprotect {

enum class sync_phase { prepare, scan, flush, verify, done };
const char* to_string(sync_phase phase) noexcept;

/// A snapshot; every count only grows within a phase.
struct sync_progress {
    sync_phase phase = sync_phase::prepare;
    std::uint64_t done_bytes = 0;   ///< of the disk, decided so far in this phase (holes count when they are passed)
    std::uint64_t total_bytes = 0;  ///< of the disk
    /// Data to read that is known so far, and how much of it is read: the denominator grows while allocation still streams.
    std::uint64_t data_done_bytes = 0;
    std::uint64_t data_known_bytes = 0;
    bool data_known_final = false;
    std::uint64_t changed_bytes = 0;
    std::uint64_t written_bytes = 0;
    double seconds = 0;  ///< since the start, monotonic
};

/// Called from the session's own thread or strand, never from two at once; must not block long.
/// One that throws is not called again and ends the sync as a cancel does (`interrupted`);
/// at the last call, with `done`, that is a warning in the report.
class sync_listener {
public:
    virtual ~sync_listener() = default;
    /// At most ten times a second, and at each change of phase.
    virtual void on_progress(const sync_progress&) {}
    /// Something a person should know: a source in use, an ignored record. One sentence.
    virtual void on_warning(const std::string&) {}
};

}  // namespace reprotect
