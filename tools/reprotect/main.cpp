// reprotect: parse, call, print, exit code. Errors end here.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>
#include <vector>

#include "arguments.hpp"
#include "console.hpp"
#include "signals.hpp"
#include "standard_output.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::tool;

// A closed standard descriptor would be given to the first disk that is opened, and the report then be written into it.
void hold_standard_descriptors() {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(descriptor, F_GETFD) >= 0) continue;
        const int mode = descriptor == STDERR_FILENO ? O_RDWR : descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        const int opened = ::open("/dev/null", mode);  // the lowest free number, so this one
        if (opened != descriptor) ::_exit(exit_code(error_kind::device_io));
    }
}

// A result that could not be delivered must not look like success, nor like "no differences" or "differences".
int finish(const outcome& result, console& out) {
    const int problem = write_output(result.output);
    if (problem == 0) return result.code;
    failure shown;
    shown.code = result.code > 1 ? result.code : exit_code(error_kind::device_io);
    shown.kind = to_string(error_kind::device_io);
    shown.message = std::string("writing the result to standard output failed: ") + std::strerror(problem);
    if (result.code <= 1) shown.hint = "the run itself ended well; only its report was lost";
    out.report(shown);
    return shown.code;
}

// Nothing runs any more that a signal would have to stop.
int fail(const failure& cause, bool json, console& out) {
    quit_at_signals();
    out.report(cause);
    return finish({cause.code, json ? json_object().raw("error", to_json(cause)).str() + "\n" : ""}, out);
}

failure resources(const std::string& message) {
    return {exit_code(error_kind::device_io),
            "resources",
            message,
            {},
            {},
            {},
            {},
            "free some memory, threads or descriptors, or give a smaller --depth and --memory"};
}

outcome run(const arguments& line, const surroundings& around) {
    switch (line.what) {
        case verb::sync:
            return run_sync(line, around);
        case verb::diff:
            return run_diff(line, around);
        case verb::estimate:
            return run_estimate(line, around);
        case verb::checksum:
            return run_checksum(line, around);
        case verb::map:
            return run_map(line, around);
        case verb::bench:
            return run_bench(line, around);
        case verb::serve:
            return run_serve(line, around);
        case verb::key:
            return run_key(line);
    }
    return {};
}

std::terminate_handler usual_end = nullptr;  // says what was thrown

// Where memory is so short that not even the error can be told, on whichever thread, this ends it. The target's record is
// durable before the first write, so it says what there is to say.
[[noreturn]] void end_without_memory() {
    try {
        if (std::current_exception()) throw;
    } catch (const std::bad_alloc&) {
        static constexpr std::string_view text = "reprotect: out of memory, quitting at once\n";
        [[maybe_unused]] const ssize_t told = ::write(STDERR_FILENO, text.data(), text.size());
        ::_exit(exit_code(error_kind::device_io));
    } catch (...) {
        usual_end();
    }
    std::abort();
}

int run_line(const std::vector<std::string>& words, console& out) {
    // Should the line not parse, its --json still says how the failure is to be told.
    bool json = std::find(words.begin(), words.end(), "--json") != words.end();
    try {
        const parsed_line parsed = parse_arguments(words);
        if (!parsed.run) {
            quit_at_signals();
            return finish({0, parsed.text}, out);
        }
        json = parsed.run->json;
        // A server's log is of one kind throughout.
        if (parsed.run->progress == progress_mode::json || (json && parsed.run->what == verb::serve))
            out.use_json_lines();
        signal_watcher signals(out);
        return finish(run(*parsed.run, {out, signals}), out);
    } catch (const error& problem) {
        return fail(make_failure(problem), json, out);
    } catch (const std::bad_alloc&) {
        return fail(resources("out of memory"), json, out);
    } catch (const std::system_error& problem) {
        return fail(resources(problem.what()), json, out);
    }
}

}  // namespace

int main(int count, char** words) {
    hold_standard_descriptors();
    usual_end = std::set_terminate(end_without_memory);
    block_watched_signals();
    console out;
    return run_line({words + (count > 0 ? 1 : 0), words + count}, out);
}
