// The one-sided question beside `same_disk`, for whoever is about to write.
#pragma once

#include "reprotect/device.hpp"

namespace reprotect {

/// True where writing to the target would change what the source reads as: the same disk, or one that the source's image builds
/// upon. An overlay that is made equal to its own backing file changes nothing of it.
bool would_change(const device& target, const device& source);

}  // namespace reprotect
