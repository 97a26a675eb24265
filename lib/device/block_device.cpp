// A block device as a disk. It does not know which of its blocks hold data, so all of it is data.
//
// Zeroing. BLKZEROOUT leaves zeroes whatever the hardware can do (the kernel writes them where no command exists), in whole
// sectors. It is asked only for whole pages: it drops the cached pages of its range first, and would meet a neighbour's
// cached write in a page that both share. Heads and tails are written as zeroes.
// Discarding says nothing of what is read afterwards, so it is never used to zero.
#include "device/block_device.hpp"

#include "device/page_cache.hpp"
#include "device/system_disk.hpp"
#include "device/topology.hpp"
#include "reprotect/error.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace reprotect {

block_device::block_device(opened_disk opened) : posix_device(std::move(opened)) {
    properties_.kind = device_kind::block_device;
    size_ = current_size();
    int logical = 0;
    unsigned physical = 0;
    int read_only = 0;
    if (::ioctl(descriptor(), BLKSSZGET, &logical) != 0) fail("open", errno, {});
    if (::ioctl(descriptor(), BLKPBSZGET, &physical) != 0) physical = static_cast<unsigned>(logical);
    if (::ioctl(descriptor(), BLKROGET, &read_only) != 0) fail("open", errno, {});
    properties_.logical_sector = static_cast<std::uint32_t>(logical);
    properties_.physical_sector = physical;
    if (read_only != 0 && !properties_.read_only)
        throw error(error_kind::unsuitable, "open of " + name() + " for writing refused: the device is read-only",
                    {.device = name(),
                     .operation = "open",
                     .offset = {},
                     .length = {},
                     .holder = {},
                     .hint = "make it writable (blockdev --setrw " + name() + ") if that is meant"});
    if (size_ == 0)
        throw error(error_kind::unsuitable,
                    "open of " + name() + " refused: the device has no size, so no disk is behind it",
                    {.device = name(),
                     .operation = "open",
                     .offset = {},
                     .length = {},
                     .holder = {},
                     .hint = "attach a disk, an image or a medium to it first (losetup, nbd-client)"});
    unit_bytes_ = std::max({static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)), std::uint64_t{4096},
                            std::uint64_t{properties_.logical_sector}});
    identity_ = block_identity(descriptor(), size_);
    find_backing_file();
    if (const std::uint64_t within = loop_bytes(size_); within < size_)
        throw error(
            error_kind::unsuitable,
            "open of " + name() + " refused: the loop device's file ends after " + std::to_string(within) + " of its " +
                std::to_string(size_) + " bytes",
            {.device = name(),
             .operation = "open",
             .offset = {},
             .length = {},
             .holder = {},
             .hint = "somebody cut the file: bring it back, or take its new size with `losetup --set-capacity`"});
}

void block_device::find_backing_file() {
    loop_info64 loop{};
    struct stat node {};
    if (::ioctl(descriptor(), LOOP_GET_STATUS64, &loop) != 0 || ::fstat(descriptor(), &node) != 0) return;
    backing_ = open_loop_backing(descriptor(), O_PATH);
    backing_offset_ = loop.lo_offset;
    const block_disk place = find_block_disk(node.st_rdev);
    if (!place.partition.empty()) backing_offset_ += partition_range(place.folder).offset;
}

// The kernel does not notice that a loop device's file was cut: reads fail where they meet no cached page, and writes make the
// file grow again around what is lost.
std::uint64_t block_device::loop_bytes(std::uint64_t bytes) const {
    struct stat file {};
    if (!backing_ || ::fstat(backing_.get(), &file) != 0 || !S_ISREG(file.st_mode)) return bytes;
    const auto end = static_cast<std::uint64_t>(file.st_size);
    return std::min(bytes, end > backing_offset_ ? end - backing_offset_ : 0);
}

void block_device::use_direct() {
    open_direct({.sector_bytes = properties_.logical_sector,
                 .memory_bytes = properties_.logical_sector,
                 .cache_bytes = static_cast<std::uint32_t>(unit_bytes_)});
}

std::uint64_t block_device::current_size() {
    std::uint64_t bytes = 0;
    if (::ioctl(descriptor(), BLKGETSIZE64, &bytes) != 0) {
        // Not by way of fail(), which asks for the size.
        throw system_error(error_kind::device_io, errno,
                           {.device = name(),
                            .operation = "size",
                            .offset = {},
                            .length = {},
                            .holder = {},
                            .hint = "the device may have gone; look at the kernel's log (dmesg)"});
    }
    return loop_bytes(bytes);
}

extent block_device::whole_units(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t begin = (offset + unit_bytes_ - 1) / unit_bytes_ * unit_bytes_;
    const std::uint64_t end = (offset + length) / unit_bytes_ * unit_bytes_;
    return begin < end ? extent{begin, end - begin} : extent{offset, 0};
}

void block_device::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    check("write_zeroes", offset, length);
    const extent middle = whole_units(offset, length);
    std::array<std::uint64_t, 2> range{middle.offset, middle.length};
    // Any failure of the command is answered by writing, which either succeeds or says why not.
    if (middle.empty() || ::ioctl(descriptor(), BLKZEROOUT, range.data()) != 0) return write_zero_bytes(offset, length);
    write_zero_bytes(offset, middle.offset - offset);
    write_zero_bytes(middle.end(), offset + length - middle.end());
}

bool block_device::discard(std::uint64_t offset, std::uint64_t length) {
    check("discard", offset, length);
    const extent middle = whole_units(offset, length);
    if (middle.empty()) return false;
    std::array<std::uint64_t, 2> range{middle.offset, middle.length};
    return ::ioctl(descriptor(), BLKDISCARD, range.data()) == 0;
}

bool block_device::drop_cache() {
    return drop_page_cache(descriptor());
}

}  // namespace reprotect
