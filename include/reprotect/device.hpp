// The device: anything that reads and writes by offset. The engine touches disks through this interface alone, so a test
// or an agent can put its own in place, and a fault is a decorator.
#pragma once

#include "reprotect/extent.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace reprotect {

/// What a range is known to hold. A hint that may save work, never proof.
enum class content { data, zero };

/// A range of one kind. Neighbouring runs may have the same kind.
struct allocation_run {
    extent range;
    content kind = content::data;
    friend bool operator==(const allocation_run&, const allocation_run&) = default;
};

enum class device_kind { file, block_device, memory, other };

/// What a device can do and how it wants to be addressed.
struct device_properties {
    device_kind kind = device_kind::other;
    std::uint32_t logical_sector = 1;     ///< bytes; the smallest unit of a direct transfer (1: none)
    std::uint32_t physical_sector = 512;  ///< bytes
    bool read_only = false;
    bool direct = false;  ///< opened past the page cache
    /// `write_zeroes` is cheap and gives the space back: a hole on the source may be punched here without reading.
    bool punches_holes = false;
    /// Writers exclude each other: a file that is written through the page cache. Who waits for that in the kernel spins on
    /// a core that others could use (measured: a fifth of the samples of a full copy onto ext4), so a session writes one
    /// chunk at a time then.
    bool one_writer = false;
    /// `resize` works.
    bool resizable = false;
    /// `open_device` created it in this very call.
    bool created = false;
};

/// Names a disk so that the name cannot outlive it: a file by file system, inode and birth time; a block device by WWN or
/// serial, partition UUID and size; a loop device by its backing file. Two identities are equal when every field is.
struct device_identity {
    std::vector<std::pair<std::string, std::string>> fields;  ///< in a fixed order for each kind
    std::string text() const;                                 ///< "kind=file fs=… inode=…", one line
    friend bool operator==(const device_identity&, const device_identity&) = default;
};

/// The system's handle of a device that has one; what interlocks look at. A device with `properties().direct` holds a second
/// descriptor of the same object, so that a write lease, which wants to be the only one, cannot be had.
struct native_handle {
    int descriptor = -1;  ///< owned by the device
    std::string path;     ///< absolute, as opened
};

/// A file or block device that a disk's bytes lie in without being the disk: an image, and each of its backing files.
struct lower_file {
    native_handle handle;  ///< the descriptor is owned by the device
    bool written = false;  ///< what is written to the disk ends there; false for backing files
    int server = 0;        ///< the process that has it open on the device's behalf
};

/// A disk. Calls block. `read`, `write`, `write_zeroes`, `discard` and `allocation` may be called from many threads at once
/// on ranges that do not overlap; the rest from one thread at a time. All offsets and lengths are bytes within `size()`.
/// Every failure throws `error` with the device's name, the operation, offset and length; short transfers are finished or fail.
class device {
public:
    device() = default;
    device(const device&) = delete;
    device& operator=(const device&) = delete;
    virtual ~device() = default;

    /// As the user named it; for messages.
    virtual const std::string& name() const = 0;
    virtual const device_identity& identity() const = 0;
    virtual const device_properties& properties() const = 0;

    /// Bytes, as of opening or the last `resize`.
    virtual std::uint64_t size() const = 0;

    /// Asks the system again; differs from `size()` when the disk shrank or grew meanwhile.
    virtual std::uint64_t current_size() { return size(); }

    virtual void read(std::uint64_t offset, std::span<std::byte> into) = 0;
    virtual void write(std::uint64_t offset, std::span<const std::byte> from) = 0;

    /// Makes a range read as zeroes, by a hole where that is possible, by writing zeroes where it is not.
    virtual void write_zeroes(std::uint64_t offset, std::uint64_t length) = 0;

    /// Gives a range back. What it reads as afterwards is unknown. False where the device cannot.
    virtual bool discard(std::uint64_t offset, std::uint64_t length);

    /// Everything written before is on stable storage when it returns. A failure is `flush_failed`; never call it again then.
    virtual void flush() = 0;

    /// Begins to bring to the medium what was written, where the system would leave that for later, so that `flush` finds
    /// little left. A hint, which may take as long as the disk does: beside any other call, but for itself.
    virtual void begin_writeback() noexcept {}
    /// It is called after so many bytes, or up to eight times as many while cores are short. Measured: a full copy of 2 GiB
    /// took 1.7 s with it and 2.0 s without; with 8 MiB it was no quicker.
    static constexpr std::uint64_t writeback_bytes = 32 << 20;

    /// Grows with zeroes or cuts. Throws `unsuitable` where `properties().resizable` is false.
    virtual void resize(std::uint64_t bytes);

    /// Runs in offset order from `within.offset` that cover it without gaps, at most `runs_max` (then they end early; ask on
    /// from there; at least one run is returned for a non-empty range). The base answers "all data".
    virtual std::vector<allocation_run> allocation(extent within, std::size_t runs_max);

    /// Makes later reads come from the medium, not from a cache: written pages are flushed first by the caller.
    /// False where the cache cannot be passed.
    virtual bool drop_cache() { return false; }

    virtual std::optional<native_handle> native() const { return std::nullopt; }

    /// What it lies in where it is no file or block device itself and this machine knows.
    virtual std::vector<lower_file> lies_in() const { return {}; }
};

/// Forwards every call to another device: the base of faults, recorders and handed-in allocations. Does not own it.
class device_decorator : public device {
public:
    explicit device_decorator(device& inner) : inner_(inner) {}

    const std::string& name() const override { return inner_.name(); }
    const device_identity& identity() const override { return inner_.identity(); }
    const device_properties& properties() const override { return inner_.properties(); }
    std::uint64_t size() const override { return inner_.size(); }
    std::uint64_t current_size() override { return inner_.current_size(); }
    void read(std::uint64_t offset, std::span<std::byte> into) override { inner_.read(offset, into); }
    void write(std::uint64_t offset, std::span<const std::byte> from) override { inner_.write(offset, from); }
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override { inner_.write_zeroes(offset, length); }
    bool discard(std::uint64_t offset, std::uint64_t length) override { return inner_.discard(offset, length); }
    void flush() override { inner_.flush(); }
    void begin_writeback() noexcept override { inner_.begin_writeback(); }
    void resize(std::uint64_t bytes) override { inner_.resize(bytes); }
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override {
        return inner_.allocation(within, runs_max);
    }
    bool drop_cache() override { return inner_.drop_cache(); }
    std::optional<native_handle> native() const override { return inner_.native(); }
    std::vector<lower_file> lies_in() const override { return inner_.lies_in(); }

protected:
    device& inner() noexcept { return inner_; }

private:
    device& inner_;
};

/// A device whose allocation is handed in (a snapshot's bitmap, a file system's free map): what `data` does not cover is
/// taken to read as zero. `inner` is referenced and must live longer; `data` is copied.
class allocated_device final : public device_decorator {
public:
    allocated_device(device& inner, extent_set data) : device_decorator(inner), data_(std::move(data)) {}
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override;

private:
    extent_set data_;
};

}  // namespace reprotect
