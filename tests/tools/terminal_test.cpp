// What a person at a terminal sees: the question before a first sync, the progress, and what signals do.
#include <catch2/catch.hpp>

#include <signal.h>

#include <fstream>
#include <sstream>

#include "support/pty.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

constexpr std::size_t mib = 1 << 20;
const std::string question = "Type yes to go on: ";

struct pair_to_ask {
    tool_rig rig;
    std::string source = rig.random_disk("source", 1, mib);
    std::string target = rig.random_disk("target", 2, mib);
    std::vector<std::byte> before = read_whole_file(target);
    std::vector<std::string> line(std::vector<std::string> more = {}) const {
        std::vector<std::string> words{"sync", source, target};
        words.insert(words.end(), more.begin(), more.end());
        return rig.command(words);
    }
};

TEST_CASE("the first sync onto a target that is not blank shows both disks and asks", "[tool]") {
    const pair_to_ask pair;
    terminal_process sync(pair.line());
    REQUIRE(sync.shows(question));
    CHECK(has(sync.screen(), pair.source));
    CHECK(has(sync.screen(), pair.target));
    CHECK(has(sync.screen(), "identity"));
    CHECK(has(sync.screen(), "data of no known kind"));
    CHECK(has(sync.screen(), "->"));
    CHECK((read_whole_file(pair.target) == pair.before));
    sync.type("yes\n");
    CHECK(sync.wait() == 0);
    CHECK(same_bytes(pair.source, pair.target));
    CHECK(has(sync.screen(), "done"));

    pair.rig.random_disk("source", 3, mib);
    terminal_process again(pair.line());
    CHECK(again.wait() == 0);
    CHECK_FALSE(has(again.screen(), question));
    CHECK(same_bytes(pair.source, pair.target));
}

TEST_CASE("any answer but yes declines, and nothing is written", "[tool]") {
    for (const std::string answer : {"y\n", "no\n", "\n", "YES!\n", "\x04"}) {
        const pair_to_ask pair;
        terminal_process sync(pair.line());
        REQUIRE(sync.shows(question));
        sync.type(answer);
        CHECK(sync.wait() == 3);
        CHECK(has(sync.screen(), "declined: nothing was written"));
        CHECK((read_whole_file(pair.target) == pair.before));
    }
}

TEST_CASE("nothing is asked with --yes, in a dry run, of a blank or missing target, or without a terminal", "[tool]") {
    const pair_to_ask pair;
    for (const std::string option : {"--dry-run", "--yes"}) {
        terminal_process sync(pair.line({option}));
        CHECK(sync.wait() == 0);
        CHECK_FALSE(has(sync.screen(), question));
    }
    make_sparse_file(pair.rig.file("blank"), mib);
    write_whole_file(pair.rig.file("zeroes"), std::vector<std::byte>(mib));
    for (const std::string target : {"blank", "zeroes", "missing"}) {
        terminal_process sync(pair.rig.command({"sync", pair.source, pair.rig.file(target)}));
        CHECK(sync.wait() == 0);
        CHECK_FALSE(has(sync.screen(), question));
        CHECK(same_bytes(pair.source, pair.rig.file(target)));
    }
    const pair_to_ask scripted;
    const command_result result = run_command(scripted.line());
    CHECK(result.exit_code == 0);
    CHECK(same_bytes(scripted.source, scripted.target));
}

TEST_CASE("a target with one byte in its middle is not taken for blank where samples reach it", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 4 * mib);
    std::vector<std::byte> almost(4 * mib);
    almost[2 * mib + 12345] = std::byte{1};
    write_whole_file(rig.file("target"), almost);
    terminal_process sync(rig.command({"sync", source, rig.file("target")}));
    CHECK(sync.shows(question));
    sync.type("no\n");
    CHECK(sync.wait() == 3);
}

TEST_CASE("Ctrl-C at the question ends at once", "[tool]") {
    const pair_to_ask pair;
    terminal_process sync(pair.line());
    REQUIRE(sync.shows(question));
    sync.type("\x03");
    CHECK(sync.wait() == 130);
    CHECK((read_whole_file(pair.target) == pair.before));
}

// A sync that would take minutes, and has written its first MiB.
struct slow_sync {
    tool_rig rig;
    tool_rig::slow_pair pair = rig.make_slow_pair();
    process run{rig.command({"sync", pair.source, pair.target, "--source-allocation", pair.allocation, "--json",
                             "--progress", "json", "--depth", "2"})};

    bool has_written() const {
        return wait_until([&] {
            const std::string said = run.errors();
            const std::size_t last = said.rfind("\"written_bytes\":");
            return last != std::string::npos && said[last + 16] != '0';
        });
    }
    std::string status() const {
        return text_at(parse_json(rig.run({"map", pair.target, "--json"}).output), "record.status");
    }
};

