// Who is kept out of a server, and what a client says of a server that is none: each refusal is one clear line on both sides, of
// the right kind, in time, and not a byte of the disk is changed.
#include "support/server_rig.hpp"

#include <boost/asio/co_spawn.hpp>

#include <future>

#include "reprotect/open_device.hpp"
#include "support/asking.hpp"
#include "support/certificates.hpp"
#include "support/device_doubles.hpp"
#include "support/failures.hpp"
#include "support/odd_peers.hpp"
#include "support/sync_rig.hpp"
#include "wire/connection.hpp"
#include "wire/opening.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t c = small_chunk;

// A server's disk, and one here that differs from it.
struct two_files {
    two_files() {
        write_whole_file(there, random_bytes(1, 20 * c));
        write_whole_file(here, random_bytes(2, 20 * c));
    }
    temp_dir folder;
    const std::string there = folder.file("the-servers-own-path.img");
    const std::string here = folder.file("here.img");
    const std::vector<std::byte> untouched = random_bytes(1, 20 * c);
    bool intact() const { return read_whole_file(there) == untouched; }
};

// One that a person can read: no line ends, no escapes, not without end.
void check_clear_line(const std::string& text) {
    INFO(text);
    CHECK(text.size() > 10);
    CHECK(text.size() < 600);
    CHECK(std::all_of(text.begin(), text.end(), [](char each) { return each >= 0x20 && each != 0x7F; }));
}

// All that a client is told.
std::string words_of(const error& why) {
    const error_detail& detail = why.detail();
    return std::string(why.what()) + "|" + detail.device + "|" + detail.operation + "|" + detail.holder + "|" +
           detail.hint;
}

std::optional<error> ask(wish what, const std::string& remote, const connect_options& how, const two_files& files) {
    const auto disk =
        open_device(files.here, {what == wish::pull ? reprotect::access::read_write : reprotect::access::read_only});
    return ask(what, remote, how, *disk);
}

// A refusal as both sides tell it; the server is fit for others afterwards.
struct expected {
    error_kind kind = error_kind::peer;
    std::string client, server;
    int code = 5;
};

void check_refused(server_rig& server, const two_files& files, const std::string& name, const connect_options& how,
                   wish what, const expected& want) {
    const auto begun = std::chrono::steady_clock::now();
    const std::size_t refused = server.count("refused");
    const auto failure = ask(what, server.disk(name), how, files);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    require_failure(failure, want.kind, want.client);
    CHECK(exit_code(failure->kind()) == want.code);
    check_clear_line(failure->what());
    CHECK_THAT(words_of(*failure), !Catch::Contains(files.folder.path().string()));
    CHECK(wait_until([&] { return server.count("refused") == refused + 1; }));
    CHECK_THAT(server.logged("refused", "message"), Catch::Contains(want.server));
    check_clear_line(server.logged("refused", "message"));
    CHECK_FALSE(server.logged("refused", "peer").empty());
    CHECK(server.count("session-begin") == 0);
    CHECK(files.intact());
    CHECK(took.count() < 8);
}

connect_options plain() {
    connect_options how;
    how.insecure_plaintext = true;
    how.patience = std::chrono::milliseconds(500);
    return how;
}

}  // namespace

TEST_CASE("a key that the server does not hold opens nothing", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    connect_options how = server.how();
    how.credentials = named_key{"laptop", generate_key()};
    for (const wish what : {wish::push, wish::diff, wish::checksum})
        check_refused(server, files, "disk", how, what,
                      {error_kind::peer, "does not know this key", "the client's key is not known here"});
    CHECK_FALSE(ask(wish::push, server.disk("disk"), server.how(), files));
}

