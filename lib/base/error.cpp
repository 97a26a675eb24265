// The words and exit codes of error kinds, and errors made from errno.
#include "reprotect/error.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

namespace reprotect {

const char* to_string(error_kind kind) noexcept {
    switch (kind) {
        case error_kind::usage:
            return "usage";
        case error_kind::not_found:
            return "not_found";
        case error_kind::permission:
            return "permission";
        case error_kind::unsuitable:
            return "unsuitable";
        case error_kind::container:
            return "container";
        case error_kind::in_use:
            return "in_use";
        case error_kind::same_disk:
            return "same_disk";
        case error_kind::size_mismatch:
            return "size_mismatch";
        case error_kind::recorded_source:
            return "recorded_source";
        case error_kind::corrupt_file:
            return "corrupt_file";
        case error_kind::device_io:
            return "device_io";
        case error_kind::no_space:
            return "no_space";
        case error_kind::flush_failed:
            return "flush_failed";
        case error_kind::size_changed:
            return "size_changed";
        case error_kind::peer:
            return "peer";
        case error_kind::verification:
            return "verification";
        case error_kind::limit:
            return "limit";
        case error_kind::interrupted:
            return "interrupted";
    }
    return "unknown";
}

int exit_code(error_kind kind) noexcept {
    switch (kind) {
        case error_kind::usage:
            return 2;
        case error_kind::not_found:
        case error_kind::permission:
        case error_kind::unsuitable:
        case error_kind::container:
        case error_kind::in_use:
        case error_kind::same_disk:
        case error_kind::size_mismatch:
        case error_kind::recorded_source:
        case error_kind::corrupt_file:
            return 3;
        case error_kind::device_io:
        case error_kind::no_space:
        case error_kind::flush_failed:
        case error_kind::size_changed:
            return 4;
        case error_kind::peer:
            return 5;
        case error_kind::verification:
            return 6;
        case error_kind::limit:
            return 7;
        case error_kind::interrupted:
            return 130;
    }
    return 4;
}

error::error(error_kind kind, const std::string& message, error_detail detail)
    : std::runtime_error(message), kind_(kind), detail_(std::move(detail)) {}

error system_error(error_kind kind, int system_errno, error_detail detail) {
    std::string message = detail.device.empty() ? detail.operation : detail.operation + " of " + detail.device;
    message += " failed";
    if (detail.offset) message += " at offset " + std::to_string(*detail.offset);
    if (detail.length) message += ", length " + std::to_string(*detail.length);
    message += ": " + std::generic_category().message(system_errno);
    detail.system_errno = system_errno;
    const bool full = system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
    if (full && kind == error_kind::device_io) {
        kind = error_kind::no_space;
        if (detail.hint.empty()) detail.hint = "make room on the target's file system and run the sync again";
    }
    return error(kind, message, std::move(detail));
}

}  // namespace reprotect
