// The metered stream over socket pairs, pipes, TLS, and a layer made by hand that says what it was asked for.
#include <catch2/catch.hpp>

#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/connect_pipe.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/readable_pipe.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/writable_pipe.hpp>
#include <boost/asio/write.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <future>

#include "reprotect/stream.hpp"
#include "support/bytes.hpp"
#include "wire/joined_pipes.hpp"
#include "wire/metered_stream.hpp"

namespace {

namespace asio = boost::asio;
using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;
using boost::system::error_code;
using bytes = std::vector<std::byte>;
using local_socket = asio::local::stream_protocol::socket;
using local_stream = metered_stream<local_socket>;

// How an operation ended, if it did.
struct outcome {
    bool ended = false;
    error_code why;
    std::size_t count = 0;
};

auto into(outcome& result) {
    return [&result](error_code why, std::size_t count = 0) {
        REQUIRE_FALSE(result.ended);
        result = {true, why, count};
    };
}

// A limiter that notes what it is asked for, and gives leave after `delay`.
class noting_limiter final : public rate_limiter {
public:
    noting_limiter(std::size_t piece, clock::duration delay) : piece_(piece), delay_(delay) {}

    std::size_t piece_bytes() const override { return piece_; }
    clock::time_point reserve(std::size_t count, clock::time_point now) override {
        asked.push_back(count);
        return now + delay_;
    }

    std::vector<std::size_t> asked;

private:
    std::size_t piece_;
    clock::duration delay_;
};

std::shared_ptr<wire_meter> limited_by(std::shared_ptr<rate_limiter> limit) {
    auto meter = std::make_shared<wire_meter>();
    meter->limit = std::move(limit);
    return meter;
}

// Two connected ends; the near one has the meter.
struct pair {
    explicit pair(std::shared_ptr<wire_meter> with = std::make_shared<wire_meter>()) : meter(std::move(with)) {
        local_socket here(context);
        asio::local::connect_pair(here, far);
        near = std::make_unique<local_stream>(std::move(here), meter);
    }
    // Until there is nothing left to do.
    void run() {
        context.restart();
        context.run_for(20s);
        REQUIRE(context.stopped());
    }

    asio::io_context context{1};
    std::shared_ptr<wire_meter> meter;
    std::unique_ptr<local_stream> near;
    local_socket far{context};
};

// A layer below that writes at most `write_max` bytes at a time, and keeps them.
class short_writer {
public:
    using executor_type = asio::io_context::executor_type;
    using lowest_layer_type = short_writer;
    short_writer(asio::io_context& context, std::size_t write_max, bytes& written)
        : context_(&context), write_max_(write_max), written_(&written) {}

    executor_type get_executor() noexcept { return context_->get_executor(); }
    lowest_layer_type& lowest_layer() noexcept { return *this; }
    void close(error_code& why) { why = {}; }

    template <typename Buffers, typename Token>
    auto async_read_some(const Buffers&, Token&& token) {
        return asio::post(*context_,
                          asio::append(std::forward<Token>(token), error_code(asio::error::eof), std::size_t{0}));
    }
    template <typename Buffers, typename Token>
    auto async_write_some(const Buffers& from, Token&& token) {
        bytes part(std::min(asio::buffer_size(from), write_max_));
        asio::buffer_copy(asio::buffer(part), from);
        written_->insert(written_->end(), part.begin(), part.end());
        return asio::post(*context_, asio::append(std::forward<Token>(token), error_code(), part.size()));
    }

private:
    asio::io_context* context_;
    std::size_t write_max_;
    bytes* written_;
};

// A certificate for both ends of a TLS connection, signed by itself, made in memory.
struct certificate {
    certificate() {
        X509_set_version(x509.get(), 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
        X509_gmtime_adj(X509_getm_notBefore(x509.get()), 0);
        X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
        X509_set_pubkey(x509.get(), key.get());
        REQUIRE(X509_sign(x509.get(), key.get(), EVP_sha256()) > 0);
        REQUIRE(SSL_CTX_use_certificate(server.native_handle(), x509.get()) == 1);
        REQUIRE(SSL_CTX_use_PrivateKey(server.native_handle(), key.get()) == 1);
        // A ticket would lie unread in the client's socket, and sent would not be received.
        SSL_CTX_set_num_tickets(server.native_handle(), 0);
    }

    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
    std::unique_ptr<X509, decltype(&X509_free)> x509{X509_new(), X509_free};
    asio::ssl::context server{asio::ssl::context::tlsv13_server};
    asio::ssl::context client{asio::ssl::context::tlsv13_client};
};

using tls_stream = asio::ssl::stream<local_stream>;

// Two ends of TLS, each over a meter of its own, shaken hands.
struct tls_pair {
    tls_pair() {
        local_socket a(context), b(context);
        asio::local::connect_pair(a, b);
        client = std::make_unique<tls_stream>(local_stream(std::move(a), client_meter), files.client);
        server = std::make_unique<tls_stream>(local_stream(std::move(b), server_meter), files.server);
        outcome client_done, server_done;
        client->async_handshake(tls_stream::client, into(client_done));
        server->async_handshake(tls_stream::server, into(server_done));
        run();
        REQUIRE((client_done.ended && !client_done.why));
        REQUIRE((server_done.ended && !server_done.why));
    }
    void run() {
        context.restart();
        context.run_for(20s);
        REQUIRE(context.stopped());
    }

