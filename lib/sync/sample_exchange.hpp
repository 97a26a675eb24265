// A disk at a peer that is sampled from here: what a probe of a peer's disk is, after the opening. One question at a
// time is asked and answered, on one connection; reading is where the disk is.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "reprotect/probed_disk.hpp"
#include "sync/discretion.hpp"
#include "sync/timed_frames.hpp"
#include "wire/connection.hpp"
#include "wire/sample_frames.hpp"

namespace reprotect {

struct sample_terms {
    sampling_options options;
    std::chrono::milliseconds patience{60'000};
    std::stop_token cancel;
    known_as names;                       ///< of the disk, for what the peer is told
    std::array<std::byte, 32> binding{};  ///< the opening's
    /// For all of it, over what slow disks take to read what is asked for; a guess: a probe takes minutes.
    std::chrono::milliseconds longest = std::chrono::hours(2);
    std::chrono::milliseconds turn_max = silence_factor * patience;  ///< for an answer, or until there is a question
};

/// The server's part: answers until the client ends the connection, reading on a thread of its own; says that it is
/// alive while that lasts. Returns the bytes read. Ends the reading when the client has gone. A failure is told to
/// the peer, then thrown. What a client may have is bounded by the disk's size, what is kept for it, and `terms.longest`
/// over what it asked for at the rates of a slow disk.
boost::asio::awaitable<std::uint64_t> serve_samples(connection& link, device& disk, sample_terms terms);

/// The client's. Borrows the connection. One call at a time, `begin` first; each throws `error`, after which the
/// connection is of no use any more. What arguments refer to lives until the call is over.
class sample_client {
public:
    /// `turn_max`: what one answer may take however lively the server is; `silence_factor` times the patience if not given.
    sample_client(connection& link, std::uint32_t block_bytes, std::chrono::milliseconds patience,
                  std::optional<std::chrono::milliseconds> turn_max = {});

    /// `kept_bytes` is a wish: the server may keep less.
    boost::asio::awaitable<void> begin(std::array<std::byte, 32> binding, std::uint64_t kept_bytes);

    const geometry& shape() const noexcept { return shape_; }
    const digest_secret& secret() const noexcept { return secret_; }

    boost::asio::awaitable<void> allocation(std::vector<allocation_run>* into);
    /// At most `sample_stretches_max` that fit into `sample_bytes_max`, of whole blocks in order; adds to `into`.
    boost::asio::awaitable<void> sample(std::span<const extent> stretches, bool keep, stretch_samples* into);
    /// At most `weigh_blocks_max`; adds to `into`.
    boost::asio::awaitable<void> weigh(std::span<const std::uint64_t> offsets, std::vector<packed_batch>* into);
    /// So many bytes there and so many back, each at most `filler_bytes_max`; nothing both ways measures a round
    /// trip.
    boost::asio::awaitable<void> exchange_filler(std::uint64_t there, std::uint64_t back, double* seconds);

    /// What is to be said about once in `keep_every` while there is nothing else.
    boost::asio::awaitable<void> keep_alive();
    std::chrono::milliseconds keep_every() const noexcept;

private:
    struct received_frame;
    boost::asio::awaitable<void> send(std::span<const std::byte> bytes, std::chrono::steady_clock::time_point until);
    boost::asio::awaitable<void> ask(std::span<const std::byte> question);
    boost::asio::awaitable<received_frame> receive();

    connection& link_;
    const std::chrono::milliseconds patience_, turn_max_;
    geometry shape_;
    digest_secret secret_{};
    std::chrono::steady_clock::time_point said_{}, asked_{};
};

}  // namespace reprotect
