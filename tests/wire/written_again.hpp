// A frame read and written again, which gives the same bytes since a value has one encoding. For tests and fuzzers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "wire/message_codec.hpp"
#include "wire/sample_frames.hpp"
#include "wire/session_frames.hpp"

namespace reprotect::test {

/// So many samples may still come.
inline constexpr std::size_t samples_most = 1 << 16;

/// Takes one frame of any kind but data apart and puts it together again: what its value is written as, or why it is
/// refused.
inline wire_result<std::vector<std::byte>> written_again(frame_kind kind, std::span<const std::byte> payload) {
    std::vector<std::byte> out;
    const auto again = [&](const auto& value) -> wire_result<std::vector<std::byte>> {
        if (!value) return value.error();
        append(out, *value);
        return out;
    };
    // Of the smallest blocks that there are, as many as there may be.
    const geometry sampled{wire_offset_max, chunk_bytes_default, block_bytes_min};
    const auto list_again = [&](const auto& value, auto append_it) -> wire_result<std::vector<std::byte>> {
        if (!value) return value.error();
        append_it(*value);
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
        case frame_kind::sampler_hello:
            return again(decode_sampler_hello(payload));
        case frame_kind::sampled_disk:
            return again(decode_sampled_disk(payload));
        case frame_kind::layout_wish:
            append_layout_wish(out);
            return out;
        case frame_kind::sample_wish:
            return list_again(decode_sample_wish(payload, sampled),
                              [&](const auto& value) { append(out, value, sampled); });
        case frame_kind::samples:
            return list_again(decode_samples(payload, samples_most),
                              [&](const auto& value) { append_samples(out, value); });
        case frame_kind::samples_end:
            return again(decode_samples_end(payload));
        case frame_kind::weigh_wish:
            return list_again(decode_weigh_wish(payload, sampled),
                              [&](const auto& value) { append_weigh_wish(out, value, sampled); });
        case frame_kind::weights:
            return list_again(decode_weights(payload), [&](const auto& value) { append_weights(out, value); });
        case frame_kind::filler:
            append_filler(out, payload);
            return out;
        case frame_kind::echo_wish:
            return again(decode_echo_wish(payload));
        case frame_kind::echo:
            return again(decode_echo(payload));
        case frame_kind::keep_alive:
            append_keep_alive(out);
            return out;
        default:
            return again(decode(kind, payload));
    }
}

}  // namespace reprotect::test
