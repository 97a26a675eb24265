// What `estimate` takes: a workload, put together from options, and where its bytes are billed.
#pragma once

#include "arguments.hpp"
#include "raw_line.hpp"

namespace reprotect::tool {

/// Fills `result.estimate`; what the verbs share has been read. Throws `usage`.
void read_estimate_line(const raw_line& line, arguments& result);

/// What of it a sync takes with --estimate-first. Throws `usage`.
void read_estimate_first(const raw_line& line, arguments& result);

}  // namespace reprotect::tool
