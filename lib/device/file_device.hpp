// A raw image in a regular file.
#pragma once

#include "device/posix_device.hpp"

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace reprotect {

class file_device final : public posix_device {
public:
    explicit file_device(opened_disk opened);

    std::uint64_t current_size() override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    bool discard(std::uint64_t offset, std::uint64_t length) override;
    void resize(std::uint64_t bytes) override;
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override;
    bool drop_cache() override;

    /// Goes past the page cache where the file system lets us.
    void use_direct();

    /// The file's last bytes are not the disk's: they are never read or written, and the size is fixed from here on.
    void hide_footer(std::uint64_t bytes);

private:
    struct stat status(const char* operation);
    bool punch(const char* operation, extent range);

    std::uint64_t footer_bytes_ = 0;
    std::atomic<bool> punching_{true};  ///< off after the file system refused once; threads may find out together
};

}  // namespace reprotect
