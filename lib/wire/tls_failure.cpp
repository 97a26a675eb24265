// A message names the fact first, in terms of server, client and this side; the hint says what to change. Everything
// that the other side chose is escaped and cut. OpenSSL's own words appear where there is no better one.
#include "wire/tls_failure.hpp"

#include <openssl/err.h>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/error.hpp>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

namespace reprotect::tls {
namespace {

constexpr std::size_t text_max = 200;        // guessed: what a line of a message can bear
constexpr std::size_t listed_names_max = 8;  // guessed, likewise

void free_notes(void*, void* notes, CRYPTO_EX_DATA*, int, long, void*) {
    delete static_cast<handshake_notes*>(notes);
}

int notes_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, free_notes);
    return index;
}

const handshake_notes& notes_if_any(SSL* connection) {
    static const handshake_notes none;
    const void* present = connection == nullptr ? nullptr : SSL_get_ex_data(connection, notes_index());
    return present == nullptr ? none : *static_cast<const handshake_notes*>(present);
}

// The DNS names and addresses of a certificate, for a message.
std::string listed_names(const X509* certificate) {
    const general_names names = alternative_names(certificate);
    std::string list;
    std::size_t listed = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        std::string one;
        if (name->type == GEN_DNS) {
            one = escaped(text_of(name->d.dNSName));
        } else if (name->type == GEN_IPADD) {
            const std::string_view bytes = text_of(name->d.iPAddress);
            boost::asio::ip::address_v4::bytes_type four;
            boost::asio::ip::address_v6::bytes_type sixteen;
            if (bytes.size() == four.size()) {
                std::memcpy(four.data(), bytes.data(), bytes.size());
                one = boost::asio::ip::address_v4(four).to_string();
            } else if (bytes.size() == sixteen.size()) {
                std::memcpy(sixteen.data(), bytes.data(), bytes.size());
                one = boost::asio::ip::address_v6(sixteen).to_string();
            }
        }
        if (one.empty()) continue;
        if (++listed > listed_names_max) return list + ", ...";
        if (!list.empty()) list += ", ";
        list += one;
    }
    return list;
}

std::string written_name(const X509_NAME* name) {
    char text[512];
    return X509_NAME_oneline(name, text, sizeof text) == nullptr ? std::string() : escaped(text);
}

std::string written_time(const ASN1_TIME* time) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unknown date";
    char text[64];
    return std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0 ? std::string() : text;
}

struct words {
    std::string what;
    std::string hint;
};

const std::string same_key = "give both sides the same key file";
const std::string same_means = "give both sides a key, or both sides certificates";
const std::string their_log = "look at what the other side says";

words not_tls(const std::string& what) {
    return {what, "check the address and the port: reprotect serve must listen there, and nothing else"};
}

words no_version() {
    return {"the other side does not speak TLS 1.3",
            "use reprotect on both sides; nothing older than TLS 1.3 is accepted"};
}

words nothing_in_common() {
    return {"the two sides have no cipher or key exchange in common",
            "use reprotect on both sides; it offers AES-128-GCM and ChaCha20-Poly1305 over X25519, P-256 and P-384"};
}

words explain_certificate(const circumstances& here, const handshake_notes& notes, long verify_error) {
    const std::string theirs = here.ours == peer_side::client ? "the server's" : "the client's";
    switch (verify_error) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return {theirs + " certificate expired at " + notes.not_after, "renew it, or set the clocks right"};
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return {theirs + " certificate is not valid before " + notes.not_before,
                    "set the clocks right, or renew it"};
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
            return {theirs + " certificate is not for " + escaped(here.host) + " but for " +
                        (notes.names.empty() ? "no name at all (subjectAltName)" : notes.names),
                    "use a name that it is for, or give the server a certificate for " + escaped(here.host)};
        case X509_V_ERR_INVALID_PURPOSE:
            return {theirs + " certificate is not made for a " + (here.ours == peer_side::client ? "server" : "client"),
                    here.ours == peer_side::client ? "give the server one with extendedKeyUsage serverAuth"
                                                   : "give the client one with extendedKeyUsage clientAuth"};
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        case X509_V_ERR_CERT_UNTRUSTED:
            return {theirs + " certificate is signed by " + (notes.issuer.empty() ? "somebody" : notes.issuer) +
                        ", which is no authority in " + escaped(here.authority.string()),
                    "let one authority sign the certificates of both sides, or name theirs"};
        default:
            return {theirs + " certificate is not valid: " + X509_verify_cert_error_string(verify_error),
                    "give it one that is"};
    }
}

