// Options that would change nothing are refused: whoever gives a key believes that it protects something.
#include "remote_options.hpp"

#include <boost/asio/ip/address.hpp>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace reprotect::tool {
namespace {

constexpr std::array tcp_options{"--key", "--cert", "--cert-key", "--ca", "--insecure-plaintext"};
constexpr std::array lane_options{"--connections"};
constexpr std::array session_options{"--retry",     "--max-egress", "--max-cost",     "--egress-from",
                                     "--egress-to", "--prices",     "--billed-before"};
constexpr std::array ssh_options{"--ssh", "--remote-tool"};

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::vector<std::string> split_at_spaces(const std::string& text) {
    std::istringstream words(text);
    std::vector<std::string> result;
    for (std::string word; words >> word;) result.push_back(word);
    return result;
}

// Which disk is a peer's; nothing where both are here.
std::optional<std::size_t> find_peer(const verb_row& row, const arguments& result) {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < result.disks.size(); ++i) {
        if (!names_peer(result.disks[i])) continue;
        if (found) {
            refuse_usage(fmt::format("{} and {} are both a peer's", result.disks[*found], result.disks[i]),
                         fmt::format("run {} on one of the two machines, where that disk has a path", row.name));
        }
        found = i;
    }
    return found;
}

template <std::size_t Count>
void refuse_given(const raw_line& line, const std::array<const char*, Count>& names, const std::string& why,
                  const std::string& hint) {
    for (const char* const name : names) {
        if (line.has(name)) refuse_usage(fmt::format("{} {}", name, why), hint);
    }
}

void read_tcp(const raw_line& line, const std::string& disk, arguments& result) {
    refuse_given(line, ssh_options, fmt::format("is for ssh://, and {} is reached without", disk), "leave it out");
    result.certificates = read_certificates(line);
    result.insecure_plaintext = line.has("--insecure-plaintext");
    result.remote.key_file = path_option(line, "--key");
    const bool key = line.has("--key");
    if ((key ? 1 : 0) + (result.certificates ? 1 : 0) + (result.insecure_plaintext ? 1 : 0) > 1) {
        refuse_usage(
            "--key, --cert and --insecure-plaintext are three ways to know the peer, or not to: give one of them",
            "the one that the server was started with");
    }
    if (key || result.certificates || result.insecure_plaintext) return;
    result.remote.key_file = environment("REPROTECT_KEY");
    if (!result.remote.key_file.empty()) return;
    refuse_usage(fmt::format("{} needs a key, for both sides to know each other", disk),
                 "make one with 'reprotect key new FILE', copy it to the other side, and give it with --key FILE here "
                 "and to 'reprotect serve'");
}

void read_ssh(const raw_line& line, const std::string& disk, arguments& result) {
    refuse_given(line, tcp_options, fmt::format("is for reprotect://; over {} ssh protects and vouches", disk),
                 "leave it out");
    refuse_given(line, lane_options, fmt::format("is for reprotect://; {} is reached by one ssh", disk),
                 "leave it out");
    const std::string usual = environment("REPROTECT_SSH");
    result.remote.ssh_command = split_at_spaces(line.has("--ssh") ? line.values.at("--ssh")
                                                : usual.empty()   ? "ssh"
                                                                  : usual);
    if (result.remote.ssh_command.empty())
        refuse_usage(fmt::format("{} holds no command", line.has("--ssh") ? "--ssh" : "REPROTECT_SSH"),
                     "as in --ssh 'ssh -4'");
    result.remote.tool = path_option(line, "--remote-tool");
}

