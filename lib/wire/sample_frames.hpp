// The frames between who wants a sample of a disk and the server that has it. The grammar stands in frame.hpp;
// reading keeps to the same rules as message_codec.hpp.
//
// Places are told in blocks, so that what is not on a block's boundary, not in order or overlaps cannot be said at
// all. What a block holds is told by its digest, or, where it is all zero, by nothing but that: the other side has
// the secret, too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "reprotect/digest.hpp"
#include "reprotect/extent.hpp"
#include "reprotect/geometry.hpp"
#include "wire/frame.hpp"

namespace reprotect {

// Of one request: an answer is held in memory by both sides, and is 8 MiB at most.
inline constexpr std::size_t sample_stretches_max = 4096;
inline constexpr std::uint64_t sample_bytes_max = 256ull << 20;
inline constexpr std::size_t weigh_blocks_max = 4096;
inline constexpr std::uint64_t filler_bytes_max = 16ull << 20;

/// The client's first frame.
struct wire_sampler_hello {
    std::array<std::byte, 32> nonce{};  ///< for the digests' secret
    std::uint64_t kept_bytes = 0;       ///< what it wants kept for weighing; the server may keep less
};

/// The server's.
struct wire_sampled_disk {
    std::array<std::byte, 32> nonce{};
    std::uint64_t disk_bytes = 0;
};

/// Stretches in bytes: sorted, disjoint, from block to block or to the disk's end.
struct wire_sample_wish {
    bool keep = false;
    std::vector<extent> stretches;
};

struct wire_sample {
    digest value{};  ///< zeroes where the block is
    bool zero = false;
    friend bool operator==(const wire_sample&, const wire_sample&) = default;
};

/// Of the whole request. Microseconds.
struct wire_samples_end {
    std::uint64_t duration_us = 0;
    std::uint64_t processor_us = 0;
};

struct wire_weight {
    std::uint64_t raw_bytes = 0;
    std::uint64_t packed_bytes = 0;
    std::uint64_t processor_us = 0;
    friend bool operator==(const wire_weight&, const wire_weight&) = default;
};

/// How much filler is wanted.
struct wire_echo_wish {
    std::uint64_t bytes = 0;
};

/// How much came since the last one.
struct wire_echo {
    std::uint64_t bytes = 0;
};

/// Each appends one whole frame.
void append(std::vector<std::byte>& out, const wire_sampler_hello& value);
void append(std::vector<std::byte>& out, const wire_sampled_disk& value);
void append_layout_wish(std::vector<std::byte>& out);
void append(std::vector<std::byte>& out, const wire_samples_end& value);
void append(std::vector<std::byte>& out, const wire_echo_wish& value);
void append(std::vector<std::byte>& out, const wire_echo& value);
/// Asserts that it could be read back under the same shape. `shape.chunk_bytes` counts nowhere here.
void append(std::vector<std::byte>& out, const wire_sample_wish& value, const geometry& shape);
void append_weigh_wish(std::vector<std::byte>& out, std::span<const std::uint64_t> offsets, const geometry& shape);
void append_weights(std::vector<std::byte>& out, std::span<const wire_weight> weights);

/// As many frames as it takes; none for nothing.
void append_samples(std::vector<std::byte>& out, std::span<const wire_sample> samples);
/// Its payload is its bytes, and needs no decoding.
void append_filler(std::vector<std::byte>& out, std::span<const std::byte> bytes);

/// The payload of one frame.
wire_result<wire_sampler_hello> decode_sampler_hello(std::span<const std::byte> payload);
wire_result<wire_sampled_disk> decode_sampled_disk(std::span<const std::byte> payload);
/// Within the disk; the same for what is to be weighed.
wire_result<wire_sample_wish> decode_sample_wish(std::span<const std::byte> payload, const geometry& shape);
wire_result<std::vector<std::uint64_t>> decode_weigh_wish(std::span<const std::byte> payload, const geometry& shape);
/// At most `most`: what is still to come.
wire_result<std::vector<wire_sample>> decode_samples(std::span<const std::byte> payload, std::size_t most);
wire_result<wire_samples_end> decode_samples_end(std::span<const std::byte> payload);
wire_result<std::vector<wire_weight>> decode_weights(std::span<const std::byte> payload);
wire_result<wire_echo_wish> decode_echo_wish(std::span<const std::byte> payload);
wire_result<wire_echo> decode_echo(std::span<const std::byte> payload);

}  // namespace reprotect
