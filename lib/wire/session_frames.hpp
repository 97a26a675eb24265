// The frames beside the peers' messages: how a session is asked for, what goes along with it, and how it ends. The
// grammar stands in frame.hpp; reading keeps to the same rules as message_codec.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "peer/message.hpp"
#include "reprotect/differential.hpp"
#include "reprotect/extent.hpp"
#include "wire/frame.hpp"

namespace reprotect {

/// What the client will be.
enum class asked_role : std::uint8_t {
    source = 1,   ///< it pushes: the server's disk is the target
    target = 2,   ///< it pulls
    reader = 3,   ///< it wants the digest map of the server's disk
    sampler = 4,  ///< it looks at a sample of the server's disk
                  ///< (sample_frames.hpp), with a reader's rights
};

/// The first frame of a client.
struct wire_request {
    std::string export_name;  ///< at most 4096 bytes: over ssh it is a path
    asked_role role = asked_role::reader;
    session_mode mode = session_mode::sync;
    std::uint32_t block_bytes = block_bytes_default;
    std::uint32_t chunk_bytes = chunk_bytes_default;
    digest_algorithm algorithm = digest_algorithm::xxh3;
    bool reread = false;
    sync_permits permits;
    bool ignore_allocation = false;
    bool with_blocks = false;        ///< for a reader: the map holds block digests
    bool keep_differential = false;  ///< the client wants the extents
    std::optional<extent_set> within;
    std::string tool_version;  ///< for logs; cut to 64 bytes
    unsigned lanes = 1;        ///< connections that the client may open for this session, at most `lanes_max`
};

inline constexpr unsigned lanes_max = 16;
using lane_token = std::array<std::byte, 32>;

struct wire_answer {
    std::optional<error> refused;  ///< nothing: accepted
    unsigned lanes = 1;            ///< connections that the session may have; above 1 all that it says is striped
    lane_token token{};            ///< by which the others are known
};

/// The first frame of another connection of a session that has begun.
struct wire_join {
    lane_token token{};
};

struct wire_confirm {
    std::array<std::byte, 32> mac{};
};

/// How far the sending side is, for the other's progress.
struct wire_status {
    std::variant<source_counts, target_counts> counts;  ///< which one says which peer sends it
    std::uint64_t decided_bytes = 0;
    std::uint64_t proved_bytes = 0;
};

/// A warning, for the other side's user; cut to 4096 bytes.
struct wire_notice {
    std::string text;
};

/// What the other side's report needs of the one that sends it. Microseconds.
struct wire_goodbye {
    std::uint64_t flush_us = 0;
    std::uint64_t verify_us = 0;
    std::string source_in_use;  ///< who uses the source, or empty; cut to 1024 bytes
};

struct wire_map_end {
    std::uint64_t total_bytes = 0;  ///< of all pieces
    std::uint64_t read_bytes = 0;
    std::uint64_t duration_us = 0;
    digest root;
};

/// Each appends one whole frame. A request throws `error` (usage) where its name or its extents are too long for it.
void append(std::vector<std::byte>& out, const wire_request& value);
void append(std::vector<std::byte>& out, const wire_answer& value);
void append(std::vector<std::byte>& out, const wire_join& value);
void append(std::vector<std::byte>& out, const wire_confirm& value);
void append(std::vector<std::byte>& out, const wire_status& value);
void append(std::vector<std::byte>& out, const wire_notice& value);
void append(std::vector<std::byte>& out, const wire_goodbye& value);
void append(std::vector<std::byte>& out, const wire_map_end& value);

/// Appends as many frames as it takes; none for nothing. The changes are sorted and disjoint (asserted).
void append_changes(std::vector<std::byte>& out, std::span<const change> changes);
/// The bytes of a digest map's file, parted into frames. A piece's payload is its bytes, and needs no decoding.
void append_map_pieces(std::vector<std::byte>& out, std::span<const std::byte> file);

/// The payload of one frame.
wire_result<wire_request> decode_request(std::span<const std::byte> payload);
wire_result<wire_answer> decode_answer(std::span<const std::byte> payload);
wire_result<wire_join> decode_join(std::span<const std::byte> payload);
wire_result<wire_confirm> decode_confirm(std::span<const std::byte> payload);
wire_result<wire_status> decode_status(std::span<const std::byte> payload);
wire_result<wire_notice> decode_notice(std::span<const std::byte> payload);
wire_result<wire_goodbye> decode_goodbye(std::span<const std::byte> payload);
wire_result<wire_map_end> decode_map_end(std::span<const std::byte> payload);
/// Sorted, disjoint, and within `inside`: from the end of the last frame's last change to the disk's end.
wire_result<std::vector<change>> decode_changes(std::span<const std::byte> payload, extent inside);

}  // namespace reprotect
