// What was written is not sent again: so an attempt that wrote something counts as a way forward, and the count of failures begins anew.
#include "sync/retry.hpp"

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <utility>

#include "base/utf8.hpp"
#include "reprotect/units.hpp"
#include "sync/prepare.hpp"
#include "sync/traffic_bound.hpp"

namespace reprotect {
namespace {

using clock = std::chrono::steady_clock;

// Once a session had begun, whatever keeps the peer away may pass: a machine that starts again, its old session, which still holds the disk.
// Whoever uses the disk that is here does not go away with the link.
bool may_pass(const error& why, const device* here) {
    return why.kind() == error_kind::peer ||
           (why.kind() == error_kind::in_use && (here == nullptr || why.detail().device != here->name()));
}

void add(wire_counts& to, const wire_counts& more) {
    to.payload += more.payload;
    to.digests += more.digests;
    to.overhead += more.overhead;
    to.frames += more.frames;
}

// `before` is of all attempts until then. What they wrote had changed, and is the same by now.
void add_earlier(sync_report& to, sync_report&& before) {
    add(to.to_target, before.to_target);
    add(to.to_source, before.to_source);
    byte_counts& bytes = to.bytes;
    bytes.read_source += before.bytes.read_source;
    bytes.read_target += before.bytes.read_target;
    bytes.reread_source += before.bytes.reread_source;
    bytes.deallocated += before.bytes.deallocated;
    bytes.changed += before.bytes.written;
    bytes.same -= std::min(bytes.same, before.bytes.written);
    bytes.written += before.bytes.written;
    if (!to.resized_from) to.resized_from = before.resized_from;
    before.warnings.insert(before.warnings.end(), std::make_move_iterator(to.warnings.begin()),
                           std::make_move_iterator(to.warnings.end()));
    to.warnings = std::move(before.warnings);
}

// Of an attempt that came to no session nothing was counted. A guess: a handshake with certificates, and a refusal.
constexpr std::uint64_t uncounted_attempt_bytes = 16 << 10;

// What the other side had sent when the link was lost, and nobody here counts: at most what it was allowed to have under way, and what
// a kernel takes for us without asking: of a connection the third number of tcp_rmem (tcp(7)), 6 MiB where nobody set it.
std::uint64_t received_unread_max() {
    constexpr std::uint64_t least = 8 << 20;
    std::ifstream file("/proc/sys/net/ipv4/tcp_rmem");
    std::uint64_t low = 0, usual = 0, most = 0;
    return file >> low >> usual >> most ? std::max(most, least) : least;
}

traffic_step under_way(const sync_options& options, bool push, unsigned connections) {
    const std::uint64_t unread = received_unread_max() * connections;
    if (push) return {std::min(back_window(options), unread), 0};
    return {0, std::min(data_window(options), unread)};
}

std::uint64_t less(std::uint64_t from, std::uint64_t bytes) {
    return from - std::min(from, bytes);
}

void wait(std::chrono::milliseconds pause, const std::stop_token& cancel) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, cancel, pause, [] { return false; });
}

error used_up(std::uint64_t egress_max, std::uint64_t sent, std::uint64_t uncounted) {
    return error(error_kind::limit,
                 "the connection was lost, and what is left of " + format_size(egress_max) +
                     " that may be sent to the target is too little to go on: " + format_size(sent) + " were sent" +
                     (uncounted == 0 ? "" : ", and up to " + format_size(uncounted) + " more may have been under way"),
                 {.operation = "send", .hint = "what was sent stands; run the same again to go on from there"});
}

error used_up(const traffic_bound& bound, const sync_report& so_far, const traffic_step& uncounted) {
    return error(error_kind::limit,
                 "the connection was lost, and what is left of " + on_one_line(bound.name) +
                     " is too little to go on: " + format_size(so_far.to_target.total()) +
                     " were sent to the target and " + format_size(so_far.to_source.total()) +
                     " to the source, and up to " + format_size(uncounted.to_target + uncounted.to_source) +
                     " more may have been under way",
                 {.operation = "send", .hint = "what was sent stands; run the same again to go on from there"});
}

}  // namespace

sync_report with_retries(const retry_policy& how, sync_request request,
                         const std::function<sync_report(const sync_request&)>& attempt) {
    const auto begun = clock::now();
    const std::uint64_t egress_max = request.options.egress_max;
    const traffic_bound traffic_max = request.options.traffic_max;
    traffic_step uncounted;
    bool met = false;       // a session was under way: the peer is one that we know
    unsigned failures = 0;  // in a row
    std::optional<sync_report> whole;
    for (unsigned attempts = 1;; ++attempts) {
        sync_report report = attempt(request);
        traffic_step more;
        if (report.to_target.total() + report.to_source.total() == 0)
            more = {uncounted_attempt_bytes, uncounted_attempt_bytes};
        else if (report.failure && report.failure->kind() == error_kind::peer)  // lost, or given up by us
            more = under_way(request.options, request.source != nullptr, report.connections);
        uncounted.to_source += more.to_source;
        uncounted.to_target += more.to_target;
        if (report.bytes.written != 0) failures = 0;
        if (whole) add_earlier(report, std::move(*whole));
        whole = std::move(report);
        whole->attempts = attempts;
        if (attempts > 1) whole->seconds.total = std::chrono::duration<double>(clock::now() - begun).count();
        if (!whole->failure) return std::move(*whole);
        const error& why = *whole->failure;
        met = met || why.detail().connection_lost;
        if (!met || !may_pass(why, request.target) || failures == how.attempts) return std::move(*whole);
        if (egress_max != 0) {
            request.options.egress_max = less(egress_max, whole->to_target.total() + uncounted.to_target);
            if (request.options.egress_max < egress_least) {
                whole->failure = used_up(egress_max, whole->to_target.total(), uncounted.to_target);
                return std::move(*whole);
            }
        }
        if (!traffic_max.empty()) {
            request.options.traffic_max = left_of(traffic_max, {whole->to_source.total() + uncounted.to_source,
                                                                whole->to_target.total() + uncounted.to_target});
            if (!allows_minimum(request.options.traffic_max, request.options)) {
                whole->failure = used_up(traffic_max, *whole, uncounted);
                return std::move(*whole);
            }
        }
        const auto pause = std::min<std::chrono::milliseconds>(
            how.longest_pause, how.first_pause * (std::uint64_t{1} << std::min(failures, 20u)));
        ++failures;
        const std::string text = std::string(why.what()) + "; trying again in " +
                                 format_duration(std::chrono::duration<double>(pause).count()) + " (" +
                                 std::to_string(failures) + " of " + std::to_string(how.attempts) + ")";
        whole->warnings.push_back(text);
        if (request.listener) request.listener->on_warning(text);
        wait(pause, request.cancel);
        if (request.cancel.stop_requested()) {
            whole->failure = error(error_kind::interrupted, "interrupted",
                                   {.hint = "run the same sync again: it goes on from there"});
            return std::move(*whole);
        }
    }
}

}  // namespace reprotect
