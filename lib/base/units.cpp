// Sizes, rates and durations to and from text.
//
// A size is exact: its number is kept as decimal digits, and the unit's factor is applied to the digits, one doubling
// (powers of 1024) or one shift of the point (powers of 1000) at a time, with what crosses the point carried into the
// integer. What is then left behind the point is a fraction of a byte. No floating point is involved, so 1.5GiB is
// exact and 0.3KiB is refused.
#include "reprotect/units.hpp"

#include "reprotect/error.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <limits>
#include <optional>
#include <system_error>

namespace reprotect {
namespace {

constexpr std::uint64_t size_max = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t quoted_max = 64;  // guessed: a message stays one line

// One unit of a size. The factor is 2^doublings or 10^shifts.
struct unit {
    std::string_view name;
    int doublings;
    int shifts;
};

// "KB" is taken for "kB", since both mean 1000 wherever KiB is written too.
constexpr unit size_units[] = {
    {"", 0, 0},     {"B", 0, 0},    {"KiB", 10, 0}, {"MiB", 20, 0}, {"GiB", 30, 0},
    {"TiB", 40, 0}, {"PiB", 50, 0}, {"EiB", 60, 0}, {"kB", 0, 3},   {"KB", 0, 3},
    {"MB", 0, 6},   {"GB", 0, 9},   {"TB", 0, 12},  {"PB", 0, 15},  {"EB", 0, 18},
};

constexpr unit bit_units[] = {
    {"bit", 0, 0}, {"kbit", 0, 3}, {"Mbit", 0, 6}, {"Gbit", 0, 9}, {"Tbit", 0, 12},
};

// A number as written, cut at its point, and what follows it.
struct written {
    std::string whole;
    std::string fraction;
    std::string_view unit;
};

std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char letter : text.substr(0, quoted_max)) result += letter >= 0x20 && letter < 0x7f ? letter : '?';
    return result + (text.size() > quoted_max ? "...\"" : "\"");
}

[[noreturn]] void refuse(std::string_view text, const std::string& what, const std::string& why,
                         const std::string& hint) {
    throw error(error_kind::usage, quoted(text) + " is no " + what + ": " + why,
                {.operation = "parse a " + what, .hint = hint});
}

constexpr bool is_digit(char letter) {
    return letter >= '0' && letter <= '9';
}

std::optional<written> split(std::string_view text) {
    const auto digits_end = [&](std::size_t from) {
        while (from < text.size() && is_digit(text[from])) ++from;
        return from;
    };
    const std::size_t whole_end = digits_end(0);
    if (whole_end == 0) return std::nullopt;
    written result{std::string(text.substr(0, whole_end)), {}, text.substr(whole_end)};
    if (whole_end < text.size() && text[whole_end] == '.') {
        const std::size_t fraction_end = digits_end(whole_end + 1);
        if (fraction_end == whole_end + 1) return std::nullopt;
        result.fraction = text.substr(whole_end + 1, fraction_end - whole_end - 1);
        result.unit = text.substr(fraction_end);
    }
    return result;
}

template <std::size_t Count>
const unit* find_unit(const unit (&units)[Count], std::string_view name) {
    const auto* const at =
        std::find_if(std::begin(units), std::end(units), [&](const unit& one) { return one.name == name; });
    return at == std::end(units) ? nullptr : at;
}

// The letter of a bare K, M, G, T, P or E (in either case) as the two units that it could mean, else empty.
std::optional<char> bare_letter(std::string_view name) {
    if (name.size() != 1) return std::nullopt;
    switch (name[0]) {
        case 'k':
        case 'K':
            return 'K';
        case 'm':
        case 'M':
            return 'M';
        case 'g':
        case 'G':
            return 'G';
        case 't':
        case 'T':
            return 'T';
        case 'p':
        case 'P':
            return 'P';
        case 'e':
        case 'E':
            return 'E';
        default:
            return std::nullopt;
    }
}

std::string binary_name(char letter) {
    return std::string(1, letter) + "iB";
}
std::string decimal_name(char letter) {
    return std::string(1, letter == 'K' ? 'k' : letter) + "B";
}

// value * 10 + digit within `size_max`.
bool push_digit(std::uint64_t& value, unsigned digit) {
    if (value > (size_max - digit) / 10) return false;
    value = value * 10 + digit;
    return true;
}

// Doubles a fraction in decimal digits; returns what crosses the point.
unsigned double_fraction(std::string& fraction) {
    unsigned carry = 0;
    for (auto digit = fraction.rbegin(); digit != fraction.rend(); ++digit) {
        const unsigned doubled = static_cast<unsigned>(*digit - '0') * 2 + carry;
        *digit = static_cast<char>('0' + doubled % 10);
        carry = doubled / 10;
    }
    return carry;
}

// The number times the unit's factor; the fraction that is left stays in `number`. None above `size_max`.
std::optional<std::uint64_t> multiply(written& number, const unit& by) {
    std::uint64_t value = 0;
    for (const char digit : number.whole)
        if (!push_digit(value, static_cast<unsigned>(digit - '0'))) return std::nullopt;
    for (int i = 0; i < by.doublings; ++i) {
        const unsigned carry = double_fraction(number.fraction);
        if (value > (size_max - carry) / 2) return std::nullopt;
        value = value * 2 + carry;
    }
    const auto shifts = static_cast<std::size_t>(by.shifts);
    for (std::size_t i = 0; i < shifts; ++i) {
        const unsigned digit = i < number.fraction.size() ? static_cast<unsigned>(number.fraction[i] - '0') : 0;
        if (!push_digit(value, digit)) return std::nullopt;
    }
    number.fraction.erase(0, std::min(number.fraction.size(), shifts));
    return value;
}

