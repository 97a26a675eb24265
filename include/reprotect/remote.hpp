// A session with a peer elsewhere, over a stream that an agent connected and secured itself. Both sides make the same call,
// one as the source and one as the target.
#pragma once

#include "reprotect/async.hpp"
#include "reprotect/executor.hpp"
#include "reprotect/rate_limiter.hpp"
#include "reprotect/stream.hpp"
#include "reprotect/sync.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace reprotect {

enum class peer_role { source, target };

/// One side of a session. Both sides must be given the same `block_bytes`, `chunk_bytes`, `algorithm`, `verify`, `dry_run` and
/// `compare_only`; of the other options each side's concern its own disk, and `allow_larger`, `truncate` and `reverse` count when
/// either side gives them. Pointers are borrowed and must live until completion.
struct peer_request {
    peer_role role = peer_role::source;
    /// Connected, and so protected that nobody else can read or change what passes; ends with the session.
    std::unique_ptr<byte_stream> stream;
    device* disk = nullptr;
    sync_options options;            ///< `within` is the source's alone
    bool compare_only = false;       ///< a diff: nothing is written
    state_store* records = nullptr;  ///< the target's record is kept here; the source looks for a wrong direction
    sync_listener* listener = nullptr;
    std::stop_token cancel;
    /// Of what this side writes to the stream (below whose TLS it does not see); may be shared by many sessions.
    std::shared_ptr<rate_limiter> limit;
    /// 32 bytes that TLS exports (RFC 8446, section 7.5; label "EXPORTER-reprotect"), the same on both sides: the session ends
    /// where they differ, and digests are keyed with them. Zeroes: nothing is known of the stream.
    std::array<std::byte, 32> secret{};
    std::string far_name;   ///< of the other side, for messages: "10.0.0.1:4711"
    std::string disk_name;  ///< what the other side learns of the disk's name; empty: its name
    /// How long the other side may be silent, or take nothing, before it is given up.
    std::chrono::milliseconds patience{60'000};
};

namespace detail {
void start_peer(const worker_executor& network, worker_executor workers, peer_request request,
                std::function<void(sync_report)> done);
}  // namespace detail

/// Starts one side of a session. `network` runs the stream's handlers and the deciding code, serialised by a strand made on it;
/// it must be the stream's own context. `workers` runs blocking device calls, digests and compression. No thread is made, and
/// there is no state but what the call is given: any number of sessions may run in one process.
/// Completes with `void(sync_report)`, the same counts on both sides; throws `usage` at once for options that make no sense.
/// What the request points to lives until completion. Both contexts run until then, and the context of `network` outlives the
/// threads of `workers` (so declare it first); a session whose contexts end before it is leaked.
template <typename CompletionToken>
auto async_sync_with_peer(worker_executor network, worker_executor workers, peer_request request,
                          CompletionToken&& token) {
    return boost::asio::async_initiate<CompletionToken, void(sync_report)>(
        [](auto handler, worker_executor on, worker_executor with, peer_request what) {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));  // std::function must be copyable
            auto work = boost::asio::make_work_guard(*shared);
            detail::start_peer(on, std::move(with), std::move(what), [shared, work](sync_report report) {
                auto executor = boost::asio::get_associated_executor(*shared);
                boost::asio::dispatch(executor,
                                      [shared, report = std::move(report)]() mutable { (*shared)(std::move(report)); });
            });
        },
        token, std::move(network), std::move(workers), std::move(request));
}

}  // namespace reprotect
