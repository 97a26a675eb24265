// NBD beyond what every device does: servers that lie, fail, fall silent or go away, several connections, TLS, names.
#include "device/nbd_device.hpp"
#include "reprotect/error.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/false_nbd_server.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <thread>

namespace {

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;
using server = false_nbd_server;
using bytes = std::vector<std::byte>;

std::unique_ptr<device> open_writable(const std::string& name, std::chrono::milliseconds patience = 60s) {
    return open_device(name, {.mode = access::read_write, .patience = patience});
}

TEST_CASE("an export of a size that no disk has, or of units that cannot be kept, is refused", "[device]") {
    struct odd {
        std::uint64_t size;
        std::vector<std::uint32_t> block_sizes;
        std::string part;
    };
    for (const odd& each : std::vector<odd>{{0, {}, "no size"},
                                            {std::uint64_t{1} << 63, {}, ""},
                                            {~std::uint64_t{0}, {}, ""},
                                            {(1 << 20) + 1, {4096, 4096, 1 << 20}, "multiple"}}) {
        CAPTURE(each.size, each.block_sizes);
        server::script says;
        says.size = each.size;
        says.block_sizes = each.block_sizes;
        server lying(says);
        const auto failure = failure_of([&] { open_device(lying.uri()); });
        REQUIRE(failure);
        CHECK_THAT(failure->what(), Catch::Contains(each.part));
    }
}

TEST_CASE("units that make no sense are refused, or the disk is used by the byte", "[device]") {
    for (const std::vector<std::uint32_t>& units :
         std::vector<std::vector<std::uint32_t>>{{3, 4096, 1 << 20}, {1 << 24, 1 << 24, 1 << 25}, {0, 0, 0}}) {
        CAPTURE(units);
        std::atomic<std::uint64_t> offset{0}, length{0};
        server::script says;
        says.size = 1 << 26;
        says.block_sizes = units;
        says.answer = [&](server::connection& to, const server::request& asked) {
            if (asked.type == server::read) {
                offset = asked.offset;
                length = asked.length;
            }
            return to.answer_well(asked);
        };
        server odd(says);
        std::byte one{};
        const auto refused = failure_of([&] { open_device(odd.uri())->read(1, std::span(&one, 1)); });
        if (refused) continue;
        CHECK(one == std::byte{0x5a});
        CHECK(offset == 1);
        CHECK(length == 1);
    }
}

TEST_CASE("a server that cannot flush is no target, and one for reading neither", "[device]") {
    server::script says;
    says.flags = server::has_flags;
    server unflushing(says);
    require_failure(failure_of([&] { open_writable(unflushing.uri()); }), error_kind::unsuitable, "no flush");
    CHECK(open_device(unflushing.uri())->size() == 1 << 20);
    says.flags = server::has_flags | server::send_flush | server::read_only;
    server reading(says);
    require_failure(failure_of([&] { open_writable(reading.uri()); }), error_kind::unsuitable, "reading only");
    CHECK(open_device(reading.uri())->properties().read_only);
}

TEST_CASE("whatever a server says of its allocation, it covers the range and ends", "[device]") {
    using run = std::pair<std::uint32_t, std::uint32_t>;
    constexpr std::uint32_t hole = 1, zero = 2;
    struct answer {
        std::vector<run> says;
        std::vector<allocation_run> means;
    };
    const std::uint64_t size = 1 << 20;
    for (const answer& each : std::vector<answer>{
             {{{1 << 20, zero}}, {{{0, size}, content::zero}}},
             {{{0xffffffff, zero}}, {{{0, size}, content::zero}}},
             {{{1 << 20, hole}}, {{{0, size}, content::data}}},
             {{{1 << 20, 0xfffffffd}}, {{{0, size}, content::data}}},
             {{{0, zero}, {0, 0}}, {{{0, size}, content::data}}},
             {{{1 << 19, zero}, {0xffffffff, 0}, {4096, zero}},
              {{{0, size / 2}, content::zero}, {{size / 2, size / 2}, content::data}}},
             {{{1 << 19, zero | hole}, {1 << 19, 0}},
              {{{0, size / 2}, content::zero}, {{size / 2, size / 2}, content::data}}},
         }) {
        server::script says;
        says.answer = [&](server::connection& to, const server::request& asked) {
            if (asked.type != server::block_status) return to.answer_well(asked);
            to.allocation(asked, each.says);
            return true;
        };
        server lying(says);
        const auto disk = open_device(lying.uri());
        CHECK(disk->allocation({0, size}, 100) == each.means);
        CHECK(disk->allocation({5, 10}, 1).size() == 1);
    }
    // No server makes a call last by answering in crumbs, in less than its own unit, or in runs without end.
    std::atomic<unsigned> asked_for{0};
    server::script says;
    says.size = std::uint64_t{1} << 40;
    says.answer = [&](server::connection& to, const server::request& asked) {
        if (asked.type != server::block_status) return to.answer_well(asked);
        ++asked_for;
        to.allocation(asked, {{512, asked.offset % 1024 == 0 ? 2u : 0u}});
        return true;
    };
    for (const bool units : {false, true}) {
        CAPTURE(units);
        if (units) says.block_sizes = {4096, 4096, 1 << 20};
        asked_for = 0;
        server trickling(says);
        const auto disk = open_device(trickling.uri());
        const auto runs = disk->allocation({0, says.size}, 1000);
        REQUIRE(!runs.empty());
        CHECK(runs.back().range.end() >= asked_for * (64u << 10));
        CHECK(asked_for < 1000);
    }
    says.block_sizes = {};
    says.answer = [&](server::connection& to, const server::request& asked) {
        if (asked.type != server::block_status) return to.answer_well(asked);
        to.allocation(asked, std::vector<run>(8'000, run{512, 0}));
        return true;
    };
    server endless(says);
    CHECK(open_device(endless.uri())->allocation({0, 8'000 * 512}, 100) ==
          std::vector<allocation_run>{{{0, 8'000 * 512}, content::data}});
    // A hint that is not given costs nothing but the reading.
    says.answer = [&](server::connection& to, const server::request& asked) {
        if (asked.type != server::block_status) return to.answer_well(asked);
        to.fail(asked, EINVAL);
        return true;
    };
    server unwilling(says);
    CHECK(open_device(unwilling.uri())->allocation({0, 4096}, 100) ==
          std::vector<allocation_run>{{{0, 4096}, content::data}});
}

TEST_CASE("a read that a server answers in part is an error, and never data", "[device]") {
    server::script says;
    says.answer = [](server::connection& to, const server::request& asked) {
        if (asked.type != server::read) return to.answer_well(asked);
        if (asked.offset == 0) {  // the second half is left out
            to.data(asked, true, 0, std::string(asked.length / 2, '\x5a'));
        } else if (asked.offset == 8192) {  // more than was asked for
            to.data(asked, true, asked.offset, std::string(asked.length + 1, '\x5a'));
        } else {  // in pieces, the last first
            to.data(asked, false, asked.offset + asked.length / 2, std::string(asked.length / 2, '\x5b'));
            to.data(asked, true, asked.offset, std::string(asked.length / 2, '\x5a'));
        }
        return true;
    };
    server lying(says);
    bytes into(4096);
    const auto disk = open_device(lying.uri());
    disk->read(4096, into);
    CHECK((into.front() == std::byte{0x5a} && into[2047] == std::byte{0x5a} && into[2048] == std::byte{0x5b}));
    const auto failure = failure_of([&] { disk->read(0, into); });
    require_failure(failure, error_kind::device_io, "read of");
    CHECK(failure->detail().offset == 0);
    require_failure(failure_of([&] { disk->read(8192, into); }), error_kind::peer, "");
    // What is broken stays broken, and says so at once.
    require_failure(failure_of([&] { disk->read(4096, into); }), error_kind::peer, "");
}

TEST_CASE("a server's refusals are errors of the device, with place and reason", "[device]") {
    std::atomic<unsigned> flushes{0};
    server::script says;
    says.answer = [&](server::connection& to, const server::request& asked) {
        if (asked.type == server::flush) ++flushes;
        if (asked.type == server::block_status) return to.answer_well(asked);
        to.fail(asked, asked.type == server::write ? ENOSPC : EIO);
        return true;
    };
    server failing(says);
    const auto disk = open_writable(failing.uri());
    bytes some(512);
    const auto read = failure_of([&] { disk->read(1024, some); });
    require_failure(read, error_kind::device_io, "Input/output error");
    CHECK((read->detail().offset == 1024 && read->detail().length == 512 && read->detail().operation == "read"));
    require_failure(failure_of([&] { disk->write(0, some); }), error_kind::no_space, "No space");
    require_failure(failure_of([&] { disk->write_zeroes(0, 512); }), error_kind::device_io, "write_zeroes");
    require_failure(failure_of([&] { disk->flush(); }), error_kind::flush_failed, "Input/output error");
    require_failure(failure_of([&] { disk->flush(); }), error_kind::flush_failed, "not tried again");
    CHECK(flushes == 1);
}

TEST_CASE("a server that falls silent is given up in time, by all who wait", "[device]") {
    std::atomic<bool> silent{false};
    server::script says;
    says.answer = [&](server::connection& to, const server::request& asked) {
        return silent ? true : to.answer_well(asked);
    };
    server stalling(says);
    const auto disk = open_writable(stalling.uri(), 300ms);
    bytes some(4096);
    disk->read(0, some);
    silent = true;
    const auto begin = std::chrono::steady_clock::now();
    std::atomic<int> told{0};
    std::vector<std::thread> waiting;
    for (int count = 0; count < 8; ++count)
        waiting.emplace_back([&, count] {
            bytes own(4096);
            const auto why = failure_of([&] { disk->read(static_cast<std::uint64_t>(count) * 4096, own); });
            if (why && why->kind() == error_kind::peer &&
                std::string(why->what()).find("not answered") != std::string::npos)
                ++told;
        });
    for (std::thread& each : waiting) each.join();
    CHECK(told == 8);
    CHECK(std::chrono::steady_clock::now() - begin < 20s);
    require_failure(failure_of([&] { disk->read(0, some); }), error_kind::peer, "not answered");
    // The server's disk may or may not have taken what it acknowledged.
    require_failure(failure_of([&] { disk->flush(); }), error_kind::flush_failed, "not answered");
}

TEST_CASE("bytes that trickle in do not stretch an answer without end", "[device]") {
    std::atomic<bool> over{false};
    server::script says;
    says.answer = [&](server::connection& to, const server::request& asked) {
        if (asked.type != server::read) return to.answer_well(asked);
        to.send(server::connection::number(0x668e33ef, 4) + server::connection::number(1, 2) +
                server::connection::number(1, 2) + server::connection::number(asked.cookie, 8) +
                server::connection::number(asked.length + 8, 4) + server::connection::number(asked.offset, 8));
        for (std::uint32_t at = 0; at < asked.length && !over; ++at) {
            to.send("x");
            std::this_thread::sleep_for(10ms);
        }
        return false;
    };
    server trickling(says);
    const auto disk = open_device(trickling.uri(), {.patience = 100ms});
    bytes some(100'000);
    require_failure(failure_of([&] { disk->read(0, some); }), error_kind::peer, "not answered");
    over = true;
}

TEST_CASE("a greeting that never ends, and garbage, are no servers", "[device]") {
    server::script says;
    says.greets = false;
    server mute(says);
    require_failure(failure_of([&] { open_device(mute.uri(), {.patience = 200ms}); }), error_kind::peer, "greeting");
}

TEST_CASE("a connection that is lost ends every call with the reason", "[device]") {
    for (const std::uint16_t type :
         {server::read, server::write, server::zeroes, server::block_status, server::flush}) {
        CAPTURE(type);
        server::script says;
        says.answer = [&](server::connection& to, const server::request& asked) {
            return asked.type != type && to.answer_well(asked);
        };
        server leaving(says);
        const auto disk = open_writable(leaving.uri());
        bytes some(4096);
        const auto call = [&] {
            if (type == server::read) disk->read(0, some);
            if (type == server::write) disk->write(0, some);
            if (type == server::zeroes) disk->write_zeroes(0, 4096);
            if (type == server::block_status) disk->allocation({0, 4096}, 10);
            if (type == server::flush) disk->flush();
        };
        const error_kind kind = type == server::flush ? error_kind::flush_failed : error_kind::peer;
        require_failure(failure_of(call), kind, "failed: ");
        require_failure(failure_of(call), kind, "failed: ");
    }
}

TEST_CASE("a connection that dies while others send and wait is told to all of them at once", "[device]") {
    // The one who sends finds it dead, and the one who waits for the socket has to hear of it.
    for (int round = 0; round < 20; ++round) {
        std::atomic<int> answered{0};
        server::script says;
        says.answer = [&](server::connection& to, const server::request& asked) {
            return ++answered < 30 && to.answer_well(asked);
        };
        server leaving(says);
        const auto disk = open_writable(leaving.uri());
        const auto begin = std::chrono::steady_clock::now();
        std::vector<std::thread> threads;
        for (std::uint64_t worker = 0; worker < 6; ++worker)
            threads.emplace_back([&, worker] {
                const bytes some(128 << 10);
                while (!failure_of([&] { disk->write(worker << 17, some); })) {
                }
            });
        for (std::thread& each : threads) each.join();
        REQUIRE(std::chrono::steady_clock::now() - begin < 30s);
    }
}

TEST_CASE("several connections are used where the server promises that a flush covers them", "[device]") {
    server::script says;
    says.flags = server::has_flags | server::send_flush | server::multi_conn;
    {
        server many(says);
        const auto disk = open_writable(many.uri());
        CHECK(many.connections() == 4);
        bytes some(4096);
        for (int count = 0; count < 20; ++count) disk->read(0, some);
        disk->flush();
    }
    {
        says.before_next = [](server::script& next) { next.greets = false; };
        server one(says);  // promises more than it serves
        const auto begin = std::chrono::steady_clock::now();
        CHECK(open_writable(one.uri())->size() == 1 << 20);
        CHECK(std::chrono::steady_clock::now() - begin < 20s);  // and not the minute of the patience
    }
    {
        says.before_next = [](server::script& next) { next.size = 2 << 20; };
        server two_faced(says);
        require_failure(failure_of([&] { open_writable(two_faced.uri()); }), error_kind::peer, "differently");
    }
    says.flags = server::has_flags | server::send_flush;
    server single(says);
    CHECK(open_writable(single.uri())->size() == 1 << 20);
    CHECK(single.connections() == 1);
}

TEST_CASE("many threads share few connections and each gets its own bytes", "[device]") {
    temp_dir folder;
    const std::string image = folder.file("disk.img");
    const bytes content = random_bytes(5, 4 << 20);
    write_whole_file(image, content);
    for (const bool one_by_one : {false, true}) {
        temp_dir place;
        const nbdkit_server real(place.path(), one_by_one ? std::vector<std::string>{"--filter=multi-conn", "file",
                                                                                     image, "multi-conn-mode=disable"}
                                                          : std::vector<std::string>{"file", image});
        const auto disk = open_writable(real.uri());
        std::atomic<bool> wrong{false};
        std::vector<std::thread> threads;
        for (std::uint64_t worker = 0; worker < 16; ++worker)
            threads.emplace_back([&, worker] {
                bytes own(64 << 10);
                for (std::uint64_t round = 0; round < 40; ++round) {
                    const std::uint64_t offset = (worker * 7919 + round * 104'729) % (content.size() - own.size());
                    disk->read(offset, own);
                    if (!std::equal(own.begin(), own.end(), content.begin() + static_cast<std::ptrdiff_t>(offset)))
                        wrong = true;
                }
            });
        for (std::thread& each : threads) each.join();
        CHECK_FALSE(wrong);
    }
}

TEST_CASE("TLS is used where the name asks for it, and only with the right key", "[device]") {
    temp_dir folder;
    const std::string image = folder.file("disk.img");
    write_whole_file(image, random_bytes(6, 1 << 20));
    const auto save_key = [&](const std::string& name, const std::string& line) {
        write_whole_file(folder.file(name), std::as_bytes(std::span(line)));
        std::filesystem::permissions(folder.file(name), std::filesystem::perms::owner_read);
        return folder.file(name);
    };
    const std::string right = save_key("right", "anna:" + std::string(64, 'a') + "\n");
    const std::string wrong = save_key("wrong", "anna:" + std::string(64, 'b') + "\n");
    const nbdkit_server guarded(folder.path(), {"--tls=require", "--tls-psk=" + right, "file", image});
    const std::string name = "nbds+unix://anna@/?socket=" + guarded.socket() + "&tls-psk-file=";
    CHECK(open_device(name + right)->size() == 1 << 20);
    require_failure(failure_of([&] { open_device(name + wrong, {.patience = 5s}); }), error_kind::peer, "");
    require_failure(failure_of([&] { open_device(guarded.uri(), {.patience = 5s}); }), error_kind::peer, "");
    temp_dir other;
    const nbdkit_server open(other.path(), {"--tls=off", "file", image});
    require_failure(failure_of([&] {
                        open_device("nbds+unix://anna@/?socket=" + open.socket() + "&tls-psk-file=" + right,
                                    {.patience = 5s});
                    }),
                    error_kind::peer, "TLS");
}

// An authority of the test's own, and certificates that it signs.
class authority {
public:
    authority() {
        make_key("ca-key.pem");
        run_checked({"openssl", "req", "-x509", "-new", "-sha256", "-days", "2", "-key", folder_.file("ca-key.pem"),
                     "-subj", "/CN=the test's authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out",
                     folder_.file("ca-cert.pem")});
    }

    /// A folder as a client wants it, with ca-cert.pem.
    std::string folder() const { return folder_.path().string(); }

    /// A folder as a server wants it. `names` is its subjectAltName: "DNS:localhost,IP:127.0.0.1"
    std::string certify(const std::string& common_name, const std::string& names) const {
        const std::string place = folder_.file("server");
        const auto file = [&](const std::string& name) { return place + "/" + name; };
        std::filesystem::create_directory(place);
        make_key("server/server-key.pem");
        const std::string says = "subjectAltName=" + names + "\nextendedKeyUsage=serverAuth\n";
        write_whole_file(file("extensions"), std::as_bytes(std::span(says)));
        run_checked({"openssl", "req", "-new", "-sha256", "-key", file("server-key.pem"), "-subj", "/CN=" + common_name,
                     "-out", file("request")});
        run_checked({"openssl", "x509", "-req", "-sha256", "-days", "2", "-in", file("request"), "-CA",
                     folder_.file("ca-cert.pem"), "-CAkey", folder_.file("ca-key.pem"), "-CAcreateserial", "-extfile",
                     file("extensions"), "-out", file("server-cert.pem")});
        std::filesystem::copy_file(folder_.file("ca-cert.pem"), file("ca-cert.pem"));
        return place;
    }

private:
    void make_key(const std::string& name) const {
        run_checked({"openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", folder_.file(name)});
    }

    temp_dir folder_;
};

TEST_CASE("a server's certificate is checked: by the authority of the folder, and for the host that was named",
          "[device]") {
    if (!run_command({"openssl", "version"}).ok()) {
        WARN("no openssl here");
        return;
    }
    temp_dir place;
    const std::string image = place.file("disk.img");
    const bytes content = random_bytes(6, 1 << 20);
    write_whole_file(image, content);
    const auto serve = [&](const temp_dir& folder, const std::string& certificates) {
        return nbdkit_server(folder.path(), {"--tls=require", "--tls-certificates=" + certificates, "file", image},
                             nbdkit_server::transport::tcp);
    };
    const auto name_of = [](const nbdkit_server& at, const std::string& host, const std::string& trusted) {
        return "nbds://" + host + ":" + std::to_string(at.port()) + "/?tls-certificates=" + trusted;
    };
    const authority ours;
    const authority theirs;
    const nbdkit_server right = serve(place, ours.certify("localhost", "DNS:localhost,IP:127.0.0.1"));
    for (const char* host : {"localhost", "127.0.0.1"}) {
        CAPTURE(host);
        const auto disk = open_writable(name_of(right, host, ours.folder()));
        bytes some(64 << 10);
        disk->read(4096, some);
        CHECK(std::equal(some.begin(), some.end(), content.begin() + 4096));
    }
    temp_dir other_place;
    const authority for_another;
    const nbdkit_server other = serve(other_place, for_another.certify("elsewhere.example", "DNS:elsewhere.example"));
    for (const std::string& name :
         {name_of(right, "localhost", theirs.folder()),  // another authority
          name_of(other, "localhost", ours.folder()),    // and another host as well
          name_of(other, "localhost", for_another.folder()), name_of(other, "127.0.0.1", for_another.folder())}) {
        CAPTURE(name);
        const auto begin = std::chrono::steady_clock::now();
        const auto failure = failure_of([&] { open_device(name, {.patience = 10s}); });
        require_failure(failure, error_kind::peer, "handshake");
        CHECK_THAT(failure->detail().hint, Catch::Contains("certificate"));
        CHECK(std::chrono::steady_clock::now() - begin < 5s);  // refused, and not given up
    }
    // Nor is the disk to be had past the certificate, without TLS.
    require_failure(
        failure_of([&] { open_device("nbd://127.0.0.1:" + std::to_string(right.port()) + "/", {.patience = 10s}); }),
        error_kind::peer, "TLS");
}

TEST_CASE("a name that TLS could not check the server by is refused before anything is sent", "[device]") {
    temp_dir folder;
    server::script says;
    server any(says);
    const std::string empty = folder.path().string();
    for (const std::string& name :
         {std::string("nbds://127.0.0.1:1/"), "nbds://127.0.0.1:1/?tls-certificates=" + folder.file("none"),
          "nbds://127.0.0.1:1/?tls-certificates=" + empty,
          "nbds+unix:///?socket=" + any.path() + "&tls-certificates=" + empty, "nbds+unix:///?socket=" + any.path(),
          "nbds+unix:///?socket=" + any.path() + "&tls-psk-file=a&tls-psk-file=b"}) {
        CAPTURE(name);
        const auto why = failure_of([&] { open_device(name); });
        REQUIRE(why);
        CHECK((why->kind() == error_kind::usage || why->kind() == error_kind::not_found));
    }
    CHECK(any.connections() == 0);
}

TEST_CASE("a server that is not there, an export that is not, and a name that is none, are told apart", "[device]") {
    temp_dir folder;
    const auto kind_for = [](const std::string& name) {
        const auto why = failure_of([&] { open_device(name, {.patience = 5s}); });
        REQUIRE(why);
        CHECK(why->detail().device == name);
        CHECK_FALSE(why->detail().hint.empty());
        return std::string(to_string(why->kind()));
    };
    CHECK(kind_for("nbd+unix:///?socket=" + folder.file("none")) == "not_found");
    CHECK(kind_for("nbd+unix:///export") == "usage");
    CHECK(kind_for("nbd:///export") == "usage");
    CHECK(kind_for("nbd+unix:///?socket=a&socket=b") == "usage");
    CHECK(kind_for("nbd+unix:///?socket=a#1") == "usage");
    CHECK(kind_for("nbd://127.0.0.1:1/") == "peer");
    const std::string image = folder.file("disk.img");
    write_whole_file(image, random_bytes(6, 4096));
    const nbdkit_server real(folder.path(), {"--exportname=only", "--filter=exportname", "file", image,
                                             "exportname=only", "exportname-strict=true"});
    CHECK(kind_for("nbd+unix:///other?socket=" + real.socket()) == "not_found");
    CHECK(open_device("nbd+unix:///only?socket=" + real.socket())->size() == 4096);
}

TEST_CASE("an export is known by its server and name, however they are written", "[device]") {
    server::script says;
    server any(says);
    const auto same = [&](const std::string& a, const std::string& b) {
        return open_device(a)->identity() == open_device(b)->identity();
    };
    const std::string folder = any.path().substr(0, any.path().rfind('/'));
    CHECK(same(any.uri(), "nbd+unix:///?socket=" + folder + "/../" + folder.substr(folder.rfind('/') + 1) + "/socket"));
    CHECK(same("nbd+unix:///a%62c?socket=" + any.path(), "nbd+unix:///abc?socket=" + any.path()));
    CHECK_FALSE(same("nbd+unix:///a?socket=" + any.path(), "nbd+unix:///b?socket=" + any.path()));
}

}  // namespace
