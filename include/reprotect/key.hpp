// Pre-shared keys: 256 random bits in a file that only its owner may read.
//
// The file is one line of text: "reprotect-key-1 " and 64 lower-case hex digits.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>

namespace reprotect {

/// A secret that both sides hold. Wiped when destroyed.
struct shared_key {
    std::array<std::byte, 32> bytes{};

    shared_key() = default;
    shared_key(const shared_key&) = default;
    shared_key& operator=(const shared_key&) = default;
    ~shared_key();

    /// In a time that does not depend on where they differ.
    friend bool operator==(const shared_key& left, const shared_key& right) noexcept;
};

/// 256 bits from the system's generator.
shared_key generate_key();

/// What names a key without telling it: 16 lower-case hex digits, SHA-256 over "reprotect key id 1" || 0 || key, cut to
/// 8 bytes.
std::string key_id(const shared_key& key);

/// Makes a file with a fresh key, mode 0600, durable when it returns, and returns the key. Throws `in_use` where there
/// is something of that name already (it is never overwritten), else `not_found`, `permission`, `no_space`,
/// `device_io`.
shared_key create_key_file(const std::filesystem::path& path);

/// Follows symbolic links; what is checked is the file that is read. Throws `not_found`, `permission` (not readable; or
/// anybody but the owner may do anything with it, or it belongs to neither this user nor root), `corrupt_file` (no key
/// in it, or more than a key), `unsuitable` (a directory, a device) or `device_io`.
shared_key load_key_file(const std::filesystem::path& path);

}  // namespace reprotect
