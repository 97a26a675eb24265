// Steps are searched from the front: there are some hundred, and a session asks at most once a message.
#include "sync/traffic_bound.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/assert.hpp"
#include "base/utf8.hpp"
#include "reprotect/units.hpp"
#include "sync/plan_windows.hpp"
#include "sync/prepare.hpp"

namespace reprotect {
namespace {

// Of a chunk: its digest, the head of its blocks' digests, that it was applied, and a share of status and credits, each in a TLS
// record of its own at worst. Estimated from the frames' sizes, with as much again to spare.
constexpr std::uint64_t entry_bytes = 160;
constexpr std::uint64_t cut_bytes = sizeof(digest_cut);
constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();
// Greetings, handshakes of more lanes, last words. A guess.
constexpr std::uint64_t beside_bytes = 128 << 10;

// The first step that has room for so much.
auto step_at(const traffic_bound& bound, std::uint64_t to_source) noexcept {
    return std::lower_bound(bound.steps.begin(), bound.steps.end(), to_source,
                            [](const traffic_step& step, std::uint64_t bytes) { return step.to_source < bytes; });
}

std::uint64_t bytes_of_chunk(const sync_options& options) {
    return entry_bytes + cut_bytes * (options.chunk_bytes / options.block_bytes);
}

}  // namespace

std::uint64_t allowed_to_target(const traffic_bound& bound, std::uint64_t to_source) noexcept {
    const auto step = step_at(bound, to_source);
    return step == bound.steps.end() ? 0 : step->to_target;
}

traffic_bound left_of(const traffic_bound& bound, const traffic_step& crossed) {
    traffic_bound left{{}, bound.name};
    for (auto step = step_at(bound, crossed.to_source); step != bound.steps.end(); ++step) {
        if (step->to_target < crossed.to_target) break;
        // What has no end keeps none.
        const auto less = [](std::uint64_t from, std::uint64_t bytes) {
            return from == unbounded ? from : from - bytes;
        };
        left.steps.push_back({less(step->to_source, crossed.to_source), less(step->to_target, crossed.to_target)});
    }
    if (left.steps.empty()) left.steps.emplace_back();
    return left;
}

std::uint64_t back_window(const sync_options& options) {
    return plan_windows(options, false).digest_entries * bytes_of_chunk(options) + beside_bytes;
}

std::uint64_t data_window(const sync_options& options) {
    const windows window = plan_windows(options, false);
    return window.buffers * std::uint64_t{options.chunk_bytes} +
           std::max(window.buffers, window.digest_entries) * bytes_of_chunk(options) + beside_bytes;
}

// A source wants room for three windows before it sends anything.
traffic_step traffic_minimum(const sync_options& options) {
    return {4 * back_window(options), egress_least};
}

bool allows_minimum(const traffic_bound& bound, const sync_options& options) {
    const traffic_step least = traffic_minimum(options);
    return allowed_to_target(bound, least.to_source) >= least.to_target;
}

traffic_step traffic_of_look(const sync_options& options) {
    traffic_step most{unbounded, unbounded};
    const auto quarter = [](std::uint64_t bytes) { return bytes == unbounded ? bytes : bytes / 4; };
    if (!options.traffic_max.empty()) {
        most.to_source = quarter(options.traffic_max.steps.back().to_source);
        const std::uint64_t later = traffic_minimum(options).to_source;
        const std::uint64_t back = most.to_source > unbounded - later ? most.to_source : most.to_source + later;
        most.to_target = quarter(allowed_to_target(options.traffic_max, back));
    }
    if (options.egress_max != 0) most.to_target = std::min(most.to_target, quarter(options.egress_max));
    const bool egress_left = options.egress_max == 0 || options.egress_max - most.to_target >= egress_least;
    if (!egress_left || most.to_target == 0 ||
        (!options.traffic_max.empty() && !allows_minimum(left_of(options.traffic_max, most), options)))
        throw error(error_kind::usage, "what may cross is too little for a look at the peer's disk and a sync after it",
                    {.operation = "check options",
                     .hint = "a limit of a MiB and more, and twice the money that a sync needs at least; or no look"});
    return most;
}

sync_options with_limits_left(sync_options options, const traffic_step& crossed) {
    const auto refuse = [&](const std::string& what) {
        throw error(error_kind::limit,
                    "a look at the peer's disk has sent " + format_size(crossed.to_target) + " to the target and " +
                        format_size(crossed.to_source) + " to the source, and what is left of " + what +
                        " is too little to begin with",
                    {.operation = "send", .hint = "allow more, or sync without a look before it"});
    };
    if (options.egress_max != 0) {
        const std::uint64_t most = options.egress_max;
        options.egress_max -= std::min(most, crossed.to_target);
        if (options.egress_max < egress_least) refuse(format_size(most) + " that may be sent to the target");
    }
    if (options.traffic_max.empty()) return options;
    options.traffic_max = left_of(options.traffic_max, crossed);
    if (!allows_minimum(options.traffic_max, options)) refuse(on_one_line(options.traffic_max.name));
    return options;
}

traffic_step step_for_target(const traffic_bound& bound, const sync_options& options, std::uint64_t shared_bytes) {
    const std::uint64_t chunks = shared_bytes / options.chunk_bytes + 1;
    const std::uint64_t digests = chunks * bytes_of_chunk(options);
    auto best = step_at(bound, traffic_minimum(options).to_source);
    REPROTECT_ASSERT(best != bound.steps.end());  // or the bound would have been refused
    for (auto step = best; step != bound.steps.end(); ++step) {
        const bool enough = best->to_source >= digests + digests / 64 + 2 * back_window(options);
        if (step->to_target < bound.steps.front().to_target / 2) break;
        if (!enough) best = step;
    }
    return *best;
}

std::optional<std::uint64_t> egress_of(const sync_options& options, std::optional<std::uint64_t> allowed) noexcept {
    if (allowed == unbounded) allowed.reset();
    if (options.egress_max == 0) return allowed;
    return std::min(options.egress_max, allowed.value_or(unbounded));
}

}  // namespace reprotect
