// What it costs to put data on the wire: a batch encoded, and bytes carried by TLS over a metered stream.
//
// A batch is 1 MiB of changed blocks, every other block of two chunks, so that it has to be gathered; its floors are
// the copy and bare zstd at the same level. Random data is what a disk of compressed or encrypted files holds: it has
// to be recognised quickly, and its floor is the copy. TLS runs over TCP on loopback in one thread, so a rate counts
// both ends; beside it Asio's own ssl::stream, TCP alone, and AES-128-GCM there and back in records of 16 KiB
// (RFC 8446, 5.1) without protocol or sockets.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <openssl/evp.h>
#include <zstd.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>

#include "floor.hpp"
#include "wire/data_batch.hpp"
#include "wire/metered_stream.hpp"
#include "wire/tls.hpp"
#include "wire/tls_stream.hpp"

namespace reprotect::bench {
namespace {

namespace asio = boost::asio;

constexpr std::size_t batch_bytes = 1 << 20;
constexpr std::size_t record_bytes = 16 << 10;

struct deleter {
    void operator()(EVP_CIPHER_CTX* context) const noexcept { EVP_CIPHER_CTX_free(context); }
    void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
};

void demand(bool what, const char* otherwise) {
    if (!what) throw std::runtime_error(otherwise);
}

// Rows of a table: words and numbers; a seventh is left at the lowest level.
std::vector<std::byte> rows(std::size_t count) {
    std::mt19937_64 random(7);
    std::string text;
    while (text.size() < count)
        text += "order " + std::to_string(random() % 1'000'000) + ", paid, shipped to warehouse " +
                std::to_string(random() % 100) + " on day " + std::to_string(random() % 365) + '\n';
    const auto all = std::as_bytes(std::span(text)).first(count);
    return {all.begin(), all.end()};
}

// Every other block of two chunks changed.
batch gathered(const std::vector<std::byte>& content) {
    const geometry shape{2 * std::uint64_t{batch_bytes}, batch_bytes, block_bytes_default};
    const auto pool = std::make_shared<buffer_pool>(batch_bytes);
    batch_builder builder(shape);
    std::size_t at = 0;
    for (std::uint64_t chunk = 0; chunk < 2; ++chunk) {
        chunk_data data;
        data.chunk = chunk;
        data.payload = pool->take();
        for (std::uint32_t block = 0; block < shape.blocks_in(chunk); block += 2) {
            data.runs.push_back({block, 1, false});
            std::memcpy(data.payload.bytes().data() + std::size_t{block} * block_bytes_default, content.data() + at,
                        block_bytes_default);
            at += block_bytes_default;
        }
        builder.add(std::move(data));
    }
    auto whole = builder.take_full();
    demand(whole && whole->raw_bytes == batch_bytes, "a batch that is not full");
    return std::move(*whole);
}

template <typename... Floors>
void measure_encoding(benchmark::State& state, const std::vector<std::byte>& content, Floors... floors) {
    const batch whole = gathered(content);
    const int level = static_cast<int>(state.range(0));
    batch_encoder with;
    std::vector<std::byte> copy(batch_bytes);
    std::size_t encoded_bytes = 0;
    against(
        state, amount{unit::bytes, batch_bytes},
        [&] {
            const encoded_batch encoded = with.encode(whole, level);
            encoded_bytes = encoded.body().size();
            benchmark::DoNotOptimize(encoded.body().data());
        },
        floor{"memcpy",
              [&] {
                  std::memcpy(copy.data(), content.data(), batch_bytes);
                  benchmark::ClobberMemory();
              }},
        floors...);
    state.counters["ratio"] = static_cast<double>(encoded_bytes) / batch_bytes;
}

void encode_rows(benchmark::State& state) {
    const std::vector<std::byte> content = rows(batch_bytes);
    std::vector<std::byte> into(ZSTD_compressBound(batch_bytes));
    const std::unique_ptr<ZSTD_CCtx, deleter> context(ZSTD_createCCtx());
    const int level = static_cast<int>(state.range(0));
    measure_encoding(state, content, floor{"zstd", [&] {
                                               const std::size_t used =
                                                   ZSTD_compressCCtx(context.get(), into.data(), into.size(),
                                                                     content.data(), content.size(), level);
                                               demand(!ZSTD_isError(used), "zstd failed");
                                               benchmark::ClobberMemory();
                                           }});
}
BENCHMARK(encode_rows)->ArgName("level")->Arg(1)->Arg(3)->Arg(9)->Arg(15)->Unit(benchmark::kMillisecond);

void encode_random(benchmark::State& state) {
    measure_encoding(state, random_bytes(batch_bytes, 3));
}
BENCHMARK(encode_random)->ArgName("level")->Arg(1)->Arg(9)->Unit(benchmark::kMillisecond);

// AES-128-GCM in records, enciphered into one buffer and deciphered, with its tag checked, into another.
class bare_aes_gcm {
public:
    void there_and_back(std::span<const std::byte> from) {
        for (std::size_t at = 0; at < from.size(); at += record_bytes)
            record(from.subspan(at, std::min(record_bytes, from.size() - at)));
    }

private:
    static const unsigned char* raw(const std::byte* at) { return reinterpret_cast<const unsigned char*>(at); }

