// Sizes, rates and names of algorithms as a user or a script types them.
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "fuzz/fuzzers.hpp"
#include "reprotect/digest.hpp"
#include "reprotect/error.hpp"
#include "reprotect/units.hpp"

namespace reprotect::fuzz {
namespace {

// What a parser makes of the text; nothing where it refuses it as it may.
template <typename Parse>
auto accepted(Parse parse) -> std::optional<decltype(parse())> {
    try {
        return parse();
    } catch (const error& why) {
        promise(why.kind() == error_kind::usage, "text is refused as the user's mistake");
        promise(why.what()[0] != '\0', "a refusal says why");
        return std::nullopt;
    }
}

}  // namespace

void units(input bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto size = accepted([&] { return parse_size(text); })) {
        promise(*size <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}, "no size is beyond 2^63 - 1");
        promise(parse_size(std::to_string(*size)) == *size, "a size in bytes is itself");
        promise(!format_size(*size).empty(), "a size can be shown");
    }
    if (const auto rate = accepted([&] { return parse_rate(text); })) {
        promise(std::isfinite(*rate) && *rate > 0, "a rate is a positive number");
        promise(!format_rate(*rate).empty(), "a rate can be shown");
    }
    accepted([&] { return parse_digest_algorithm(text); });
}

}  // namespace reprotect::fuzz