TEST_CASE("the first SIGINT or SIGTERM stops within a moment, flushes and leaves the record dirty", "[tool]") {
    for (const int signal : {SIGINT, SIGTERM}) {
        slow_sync slow;
        REQUIRE(slow.has_written());
        const auto sent = std::chrono::steady_clock::now();
        slow.run.send(signal);
        const command_result result = slow.run.wait();
        CHECK(std::chrono::steady_clock::now() - sent < std::chrono::seconds(10));
        INFO(result.errors);
        CHECK(result.exit_code == 130);
        CHECK(has(result.errors, "stopping: flushing what was written"));
        const auto document = parse_json(result.output);
        CHECK(count_at(document, "error.code") == 130);
        CHECK(text_at(document, "error.kind") == "interrupted");
        CHECK(count_at(document, "bytes.written") >= mib);
        CHECK(slow.status() == "dirty");
        // The next sync goes on from there: what was written is not written again.
        const command_result next = slow.rig.run({"sync", slow.pair.source, slow.pair.target, "--json"});
        INFO(next.errors);
        CHECK(next.exit_code == 0);
        CHECK(count_at(parse_json(next.output), "bytes.written") == 0);
        CHECK(slow.status() == "clean");
    }
}

TEST_CASE("a second signal quits at once and leaves the record dirty", "[tool]") {
    slow_sync slow;
    REQUIRE(slow.has_written());
    // Both are pending when the process wakes, so the second comes while the first is being obeyed.
    slow.run.send(SIGSTOP);
    slow.run.send(SIGINT);
    slow.run.send(SIGTERM);
    slow.run.send(SIGCONT);
    const command_result result = slow.run.wait();
    INFO(result.errors);
    CHECK(result.exit_code == 130);
    CHECK(has(result.errors, "stopping: "));
    CHECK(has(result.errors, "quitting at once"));
    CHECK(result.output.empty());
    CHECK(slow.status() == "dirty");
}

bool blocks_signal(pid_t process, int signal) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("SigBlk:")) return ((std::stoull(line.substr(7), nullptr, 16) >> (signal - 1)) & 1) != 0;
    }
    return false;
}

TEST_CASE("SIGUSR1 prints the progress and the sync goes on", "[tool]") {
    const tool_rig rig;
    const auto pair = rig.make_slow_pair();
    process run(rig.command({"sync", pair.source, pair.target, "--source-allocation", pair.allocation}));
    // The kernel's default for SIGUSR1 ends a program, so it must have started to watch.
    REQUIRE(wait_until([&] { return blocks_signal(run.id(), SIGUSR1); }));
    REQUIRE(wait_until([&] {
        run.send(SIGUSR1);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return has(run.errors(), "scan ");
    }));
    run.send(SIGTERM);
    const command_result result = run.wait();
    INFO(result.errors);
    CHECK(result.exit_code == 130);
    CHECK(has(result.errors, "reprotect: scan "));
    CHECK(has(result.errors, " of 1.00 TiB"));
    CHECK(has(result.errors, "ETA "));
}

TEST_CASE("a signal stops diff and checksum too", "[tool]") {
    const tool_rig rig;
    const auto pair = rig.make_slow_pair();
    process diff(
        rig.command({"diff", pair.source, pair.target, "--source-allocation", pair.allocation, "--progress", "json"}));
    REQUIRE(diff.says("\"phase\":\"scan\""));
    diff.send(SIGINT);
    CHECK(diff.wait().exit_code == 130);
    process checksum(rig.command({"checksum", pair.source, "--ignore-allocation", "--progress", "json", "--json"}));
    REQUIRE(checksum.says("\"event\":\"progress\""));
    checksum.send(SIGINT);
    const command_result result = checksum.wait();
    CHECK(result.exit_code == 130);
    CHECK(count_at(parse_json(result.output), "error.code") == 130);
}

TEST_CASE("every line of --progress json parses, and its percentage never goes back", "[tool]") {
    slow_sync slow;
    REQUIRE(slow.has_written());
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    slow.run.send(SIGUSR1);
    slow.run.send(SIGINT);
    const command_result result = slow.run.wait();
    std::istringstream lines(result.errors);
    double last = 0;
    std::size_t progress = 0;
    std::size_t errors = 0;
    for (std::string line; std::getline(lines, line);) {
        CAPTURE(line);
        const auto object = parse_json(line);
        const std::string event = text_at(object, "event");
        if (event == "error") ++errors;
        if (event != "progress") continue;
        ++progress;
        const double percent = at_path(object, "percent").to_number<double>();
        CHECK(percent >= last);
        CHECK(percent <= 100);
        last = percent;
        for (const char* key :
             {"phase", "done_bytes", "total_bytes", "data_done_bytes", "data_known_bytes", "data_known_final",
              "changed_bytes", "written_bytes", "seconds", "bytes_per_second", "eta_seconds", "eta_at_least"})
            CHECK(object.contains(key));
    }
    CHECK(progress >= 3);
    CHECK(errors == 1);
}

