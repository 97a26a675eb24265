// The command lines of `serve` and `key`, which name no disks as the other verbs do.
#pragma once

#include "raw_line.hpp"

namespace reprotect::tool {

/// What is wrong with names, keys and permissions is found here: nothing that was meant to be closed shall be open for
/// a typing error. Throws `usage`.
void read_serve_line(const raw_line& line, arguments& result);

/// "new FILE" or "show FILE". Throws `usage`.
void read_key_line(const raw_line& line, arguments& result);

}  // namespace reprotect::tool
