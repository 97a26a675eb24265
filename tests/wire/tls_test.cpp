// TLS between the two ends of a socket pair, in one thread: who is let in, who is not, and what both are told. Ends
// that this software never makes (older, plain, lying) are made here with OpenSSL itself.
#include "wire/tls.hpp"

#include "support/bytes.hpp"
#include "support/certificates.hpp"
#include "support/failures.hpp"

#include <catch2/catch.hpp>

#include <openssl/ssl.h>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

using namespace reprotect;
using namespace reprotect::test;

namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using plain_socket = asio::local::stream_protocol::socket;
using tls_stream = asio::ssl::stream<plain_socket>;

constexpr std::chrono::seconds patience{60};  // a bound for what hangs; nothing here takes a second

shared_key counted_key(int start = 0) {
    shared_key key;
    for (std::size_t i = 0; i < key.bytes.size(); ++i)
        key.bytes[i] = static_cast<std::byte>(start + static_cast<int>(i));
    return key;
}

// Two ends that shake hands; then the server sends one byte, by which a client learns that it was let in.
class meeting {
public:
    meeting(asio::ssl::context& client, asio::ssl::context& server)
        : client_(plain_socket(io_), client), server_(plain_socket(io_), server) {
        asio::local::connect_pair(client_.next_layer(), server_.next_layer());
    }

    SSL* client() { return client_.native_handle(); }
    SSL* server() { return server_.native_handle(); }
    const error_code& client_failure() const { return client_failure_; }
    const error_code& server_failure() const { return server_failure_; }
    bool good() const { return !client_failure_ && !server_failure_; }

    void shake_hands() {
        client_.async_handshake(tls_stream::client, [this](error_code code) { ended(client_, client_failure_, code); });
        server_.async_handshake(tls_stream::server, [this](error_code code) { ended(server_, server_failure_, code); });
        run();
    }

    // Bytes that lie before the client unread.
    std::size_t unread_by_client() { return client_.next_layer().available(); }

    void greet() {
        if (server_failure_ || client_failure_) {
            // A client that is done before it is refused reads why.
            if (!client_failure_) read_byte();
            return;
        }
        asio::async_write(server_, asio::buffer("!", 1),
                          [this](error_code code, std::size_t) { server_failure_ = code; });
        read_byte();
    }

private:
    static void ended(tls_stream& stream, error_code& place, error_code code) {
        place = code;
        if (code) stream.next_layer().shutdown(plain_socket::shutdown_send, code);
    }
    void read_byte() {
        asio::async_read(client_, asio::buffer(&byte_, 1),
                         [this](error_code code, std::size_t) { client_failure_ = code; });
        run();
    }
    void run() {
        io_.restart();
        io_.run_for(patience);
        REQUIRE(io_.stopped());
    }

    asio::io_context io_;
    tls_stream client_;
    tls_stream server_;
    error_code client_failure_;
    error_code server_failure_;
    char byte_ = 0;
};

struct told {
    bool let_in = false;
    std::string client;  // what each end says
    std::string client_hint;
    std::string server;
    std::string server_hint;
    authenticated_client who;
};

void keep(const error& why, std::string& message, std::string& hint) {
    CHECK(why.kind() == error_kind::peer);
    message = why.what();
    hint = why.detail().hint;
    CHECK_FALSE(hint.empty());
    for (const char c : message) CHECK((c >= 0x20 && c <= 0x7E));
}

// What two ends of this software make of each other.
told meet(const client_credentials& client_has, const server_credentials& server_has,
          client_purpose purpose = client_purpose::source, const std::string& host = "server.test") {
    tls_client client(client_has, purpose, host);
    tls_server server(server_has);
    meeting both(client.context(), server.context());
    client.prepare(both.client());
    both.shake_hands();
    told result;
    if (!both.client_failure()) client.check(both.client());
    if (!both.server_failure()) result.who = server.check(both.server());
    both.greet();
    result.let_in = both.good();
    if (both.client_failure())
        keep(client.explain(both.client_failure(), both.client(), "server.test:7"), result.client, result.client_hint);
    if (both.server_failure())
        keep(server.explain(both.server_failure(), both.server(), "10.0.0.1:8"), result.server, result.server_hint);
    return result;
}

