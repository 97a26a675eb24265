// A compressed body: the size that was announced for it, then what claims to be
// a zstd frame.
#include <algorithm>
#include <vector>

#include "base/little_endian.hpp"
#include "codec/compressor.hpp"
#include "fuzz/fuzzers.hpp"

namespace reprotect::fuzz {

void compressed(input bytes) {
    if (bytes.size() < 2) return;
    static compressor packer;
    static decompressor unpacker;
    // Of its exact size, so that a byte behind it is seen.
    std::vector<std::byte> into(little_endian::load<std::uint16_t>(bytes, 0));
    const input body = bytes.subspan(2);
    const auto done = unpacker.decompress(body, into);
    if (!done) {
        promise(done.error().category() == compression_category(), "a refusal is the compression's own");
    } else {
        std::vector<std::byte> again(into.size());
        promise(unpacker.decompress(body, again).has_value() && again == into, "the same bytes decode to the same");
    }

    std::vector<std::byte> packed(compressor::bound(body.size()));
    const auto used = packer.compress(body, compressor::level_min, packed);
    promise(used.has_value(), "what compresses fits its bound");
    std::vector<std::byte> back(body.size());
    promise(unpacker.decompress(*used, back).has_value() && std::ranges::equal(back, body),
            "what was compressed decodes to what it was, whatever came before");
}

}  // namespace reprotect::fuzz
