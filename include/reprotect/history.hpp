// Predicted against actual, run after run: a file of the user's own, and what later estimates learn from it.
//
//   history past = load_history("runs.jsonl");
//   estimate raw = models.find("pipeline").run(machine);
//   estimate shown = calibrate(raw, find_calibration(past, raw, pair));
//   sync_report report = sync(request);
//   append_history("runs.jsonl", record_of(raw, report, pair));   // the raw one, always
//
// The file holds a JSON document a line, each "reprotect-history-2". What is kept of a prediction is what the model said before
// calibration: factors taken from calibrated ones would be factors of factors.
#pragma once

#include "reprotect/cost.hpp"
#include "reprotect/device.hpp"
#include "reprotect/estimate.hpp"
#include "reprotect/sync.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

/// A disk as a history tells it from others: by its identity where it is known, else (a peer's) by its name.
struct history_disk {
    std::string name;
    std::string identity;  ///< `device_identity::text`, or empty
    friend bool operator==(const history_disk&, const history_disk&) = default;
};

struct history_pair {
    history_disk source;
    history_disk target;
    friend bool operator==(const history_pair&, const history_pair&) = default;
};

/// Of a disk under the name that the user gave; null: a peer's, or one that is missing.
history_disk as_history_disk(const std::string& name, const device* disk);

struct predicted_run {
    std::string model;
    estimate_scope scope;
    std::vector<estimate_phase> phases;  ///< their reasons are not kept, nor what was given
    spread<double> total_s;
    spread<std::uint64_t> to_target;
    spread<std::uint64_t> to_source;
    std::optional<cost_estimate> cost;  ///< its basis is not kept
};

struct actual_run {
    std::string result;  ///< "done", or the word of the error's kind
    unsigned attempts = 1;
    second_counts seconds;
    std::uint64_t to_target = 0;
    std::uint64_t to_source = 0;
    std::optional<paid_amount> cost;
};

/// One run: a line of the file.
struct history_record {
    std::string date;     ///< UTC, ISO 8601
    std::string machine;  ///< this one, as `this_machine` tells it; may be empty
    history_pair pair;
    predicted_run prediction;
    actual_run outcome;
};

/// 32 hex digits, the same after a restart: a hash of machine-id(5), as state records have it; empty where there is none.
std::string this_machine();

/// Of a run that ended just now on this machine. `predicted` is what the model said, not calibrated.
history_record record_of(const estimate& predicted, const sync_report& report, const history_pair& pair,
                         const std::optional<paid_amount>& paid = {});

struct history {
    std::string name;                     ///< the file's, for messages
    std::vector<history_record> records;  ///< as they were appended: the newest is the last
    std::size_t skipped = 0;              ///< lines that are damaged, or of a format that is not known here
};

/// Of a file; where there is none, or an empty one, without records. Of a file of more than 64 MiB the newest 64 MiB are read. Throws
/// `corrupt_file` for one that is no history, `unsuitable`, `permission` and `device_io`.
history load_history(const std::filesystem::path& path);

/// Adds one line in one write, under a lock; the file is made (0600) where there is none. A line that an interrupted write left torn
/// stays alone. Throws as `load_history`, for a file that is none too: nothing is added to it; and `no_space`.
void append_history(const std::filesystem::path& path, const history_record& record);

/// A line of the file, without its end, and back: nothing for one that is damaged, or of another format.
std::string to_json_line(const history_record& record);
std::optional<history_record> parse_history_line(std::string_view line);

/// How long earlier runs took, as a factor of what was predicted for them.
struct calibration {
    enum class basis { none, machine, pair };
    basis of = basis::none;
    std::size_t runs = 0;
    spread<double> seen;             ///< lowest, middle (median) and highest of the runs
    spread<double> factor;           ///< the next run's: the median, and an interval that should hold it 9 times in 10
    spread<double> predicted_width;  ///< of the widest prediction among them: low and high by likely
    std::string history_name;
    std::size_t skipped = 0;
};

/// From the newest 20 runs of the pair, else of the machine, that were predicted by the same model as `next`, were done, and lost no
/// connection; of the machine only runs that are like `next`: full copies or not, through a peer or not, and each of data read and data
/// changed within a tenth to ten times. Without a pair (an estimate on paper): of the machine. Machines without an id count as one.
calibration find_calibration(const history& past, const estimate& next, const std::optional<history_pair>& pair,
                             std::string_view machine = this_machine());

/// The estimate with its times scaled, but for phases that a given rate sets, and a note and an assumption that say so; bytes and money
/// stay as predicted. The error bars become those of the runs, except that they stay at least as wide as they were where the runs are of
/// the machine, where there are fewer than three, or where this prediction is less sure than those of the runs were. Without runs only a
/// note is added.
estimate calibrate(estimate of, const calibration& by);

}  // namespace reprotect
