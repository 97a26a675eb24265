// An estimate as a person reads it, and what became of it.
#pragma once

#include "reprotect/estimate.hpp"
#include "reprotect/history.hpp"
#include "reprotect/sync.hpp"

#include <optional>
#include <string>

namespace reprotect::tool {

std::string estimate_text(const estimate& result);

/// Predicted beside actual: a line for each phase, the changed bytes, what crossed, and the money.
std::string against_text(const estimate& predicted, const sync_report& report, const std::optional<paid_amount>& paid);

/// The same as JSON: {"scan": {"predicted": {…}, "actual": …}, …}.
std::string against_json(const estimate& predicted, const sync_report& report, const std::optional<paid_amount>& paid);

}  // namespace reprotect::tool
