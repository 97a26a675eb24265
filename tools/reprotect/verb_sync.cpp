// sync: open what is here, ask where a person must agree, run, report. A target that is made here and never filled is taken away
// again, so that a refusal leaves nothing behind.
#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/units.hpp"

#include <fmt/format.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <optional>
#include <sstream>
#include <utility>

#include "content.hpp"
#include "cost_options.hpp"
#include "estimate_text.hpp"
#include "look.hpp"
#include "missing_target.hpp"
#include "remote_options.hpp"
#include "report_text.hpp"
#include "run.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

// The target, and its removal when this run created it and nothing came of it.
class sync_target {
public:
    explicit sync_target(const arguments& line) {
        const std::string& name = line.disks[1];
        std::unique_ptr<device> found;
        if (line.options.dry_run) {
            found = open_target_to_read(name, line.direct);
        } else {
            refuse_new_file_under_dev(name);
            found = open_device(name, {.mode = access::read_write, .direct = line.direct, .create = true});
        }
        if (found) disk_.emplace(std::move(found), line.target_allocation, "--target-allocation");
    }
    ~sync_target() {
        if (disk_ && !kept_) remove_if_untouched(**disk_);
    }
    sync_target(const sync_target&) = delete;
    sync_target& operator=(const sync_target&) = delete;

    /// Null where it is missing in a dry run.
    device* get() const noexcept { return disk_ ? &**disk_ : nullptr; }
    bool created() const noexcept { return disk_ && (*disk_)->properties().created; }
    void keep() noexcept { kept_ = true; }

private:
    bool kept_ = false;
    std::optional<opened_disk> disk_;
};

// Why a person must agree, or nothing where no question is due: what the sync will refuse is not worth one.
std::string why_ask(const arguments& line, state_store& records, device& source, const sync_target& opened) {
    if (opened.get() == nullptr || opened.created()) return {};
    device& target = *opened.get();
    if (same_disk(source, target)) return {};
    bool reversed = false;
    try {
        const auto other_way = records.find_target(source.identity());
        reversed = other_way && other_way->source == target.identity();
        if (reversed && (!line.options.reverse || other_way->status != target_status::clean)) return {};
    } catch (const error& problem) {
        // What cannot be read may say that the direction is wrong.
        if (problem.kind() != error_kind::corrupt_file || !line.options.reverse) return {};
    }
    std::string why = reversed ? "This turns the direction round: the target was the source of this pair"
                               : "This is the first sync of this pair";
    try {
        const auto known = records.find_target(target.identity());
        if (known && known->source == source.identity()) return {};
    } catch (const error& problem) {
        // Anything else than a damaged record refuses the sync; a damaged one vouches for nothing.
        if (problem.kind() != error_kind::corrupt_file) return {};
        if (!reversed) why = "The record of the target does not check out";
    }
    return holds_data(target) ? why + ", and the target is not blank" : "";
}

// The same where the source is a peer's: whether it is the recorded one is known only once it is asked.
std::string why_ask_for_pull(state_store& records, const sync_target& opened) {
    if (opened.get() == nullptr || opened.created()) return {};
    std::string why = "This is the first sync of this target";
    try {
        if (records.find_target(opened.get()->identity())) return {};
    } catch (const error& problem) {
        if (problem.kind() != error_kind::corrupt_file) return {};
        why = "The record of the target does not check out";
    }
    return holds_data(*opened.get()) ? why + ", and the target is not blank" : "";
}

// Somebody is there to answer.
bool may_ask(const arguments& line) {
    return !line.yes && !line.options.dry_run && ::isatty(STDIN_FILENO) == 1;
}

// Whether to go on. Of a peer's target nothing is known here, so there a person is always asked.
bool agreed(const arguments& line, const surroundings& around, state_store& records, const sync_request& request,
            const std::optional<sync_target>& target) {
    if (!may_ask(line)) return true;
    const shown_disk source{line.disks[0], request.source};
    if (!target) {
        return confirm(fmt::format("This makes {} equal to {}", line.disks[1], line.disks[0]), source,
                       {line.disks[1], nullptr}, around);
    }
    std::string why = request.source != nullptr ? why_ask(line, records, *request.source, *target)
                                                : why_ask_for_pull(records, *target);
    if (why.empty() && line.estimate.first) why = "The estimate is above";
    return why.empty() || confirm(why, source, {line.disks[1], target->get()}, around);
}

// The estimate that was asked for. Whoever is asked after it sees it, too, where the question will be: then it is what the question is
// about.
std::optional<looked_estimate> predict(const arguments& line, const disks_here& here, const sync_options& options,
                                       const std::optional<traffic_bill>& bill, const surroundings& around) {
    if (!line.estimate.first) return std::nullopt;
    looked_estimate predicted = look(line, here, around, bill, traffic_of_look(options));
    const std::string shown = estimate_text(predicted.shown);
    const bool asks = may_ask(line);
    if (!line.quiet) {
        std::istringstream text(shown);
        for (std::string each; std::getline(text, each);) around.out.line(each);
    }
    if (asks && (line.quiet || !console::is_terminal())) show_to_person(shown);
    return predicted;
}