void check_told(const std::string& said, const std::string& part) {
    CHECK_THAT(said, Catch::StartsWith("TLS with ") && Catch::Contains(part));
}

// A client that is OpenSSL's own, with whatever key, identity and options a test gives it.
struct foreign_client {
    asio::ssl::context context{asio::ssl::context::tls_client};
    std::string identity;
    std::array<unsigned char, 32> key{};

    void offer_key() {
        SSL_CTX_set_app_data(context.native_handle(), nullptr);
        current = this;
        SSL_CTX_set_psk_use_session_callback(context.native_handle(), use);
    }

    static int use(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_bytes, SSL_SESSION** session) {
        constexpr std::array<unsigned char, 2> cipher{0x13, 0x01};
        *session = SSL_SESSION_new();
        SSL_SESSION_set1_master_key(*session, current->key.data(), current->key.size());
        SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, cipher.data()));
        SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
        *id = reinterpret_cast<const unsigned char*>(current->identity.data());
        *id_bytes = current->identity.size();
        return 1;
    }

    static inline const foreign_client* current = nullptr;
};

// HKDF-SHA256 over the bytes 0 to 31 for a source, computed apart from OpenSSL (Python's hmac).
const std::string golden_identity = "reprotect 1 source 5b22ac57a3072b41";
constexpr std::array<unsigned char, 32> golden_key{0xD0, 0x5A, 0x4B, 0x4C, 0xAD, 0x62, 0x08, 0x18, 0x31, 0xFB, 0xF9,
                                                   0x35, 0x9F, 0x8D, 0xE2, 0x47, 0x52, 0x66, 0xFE, 0x14, 0x64, 0x46,
                                                   0x65, 0x5E, 0x82, 0x87, 0x21, 0x1F, 0x2D, 0x1D, 0xA2, 0xDE};

// What a server says of a client that is not of this software; empty where it lets it in.
std::string server_says(const tls_server& server, meeting& both) {
    both.shake_hands();
    if (!both.server_failure()) return {};
    return server.explain(both.server_failure(), both.server(), "10.0.0.1:8").what();
}

// What an end says to bytes that are no TLS; no bytes: the other side only closes.
template <typename End>
error answer_to(End& end, tls_stream::handshake_type as, const std::string& bytes, bool close) {
    asio::io_context io;
    tls_stream stream(plain_socket(io), end.context());
    plain_socket other(io);
    asio::local::connect_pair(stream.next_layer(), other);
    error_code failure;
    bool done = false;
    asio::write(other, asio::buffer(bytes));
    if (close) other.shutdown(plain_socket::shutdown_send);
    stream.async_handshake(as, [&](error_code code) {
        failure = code;
        done = true;
    });
    io.run_for(patience);
    REQUIRE(done);
    REQUIRE(failure);
    return end.explain(failure, stream.native_handle(), "other.test:9");
}

const certificate_wish for_server{
    .common_name = "some server", .names = "DNS:server.test,IP:127.0.0.1,IP:::1", .usage = "serverAuth"};
const certificate_wish for_client{.common_name = "some client", .names = "DNS:client.test", .usage = "clientAuth"};

}  // namespace

TEST_CASE("a key lets a client in for each purpose, and the server knows key and purpose", "[wire]") {
    const named_key key{"backup host", counted_key()};
    for (const client_purpose purpose : {client_purpose::source, client_purpose::target, client_purpose::reader}) {
        const told result = meet(key, std::vector{key}, purpose);
        INFO(result.client << " / " << result.server);
        CHECK(result.let_in);
        CHECK(result.who.name == "backup host");
        CHECK(result.who.purpose == purpose);
        CHECK(result.who.purpose_bound);
    }
}

