// Disks at the far end of ssh, as a user reaches them: a real ssh and a real sshd on this machine, and the tool at both
// ends. What connects is the user's own ssh, so what is checked is what lies between: names that need no quoting,
// failures that say what they are, and no process that outlives its session.
#include <catch2/catch.hpp>

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include "support/sshd_rig.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;
using namespace std::chrono_literals;
using words = std::vector<std::string>;

// Neither running nor about to be: a zombie waits for nobody but its parent.
bool has_ended(const std::string& id) {
    std::ifstream file("/proc/" + id + "/stat");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const std::size_t name_end = text.rfind(") ");
    return name_end == std::string::npos || text.compare(name_end + 2, 1, "Z") == 0;
}

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return count;
}

// How often the tool says here why it ends, warnings apart.
std::size_t errors_told(const command_result& result) {
    return count_of("\n" + result.errors, "\nreprotect: ") - count_of("\n" + result.errors, "\nreprotect: warning: ");
}

// This machine and the far one, which is this one as ssh sees it. The tool over there keeps its records in a folder
// of its own and notes its process, which needs a script: what ssh runs is one word and "serve --stdio".
struct two_machines {
    tool_rig rig;
    sshd_rig sshd;
    std::string far_tool = script(rig.file("far tool's.sh"));

    // False, and said why, where there is no sshd.
    bool ready() const {
        if (sshd.why_not().empty()) return true;
        WARN("nothing is tested: " << sshd.why_not());
        return false;
    }
    std::string far(const std::string& path) const { return sshd.address() + path; }
    std::string far_records() const { return rig.file("far.records"); }
    std::string far_process() const { return line_of(rig.file("far.process")); }

    command_result run(words line) const { return rig.run(over_ssh(std::move(line), sshd.command(), far_tool)); }
    static words over_ssh(words line, const std::string& ssh, const std::string& tool = {}) {
        if (std::ranges::find(line, "estimate") == line.end()) line.insert(line.end(), {"--progress", "none"});
        line.insert(line.end(), {"--ssh", ssh});
        if (!tool.empty()) line.insert(line.end(), {"--remote-tool", tool});
        return line;
    }
    std::string far_status(const std::string& disk) const {
        const command_result told = run_command({tool_path, "map", disk, "--state", far_records(), "--json"});
        return text_at(parse_json(told.output), "record.status");
    }

    std::string script(const std::string& path) const {
        std::ofstream(path) << "#!/bin/sh\necho $$ > '" << rig.file("far.process") << "'\nexec '" << tool_path
                            << "' \"$@\" --state '" << far_records() << "'\n";
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
        return path;
    }
    static std::string line_of(const std::string& path) {
        std::ifstream file(path);
        std::string line;
        std::getline(file, line);
        return line;
    }
};

TEST_CASE("over ssh a push makes the file, and the next one sends only what differs", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 3'000'000);
    const std::string target = here.rig.file("target");

    const command_result first = here.run({"sync", source, here.far(target), "--json"});
    INFO(first.errors);
    REQUIRE(first.exit_code == 0);
    CHECK(first.errors.empty());
    CHECK(text_at(parse_json(first.output), "reason") == "target missing");
    CHECK(same_bytes(source, target));
    CHECK(here.far_status(target) == "clean");
    CHECK_FALSE(std::filesystem::exists(here.rig.records() + "/target"));

    tool_rig::damage(target, 1'234'567);
    CHECK(here.run({"diff", source, here.far(target), "--quiet"}).exit_code == 1);
    const command_result second = here.run({"sync", source, here.far(target), "--json"});
    INFO(second.errors);
    REQUIRE(second.exit_code == 0);
    const auto report = parse_json(second.output);
    CHECK(text_at(report, "mode") == "differential");
    CHECK(count_at(report, "bytes.changed") == 4096);
    CHECK(count_at(report, "bytes.written") == 4096);
    CHECK(count_at(report, "wire.to_target.payload") <= 4096);
    CHECK(count_at(report, "wire.to_target.total") < 10'000);
    CHECK(text_at(report, "verified") == "root");
    CHECK(same_bytes(source, target));
    CHECK(here.run({"diff", source, here.far(target), "--quiet"}).exit_code == 0);
    CHECK(wait_until([&] { return has_ended(here.far_process()); }));
}

