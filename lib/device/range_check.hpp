// The one check that every device makes before it touches anything: a range must lie within the disk.
#pragma once

#include "reprotect/error.hpp"

#include <cstdint>
#include <string>

namespace reprotect {

struct checked_range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint64_t disk_bytes = 0;
};

[[noreturn]] void throw_out_of_range(const std::string& device, const char* operation, const checked_range& range);

inline void check_range(const std::string& device, const char* operation, const checked_range& range) {
    if (range.offset > range.disk_bytes || range.length > range.disk_bytes - range.offset)
        throw_out_of_range(device, operation, range);
}

}  // namespace reprotect