TEST_CASE("the name that a server gives a key counts, not the client's", "[wire]") {
    const told result = meet(named_key{"mine", counted_key()}, std::vector{named_key{"theirs", counted_key()}});
    CHECK(result.who.name == "theirs");
}

TEST_CASE("a server finds one key among thousands, and refuses one that is not among them", "[wire]") {
    std::vector<named_key> keys;
    for (int i = 0; i < 3000; ++i) keys.push_back({"client " + std::to_string(i), generate_key()});
    const told known = meet(keys[1234], keys);
    CHECK(known.let_in);
    CHECK(known.who.name == "client 1234");

    const named_key stranger{"stranger", generate_key()};
    const told unknown = meet(stranger, keys);
    CHECK_FALSE(unknown.let_in);
    check_told(unknown.client, "server.test:7 failed: the server does not know this key (id " + key_id(stranger.key));
    check_told(unknown.server, "10.0.0.1:8 failed: the client's key is not known here");
    CHECK_THAT(unknown.server, Catch::Contains("reprotect 1 source " + key_id(stranger.key)));
    CHECK_THAT(unknown.client_hint, Catch::Contains("same key file"));
    CHECK_THAT(unknown.server_hint, Catch::Contains("same key file"));
}

TEST_CASE("another key is refused on both sides, in words for both", "[wire]") {
    const told result = meet(named_key{"", counted_key(1)}, std::vector{named_key{"", counted_key(2)}});
    CHECK_FALSE(result.let_in);
    check_told(result.client, "does not know this key");
    check_told(result.server, "not known here");
}

TEST_CASE("the key of a handshake is the one that is specified", "[wire]") {
    foreign_client client;
    client.identity = golden_identity;
    client.key = golden_key;
    client.offer_key();
    tls_server server(std::vector{named_key{"golden", counted_key()}});
    meeting both(client.context, server.context());
    CHECK(server_says(server, both).empty());
    CHECK(server.check(both.server()).name == "golden");
    CHECK(server.check(both.server()).purpose == client_purpose::source);
}

TEST_CASE("a client that names a key without holding it is refused", "[wire]") {
    foreign_client client;
    client.identity = golden_identity;
    client.key = golden_key;
    tls_server server(std::vector{named_key{"golden", counted_key()}});
    SECTION("with other bytes") {
        client.key[31] ^= 1;
    }
    SECTION("with the bytes of another purpose") {
        client.identity.replace(12, 6, "target");
    }
    client.offer_key();
    meeting both(client.context, server.context());
    check_told(server_says(server, both), "does not hold the key that it named");
    CHECK(both.client_failure());
}

TEST_CASE("an identity that is not exactly one of ours is unknown, and printed without its control characters",
          "[wire]") {
    foreign_client client;
    client.key = golden_key;
    tls_server server(std::vector{named_key{"golden", counted_key()}});
    const std::string wrong =
        GENERATE(as<std::string>(), golden_identity + " ", golden_identity.substr(0, 34), " " + golden_identity,
                 "reprotect 2" + golden_identity.substr(11), "reprotect 1 writer" + golden_identity.substr(18),
                 golden_identity.substr(19), std::string("\x1B[2J\n\xFF") + golden_identity);
    client.identity = wrong;
    client.offer_key();
    meeting both(client.context, server.context());
    const std::string said = server_says(server, both);
    check_told(said, "not known here");
    for (const char c : said) CHECK((c >= 0x20 && c <= 0x7E));
    if (wrong[0] == '\x1B') CHECK_THAT(said, Catch::Contains("'\\x1B[2J\\x0A\\xFF" + golden_identity));
}

TEST_CASE("no forward secrecy is no handshake", "[wire]") {
    // The server shares no group with it: only a key exchange without one could go on.
    foreign_client client;
    client.identity = golden_identity;
    client.key = golden_key;
    client.offer_key();
    SSL_CTX_set_options(client.context.native_handle(), SSL_OP_ALLOW_NO_DHE_KEX);
    REQUIRE(SSL_CTX_set1_groups_list(client.context.native_handle(), "P-521") == 1);
    tls_server server(std::vector{named_key{"golden", counted_key()}});
    meeting both(client.context, server.context());
    check_told(server_says(server, both), "no cipher or key exchange in common");
}

