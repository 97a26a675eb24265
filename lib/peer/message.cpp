// The class of each message (which others it may not overtake), and the sizes of what it carries.
#include "peer/message.hpp"

#include <algorithm>

namespace reprotect {

namespace {

struct classify {
    message_class operator()(const allocation&) const { return message_class::allocation; }
    message_class operator()(const chunk_digests&) const { return message_class::digests; }
    message_class operator()(const narrow&) const { return message_class::narrowing; }
    message_class operator()(const block_digests&) const { return message_class::narrowing; }
    message_class operator()(const resend&) const { return message_class::narrowing; }
    message_class operator()(const chunk_data&) const { return message_class::data; }
    message_class operator()(const proof&) const { return message_class::proofs; }
    message_class operator()(const auto&) const { return message_class::control; }
};

}  // namespace

digest_cut cut(const digest& value) noexcept {
    digest_cut result;
    std::copy_n(value.bytes.begin(), result.size(), result.begin());
    return result;
}

extent bytes_of(const geometry& shape, std::uint64_t chunk, const block_run& run) noexcept {
    const std::uint64_t begin = std::uint64_t{run.first} * shape.block_bytes;
    const std::uint64_t end = begin + std::uint64_t{run.count} * shape.block_bytes;
    return {begin, std::min(end, shape.chunk(chunk).length) - begin};
}

bool overlaps(const geometry& shape, const chunk_data& data, const extent_set& with) {
    const std::uint64_t begin = shape.chunk(data.chunk).offset;
    return std::any_of(data.runs.begin(), data.runs.end(), [&](const block_run& run) {
        const extent range = bytes_of(shape, data.chunk, run);
        return with.overlaps({begin + range.offset, range.length});
    });
}

std::uint64_t payload_bytes(const geometry& shape, std::uint64_t chunk, const std::vector<block_run>& runs) noexcept {
    std::uint64_t total = 0;
    for (const block_run& run : runs)
        if (!run.zero) total += bytes_of(shape, chunk, run).length;
    return total;
}

message_class class_of(const message& value) noexcept {
    return std::visit(classify{}, value);
}

}  // namespace reprotect
