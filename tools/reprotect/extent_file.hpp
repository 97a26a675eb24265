// Extents from a file: a differential saved by `diff -o`, or lines of text as a script, a hypervisor's bitmap export or
// `diff --extents` gives them. And the care that -o takes not to replace a disk.
#pragma once

#include "reprotect/extent.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reprotect/device.hpp"

namespace reprotect::tool {

struct loaded_extents {
    extent_set extents;
    std::optional<std::uint64_t> disk_bytes;  ///< of a differential: the disk it was made for
};

/// Text lines hold "offset length" (sizes as on the command line; words after them and lines from '#' on are ignored).
/// `option` is named in messages. Throws `usage` for text that makes no sense, `corrupt_file` for a damaged differential,
/// `not_found`, `permission`, `unsuitable`, `device_io`.
loaded_extents load_extents(const std::string& path, const std::string& option);

/// Throws `usage` where extents reach beyond a disk, `size_mismatch` where they were made for a disk of another size.
void check_extents(const loaded_extents& loaded, const device& disk, const std::string& option);

/// Refuses a -o file that is one of the disks, no regular file, or a file that is no map or differential: saving renames
/// over it, and a disk's name given by mistake must not cost the disk.
void check_output(const std::string& path, const std::vector<device*>& disks);

}  // namespace reprotect::tool
