// TLS on real sockets, both ends in one thread: what arrives, what is counted, and how it ends.
#include "wire/tls_stream.hpp"

#include "support/bytes.hpp"

#include <catch2/catch.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "wire/tls.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::seconds patience{60};  // a bound for what hangs; nothing here takes a second

named_key a_key() {
    named_key result{"test", {}};
    result.key.bytes.fill(std::byte{3});
    return result;
}

// Lets so many bytes go, and none after that.
class gate_limiter final : public rate_limiter {
public:
    explicit gate_limiter(std::size_t allowed, std::size_t piece) : left_(allowed), piece_(piece) {}
    std::size_t piece_bytes() const override { return piece_; }
    clock::time_point reserve(std::size_t bytes, clock::time_point now) override {
        largest = std::max(largest, bytes);
        taken += bytes;
        if (bytes > left_) return now + std::chrono::hours(1);
        left_ -= bytes;
        return now;
    }
    std::size_t largest = 0;
    std::size_t taken = 0;

private:
    std::size_t left_;
    std::size_t piece_;
};

// A client and a server on 127.0.0.1.
class tls_pair {
    // These outlive the streams.
    asio::io_context context_{1};
    tls_client client_tls_{a_key(), client_purpose::source, "localhost"};
    tls_server server_tls_{std::vector<named_key>{a_key()}};

public:
    explicit tls_pair(std::optional<int> socket_buffer = {}) {
        tcp::acceptor listener(context_, {asio::ip::address_v4::loopback(), 0});
        tcp::socket near(context_);
        if (socket_buffer) {
            // Inherited by what is accepted.
            listener.set_option(tcp::socket::receive_buffer_size(*socket_buffer));
            near.open(tcp::v4());
            near.set_option(tcp::socket::receive_buffer_size(*socket_buffer));
            near.set_option(tcp::socket::send_buffer_size(*socket_buffer));
        }
        near.connect(listener.local_endpoint());
        tcp::socket far = listener.accept();
        if (socket_buffer) far.set_option(tcp::socket::send_buffer_size(*socket_buffer));
        client = std::make_unique<tls_stream>(std::move(near), client_meter, client_tls_.context(),
                                              tls_stream::end::client, nullptr);
        server = std::make_unique<tls_stream>(std::move(far), server_meter, server_tls_.context(),
                                              tls_stream::end::server, nullptr);
        client_tls_.prepare(client->handle());
    }

    void shake_hands() {
        error_code at_client = asio::error::would_block, at_server = asio::error::would_block;
        client->async_handshake(on(), [&](error_code why, std::size_t) { at_client = why; });
        server->async_handshake(on(), [&](error_code why, std::size_t) { at_server = why; });
        run();
        REQUIRE(at_client == error_code());
        REQUIRE(at_server == error_code());
    }
    asio::any_io_executor on() { return context_.get_executor(); }
    void run() {
        context_.restart();
        context_.run_for(patience);
        REQUIRE(context_.stopped());
    }
    // What is ready to be done, without waiting for what is not.
    void run_ready() {
        context_.restart();
        for (int idle = 0; idle < 20;) idle = context_.run_one_for(std::chrono::milliseconds(5)) != 0 ? 0 : idle + 1;
    }

    std::shared_ptr<wire_meter> client_meter = std::make_shared<wire_meter>();
    std::shared_ptr<wire_meter> server_meter = std::make_shared<wire_meter>();
    std::unique_ptr<tls_stream> client, server;
};

// Writes all of it, then says so.
void write_all(tls_pair& pair, tls_stream& to, std::span<const std::byte> data, error_code& end) {
    end = {};
    if (data.empty()) return;
    to.async_write_some(pair.on(), {data.data(), data.size()}, [&, data](error_code why, std::size_t count) {
        end = why;
        if (!why) write_all(pair, to, data.subspan(count), end);
    });
}

void read_all(tls_pair& pair, tls_stream& from, std::span<std::byte> into, error_code& end) {
    end = {};
    if (into.empty()) return;
    from.async_read_some(pair.on(), {into.data(), into.size()}, [&, into](error_code why, std::size_t count) {
        end = why;
        if (!why) read_all(pair, from, into.subspan(count), end);
    });
}

// Reads whatever comes until it ends.
void read_to_end(tls_pair& pair, tls_stream& from, std::vector<std::byte>& into, error_code& end) {
    const auto piece = std::make_shared<std::vector<std::byte>>(4096);
    from.async_read_some(pair.on(), {piece->data(), piece->size()}, [&, piece](error_code why, std::size_t count) {
        end = why;
        into.insert(into.end(), piece->begin(), piece->begin() + static_cast<std::ptrdiff_t>(count));
        if (!why) read_to_end(pair, from, into, end);
    });
}

}  // namespace

