// The head and the tail of a raw disk, which its guest may fill with anything:
// two thirds of the bytes come first, the rest last, and how far apart they are
// is the first byte's affair.
#include <algorithm>
#include <array>
#include <string_view>

#include "device/container.hpp"
#include "fuzz/fuzzers.hpp"
#include "reprotect/memory_device.hpp"

namespace reprotect::fuzz {
namespace {

class read_only_disk final : public device_decorator {
public:
    using device_decorator::device_decorator;
    void write(std::uint64_t, std::span<const std::byte>) override {
        promise(false, "looking at a disk writes nothing");
    }
    void write_zeroes(std::uint64_t, std::uint64_t) override { promise(false, "looking at a disk zeroes nothing"); }
};

}  // namespace

void container(input bytes) {
    if (bytes.empty()) return;
    const std::uint64_t gap = std::to_integer<std::uint64_t>(bytes[0]) * 16;
    const input content = bytes.subspan(1);
    const std::size_t head = content.size() / 3 * 2;
    memory_device disk(content.size() + gap);
    disk.write(0, content.first(head));
    disk.write(head + gap, content.subspan(head));
    read_only_disk seen(disk);
    const std::string found = detect_container(seen);
    static constexpr std::array<std::string_view, 6> known{"", "qcow2", "vmdk", "vhdx", "vpc", "fixed-vhd"};
    promise(std::ranges::find(known, found) != known.end(), "a container has a name that is known");
    promise(found != "fixed-vhd" || disk.size() >= vhd_footer_bytes, "a footer lies within its file");
}

}  // namespace reprotect::fuzz
