// How a disk is cut into chunks and blocks. A chunk is the unit of reading and of the first comparison, a block that of transfer.
#pragma once

#include "reprotect/extent.hpp"

#include <cstdint>

namespace reprotect {

inline constexpr std::uint32_t block_bytes_min = 512;
inline constexpr std::uint32_t block_bytes_max = 64 * 1024;
inline constexpr std::uint32_t block_bytes_default = 4096;
inline constexpr std::uint32_t chunk_bytes_min = 4096;
inline constexpr std::uint32_t chunk_bytes_max = 16 * 1024 * 1024;
inline constexpr std::uint32_t chunk_bytes_default = 1024 * 1024;

/// The last chunk and the last block of a disk have their exact lengths. Plain arithmetic, no state.
struct geometry {
    std::uint64_t disk_bytes = 0;
    std::uint32_t chunk_bytes = chunk_bytes_default;
    std::uint32_t block_bytes = block_bytes_default;

    std::uint64_t chunk_count() const noexcept {
        return disk_bytes / chunk_bytes + (disk_bytes % chunk_bytes != 0 ? 1 : 0);
    }
    extent chunk(std::uint64_t index) const noexcept {
        const std::uint64_t offset = index * chunk_bytes;
        const std::uint64_t left = disk_bytes - offset;
        return {offset, left < chunk_bytes ? left : chunk_bytes};
    }
    std::uint32_t blocks_in(std::uint64_t chunk_index) const noexcept {
        return static_cast<std::uint32_t>((chunk(chunk_index).length + block_bytes - 1) / block_bytes);
    }
    extent block(std::uint64_t chunk_index, std::uint32_t block_index) const noexcept {
        const extent whole = chunk(chunk_index);
        const std::uint64_t begin = std::uint64_t{block_index} * block_bytes;
        const std::uint64_t left = whole.length - begin;
        return {whole.offset + begin, left < block_bytes ? left : block_bytes};
    }
    friend bool operator==(const geometry&, const geometry&) = default;
};

/// Whether `check_geometry` passes; for bytes that are not trusted.
bool valid_geometry(const geometry& shape) noexcept;

/// Throws `error` (usage) unless the block is a power of two from 512 B to 64 KiB and the chunk a whole number of blocks
/// from 4 KiB to 16 MiB.
void check_geometry(const geometry& shape);

}  // namespace reprotect