TEST_CASE("certificates that are expired, foreign or for something else open nothing", "[sync][wire]") {
    const two_files files;
    authority ours;
    authority foreign("somebody else");
    const certificate_wish good_server{.common_name = "server", .names = "IP:127.0.0.1", .usage = "serverAuth"};
    const certificate_wish good_client{.common_name = "laptop", .usage = "clientAuth"};
    const auto with = [](certificate_wish wish, auto change) {
        change(wish);
        return wish;
    };
    struct row {
        const char* what;
        server_credentials server;
        client_credentials client;
        std::string client_says, server_says;
    };
    const auto key = named_key{"laptop", generate_key()};
    const certificate_files client = ours.certify(good_client), server_files = ours.certify(good_server);
    const row rows[] = {
        {"an expired client", server_files, ours.certify(with(good_client, [](auto& each) { each.days = -1; })),
         "it has expired", "the client's certificate expired at"},
        {"an expired server", ours.certify(with(good_server, [](auto& each) { each.days = -1; })), client,
         "the server's certificate expired at", "it has expired"},
        {"a foreign client", server_files, believing(foreign.certify(good_client), ours), "it trusts another authority",
         "the client's certificate is signed by"},
        {"a foreign server", believing(foreign.certify(good_server), ours), client,
         "the server's certificate is signed by", "it trusts another authority"},
        {"a server's certificate at a client", server_files,
         ours.certify(with(good_client, [](auto& each) { each.usage = "serverAuth"; })), "it is not made for a client",
         "the client's certificate is not made for a client"},
        {"a client's certificate at a server",
         ours.certify(with(good_server, [](auto& each) { each.usage = "clientAuth"; })), client,
         "the server's certificate is not made for a server", "it is not made for a server"},
        {"another server", ours.certify(with(good_server, [](auto& each) { each.names = "DNS:other.example"; })),
         client, "is not for 127.0.0.1 but for other.example", "it is not for the name that was dialled"},
        {"a key to certificates", server_files, key, "the server wants certificates, and this side has a key",
         "this side wants certificates"},
        {"certificates to keys", std::vector<named_key>{key}, client,
         "the server wants a key, and this side has certificates", "the client showed no key"},
    };
    for (const row& each : rows) {
        INFO(each.what);
        server_rig server;
        server.offer("disk", files.there, export_role::target);
        server.options.credentials = each.server;
        server.start();
        connect_options how = server.how();
        how.credentials = each.client;
        check_refused(server, files, "disk", how, wish::push, {error_kind::peer, each.client_says, each.server_says});
    }
    // And the good pair passes.
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.options.credentials = server_files;
    server.options.allowed = {{"laptop", {"disk"}}};
    server.start();
    connect_options how = server.how();
    how.credentials = client;
    CHECK_FALSE(ask(wish::push, server.disk("disk"), how, files));
}

TEST_CASE("roles and rights of exports bind, and what is not granted is said like what there is not", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("source", files.there, export_role::source);
    server.offer("target", files.there, export_role::target);
    server.offer("secret", files.there, export_role::target);
    server.options.allowed = {{"laptop", {"source", "target"}}, {"other", {"secret"}}};
    server.start();
    const expected missing{error_kind::not_found, "there is no export named", "there is no export named", 3};
    check_refused(server, files, "source", server.how(), wish::push,
                  {error_kind::permission, "is a source: nothing may be written to it", "is a source", 3});
    check_refused(server, files, "target", server.how(), wish::pull,
                  {error_kind::permission, "is a target: nothing may be copied from it", "is a target", 3});
    for (const wish what : {wish::push, wish::pull, wish::diff, wish::checksum}) {
        check_refused(server, files, "secret", server.how(), what, missing);
        check_refused(server, files, "nothing", server.how(), what, missing);
    }
    for (const char* name : {"TARGET", "target%20", "..", "%2e%2e"}) {
        INFO(name);
        check_refused(server, files, name, server.how(), wish::push, missing);
    }
    const auto granted = ask(wish::push, server.disk("secret"), server.how(), files);
    const auto unknown = ask(wish::push, server.disk("secreu"), server.how(), files);
    std::string same = granted->what();
    same.replace(same.find("secret"), 6, "secreu");
    CHECK(same == unknown->what());
    CHECK(granted->detail().hint == unknown->detail().hint);
    // Names that are no names of exports do not leave this machine.
    for (const char* name : {"a%2fb", "%2fetc%2fpasswd", "a%00", "%", ""}) {
        INFO(name);
        const auto failure = ask(wish::push, server.disk(name), server.how(), files);
        REQUIRE(failure);
        CHECK(exit_code(failure->kind()) == 2);
    }
    CHECK(server.count("session-begin") == 0);
}

