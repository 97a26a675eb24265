// A thousand connections that never say who they are: the next honest peer's session begins at once all the same, and
// they cost the server little memory. They come from many addresses, since of one address only a few are kept; half of
// them say nothing, half begin a TLS hello and stop.
#include "hostile/malicious_peer.hpp"
#include "support/asking.hpp"
#include "support/memory_watch.hpp"
#include "support/server_rig.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/owned_descriptor.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <vector>

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::size_t strangers_wanted = 1000;
constexpr std::size_t from_one_address = 60;  // a few less than the server keeps of one
constexpr std::size_t runs = 5;

// As many descriptors as the system lets this process have.
class many_descriptors {
public:
    many_descriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        rlimit all = before_;
        all.rlim_cur = all.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &all);
        ::getrlimit(RLIMIT_NOFILE, &now_);
    }
    many_descriptors(const many_descriptors&) = delete;
    many_descriptors& operator=(const many_descriptors&) = delete;
    ~many_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    std::size_t count() const noexcept { return now_.rlim_cur; }

private:
    rlimit before_{}, now_{};
};

// From 127.0.0.`last`; nothing where it cannot be had.
owned_descriptor connect_from(unsigned last, std::uint16_t port) {
    owned_descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(0x7f000000u + last);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    return socket;
}

}  // namespace

TEST_CASE("a thousand strangers who say nothing neither hold up the next honest peer nor cost much memory",
          "[hostile][wire]") {
    const many_descriptors limit;
    // Both ends of each are in this process, and the unknown get half of what it has.
    const std::size_t wanted = std::min(strangers_wanted, limit.count() / 4);
    if (wanted < strangers_wanted) WARN("only " << limit.count() << " descriptors: " << wanted << " strangers");
    const temp_dir folder;
    const std::string there = folder.file("there.img");
    write_whole_file(there, random_bytes(1, 4 * small_chunk));
    server_rig server;
    server.offer("disk", there, export_role::source);
    server.options.opening_patience = std::chrono::milliseconds(60'000);  // none of them goes by itself
    server.start();
    memory_device here(4 * small_chunk, "here");
    here.write(0, random_bytes(1, 4 * small_chunk));
    const auto visit = [&] {
        const auto begun = std::chrono::steady_clock::now();
        const auto failure = ask(wish::diff, server.disk("disk"), server.how(), here);
        if (failure) FAIL(failure->what());
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    };
    visit();  // what is loaded once is no stranger's cost

    const memory_watch memory;
    const std::string address = server.address();
    const auto port = static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
    const std::string half_a_hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    std::vector<owned_descriptor> strangers;
    for (std::size_t i = 0; i < wanted; ++i) {
        strangers.push_back(connect_from(static_cast<unsigned>(2 + i / from_one_address), port));
        REQUIRE(strangers.back());
        if (i % 2 == 0) continue;
        CHECK(::send(strangers.back().get(), half_a_hello.data(), half_a_hello.size(), MSG_NOSIGNAL) == 11);
    }

    std::vector<double> took;
    for (std::size_t i = 0; i < runs; ++i) took.push_back(visit());
    std::sort(took.begin(), took.end());
    INFO("from connecting to the report: the median of " << runs << " was " << took[runs / 2] << " s, the longest "
                                                         << took.back() << " s");
    CHECK(took[runs / 2] <
          5);  // a second is what is promised, and a hundredth what it takes: others use this machine, too
    INFO("memory: " << (memory.grown_bytes() >> 10) << " KiB for " << wanted << " of them");
    CHECK(memory.grown_bytes() < (256 << 20) * sanitizer_memory);
    // They are all still there: nobody had to go for this.
    CHECK(server.count("evicted") == 0);
    for (const owned_descriptor& each : strangers) {
        char byte = 0;
        CHECK((::recv(each.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN));
    }
    CHECK(took.size() == runs);
}
