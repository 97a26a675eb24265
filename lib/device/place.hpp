// Where a disk is, in words that another process understands, also one on another machine: so that two sides of a session can
// tell that they hold one disk under two names.
#pragma once

#include <string>
#include <vector>

#include "device/topology.hpp"
#include "reprotect/device.hpp"

namespace reprotect {

/// A plain value. Comparable where both were made by the same kernel, or lie on units with a world-wide name.
struct disk_place {
    std::string
        machine;  ///< the same after a restart: 32 hex digits, SHA-256 over "reprotect machine 1" || 0 || machine-id(5); or empty
    std::string kernel;  ///< new after a restart: the same of the kernel's boot_id; or empty
    device_identity identity;
    std::vector<std::vector<footing>> written;  ///< what its bytes lie on, a list for each file or device
    std::vector<std::vector<footing>> read;     ///< and what it is only read from: backing files
};

disk_place place_of(const device& disk);

/// The same with the identity's values hashed: what a far side may have, which compares and keeps it, but learns no path,
/// address or serial number from it. Places are compared with places made the same way.
disk_place far_place_of(const device& disk);

/// `same_disk` (interlock.hpp) and `would_change` (same_disk.hpp), asked of places.
bool same_disk(const disk_place& a, const disk_place& b);
bool would_change(const disk_place& target, const disk_place& source);

}  // namespace reprotect