// What became of it, for later estimates. That it could not be kept does not undo a sync.
void remember(const arguments& line, const looked_estimate& predicted, const sync_report& report,
              const std::optional<paid_amount>& paid, const surroundings& around) {
    if (line.estimate.history_file.empty() || line.options.dry_run) return;
    try {
        append_history(line.estimate.history_file, record_of(predicted.raw, report, predicted.pair, paid));
    } catch (const error& why) {
        around.out.warning(fmt::format("this run is not added to the history: {}", escape(why.what())));
    }
}

std::string with_prediction(std::string document, const looked_estimate& predicted, const sync_report& report,
                            const std::optional<paid_amount>& paid) {
    const std::string added = fmt::format(R"(,"estimate":{},"predicted_against_actual":{})", to_json(predicted.shown),
                                          against_json(predicted.shown, report, paid));
    document.insert(document.rfind('}'), added);
    return document;
}

outcome declined(const arguments& line, const surroundings& around) {
    const failure shown{3,
                        "declined",
                        "declined: nothing was written",
                        line.disks[1],
                        {},
                        {},
                        {},
                        "type yes in full, or give --yes where nobody is there to answer"};
    around.out.report(shown);
    return {shown.code, line.json ? json_object().raw("error", to_json(shown)).str() + "\n" : ""};
}

// Nothing reached a target that this run made: there is nothing to go on from, and a file of zeroes would look like a disk.
bool nothing_came_of_it(const sync_report& report) {
    return report.failure && report.failure->kind() != error_kind::flush_failed && report.bytes.written == 0;
}

}  // namespace

outcome run_sync(const arguments& line, const surroundings& around) {
    const bool pull = is_remote(line, 0);
    const bool push = is_remote(line, 1);
    const connect_options how = push || pull ? make_connect_options(line) : connect_options();
    const std::optional<traffic_bill> bill = make_bill(line);
    sync_request request;
    request.options = line.options;
    apply_max_cost(line, bill, request.options, around);
    std::optional<opened_disk> source;
    if (!pull) {
        source.emplace(open_device(line.disks[0], {access::read_only, line.direct, false}), line.source_allocation,
                       "--source-allocation");
    }
    request.source = source ? &**source : nullptr;
    request.options.within = load_within(line, request.source);

    const auto records = open_records(line);
    std::optional<sync_target> target;
    if (!push) target.emplace(line);
    around.signals.set_messages("stopping: nothing was written", "quitting at once: nothing was written");
    const bool has_target = target && !target->created();
    request.target = target ? target->get() : nullptr;
    request.records = records.get();
    request.cancel = around.signals.token();
    // A look takes its time: what needs none comes first. What a peer refuses it tells when it is asked.
    if (line.estimate.first && !line.remote.disk) check_sync(request);
    const auto predicted =
        predict(line, {request.source, has_target ? target->get() : nullptr}, request.options, bill, around);
    if (predicted) request.options = with_limits_left(request.options, predicted->crossed);
    if (!agreed(line, around, *records, request, target)) return declined(line, around);

    // A null disk is the peer's, so a missing one here needs somebody to stand in for it.
    memory_device missing(0, line.disks[1]);
    missing.mutable_properties().created = true;
    if (pull && request.target == nullptr) request.target = &missing;
    sync_report report;
    {
        watched_run run(line, around,
                        line.options.dry_run
                            ? reading_words()
                            : watched_run::words{"stopping: flushing what was written; a second signal quits at once",
                                                 "quitting at once: the target stays on record as incomplete"});
        request.listener = &run.progress();
        report = push || pull ? sync_with_remote(request, line.disks[*line.remote.disk], how) : sync(request);
    }
    if (target && target->created() && nothing_came_of_it(report)) {
        try {
            records->remove(request.target->identity());
        } catch (const error&) {
            // A record of a file that is gone matches no disk any more.
        }
    } else if (target) {
        target->keep();
    }

    outcome result;
    // What was predicted is the sync; what is paid is the look, too.
    const auto of_sync = cost_of(bill, report);
    const std::optional<paid_amount> paid = of_sync ? std::optional(of_sync->paid) : std::nullopt;
    const auto cost = cost_of(bill, report, predicted ? predicted->crossed : traffic_step());
    if (predicted && report.failure && report.failure->kind() == error_kind::limit && line.remote.disk)
        around.out.warning(
            fmt::format("the look before the sync took {} to the target and {} to the source of its limits",
                        format_size(predicted->crossed.to_target), format_size(predicted->crossed.to_source)));
    if (predicted) remember(line, *predicted, report, paid, around);
    if (line.json) {
        std::string document = with_cost(to_json(report), cost);
        if (predicted) document = with_prediction(std::move(document), *predicted, report, paid);
        result.output = document + "\n";
    } else if (!line.quiet && (report.ok() || report.bytes.written != 0)) {
        result.output =
            sync_summary(report, {line.disks[0], line.disks[1], pull, cost_text(cost)}, line.options.dry_run);
        if (predicted && report.ok())
            result.output += "\nactual beside predicted\n" + against_text(predicted->shown, report, paid);
    }
    if (report.failure) result.code = report_failure(report, around);
    return result;
}

}  // namespace reprotect::tool
