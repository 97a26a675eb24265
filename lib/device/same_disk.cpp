// Whether two names lead to the same bytes. Names prove nothing; what the descriptors hold does.
// Where the system knows no handle (an export, memory), only the identities are left to compare. Between two native disks the
// identities are not asked: a stale replica is a copy of its source, partition UUIDs included.
#include "device/topology.hpp"
#include "reprotect/interlock.hpp"

namespace reprotect {

bool same_disk(const device& a, const device& b) {
    if (&a == &b) return true;
    const auto left = a.native();
    const auto right = b.native();
    if (left && right)
        return footprints_overlap(footprint(left->descriptor, left->path), footprint(right->descriptor, right->path));
    return !a.identity().fields.empty() && a.identity() == b.identity();
}

}  // namespace reprotect
