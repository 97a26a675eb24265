// Who gets an export that somebody else has: whoever comes right after a session waits for it a moment, and no longer.
#include "sync/exports.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <catch2/catch.hpp>

#include "support/failures.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

struct table_rig {
    table_rig() { options.exports = {{"disk", "/dev/there", export_role::target}}; }

    wire_request writing() const {
        wire_request wish;
        wish.export_name = "disk";
        wish.role = asked_role::source;
        wish.mode = session_mode::sync;
        wish.block_bytes = 4096;
        wish.chunk_bytes = 1 << 20;
        return wish;
    }
    // Runs until it is decided.
    void take(export_table& exports) {
        boost::asio::co_spawn(network,
                              lease_in_time(&exports, writing(), {}, std::chrono::steady_clock::now() + let_go_within),
                              [this](std::exception_ptr why, export_lease got) {
                                  failure = why;
                                  if (!why) second.emplace(std::move(got));
                              });
        network.run();
    }

    boost::asio::io_context network;
    server_options options;
    std::optional<export_lease> first, second;
    std::exception_ptr failure;
};

}  // namespace

TEST_CASE("an export that is let go within a moment is had by whoever asked meanwhile", "[sync]") {
    table_rig rig;
    export_table exports(rig.options);
    rig.first.emplace(exports.lease(rig.writing(), {}));
    boost::asio::steady_timer soon(rig.network, 50ms);
    soon.async_wait([&](boost::system::error_code) { rig.first.reset(); });
    rig.take(exports);
    CHECK_FALSE(rig.failure);
    REQUIRE(rig.second);
    CHECK(rig.second->disk() == "/dev/there");
}

TEST_CASE("an export that is in use is refused in the end, and all else at once", "[sync]") {
    table_rig rig;
    export_table exports(rig.options);
    rig.first.emplace(exports.lease(rig.writing(), {}));
    const bool unknown = GENERATE(false, true);
    if (unknown) rig.options.exports.front().name = "other";
    const auto begun = std::chrono::steady_clock::now();
    rig.take(exports);
    const auto took = std::chrono::steady_clock::now() - begun;
    try {
        REQUIRE(rig.failure);
        std::rethrow_exception(rig.failure);
    } catch (const error& why) {
        CHECK(why.kind() == (unknown ? error_kind::not_found : error_kind::in_use));
    }
    CHECK(rig.first->disk() == "/dev/there");
    if (!unknown) CHECK(took >= 500ms);
}
