// Fields after one another, read back in the same order; lists of changes as gaps and lengths.
#include "wire/session_frames.hpp"

#include <algorithm>
#include <utility>

#include "wire/fields.hpp"
#include "wire/message_codec.hpp"
#include "wire/values.hpp"

namespace reprotect {
namespace {

constexpr std::size_t export_name_max = 4096;  // PATH_MAX
constexpr std::size_t tool_version_max = 64;
constexpr std::size_t notice_max = 4096;
constexpr std::size_t in_use_max = 1024;

enum request_flag : unsigned {
    request_reread = 1,
    request_allow_larger = 2,
    request_truncate = 4,
    request_reverse = 8,
    request_ignore_allocation = 16,
    request_with_blocks = 32,
    request_keep_differential = 64,
    request_within = 128,
    request_flags = 255,
};

enum status_tag : unsigned { status_of_source = 1, status_of_target = 2 };

[[noreturn]] void refuse_request(const std::string& message, const std::string& hint) {
    throw error(error_kind::usage, message, {.operation = "ask the server", .hint = hint});
}

void write_extents(field_writer& to, const extent_set& extents) {
    to.number(extents.count());
    std::uint64_t last = 0;
    for (const extent each : extents) {
        REPROTECT_ASSERT(each.offset <= wire_offset_max && each.length <= wire_offset_max - each.offset);
        to.number(each.offset - last);
        to.number(each.length);
        last = each.end();
    }
}

// An extent takes 16 bytes in memory and at least 2 here.
extent_set read_extents(field_reader& from) {
    extent_set extents;
    const std::size_t count = from.count(2);
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t gap = from.number_up_to(wire_offset_max - last, wire_error::bad_range);
        const std::uint64_t length = from.number_up_to(wire_offset_max - last - gap, wire_error::bad_range);
        if (length == 0 || (gap == 0 && i != 0)) from.refuse(wire_error::bad_range);
        if (!from.good()) break;
        extents.add({last + gap, length});
        last += gap + length;
    }
    return extents;
}

unsigned read_lanes(field_reader& from) {
    const unsigned lanes = from.byte();
    if (lanes < 1 || lanes > lanes_max) from.refuse(wire_error::bad_value);
    return lanes;
}

constexpr unsigned tag_of(const change& value) noexcept {
    return static_cast<unsigned>(value.kind) << 2 | static_cast<unsigned>(value.reason);
}

}  // namespace

void append(std::vector<std::byte>& out, const wire_request& value) {
    if (value.export_name.size() > export_name_max)
        refuse_request("a disk's name of " + std::to_string(value.export_name.size()) + " bytes is too long to ask for",
                       "name the disk by at most " + std::to_string(export_name_max) + " bytes");
    std::vector<std::byte> payload;
    field_writer to(payload);
    to.text(value.export_name, export_name_max);
    to.byte(static_cast<unsigned>(value.role));
    to.byte(number_of(value.mode));
    to.number(value.block_bytes);
    to.number(value.chunk_bytes);
    to.byte(number_of(value.algorithm));
    to.byte((value.reread ? request_reread : 0u) | (value.permits.allow_larger ? request_allow_larger : 0u) |
            (value.permits.truncate ? request_truncate : 0u) | (value.permits.reverse ? request_reverse : 0u) |
            (value.ignore_allocation ? request_ignore_allocation : 0u) |
            (value.with_blocks ? request_with_blocks : 0u) |
            (value.keep_differential ? request_keep_differential : 0u) | (value.within ? request_within : 0u));
    to.text(value.tool_version, tool_version_max);
    to.byte(value.lanes);
    if (value.within) write_extents(to, *value.within);
    if (payload.size() > frame_max(frame_kind::request))
        refuse_request("a set of " + std::to_string(value.within->count()) + " extents is too long to send to a server",
                       "give fewer extents to stay within, for example by joining those that lie close together");
    append_frame(out, frame_kind::request, [&](field_writer& frame) { frame.raw(payload); });
}

