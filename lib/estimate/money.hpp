// Sums of money while they are formed: 128 bits, so that bytes times a price never wraps before it is divided.
#pragma once

#include <optional>

#include "reprotect/prices.hpp"

namespace reprotect {

__extension__ using wide_integer = __int128;

/// numerator / denominator, half to even; nothing where money cannot hold it. `denominator` is above zero.
std::optional<money> divide_half_even(wide_integer numerator, wide_integer denominator) noexcept;

}  // namespace reprotect
