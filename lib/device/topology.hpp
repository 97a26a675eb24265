// What the kernel says about how disks lie on one another: partitions, loop devices, device-mapper, md, file systems.
// Interlocks stand on two questions that are answered here: which bytes of what does a disk consist of, and who is where.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "reprotect/extent.hpp"

namespace reprotect {

/// A thing that holds bytes, by what the kernel calls it, whatever its name in the file system.
struct disk_node {
    enum class kind {
        file,   ///< by file system and inode
        block,  ///< by block device number
        unit,   ///< by world-wide name: two paths to one unit are one disk
    };
    kind what = kind::file;
    dev_t device = 0;  ///< of the file system for a file, of the device itself for a block device
    ino_t inode = 0;
    std::string world_wide_name = {};
    auto operator<=>(const disk_node&) const = default;

    static disk_node file(dev_t file_system, ino_t inode) { return {kind::file, file_system, inode, {}}; }
    static disk_node block(dev_t device) { return {kind::block, device, 0, {}}; }
};

/// Part of a disk's footprint: it lies on these bytes of this node.
struct footing {
    disk_node node;
    extent range;
    /// Its bytes are the range. False: they lie somewhere within it (a file on a file system, a volume on a volume group).
    bool exact = true;
    std::string path;  ///< a name for the node, or empty
};

/// "To the end, wherever that is"; small enough that offsets may be added to it.
inline constexpr extent whole_node{0, std::uint64_t{1} << 62};

/// What the file or block device behind a descriptor lies on, itself first, then downwards. Empty for anything else.
std::vector<footing> footprint(int descriptor, const std::string& path);

/// True where a byte is shared for certain: same bytes, or one lies within the other. Two files of one file system share none.
bool footprints_overlap(const std::vector<footing>& a, const std::vector<footing>& b);

struct bound_loop {
    std::string path;  ///< "/dev/loop3"
    dev_t device = 0;
    disk_node backing;
    std::string backing_path;  ///< as the kernel says it; may be of another mount namespace
    extent backing_range;
    bool read_only = false;
};
std::vector<bound_loop> bound_loops();

struct mount_entry {
    std::uint64_t id = 0;
    dev_t device = 0;  ///< made up by the kernel for btrfs, tmpfs and other file systems without one device
    std::string mount_point;
    std::string type;
    std::string source;
    bool read_only = false;  ///< the file system, not merely this mount of it
};
/// Of this process's mount namespace. Throws `permission` where /proc cannot be read: without it nobody's use is seen.
std::vector<mount_entry> mount_table();

/// "/sys/devices/…/block/sda/sda1" of a block device, or empty.
std::string sysfs_path(dev_t device);
std::string read_line(const std::string& path);
std::vector<std::string> directory_entries(const std::string& path);
/// From a sysfs directory's "dev" file; 0 where there is none.
dev_t device_number(const std::string& sysfs_directory);
std::string device_path(dev_t device);
bool is_partition(const std::string& sysfs_directory);
/// A partition's bytes on its parent.
extent partition_range(const std::string& sysfs_directory);
/// Undoes the octal escapes of /proc's tables.
std::string unescape_octal(const std::string& text);
/// The number of the block device that a path names; 0 where it names none.
dev_t block_device_at(const std::string& path);

}  // namespace reprotect
