// What a side says of itself to a peer that knows its disk by an export's name alone: no path, nobody else's process.
#pragma once

#include <string>

#include "reprotect/error.hpp"

namespace reprotect {

/// The disk's name, and what peers may know it as. Without an alias the peer named the disk itself, and may hear all.
struct known_as {
    std::string disk;
    std::string alias;
    std::string far = {};  ///< the peer's own disk: it knows that name
};

/// The text with the disk's name replaced; and where it still tells of paths or processes, a sentence that sends the reader to
/// the log of this side.
std::string discreet(const std::string& text, const known_as& names);

/// The same of a failure: its kind, place and message, no hint or holder that tells more.
error discreet(const error& why, const known_as& names);

}  // namespace reprotect
