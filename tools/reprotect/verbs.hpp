// The verbs: each opens what it needs, makes one call into the library and turns the result into text and an exit code.
#pragma once

#include <string>

#include "arguments.hpp"
#include "console.hpp"
#include "signals.hpp"

namespace reprotect::tool {

/// What a run comes to. `output` goes to standard output as it is.
struct outcome {
    int code = 0;
    std::string output;
};

struct surroundings {
    console& out;
    signal_watcher& signals;
};

outcome run_sync(const arguments& line, const surroundings& around);
outcome run_diff(const arguments& line, const surroundings& around);
outcome run_estimate(const arguments& line, const surroundings& around);
outcome run_checksum(const arguments& line, const surroundings& around);
outcome run_map(const arguments& line, const surroundings& around);
outcome run_bench(const arguments& line, const surroundings& around);
outcome run_serve(const arguments& line, const surroundings& around);
outcome run_key(const arguments& line);

/// A disk as a question shows it.
struct shown_disk {
    std::string name;
    device* disk = nullptr;  ///< null: a peer's
};

/// Shows text where `confirm` shows its question: also when standard error is redirected.
void show_to_person(const std::string& text);

/// Says why it asks (a sentence, as it is shown), shows both disks and the direction and asks for "yes". Throws `error`
/// (interrupted) at a signal to stop. False: anything but "yes" was answered.
bool confirm(const std::string& why, const shown_disk& source, const shown_disk& target, const surroundings& around);

}  // namespace reprotect::tool
