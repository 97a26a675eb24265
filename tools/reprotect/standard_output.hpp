// Results on standard output, written past all buffers: what fails is known at once, and what waits for a line gets it.
#pragma once

#include <string_view>

namespace reprotect::tool {

/// Writes all of it. 0, or the errno of what went wrong.
int write_output(std::string_view text);

}  // namespace reprotect::tool
