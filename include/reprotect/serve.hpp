// The server: offers named disks to peers that it knows.
#pragma once

#include "reprotect/credentials.hpp"
#include "reprotect/rate_limiter.hpp"
#include "reprotect/state_record.hpp"
#include "reprotect/sync.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace reprotect {

/// What peers may do with an export. Both may be compared and checksummed.
enum class export_role {
    source,  ///< be pulled from; never written to
    target,  ///< be pushed to; never pulled from
};

struct server_export {
    std::string name;  ///< what peers say
    std::string disk;  ///< what `open_device` takes; opened anew for each session
    export_role role = export_role::source;
};

/// What happened, for a log. Values may hold anything that a peer sent: escape them.
struct server_event {
    enum class severity { info, warning, error };
    severity level = severity::info;
    std::string name;  ///< "listening", "refused", "session-begin", "session-end", "warning", "stopping", …
    std::vector<std::pair<std::string, std::string>> fields;  ///< "peer", "key", "export", "role", "kind", "message", …
};

class server_listener {
public:
    virtual ~server_listener() = default;
    /// On the calling thread of `serve`; must not block long.
    virtual void on_event(const server_event& what) = 0;
    /// Where it listens, once it does: "127.0.0.1:40123", "[::1]:40123".
    virtual void on_listening(const std::vector<std::string>& addresses) = 0;
};

struct server_options {
    std::vector<std::string> listen;  ///< "ADDR:PORT", "[ADDR]:PORT", ":PORT" (all addresses); port 0: any free one
    std::vector<int> sockets;         ///< listening already (socket activation); taken over
    std::vector<server_export> exports;
    std::optional<server_credentials> credentials;
    bool insecure_plaintext = false;  ///< no TLS; addresses of this machine alone
    /// Which exports a name (of a key or certificate) may use; empty: everyone all of them. A name that is not in it: none.
    std::map<std::string, std::vector<std::string>> allowed;
    /// At once, those included that only look. Each takes up to `options.memory_bytes`; of a look, half of it and 64 MiB at most is what it
    /// keeps to be weighed, and beside that it takes 256 KiB for each read in flight (`options.depth`) and up to 28 MiB for an answer.
    std::size_t sessions_max = 64;
    unsigned connections_max = 16;        ///< of one session, 1 to 16
    bool once = false;                    ///< one session, then the end; a sample that is taken before it is none
    bool direct = false;                  ///< open the disks past the page cache
    sync_options options;                 ///< depth, threads and memory of each session; the rest is the peers' to say
    state_store* records = nullptr;       ///< of targets here
    std::shared_ptr<rate_limiter> limit;  ///< of all sessions together
    std::chrono::milliseconds patience{60'000};          ///< for a silent peer
    std::chrono::milliseconds opening_patience{10'000};  ///< for one that has not said who it is and what it wants
};

/// Serves until `stop` (sessions then end as at a cancel: what was written is flushed), or with `once` after the first session.
/// Returns how that session ended, if it failed. Throws `usage` for options that make no sense, `peer` where it cannot listen,
/// what the credentials' files are refused for. Writes nothing before a peer that may asks for it.
std::optional<error> serve(const server_options& options, server_listener& listener, std::stop_token stop = {});

/// One session over standard input and output (or any two descriptors, taken over), for a peer that ssh vouches for. Without
/// exports the peer names any disk that this user may open. Returns how it ended, if it failed.
std::optional<error> serve_stdio(const server_options& options, server_listener& listener, int in, int out,
                                 std::stop_token stop = {});

}  // namespace reprotect