TEST_CASE("over ssh a pull, a diff and a checksum say what they say of disks of this machine", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 1'000'001);
    const std::string target = here.rig.copy(source, "target");
    tool_rig::damage(target, 500'000);
    CHECK(here.run({"diff", here.far(source), target, "--extents"}).output ==
          here.rig.run({"diff", source, target, "--extents"}).output);
    const command_result pulled = here.run({"sync", here.far(source), target, "--json"});
    INFO(pulled.errors);
    CHECK(pulled.exit_code == 0);
    CHECK(count_at(parse_json(pulled.output), "bytes.written") == 4096);
    CHECK(same_bytes(source, target));
    CHECK(here.run({"diff", here.far(source), target, "--quiet"}).exit_code == 0);

    const auto there = parse_json(here.run({"checksum", here.far(source), "--json"}).output);
    const auto local = parse_json(here.rig.run({"checksum", source, "--json", "--digest", "sha256"}).output);
    CHECK(text_at(there, "root") == text_at(local, "root"));
}

TEST_CASE("over ssh a disk is looked at where it is, and a sync that estimates first is predicted", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 8 << 20);
    const std::string target = here.rig.copy(source, "target");
    for (std::size_t at = 0; at < 8 << 20; at += 64 << 10) tool_rig::damage(target, at);
    constexpr double changed = (8 << 20) / 16;
    for (const words& pair : {words{source, here.far(target)}, words{here.far(source), target}}) {
        const command_result looked =
            run_command(two_machines::over_ssh({tool_path, "estimate", pair[0], pair[1], "--json", "--sample", "100%"},
                                               here.sshd.command(), here.far_tool));
        INFO(looked.errors);
        REQUIRE(looked.exit_code == 0);
        const auto document = parse_json(looked.output);
        CHECK(at_path(document, "probe.changed.low_bytes").to_number<double>() <= changed);
        CHECK(at_path(document, "probe.changed.high_bytes").to_number<double>() >= changed);
        CHECK(at_path(document, "probe.rates.link_to_target.likely").to_number<double>() > 0);
        CHECK_FALSE(has(looked.output, "\"connections\""));  // there is one: nothing to assume
        CHECK_FALSE(same_bytes(source, target));
    }
    const command_result pushed = here.run({"sync", source, here.far(target), "--yes", "--estimate-first", "--json"});
    INFO(pushed.errors);
    CHECK(pushed.exit_code == 0);
    CHECK(same_bytes(source, target));
    CHECK(at_path(parse_json(pushed.output), "predicted_against_actual.total_s.predicted.likely").to_number<double>() >
          0);
}

