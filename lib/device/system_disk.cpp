// Identities. A state record is found by the identity of its disk, so an identity must not outlive the disk: a name or a
// device number is given to the next disk after a reboot. What the hardware or the file system says of itself comes first
// (WWN, serial number, UUID); where it says nothing, the kernel's disk sequence number together with its boot id is taken,
// which ends with the boot: a record is then lost rather than applied to another disk. Everything is read from sysfs and
// from the descriptor, not from udev's database, which containers and initramfs lack.
#include "device/system_disk.hpp"

#include "device/topology.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace reprotect {
namespace {

using fields = std::vector<std::pair<std::string, std::string>>;

std::string hex(const unsigned char* bytes, std::size_t count) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t at = 0; at < count; ++at) {
        text += digits[bytes[at] >> 4];
        text += digits[bytes[at] & 15];
    }
    return text;
}

// Text of hardware is padded with blanks, and some of it is nothing but a placeholder.
std::string trimmed(const std::string& text) {
    const std::size_t begin = text.find_first_not_of(" \t\n");
    if (begin == std::string::npos) return {};
    const std::string inner = text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
    return inner.find_first_not_of("0-") == std::string::npos ? std::string() : inner;
}

std::string number_text(dev_t number) {
    return std::to_string(major(number)) + ":" + std::to_string(minor(number));
}

// "nfs:server:/export" of a file system without an id of its own: the source field of its mount, where it names a place.
// "tmpfs" and "fuse" name none, and are the same for every mount.
std::string mount_source(dev_t number) {
    for (const mount_entry& entry : mount_table())
        if (entry.device == number && entry.source.find('/') != std::string::npos)
            return entry.type + ":" + entry.source;
    return {};
}

// As the loop driver keeps device numbers (the kernel's new_encode_dev).
std::uint64_t packed(dev_t number) {
    const std::uint64_t low = minor(number);
    return (low & 0xff) | std::uint64_t{major(number)} << 8 | (low & ~std::uint64_t{0xff}) << 12;
}

std::string file_system_uuid(int descriptor) {
    // FS_IOC_GETFSUUID, Linux 6.9; the headers of this compiler's system are older.
    struct {
        unsigned char length = 0;
        std::array<unsigned char, 16> bytes{};
    } uuid;
    static_assert(sizeof uuid == 17);
    const unsigned long request = _IOR(0x15, 0, decltype(uuid));
    if (::ioctl(descriptor, request, &uuid) != 0 || uuid.length == 0 || uuid.length > uuid.bytes.size()) return {};
    return trimmed(hex(uuid.bytes.data(), uuid.length));
}

// ext4 and btrfs derive f_fsid from their UUID on every kernel, so a new kernel does not change what it says; xfs takes the
// device number, so there the UUID is asked for first.
std::string file_system_id(int descriptor, dev_t number) {
    struct statfs info {};
    if (::fstatfs(descriptor, &info) != 0) return "dev:" + number_text(number);
    std::array<unsigned char, sizeof info.f_fsid> id{};
    std::memcpy(id.data(), &info.f_fsid, id.size());
    const std::string fsid = trimmed(hex(id.data(), id.size()));
    const auto type = static_cast<std::uint32_t>(info.f_type);
    const bool stable = type == 0xEF53 || type == 0x9123683E;
    if (stable && !fsid.empty()) return "fsid:" + fsid;
    if (const std::string uuid = file_system_uuid(descriptor); !uuid.empty()) return "uuid:" + uuid;
    if (!fsid.empty()) return "fsid:" + fsid;
    const std::string source = mount_source(number);
    return source.empty() ? "dev:" + number_text(number) + "@" + read_line("/proc/sys/kernel/random/boot_id")
                          : "mount:" + source;
}

std::string boot_bound_id(const block_disk& disk) {
    return "seq:" + read_line(disk.whole_folder + "/diskseq") + "@" + read_line("/proc/sys/kernel/random/boot_id");
}

fields backing_fields(int descriptor, const block_disk& disk) {
    loop_info64 info{};
    if (::ioctl(descriptor, LOOP_GET_STATUS64, &info) != 0) return {{"disk", boot_bound_id(disk)}};
    device_identity below;
    struct stat found {};
    owned_descriptor backing = open_loop_backing(descriptor, O_PATH);
    if (backing && ::fstat(backing.get(), &found) == 0 && S_ISBLK(found.st_mode)) {
        backing = open_loop_backing(descriptor, O_RDONLY | O_NONBLOCK);
        std::uint64_t size_bytes = 0;
        if (backing && ::ioctl(backing.get(), BLKGETSIZE64, &size_bytes) == 0)
            below = block_identity(backing.get(), size_bytes);
    } else if (backing) {
        below = file_identity(backing.get());
    }
    fields result;
    for (const auto& [key, value] : below.fields) result.emplace_back(key == "kind" ? "backing" : key, value);
    if (result.empty())  // deleted, or out of reach from here
        result = {{"inode", std::to_string(info.lo_inode)}, {"disk", boot_bound_id(disk)}};
    result.emplace_back("offset", std::to_string(info.lo_offset));
    result.emplace_back("sizelimit", std::to_string(info.lo_sizelimit));
    return result;
}

