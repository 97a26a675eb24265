// Lists without a count, since a frame's length says where they end; limits are checked entry by entry, so that a
// frame costs no more memory than it is allowed before it is found out.
#include "wire/sample_frames.hpp"

#include <algorithm>
#include <utility>

#include "wire/fields.hpp"

namespace reprotect {
namespace {

std::uint64_t blocks_to(std::uint64_t bytes, const geometry& shape) noexcept {
    return bytes / shape.block_bytes + (bytes % shape.block_bytes != 0 ? 1 : 0);
}

}  // namespace

void append(std::vector<std::byte>& out, const wire_sampler_hello& value) {
    append_frame(out, frame_kind::sampler_hello, [&](field_writer& to) {
        to.raw(value.nonce);
        to.number(value.kept_bytes);
    });
}

wire_result<wire_sampler_hello> decode_sampler_hello(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_sampler_hello value;
    value.nonce = from.array<32>();
    value.kept_bytes = from.number();
    return from.done(value);
}

void append(std::vector<std::byte>& out, const wire_sampled_disk& value) {
    append_frame(out, frame_kind::sampled_disk, [&](field_writer& to) {
        to.raw(value.nonce);
        to.number(value.disk_bytes);
    });
}

wire_result<wire_sampled_disk> decode_sampled_disk(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_sampled_disk value;
    value.nonce = from.array<32>();
    value.disk_bytes = from.number_up_to(wire_offset_max, wire_error::bad_range);
    return from.done(value);
}

void append_layout_wish(std::vector<std::byte>& out) {
    append_frame(out, frame_kind::layout_wish, [](field_writer&) {});
}

void append(std::vector<std::byte>& out, const wire_sample_wish& value, const geometry& shape) {
    REPROTECT_ASSERT(!value.stretches.empty() && value.stretches.size() <= sample_stretches_max);
    append_frame(out, frame_kind::sample_wish, [&](field_writer& to) {
        to.flag(value.keep);
        std::uint64_t last = 0;
        for (const extent& each : value.stretches) {
            const std::uint64_t first = each.offset / shape.block_bytes;
            const std::uint64_t end = blocks_to(each.end(), shape);
            REPROTECT_ASSERT(each.offset % shape.block_bytes == 0 && first >= last && end > first);
            to.number(first - last);
            to.number(end - first);
            last = end;
        }
    });
}

wire_result<wire_sample_wish> decode_sample_wish(std::span<const std::byte> payload, const geometry& shape) {
    field_reader from(payload);
    wire_sample_wish value;
    value.keep = from.flag();
    const std::uint64_t blocks = blocks_to(shape.disk_bytes, shape);
    std::uint64_t last = 0, bytes = 0;
    do {
        const std::uint64_t gap = from.number_up_to(blocks - last, wire_error::bad_range);
        const std::uint64_t count = from.number_up_to(blocks - last - gap, wire_error::bad_range);
        if (count == 0) from.refuse(wire_error::bad_range);
        if (value.stretches.size() == sample_stretches_max) from.refuse(wire_error::bad_count);
        if (!from.good()) break;
        const std::uint64_t offset = (last + gap) * shape.block_bytes;
        const std::uint64_t length = std::min(count * shape.block_bytes, shape.disk_bytes - offset);
        if (length > sample_bytes_max - bytes) from.refuse(wire_error::bad_count);
        bytes += length;
        value.stretches.push_back({offset, length});
        last += gap + count;
    } while (from.good() && from.left() != 0);
    return from.done(std::move(value));
}

void append_samples(std::vector<std::byte>& out, std::span<const wire_sample> samples) {
    constexpr std::size_t count_bytes = 10;
    field_writer to(out);
    while (!samples.empty()) {
        const std::size_t frame = begin_frame(out, frame_kind::samples);
        const std::size_t end = out.size() + *frame_max(frame_kind::samples);
        while (!samples.empty() && end - out.size() >= count_bytes + sizeof(digest)) {
            const bool zero = samples.front().zero;
            const auto other = std::ranges::find(samples, !zero, &wire_sample::zero);
            auto count = static_cast<std::size_t>(other - samples.begin());
            if (!zero) count = std::min(count, (end - out.size() - count_bytes) / sizeof(digest));
            to.number(std::uint64_t{count} << 1 | (zero ? 1 : 0));
            if (!zero)
                for (const wire_sample& each : samples.first(count)) to.raw(each.value.bytes);
            samples = samples.subspan(count);
            // A run that was cut goes on in the next frame: within one, runs take turns.
            if (!samples.empty() && samples.front().zero == zero) break;
        }
        end_frame(out, frame);
    }
}

wire_result<std::vector<wire_sample>> decode_samples(std::span<const std::byte> payload, std::size_t most) {
    field_reader from(payload);
    std::vector<wire_sample> samples;
    bool first = true, zero = false;
    do {
        const std::uint64_t number = from.number();
        const std::uint64_t count = number >> 1;
        const bool zero_before = std::exchange(zero, (number & 1) != 0);
        if (count == 0 || count > most - samples.size()) from.refuse(wire_error::bad_count);
        if (!std::exchange(first, false) && zero == zero_before) from.refuse(wire_error::bad_run);
        if (!zero && count > from.left() / sizeof(digest)) from.refuse(wire_error::truncated);
        if (!from.good()) break;
        if (zero)
            samples.resize(samples.size() + static_cast<std::size_t>(count), {{}, true});
        else
            for (std::uint64_t i = 0; i < count; ++i) samples.push_back({from.value(), false});
    } while (from.left() != 0);
    return from.done(std::move(samples));
}

void append(std::vector<std::byte>& out, const wire_samples_end& value) {
    append_frame(out, frame_kind::samples_end, [&](field_writer& to) {
        to.number(value.duration_us);
        to.number(value.processor_us);
    });
}

wire_result<wire_samples_end> decode_samples_end(std::span<const std::byte> payload) {
    field_reader from(payload);
    wire_samples_end value;
    value.duration_us = from.number();
    value.processor_us = from.number();
    return from.done(value);
}

void append_weigh_wish(std::vector<std::byte>& out, std::span<const std::uint64_t> offsets, const geometry& shape) {
    REPROTECT_ASSERT(!offsets.empty() && offsets.size() <= weigh_blocks_max);
    append_frame(out, frame_kind::weigh_wish, [&](field_writer& to) {
        std::uint64_t reached = 0;
        for (const std::uint64_t each : offsets) {
            REPROTECT_ASSERT(each % shape.block_bytes == 0 && each >= reached);
            to.number(each / shape.block_bytes);
            reached = each + 1;
        }
    });
}

wire_result<std::vector<std::uint64_t>> decode_weigh_wish(std::span<const std::byte> payload, const geometry& shape) {
    field_reader from(payload);
    std::vector<std::uint64_t> offsets;
    const std::uint64_t blocks = blocks_to(shape.disk_bytes, shape);
    std::uint64_t reached = 0;
    do {
        const std::uint64_t block = from.number();
        if (block < reached || block >= blocks) from.refuse(wire_error::bad_range);
        reached = block + 1;
        if (offsets.size() == weigh_blocks_max) from.refuse(wire_error::bad_count);
        if (!from.good()) break;
        offsets.push_back(block * shape.block_bytes);
    } while (from.left() != 0);
    return from.done(std::move(offsets));
}

void append_weights(std::vector<std::byte>& out, std::span<const wire_weight> weights) {
    REPROTECT_ASSERT(weights.size() <= weigh_blocks_max);
    append_frame(out, frame_kind::weights, [&](field_writer& to) {
        for (const wire_weight& each : weights) {
            to.number(each.raw_bytes);
            to.number(each.packed_bytes);
            to.number(each.processor_us);
        }
    });
}

wire_result<std::vector<wire_weight>> decode_weights(std::span<const std::byte> payload) {
    field_reader from(payload);
    std::vector<wire_weight> weights;
    while (from.left() != 0) {
        wire_weight each;
        each.raw_bytes = from.number();
        each.packed_bytes = from.number();
        each.processor_us = from.number();
        if (each.raw_bytes == 0 || each.packed_bytes == 0) from.refuse(wire_error::bad_value);
        if (weights.size() == weigh_blocks_max) from.refuse(wire_error::bad_count);
        if (!from.good()) break;
        weights.push_back(each);
    }
    return from.done(std::move(weights));
}

void append_filler(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto part = bytes.first(std::min<std::size_t>(bytes.size(), *frame_max(frame_kind::filler)));
        append_frame(out, frame_kind::filler, [&](field_writer& to) { to.raw(part); });
        bytes = bytes.subspan(part.size());
    }
}

void append(std::vector<std::byte>& out, const wire_echo_wish& value) {
    append_frame(out, frame_kind::echo_wish, [&](field_writer& to) { to.number(value.bytes); });
}

wire_result<wire_echo_wish> decode_echo_wish(std::span<const std::byte> payload) {
    field_reader from(payload);
    const wire_echo_wish value{from.number_up_to(filler_bytes_max, wire_error::bad_count)};
    return from.done(value);
}

void append(std::vector<std::byte>& out, const wire_echo& value) {
    append_frame(out, frame_kind::echo, [&](field_writer& to) { to.number(value.bytes); });
}

wire_result<wire_echo> decode_echo(std::span<const std::byte> payload) {
    field_reader from(payload);
    const wire_echo value{from.number()};
    return from.done(value);
}

}  // namespace reprotect
