// The history file: lines out and in, and the file that holds them. What can be read is used, and what cannot is counted: a history is
// a help, and one torn line must not take it away. But a file without any line that is one was named by mistake, and is left alone.
//
//   {"format": "reprotect-history-2", "date": …, "machine": …, "source": {"name", "identity"}, "target": …,
//    "prediction": {"model", "scope": {"through_peer", "full_copy", "read", "changed"},
//     "phases": [{"name", "low_s", "likely_s", "high_s", "overlapping"}], "total", "to_target", "to_source",
//    "cost": null or {"currency", "low", "likely", "high"}},
//    "outcome": {"result", "attempts", "seconds": {…}, "to_target", "to_source", "cost": null or {"currency", "amount"}}}
#include "reprotect/history.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <system_error>
#include <thread>
#include <utility>

#include "base/owned_descriptor.hpp"
#include "base/utf8.hpp"
#include "device/place.hpp"
#include "estimate/spread_json.hpp"
#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/units.hpp"

namespace reprotect {
namespace {

namespace json = boost::json;

constexpr const char* format_name = "reprotect-history-2";                       // -1 had no scope
constexpr std::string_view line_beginning = R"({"format":"reprotect-history-)";  // of any version, and of torn ones
constexpr std::uint64_t read_bytes_max = 64 << 20;                               // guessed: some 50,000 runs
constexpr std::size_t line_bytes_max = 64 << 10;  // guessed: names of 4 KiB, escaped, and to spare
constexpr std::size_t phases_max = 64;            // guessed: more than any model has
constexpr double seconds_max = 1e10;              // as estimates have it
constexpr int lock_tries = 300;
constexpr std::chrono::milliseconds lock_pause{10};

// ---- a line ----

json::object disk_of(const history_disk& disk) {
    return {{"name", valid_utf8(disk.name)}, {"identity", valid_utf8(disk.identity)}};
}

// What makes no sense. Caught where a line is read: it is skipped.
struct damaged {};

const json::value& field(const json::object& of, const char* name) {
    const json::value* const found = of.if_contains(name);
    if (found == nullptr) throw damaged();
    return *found;
}
const json::object& object(const json::object& of, const char* name) {
    const json::object* const found = field(of, name).if_object();
    if (found == nullptr) throw damaged();
    return *found;
}
bool flag(const json::object& of, const char* name) {
    const bool* const found = field(of, name).if_bool();
    if (found == nullptr) throw damaged();
    return *found;
}
std::string text(const json::object& of, const char* name) {
    const json::string* const found = field(of, name).if_string();
    if (found == nullptr) throw damaged();
    return std::string(*found);
}
double seconds(const json::object& of, const char* name) {
    json::error_code failed;
    const double value = field(of, name).to_number<double>(failed);
    if (failed || !(value >= 0 && value <= seconds_max)) throw damaged();
    return value;
}
std::uint64_t count(const json::object& of, const char* name) {
    json::error_code failed;
    const auto value = field(of, name).to_number<std::uint64_t>(failed);
    if (failed) throw damaged();
    return value;
}
money amount(const json::object& of, const char* name) {
    try {
        return money::parse(text(of, name));
    } catch (const error&) {
        throw damaged();
    }
}
template <typename Number>
spread<Number> in_order(const spread<Number>& value) {
    if (!(value.low <= value.likely && value.likely <= value.high)) throw damaged();
    return value;
}
spread<double> seconds_spread(const json::object& of) {
    return in_order(spread<double>{seconds(of, "low_s"), seconds(of, "likely_s"), seconds(of, "high_s")});
}
spread<std::uint64_t> bytes_spread(const json::object& of) {
    return in_order(spread<std::uint64_t>{count(of, "low"), count(of, "likely"), count(of, "high")});
}
history_disk disk(const json::object& of) {
    return {text(of, "name"), text(of, "identity")};
}

predicted_run prediction(const json::object& of) {
    predicted_run result;
    result.model = text(of, "model");
    const json::array* const phases = field(of, "phases").if_array();
    if (phases == nullptr || phases->size() > phases_max) throw damaged();
    const json::object& scope = object(of, "scope");
    result.scope = {flag(scope, "through_peer"), flag(scope, "full_copy"), count(scope, "read"),
                    count(scope, "changed")};
    for (const json::value& each : *phases) {
        const json::object* const one = each.if_object();
        if (one == nullptr) throw damaged();
        result.phases.push_back({text(*one, "name"), seconds_spread(*one), {}, flag(*one, "overlapping")});
    }
    result.total_s = seconds_spread(object(of, "total"));
    result.to_target = bytes_spread(object(of, "to_target"));
    result.to_source = bytes_spread(object(of, "to_source"));
    if (!field(of, "cost").is_null()) {
        const json::object& cost = object(of, "cost");
        const spread<money> sum{amount(cost, "low"), amount(cost, "likely"), amount(cost, "high")};
        result.cost = cost_estimate{text(cost, "currency"), in_order(sum), {}};
    }
    return result;
}

actual_run outcome(const json::object& of) {
    actual_run result;
    result.result = text(of, "result");
    result.attempts = static_cast<unsigned>(std::min<std::uint64_t>(count(of, "attempts"), 1'000'000'000));
    const json::object& took = object(of, "seconds");
    result.seconds = {seconds(took, "total"), seconds(took, "scan"), seconds(took, "transfer"), seconds(took, "flush"),
                      seconds(took, "verify")};
    result.to_target = count(of, "to_target");
    result.to_source = count(of, "to_source");
    if (!field(of, "cost").is_null()) {
        const json::object& cost = object(of, "cost");
        result.cost = paid_amount{text(cost, "currency"), amount(cost, "amount")};
    }
    return result;
}

// ---- the file ----

error file_error(const char* operation, const std::filesystem::path& path, int number) {
    const auto kind = number == ENOENT                                         ? error_kind::not_found
                      : number == EACCES || number == EPERM                    ? error_kind::permission
                      : number == ENOSPC || number == EDQUOT                   ? error_kind::no_space
                      : number == EISDIR || number == EROFS || number == ENXIO ? error_kind::unsuitable
                                                                               : error_kind::device_io;
    return error(kind,
                 std::string(operation) + " of the history " + path.string() +
                     " failed: " + std::generic_category().message(number),
                 {.device = path.string(), .operation = operation, .hint = "name a file that you may read and write"});
}

error no_history(const std::filesystem::path& path) {
    return error(error_kind::corrupt_file, path.string() + " holds no history of earlier runs",
                 {.device = path.string(),
                  .operation = "read",
                  .hint = "name a file that --history made, or one that does not exist yet"});
}

std::uint64_t size_of(const owned_descriptor& file, const std::filesystem::path& path) {
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw file_error("open", path, errno);
    if (!S_ISREG(status.st_mode))
        throw error(error_kind::unsuitable, path.string() + " is no regular file, which a history has to be",
                    {.device = path.string(), .operation = "open", .hint = "name a file"});
    return static_cast<std::uint64_t>(status.st_size);
}

std::string read_range(const owned_descriptor& file, const std::filesystem::path& path, std::uint64_t begin,
                       std::uint64_t bytes) {
    std::string content(static_cast<std::size_t>(bytes), '\0');
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t got =
            ::pread(file.get(), content.data() + done, content.size() - done, static_cast<off_t>(begin + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw file_error("read", path, errno);
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    content.resize(done);
    return content;
}

struct parsed_lines {
    history found;
    bool any_begins = false;  // as those of a history do
};

parsed_lines parse_lines(std::string_view content) {
    parsed_lines result;
    while (!content.empty()) {
        const std::size_t end = std::min(content.find('\n'), content.size());
        const std::string_view line = content.substr(0, end);
        content.remove_prefix(std::min(end + 1, content.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        if (auto record = parse_history_line(line)) {
            result.found.records.push_back(std::move(*record));
        } else {
            ++result.found.skipped;
            result.any_begins = result.any_begins || line.starts_with(line_beginning);
        }
    }
    return result;
}

// The newest lines. Of a part of a file the first line has lost its beginning.
history read_newest(const owned_descriptor& file, const std::filesystem::path& path, std::uint64_t size,
                    std::uint64_t bytes_max) {
    const std::uint64_t begin = size - std::min(size, bytes_max);
    const std::string content = read_range(file, path, begin, size - begin);
    std::string_view lines = content;
    if (begin != 0) lines.remove_prefix(std::min(lines.find('\n'), lines.size()));
    parsed_lines result = parse_lines(lines);
    const bool nothing = result.found.skipped == 0 && begin == 0;
    if (result.found.records.empty() && !result.any_begins && !nothing) throw no_history(path);
    result.found.name = path.string();
    return std::move(result.found);
}

// Others write a line and go. Whoever holds on to it is not waited for: a sync that is done must end.
void lock(const owned_descriptor& file, const std::filesystem::path& path) {
    for (int i = 0; ::flock(file.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
        if (errno != EWOULDBLOCK && errno != EINTR) throw file_error("lock", path, errno);
        if (i == lock_tries)
            throw error(error_kind::in_use,
                        "somebody has had the history locked for " +
                            format_duration(std::chrono::duration<double>(lock_tries * lock_pause).count()),
                        {.device = path.string(), .operation = "lock", .hint = "see who has it with fuser"});
        std::this_thread::sleep_for(lock_pause);
    }
}

}  // namespace

std::string to_json_line(const history_record& record) {
    json::array phases;
    for (const estimate_phase& phase : record.prediction.phases) {
        json::object one{{"name", valid_utf8(phase.name)}};
        for (const json::key_value_pair& each : spread_json(phase.seconds, "_s")) one.insert(each);
        one["overlapping"] = phase.overlapping;
        phases.push_back(std::move(one));
    }
    const predicted_run& predicted = record.prediction;
    const estimate_scope& scope = predicted.scope;
    json::object scope_out{{"through_peer", scope.through_peer},
                           {"full_copy", scope.full_copy},
                           {"read", scope.read_bytes},
                           {"changed", scope.changed_bytes}};
    json::object prediction_out{{"model", valid_utf8(predicted.model)},
                                {"scope", std::move(scope_out)},
                                {"phases", std::move(phases)},
                                {"total", spread_json(predicted.total_s, "_s")},
                                {"to_target", spread_json(predicted.to_target)},
                                {"to_source", spread_json(predicted.to_source)},
                                {"cost", nullptr}};
    if (predicted.cost)
        prediction_out["cost"] = json::object{{"currency", valid_utf8(predicted.cost->currency)},
                                              {"low", to_string(predicted.cost->amount.low)},
                                              {"likely", to_string(predicted.cost->amount.likely)},
                                              {"high", to_string(predicted.cost->amount.high)}};
    const actual_run& actual = record.outcome;
    json::object outcome_out{{"result", valid_utf8(actual.result)},
                             {"attempts", actual.attempts},
                             {"seconds", json::object{{"total", actual.seconds.total},
                                                      {"scan", actual.seconds.scan},
                                                      {"transfer", actual.seconds.transfer},
                                                      {"flush", actual.seconds.flush},
                                                      {"verify", actual.seconds.verify}}},
                             {"to_target", actual.to_target},
                             {"to_source", actual.to_source},
                             {"cost", nullptr}};
    if (actual.cost)
        outcome_out["cost"] =
            json::object{{"currency", valid_utf8(actual.cost->currency)}, {"amount", to_string(actual.cost->amount)}};
    json::object out{{"format", format_name},
                     {"date", valid_utf8(record.date)},
                     {"machine", valid_utf8(record.machine)},
                     {"source", disk_of(record.pair.source)},
                     {"target", disk_of(record.pair.target)}};
    out["prediction"] = std::move(prediction_out);
    out["outcome"] = std::move(outcome_out);
    return json::serialize(out);
}

std::optional<history_record> parse_history_line(std::string_view line) {
    if (line.size() > line_bytes_max) return std::nullopt;
    json::error_code failed;
    const json::value whole = json::parse({line.data(), line.size()}, failed);
    if (failed || !whole.is_object()) return std::nullopt;
    try {
        const json::object& of = whole.get_object();
        if (text(of, "format") != format_name) return std::nullopt;
        history_record record;
        record.date = text(of, "date");
        record.machine = text(of, "machine");
        record.pair = {disk(object(of, "source")), disk(object(of, "target"))};
        record.prediction = prediction(object(of, "prediction"));
        record.outcome = outcome(object(of, "outcome"));
        return record;
    } catch (const damaged&) {
        return std::nullopt;
    }
}

history_disk as_history_disk(const std::string& name, const device* disk) {
    return {name, disk == nullptr ? "" : disk->identity().text()};
}

std::string this_machine() {
    return place_of(memory_device(0, "")).machine;
}

history_record record_of(const estimate& predicted, const sync_report& report, const history_pair& pair,
                         const std::optional<paid_amount>& paid) {
    history_record record;
    record.date = utc_now();
    record.machine = this_machine();
    record.pair = pair;
    record.prediction = {predicted.model,     predicted.scope,     predicted.phases, predicted.total_s,
                         predicted.to_target, predicted.to_source, predicted.cost};
    record.outcome = {report.failure ? to_string(report.failure->kind()) : "done",
                      report.attempts,
                      report.seconds,
                      report.to_target.total(),
                      report.to_source.total(),
                      paid};
    return record;
}

history load_history(const std::filesystem::path& path) {
    const owned_descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file && errno == ENOENT) return {path.string(), {}, 0};
    if (!file) throw file_error("open", path, errno);
    return read_newest(file, path, size_of(file, path), read_bytes_max);
}

void append_history(const std::filesystem::path& path, const history_record& record) {
    std::string line = to_json_line(record) + "\n";
    // What could not be read again is not worth a line. Names are all that could be so long.
    if (!parse_history_line({line.data(), line.size() - 1})) {
        history_record shorter = record;
        for (history_disk* const each : {&shorter.pair.source, &shorter.pair.target}) {
            each->name.resize(std::min<std::size_t>(each->name.size(), 4096));
            each->identity.resize(std::min<std::size_t>(each->identity.size(), 4096));
        }
        line = to_json_line(shorter) + "\n";
        if (!parse_history_line({line.data(), line.size() - 1}))
            throw error(error_kind::unsuitable, "the figures of this run are none that a history keeps",
                        {.device = path.string(), .operation = "write", .hint = "nothing was added"});
    }
    const owned_descriptor file(
        ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
    if (!file) throw file_error("open", path, errno);
    size_of(file, path);
    lock(file, path);
    const std::uint64_t size = size_of(file, path);
    if (size != 0) {
        // Whatever is no history stays as it is. Its beginning says what it is, whatever became of its end.
        const auto head = read_range(file, path, 0, std::min<std::uint64_t>(size, line_beginning.size()));
        if (head != line_beginning) read_newest(file, path, size, read_bytes_max);
        if (read_range(file, path, size - 1, 1) != "\n") line.insert(0, "\n");
    }
    ssize_t written = 0;
    do written = ::write(file.get(), line.data(), line.size());
    while (written < 0 && errno == EINTR);
    if (written < 0) throw file_error("write", path, errno);
    if (static_cast<std::size_t>(written) != line.size()) throw file_error("write", path, ENOSPC);
}

}  // namespace reprotect