TEST_CASE("what a client with a key shows in the clear is the identity, in less than a server takes", "[wire]") {
    tls_client client(named_key{"", counted_key()}, client_purpose::target, "secret.test");
    const tls_server server(std::vector{named_key{"", counted_key()}});
    asio::io_context io;
    tls_stream stream(plain_socket(io), client.context());
    plain_socket other(io);
    asio::local::connect_pair(stream.next_layer(), other);
    client.prepare(stream.native_handle());
    stream.async_handshake(tls_stream::client, [](error_code) {});
    std::string shown(65536, '\0');
    other.async_read_some(asio::buffer(shown), [&](error_code, std::size_t count) {
        shown.resize(count);
        io.stop();
    });
    io.run_for(patience);
    CHECK(shown.find("reprotect 1 target " + key_id(counted_key())) != std::string::npos);
    CHECK(shown.find("secret.test") == std::string::npos);
    CHECK(server.handshake_bytes_max() == 4096);
    CHECK(shown.size() < server.handshake_bytes_max() / 2);  // a retry repeats it
}

TEST_CASE("nothing follows a handshake by itself: no tickets", "[wire]") {
    authority root;
    const bool with_key = GENERATE(true, false);
    const named_key key{"", counted_key()};
    tls_client client(with_key ? client_credentials(key) : client_credentials(root.certify(for_client)),
                      client_purpose::source, "server.test");
    tls_server server(with_key ? server_credentials(std::vector{key}) : server_credentials(root.certify(for_server)));
    meeting both(client.context(), server.context());
    client.prepare(both.client());
    both.shake_hands();
    REQUIRE(both.good());
    CHECK(both.unread_by_client() == 0);
}

TEST_CASE("both ends export one secret, another for each label and each session", "[wire]") {
    const named_key key{"", counted_key()};
    tls_client client(key, client_purpose::source, "");
    tls_server server(std::vector{key});
    std::vector<std::array<std::byte, 32>> seen;
    for (int session = 0; session < 2; ++session) {
        meeting both(client.context(), server.context());
        client.prepare(both.client());
        both.shake_hands();
        REQUIRE(both.good());
        for (const std::string label : {"one", "two"}) {
            CHECK(export_secret(both.client(), label) == export_secret(both.server(), label));
            seen.push_back(export_secret(both.client(), label));
        }
    }
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
}

TEST_CASE("a client with a key and a server with certificates tell each other so", "[wire]") {
    authority root;
    const told result = meet(named_key{"", counted_key()}, root.certify(for_server));
    CHECK_FALSE(result.let_in);
    check_told(result.client, "the server wants certificates, and this side has a key");
    check_told(result.server, "the client has a key ('reprotect 1 source");
    CHECK_THAT(result.client_hint, Catch::Contains("both sides a key"));
    CHECK_THAT(result.server_hint, Catch::Contains("both sides a key"));
}

TEST_CASE("a client with a key believes no certificate, whoever shows it", "[wire]") {
    authority root;
    const certificate_files files = root.certify(for_server);
    asio::ssl::context server(asio::ssl::context::tls_server);
    server.use_certificate_chain_file(files.certificate.string());
    server.use_private_key_file(files.key.string(), asio::ssl::context::pem);
    tls_client client(named_key{"", counted_key()}, client_purpose::source, "server.test");
    meeting both(client.context(), server);
    client.prepare(both.client());
    both.shake_hands();
    REQUIRE(both.client_failure());
    check_told(client.explain(both.client_failure(), both.client(), "x:1").what(), "the server shows a certificate");
}

