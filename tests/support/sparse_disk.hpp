// Disk content for tests of whole syncs: seeded random sparse content, an aged copy of it, and comparing.
#pragma once

#include "reprotect/device.hpp"
#include "support/bytes.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

namespace reprotect::test {

/// The first `length` bytes; for comparing.
inline std::vector<std::byte> bytes_of(device& disk, std::uint64_t length) {
    std::vector<std::byte> all(length);
    if (length != 0) disk.read(0, all);
    return all;
}

inline std::vector<std::byte> bytes_of(device& disk) {
    return bytes_of(disk, disk.size());
}

/// Random bytes at a place.
inline void fill(device& disk, extent where, std::uint64_t seed) {
    disk.write(where.offset, random_bytes(seed * 1'000'003 + where.offset, where.length));
}

/// Data, holes and allocated zeroes in pieces of up to 200 KiB, so that both small and long ones come up.
inline void fill_sparsely(device& disk, std::mt19937_64& random) {
    for (std::uint64_t at = 0; at < disk.size();) {
        const std::uint64_t longest = random() % 4 == 0 ? 200'000 : 20'000;
        const std::uint64_t length = std::min<std::uint64_t>(disk.size() - at, 1 + random() % longest);
        switch (random() % 5) {
            case 0:
            case 1:
                disk.write(at, random_bytes(random(), length));
                break;
            case 2:
                disk.write(at, std::vector<std::byte>(length));
                break;
            default:
                break;
        }
        at += length;
    }
}

/// Overwrites, zeroes and flips here and there.
inline void age(device& disk, std::mt19937_64& random, unsigned edits) {
    for (unsigned i = 0; i < edits && disk.size() != 0; ++i) {
        const std::uint64_t at = random() % disk.size();
        const std::uint64_t length = std::min<std::uint64_t>(disk.size() - at, 1 + random() % 30'000);
        switch (random() % 3) {
            case 0:
                disk.write_zeroes(at, length);
                break;
            case 1:
                disk.write(at, random_bytes(random(), length));
                break;
            default: {
                std::array<std::byte, 1> one{};
                disk.read(at, one);
                one[0] ^= std::byte{64};
                disk.write(at, one);
            }
        }
    }
}

/// What both can hold, byte for byte; holes of `from` are not written.
inline void copy_content(device& from, device& to) {
    const std::uint64_t size = std::min(from.size(), to.size());
    for (std::uint64_t at = 0; at < size;) {
        const auto run = from.allocation({at, size - at}, 1).front();
        if (run.kind == content::data) {
            std::vector<std::byte> bytes(run.range.length);
            from.read(at, bytes);
            to.write(at, bytes);
        }
        at = run.range.end();
    }
}

}  // namespace reprotect::test
