// The command line of streaming: what `serve` and `key` understand and refuse, how a server speaks and ends, and what
// the verbs do with a disk that is a peer's.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include <regex>
#include <sstream>

#include "support/pty.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;
using words = std::vector<std::string>;

// Whoever serves where it should have refused is ended after this.
constexpr std::chrono::seconds patience{20};

struct bad_line {
    words line;
    std::string says;
};

void check_refused(const std::vector<bad_line>& lines) {
    for (const bad_line& bad : lines) {
        words command{tool_path};
        command.insert(command.end(), bad.line.begin(), bad.line.end());
        CAPTURE(bad.line);
        const command_result result = process(command).wait(patience);
        INFO("said: " << result.errors);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, bad.says));
        CHECK(has(result.errors, "\n  hint: "));
        CHECK(result.output.empty());
    }
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> result;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) result.push_back(line);
    return result;
}

// A server of this machine, its port read from its first line.
class server {
public:
    server(const tool_rig& rig, words options) : process_(rig.command(completed(std::move(options)))) {
        static const std::regex first("listening on 127\\.0\\.0\\.1:([0-9]+)\n");
        const bool listens = wait_until([&] {
            std::smatch found;
            const std::string said = process_.output();
            if (std::regex_search(said, found, first)) port_ = found[1];
            return !port_.empty() || !process_.runs();
        });
        INFO("said: " << process_.errors());
        REQUIRE((listens && !port_.empty()));
    }

    std::string disk(const std::string& name) const { return "reprotect://127.0.0.1:" + port_ + "/" + name; }
    std::string port() const { return port_; }
    process& running() noexcept { return process_; }
    command_result stop() {
        process_.send(SIGTERM);
        return process_.wait();
    }

private:
    static words completed(words options) {
        options.insert(options.begin(), {"serve", "--listen", "127.0.0.1:0", "--insecure-plaintext"});
        return options;
    }

    process process_;
    std::string port_;
};

TEST_CASE("a server's command line that makes no sense ends with 2 and a hint", "[tool]") {
    const words open{"serve", "--insecure-plaintext", "--listen", "127.0.0.1:0"};
    const auto with = [](words line, const words& more) {
        line.insert(line.end(), more.begin(), more.end());
        return line;
    };
    const words keyed{"serve", "--listen", "127.0.0.1:0", "--export", "a=x", "--export", "b=y", "--key", "k.key"};
    check_refused({
        {{"serve"}, "--export is missing"},
        {{"serve", "disk.img"}, "serve takes options alone"},
        {{"serve", "--export", "a=x"}, "peers are known by a key or a certificate"},
        {{"serve", "--export", "a=x", "--insecure-plaintext"}, "--listen is missing"},
        {{"serve", "--exprot", "a=x"}, "did you mean --export?"},
        {{"serve", "--progress", "bar"}, "serve has no option --progress"},
        {{"serve", "--dry-run"}, "serve has no option --dry-run"},
        {with(open, {"--export"}), "--export needs a value"},
        {with(open, {"--export", "disk.img"}), "--export takes NAME=DISK, not 'disk.img'"},
        {with(open, {"--export", "=disk"}), "a name has 1 to 255 bytes, not 0"},
        {with(open, {"--export", std::string(256, 'n') + "=x"}), "a name has 1 to 255 bytes, not 256"},
        {with(open, {"--export", "a/b=x"}), "the name 'a/b' holds"},
        {with(open, {"--export", "a\nb=x"}), "the name 'a\\x0ab' holds"},
        {with(open, {"--export", "a=x", "--export", "a=y"}), "two exports are named 'a'"},
        {with(open, {"--export", "a=,target"}), "the disk's name is empty"},
        {with(open, {"--export", "a=ssh://h/x"}), "ssh://h/x is a peer's disk"},
        {with(open, {"--export", "a=x", "--key", "k.key"}), "give one of them"},
        {with(open, {"--export", "a=x", "--allow", "k=a"}), "--allow needs names"},
        {with(open, {"--export", "a=x", "--depth", "0"}), "--depth takes a number"},
        {with(open, {"--export", "a=x", "--memory", "1KiB"}), "--memory 1.00 KiB is too little"},
        {with(open, {"--export", "a=x", "--limit", "fast"}), "--limit: "},
        {with(keyed, {"--key", "other/k.psk"}), "two keys are named 'k'"},
        {with(keyed, {"--key", "k=other.psk"}), "two keys are named 'k'"},
        {with(keyed, {"--key", "j="}), "the file is missing"},
        {with(keyed, {"--key", "./a=b.key"}), "the name 'a=b' holds"},
        {with(keyed, {"--allow", "k"}), "--allow takes KEY=EXPORT,..., not 'k'"},
        {with(keyed, {"--allow", "j=a"}), "no key is named 'j'"},
        {with(keyed, {"--allow", "k=c"}), "no export is named 'c'"},
        {with(keyed, {"--allow", "k=a,"}), "no export is named ''"},
        {with(keyed, {"--key", "j=j.key", "--allow", "k=a,b"}), "no --allow names the key 'j'"},
        {with(keyed, {"--cert", "c", "--cert-key", "d", "--ca", "e"}), "give one of them"},
        {{"serve", "--export", "a=x", "--cert", "c", "--ca", "e"}, "--cert-key is missing"},
        {{"serve", "--stdio", "--listen", ":1"}, "--stdio and --listen do not go together"},
        {{"serve", "--stdio", "--key", "k"}, "--stdio and --key do not go together"},
        {{"serve", "--stdio", "--allow", "k=a"}, "--stdio and --allow do not go together"},
        {{"serve", "--stdio", "--ca", "k"}, "--stdio and --ca do not go together"},
        {{"serve", "--stdio", "--insecure-plaintext"}, "--stdio and --insecure-plaintext do not go together"},
        {{"key"}, "key takes new FILE or show FILE"},
        {{"key", "make", "k"}, "key takes new FILE or show FILE, not 'make'"},
        {{"key", "new"}, "FILE is missing: key takes new FILE"},
        {{"key", "new", "a", "b"}, "'b' is one word too many"},
        {{"key", "new", "a", "--depth", "1"}, "key has no option --depth"},
    });
}

