// Who uses a disk is asked from its footprint upwards. On each node that the disk exactly lies on (itself, a partition's
// parent, a loop device's file) everyone is collected who uses a byte of it: partitions, loop devices, holders in the block
// layer, and from each of these upwards again, with mounts and swap where they sit. The nodes met on the way are then looked
// for among the open descriptors of all processes. The disk's own footprint is not a user of itself.
// Sources: proc(5), Documentation/ABI/testing/sysfs-block of the kernel.
#include "device/holders.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "device/image_lock.hpp"

namespace reprotect {
namespace {

struct swap_area {
    std::string path;
    disk_node node;
};

std::vector<swap_area> swap_areas() {
    std::vector<swap_area> areas;
    std::ifstream table("/proc/swaps");
    std::string line;
    std::getline(table, line);  // the heading
    while (std::getline(table, line)) {
        const std::string path = unescape_octal(line.substr(0, line.find_first_of(" \t")));
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0) continue;
        areas.push_back({path, S_ISBLK(status.st_mode) ? disk_node::block(status.st_rdev)
                                                       : disk_node::file(status.st_dev, status.st_ino)});
    }
    return areas;
}

// Device-mapper joins volume group and volume by one hyphen and doubles the hyphens within either.
std::string volume_group(const std::string& mapped_name) {
    std::string group;
    for (std::size_t at = 0; at < mapped_name.size(); ++at) {
        if (mapped_name[at] == '-') {
            if (at + 1 >= mapped_name.size() || mapped_name[at + 1] != '-') break;
            ++at;
        }
        group += mapped_name[at];
    }
    return group;
}

// What a device of the block layer is that stands on the disk, and how it is made to let go.
holder describe_block_layer(const std::string& name, const std::string& sysfs) {
    const bool writes = read_line(sysfs + "/ro") != "1";
    if (const std::string mapped = read_line(sysfs + "/dm/name"); !mapped.empty()) {
        const std::string uuid = read_line(sysfs + "/dm/uuid");
        if (uuid.starts_with("LVM-"))
            return {name + " (LVM " + mapped + ")", "vgchange -an " + volume_group(mapped), writes};
        if (uuid.starts_with("CRYPT-"))
            return {name + " (encrypted volume " + mapped + ")", "cryptsetup close " + mapped, writes};
        if (uuid.starts_with("mpath-")) return {name + " (multipath " + mapped + ")", "multipath -f " + mapped, writes};
        return {name + " (device-mapper " + mapped + ")", "dmsetup remove " + mapped, writes};
    }
    if (!directory_entries(sysfs + "/md").empty())
        return {name + " (RAID, " + read_line(sysfs + "/md/level") + ")", "mdadm --stop /dev/" + name, writes};
    if (name.starts_with("bcache")) return {name + " (bcache)", "echo 1 > /sys/block/" + name + "/bcache/stop", writes};
    return {name + " (block device)", "stop what made /dev/" + name, writes};
}

class user_search {
public:
    explicit user_search(const std::vector<footing>& lies_on)
        : loops_(bound_loops()), mounts_(mount_table()), swaps_(swap_areas()) {
        for (const footing& each : lies_on)
            if (each.exact) own_.insert(each.node);
    }

    // Everyone on a range of a node of the footprint. `direct`: the node is the disk itself.
    void collect(const footing& place, bool direct) { visit(place.node, place.range, direct ? "" : place.path); }

    void add(use_kind kind, holder shown, int process = 0) {
        for (const disk_user& each : users_)
            if (each.kind == kind && each.shown.who == shown.who) return;
        users_.push_back({kind, std::move(shown), process});
    }

    // Every process but this one that has one of the nodes open. `disk` is the disk's own descriptor.
    void collect_processes(int disk);

    std::vector<disk_user> take() { return std::move(users_); }

private:
    static std::string through(const std::string& path) { return path.empty() ? "" : " (through " + path + ")"; }

    void visit(const disk_node& node, extent range, const std::string& path) {
        if (!visited_.insert(node).second) return;
        if (node.what == disk_node::kind::block) {
            const std::string sysfs = sysfs_path(node.device);
            if (!sysfs.empty()) {
                visit_partitions(sysfs, range);
                visit_block_layer(sysfs);
            }
        }
        visit_loops(node, range);
        if (node.what == disk_node::kind::block) add_mounts(node.device, path);
        for (const swap_area& each : swaps_)
            if (each.node == node) add(use_kind::swap, {"swap" + through(path), "swapoff " + each.path});
    }

    bool is_own(const disk_node& node) const { return own_.contains(node); }