TEST_CASE("a client with certificates and a server with keys tell each other so", "[wire]") {
    authority root;
    const told result = meet(root.certify(for_client), std::vector{named_key{"", counted_key()}});
    CHECK_FALSE(result.let_in);
    check_told(result.client, "the server wants a key, and this side has certificates");
    check_told(result.server, "the client showed no key");
    CHECK_THAT(result.client_hint, Catch::Contains("both sides a key"));
    CHECK_THAT(result.server_hint, Catch::Contains("both sides a key"));
}

TEST_CASE("certificates of one authority let a client in, by name and by address", "[wire]") {
    authority root;
    const std::string host = GENERATE("server.test", "SERVER.test.", "127.0.0.1", "::1", "[::1]");
    const told result = meet(root.certify(for_client), root.certify(for_server), client_purpose::reader, host);
    INFO(host << ": " << result.client << " / " << result.server);
    CHECK(result.let_in);
    CHECK(result.who.name == "client.test");
    CHECK_FALSE(result.who.purpose_bound);
}

TEST_CASE("a server's certificate for other names is refused, and they are told", "[wire]") {
    authority root;
    const std::string host = GENERATE("other.test", "127.0.0.2", "::2", "sub.server.test", "some server");
    const told result = meet(root.certify(for_client), root.certify(for_server), client_purpose::source, host);
    CHECK_FALSE(result.let_in);
    check_told(result.client, "certificate is not for " + host + " but for server.test, 127.0.0.1, ::1");
    CHECK_THAT(result.client_hint, Catch::Contains(host));
    check_told(result.server, "it is not for the name that was dialled");
}

TEST_CASE("a common name is no server's name, and a wildcard stands for one whole label", "[wire]") {
    authority root;
    const certificate_files client = root.certify(for_client);
    const auto named = [&](const std::string& common_name, const std::string& names) {
        return root.certify({.common_name = common_name, .names = names, .usage = "serverAuth"});
    };
    check_told(meet(client, named("server.test", "")).client, "but for no name at all");
    check_told(meet(client, named("server.test", "email:a@server.test")).client, "but for no name at all");
    check_told(meet(client, named("x", "DNS:s*.server.test"), {}, "sub.server.test").client, "but for s*.server.test");
    CHECK(meet(client, named("x", "DNS:*.server.test"), {}, "sub.server.test").let_in);
    check_told(meet(client, named("x", "DNS:*.server.test"), {}, "a.sub.server.test").client, "but for *.server.test");
}

TEST_CASE("names in a certificate are escaped, and not listed without end", "[wire]") {
    authority root;
    std::string names = "DNS:\x1B[2J.test";
    for (int i = 0; i < 50; ++i) names += ",DNS:host" + std::to_string(i) + ".test";
    const told result = meet(root.certify(for_client), root.certify({.names = names, .usage = "serverAuth"}));
    check_told(result.client, "\\x1B[2J.test, host0.test");
    CHECK_THAT(result.client, Catch::Contains("host6.test, ..."));
    CHECK_THAT(result.client, !Catch::Contains("host7.test"));
}

TEST_CASE("a host that nothing can be checked for is refused before anything is sent", "[wire]") {
    authority root;
    const certificate_files files = root.certify(for_client);
    for (const std::string& host : {std::string(), std::string("."), std::string(".test"), std::string("a\0b", 3),
                                    std::string("new\nline"), std::string(300, 'a')})
        require_failure(failure_of([&] { tls_client(files, client_purpose::source, host); }), error_kind::usage,
                        "can't be checked for the host");
}

TEST_CASE("an expired certificate is refused on either side", "[wire]") {
    authority root;
    certificate_wish old_server = for_server;
    certificate_wish old_client = for_client;
    old_server.days = old_client.days = -1;
    const told server_old = meet(root.certify(for_client), root.certify(old_server));
    CHECK_FALSE(server_old.let_in);
    check_told(server_old.client, "the server's certificate expired at 20");
    CHECK_THAT(server_old.client_hint, Catch::Contains("clocks"));
    check_told(server_old.server, "does not accept this side's certificate: it has expired");

    const told client_old = meet(root.certify(old_client), root.certify(for_server));
    CHECK_FALSE(client_old.let_in);
    check_told(client_old.server, "the client's certificate expired at 20");
    check_told(client_old.client, "does not accept this side's certificate: it has expired");
}

