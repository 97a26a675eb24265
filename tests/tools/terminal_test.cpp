// What a person at a terminal sees: the question before a first sync, the progress, and what signals do.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

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

TEST_CASE("an estimate before a sync is what the question is about, and is shown where it is asked", "[tool]") {
    const pair_to_ask pair;
    REQUIRE(run_command(pair.line({"--yes"})).exit_code == 0);
    pair.rig.random_disk("target", 3, mib);
    const auto before = read_whole_file(pair.target);
    const std::string log = pair.rig.file("log");
    const std::vector<std::string> loud = pair.line({"--estimate-first"}),
                                   quiet = pair.line({"--estimate-first", "--quiet"});
    std::vector<std::string> redirected{"bash", "-c", "\"$@\" 2> \"$0\"", log};
    redirected.insert(redirected.end(), loud.begin(), loud.end());
    for (const std::vector<std::string>& line : {loud, quiet, redirected}) {
        terminal_process sync(line);
        REQUIRE(sync.shows(question));
        const std::string shown = sync.screen();
        INFO(shown);
        const std::size_t model = shown.find("model         pipeline"), asked = shown.find("The estimate is above");
        REQUIRE(model != std::string::npos);
        CHECK(shown.find("model  ", model + 1) == std::string::npos);
        REQUIRE(asked != std::string::npos);
        CHECK(model < asked);
        sync.type("no\n");
        CHECK(sync.wait() == 3);
        CHECK(read_whole_file(pair.target) == before);
    }
    terminal_process agreed(quiet);
    REQUIRE(agreed.shows(question));
    agreed.type("yes\n");
    CHECK(agreed.wait() == 0);
    CHECK(same_bytes(pair.source, pair.target));
    // With --yes nobody is asked, and quiet is quiet.
    CHECK(run_command(pair.line({"--estimate-first", "--quiet", "--yes"})).errors.empty());
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

TEST_CASE("nothing is asked about a sync that will be refused", "[tool]") {
    const pair_to_ask pair;
    std::filesystem::create_symlink(pair.source, pair.rig.file("same"));
    terminal_process same(pair.rig.command({"sync", pair.source, pair.rig.file("same")}));
    CHECK(same.wait() == 3);
    CHECK_FALSE(has(same.screen(), question));

    REQUIRE(pair.rig.run({"sync", pair.source, pair.target}).exit_code == 0);
    terminal_process back(pair.rig.command({"sync", pair.target, pair.source}));
    CHECK(back.wait() == 3);
    CHECK_FALSE(has(back.screen(), question));
    CHECK(has(back.screen(), "--reverse"));

    const pair_to_ask other;
    other.rig.text_file("records", "a file where a directory should be");
    terminal_process unreadable(other.line());
    CHECK(unreadable.wait() != 0);
    CHECK_FALSE(has(unreadable.screen(), question));
    CHECK((read_whole_file(other.target) == other.before));
}

TEST_CASE("the question says why it is asked: the direction turns round, or a record is damaged", "[tool]") {
    const pair_to_ask pair;
    REQUIRE(pair.rig.run({"sync", pair.source, pair.target}).exit_code == 0);
    terminal_process reversed(pair.rig.command({"sync", pair.target, pair.source, "--reverse"}));
    REQUIRE(reversed.shows(question));
    CHECK(has(reversed.screen(), "This turns the direction round: the target was the source of this pair"));
    CHECK_FALSE(has(reversed.screen(), "first sync"));
    reversed.type("no\n");
    CHECK(reversed.wait() == 3);

    for (const auto& entry : std::filesystem::directory_iterator(pair.rig.records())) {
        if (entry.is_regular_file()) tool_rig::damage(entry.path().string(), entry.file_size() / 2);
    }
    terminal_process damaged(pair.line());
    REQUIRE(damaged.shows(question));
    CHECK(has(damaged.screen(), "The record of the target does not check out, and the target is not blank"));
    CHECK_FALSE(has(damaged.screen(), "first sync"));
    damaged.type("no\n");
    CHECK(damaged.wait() == 3);
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
        CHECK(std::chrono::steady_clock::now() - sent < std::chrono::seconds(30));
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

// Whether a signal stands in one of the kernel's sets of a process: "SigBlk:" is blocked, "ShdPnd:" waits.
bool in_signal_set(pid_t process, std::string_view set, int signal) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(set))
            return ((std::stoull(line.substr(set.size()), nullptr, 16) >> (signal - 1)) & 1) != 0;
    }
    return false;
}

