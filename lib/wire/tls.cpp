// The contexts of both ends, what OpenSSL asks of them during a handshake, and what its failures mean.
//
// A server learns early which of the two ways a client goes, from the identities in its first message, and refuses the
// wrong one with an alert that says so. Which key a handshake used is read from its session afterwards: OpenSSL copies
// the session that the lookup gave, with the pointer to its entry, into the connection. So a client that shows several
// identities is known by the one whose binder was checked, not by the last one looked up.
#include "wire/tls.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <boost/asio/ip/address.hpp>

#include <array>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/assert.hpp"
#include "base/atomic_file.hpp"
#include "wire/tls_failure.hpp"

namespace reprotect {
namespace {

namespace ssl = boost::asio::ssl;
using namespace tls;

// External keys need suites of the hash that they are for (RFC 8446, 4.2.11): SHA-256.
constexpr const char* cipher_suites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr std::array<unsigned char, 2> key_cipher{0x13, 0x01};  // TLS_AES_128_GCM_SHA256, RFC 8446, B.4
// Elliptic curves alone: a client can't make a server compute in large finite fields.
constexpr const char* groups = "X25519:P-256:P-384";
// OpenSSL's second level: 112 bits, RSA from 2048. Stated, so that a system's configuration does not lower it.
constexpr int security_level = 2;
constexpr std::size_t key_handshake_bytes_max = 4096;           // FAULTS, ceilings
constexpr std::size_t certificate_handshake_bytes_max = 65536;  // guessed: ten certificates of RSA-4096 and to spare
constexpr std::size_t pem_bytes_max = 1 << 20;                  // guessed: an authority file may hold a few hundred
constexpr std::size_t private_key_bytes_max = 64 << 10;         // guessed: RSA-16384 takes 13 KiB
// ---- keys

constexpr std::array purposes{client_purpose::source, client_purpose::target, client_purpose::reader};

std::string_view word_of(client_purpose purpose) {
    switch (purpose) {
        case client_purpose::source:
            return "source";
        case client_purpose::target:
            return "target";
        case client_purpose::reader:
            return "reader";
    }
    return "unknown";
}

constexpr std::string_view identity_start = "reprotect 1 ";

std::string identity_of(client_purpose purpose, const std::string& id) {
    std::string identity(identity_start);
    identity.append(word_of(purpose)).append(" ").append(id);
    return identity;
}

// A session that stands for a key and an identity. Null where memory is short.
owned<SSL_SESSION, SSL_SESSION_free> make_session(SSL* connection, const shared_key& key, std::string identity) {
    constexpr std::string_view salt = "reprotect psk 1";
    const owned<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
    if (!kdf) return nullptr;
    const owned<EVP_KDF_CTX, EVP_KDF_CTX_free> derivation(EVP_KDF_CTX_new(kdf.get()));
    if (!derivation) return nullptr;
    // The parameters are only read; OpenSSL's type knows no const.
    char digest[] = "SHA256";
    const std::array parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<std::byte*>(key.bytes.data()),
                                          key.bytes.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, const_cast<char*>(salt.data()), salt.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, identity.data(), identity.size()),
        OSSL_PARAM_construct_end(),
    };
    std::array<unsigned char, 32> derived{};
    owned<SSL_SESSION, SSL_SESSION_free> session(SSL_SESSION_new());
    const SSL_CIPHER* cipher = SSL_CIPHER_find(connection, key_cipher.data());
    const bool made = session && cipher != nullptr &&
                      EVP_KDF_derive(derivation.get(), derived.data(), derived.size(), parameters.data()) == 1 &&
                      SSL_SESSION_set1_master_key(session.get(), derived.data(), derived.size()) == 1 &&
                      SSL_SESSION_set_cipher(session.get(), cipher) == 1 &&
                      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) == 1;
    OPENSSL_cleanse(derived.data(), derived.size());
    return made ? std::move(session) : nullptr;
}

void refuse_empty(const named_key& key) {
    // What a key is before anybody set it: everybody knows it.
    if (key.key == shared_key()) {
        error_detail detail;
        detail.hint = "load a key file, or make one with reprotect key new FILE";
        throw error(error_kind::usage, "the key '" + escaped(key.name) + "' is all zeroes", std::move(detail));
    }
}

