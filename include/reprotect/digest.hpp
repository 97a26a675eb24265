// Digests: 128 bits that stand for a block, a chunk or a disk.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace reprotect {

/// xxh3: XXH3-128 under the session's secret; fast, and no proof against someone who chooses the content of both disks.
/// sha256: SHA-256 cut to 128 bits; comparable between sessions.
enum class digest_algorithm : std::uint8_t { xxh3 = 1, sha256 = 2 };

const char* to_string(digest_algorithm algorithm) noexcept;
/// "xxh3" or "sha256"; throws `error` (usage) for anything else.
digest_algorithm parse_digest_algorithm(std::string_view text);

struct digest {
    std::array<std::byte, 16> bytes{};
    friend bool operator==(const digest&, const digest&) = default;
    friend auto operator<=>(const digest&, const digest&) = default;
};

/// 32 lower-case hex digits.
std::string to_hex(const digest& value);

/// What XXH3 is keyed with; 192 bytes is XXH3's own secret size (XXH3_SECRET_DEFAULT_SIZE). sha256 ignores it.
/// Always fresh, never persisted.
struct digest_secret {
    std::array<std::byte, 192> bytes{};
};

/// A secret from the system's generator.
digest_secret random_secret();

/// The session's secret from both sides' nonces, so that neither side chooses it: SHA-256 in counter mode over
/// "reprotect secret 1" || a zero byte || source nonce || target nonce || binding || counter byte. `binding` comes from the
/// connection's own secrets where there is one (zeroes within one process), so that who reads the nonces knows nothing.
digest_secret derive_secret(const std::array<std::byte, 32>& source_nonce,
                            const std::array<std::byte, 32>& target_nonce,
                            const std::array<std::byte, 32>& binding = {});

}  // namespace reprotect
