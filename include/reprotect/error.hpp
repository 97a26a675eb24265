// Errors: the one type that is thrown when an operation fails, and the exit code that each kind leads to.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace reprotect {

/// What went wrong, as a stable word for scripts and agents. `to_string` gives the word, `exit_code` the tool's code.
enum class error_kind {
    usage,            ///< an option or a name that makes no sense
    not_found,        ///< no such file or device
    permission,       ///< the system does not let us
    unsuitable,       ///< a directory, a socket, a read-only medium: cannot be a disk in this role
    container,        ///< a raw path whose content is qcow2, vmdk, vhdx or vhd
    in_use,           ///< mounted, open elsewhere, part of something else; `holder` says by what
    same_disk,        ///< source and target are one disk, or one lies within the other
    size_mismatch,    ///< the sizes do not fit and no option says what to do
    recorded_source,  ///< the target is on record as the source of this pair
    corrupt_file,     ///< a digest map, differential or state record that does not check out
    device_io,        ///< a read, write or query of a device failed
    no_space,         ///< the target's file system is full
    flush_failed,     ///< a flush failed: the state record is poisoned
    size_changed,     ///< a disk shrank or grew while it was used
    peer,             ///< the other side broke the protocol, failed or went away
    verification,     ///< what was written is not what was read
    limit,            ///< a limit that the user set was reached
    interrupted,      ///< cancelled, or stopped by a signal
};

/// The stable word of a kind, e.g. "in_use".
const char* to_string(error_kind kind) noexcept;

/// The tool's exit code for a kind: 2 usage, 3 refused, 4 device, 5 peer, 6 verification, 7 limit, 130 interrupted.
int exit_code(error_kind kind) noexcept;

/// Where an error happened and what helps. Empty strings and offsets mean "not known".
struct error_detail {
    std::string device{};                   ///< the disk's name as the user gave it
    std::string operation{};                ///< "read", "write", "flush", "open", …
    std::optional<std::uint64_t> offset{};  ///< bytes
    std::optional<std::uint64_t> length{};  ///< bytes
    std::string holder{};                   ///< who holds the disk (in_use)
    std::string hint{};                     ///< what to do next, one sentence
    int system_errno = 0;                   ///< errno, or 0
    bool connection_lost = false;           ///< of a session under way: the same again may go on from there
};

/// An operation that failed. `what()` is the full message: what failed, where, why. The hint stands apart.
class error : public std::runtime_error {
public:
    error(error_kind kind, const std::string& message, error_detail detail = {});

    error_kind kind() const noexcept { return kind_; }
    const error_detail& detail() const noexcept { return detail_; }

private:
    error_kind kind_;
    error_detail detail_;
};

/// An error of a system call: "<operation> of <device> failed at offset …: <strerror>"; ENOSPC, EDQUOT and EFBIG become `no_space`.
error system_error(error_kind kind, int system_errno, error_detail detail);

}  // namespace reprotect
