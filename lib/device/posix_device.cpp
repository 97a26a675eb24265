// Exact transfers on a descriptor. A transfer is repeated until it is complete (short counts, EINTR, EAGAIN) or fails with
// the place where it stopped; the end of the disk in its middle means that the disk shrank, and is never filled up.
//
// Direct transfers. O_DIRECT wants aligned offsets, lengths and memory, a disk may end anywhere. So there are two descriptors:
// the aligned middle of a transfer goes through the direct one, its head and tail through the cached one. The middle is cut at
// whole *cache* units (page, file system block), not at sectors: a cached write of a part of a page reads and later writes
// back the whole page, and would undo a direct write to the page's other sectors that another thread makes meanwhile. With
// this cut a page is touched by one kind of transfer at a time, and the kernel keeps cache and medium coherent between calls.
#include "device/posix_device.hpp"

#include "device/range_check.hpp"
#include "reprotect/error.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace reprotect {
namespace {

constexpr std::size_t bounce_bytes = 256 * 1024;     // guessed: large enough that a direct call's cost does not show
constexpr std::size_t bounce_alignment = 64 * 1024;  // no unit is larger, see open_direct
constexpr unsigned again_tries_max = 1000;           // guessed: a second of EAGAIN, which disks hardly ever give

struct free_memory {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
};

// Memory for direct transfers from and to buffers that are not aligned; one a thread, made when first needed.
std::byte* bounce_buffer() {
    thread_local std::unique_ptr<std::byte, free_memory> memory;
    if (!memory) {
        memory.reset(static_cast<std::byte*>(std::aligned_alloc(bounce_alignment, bounce_bytes)));
        if (!memory) throw std::bad_alloc();
    }
    return memory.get();
}

// Zero-filled and never written; not const, so that it takes no room in the executable.
alignas(4096) std::array<std::byte, 256 * 1024> zero_bytes;

// Whether a call that failed is made again. EAGAIN waits a millisecond, a bounded number of times.
bool try_again(int system_errno, unsigned& tries) {
    if (system_errno == EINTR) return true;
    if (system_errno != EAGAIN || ++tries > again_tries_max) return false;
    ::poll(nullptr, 0, 1);
    return true;
}

bool aligned(const std::byte* memory, std::uintptr_t unit) {
    return reinterpret_cast<std::uintptr_t>(memory) % unit == 0;
}

}  // namespace

std::string descriptor_path(int descriptor) {
    return "/proc/self/fd/" + std::to_string(descriptor);
}

posix_device::posix_device(opened_disk opened)
    : name_(std::move(opened.name)),
      path_(std::move(opened.path)),
      descriptor_(std::move(opened.descriptor)),
      directory_(std::move(opened.directory)) {
    properties_.read_only = opened.mode == access::read_only;
    properties_.created = opened.created;
}

void posix_device::check(const char* operation, std::uint64_t offset, std::uint64_t length) const {
    check_range(name_, operation, {offset, length, size_});
}

void posix_device::fail(const char* operation, int system_errno, extent where) {
    // The end of a block device is ENOSPC to a writer; a thin volume that is full is, too.
    if (system_errno == ENOSPC && properties_.kind == device_kind::block_device && current_size() < where.end())
        fail_at_end(operation, where);
    error_detail detail{.device = name_,
                        .operation = operation,
                        .offset = where.offset,
                        .length = where.length,
                        .holder = {},
                        .hint = {}};
    if (system_errno == EIO) detail.hint = "look at the kernel's log (dmesg); the disk or what it stands on is failing";
    throw system_error(error_kind::device_io, system_errno, std::move(detail));
}

void posix_device::fail_at_end(const char* operation, extent where) {
    const std::uint64_t now = current_size();
    throw error(error_kind::size_changed,
                std::string(operation) + " of " + name_ + " at offset " + std::to_string(where.offset) + ", length " +
                    std::to_string(where.length) + " failed: the disk ended at " + std::to_string(now) +
                    ", it shrank meanwhile (it had " + std::to_string(size_) + " bytes when it was opened)",
                {.device = name_,
                 .operation = operation,
                 .offset = where.offset,
                 .length = where.length,
                 .holder = {},
                 .hint = "find out who cuts the disk, stop that, and run the sync again"});
}

