// The names of peers' disks: URIs of two schemes, read strictly.
#include <charconv>

#include "reprotect/connect.hpp"

namespace reprotect {
namespace {

constexpr std::string_view tcp_prefix = "reprotect://";
constexpr std::string_view ssh_prefix = "ssh://";
constexpr const char* tcp_form = "reprotect://HOST[:PORT]/NAME";
constexpr const char* ssh_form = "ssh://[USER@]HOST[:PORT]/PATH";

[[noreturn]] void refuse(const std::string& name, const std::string& what, bool ssh) {
    throw error(
        error_kind::usage, name + ": " + what,
        {.device = name, .operation = "open", .hint = std::string("write it as ") + (ssh ? ssh_form : tcp_form)});
}

std::optional<unsigned> hex_value(char digit) {
    if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
    if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a' + 10);
    if (digit >= 'A' && digit <= 'F') return static_cast<unsigned>(digit - 'A' + 10);
    return std::nullopt;
}

std::optional<std::string> percent_decoded(std::string_view text) {
    std::string result;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            result += text[at];
            continue;
        }
        if (at + 2 >= text.size()) return std::nullopt;
        const auto high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
        if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
        result += static_cast<char>(*high * 16 + *low);
        at += 2;
    }
    return result;
}

}  // namespace

bool names_peer(const std::string& name) {
    return name.starts_with(tcp_prefix) || name.starts_with(ssh_prefix);
}

remote_name parse_remote_name(const std::string& name) {
    const bool ssh = name.starts_with(ssh_prefix);
    if (!names_peer(name)) refuse(name, "no name of a peer's disk", false);
    std::string_view rest = std::string_view(name).substr(ssh ? ssh_prefix.size() : tcp_prefix.size());
    remote_name result;
    result.how = ssh ? remote_name::scheme::ssh : remote_name::scheme::tcp;

    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos)
        refuse(name, ssh ? "the path is missing" : "the export's name is missing", ssh);
    std::string_view authority = rest.substr(0, slash);
    const auto path = percent_decoded(rest.substr(slash));
    if (!path) refuse(name, "a percent sign without two hexadecimal digits", ssh);
    // "/~/disk.img" is in the home folder, where ssh begins.
    result.disk = !ssh ? path->substr(1) : path->starts_with("/~/") ? path->substr(3) : *path;
    if (result.disk.empty() || result.disk == "/")
        refuse(name, ssh ? "the path is missing" : "the export's name is missing", ssh);
    if (!ssh && (result.disk.size() > 255 || result.disk.find('/') != std::string::npos))
        refuse(name, "an export's name has at most 255 bytes and no slash", ssh);
    if (ssh && result.disk.size() > 4096) refuse(name, "the path is longer than 4096 bytes", ssh);

    if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
        if (!ssh) refuse(name, "there are no users, only keys", ssh);
        result.user = authority.substr(0, at);
        authority.remove_prefix(at + 1);
        if (result.user.empty() || result.user.front() == '-')
            refuse(name, "the user's name is empty or begins with a dash", ssh);
    }
    std::string_view port;
    if (authority.starts_with('[')) {
        const std::size_t end = authority.find(']');
        if (end == std::string_view::npos) refuse(name, "the bracket is not closed", ssh);
        result.host = authority.substr(1, end - 1);
        authority.remove_prefix(end + 1);
        if (!authority.empty() && authority.front() != ':') refuse(name, "something follows the bracket", ssh);
        port = authority;
    } else {
        const std::size_t colon = authority.find(':');
        result.host = authority.substr(0, colon);
        if (colon != std::string_view::npos) port = authority.substr(colon);
        if (port.find(':', 1) != std::string_view::npos) refuse(name, "an IPv6 address goes in brackets", ssh);
    }
    // ssh would take a dash for an option.
    if (result.host.empty() || result.host.front() == '-')
        refuse(name, "the host is missing or begins with a dash", ssh);
    if (!port.empty()) {
        port.remove_prefix(1);
        const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), result.port);
        if (problem != std::errc{} || end != port.data() + port.size() || result.port == 0)
            refuse(name, "a port is a number from 1 to 65535", ssh);
    }
    return result;
}

}  // namespace reprotect
