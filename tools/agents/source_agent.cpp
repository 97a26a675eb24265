// An agent beside current disks: connects to the targets' agent, once for each disk, and syncs them all at once.
//   source_agent ADDRESS PORT CERTIFICATES STATE RATE NAME=DISK...
// CERTIFICATES is a folder with certificate.pem, key.pem and authority.pem; ADDRESS must stand in the other side's
// certificate. STATE is a folder for records, RATE the most that all sessions together send ("100MB/s").
// A report for each disk comes as a line of JSON on standard output. The exit code is the greatest of the disks', as
// `reprotect::exit_code` has them.
#include "common.hpp"

namespace {

using namespace agents;

awaitable<void> sync_disk(agent* self, tcp::resolver::results_type addresses, std::string name) {
    tls_stream stream(self->network, self->tls);
    {
        const deadline limit(stream, self->stop.get_token());
        co_await asio::async_connect(stream.lowest_layer(), addresses, use_awaitable);
        stream.lowest_layer().set_option(tcp::no_delay(true));
        stream.set_verify_callback(asio::ssl::host_name_verification(self->line.host));
        co_await stream.async_handshake(tls_stream::client, use_awaitable);
        co_await write_line(&stream, name);
        const auto answer = co_await read_line(&stream);
        if (answer != "ok") throw error(error_kind::peer, "the other side does not take this disk: it is " + answer);
    }
    co_await run_session(self, name, std::move(stream));
}

}  // namespace

int main(int count, char** words) {
    return run_agent(reprotect::peer_role::source, count, words, [](agent& self) {
        const auto addresses = self.resolve();
        for (const auto& disk : self.disks)
            asio::co_spawn(self.network, sync_disk(&self, addresses, disk.first), self.finisher(disk.first));
        return 0;
    });
}
