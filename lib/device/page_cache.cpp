// Verifying what the medium holds needs reads that do not come from memory. The kernel drops pages on request (posix_fadvise,
// BLKFLSBUF), but it does not promise to: dirty, mapped and locked pages stay, and it says nothing of them. So the cache is
// asked afterwards what it still holds, by cachestat(2) (Linux 6.5), before that by mincore(2) on a mapping that is never
// touched. Where a layer below keeps a cache of its own that we know of, the answer is no.
#include "device/page_cache.hpp"

#include "device/system_disk.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace reprotect {
namespace {

constexpr int tries_max = 8;  // measured: read-ahead under way holds pages for milliseconds; waits of 1, 2, 4 … 64 ms
constexpr int stack_max = 4;  // loop devices on files on … ; deeper than that is answered with "no"

// f_type of file systems that keep data on a disk below them and in no cache but the page cache (statfs(2) lists them).
// Not here: tmpfs, overlay (its pages belong to another file), ZFS (the ARC), and all that go over a network.
constexpr std::array<std::uint64_t, 8> local_file_systems = {
    0xEF53,      // ext2, ext3, ext4
    0x58465342,  // xfs
    0x9123683E,  // btrfs
    0xF2F52010,  // f2fs
    0xCA451A4E,  // bcachefs
    0x3153464A,  // jfs
    0x4D44,      // vfat
    0x2011BAB0,  // exfat
};

std::optional<std::uint64_t> cached_by_cachestat(int descriptor) {
    // The same number on every architecture; the headers of this compiler's system are older than the call.
    static constexpr long cachestat_number = 451;
    struct {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;  // to the end
    } range;
    struct {
        std::uint64_t cached = 0, dirty = 0, writeback = 0, evicted = 0, recently_evicted = 0;
    } counts;
    if (::syscall(cachestat_number, descriptor, &range, &counts, 0) != 0) return std::nullopt;
    return counts.cached;
}

bool any_cached_by_mincore(int descriptor, std::uint64_t size_bytes) {
    static constexpr std::uint64_t window_bytes = 1ull << 30;
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> resident;
    for (std::uint64_t offset = 0; offset < size_bytes; offset += window_bytes) {
        const auto length = static_cast<std::size_t>(std::min(window_bytes, size_bytes - offset));
        void* mapping = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(offset));
        if (mapping == MAP_FAILED) return true;
        resident.assign((length + page - 1) / page, 1);
        const bool asked = ::mincore(mapping, length, resident.data()) == 0;
        ::munmap(mapping, length);
        if (!asked) return true;
        if (std::any_of(resident.begin(), resident.end(), [](unsigned char state) { return (state & 1) != 0; }))
            return true;
    }
    return false;
}

bool any_cached(int descriptor, std::uint64_t size_bytes) {
    if (const auto cached = cached_by_cachestat(descriptor)) return *cached != 0;
    return any_cached_by_mincore(descriptor, size_bytes);
}

bool on_local_file_system(int descriptor) {
    struct statfs info {};
    if (::fstatfs(descriptor, &info) != 0) return false;
    const auto type = static_cast<std::uint32_t>(info.f_type);
    return std::find(local_file_systems.begin(), local_file_systems.end(), type) != local_file_systems.end();
}

bool drop(int descriptor, int depth);

bool drop_backing_file(int descriptor, int depth) {
    loop_info64 info{};
    if (::ioctl(descriptor, LOOP_GET_STATUS64, &info) != 0) return false;
    if ((info.lo_flags & LO_FLAGS_DIRECT_IO) != 0) return true;
    const owned_descriptor backing = open_loop_backing(descriptor, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    return backing && drop(backing.get(), depth + 1);
}

bool starts_with_any(const std::string& name, std::initializer_list<const char*> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const char* prefix) { return name.rfind(prefix, 0) == 0; });
}

bool drop(int descriptor, int depth) {
    struct stat info {};
    if (depth > stack_max || ::fstat(descriptor, &info) != 0) return false;
    const bool block = S_ISBLK(info.st_mode);
    std::uint64_t size_bytes = static_cast<std::uint64_t>(info.st_size);
    std::string whole;
    if (block) {
        if (::ioctl(descriptor, BLKGETSIZE64, &size_bytes) != 0) return false;
        whole = find_block_disk(info.st_rdev).whole_name;
        // BLKFLSBUF frees the *content* of a ramdisk on older kernels, so a ramdisk is never asked.
        if (starts_with_any(whole, {"ram", "zram"})) return false;
    } else if (!on_local_file_system(descriptor)) {
        return false;
    }
    bool dropped = false;
    for (int tries = 0; tries < tries_max && !dropped; ++tries) {
        if (!block || ::ioctl(descriptor, BLKFLSBUF, 0) != 0) ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
        dropped = !any_cached(descriptor, size_bytes);
        if (!dropped && tries + 1 < tries_max) ::poll(nullptr, 0, 1 << tries);
    }
    if (!dropped || starts_with_any(whole, {"nbd", "rbd"})) return false;
    return starts_with_any(whole, {"loop"}) ? drop_backing_file(descriptor, depth) : true;
}

}  // namespace

bool drop_page_cache(int descriptor) {
    return drop(descriptor, 0);
}

}  // namespace reprotect
