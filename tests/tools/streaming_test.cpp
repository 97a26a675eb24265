// The streaming story over TLS, told by two processes of the tool as two machines would run it: a key is made, a server
// is started, disks are pushed and pulled, and whoever may not is refused with the exit code that the contract names.
// What a command line alone gets wrong is serve_test's.
#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <regex>

#include "support/certificates.hpp"
#include "support/odd_peers.hpp"
#include "support/served.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;
using namespace std::chrono_literals;
using words = std::vector<std::string>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

words operator+(words left, const words& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// Disks, keys, and the client's side of a connection.
struct keyed_rig : tool_rig {
    std::string key = new_key("laptop");

    std::string new_key(const std::string& name) const {
        run_checked({tool_path, "key", "new", "--quiet", file(name + ".key")});
        return file(name + ".key");
    }
    words with_key() const { return {"--key", key}; }
    command_result client(const words& line) const { return run(line + with_key() + words{"--progress", "none"}); }
    boost::json::object report(const words& line) const {
        const command_result result = client(line + words{"--json"});
        INFO("said: " << result.errors);
        REQUIRE(result.exit_code == 0);
        return parse_json(result.output);
    }
    std::string server_record(const std::string& disk) const {
        return text_at(
            parse_json(run_checked({tool_path, "map", disk, "--json", "--state", served::records_of(*this)})),
            "record.status");
    }
};

// One line that says why, one that says what to do.
void check_refusal(const command_result& result, int code, const std::string& says) {
    INFO("said: " << result.errors);
    CHECK(result.exit_code == code);
    CHECK(result.errors.starts_with("reprotect: "));
    CHECK(has(result.errors, says));
    CHECK(std::count(result.errors.begin(), result.errors.end(), '\n') == 2);
    CHECK(has(result.errors, "\n  hint: "));
    CHECK(result.output.empty());
}

TEST_CASE("with one key on both sides disks are pushed, pulled, compared and digested over TLS", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 3'000'000);
    const std::string b = rig.copy(a, "b");
    tool_rig::damage(b, 100'000);
    tool_rig::damage(b, 2'999'999);
    served here(rig, words{"--export", "a=" + a + ",source", "--export", "b=" + b + ",target"} + rig.with_key());

    CHECK(rig.client({"diff", a, here.disk("b"), "--quiet"}).exit_code == 1);
    const auto push = rig.report({"sync", a, here.disk("b")});
    CHECK(same_bytes(a, b));
    CHECK(text_at(push, "mode") == "differential");
    CHECK(count_at(push, "bytes.written") == count_at(push, "bytes.changed"));
    CHECK(count_at(push, "bytes.written") <= 8192);
    CHECK(text_at(push, "verified") == "root");
    CHECK(rig.server_record(b) == "clean");
    CHECK(rig.client({"diff", a, here.disk("b"), "--quiet"}).exit_code == 0);

    const auto pull = rig.report({"sync", here.disk("a"), rig.file("pulled")});
    CHECK(same_bytes(a, rig.file("pulled")));
    const auto digest = rig.report({"checksum", here.disk("a")});
    const auto local = parse_json(rig.run({"checksum", a, "--digest", "sha256", "--json"}).output);
    CHECK(text_at(digest, "root") == text_at(local, "root"));

    // Both sides counted the same bytes, and each byte that travelled.
    CHECK(count_at(push, "wire.to_target.payload") > 0);
    CHECK(count_at(pull, "wire.to_target.payload") == 3'000'000);
    CHECK(count_at(push, "wire.to_source.digests") > 0);
    std::size_t nth = 1;
    for (const auto* report : {&push, &pull}) {
        if (report == &pull) nth = 3;
        for (const std::string direction : {"to_target", "to_source"}) {
            CAPTURE(direction, nth);
            const auto part = [&](const std::string& name) { return count_at(*report, "wire." + direction + name); };
            CHECK(std::to_string(part(".total")) == here.logged("session-end", direction, nth));
            CHECK(part(".total") == part(".payload") + part(".digests") + part(".overhead"));
            CHECK(part(".overhead") > 0);
        }
    }
    CHECK(here.logged("session-begin", "key") == "laptop");
    CHECK(here.stop().exit_code == 0);
}

TEST_CASE("a key file that others may read is refused on both sides, and never written over", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const auto before = read_whole_file(rig.key);
    check_refusal(run_command({tool_path, "key", "new", rig.key}), 3, rig.key);
    CHECK((read_whole_file(rig.key) == before));
    CHECK((std::filesystem::status(rig.key).permissions() == std::filesystem::perms(0600)));

    std::filesystem::permissions(rig.key, std::filesystem::perms(0640));
    const command_result client = rig.run({"diff", a, "reprotect://127.0.0.1:1/a", "--key", rig.key});
    check_refusal(client, 3, "others than its owner may use this key file");
    CHECK(has(client.errors, "chmod 600 " + rig.key));
    process server({tool_path, "serve", "--listen", "127.0.0.1:0", "--export", "a=" + a, "--key", rig.key, "--state",
                    served::records_of(rig)});
    check_refusal(server.wait(20s), 3, "others than its owner may use this key file");
}

TEST_CASE("what a server or the way to it refuses has the exit code of its kind, one line and a hint",
          "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const std::string b = rig.random_disk("b", 2, 10'000);
    const std::string fresh = rig.file("fresh");
    const words exports{"--export", "a=" + a, "--export", "b=" + b + ",target"};
    served here(rig, exports + rig.with_key());
    const std::string other_key = rig.new_key("other");

    check_refusal(rig.client({"sync", a, here.disk("none")}), 3, "there is no export named none");
    check_refusal(rig.client({"checksum", here.disk("B")}), 3, "there is no export named B");
    check_refusal(rig.client({"sync", b, here.disk("a")}), 3, "the export a is a source");
    check_refusal(rig.client({"sync", here.disk("b"), fresh}), 3, "the export b is a target");
    check_refusal(rig.run({"sync", a, here.disk("b"), "--key", other_key}), 5, "the server does not know this key");
    check_refusal(rig.client({"sync", here.disk("a"), here.disk("b")}), 2, "are both a peer's");
    check_refusal(rig.run({"sync", a, here.disk("b")}), 2, "needs a key");
    check_refusal(rig.run({"sync", a, here.disk("b"), "--insecure-plaintext"}), 5, "127.0.0.1:" + here.port());
    check_refusal(rig.client({"sync", a, "reprotect://127.0.0.1:1/b"}), 5, "Connection refused");
    check_refusal(rig.client({"sync", a, "reprotect://no-such-host.invalid/b"}), 5, "does not resolve");
    check_refusal(rig.client({"sync", "reprotect://127.0.0.1:1/a", fresh}), 5, "Connection refused");
    CHECK_FALSE(std::filesystem::exists(fresh));
    CHECK((read_whole_file(b) == random_bytes(2, 10'000)));

    process second(
        words{tool_path, "serve", "--listen", "127.0.0.1:" + here.port(), "--state", served::records_of(rig)} +
        exports + rig.with_key());
    check_refusal(second.wait(20s), 5, "Address already in use");

    // None of them disturbed the server.
    CHECK(rig.client({"sync", a, here.disk("b")}).exit_code == 0);
    CHECK(here.logged("refused", "kind") == "not_found");
    CHECK(here.stop().exit_code == 0);
}

TEST_CASE("a server ends at once where it is idle, and with --once as its session did", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const std::string b = rig.random_disk("b", 2, 20'000);
    const words line = words{"--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key();
    {
        served idle(rig, line);
        idle.running().send(SIGTERM);
        CHECK(idle.running().wait(30s).exit_code == 0);  // within a second, on a machine that is not busy
    }
    {
        served once(rig, line + words{"--once"});
        // Who is not let in is not the session.
        CHECK(rig.run({"checksum", once.disk("a"), "--key", rig.new_key("other")}).exit_code == 5);
        CHECK(rig.client({"checksum", once.disk("a")}).exit_code == 0);
        CHECK(once.running().wait().exit_code == 0);
    }
    served once(rig, line + words{"--once"});
    CHECK(rig.client({"sync", a, once.disk("b")}).exit_code == 3);  // of another size
    CHECK(once.running().wait().exit_code == 3);
}

TEST_CASE("a server that is ended during a push flushes and ends with 0, and the client with 5", "[tool][stream]") {
    const keyed_rig rig;
    const tool_rig::slow_pair pair = rig.make_slow_pair();
    const std::string a = rig.random_disk("a", 1, 10'000);
    served here(rig, words{"--export", "slow=" + pair.target + ",target"} + rig.with_key());
    const words line{"sync", pair.source, here.disk("slow")};
    process push(
        rig.command(line + words{"--source-allocation", pair.allocation, "--progress", "none"} + rig.with_key()));
    REQUIRE(wait_until([&] { return allocated_bytes(pair.target) != 0 || !push.runs(); }));

    check_refusal(rig.client({"sync", a, here.disk("slow")}), 3, "the export slow is in use by another session");
    check_refusal(rig.client({"checksum", here.disk("slow")}), 3, "the export slow is in use by another session");

    REQUIRE(push.runs());
    const command_result ended = here.stop();
    INFO("the server said: " << ended.errors);
    CHECK(ended.exit_code == 0);
    CHECK(has(ended.errors, "stopping: sessions flush what they wrote"));
    CHECK(here.logged("session-failed", "kind") == "interrupted");
    const command_result result = push.wait();
    INFO("the client said: " << result.errors);
    CHECK(result.exit_code == 5);
    CHECK(has(result.errors, "was stopped"));
    CHECK(has(result.errors, "goes on from there"));
    CHECK(rig.server_record(pair.target) == "dirty");

    served again(rig, words{"--export", "slow=" + pair.target + ",target"} + rig.with_key());
    const auto report = rig.report({"sync", pair.source, again.disk("slow")});
    CHECK(count_at(report, "bytes.same") >= 1 << 20);
    CHECK(count_at(report, "bytes.written") == 0);
    CHECK(rig.server_record(pair.target) == "clean");
}

TEST_CASE("SIGINT to the client during a push ends it with 130, and the server's session with a record",
          "[tool][stream]") {
    const keyed_rig rig;
    const tool_rig::slow_pair pair = rig.make_slow_pair();
    served here(rig, words{"--export", "slow=" + pair.target + ",target"} + rig.with_key());
    process push(rig.command(
        words{"sync", pair.source, here.disk("slow"), "--source-allocation", pair.allocation, "--progress", "none"} +
        rig.with_key()));
    REQUIRE(wait_until([&] { return allocated_bytes(pair.target) != 0 || !push.runs(); }));
    REQUIRE(push.runs());
    push.send(SIGINT);
    const command_result result = push.wait(20s);
    INFO("said: " << result.errors);
    CHECK(result.exit_code == 130);
    CHECK(here.logs("session-failed"));
    CHECK(rig.server_record(pair.target) == "dirty");
    // The export is free again.
    CHECK(wait_until([&] { return rig.client({"sync", pair.source, here.disk("slow")}).exit_code == 0; }));
    CHECK(rig.server_record(pair.target) == "clean");
}

TEST_CASE("each event is one line of the log, whatever name a client asks for", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    served here(rig, words{"--export", "a=" + a} + rig.with_key());
    const command_result refused = rig.client({"diff", a, here.disk("x%0Aevent=forged%1B%5B31m%22%20key=root")});
    CHECK(refused.exit_code == 3);
    CHECK_FALSE(has(refused.errors, "\x1B"));
    CHECK_FALSE(has(refused.errors, "\nevent=forged"));
    CHECK(rig.client({"diff", a, here.disk("a"), "--quiet"}).exit_code == 0);
    REQUIRE(here.logs("session-end"));
    CHECK(here.stop().exit_code == 0);
    CHECK(here.logged("refused", "export") == "x\\x0aevent=forged\\x1b[31m\\\" key=root");
    const std::regex event(
        "[-0-9]{10}T[:0-9]{8}Z level=(info|warning|error) event=[a-z-]+( [a-z_]+=[^ \"]+|"
        " [a-z_]+=\"([^\"\\\\[:cntrl:]]|\\\\.)*\")*");
    for (const std::string& line : here.log()) {
        CAPTURE(line);
        CHECK((std::regex_match(line, event) || line.starts_with("reprotect: stopping: ")));
    }
}

TEST_CASE("the option --allow gives each key its exports, and says nothing of the others", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const std::string b = rig.random_disk("b", 2, 10'000);
    const std::string ann = rig.new_key("ann");
    const std::string bob = rig.new_key("bob");
    served here(rig, {"--export", "a=" + a, "--export", "b=" + b, "--key", ann, "--key", "robert=" + bob, "--allow",
                      "ann=a", "--allow", "robert=a,b"});
    const auto checksum = [&](const std::string& name, const std::string& key) {
        return rig.run({"checksum", here.disk(name), "--key", key, "--quiet"});
    };
    CHECK(checksum("a", ann).exit_code == 0);
    CHECK(checksum("a", bob).exit_code == 0);
    CHECK(checksum("b", bob).exit_code == 0);
    CHECK(here.logged("session-begin", "key", 2) == "robert");
    const command_result hidden = checksum("b", ann);
    CHECK(hidden.exit_code == 3);
    std::string of_none = checksum("c", ann).errors;
    for (std::size_t at = 0; (at = of_none.find("named c ")) != std::string::npos;) of_none[at + 6] = 'b';
    CHECK(hidden.errors == of_none);
}

TEST_CASE("the option --limit bounds what a side sends, on the client as on the server", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 1'000'000);
    const std::string b = rig.file("b");
    const auto seconds = [](const std::function<void()>& run) {
        const auto begin = std::chrono::steady_clock::now();
        run();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    const words line = words{"--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key();
    {
        served here(rig, line);
        CHECK(seconds([&] { rig.report({"sync", a, here.disk("b"), "--limit", "2MB/s"}); }) >= 0.4);
        CHECK(same_bytes(a, b));
    }
    served here(rig, line + words{"--limit", "2MB/s"});
    CHECK(seconds([&] { rig.report({"sync", here.disk("a"), rig.file("pulled")}); }) >= 0.4);
    CHECK(same_bytes(a, rig.file("pulled")));
}

TEST_CASE("a server is given its listening socket by a service manager", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(socket >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(socket, 5) == 0);
    // Connected before there is a server: it waits in the socket's queue.
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    const std::string port = std::to_string(ntohs(address.sin_port));
    process early(rig.command(words{"checksum", "reprotect://127.0.0.1:" + port + "/a", "--quiet"} + rig.with_key()));

    // The shell has the descriptor under a number of its own, the server under 3, and both have one process id.
    served here(
        rig, words{"--export", "a=" + a} + rig.with_key(),
        {"bash", "-c", "exec 3<&" + std::to_string(socket) + "; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""});
    ::close(socket);
    CHECK(here.port() == port);
    CHECK(early.wait().exit_code == 0);
    CHECK(rig.client({"checksum", here.disk("a")}).exit_code == 0);
    CHECK(here.stop().exit_code == 0);
}

TEST_CASE("a server whose descriptors silent connections use up lets an honest one in", "[tool][stream]") {
    if (!run_command({"prlimit", "--version"}).ok()) {
        WARN("no prlimit here: not tested");
        return;
    }
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 300'000);
    const std::string b = rig.random_disk("b", 2, 300'000);
    // Fewer than one address may have of the slots for strangers: they do not run out first.
    constexpr unsigned descriptors = 48;
    constexpr unsigned strangers = 60;
    served here(
        rig, words{"--listen", "127.0.0.1:0", "--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key(),
        {"prlimit", "--nofile=" + std::to_string(descriptors), "--"});
    std::vector<std::unique_ptr<odd_client>> silent;
    for (unsigned i = 0; i < strangers; ++i) silent.push_back(std::make_unique<odd_client>("127.0.0.1:" + here.port()));
    CHECK(here.logs("evicted"));
    const auto push = rig.client({"sync", a, here.disk("b")});
    INFO("said: " << push.errors);
    CHECK(push.exit_code == 0);
    CHECK(same_bytes(a, b));
}

TEST_CASE("with certificates each side checks the other's name, authority, purpose and time", "[tool][stream]") {
    const tool_rig rig;
    authority ours;
    authority theirs("another authority");
    const std::string a = rig.random_disk("a", 1, 10'000);
    const certificate_wish server_wish{"vault", "DNS:localhost", "serverAuth", 2};
    const certificate_wish client_wish{"laptop", "", "clientAuth", 2};
    const auto options = [](const reprotect::certificate_files& files) {
        return words{"--cert", files.certificate.string(), "--cert-key", files.key.string(),
                     "--ca",   files.authority.string()};
    };
    const auto good_server = ours.certify(server_wish);
    const auto good_client = ours.certify(client_wish);
    const auto ask = [&](const std::string& disk, const reprotect::certificate_files& who) {
        return rig.run(words{"checksum", disk, "--quiet"} + options(who));
    };
    {
        served here(rig, words{"--export", "a=" + a, "--allow", "laptop=a"} + options(good_server));
        const std::string disk = here.disk("a", "localhost");
        CHECK(ask(disk, good_client).exit_code == 0);
        CHECK(here.logged("session-begin", "key") == "laptop");
        check_refusal(ask(here.disk("a"), good_client), 5, "is not for 127.0.0.1 but for localhost");

        certificate_wish old = client_wish;
        old.days = -1;
        check_refusal(ask(disk, ours.certify(old)), 5, "does not accept this side's certificate: it has expired");
        check_refusal(ask(disk, believing(theirs.certify(client_wish), ours)), 5, "it trusts another authority");
        check_refusal(ask(disk, believing(good_client, theirs)), 5, "which is no authority in ");
        check_refusal(ask(disk, good_server), 5, "it is not made for a client");
        certificate_wish stranger = client_wish;
        stranger.common_name = "desktop";
        check_refusal(ask(disk, ours.certify(stranger)), 3, "there is no export named a");
        CHECK(ask(disk, good_client).exit_code == 0);

        const keyed_rig keyed;
        check_refusal(keyed.client({"checksum", disk}), 5, "TLS with localhost:");
    }
    certificate_wish old = server_wish;
    old.days = -1;
    served expired(rig, words{"--export", "a=" + a} + options(ours.certify(old)));
    check_refusal(ask(expired.disk("a", "localhost"), good_client), 5, "the server's certificate expired at ");
}

TEST_CASE("a dry run with a peer writes nothing and counts what a sync would write", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 1'000'000);
    const std::string b = rig.copy(a, "b");
    tool_rig::damage(b, 500'000);
    const auto stale = read_whole_file(b);
    served here(rig, words{"--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key());
    for (const words& line : {words{"sync", a, here.disk("b")}, words{"sync", here.disk("a"), b}}) {
        CAPTURE(line);
        const auto report = rig.report(line + words{"--dry-run"});
        CHECK(count_at(report, "bytes.changed") == 4096);
        CHECK(count_at(report, "bytes.written") == 0);
        CHECK(count_at(report, "wire.to_target.payload") == 0);
        CHECK((read_whole_file(b) == stale));
    }
    CHECK((!std::filesystem::exists(served::records_of(rig)) || std::filesystem::is_empty(served::records_of(rig))));
    CHECK((!std::filesystem::exists(rig.records()) || std::filesystem::is_empty(rig.records())));
}

TEST_CASE("a sync with a peer stays within the extents of a file, whichever side it is on", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 3'000'000);
    const std::string stale = rig.copy(a, "stale");
    tool_rig::damage(stale, 1'000'000);
    const std::string changes = rig.file("changes.diff");
    REQUIRE(rig.run({"diff", a, stale, "-o", changes, "--quiet"}).exit_code == 1);
    tool_rig::damage(stale, 2'500'000);
    const std::string b = rig.copy(stale, "b");
    const std::string c = rig.copy(stale, "c");
    auto expected = read_whole_file(stale);
    expected[1'000'000] ^= std::byte{1};

    served here(rig, words{"--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key());
    const auto push = rig.report({"sync", a, here.disk("b"), "--within", changes});
    CHECK(count_at(push, "bytes.written") == 4096);
    CHECK((read_whole_file(b) == expected));
    const auto pull = rig.report({"sync", here.disk("a"), c, "--within", changes});
    CHECK(count_at(pull, "bytes.written") == 4096);
    CHECK((read_whole_file(c) == expected));
    CHECK(rig.client({"diff", a, here.disk("b"), "--within", changes, "--quiet"}).exit_code == 0);
    CHECK(rig.client({"diff", a, here.disk("b"), "--quiet"}).exit_code == 1);
}

TEST_CASE("nobody is asked where standard input is no terminal", "[tool][stream]") {
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 10'000);
    const std::string b = rig.random_disk("b", 2, 10'000);
    served here(rig, words{"--export", "a=" + a, "--export", "b=" + b + ",target"} + rig.with_key());
    // Both targets hold other data, and no record knows them.
    const command_result push = rig.client({"sync", a, here.disk("b")});
    CHECK(push.exit_code == 0);
    CHECK(push.errors.empty());
    const command_result pull = rig.client({"sync", here.disk("a"), rig.random_disk("c", 3, 10'000)});
    CHECK(pull.exit_code == 0);
    CHECK(pull.errors.empty());
}

TEST_CASE("a push of a disk larger than their memory takes neither side beyond 192 MiB", "[tool][stream][slow]") {
    if (sanitized) {
        WARN("nothing is tested: a sanitizer's shadow memory is counted, too");
        return;
    }
    const keyed_rig rig;
    const std::string a = rig.random_disk("a", 1, 256 << 20);
    const std::string b = rig.file("b");
    served here(rig, words{"--export", "b=" + b + ",target"} + rig.with_key());
    constexpr std::uint64_t most_kib = 192 * 1024;
    // First onto nothing, then onto a disk of which half the blocks differ.
    for (const std::string reason : {"target missing", "both disks hold data"}) {
        CAPTURE(reason);
        const std::string peak = rig.file("peak");
        const command_result push =
            run_command(words{"time", "-f", "%M", "-o", peak} +
                        rig.command(words{"sync", a, here.disk("b"), "--json", "--progress", "none"} + rig.with_key()));
        INFO("said: " << push.errors);
        REQUIRE(push.exit_code == 0);
        CHECK(text_at(parse_json(push.output), "reason") == reason);
        std::uint64_t client_kib = 0;
        std::ifstream(peak) >> client_kib;
        CHECK(client_kib > 1024);
        CHECK(client_kib < most_kib);
        CHECK(here.peak_kib() > 1024);
        CHECK(here.peak_kib() < most_kib);
        std::fstream file(b, std::ios::in | std::ios::out | std::ios::binary);
        for (int at = 0; at < 256 << 20; at += 8192) file.seekp(at).write("another", 7);
    }
}

}  // namespace
