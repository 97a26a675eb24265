// Digests of bytes, blocks, chunks and tree nodes under one algorithm and secret.
//
// A block's digest covers its bytes alone. Everything above hashes a 16-byte prefix first, so that no level can be taken
// for another: kind (1 byte), version 1 (1 byte), zero (6 bytes), then a length in bytes (8 bytes, little-endian):
//   chunk: kind 1, the chunk's length, then its blocks' digests
//   node:  kind 2, the bytes covered, then the left and the right digest
//   root:  kind 3, the disk's size, then chunk and block size (4 bytes each), then the top digest (absent for an empty disk)
#pragma once

#include "reprotect/digest.hpp"
#include "reprotect/geometry.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace reprotect {

/// Plain value; thread-safe. Copies the secret.
class digester {
public:
    digester(digest_algorithm algorithm, const digest_secret& secret) : algorithm_(algorithm), secret_(secret) {}

    digest_algorithm algorithm() const noexcept { return algorithm_; }

    /// The digest of a block's bytes.
    digest bytes(std::span<const std::byte> data) const;

    /// The digest of a chunk of `length` bytes from its blocks' digests.
    digest chunk(std::uint64_t length, std::span<const digest> blocks) const;

    digest node(std::uint64_t length, const digest& left, const digest& right) const;
    digest root(const geometry& shape, const digest* top) const;

private:
    digest_algorithm algorithm_;
    digest_secret secret_;
};

/// The digests of zeroes, looked up instead of computed: whole blocks and chunks once, the disk's tail once.
class zero_digests {
public:
    zero_digests(const digester& with, const geometry& shape);

    /// For a block of this chunk, and for the chunk itself.
    const digest& block(std::uint64_t chunk, std::uint32_t index) const noexcept {
        return chunk == last_chunk_ && index == last_block_ ? tail_block_ : block_;
    }
    const digest& chunk(std::uint64_t index) const noexcept { return index == last_chunk_ ? tail_chunk_ : chunk_; }

private:
    digest block_;
    digest chunk_;
    digest tail_block_;
    digest tail_chunk_;
    std::uint64_t last_chunk_;
    std::uint32_t last_block_ = 0;
};

/// SHA-256 of some bytes cut to 128 bits: what `--verify=reread` compares, whatever the session's algorithm.
digest sha256_128(std::span<const std::byte> data);

}  // namespace reprotect