wire_result<wire_request> decode_request(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_request value;
    value.export_name = from.text(export_name_max);
    const unsigned role = from.byte();
    if (role < 1 || role > 4) from.refuse(wire_error::bad_value);
    value.role = static_cast<asked_role>(role);
    value.mode = read_mode(from);
    geometry shape;
    shape.block_bytes = from.number32(wire_error::bad_geometry);
    shape.chunk_bytes = from.number32(wire_error::bad_geometry);
    if (from.good() && !valid_geometry(shape)) from.refuse(wire_error::bad_geometry);
    value.block_bytes = shape.block_bytes;
    value.chunk_bytes = shape.chunk_bytes;
    value.algorithm = read_algorithm(from);
    const unsigned flags = from.flags(request_flags);
    value.reread = (flags & request_reread) != 0;
    value.permits.allow_larger = (flags & request_allow_larger) != 0;
    value.permits.truncate = (flags & request_truncate) != 0;
    value.permits.reverse = (flags & request_reverse) != 0;
    value.ignore_allocation = (flags & request_ignore_allocation) != 0;
    value.with_blocks = (flags & request_with_blocks) != 0;
    value.keep_differential = (flags & request_keep_differential) != 0;
    value.tool_version = from.text(tool_version_max);
    value.lanes = read_lanes(from);
    if ((flags & request_within) != 0) value.within = read_extents(from);
    return from.done(std::move(value));
}

void append(std::vector<std::byte>& out, const wire_answer& value) {
    const std::size_t frame = begin_frame(out, frame_kind::answer);
    field_writer to(out);
    to.flag(!value.refused);
    if (value.refused) {
        append_failure(out, *value.refused);
    } else {
        to.byte(value.lanes);
        if (value.lanes > 1) to.raw(value.token);
    }
    end_frame(out, frame);
}

wire_result<wire_answer> decode_answer(std::span<const std::byte> payload) {
    field_reader from(payload);
    if (from.flag() || !from.good()) {
        wire_answer accepted;
        accepted.lanes = read_lanes(from);
        if (accepted.lanes > 1) accepted.token = from.array<32>();
        return from.done(std::move(accepted));
    }
    wire_result<error> refused = decode_failure(from.rest());
    if (!refused) return refused.error();
    wire_answer value;
    value.refused = std::move(*refused);
    return value;
}

void append(std::vector<std::byte>& out, const wire_join& value) {
    append_frame(out, frame_kind::join, [&](field_writer& to) { to.raw(value.token); });
}

wire_result<wire_join> decode_join(std::span<const std::byte> payload) {
    field_reader from(payload);
    const wire_join value{from.array<32>()};
    return from.done(value);
}

void append(std::vector<std::byte>& out, const wire_confirm& value) {
    append_frame(out, frame_kind::confirm, [&](field_writer& to) { to.raw(value.mac); });
}

wire_result<wire_confirm> decode_confirm(std::span<const std::byte> payload) {
    field_reader from(payload);
    const wire_confirm value{from.array<32>()};
    return from.done(value);
}

void append(std::vector<std::byte>& out, const wire_status& value) {
    append_frame(out, frame_kind::status, [&](field_writer& to) {
        to.byte(std::holds_alternative<source_counts>(value.counts) ? status_of_source : status_of_target);
        std::visit([&](const auto& counts) { write_counts(to, counts); }, value.counts);
        to.number(value.decided_bytes);
        to.number(value.proved_bytes);
    });
}

wire_result<wire_status> decode_status(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_status value;
    switch (from.byte()) {
        case status_of_source:
            value.counts = read_source_counts(from);
            break;
        case status_of_target:
            value.counts = read_target_counts(from);
            break;
        default:
            from.refuse(wire_error::bad_value);
    }
    value.decided_bytes = from.number();
    value.proved_bytes = from.number();
    return from.done(value);
}

