// Names prove nothing; what the descriptors hold does.
// Where the system knows no handle (an export, memory), only the identities are left to compare. Between two native disks the
// identities are not asked: a stale replica is a copy of its source, partition UUIDs included.
// A disk inside an image lies in files: it is the same disk as whatever lies in the file that it is written to. Its backing files
// are only read; they matter where the other disk is to be written, see `would_change`.
// Device numbers and inodes mean something within one kernel. Between two, a world-wide name alone tells that a disk of a
// storage network is seen from both.
#include "device/place.hpp"

#include <openssl/sha.h>

#include <algorithm>
#include <iterator>

#include "reprotect/interlock.hpp"

namespace reprotect {
namespace {

using footprints = std::vector<std::vector<footing>>;

std::string hashed(const char* label, const std::string& text) {
    if (text.empty()) return {};
    std::string input = label;
    input.push_back('\0');
    input += text;
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256(reinterpret_cast<const unsigned char*>(input.data()), input.size(), hash);
    static constexpr char digits[] = "0123456789abcdef";
    std::string hex;
    for (std::size_t at = 0; at < sizeof hash / 2; ++at) hex += {digits[hash[at] >> 4], digits[hash[at] & 15]};
    return hex;
}

// machine-id(5) asks that the id itself is not shown to others.
std::string hashed_line(const char* label, const std::string& path) {
    return hashed(label, read_line(path));
}

bool overlap(const footprints& a, const footprints& b) {
    for (const auto& left : a)
        for (const auto& right : b)
            if (footprints_overlap(left, right)) return true;
    return false;
}

footprints units_only(const footprints& list) {
    footprints result;
    for (const auto& each : list) {
        std::vector<footing> units;
        std::copy_if(each.begin(), each.end(), std::back_inserter(units),
                     [](const footing& one) { return one.node.what == disk_node::kind::unit && one.exact; });
        if (!units.empty()) result.push_back(std::move(units));
    }
    return result;
}

bool one_kernel(const disk_place& a, const disk_place& b) {
    return !a.kernel.empty() && a.kernel == b.kernel;
}

}  // namespace

disk_place place_of(const device& disk) {
    disk_place place;
    place.machine = hashed_line("reprotect machine 1", "/etc/machine-id");
    place.kernel = hashed_line("reprotect kernel 1", "/proc/sys/kernel/random/boot_id");
    place.identity = disk.identity();
    if (const auto native = disk.native()) place.written.push_back(footprint(native->descriptor, native->path));
    for (const lower_file& each : disk.lies_in())
        (each.written ? place.written : place.read).push_back(footprint(each.handle.descriptor, each.handle.path));
    // One that is open for reading only writes nowhere, but its first file is still what it is.
    if (place.written.empty() && !place.read.empty()) {
        place.written.push_back(place.read.front());
        place.read.erase(place.read.begin());
    }
    return place;
}

disk_place far_place_of(const device& disk) {
    disk_place place = place_of(disk);
    for (auto& [key, value] : place.identity.fields)
        if (key != "kind" && key != "size") value = hashed("reprotect identity 1", value);
    return place;
}

bool same_disk(const disk_place& a, const disk_place& b) {
    if (!one_kernel(a, b)) return overlap(units_only(a.written), units_only(b.written));
    if (a.written.empty() || b.written.empty()) return !a.identity.fields.empty() && a.identity == b.identity;
    return overlap(a.written, b.written);
}

bool would_change(const disk_place& target, const disk_place& source) {
    if (same_disk(target, source)) return true;
    if (!one_kernel(target, source)) return overlap(units_only(target.written), units_only(source.read));
    return overlap(target.written, source.read);
}

}  // namespace reprotect