TEST_CASE("a certificate of another authority is refused on either side", "[wire]") {
    authority ours;
    authority theirs("some other authority");
    const told foreign_server = meet(ours.certify(for_client), believing(theirs.certify(for_server), ours));
    CHECK_FALSE(foreign_server.let_in);
    check_told(foreign_server.client, "the server's certificate is signed by /CN=some other authority, which is no");
    CHECK_THAT(foreign_server.client, Catch::Contains(ours.certificate()));
    check_told(foreign_server.server, "it trusts another authority");

    const told foreign_client = meet(believing(theirs.certify(for_client), ours), ours.certify(for_server));
    CHECK_FALSE(foreign_client.let_in);
    check_told(foreign_client.server, "the client's certificate is signed by /CN=some other authority, which is no");
    check_told(foreign_client.client, "it trusts another authority");
    CHECK_THAT(foreign_client.client_hint, Catch::Contains("authority"));
}

TEST_CASE("an authority of the same name with another key is another authority", "[wire]") {
    authority ours;
    authority theirs;
    const told result = meet(believing(theirs.certify(for_client), ours), ours.certify(for_server));
    CHECK_FALSE(result.let_in);
    check_told(result.server, "which is no authority in");
}

TEST_CASE("a certificate made for one role is refused in the other", "[wire]") {
    authority root;
    certificate_wish wrong_server = for_server;
    wrong_server.usage = "clientAuth";
    const told server_wrong = meet(root.certify(for_client), root.certify(wrong_server));
    CHECK_FALSE(server_wrong.let_in);
    check_told(server_wrong.client, "the server's certificate is not made for a server");
    check_told(server_wrong.server, "it is not made for a server");

    certificate_wish wrong_client = for_client;
    wrong_client.usage = "serverAuth";
    const told client_wrong = meet(root.certify(wrong_client), root.certify(for_server));
    CHECK_FALSE(client_wrong.let_in);
    check_told(client_wrong.server, "the client's certificate is not made for a client");
    check_told(client_wrong.client, "it is not made for a client");
}

TEST_CASE("a client without a certificate is refused", "[wire]") {
    authority root;
    asio::ssl::context client(asio::ssl::context::tlsv13_client);
    tls_server server(root.certify(for_server));
    meeting both(client, server.context());
    check_told(server_says(server, both), "the client showed no certificate");
}

TEST_CASE("a client's name is its first DNS name, else its common name, and printable", "[wire]") {
    authority root;
    const certificate_files server = root.certify(for_server);
    const auto name_of = [&](const std::string& common_name, const std::string& names) {
        return meet(root.certify({.common_name = common_name, .names = names, .usage = "clientAuth"}), server).who.name;
    };
    CHECK(name_of("anna", "DNS:first.test,DNS:second.test") == "first.test");
    CHECK(name_of("anna", "IP:10.0.0.1,DNS:second.test") == "second.test");
    CHECK(name_of("anna", "IP:10.0.0.1") == "anna");
    CHECK(name_of("anna", "") == "anna");
    for (const auto& [common_name, names] :
         {std::pair<std::string, std::string>{"", "IP:10.0.0.1"}, {"an\x1Bna", ""}, {"anna", "DNS:fir\x1Bst.test"}})
        require_failure(failure_of([&, cn = common_name, san = names] { name_of(cn, san); }), error_kind::peer,
                        "has no name");
}