TEST_CASE("key new makes a file for its owner alone, tells its id, and never writes over anything", "[tool]") {
    const tool_rig rig;
    const std::string file = rig.file("laptop.key");
    const command_result made = run_command({tool_path, "key", "new", file});
    CHECK(made.exit_code == 0);
    CHECK(made.errors.empty());
    std::smatch id;
    REQUIRE(std::regex_match(made.output, id, std::regex(".*/laptop\\.key: key ([0-9a-f]{16})\n")));
    struct stat info {};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);

    const auto before = read_whole_file(file);
    const command_result again = run_command({tool_path, "key", "new", file});
    CHECK(again.exit_code == 3);
    CHECK(has(again.errors, "\n  hint: "));
    CHECK((read_whole_file(file) == before));

    CHECK(run_command({tool_path, "key", "show", file}).output == id[1].str() + "\n");
    const auto shown = parse_json(run_command({tool_path, "key", "show", file, "--json"}).output);
    CHECK(text_at(shown, "key") == id[1].str());
    CHECK(text_at(shown, "file") == file);
    CHECK(run_command({tool_path, "key", "show", rig.file("none")}).exit_code == 3);

    const command_result quiet = run_command({tool_path, "key", "new", "-q", rig.file("other")});
    CHECK(quiet.exit_code == 0);
    CHECK(quiet.output.empty());
    const auto other = parse_json(run_command({tool_path, "key", "new", "--json", rig.file("third")}).output);
    CHECK(text_at(other, "key").size() == 16);
}

TEST_CASE("a server that is given a key says where it is missing", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("a", 1, 10000);
    process here(
        rig.command({"serve", "--listen", "127.0.0.1:0", "--export", "a=" + disk, "--key", rig.file("none.key")}));
    const command_result result = here.wait(patience);
    CHECK(result.exit_code == 3);
    CHECK(has(result.errors, "none.key"));
    CHECK(result.output.empty());
}

TEST_CASE("a server says where it listens, and at a signal why it ends, with 0", "[tool]") {
    const tool_rig rig;
    server here(rig, {"--export", "a=" + rig.random_disk("a", 1, 10000), "--quiet"});
    const command_result result = here.stop();
    CHECK(result.exit_code == 0);
    CHECK(result.output == "listening on 127.0.0.1:" + here.port() + "\n");
    CHECK(has(result.errors, "stopping: sessions flush what they wrote; a second signal quits at once"));
    CHECK_FALSE(has(result.errors, "level=info"));
}

TEST_CASE("with --json a server's address is one document and each of its events another", "[tool]") {
    const tool_rig rig;
    process here(rig.command({"serve", "--json", "--listen", "127.0.0.1:0", "--insecure-plaintext", "--export",
                              "a=" + rig.random_disk("a", 1, 10000)}));
    REQUIRE(wait_until([&] { return has(here.output(), "\n") || !here.runs(); }));
    here.send(SIGINT);
    const command_result result = here.wait();
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    const auto addresses = at_path(parse_json(result.output), "listening").as_array();
    REQUIRE(addresses.size() == 1);
    CHECK(has(std::string(addresses[0].as_string()), "127.0.0.1:"));
    const auto lines = lines_of(result.errors);
    REQUIRE_FALSE(lines.empty());
    for (const std::string& line : lines) CHECK_NOTHROW(text_at(parse_json(line), "event"));
}

