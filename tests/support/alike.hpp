// Both ends of a session count the same: two reports of it, or a client's report and what the server logged.
#pragma once

#include <catch2/catch.hpp>

#include "reprotect/sync.hpp"
#include "support/server_rig.hpp"

#include <string>

namespace reprotect::test {

inline void check_alike(const sync_report& one, const sync_report& other) {
    CHECK(one.bytes == other.bytes);
    CHECK(one.mode == other.mode);
    CHECK(one.reason == other.reason);
    CHECK(one.dry_run == other.dry_run);
    CHECK(one.resized_from == other.resized_from);
    CHECK(one.verified == other.verified);
    CHECK(one.cache_passed == other.cache_passed);
    CHECK(one.root == other.root);
    for (const auto way : {&sync_report::to_target, &sync_report::to_source}) {
        CHECK((one.*way).payload == (other.*way).payload);
        CHECK((one.*way).digests == (other.*way).digests);
        CHECK((one.*way).overhead == (other.*way).overhead);
        CHECK((one.*way).frames == (other.*way).frames);
    }
}

inline void check_alike(const sync_report& here, const server_rig& server) {
    CHECK(server.logged("session-end", "to_target") == std::to_string(here.to_target.total()));
    CHECK(server.logged("session-end", "to_source") == std::to_string(here.to_source.total()));
    CHECK(server.logged("session-end", "written") == std::to_string(here.bytes.written));
    CHECK(server.logged("session-end", "changed") == std::to_string(here.bytes.changed));
}

}  // namespace reprotect::test
