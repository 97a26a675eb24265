// The table of well-formed byte sequences is the Unicode Standard's (section 3.9, table 3-7).
#include "base/utf8.hpp"

#include <cstddef>

namespace reprotect {
namespace {

// The length of the well-formed sequence that the text begins with; 0 where there is none.
std::size_t sequence_length(std::string_view text) {
    const auto byte = [text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const auto follows = [&](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return follows(1, 0x80, 0xBF) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
        const unsigned high = first == 0xED ? 0x9F : 0xBF;
        return follows(1, low, high) && follows(2, 0x80, 0xBF) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const unsigned low = first == 0xF0 ? 0x90 : 0x80;
        const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
        return follows(1, low, high) && follows(2, 0x80, 0xBF) && follows(3, 0x80, 0xBF) ? 4 : 0;
    }
    return 0;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = sequence_length(text);
        if (length == 0)
            result += "\xEF\xBF\xBD";
        else
            result += text.substr(0, length);
        text.remove_prefix(length == 0 ? 1 : length);
    }
    return result;
}

std::string on_one_line(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    const std::string valid = valid_utf8(text);
    std::string result;
    for (std::size_t at = 0; at < valid.size(); ++at) {
        const auto byte = static_cast<unsigned char>(valid[at]);
        // U+0080 to U+009F are control characters, too: C2 and then the same byte.
        const bool second = byte == 0xc2 && at + 1 < valid.size() && static_cast<unsigned char>(valid[at + 1]) < 0xa0;
        if (byte >= 0x20 && byte != 0x7f && !second) {
            result += valid[at];
            continue;
        }
        const auto shown = second ? static_cast<unsigned char>(valid[++at]) : byte;
        result += {'\\', 'x', digits[shown >> 4], digits[shown & 15]};
    }
    return result;
}

}  // namespace reprotect
