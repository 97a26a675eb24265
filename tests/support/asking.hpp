// The calls that a client can make of a server, as one: what is wished for, of what, and how it failed. For tests to
// which it is the same whether a sync, a comparison or a checksum is refused, lost or stopped.
#pragma once

#include "reprotect/connect.hpp"
#include "reprotect/error.hpp"
#include "support/failures.hpp"
#include "support/sync_rig.hpp"

#include <optional>
#include <stop_token>
#include <string>

namespace reprotect::test {

enum class wish { push, pull, diff, checksum };

inline const char* to_string(wish what) {
    static constexpr const char* names[] = {"push", "pull", "diff", "checksum"};
    return names[static_cast<std::size_t>(what)];
}

/// What a call from here failed with, whichever way it says so. `disk` is the one here: a pull's target, else the
/// source.
inline std::optional<error> ask(wish what, const std::string& remote, const connect_options& how, device& disk,
                                const sync_options& options = small_sync_options(), std::stop_token cancel = {}) {
    sync_report report;
    const auto thrown = failure_of([&] {
        sync_request request;
        request.options = options;
        request.cancel = cancel;
        (what == wish::pull ? request.target : request.source) = &disk;
        if (what == wish::checksum)
            checksum_remote(remote, {}, how, nullptr, cancel);
        else
            report =
                what == wish::diff ? diff_with_remote(request, remote, how) : sync_with_remote(request, remote, how);
    });
    return thrown ? thrown : report.failure;
}

}  // namespace reprotect::test