// What drivers call a disk's own name, the most specific first: SCSI and NVMe, virtio and MMC, device-mapper, md.
fields hardware_fields(const block_disk& disk) {
    static constexpr std::array<std::pair<const char*, const char*>, 9> sources = {{
        {"wwn", "/wwid"},
        {"wwn", "/device/wwid"},
        {"wwn", "/uuid"},
        {"wwn", "/nguid"},
        {"serial", "/serial"},
        {"serial", "/device/serial"},
        {"serial", "/device/cid"},
        {"dm", "/dm/uuid"},
        {"md", "/md/uuid"},
    }};
    for (const auto& [key, file] : sources) {
        const std::string value = trimmed(read_line(disk.whole_folder + file));
        if (!value.empty()) return {{key, value}};
    }
    return {{"disk", boot_bound_id(disk)}};
}

// The kernel names a partition's UUID in its uevent since 6.9; before that udev's links do.
std::string partition_uuid(const block_disk& disk, dev_t number) {
    std::ifstream lines(disk.folder + "/uevent");
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("PARTUUID=")) return line.substr(9);
    }
    std::error_code failed;
    for (std::filesystem::directory_iterator at("/dev/disk/by-partuuid", failed), end; !failed && at != end;
         at.increment(failed)) {
        struct stat info {};
        if (::stat(at->path().c_str(), &info) == 0 && S_ISBLK(info.st_mode) && info.st_rdev == number)
            return at->path().filename().string();
    }
    return {};
}

}  // namespace

block_disk find_block_disk(dev_t number) {
    block_disk disk;
    disk.folder = sysfs_path(number);
    const bool partition = is_partition(disk.folder);
    if (partition) disk.partition = read_line(disk.folder + "/partition");
    disk.whole_folder = partition ? std::filesystem::path(disk.folder).parent_path().string() : disk.folder;
    disk.whole_name = std::filesystem::path(disk.whole_folder).filename().string();
    return disk;
}

owned_descriptor open_loop_backing(int loop_descriptor, int flags) {
    struct stat loop {};
    loop_info64 info{};
    if (::fstat(loop_descriptor, &loop) != 0 || ::ioctl(loop_descriptor, LOOP_GET_STATUS64, &info) != 0) return {};
    const std::string path = read_line(find_block_disk(loop.st_rdev).whole_folder + "/loop/backing_file");
    // The driver keeps the file whatever happens to its name; here the name must still lead to it.
    owned_descriptor backing(::open(path.c_str(), flags | O_CLOEXEC));
    struct stat found {};
    if (!backing || ::fstat(backing.get(), &found) != 0) return {};
    const bool same = S_ISBLK(found.st_mode) ? packed(found.st_rdev) == info.lo_rdevice
                                             : packed(found.st_dev) == info.lo_device && found.st_ino == info.lo_inode;
    if (!same) return {};
    return backing;
}

device_identity file_identity(int descriptor) {
    struct statx info {};
    if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &info) != 0)
        return {{{"kind", "file"}, {"fs", "unknown"}, {"descriptor", std::to_string(descriptor)}}};
    std::string birth = "unknown";
    if ((info.stx_mask & STATX_BTIME) != 0) {
        std::string nanoseconds = std::to_string(info.stx_btime.tv_nsec);
        nanoseconds.insert(0, 9 - nanoseconds.size(), '0');
        birth = std::to_string(info.stx_btime.tv_sec) + "." + nanoseconds;
    }
    return {{{"kind", "file"},
             {"fs", file_system_id(descriptor, makedev(info.stx_dev_major, info.stx_dev_minor))},
             {"inode", std::to_string(info.stx_ino)},
             {"birth", birth}}};
}

device_identity block_identity(int descriptor, std::uint64_t size_bytes) {
    struct stat info {};
    if (::fstat(descriptor, &info) != 0) return {{{"kind", "block"}, {"descriptor", std::to_string(descriptor)}}};
    const block_disk disk = find_block_disk(info.st_rdev);
    const bool loop = disk.whole_name.starts_with("loop");
    device_identity identity{{{"kind", loop ? "loop" : "block"}}};
    const fields own = loop ? backing_fields(descriptor, disk) : hardware_fields(disk);
    identity.fields.insert(identity.fields.end(), own.begin(), own.end());
    if (!disk.partition.empty()) {
        identity.fields.emplace_back("partition", disk.partition);
        identity.fields.emplace_back("start", read_line(disk.folder + "/start"));
        const std::string uuid = partition_uuid(disk, info.st_rdev);
        if (!uuid.empty()) identity.fields.emplace_back("partuuid", uuid);
    }
    identity.fields.emplace_back("size", std::to_string(size_bytes));
    return identity;
}

}  // namespace reprotect