std::string with_decimals(double value, int decimals, const char* name) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f %s", decimals, value, name);
    return text;
}

// Three significant digits; none where rounding gives `limit` or more, so that the next unit is to be used.
std::optional<std::string> three_digits(double value, double limit, const char* name) {
    if (std::round(value * 100) < 1000) return with_decimals(value, 2, name);
    if (std::round(value * 10) < 1000) return with_decimals(value, 1, name);
    if (std::round(value) < limit) return with_decimals(value, 0, name);
    return std::nullopt;
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
    static const std::string examples = "write a size such as 4096, 64KiB, 1.5GiB or 45GB, without spaces or signs";
    std::optional<written> number = split(text);
    if (!number) refuse(text, "size", text.empty() ? "it is empty" : "it does not start with a number", examples);
    const std::string digits = number->whole + (number->fraction.empty() ? "" : "." + number->fraction);
    if (const auto letter = bare_letter(number->unit))
        refuse(text, "size", "a bare " + std::string(number->unit) + " could mean powers of 1024 or of 1000",
               "write " + digits + binary_name(*letter) + " or " + digits + decimal_name(*letter));
    const unit* const by = find_unit(size_units, number->unit);
    if (by == nullptr) refuse(text, "size", "there is no unit " + quoted(number->unit), examples);
    const std::optional<std::uint64_t> bytes = multiply(*number, *by);
    if (!bytes) refuse(text, "size", "it is more than 2^63-1 bytes", "give a smaller size");
    if (number->fraction.find_first_not_of('0') != std::string::npos)
        refuse(text, "size", "it has a fraction of a byte", "give a whole number of bytes");
    return *bytes;
}

double parse_rate(std::string_view text) {
    static const std::string examples = "write a rate such as 45MB/s, 60MiB/s or 100Mbit/s, without spaces or signs";
    const std::optional<written> number = split(text);
    if (!number) refuse(text, "rate", text.empty() ? "it is empty" : "it does not start with a number", examples);
    const std::string digits = number->whole + (number->fraction.empty() ? "" : "." + number->fraction);

    std::string_view name = number->unit;
    const bool each_second = name.ends_with("/s");
    if (each_second) name.remove_suffix(2);
    if (const auto letter = bare_letter(name))
        refuse(text, "rate", "a bare " + std::string(name) + " could mean powers of 1024 or of 1000",
               "write " + digits + binary_name(*letter) + "/s or " + digits + decimal_name(*letter) + "/s");
    const unit* const bytes = name.empty() ? nullptr : find_unit(size_units, name);
    const unit* const bits = find_unit(bit_units, name);
    if (!each_second)
        refuse(text, "rate", "it does not say that it is for each second",
               bytes != nullptr || bits != nullptr ? "write " + std::string(text) + "/s" : examples);
    if (bytes == nullptr && bits == nullptr) refuse(text, "rate", "there is no unit " + quoted(number->unit), examples);

    double value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const unit& by = bytes != nullptr ? *bytes : *bits;
    const double rate = std::ldexp(value, by.doublings) * std::pow(10, by.shifts) / (bits != nullptr ? 8 : 1);
    if (parsed.ec != std::errc{} || rate > static_cast<double>(size_max))
        refuse(text, "rate", "it is out of range", "give a rate below 2^63 bytes a second");
    if (!(rate > 0)) refuse(text, "rate", "it is zero", "give a rate above zero, such as 45MB/s");
    return rate;
}

std::string format_size(std::uint64_t bytes) {
    static constexpr const char* names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return std::to_string(bytes) + " B";
    double value = static_cast<double>(bytes);
    for (const char* name : names) {
        value /= 1024;
        if (const auto text = three_digits(value, 1024, name)) return *text;
    }
    return with_decimals(value, 0, names[std::size(names) - 1]);
}

std::string format_rate(double bytes_per_second) {
    static constexpr const char* names[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
    if (!std::isfinite(bytes_per_second) || bytes_per_second < 0) return "unknown";
    if (bytes_per_second == 0) return "0 B/s";
    double value = bytes_per_second;
    for (const char* name : names) {
        if (const auto text = three_digits(value, 1000, name)) return *text;
        value /= 1000;
    }
    return with_decimals(value * 1000, 0, names[std::size(names) - 1]);
}

std::string format_duration(double seconds) {
    // Above 10^15 a double holds no seconds any more, and no one waits 30 million years.
    if (!(seconds >= 0 && seconds < 1e15)) return "unknown";
    if (std::round(seconds * 100) < 100) return with_decimals(seconds, 2, "s");
    if (std::round(seconds * 10) < 100) return with_decimals(seconds, 1, "s");
    const auto whole = static_cast<std::uint64_t>(std::round(seconds));
    char text[64];
    if (whole < 60)
        std::snprintf(text, sizeof text, "%u s", static_cast<unsigned>(whole));
    else if (whole < 3600)
        std::snprintf(text, sizeof text, "%u min %02u s", static_cast<unsigned>(whole / 60),
                      static_cast<unsigned>(whole % 60));
    else
        std::snprintf(text, sizeof text, "%llu h %02u min", static_cast<unsigned long long>(whole / 3600),
                      static_cast<unsigned>(whole % 3600 / 60));
    return text;
}

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

}  // namespace reprotect
