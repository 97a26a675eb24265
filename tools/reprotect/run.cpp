// A summary or a document goes to standard output; what goes wrong on the way goes to the console.
#include "run.hpp"

#include <utility>

namespace reprotect::tool {

opened_disk::opened_disk(std::unique_ptr<device> disk, const std::string& allocation_file, const std::string& option)
    : disk_(std::move(disk)) {
    if (allocation_file.empty()) return;
    try {
        const loaded_extents loaded = load_extents(allocation_file, option);
        check_extents(loaded, *disk_, option);
        allocated_ = std::make_unique<allocated_device>(*disk_, loaded.extents);
    } catch (...) {
        remove_if_untouched(*disk_);
        throw;
    }
}

std::optional<extent_set> load_within(const arguments& line, const device* source) {
    if (line.within.empty()) return std::nullopt;
    loaded_extents loaded = load_extents(line.within, "--within");
    if (source != nullptr) check_extents(loaded, *source, "--within");
    return std::move(loaded.extents);
}

watched_run::watched_run(const arguments& line, const surroundings& around, words said)
    : signals_(around.signals),
      progress_(around.out, line.progress, line.options.verify == verify_level::reread && !line.options.dry_run) {
    signals_.set_messages(std::move(said.first_stop), std::move(said.second_stop));
    signals_.set_status([this] { progress_.say_now(); });
}

watched_run::~watched_run() {
    signals_.set_status({});
}

watched_run::words reading_words() {
    return {"stopping: nothing is written by this; a second signal quits at once", "quitting at once"};
}

std::unique_ptr<state_store> open_records(const arguments& line) {
    return open_state_directory(line.state_directory.empty() ? default_state_directory()
                                                             : std::filesystem::path(line.state_directory));
}

int report_failure(const sync_report& report, const surroundings& around) {
    const failure shown = make_failure(*report.failure);
    around.out.report(shown);
    return shown.code;
}

}  // namespace reprotect::tool
