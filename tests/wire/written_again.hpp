// A frame read and written again, which gives the same bytes since a value has one encoding. For tests and fuzzers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "wire/message_codec.hpp"
#include "wire/session_frames.hpp"

namespace reprotect::test {

/// Takes one frame of any kind but data apart and puts it together again: what its value is written as, or why it is
/// refused.
inline wire_result<std::vector<std::byte>> written_again(frame_kind kind, std::span<const std::byte> payload) {
    std::vector<std::byte> out;
    const auto again = [&](const auto& value) -> wire_result<std::vector<std::byte>> {
        if (!value) return value.error();
        append(out, *value);
        return out;
    };
    switch (kind) {
        case frame_kind::request:
            return again(decode_request(payload));
        case frame_kind::answer:
            return again(decode_answer(payload));
        case frame_kind::join:
            return again(decode_join(payload));
        case frame_kind::confirm:
            return again(decode_confirm(payload));
        case frame_kind::status:
            return again(decode_status(payload));
        case frame_kind::notice:
            return again(decode_notice(payload));
        case frame_kind::goodbye:
            return again(decode_goodbye(payload));
        case frame_kind::map_end:
            return again(decode_map_end(payload));
        case frame_kind::changes: {
            const auto value = decode_changes(payload, {0, wire_offset_max});
            if (!value) return value.error();
            append_changes(out, *value);
            return out;
        }
        case frame_kind::map_piece:
            append_map_pieces(out, payload);
            return out;
        case frame_kind::keep_alive:
            append_keep_alive(out);
            return out;
        default:
            return again(decode(kind, payload));
    }
}

}  // namespace reprotect::test