TEST_CASE("TLS 1.2 is refused on either side", "[wire]") {
    authority root;
    const certificate_files files = root.certify(for_server);
    const bool with_key = GENERATE(true, false);
    {
        asio::ssl::context client(asio::ssl::context::tlsv12_client);
        tls_server server(with_key ? server_credentials(std::vector{named_key{"", counted_key()}})
                                   : server_credentials(files));
        meeting both(client, server.context());
        check_told(server_says(server, both), "does not speak TLS 1.3");
    }
    asio::ssl::context server(asio::ssl::context::tlsv12_server);
    server.use_certificate_chain_file(files.certificate.string());
    server.use_private_key_file(files.key.string(), asio::ssl::context::pem);
    tls_client client(
        with_key ? client_credentials(named_key{"", counted_key()}) : client_credentials(root.certify(for_client)),
        client_purpose::source, "server.test");
    meeting both(client.context(), server);
    client.prepare(both.client());
    both.shake_hands();
    REQUIRE(both.client_failure());
    check_told(client.explain(both.client_failure(), both.client(), "x:1").what(), "does not speak TLS 1.3");
}

TEST_CASE("what speaks something else than TLS is told from what hangs up", "[wire]") {
    tls_server server(std::vector{named_key{"", counted_key()}});
    tls_client client(named_key{"", counted_key()}, client_purpose::source, "");
    const auto to_server = [&](const std::string& bytes, bool close = false) {
        return answer_to(server, tls_stream::server, bytes, close);
    };
    const auto to_client = [&](const std::string& bytes, bool close = false) {
        return answer_to(client, tls_stream::client, bytes, close);
    };
    check_told(to_server("GET / HTTP/1.1\r\nHost: x\r\n\r\n").what(),
               "other.test:9 failed: the other side speaks plain HTTP");
    check_told(to_server("CONNECT x:1 HTTP/1.1\r\n\r\n").what(), "speaks plain HTTP");
    check_told(to_server("SSH-2.0-OpenSSH_9.2\r\n").what(), "something else than TLS");
    check_told(to_server("reprotect/wire\r\n and more").what(), "something else than TLS");
    check_told(to_server(std::string(100, '\0')).what(), "something else than TLS");
    check_told(to_client("HTTP/1.1 400 Bad Request\r\n\r\n").what(), "something else than TLS");
    check_told(to_client("SSH-2.0-OpenSSH_9.2\r\n").what(), "something else than TLS");
    CHECK_THAT(to_client("220 mail.test ESMTP\r\n").detail().hint, Catch::Contains("port"));
    check_told(to_server("", true).what(), "closed the connection during the handshake");
    check_told(to_client("", true).what(), "closed the connection during the handshake");
    check_told(to_server("\x16\x03", true).what(), "closed the connection during the handshake");
}

TEST_CASE("random bytes in TLS records never let anybody in, and are explained in one line", "[wire]") {
    tls_server server(std::vector{named_key{"", counted_key()}});
    tls_client client(named_key{"", counted_key()}, client_purpose::source, "");
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const std::vector<std::byte> noise = random_bytes(seed, 8 + seed);
        std::string bytes(reinterpret_cast<const char*>(noise.data()), noise.size());
        if (seed % 4 != 0) {
            // A record that says its length, and in it a message of that type that says its own.
            const char type = seed % 4 == 1 ? 1 : 2;
            bytes = std::string{0x16,
                                3,
                                3,
                                0,
                                static_cast<char>(bytes.size() % 128 + 4),
                                type,
                                0,
                                0,
                                static_cast<char>(bytes.size() % 128)} +
                    bytes;
        }
        INFO("seed " << seed);
        for (const error& why :
             {answer_to(server, tls_stream::server, bytes, true), answer_to(client, tls_stream::client, bytes, true)}) {
            CHECK(why.kind() == error_kind::peer);
            CHECK_FALSE(why.detail().hint.empty());
            CHECK(std::string(why.what()).find_first_of("\r\n\x1B") == std::string::npos);
        }
    }
}

TEST_CASE("an end after the handshake is not told as one during it", "[wire]") {
    const named_key key{"", counted_key()};
    tls_client client(key, client_purpose::source, "");
    tls_server server(std::vector{key});
    meeting both(client.context(), server.context());
    client.prepare(both.client());
    both.shake_hands();
    client.check(both.client());
    const error why = client.explain(asio::error::connection_reset, both.client(), "evil\nhost:1");
    CHECK(std::string(why.what()) == "TLS with evil\\x0Ahost:1 failed: the other side closed the connection");
    CHECK(why.detail().system_errno == ECONNRESET);
}

