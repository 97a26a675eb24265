// Files that were made here, and that may be taken away again.
#pragma once

#include "reprotect/device.hpp"

namespace reprotect {

/// Whether a file is still what its path names: by now it may be somebody else's.
bool is_named(const native_handle& file) noexcept;

}  // namespace reprotect
