// The command line as values. Everything that can be wrong with it is found here, before any disk is opened.
#pragma once

#include "reprotect/sync.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "progress_view.hpp"

namespace reprotect::tool {

enum class verb { sync, diff, checksum, map, bench };
const char* to_string(verb value) noexcept;

struct arguments {
    verb what = verb::sync;
    std::vector<std::string> disks;  ///< as many as the verb takes; none or one for bench
    sync_options options;            ///< what all verbs share stands here too
    std::string state_directory;     ///< empty: the default one
    std::string output;              ///< -o, empty: none
    std::string against;
    std::string within;
    std::string source_allocation;
    std::string target_allocation;
    progress_mode progress = progress_mode::none;
    bool json = false;
    bool quiet = false;
    bool yes = false;
    bool direct = false;
    bool extents = false;
    bool blocks = false;
    bool ignore_allocation = false;
    bool algorithm_given = false;
    bool block_bytes_given = false;
    bool chunk_bytes_given = false;
};

/// A command line parsed, or text that was asked for (--help, --version).
struct parsed_line {
    std::optional<arguments> run;
    std::string text;
};

/// Throws `error` (usage). `line` is argv without the program's name.
parsed_line parse_arguments(std::span<const std::string> line);

}  // namespace reprotect::tool
