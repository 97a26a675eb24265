// Going on after a lost connection: the same session again, after a pause, until it ends in another way or patience does.
#pragma once

#include <functional>

#include "reprotect/connect.hpp"

namespace reprotect {

/// Calls `attempt` once, and again as `how` says: only once a session that was under way lost its connection, since then the
/// peer is known, and whatever keeps it from being reached may pass. The report is of all attempts together, as `sync_report` says.
/// A limit on what is sent holds for all of them, with what may have been under way where a link was lost. Pauses end when the request is cancelled.
sync_report with_retries(const retry_policy& how, sync_request request,
                         const std::function<sync_report(const sync_request&)>& attempt);

}  // namespace reprotect