// What is said of a disk that is elsewhere is for its own side to say.
void check_peer_disk(const verb_row& row, const arguments& result) {
    const auto refuse = [&](const char* option) {
        refuse_usage(fmt::format("{} is for a disk of this machine, and {} is a peer's", option,
                                 result.disks[*result.remote.disk]),
                     "leave it out: the peer looks for itself");
    };
    if (row.what == verb::checksum) {
        if (result.algorithm_given && result.options.algorithm == digest_algorithm::xxh3) {
            refuse_usage("a peer's disk is digested with sha256 alone: an xxh3 digest means nothing outside its run",
                         "leave --digest out");
        }
        return;
    }
    if (*result.remote.disk == 0 && !result.source_allocation.empty()) refuse("--source-allocation");
    if (*result.remote.disk == 1 && !result.target_allocation.empty()) refuse("--target-allocation");
    if (*result.remote.disk == 1 && !result.estimate.probe_write.empty() && !is_at_loopback(result.disks[1]))
        refuse_usage(fmt::format("--probe-write measures this machine, and {} is a peer's", result.disks[1]),
                     row.what == verb::estimate
                         ? "say how fast the peer writes, if you know, as in --target-write 200MB/s"
                         : "leave it out: how fast the peer writes is then assumed");
}

}  // namespace

void read_remote_options(const verb_row& row, const raw_line& line, arguments& result) {
    const bool estimates = row.what == verb::estimate;
    if (row.what != verb::sync && row.what != verb::diff && row.what != verb::checksum && !estimates) return;
    result.remote.disk = find_peer(row, result);
    if (!result.remote.disk) {
        const std::string why = "is for a disk of a peer, and none is named";
        const std::string hint = "a peer's disk is reprotect://HOST[:PORT]/NAME or ssh://[USER@]HOST[:PORT]/PATH";
        refuse_given(line, tcp_options, why, hint);
        refuse_given(line, ssh_options, why, hint);
        if (estimates) return;  // on paper connections are an input
        refuse_given(line, lane_options, why, hint);
        refuse_given(line, session_options, why, hint);
        return;
    }
    const std::string& disk = result.disks[*result.remote.disk];
    if (parse_remote_name(disk).how == remote_name::scheme::tcp) {
        read_tcp(line, disk, result);
    } else {
        read_ssh(line, disk, result);
    }
    check_peer_disk(row, result);
}

std::optional<certificate_files> read_certificates(const raw_line& line) {
    constexpr std::array names{"--cert", "--cert-key", "--ca"};
    std::string missing;
    std::string found;
    for (const char* const name : names) (line.has(name) ? found : missing) = name;
    if (found.empty()) return std::nullopt;
    if (!missing.empty()) {
        refuse_usage(fmt::format("{} is missing: --cert, --cert-key and --ca go together", missing),
                     "all three are PEM files; or use a key, which 'reprotect key new FILE' makes");
    }
    return certificate_files{path_option(line, "--cert"), path_option(line, "--cert-key"), path_option(line, "--ca")};
}

bool is_remote(const arguments& line, std::size_t disk) {
    return line.remote.disk == disk;
}

bool is_at_loopback(const std::string& remote) {
    const std::string host = parse_remote_name(remote).host;
    boost::system::error_code no_address;
    const auto address = boost::asio::ip::make_address(host, no_address);
    if (no_address) return host == "localhost";
    if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address.is_loopback();
    return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6()).is_loopback();
}

connect_options make_connect_options(const arguments& line) {
    connect_options how;
    const remote_arguments& remote = line.remote;
    if (!remote.key_file.empty())
        how.credentials =
            named_key{std::filesystem::path(remote.key_file).stem().string(), load_key_file(remote.key_file)};
    if (line.certificates) how.credentials = *line.certificates;
    how.insecure_plaintext = line.insecure_plaintext;
    if (!remote.ssh_command.empty()) how.ssh_command = remote.ssh_command;
    if (!remote.tool.empty()) how.ssh_remote_tool = remote.tool;
    how.limit = make_limit(line);
    how.connections = line.connections.value_or(0);
    how.retry.attempts = line.retries;
    return how;
}

std::shared_ptr<rate_limiter> make_limit(const arguments& line) {
    return line.limit ? make_rate_limiter(*line.limit) : nullptr;
}

}  // namespace reprotect::tool
