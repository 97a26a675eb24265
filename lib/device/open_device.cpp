// Opening by name. One table says which schemes there are and what opens them; everything else is a path.
//
// A path is looked at before it is opened for reading or writing: first a descriptor that does nothing (O_PATH), which tells
// what is there without waiting for a fifo's other end, rewinding a tape or breaking a lease; then, where it is a regular file
// or a block device, that very object is opened again through the descriptor. A name that is turned round in between cannot
// bring in another object.
#include "reprotect/open_device.hpp"

#include "base/owned_descriptor.hpp"
#include "device/block_device.hpp"
#include "device/container.hpp"
#include "device/file_device.hpp"
#include "device/image_device.hpp"
#include "device/nbd_device.hpp"
#include "device/posix_device.hpp"
#include "reprotect/error.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace reprotect {
namespace {

constexpr mode_t created_mode = 0600;  // a disk's content is its owner's affair; qemu-img's 0644 shows it to everybody

struct request {
    std::string name;  ///< as the user gave it
    std::string path;
    open_options options;
    bool check_container = true;
};

std::unique_ptr<device> open_path(const request& what);

std::unique_ptr<device> open_raw(const std::string& name, const std::string& rest, const open_options& options) {
    return open_path({name, rest, options, false});
}

std::unique_ptr<device> open_qcow2(const std::string& name, const std::string& rest, const open_options& options);
std::unique_ptr<device> open_vmdk(const std::string& name, const std::string& rest, const open_options& options);
std::unique_ptr<device> open_vhdx(const std::string& name, const std::string& rest, const open_options& options);
std::unique_ptr<device> open_vpc(const std::string& name, const std::string& rest, const open_options& options);
std::unique_ptr<device> open_uri(const std::string& name, const std::string& rest, const open_options& options) {
    static_cast<void>(rest);
    return open_nbd(name, options);
}

struct scheme {
    std::string_view prefix;
    std::unique_ptr<device> (*open)(const std::string& name, const std::string& rest, const open_options& options);
    std::string_view hint;  ///< where nothing opens it
};

constexpr std::string_view peer_hint =
    "a peer's disk goes with sync, diff and checksum, as one of the two disks at most";

constexpr std::array<scheme, 11> schemes = {{
    {"raw:", open_raw, {}},
    {"qcow2:", open_qcow2, {}},
    {"vmdk:", open_vmdk, {}},
    {"vhdx:", open_vhdx, {}},
    {"vpc:", open_vpc, {}},
    {"nbd://", open_uri, {}},
    {"nbds://", open_uri, {}},
    {"nbd+unix://", open_uri, {}},
    {"nbds+unix://", open_uri, {}},
    {"reprotect://", nullptr, peer_hint},
    {"ssh://", nullptr, peer_hint},
}};

[[noreturn]] void refuse(error_kind kind, const std::string& name, const std::string& why, std::string hint,
                         int system_errno = 0) {
    throw error(kind, "cannot open " + (name.empty() ? "\"\"" : name) + ": " + why,
                {.device = name,
                 .operation = "open",
                 .offset = {},
                 .length = {},
                 .holder = {},
                 .hint = std::move(hint),
                 .system_errno = system_errno});
}

[[noreturn]] void refuse_for_errno(const request& what, int code) {
    const std::string why = std::generic_category().message(code);
    const bool writing = what.options.mode == access::read_write;
    switch (code) {
        case ENOENT:
        case ENOTDIR:
            refuse(error_kind::not_found, what.name, why, "check the name", code);
        case ENXIO:
        case ENODEV:
        case ENOMEDIUM:
            refuse(error_kind::not_found, what.name, "no disk is behind this device node (" + why + ")",
                   "attach the disk or insert the medium", code);
        case EACCES:
        case EPERM:
            refuse(error_kind::permission, what.name, why,
                   writing ? "run it as root or as an owner who may write; `lsattr` shows an immutable file"
                           : "run it as root or as a user who may read the disk",
                   code);
        case EROFS:
            refuse(error_kind::unsuitable, what.name, "it lies on a read-only file system",
                   "remount that file system writable, or name another disk", code);
        case ELOOP:
            refuse(error_kind::not_found, what.name, why, "find the symbolic links that lead in a circle", code);
        case ENAMETOOLONG:
            refuse(error_kind::usage, what.name, why, "shorten the name", code);
        case ETXTBSY:
            refuse(error_kind::in_use, what.name, "it is a running program or active swap space",
                   "end the program, or `swapoff`", code);
        case EAGAIN:
            refuse(error_kind::in_use, what.name, "another process holds it under a lease",
                   "wait for the other process to finish; `cat /proc/locks` names it (LEASE)", code);
        case EBUSY:
            refuse(error_kind::in_use, what.name, why, "find out who uses it (`lsblk`, `fuser -v`)", code);
        default:
            throw system_error(
                error_kind::device_io, code,
                {.device = what.name, .operation = "open", .offset = {}, .length = {}, .holder = {}, .hint = {}});
    }
}

// Anything but a regular file and a block device is refused by what it is.
void check_type(const request& what, mode_t mode) {
    if (S_ISREG(mode) || S_ISBLK(mode)) return;
    const char* type = S_ISDIR(mode)    ? "a directory"
                       : S_ISCHR(mode)  ? "a character device"
                       : S_ISFIFO(mode) ? "a fifo"
                       : S_ISSOCK(mode) ? "a socket"
                                        : "neither a file nor a block device";
    refuse(error_kind::unsuitable, what.name, std::string("it is ") + type,
           S_ISDIR(mode) ? "name the block device of its file system (`findmnt` tells), or an image in it"
                         : "name a block device or a raw image file");
}

// A block device that is set read-only answers an opener who wants to write with EACCES or EPERM, like one without the right.
void refuse_read_only_device(const request& what, const owned_descriptor& found) {
    const owned_descriptor reader(::open(descriptor_path(found.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    int read_only = 0;
    if (reader && ::ioctl(reader.get(), BLKROGET, &read_only) == 0 && read_only != 0)
        refuse(error_kind::unsuitable, what.name, "the device is read-only",
               "make it writable (`blockdev --setrw " + what.path + "`) if that is meant");
}

opened_disk open_existing(const request& what, opened_disk disk, const owned_descriptor& found,
                          const struct stat& info) {
    check_type(what, info.st_mode);
    const int mode = what.options.mode == access::read_write ? O_RDWR : O_RDONLY;
    // O_NONBLOCK: a lease that another process holds is an answer, not something to wait for.
    disk.descriptor =
        owned_descriptor(::open(descriptor_path(found.get()).c_str(), mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!disk.descriptor) {
        const int code = errno;
        if (mode == O_RDWR && S_ISBLK(info.st_mode)) refuse_read_only_device(what, found);
        if (code == ENOENT)
            refuse(error_kind::permission, what.name, "/proc is not mounted, through which a disk is opened safely",
                   "mount -t proc proc /proc", code);
        refuse_for_errno(what, code);
    }
    const int flags = ::fcntl(disk.descriptor.get(), F_GETFL);
    ::fcntl(disk.descriptor.get(), F_SETFL, flags & ~O_NONBLOCK);
    return disk;
}

opened_disk create(const request& what, opened_disk disk) {
    const std::filesystem::path path(disk.path);
    if (path.filename().empty())
        refuse(error_kind::not_found, what.name, "it ends in a slash, and there is no such directory",
               "leave the slash out to make a file of that name", EISDIR);
    disk.directory = owned_descriptor(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!disk.directory) {
        const int code = errno;
        if (code == ENOENT || code == ENOTDIR)
            refuse(error_kind::not_found, what.name, "its directory does not exist", "make the directory first", code);
        refuse_for_errno(what, code);
    }
    disk.descriptor = owned_descriptor(::openat(disk.directory.get(), path.filename().c_str(),
                                                O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, created_mode));
    if (!disk.descriptor) {
        const int code = errno;
        if (code == EEXIST)
            refuse(error_kind::not_found, what.name, "it is a symbolic link to something that does not exist",
                   "remove the link, or make what it points to", code);
        if (code == EACCES || code == EPERM)
            refuse(error_kind::permission, what.name,
                   "it does not exist, and this user may make no file in " + path.parent_path().string(),
                   "get the right to write to " + path.parent_path().string() + ", or name a target elsewhere", code);
        refuse_for_errno(what, code);
    }
    disk.created = true;
    return disk;
}

opened_disk open_disk(const request& what) {
    if (what.path.empty())
        refuse(error_kind::usage, what.name, "the name is empty", "name a block device or a raw image");
    if (what.path.find('\0') != std::string::npos)
        refuse(error_kind::usage, what.name.c_str(), "the name holds a zero byte", "check the name");
    opened_disk disk;
    disk.name = what.name;
    disk.path = std::filesystem::absolute(what.path).string();
    disk.mode = what.options.mode;

    const owned_descriptor found(::open(disk.path.c_str(), O_PATH | O_CLOEXEC));
    if (!found) {
        const int code = errno;
        const bool may_create = what.options.create && what.options.mode == access::read_write;
        if (code != ENOENT || !may_create) refuse_for_errno(what, code);
        return create(what, std::move(disk));
    }
    struct stat info {};
    if (::fstat(found.get(), &info) != 0) refuse_for_errno(what, errno);
    return open_existing(what, std::move(disk), found, info);
}

std::unique_ptr<device> open_image(opened_disk disk, const request& what) {
    auto file = std::make_unique<file_device>(std::move(disk));
    if (what.check_container) {
        const std::string container = detect_container(*file);
        // The guest of a raw disk can write a footer into its last sector, and must not make us leave that sector out. Disks
        // end at whole 4 KiB, and then a fixed vhd never does, but for odd geometries; its name settles those.
        std::string suffix = std::filesystem::path(what.path).extension().string();
        std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                       [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
        const bool is_fixed_vhd = container == "fixed-vhd" && (file->size() % 4096 != 0 || suffix == ".vhd");
        if (is_fixed_vhd) {
            file->hide_footer(vhd_footer_bytes);
        } else if (container == "fixed-vhd") {
            refuse(error_kind::container, what.name,
                   "its last sector says that it is a fixed vhd, its size and name say that it is a raw disk",
                   "write raw:" + what.path + " to take all of it, or give it a name that ends in .vhd");
        }
        if (!container.empty() && !is_fixed_vhd)
            refuse(error_kind::container, what.name, "its content is " + container + ", not a raw disk",
                   "write " + container + ":" + what.path + " for the disk inside, or raw:" + what.path +
                       " for the bytes as they are");
    }
    if (what.options.direct) file->use_direct();
    return file;
}

std::unique_ptr<device> open_path(const request& what) {
    opened_disk disk = open_disk(what);
    struct stat info {};
    if (::fstat(disk.descriptor.get(), &info) != 0) refuse_for_errno(what, errno);
    if (!S_ISBLK(info.st_mode)) return open_image(std::move(disk), what);

    auto block = std::make_unique<block_device>(std::move(disk));
    const std::string container = what.check_container ? detect_container(*block) : std::string();
    if (!container.empty())
        refuse(error_kind::container, what.name, "its content is " + container + ", not a raw disk",
               "write " + container + ":" + what.path + " for the disk inside, or raw:" + what.path +
                   " for the bytes as they are");
    if (what.options.direct) block->use_direct();
    return block;
}

std::unique_ptr<device> open_inside(std::string_view format, const request& what) {
    std::unique_ptr<device> image;
    try {
        request existing = what;
        existing.options.create = false;  // of what size it should be made, nobody has said
        image = open_path(existing);
    } catch (const error& why) {
        if (why.kind() != error_kind::not_found || !what.options.create) throw;
        refuse(error_kind::not_found, what.name, "there is no such image, and images are not made here",
               "make it first: qemu-img create -f " + std::string(format) + " " + what.path + " SIZE", ENOENT);
    }
    std::string found = detect_container(*image);
    if (found == "fixed-vhd") found = "vpc";
    if (found != format)
        refuse(error_kind::container, what.name,
               found.empty() ? "its content is no " + std::string(format) + " image"
                             : "its content is " + found + ", not " + std::string(format),
               "write " + (found.empty() ? what.path : found + ":" + what.path));
    return open_image_inside(what.name, format, what.path, std::move(image), what.options);
}

std::unique_ptr<device> open_qcow2(const std::string& name, const std::string& rest, const open_options& options) {
    return open_inside("qcow2", {name, rest, options, false});
}
std::unique_ptr<device> open_vmdk(const std::string& name, const std::string& rest, const open_options& options) {
    return open_inside("vmdk", {name, rest, options, false});
}
std::unique_ptr<device> open_vhdx(const std::string& name, const std::string& rest, const open_options& options) {
    return open_inside("vhdx", {name, rest, options, false});
}
std::unique_ptr<device> open_vpc(const std::string& name, const std::string& rest, const open_options& options) {
    return open_inside("vpc", {name, rest, options, false});
}

// "scheme" of "scheme:…", or nothing where the name is a path: a path may hold colons after a slash, a dot or a digit.
std::string_view scheme_of(std::string_view name) {
    const std::size_t colon = name.find(':');
    if (colon == std::string_view::npos || colon < 2) return {};
    const std::string_view word = name.substr(0, colon);
    const bool letters = std::all_of(word.begin(), word.end(), [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '+' || letter == '-';
    });
    return letters && word[0] >= 'a' && word[0] <= 'z' ? word : std::string_view();
}

}  // namespace

std::optional<std::string> named_path(const std::string& name) {
    constexpr std::string_view raw_prefix = schemes[0].prefix;
    if (name.starts_with(raw_prefix)) return name.substr(raw_prefix.size());
    for (const scheme& each : schemes)
        if (name.starts_with(each.prefix)) return std::nullopt;
    return scheme_of(name).empty() ? std::optional(name) : std::nullopt;
}

std::unique_ptr<device> open_device(const std::string& name, const open_options& options) {
    for (const scheme& each : schemes) {
        if (!name.starts_with(each.prefix)) continue;
        if (each.open != nullptr) return each.open(name, name.substr(each.prefix.size()), options);
        refuse(error_kind::usage, name, std::string(each.prefix) + " names a peer's disk, which is no device here",
               std::string(each.hint));
    }
    const std::string_view word = scheme_of(name);
    if (!word.empty())
        refuse(error_kind::usage, name, "\"" + std::string(word) + ":\" is no scheme that is known",
               "for a file of that name write ./" + name);
    return open_path({name, name, options, true});
}

}  // namespace reprotect