void append(std::vector<std::byte>& out, const wire_notice& value) {
    append_frame(out, frame_kind::notice, [&](field_writer& to) {
        to.raw(std::as_bytes(std::span(value.text)).first(std::min(value.text.size(), notice_max)));
    });
}

wire_result<wire_notice> decode_notice(std::span<const std::byte> payload) {
    if (payload.size() > notice_max) return make_error_code(wire_error::bad_text);
    return wire_notice{std::string(reinterpret_cast<const char*>(payload.data()), payload.size())};
}

void append(std::vector<std::byte>& out, const wire_goodbye& value) {
    append_frame(out, frame_kind::goodbye, [&](field_writer& to) {
        to.number(value.flush_us);
        to.number(value.verify_us);
        to.text(value.source_in_use, in_use_max);
    });
}

wire_result<wire_goodbye> decode_goodbye(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_goodbye value;
    value.flush_us = from.number();
    value.verify_us = from.number();
    value.source_in_use = from.text(in_use_max);
    return from.done(std::move(value));
}

void append(std::vector<std::byte>& out, const wire_map_end& value) {
    append_frame(out, frame_kind::map_end, [&](field_writer& to) {
        to.number(value.total_bytes);
        to.number(value.read_bytes);
        to.number(value.duration_us);
        to.raw(value.root.bytes);
    });
}

wire_result<wire_map_end> decode_map_end(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_map_end value;
    value.total_bytes = from.number();
    value.read_bytes = from.number();
    value.duration_us = from.number();
    value.root = from.value();
    return from.done(value);
}

void append_changes(std::vector<std::byte>& out, std::span<const change> changes) {
    field_writer to(out);
    std::uint64_t last = 0;
    while (!changes.empty()) {
        const std::size_t frame = begin_frame(out, frame_kind::changes);
        const std::size_t full = out.size() + *frame_max(frame_kind::changes) - (10 + 1 + 10);
        // The first gap of a frame is an offset, so that each frame stands for itself.
        std::uint64_t from = 0;
        for (; !changes.empty() && out.size() <= full; changes = changes.subspan(1)) {
            const change& each = changes.front();
            REPROTECT_ASSERT(each.range.offset >= last && each.range.offset <= wire_offset_max && !each.range.empty() &&
                             each.range.length <= wire_offset_max - each.range.offset);
            to.number(each.range.offset - from);
            to.byte(tag_of(each));
            to.number(each.range.length);
            from = last = each.range.end();
        }
        end_frame(out, frame);
    }
}

wire_result<std::vector<change>> decode_changes(std::span<const std::byte> payload, extent inside) {
    field_reader from(payload);
    std::vector<change> changes;
    std::uint64_t last = 0;
    const std::uint64_t end = std::min(inside.end(), wire_offset_max);
    do {
        const std::uint64_t gap = from.number_up_to(end - last, wire_error::bad_range);
        const unsigned tag = from.byte();
        const std::uint64_t length = from.number_up_to(end - last - gap, wire_error::bad_range);
        const unsigned kind = tag >> 2;
        const unsigned reason = tag & 3;
        if (kind < 1 || kind > 2 || reason < 1) from.refuse(wire_error::bad_value);
        if (length == 0 || last + gap < inside.offset) from.refuse(wire_error::bad_range);
        if (!from.good()) break;
        changes.push_back({{last + gap, length}, static_cast<change_kind>(kind), static_cast<change_reason>(reason)});
        last += gap + length;
    } while (from.left() != 0);
    return from.done(std::move(changes));
}

void append_map_pieces(std::vector<std::byte>& out, std::span<const std::byte> file) {
    while (!file.empty()) {
        const std::size_t length = std::min<std::size_t>(file.size(), *frame_max(frame_kind::map_piece));
        append_frame(out, frame_kind::map_piece, [&](field_writer& to) { to.raw(file.first(length)); });
        file = file.subspan(length);
    }
}

}  // namespace reprotect
