// The frame's head is judged before zstd decodes anything, and with zstd's own functions: what they take for a frame is
// then what is decoded. RFC 8878 has the format.
#include "codec/compressor.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <new>
#include <string>

#include "base/assert.hpp"

namespace reprotect {
namespace {

// RFC 8878, 3.1.1. zstd itself also takes skippable frames, and those of its versions before 0.8 where it was built so.
bool has_magic(std::span<const std::byte> from) {
    constexpr std::array magic{std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F}, std::byte{0xFD}};
    return from.size() >= magic.size() && std::equal(magic.begin(), magic.end(), from.begin());
}

class category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "reprotect.compression"; }
    std::string message(int value) const override {
        switch (static_cast<compression_error>(value)) {
            case compression_error::not_a_frame:
                return "not exactly one zstd frame";
            case compression_error::unknown_size:
                return "a zstd frame that does not say its size";
            case compression_error::wrong_size:
                return "a zstd frame of another size than announced";
            case compression_error::dictionary:
                return "a zstd frame that wants a dictionary";
            case compression_error::corrupt:
                return "a corrupt zstd frame";
        }
        return "unknown";
    }
};

}  // namespace

const boost::system::error_category& compression_category() noexcept {
    static const category instance;
    return instance;
}

boost::system::error_code make_error_code(compression_error value) noexcept {
    return {static_cast<int>(value), compression_category()};
}

void compressor::deleter::operator()(ZSTD_CCtx_s* context) const noexcept {
    ZSTD_freeCCtx(context);
}

void decompressor::deleter::operator()(ZSTD_DCtx_s* context) const noexcept {
    ZSTD_freeDCtx(context);
}

compressor::compressor() : context_(ZSTD_createCCtx()) {
    if (!context_) throw std::bad_alloc();
}

std::size_t compressor::bound(std::size_t count) noexcept {
    return ZSTD_compressBound(count);
}

std::optional<std::span<std::byte>> compressor::compress(std::span<const std::byte> from, int level,
                                                         std::span<std::byte> into) {
    REPROTECT_ASSERT(level >= level_min && level <= level_max);
    const std::size_t used =
        ZSTD_compressCCtx(context_.get(), into.data(), into.size(), from.data(), from.size(), level);
    if (!ZSTD_isError(used)) return into.first(used);
    // Memory is all else that can be missing.
    if (ZSTD_getErrorCode(used) != ZSTD_error_dstSize_tooSmall) throw std::bad_alloc();
    return std::nullopt;
}

decompressor::decompressor() : context_(ZSTD_createDCtx()) {
    if (!context_) throw std::bad_alloc();
}

boost::system::result<void> decompressor::decompress(std::span<const std::byte> from, std::span<std::byte> into) {
    if (!has_magic(from)) return make_error_code(compression_error::not_a_frame);
    const unsigned long long says = ZSTD_getFrameContentSize(from.data(), from.size());
    if (says == ZSTD_CONTENTSIZE_UNKNOWN) return make_error_code(compression_error::unknown_size);
    if (says == ZSTD_CONTENTSIZE_ERROR) return make_error_code(compression_error::not_a_frame);
    if (says != into.size()) return make_error_code(compression_error::wrong_size);
    if (ZSTD_getDictID_fromFrame(from.data(), from.size()) != 0) return make_error_code(compression_error::dictionary);
    if (ZSTD_findFrameCompressedSize(from.data(), from.size()) != from.size())
        return make_error_code(compression_error::not_a_frame);
    // A null pointer would be the one place that zstd may not write zero bytes to.
    std::byte none{};
    const std::size_t made =
        ZSTD_decompressDCtx(context_.get(), into.empty() ? &none : into.data(), into.size(), from.data(), from.size());
    if (ZSTD_isError(made) || made != into.size()) return make_error_code(compression_error::corrupt);
    return {};
}

}  // namespace reprotect
