// What the digests of a disk should be, computed the slow and obvious way: every chunk, every block, one recursion, no table
// of zeroes and no runs. The oracle for the digest tree and the scan.
#pragma once

#include "codec/digester.hpp"
#include "reprotect/digest_map.hpp"

#include <functional>
#include <span>
#include <vector>

namespace reprotect::test {

/// Digests of all chunks of a disk's bytes, zero ones included.
inline std::vector<digest> naive_chunks(const digester& with, const geometry& shape, std::span<const std::byte> disk) {
    std::vector<digest> chunks;
    for (std::uint64_t at = 0; at < disk.size(); at += shape.chunk_bytes) {
        const auto bytes = disk.subspan(at, std::min<std::size_t>(shape.chunk_bytes, disk.size() - at));
        std::vector<digest> blocks;
        for (std::size_t block = 0; block < bytes.size(); block += shape.block_bytes)
            blocks.push_back(
                with.bytes(bytes.subspan(block, std::min<std::size_t>(shape.block_bytes, bytes.size() - block))));
        chunks.push_back(with.chunk(bytes.size(), blocks));
    }
    return chunks;
}

/// The root over the digests of all chunks, asked for one by one.
inline digest naive_root(const digester& with, const geometry& shape,
                         const std::function<digest(std::uint64_t)>& chunk_digest) {
    const std::function<digest(std::uint64_t, std::uint64_t)> over = [&](std::uint64_t first, std::uint64_t count) {
        if (count == 1) return chunk_digest(first);
        std::uint64_t left = 1;
        while (left * 2 < count) left *= 2;
        std::uint64_t covered = 0;
        for (std::uint64_t i = first; i < first + count; ++i) covered += shape.chunk(i).length;
        const digest left_digest = over(first, left);
        return with.node(covered, left_digest, over(first + left, count - left));
    };
    if (shape.chunk_count() == 0) return with.root(shape, nullptr);
    const digest top = over(0, shape.chunk_count());
    return with.root(shape, &top);
}

inline digest naive_root(const digester& with, const geometry& shape, std::span<const std::byte> disk) {
    const std::vector<digest> chunks = naive_chunks(with, shape, disk);
    return naive_root(with, shape, [&](std::uint64_t i) { return chunks[i]; });
}

/// The map as it should be: chunks that are not zero, and no others.
inline digest_map naive_map(const digester& with, const geometry& shape, std::span<const std::byte> disk,
                            bool with_blocks) {
    digest_map map(shape, with.algorithm(), with_blocks);
    const std::vector<digest> chunks = naive_chunks(with, shape, disk);
    for (std::uint64_t i = 0; i < chunks.size(); ++i) {
        const extent whole = shape.chunk(i);
        const auto bytes = disk.subspan(whole.offset, whole.length);
        if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) continue;
        std::vector<digest> blocks;
        for (std::uint32_t b = 0; with_blocks && b < shape.blocks_in(i); ++b) {
            const extent block = shape.block(i, b);
            blocks.push_back(with.bytes(disk.subspan(block.offset, block.length)));
        }
        map.set(i, chunks[i], blocks);
    }
    return map;
}

}  // namespace reprotect::test