TEST_CASE("control characters in an export's name reach no message", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    check_refused(server, files, "a%0A%1B%5B31mb", server.how(), wish::push,
                  {error_kind::not_found, "there is no export named", "there is no export named", 3});
}

TEST_CASE("a key that was shown for one purpose serves no other", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    boost::asio::io_context network;
    const std::string address = server.address();
    std::exception_ptr failure;
    boost::asio::co_spawn(
        network,
        [](dial_terms terms) -> boost::asio::awaitable<void> {
            auto link = co_await dial(std::move(terms));
            opening::terms agreed;
            agreed.secret = link.secret;
            agreed.far_name = link.far_name;
            opening first(*link.stream, std::move(agreed));
            wire_request request;
            request.export_name = "disk";
            request.role = asked_role::source;
            co_await first.ask(std::move(request));
        }(dial_terms{"127.0.0.1", static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1))),
                             client_credentials(server.key), client_purpose::reader, nullptr}),
        [&failure](std::exception_ptr why) { failure = why; });
    network.run_for(std::chrono::seconds(30));
    const auto refused = failure_of([&] {
        if (failure) std::rethrow_exception(failure);
    });
    require_failure(refused, error_kind::permission, "another role than the handshake was for");
    CHECK_THAT(server.logged("refused", "message"), Catch::Contains("another role than the handshake was for"));
    CHECK(files.intact());
}

TEST_CASE("what cannot be opened is refused in words that tell no path", "[sync][wire]") {
    const two_files files;
    const std::string folder = files.folder.path().string();
    const std::string container = files.folder.file("image.qcow2"), link = files.folder.file("link.img");
    run_checked({"qemu-img", "create", "-q", "-f", "qcow2", container, "1M"});
    std::filesystem::create_symlink(container, link);
    std::filesystem::create_directory(folder + "/folder");
    const std::string relative = std::filesystem::relative(container).string();
    struct row {
        std::string disk;
        error_kind kind;
    };
    const row rows[] = {
        {folder + "/missing/disk.img", error_kind::not_found},
        {"raw:" + folder + "/missing/disk.img", error_kind::not_found},
        {"qcow2:" + folder + "/missing.qcow2", error_kind::not_found},
        {container, error_kind::container},
        {relative, error_kind::container},
        {link, error_kind::container},
        {folder + "/folder", error_kind::unsuitable},
        {"raw:" + folder + "/folder", error_kind::unsuitable},
        {"vmdk:" + files.there, error_kind::container},
        {"nbd+unix:///export?socket=" + folder + "/socket", error_kind::not_found},
    };
    for (const row& each : rows) {
        INFO(each.disk);
        server_rig server;
        server.offer("disk", each.disk, export_role::target);
        server.start();
        const auto failure = ask(wish::diff, server.disk("disk"), server.how(), files);
        REQUIRE(failure);
        INFO(words_of(*failure));
        CHECK(to_string(failure->kind()) == std::string(to_string(each.kind)));
        CHECK_THAT(words_of(*failure), !Catch::Contains(folder));
        CHECK_THAT(words_of(*failure), !Catch::Contains(files.folder.path().filename().string()));
        check_clear_line(failure->what());
        // The log is the server's own, and names the disk or the export.
        CHECK_FALSE(server.logged("refused", "message").empty());
        CHECK(server.logged("refused", "export") == "disk");
    }
}

