// The file in which a digest map or a differential is kept. Version 1.
//
// All integers are little-endian and unsigned. Nothing is aligned, padded or optional beyond what stands here, so a
// value has exactly one file, and a file that loads saves back to the same bytes.
//
//   file         = fixed label page_sums head_sum body
//   fixed        = magic version kind disk_bytes chunk_bytes block_bytes algorithm flags record_count body_bytes
//                  label_bytes reserved                                                            (64 bytes)
//   magic        = "RPROTECT"        8 bytes
//   version      = 1                 u32
//   kind         = 1 | 2             u32, digest map | differential
//   disk_bytes                       u64, at most 2^63 - 1
//   chunk_bytes, block_bytes         u32 each, as check_geometry has it; both 0 in a differential
//   algorithm    = 2                 u32, sha256 (an xxh3 secret is never persisted); 0 in a differential
//   flags        = 0 | 1             u32, 1: the runs hold block digests; 0 in a differential
//   record_count                     u64, runs or changes
//   body_bytes                       u64
//   label_bytes                      u32, at most 4096; 0 in a differential
//   reserved     = 0                 u32
//   label        = label_bytes times 0x20 to 0x7e
//   page_sums    = one checksum for each 64 KiB page of the body; the last page may be shorter
//   head_sum     = the checksum of all bytes before it
//   body         = record_count times run | change, nothing after
//
//   run          = first_chunk (u64) chunk_count (u64, not 0) chunk digests, block digests (16 bytes each)
//   change       = offset (u64) length (u64, not 0) kind (u8) reason (u8) 6 zero bytes
//
// Runs are sorted, disjoint, not adjacent, and end within the disk. Block digests are there under flag 1: each chunk's
// blocks, chunk after chunk; their number follows from the geometry and is no field. Changes are sorted, disjoint, end
// within the disk, and neighbours of the same kind and reason are one.
//
// A checksum is SHA-256 cut to 128 bits, so that there is no pattern of damage to reason about: a flipped bit changes
// it but for a chance of 2^-128. Each byte of a file is under exactly one: the head under the head's, which covers the
// page sums, and through them the body. The length of the file follows from the head (label_bytes and body_bytes), so a
// file that was cut or extended does not have its length. Pages make damage located: the loader names the page and not
// just the file. Checksums tell damage, not an author: whoever can write the file can write its checksums.
//
// version history: 1, the first.
#pragma once

#include "reprotect/differential.hpp"
#include "reprotect/digest_map.hpp"

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reprotect {

/// What is wrong with a file's bytes; one word for each rule of the grammar that can be broken.
enum class format_error {
    not_ours = 1,
    unknown_version,
    too_short,
    bad_length,
    bad_head_sum,
    bad_page_sum,
    wrong_kind,
    bad_disk_size,
    bad_geometry,
    bad_algorithm,
    bad_flags,
    bad_reserved,
    bad_label,
    bad_count,
    bad_run,
    bad_change,
};

const boost::system::error_category& format_category() noexcept;
boost::system::error_code make_error_code(format_error value) noexcept;

/// Where a file breaks the grammar first, and how.
struct format_failure {
    boost::system::error_code code;
    std::uint64_t offset = 0;  ///< bytes from the start of the file
};

template <typename Value>
using format_result = boost::system::result<Value, format_failure>;

inline constexpr std::size_t format_fixed_bytes = 64;

/// The length that a file must have, from its first `format_fixed_bytes` (fewer may be given, and are too short). To be
/// asked before the whole is read: it is the bound of what a loader allocates.
format_result<std::uint64_t> format_length(std::span<const std::byte> head);

/// Untrusted bytes to values. Nothing throws for what they hold; what is allocated is never larger than the bytes
/// given.
format_result<digest_map> parse_digest_map(std::span<const std::byte> file);
format_result<differential> parse_differential(std::span<const std::byte> file);

/// The bytes of a file. Asserts that a map is sha256.
std::vector<std::byte> serialize(const digest_map& map);
std::vector<std::byte> serialize(const differential& value);

}  // namespace reprotect