TEST_CASE("no character of a path reaches the far shell", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 10'000);
    const std::string name =
        "-x 'a' \"b\" $HOME $(exit 9) `exit 9` ; exit 9 & | < > * ? [z] {1,2} ~ ! # @h:1 \\ %25 "
        "\xC3\xA9.img";
    const std::string folder = here.rig.file("a folder; exit 9");
    std::filesystem::create_directory(folder);

    const command_result pushed = here.run({"sync", source, here.far(folder + "/" + name)});
    INFO(pushed.errors);
    CHECK(pushed.exit_code == 0);
    std::string meant = name;
    meant.replace(meant.find("%25"), 3, "%");
    REQUIRE(std::filesystem::exists(folder + "/" + meant));
    CHECK(same_bytes(source, folder + "/" + meant));

    std::string encoded;
    for (const char letter : folder + "/" + meant) {
        static constexpr char digits[] = "0123456789abcdef";
        const auto value = static_cast<unsigned char>(letter);
        if (letter == '/') {
            encoded += letter;
        } else {
            encoded += {'%', digits[value >> 4], digits[value & 15]};
        }
    }
    CHECK(here.run({"diff", source, here.far(encoded), "--quiet"}).exit_code == 0);
    CHECK(here.rig.run({"diff", source, here.far("/a%2"), "--quiet"}).exit_code == 2);
    CHECK(here.rig.run({"diff", source, here.far("/a%00b"), "--quiet"}).exit_code == 2);
    CHECK(here.rig.run({"diff", source, here.far("/"), "--quiet"}).exit_code == 2);
    CHECK(here.rig.run({"diff", source, "ssh://-oProxyCommand=touch/x", "--quiet"}).exit_code == 2);
    CHECK(here.rig.run({"diff", source, "ssh://-l@127.0.0.1/x", "--quiet"}).exit_code == 2);
}

