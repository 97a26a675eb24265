// One place that asks for randomness, so that one place says what its failure means.
#include "codec/random.hpp"

#include <openssl/rand.h>

#include "reprotect/error.hpp"

namespace reprotect {

void fill_random(std::span<std::byte> into) {
    if (RAND_bytes(reinterpret_cast<unsigned char*>(into.data()), static_cast<int>(into.size())) == 1) return;
    throw error(error_kind::device_io, "the system's random generator failed",
                {.operation = "start", .hint = "it wants memory, and getrandom(2) or /dev/urandom"});
}

std::array<std::byte, 32> random_nonce() {
    std::array<std::byte, 32> nonce{};
    fill_random(nonce);
    return nonce;
}

}  // namespace reprotect
