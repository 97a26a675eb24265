// A figure with its error bars as JSON.
#pragma once

#include <boost/json.hpp>

#include <string>

#include "reprotect/spread.hpp"

namespace reprotect {

/// {"low": …, "likely": …, "high": …}, each name with the suffix: "_s", "_bytes".
template <typename Number>
boost::json::object spread_json(const spread<Number>& value, const std::string& suffix = {}) {
    return {{"low" + suffix, value.low}, {"likely" + suffix, value.likely}, {"high" + suffix, value.high}};
}

}  // namespace reprotect
