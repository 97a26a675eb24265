// Two open devices of this process, by their places.
#include "device/same_disk.hpp"

#include "device/place.hpp"
#include "reprotect/interlock.hpp"

namespace reprotect {

bool same_disk(const device& a, const device& b) {
    return &a == &b || same_disk(place_of(a), place_of(b));
}

bool would_change(const device& target, const device& source) {
    return &target == &source || would_change(place_of(target), place_of(source));
}

}  // namespace reprotect
