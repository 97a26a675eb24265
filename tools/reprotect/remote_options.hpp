// How a peer is reached that has one of the disks: the options for it, and what the library takes.
#pragma once

#include "reprotect/connect.hpp"

#include <optional>

#include "raw_line.hpp"

namespace reprotect::tool {

/// Looks which disk is a peer's, and reads what is said of the way there. Throws `usage`.
void read_remote_options(const verb_row& row, const raw_line& line, arguments& result);

/// --cert, --cert-key and --ca: all three or none. Throws `usage`.
std::optional<certificate_files> read_certificates(const raw_line& line);

/// Whether the n-th disk is a peer's.
bool is_remote(const arguments& line, std::size_t disk);

/// Whether a peer's disk is at an address of this very machine, as its name tells.
bool is_at_loopback(const std::string& remote);

/// Reads the key's file. Throws what that is refused for.
connect_options make_connect_options(const arguments& line);

/// --limit; null for none.
std::shared_ptr<rate_limiter> make_limit(const arguments& line);

}  // namespace reprotect::tool
