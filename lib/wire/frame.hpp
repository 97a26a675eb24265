// What crosses the wire between two processes. Version 1.
//
// Fixed-width integers (u8, u16, u24) are little-endian and unsigned. A number is an unsigned LEB128 varint of at most
// 64 bits in its shortest form, so that a value has one encoding. A text is a number (its length) and as many bytes,
// any bytes: who prints it escapes them. A flag is one byte, 0 or 1. Nothing is aligned, padded or optional beyond what
// stands here, and a frame holds exactly what its grammar says: bytes behind it are refused.
//
//   stream     = preamble frame*
//   preamble   = magic version_min version_max side reserved nonce     56 bytes, the same in all versions for ever
//   magic      = "reprotect/wire" 13 10    16 bytes; a line end, so that a transport that rewrites those is found
//   version_min, version_max               u16 each, not 0 and in order: the versions that this side speaks
//   side       = 1 | 2 | 3 | 4             u8, source peer | target peer | client | server
//   reserved   = 0                         3 bytes
//   nonce                                  32 bytes, fresh for each connection
//   frame      = kind length payload       u8, u24, length bytes; each kind has its own maximum length (`frame_max`)
//
// Frames of both sides before a session. Offsets and lengths of bytes: no range ends beyond 2^62.
//
//   request       = export: text (at most 4096), role: u8 (1 source, 2 target, 3 reader, 4 sampler: what the client
//                   will be), mode, block_bytes: number, chunk_bytes: number, algorithm: u8 (1 xxh3, 2 sha256), flags: u8 (bit 0
//                   reread, 1 allow_larger, 2 truncate, 3 reverse, 4 ignore_allocation, 5 with_blocks, 6
//                   keep_differential, 7 within), tool_version: text (at most 64), lanes: u8 (1 to 16: the
//                   connections that the client may open),
//                   under `within`: count: number, then count times (gap: number, length: number)
//                   gap = bytes from the end of the extent before (from 0 for the first); 0 only for the first
//   answer        = flag (accepted); where 0: failure; where 1: lanes: u8 (1 to 16), above 1 a token: 32 bytes
//   join          = token: 32 bytes, from the answer that began the session
//   confirm       = 32 bytes, a MAC
//   mode          = u8: 1 sync, 2 dry run, 3 compare
//
// The peers' messages (lib/peer/message.hpp says what they mean).
//
//   hello         = mode, disk_bytes: number, chunk_bytes: number, block_bytes: number, algorithm: u8, flags: u8 (bit 0
//                   reread, 1 allow_larger, 2 truncate, 3 reverse, 4 full_copy, 5 resizes, 6 whole,
//                   7 wants_differential), nonce: 32 bytes, name: text (4096), identity, machine: text (64), kernel:
//                   text (64), places (written), places (read), reason: text (4096), digest_entries,
//                   allocation_runs, data_messages, data_bytes, proof_chunks, egress_max: number each, generation: text
//                   (255), finished_bytes: number
//   identity      = count: number (at most 32), then count times (text (1024), text (1024))
//   places        = count: number, then count times (count: number, footings); at most 64 lists and 64 footings a hello
//   footing       = kind: u8 (1 file, 2 block device, 3 unit), device: number, inode: number, world-wide name: text
//                   (256), offset: number, length: number, flag (exact)
//   allocation    = offset: number, then one or more times number: (length - 1) << 2 | content (0 data, 1 zero, 2 skip)
//   chunk_digests = first_chunk: number, then one or more times entry (of these, and of runs above, at most 16384 a
//                   frame)
//   entry         = u8: 0 digest | 1 zero | 2 hole | 4 digest with cuts;
//                   a hole: count: number (not 0); a digest: 16 bytes, with cuts: count: number (not 0), as many cuts
//   cuts          = 5 bytes each; where one equals the one before it, a number follows: how many more equal ones, after
//                   which comes a different one. At most 52,428 in a frame.
//   narrow        = chunk: number
//   block_digests = chunk: number, then cuts to the end
//   verdict       = below_chunk, entries_granted, data_sent: number each
//   data          = codec: u8 (0 raw, 1 zstd, 2 split), raw_bytes: u24 (at most 2^20), head_bytes: u24 (at most 2^17),
//                   head, body
//   head          = as many as there are: chunk: number, value: 16 bytes, count: number (not 0), then count times
//                   (skipped: number, blocks since the end of the run before; number: count (not 0) << 1 | zero)
//   body          = raw_bytes bytes; or one zstd frame that decodes to them and is shorter; or, split, what is shorter
//                   than they are, too: the bytes are cut into pieces of 4096 (the last may be short); marks, a bit for
//                   each piece, the lowest of the first byte first, whether it is compressed (some are, some are not;
//                   the last byte's other bits are 0); the other pieces; one zstd frame that decodes to the marked ones
//                   in a row. The bytes are, in this order:
//                   what is missing of the chunk that the data frame before left open; the bytes of the runs that are
//                   not zero, of each entry. Only the last entry may be left open, and then at least one byte of it is
//                   there.
//   resend        = chunk: number
//   credit        = allocation_runs, data_messages, data_bytes, proof_chunks: number each
//   end_of_data   = data_sent: number, root: 16 bytes, source counts
//   source counts = allocated, read, reread, changed_compared, changed_uncompared, zeroed: number each
//   applied       = root: 16 bytes, target counts
//   target counts = allocated, read, compared, deallocated, written: number each
//   proof         = first_chunk: number, count: number (not 0), flag (with digests), then count times 16 bytes if set
//   proved        = flag (the cache was passed)
//   failed        = failure
//   failure       = kind: number (the table is in message_codec.cpp), message: text (4096, without 0 bytes), device,
//                   operation, holder, hint: text (1024) each, flags: u8 (bit 0 offset, 1 length), those as numbers,
//                   errno: number (below 4096)
//
// Beside the messages.
//
//   keep_alive    = nothing
//   status        = u8: 1 source | 2 target; source counts | target counts; decided_bytes: number, proved_bytes: number
//   notice        = up to 4096 bytes of text
//   changes       = one or more times (gap: number, from the end of the change before, from 0 for the first; u8:
//                   kind (1, 2) << 2 | reason (1, 2, 3); length: number, not 0); all changes of a session may be in
//                   several
//   goodbye       = flush_us, verify_us: number each, source_in_use: text (1024)
//   map_piece     = bytes of a digest map's file (lib/plan/file_format.hpp), in order
//   map_end       = total_bytes: number, read_bytes: number, duration_us: number, root: 16 bytes
//
// Between a sampler and its server (sample_frames.hpp). Blocks are the request's; the disk's last one may be short.
//
//   sampler_hello = nonce: 32 bytes, kept_bytes: number
//   sampled_disk  = nonce: 32 bytes, disk_bytes: number
//   layout_wish   = nothing
//   sample_wish   = flag (keep), then one or more times (gap: number, blocks from the end of the stretch before, from 0
//                   for the first; length: number, blocks, not 0); at most 4096 stretches and 256 MiB
//   samples       = one or more times number: count (not 0) << 1 | zero, by turns; where not zero, count times 16 bytes
//   samples_end   = duration_us, processor_us: number each
//   weigh_wish    = one or more times block: number, rising; at most 4096
//   weights       = up to 4096 times raw_bytes, packed_bytes (neither 0), processor_us: number each
//   filler        = any bytes, at least one
//   echo_wish     = number: bytes of filler (at most 2^24)
//   echo          = number: bytes of filler
//
// Dialogue. Both sides send their preamble at once; each takes the highest version that both speak, and gives up where
// there is none, or the sides are not source peer and target peer, or client and server. Then (opening.hpp has the MAC)
// - source peer and target peer: a confirm of both; the messages, the source's hello first. Neither sends more than its
//   hello until it has the other's.
// - client and server: request or join, answer, a confirm of both; then, if accepted, the messages between the client in its
//   role and the server in the other one. For a reader: map_piece* map_end from the server instead.
// - a sampler and its server: sampler_hello, sampled_disk; then the client asks, and waits for the whole answer before it
//   asks again: layout_wish, answered by allocation* up to the disk's end; sample_wish, by samples* samples_end;
//   weigh_wish, by weights; filler* (at most 2^24 bytes) echo_wish, by as much filler as it wants and an echo of how much
//   came. A server's failed is its last frame; the client ends by closing. A client without a question, and a server
//   without an answer yet, say keep_alive.
// - keep_alive may come at any time from both, status and notice after the sender's hello. After the last message (or map_end) come the source's
//   changes, if they were asked for, and each side's goodbye, its last frame.
//
//   from source         hello allocation narrow verdict data end_of_data proof failed changes
//   from target         hello chunk_digests block_digests resend credit applied proved failed
//
// Credits are the messages' own, and the same on every wire; what they bound stands in lib/peer/message.hpp.
// allocation, chunk_digests and proof may be parted over more frames than the sender's peer made messages: their
// credits count runs, entries and chunks. Data messages are counted by entries of heads.
//
// Every frame is refused as a whole, before anything is allocated for a count that its bytes cannot hold.
//
// version history: see `wire_version`.
#pragma once

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace reprotect {

/// What is wrong with the other side's bytes; one word for each rule of the grammar that can be broken.
enum class wire_error {
    not_ours = 1,
    bad_versions,
    bad_side,
    bad_reserved,
    unknown_kind,
    too_long,
    wrong_kind,
    truncated,
    trailing_bytes,
    bad_number,
    bad_flag,
    bad_value,
    bad_count,
    bad_text,
    bad_range,
    bad_geometry,
    bad_batch,
    bad_chunk,
    bad_run,
    bad_payload,
    too_many_chunks,
};

const boost::system::error_category& wire_category() noexcept;
boost::system::error_code make_error_code(wire_error value) noexcept;

template <typename Value>
using wire_result = boost::system::result<Value>;

/// A line for each change of anything in this header's grammar but the preamble, which cannot change.
enum class wire_version : std::uint16_t {
    first = 1,  ///< as above; until a release it still changes
};
inline constexpr wire_version wire_version_min = wire_version::first;
inline constexpr wire_version wire_version_max = wire_version::first;

enum class wire_side : std::uint8_t {
    source_peer = 1,  ///< of an agent, that gives its disk
    target_peer = 2,  ///< of an agent, that takes it
    client = 3,       ///< asks a server for a disk and says what it will be
    server = 4,       ///< `reprotect serve`
};

/// The first bytes of each side.
struct preamble {
    std::uint16_t version_min = static_cast<std::uint16_t>(wire_version_min);
    std::uint16_t version_max = static_cast<std::uint16_t>(wire_version_max);
    wire_side side = wire_side::source_peer;
    std::array<std::byte, 32> nonce{};
    friend bool operator==(const preamble&, const preamble&) = default;
};
inline constexpr std::size_t preamble_bytes = 56;

std::array<std::byte, preamble_bytes> encode(const preamble& value) noexcept;
/// Takes exactly `preamble_bytes`. Fewer that begin as a preamble does are `truncated`, all else that is none
/// `not_ours`, so that something else at the other end is told from its first bytes.
wire_result<preamble> decode_preamble(std::span<const std::byte> bytes) noexcept;

/// The highest version that both speak.
std::optional<wire_version> meet(const preamble& ours, const preamble& theirs) noexcept;
/// Whether these two may talk: source and target peer, or client and server.
bool fit_together(wire_side ours, wire_side theirs) noexcept;

enum class frame_kind : std::uint8_t {
    request = 1,
    answer,
    confirm,
    join,

    hello = 16,
    allocation,
    chunk_digests,
    narrow,
    block_digests,
    verdict,
    data,
    resend,
    credit,
    end_of_data,
    applied,
    proof,
    proved,
    failed,

    keep_alive = 48,
    status,
    notice,
    changes,
    goodbye,
    map_piece,
    map_end,

    sampler_hello = 64,
    sampled_disk,
    layout_wish,
    sample_wish,
    samples,
    samples_end,
    weigh_wish,
    weights,
    filler,
    echo_wish,
    echo,
};

struct frame_header {
    frame_kind kind = frame_kind::keep_alive;
    std::uint32_t length = 0;  ///< bytes of the payload
    friend bool operator==(const frame_header&, const frame_header&) = default;
};
inline constexpr std::size_t frame_header_bytes = 4;

/// No offset, and no end of a range, is larger: sums of two do not wrap.
inline constexpr std::uint64_t wire_offset_max = std::uint64_t{1} << 62;

// Limits of a data frame; see data_batch.hpp.
inline constexpr std::size_t batch_header_bytes = 7;
inline constexpr std::uint32_t batch_raw_bytes_max = 1024 * 1024;
inline constexpr std::uint32_t batch_head_bytes_max = 128 * 1024;
inline constexpr std::uint32_t split_piece_bytes = 4096;

/// The longest payload of a kind, in bytes; nothing for a number that is no kind.
std::optional<std::uint32_t> frame_max(frame_kind kind) noexcept;
inline constexpr std::uint32_t frame_max_of_all = batch_header_bytes + batch_head_bytes_max + batch_raw_bytes_max;

/// Refuses unknown kinds, and lengths beyond the kind's maximum.
wire_result<frame_header> decode_header(std::span<const std::byte, frame_header_bytes> bytes) noexcept;
/// Asserts that the length is within the kind's maximum.
std::array<std::byte, frame_header_bytes> encode(const frame_header& value);

/// Begins a frame at the end of `out`, and returns what `end_frame` wants, which closes it by storing its length
/// (asserted to be within its kind's maximum).
std::size_t begin_frame(std::vector<std::byte>& out, frame_kind kind);
void end_frame(std::vector<std::byte>& out, std::size_t begun);

/// A whole frame without a payload, the only one there is.
void append_keep_alive(std::vector<std::byte>& out);

}  // namespace reprotect

template <>
struct boost::system::is_error_code_enum<reprotect::wire_error> : std::true_type {};
