// A look at disks before they are synced, and the estimate that follows from it.
#pragma once

#include "reprotect/cost.hpp"
#include "reprotect/history.hpp"

#include <optional>

#include "verbs.hpp"

namespace reprotect::tool {

/// The disks that are here; a null one is the peer's, or missing.
struct disks_here {
    device* source = nullptr;
    device* target = nullptr;
};

/// What was estimated, before earlier runs were asked, and after.
struct looked_estimate {
    estimate raw;
    estimate shown;
    history_pair pair;
    traffic_step crossed;  ///< what the look took of the link
};

/// Samples the disks of the line and estimates as it says, priced by the bill where there is one; what crosses to a peer for it stays within `most` (else throws
/// `limit`). Nothing is written to the disks; to a scratch file where the line says so. Throws what reading throws.
looked_estimate look(const arguments& line, const disks_here& here, const surroundings& around,
                     const std::optional<traffic_bill>& bill, const traffic_step& most);

}  // namespace reprotect::tool