TEST_CASE("the percentage does not start again when the target is read again", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 32 * mib);
    const command_result result =
        rig.run({"sync", source, rig.file("target"), "--progress", "json", "--verify=reread"});
    REQUIRE(result.exit_code == 0);
    std::istringstream lines(result.errors);
    double last = 0;
    std::string phases;
    for (std::string line; std::getline(lines, line);) {
        const auto object = parse_json(line);
        if (text_at(object, "event") != "progress") continue;
        const double percent = at_path(object, "percent").to_number<double>();
        CHECK(percent >= last);
        last = percent;
        phases += text_at(object, "phase") + " ";
        if (text_at(object, "phase") == "flush") CHECK(percent < 90);  // the second reading is still to come
        if (text_at(object, "phase") != "done") CHECK(percent < 100);
    }
    CHECK(has(phases, "verify done"));
    CHECK(last == 100);
}

TEST_CASE("while the data to read is still being counted, the time left says that it is a lower bound", "[tool]") {
    const tool_rig rig;
    const auto pair = rig.make_slow_pair();
    std::string runs;
    for (std::uint64_t i = 0; i < 100000; ++i) runs += std::to_string(i * 10 * mib) + " 4MiB\n";
    const std::string allocation = rig.text_file("runs", runs);
    terminal_process sync(rig.command({"sync", pair.source, pair.target, "--source-allocation", allocation, "--yes"}));
    CHECK(sync.shows("ETA at least "));
    CHECK(sync.shows("still counting"));
    sync.send(SIGTERM);
    CHECK(sync.wait() == 130);

    process lines(
        rig.command({"sync", pair.source, pair.target, "--source-allocation", allocation, "--progress", "json"}));
    CHECK(lines.says("\"data_known_final\":false"));
    CHECK(wait_until(
        [&] { return has(lines.errors(), "\"eta_seconds\":") && has(lines.errors(), "\"eta_at_least\":true"); }));
    lines.send(SIGTERM);
    CHECK(lines.wait().exit_code == 130);
}

TEST_CASE("a short run ends its progress with the phase done", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const command_result result = rig.run({"sync", source, rig.file("target"), "--progress", "json"});
    REQUIRE(result.exit_code == 0);
    const std::size_t last = result.errors.rfind('\n', result.errors.size() - 2);
    const auto object = parse_json(result.errors.substr(last == std::string::npos ? 0 : last + 1));
    CHECK(text_at(object, "phase") == "done");
    CHECK(at_path(object, "percent").to_number<double>() == 100);
}

TEST_CASE("the bar fits the terminal, moves, and is cleared at the end", "[tool]") {
    for (const unsigned short columns : std::initializer_list<unsigned short>{60, 80, 120}) {
        const tool_rig rig;
        const auto pair = rig.make_slow_pair();
        terminal_process sync(
            rig.command({"sync", pair.source, pair.target, "--source-allocation", pair.allocation, "--yes"}), columns);
        REQUIRE(sync.shows("scan "));
        REQUIRE(sync.shows("ETA "));
        std::this_thread::sleep_for(std::chrono::milliseconds(600));
        sync.send(SIGINT);  // typed, its echo would stand behind the bar
        CHECK(sync.wait() == 130);
        CHECK(has(sync.screen(), "%"));
        if (columns >= 80) CHECK(has(sync.screen(), "% [-"));
        // Each drawing starts with a carriage return; none is as wide as the terminal, and at most ten came a second.
        const std::string& screen = sync.screen();
        const std::string drawn = screen.substr(0, screen.find("stopping"));
        for (std::size_t begin = 0; begin < drawn.size();) {
            const std::size_t end = std::min(drawn.find_first_of("\r\n", begin), drawn.size());
            CHECK(end - begin < columns);
            begin = end + 1;
        }
        const std::size_t error = screen.rfind("reprotect: ");
        REQUIRE(error != std::string::npos);
        CHECK_FALSE(has(screen.substr(error), "%"));
        CHECK((screen[error - 1] == '\r' || screen[error - 1] == '\n'));
    }
}

TEST_CASE("without a terminal there is no bar", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    CHECK(rig.run({"sync", source, rig.file("a")}).errors.empty());
    CHECK(has(rig.run({"sync", source, rig.file("b"), "--progress", "bar"}).errors, "\r"));
    CHECK(rig.run({"sync", source, rig.file("c"), "--progress", "none"}).errors.empty());
}

}  // namespace
