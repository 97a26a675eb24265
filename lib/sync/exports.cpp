// Who asks for what it may not know of hears the same as for what there is not.
#include "sync/exports.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/utf8.hpp"

namespace reprotect {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void misconfigured(const std::string& what, const std::string& hint) {
    throw error(error_kind::usage, what, {.operation = "listen", .hint = hint});
}

}  // namespace

boost::asio::awaitable<export_lease> lease_in_time(export_table* exports, wire_request wish, authenticated_client who,
                                                   std::chrono::steady_clock::time_point until) {
    const auto on = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer pause(on);
    while (true) {
        std::optional<export_lease> taken;
        std::optional<error> refused;
        try {
            taken.emplace(exports->lease(wish, who));
        } catch (const error& why) {
            refused = why;
        }
        if (taken) co_return std::move(*taken);
        if (refused->kind() != error_kind::in_use || std::chrono::steady_clock::now() > until) throw *refused;
        pause.expires_after(10ms);
        co_await pause.async_wait(boost::asio::use_awaitable);
    }
}

bool writes(const wire_request& wish) {
    return wish.role == asked_role::source && wish.mode == session_mode::sync;
}

bool only_looks(const wire_request& wish) {
    return wish.role == asked_role::reader || wish.role == asked_role::sampler;
}

export_table::export_table(const server_options& options) : options_(options) {
    std::map<std::string, std::shared_ptr<use>> uses_of_disks;
    for (const server_export& each : options.exports) {
        if (each.name.empty() || each.name.size() > 255 || each.name.find('/') != std::string::npos)
            misconfigured("'" + each.name + "' is no name for an export", "1 to 255 bytes without a slash");
        // Exports of one disk, as a source and as a target, are in use together.
        std::shared_ptr<use>& of_disk = uses_of_disks[each.disk];
        if (!of_disk) of_disk = std::make_shared<use>();
        if (!uses_.emplace(each.name, of_disk).second)
            misconfigured("there are two exports named " + each.name, "give each a name of its own");
    }
    for (const auto& [name, exports] : options.allowed)
        for (const std::string& each : exports)
            if (!uses_.contains(each))
                misconfigured(name + " is allowed an export that there is not: " + each, "see --export");
}

const server_export* export_table::find(const wire_request& wish, const authenticated_client& who) const {
    // ssh://HOST/NAME, where a forced command offers exports, asks for "/NAME".
    const bool slash = wish.export_name.starts_with('/');
    const std::string_view asked = std::string_view(wish.export_name).substr(slash ? 1 : 0);
    const auto found = std::find_if(options_.exports.begin(), options_.exports.end(),
                                    [&](const server_export& each) { return each.name == asked; });
    if (found == options_.exports.end()) return nullptr;
    if (options_.allowed.empty()) return &*found;
    const auto rights = options_.allowed.find(who.name);
    if (rights == options_.allowed.end()) return nullptr;
    const bool granted = std::find(rights->second.begin(), rights->second.end(), found->name) != rights->second.end();
    return granted ? &*found : nullptr;
}

export_lease export_table::lease(const wire_request& wish, const authenticated_client& who) {
    // The handshake vouches for what a key is used for.
    const asked_role needs = wish.role == asked_role::sampler ? asked_role::reader : wish.role;
    if (who.purpose_bound && static_cast<unsigned>(who.purpose) != static_cast<unsigned>(needs))
        throw error(error_kind::permission, "the request is for another role than the handshake was for",
                    {.operation = "open"});
    if (wish.mode != session_mode::sync && wish.mode != session_mode::dry_run && wish.mode != session_mode::compare)
        throw error(error_kind::usage, "an unknown mode", {.operation = "open"});
    check_geometry({0, wish.chunk_bytes, wish.block_bytes});
    export_lease result;
    if (options_.exports.empty()) {
        // Over ssh, a user who may do here what this user may.
        result.disk_ = wish.export_name;
        return result;
    }
    const server_export* offered = find(wish, who);
    if (!offered)
        throw error(error_kind::not_found,
                    "there is no export named " + on_one_line(wish.export_name) + " for this client",
                    {.device = on_one_line(wish.export_name),
                     .operation = "open",
                     .hint = "see --export and --allow at the server; names are case-sensitive"});
    if (writes(wish) && offered->role != export_role::target)
        throw error(error_kind::permission,
                    "the export " + offered->name + " is a source: nothing may be written to it",
                    {.device = offered->name,
                     .operation = "open",
                     .hint = "if peers are to write to it, export it as " + offered->name + "=…,target"});
    const bool pulls = wish.role == asked_role::target && wish.mode != session_mode::compare;
    if (pulls && offered->role != export_role::source)
        throw error(error_kind::permission,
                    "the export " + offered->name + " is a target: nothing may be copied from it",
                    {.device = offered->name,
                     .operation = "open",
                     .hint = "if peers are to copy it, export it as " + offered->name + "=…,source"});
    const std::shared_ptr<use> now = uses_.at(offered->name);
    if (now->written || (writes(wish) && now->readers != 0))
        throw error(error_kind::in_use, "the export " + offered->name + " is in use by another session",
                    {.device = offered->name,
                     .operation = "open",
                     .holder = "another session",
                     .hint = "wait for that session to end"});
    result.disk_ = offered->disk;
    result.alias_ = offered->name;
    if (writes(wish)) {
        now->written = true;
        result.hold_ = std::shared_ptr<void>(nullptr, [now](void*) { now->written = false; });
    } else {
        ++now->readers;
        result.hold_ = std::shared_ptr<void>(nullptr, [now](void*) { --now->readers; });
    }
    return result;
}

sync_options options_for(const sync_options& ours, const wire_request& wish) {
    sync_options options = ours;
    options.block_bytes = wish.block_bytes;
    options.chunk_bytes = wish.chunk_bytes;
    options.algorithm = wish.algorithm;
    options.verify = wish.reread ? verify_level::reread : verify_level::root;
    options.dry_run = wish.mode == session_mode::dry_run;
    options.allow_larger = wish.permits.allow_larger;
    options.truncate = wish.permits.truncate;
    options.reverse = wish.permits.reverse;
    options.keep_differential = wish.keep_differential;
    options.within = wish.within;
    options.interlocks = true;
    return options;
}

}  // namespace reprotect