TEST_CASE("bytes cross TLS both ways at once, through small socket buffers, and both ends count alike", "[wire]") {
    tls_pair pair(16 * 1024);  // the least would make TCP wait for its timers
    pair.shake_hands();
    const std::vector<std::byte> forth = random_bytes(1, 3 << 20), back = random_bytes(2, (2 << 20) + 7);
    std::vector<std::byte> at_server(forth.size()), at_client(back.size());
    error_code ends[4];
    write_all(pair, *pair.client, forth, ends[0]);
    write_all(pair, *pair.server, back, ends[1]);
    read_all(pair, *pair.server, at_server, ends[2]);
    read_all(pair, *pair.client, at_client, ends[3]);
    pair.run();
    for (const error_code& end : ends) CHECK(end == error_code());
    CHECK(at_server == forth);
    CHECK(at_client == back);
    CHECK(pair.client_meter->sent_bytes == pair.server_meter->received_bytes);
    CHECK(pair.server_meter->sent_bytes == pair.client_meter->received_bytes);
    // TLS 1.3: 22 bytes a record of 16 KiB at most, and the handshake.
    CHECK(pair.client_meter->sent_bytes > forth.size() + forth.size() / 16384 * 22);
    CHECK(pair.client_meter->sent_bytes < forth.size() + (forth.size() / 16384 + 64) * 22 + 4096);
}

TEST_CASE("TLS reads nothing past the ceiling of its meter", "[wire]") {
    tls_pair pair;
    pair.shake_hands();
    const std::vector<std::byte> data = random_bytes(3, 64 << 10);
    pair.server_meter->received_bytes_max = pair.server_meter->received_bytes + 20000;
    error_code written, read;
    std::vector<std::byte> got;
    write_all(pair, *pair.client, data, written);
    read_to_end(pair, *pair.server, got, read);
    pair.run();
    CHECK(read == asio::error::message_size);
    CHECK(pair.server_meter->received_bytes == pair.server_meter->received_bytes_max);
    CHECK(got.size() == 16384);  // one record was whole
}

TEST_CASE("TLS keeps the records of a stranger's flood out before the handshake is done", "[wire]") {
    tls_pair pair;
    pair.server_meter->received_bytes_max = 100;  // less than a client's first words
    error_code at_client, at_server;
    pair.client->async_handshake(pair.on(), [&](error_code why, std::size_t) { at_client = why; });
    pair.server->async_handshake(pair.on(), [&](error_code why, std::size_t) {
        at_server = why;
        pair.server->close();
    });
    pair.run();
    CHECK(at_server == asio::error::message_size);
    CHECK(at_client);
    CHECK(pair.server_meter->received_bytes == 100);
}

TEST_CASE("TLS sends in the limiter's pieces, asks for each byte once, and waits for leave until it is closed",
          "[wire]") {
    tls_pair pair;
    pair.shake_hands();
    const std::vector<std::byte> data = random_bytes(4, 100000);
    const auto limit = std::make_shared<gate_limiter>(50000, 1000);
    pair.client_meter->limit = limit;
    const std::uint64_t before = pair.client_meter->sent_bytes;
    error_code written, read;
    bool over = false;
    pair.client->async_write_some(pair.on(), {data.data(), data.size()}, [&](error_code why, std::size_t) {
        written = why;
        over = true;
    });
    std::vector<std::byte> got;
    read_to_end(pair, *pair.server, got, read);
    pair.run_ready();
    CHECK_FALSE(over);
    CHECK(limit->largest == 1000);
    CHECK(pair.client_meter->sent_bytes - before == 50000);
    CHECK(limit->taken == 51000);  // of the last piece nothing went
    pair.client->close();
    pair.run();
    CHECK(over);
    CHECK(written == asio::error::operation_aborted);
    CHECK(read == asio::ssl::error::stream_truncated);
}

TEST_CASE("closing TLS ends what waits to read and what waits to write", "[wire]") {
    tls_pair pair(1);
    pair.shake_hands();
    const std::vector<std::byte> data = random_bytes(5, 8 << 20);
    std::vector<std::byte> into(16);
    error_code written, read;
    write_all(pair, *pair.client, data, written);
    pair.client->async_read_some(pair.on(), {into.data(), into.size()},
                                 [&](error_code why, std::size_t) { read = why; });
    pair.run_ready();
    CHECK(read == error_code());
    pair.client->close();
    pair.client->close();
    pair.run();
    CHECK(written == asio::error::operation_aborted);
    CHECK(read == asio::error::operation_aborted);
}

TEST_CASE("a TLS stream may go while it reads", "[wire]") {
    tls_pair pair;
    pair.shake_hands();
    std::vector<std::byte> into(16);
    error_code read;
    pair.client->async_read_some(pair.on(), {into.data(), into.size()},
                                 [&](error_code why, std::size_t) { read = why; });
    pair.run_ready();
    pair.client.reset();
    pair.run();
    CHECK(read == asio::error::operation_aborted);
}

TEST_CASE("an end that TLS did not say is told apart from one that it did", "[wire]") {
    tls_pair pair;
    pair.shake_hands();
    error_code written, read;
    std::vector<std::byte> got;
    SECTION("not said") {
        pair.client->close();
        read_to_end(pair, *pair.server, got, read);
        pair.run();
        CHECK(read == asio::ssl::error::stream_truncated);
    }
    SECTION("said") {
        std::vector<std::byte> into(16);
        SSL_shutdown(pair.client->handle());  // goes out with what is done next
        error_code ignored;
        pair.client->async_read_some(pair.on(), {into.data(), into.size()},
                                     [&](error_code why, std::size_t) { ignored = why; });
        read_to_end(pair, *pair.server, got, read);
        pair.run_ready();
        CHECK(read == asio::error::eof);
        pair.client->close();
        pair.run();
    }
}
