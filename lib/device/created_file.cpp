// A file that was made for a sync may be another sync's by now: it goes only while this process alone holds it, and holds no data.
#include "device/created_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "reprotect/error.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"

namespace reprotect {

bool is_named(const native_handle& file) noexcept {
    struct stat opened {
    }, named{};
    return ::fstat(file.descriptor, &opened) == 0 && ::lstat(file.path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

void remove_if_untouched(device& disk) noexcept try {
    const auto native = disk.native();
    if (!disk.properties().created || !native) return;
    const memory_device nothing(0, "(nothing)");
    const auto held = guard_target(disk, nothing);
    struct stat opened {};
    const bool blank = ::fstat(native->descriptor, &opened) == 0 && opened.st_blocks == 0;
    if (blank && is_named(*native)) ::unlink(native->path.c_str());
} catch (...) {
    // Somebody uses it, or it cannot be told: then it stays.
}

}  // namespace reprotect