TEST_CASE("nobody is anybody before the handshake is done", "[wire]") {
    const named_key key{"", counted_key()};
    tls_client client(key, client_purpose::source, "");
    tls_server server(std::vector{key});
    meeting both(client.context(), server.context());
    require_failure(failure_of([&] { client.check(both.client()); }), error_kind::peer, "not done");
    require_failure(failure_of([&] { server.check(both.server()); }), error_kind::peer, "not done");
}

TEST_CASE("keys that are no secret, or one key twice, are the user's mistake", "[wire]") {
    const named_key good{"good", counted_key()};
    const named_key empty{"empty", {}};
    require_failure(failure_of([&] { tls_server(std::vector<named_key>{}); }), error_kind::usage, "no key");
    require_failure(failure_of([&] {
                        tls_server(std::vector{good, {"twin", counted_key()}});
                    }),
                    error_kind::usage, "'good' and 'twin' are one key");
    require_failure(failure_of([&] {
                        tls_server(std::vector{good, empty});
                    }),
                    error_kind::usage, "'empty' is all zeroes");
    require_failure(failure_of([&] { tls_client(empty, client_purpose::source, ""); }), error_kind::usage,
                    "all zeroes");
}

TEST_CASE("certificate files that do not load or fit are refused by name", "[wire]") {
    authority root;
    const temp_dir folder;
    const certificate_files good = root.certify(for_server);
    const certificate_files other = root.certify(for_server);
    const auto refused = [&](const certificate_files& files, error_kind kind, const std::filesystem::path& which) {
        require_failure(failure_of([&] { tls_server{server_credentials(files)}; }), kind, which.string());
        require_failure(failure_of([&] { tls_client(files, client_purpose::source, "x"); }), kind, which.string());
    };
    const std::string no_pem = folder.file("no.pem");
    write_whole_file(no_pem, random_bytes(1, 1000));
    std::filesystem::permissions(no_pem, std::filesystem::perms(0600));
    const std::string none = folder.file("none");

    refused({none, good.key, good.authority}, error_kind::not_found, none);
    refused({good.certificate, none, good.authority}, error_kind::not_found, none);
    refused({good.certificate, good.key, none}, error_kind::not_found, none);
    refused({no_pem, good.key, good.authority}, error_kind::corrupt_file, no_pem);
    refused({good.certificate, no_pem, good.authority}, error_kind::corrupt_file, no_pem);
    refused({good.certificate, good.key, no_pem}, error_kind::corrupt_file, no_pem);
    refused({good.certificate, other.key, good.authority}, error_kind::unsuitable, other.key);
    refused({good.certificate, folder.path(), good.authority}, error_kind::unsuitable, folder.path());

    const std::string other_kind = folder.file("other-kind.pem");
    run_checked({"openssl", "genpkey", "-algorithm", "ed25519", "-out", other_kind});
    std::filesystem::permissions(other_kind, std::filesystem::perms(0600));
    refused({good.certificate, other_kind, good.authority}, error_kind::unsuitable, other_kind);

    const std::string encrypted = folder.file("encrypted.pem");
    run_checked({"openssl", "pkey", "-in", good.key.string(), "-aes128", "-passout", "pass:secret", "-out", encrypted});
    std::filesystem::permissions(encrypted, std::filesystem::perms(0600));
    refused({good.certificate, encrypted, good.authority}, error_kind::unsuitable, encrypted);

    std::filesystem::permissions(other.key, std::filesystem::perms(0640));
    const std::optional<error> failure = failure_of([&] { tls_server{server_credentials(other)}; });
    require_failure(failure, error_kind::permission, other.key.string());
    CHECK_THAT(failure->detail().hint, Catch::Contains("chmod 600 " + other.key.string()));
}