    asio::io_context context{1};
    certificate files;
    std::shared_ptr<wire_meter> client_meter = std::make_shared<wire_meter>();
    std::shared_ptr<wire_meter> server_meter = std::make_shared<wire_meter>();
    std::unique_ptr<tls_stream> client, server;
};

TEST_CASE("what passes a metered stream is counted exactly, both ways", "[wire]") {
    pair ends;
    const bytes there = random_bytes(1, 300'001);
    const bytes back = random_bytes(2, 77'777);
    bytes got_there(there.size()), got_back(back.size());
    outcome sent, received, answered, read;
    asio::async_write(*ends.near, asio::buffer(there), into(sent));
    asio::async_read(ends.far, asio::buffer(got_there), into(received));
    asio::async_write(ends.far, asio::buffer(back), into(answered));
    asio::async_read(*ends.near, asio::buffer(got_back), into(read));
    ends.run();
    CHECK((got_there == there && got_back == back));
    CHECK((sent.ended && received.ended && answered.ended && read.ended));
    CHECK(ends.meter->sent_bytes == there.size());
    CHECK(ends.meter->received_bytes == back.size());
}

TEST_CASE("the end of a stream and a broken one are told and not counted", "[wire]") {
    pair ends;
    bytes room(100);
    outcome read, written;
    ends.far.close();
    ends.near->async_read_some(asio::buffer(room), into(read));
    ends.near->async_write_some(asio::buffer(room), into(written));
    ends.run();
    CHECK(read.why == asio::error::eof);
    CHECK(written.why == asio::error::broken_pipe);
    CHECK(ends.meter->sent_bytes + ends.meter->received_bytes == 0);
}

TEST_CASE("below TLS every byte on the wire counts, the handshake's too", "[wire]") {
    tls_pair ends;
    const std::uint64_t shaken = ends.client_meter->sent_bytes + ends.client_meter->received_bytes;
    CHECK(shaken > 500);
    const bytes data = random_bytes(1, 200'000);
    bytes got(data.size());
    outcome sent, received;
    asio::async_write(*ends.client, asio::buffer(data), into(sent));
    asio::async_read(*ends.server, asio::buffer(got), into(received));
    ends.run();
    REQUIRE((got == data));
    CHECK(ends.client_meter->sent_bytes == ends.server_meter->received_bytes);
    CHECK(ends.client_meter->received_bytes == ends.server_meter->sent_bytes);
    // A record of 16 KiB has 22 bytes around it (RFC 8446, 5.2).
    CHECK(ends.client_meter->sent_bytes > data.size() + data.size() / 16384 * 22);
    CHECK(ends.client_meter->sent_bytes < data.size() + 2000);
}

TEST_CASE("a stranger's handshake ends at the ceiling", "[wire]") {
    asio::io_context context{1};
    local_socket stranger(context), here(context);
    asio::local::connect_pair(stranger, here);
    const auto meter = std::make_shared<wire_meter>();
    meter->received_bytes_max = 4096;
    certificate files;
    tls_stream server(local_stream(std::move(here), meter), files.server);
    // A client hello of 16 KiB that never ends, as the record's head says (RFC 8446, 5.1 and 4).
    bytes flood(16'384 + 5, std::byte{0});
    const std::array<unsigned char, 9> head{22, 3, 1, 0x40, 0, 1, 0, 0x80, 0};
    std::memcpy(flood.data(), head.data(), head.size());
    outcome flooded, shaken;
    asio::async_write(stranger, asio::buffer(flood), into(flooded));
    server.async_handshake(tls_stream::server, into(shaken));
    context.run_for(20s);
    REQUIRE(shaken.ended);
    CHECK(shaken.why == asio::error::message_size);
    CHECK(meter->received_bytes == 4096);
}

TEST_CASE("no more is read than may be received, and the rest once the ceiling is lifted", "[wire]") {
    pair ends;
    const bytes data = random_bytes(1, 1000);
    asio::write(ends.far, asio::buffer(data));
    ends.meter->received_bytes_max = 300;
    bytes got(1000);
    outcome first, second, third, fourth;
    ends.near->async_read_some(asio::buffer(got.data(), 200), into(first));
    ends.run();
    CHECK((!first.why && first.count == 200));
    ends.near->async_read_some(asio::buffer(got) + 200, into(second));
    ends.run();
    CHECK((!second.why && second.count == 100));
    ends.near->async_read_some(asio::buffer(got) + 300, into(third));
    CHECK_FALSE(third.ended);  // never from within the call
    ends.run();
    CHECK((third.ended && third.why == asio::error::message_size && third.count == 0));
    CHECK(ends.meter->received_bytes == 300);
    CHECK(ends.far.available() == 0);

    ends.meter->received_bytes_max = 10'000;
    ends.near->async_read_some(asio::buffer(got) + 300, into(fourth));
    ends.run();
    CHECK((!fourth.why && fourth.count == 700));
    CHECK((got == data));
}

TEST_CASE("the ceiling cuts a read in the middle of several buffers", "[wire]") {
    pair ends;
    const bytes data = random_bytes(1, 100);
    asio::write(ends.far, asio::buffer(data));
    ends.meter->received_bytes_max = 30;
    bytes got(100, std::byte{0xA5});
    const std::array<asio::mutable_buffer, 4> parts{asio::buffer(got.data(), 10), asio::buffer(got.data(), 0),
                                                    asio::buffer(got.data() + 10, 40),
                                                    asio::buffer(got.data() + 50, 50)};
    outcome read;
    ends.near->async_read_some(parts, into(read));
    ends.run();
    REQUIRE(read.count == 30);
    CHECK(std::equal(got.begin(), got.begin() + 30, data.begin()));
    CHECK(std::all_of(got.begin() + 30, got.end(), [](std::byte b) { return b == std::byte{0xA5}; }));
}

TEST_CASE("a limit splits writes into pieces, each with leave of its own", "[wire]") {
    const auto limit = std::make_shared<noting_limiter>(100, 0s);
    pair ends(limited_by(limit));
    const bytes data = random_bytes(1, 250);
    outcome some, rest;
    const std::array<asio::const_buffer, 2> parts{asio::buffer(data.data(), 60), asio::buffer(data.data() + 60, 190)};
    ends.near->async_write_some(parts, into(some));
    ends.run();
    CHECK(some.count == 100);
    asio::async_write(*ends.near, asio::buffer(data) + 100, into(rest));
    ends.run();
    CHECK(limit->asked == std::vector<std::size_t>{100, 100, 50});
    CHECK(ends.meter->sent_bytes == 250);
    bytes got(250);
    asio::read(ends.far, asio::buffer(got));
    CHECK((got == data));
}

TEST_CASE("leave that a short write did not use is used by the next", "[wire]") {
    asio::io_context context{1};
    const auto limit = std::make_shared<noting_limiter>(100, 1ms);
    const auto meter = limited_by(limit);
    bytes written;
    metered_stream<short_writer> stream(short_writer(context, 70, written), meter);
    const bytes data = random_bytes(1, 250);
    outcome all;
    asio::async_write(stream, asio::buffer(data), into(all));
    context.run_for(20s);
    REQUIRE((all.ended && !all.why));
    CHECK((written == data));
    CHECK(limit->asked == std::vector<std::size_t>{100, 100, 50});
    CHECK(meter->sent_bytes == 250);
}

TEST_CASE("a write under a limit takes its time", "[wire]") {
    pair ends(limited_by(make_rate_limiter(1'000'000)));
    const bytes data = random_bytes(1, 200'000);
    bytes got(data.size());
    outcome sent, received;
    const auto begin = std::chrono::steady_clock::now();
    asio::async_write(*ends.near, asio::buffer(data), into(sent));
    asio::async_read(ends.far, asio::buffer(got), into(received));
    ends.run();
    // The last of 20 pieces is due after 19 of them.
    CHECK(std::chrono::steady_clock::now() - begin >= 190ms);
    CHECK((got == data));
    CHECK(ends.meter->sent_bytes == data.size());
}

TEST_CASE("a limit holds below TLS, too", "[wire]") {
    tls_pair ends;
    ends.client_meter->limit = make_rate_limiter(1'000'000);
    const bytes data = random_bytes(1, 100'000);
    bytes got(data.size());
    outcome sent, received;
    const auto begin = std::chrono::steady_clock::now();
    asio::async_write(*ends.client, asio::buffer(data), into(sent));
    asio::async_read(*ends.server, asio::buffer(got), into(received));
    ends.run();
    CHECK(std::chrono::steady_clock::now() - begin >= 85ms);
    CHECK((got == data));
    CHECK(ends.client_meter->sent_bytes == ends.server_meter->received_bytes);
}

TEST_CASE("a stream that is closed or destroyed while it waits for leave gives up at once", "[wire]") {
    const auto limit = std::make_shared<noting_limiter>(100, 1h);
    pair ends(limited_by(limit));
    const bytes data(50);
    outcome written;
    ends.near->async_write_some(asio::buffer(data), into(written));
    ends.context.poll();
    REQUIRE_FALSE(written.ended);
    error_code why;
    const bool destroyed = GENERATE(false, true);
    if (destroyed)
        ends.near.reset();
    else
        ends.near->close(why);
    ends.run();
    CHECK(written.ended);
    CHECK(written.why == asio::error::operation_aborted);
    CHECK(ends.meter->sent_bytes == 0);
    bytes room(1);
    error_code end;
    ends.far.read_some(asio::buffer(room), end);
    CHECK(end == asio::error::eof);
    if (destroyed) return;
    outcome after;
    ends.near->async_write_some(asio::buffer(data), into(after));
    ends.run();
    CHECK(after.why == asio::error::bad_descriptor);
    CHECK(limit->asked.size() == 1);
}

TEST_CASE("a stream that is closed or destroyed after its leave fell due, but before it was told, writes nothing",
          "[wire]") {
    pair ends(limited_by(std::make_shared<noting_limiter>(100, 1ms)));
    const bytes data(50);
    outcome written;
    ends.near->async_write_some(asio::buffer(data), into(written));
    std::this_thread::sleep_for(3ms);
    const bool destroyed = GENERATE(false, true);
    // Queued behind the reactor: when this runs, the timer has fired and its handler waits behind it.
    asio::post(ends.context, [&] {
        error_code ignored;
        if (destroyed)
            ends.near.reset();
        else
            ends.near->close(ignored);
    });
    ends.run();
    CHECK(written.why == asio::error::operation_aborted);
    CHECK(ends.meter->sent_bytes == 0);
}

TEST_CASE("closing TLS's lowest layer ends a wait for leave", "[wire]") {
    tls_pair ends;
    ends.client_meter->limit = std::make_shared<noting_limiter>(100, 1h);
    const auto stream = make_stream(std::move(*ends.client));
    const bytes data(50);
    outcome written;
    stream->async_write_some(ends.context.get_executor(), asio::buffer(data), into(written));
    ends.context.restart();
    ends.context.poll();
    REQUIRE_FALSE(written.ended);
    stream->close();
    stream->close();
    ends.run();
    CHECK(written.why == asio::error::operation_aborted);
}

TEST_CASE("a cancelled write keeps its leave for the next", "[wire]") {
    const auto limit = std::make_shared<noting_limiter>(100, 50ms);
    pair ends(limited_by(limit));
    const bytes data(80);
    outcome cancelled, next, last;
    asio::cancellation_signal signal;
    const auto kind = GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::total);
    const auto begin = std::chrono::steady_clock::now();
    ends.near->async_write_some(asio::buffer(data), asio::bind_cancellation_slot(signal.slot(), into(cancelled)));
    signal.emit(kind);
    ends.run();
    CHECK(cancelled.why == asio::error::operation_aborted);
    ends.near->async_write_some(asio::buffer(data), into(next));
    ends.run();
    CHECK(next.count == 80);
    CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
    CHECK(limit->asked == std::vector<std::size_t>{80});
    ends.near->async_write_some(asio::buffer(data), into(last));
    ends.run();
    CHECK(limit->asked == std::vector<std::size_t>{80, 80});
}

TEST_CASE("a read, and a write without a limit, can be cancelled", "[wire]") {
    pair ends;
    bytes room(4 << 20);
    outcome read, written;
    asio::cancellation_signal of_read, of_write;
    ends.near->async_read_some(asio::buffer(room), asio::bind_cancellation_slot(of_read.slot(), into(read)));
    error_code full;
    ends.near->next_layer().non_blocking(true);
    while (!full) ends.near->next_layer().write_some(asio::buffer(room), full);
    ends.near->async_write_some(asio::buffer(room), asio::bind_cancellation_slot(of_write.slot(), into(written)));
    ends.context.poll();
    REQUIRE_FALSE((read.ended || written.ended));
    of_read.emit(asio::cancellation_type::total);
    of_write.emit(asio::cancellation_type::total);
    ends.run();
    CHECK(read.why == asio::error::operation_aborted);
    CHECK(written.why == asio::error::operation_aborted);
}

TEST_CASE("a stream may move while it waits for leave", "[wire]") {
    pair ends(limited_by(std::make_shared<noting_limiter>(100, 20ms)));
    const bytes data = random_bytes(1, 50);
    outcome written;
    ends.near->async_write_some(asio::buffer(data), into(written));
    ends.near = std::make_unique<local_stream>(std::move(*ends.near));
    ends.run();
    CHECK((!written.why && written.count == 50));
}

template <typename T>
struct counting_allocator {
    using value_type = T;
    explicit counting_allocator(int& of) : count(&of) {}
    template <typename U>
    counting_allocator(const counting_allocator<U>& other) : count(other.count) {}
    T* allocate(std::size_t n) {
        ++*count;
        return std::allocator<T>().allocate(n);
    }
    void deallocate(T* at, std::size_t n) { std::allocator<T>().deallocate(at, n); }
    bool operator==(const counting_allocator&) const = default;
    int* count;
};

TEST_CASE("handlers run on their own executor and allocate with their own allocator", "[wire]") {
    pair ends;
    ends.meter->received_bytes_max = 0;
    asio::thread_pool pool(1);
    bytes data(50);
    int allocated = 0;
    const auto on_pool = [&](std::promise<bool>& there) {
        return asio::bind_allocator(counting_allocator<char>(allocated),
                                    asio::bind_executor(pool, [&](error_code, std::size_t) {
                                        there.set_value(pool.get_executor().running_in_this_thread());
                                    }));
    };
    std::array<std::promise<bool>, 4> there;
    const auto check = [&](std::promise<bool>& mine) {
        ends.run();
        CHECK(mine.get_future().get());
        CHECK(std::exchange(allocated, 0) > 0);
    };
    ends.near->async_read_some(asio::buffer(data), on_pool(there[0]));  // refused
    check(there[0]);
    ends.near->async_write_some(asio::buffer(data), on_pool(there[1]));
    check(there[1]);
    ends.meter->limit = std::make_shared<noting_limiter>(100, 0s);
    ends.near->async_write_some(asio::buffer(data), on_pool(there[2]));
    check(there[2]);
    ends.meter->limit = std::make_shared<noting_limiter>(100, 1ms);
    asio::executor_work_guard work = asio::make_work_guard(ends.context);
    std::thread runs([&] { ends.context.restart(), ends.context.run_for(20s); });
    // All that touches the stream runs on the pool, the step from timer to write, too.
    asio::post(pool, [&] { ends.near->async_write_some(asio::buffer(data), on_pool(there[3])); });
    CHECK(there[3].get_future().get());
    work.reset();
    runs.join();
    CHECK(allocated > 0);
    CHECK(ends.meter->sent_bytes == 150);
}

TEST_CASE("two pipes are one stream", "[wire]") {
    asio::io_context context{1};
    asio::readable_pipe far_read(context), near_read(context);
    asio::writable_pipe far_write(context), near_write(context);
    asio::connect_pipe(near_read, far_write);
    asio::connect_pipe(far_read, near_write);
    const auto meter = std::make_shared<wire_meter>();
    using descriptor = joined_pipes::descriptor;
    metered_stream<joined_pipes> stream(
        joined_pipes(descriptor(context, near_read.release()), descriptor(context, near_write.release())), meter);
    const bytes there = random_bytes(1, 200'000), back = random_bytes(2, 100'000);
    bytes got_there(there.size()), got_back(back.size());
    outcome ended[4];
    asio::async_write(stream, asio::buffer(there), into(ended[0]));
    asio::async_read(far_read, asio::buffer(got_there), into(ended[1]));
    asio::async_write(far_write, asio::buffer(back), into(ended[2]));
    asio::async_read(stream, asio::buffer(got_back), into(ended[3]));
    context.run_for(20s);
    CHECK((got_there == there && got_back == back));
    CHECK(meter->sent_bytes == there.size());
    CHECK(meter->received_bytes == back.size());

    outcome waiting;
    stream.async_read_some(asio::buffer(got_back), into(waiting));
    error_code why;
    stream.close(why);
    CHECK_FALSE(why);
    context.restart();
    context.run_for(20s);
    CHECK(waiting.why == asio::error::operation_aborted);
    error_code end;
    far_read.read_some(asio::buffer(got_there), end);
    CHECK(end == asio::error::eof);
    far_read.close();
}

TEST_CASE("a meter lies over an agent's own TLS as well, and closes its socket", "[wire]") {
    tls_pair ends;
    const auto meter = std::make_shared<wire_meter>();
    metered_stream<tls_stream> stream(std::move(*ends.client), meter);
    const bytes data = random_bytes(1, 5000);
    bytes got(data.size());
    outcome sent, received, end;
    asio::async_write(stream, asio::buffer(data), into(sent));
    asio::async_read(*ends.server, asio::buffer(got), into(received));
    ends.run();
    CHECK((got == data));
    CHECK(meter->sent_bytes == 5000);
    error_code why;
    stream.close(why);
    CHECK_FALSE(why);
    ends.server->async_read_some(asio::buffer(got), into(end));
    ends.run();
    CHECK(end.why);
}

TEST_CASE("a meter lies over TCP below TLS", "[wire]") {
    using over_tcp = asio::ssl::stream<metered_stream<asio::ip::tcp::socket>>;
    asio::io_context context{1};
    asio::ip::tcp::acceptor listening(context, {asio::ip::address_v4::loopback(), 0});
    asio::ip::tcp::socket a(context);
    a.connect(listening.local_endpoint());
    asio::ip::tcp::socket b = listening.accept();
    const auto meter = std::make_shared<wire_meter>();
    certificate files;
    over_tcp client(metered_stream<asio::ip::tcp::socket>(std::move(a), meter), files.client);
    asio::ssl::stream<asio::ip::tcp::socket> server(std::move(b), files.server);
    outcome done[2];
    client.async_handshake(over_tcp::client, into(done[0]));
    server.async_handshake(over_tcp::server, into(done[1]));
    context.run_for(20s);
    CHECK((done[0].ended && !done[0].why && done[1].ended && !done[1].why));
    CHECK(meter->sent_bytes > 0);
    CHECK(client.next_layer().next_layer().is_open());
}

}  // namespace
