// Interlocks: what must hold before the first byte of a target is written, and what keeps it so until the end.
#pragma once

#include "reprotect/device.hpp"

#include <memory>
#include <string>
#include <vector>

namespace reprotect {

/// Someone who uses a disk.
struct holder {
    std::string
        who;  ///< "mounted on /data", "swap", "dm-3 (LVM vg0-root)", "open for writing in process 4711 (qemu-system-x86)"
    std::string hint;    ///< "umount /data"
    bool writes = true;  ///< false where it can only read (a read-only mount, a descriptor opened for reading)
};

/// Everyone who is seen to use a disk now: mounts (of the disk, its partitions, and loop devices on it), swap, loop devices
/// backed by it, md, device-mapper and bcache holders, processes that have it open (other than this one), QEMU's image locks,
/// another sync. A partition's users are its own and those of the whole disk; a loop device's are also those of its file.
/// The topmost come first, so that their hints are steps in order ("umount /data", "losetup -d /dev/loop3").
/// A loop device or mapped device that only readers use (a read-only mount on it) counts as a reader.
/// Empty for a device without a native handle. What cannot be seen is not reported: NFS and SAN clients, other hosts, processes
/// of other PID namespaces, processes of other users where we are not root.
/// Opens none of the disk's own names (a guard in another process is not disturbed). Cost: one pass over /proc/*/fd.
/// Throws `permission` without /proc.
std::vector<holder> find_holders(const device& disk);

/// True where both name the same bytes, or one contains the other: by symlink, hard link, bind mount, loop device, partition or
/// parent, mapped device and its members, two paths to one unit, an image on a file system and that file system's disk. Two
/// loop devices over separate ranges of one file are two disks. Compares identities only where a native handle is missing.
bool same_disk(const device& a, const device& b);

/// Holds a target: O_EXCL and flock on a block device; OFD locks as QEMU takes them, a lock of our own against a second sync,
/// and a write lease on a file; QEMU's locks on the file below a loop device, too. Released when destroyed, or when the process
/// dies. It keeps what it needs of the device; either may be destroyed first.
///
/// While it lives, opening a file target makes the opener wait until the next `check()`, at most
/// /proc/sys/fs/lease-break-time seconds, after which the kernel ends the lease; so this process must not open the target again.
class target_guard {
public:
    virtual ~target_guard() = default;

    /// Throws `device_io` when the target, a file, was removed; `in_use` when somebody else wrote to the target, stays with it open for writing for a second, or came to use it in
    /// another way; without fanotify (see `guard_target`) as soon as somebody opens it for writing. Then throws for ever.
    /// Cheap: two system calls; where no lease is to be had, a look at all processes every two seconds, every
    /// ten where that is slow.
    /// Call it per batch, and a last time after the last flush. From one thread at a time.
    virtual void check() = 0;
};

/// Refuses a target that is the source (`same_disk`) or is used by anyone (`in_use`, with holder and hint), then holds it.
///
/// Refused: a mount, also a read-only one; swap; whatever the block layer has on it (loop, device-mapper, md, bcache); any lock
/// of a QEMU tool, also a reader's; another sync; a process that has it open for writing, if it still has after a second.
/// Accepted: a process that has it open for reading only (a backup, a pager, udev): it can harm nothing, and reads what it
/// asked for at its own risk. Accepted, too: descriptors of this very process. A source is refused for nothing but being the
/// target; who uses it is for `find_holders` to say.
///
/// The write lease is had where this process has the file open once and nobody else has; a device opened with `direct` has it
/// open twice. Without it, `check` sees foreign writes (fanotify), and openers at the next look round. Writes through a shared
/// mapping are seen by neither once the lease is gone.
///
/// A device without a native handle is compared by identity only. Writes nothing. May wait a second for others to go away.
std::unique_ptr<target_guard> guard_target(device& target, const device& source);

}  // namespace reprotect
