// Lists are read in the order of what they refer to: exports and keys first, then the permissions that name both.
#include "serve_arguments.hpp"

#include "reprotect/connect.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <string_view>

#include "remote_options.hpp"

namespace reprotect::tool {
namespace {

constexpr std::size_t name_bytes_max = 255;  // specified: what a peer may say before it is known is short

const std::vector<std::string>& values_of(const raw_line& line, const std::string& name) {
    return line.repeated.at(name);
}

bool has_control_character(std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](char letter) { return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7F; });
}

void check_name(const std::string& name, const std::string& option, const std::string& forbidden) {
    if (name.empty() || name.size() > name_bytes_max)
        refuse_usage(fmt::format("{}: a name has 1 to {} bytes, not {}", option, name_bytes_max, name.size()));
    if (has_control_character(name) || name.find_first_of(forbidden) != std::string::npos)
        refuse_usage(fmt::format("{}: the name '{}' holds a control character or one of {}", option, name, forbidden));
}

server_export read_export(const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos)
        refuse_usage(fmt::format("--export takes NAME=DISK, not '{}'", text), "as in --export vm1=/dev/vg0/vm1,target");
    server_export result{text.substr(0, equals), text.substr(equals + 1), export_role::source};
    check_name(result.name, "--export", "/");
    // A disk's name may hold commas: only these two words after the last one are a role.
    constexpr std::array roles{std::pair{std::string_view(",source"), export_role::source},
                               std::pair{std::string_view(",target"), export_role::target}};
    for (const auto& [suffix, role] : roles) {
        if (!result.disk.ends_with(suffix)) continue;
        result.disk.resize(result.disk.size() - suffix.size());
        result.role = role;
        break;
    }
    if (result.disk.empty()) refuse_usage(fmt::format("--export {}: the disk's name is empty", result.name));
    if (names_peer(result.disk)) {
        refuse_usage(fmt::format("--export {}: {} is a peer's disk", result.name, result.disk),
                     "serve it on the machine that has it");
    }
    return result;
}

std::vector<server_export> read_exports(const raw_line& line) {
    std::vector<server_export> result;
    for (const std::string& text : values_of(line, "--export")) {
        server_export each = read_export(text);
        const auto same = [&](const server_export& other) { return other.name == each.name; };
        if (std::any_of(result.begin(), result.end(), same))
            refuse_usage(fmt::format("--export: two exports are named '{}'", each.name), "give each a name of its own");
        result.push_back(std::move(each));
    }
    return result;
}

// "NAME=FILE", or "FILE", also one that holds an equals sign after a slash.
key_file read_key(const std::string& text) {
    const std::size_t equals = text.find('=');
    const bool named = equals != std::string::npos && text.find('/') > equals;
    key_file result;
    result.path = named ? text.substr(equals + 1) : text;
    result.name = named ? text.substr(0, equals) : std::filesystem::path(text).stem().string();
    if (result.path.empty()) refuse_usage("--key takes FILE or NAME=FILE, and the file is missing");
    check_name(result.name, "--key " + result.path, "=");
    return result;
}

std::vector<key_file> read_keys(const raw_line& line) {
    std::vector<key_file> result;
    for (const std::string& text : values_of(line, "--key")) {
        key_file each = read_key(text);
        const auto same = [&](const key_file& other) { return other.name == each.name; };
        if (std::any_of(result.begin(), result.end(), same)) {
            refuse_usage(fmt::format("--key: two keys are named '{}'", each.name),
                         fmt::format("name one of them otherwise: --key OTHER={}", each.path));
        }
        result.push_back(std::move(each));
    }
    return result;
}

bool is_export(const serve_arguments& serve, const std::string& name) {
    return std::any_of(serve.exports.begin(), serve.exports.end(),
                       [&](const server_export& each) { return each.name == name; });
}

bool is_key(const serve_arguments& serve, const std::string& name) {
    return std::any_of(serve.keys.begin(), serve.keys.end(), [&](const key_file& each) { return each.name == name; });
}

