// Containers: image formats that wrap a disk. Reading one as raw would compare headers and tables with a disk's content, and
// writing to one as raw would destroy it, so they are told by the marks that their specifications demand, at the head or the
// tail. A raw disk's content is chosen by its guest, so a mark alone is not taken for proof where there is more to check.
//   qcow2: docs/interop/qcow2 of QEMU.  vmdk: "Virtual Disk Format 5.0".  vhdx: MS-VHDX 2.2.1.
//   vhd: "Virtual Hard Disk Image Format Specification"; all its integers are big-endian.
#include "device/container.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace reprotect {
namespace {

constexpr std::size_t vhd_checksum_at = 64;
constexpr std::size_t vhd_current_size_at = 48;
constexpr std::size_t vhd_type_at = 60;
constexpr std::uint32_t vhd_fixed = 2;
constexpr std::uint32_t vhd_dynamic = 3;
constexpr std::uint32_t vhd_differencing = 4;

using sector = std::array<std::byte, vhd_footer_bytes>;

bool starts_with(std::span<const std::byte> bytes, std::string_view mark) {
    return bytes.size() >= mark.size() &&
           std::equal(mark.begin(), mark.end(), bytes.begin(),
                      [](char letter, std::byte byte) { return static_cast<std::byte>(letter) == byte; });
}

std::uint64_t load_big_endian(std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    for (const std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint64_t>(byte);
    return value;
}

// The type in a VHD footer (a dynamic disk has a copy of it at its head), or 0 where it is none.
std::uint32_t vhd_type(const sector& footer) {
    if (!starts_with(footer, "conectix")) return 0;
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < footer.size(); ++at) {
        if (at < vhd_checksum_at || at >= vhd_checksum_at + 4) sum += std::to_integer<std::uint32_t>(footer[at]);
    }
    const std::span<const std::byte> bytes(footer);
    if (load_big_endian(bytes.subspan(vhd_checksum_at, 4)) != static_cast<std::uint32_t>(~sum)) return 0;
    return static_cast<std::uint32_t>(load_big_endian(bytes.subspan(vhd_type_at, 4)));
}

bool wraps_blocks(std::uint32_t type) {
    return type == vhd_dynamic || type == vhd_differencing;
}

}  // namespace

std::string detect_container(device& disk) {
    sector head{};
    const std::uint64_t size = disk.size();
    disk.read(0, std::span(head).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, head.size()))));
    const std::span<const std::byte> bytes(head);
    if (starts_with(bytes, "QFI\xfb")) return "qcow2";
    if (starts_with(bytes, "KDMV") || starts_with(bytes, "COWD") || starts_with(bytes, "# Disk DescriptorFile"))
        return "vmdk";
    if (starts_with(bytes, "vhdxfile")) return "vhdx";
    if (wraps_blocks(vhd_type(head))) return "vpc";

    // A block device ends where its hardware does, so a footer there is somebody's data.
    if (size < vhd_footer_bytes || disk.properties().kind == device_kind::block_device) return "";
    sector tail{};
    disk.read(size - vhd_footer_bytes, tail);
    const std::uint32_t type = vhd_type(tail);
    if (wraps_blocks(type)) return "vpc";
    const std::uint64_t data_bytes = load_big_endian(std::span<const std::byte>(tail).subspan(vhd_current_size_at, 8));
    return type == vhd_fixed && data_bytes == size - vhd_footer_bytes ? "fixed-vhd" : "";
}

}  // namespace reprotect
