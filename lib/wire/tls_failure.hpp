// Why a TLS handshake failed, in words: what the two ends note while it runs, and what an error then means.
//
// The first error in OpenSSL's queue, which Asio hands on, says what happened but knows neither names nor dates, so
// callbacks leave notes with the connection: what a client showed, and what was wrong with which certificate. Of the
// other side's refusals there is only an alert's number: the words for it depend on which end reads it and what it
// showed.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <boost/system/error_code.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "reprotect/error.hpp"

namespace reprotect::tls {

template <auto Free>
struct freed_by {
    void operator()(auto* object) const noexcept { Free(object); }
};
template <typename Type, auto Free>
using owned = std::unique_ptr<Type, freed_by<Free>>;

enum class peer_side { client, server };
enum class means { key, certificates };

/// What explaining needs to know of this end.
struct circumstances {
    peer_side ours{};
    means by{};
    std::string key;                  // a client's: its id
    std::string host;                 // a client's: what the certificate is checked for
    std::filesystem::path authority;  // with certificates
};

/// What a server found in a client's first message.
enum class hello_verdict { none, no_key, unknown_key, key_to_certificates };

/// One connection's; they go with its SSL object.
struct handshake_notes {
    hello_verdict hello = hello_verdict::none;
    std::string shown;  // the first identity that the client showed, escaped
    int verify_error = X509_V_OK;
    std::string names;       // what the certificate that failed is for, escaped
    std::string issuer;      // escaped
    std::string not_before;  // of the certificate that failed
    std::string not_after;
    bool authenticated = false;  // check() passed
};

/// A connection's notes, made where there are none. Throws `std::bad_alloc`.
handshake_notes& notes_of(SSL* connection);

/// What came from the other side, for a message: printable ASCII, all else as \xNN, and not without end.
std::string escaped(std::string_view text);

/// The subjectAltName of a certificate; null where it has none.
using general_names = owned<GENERAL_NAMES, GENERAL_NAMES_free>;
general_names alternative_names(const X509* certificate);
std::string_view text_of(const ASN1_STRING* text);

/// For SSL_CTX_set_verify: notes what the first certificate that fails was, and lets nothing pass.
int note_verification(int passed, X509_STORE_CTX* store);

/// What a failed handshake means, or a failed read or write after it. `connection` may be null.
error explain_failure(const circumstances& here, const boost::system::error_code& failure, SSL* connection,
                      const std::string& where);

}  // namespace reprotect::tls
