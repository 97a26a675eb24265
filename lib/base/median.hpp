// The middle of some measurements.
#pragma once

#include <algorithm>
#include <vector>

#include "base/assert.hpp"
#include "reprotect/spread.hpp"

namespace reprotect {

/// Of an even number the mean of the two in the middle. At least one.
inline double median(std::vector<double> values) {
    REPROTECT_ASSERT(!values.empty());
    std::ranges::sort(values);
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The least, the median and the most. At least one.
inline spread<double> spread_of(const std::vector<double>& values) {
    const double middle = median(values);
    const auto [least, most] = std::ranges::minmax_element(values);
    return {*least, middle, *most};
}

}  // namespace reprotect
