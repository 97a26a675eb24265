// Data frames in a row, as a channel takes them: the session's shape, then
// frames, each with its length before it. What comes out whole is sent through
// the other half, and must arrive as it was.
#include <algorithm>
#include <memory>
#include <vector>

#include "fuzz/chooser.hpp"
#include "wire/data_batch.hpp"

namespace reprotect::fuzz {
namespace {

// A credit that few inputs stay below.
constexpr data_allowance allowed{.messages = 8, .bytes = 64 * 1024};

geometry choose_shape(chooser& choose) {
    geometry shape;
    shape.block_bytes = 512u << choose.below(3);
    const auto blocks = static_cast<std::uint32_t>(choose.between(2, 24));
    shape.chunk_bytes = std::max(chunk_bytes_min, shape.block_bytes * blocks);
    shape.chunk_bytes -= shape.chunk_bytes % shape.block_bytes;
    shape.disk_bytes = choose.byte() * 600ull;
    return shape;
}

void check_message(const geometry& shape, const chunk_data& data) {
    promise(data.chunk < shape.chunk_count() && !data.runs.empty(), "a message is of a chunk that the disk has");
    std::uint32_t next = 0;
    for (const block_run& run : data.runs) {
        const std::uint32_t blocks = shape.blocks_in(data.chunk);
        promise(run.count != 0 && run.first >= next && run.first < blocks && run.count <= blocks - run.first,
                "runs are in order and within their chunk");
        next = run.first + run.count;
    }
    const std::uint64_t bytes = payload_bytes(shape, data.chunk, data.runs);
    promise((bytes != 0) == static_cast<bool>(data.payload), "a message has a buffer where it has bytes");
    promise(bytes == 0 || (data.packed && data.payload.bytes().size() >= bytes), "a buffer holds its runs' bytes");
}

// The bytes that its runs cover, one after another.
std::vector<std::byte> covered(const geometry& shape, const chunk_data& data) {
    if (!data.payload) return {};
    const auto bytes = data.payload.bytes().first(payload_bytes(shape, data.chunk, data.runs));
    return {bytes.begin(), bytes.end()};
}

// As a source has it: every byte at its place in the chunk.
chunk_data unpacked(const geometry& shape, const chunk_data& data, buffer_pool& pool) {
    chunk_data result{.chunk = data.chunk, .runs = data.runs, .payload = {}, .value = data.value};
    if (!data.payload) return result;
    result.payload = pool.take();
    input from = data.payload.bytes();
    for (const block_run& run : data.runs) {
        if (run.zero) continue;
        const extent place = bytes_of(shape, data.chunk, run);
        std::ranges::copy(from.first(place.length), result.payload.bytes().subspan(place.offset).begin());
        from = from.subspan(place.length);
    }
    return result;
}

struct received {
    std::vector<chunk_data> messages;
    bool good = true;
};

// One frame's payload; what it completes is added.
void take_frame(batch_reader& reader, input payload, received& into) {
    static decompressor unpacker;
    static const auto scratch = std::make_shared<buffer_pool>(batch_raw_bytes_max);
    into.good = false;
    if (payload.size() < batch_header_bytes) return;
    const auto header =
        decode_batch_header(payload.first<batch_header_bytes>(), static_cast<std::uint32_t>(payload.size()));
    if (!header) return;
    promise(header->raw_bytes <= batch_raw_bytes_max && header->head_bytes <= batch_head_bytes_max,
            "a batch is within its limits");
    const input head = payload.subspan(batch_header_bytes, header->head_bytes);
    const input body = payload.subspan(batch_header_bytes + header->head_bytes);
    promise(body.size() == header->body_bytes, "a batch is as long as its frame");
    auto batch = reader.open(*header, head, allowed);
    if (!batch) return;
    std::uint64_t room = 0;
    for (const auto& each : batch->destinations) room += each.size();
    promise(room == header->raw_bytes, "every byte of a batch has a place");
    if (!fill(*batch, body, unpacker, *scratch)) return;
    for (chunk_data& each : batch->complete) into.messages.push_back(std::move(each));
    into.good = true;
}

void send_again(const geometry& shape, std::vector<chunk_data>& messages, const std::shared_ptr<buffer_pool>& pool) {
    static batch_encoder packer;
    struct expected {
        std::uint64_t chunk;
        digest value;
        std::vector<std::byte> bytes;
    };
    std::vector<expected> before;
    batch_builder builder(shape);
    for (chunk_data& each : messages) {
        before.push_back({each.chunk, each.value, covered(shape, each)});
        builder.add(unpacked(shape, each, *pool));
    }
    batch_reader reader(shape, pool);
    received after;
    while (auto next = builder.take_rest()) {
        const encoded_batch frame = packer.encode(std::move(*next), compressor::level_min);
        std::vector<std::byte> payload(frame.head.begin() + frame_header_bytes, frame.head.end());
        payload.insert(payload.end(), frame.body().begin(), frame.body().end());
        take_frame(reader, payload, after);
        promise(after.good, "what is sent is taken");
    }
    promise(after.messages.size() == before.size(), "every message arrives");
    for (std::size_t i = 0; i < before.size(); ++i) {
        check_message(shape, after.messages[i]);
        promise(after.messages[i].chunk == before[i].chunk && after.messages[i].value == before[i].value &&
                    covered(shape, after.messages[i]) == before[i].bytes,
                "a message arrives as it was sent");
    }
}

}  // namespace

void data_batch(input bytes) {
    chooser choose(bytes);
    const geometry shape = choose_shape(choose);
    if (!valid_geometry(shape)) return;
    const auto pool = std::make_shared<buffer_pool>(shape.chunk_bytes);
    batch_reader reader(shape, pool);
    received all;
    for (unsigned frames = 0; all.good && !choose.over() && frames < 8; ++frames) {
        const std::size_t low = choose.byte();
        take_frame(reader, choose.raw(low | std::size_t{choose.byte()} << 8), all);
    }
    for (const chunk_data& each : all.messages) check_message(shape, each);
    if (all.messages.size() <= allowed.messages) send_again(shape, all.messages, pool);
}

}  // namespace reprotect::fuzz