    void record(std::span<const std::byte> from) {
        const int length = static_cast<int>(from.size());
        ++nonce_[0];
        int made = 0;
        std::array<unsigned char, 16> tag{};
        const bool there = EVP_EncryptInit_ex(seal_.get(), nullptr, nullptr, nullptr, nonce_.data()) == 1 &&
                           EVP_EncryptUpdate(seal_.get(), sealed_.data(), &made, raw(from.data()), length) == 1 &&
                           EVP_EncryptFinal_ex(seal_.get(), sealed_.data() + made, &made) == 1 &&
                           EVP_CIPHER_CTX_ctrl(seal_.get(), EVP_CTRL_AEAD_GET_TAG, 16, tag.data()) == 1;
        const bool back = EVP_DecryptInit_ex(open_.get(), nullptr, nullptr, nullptr, nonce_.data()) == 1 &&
                          EVP_DecryptUpdate(open_.get(), opened_.data(), &made, sealed_.data(), length) == 1 &&
                          EVP_CIPHER_CTX_ctrl(open_.get(), EVP_CTRL_AEAD_SET_TAG, 16, tag.data()) == 1 &&
                          EVP_DecryptFinal_ex(open_.get(), opened_.data() + made, &made) == 1;
        demand(there && back, "AES-GCM failed");
    }

    using context = std::unique_ptr<EVP_CIPHER_CTX, deleter>;
    static context keyed(int enciphers) {
        constexpr std::array<unsigned char, 16> key{1, 2, 3};
        context made(EVP_CIPHER_CTX_new());
        demand(EVP_CipherInit_ex(made.get(), EVP_aes_128_gcm(), nullptr, key.data(), nullptr, enciphers) == 1,
               "there is no AES-128-GCM");
        return made;
    }

    context seal_ = keyed(1);
    context open_ = keyed(0);
    std::array<unsigned char, 12> nonce_{};
    std::vector<unsigned char> sealed_ = std::vector<unsigned char>(record_bytes + 16);
    std::vector<unsigned char> opened_ = std::vector<unsigned char>(record_bytes + 16);
};

// Two ends in one thread; what is written at one is read at the other before `carry` returns.
template <typename Stream>
class connection {
public:
    template <typename Make>
    explicit connection(Make make) {
        socket near(context_), far(context_);
        asio::local::connect_pair(near, far);
        near_ = make(std::move(near), true);
        far_ = make(std::move(far), false);
    }
    Stream& near() { return *near_; }
    Stream& far() { return *far_; }

    void run() {
        context_.restart();
        context_.run();
        if (failure_) throw boost::system::system_error(failure_);
    }
    auto noting() {
        return [this](boost::system::error_code why, std::size_t = 0) {
            if (why) failure_ = why;
        };
    }
    void carry(std::span<const std::byte> from, std::span<std::byte> into) {
        asio::async_write(*near_, asio::buffer(from.data(), from.size()), noting());
        asio::async_read(*far_, asio::buffer(into.data(), into.size()), noting());
        run();
    }

