// zstd for payloads: bytes to bytes, one shot, contexts kept for the next call.
//
// What comes from a peer is one zstd frame that announces its size. It is decompressed into a buffer of exactly that
// size, which the caller made within limits of its own: a one-shot call needs no window, writes nowhere else, and takes
// no memory by what the frame says, so a bomb ends where the buffer does. Frames without a size, of another size, with
// a dictionary, skippable ones, those of zstd's first versions, and a second frame after the first are refused. A frame
// that was changed on its way may still decode, to other bytes of the right size: content is proved by its digest, not
// here.
#pragma once

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace reprotect {

/// Why compressed bytes are refused.
enum class compression_error {
    not_a_frame = 1,  ///< no zstd frame, or not exactly one
    unknown_size,     ///< the frame does not say how much it holds
    wrong_size,       ///< it says another size than was announced
    dictionary,       ///< it wants a dictionary; none is ever used
    corrupt,          ///< it does not decode to the size that it says
};

const boost::system::error_category& compression_category() noexcept;
boost::system::error_code make_error_code(compression_error value) noexcept;

/// For one thread at a time; about 1 MiB a thread once used at the usual levels. Throws `std::bad_alloc` where there is
/// no memory for a context.
class compressor {
public:
    static constexpr int level_min = 1;
    static constexpr int level_max = 19;

    compressor();

    /// Bytes that compressing `count` bytes may take at most.
    static std::size_t bound(std::size_t count) noexcept;

    /// Compresses into `into` and returns the part that is used; nothing where it does not fit, so that a buffer
    /// shorter than the data keeps incompressible data from growing. Asserts `level` within its limits.
    std::optional<std::span<std::byte>> compress(std::span<const std::byte> from, int level, std::span<std::byte> into);

private:
    struct deleter {
        void operator()(ZSTD_CCtx_s* context) const noexcept;
    };
    std::unique_ptr<ZSTD_CCtx_s, deleter> context_;
};

/// For one thread at a time; about 100 KiB each.
class decompressor {
public:
    decompressor();

    /// Fills `into` exactly, or says why not; what `into` then holds is not defined. Nothing beyond it is written.
    boost::system::result<void> decompress(std::span<const std::byte> from, std::span<std::byte> into);

private:
    struct deleter {
        void operator()(ZSTD_DCtx_s* context) const noexcept;
    };
    std::unique_ptr<ZSTD_DCtx_s, deleter> context_;
};

}  // namespace reprotect
