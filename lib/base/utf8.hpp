// Names of files and devices are bytes; JSON is UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace reprotect {

/// The text with everything that is not valid UTF-8 (overlong forms and surrogates too) replaced by U+FFFD, a byte at a time.
std::string valid_utf8(std::string_view text);

/// What somebody else sent, fit for a message: valid UTF-8 on one line, with control characters as \xNN.
std::string on_one_line(std::string_view text);

}  // namespace reprotect
