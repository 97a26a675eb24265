// key: make a pre-shared key, or tell which one a file holds. The key itself is never printed.
#include "reprotect/key.hpp"

#include <fmt/format.h>

#include "text.hpp"
#include "verbs.hpp"

namespace reprotect::tool {

outcome run_key(const arguments& line) {
    const std::string& file = line.key.file;
    const bool make = line.key.what == key_arguments::action::make;
    const std::string id = key_id(make ? create_key_file(file) : load_key_file(file));
    if (line.json) return {0, json_object().text("file", file).text("key", id).str() + "\n"};
    if (!make) return {0, id + "\n"};
    return {0, line.quiet ? "" : fmt::format("{}: key {}\n", escape(file), id)};
}

}  // namespace reprotect::tool
