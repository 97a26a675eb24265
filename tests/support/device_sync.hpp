// Whole syncs between disks that are opened by name, and what the record says of the target afterwards.
#pragma once

#include "reprotect/open_device.hpp"
#include "reprotect/state_record.hpp"
#include "support/sync_rig.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace reprotect::test {

inline std::unique_ptr<device> open_source(const std::string& name, bool direct = false) {
    return open_device(name, {.mode = reprotect::access::read_only, .direct = direct});
}

inline std::unique_ptr<device> open_target(const std::string& name, bool direct = false) {
    return open_device(name, {.mode = reprotect::access::read_write, .direct = direct, .create = true});
}

struct pair_options {
    bool direct = false;
    verify_level verify = verify_level::root;
    unsigned depth = 4;
};

/// Chunks of 256 KiB, so that a disk of a few MiB has many.
inline sync_options pair_sync_options(const pair_options& how = {}) {
    sync_options options;
    options.chunk_bytes = 256 << 10;
    options.depth = how.depth;
    options.verify = how.verify;
    return options;
}

inline sync_report sync_pair(const std::string& source, const std::string& target, state_store& records,
                             const pair_options& how = {}) {
    const auto from = open_source(source, how.direct);
    const auto to = open_target(target, how.direct);
    return run_sync(*from, *to, pair_sync_options(how), &records);
}

/// One byte of every 64 KiB differs.
inline std::vector<std::byte> stale_copy(std::vector<std::byte> content) {
    for (std::size_t at = 0; at < content.size(); at += 64 << 10) content[at + 7] ^= std::byte{1};
    return content;
}

/// "clean", "dirty", "poisoned", or "none" where there is no record.
inline std::string recorded(state_store& records, const std::string& target) {
    const auto record = records.find_target(open_source(target)->identity());
    return record ? reprotect::to_string(record->status) : "none";
}

/// Whether a record of this folder says so, by the files alone: opening the target would be in the way of those who are to
/// have it.
inline bool a_record_says_dirty(const std::string& folder) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
        if (entry.path().extension() == ".tmp") continue;  // still being written
        std::ifstream file(entry.path());
        const std::string text((std::istreambuf_iterator<char>(file)), {});
        if (text.find("dirty") != std::string::npos) return true;
    }
    return false;
}

}  // namespace reprotect::test
