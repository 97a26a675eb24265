// A file that was made for a sync may be another sync's by now: it goes only while this process alone holds it, and holds no data.
#include <sys/stat.h>
#include <unistd.h>

#include "reprotect/error.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"

namespace reprotect {

void remove_if_untouched(device& disk) noexcept try {
    const auto native = disk.native();
    if (!disk.properties().created || !native) return;
    const memory_device nothing(0, "(nothing)");
    const auto held = guard_target(disk, nothing);
    struct stat opened {
    }, named{};
    const bool same = ::fstat(native->descriptor, &opened) == 0 && ::lstat(native->path.c_str(), &named) == 0 &&
                      opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    if (same && opened.st_blocks == 0) ::unlink(native->path.c_str());
} catch (...) {
    // Somebody uses it, or it cannot be told: then it stays.
}

}  // namespace reprotect
