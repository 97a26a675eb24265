// A history keeps what was predicted and what became of it, line by line, whatever else is in the file; and later estimates are scaled
// by it.
#include "reprotect/history.hpp"

#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "support/bytes.hpp"
#include "support/temp_dir.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <catch2/catch.hpp>
#include <limits>

#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace reprotect;
using namespace reprotect::test;

namespace {

const history_pair here{{"/dev/a", "kind=file inode=1"}, {"reprotect://host/b", ""}};

estimate predicted(double low, double likely, double high, const std::string& model = "pipeline") {
    estimate result;
    result.model = model;
    result.phases = {{"scan", {low / 4, likely / 4, high / 4}, "why", true},
                     {"transfer", {low, likely, high}, "why", true}};
    result.total_s = {low, likely, high};
    result.to_target = {1000, 2000, 3000};
    result.to_source = exactly<std::uint64_t>(70);
    result.scope = {true, false, 8ull << 30, 1ull << 30};
    return result;
}

const estimate next = predicted(1, 2, 3);

sync_report took(double seconds) {
    sync_report report;
    report.seconds = {seconds, seconds / 2, seconds / 4, 0.25, 0};
    report.to_target.payload = 1800;
    report.to_source.digests = 71;
    return report;
}

history_record run(double likely, double actual, const history_pair& pair = here) {
    return record_of(predicted(likely * 0.8, likely, likely * 1.3), took(actual), pair);
}

history past(std::vector<history_record> records) {
    history result;
    result.name = "runs";
    result.records = std::move(records);
    return result;
}

std::string content_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}
void write_text(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
}

error failure_of(const std::function<void()>& act) {
    try {
        act();
    } catch (const error& why) {
        CHECK_FALSE(why.detail().hint.empty());
        return why;
    }
    FAIL("accepted");
    throw;
}

bool says(const std::vector<std::string>& notes, const std::string& part) {
    for (const std::string& each : notes)
        if (each.find(part) != std::string::npos) return true;
    return false;
}

}  // namespace

