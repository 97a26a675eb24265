// A figure that is not known for certain.
#pragma once

namespace reprotect {

/// A figure with its error bars, low <= likely <= high.
template <typename Number>
struct spread {
    Number low{};
    Number likely{};
    Number high{};
    friend bool operator==(const spread&, const spread&) = default;
};

/// A figure that is known.
template <typename Number>
constexpr spread<Number> exactly(Number value) {
    return {value, value, value};
}

}  // namespace reprotect
