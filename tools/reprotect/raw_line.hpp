// A verb's words, parted into options and the rest, and the readers that make values of them. What is wrong with a
// value names its option.
#pragma once

#include "reprotect/error.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "option_table.hpp"

namespace reprotect::tool {

struct raw_line {
    std::map<std::string, std::string> values;                 ///< of each option that takes one and does not repeat
    std::map<std::string, std::vector<std::string>> repeated;  ///< of those that do
    std::map<std::string, bool> given;
    std::vector<std::string> words;  ///< what is no option: disks, for most verbs
    bool has(const std::string& name) const { return given.at(name); }
};

/// Throws `usage`. `words` is the line without the verb. Where --help was asked for, nothing else counts.
raw_line split_line(const verb_row& row, std::vector<std::string> words);

/// Starts with a dash and is more than one.
bool looks_like_option(const std::string& word);

/// What `read` makes of an option's value.
template <typename Read>
auto value_option(const raw_line& line, const std::string& name, Read read) {
    try {
        return read(line.values.at(name));
    } catch (const error& problem) {
        throw error(problem.kind(), fmt::format("{}: {}", name, problem.what()), problem.detail());
    }
}

struct count_range {
    unsigned low;
    unsigned high;
};

std::uint32_t size_option(const raw_line& line, const std::string& name, std::uint32_t otherwise);
unsigned count_option(const raw_line& line, const std::string& name, count_range range);
std::string word_option(const raw_line& line, const std::string& name, const std::vector<std::string>& words);
/// Empty where it was not given.
std::string path_option(const raw_line& line, const std::string& name);

}  // namespace reprotect::tool
