// What the container check shares with opening by name.
#pragma once

#include "reprotect/open_device.hpp"

#include <cstdint>

namespace reprotect {

/// A VHD's footer; a fixed VHD is its data and then this.
inline constexpr std::uint64_t vhd_footer_bytes = 512;

}  // namespace reprotect