TEST_CASE("what is found wrong within a session, and what is warned of, tells no path either", "[sync][wire]") {
    const two_files files;
    const std::string folder = files.folder.path().string();
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.offer("raw", "raw:" + files.there, export_role::target);
    // An earlier sync, of that machine alone.
    {
        const std::string elsewhere = files.folder.file("an-earlier-source.img");
        write_whole_file(elsewhere, files.untouched);
        const auto source = open_device(elsewhere);
        const auto target = open_device(files.there, {reprotect::access::read_write});
        require_ok(run_sync(*source, *target, small_sync_options(), server.records.get()));
    }
    server.start();
    for (const char* name : {"disk", "raw"}) {
        INFO(name);
        memory_device shorter(19 * c, "here"), equal(20 * c, "here");
        equal.write(0, files.untouched);
        const auto too_large = ask(wish::push, server.disk(name), server.how(), shorter);
        require_failure(too_large, error_kind::size_mismatch, "the target is larger");
        CHECK_THAT(words_of(*too_large), !Catch::Contains(folder));
        CHECK(files.intact());
        // The record's other source lies on the server, too: what is to know of it stands in the server's log.
        sync_request request = request_of(equal, equal);
        request.target = nullptr;
        request.options.dry_run = true;
        const std::size_t sessions = server.count("session-end");
        const sync_report dry = sync_with_remote(request, server.disk(name), server.how());
        require_ok(dry);
        CHECK_FALSE(dry.warnings.empty());
        for (const std::string& text : dry.warnings) {
            CHECK_THAT(text, Catch::StartsWith(server.address() + ": "));
            CHECK_THAT(text, !Catch::Contains(folder));
        }
        CHECK(wait_until([&] { return server.count("session-end") == sessions + 1; }));
        CHECK_THAT(server.logged("warning", "message"), Catch::Contains("an-earlier-source.img"));
        CHECK(files.intact());
    }
}

TEST_CASE("a refusal names the client's own disk and both sizes", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    const std::string small = files.folder.file("small.img");
    write_whole_file(small, random_bytes(2, 19 * c));
    const auto disk = open_device(small);
    const auto failure = ask(wish::push, server.disk("disk"), server.how(), *disk);
    require_failure(failure, error_kind::size_mismatch, std::to_string(19 * c));
    CHECK_THAT(failure->what(), Catch::Contains(std::to_string(20 * c)));
    CHECK_THAT(failure->what(), Catch::Contains("small.img"));
    CHECK_THAT(words_of(*failure), !Catch::Contains("the-servers-own-path"));
    CHECK(server.logged("session-failed", "kind") == "size_mismatch");
    CHECK(files.intact());
}

TEST_CASE("a server with little memory refuses what does not fit in it", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.options.options.memory_bytes = 12 << 20;
    server.start();
    memory_device disk(20 * c, "here");
    sync_options options = small_sync_options();
    options.chunk_bytes = chunk_bytes_max;
    options.memory_bytes = 1ull << 30;
    const auto failure = ask(wish::push, server.disk("disk"), server.how(), disk, options);
    require_failure(failure, error_kind::usage, "of memory is too little for these options");
    CHECK(exit_code(failure->kind()) == 2);
    CHECK_THAT(server.logged("refused", "message"), Catch::Contains("too little"));
    CHECK(files.intact());
}

