// A session of a few small chunks, and what it is asked about: for tests that show one promise each.
#pragma once

#include <catch2/catch.hpp>

#include "peer/peer_rig.hpp"

namespace reprotect::test::small {

inline constexpr std::uint32_t block = 4096;
inline constexpr std::uint32_t chunk = 8 * block;

inline source_config source_of(std::uint64_t bytes) {
    source_config config;
    config.shape = {bytes, chunk, block};
    return config;
}

inline target_config target_of(std::uint64_t bytes) {
    target_config config;
    config.disk_bytes = bytes;
    config.punches_holes = true;
    return config;
}

inline void fill(device& disk, std::uint64_t offset, std::uint64_t length, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(length);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    disk.write(offset, bytes);
}

/// Remembers which bytes were read and written, and how often.
class recorder final : public device_decorator {
public:
    explicit recorder(device& inner) : device_decorator(inner) {}
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        if (reads.overlaps({offset, into.size()})) read_twice = true;
        reads.add({offset, into.size()});
        device_decorator::read(offset, into);
    }
    void write(std::uint64_t offset, std::span<const std::byte> from) override {
        if (writes.overlaps({offset, from.size()})) written_twice = true;
        writes.add({offset, from.size()});
        device_decorator::write(offset, from);
    }
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override {
        zeroes.add({offset, length});
        device_decorator::write_zeroes(offset, length);
    }
    extent_set reads, writes, zeroes;
    bool read_twice = false, written_twice = false;
};

inline const error& ended_badly(const std::optional<std::optional<error>>& end) {
    REQUIRE(end.has_value());
    REQUIRE(end->has_value());
    return **end;
}

inline bool ended_well(const peer_rig& rig) {
    return rig.source_end && !*rig.source_end && rig.target_end && !*rig.target_end;
}

}  // namespace reprotect::test::small
