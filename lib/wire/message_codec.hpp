// The peers' messages as frames; the grammar stands in frame.hpp.
//
// Reading keeps what a peer may cost in proportion to what it sent: a count is checked against the bytes that are left
// before memory is taken for it. Relations between messages, and of a message to the disk, are the peers' affair.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "peer/message.hpp"
#include "wire/frame.hpp"

namespace reprotect {

/// Appends whole frames: one, or as many as keep each within its maximum; none for a list of nothing. Asserts that the
/// message is no `chunk_data` (those go in batches, data_batch.hpp) and is well formed: runs and entries without gaps,
/// ranges within 2^62. Texts that are too long are cut. Of an identity and a world-wide name a digest of the whole
/// stands at the cut, so that two long names do not become one; a place's footings beyond 64 are left out.
void append(std::vector<std::byte>& out, const message& value);

/// The payload of one frame. A kind that is no message, or `data`, is `wrong_kind`. A number for an error's kind that
/// this version does not know becomes `peer`.
wire_result<message> decode(frame_kind kind, std::span<const std::byte> payload);

/// A failure outside of a message, as in an answer: the payload's grammar `failure`, without a frame around it.
void append_failure(std::vector<std::byte>& out, const error& value);
wire_result<error> decode_failure(std::span<const std::byte> bytes);
inline constexpr std::uint32_t failure_bytes_max = 8448;  // 4096 + 4 * 1024 and the numbers beside them

}  // namespace reprotect
