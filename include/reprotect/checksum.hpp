// One disk, read in parallel and digested: the digest map of `reprotect checksum`.
#pragma once

#include "reprotect/device.hpp"
#include "reprotect/digest_map.hpp"
#include "reprotect/progress.hpp"

#include <cstdint>
#include <stop_token>

namespace reprotect {

/// Options of `checksum`.
struct checksum_options {
    std::uint32_t block_bytes = block_bytes_default;
    std::uint32_t chunk_bytes = chunk_bytes_default;
    digest_algorithm algorithm = digest_algorithm::sha256;
    bool with_blocks = false;
    unsigned depth = 16;
    bool ignore_allocation = false;  ///< read holes too
};

struct checksum_report {
    digest_map map;
    digest root;
    std::uint64_t read_bytes = 0;
    double seconds = 0;
};

/// Reads a disk in parallel and digests it. Throws `error`; `interrupted` when cancelled.
checksum_report checksum(device& disk, const checksum_options& options, sync_listener* listener = nullptr,
                         std::stop_token cancel = {});

}  // namespace reprotect
