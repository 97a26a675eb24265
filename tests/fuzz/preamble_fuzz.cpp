// What each side sends first, and the header of every frame after it.
#include <algorithm>

#include "fuzz/fuzzers.hpp"
#include "wire/frame.hpp"

namespace reprotect::fuzz {
namespace {

void check_meeting(const reprotect::preamble& theirs) {
    reprotect::preamble ours;
    ours.version_max = 3;
    const auto version = meet(ours, theirs);
    promise(version == meet(theirs, ours), "both sides take the same version");
    if (version) {
        const auto number = static_cast<std::uint16_t>(*version);
        promise(number >= ours.version_min && number <= ours.version_max && number >= theirs.version_min &&
                    number <= theirs.version_max,
                "both sides speak the version that they take");
    }
    for (const auto side : {wire_side::source_peer, wire_side::target_peer, wire_side::client, wire_side::server})
        promise(fit_together(side, theirs.side) == fit_together(theirs.side, side), "who may talk may be talked to");
}

}  // namespace

void preamble(input bytes) {
    if (const auto value = decode_preamble(bytes)) {
        promise(std::ranges::equal(encode(*value), bytes), "a preamble has one encoding");
        check_meeting(*value);
    }
    if (bytes.size() < frame_header_bytes) return;
    const auto head = bytes.first<frame_header_bytes>();
    const auto header = decode_header(head);
    if (!header) return;
    promise(header->length <= frame_max_of_all, "no frame is longer than the longest");
    promise(std::ranges::equal(encode(*header), head), "a header has one encoding");
}

}  // namespace reprotect::fuzz
