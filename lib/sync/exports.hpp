// What a server offers, to whom, and who has what at the moment.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "reprotect/serve.hpp"
#include "wire/session_frames.hpp"
#include "wire/tls.hpp"

namespace reprotect {

/// A session's hold on an export: one writer, or any number of readers. Ends with the object.
class export_lease {
public:
    /// What to open.
    const std::string& disk() const noexcept { return disk_; }
    /// What peers may know it as; empty where they named the disk themselves.
    const std::string& alias() const noexcept { return alias_; }

private:
    friend class export_table;
    std::string disk_, alias_;
    std::shared_ptr<void> hold_;  // shared: counts itself out when the last copy goes
};

/// On one thread.
class export_table {
public:
    /// Throws `error` (usage) for exports or permissions that make no sense. Borrows the options.
    explicit export_table(const server_options& options);

    /// Throws `error`: `not_found` (also for what this client may not know of), `permission` for a role that is not granted,
    /// `in_use`, `usage` for a request that makes no sense.
    export_lease lease(const wire_request& wish, const authenticated_client& who);

private:
    struct use {
        unsigned readers = 0;
        bool written = false;
    };

    const server_export* find(const wire_request& wish, const authenticated_client& who) const;

    const server_options& options_;
    std::map<std::string, std::shared_ptr<use>> uses_;  // shared with the leases, which may outlive the table
};

/// A session that is over lets go of its disk a moment after its goodbye: who comes right after it waits so long for what it had.
inline constexpr std::chrono::milliseconds let_go_within{500};  // guessed: to close a disk takes a few milliseconds

/// As `export_table::lease`, on the table's thread; where somebody has the disk, again until then.
boost::asio::awaitable<export_lease> lease_in_time(export_table* exports, wire_request wish, authenticated_client who,
                                                   std::chrono::steady_clock::time_point until);

/// Whether the server's disk is to be written to.
bool writes(const wire_request& wish);

/// Whether something else than a session is wished for: no peers, one connection, and nothing is written.
bool only_looks(const wire_request& wish);

/// The options of a session that was asked for: the client's wishes, this side's resources.
sync_options options_for(const sync_options& ours, const wire_request& wish);

}  // namespace reprotect
