// Small helpers around whole syncs: options that give a small disk many chunks, a call, and what every good end looks like.
#pragma once

#include <catch2/catch.hpp>

#include "reprotect/memory_device.hpp"
#include "reprotect/sync.hpp"
#include "support/sparse_disk.hpp"

#include <string>

namespace reprotect::test {

constexpr std::uint32_t small_block = 4096;
constexpr std::uint32_t small_chunk = 8 * small_block;

inline sync_options small_sync_options() {
    sync_options options;
    options.block_bytes = small_block;
    options.chunk_bytes = small_chunk;
    options.depth = 3;
    options.memory_bytes = 8 << 20;
    return options;
}

inline sync_request request_of(device& source, device& target, const sync_options& options = small_sync_options(),
                               state_store* records = nullptr) {
    sync_request request;
    request.source = &source;
    request.target = &target;
    request.options = options;
    request.records = records;
    return request;
}

inline sync_report run_sync(device& source, device& target, const sync_options& options = small_sync_options(),
                            state_store* records = nullptr) {
    return sync(request_of(source, target, options, records));
}

inline void require_ok(const sync_report& report) {
    if (report.failure) FAIL(report.failure->what());
}

inline void require_synced(const sync_report& report, device& source, device& target) {
    require_ok(report);
    REQUIRE(bytes_of(source) == bytes_of(target, source.size()));
}

inline error require_failure(const sync_report& report, error_kind kind) {
    REQUIRE(report.failure.has_value());
    INFO(report.failure->what());
    REQUIRE(std::string(to_string(report.failure->kind())) == to_string(kind));
    CHECK_FALSE(report.ok());
    CHECK(report.verified == proof_level::none);
    return *report.failure;
}

inline bool has_warning(const sync_report& report, const std::string& part) {
    for (const std::string& text : report.warnings)
        if (text.find(part) != std::string::npos) return true;
    return false;
}

}  // namespace reprotect::test