TEST_CASE("a path after /~/ begins in the far user's home", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const passwd* const user = ::getpwuid(::geteuid());
    std::string folder = (user != nullptr ? std::string(user->pw_dir) : "") + "/.reprotect-test-XXXXXX";
    if (user == nullptr || ::mkdtemp(folder.data()) == nullptr) {
        WARN("nothing is tested: this user's home cannot be written");
        return;
    }
    const struct removal {
        std::filesystem::path path;
        ~removal() {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        }
    } at_end{folder};
    const std::string source = here.rig.random_disk("source", 1, 10'000);
    const std::string name = std::filesystem::path(folder).filename().string();
    const command_result pushed = here.run({"sync", source, here.far("/~/" + name + "/disk")});
    INFO(pushed.errors);
    CHECK(pushed.exit_code == 0);
    REQUIRE(std::filesystem::exists(folder + "/disk"));
    CHECK(same_bytes(source, folder + "/disk"));
    CHECK(here.run({"diff", source, here.far(folder + "/disk"), "--quiet"}).exit_code == 0);
}

TEST_CASE("what keeps ssh from connecting ends with 5 and one line, and nothing is written", "[tool][ssh]") {
    two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 10'000);
    const std::string target = here.rig.file("target");
    const std::string usual = here.sshd.command();
    struct obstacle {
        std::string ssh;
        std::string tool;
        std::string address;
        std::string says;  // after the host's name
    };
    const std::string nobody = "it closed the connection before a session began; ssh ended with 255";
    const std::vector<obstacle> obstacles{
        {here.sshd.command_of_another_host(), here.far_tool, here.sshd.address(), nobody},
        {here.sshd.command_with(here.sshd.stranger()), here.far_tool, here.sshd.address(), nobody},
        {usual, "/nonexistent", here.sshd.address(),
         "it closed the connection before a session began; there is no such command at the far end (ssh ended with "
         "127)"},
        {usual, "/usr/bin/false", here.sshd.address(),
         "it closed the connection before a session began; ssh ended with 1"},
        {usual, here.far_tool, "ssh://no-such-host.invalid", nobody},
        {usual, here.far_tool, "ssh://127.0.0.1:1", nobody},
    };
    const auto check_refused = [&](const obstacle& each, const words& line) {
        CAPTURE(each.ssh, each.tool, line);
        const command_result result = here.rig.run(two_machines::over_ssh(line, each.ssh, each.tool));
        INFO("said: " << result.errors);
        CHECK(result.exit_code == 5);
        CHECK(errors_told(result) == 1);
        CHECK(has(result.errors, ": " + each.says + "\n"));
        CHECK(count_of(result.errors, "\n  hint: ") == 1);
        CHECK(result.output.empty());
        CHECK_FALSE(std::filesystem::exists(target));
    };
    for (const obstacle& each : obstacles) check_refused(each, {"sync", source, each.address + target});
    for (const std::size_t nth : {0, 2})
        check_refused(obstacles[nth], {"sync", obstacles[nth].address + source, target});
    // ssh's own words stand before.
    const command_result refused =
        here.rig.run(two_machines::over_ssh({"checksum", here.far(source), "--json"}, obstacles[1].ssh, here.far_tool));
    CHECK(refused.exit_code == 5);
    CHECK(has(refused.errors, "Permission denied"));
    CHECK(count_at(parse_json(refused.output), "error.code") == 5);
}

TEST_CASE("what the far side refuses ends here as it would there", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 10'000);
    const std::string large = here.rig.random_disk("large", 2, 20'000);
    const std::string fresh = here.rig.file("fresh");
    const std::string missing = here.rig.file("missing");
    struct refusal {
        words line;
        std::string kind;
    };
    const std::vector<refusal> refusals{
        {{"sync", here.far(missing), fresh}, "not_found"},
        {{"checksum", here.far(missing)}, "not_found"},
        {{"sync", source, here.far(here.rig.folder().string())}, "unsuitable"},
        {{"sync", source, here.far(large)}, "size_mismatch"},
        {{"sync", source, here.far(source)}, "same_disk"},
    };
    for (const refusal& each : refusals) {
        CAPTURE(each.line);
        words line = each.line;
        line.push_back("--json");
        const command_result result = here.run(line);
        INFO("said: " << result.errors);
        CHECK(result.exit_code == 3);
        CHECK(text_at(parse_json(result.output), "error.kind") == each.kind);
        CHECK(errors_told(result) == 1);
    }
    CHECK_FALSE(std::filesystem::exists(fresh));
    CHECK_FALSE(std::filesystem::exists(missing));
    CHECK((read_whole_file(large) == random_bytes(2, 20'000)));
    // The terminal of this side is nobody's to steer.
    const command_result hostile = here.run({"checksum", here.far("/none%0A%1B%5B31mforged")});
    CHECK(hostile.exit_code == 3);
    CHECK_FALSE(has(hostile.errors, "\x1B"));
    CHECK_FALSE(has(hostile.errors, "\n\\x1b"));
    CHECK(count_of(hostile.errors, "forged") != 0);
}

TEST_CASE("an interrupted push over ssh flushes, is on record, leaves no process behind and can be gone on with",
          "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const tool_rig::slow_pair pair = here.rig.make_slow_pair();
    process push(here.rig.command(
        two_machines::over_ssh({"sync", pair.source, here.far(pair.target), "--source-allocation", pair.allocation},
                               here.sshd.command(), here.far_tool)));
    // Its first MiB has been sent and written.
    REQUIRE(wait_until([&] { return allocated_bytes(pair.target) != 0 || !push.runs(); }));
    REQUIRE(push.runs());
    const command_result children = run_command({"pgrep", "-P", std::to_string(push.id())});
    const std::string ssh = children.output.substr(0, children.output.find('\n'));
    REQUIRE_FALSE(ssh.empty());
    const std::string far = here.far_process();
    REQUIRE_FALSE(has_ended(far));

    // Ctrl-C on a terminal reaches both, and is not ssh's to follow: what is to be told goes through it.
    ::kill(static_cast<pid_t>(std::stol(ssh)), SIGINT);
    CHECK_FALSE(wait_until([&] { return has_ended(ssh); }, 200ms));
    push.send(SIGINT);
    const auto begin = std::chrono::steady_clock::now();
    const command_result result = push.wait();
    INFO("said: " << result.errors);
    CHECK(result.exit_code == 130);
    CHECK(std::chrono::steady_clock::now() - begin < 20s);  // not after the minutes that it would take, nor a deadline
    CHECK(wait_until([&] { return has_ended(ssh) && has_ended(far); }));
    CHECK(here.far_status(pair.target) == "dirty");
    CHECK(has(result.errors, "goes on from there"));

    const command_result again = here.run({"sync", pair.source, here.far(pair.target), "--json"});
    INFO("said: " << again.errors);
    CHECK(again.exit_code == 0);
    const auto report = parse_json(again.output);
    CHECK(count_at(report, "bytes.same") >= 1 << 20);
    CHECK(count_at(report, "bytes.written") == 0);
    CHECK(here.far_status(pair.target) == "clean");
}

TEST_CASE("a killed push over ssh leaves no process behind", "[tool][ssh]") {
    const two_machines here;
    if (!here.ready()) return;
    const tool_rig::slow_pair pair = here.rig.make_slow_pair();
    process push(here.rig.command(
        two_machines::over_ssh({"sync", pair.source, here.far(pair.target), "--source-allocation", pair.allocation},
                               here.sshd.command(), here.far_tool)));
    REQUIRE(wait_until([&] { return allocated_bytes(pair.target) != 0 || !push.runs(); }));
    const std::string ssh = run_command({"pgrep", "-P", std::to_string(push.id())}).output;
    const std::string far = here.far_process();
    REQUIRE_FALSE(has_ended(far));
    push.send(SIGKILL);
    CHECK(wait_until([&] { return has_ended(far) && has_ended(ssh.substr(0, ssh.find('\n'))); }));
    CHECK(here.far_status(pair.target) == "dirty");
}

TEST_CASE("a key with a forced command reaches the exports that the command names, and no path", "[tool][ssh]") {
    two_machines here;
    if (!here.ready()) return;
    const std::string source = here.rig.random_disk("source", 1, 100'000);
    const std::string target = here.rig.random_disk("target", 2, 100'000);
    const std::string secret = here.rig.random_disk("secret", 3, 100'000);
    const std::string tool = here.script(here.rig.file("forced"));
    const std::string ssh = here.sshd.command_with(
        here.sshd.new_key("command=\"" + tool + " serve --stdio --export disk=" + target +
                          ",target --export none=" + here.rig.file("hidden/none") + "\",restrict"));
    const auto run = [&](const words& line) { return here.rig.run(two_machines::over_ssh(line, ssh)); };
    const std::string disk = here.far("/~/disk");

    const command_result pushed = run({"sync", source, disk});
    INFO("said: " << pushed.errors);
    CHECK(pushed.exit_code == 0);
    CHECK(same_bytes(source, target));
    CHECK(run({"sync", disk, here.rig.file("fresh")}).exit_code == 3);
    CHECK_FALSE(std::filesystem::exists(here.rig.file("fresh")));
    for (const words& line : {words{"checksum", here.far(secret)}, words{"checksum", here.far(target)},
                              words{"sync", source, here.far(here.rig.file("made"))}}) {
        CAPTURE(line);
        const command_result refused = run(line);
        INFO("said: " << refused.errors);
        CHECK(refused.exit_code == 3);
        CHECK(has(refused.errors, "there is no export named "));
    }
    CHECK_FALSE(std::filesystem::exists(here.rig.file("made")));
    CHECK((read_whole_file(secret) == random_bytes(3, 100'000)));

    CHECK(run({"diff", source, here.far("/disk"), "--quiet"}).exit_code == 0);

    // What the exports are over there is said neither in a message nor by the far tool itself, whose words ssh shows.
    const command_result other_size = run({"sync", here.rig.random_disk("small", 4, 5'000), disk});
    CHECK(other_size.exit_code == 3);
    INFO("said: " << other_size.errors);
    CHECK_FALSE(has(other_size.errors, target));
    const command_result unreadable = run({"checksum", here.far("/~/none")});
    CHECK(unreadable.exit_code == 3);
    INFO("said: " << unreadable.errors);
    CHECK(has(unreadable.errors, "reprotect: 127.0.0.1 refused: "));
    CHECK_FALSE(has(unreadable.errors, "hidden"));
}

}  // namespace
