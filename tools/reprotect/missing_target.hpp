// A target that is not there: whether a sync would make it.
#pragma once

#include "reprotect/device.hpp"

#include <memory>
#include <string>

namespace reprotect::tool {

/// Throws `not_found` for a missing device: what is made is a file.
void refuse_new_file_under_dev(const std::string& name);

/// A target that is only read; null where it is missing and a sync would make it. Throws what opening throws.
std::unique_ptr<device> open_target_to_read(const std::string& name, bool direct);

}  // namespace reprotect::tool