    using socket = asio::local::stream_protocol::socket;

private:
    asio::io_context context_{1};
    boost::system::error_code failure_;
    std::unique_ptr<Stream> near_, far_;
};

using socket_type = asio::local::stream_protocol::socket;
using metered_socket = metered_stream<socket_type>;

std::size_t carried_bytes() {
    return static_cast<std::size_t>(sized(16 << 20, 1 << 20));
}

metered_socket metered(socket_type socket) {
    return metered_socket(std::move(socket), std::make_shared<wire_meter>());
}

// What metering costs.
void metered_socket_carries(benchmark::State& state) {
    connection<metered_socket> metered_ends(
        [](socket_type socket, bool) { return std::make_unique<metered_socket>(metered(std::move(socket))); });
    connection<socket_type> bare_ends(
        [](socket_type socket, bool) { return std::make_unique<socket_type>(std::move(socket)); });
    const std::vector<std::byte> data = random_bytes(carried_bytes(), 1);
    std::vector<std::byte> copy(data.size());
    against(
        state, amount{unit::bytes, data.size()}, [&] { metered_ends.carry(data, copy); },
        floor{"socket", [&] { bare_ends.carry(data, copy); }});
}
BENCHMARK(metered_socket_carries)->Unit(benchmark::kMillisecond);

// ---- TLS over TCP, as a session has it ----

// One way: what is written at one end, a batch at a time, is read at the other into a buffer of a batch.
void carry_one_way(asio::io_context& context, byte_stream& from, byte_stream& to, std::span<const std::byte> data,
                   std::span<std::byte> copy) {
    const asio::any_io_executor on = context.get_executor();
    std::span<const std::byte> left = data;
    std::span<std::byte> missing = copy;
    boost::system::error_code failure;
    std::function<void()> write = [&] {
        const std::size_t next = std::min(left.size(), batch_bytes);
        from.async_write_some(on, {left.data(), next}, [&](boost::system::error_code why, std::size_t count) {
            if (why) failure = why;
            left = left.subspan(count);
            if (!failure && !left.empty()) write();
        });
    };
    std::function<void()> read = [&] {
        const std::size_t next = std::min(missing.size(), batch_bytes);
        to.async_read_some(on, {missing.data(), next}, [&](boost::system::error_code why, std::size_t count) {
            if (why) failure = why;
            missing = missing.subspan(count);
            if (!failure && !missing.empty()) read();
        });
    };
    write();
    read();
    context.restart();
    context.run();
    if (failure) throw boost::system::system_error(failure);
}

struct stream_pair {
    std::unique_ptr<byte_stream> from, to;
};

std::pair<asio::ip::tcp::socket, asio::ip::tcp::socket> joined_over_tcp(asio::io_context& context) {
    asio::ip::tcp::acceptor listener(context, {asio::ip::address_v4::loopback(), 0});
    asio::ip::tcp::socket near(context);
    near.connect(listener.local_endpoint());
    return {std::move(near), listener.accept()};
}

struct bench_tls {
    named_key key{"bench", [] {
                      shared_key made;
                      made.bytes.fill(std::byte{7});
                      return made;
                  }()};
    tls_client client{key, client_purpose::source, "localhost"};
    tls_server server{std::vector<named_key>{key}};

    template <typename Near, typename Far>
    void shake_hands(asio::io_context& context, Near&& near, Far&& far) {
        boost::system::error_code failure;
        const auto noting = [&](boost::system::error_code why, std::size_t = 0) {
            if (why) failure = why;
        };
        near(noting);
        far(noting);
        context.restart();
        context.run();
        if (failure) throw boost::system::system_error(failure);
    }
};

stream_pair by_tls_stream(asio::io_context& context, bench_tls& tls) {
    auto [near, far] = joined_over_tcp(context);
    auto client = std::make_unique<tls_stream>(std::move(near), std::make_shared<wire_meter>(), tls.client.context(),
                                               tls_stream::end::client, nullptr);
    auto server = std::make_unique<tls_stream>(std::move(far), std::make_shared<wire_meter>(), tls.server.context(),
                                               tls_stream::end::server, nullptr);
    tls.client.prepare(client->handle());
    const asio::any_io_executor on = context.get_executor();
    tls.shake_hands(
        context, [&](auto done) { client->async_handshake(on, done); },
        [&](auto done) { server->async_handshake(on, done); });
    tls.client.check(client->handle());
    demand(std::string(SSL_get_cipher_name(client->handle())) == "TLS_AES_128_GCM_SHA256",
           "another suite than the floor's");
    return {std::move(client), std::move(server)};
}

stream_pair by_asio(asio::io_context& context, bench_tls& tls) {
    using stream = asio::ssl::stream<asio::ip::tcp::socket>;
    auto [near, far] = joined_over_tcp(context);
    stream client(std::move(near), tls.client.context()), server(std::move(far), tls.server.context());
    tls.client.prepare(client.native_handle());
    tls.shake_hands(
        context, [&](auto done) { client.async_handshake(stream::client, done); },
        [&](auto done) { server.async_handshake(stream::server, done); });
    return {make_stream(std::move(client)), make_stream(std::move(server))};
}

stream_pair in_the_clear(asio::io_context& context) {
    auto [near, far] = joined_over_tcp(context);
    return {make_stream(std::move(near)), make_stream(std::move(far))};
}

void tls_carries(benchmark::State& state) {
    asio::io_context context(1);
    bench_tls tls;
    const stream_pair ours = by_tls_stream(context, tls), asios = by_asio(context, tls), bare = in_the_clear(context);
    const std::vector<std::byte> data = random_bytes(carried_bytes(), 2);
    std::vector<std::byte> copy(data.size());
    const auto carry = [&](const stream_pair& over) { carry_one_way(context, *over.from, *over.to, data, copy); };
    bare_aes_gcm gcm;
    against(
        state, amount{unit::bytes, data.size()}, [&] { carry(ours); }, floor{"asio", [&] { carry(asios); }},
        floor{"tcp", [&] { carry(bare); }}, floor{"aes_gcm", [&] { gcm.there_and_back(data); }});
    demand(copy == data, "what was read is not what was written");
}
BENCHMARK(tls_carries)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reprotect::bench
