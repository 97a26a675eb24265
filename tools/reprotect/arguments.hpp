// The command line as values. Everything that can be wrong with it is found here, before any disk is opened.
#pragma once

#include "reprotect/cost.hpp"
#include "reprotect/credentials.hpp"
#include "reprotect/estimate.hpp"
#include "reprotect/probe.hpp"
#include "reprotect/serve.hpp"
#include "reprotect/sync.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "progress_view.hpp"

namespace reprotect::tool {

enum class verb { sync, diff, estimate, checksum, map, bench, serve, key };
const char* to_string(verb value) noexcept;

/// How the peer is reached that has one of the disks.
struct remote_arguments {
    std::optional<std::size_t> disk;  ///< which of the disks that is
    std::string key_file;             ///< empty: certificates, plain text or ssh
    std::vector<std::string> ssh_command;
    std::string tool;  ///< over there; empty: the usual name
};

struct key_file {
    std::string name;  ///< for logs and permissions
    std::string path;
};

/// What `serve` alone takes.
struct serve_arguments {
    std::vector<std::string> listen;
    std::vector<server_export> exports;
    std::vector<key_file> keys;
    std::map<std::string, std::vector<std::string>> allowed;
    bool once = false;
    bool stdio = false;
};

/// What `key` takes.
struct key_arguments {
    enum class action { make, show };
    action what = action::make;
    std::string file;
};

/// What `estimate` takes.
struct estimate_arguments {
    std::string model = "pipeline";
    workload what;
    probe_options probing;  ///< where disks are named
    std::string across;     ///< of two disks that are both here, what says that a link shall lie between them; or empty
    std::string probe_write;  ///< a scratch file's path; empty: writing is not measured
    std::string price_file;   ///< empty: the shipped book
    std::string egress_from;
    std::string egress_to;
    billed_before before;
    bool list_prices = false;
    bool first = false;        ///< a sync is to begin with a look
    std::string history_file;  ///< empty: none
};

struct arguments {
    verb what = verb::sync;
    std::vector<std::string> disks;  ///< as many as the verb takes; none or one for bench, none for serve and key
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
    std::optional<std::uint64_t> limit;  ///< bytes a second
    std::optional<written_amount> max_cost;
    std::optional<unsigned> connections;
    unsigned retries = 0;
    std::optional<certificate_files> certificates;
    bool insecure_plaintext = false;
    remote_arguments remote;
    estimate_arguments estimate;
    serve_arguments serve;
    key_arguments key;
};

/// A command line parsed, or text that was asked for (--help, --version).
struct parsed_line {
    std::optional<arguments> run;
    std::string text;
};

/// Throws `error` (usage). `line` is argv without the program's name; what it leaves open, REPROTECT_KEY and
/// REPROTECT_SSH say.
parsed_line parse_arguments(std::span<const std::string> line);

}  // namespace reprotect::tool
