// How a footprint is found: from the disk itself downwards. A partition lies on a range of its parent, a loop device on a
// range of its backing file, both exactly; a mapped device somewhere on its slaves, a file somewhere on the device of its
// file system. Two disks are in each other's way where one's exact range meets anything of the other's.
// Sources: sysfs (Documentation/ABI/testing/sysfs-block of the kernel), proc(5), loop(4).
#include "device/topology.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "base/owned_descriptor.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t sysfs_sector_bytes =
    512;  // specified: sysfs counts in these, whatever the device's sectors are

std::uint64_t read_number(const std::string& path) {
    const std::string line = read_line(path);
    return line.empty() ? 0 : std::strtoull(line.c_str(), nullptr, 10);
}

// The kernel packs device numbers into loop_info64 in its own way.
dev_t unpack_device(std::uint64_t packed) {
    return makedev(static_cast<unsigned>((packed >> 8) & 0xfff),
                   static_cast<unsigned>((packed & 0xff) | ((packed >> 12) & 0xfff00)));
}

extent loop_range(std::uint64_t offset, std::uint64_t size_limit) {
    offset = offset < whole_node.length ? offset : whole_node.length;
    const std::uint64_t rest = whole_node.length - offset;
    return {offset, size_limit != 0 && size_limit < rest ? size_limit : rest};
}

// The device of a file system whose own number is made up (btrfs): what it was mounted from.
dev_t mounted_from(std::uint64_t mount_id) {
    for (const mount_entry& entry : mount_table())
        if (entry.id == mount_id) return block_device_at(entry.source);
    return 0;
}

dev_t file_system_device(int directory, const char* path, int flags, dev_t device) {
    if (major(device) != 0) return device;
    struct statx status {};
    if (::statx(directory, path, flags | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) != 0) return 0;
    return (status.stx_mask & STATX_MNT_ID) != 0 ? mounted_from(status.stx_mnt_id) : 0;
}

class footprint_walk {
public:
    void block(dev_t device, extent range, bool exact) {
        // Stacks are a few deep and free of cycles; the bound is for a kernel that says otherwise.
        constexpr std::size_t footings_max = 4096;
        if (footings_.size() >= footings_max) return;
        footings_.push_back({disk_node::block(device), range, exact, device_path(device)});
        const std::string sysfs = sysfs_path(device);
        if (sysfs.empty()) return;
        if (is_partition(sysfs)) {
            const extent own = partition_range(sysfs);
            const extent used = intersect(range, {0, own.length});
            block(device_number(sysfs + "/.."), {own.offset + used.offset, used.length}, exact);
            return;
        }
        add_unit(sysfs, range, exact);
        if (!read_line(sysfs + "/loop/backing_file").empty()) loop(device, range, exact);
        for (const std::string& slave : directory_entries(sysfs + "/slaves"))
            if (const dev_t below = device_number(sysfs + "/slaves/" + slave); below != 0)
                block(below, whole_node, false);
    }

    void file(const disk_node& node, const std::string& path, extent range, bool exact, dev_t file_system) {
        footings_.push_back({node, range, exact, path});
        if (file_system != 0 && !sysfs_path(file_system).empty()) block(file_system, whole_node, false);
    }

    std::vector<footing> take() { return std::move(footings_); }

private:
    // Only names that the standards call world-wide: serial numbers made up by a vendor repeat.
    void add_unit(const std::string& sysfs, extent range, bool exact) {
        for (const char* place : {"/wwid", "/device/wwid"}) {
            const std::string name = read_line(sysfs + place);
            if (!name.starts_with("naa.") && !name.starts_with("eui.") && !name.starts_with("uuid.")) continue;
            footings_.push_back({{disk_node::kind::unit, 0, 0, name}, range, exact, {}});
            return;
        }
    }

    void loop(dev_t device, extent range, bool exact) {
        for (const bound_loop& each : bound_loops()) {
            if (each.device != device) continue;
            const extent used = intersect(range, {0, each.backing_range.length});
            const extent below{each.backing_range.offset + used.offset, used.length};
            if (each.backing.what == disk_node::kind::block) {
                block(each.backing.device, below, exact);
                return;
            }
            dev_t file_system = major(each.backing.device) != 0 ? each.backing.device : 0;
            struct stat status {};
            if (file_system == 0 && ::stat(each.backing_path.c_str(), &status) == 0 &&
                status.st_dev == each.backing.device && status.st_ino == each.backing.inode)
                file_system = file_system_device(AT_FDCWD, each.backing_path.c_str(), 0, status.st_dev);
            file(each.backing, each.backing_path, below, exact, file_system);
            return;
        }
    }

    std::vector<footing> footings_;
};

}  // namespace

std::string read_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::vector<std::string> directory_entries(const std::string& path) {
    std::vector<std::string> names;
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return names;
    while (const dirent* entry = ::readdir(directory)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(directory);
    return names;
}

std::string sysfs_path(dev_t device) {
    const std::string link = "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
    char* resolved = ::realpath(link.c_str(), nullptr);
    if (resolved == nullptr) return {};
    std::string path = resolved;
    std::free(resolved);
    return path;
}

dev_t device_number(const std::string& sysfs_directory) {
    const std::string line = read_line(sysfs_directory + "/dev");
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) return 0;
    return makedev(static_cast<unsigned>(std::strtoul(line.c_str(), nullptr, 10)),
                   static_cast<unsigned>(std::strtoul(line.c_str() + colon + 1, nullptr, 10)));
}

