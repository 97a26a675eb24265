// A disk at a peer, by name: `reprotect://HOST[:PORT]/NAME` at a `reprotect serve`, or `ssh://[USER@]HOST[:PORT]/PATH`. The
// blocking calls that the tool makes; an agent with connections of its own uses remote.hpp.
#pragma once

#include "reprotect/checksum.hpp"
#include "reprotect/credentials.hpp"
#include "reprotect/rate_limiter.hpp"
#include "reprotect/sync.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reprotect {

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

}  // namespace reprotect
