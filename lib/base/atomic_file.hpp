// Small files that are either the old one or the new one, never something between: state records, digest maps,
// differentials.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace reprotect {

/// Replaces a file, durably: when it returns, the new content survives a crash; until then the old one does.
/// A symbolic link at `path` is replaced, not followed. `mode` counts under the umask. Throws `unsuitable` where `path` is
/// anything but a regular file, a link or nothing yet, `not_found`, `permission`, `no_space` or `device_io` with the path as device.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content, mode_t mode = 0600);

/// Makes entries that were added to or taken from a directory durable. Throws as above.
void flush_directory(const std::filesystem::path& directory);

enum class final_link { follow, refuse };

/// The content of a regular file. Throws `not_found`, `permission`, `unsuitable` (not a regular file, or a link that is to be
/// refused), `corrupt_file` where it is longer than `max_bytes` (nothing is allocated for it then), `device_io`.
std::vector<std::byte> read_whole_file(const std::filesystem::path& path, std::uint64_t max_bytes,
                                       final_link link = final_link::follow);

}  // namespace reprotect