void read_permission(const std::string& text, serve_arguments& serve) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
        refuse_usage(fmt::format("--allow takes KEY=EXPORT,..., not '{}'", text), "as in --allow laptop=vm1,vm2");
    const std::string who = text.substr(0, equals);
    if (!serve.keys.empty() && !is_key(serve, who)) {
        refuse_usage(fmt::format("--allow {}: no key is named '{}'", text, who),
                     "a key's name is its file's, less the extension, or what --key NAME=FILE says");
    }
    std::vector<std::string>& exports = serve.allowed[who];
    for (std::size_t begin = equals + 1; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        std::string name = text.substr(begin, end - begin);
        if (!is_export(serve, name))
            refuse_usage(fmt::format("--allow {}: no export is named '{}'", text, name),
                         "--export NAME=DISK makes one");
        if (std::find(exports.begin(), exports.end(), name) == exports.end()) exports.push_back(std::move(name));
        begin = end + 1;
    }
}

void read_permissions(const raw_line& line, serve_arguments& serve) {
    for (const std::string& text : values_of(line, "--allow")) read_permission(text, serve);
    if (serve.allowed.empty()) return;
    for (const key_file& key : serve.keys) {
        if (serve.allowed.contains(key.name)) continue;
        refuse_usage(
            fmt::format("no --allow names the key '{}': with the others' given, it could use nothing", key.name),
            fmt::format("say --allow {}=EXPORT, or leave its --key out", key.name));
    }
}

// What ssh has settled already, or what there is no socket for.
void check_stdio(const raw_line& line) {
    for (const std::string name :
         {"--listen", "--key", "--allow", "--cert", "--cert-key", "--ca", "--insecure-plaintext"}) {
        if (line.has(name)) {
            refuse_usage(fmt::format("--stdio and {} do not go together", name),
                         "who reaches standard input was let in by ssh, as this user, and may do what this user may");
        }
    }
}

void check_credentials(const raw_line& line, const arguments& result) {
    const int ways =
        (result.serve.keys.empty() ? 0 : 1) + (result.certificates ? 1 : 0) + (result.insecure_plaintext ? 1 : 0);
    if (ways > 1) {
        refuse_usage("--key, --cert and --insecure-plaintext are three ways to know peers, or not to: give one of them",
                     "run a second server for the others");
    }
    if (ways == 0) {
        refuse_usage("peers are known by a key or a certificate, and none is given",
                     "make a key with 'reprotect key new FILE', give it with --key FILE, and copy it to the peers");
    }
    if (result.insecure_plaintext && line.has("--allow"))
        refuse_usage("--allow needs names, and with --insecure-plaintext nobody has one",
                     "leave --allow out, or use --key");
}

}  // namespace

void read_serve_line(const raw_line& line, arguments& result) {
    serve_arguments& serve = result.serve;
    serve.once = line.has("--once");
    serve.stdio = line.has("--stdio");
    if (serve.stdio) check_stdio(line);
    serve.listen = values_of(line, "--listen");
    for (const std::string& address : serve.listen) {
        if (address.empty()) refuse_usage("--listen is empty: it takes ADDR:PORT", "as in --listen 10.0.0.1:7722");
    }
    serve.exports = read_exports(line);
    serve.keys = read_keys(line);
    result.certificates = read_certificates(line);
    result.insecure_plaintext = line.has("--insecure-plaintext");
    if (serve.stdio) return;
    if (serve.exports.empty())
        refuse_usage("--export is missing: there is nothing to serve", "as in --export vm1=/dev/vg0/vm1,target");
    check_credentials(line, result);
    read_permissions(line, serve);
}

void read_key_line(const raw_line& line, arguments& result) {
    const std::string action = line.words.empty() ? "" : line.words[0];
    if (action != "new" && action != "show") {
        refuse_usage(action.empty() ? "key takes new FILE or show FILE"
                                    : fmt::format("key takes new FILE or show FILE, not '{}'", action),
                     help_hint(row_of(verb::key)));
    }
    if (line.words.size() < 2 || line.words[1].empty())
        refuse_usage(fmt::format("FILE is missing: key takes {} FILE", action), help_hint(row_of(verb::key)));
    result.key = {action == "new" ? key_arguments::action::make : key_arguments::action::show, line.words[1]};
}

}  // namespace reprotect::tool