words explain_alert(const circumstances& here, int alert) {
    const bool client = here.ours == peer_side::client;
    if (here.by == means::key && client) {
        switch (alert) {
            case SSL_AD_UNKNOWN_PSK_IDENTITY:
                return {"the server does not know this key (id " + here.key + ")", same_key};
            case SSL_AD_DECRYPT_ERROR:
            case SSL_AD_ILLEGAL_PARAMETER:
            case SSL_AD_HANDSHAKE_FAILURE:
                return {"the server does not accept this key (id " + here.key + ")", same_key};
            case SSL_AD_CERTIFICATE_REQUIRED:
                return {"the server wants certificates, and this side has a key", same_means};
            default:
                break;
        }
    }
    if (here.by == means::certificates) {
        const std::string other = client ? "the server" : "the client";
        const std::string ours = " does not accept this side's certificate: ";
        switch (alert) {
            case SSL_AD_UNKNOWN_PSK_IDENTITY:
                return {other + " wants a key, and this side has certificates", same_means};
            case SSL_AD_CERTIFICATE_REQUIRED:
                return {other + " wants a certificate, and this side showed none", same_means};
            case SSL_AD_UNKNOWN_CA:
                return {other + ours + "it trusts another authority",
                        "let one authority sign the certificates of both sides, or name this one there"};
            case SSL_AD_CERTIFICATE_EXPIRED:
                return {other + ours + "it has expired", "renew it, or set the clocks right"};
            case SSL_AD_CERTIFICATE_REVOKED:
                return {other + ours + "it was revoked", "get a new one"};
            case SSL_AD_UNSUPPORTED_CERTIFICATE:
                return {
                    other + ours + "it is not made for a " + (client ? "client" : "server"),
                    client ? "use one with extendedKeyUsage clientAuth" : "use one with extendedKeyUsage serverAuth"};
            case SSL_AD_BAD_CERTIFICATE:
                return {other + ours + (client ? "it is not valid there" : "it is not for the name that was dialled"),
                        client ? their_log : "give this side a certificate for the name that clients use"};
            case SSL_AD_CERTIFICATE_UNKNOWN:
            case SSL_AD_ACCESS_DENIED:
            case SSL_AD_DECRYPT_ERROR:
                return {other + ours + SSL_alert_desc_string_long(alert), their_log};
            default:
                break;
        }
    }
    switch (alert) {
        case SSL_AD_PROTOCOL_VERSION:
            return no_version();
        case SSL_AD_HANDSHAKE_FAILURE:
        case SSL_AD_INSUFFICIENT_SECURITY:
            return nothing_in_common();
        default:
            return {std::string("the other side ended it (TLS alert: ") + SSL_alert_desc_string_long(alert) + ")",
                    their_log};
    }
}

words explain_reason(const circumstances& here, const handshake_notes& notes, int reason, SSL* connection) {
    const bool client = here.ours == peer_side::client;
    switch (reason) {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            if (here.by == means::key) return {"the server shows a certificate, and this side has a key", same_means};
            return explain_certificate(here, notes,
                                       notes.verify_error == X509_V_OK && connection != nullptr
                                           ? SSL_get_verify_result(connection)
                                           : notes.verify_error);
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return {"the client showed no certificate", same_means};
        case SSL_R_CALLBACK_FAILED:
            if (notes.hello == hello_verdict::no_key)
                return {"the client showed no key, and this side accepts nothing else", same_means};
            if (notes.hello == hello_verdict::unknown_key)
                return {"the client's key is not known here (it showed '" + notes.shown + "')", same_key};
            if (notes.hello == hello_verdict::key_to_certificates)
                return {"the client has a key ('" + notes.shown + "'), and this side wants certificates", same_means};
            break;
        case SSL_R_BINDER_DOES_NOT_VERIFY:
            return {"the client does not hold the key that it named ('" + notes.shown + "')", same_key};
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
            return not_tls("the other side speaks plain HTTP, not TLS");
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_WRONG_SSL_VERSION:
        case SSL_R_VERSION_TOO_LOW:
        case SSL_R_NO_PROTOCOLS_AVAILABLE:
            return no_version();
        case SSL_R_NO_SHARED_CIPHER:
        case SSL_R_NO_SUITABLE_KEY_SHARE:
        case SSL_R_NO_SHARED_GROUPS:
        case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
        case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
            return nothing_in_common();
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
        case SSL_R_RECORD_LENGTH_MISMATCH:
        case SSL_R_RECORD_TOO_SMALL:
        case SSL_R_LENGTH_TOO_SHORT:
        case SSL_R_LENGTH_TOO_LONG:
        case SSL_R_BAD_RECORD_TYPE:
            if (!notes.authenticated) return not_tls("the other side speaks something else than TLS");
            break;
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
            return {"what came was changed on its way", "look for what damages data between the two sides"};
        default:
            break;
    }
    const char* text = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));
    return {std::string("the ") + (client ? "server" : "client") + " broke the protocol (" +
                (text == nullptr ? "reason " + std::to_string(reason) : escaped(text)) + ")",
            "check that both sides are reprotect, and that nothing between them speaks TLS itself"};
}

