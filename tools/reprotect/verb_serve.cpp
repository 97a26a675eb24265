// serve: keys and sockets are gathered, and the library serves until a signal or, with --once, the first session's end.
#include "reprotect/serve.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "log_view.hpp"
#include "remote_options.hpp"
#include "run.hpp"
#include "socket_activation.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

std::optional<server_credentials> load_credentials(const arguments& line) {
    if (line.certificates) return *line.certificates;
    if (line.serve.keys.empty()) return std::nullopt;
    std::vector<named_key> keys;
    for (const key_file& each : line.serve.keys) keys.push_back({each.name, load_key_file(each.path)});
    return keys;
}

server_options make_options(const arguments& line) {
    server_options options;
    options.listen = line.serve.listen;
    options.exports = line.serve.exports;
    options.credentials = load_credentials(line);
    options.insecure_plaintext = line.insecure_plaintext;
    options.allowed = line.serve.allowed;
    options.once = line.serve.once;
    options.direct = line.direct;
    options.options = line.options;
    options.limit = make_limit(line);
    if (line.connections) options.connections_max = *line.connections;
    return options;
}

struct wire_ends {
    int in = -1;
    int out = -1;
};

// Standard input and output become the wire under other numbers, and lead nowhere themselves: neither a report nor a
// program that is started from here can write a word into it.
wire_ends take_standard_descriptors() {
    const wire_ends ends{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1),
                         ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    const bool moved = ends.in >= 0 && ends.out >= 0 && nothing >= 0 && ::dup2(nothing, STDIN_FILENO) >= 0 &&
                       ::dup2(nothing, STDOUT_FILENO) >= 0;
    if (!moved) {
        throw system_error(error_kind::device_io, errno,
                           {.device = {}, .operation = "taking standard input and output", .holder = {}, .hint = {}});
    }
    ::close(nothing);
    return ends;
}

std::optional<error> serve_over_stdio(const server_options& options, server_listener& log, std::stop_token stop) {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO}) {
        if (::isatty(descriptor) != 1) continue;
        throw make_error(error_kind::usage, "--stdio, and standard input or output is a terminal",
                         {.device = {}, .hint = "it is for ssh to run: 'reprotect sync DISK ssh://HOST/PATH'"});
    }
    const wire_ends ends = take_standard_descriptors();
    return serve_stdio(options, log, ends.in, ends.out, std::move(stop));
}

std::optional<error> serve_on_sockets(server_options& options, server_listener& log, std::stop_token stop) {
    options.sockets = take_activated_sockets();
    if (options.listen.empty() && options.sockets.empty()) {
        throw make_error(
            error_kind::usage, "--listen is missing, and no socket was handed over",
            {.device = {}, .hint = "say where to listen: --listen 10.0.0.1:7722, or :7722 for all addresses"});
    }
    return serve(options, log, std::move(stop));
}

}  // namespace

outcome run_serve(const arguments& line, const surroundings& around) {
    server_options options = make_options(line);
    const auto records = open_records(line);
    options.records = records.get();
    around.signals.set_messages("stopping: sessions flush what they wrote; a second signal quits at once",
                                "quitting at once: targets of unfinished sessions stay on record as incomplete");
    const bool stdio = line.serve.stdio;
    log_view log(around.out, {.json = line.json, .problems_only = line.quiet || stdio, .addresses = !stdio});
    const std::optional<error> failed = stdio ? serve_over_stdio(options, log, around.signals.token())
                                              : serve_on_sockets(options, log, around.signals.token());
    if (!failed) return {};
    const failure shown = make_failure(*failed);
    // The far side of ssh shows what is said here, and says it once more itself.
    if (!stdio || !log.told_of_problem()) around.out.report(shown);
    return {shown.code, line.json ? json_object().raw("error", to_json(shown)).str() + "\n" : ""};
}

}  // namespace reprotect::tool
