// One decoder of UTF-8 serves both outputs: the terminal's shows what is not well formed byte by byte, JSON's replaces it.
#include "text.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <ctime>

namespace reprotect::tool {
namespace {

struct decoded {
    char32_t point = 0;
    std::size_t bytes = 1;  ///< consumed, also when not valid
    bool valid = false;
};

decoded decode(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {lead, 1, true};
    std::size_t length = 0;
    char32_t point = 0;
    char32_t smallest = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
        point = lead & 0x1F;
        smallest = 0x80;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        point = lead & 0x0F;
        smallest = 0x800;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        point = lead & 0x07;
        smallest = 0x10000;
    }
    if (length == 0 || text.size() < length) return {};
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return {};
        point = (point << 6) | (byte(i) & 0x3Fu);
    }
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    if (point < smallest || point > 0x10FFFF || surrogate) return {};
    return {point, length, true};
}

// Control characters, line separators, and the marks that turn the direction of writing.
bool steers_a_terminal(char32_t point) {
    return point < 0x20 || (point >= 0x7F && point <= 0x9F) || (point >= 0x200B && point <= 0x200F) ||
           (point >= 0x2028 && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069) || point == 0xFEFF;
}

void add_key(std::string& body, std::string_view key) {
    body += body.empty() ? "{" : ",";
    body += json_string(key);
    body += ':';
}

}  // namespace

std::string escape(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        const decoded next = decode(text);
        const std::string_view taken = text.substr(0, next.bytes);
        if (next.valid && !steers_a_terminal(next.point)) {
            result += taken;
        } else {
            for (const char c : taken) result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
        text.remove_prefix(next.bytes);
    }
    return result;
}

std::string json_string(std::string_view text) {
    std::string result = "\"";
    while (!text.empty()) {
        const decoded next = decode(text);
        if (!next.valid) {
            result += "\\ufffd";
        } else if (next.point == '"' || next.point == '\\') {
            result += '\\';
            result += static_cast<char>(next.point);
        } else if (steers_a_terminal(next.point)) {
            result += fmt::format("\\u{:04x}", static_cast<unsigned>(next.point));
        } else {
            result += text.substr(0, next.bytes);
        }
        text.remove_prefix(next.bytes);
    }
    return result + "\"";
}

json_object& json_object::raw(std::string_view key, std::string_view value) {
    add_key(body_, key);
    body_ += value;
    return *this;
}

json_object& json_object::text(std::string_view key, std::string_view value) {
    return raw(key, json_string(value));
}

json_object& json_object::number(std::string_view key, std::uint64_t value) {
    return raw(key, std::to_string(value));
}

json_object& json_object::number(std::string_view key, double value) {
    return std::isfinite(value) ? raw(key, fmt::format("{:.6g}", value)) : null(key);
}

json_object& json_object::boolean(std::string_view key, bool value) {
    return raw(key, value ? "true" : "false");
}

json_object& json_object::null(std::string_view key) {
    return raw(key, "null");
}

json_object& json_object::text_or_null(std::string_view key, std::string_view value) {
    return value.empty() ? null(key) : text(key, value);
}

json_object& json_object::number_or_null(std::string_view key, std::optional<std::uint64_t> value) {
    return value ? number(key, *value) : null(key);
}

json_array& json_array::add(std::string_view element) {
    body_ += body_.empty() ? "[" : ",";
    body_ += element;
    return *this;
}

}  // namespace reprotect::tool
