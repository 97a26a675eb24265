// One shape for all ways in and out: a socket, metered, with TLS on it or without.
#include "wire/connection.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <utility>

#include "wire/awaited.hpp"
#include "wire/deadline.hpp"
#include "wire/joined_pipes.hpp"
#include "wire/metered_stream.hpp"
#include "wire/tls_stream.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using boost::asio::use_awaitable;
using boost::asio::ip::tcp;
using metered_socket = metered_stream<tcp::socket>;

constexpr auto parting_patience = std::chrono::seconds(2);  // guessed: a refusal should arrive, and cost little
constexpr std::size_t drained_bytes_max = 64 * 1024;
constexpr const char* exporter_label = "EXPORTER-reprotect";

auto handshake(tls_stream& stream, const boost::asio::any_io_executor& on) {
    return awaited([&stream, on](byte_stream::handler done) { stream.async_handshake(on, std::move(done)); });
}

error failed_to_connect(const std::string& where, const std::string& why, const std::string& hint) {
    return error(error_kind::peer, "connecting to " + where + " failed: " + why,
                 {.operation = "connect", .hint = hint});
}

awaitable<tcp::resolver::results_type> resolve(std::string host, std::string port, std::chrono::milliseconds patience) {
    const auto on = co_await boost::asio::this_coro::executor;
    tcp::resolver resolver(on);
    const std::string where = host + ":" + port;
    const deadline<tcp::resolver> limit(on, resolver, patience);
    tcp::resolver::results_type found;
    boost::system::error_code failure;
    auto token = boost::asio::redirect_error(use_awaitable, failure);
    found = co_await resolver.async_resolve(host, port, token);
    if (failure)
        throw failed_to_connect(
            where, "the name " + host + " does not resolve: " + (limit.passed() ? "no answer" : failure.message()),
            "check the name, and this machine's name service");
    co_return found;
}

awaitable<tcp::socket> connect_one_of(tcp::resolver::results_type addresses, std::string where, bool loopback_only,
                                      std::chrono::milliseconds patience) {
    const auto on = co_await boost::asio::this_coro::executor;
    std::string why = "it has no address";
    for (const auto& each : addresses) {
        const tcp::endpoint address = each.endpoint();
        if (loopback_only && !address.address().is_loopback())
            throw error(error_kind::usage,
                        where + " is another machine (" + to_text(address) + "): nothing goes there in plain text",
                        {.operation = "connect", .hint = "give --key, or --cert, --cert-key and --ca"});
        tcp::socket socket(on);
        const deadline<tcp::socket> limit(on, socket, patience);
        boost::system::error_code failure;
        auto token = boost::asio::redirect_error(use_awaitable, failure);
        co_await socket.async_connect(address, token);
        if (!failure) {
            boost::system::error_code ignored;
            socket.set_option(tcp::no_delay(true), ignored);
            co_return socket;
        }
        why = to_text(address) + ": " + (limit.passed() ? "no answer" : failure.message());
    }
    throw failed_to_connect(where, why, "check that a server listens there, and that no firewall is between");
}

template <typename Tls>
std::function<error(const boost::system::error_code&)> words_of(std::shared_ptr<Tls> tls, ssl_st* ssl,
                                                                std::string where) {
    return [tls = std::move(tls), ssl, where = std::move(where)](const boost::system::error_code& failure) {
        return tls->explain(failure, ssl, where);
    };
}

// Says that no more will come, and reads until the other side has ended, too, or a moment has passed.
awaitable<void> drain(tls_stream* stream) {
    const auto on = co_await boost::asio::this_coro::executor;
    tcp::socket& socket = stream->socket();
    boost::system::error_code failure;
    socket.shutdown(tcp::socket::shutdown_send, failure);
    const deadline<tcp::socket> limit(on, socket, parting_patience);
    std::array<std::byte, 4096> rest{};
    auto token = boost::asio::redirect_error(use_awaitable, failure);
    for (std::size_t left = drained_bytes_max; !failure && left != 0;) {
        std::size_t count = 0;
        count = co_await socket.async_read_some(boost::asio::buffer(rest), token);
        left -= std::min(left, count);
    }
}

}  // namespace

