// A bound on what may cross in both directions together: what is left of it, and how a session shares it out.
//
// One side of a session decides what it sends itself, and hears of the rest. What comes from the other side it can bound, by the
// windows that it grants: so it acts on what has crossed and on what may be under way at most, and is never above.
//
//   source here: before it sends on, it looks up what may cross to the target once that much more has come back
//   target here: the source knows a number of bytes and nothing else, told at the beginning. So the target takes a step of the
//                staircase: its `to_target` is what the source hears, its `to_source` what this side keeps to itself
#pragma once

#include <cstdint>
#include <optional>

#include "reprotect/geometry.hpp"
#include "reprotect/sync.hpp"

namespace reprotect {

/// What may cross to the target if up to `to_source` bytes cross to the source; 0: nothing.
std::uint64_t allowed_to_target(const traffic_bound& bound, std::uint64_t to_source) noexcept;

/// What is left once that much has crossed. May be a bound under which nothing may cross: one step of zeroes.
traffic_bound left_of(const traffic_bound& bound, const traffic_step& crossed);

/// Whether a session can begin under it.
bool allows_minimum(const traffic_bound& bound, const sync_options& options);

/// Bytes that a target may have under way, or about to be sent, by the windows that there are.
std::uint64_t back_window(const sync_options& options);

/// Likewise a source, of data.
std::uint64_t data_window(const sync_options& options);

/// The step that a target settles on under a bound that allows the minimum, for disks that share that many bytes: room for all digests
/// that there could be, as long as the data keeps half of what it could have, and for what a session takes at least.
traffic_step step_for_target(const traffic_bound& bound, const sync_options& options, std::uint64_t shared_bytes);

/// The limit that a source keeps and its target hears of, where a bound allows it so much: the lower of both, if there is any.
std::optional<std::uint64_t> egress_of(const sync_options& options, std::optional<std::uint64_t> allowed) noexcept;

}  // namespace reprotect