TEST_CASE("a run is written and read again as it was", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    estimate raw = predicted(3, 4.5, 9.25);
    raw.cost = cost_estimate{"USD", {money::parse("0.5"), money::parse("0.9"), money::parse("1.25")}, "list prices"};
    sync_report report = took(5.5);
    report.attempts = 3;
    report.failure = error(error_kind::limit, "stopped");
    const history_pair odd{{"a \"disk\"\n\xc3\xa9", ""}, {"b", "kind=file"}};
    append_history(path, record_of(raw, report, odd, paid_amount{"USD", money::parse("0.800000001")}));
    append_history(path, run(1, 2));
    const history read = load_history(path);
    CHECK(read.name == path);
    CHECK(read.skipped == 0);
    REQUIRE(read.records.size() == 2);
    const history_record& first = read.records[0];
    CHECK(first.date.size() == 20);
    CHECK(first.date.ends_with("Z"));
    CHECK(first.machine == this_machine());
    CHECK(first.pair == odd);
    CHECK(first.prediction.model == "pipeline");
    CHECK(first.prediction.scope == raw.scope);
    REQUIRE(first.prediction.phases.size() == 2);
    CHECK(first.prediction.phases[1].name == "transfer");
    CHECK(first.prediction.phases[1].seconds == raw.phases[1].seconds);
    CHECK(first.prediction.phases[1].overlapping);
    CHECK(first.prediction.total_s == raw.total_s);
    CHECK(first.prediction.to_target == raw.to_target);
    CHECK(first.prediction.to_source == raw.to_source);
    CHECK(first.prediction.cost->amount == raw.cost->amount);
    CHECK(first.prediction.cost->currency == "USD");
    CHECK(first.outcome.result == "limit");
    CHECK(first.outcome.attempts == 3);
    CHECK(first.outcome.seconds.total == 5.5);
    CHECK(first.outcome.seconds.flush == 0.25);
    CHECK(first.outcome.to_target == 1800);
    CHECK(first.outcome.to_source == 71);
    CHECK(first.outcome.cost == paid_amount{"USD", money::parse("0.800000001")});
    CHECK(read.records[1].outcome.result == "done");
    CHECK_FALSE(read.records[1].outcome.cost);
    CHECK(to_json_line(first) == content_of(path).substr(0, content_of(path).find('\n')));

    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("lines that are damaged or of another format are left out and counted", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    const std::string good = to_json_line(run(1, 2));
    const auto broken = [&](const std::string& from, const std::string& to) {
        std::string line = good;
        line.replace(line.find(from), from.size(), to);
        return line;
    };
    const std::vector<std::string> bad{
        good.substr(0, good.size() / 2),
        "[]",
        "nonsense",
        "{\"format\":\"reprotect-history-2\"}",
        std::string(70'000, ' ') + good,
        std::string(1000, '['),
        broken("history-2", "history-3"),
        broken("history-2", "history-1"),
        broken("\"total\":{\"low_s\"", "\"total\":{\"lower_s\""),
        broken("\"attempts\":1", "\"attempts\":-1"),
        broken("\"through_peer\":true", "\"through_peer\":1"),
        broken("\"read\":", "\"read\":-"),
        broken("\"to_target\":1800", "\"to_target\":18.5"),
        broken("\"to_target\":1800", "\"to_target\":1e300"),
        broken("\"likely_s\":", "\"likely_s\":1e11,\"x\":"),
        broken("\"likely_s\":", "\"likely_s\":-1,\"x\":"),
        broken("\"likely_s\":", "\"likely_s\":null,\"x\":"),
        broken("\"seconds\":{\"total\":2", "\"seconds\":{\"total\":-2"),
        broken("\"seconds\":{\"total\":2E0", "\"seconds\":{\"total\":2E11"),
        broken("\"low_s\":", "\"low_s\":9,\"x\":"),  // above the likely one
        broken("\"cost\":null", "\"cost\":{\"currency\":\"USD\",\"low\":\"x\",\"likely\":\"1\",\"high\":\"1\"}"),
        broken("\"name\":\"/dev/a\"", "\"name\":7"),
    };
    for (const std::string& line : bad) {
        INFO(line.substr(0, 300));
        CHECK_FALSE(parse_history_line(line));
    }
    std::string text = good + "\n\n \r\n";
    for (const std::string& line : bad) text += line + "\n";
    write_text(path, text + good);  // and the end of the last line is missing
    const history read = load_history(path);
    CHECK(read.records.size() == 2);
    CHECK(read.skipped == bad.size());
    // What is added stands on a line of its own.
    append_history(path, run(1, 3));
    const history more = load_history(path);
    CHECK(more.records.size() == 3);
    CHECK(more.skipped == bad.size());
    write_text(path, good + "\n" + good.substr(0, 100));
    append_history(path, run(1, 3));
    CHECK(load_history(path).records.size() == 2);
    CHECK(load_history(path).skipped == 1);
    // Even where nothing but a torn line is there.
    write_text(path, good.substr(0, 100));
    CHECK(load_history(path).records.empty());
    append_history(path, run(1, 3));
    CHECK(load_history(path).records.size() == 1);

    const estimate shown = calibrate(predicted(1, 2, 3), find_calibration(read, next, here));
    CHECK(says(shown.notes, std::to_string(bad.size()) + " lines of " + path + " are damaged"));
}

TEST_CASE("runs of the format before, which say nothing of what they did, are left out, and new ones follow them",
          "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    std::string line = to_json_line(run(1, 2));
    REQUIRE(line.starts_with("{\"format\":\"reprotect-history-2\","));
    line.replace(line.find("-2"), 2, "-1");
    const std::size_t scope = line.find("\"scope\":");
    line.erase(scope, line.find("},", scope) + 2 - scope);
    write_text(path, line + "\n");
    CHECK(load_history(path).records.empty());
    CHECK(load_history(path).skipped == 1);
    append_history(path, run(1, 3));
    CHECK(load_history(path).records.size() == 1);
    CHECK(content_of(path).starts_with(line));
}

TEST_CASE("a file that is no history is refused and left as it is", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("notes");
    for (const std::string& text :
         {std::string("my notes\nand more\n"), std::string("{}"), std::string(1 << 20, 'x'), std::string(4096, '\0')}) {
        write_text(path, text);
        for (const error& why :
             {failure_of([&] { load_history(path); }), failure_of([&] { append_history(path, run(1, 2)); })}) {
            CHECK(why.kind() == error_kind::corrupt_file);
            CHECK_THAT(why.what(), Catch::Contains(path));
        }
        CHECK(content_of(path) == text);
    }
    CHECK(load_history(folder.file("nothing")).records.empty());
    write_text(path, "");
    CHECK(load_history(path).records.empty());
    append_history(path, run(1, 2));
    CHECK(load_history(path).records.size() == 1);

    CHECK(failure_of([&] { load_history(folder.path()); }).kind() == error_kind::unsuitable);
    CHECK(failure_of([&] { append_history(folder.path(), run(1, 2)); }).kind() == error_kind::unsuitable);
    const std::string fifo = folder.file("fifo");
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(failure_of([&] { load_history(fifo); }).kind() == error_kind::unsuitable);
    CHECK(failure_of([&] { append_history(fifo, run(1, 2)); }).kind() == error_kind::unsuitable);
    CHECK(failure_of([&] { append_history(folder.file("no/folder"), run(1, 2)); }).kind() == error_kind::not_found);
}

TEST_CASE("of a very long history the newest part is read", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    append_history(path, run(1, 7));
    std::uint64_t size = content_of(path).size();
    REQUIRE(::truncate(path.c_str(), static_cast<off_t>(size + (70 << 20))) == 0);  // zeroes: one very long line
    append_history(path, run(1, 2));
    append_history(path, run(1, 3));
    const history read = load_history(path);
    REQUIRE(read.records.size() == 2);
    CHECK(read.records[0].outcome.seconds.total == 2);
    CHECK(read.records[1].outcome.seconds.total == 3);
}

TEST_CASE("many who append at the same time lose nothing", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    std::vector<std::thread> writers;
    for (unsigned i = 0; i < 8; ++i)
        writers.emplace_back([&] {
            for (unsigned j = 0; j < 20; ++j) append_history(path, run(1, 2));
        });
    for (std::thread& each : writers) each.join();
    const history read = load_history(path);
    CHECK(read.records.size() == 160);
    CHECK(read.skipped == 0);

    // Whoever has the lock is waited for: he may be about to see whether the last line is whole.
    const int other = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(::flock(other, LOCK_EX) == 0);
    std::atomic<bool> added = false;
    std::thread writer([&] {
        append_history(path, run(1, 2));
        added = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK_FALSE(added);
    ::close(other);
    writer.join();
    CHECK(load_history(path).records.size() == 161);
}

TEST_CASE("whoever keeps a history locked is not waited for without end", "[estimate][history]") {
    temp_dir folder;
    const std::string path = folder.file("runs");
    append_history(path, run(1, 2));
    const int other = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(::flock(other, LOCK_EX) == 0);
    CHECK(failure_of([&] { append_history(path, run(1, 2)); }).kind() == error_kind::in_use);
    ::close(other);
    CHECK(load_history(path).records.size() == 1);
}

TEST_CASE("a run that could not be read again is not written", "[estimate][history]") {
    temp_dir folder;
    const double odd = GENERATE(-1.0, 1e300, std::numeric_limits<double>::quiet_NaN());
    history_record wrong = run(1, 2);
    wrong.outcome.seconds.total = odd;
    CHECK(failure_of([&] { append_history(folder.file("runs"), wrong); }).kind() == error_kind::unsuitable);
    CHECK(load_history(folder.file("runs")).records.empty());
}

TEST_CASE("names that are too long for a line are cut, not the line lost", "[estimate][history]") {
    temp_dir folder;
    history_pair endless = here;
    endless.source.name = std::string(200'000, 'n');
    append_history(folder.file("runs"), run(1, 2, endless));
    const history read = load_history(folder.file("runs"));
    REQUIRE(read.records.size() == 1);
    CHECK(read.records[0].pair.source.name == std::string(4096, 'n'));
}

TEST_CASE("damage to any byte of a line neither throws nor gives figures out of order", "[estimate][history]") {
    const std::string good = to_json_line(run(1, 2));
    std::mt19937_64 random(5);
    for (std::size_t at = 0; at < good.size(); ++at)
        for (unsigned i = 0; i < 4; ++i) {
            std::string line = good;
            line[at] = static_cast<char>(random());
            const auto read = parse_history_line(line);
            if (!read) continue;
            const spread<double>& total = read->prediction.total_s;
            CHECK((total.low >= 0 && total.low <= total.likely && total.likely <= total.high));
        }
}

TEST_CASE("an estimate is scaled by the median of earlier runs of its pair, with their spread", "[estimate][history]") {
    // 0.8 to 1.2 of what was predicted, whatever that was.
    const history runs = past({run(10, 8), run(100, 110), run(1, 1.2), run(20, 22), run(5, 5)});
    const calibration found = find_calibration(runs, next, here);
    CHECK(found.of == calibration::basis::pair);
    CHECK(found.runs == 5);
    CHECK(found.seen.low == Approx(0.8));
    CHECK(found.seen.likely == Approx(1.1));
    CHECK(found.seen.high == Approx(1.2));
    // By hand: the logarithms' standard deviation is 0.1555; t(0.95, 4) = 2.132; times sqrt(1.2).
    const double half = 2.132 * 0.155495 * std::sqrt(1.2);
    CHECK(found.factor.low == Approx(1.1 * std::exp(-half)).epsilon(1e-4));
    CHECK(found.factor.likely == Approx(1.1));
    CHECK(found.factor.high == Approx(1.1 * std::exp(half)).epsilon(1e-4));

    const estimate raw = predicted(90, 100, 120);
    const estimate shown = calibrate(raw, found);
    CHECK(shown.total_s.likely == Approx(110));
    CHECK(shown.total_s.low == Approx(110 * std::exp(-half)).epsilon(1e-4));
    CHECK(shown.total_s.high == Approx(110 * std::exp(half)).epsilon(1e-4));
    CHECK(shown.phases[0].seconds.likely == Approx(27.5));
    CHECK(shown.phases[1].seconds.high == Approx(shown.total_s.high));
    CHECK(shown.to_target == raw.to_target);
    CHECK(shown.to_source == raw.to_source);
    CHECK(says(shown.notes,
               "calibrated from 5 earlier runs of this pair: they took 0.80 to 1.20 of what was predicted, "
               "1.10 in the middle"));
    CHECK(says(shown.notes, "times alone, not bytes or money"));
    REQUIRE(shown.assumptions.size() == 1);
    CHECK(shown.assumptions[0].name == "calibration");
    CHECK(shown.assumptions[0].value == "times by 1.10");
    CHECK_THAT(shown.assumptions[0].source, Catch::Contains("runs"));
}

TEST_CASE("runs of the machine stand in for a pair that has none", "[estimate][history]") {
    history_pair other = here;
    other.source.identity = "kind=file inode=2";
    const history runs = past({run(1, 2, other), run(1, 2, other), run(1, 2, other), run(1, 4)});
    const calibration of_pair = find_calibration(runs, next, here);
    CHECK(of_pair.of == calibration::basis::pair);
    CHECK(of_pair.runs == 1);
    history_pair third = here;
    third.target.name = "reprotect://host/c";
    for (const auto& pair : {std::optional<history_pair>(third), std::optional<history_pair>()}) {
        const calibration of_machine = find_calibration(runs, next, pair);
        CHECK(of_machine.of == calibration::basis::machine);
        CHECK(of_machine.runs == 4);
        CHECK(says(calibrate(predicted(1, 2, 3), of_machine).notes, "4 earlier runs on this machine"));
    }
    // A disk is known by its identity, whatever it is called.
    history_pair renamed = here;
    renamed.source.name = "/dev/disk/by-id/a";
    CHECK(find_calibration(runs, next, renamed).runs == 1);
    for (const auto& none : {find_calibration(runs, predicted(1, 2, 3, "asr-2018"), here),
                             find_calibration(runs, next, third, "other"), find_calibration(past({}), next, here)}) {
        CHECK(none.of == calibration::basis::none);
        const estimate raw = predicted(1, 2, 3);
        const estimate shown = calibrate(raw, none);
        CHECK(shown.total_s == raw.total_s);
        CHECK(shown.assumptions.empty());
        CHECK(says(shown.notes, "not calibrated"));
    }
}

TEST_CASE("only runs that were done in one go count, and of these the newest twenty", "[estimate][history]") {
    history_record failed = run(1, 50), interrupted = run(1, 50), retried = run(1, 50), nothing = run(1, 0),
                   absurd = run(0.001, 50);
    failed.outcome.result = "device_io";
    interrupted.outcome.result = "interrupted";
    retried.outcome.attempts = 2;
    std::vector<history_record> records(30, run(1, 10));
    records.resize(50, run(1, 2));
    for (const history_record& each : {failed, interrupted, retried, nothing, absurd}) records.push_back(each);
    const calibration found = find_calibration(past(records), next, here);
    CHECK(found.runs == 20);
    CHECK(found.factor == spread<double>{found.factor.likely, found.factor.likely, found.factor.likely});
    CHECK(found.factor.likely == Approx(2));
}

TEST_CASE("few runs, or a prediction less sure than theirs, do not narrow the error bars", "[estimate][history]") {
    const auto width = [](const estimate& of) {
        return std::pair{of.total_s.low / of.total_s.likely, of.total_s.high / of.total_s.likely};
    };
    for (const std::size_t count : {1u, 2u}) {
        const history runs = past(std::vector<history_record>(count, run(10, 20)));
        const estimate shown = calibrate(predicted(8, 10, 13), find_calibration(runs, next, here));
        CHECK(shown.total_s.likely == Approx(20));
        CHECK(width(shown).first == Approx(0.8));
        CHECK(width(shown).second == Approx(1.3));
        CHECK(says(shown.notes, "too few"));
        CHECK(says(shown.notes, count == 1 ? "1 earlier run of" : "2 earlier runs of"));
    }
    // Two that do not agree make them wider.
    const estimate unlike =
        calibrate(predicted(8, 10, 13), find_calibration(past({run(10, 10), run(10, 30)}), next, here));
    CHECK(width(unlike).first < 0.8);
    CHECK(width(unlike).second > 1.3);
    // Three that agree narrow them, but only for a prediction as sure as theirs: 0.8 to 1.3.
    const history three = past(std::vector<history_record>(3, run(10, 20)));
    const estimate sure = calibrate(predicted(8, 10, 13), find_calibration(three, next, here));
    CHECK(width(sure).first == Approx(1));
    CHECK(width(sure).second == Approx(1));
    const estimate unsure = calibrate(predicted(8, 10, 50), find_calibration(three, next, here));
    CHECK(unsure.total_s.likely == Approx(20));
    CHECK(width(unsure).first == Approx(1));
    CHECK(width(unsure).second == Approx(5));
    CHECK(says(unsure.notes, "less sure than theirs"));
    // Error bars that begin at nothing, and an estimate of nothing.
    const estimate from_zero = calibrate(predicted(0, 10, 13), find_calibration(three, next, here));
    CHECK(from_zero.total_s.low == 0);
    CHECK(from_zero.total_s.likely == Approx(20));
    CHECK(calibrate(predicted(0, 0, 0), find_calibration(three, next, here)).total_s == exactly(0.0));
}

TEST_CASE("what is kept of a run is the model's own prediction, so that factors do not pile up",
          "[estimate][history]") {
    // A machine that takes twice as long as the model says, run after run.
    temp_dir folder;
    const std::string path = folder.file("runs");
    for (unsigned i = 0; i < 10; ++i) {
        const estimate raw = predicted(80, 100, 130);
        const estimate shown = calibrate(raw, find_calibration(load_history(path), raw, here));
        if (i != 0) CHECK(shown.total_s.likely == Approx(200));
        append_history(path, record_of(raw, took(200), here));
    }
}

TEST_CASE("a disk is kept under its name and identity, a peer's under its name alone", "[estimate][history]") {
    memory_device disk(4096, "m");
    const history_disk known = as_history_disk("called so", &disk);
    CHECK(known.name == "called so");
    CHECK(known.identity == disk.identity().text());
    CHECK(as_history_disk("reprotect://h/x", nullptr) == history_disk{"reprotect://h/x", ""});
}

TEST_CASE("of the machine only runs that did about the same count, and they never make an estimate surer",
          "[estimate][history]") {
    const auto as = [](const estimate_scope& scope) {
        estimate result = predicted(8, 10, 13);
        result.scope = scope;
        return result;
    };
    const estimate_scope usual{true, false, 8ull << 30, 1ull << 30};
    std::vector<history_record> records;
    for (unsigned i = 0; i < 3; ++i) records.push_back(record_of(as(usual), took(20), here));
    const history runs = past(std::move(records));
    const auto runs_for = [&](const estimate_scope& scope) {
        return find_calibration(runs, as(scope), std::nullopt).runs;
    };
    CHECK(runs_for(usual) == 3);
    CHECK(runs_for({true, false, 70ull << 30, 100ull << 20}) == 0);
    CHECK(runs_for({true, false, 70ull << 30, 9ull << 30}) == 3);
    CHECK(runs_for({true, false, 81ull << 30, 1ull << 30}) == 0);
    CHECK(runs_for({true, false, 8ull << 30, 11ull << 30}) == 0);
    CHECK(runs_for({true, false, 700ull << 20, 1ull << 30}) == 0);
    CHECK(runs_for({false, false, 8ull << 30, 1ull << 30}) == 0);
    CHECK(runs_for({true, true, 8ull << 30, 1ull << 30}) == 0);
    // Of the pair all count.
    CHECK(find_calibration(runs, as({true, false, 1, 1}), here).runs == 3);
    // What is next to nothing is the same.
    const history small = past({record_of(as({false, false, 100, 0}), took(20), here)});
    CHECK(find_calibration(small, as({false, false, 5 << 20, 1 << 20}), std::nullopt).runs == 1);

    const estimate shown = calibrate(as(usual), find_calibration(runs, as(usual), std::nullopt));
    CHECK(shown.total_s.likely == Approx(20));
    CHECK(shown.total_s.low == Approx(16));
    CHECK(shown.total_s.high == Approx(26));
    CHECK(says(shown.notes, "of other disks, so the error bars stay at least as wide"));
    const estimate none = calibrate(as({}), find_calibration(runs, as({}), std::nullopt));
    CHECK(none.total_s == spread<double>{8, 10, 13});
    CHECK(says(none.notes, "nor one of this machine that did about the same"));
}

TEST_CASE("what a given rate sets is not scaled", "[estimate][history]") {
    const history runs = past({run(10, 5)});
    estimate raw = predicted(8, 10, 13);
    raw.phases[1].given = true;  // the slowest
    raw.phases.push_back({"flush", {1, 2, 4}, "why"});
    raw.total_s = {9, 12, 18};
    const estimate shown = calibrate(raw, find_calibration(runs, raw, here));
    CHECK(shown.phases[1].seconds == raw.phases[1].seconds);
    CHECK(shown.phases[2].seconds.likely == Approx(1));
    CHECK(shown.total_s.likely == Approx(11));
    CHECK(shown.total_s.high >= 13 + 1);
    CHECK(says(shown.notes, "what a given rate sets stays"));
}

TEST_CASE("the target's reads and writes, one after the other, are scaled as far as each of them is",
          "[estimate][history]") {
    // A limit sets the link's time; runs took twice as long.
    const auto estimate_of = [](bool read_given, bool write_given, double link) {
        estimate raw = predicted(0, 10, 10);
        raw.phases = {{"target-read", {8, 8, 10}, "why", true, read_given},
                      {"target-write", {8, 8, 10}, "why", true, write_given},
                      {"link", {link, link, link}, "why", true, true}};
        const double slowest = std::max(link, 10.0);
        raw.total_s = {slowest, slowest, std::max(link, 20.0)};
        return raw;
    };
    const auto high_of = [&](bool read_given, bool write_given, double link) {
        const estimate raw = estimate_of(read_given, write_given, link);
        return calibrate(raw, find_calibration(past({run(10, 20)}), raw, here)).total_s.high;
    };
    CHECK(high_of(false, false, 12) == Approx(40));
    CHECK(high_of(false, false, 30) == Approx(40));
    CHECK(high_of(false, false, 50) == Approx(50));
    CHECK(high_of(true, false, 12) == Approx(30));
    CHECK(high_of(true, true, 12) == Approx(20));
}
