// A server must not stand still because nobody reads its log: a line that finds no room is left out, and the next one
// that finds some is preceded by how many were.
#include "log_view.hpp"

#include <fmt/format.h>

#include <cstring>

#include "reprotect/units.hpp"
#include "standard_output.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

const char* level_name(server_event::severity level) {
    switch (level) {
        case server_event::severity::info:
            return "info";
        case server_event::severity::warning:
            return "warning";
        case server_event::severity::error:
            return "error";
    }
    return "error";
}

// Not isalnum: that knows more letters in other locales.
bool is_plain(char letter) {
    return (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
           std::string_view("._:/@+-").find(letter) != std::string_view::npos;
}

}  // namespace

std::string logfmt_value(std::string_view text) {
    bool plain = !text.empty();
    std::string quoted = "\"";
    for (const char letter : text) {
        plain = plain && is_plain(letter);
        if (letter == '"' || letter == '\\') {
            quoted += '\\';
            quoted += letter;
        } else if (letter >= 0x20 && letter < 0x7F) {
            quoted += letter;
        } else {
            quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(letter));
        }
    }
    return plain ? std::string(text) : quoted + '"';
}

std::string log_view::line_of(const server_event& what) const {
    const std::string time = utc_now();
    if (how_.json) {
        json_object line;
        line.text("time", time).text("level", level_name(what.level)).text("event", what.name);
        for (const auto& [name, value] : what.fields) line.text(name, value);
        return line.str();
    }
    std::string line = fmt::format("{} level={} event={}", time, level_name(what.level), logfmt_value(what.name));
    for (const auto& [name, value] : what.fields) line += fmt::format(" {}={}", name, logfmt_value(value));
    return line;
}

void log_view::on_event(const server_event& what) {
    // One of no consequence here is one that the peer was told of, and so its user.
    told_of_problem_ = told_of_problem_ || what.name == "refused";
    if (how_.problems_only && what.level == server_event::severity::info) return;
    if (lost_ != 0) {
        const server_event gap{server_event::severity::warning, "log-lines-lost", {{"count", std::to_string(lost_)}}};
        if (out_.line_unless_held_up(line_of(gap))) lost_ = 0;
    }
    if (!out_.line_unless_held_up(line_of(what))) {
        ++lost_;
    } else if (what.level != server_event::severity::info) {
        told_of_problem_ = true;
    }
}

void log_view::on_listening(const std::vector<std::string>& addresses) {
    if (!how_.addresses) return;
    std::string text;
    json_array list;
    for (const std::string& address : addresses) {
        text += fmt::format("listening on {}\n", escape(address));
        list.add(json_string(address));
    }
    if (how_.json) text = json_object().raw("listening", list.str()).str() + "\n";
    // Peers can be served without; whoever waits for the address learns at least why it does not come.
    if (const int problem = write_output(text); problem != 0) {
        on_event({server_event::severity::warning,
                  "warning",
                  {{"message", fmt::format("where it listens could not be written to standard output: {}",
                                           std::strerror(problem))}}});
    }
}

}  // namespace reprotect::tool
