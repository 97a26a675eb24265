// Whether two names lead to the same bytes. Names prove nothing; what the descriptors hold does.
// Where the system knows no handle (an export, memory), only the identities are left to compare. Between two native disks the
// identities are not asked: a stale replica is a copy of its source, partition UUIDs included.
// A disk inside an image lies in files: it is the same disk as whatever lies in the file that it is written to. Its backing files
// are only read; they matter where the other disk is to be written, see `would_change`.
#include "device/same_disk.hpp"

#include "device/topology.hpp"
#include "reprotect/interlock.hpp"

#include <vector>

namespace reprotect {
namespace {

enum class files { written, all };

std::vector<std::vector<footing>> footprints(const device& disk, files which) {
    std::vector<std::vector<footing>> list;
    if (const auto native = disk.native()) list.push_back(footprint(native->descriptor, native->path));
    const std::vector<lower_file> lower = disk.lies_in();
    for (const lower_file& each : lower)
        if (which == files::all || each.written) list.push_back(footprint(each.handle.descriptor, each.handle.path));
    // One that is open for reading only writes nowhere, but its first file is still what it is.
    if (list.empty() && !lower.empty()) list.push_back(footprint(lower[0].handle.descriptor, lower[0].handle.path));
    return list;
}

bool overlap(const std::vector<std::vector<footing>>& a, const std::vector<std::vector<footing>>& b) {
    for (const auto& left : a)
        for (const auto& right : b)
            if (footprints_overlap(left, right)) return true;
    return false;
}

bool same_identity(const device& a, const device& b) {
    return !a.identity().fields.empty() && a.identity() == b.identity();
}

}  // namespace

bool same_disk(const device& a, const device& b) {
    if (&a == &b) return true;
    const auto left = footprints(a, files::written);
    const auto right = footprints(b, files::written);
    return left.empty() || right.empty() ? same_identity(a, b) : overlap(left, right);
}

bool would_change(const device& target, const device& source) {
    if (same_disk(target, source)) return true;
    return overlap(footprints(target, files::written), footprints(source, files::all));
}

}  // namespace reprotect