TEST_CASE("an export has one writer or any number of readers", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("target", files.there, export_role::target);
    server.start();
    memory_device disk(20 * c, "here");
    fill(disk, {0, 20 * c}, 3);
    std::promise<void> go;
    const std::shared_future<void> may_go(go.get_future());
    std::atomic<bool> reached = false;
    hooked_device held(disk, [&](device_call call, extent) {
        if (call != device_call::read) return;
        reached = true;
        may_go.wait();
    });
    const bool first_writes = GENERATE(true, false);
    auto first = std::async(std::launch::async, [&] {
        return ask(first_writes ? wish::push : wish::diff, server.disk("target"), server.how(), held);
    });
    CHECK(wait_until([&] { return reached && server.count("session-begin") == 1; }));
    for (const wish what : {wish::push, wish::diff, wish::checksum}) {
        const auto second = ask(what, server.disk("target"), server.how(), files);
        if (!first_writes && what != wish::push) {
            CHECK_FALSE(second);
            continue;
        }
        require_failure(second, error_kind::in_use, "the export target is in use by another session");
        CHECK(exit_code(second->kind()) == 3);
        CHECK(second->detail().holder == "another session");
        CHECK_THAT(server.logged("refused", "message"), Catch::Contains("in use by another session"));
    }
    // What the file holds is looked at later: while the session holds its lease, an opener waits.
    go.set_value();
    const auto failure = first.get();
    if (failure) FAIL(failure->what());
    // It is free again, once the server has seen the end.
    CHECK(wait_until([&] { return !ask(wish::push, server.disk("target"), server.how(), files); }));
    CHECK(read_whole_file(files.there) == read_whole_file(files.here));
}

TEST_CASE("a server that serves once outlives strangers, and tells how its session ended", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.options.once = true;
    const bool fails = GENERATE(false, true);
    server.start();
    connect_options stranger = server.how();
    stranger.credentials = named_key{"laptop", generate_key()};
    CHECK(ask(wish::push, server.disk("disk"), stranger, files));
    CHECK(ask(wish::push, server.disk("unknown"), server.how(), files));
    memory_device disk((fails ? 19 : 20) * c, "here");
    const auto failure = ask(wish::push, server.disk("disk"), server.how(), disk);
    const auto end = server.wait();
    CHECK(failure.has_value() == fails);
    if (fails) {
        require_failure(end, error_kind::size_mismatch, "the target is larger");
        CHECK(files.intact());
    } else {
        CHECK_FALSE(end);
        CHECK(read_whole_file(files.there) == bytes_of(disk));
    }
}

TEST_CASE("a server that is stopped ends its sessions as a cancel does, and tells its client", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    // Somebody who never says what it wants does not hold the end up either.
    odd_client silent(server.address());
    memory_device disk(20 * c, "here");
    fill(disk, {0, 20 * c}, 3);
    std::promise<void> go;
    const std::shared_future<void> may_go(go.get_future());
    std::atomic<unsigned> reads = 0;
    const device_identity target = open_device(files.there)->identity();
    hooked_device held(disk, [&](device_call call, extent where) {
        if (call == device_call::read && where.offset >= 10 * c && ++reads != 0) may_go.wait();
    });
    auto client =
        std::async(std::launch::async, [&] { return ask(wish::push, server.disk("disk"), server.how(), held); });
    CHECK(wait_until([&] { return reads != 0 && server.records->find_target(target); }));
    auto ended = std::async(std::launch::async, [&] { return server.stop(); });
    CHECK_FALSE(server.logged("stopping", "sessions").empty());
    go.set_value();
    const auto failure = client.get();
    require_failure(failure, error_kind::peer, "the target at " + server.address() + " was stopped");
    CHECK_FALSE(ended.get());
    CHECK(server.logged("session-failed", "kind") == "interrupted");
    const auto record = server.records->find_target(target);
    REQUIRE(record);
    CHECK(record->status == target_status::dirty);
    CHECK_THAT(ask(wish::push, server.disk("disk"), server.how(), files)->what(), Catch::Contains("refused"));
}

