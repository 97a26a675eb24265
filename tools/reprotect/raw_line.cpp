// CLI11 finds the options in the line, and what it leaves are the other words (registered as a list they would be read
// as one: CLI11 takes "[a,b]" for two). Sizes, words and counts are then read here.
#include "raw_line.hpp"

#include "reprotect/units.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

namespace reprotect::tool {
namespace {

// CLI11 reads "--reverse=no" in ways of its own, and most of them switch it on.
void refuse_switch_with_value(const verb_row& row, const std::vector<std::string>& words) {
    for (std::size_t at = 0; at < words.size(); at += takes_value(words[at]) ? 2 : 1) {
        const std::size_t equals = words[at].find('=');
        if (!looks_like_option(words[at]) || equals == std::string::npos) continue;
        const std::string name = words[at].substr(0, equals);
        for (const option_row& option : all_options()) {
            if (option.value == nullptr && (option.verbs & row.bit) != 0 && is_named(option, name))
                refuse_usage(fmt::format("{} takes no value", name), "leave it out where it is not meant");
        }
    }
}

// An option that repeats is given to CLI11 as a function, since a list it would also fill with the words that follow.
CLI::callback_t into(std::vector<std::string>& values) {
    return [&values](const CLI::results_t& found) {
        values = found;
        return true;
    };
}

[[noreturn]] void refuse_word(const verb_row& row, const std::string& word) {
    if (row.words == 0)
        refuse_usage(fmt::format("'{}' is no option, and {} takes options alone", word, row.name),
                     (row.what == verb::serve ? "name the disks with --export NAME=DISK; " : "") + help_hint(row));
    refuse_usage(fmt::format("'{}' is one {} too many: {} takes {}", word, row.what == verb::key ? "word" : "disk",
                             row.name, row.usage),
                 help_hint(row));
}

}  // namespace

bool looks_like_option(const std::string& word) {
    return word.size() > 1 && word[0] == '-';
}

raw_line split_line(const verb_row& row, std::vector<std::string> words) {
    CLI::App parser;
    parser.set_help_flag();
    parser.allow_extras();
    raw_line line;
    std::map<std::string, CLI::Option*> options;
    for (const option_row& option : all_options()) {
        const std::string name = long_name(option);
        line.given[name] = false;
        if ((option.verbs & row.bit) == 0) continue;
        options[name] = option.value == nullptr ? parser.add_flag(option.names)
                        : option.repeats        ? parser.add_option(option.names, into(line.repeated[name]))
                                                : parser.add_option(option.names, line.values[name]);
        if (option.repeats) {
            options[name]->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        } else {
            options[name]->take_last();
        }
        if (option.value != nullptr) options[name]->type_name(option.value);
    }
    // After "--" no word is an option, even if it starts with a dash.
    const auto dashes = std::find(words.begin(), words.end(), "--");
    const std::vector<std::string> plain(dashes == words.end() ? dashes : dashes + 1, words.end());
    words.erase(dashes, words.end());
    refuse_switch_with_value(row, words);
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    try {
        parser.parse(std::move(words));
    } catch (const CLI::ArgumentMismatch& problem) {
        const std::string text = problem.what();
        refuse_usage(fmt::format("{} needs a value", text.substr(0, text.find(':'))), help_hint(row));
    } catch (const CLI::ParseError& problem) {
        refuse_usage(problem.what(), help_hint(row));
    }
    for (const auto& [name, option] : options) line.given[name] = option->count() > 0;
    if (line.has("--help")) return line;
    for (const std::string& word : parser.remaining()) {
        if (looks_like_option(word)) refuse_unknown_option(row, word);
        line.words.push_back(word);
    }
    line.words.insert(line.words.end(), plain.begin(), plain.end());
    if (line.words.size() > row.words) refuse_word(row, line.words[row.words]);
    return line;
}

std::uint32_t size_option(const raw_line& line, const std::string& name, std::uint32_t otherwise) {
    if (!line.has(name)) return otherwise;
    const std::uint64_t bytes = value_option(line, name, parse_size);
    if (bytes > std::numeric_limits<std::uint32_t>::max())
        refuse_usage(fmt::format("{} {} is too large", name, line.values.at(name)));
    return static_cast<std::uint32_t>(bytes);
}

unsigned count_option(const raw_line& line, const std::string& name, count_range range) {
    const std::string& text = line.values.at(name);
    unsigned count = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
    const bool number = problem == std::errc{} && end == text.data() + text.size();
    if (!number || count < range.low || count > range.high)
        refuse_usage(fmt::format("{} takes a number from {} to {}, not '{}'", name, range.low, range.high, text));
    return count;
}

std::string word_option(const raw_line& line, const std::string& name, const std::vector<std::string>& words) {
    const std::string& text = line.values.at(name);
    if (std::find(words.begin(), words.end(), text) == words.end())
        refuse_usage(fmt::format("{} takes {}, not '{}'", name, fmt::join(words, " or "), text));
    return text;
}

std::string path_option(const raw_line& line, const std::string& name) {
    if (!line.has(name)) return {};
    if (line.values.at(name).empty()) refuse_usage(fmt::format("{} is empty: it takes a path", name));
    return line.values.at(name);
}

}  // namespace reprotect::tool
