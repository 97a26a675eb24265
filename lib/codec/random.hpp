// Random bytes for secrets, nonces and names, from the system's generator by way of OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace reprotect {

/// Throws `error` where the generator fails.
void fill_random(std::span<std::byte> into);

std::array<std::byte, 32> random_nonce();

}  // namespace reprotect