std::string to_text(const tcp::endpoint& where) {
    const std::string address = where.address().to_string();
    return (where.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(where.port());
}

awaitable<connection> dial(dial_terms terms) {
    const auto on = co_await boost::asio::this_coro::executor;
    const bool bracketed = terms.host.find(':') != std::string::npos;
    connection link;
    link.far_name = (bracketed ? "[" + terms.host + "]" : terms.host) + ":" + std::to_string(terms.port);
    link.meter = std::make_shared<wire_meter>();
    link.meter->limit = terms.limit;
    std::shared_ptr<tls_client> tls;
    if (terms.credentials) tls = std::make_shared<tls_client>(*terms.credentials, terms.purpose, terms.host);
    const auto addresses = co_await resolve(terms.host, std::to_string(terms.port), terms.patience);
    auto socket = co_await connect_one_of(addresses, link.far_name, tls == nullptr, terms.patience);
    if (!tls) {
        link.stream = make_stream(metered_socket(std::move(socket), link.meter));
        co_return link;
    }
    auto secure =
        std::make_unique<tls_stream>(std::move(socket), link.meter, tls->context(), tls_stream::end::client, tls);
    tls->prepare(secure->handle());
    boost::system::error_code failure;
    bool late = false;
    {
        const deadline<tls_stream> limit(on, *secure, terms.patience);
        const auto begun = std::chrono::steady_clock::now();
        if (terms.close) *terms.close = [&secure] { secure->close(); };
        try {
            co_await handshake(*secure, on);
        } catch (const boost::system::system_error& why) {
            failure = why.code();
        }
        if (terms.close) *terms.close = [] {};
        link.round_trip = std::chrono::steady_clock::now() - begun;
        late = limit.passed();
    }
    if (late)
        throw failed_to_connect(link.far_name, "it did not answer the TLS handshake",
                                "check that a reprotect server listens there");
    if (failure) throw tls->explain(failure, secure->handle(), link.far_name);
    tls->check(secure->handle());
    link.secret = export_secret(secure->handle(), exporter_label);
    link.explain = words_of(tls, secure->handle(), link.far_name);
    link.stream = std::move(secure);
    co_return link;
}

awaitable<accepted_connection> secure_accepted(tcp::socket socket, secure_terms terms) {
    const std::shared_ptr<tls_server> tls = terms.tls;
    const auto on = co_await boost::asio::this_coro::executor;
    accepted_connection result;
    boost::system::error_code ignored;
    result.link.far_name = to_text(socket.remote_endpoint(ignored));
    socket.set_option(tcp::no_delay(true), ignored);
    result.link.meter = std::make_shared<wire_meter>();
    result.link.meter->limit = terms.limit;
    if (!tls) {
        result.link.stream = make_stream(metered_socket(std::move(socket), result.link.meter));
        co_return result;
    }
    result.link.meter->received_bytes_max = tls->handshake_bytes_max();
    auto secure = std::make_unique<tls_stream>(std::move(socket), result.link.meter, tls->context(),
                                               tls_stream::end::server, tls);
    boost::system::error_code failure;
    bool late = false;
    {
        const deadline<tls_stream> until(on, *secure, terms.patience);
        *terms.close = [&secure] { secure->close(); };
        try {
            co_await handshake(*secure, on);
        } catch (const boost::system::system_error& why) {
            failure = why.code();
        }
        late = until.passed();
    }
    if (late) {
        *terms.close = [] {};
        throw error(error_kind::peer, result.link.far_name + " did not finish the TLS handshake in time",
                    {.operation = "accept"});
    }
    if (failure) {
        const error why = tls->explain(failure, secure->handle(), result.link.far_name);
        // A socket that is closed with something unread in it may lose the alert that says why.
        co_await drain(secure.get());
        *terms.close = [] {};
        throw why;
    }
    *terms.close = [] {};
    result.who = tls->check(secure->handle());
    result.link.meter->received_bytes_max = std::numeric_limits<std::uint64_t>::max();
    result.link.secret = export_secret(secure->handle(), exporter_label);
    result.link.explain = words_of(tls, secure->handle(), result.link.far_name);
    result.link.stream = std::move(secure);
    co_return result;
}

connection join_descriptors(const boost::asio::any_io_executor& on, int in, int out,
                            std::shared_ptr<rate_limiter> limit, std::string far_name) {
    connection link;
    link.far_name = std::move(far_name);
    link.meter = std::make_shared<wire_meter>();
    link.meter->limit = std::move(limit);
    try {
        joined_pipes pipes(joined_pipes::descriptor(on, in), joined_pipes::descriptor(on, out));
        link.stream = make_stream(metered_stream<joined_pipes>(std::move(pipes), link.meter));
    } catch (const boost::system::system_error& why) {
        throw error(error_kind::usage, std::string("standard input and output cannot carry a session: ") + why.what(),
                    {.operation = "open", .hint = "they must be pipes or sockets, as ssh makes them"});
    }
    return link;
}

}  // namespace reprotect
