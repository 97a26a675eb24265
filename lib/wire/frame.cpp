// Preambles and frame headers: the two things that are read before anything is known of what follows.
#include "wire/frame.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "base/little_endian.hpp"

namespace reprotect {
namespace {

constexpr std::string_view magic = "reprotect/wire\r\n";
static_assert(magic.size() == 16);

enum preamble_field : std::size_t {
    at_version_min = 16,
    at_version_max = 18,
    at_side = 20,
    at_reserved = 21,
    at_nonce = 24,
};
static_assert(at_nonce + sizeof(preamble::nonce) == preamble_bytes);

constexpr std::uint32_t kib = 1024;
constexpr std::uint32_t list_max = 256 * kib;  // of a list that may be parted: large enough that its header is no cost
constexpr std::uint32_t numbers_max = 128;     // up to eleven numbers of ten bytes, or six and a root
constexpr std::uint32_t failure_max = 8448;    // 4096 + 4 * 1024 and the numbers beside them

class category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "reprotect.wire"; }
    std::string message(int value) const override {
        switch (static_cast<wire_error>(value)) {
            case wire_error::not_ours:
                return "what answers does not speak reprotect's protocol";
            case wire_error::bad_versions:
                return "a range of versions that holds none";
            case wire_error::bad_side:
                return "an unknown side";
            case wire_error::bad_reserved:
                return "a reserved byte is not zero";
            case wire_error::unknown_kind:
                return "a frame of an unknown kind";
            case wire_error::too_long:
                return "a frame that is longer than its kind may be";
            case wire_error::wrong_kind:
                return "a frame of a kind that has no place here";
            case wire_error::truncated:
                return "a frame that ends within a field";
            case wire_error::trailing_bytes:
                return "a frame with bytes behind its last field";
            case wire_error::bad_number:
                return "a number that is longer than it needs to be, or than 64 bits";
            case wire_error::bad_flag:
                return "a flag that this version does not have";
            case wire_error::bad_value:
                return "a value that this version does not have";
            case wire_error::bad_count:
                return "a count that the frame cannot hold, or beyond its limit";
            case wire_error::bad_text:
                return "a text beyond its limit";
            case wire_error::bad_range:
                return "a range that is empty, out of order or out of bounds";
            case wire_error::bad_geometry:
                return "a disk's, chunk's or block's size out of bounds";
            case wire_error::bad_batch:
                return "a batch whose sizes are beyond their limits or do not fit each other";
            case wire_error::bad_chunk:
                return "a chunk that the disk does not have";
            case wire_error::bad_run:
                return "a run of blocks that is empty, or beyond its chunk";
            case wire_error::bad_payload:
                return "a batch that holds more or less than its runs say";
            case wire_error::too_many_chunks:
                return "more chunks than may be sent";
        }
        return "unknown";
    }
};

}  // namespace

const boost::system::error_category& wire_category() noexcept {
    static const category instance;
    return instance;
}

boost::system::error_code make_error_code(wire_error value) noexcept {
    return {static_cast<int>(value), wire_category()};
}

std::array<std::byte, preamble_bytes> encode(const preamble& value) noexcept {
    std::array<std::byte, preamble_bytes> bytes{};
    std::memcpy(bytes.data(), magic.data(), magic.size());
    little_endian::store(bytes, at_version_min, value.version_min);
    little_endian::store(bytes, at_version_max, value.version_max);
    little_endian::store(bytes, at_side, static_cast<std::uint8_t>(value.side));
    std::copy(value.nonce.begin(), value.nonce.end(), bytes.begin() + at_nonce);
    return bytes;
}

wire_result<preamble> decode_preamble(std::span<const std::byte> bytes) noexcept {
    const std::size_t known = std::min(bytes.size(), magic.size());
    if (known != 0 && std::memcmp(bytes.data(), magic.data(), known) != 0) return make_error_code(wire_error::not_ours);
    if (bytes.size() < preamble_bytes) return make_error_code(wire_error::truncated);
    if (bytes.size() > preamble_bytes) return make_error_code(wire_error::trailing_bytes);

    preamble value;
    value.version_min = little_endian::load<std::uint16_t>(bytes, at_version_min);
    value.version_max = little_endian::load<std::uint16_t>(bytes, at_version_max);
    if (value.version_min == 0 || value.version_min > value.version_max)
        return make_error_code(wire_error::bad_versions);
    const auto side = little_endian::load<std::uint8_t>(bytes, at_side);
    if (side < 1 || side > 4) return make_error_code(wire_error::bad_side);
    value.side = static_cast<wire_side>(side);
    if (little_endian::load<std::uint32_t, 3>(bytes, at_reserved) != 0)
        return make_error_code(wire_error::bad_reserved);
    std::copy_n(bytes.begin() + at_nonce, value.nonce.size(), value.nonce.begin());
    return value;
}

