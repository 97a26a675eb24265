// The server's events on standard error, a line each: logfmt for people and their tools, or JSON. What a peer sent
// stands in them, so nothing in a value may end a line, look like another field, or steer a terminal.
#pragma once

#include "reprotect/serve.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "console.hpp"

namespace reprotect::tool {

/// As it stands where it is made of letters, digits and ._:/@+- alone; else in quotes, with all but printable ASCII as
/// \xNN.
std::string logfmt_value(std::string_view text);

/// For the one thread that `serve` calls it from.
class log_view final : public server_listener {
public:
    struct style {
        bool json = false;
        bool problems_only = false;  ///< warnings and errors
        bool addresses = true;       ///< printed on standard output; not where that is the wire
    };
    log_view(console& out, style how) : out_(out), how_(how) {}

    void on_event(const server_event& what) override;
    void on_listening(const std::vector<std::string>& addresses) override;

    /// Whether a warning or an error was shown, or the peer was told of a refusal.
    bool told_of_problem() const noexcept { return told_of_problem_; }

private:
    std::string line_of(const server_event& what) const;

    console& out_;
    const style how_;
    std::uint64_t lost_ = 0;
    bool told_of_problem_ = false;
};

}  // namespace reprotect::tool
