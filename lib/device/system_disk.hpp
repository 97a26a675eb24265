// What the system knows of a disk beyond its bytes: which names it has in sysfs, and what tells it from every other disk.
#pragma once

#include "base/owned_descriptor.hpp"
#include "reprotect/device.hpp"

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace reprotect {

/// A block device's place in sysfs. All strings are empty where sysfs is not mounted.
struct block_disk {
    std::string folder;        ///< /sys/devices/…/block/sda/sda1
    std::string whole_folder;  ///< /sys/devices/…/block/sda
    std::string whole_name;    ///< sda
    std::string partition;     ///< "1" for a partition
};
block_disk find_block_disk(dev_t number);

/// What a loop device (or a partition of one) lies on, opened with these flags; nothing where its name leads elsewhere by now.
owned_descriptor open_loop_backing(int loop_descriptor, int flags);

/// "kind=file fs=… inode=… birth=…". Works on an O_PATH descriptor.
device_identity file_identity(int descriptor);

/// "kind=block …", or "kind=loop …" with its backing file's identity.
device_identity block_identity(int descriptor, std::uint64_t size_bytes);

}  // namespace reprotect
