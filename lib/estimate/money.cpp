// Exact decimal money: a count of billionths. Text goes to digits and back, never through floating point, and a
// division rounds once, half to even, so that sums do not lean to one side.
#include "estimate/money.hpp"

#include <limits>

#include "base/utf8.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr std::int64_t billion = 1'000'000'000;
constexpr std::size_t digits_behind_point_max = 9;
constexpr std::size_t quoted_max = 64;  // guessed: a message stays one line

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
    throw error(error_kind::usage, "\"" + on_one_line(text.substr(0, quoted_max)) + "\" is no amount of money: " + why,
                {.operation = "parse an amount of money",
                 .hint = "write digits with a point, such as 12 or 0.02, without a currency or a thousands separator"});
}

bool is_digit(char letter) {
    return letter >= '0' && letter <= '9';
}

// Billionths as digits with a point and `kept` digits behind it.
std::string with_point(std::uint64_t count, std::uint64_t scale, std::size_t kept) {
    std::string behind = std::to_string(count % scale);
    behind.insert(0, kept - behind.size(), '0');
    return std::to_string(count / scale) + "." + behind;
}

// Without the sign: the magnitude of the least value does not fit into its own type.
std::uint64_t magnitude(std::int64_t value) {
    return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

}  // namespace

money money::parse(std::string_view text) {
    std::string_view rest = text;
    const bool negative = rest.starts_with('-');
    if (negative) rest.remove_prefix(1);
    wide_integer value = 0;
    std::size_t digits = 0, behind = 0;
    bool point = false;
    for (const char letter : rest) {
        if (letter == '.' && !point && digits != 0) {
            point = true;
            continue;
        }
        if (!is_digit(letter)) refuse(text, "it is not a decimal number");
        if (point && ++behind > digits_behind_point_max) refuse(text, "it has more than nine digits behind the point");
        ++digits;
        value = value * 10 + (letter - '0');
        if (value > std::numeric_limits<std::int64_t>::max()) refuse(text, "it is out of range");
    }
    if (digits == 0) refuse(text, text.empty() ? "it is empty" : "it is not a decimal number");
    if (point && behind == 0) refuse(text, "nothing stands behind the point");
    for (std::size_t i = behind; i < digits_behind_point_max; ++i) value *= 10;
    if (value > std::numeric_limits<std::int64_t>::max()) refuse(text, "it is out of range");
    const auto count = static_cast<std::int64_t>(value);
    return from_billionths(negative ? -count : count);
}

money operator+(money left, money right) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(left.billionths_, right.billionths_, &sum))
        throw error(error_kind::usage,
                    "the sum of " + to_string(left) + " and " + to_string(right) + " is out of range",
                    {.operation = "add money", .hint = "check the prices and the sizes"});
    return money::from_billionths(sum);
}

std::string to_string(money amount) {
    const std::uint64_t count = magnitude(amount.billionths());
    std::string text = with_point(count, billion, digits_behind_point_max);
    while (text.back() == '0' && text[text.size() - 3] != '.') text.pop_back();
    return (amount.billionths() < 0 ? "-" : "") + text;
}

std::string format_money(money amount) {
    constexpr std::int64_t hundredth = billion / 100;
    // Always fits: the result is smaller than what is divided.
    const std::int64_t rounded = divide_half_even(amount.billionths(), hundredth)->billionths();
    if (rounded == 0 && amount.billionths() != 0) return amount.billionths() < 0 ? "> -0.01" : "< 0.01";
    return (rounded < 0 ? "-" : "") + with_point(magnitude(rounded), 100, 2);
}

std::optional<money> divide_half_even(wide_integer numerator, wide_integer denominator) noexcept {
    wide_integer quotient = numerator / denominator;
    const wide_integer rest = numerator % denominator;
    const wide_integer left = rest < 0 ? -rest : rest;
    if (left > denominator - left || (left == denominator - left && quotient % 2 != 0))
        quotient += numerator < 0 ? -1 : 1;
    if (quotient > std::numeric_limits<std::int64_t>::max() || quotient < std::numeric_limits<std::int64_t>::min())
        return std::nullopt;
    return money::from_billionths(static_cast<std::int64_t>(quotient));
}

}  // namespace reprotect
