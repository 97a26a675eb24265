// A disk at a peer, by name: `reprotect://HOST[:PORT]/NAME` at a `reprotect serve`, or `ssh://[USER@]HOST[:PORT]/PATH`. The
// blocking calls that the tool makes; an agent with connections of its own uses remote.hpp.
#pragma once

#include "reprotect/checksum.hpp"
#include "reprotect/credentials.hpp"
#include "reprotect/probed_disk.hpp"
#include "reprotect/rate_limiter.hpp"
#include "reprotect/sync.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reprotect {

enum class peer_role;  // remote.hpp

/// Where a server listens unless it is told otherwise; of no registered service.
inline constexpr std::uint16_t port_default = 7722;

struct remote_name {
    enum class scheme { tcp, ssh };
    scheme how = scheme::tcp;
    std::string user;        ///< ssh; empty: the system's choice
    std::string host;        ///< an IPv6 address without its brackets
    std::uint16_t port = 0;  ///< 0: the default (ssh: the system's choice)
    std::string disk;        ///< an export's name, percent-decoded; over ssh a path: "/PATH", or "PATH" of "/~/PATH"
};

/// Whether a disk's name is one of a peer. Only looks at the scheme.
bool names_peer(const std::string& name);

/// Throws `usage` for a name that lacks a part, has an unknown one, or a host that begins with a dash.
remote_name parse_remote_name(const std::string& name);

/// What to do after a lost connection.
struct retry_policy {
    /// How often in a row to try again without anything having been written meanwhile; 0: never. A peer that cannot be reached
    /// at first is not tried again.
    unsigned attempts = 0;
    std::chrono::milliseconds first_pause{1'000};  ///< doubled each time,
    std::chrono::milliseconds longest_pause{60'000};
};

struct connect_options {
    std::optional<client_credentials> credentials;
    /// No TLS, to an address of this machine alone.
    bool insecure_plaintext = false;
    std::vector<std::string> ssh_command{"ssh"};  ///< what connects; options, host and command are added
    std::string ssh_remote_tool = "reprotect";    ///< as the far shell shall find the tool
    std::shared_ptr<rate_limiter> limit;
    /// Over how many connections a session is striped, 1 to 16; 0: more are opened as long as that helps. Not over ssh; the server may allow
    /// fewer.
    unsigned connections = 0;
    std::chrono::milliseconds patience{60'000};  ///< for a silent peer
    retry_policy retry;                          ///< of a sync or diff
};

/// As `sync` and `diff`, with one disk of the request null: that is the peer's, `remote`. Options, records and listener as there;
/// the target's record is kept where the target is. Throws `usage`; what failed otherwise, connecting too, is in the report:
/// `peer` for all that has to do with the network, TLS and the protocol, else what the other side said.
sync_report sync_with_remote(const sync_request& request, const std::string& remote, const connect_options& how);
sync_report diff_with_remote(const sync_request& request, const std::string& remote, const connect_options& how);

/// As `checksum`, of a peer's disk; the digests are computed there. `sha256` alone (throws `usage`). Throws `error`.
checksum_report checksum_remote(const std::string& remote, const checksum_options& options, const connect_options& how,
                                sync_listener* listener = nullptr, std::stop_token cancel = {});

inline constexpr link_traffic unlimited_traffic{std::numeric_limits<std::uint64_t>::max(),
                                                std::numeric_limits<std::uint64_t>::max()};

/// A peer's disk, and what keys its digests: for `make_probed_disk` of the other disk of the probe.
struct far_probed_disk {
    std::unique_ptr<probed_disk> disk;
    digest_secret secret;
};

/// A disk at a peer, for a probe: read there, by as many threads and as deep as the server does (of the options `block_bytes` and
/// `kept_bytes` count, the latter up to what the server keeps). It takes the rights that a checksum takes. A thread of its own
/// keeps the connection alive until the disk's end. Connects now; that and all calls of the disk throw `error`, `peer` for what
/// has to do with the network, TLS and the protocol. After a failure or a cancel the disk is of no use any more.
/// `most`: what may cross for all of it, once the session has begun; calls that would take more throw `limit`. Beyond it may go one
/// question, and of an allocation that is cut off what the kernel takes meanwhile.
far_probed_disk probe_remote_disk(const std::string& remote, const sampling_options& options,
                                  const connect_options& how, std::stop_token cancel = {},
                                  const link_traffic& most = unlimited_traffic);

/// What crossed so far for a disk that `probe_remote_disk` made (else throws `usage`), measuring the link included.
link_traffic traffic_of(const probed_disk& far);

/// What measuring a link takes of it at most, unless told otherwise: traffic is billed, and a sync may be smaller.
inline constexpr link_traffic measuring_traffic{32 << 20, 32 << 20};

/// Measures the connection to a disk that `probe_remote_disk` made (else throws `usage`) for about so long: round trips, then
/// transfers both ways, of at most 16 MiB each and at least one however long it takes, of all together at most `most` (less
/// than 64 KiB either way throws `usage`); of what may cross for the disk they take half at most, and less of that throws `limit`.
/// One connection's rates, under `how.limit` if there is one. `far_is`: what that disk is to be in a sync. Not while the disk is
/// being sampled.
link_rates measure_link(probed_disk& far, peer_role far_is, double seconds, std::stop_token cancel = {},
                        const link_traffic& most = measuring_traffic);

}  // namespace reprotect
