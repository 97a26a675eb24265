// Text as the tool prints it: names escaped for a terminal, and JSON put together by hand, since the few documents that the
// library does not make itself (a map, a checksum, an early failure, a line of progress) are flat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace reprotect::tool {

/// Bytes that could steer a terminal (control characters, also those of Latin 1 and of writing direction) and bytes that are
/// no UTF-8 become \xNN. One line stays one line.
std::string escape(std::string_view text);

/// A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD, and what could steer a terminal \uNNNN.
std::string json_string(std::string_view text);

/// A JSON object in the making.
class json_object {
public:
    json_object& text(std::string_view key, std::string_view value);
    json_object& number(std::string_view key, std::uint64_t value);
    json_object& number(std::string_view key, double value);
    json_object& boolean(std::string_view key, bool value);
    json_object& null(std::string_view key);
    /// `value` is JSON already.
    json_object& raw(std::string_view key, std::string_view value);
    json_object& text_or_null(std::string_view key, std::string_view value);
    json_object& number_or_null(std::string_view key, std::optional<std::uint64_t> value);
    std::string str() const { return body_.empty() ? "{}" : body_ + "}"; }

private:
    std::string body_;
};

/// A JSON array in the making; its elements are JSON already.
class json_array {
public:
    json_array& add(std::string_view element);
    std::string str() const { return body_.empty() ? "[]" : body_ + "]"; }

private:
    std::string body_;
};

}  // namespace reprotect::tool
