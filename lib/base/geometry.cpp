// Refuses geometries that the engine does not work with, in the words of the options that set them.
#include "reprotect/geometry.hpp"

#include "reprotect/error.hpp"

#include <bit>
#include <string>

namespace reprotect {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
    throw error(error_kind::usage, message, {.operation = "check the geometry", .hint = hint});
}

bool good_block(const geometry& shape) noexcept {
    return shape.block_bytes >= block_bytes_min && shape.block_bytes <= block_bytes_max &&
           std::has_single_bit(shape.block_bytes);
}

bool good_chunk(const geometry& shape) noexcept {
    return shape.chunk_bytes >= chunk_bytes_min && shape.chunk_bytes <= chunk_bytes_max;
}

bool whole_blocks(const geometry& shape) noexcept {
    return shape.chunk_bytes % shape.block_bytes == 0;
}

}  // namespace

bool valid_geometry(const geometry& shape) noexcept {
    return good_block(shape) && good_chunk(shape) && whole_blocks(shape);
}

void check_geometry(const geometry& shape) {
    const std::string block = std::to_string(shape.block_bytes);
    const std::string chunk = std::to_string(shape.chunk_bytes);
    if (!good_block(shape))
        refuse("--block-size " + block + " is not a power of two from 512 B to 64 KiB",
               "give a --block-size such as 4KiB, the default");
    if (!good_chunk(shape))
        refuse("--chunk-size " + chunk + " is not within 4 KiB to 16 MiB",
               "give a --chunk-size such as 1MiB, the default");
    if (!whole_blocks(shape))
        refuse("--chunk-size " + chunk + " is not a whole number of blocks of " + block + " bytes",
               "give a --chunk-size that is a multiple of --block-size");
}

}  // namespace reprotect