words explain_code(const circumstances& here, const boost::system::error_code& failure, SSL* connection) {
    const handshake_notes& notes = notes_if_any(connection);
    const words closed{notes.authenticated ? "the other side closed the connection"
                                           : "the other side closed the connection during the handshake",
                       their_log};
    if (failure == boost::asio::error::eof || failure == boost::asio::ssl::error::stream_truncated ||
        failure == boost::asio::error::connection_reset || failure == boost::asio::error::broken_pipe)
        return closed;
    if (failure.category() == boost::asio::error::get_ssl_category()) {
        const auto code = static_cast<unsigned long>(static_cast<unsigned>(failure.value()));
        if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
            const int reason = ERR_GET_REASON(code);
            if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return closed;
            if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
                return explain_alert(here, reason - SSL_AD_REASON_OFFSET);
            return explain_reason(here, notes, reason, connection);
        }
    }
    return {escaped(failure.message()), their_log};
}

}  // namespace

// A connection's notes; throws std::bad_alloc.
handshake_notes& notes_of(SSL* connection) {
    if (void* present = SSL_get_ex_data(connection, notes_index())) return *static_cast<handshake_notes*>(present);
    auto notes = std::make_unique<handshake_notes>();
    if (SSL_set_ex_data(connection, notes_index(), notes.get()) != 1) throw std::bad_alloc();
    return *notes.release();
}

// What came from the other side, for a message: printable ASCII, all else as \xNN, and not without end.
std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text.substr(0, text_max)) {
        if (c >= 0x20 && c <= 0x7E) {
            result += c;
            continue;
        }
        char code[5];
        std::snprintf(code, sizeof code, "\\x%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
        result += code;
    }
    if (text.size() > text_max) result += "...";
    return result;
}

general_names alternative_names(const X509* certificate) {
    return general_names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
}

std::string_view text_of(const ASN1_STRING* text) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<std::size_t>(ASN1_STRING_length(text))};
}

// OpenSSL's callback for each certificate of a chain: keeps what the first one that fails was, and lets nothing pass.
int note_verification(int passed, X509_STORE_CTX* store) {
    if (passed == 1) return 1;
    try {
        auto* connection = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
        const X509* certificate = X509_STORE_CTX_get_current_cert(store);
        if (connection == nullptr || certificate == nullptr) return 0;
        handshake_notes& notes = notes_of(connection);
        notes.verify_error = X509_STORE_CTX_get_error(store);
        notes.names = listed_names(certificate);
        notes.issuer = written_name(X509_get_issuer_name(certificate));
        notes.not_before = written_time(X509_get0_notBefore(certificate));
        notes.not_after = written_time(X509_get0_notAfter(certificate));
    } catch (const std::exception&) {
        // The words will be poorer; refused it is all the same.
    }
    return 0;
}

error explain_failure(const circumstances& here, const boost::system::error_code& failure, SSL* connection,
                      const std::string& where) {
    words said = explain_code(here, failure, connection);
    error_detail detail;
    detail.operation = "TLS";
    detail.hint = std::move(said.hint);
    if (failure.category() == boost::system::system_category()) detail.system_errno = failure.value();
    return error(error_kind::peer, "TLS with " + escaped(where) + " failed: " + said.what, std::move(detail));
}

}  // namespace reprotect::tls
