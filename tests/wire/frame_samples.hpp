// One value for each frame, as tests/wire/golden/make.py has them too; and frames taken apart.
#pragma once

#include <catch2/catch.hpp>

#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.hpp"
#include "support/bytes.hpp"
#include "wire/data_batch.hpp"
#include "wire/message_codec.hpp"
#include "wire/sample_frames.hpp"
#include "wire/session_frames.hpp"

namespace reprotect::test {

using bytes = std::vector<std::byte>;

template <std::size_t Count>
std::array<std::byte, Count> count_up(unsigned first) {
    std::array<std::byte, Count> result{};
    for (std::size_t i = 0; i < Count; ++i) result[i] = static_cast<std::byte>(first + i);
    return result;
}

inline digest digest_from(unsigned first) {
    return {count_up<16>(first)};
}

struct split_frame {
    frame_header header;
    bytes whole;
    bytes payload;
};

/// The frames that bytes consist of.
inline std::vector<split_frame> split(std::span<const std::byte> stream) {
    std::vector<split_frame> frames;
    while (!stream.empty()) {
        REQUIRE(stream.size() >= frame_header_bytes);
        const auto header = decode_header(stream.first<frame_header_bytes>());
        REQUIRE(header.has_value());
        REQUIRE(stream.size() - frame_header_bytes >= header->length);
        const auto whole = stream.first(frame_header_bytes + header->length);
        const auto payload = whole.subspan(frame_header_bytes);
        frames.push_back({*header, {whole.begin(), whole.end()}, {payload.begin(), payload.end()}});
        stream = stream.subspan(whole.size());
    }
    return frames;
}

inline bytes framed(const message& value) {
    bytes out;
    append(out, value);
    return out;
}

inline error sample_error() {
    return error(error_kind::device_io, "read of /dev/vdb failed: Input/output error",
                 {.device = "/dev/vdb",
                  .operation = "read",
                  .offset = std::uint64_t{1} << 40,
                  .length = 4096,
                  .holder = "qemu (pid 7)",
                  .hint = "look at the kernel's log",
                  .system_errno = 5});
}

inline hello sample_hello() {
    hello value;
    value.shape = {(std::uint64_t{10} << 40) + 513, 1 << 20, 4096};
    value.reread = true;
    value.permits = {.allow_larger = false, .truncate = true, .reverse = true};
    value.findings = {.full_copy = false, .resizes = true, .reason = "the target is blank"};
    value.whole = false;
    value.wants_differential = true;
    value.nonce = count_up<32>(100);
    value.disk.name = "/dev/vdb";
    disk_place& place = value.disk.place;
    place.identity.fields = {{"kind", "block"}, {"serial", std::string("\xff\0x", 3)}};
    place.machine = "0123456789abcdef0123456789abcdef";
    place.written = {{{disk_node::file(64769, 12345), whole_node, true, "not sent"},
                      {disk_node::block(2049), {1 << 20, 1 << 30}, false, {}}},
                     {}};
    place.read = {{{{disk_node::kind::unit, 0, 0, "naa.5000c500"}, {0, std::uint64_t{1} << 40}, true, {}}}};
    value.digest_entries = 4096;
    value.allocation_runs = 300;
    value.data_messages = 64;
    value.data_bytes = 48 << 20;
    value.proof_chunks = std::uint64_t{1} << 40;
    value.egress_max = 45'000'000'000;
    value.generation = "snapshot 7";
    value.finished_bytes = std::uint64_t{3} << 30;
    return value;
}

inline source_counts sample_source_counts() {
    return {1, 200, 1 << 14, 1 << 21, 5, UINT64_MAX};
}

inline target_counts sample_target_counts() {
    return {7, 800, 9, 10, std::uint64_t{1} << 35};
}

inline wire_request sample_request() {
    wire_request value;
    value.export_name = "disks/vm 7";
    value.role = asked_role::target;
    value.mode = session_mode::compare;
    value.block_bytes = 512;
    value.chunk_bytes = 1 << 16;
    value.algorithm = digest_algorithm::sha256;
    value.reread = true;
    value.permits.truncate = true;
    value.ignore_allocation = true;
    value.keep_differential = true;
    value.within = extent_set{{0, 4096}, {12288, std::uint64_t{1} << 40}};
    value.tool_version = "0.1.0";
    value.lanes = 4;
    return value;
}

/// 8 blocks of 512 bytes a chunk.
inline geometry sample_shape() {
    return {5 * 4096, 4096, 512};
}

/// What sampled blocks are of: 512 bytes each, and as many as there may be.
inline geometry sampled_shape() {
    return {wire_offset_max, chunk_bytes_default, block_bytes_min};
}

inline void append_sample_batch(bytes& out) {
    auto pool = std::make_shared<buffer_pool>(4096);
    chunk_data data{2, {{1, 2, false}, {3, 1, true}, {7, 1, false}}, pool->take(), digest_from(20)};
    for (const auto& [block, value] : {std::pair(1, 1), {2, 2}, {7, 3}})
        std::memset(data.payload.bytes().data() + 512 * block, value, 512);
    batch_builder builder(sample_shape());
    builder.add(std::move(data));
    builder.add({3, {{0, 8, true}}, {}, digest_from(30)});
    // Encoded, these bytes would be compressed, and what zstd makes of them is its own affair: the frame is made raw
    // here.
    std::optional<batch> made = builder.take_rest();
    REQUIRE(made);
    const std::size_t frame = begin_frame(out, frame_kind::data);
    out.insert(out.end(), {std::byte{0}, std::byte{0}, std::byte{6}, std::byte{0}});
    out.insert(out.end(), {static_cast<std::byte>(made->head.size()), std::byte{0}, std::byte{0}});
    out.insert(out.end(), made->head.begin(), made->head.end());
    for (const batch_piece& piece : made->pieces) {
        const auto part = piece.of->bytes().subspan(piece.offset, piece.length);
        out.insert(out.end(), part.begin(), part.end());
    }
    end_frame(out, frame);
}

/// All of them, in the order of frames-v1.bin.
inline bytes sample_frames() {
    bytes out;
    append(out, sample_request());
    append(out, wire_answer{sample_error()});
    append(out, wire_answer{});
    wire_answer several;
    several.lanes = 16;
    several.token = count_up<32>(9);
    append(out, several);
    append(out, wire_join{count_up<32>(11)});
    append(out, wire_confirm{count_up<32>(7)});
    append(out, message{sample_hello()});
    const std::uint64_t first = 1 << 20;
    const std::uint64_t second = first + (1 << 16);
    const std::uint64_t third = second + (std::uint64_t{1} << 40);
    append(out, message{allocation{{{{first, 1 << 16}, source_content::data},
                                    {{second, std::uint64_t{1} << 40}, source_content::zero},
                                    {{third, 1}, source_content::skip}}}});
    using kind = digest_entry::kind;
    const std::uint64_t hole = std::uint64_t{1} << 45;
    append(out,
           message{chunk_digests{{{kind::digest, 300, 1, digest_from(1), {}},
                                  {kind::zero, 301, 1, {}, {}},
                                  {kind::hole, 302, hole, {}, {}},
                                  {kind::digest, 302 + hole, 1, digest_from(2), {count_up<5>(50), count_up<5>(60)}}}}});
    append(out, message{narrow{128}});
    append(out, message{block_digests{std::uint64_t{1} << 50, {count_up<5>(1), count_up<5>(2), count_up<5>(3)}}});
    append(out, message{verdict{127, 128, UINT64_MAX}});
    append_sample_batch(out);
    append(out, message{resend{0}});
    append(out, message{credit{16383, 16384, 1 << 26, 1}});
    append(out, message{end_of_data{77, digest_from(3), sample_source_counts()}});
    append(out, message{applied{digest_from(4), sample_target_counts()}});
    append(out, message{proof{5, 2, {digest_from(5), digest_from(6)}}});
    append(out, message{proof{7, std::uint64_t{1} << 49, {}}});
    append(out, message{proved{true}});
    append(out, message{failed{sample_error()}});
    append_keep_alive(out);
    append(out, wire_status{sample_source_counts(), 11, 12});
    append(out, wire_status{sample_target_counts(), 13, std::uint64_t{1} << 63});
    append(out, wire_notice{"the source was in use"});
    append_changes(
        out, std::vector<change>{{{512, 512}, change_kind::data, change_reason::changed},
                                 {{1024, 1 << 30}, change_kind::zero, change_reason::source_hole},
                                 {{1024 + (1 << 30) + 4096, 100}, change_kind::data, change_reason::target_hole}});
    append(out, wire_goodbye{1000000, std::uint64_t{1} << 32, "mounted at /mnt"});
    append_map_pieces(out, std::as_bytes(std::span("RPROTECT", 8)));
    append(out, wire_map_end{std::uint64_t{1} << 33, std::uint64_t{1} << 41, 60000000, digest_from(8)});
    append(out, wire_sampler_hello{count_up<32>(60), std::uint64_t{64} << 20});
    append(out, wire_sampled_disk{count_up<32>(90), (std::uint64_t{10} << 40) + 513});
    append_layout_wish(out);
    append(out, wire_sample_wish{true, {{512, 1024}, {1536, 512}, {512 * 1000, 512 * 128}}}, sampled_shape());
    append_samples(out, std::vector<wire_sample>{{digest_from(1), false},
                                                 {digest_from(2), false},
                                                 {{}, true},
                                                 {{}, true},
                                                 {{}, true},
                                                 {digest_from(3), false}});
    append(out, wire_samples_end{127, 128});
    append_weigh_wish(out, std::vector<std::uint64_t>{0, 512 * 127, 512 * 300}, sampled_shape());
    append_weights(out, std::vector<wire_weight>{{1 << 20, 1000, 0}, {4096, 4096, 7}});
    append_filler(out, std::as_bytes(std::span("filler", 6)));
    append(out, wire_echo_wish{filler_bytes_max});
    append(out, wire_echo{UINT64_MAX});
    return out;
}

}  // namespace reprotect::test
