// An agent beside stale disks: listens until each of its disks has had its session, then ends.
//   target_agent ADDRESS PORT CERTIFICATES STATE RATE NAME=DISK...
// As the source's agent. With port 0 it takes any that is free and says which.
#include "common.hpp"

#include <set>

namespace {

using namespace agents;

constexpr int strangers_max = 32;  // guessed: connections that have not named a disk yet

struct reception {
    agent& self;
    tcp::acceptor acceptor{self.network, *self.resolve().begin()};
    std::set<std::string> waiting{};  // disks that nobody has asked for yet
    int strangers = 0;
    std::stop_callback<std::function<void()>> at_stop{self.stop.get_token(), [this] { acceptor.close(); }};
};

awaitable<void> sync_disk(agent* self, std::string name, tls_stream stream) {
    co_await write_line(&stream, "ok");
    co_await run_session(self, name, std::move(stream));
}

awaitable<void> receive(reception* at, tcp::socket socket) {
    agent& self = at->self;
    tls_stream stream(std::move(socket), self.tls);
    const deadline limit(stream, self.stop.get_token());
    stream.lowest_layer().set_option(tcp::no_delay(true));
    co_await stream.async_handshake(tls_stream::server, use_awaitable);
    const auto name = co_await read_line(&stream);
    if (at->waiting.erase(name) != 0) {
        if (at->waiting.empty()) at->acceptor.close();
        asio::co_spawn(self.network, sync_disk(&self, name, std::move(stream)), self.finisher(name));
        co_return;
    }
    const std::string why = self.disks.contains(name) ? "taken" : "unknown";
    co_await write_line(&stream, why);
}

awaitable<void> accept_all(reception* at) {
    while (at->acceptor.is_open()) {
        auto socket = co_await at->acceptor.async_accept(use_awaitable);
        if (at->strangers == strangers_max) continue;  // and the socket closes
        ++at->strangers;
        asio::co_spawn(at->self.network, receive(at, std::move(socket)), [at](std::exception_ptr failure) {
            --at->strangers;
            if (failure) say("refused", in_one_line(failure_of(failure)));
        });
    }
}

}  // namespace

int main(int count, char** words) {
    return run_agent(reprotect::peer_role::target, count, words, [](agent& self) {
        auto at = std::make_unique<reception>(self);
        for (const auto& disk : self.disks) at->waiting.insert(disk.first);
        say("listening", std::to_string(at->acceptor.local_endpoint().port()));
        asio::co_spawn(self.network, accept_all(at.get()), [at = at.get()](std::exception_ptr failure) {
            if (at->acceptor.is_open()) std::rethrow_exception(failure);  // it was not closed: no way to go on
        });
        return at;
    });
}