TEST_CASE("a port that is taken, and addresses that are none, are refused before anything is served", "[sync][wire]") {
    const two_files files;
    server_rig first;
    first.offer("disk", files.there, export_role::source);
    first.start();
    CHECK_THAT(first.address(), !Catch::EndsWith(":0"));
    const auto refusal = [&](const std::string& where, bool plaintext = false) {
        server_rig second;
        second.offer("disk", files.there, export_role::source);
        second.options.listen = {where};
        second.options.insecure_plaintext = plaintext;
        const auto failure = second.refuse_to_start();
        if (failure) check_clear_line(failure->what());
        return failure;
    };
    require_failure(refusal(first.address()), error_kind::peer, "Address already in use");
    require_failure(refusal("192.0.2.1:0"), error_kind::peer, "listening on 192.0.2.1:0 failed");
    for (const char* where : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:http", "nowhere.example:1", ""})
        require_failure(refusal(where), error_kind::usage, "cannot listen on");
    for (const char* where : {"0.0.0.0:0", ":0", "[::]:0"})
        require_failure(refusal(where, true), error_kind::usage, "plain text is for an address of this machine alone");
    CHECK_FALSE(ask(wish::checksum, first.disk("disk"), first.how(), files));
}

TEST_CASE("servers that cannot be reached are named, with what is wrong", "[sync][wire]") {
    const two_files files;
    const connect_options keyed = [] {
        connect_options how;
        how.credentials = named_key{"laptop", generate_key()};
        how.patience = std::chrono::milliseconds(500);
        return how;
    }();
    const std::string vacant = odd_server([](tcp_socket&) {}).address();  // nobody listens there any more
    for (const wish what : {wish::push, wish::checksum}) {
        require_failure(ask(what, "reprotect://" + vacant + "/disk", keyed, files), error_kind::peer,
                        "connecting to " + vacant + " failed");
        require_failure(ask(what, "reprotect://no-such-host.invalid/disk", keyed, files), error_kind::peer,
                        "the name no-such-host.invalid does not resolve");
        require_failure(ask(what, "reprotect://192.0.2.1/disk", plain(), files), error_kind::usage,
                        "nothing goes there in plain text");
    }
    CHECK(files.intact());
}

TEST_CASE("a server that is no reprotect is told from one, by TLS and without", "[sync][wire]") {
    const two_files files;
    struct row {
        const char* what;
        std::function<void(tcp_socket&)> speak;
        std::string keyed, plain;
    };
    preamble later;
    later.version_min = 7;
    later.version_max = 9;
    later.side = wire_side::server;
    preamble wrong_side;
    wrong_side.side = wire_side::client;
    wrong_side.nonce.fill(std::byte{3});
    const auto say_and_wait = [](auto bytes) {
        return [bytes](tcp_socket& socket) {
            write_whole(socket, std::span(bytes));
            read_up_to(socket, 1 << 20);
        };
    };
    const row rows[] = {
        {"HTTP",
         [](tcp_socket& socket) {
             read_up_to(socket, 16);
             write_whole(socket, std::string("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
         },
         "something else than TLS", "it is no reprotect: it began with \"HTTP/1.1 400 Bad\""},
        {"noise", [noise = random_bytes(7, 4096)](tcp_socket& socket) { write_whole(socket, noise); },
         "not TLS|than TLS|broke the protocol", "it is no reprotect: it began with"},
        {"ssh", [](tcp_socket& socket) { write_whole(socket, std::string("SSH-2.0-OpenSSH_9.2p1 Debian\r\n")); },
         "than TLS", "it is no reprotect: it began with \"SSH-2.0-OpenSSH_\""},
        {"nothing", [](tcp_socket& socket) { read_up_to(socket, 1 << 20); }, "did not answer the TLS handshake",
         "it said nothing for too long"},
        {"an end", [](tcp_socket&) {}, "closed the connection during the handshake", "closed the connection"},
        {"another version", say_and_wait(encode(later)), "than TLS|broke the protocol",
         "it speaks versions 7 to 9 of the wire, this side version 1"},
        {"another client", say_and_wait(encode(wrong_side)), "than TLS|broke the protocol",
         "it is a client, and so this client has nothing to say to it"},
    };
    for (const row& each : rows) {
        for (const bool keyed : {true, false}) {
            INFO(each.what << (keyed ? " by TLS" : " in plain text"));
            odd_server server(each.speak);
            connect_options how = plain();
            if (keyed) how.credentials = named_key{"laptop", generate_key()};
            const auto begun = std::chrono::steady_clock::now();
            const auto failure = ask(wish::pull, "reprotect://" + server.address() + "/disk", how, files);
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
            require_failure(failure, error_kind::peer, server.address());
            check_clear_line(failure->what());
            const std::string words = keyed ? each.keyed : each.plain;
            if (words.find('|') == std::string::npos)
                CHECK_THAT(failure->what(), Catch::Contains(words));
            else
                CHECK_THAT(failure->what(), Catch::Matches(".*(" + words + ").*"));
            CHECK(took.count() < 8);
        }
    }
    CHECK(read_whole_file(files.here) == random_bytes(2, 20 * c));
}

TEST_CASE("a client that is no reprotect is ended in time, logged in one line, and harms nobody", "[sync][wire]") {
    const two_files files;
    const bool tls = GENERATE(true, false);
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.options.opening_patience = std::chrono::milliseconds(1'000);
    server.options.insecure_plaintext = !tls;
    server.start();
    preamble later;
    later.version_min = later.version_max = 2;
    later.side = wire_side::client;
    const auto later_bytes = encode(later);
    const auto plain_text = [](auto bytes) {
        return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    preamble good;
    good.side = wire_side::client;
    good.nonce.fill(std::byte{5});
    // The longest frame that may come first, but for its end; then one that is too long, and one of another kind.
    const std::string greeting = plain_text(encode(good));
    const std::string words[] = {
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\r\n",
        plain_text(random_bytes(9, 100'000)),
        "",
        std::string(1, '\x16') + "\x03\x01",
        plain_text(later_bytes),
        greeting,
        greeting + "\x01\xff\xff\xff",
        greeting + std::string("\x10\x00\x00\x00", 4),
        greeting + "\xee" + std::string(3, '\0'),
    };
    std::size_t refused = 0;
    for (const std::string& each : words) {
        INFO((tls ? "TLS: " : "plain text: ") << each.substr(0, 80));
        {
            odd_client stranger(server.address());
            stranger.say(each);
            stranger.listen();
        }
        CHECK(wait_until([&] { return server.count("refused") == refused + 1; }));
        refused = server.count("refused");
        CHECK(server.logged("refused", "kind") == "peer");
        check_clear_line(server.logged("refused", "message"));
        CHECK_THAT(server.logged("refused", "message"), Catch::Contains("127.0.0.1:"));
    }
    {
        // A byte now and then does not move the server's patience.
        odd_client slow(server.address());
        const std::string start = tls ? std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) : greeting;
        wait_until(
            [&, at = std::size_t{0}]() mutable {
                slow.say(start.substr(std::min(at++, start.size() - 1), 1));
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
                return server.count("refused") > refused;
            },
            std::chrono::milliseconds(20'000));
        CHECK(server.count("refused") == refused + 1);
    }
    if (!tls) {
        odd_client stranger(server.address());
        stranger.say(later_bytes);
        stranger.listen();
        CHECK(wait_until([&] { return server.count("refused") == refused + 2; }));
        CHECK_THAT(server.logged("refused", "message"),
                   Catch::Contains("it speaks version 2 of the wire, this side version 1"));
    }
    CHECK(server.count("session-begin") == 0);
    CHECK(files.intact());
    CHECK_FALSE(ask(wish::push, server.disk("disk"), tls ? server.how() : plain(), files));
}

TEST_CASE("more silent connections than there is room for do not keep an honest one out", "[sync][wire]") {
    const two_files files;
    server_rig server;
    server.offer("disk", files.there, export_role::target);
    server.start();
    std::vector<std::unique_ptr<odd_client>> silent;
    for (int i = 0; i < 70; ++i) silent.push_back(std::make_unique<odd_client>(server.address()));
    const auto begun = std::chrono::steady_clock::now();
    CHECK_FALSE(ask(wish::checksum, server.disk("disk"), server.how(), files));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    CHECK(took.count() < 8);  // less than what the silent ones are given
    CHECK(server.count("evicted") == 7);
    // The oldest had to go; those that are left end with the server.
    CHECK(silent.front()->listen().empty());
}