std::optional<wire_version> meet(const preamble& ours, const preamble& theirs) noexcept {
    const std::uint16_t highest = std::min(ours.version_max, theirs.version_max);
    if (highest < std::max(ours.version_min, theirs.version_min)) return std::nullopt;
    return static_cast<wire_version>(highest);
}

bool fit_together(wire_side ours, wire_side theirs) noexcept {
    switch (ours) {
        case wire_side::source_peer:
            return theirs == wire_side::target_peer;
        case wire_side::target_peer:
            return theirs == wire_side::source_peer;
        case wire_side::client:
            return theirs == wire_side::server;
        case wire_side::server:
            return theirs == wire_side::client;
    }
    return false;
}

std::optional<std::uint32_t> frame_max(frame_kind kind) noexcept {
    switch (kind) {
        case frame_kind::request:
            return 1024 * kib;
        case frame_kind::answer:
            return 1 + failure_max;
        case frame_kind::confirm:
        case frame_kind::join:
            return 32;
        case frame_kind::hello:
            return 128 * kib;  // 32 pairs of 1 KiB texts, and all else at its limit
        case frame_kind::allocation:
        case frame_kind::chunk_digests:
        case frame_kind::block_digests:
        case frame_kind::proof:
        case frame_kind::changes:
        case frame_kind::map_piece:
        case frame_kind::sample_wish:
        case frame_kind::samples:
        case frame_kind::weigh_wish:
        case frame_kind::weights:
        case frame_kind::filler:
            return list_max;
        case frame_kind::narrow:
        case frame_kind::resend:
        case frame_kind::echo_wish:
        case frame_kind::echo:
            return 10;
        case frame_kind::data:
            return frame_max_of_all;
        case frame_kind::verdict:
            return 30;
        case frame_kind::credit:
            return 40;
        case frame_kind::end_of_data:
        case frame_kind::applied:
        case frame_kind::status:
        case frame_kind::map_end:
        case frame_kind::sampler_hello:
        case frame_kind::sampled_disk:
        case frame_kind::samples_end:
            return numbers_max;
        case frame_kind::proved:
            return 1;
        case frame_kind::failed:
            return failure_max;
        case frame_kind::keep_alive:
        case frame_kind::layout_wish:
            return 0;
        case frame_kind::notice:
            return 4 * kib;
        case frame_kind::goodbye:
            return kib + numbers_max;
    }
    return std::nullopt;
}

wire_result<frame_header> decode_header(std::span<const std::byte, frame_header_bytes> bytes) noexcept {
    const auto kind = static_cast<frame_kind>(little_endian::load<std::uint8_t>(bytes, 0));
    const auto length = little_endian::load<std::uint32_t, 3>(bytes, 1);
    const std::optional<std::uint32_t> max = frame_max(kind);
    if (!max) return make_error_code(wire_error::unknown_kind);
    if (length > *max) return make_error_code(wire_error::too_long);
    return frame_header{kind, length};
}

std::array<std::byte, frame_header_bytes> encode(const frame_header& value) {
    const std::optional<std::uint32_t> max = frame_max(value.kind);
    REPROTECT_ASSERT(max && value.length <= *max);
    std::array<std::byte, frame_header_bytes> bytes{};
    little_endian::store(bytes, 0, static_cast<std::uint8_t>(value.kind));
    little_endian::store<3>(bytes, 1, value.length);
    return bytes;
}

std::size_t begin_frame(std::vector<std::byte>& out, frame_kind kind) {
    const std::size_t begun = out.size();
    const auto header = encode(frame_header{kind, 0});
    out.insert(out.end(), header.begin(), header.end());
    return begun;
}

void end_frame(std::vector<std::byte>& out, std::size_t begun) {
    REPROTECT_ASSERT(begun <= out.size() && out.size() - begun >= frame_header_bytes);
    const std::size_t length = out.size() - begun - frame_header_bytes;
    REPROTECT_ASSERT(length <= frame_max_of_all);
    const auto kind = static_cast<frame_kind>(out[begun]);
    const auto header = encode(frame_header{kind, static_cast<std::uint32_t>(length)});
    std::copy(header.begin(), header.end(), out.begin() + static_cast<std::ptrdiff_t>(begun));
}

void append_keep_alive(std::vector<std::byte>& out) {
    end_frame(out, begin_frame(out, frame_kind::keep_alive));
}

}  // namespace reprotect