TEST_CASE("what a peer calls a disk can neither forge a line of the log nor steer a terminal", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("a", 1, 10000);
    const std::string hostile =
        "x%0A2026-01-01T00:00:00Z%20level=info%20event=forged%1B%5B31m%C2%9B%FF%22%5C%20role=target";
    const std::regex event(
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z level=(info|warning|error) event=[a-z-]+"
        "( [a-z_-]+=([A-Za-z0-9._:/@+-]+|\"([ !#-\\[\\]-~]|\\\\[\"\\\\]|\\\\x[0-9a-f]{2})*\"))*");
    server here(rig, {"--export", "a=" + disk});
    const command_result refused =
        rig.run({"diff", disk, here.disk(hostile), "--insecure-plaintext", "--progress", "none"});
    CHECK(refused.exit_code != 0);
    CHECK_FALSE(has(refused.errors, "\x1B"));
    const command_result result = here.stop();
    INFO(result.errors);
    CHECK(
        has(result.errors, "x\\x0a2026-01-01T00:00:00Z level=info event=forged\\x1b[31m\\xc2\\x9b\\xff\\\"\\\\ role="));
    for (const std::string& line : lines_of(result.errors)) {
        CAPTURE(line);
        CHECK((std::regex_match(line, event) || line.starts_with("reprotect: ")));
        CHECK_FALSE(has(line, "Z level=info event=forged\x1B"));
    }
}

TEST_CASE("only the words source and target after the last comma of an export are a role", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 10000);
    const std::string plain = rig.random_disk("with,comma", 2, 10000);
    const std::string upper = rig.random_disk("x,Target", 3, 10000);
    const std::string target = rig.random_disk("y,source", 4, 10000);
    server here(rig, {"--export", "plain=" + plain, "--export", "upper=" + upper, "--export",
                      "named=" + target + ",target", "--export", "[a,b]=" + source + ",source"});
    const auto push = [&](const std::string& name) {
        return rig.run({"sync", source, here.disk(name), "--insecure-plaintext"}).exit_code;
    };
    CHECK(push("plain") != 0);
    CHECK(push("upper") != 0);
    CHECK(push("[a,b]") != 0);
    CHECK(push("named") == 0);
    CHECK(same_bytes(source, target));
    CHECK(rig.run({"sync", here.disk("named"), rig.file("new"), "--insecure-plaintext"}).exit_code != 0);
    CHECK_FALSE(std::filesystem::exists(rig.file("new")));
    CHECK(rig.run({"sync", here.disk("[a,b]"), rig.file("new"), "--insecure-plaintext"}).exit_code == 0);
    CHECK(same_bytes(source, rig.file("new")));
}

TEST_CASE("the summary of a sync with a peer tells what was sent and what was received", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 2 << 20);
    const std::string target = rig.random_disk("target", 2, 2 << 20);
    server here(rig, {"--export", "new=" + source, "--export", "old=" + target + ",target"});
    const std::regex much(
        "(^|\n)(sent|received) +2\\.[0-9]+ MiB \\(payload 2\\.[0-9]+ MiB, digests [^,]*, overhead [^)]*\\)");
    std::smatch found;
    const command_result push = rig.run({"sync", source, here.disk("old"), "--insecure-plaintext"});
    INFO(push.errors);
    CHECK(push.exit_code == 0);
    REQUIRE(std::regex_search(push.output, found, much));
    CHECK(found[2] == "sent");
    CHECK(has(push.output, "\nreceived "));
    const command_result pull =
        rig.run({"sync", here.disk("new"), rig.random_disk("third", 3, 2 << 20), "--insecure-plaintext"});
    INFO(pull.errors);
    CHECK(pull.exit_code == 0);
    REQUIRE(std::regex_search(pull.output, found, much));
    CHECK(found[2] == "received");
    const command_result local = rig.run({"sync", source, rig.file("fourth")});
    CHECK_FALSE(has(local.output, "\nsent "));
}

