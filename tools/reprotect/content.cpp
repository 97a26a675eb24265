// Signatures stand at fixed places; the table lists them, the outer ones (partition table, volume, encryption) before those of
// file systems, and MBR last, since boot sectors of file systems end like one. Places: the kernel's headers and wipefs(8).
#include "content.hpp"

#include "reprotect/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "text.hpp"

namespace reprotect::tool {
namespace {

using namespace std::string_view_literals;

struct signature {
    std::uint64_t offset;
    std::string_view magic;
    const char* what;
    std::uint64_t label_offset = 0;
    std::size_t label_bytes = 0;
};

constexpr std::array signatures{
    signature{0, "LUKS\xba\xbe"sv, "LUKS encrypted volume"},
    signature{512, "EFI PART"sv, "GPT partition table"},
    signature{4096, "EFI PART"sv, "GPT partition table (4096-byte sectors)"},
    signature{0x218, "LVM2 001"sv, "LVM physical volume"},
    signature{0x018, "LVM2 001"sv, "LVM physical volume"},
    signature{4096, "\xfc\x4e\x2b\xa9"sv, "Linux RAID member"},
    signature{0, "\xfc\x4e\x2b\xa9"sv, "Linux RAID member"},
    signature{0, "XFSB"sv, "xfs file system", 108, 12},
    signature{0x10040, "_BHRfS_M"sv, "btrfs file system", 0x1012B, 256},
    signature{3, "NTFS    "sv, "ntfs file system"},
    signature{3, "-FVE-FS-"sv, "BitLocker volume"},
    signature{3, "EXFAT   "sv, "exfat file system"},
    signature{0x52, "FAT32   "sv, "fat32 file system", 0x47, 11},
    signature{0x36, "FAT16   "sv, "fat16 file system", 0x2B, 11},
    signature{0x36, "FAT12   "sv, "fat12 file system", 0x2B, 11},
    signature{4086, "SWAPSPACE2"sv, "swap space"},
    signature{65526, "SWAPSPACE2"sv, "swap space"},
    signature{0x8001, "CD001"sv, "iso9660 file system"},
    signature{0, "hsqs"sv, "squashfs file system"},
};

constexpr std::uint64_t ext_superblock = 1024;
constexpr std::uint64_t mib = 1024 * 1024;
constexpr std::size_t sample_bytes = 64 * 1024;
constexpr std::uint64_t sample_count =
    256;  // guessed: 16 MiB read in a moment, and hardly a disk in use passes for blank

std::string read_at(device& disk, extent range) {
    std::string bytes(range.length, '\0');
    disk.read(range.offset, std::as_writable_bytes(std::span(bytes)));
    return bytes;
}

std::string with_label(const std::string& what, std::string_view label) {
    label = label.substr(0, label.find('\0'));
    while (!label.empty() && label.back() == ' ') label.remove_suffix(1);
    return label.empty() ? what : fmt::format("{} '{}'", what, escape(label));
}

unsigned at(const std::string& head, std::size_t offset) {
    return static_cast<unsigned char>(head[offset]);
}

std::string ext_name(const std::string& head) {
    const std::size_t base = ext_superblock;
    if (head.size() < base + 0x88 || head.compare(base + 0x38, 2, "\x53\xef") != 0) return {};
    const bool journal = (at(head, base + 0x5C) & 0x4) != 0;
    const bool extents_or_64bit = (at(head, base + 0x60) & 0xC0) != 0;
    const char* const name = extents_or_64bit ? "ext4 file system" : journal ? "ext3 file system" : "ext2 file system";
    return with_label(name, std::string_view(head).substr(base + 0x78, 16));
}

bool looks_like_mbr(const std::string& head) {
    if (head.size() < 512 || head.compare(510, 2, "\x55\xaa") != 0) return false;
    bool any = false;
    for (std::size_t entry = 446; entry < 510; entry += 16) {
        if (at(head, entry) != 0 && at(head, entry) != 0x80) return false;
        any = any || at(head, entry + 4) != 0;
    }
    return any;
}

std::string find_signature(const std::string& head) {
    for (const signature& known : signatures) {
        if (head.size() < known.offset + known.magic.size()) continue;
        if (head.compare(known.offset, known.magic.size(), known.magic) != 0) continue;
        if (known.label_bytes == 0 || head.size() < known.label_offset + known.label_bytes) return known.what;
        return with_label(known.what, std::string_view(head).substr(known.label_offset, known.label_bytes));
    }
    if (const std::string ext = ext_name(head); !ext.empty()) return ext;
    return looks_like_mbr(head) ? "MBR partition table" : "";
}

bool all_zero(std::string_view bytes) {
    return bytes.find_first_not_of('\0') == std::string_view::npos;
}

bool holds_data_in(device& disk, extent range) {
    while (!range.empty()) {
        const std::uint64_t part = std::min<std::uint64_t>(range.length, sample_bytes);
        if (!all_zero(read_at(disk, {range.offset, part}))) return true;
        range = {range.offset + part, range.length - part};
    }
    return false;
}

}  // namespace

bool holds_data(device& disk) {
    // The allocation is looked at in part: enough runs to see whether there is any data.
    constexpr std::size_t runs_max = 4096;
    const std::uint64_t size = disk.size();
    std::vector<extent> data;
    std::uint64_t position = 0;
    while (position < size && data.size() < runs_max) {
        for (const allocation_run& run : disk.allocation({position, size - position}, runs_max)) {
            if (run.kind == content::data) data.push_back(run.range);
            position = run.range.end();
        }
    }
    if (data.empty()) return false;
    if (holds_data_in(disk, {data.front().offset, std::min(mib, data.front().length)})) return true;
    const std::uint64_t tail = std::min(mib, data.back().length);
    if (holds_data_in(disk, {data.back().end() - tail, tail})) return true;

    std::uint64_t total = 0;
    for (const extent& range : data) total += range.length;
    const std::uint64_t step = std::max<std::uint64_t>(total / sample_count, sample_bytes);
    std::uint64_t next = 0;    // of the data, where the next sample starts
    std::uint64_t passed = 0;  // of the data, before `range`
    for (const extent& range : data) {
        for (; next < passed + range.length; next += step) {
            const std::uint64_t within = next - passed;
            const std::uint64_t length = std::min<std::uint64_t>(sample_bytes, range.length - within);
            if (holds_data_in(disk, {range.offset + within, length})) return true;
        }
        passed += range.length;
    }
    return false;
}

std::string describe_content(device& disk) {
    constexpr std::uint64_t head_bytes = 128 * 1024;  // btrfs' label ends beyond 64 KiB
    try {
        const std::string head = read_at(disk, {0, std::min(head_bytes, disk.size())});
        if (const std::string found = find_signature(head); !found.empty()) return found;
        if (disk.size() == 0) return "nothing (it is empty)";
        return holds_data(disk) ? "data of no known kind" : "nothing (reads as zeroes)";
    } catch (const error& problem) {
        return fmt::format("unknown ({})", problem.what());
    }
}

}  // namespace reprotect::tool
