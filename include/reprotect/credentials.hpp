// How two peers know each other: by a key that both hold, or by certificates of an authority that both trust.
#pragma once

#include "reprotect/key.hpp"

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

namespace reprotect {

/// PEM files. `key` must be readable by its owner alone.
struct certificate_files {
    std::filesystem::path certificate;  ///< this side's, followed by what links it to the authority
    std::filesystem::path key;          ///< of that certificate
    std::filesystem::path authority;    ///< who signed the other side's; nobody else is believed
};

struct named_key {
    std::string name;  ///< for logs and permissions
    shared_key key;
};

/// What a client shows: one key, or a certificate.
using client_credentials = std::variant<named_key, certificate_files>;

/// What a server accepts: any of these keys, or certificates.
using server_credentials = std::variant<std::vector<named_key>, certificate_files>;

}  // namespace reprotect
