// What the command line knows: every verb and every option, each with its help. The parser, the help and the
// suggestions are made from these two tables.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "arguments.hpp"

namespace reprotect::tool {

struct option_row {
    const char* names;  ///< for CLI11
    const char* value;  ///< what it takes, or null for a switch
    unsigned verbs;     ///< the bits of those that take it
    const char* help;
    bool repeats = false;  ///< every one counts; of the others the last one does
};

struct verb_row {
    verb what;
    const char* name;
    unsigned bit;
    std::size_t words;        ///< disks, for most
    std::size_t words_least;  ///< of them
    const char* usage;
    const char* summary;
    const char* examples;
};

std::span<const option_row> all_options();
const verb_row& row_of(verb value);

/// "sync", "diff", …
std::vector<std::string> verb_names();

/// Throws `usage` for a name that is none.
const verb_row& find_verb(const std::string& name);

/// "-o,--output" → "--output"
std::string long_name(const option_row& row);

/// "-o,--output" is named by "-o" and "--output".
bool is_named(const option_row& row, const std::string& word);

/// An option of any verb that takes a value.
bool takes_value(const std::string& word);

std::string general_help();
std::string verb_help(const verb_row& row);

[[noreturn]] void refuse_usage(const std::string& message, const std::string& hint = {});
/// What to say of an option that a verb does not have.
[[noreturn]] void refuse_unknown_option(const verb_row& row, const std::string& word);
std::string help_hint(const verb_row& row);

}  // namespace reprotect::tool
