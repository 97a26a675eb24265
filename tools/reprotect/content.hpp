// What a disk holds, as far as a person must know before it is overwritten: the file system, partition table or volume that
// its signatures name, and whether there is anything at all.
#pragma once

#include "reprotect/device.hpp"

#include <string>

namespace reprotect::tool {

/// "ext4 file system 'data'", "GPT partition table", "data of no known kind", "nothing (reads as zeroes)".
std::string describe_content(device& disk);

/// False where nothing was found: the allocation holds no data, or its first and last MiB and samples spread over it are
/// all zero. Reads at most 18 MiB; a hint for a question, not a proof.
bool holds_data(device& disk);

}  // namespace reprotect::tool
