// What earlier runs say of the next one. Factors multiply, so all is reckoned in logarithms: the middle is the median, which one run on
// a busy machine does not move, and around it lies the interval that holds the next of n values of one distribution 9 times in 10:
//
//   t(0.95, n - 1) * s * sqrt(1 + 1/n)        (Hahn and Meeker, Statistical Intervals, 1991, section 4.7)
//
// taken for a normal distribution of the logarithms, and never narrower than what was seen. Runs of other disks say less: only those that
// did about the same count, and what they took never makes an estimate surer.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "base/median.hpp"
#include "base/utf8.hpp"
#include "estimate/models.hpp"
#include "reprotect/history.hpp"

namespace reprotect {
namespace {

constexpr std::size_t runs_max = 20;          // guessed: disks and links change, and older runs know nothing of it
constexpr std::size_t runs_for_interval = 3;  // with fewer, a spread is no more than a coincidence
constexpr double factor_max = 1000;           // guessed: beyond, it is not the same thing that was predicted
constexpr double bytes_alike = 10;            // guessed: with more or less of them something else sets the time
constexpr double bytes_least = 16 << 20;      // guessed: what so few take is lost in what opening and flushing take

// Student's t, one-sided 95%, for 1 to 19 degrees of freedom (Fisher and Yates, Statistical Tables, 1963, table III).
constexpr double t_95[] = {6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
                           1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729};
static_assert(std::size(t_95) + 1 == runs_max);

bool counts(const history_record& record, std::string_view model) {
    const double likely = record.prediction.total_s.likely, took = record.outcome.seconds.total;
    return record.outcome.result == "done" && record.outcome.attempts == 1 && record.prediction.model == model &&
           likely > 0 && took > 0 && took < likely * factor_max && likely < took * factor_max;
}

bool same_disk(const history_disk& a, const history_disk& b) {
    if (a.identity.empty() && b.identity.empty()) return a.name == b.name;
    return a.identity == b.identity;
}
bool same_pair(const history_pair& a, const history_pair& b) {
    return same_disk(a.source, b.source) && same_disk(a.target, b.target);
}

bool same_kind(const estimate_scope& a, const estimate_scope& b) {
    const auto alike = [](std::uint64_t left, std::uint64_t right) {
        const double one = std::max(static_cast<double>(left), bytes_least);
        const double other = std::max(static_cast<double>(right), bytes_least);
        return one <= other * bytes_alike && other <= one * bytes_alike;
    };
    return a.through_peer == b.through_peer && a.full_copy == b.full_copy && alike(a.read_bytes, b.read_bytes) &&
           alike(a.changed_bytes, b.changed_bytes);
}

template <typename Wanted>
std::vector<const history_record*> newest(const history& past, Wanted wanted) {
    std::vector<const history_record*> found;
    for (auto at = past.records.rbegin(); at != past.records.rend() && found.size() < runs_max; ++at)
        if (wanted(*at)) found.push_back(&*at);
    return found;
}

spread<double> factor_of(const std::vector<double>& logs) {
    const double middle = median(logs);
    const auto [least, most] = std::minmax_element(logs.begin(), logs.end());
    double half = 0;
    if (logs.size() > 1) {
        const auto count = static_cast<double>(logs.size());
        double mean = 0, squares = 0;
        for (const double each : logs) mean += each / count;
        for (const double each : logs) squares += (each - mean) * (each - mean);
        half = t_95[logs.size() - 2] * std::sqrt(squares / (count - 1)) * std::sqrt(1 + 1 / count);
    }
    return {std::exp(std::min(*least, middle - half)), std::exp(middle), std::exp(std::max(*most, middle + half))};
}

// By the likely figure.
spread<double> width_of(const spread<double>& seconds) {
    return seconds.likely > 0 ? spread<double>{seconds.low / seconds.likely, 1, seconds.high / seconds.likely}
                              : exactly(1.0);
}

std::string number(double value) {
    char text[40];
    std::snprintf(text, sizeof text, value < 10 ? "%.2f" : "%.3g", value);
    return text;
}

std::string runs_of(const calibration& by) {
    return std::to_string(by.runs) + (by.runs == 1 ? " earlier run" : " earlier runs") +
           (by.of == calibration::basis::pair ? " of this pair" : " on this machine");
}

// By the factors of low, likely and high.
void scale(spread<double>& seconds, const spread<double>& by) {
    seconds.likely *= by.likely;
    seconds.low = std::min(seconds.low * by.low, seconds.likely);
    seconds.high = std::max(seconds.high * by.high, seconds.likely);
}

// The pipeline's upper end counts the target's reads and writes one after the other: of that, what is beyond the slowest stage is in the
// total alone. Each of the two may be scaled or not, and so may the slowest: then it is reckoned anew.
class serial_target {
public:
    explicit serial_target(const estimate& of)
        : parts_(parts_of(of)), beyond_(std::max(of.total_s.high - total_of(of.phases).high, 0.0)) {
        // Of several disks the slowest counts, which may take less than the slowest reads and the slowest writes do.
        seconds_ = std::min(parts_, slowest_of(of) + beyond_);
    }
    /// To the total of the phases, as they are now.
    void add_to(estimate& of) const {
        if (parts_ > 0)
            of.total_s.high += std::max(seconds_ * parts_of(of) / parts_ - slowest_of(of), 0.0);
        else
            of.total_s.high += beyond_;  // another model's: nobody knows what it is made of
    }

private:
    static double parts_of(const estimate& of) {
        double sum = 0;
        for (const estimate_phase& phase : of.phases)
            if (phase.name == "target-read" || phase.name == "target-write") sum += phase.seconds.high;
        return sum;
    }
    static double slowest_of(const estimate& of) {
        double most = 0;
        for (const estimate_phase& phase : of.phases)
            if (phase.overlapping) most = std::max(most, phase.seconds.high);
        return most;
    }
    double parts_ = 0, beyond_ = 0, seconds_ = 0;
};

}  // namespace

calibration find_calibration(const history& past, const estimate& next, const std::optional<history_pair>& pair,
                             std::string_view machine) {
    calibration result;
    result.history_name = past.name;
    result.skipped = past.skipped;
    std::vector<const history_record*> runs;
    if (pair) {
        runs = newest(past, [&](const history_record& each) {
            return counts(each, next.model) && each.machine == machine && same_pair(each.pair, *pair);
        });
        result.of = calibration::basis::pair;
    }
    if (runs.empty()) {
        runs = newest(past, [&](const history_record& each) {
            return counts(each, next.model) && each.machine == machine && same_kind(each.prediction.scope, next.scope);
        });
        result.of = calibration::basis::machine;
    }
    if (runs.empty()) {
        result.of = calibration::basis::none;
        return result;
    }
    std::vector<double> logs;
    result.predicted_width = exactly(1.0);
    for (const history_record* const each : runs) {
        const spread<double>& predicted = each->prediction.total_s;
        logs.push_back(std::log(each->outcome.seconds.total / predicted.likely));
        const spread<double> width = width_of(predicted);
        result.predicted_width.low = std::min(result.predicted_width.low, width.low);
        result.predicted_width.high = std::max(result.predicted_width.high, width.high);
    }
    result.runs = runs.size();
    const auto [least, most] = std::minmax_element(logs.begin(), logs.end());
    result.factor = factor_of(logs);
    result.seen = {std::exp(*least), result.factor.likely, std::exp(*most)};
    return result;
}

estimate calibrate(estimate of, const calibration& by) {
    const std::string name = on_one_line(by.history_name);
    if (by.skipped != 0)
        of.notes.push_back(std::to_string(by.skipped) + (by.skipped == 1 ? " line of " : " lines of ") + name +
                           (by.skipped == 1 ? " is" : " are") + " damaged or of another format, and left out");
    if (by.of == calibration::basis::none || of.total_s.likely <= 0) {
        of.notes.push_back("not calibrated: " + name +
                           " has no run of this pair, nor one of this machine that did about the same, that " +
                           of.model + " predicted and that was done in one go");
        return of;
    }
    const spread<double> width = width_of(of.total_s);
    // The runs' error bars hold for predictions as sure as theirs were; a tenth more or less is the same.
    const bool few = by.runs < runs_for_interval;
    const auto as_sure = [&](double ours, double theirs) { return std::abs(ours - 1) <= std::abs(theirs - 1) * 1.1; };
    const bool others = by.of == calibration::basis::machine;
    const bool keeps_low = few || others || !as_sure(width.low, by.predicted_width.low);
    const bool keeps_high = few || others || !as_sure(width.high, by.predicted_width.high);
    // What brings one end of the prediction to that of the runs' interval, or, where it keeps its width, at least so far.
    const auto bar = [&](double runs, double ours, bool keeps, bool low) {
        if (ours <= 0) return keeps ? by.factor.likely : 0.0;
        const double to_runs = runs / ours;
        if (!keeps) return to_runs;
        return low ? std::min(by.factor.likely, to_runs) : std::max(by.factor.likely, to_runs);
    };
    const spread<double> factor{bar(by.factor.low, width.low, keeps_low, true), by.factor.likely,
                                bar(by.factor.high, width.high, keeps_high, false)};
    const bool any_given = std::ranges::any_of(of.phases, &estimate_phase::given);
    const serial_target before(of);
    for (estimate_phase& phase : of.phases)
        if (!phase.given) scale(phase.seconds, factor);
    if (any_given) {
        of.total_s = total_of(of.phases);
        before.add_to(of);
    } else {
        scale(of.total_s, factor);
    }
    for (unit_reading& reading : of.readings) {
        for (estimate_phase& phase : reading.phases) scale(phase.seconds, factor);
        scale(reading.total_s, factor);
    }
    of.notes.push_back(
        "calibrated from " + runs_of(by) + ": they took " +
        (by.runs == 1 ? number(by.seen.likely) + " of what was predicted"
                      : number(by.seen.low) + " to " + number(by.seen.high) + " of what was predicted, " +
                            number(by.seen.likely) + " in the middle") +
        (keeps_low || keeps_high
             ? few      ? "; too few to know how sure that is, so the error bars stay at least as wide"
               : others ? "; of other disks, so the error bars stay at least as wide"
                        : "; this prediction is less sure than theirs were, so its error bars stay at least as wide"
             : "") +
        (any_given ? "; what a given rate sets stays" : "") + "; times alone, not bytes or money");
    of.assumptions.push_back(
        {"calibration", "times by " + number(by.factor.likely), runs_of(by) + " in the history " + name});
    return of;
}

}  // namespace reprotect
