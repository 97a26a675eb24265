// Two peers of one session in one process, joined by a socket pair: each side with a context, workers and a report of its own.
#pragma once

#include <boost/asio/io_context.hpp>

#include "reprotect/remote.hpp"
#include "support/sync_rig.hpp"

#include <chrono>
#include <functional>
#include <utility>

namespace reprotect::test {

class peer_pair {
public:
    peer_pair();

    peer_request source, target;
    /// Called, where set, once that side has its report.
    std::function<void()> source_ended, target_ended;

    /// Runs both to their ends; fails the test if that takes longer than `limit`.
    std::pair<sync_report, sync_report> run(std::chrono::seconds limit = std::chrono::seconds(60));

    boost::asio::io_context& network() noexcept { return network_; }

private:
    boost::asio::io_context network_;
};

}  // namespace reprotect::test
