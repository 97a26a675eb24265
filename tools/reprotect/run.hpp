// What the verbs share: options carried over, the watched run, and the report turned into an outcome.
#pragma once

#include "reprotect/open_device.hpp"
#include "reprotect/sync.hpp"

#include <memory>
#include <optional>
#include <string>

#include "extent_file.hpp"
#include "verbs.hpp"

namespace reprotect::tool {

/// A disk, with the allocation that was handed in for it where there is one.
class opened_disk {
public:
    opened_disk(std::unique_ptr<device> disk, const std::string& allocation_file, const std::string& option);

    device& operator*() const noexcept { return allocated_ ? static_cast<device&>(*allocated_) : *disk_; }
    device* operator->() const noexcept { return &**this; }

private:
    std::unique_ptr<device> disk_;
    std::unique_ptr<allocated_device> allocated_;
};

/// `--within`, checked against the disk that is synced; null: a peer's, whose side checks it.
std::optional<extent_set> load_within(const arguments& line, const device* source);

/// Progress shown and signals obeyed while it lives.
class watched_run {
public:
    struct words {
        std::string first_stop;
        std::string second_stop;
    };
    watched_run(const arguments& line, const surroundings& around, words said);
    ~watched_run();
    watched_run(const watched_run&) = delete;
    watched_run& operator=(const watched_run&) = delete;

    progress_view& progress() noexcept { return progress_; }

private:
    signal_watcher& signals_;
    progress_view progress_;
};

/// The words for a verb that only reads.
watched_run::words reading_words();

std::unique_ptr<state_store> open_records(const arguments& line);

/// The failure of a report, printed; returns its exit code.
int report_failure(const sync_report& report, const surroundings& around);

}  // namespace reprotect::tool
