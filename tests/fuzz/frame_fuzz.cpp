// A frame of any kind but data: its kind's number, then its payload. What is
// taken apart and put together again is what it was, since a value has one
// encoding; a number for an error that this version does not know is the one
// exception.
#include <algorithm>
#include <vector>

#include "fuzz/fuzzers.hpp"
#include "wire/written_again.hpp"

namespace reprotect::fuzz {
namespace {

void check_changes(const std::vector<change>& changes, extent inside) {
    std::uint64_t end = inside.offset;
    for (const change& each : changes) {
        promise(each.range.offset >= end && !each.range.empty() && inside.contains(each.range),
                "changes are sorted, disjoint and within the disk");
        end = each.range.end();
    }
}

// As a part of a disk, and as all of it.
void check_changes(input payload) {
    const extent part{std::uint64_t{payload.size()} * 512, std::uint64_t{1} << 40}, all{0, wire_offset_max};
    for (const extent& inside : {part, all})
        if (const auto some = decode_changes(payload, inside)) check_changes(*some, inside);
}

// Of a small disk whose last block is a short one.
void check_sample_wish(input payload) {
    const geometry shape{1000 * std::uint64_t{block_bytes_default} - 1, chunk_bytes_default, block_bytes_default};
    if (const auto wish = decode_sample_wish(payload, shape)) {
        std::uint64_t end = 0, bytes = 0;
        for (const extent& each : wish->stretches) {
            promise(each.offset >= end && !each.empty() && each.end() <= shape.disk_bytes,
                    "stretches are sorted, disjoint and within the disk");
            promise(each.offset % shape.block_bytes == 0 &&
                        (each.end() == shape.disk_bytes || each.length % shape.block_bytes == 0),
                    "stretches are of whole blocks");
            end = each.end();
            bytes += each.length;
        }
        promise(bytes <= sample_bytes_max && wish->stretches.size() <= sample_stretches_max,
                "a sample is no more than one may be");
    }
    if (const auto offsets = decode_weigh_wish(payload, shape)) {
        std::uint64_t reached = 0;
        for (const std::uint64_t each : *offsets) {
            promise(each >= reached && each < shape.disk_bytes && each % shape.block_bytes == 0,
                    "blocks to be weighed are the disk's, each once");
            reached = each + 1;
        }
    }
    for (const std::size_t most : {std::size_t{0}, std::size_t{10}})
        if (const auto samples = decode_samples(payload, most))
            promise(samples->size() <= most, "there are no more samples than may be");
}

// The payload of the frame that bytes begin with; the bytes behind it stay.
input take_payload(input& stream, frame_kind kind) {
    promise(stream.size() >= frame_header_bytes, "a frame that was written has a header");
    const auto header = decode_header(stream.first<frame_header_bytes>());
    promise(header && header->kind == kind && header->length <= stream.size() - frame_header_bytes,
            "a frame that was written is of its kind and has its length");
    const input payload = stream.subspan(frame_header_bytes, header->length);
    stream = stream.subspan(frame_header_bytes + header->length);
    return payload;
}

}  // namespace

void frame(input bytes) {
    if (bytes.empty()) return;
    const auto kind = static_cast<frame_kind>(bytes[0]);
    const input payload = bytes.subspan(1);
    const auto max = frame_max(kind);
    if (!max || payload.size() > *max) {
        promise(!decode(kind, payload), "what is no frame is refused");
        return;
    }
    if (kind == frame_kind::changes) check_changes(payload);
    if (kind == frame_kind::sample_wish || kind == frame_kind::weigh_wish || kind == frame_kind::samples)
        check_sample_wish(payload);
    const auto first = test::written_again(kind, payload);
    if (!first) {
        promise(first.error().category() == wire_category(), "a refusal is the wire's own");
        promise(first.error().value() != 0, "a refusal has a reason");
        return;
    }
    input stream(*first);
    const bool names_error = kind == frame_kind::failed || kind == frame_kind::answer;
    bool alone = true;
    while (!stream.empty()) {
        const input part = take_payload(stream, kind);
        // Lists of many repeats may be parted, since room is kept for what they
        // would take without.
        alone = alone && stream.empty();
        if (alone && !names_error) promise(std::ranges::equal(part, payload), "a value has one encoding");
        const auto second = test::written_again(kind, part);
        promise(second && second->size() == frame_header_bytes + part.size() &&
                    std::ranges::equal(input(*second).subspan(frame_header_bytes), part),
                "what was written is read as what it was");
    }
}

}  // namespace reprotect::fuzz
