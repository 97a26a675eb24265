// Where a field of a JSON text stands. Boost.JSON says where syntax breaks, but its values forget their lines, and a
// person who mends a price book looks for a line. So a text that has parsed is walked once more for the path that is
// asked for.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace reprotect {

struct json_place {
    std::string path;  ///< "prices[3].tiers[1].up_to"; "" is the whole
    std::size_t line = 1;
};

/// Where the value of a path begins, or of the innermost value around it that is there: `path` is as it was asked
/// for. The text is valid JSON (strict, as Boost.JSON takes it by default).
json_place find_json_path(std::string_view text, std::string path);

/// The first field that stands twice in one object, at its second place. Keys are compared as they are written.
std::optional<json_place> find_repeated_field(std::string_view text);

/// The line, from 1, that an offset falls into.
std::size_t line_at(std::string_view text, std::size_t offset) noexcept;

}  // namespace reprotect
