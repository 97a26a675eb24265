// Two peers of one session in one process, joined by a socket pair: each side with a context, workers and a report of its own.
#pragma once

#include <catch2/catch.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/thread_pool.hpp>

#include "reprotect/remote.hpp"
#include "support/sync_rig.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

namespace reprotect::test {

class peer_pair {
public:
    using socket = boost::asio::local::stream_protocol::socket;

    peer_pair() {
        socket one(network_), other(network_);
        boost::asio::local::connect_pair(one, other);
        source.stream = make_stream(std::move(one));
        target.stream = make_stream(std::move(other));
        source.role = peer_role::source;
        target.role = peer_role::target;
        source.options = target.options = small_sync_options();
    }

    peer_request source, target;
    /// Called, where set, once that side has its report.
    std::function<void()> source_ended, target_ended;

    /// Runs both to their ends; fails the test if that takes longer than `limit`.
    std::pair<sync_report, sync_report> run(std::chrono::seconds limit = std::chrono::seconds(60)) {
        boost::asio::thread_pool workers(4);
        std::optional<sync_report> ends[2];
        async_sync_with_peer(network_.get_executor(), workers.get_executor(), std::move(source),
                             [&](sync_report report) {
                                 ends[0] = std::move(report);
                                 if (source_ended) source_ended();
                             });
        async_sync_with_peer(network_.get_executor(), workers.get_executor(), std::move(target),
                             [&](sync_report report) {
                                 ends[1] = std::move(report);
                                 if (target_ended) target_ended();
                             });
        network_.run_for(limit);
        workers.stop();
        workers.join();
        REQUIRE(ends[0].has_value());
        REQUIRE(ends[1].has_value());
        return {std::move(*ends[0]), std::move(*ends[1])};
    }

    boost::asio::io_context& network() noexcept { return network_; }

private:
    boost::asio::io_context network_;
};

}  // namespace reprotect::test
