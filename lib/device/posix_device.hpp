// What a file and a block device share: a descriptor, exact transfers on it, and a second descriptor past the page cache.
#pragma once

#include "base/owned_descriptor.hpp"
#include "reprotect/device.hpp"
#include "reprotect/open_device.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace reprotect {

/// "/proc/self/fd/N": opens again what a descriptor holds, whatever its name leads to by now.
std::string descriptor_path(int descriptor);

/// A disk that was opened and found to be a regular file or a block device.
struct opened_disk {
    std::string name;  ///< as the user gave it
    std::string path;  ///< absolute
    owned_descriptor descriptor;
    owned_descriptor directory;  ///< of a file that this call created: its entry is flushed with the first flush
    access mode = access::read_only;
    bool direct = false;  ///< asked for
    bool created = false;
};

class posix_device : public device {
public:
    const std::string& name() const final { return name_; }
    const device_identity& identity() const final { return identity_; }
    const device_properties& properties() const final { return properties_; }
    std::uint64_t size() const final { return size_; }
    void read(std::uint64_t offset, std::span<std::byte> into) final;
    void write(std::uint64_t offset, std::span<const std::byte> from) final;
    void begin_writeback() noexcept final;
    void flush() final;
    std::optional<native_handle> native() const final { return native_handle{descriptor_.get(), path_}; }

protected:
    explicit posix_device(opened_disk opened);

    struct direct_limits {
        std::uint32_t sector_bytes = 512;  ///< what offsets and lengths must be a multiple of
        std::uint32_t memory_bytes = 512;  ///< what a buffer's address must be a multiple of
        std::uint32_t cache_bytes = 4096;  ///< what the page cache may write back as one
    };
    /// Tries a direct transfer; where it works, `properties().direct` is set and sectors are as given.
    void open_direct(const direct_limits& limits);

    int descriptor() const noexcept { return descriptor_.get(); }
    void check(const char* operation, std::uint64_t offset, std::uint64_t length) const;

    /// Zeroes as data, exactly. The range was checked.
    void write_zero_bytes(std::uint64_t offset, std::uint64_t length);

    [[noreturn]] void fail(const char* operation, int system_errno, extent where);

    device_identity identity_;
    device_properties properties_;
    std::uint64_t size_ = 0;

private:
    void read_cached(std::uint64_t offset, std::span<std::byte> into);
    void write_cached(std::uint64_t offset, std::span<const std::byte> from);
    std::size_t read_direct(std::uint64_t offset, std::span<std::byte> into);
    std::size_t write_direct(std::uint64_t offset, std::span<const std::byte> from);
    void write_checked(std::uint64_t offset, std::span<const std::byte> from);
    [[noreturn]] void fail_at_end(const char* operation, extent where);

    std::string name_;
    std::string path_;
    owned_descriptor descriptor_;
    owned_descriptor direct_;
    owned_descriptor directory_;
    std::uint64_t direct_unit_ = 0;  ///< bytes; the part of a transfer that is aligned to it goes direct
    std::uintptr_t memory_unit_ = 1;
    bool flush_failed_ = false;
};

}  // namespace reprotect