int entry_index() {
    static const int index = SSL_SESSION_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

// ---- certificates

// A name that permissions can be given to: nothing that looks like another in a file or a log.
std::optional<std::string> usable_name(std::string_view text) {
    if (text.empty() || text.size() > 255) return std::nullopt;
    for (const char c : text)
        if (c < 0x20 || c > 0x7E) return std::nullopt;
    return std::string(text);
}

std::optional<std::string> client_name(const X509* certificate) {
    const general_names names = alternative_names(certificate);
    for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type == GEN_DNS) return usable_name(text_of(name->d.dNSName));
    }
    const X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return std::nullopt;
    unsigned char* utf8 = nullptr;
    const int length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (length < 0) return std::nullopt;
    const auto release = [](unsigned char* text) { OPENSSL_free(text); };
    const std::unique_ptr<unsigned char, decltype(release)> text(utf8, release);
    return usable_name({reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(length)});
}

// With a key no certificate is ever right.
int refuse_any_certificate(X509_STORE_CTX* store, void*) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

// An encrypted private key must not make OpenSSL ask on the terminal.
int no_password(char*, int, int, void*) {
    return -1;
}

error file_refused(error_kind kind, const std::filesystem::path& path, const std::string& why, const char* hint) {
    error_detail detail;
    detail.device = path.string();
    detail.operation = "read";
    detail.hint = hint;
    return error(kind, "read of " + path.string() + " refused: " + why, std::move(detail));
}

void load_certificates(ssl::context& context, const certificate_files& files) {
    SSL_CTX* handle = context.native_handle();
    SSL_CTX_set_default_passwd_cb(handle, no_password);
    boost::system::error_code failure;

    const std::vector<std::byte> chain = read_whole_file(files.certificate, pem_bytes_max);
    context.use_certificate_chain({chain.data(), chain.size()}, failure);
    if (failure)
        throw file_refused(error_kind::corrupt_file, files.certificate,
                           "it is no certificate that can be used (" + escaped(failure.message()) + ")",
                           "name a PEM file with this side's certificate first");

    const secret_content secret = read_secret_file(files.key, private_key_bytes_max, "private key");
    ERR_clear_error();
    const owned<BIO, BIO_free> memory(BIO_new_mem_buf(secret.bytes.data(), static_cast<int>(secret.bytes.size())));
    const owned<EVP_PKEY, EVP_PKEY_free> key(
        memory ? PEM_read_bio_PrivateKey(memory.get(), nullptr, no_password, nullptr) : nullptr);
    if (!key) {
        const unsigned long first = ERR_peek_error();
        const bool encrypted = ERR_GET_LIB(first) == ERR_LIB_PEM && ERR_GET_REASON(first) == PEM_R_BAD_PASSWORD_READ;
        const bool mentions = std::string_view(reinterpret_cast<const char*>(secret.bytes.data()), secret.bytes.size())
                                  .find("ENCRYPTED") != std::string_view::npos;
        ERR_clear_error();
        if (encrypted || mentions)
            throw file_refused(error_kind::unsuitable, files.key, "the private key in it is encrypted",
                               "decrypt it with openssl pkey, into a file that only its owner may read");
        throw file_refused(error_kind::corrupt_file, files.key, "there is no private key in it",
                           "name a PEM file with the private key of this side's certificate");
    }
    if (SSL_CTX_use_PrivateKey(handle, key.get()) != 1 || SSL_CTX_check_private_key(handle) != 1) {
        ERR_clear_error();
        throw file_refused(error_kind::unsuitable, files.key,
                           "its private key is not that of the certificate in " + files.certificate.string(),
                           "name the two files that were made together");
    }

    const std::vector<std::byte> authority = read_whole_file(files.authority, pem_bytes_max);
    context.add_certificate_authority({authority.data(), authority.size()}, failure);
    ERR_clear_error();
    if (failure)
        throw file_refused(error_kind::corrupt_file, files.authority, "there is no certificate of an authority in it",
                           "name a PEM file with the certificate of who signed the other side's");
}

// ---- what both ends and both ways have in common