TEST_CASE("a peer's disk is compared and digested as one of this machine is", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, 100'000);
    const std::string same = rig.copy(a, "same");
    const std::string other = rig.copy(a, "other");
    tool_rig::damage(other, 5000);
    const std::string longer = rig.file("longer");
    auto bytes = read_whole_file(a);
    bytes.resize(200'000);
    write_whole_file(longer, bytes);
    server here(rig, {"--export", "a=" + a});
    const auto diff = [&](const std::string& target, const std::string& more) {
        return rig.run({"diff", here.disk("a"), target, "--insecure-plaintext", more});
    };
    CHECK(diff(same, "--quiet").exit_code == 0);
    CHECK(diff(other, "--quiet").exit_code == 1);
    CHECK(diff(other, "--extents").output == rig.run({"diff", a, other, "--extents"}).output);
    CHECK(diff(longer, "--quiet").exit_code == 1);
    CHECK(diff(longer, "--allow-larger").exit_code == 0);
    CHECK(rig.run({"diff", same, here.disk("a"), "--insecure-plaintext"}).exit_code == 0);
    CHECK(rig.run({"diff", other, here.disk("a"), "--insecure-plaintext"}).exit_code == 1);

    const std::string map = rig.file("map");
    const auto digested = parse_json(
        rig.run({"checksum", here.disk("a"), "--insecure-plaintext", "--json", "-o", map, "--blocks"}).output);
    CHECK(text_at(digested, "root") == text_at(parse_json(rig.run({"checksum", a, "--json"}).output), "root"));
    CHECK(rig.run({"checksum", same, "--against", map}).exit_code == 0);
    CHECK(rig.run({"checksum", other, "--against", map}).exit_code == 1);
    const command_result told =
        rig.run({"checksum", here.disk("a"), "--insecure-plaintext", "--direct", "--threads", "2"});
    CHECK(told.exit_code == 0);
    CHECK(has(told.errors, "--direct has no effect on a peer's disk"));
    CHECK(has(told.errors, "--threads has no effect on a peer's disk"));
}

TEST_CASE("a dry run of a pull makes no target, and counts as if it were missing", "[tool]") {
    const tool_rig rig;
    server here(rig, {"--export", "a=" + rig.random_disk("a", 1, 100'000)});
    const command_result result =
        rig.run({"sync", here.disk("a"), rig.file("new"), "--insecure-plaintext", "--dry-run", "--json"});
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    const auto report = parse_json(result.output);
    CHECK(text_at(report, "mode") == "full");
    CHECK(text_at(report, "reason") == "target missing");
    CHECK(count_at(report, "bytes.changed") == 100'000);
    CHECK_FALSE(std::filesystem::exists(rig.file("new")));
}

TEST_CASE("a target that was made for a pull is gone again where nobody answers", "[tool]") {
    const tool_rig rig;
    const command_result result =
        rig.run({"sync", "reprotect://127.0.0.1:1/a", rig.file("new"), "--insecure-plaintext"});
    CHECK(result.exit_code == 5);
    CHECK_FALSE(std::filesystem::exists(rig.file("new")));
    CHECK(rig.run({"checksum", "reprotect://127.0.0.1:1/a", "--insecure-plaintext"}).exit_code == 5);
}

TEST_CASE("a push asks on a terminal before it connects, unless --yes or --dry-run", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("a", 1, 10000);
    const std::string remote = "reprotect://127.0.0.1:1/x";
    const words line{"sync", disk, remote, "--insecure-plaintext"};
    terminal_process asked(rig.command(line));
    REQUIRE(asked.shows("Type yes to go on"));
    CHECK(has(asked.screen(), "This makes " + remote + " equal to " + disk));
    asked.type("no\n");
    CHECK(asked.wait() == 3);
    for (const std::string option : {"--yes", "--dry-run"}) {
        words more = line;
        more.push_back(option);
        terminal_process unasked(rig.command(more));
        CHECK(unasked.wait() == 5);
        CHECK_FALSE(has(unasked.screen(), "Type yes"));
    }
}

TEST_CASE("a pull asks on a terminal where the target holds data and no record tells of it", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 10000);
    const std::string target = rig.random_disk("target", 2, 10000);
    server here(rig, {"--export", "a=" + source});
    const words line{"sync", here.disk("a"), target, "--insecure-plaintext"};
    terminal_process asked(rig.command(line));
    REQUIRE(asked.shows("Type yes to go on"));
    CHECK(has(asked.screen(), "This is the first sync of this target"));
    asked.type("yes\n");
    CHECK(asked.wait() == 0);
    terminal_process known(rig.command(line));
    CHECK(known.wait() == 0);
    CHECK_FALSE(has(known.screen(), "Type yes"));
    words fresh = line;
    fresh[2] = rig.file("new");
    terminal_process made(rig.command(fresh));
    CHECK(made.wait() == 0);
    CHECK_FALSE(has(made.screen(), "Type yes"));
}

TEST_CASE("standard output is the wire alone with --stdio", "[tool]") {
    const tool_rig rig;
    for (const std::string json : {"--json", "--quiet"}) {
        const command_result result = rig.run({"serve", "--stdio", json});
        INFO(result.errors);
        CHECK(result.exit_code == 5);
        CHECK_FALSE(has(result.output, "listening"));
        CHECK_FALSE(has(result.output, "error"));
        CHECK(lines_of(result.errors).size() == 1);
    }
    terminal_process typed(rig.command({"serve", "--stdio"}));
    CHECK(typed.wait() == 2);
    CHECK(has(typed.screen(), "is a terminal"));
}

// The tool as a service manager starts it: descriptor 3 is `descriptor`, and the variables say so to `pid`.
words activated(const tool_rig& rig, int descriptor, const std::string& pid) {
    words command{
        "bash", "-c",
        "exec 3<&" + std::to_string(descriptor) + "; export LISTEN_PID=" + pid + " LISTEN_FDS=1; exec \"$0\" \"$@\""};
    const words line =
        rig.command({"serve", "--insecure-plaintext", "--export", "a=" + rig.random_disk("a", 1, 10000)});
    command.insert(command.end(), line.begin(), line.end());
    return command;
}

TEST_CASE("a socket that a service manager handed over is served on, if it listens and is meant for this process",
          "[tool]") {
    const tool_rig rig;
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(socket >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) == 0);
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    const std::string port = std::to_string(ntohs(address.sin_port));

    const command_result deaf = process(activated(rig, socket, "$$")).wait(patience);
    CHECK(deaf.exit_code == 2);
    CHECK(has(deaf.errors, "descriptor 3, handed over by LISTEN_FDS, is no listening TCP socket"));
    REQUIRE(::listen(socket, 5) == 0);
    const command_result other = process(activated(rig, socket, "1")).wait(patience);
    CHECK(other.exit_code == 2);
    CHECK(has(other.errors, "--listen is missing"));

    process here(activated(rig, socket, "$$"));
    CHECK(wait_until([&] { return has(here.output(), "\n") || !here.runs(); }));
    CHECK(here.output() == "listening on 127.0.0.1:" + port + "\n");
    CHECK(rig.run({"checksum", "reprotect://127.0.0.1:" + port + "/a", "--insecure-plaintext"}).exit_code == 0);
    here.send(SIGTERM);
    CHECK(here.wait().exit_code == 0);
    ::close(socket);
}

TEST_CASE("with --once a server ends as its session did", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, 10000);
    {
        server here(rig, {"--export", "a=" + a, "--once"});
        CHECK(rig.run({"sync", here.disk("a"), rig.file("new"), "--insecure-plaintext"}).exit_code == 0);
        CHECK(here.running().wait().exit_code == 0);
    }
    server here(rig, {"--export", "a=" + a + ",target", "--once"});
    CHECK(rig.run({"sync", rig.random_disk("small", 2, 5000), here.disk("a"), "--insecure-plaintext"}).exit_code == 3);
    CHECK(here.running().wait().exit_code == 3);
}

TEST_CASE("REPROTECT_KEY names the key and REPROTECT_SSH the command where no option does", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("a", 1, 10000);
    const auto run_with = [&](const std::string& variable, words line) {
        process here(rig.command(std::move(line)),
                     {.standard_output = process_options::output::kept, .user = {}, .environment = {variable}});
        return here.wait();
    };
    const command_result key =
        run_with("REPROTECT_KEY=" + rig.file("k.key"), {"diff", disk, "reprotect://127.0.0.1:1/x"});
    CHECK(key.exit_code == 3);
    CHECK(has(key.errors, "k.key"));
    CHECK(run_with("REPROTECT_KEY=" + rig.file("k.key"), {"diff", disk, disk}).exit_code == 0);
    CHECK(run_with("REPROTECT_KEY=", {"diff", disk, "reprotect://127.0.0.1:1/x"}).exit_code == 2);
    const command_result ssh = run_with("REPROTECT_SSH=/no/such/ssh -4", {"diff", disk, "ssh://h/x"});
    CHECK(ssh.exit_code == 5);
    CHECK(has(ssh.errors, "/no/such/ssh"));
    const command_result given =
        run_with("REPROTECT_SSH=/no/such/ssh", {"diff", disk, "ssh://h/x", "--ssh", "/no/other"});
    CHECK(has(given.errors, "/no/other"));
}

}  // namespace