bool blocks_signal(pid_t process, int signal) {
    return in_signal_set(process, "SigBlk:", signal);
}

// A run whose standard error takes not a byte until it is drained.
class held_up_run {
public:
    explicit held_up_run(const tool_rig& rig, const std::vector<std::string>& words) : fifo_(rig.file("errors")) {
        if (::mkfifo(fifo_.c_str(), 0600) != 0) throw std::runtime_error("mkfifo failed");
        end_ = ::open(fifo_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        const std::string part(4096, '.');
        while (::write(end_, part.data(), part.size()) > 0) {
        }
        std::vector<std::string> line{"sh", "-c", "exec \"$@\" 2>\"$0\"", fifo_};
        line.insert(line.end(), words.begin(), words.end());
        run_.emplace(line);
        if (!wait_until([&] { return blocks_signal(run_->id(), SIGUSR1); }))
            throw std::runtime_error("it does not start");
    }
    held_up_run(const held_up_run&) = delete;
    held_up_run& operator=(const held_up_run&) = delete;
    ~held_up_run() { ::close(end_); }

    /// Sends a signal; false where nobody takes it.
    bool is_taken(int signal) {
        run_->send(signal);
        return wait_until([&] { return !in_signal_set(run_->id(), "ShdPnd:", signal); });
    }
    std::ptrdiff_t threads() const {
        return std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(run_->id()) + "/task"), {});
    }
    std::string drain() {
        std::string all;
        char part[4096];
        ssize_t got = 0;
        while ((got = ::read(end_, part, sizeof part)) > 0) all.append(part, static_cast<std::size_t>(got));
        return all;
    }
    process& run() { return *run_; }

private:
    std::string fifo_;
    int end_ = -1;
    std::optional<process> run_;
};

TEST_CASE("a standard error that takes nothing makes no signal go unheard", "[tool]") {
    using signals = std::vector<int>;
    for (const signals& taken : {signals{SIGTERM}, signals{SIGUSR1, SIGINT}, signals{SIGUSR1, SIGUSR1, SIGTERM}}) {
        for (const std::string progress : {"none", "bar", "json"}) {
            CAPTURE(taken, progress);
            const tool_rig rig;
            const auto pair = rig.make_slow_pair();
            held_up_run held(rig, rig.command({"sync", pair.source, pair.target, "--source-allocation", pair.allocation,
                                               "--depth", "2", "--progress", progress}));
            REQUIRE(wait_until([&] { return std::filesystem::exists(rig.records()); }));
            for (const int signal : taken) REQUIRE(held.is_taken(signal));
            // The sync ends although nobody can be told; what is left is the thread with the report and the one that listens.
            CHECK(wait_until([&] { return held.threads() == 2; }));
            held.run().send(taken.back());
            CHECK(held.run().wait().exit_code == 130);
        }
    }
}

TEST_CASE("a stop that could not be said at once is said and reported when standard error takes more", "[tool]") {
    const tool_rig rig;
    const auto pair = rig.make_slow_pair();
    held_up_run held(rig, rig.command({"sync", pair.source, pair.target, "--source-allocation", pair.allocation,
                                       "--depth", "2", "--json"}));
    REQUIRE(wait_until([&] { return std::filesystem::exists(rig.records()); }));
    REQUIRE(held.is_taken(SIGTERM));
    std::string said;
    CHECK(wait_until([&] {
        said += held.drain();
        return has(said, "stopping: ") && has(said, "interrupted");
    }));
    const command_result result = held.run().wait();
    CHECK(result.exit_code == 130);
    CHECK(text_at(parse_json(result.output), "error.kind") == "interrupted");
}

TEST_CASE("Ctrl-C ends what only waits to say that the command line makes no sense", "[tool]") {
    const tool_rig rig;
    held_up_run held(rig, {tool_path, "nonsense"});
    held.run().send(SIGINT);
    CHECK(held.run().wait().exit_code == 130);
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