void restrict(ssl::context& context) {
    SSL_CTX* handle = context.native_handle();
    SSL_CTX_set_options(handle, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(handle, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_security_level(handle, security_level);
    SSL_CTX_set_max_cert_list(handle, static_cast<long>(certificate_handshake_bytes_max));
    const bool set = SSL_CTX_set_min_proto_version(handle, TLS1_3_VERSION) == 1 &&
                     SSL_CTX_set_max_proto_version(handle, TLS1_3_VERSION) == 1 &&
                     SSL_CTX_set_ciphersuites(handle, cipher_suites) == 1 &&
                     SSL_CTX_set1_groups_list(handle, groups) == 1 && SSL_CTX_set_num_tickets(handle, 0) == 1 &&
                     SSL_CTX_set_max_early_data(handle, 0) == 1 && SSL_CTX_set_recv_max_early_data(handle, 0) == 1;
    if (!set) {
        ERR_clear_error();
        throw error(error_kind::usage, "this system's OpenSSL does not offer the TLS 1.3 that is needed",
                    {.hint = "check OpenSSL's configuration, openssl.cnf"});
    }
}

void verify_with_authority(ssl::context& context, int purpose) {
    SSL_CTX* handle = context.native_handle();
    SSL_CTX_set_verify(handle, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_verification);
    X509_VERIFY_PARAM* parameters = SSL_CTX_get0_param(handle);
    // Without it an authority that is not its own root would not be believed although it was named.
    if (X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
        X509_VERIFY_PARAM_set_purpose(parameters, purpose) != 1)
        throw std::bad_alloc();
}

error negotiated_wrong(const std::string& what) {
    return error(error_kind::peer, "TLS was not negotiated as it must be: " + what,
                 {.hint = "check that both sides are reprotect, and that nothing between them speaks TLS itself"});
}

void check_negotiated(SSL* connection, means by) {
    if (SSL_is_init_finished(connection) != 1) throw negotiated_wrong("the handshake is not done");
    if (SSL_version(connection) != TLS1_3_VERSION) throw negotiated_wrong("the version is not TLS 1.3");
    // The other side's part of the key exchange: without one there was no forward secrecy.
    EVP_PKEY* share = nullptr;
    const bool exchanged = SSL_get_peer_tmp_key(connection, &share) == 1;
    EVP_PKEY_free(share);
    if (!exchanged) throw negotiated_wrong("no keys were exchanged");
    const X509* certificate = SSL_get0_peer_certificate(connection);
    if (by == means::key) {
        if (SSL_session_reused(connection) != 1) throw negotiated_wrong("the key was not used");
        if (certificate != nullptr) throw negotiated_wrong("a certificate was shown where a key is used");
    } else {
        if (SSL_session_reused(connection) != 0) throw negotiated_wrong("an earlier session was resumed");
        if (certificate == nullptr) throw negotiated_wrong("the other side showed no certificate");
        if (SSL_get_verify_result(connection) != X509_V_OK)
            throw negotiated_wrong("the other side's certificate is not valid");
    }
}

// ---- a client's message, before it is judged

// Calls `take` with each identity that the client shows until that returns true; the number of those seen. The list is
// RFC 8446's, 4.2.11; where it is malformed it ends there, and OpenSSL refuses it by itself.
template <typename Take>
std::size_t each_identity(SSL* connection, Take take) {
    const unsigned char* bytes = nullptr;
    std::size_t count = 0;
    if (SSL_client_hello_get0_ext(connection, TLSEXT_TYPE_psk, &bytes, &count) != 1) return 0;
    constexpr std::size_t age_bytes = 4;
    std::span<const unsigned char> rest(bytes, count);
    const auto take_length = [&]() -> std::optional<std::size_t> {
        if (rest.size() < 2) return std::nullopt;
        const std::size_t length = static_cast<std::size_t>(rest[0]) << 8 | rest[1];
        rest = rest.subspan(2);
        if (length > rest.size()) return std::nullopt;
        return length;
    };
    const std::optional<std::size_t> list = take_length();
    if (!list) return 0;
    rest = rest.first(*list);
    std::size_t seen = 0;
    while (const std::optional<std::size_t> length = take_length()) {
        if (rest.size() - *length < age_bytes) break;
        ++seen;
        if (take(std::string_view(reinterpret_cast<const char*>(rest.data()), *length))) break;
        rest = rest.subspan(*length + age_bytes);
    }
    return seen;
}

bool offers_1_3(SSL* connection) {
    const unsigned char* bytes = nullptr;
    std::size_t count = 0;
    return SSL_client_hello_get0_ext(connection, TLSEXT_TYPE_supported_versions, &bytes, &count) == 1;
}

}  // namespace

// ---- the client

struct tls_client::state {
    ssl::context context{ssl::context::tlsv13_client};
    circumstances here;
    std::optional<named_key> key;
    std::string identity;
    std::string name;                                 // for the server's certificate: a DNS name,
    std::optional<boost::asio::ip::address> address;  // or an address

    static int context_index() {
        static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
        return index;
    }

    static int use_key(SSL* connection, const EVP_MD*, const unsigned char** id, std::size_t* id_bytes,
                       SSL_SESSION** session) {
        try {
            const auto* state = static_cast<const tls_client::state*>(
                SSL_CTX_get_ex_data(SSL_get_SSL_CTX(connection), context_index()));
            auto made = make_session(connection, state->key->key, state->identity);
            if (!made) return 0;
            *id = reinterpret_cast<const unsigned char*>(state->identity.data());
            *id_bytes = state->identity.size();
            *session = made.release();
            return 1;
        } catch (const std::exception&) {
            return 0;
        }
    }

    void use(const named_key& given, client_purpose purpose) {
        refuse_empty(given);
        key = given;
        here.by = means::key;
        here.key = key_id(given.key);
        identity = identity_of(purpose, here.key);
        if (SSL_CTX_set_ex_data(context.native_handle(), context_index(), this) != 1) throw std::bad_alloc();
        SSL_CTX_set_psk_use_session_callback(context.native_handle(), use_key);
        SSL_CTX_set_verify(context.native_handle(), SSL_VERIFY_PEER, nullptr);
        SSL_CTX_set_cert_verify_callback(context.native_handle(), refuse_any_certificate, nullptr);
    }

    void use(const certificate_files& files) {
        here.by = means::certificates;
        here.authority = files.authority;
        load_certificates(context, files);
        verify_with_authority(context, X509_PURPOSE_SSL_SERVER);
        std::string_view host = here.host;
        if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
        boost::system::error_code no_address;
        const auto parsed = boost::asio::ip::make_address(std::string(host), no_address);
        if (!no_address) {
            address = parsed;
            return;
        }
        if (host.ends_with('.')) host.remove_suffix(1);
        // OpenSSL takes no name for any name, and a leading dot for all names below.
        if (!usable_name(host) || host.front() == '.')
            throw error(error_kind::usage,
                        "a server's certificate can't be checked for the host '" + escaped(here.host) + "'",
                        {.hint = "name the server as its certificate does: by a DNS name or an address"});
        name = host;
    }
};

tls_client::tls_client(const client_credentials& credentials, client_purpose purpose, const std::string& host)
    : state_(std::make_unique<state>()) {
    state_->here.ours = peer_side::client;
    state_->here.host = host;
    restrict(state_->context);
    if (const auto* key = std::get_if<named_key>(&credentials))
        state_->use(*key, purpose);
    else
        state_->use(std::get<certificate_files>(credentials));
}

tls_client::~tls_client() = default;

ssl::context& tls_client::context() noexcept {
    return state_->context;
}

void tls_client::prepare(ssl_st* ssl) {
    if (state_->here.by == means::key) return;
    X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(parameters,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    bool set = false;
    if (state_->address && state_->address->is_v4()) {
        const auto bytes = state_->address->to_v4().to_bytes();
        set = X509_VERIFY_PARAM_set1_ip(parameters, bytes.data(), bytes.size()) == 1;
    } else if (state_->address) {
        const auto bytes = state_->address->to_v6().to_bytes();
        set = X509_VERIFY_PARAM_set1_ip(parameters, bytes.data(), bytes.size()) == 1;
    } else {
        set = X509_VERIFY_PARAM_set1_host(parameters, state_->name.data(), state_->name.size()) == 1 &&
              SSL_set_tlsext_host_name(ssl, state_->name.c_str()) == 1;
    }
    // A connection that would check nothing must not begin.
    if (!set) {
        ERR_clear_error();
        throw error(error_kind::peer, "TLS with " + escaped(state_->here.host) + " could not be prepared",
                    {.hint = "use a shorter name, or make memory free"});
    }
}

void tls_client::check(ssl_st* ssl) const {
    check_negotiated(ssl, state_->here.by);
    notes_of(ssl).authenticated = true;
}

error tls_client::explain(const boost::system::error_code& failure, ssl_st* ssl, const std::string& where) const {
    return explain_failure(state_->here, failure, ssl, where);
}

// ---- the server

struct tls_server::state {
    // Entries never move: sessions point to what a handshake with them proves.
    struct entry {
        shared_key key;
        std::array<authenticated_client, purposes.size()> clients;
    };

    ssl::context context{ssl::context::tlsv13_server};
    circumstances here;
    std::unordered_map<std::string, entry> keys;  // by id; not touched once made, so that any thread may look

    struct found {
        const entry* key = nullptr;
        const authenticated_client* client = nullptr;
    };

    std::optional<found> look_up(std::string_view identity) const {
        for (std::size_t i = 0; i < purposes.size(); ++i) {
            const std::string start = identity_of(purposes[i], "");
            if (!identity.starts_with(start)) continue;
            const auto at = keys.find(std::string(identity.substr(start.size())));
            if (at == keys.end()) return std::nullopt;
            return found{&at->second, &at->second.clients[i]};
        }
        return std::nullopt;
    }

    static int context_index() {
        static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
        return index;
    }

    // Unknown identities are passed over: the next one may be known.
    static int find_key(SSL* connection, const unsigned char* id, std::size_t id_bytes, SSL_SESSION** session) {
        *session = nullptr;
        try {
            const auto* state = static_cast<const tls_server::state*>(
                SSL_CTX_get_ex_data(SSL_get_SSL_CTX(connection), context_index()));
            const std::string identity(reinterpret_cast<const char*>(id), id_bytes);
            const std::optional<found> known = state->look_up(identity);
            if (!known) return 1;
            auto made = make_session(connection, known->key->key, identity);
            if (!made) return 0;
            // OpenSSL's pointer knows no const; what it points to is only read again.
            if (SSL_SESSION_set_ex_data(made.get(), entry_index(), const_cast<authenticated_client*>(known->client)) !=
                1)
                return 0;
            *session = made.release();
            return 1;
        } catch (const std::exception&) {
            return 0;
        }
    }

    static int judge_hello(SSL* connection, int* alert, void* argument) {
        *alert = SSL_AD_INTERNAL_ERROR;
        try {
            const auto* state = static_cast<const tls_server::state*>(argument);
            // An older client is told about its version, by OpenSSL.
            if (!offers_1_3(connection)) return SSL_CLIENT_HELLO_SUCCESS;
            handshake_notes& notes = notes_of(connection);
            const bool by_key = state->here.by == means::key;
            bool known = false;
            bool of_ours = false;
            // After a retry there is a second message, which is judged by itself.
            notes.hello = hello_verdict::none;
            notes.shown.clear();
            const std::size_t seen = each_identity(connection, [&](std::string_view identity) {
                if (notes.shown.empty()) notes.shown = escaped(identity);
                of_ours = of_ours || identity.starts_with(identity_start);
                known = by_key && state->look_up(identity).has_value();
                if (known) notes.shown = escaped(identity);
                return known;
            });
            if (by_key && !known) {
                notes.hello = seen == 0 ? hello_verdict::no_key : hello_verdict::unknown_key;
                *alert = SSL_AD_UNKNOWN_PSK_IDENTITY;
                return SSL_CLIENT_HELLO_ERROR;
            }
            if (!by_key && of_ours) notes.hello = hello_verdict::key_to_certificates;
            return SSL_CLIENT_HELLO_SUCCESS;
        } catch (const std::exception&) {
            return SSL_CLIENT_HELLO_ERROR;
        }
    }

    // Where a server name would be judged: the first place at which OpenSSL lets TLS 1.3's own alerts pass.
    static int refuse_key(SSL* connection, int* alert, void*) {
        try {
            if (notes_of(connection).hello != hello_verdict::key_to_certificates) return SSL_TLSEXT_ERR_NOACK;
            *alert = SSL_AD_CERTIFICATE_REQUIRED;
        } catch (const std::exception&) {
            *alert = SSL_AD_INTERNAL_ERROR;
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }

    void use(const std::vector<named_key>& given) {
        here.by = means::key;
        if (given.empty())
            throw error(error_kind::usage, "there is no key that a client could show",
                        {.hint = "give at least one key file, or certificates"});
        keys.reserve(given.size());
        for (const named_key& each : given) {
            refuse_empty(each);
            entry made;
            made.key = each.key;
            for (std::size_t i = 0; i < purposes.size(); ++i)
                made.clients[i] = {.name = each.name, .purpose = purposes[i], .purpose_bound = true};
            const auto [at, added] = keys.try_emplace(key_id(each.key), made);
            if (!added)
                throw error(error_kind::usage,
                            "the keys '" + escaped(at->second.clients[0].name) + "' and '" + escaped(each.name) +
                                "' are one key",
                            {.hint = "give every client a key of its own"});
        }
        if (SSL_CTX_set_ex_data(context.native_handle(), context_index(), this) != 1) throw std::bad_alloc();
        SSL_CTX_set_psk_find_session_callback(context.native_handle(), find_key);
        SSL_CTX_set_verify(context.native_handle(), SSL_VERIFY_NONE, nullptr);
    }

    void use(const certificate_files& files) {
        here.by = means::certificates;
        here.authority = files.authority;
        load_certificates(context, files);
        verify_with_authority(context, X509_PURPOSE_SSL_CLIENT);
        SSL_CTX_set_tlsext_servername_callback(context.native_handle(), refuse_key);
    }
};

tls_server::tls_server(const server_credentials& credentials) : state_(std::make_unique<state>()) {
    state_->here.ours = peer_side::server;
    restrict(state_->context);
    std::visit([&](const auto& given) { state_->use(given); }, credentials);
    SSL_CTX_set_client_hello_cb(state_->context.native_handle(), state::judge_hello, state_.get());
}

tls_server::~tls_server() = default;

ssl::context& tls_server::context() noexcept {
    return state_->context;
}

authenticated_client tls_server::check(ssl_st* ssl) const {
    check_negotiated(ssl, state_->here.by);
    authenticated_client client;
    if (state_->here.by == means::key) {
        const auto* used =
            static_cast<const authenticated_client*>(SSL_SESSION_get_ex_data(SSL_get_session(ssl), entry_index()));
        if (used == nullptr) throw negotiated_wrong("it is not known which key was used");
        client = *used;
    } else {
        std::optional<std::string> name = client_name(SSL_get0_peer_certificate(ssl));
        if (!name)
            throw error(error_kind::peer, "the client's certificate has no name that permissions could be given to",
                        {.hint = "give it a DNS name in subjectAltName, or a common name, of printable ASCII"});
        client.name = std::move(*name);
    }
    notes_of(ssl).authenticated = true;
    return client;
}

error tls_server::explain(const boost::system::error_code& failure, ssl_st* ssl, const std::string& where) const {
    return explain_failure(state_->here, failure, ssl, where);
}

std::size_t tls_server::handshake_bytes_max() const noexcept {
    return state_->here.by == means::key ? key_handshake_bytes_max : certificate_handshake_bytes_max;
}

std::array<std::byte, 32> export_secret(ssl_st* ssl, const std::string& label) {
    REPROTECT_ASSERT(SSL_is_init_finished(ssl) == 1);
    std::array<std::byte, 32> secret{};
    if (SSL_export_keying_material(ssl, reinterpret_cast<unsigned char*>(secret.data()), secret.size(), label.data(),
                                   label.size(), nullptr, 0, 0) != 1) {
        ERR_clear_error();
        throw error(error_kind::peer, "TLS gave no secret for '" + escaped(label) + "'", {.hint = "connect again"});
    }
    return secret;
}

}  // namespace reprotect