std::string device_path(dev_t device) {
    const std::string sysfs = sysfs_path(device);
    if (sysfs.empty()) return "block device " + std::to_string(major(device)) + ":" + std::to_string(minor(device));
    if (const std::string mapped = read_line(sysfs + "/dm/name"); !mapped.empty()) return "/dev/mapper/" + mapped;
    std::string name = sysfs.substr(sysfs.rfind('/') + 1);
    for (char& letter : name)
        if (letter == '!') letter = '/';  // sysfs writes cciss/c0d0 so
    return "/dev/" + name;
}

bool is_partition(const std::string& sysfs_directory) {
    return !read_line(sysfs_directory + "/partition").empty();
}

extent partition_range(const std::string& sysfs_directory) {
    return {read_number(sysfs_directory + "/start") * sysfs_sector_bytes,
            read_number(sysfs_directory + "/size") * sysfs_sector_bytes};
}

std::string unescape_octal(const std::string& text) {
    const auto is_octal = [](char letter) { return letter >= '0' && letter <= '7'; };
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '\\' && at + 3 < text.size() && is_octal(text[at + 1]) && is_octal(text[at + 2]) &&
            is_octal(text[at + 3])) {
            plain += static_cast<char>((text[at + 1] - '0') * 64 + (text[at + 2] - '0') * 8 + (text[at + 3] - '0'));
            at += 3;
        } else {
            plain += text[at];
        }
    }
    return plain;
}

dev_t block_device_at(const std::string& path) {
    // Sources of mounts are free text; only these are names of devices, and none of them can hang.
    if (!path.starts_with("/dev/")) return 0;
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode) ? status.st_rdev : 0;
}

std::vector<mount_entry> mount_table() {
    std::ifstream table("/proc/self/mountinfo");
    if (!table) {
        error_detail detail;
        detail.operation = "open";
        detail.device = "/proc/self/mountinfo";
        detail.hint = "mount /proc";
        throw error(error_kind::permission, "cannot see who uses a disk: /proc/self/mountinfo cannot be read",
                    std::move(detail));
    }
    std::vector<mount_entry> entries;
    for (std::string line; std::getline(table, line);) {
        std::istringstream words(line);
        mount_entry entry;
        std::string parent, numbers, root, word, options;
        words >> entry.id >> parent >> numbers >> root >> entry.mount_point >> options;
        while (words >> word && word != "-") {
        }
        words >> entry.type >> entry.source >> options;
        const std::size_t colon = numbers.find(':');
        if (!words || colon == std::string::npos) continue;
        entry.device = makedev(static_cast<unsigned>(std::strtoul(numbers.c_str(), nullptr, 10)),
                               static_cast<unsigned>(std::strtoul(numbers.c_str() + colon + 1, nullptr, 10)));
        entry.mount_point = unescape_octal(entry.mount_point);
        entry.source = unescape_octal(entry.source);
        entry.read_only = options == "ro" || options.starts_with("ro,");
        entries.push_back(std::move(entry));
    }
    return entries;
}

std::vector<bound_loop> bound_loops() {
    std::vector<bound_loop> loops;
    for (const std::string& name : directory_entries("/sys/block")) {
        if (!name.starts_with("loop")) continue;
        const std::string sysfs = "/sys/block/" + name;
        std::string backing = read_line(sysfs + "/loop/backing_file");
        if (backing.empty()) continue;
        bound_loop each;
        each.path = "/dev/" + name;
        each.device = device_number(sysfs);
        each.backing_path = backing;
        each.backing_range = loop_range(read_number(sysfs + "/loop/offset"), read_number(sysfs + "/loop/sizelimit"));
        each.read_only = read_line(sysfs + "/ro") == "1";

        // The driver knows the file even when its name is gone or belongs to another file by now.
        const owned_descriptor descriptor(::open(each.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        struct stat node {};
        loop_info64 info{};
        if (descriptor && ::fstat(descriptor.get(), &node) == 0 && node.st_rdev == each.device &&
            ::ioctl(descriptor.get(), LOOP_GET_STATUS64, &info) == 0) {
            each.backing = info.lo_rdevice != 0 ? disk_node::block(unpack_device(info.lo_rdevice))
                                                : disk_node::file(unpack_device(info.lo_device), info.lo_inode);
            each.backing_range = loop_range(info.lo_offset, info.lo_sizelimit);
        } else {
            struct stat file {};
            if (::stat(backing.c_str(), &file) != 0) continue;
            each.backing =
                S_ISBLK(file.st_mode) ? disk_node::block(file.st_rdev) : disk_node::file(file.st_dev, file.st_ino);
        }
        loops.push_back(std::move(each));
    }
    return loops;
}

std::vector<footing> footprint(int descriptor, const std::string& path) {
    footprint_walk walk;
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return {};
    if (S_ISBLK(status.st_mode)) {
        walk.block(status.st_rdev, whole_node, true);
    } else if (S_ISREG(status.st_mode)) {
        walk.file(disk_node::file(status.st_dev, status.st_ino), path, whole_node, true,
                  file_system_device(descriptor, "", AT_EMPTY_PATH, status.st_dev));
    }
    return walk.take();
}

bool footprints_overlap(const std::vector<footing>& a, const std::vector<footing>& b) {
    for (const footing& one : a)
        for (const footing& other : b)
            if (one.node == other.node && (one.exact || other.exact) && !intersect(one.range, other.range).empty())
                return true;
    return false;
}

}  // namespace reprotect
