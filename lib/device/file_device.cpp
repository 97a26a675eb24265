// A regular file as a disk. Its holes are known to the file system: SEEK_DATA and SEEK_HOLE tell them, PUNCH_HOLE makes them.
//
// Whether holes can be punched is asked for at opening, since the engine decides by it whether it must read first. The probe
// must not touch the file (punching beyond its end would change its times, before any interlock was asked), so it is made on
// an unnamed temporary file in the same directory, or on the file itself where this very call created it.
#include "device/file_device.hpp"

#include "device/page_cache.hpp"
#include "device/system_disk.hpp"
#include "reprotect/error.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <limits>

namespace reprotect {
namespace {

constexpr std::uint32_t tmpfs_magic = 0x01021994;  // statfs(2)
constexpr std::uint64_t progress_bytes = 4096;     // the step past an answer of the kernel that does not move on

bool punch_range(int descriptor, std::uint64_t offset, std::uint64_t length) {
    int failed = 0;
    do {
        failed = ::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                             static_cast<off_t>(length));
    } while (failed != 0 && errno == EINTR);
    return failed == 0;
}

bool can_punch(int descriptor, bool created, const struct stat& file) {
    if (created) return punch_range(descriptor, 0, progress_bytes);
    std::array<char, PATH_MAX> resolved{};
    const ssize_t length = ::readlink(descriptor_path(descriptor).c_str(), resolved.data(), resolved.size() - 1);
    if (length <= 0) return false;
    const std::string folder = std::filesystem::path(resolved.data()).parent_path().string();
    const owned_descriptor probe(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    struct stat info {};
    // A single file may be mounted into a directory of another file system.
    if (!probe || ::fstat(probe.get(), &info) != 0 || info.st_dev != file.st_dev) return false;
    return punch_range(probe.get(), 0, progress_bytes);
}

bool on_tmpfs(int descriptor) {
    struct statfs info {};
    return ::fstatfs(descriptor, &info) == 0 && static_cast<std::uint32_t>(info.f_type) == tmpfs_magic;
}

std::uint32_t power_of_two_or(std::uint64_t value, std::uint32_t otherwise) {
    const bool fits = value >= 512 && value <= 64 * 1024 && (value & (value - 1)) == 0;
    return fits ? static_cast<std::uint32_t>(value) : otherwise;
}

void append(std::vector<allocation_run>& runs, std::uint64_t begin, std::uint64_t end, content kind) {
    if (begin == end) return;
    if (!runs.empty() && runs.back().kind == kind) {
        runs.back().range.length += end - begin;
    } else {
        runs.push_back({{begin, end - begin}, kind});
    }
}

}  // namespace

file_device::file_device(opened_disk opened) : posix_device(std::move(opened)) {
    const struct stat info = status("open");
    size_ = static_cast<std::uint64_t>(info.st_size);
    properties_.kind = device_kind::file;
    properties_.physical_sector = power_of_two_or(static_cast<std::uint64_t>(info.st_blksize), 4096);
    properties_.one_writer = true;
    properties_.resizable = !properties_.read_only;
    properties_.punches_holes = !properties_.read_only && can_punch(descriptor(), properties_.created, info);
    identity_ = file_identity(descriptor());
}

void file_device::use_direct() {
    if (on_tmpfs(descriptor())) return;  // newer kernels accept the flag there and go through the cache all the same
    direct_limits limits{.sector_bytes = 4096, .memory_bytes = 4096, .cache_bytes = properties_.physical_sector};
#ifdef STATX_DIOALIGN
    struct statx info {};
    if (::statx(descriptor(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0) {
        if (info.stx_dio_offset_align == 0) return;
        limits.sector_bytes = info.stx_dio_offset_align;
        limits.memory_bytes = info.stx_dio_mem_align;
    }
#endif
    open_direct(limits);
    properties_.one_writer = !properties_.direct;
}

struct stat file_device::status(const char* operation) {
    struct stat info {};
    if (::fstat(descriptor(), &info) != 0) fail(operation, errno, {});
    return info;
}

std::uint64_t file_device::current_size() {
    const auto bytes = static_cast<std::uint64_t>(status("size").st_size);
    return bytes < footer_bytes_ ? 0 : bytes - footer_bytes_;
}

void file_device::hide_footer(std::uint64_t bytes) {
    footer_bytes_ = bytes;
    size_ -= std::min(size_, bytes);
    properties_.resizable = false;
}

bool file_device::punch(const char* operation, extent range) {
    if (range.empty()) return true;
    if (!punching_.load(std::memory_order_relaxed)) return false;
    if (punch_range(descriptor(), range.offset, range.length)) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
        punching_.store(false, std::memory_order_relaxed);
    } else if (errno == EIO || errno == EBADF) {
        fail(operation, errno, range);
    }
    return false;
}

void file_device::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    check("write_zeroes", offset, length);
    if (!punch("write_zeroes", {offset, length})) write_zero_bytes(offset, length);
}

bool file_device::discard(std::uint64_t offset, std::uint64_t length) {
    check("discard", offset, length);
    return punch("discard", {offset, length});
}

void file_device::resize(std::uint64_t bytes) {
    if (!properties_.resizable) device::resize(bytes);
    const extent where{0, bytes};
    if (bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) fail("resize", EFBIG, where);
    while (::ftruncate(descriptor(), static_cast<off_t>(bytes)) != 0) {
        if (errno != EINTR) fail("resize", errno, where);
    }
    size_ = bytes;
}

std::vector<allocation_run> file_device::allocation(extent within, std::size_t runs_max) {
    check("allocation", within.offset, within.length);
    runs_max = std::max<std::size_t>(runs_max, 1);
    std::vector<allocation_run> runs;
    std::uint64_t position = within.offset;
    while (position < within.end() && runs.size() < runs_max) {
        const off_t data = ::lseek(descriptor(), static_cast<off_t>(position), SEEK_DATA);
        if (data < 0 && errno == ENXIO && current_size() >= within.end()) {
            append(runs, position, within.end(), content::zero);
            break;
        }
        if (data < 0) {  // not supported, or it shrank: reading will tell
            append(runs, position, within.end(), content::data);
            break;
        }
        // The file may change between two calls, so no answer is taken to be at or after the one before it; each round
        // moves on, by a step at least.
        const std::uint64_t begin = std::clamp(static_cast<std::uint64_t>(data), position, within.end());
        append(runs, position, begin, content::zero);
        position = begin;
        if (position == within.end() || runs.size() == runs_max) continue;
        const off_t hole = ::lseek(descriptor(), static_cast<off_t>(position), SEEK_HOLE);
        std::uint64_t end = hole < 0 ? within.end() : static_cast<std::uint64_t>(hole);
        if (end <= position) end = (position / progress_bytes + 1) * progress_bytes;
        end = std::min(end, within.end());
        append(runs, position, end, content::data);
        position = end;
    }
    return runs;
}

bool file_device::drop_cache() {
    return drop_page_cache(descriptor());
}

}  // namespace reprotect
