// TLS 1.3 as both ends use it: no other version, no tickets, no resumption, no early data, no compression, no
// renegotiation.
//
// With a shared key: an external pre-shared key with psk_dhe_ke (forward secrecy) and nothing else; a server has no
// certificate, so that there is nothing to fall back to. The identity that the client shows is
//     "reprotect 1 " purpose " " key id          purpose = "source" | "target" | "reader": what the client will be
// and the key that TLS gets is HKDF-SHA256(key, salt "reprotect psk 1", info = that identity), 32 bytes: a key for one
// purpose proves nothing for another, and (RFC 9257, section 5) a side that dials can't be answered by its own words.
//
// With certificates: both sides show one, signed by the named authority; a client checks the server's name (a DNS name
// or an address in subjectAltName, RFC 9525; no common name, no partial wildcards), a server takes the client's first
// DNS name in subjectAltName, else its common name, as its name for permissions.
//
// Refusals that another side should understand are alerts of their own: unknown_psk_identity (a server of keys got none
// that it knows, or none at all) and certificate_required (a server of certificates got a key, or nothing). In TLS 1.3
// a client is done before the server has judged its certificate: it reads of a refusal with its first bytes after the
// handshake.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "reprotect/credentials.hpp"
#include "reprotect/error.hpp"

namespace reprotect {

/// What a client is going to be; part of the identity that it shows.
enum class client_purpose : std::uint8_t { source = 1, target = 2, reader = 3 };

/// Who a server talks to, known after the handshake.
struct authenticated_client {
    std::string name;  ///< the key's as configured; or the certificate's: printable ASCII
    client_purpose purpose = client_purpose::reader;  ///< with a key: the one it was used for
    bool purpose_bound = false;                       ///< a key: the handshake vouches for the purpose
};

/// For one connection's whole life: keep it as long as its stream. `host` is the name or address that the user gave
/// (IPv6 with or without brackets), checked against a certificate; with a key it does not matter. Throws `error`: kinds
/// that name the file where the files do not load or do not fit each other, `usage` for a key of zeroes, and for a host
/// that no certificate can be checked for.
class tls_client {
public:
    tls_client(const client_credentials& credentials, client_purpose purpose, const std::string& host);
    ~tls_client();

    boost::asio::ssl::context& context() noexcept;
    /// To be called on the stream's SSL object before the handshake. Throws `error` (peer) where memory is short.
    void prepare(ssl_st* ssl);
    /// After the handshake, and to be called before anything is read or written: throws `error` (peer) unless
    /// everything was negotiated as this header has it.
    void check(ssl_st* ssl) const;
    /// What a failed handshake, or a failed read or write after it, means, in words for a person: one line of printable
    /// ASCII, no OpenSSL codes alone, whatever the other side sent. `where` is "HOST:PORT". Of kind `peer`.
    error explain(const boost::system::error_code& failure, ssl_st* ssl, const std::string& where) const;

private:
    struct state;
    std::unique_ptr<state> state_;
};

/// One for all connections of a server; keep it as long as any of their streams. Thread-safe once made. Throws `error`
/// as `tls_client`; `usage` for two keys that are one, or no key at all.
class tls_server {
public:
    explicit tls_server(const server_credentials& credentials);
    ~tls_server();

    boost::asio::ssl::context& context() noexcept;
    /// After the handshake, before anything is read or written: who it is. Throws `error` (peer) unless everything was
    /// negotiated as this header has it, and for a certificate without a name that permissions could be given to.
    authenticated_client check(ssl_st* ssl) const;
    /// As the client's; `where` is the client's address.
    error explain(const boost::system::error_code& failure, ssl_st* ssl, const std::string& where) const;

    /// What a client may send before it is known: 4 KiB with keys (FAULTS: ceilings), 64 KiB with certificates, whose
    /// chains need it.
    std::size_t handshake_bytes_max() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

/// Bytes that both ends of this TLS session can derive and nobody else (RFC 8446, section 7.5), for `label`. Asserts
/// that the handshake is done.
std::array<std::byte, 32> export_secret(ssl_st* ssl, const std::string& label);

/// The content of a file; wiped when destroyed.
struct secret_content {
    std::vector<std::byte> bytes;

    secret_content() = default;
    secret_content(secret_content&&) noexcept = default;
    secret_content& operator=(secret_content&&) = delete;
    ~secret_content();
};

/// Reads a file that keeps a secret: a key, or a certificate's private key. `what` names it in messages ("key file").
/// Throws as `load_key_file`; `corrupt_file` where it is longer than `bytes_max`.
secret_content read_secret_file(const std::filesystem::path& path, std::size_t bytes_max, const std::string& what);

}  // namespace reprotect
