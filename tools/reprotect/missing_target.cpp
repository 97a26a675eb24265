// A dry run and an estimate must not promise what the sync refuses, so all three ask here.
#include "missing_target.hpp"

#include "reprotect/open_device.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "console.hpp"

namespace reprotect::tool {
namespace {

// A link that leads nowhere is there; images inside files, and exports, are not made.
bool could_be_made(const std::string& name) {
    const auto path = named_path(name);
    struct stat info {};
    if (!path || path->empty() || path->back() == '/' || ::lstat(path->c_str(), &info) == 0) return false;
    std::error_code ignored;
    const std::filesystem::path folder = std::filesystem::absolute(*path, ignored).parent_path();
    return ::access(folder.c_str(), W_OK | X_OK) == 0;
}

}  // namespace

// Under devtmpfs a name that is missing is a device that is missing; a file there would fill memory, and help nobody.
void refuse_new_file_under_dev(const std::string& name) {
    const auto path = named_path(name);
    struct stat info {};
    if (!path || ::stat(path->c_str(), &info) == 0 || errno != ENOENT) return;
    std::error_code ignored;
    const std::filesystem::path folder = std::filesystem::absolute(*path, ignored).parent_path();
    const std::string real = std::filesystem::weakly_canonical(folder, ignored).string() + "/";
    if (!real.starts_with("/dev/") || real.starts_with("/dev/shm/")) return;
    throw make_error(error_kind::not_found, fmt::format("there is no device {}", name),
                     {.device = name, .hint = "check its name with lsblk; a file is not created under /dev"});
}

std::unique_ptr<device> open_target_to_read(const std::string& name, bool direct) {
    refuse_new_file_under_dev(name);
    try {
        return open_device(name, {access::read_only, direct, false});
    } catch (const error& problem) {
        if (problem.kind() != error_kind::not_found || !could_be_made(name)) throw;
        return nullptr;
    }
}

}  // namespace reprotect::tool