    void visit_partitions(const std::string& sysfs, extent range) {
        for (const std::string& name : directory_entries(sysfs)) {
            const std::string below = sysfs + "/" + name;
            if (!is_partition(below) || intersect(partition_range(below), range).empty()) continue;
            const disk_node node = disk_node::block(device_number(below));
            if (!is_own(node)) visit(node, whole_node, device_path(node.device));
        }
    }

    void visit_block_layer(const std::string& sysfs) {
        for (const std::string& name : directory_entries(sysfs + "/holders")) {
            const disk_node node = disk_node::block(device_number(sysfs + "/holders/" + name));
            if (is_own(node)) continue;
            add_layer(node, device_path(node.device), describe_block_layer(name, "/sys/block/" + name));
        }
        // A caching device has no holder; its link to the cache set says what it is.
        char link[512];
        const ssize_t length = ::readlink((sysfs + "/bcache/set").c_str(), link, sizeof link);
        if (length <= 0) return;
        const std::string target(link, static_cast<std::size_t>(length));
        const std::string set = target.substr(target.rfind('/') + 1);
        add(use_kind::block_layer, {"bcache set " + set, "echo 1 > /sys/fs/bcache/" + set + "/stop"});
    }

    // A device that stands on the disk writes to it no more than its own users do; one without users may at any time.
    void add_layer(const disk_node& node, const std::string& path, holder shown) {
        const auto first = static_cast<std::ptrdiff_t>(users_.size());
        visit(node, whole_node, path);
        if (users_.begin() + first != users_.end())
            shown.writes = std::any_of(users_.begin() + first, users_.end(),
                                       [](const disk_user& each) { return each.shown.writes; });
        add(use_kind::block_layer, std::move(shown));
    }

    void visit_loops(const disk_node& node, extent range) {
        for (const bound_loop& each : loops_) {
            const disk_node loop = disk_node::block(each.device);
            if (each.backing != node || is_own(loop) || intersect(each.backing_range, range).empty()) continue;
            add_layer(loop, each.path,
                      {"loop device " + each.path + (each.read_only ? ", read-only" : ""), "losetup -d " + each.path,
                       !each.read_only});
        }
    }

    void add_mount(const mount_entry& entry, const std::string& path) {
        add(use_kind::mount,
            {"mounted on " + entry.mount_point + (entry.read_only ? ", read-only" : "") + through(path),
             "umount " + entry.mount_point, !entry.read_only});
    }

    void add_mounts(dev_t device, const std::string& path) {
        // The last mount is on top of earlier ones and comes off first.
        for (auto entry = mounts_.rbegin(); entry != mounts_.rend(); ++entry)
            if (entry->device == device || block_device_at(entry->source) == device) add_mount(*entry, path);
        add_btrfs(device, path);
    }

    // A btrfs on several devices is mounted from one of them; the kernel lists the others.
    void add_btrfs(dev_t device, const std::string& path) {
        for (const std::string& uuid : directory_entries("/sys/fs/btrfs")) {
            const std::string members = "/sys/fs/btrfs/" + uuid + "/devices";
            std::set<dev_t> devices;
            for (const std::string& name : directory_entries(members))
                devices.insert(device_number(members + "/" + name));
            if (!devices.contains(device)) continue;
            bool found = false;
            for (auto entry = mounts_.rbegin(); entry != mounts_.rend(); ++entry) {
                if (entry->type != "btrfs" || !devices.contains(block_device_at(entry->source))) continue;
                add_mount(*entry, path);
                found = true;
            }
            if (!found)
                add(use_kind::mount, {"part of the mounted btrfs " + uuid + through(path),
                                      "unmount that file system, also in other mount namespaces"});
        }
    }

