// A block device: a disk, a partition, a logical volume, a loop device.
#pragma once

#include "device/posix_device.hpp"

#include <cstdint>

namespace reprotect {

class block_device final : public posix_device {
public:
    explicit block_device(opened_disk opened);

    std::uint64_t current_size() override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    bool discard(std::uint64_t offset, std::uint64_t length) override;
    bool drop_cache() override;

    /// Goes past the page cache where the driver lets us.
    void use_direct();

private:
    extent whole_units(std::uint64_t offset, std::uint64_t length) const;

    void find_backing_file();
    std::uint64_t loop_bytes(std::uint64_t bytes) const;

    owned_descriptor backing_;          ///< a loop device's file
    std::uint64_t backing_offset_ = 0;  ///< where the device begins in it
    std::uint64_t unit_bytes_ = 4096;   ///< what the kernel may be asked to zero or discard as a whole
};

}  // namespace reprotect