void posix_device::read_cached(std::uint64_t offset, std::span<std::byte> into) {
    std::size_t done = 0;
    unsigned tries = 0;
    while (done < into.size()) {
        const ssize_t got =
            ::pread(descriptor_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
        if (got > 0) {
            done += static_cast<std::size_t>(got);
        } else if (got == 0) {
            fail_at_end("read", {offset + done, into.size() - done});
        } else if (!try_again(errno, tries)) {
            fail("read", errno, {offset + done, into.size() - done});
        }
    }
}

// Whether anything arrived is for the flush to say, and so is an error, which this call neither sees nor takes from it.
void posix_device::begin_writeback() noexcept {
    ::sync_file_range(descriptor_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

void posix_device::write_cached(std::uint64_t offset, std::span<const std::byte> from) {
    std::size_t done = 0;
    unsigned tries = 0;
    while (done < from.size()) {
        const ssize_t put =
            ::pwrite(descriptor_.get(), from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
        if (put > 0) {
            done += static_cast<std::size_t>(put);
            continue;
        }
        const int code = put == 0 ? EAGAIN : errno;  // a write of nothing says no more than "not now"
        if (!try_again(code, tries)) fail("write", put == 0 ? EIO : code, {offset + done, from.size() - done});
    }
}

// Returns what it transferred; the caller does the rest through the cache, which is exact everywhere.
std::size_t posix_device::read_direct(std::uint64_t offset, std::span<std::byte> into) {
    std::size_t done = 0;
    unsigned tries = 0;
    while (done < into.size() && (offset + done) % direct_unit_ == 0) {
        std::byte* place = into.data() + done;
        std::size_t part = into.size() - done;
        const bool bounced = !aligned(place, memory_unit_);
        if (bounced) part = std::min(part, bounce_bytes);
        std::byte* memory = bounced ? bounce_buffer() : place;
        const ssize_t got = ::pread(direct_.get(), memory, part, static_cast<off_t>(offset + done));
        if (got > 0) {
            if (bounced) std::memcpy(place, memory, static_cast<std::size_t>(got));
            done += static_cast<std::size_t>(got);
        } else if (got == 0 || errno == EINVAL) {
            return done;
        } else if (!try_again(errno, tries)) {
            fail("read", errno, {offset + done, into.size() - done});
        }
    }
    return done;
}

std::size_t posix_device::write_direct(std::uint64_t offset, std::span<const std::byte> from) {
    std::size_t done = 0;
    unsigned tries = 0;
    while (done < from.size() && (offset + done) % direct_unit_ == 0) {
        const std::byte* place = from.data() + done;
        std::size_t part = from.size() - done;
        if (!aligned(place, memory_unit_)) {
            part = std::min(part, bounce_bytes);
            std::byte* memory = bounce_buffer();
            std::memcpy(memory, place, part);
            place = memory;
        }
        const ssize_t put = ::pwrite(direct_.get(), place, part, static_cast<off_t>(offset + done));
        if (put > 0) {
            done += static_cast<std::size_t>(put);
        } else if (put == 0 || errno == EINVAL) {
            return done;
        } else if (!try_again(errno, tries)) {
            fail("write", errno, {offset + done, from.size() - done});
        }
    }
    return done;
}

void posix_device::read(std::uint64_t offset, std::span<std::byte> into) {
    check("read", offset, into.size());
    if (!direct_) return read_cached(offset, into);

    const std::uint64_t begin =
        std::min((offset + direct_unit_ - 1) / direct_unit_ * direct_unit_, offset + into.size());
    const std::uint64_t end = std::max((offset + into.size()) / direct_unit_ * direct_unit_, begin);
    std::size_t done = begin - offset;
    read_cached(offset, into.first(done));
    done += read_direct(begin, into.subspan(done, end - begin));
    read_cached(offset + done, into.subspan(done));
}

void posix_device::write(std::uint64_t offset, std::span<const std::byte> from) {
    check("write", offset, from.size());
    write_checked(offset, from);
}

void posix_device::write_checked(std::uint64_t offset, std::span<const std::byte> from) {
    if (!direct_) return write_cached(offset, from);

    const std::uint64_t begin =
        std::min((offset + direct_unit_ - 1) / direct_unit_ * direct_unit_, offset + from.size());
    const std::uint64_t end = std::max((offset + from.size()) / direct_unit_ * direct_unit_, begin);
    std::size_t done = begin - offset;
    write_cached(offset, from.first(done));
    done += write_direct(begin, from.subspan(done, end - begin));
    write_cached(offset + done, from.subspan(done));
}

void posix_device::write_zero_bytes(std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t done = 0; done < length;) {
        // The first part ends where the rest is aligned, so that the rest can go direct.
        const std::uint64_t room = zero_bytes.size() - (offset + done) % 4096;
        const std::uint64_t part = std::min(length - done, room);
        write_checked(offset + done, std::span(zero_bytes).first(static_cast<std::size_t>(part)));
        done += part;
    }
}

void posix_device::flush() {
    if (properties_.read_only) return;
    error_detail detail{
        .device = name_,
        .operation = "flush",
        .offset = {},
        .length = {},
        .holder = {},
        .hint =
            "what the disk holds is unknown, and flushing again would not tell: check the device and the "
            "kernel's log, then run the sync again, which reads past the cache"};
    if (flush_failed_)
        throw error(error_kind::flush_failed, "flush of " + name_ + " refused: an earlier one failed",
                    std::move(detail));
    if (::fsync(descriptor_.get()) != 0 || (directory_ && ::fsync(directory_.get()) != 0)) {
        const int code = errno;
        flush_failed_ = true;
        throw system_error(error_kind::flush_failed, code, std::move(detail));
    }
    directory_.reset();
}

void posix_device::open_direct(const direct_limits& limits) {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t unit = std::max({page, std::uint64_t{limits.sector_bytes}, std::uint64_t{limits.cache_bytes}});
    if (unit > bounce_alignment || bounce_bytes % unit != 0) return;
    const int mode = properties_.read_only ? O_RDONLY : O_RDWR;
    owned_descriptor opened(
        ::open(descriptor_path(descriptor_.get()).c_str(), mode | O_DIRECT | O_CLOEXEC | O_NONBLOCK));
    if (!opened) return;
    if (::pread(opened.get(), bounce_buffer(), static_cast<std::size_t>(unit), 0) < 0 && errno == EINVAL) return;
    // Only heads and tails are cached from here on; reading ahead of them would be in vain.
    ::posix_fadvise(descriptor_.get(), 0, 0, POSIX_FADV_RANDOM);
    direct_ = std::move(opened);
    direct_unit_ = unit;
    memory_unit_ = std::max<std::uintptr_t>(limits.memory_bytes, 1);
    properties_.direct = true;
    properties_.logical_sector = limits.sector_bytes;
}

}  // namespace reprotect