    std::vector<bound_loop> loops_;
    std::vector<mount_entry> mounts_;
    std::vector<swap_area> swaps_;
    std::set<disk_node> own_;
    std::set<disk_node> visited_;
    std::vector<disk_user> users_;
};

struct directory_closer {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

// The flags that a descriptor was opened with; from /proc/PID/fdinfo, in octal.
unsigned long open_flags(const std::string& process, const std::string& descriptor) {
    std::ifstream info("/proc/" + process + "/fdinfo/" + descriptor);
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("flags:")) return std::strtoul(line.c_str() + 6, nullptr, 8);
    return O_PATH;  // gone meanwhile
}

// A child of ours between fork and exec has our descriptors; it is not somebody else.
bool is_inherited(const std::string& process, const std::string& descriptor, int disk) {
    return ::syscall(SYS_kcmp, ::getpid(), std::atoi(process.c_str()), KCMP_FILE, disk,
                     std::atoi(descriptor.c_str())) == 0;
}

void user_search::collect_processes(int disk) {
    char self[32]{};
    const ssize_t length = ::readlink("/proc/self", self, sizeof self - 1);
    const std::string own(self, length > 0 ? static_cast<std::size_t>(length) : 0);
    for (const std::string& process : directory_entries("/proc")) {
        if (process == own || process.find_first_not_of("0123456789") != std::string::npos) continue;
        const std::unique_ptr<DIR, directory_closer> directory(::opendir(("/proc/" + process + "/fd").c_str()));
        if (!directory) continue;
        bool reads = false;
        bool writes = false;
        while (const dirent* entry = ::readdir(directory.get())) {
            if (entry->d_name[0] == '.') continue;
            // DONT_SYNC: a descriptor on a server that is away must not make us wait.
            struct statx status {};
            if (::statx(::dirfd(directory.get()), entry->d_name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) !=
                0)
                continue;
            disk_node node;
            if (S_ISBLK(status.stx_mode))
                node = disk_node::block(makedev(status.stx_rdev_major, status.stx_rdev_minor));
            else if (S_ISREG(status.stx_mode))
                node = disk_node::file(makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino);
            else
                continue;
            if (!visited_.contains(node)) continue;
            const unsigned long flags = open_flags(process, entry->d_name);
            if ((flags & O_PATH) != 0 || is_inherited(process, entry->d_name, disk)) continue;
            reads = true;
            writes = writes || (flags & O_ACCMODE) != O_RDONLY;
        }
        if (reads)
            add(use_kind::process,
                {"open " + std::string(writes ? "for writing " : "for reading ") + "in " +
                     describe_process(std::atoi(process.c_str())),
                 "stop process " + process, writes},
                std::atoi(process.c_str()));
    }
}

void add_locks(user_search& search, int descriptor, const std::string& path) {
    const std::string where = path.empty() ? "" : " (through " + path + ")";
    // A sync holds QEMU's bytes as well.
    if (is_sync_locked(descriptor)) {
        search.add(use_kind::sync_lock, {"target of another sync" + where, "wait for that sync to end"});
        return;
    }
    const image_users users = find_image_users(descriptor);
    if (users.any)
        search.add(use_kind::image_lock, {"locked by QEMU" + std::string(users.writers ? "" : " for reading") + where,
                                          "stop the virtual machine or QEMU tool that uses it", users.writers});
}

}  // namespace

std::string describe_process(int process) {
    const std::string name = read_line("/proc/" + std::to_string(process) + "/comm");
    return "process " + std::to_string(process) + (name.empty() ? "" : " (" + name + ")");
}

owned_descriptor open_footing(const footing& place) {
    owned_descriptor file(::open(place.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || disk_node::file(status.st_dev, status.st_ino) != place.node)
        return {};
    return file;
}

std::vector<disk_user> find_users(const native_handle& disk, const std::vector<footing>& lies_on,
                                  std::span<const held_file> held) {
    user_search search(lies_on);
    for (std::size_t index = 0; index < lies_on.size() && lies_on[index].exact; ++index) {
        const footing& place = lies_on[index];
        if (place.node.what != disk_node::kind::unit) search.collect(place, index == 0);
    }
    add_locks(search, disk.descriptor, "");
    for (std::size_t index = 1; index < lies_on.size() && lies_on[index].exact; ++index) {
        const footing& place = lies_on[index];
        if (place.node.what != disk_node::kind::file) continue;
        const auto own =
            std::find_if(held.begin(), held.end(), [&](const held_file& each) { return each.node == place.node; });
        if (own != held.end())
            add_locks(search, own->descriptor, place.path);
        else if (const owned_descriptor file = open_footing(place); file)
            add_locks(search, file.get(), place.path);
    }
    search.collect_processes(disk.descriptor);
    return search.take();
}

void remove_server(std::vector<disk_user>& users, int server) {
    std::erase_if(users, [&](const disk_user& each) {
        return each.kind == use_kind::image_lock || (each.kind == use_kind::process && each.process == server);
    });
}

std::vector<holder> find_holders(const device& disk) {
    std::vector<holder> holders;
    const auto add = [&](std::vector<disk_user> users) {
        for (disk_user& each : users) holders.push_back(std::move(each.shown));
    };
    if (const auto native = disk.native()) add(find_users(*native, footprint(native->descriptor, native->path)));
    for (const lower_file& each : disk.lies_in()) {
        std::vector<disk_user> users = find_users(each.handle, footprint(each.handle.descriptor, each.handle.path));
        remove_server(users, each.server);
        add(std::move(users));
    }
    return holders;
}

}  // namespace reprotect
