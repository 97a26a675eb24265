// How two peers in one process are joined, and run.
#include "support/peer_pair.hpp"

#include <catch2/catch.hpp>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/thread_pool.hpp>

#include <optional>

namespace reprotect::test {

using local_socket = boost::asio::local::stream_protocol::socket;

peer_pair::peer_pair() {
    local_socket one(network_), other(network_);
    boost::asio::local::connect_pair(one, other);
    source.stream = make_stream(std::move(one));
    target.stream = make_stream(std::move(other));
    source.role = peer_role::source;
    target.role = peer_role::target;
    source.options = target.options = small_sync_options();
}

std::pair<sync_report, sync_report> peer_pair::run(std::chrono::seconds limit) {
    boost::asio::thread_pool workers(4);
    std::optional<sync_report> ends[2];
    async_sync_with_peer(network_.get_executor(), workers.get_executor(), std::move(source), [&](sync_report report) {
        ends[0] = std::move(report);
        if (source_ended) source_ended();
    });
    async_sync_with_peer(network_.get_executor(), workers.get_executor(), std::move(target), [&](sync_report report) {
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

}  // namespace reprotect::test
