// A connection's way: accepted -> a slot among the unknown -> TLS -> the opening, where it says what it wants -> decided -> the
// disk is opened -> a session, a digest map or samples. Each is a coroutine on a strand of its own; what blocks goes to the
// workers.
//
// The unknown cost little: 4 KiB, ten seconds and one of 1,024 slots each, a few for one address; when the slots are used up
// the oldest goes, so that who is quick to say who it is gets in past any number of those who never do.
#include "reprotect/serve.hpp"

#include <openssl/crypto.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <exception>
#include <list>

#include "base/caught_error.hpp"
#include "codec/random.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "sync/discretion.hpp"
#include "sync/exports.hpp"
#include "sync/map_exchange.hpp"
#include "sync/on_worker.hpp"
#include "sync/sample_exchange.hpp"
#include "sync/session.hpp"
#include "sync/worker_pool.hpp"
#include "wire/connection.hpp"
#include "wire/opening.hpp"
#include "wire/striped_stream.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;
using boost::asio::use_awaitable;
using boost::asio::ip::tcp;
using severity = server_event::severity;
using event_fields = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t slots_max = 1024;            // specified (FAULTS: ceilings)
constexpr std::size_t slots_max_per_address = 64;  // a few for each address; behind one NAT may be many agents

// Those who do not say who they are leave half of this process's descriptors to the others.
std::size_t slots_of_process() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return slots_max;
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(limit.rlim_cur / 2, 1, slots_max));
}

// One connection, from its acceptance on.
struct visitor {
    explicit visitor(const boost::asio::any_io_executor& on) : strand(on) {}

    channel::strand strand;
    std::string peer;                   // "10.0.0.1:4711"
    std::string address;                // without the port
    std::optional<tcp::socket> socket;  // until it is handed to TLS
    std::function<void()> close = [] {};
    authenticated_client who;
    connection link;
    wire_request wish;
    std::optional<export_lease> lease;
    std::unique_ptr<device> disk;
    bool in_session = false;
    unsigned lanes_agreed = 1;  // connections of its session,
    unsigned lanes_joined = 1;  // and so many came
    lane_token token{};         // by which they are known
    striped_stream::gate more_lanes;
    bool told = false;   // why it was refused
    bool wrote = false;  // or may have
    std::stop_source stop;
    event_fields fields() const {
        event_fields list{{"peer", peer}};
        if (!who.name.empty()) list.emplace_back("key", who.name);
        return list;
    }
};

// Who counts as one: an IPv6 host has a network of 2^64 addresses to itself.
std::string address_of(const tcp::endpoint& where) {
    if (!where.address().is_v6()) return where.address().to_string();
    auto bytes = where.address().to_v6().to_bytes();
    if (!where.address().to_v6().is_v4_mapped())
        std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
    return boost::asio::ip::address_v6(bytes).to_string();
}

event_fields with(event_fields list, std::string key, std::string value) {
    list.emplace_back(std::move(key), std::move(value));
    return list;
}

const char* role_of(const wire_request& wish) {
    if (wish.role == asked_role::reader) return "reader";
    if (wish.role == asked_role::sampler) return "sampler";
    return wish.role == asked_role::source ? "source" : "target";
}

// A target that a push would create.
class missing_disk final : public device_decorator {
public:
    explicit missing_disk(const std::string& name) : device_decorator(nothing_), nothing_(0, name) {
        properties_ = nothing_.properties();
        properties_.created = true;
        properties_.kind = device_kind::file;
    }
    const device_properties& properties() const override { return properties_; }

private:
    memory_device nothing_;
    device_properties properties_;
};

// As for a local sync, a dry run takes a missing target as one that holds nothing.
std::unique_ptr<device> open_for(const std::string& name, const open_options& how, bool dry_push) {
    try {
        return open_device(name, how);
    } catch (const error& why) {
        if (!dry_push || why.kind() != error_kind::not_found) throw;
        return std::make_unique<missing_disk>(name);
    }
}

class running_server {
public:
    running_server(const server_options& options, server_listener& listener)
        : options_(options),
          listener_(listener),
          exports_(options),
          pool_(threads_of(options.options)),
          tick_(network_) {
        if (options.credentials) tls_ = std::make_shared<tls_server>(*options.credentials);
    }

    void listen();
    void take_stdio(int in, int out);
    std::optional<error> run(std::stop_token stop);

private:
    static unsigned threads_of(const sync_options& options) {
        const unsigned wanted = 4 * options.depth + 8;  // a few sessions at full depth; more share them
        return options.threads == 0 ? wanted : std::min(wanted, options.threads);
    }

    void log(severity level, std::string name, event_fields fields) {
        listener_.on_event({level, std::move(name), std::move(fields)});
    }
    void open_acceptor(const tcp::endpoint& where);
    awaitable<void> accept_on(tcp::acceptor* from);
    void welcome(tcp::socket socket);
    void admit(const std::shared_ptr<visitor>& guest);
    void evict(std::shared_ptr<visitor> guest);
    void dismiss(const std::shared_ptr<visitor>& guest);
    awaitable<void> receive(std::shared_ptr<visitor> guest);
    awaitable<void> secure(std::shared_ptr<visitor> guest);
    awaitable<void> converse(std::shared_ptr<visitor> guest);
    awaitable<void> take_slot(std::shared_ptr<visitor> guest, std::chrono::steady_clock::time_point until);
    awaitable<void> take_lane(std::shared_ptr<visitor> guest, opening* first, lane_token token);
    awaitable<void> let_look(std::shared_ptr<visitor> guest, std::array<std::byte, 32> binding);
    awaitable<std::uint64_t> give_map(std::shared_ptr<visitor> guest);
    awaitable<std::uint64_t> give_samples(std::shared_ptr<visitor> guest, std::array<std::byte, 32> binding);
    void begin_session(const std::shared_ptr<visitor>& guest, std::array<std::byte, 32> binding);
    void session_ended(const std::shared_ptr<visitor>& guest, const sync_report& report);
    std::string as_logged(const visitor& guest, const std::string& text) const;
    void log_end(const visitor& guest, const sync_report& report);
    std::size_t sessions() const;
    void gone(const std::shared_ptr<visitor>& guest);
    void leave(const std::shared_ptr<visitor>& guest, std::optional<error> failure, bool was_session);
    void stop();
    void end_when_idle();
    void tend();

    const server_options& options_;
    server_listener& listener_;
    export_table exports_;
    boost::asio::io_context network_{1};
    worker_pool pool_;  // ends before the context that its tasks post to
    std::shared_ptr<tls_server> tls_;
    std::list<tcp::acceptor> acceptors_;
    std::list<std::shared_ptr<visitor>> unknown_;  // oldest first
    std::list<std::shared_ptr<visitor>> guests_;   // all of them
    boost::asio::steady_timer tick_;
    const std::size_t slots_ = slots_of_process();
    bool stopping_ = false;
    std::optional<error> result_;
};

// ---- listening ----

tcp::endpoint endpoint_of(const std::string& text, bool loopback_only) {
    const std::size_t colon = text.rfind(':');
    const auto refuse = [&](const std::string& what) {
        throw error(error_kind::usage, "cannot listen on " + text + ": " + what,
                    {.operation = "listen", .hint = "write ADDR:PORT, as 127.0.0.1:7722, [::1]:7722 or :7722"});
    };
    if (colon == std::string::npos) refuse("the port is missing");
    std::string host = text.substr(0, colon);
    if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    const std::string port_text = text.substr(colon + 1);
    unsigned port = 65536;
    if (!port_text.empty() && port_text.size() <= 5 && port_text.find_first_not_of("0123456789") == std::string::npos)
        port = static_cast<unsigned>(std::stoul(port_text));
    if (port > 65535) refuse("'" + port_text + "' is no port");
    boost::system::error_code failure;
    const auto address = host.empty()
                             ? boost::asio::ip::address(boost::asio::ip::address_v6::any())
                             : boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, failure);
    if (failure) refuse("'" + host + "' is no address");
    if (loopback_only && !address.is_loopback())
        refuse("plain text is for an address of this machine alone, as 127.0.0.1");
    return {address, static_cast<std::uint16_t>(port)};
}

void running_server::open_acceptor(const tcp::endpoint& where) {
    boost::system::error_code failure;
    tcp::acceptor acceptor(network_);
    acceptor.open(where.protocol(), failure);
    if (failure == boost::asio::error::address_family_not_supported && where.address().is_unspecified())
        return open_acceptor({boost::asio::ip::address_v4::any(), where.port()});
    if (!failure) acceptor.set_option(tcp::acceptor::reuse_address(true), failure);
    if (!failure && where.address().is_v6() && where.address().is_unspecified())
        acceptor.set_option(boost::asio::ip::v6_only(false), failure);
    if (!failure) acceptor.bind(where, failure);
    if (!failure) acceptor.listen(tcp::acceptor::max_listen_connections, failure);
    if (failure)
        throw error(error_kind::peer, "listening on " + to_text(where) + " failed: " + failure.message(),
                    {.operation = "listen",
                     .hint = failure == boost::asio::error::address_in_use
                                 ? "another program has that port: choose another one, or 0 for any"
                                 : "choose an address of this machine, and a port that you may use"});
    acceptors_.push_back(std::move(acceptor));
}

void running_server::listen() {
    for (const std::string& text : options_.listen) open_acceptor(endpoint_of(text, !tls_));
    for (const int socket : options_.sockets) {
        sockaddr_storage address{};
        socklen_t length = sizeof address;
        if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
            (address.ss_family != AF_INET && address.ss_family != AF_INET6))
            throw error(error_kind::usage, "a socket that was handed in does not listen for TCP",
                        {.operation = "listen", .hint = "give the unit a ListenStream= with an address and a port"});
        tcp::acceptor acceptor(network_);
        acceptor.assign(address.ss_family == AF_INET ? tcp::v4() : tcp::v6(), socket);
        if (!tls_ && !acceptor.local_endpoint().address().is_loopback())
            throw error(error_kind::usage, "plain text is for an address of this machine alone",
                        {.operation = "listen", .hint = "give --key, or --cert, --cert-key and --ca"});
        acceptors_.push_back(std::move(acceptor));
    }
    std::vector<std::string> where;
    for (const tcp::acceptor& each : acceptors_) where.push_back(to_text(each.local_endpoint()));
    listener_.on_listening(where);
    for (tcp::acceptor& each : acceptors_) boost::asio::co_spawn(network_, accept_on(&each), boost::asio::detached);
}

awaitable<void> running_server::accept_on(tcp::acceptor* from) {
    while (!stopping_) {
        boost::system::error_code failure;
        auto token = boost::asio::redirect_error(use_awaitable, failure);
        auto socket = co_await from->async_accept(token);
        if (stopping_) co_return;
        if (failure) {
            log(severity::warning, "accept-failed", {{"message", failure.message()}});
            // Those who do not say who they are give their descriptors up first.
            const bool short_of_them = failure == boost::asio::error::no_descriptors ||
                                       failure == boost::system::errc::too_many_files_open_in_system;
            if (short_of_them && !unknown_.empty()) {
                evict(unknown_.front());
                continue;
            }
            boost::asio::steady_timer pause(network_);
            pause.expires_after(std::chrono::milliseconds(100));
            co_await pause.async_wait(use_awaitable);
            continue;
        }
        try {
            welcome(std::move(socket));
        } catch (...) {
            log(severity::error, "accept-failed", {{"message", caught_error("").what()}});
        }
    }
}

void running_server::welcome(tcp::socket socket) {
    boost::system::error_code gone;
    const tcp::endpoint address = socket.remote_endpoint(gone);
    if (gone) return;
    auto guest = std::make_shared<visitor>(network_.get_executor());
    guest->peer = to_text(address);
    guest->address = address_of(address);
    guest->socket.emplace(std::move(socket));
    admit(guest);
    boost::asio::co_spawn(guest->strand, receive(guest), boost::asio::detached);
}

// ---- the unknown ----

void running_server::admit(const std::shared_ptr<visitor>& guest) {
    std::size_t same = 0;
    std::shared_ptr<visitor> oldest_same;
    for (const auto& each : unknown_) {
        if (each->address != guest->address) continue;
        if (!oldest_same) oldest_same = each;
        ++same;
    }
    std::shared_ptr<visitor> out;
    if (same >= slots_max_per_address)
        out = oldest_same;
    else if (unknown_.size() >= slots_)
        out = unknown_.front();
    if (out) evict(out);
    unknown_.push_back(guest);
    guests_.push_back(guest);
}

void running_server::evict(std::shared_ptr<visitor> guest) {
    log(severity::warning, "evicted", with(guest->fields(), "message", "too many that do not say who they are"));
    dismiss(guest);
    guest->close();
    boost::system::error_code ignored;
    if (guest->socket) guest->socket->close(ignored);
}

void running_server::dismiss(const std::shared_ptr<visitor>& guest) {
    unknown_.remove(guest);
}

awaitable<void> running_server::receive(std::shared_ptr<visitor> guest) {
    std::optional<error> failure;
    try {
        co_await secure(guest);
        dismiss(guest);
        co_await converse(guest);
    } catch (...) {
        failure = caught_error("");
    }
    if (failure) leave(guest, std::move(failure), false);
}

awaitable<void> running_server::secure(std::shared_ptr<visitor> guest) {
    tcp::socket socket = std::move(*guest->socket);
    guest->socket.reset();
    const secure_terms terms{tls_, options_.limit, options_.opening_patience, &guest->close};
    auto accepted = co_await secure_accepted(std::move(socket), terms);
    guest->who = std::move(accepted.who);
    guest->link = std::move(accepted.link);
}

// ---- the known ----

awaitable<void> running_server::converse(std::shared_ptr<visitor> guest) {
    opening::terms terms;
    terms.side = wire_side::server;
    terms.secret = guest->link.secret;
    terms.far_name = guest->peer;
    terms.patience = options_.opening_patience;
    terms.explain = guest->link.explain;
    opening first(*guest->link.stream, std::move(terms));
    auto asked = co_await first.receive_request();
    if (const auto* join = std::get_if<wire_join>(&asked)) {
        co_await take_lane(guest, &first, join->token);
        co_return;
    }
    guest->wish = std::move(std::get<wire_request>(asked));
    std::optional<error> refused;
    try {
        const auto until = std::chrono::steady_clock::now() + let_go_within;
        co_await take_slot(guest, until);
        auto taking = lease_in_time(&exports_, guest->wish, guest->who, until);
        auto lease = co_await std::move(taking);
        guest->lease.emplace(std::move(lease));
        const std::string name = guest->lease->disk();
        const open_options how{writes(guest->wish) ? access::read_write : access::read_only, options_.direct,
                               writes(guest->wish)};
        const bool dry_push = guest->wish.role == asked_role::source && guest->wish.mode == session_mode::dry_run;
        auto open = on_worker(pool_.get_executor(), [name, how, dry_push] { return open_for(name, how, dry_push); });
        guest->disk = co_await std::move(open);
        if (guest->wish.role == asked_role::reader) {
            check_map_size(*guest->disk, guest->wish, options_.options.memory_bytes);
        } else if (!only_looks(guest->wish)) {
            const std::uint64_t source_bytes = guest->wish.role == asked_role::target ? guest->disk->size() : 0;
            check_options(options_for(options_.options, guest->wish), source_bytes);
        }
    } catch (...) {
        refused = caught_error("");
    }
    if (refused) {
        const error told = guest->lease ? discreet(*refused, {guest->lease->disk(), guest->lease->alias()}) : *refused;
        guest->told = true;
        guest->in_session = false;
        co_await first.refuse(told);
        throw *refused;
    }
    wire_answer agreed;
    if (!only_looks(guest->wish) && !acceptors_.empty())
        agreed.lanes = guest->lanes_agreed = std::min(guest->wish.lanes, options_.connections_max);
    agreed.token = guest->token = random_nonce();
    co_await first.accept(agreed);
    log(severity::info, "session-begin",
        with(with(with(guest->fields(), "export", guest->wish.export_name), "client", role_of(guest->wish)), "version",
             guest->wish.tool_version));
    const std::array<std::byte, 32> binding = first.binding();
    if (only_looks(guest->wish)) {
        co_await let_look(guest, binding);
        co_return;
    }
    begin_session(guest, binding);
}

// One of the sessions that there may be.
awaitable<void> running_server::take_slot(std::shared_ptr<visitor> guest, std::chrono::steady_clock::time_point until) {
    const std::size_t most = options_.once ? 1 : options_.sessions_max;
    boost::asio::steady_timer pause(guest->strand);
    while (!stopping_ && sessions() >= most && std::chrono::steady_clock::now() <= until) {
        pause.expires_after(std::chrono::milliseconds(10));
        co_await pause.async_wait(use_awaitable);
    }
    if (stopping_ || sessions() >= most)
        throw error(error_kind::in_use,
                    stopping_ ? "the server is stopping" : "the server has all the sessions that it may have",
                    {.operation = "open", .holder = "other sessions", .hint = "try again later"});
    guest->in_session = true;
}

// Another connection of a session of the same client.
awaitable<void> running_server::take_lane(std::shared_ptr<visitor> guest, opening* first, lane_token token) {
    const auto found = std::find_if(guests_.begin(), guests_.end(), [&](const auto& each) {
        return each->in_session && each->more_lanes.lanes() != 0 && each->lanes_joined < each->lanes_agreed &&
               each->who.name == guest->who.name && each->who.purpose == guest->who.purpose &&
               CRYPTO_memcmp(each->token.data(), token.data(), token.size()) == 0;
    });
    if (found == guests_.end() || stopping_) {
        const error why(error_kind::not_found, "there is no session that this connection could join",
                        {.operation = "join", .hint = "begin a session first"});
        guest->told = true;
        co_await first->refuse(why);
        throw why;
    }
    const std::shared_ptr<visitor> owner = *found;
    ++owner->lanes_joined;
    const wire_answer accepted;
    std::exception_ptr failure;
    try {
        co_await first->accept(accepted);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        --owner->lanes_joined;
        std::rethrow_exception(failure);
    }
    guest->link.meter->join(owner->link.meter);
    auto stream = std::make_shared<std::unique_ptr<byte_stream>>(std::move(guest->link.stream));
    boost::asio::post(owner->strand, [owner, stream] { owner->more_lanes.add(std::move(*stream)); });
    gone(guest);
}

awaitable<void> running_server::let_look(std::shared_ptr<visitor> guest, std::array<std::byte, 32> binding) {
    std::optional<error> failure;
    std::uint64_t read_bytes = 0;
    try {
        if (guest->wish.role == asked_role::reader)
            read_bytes = co_await give_map(guest);
        else
            read_bytes = co_await give_samples(guest, binding);
    } catch (...) {
        failure = caught_error("");
    }
    if (!failure)
        log(severity::info, "session-end",
            with(with(guest->fields(), "export", guest->wish.export_name), "read", std::to_string(read_bytes)));
    leave(guest, std::move(failure), true);
}

awaitable<std::uint64_t> running_server::give_map(std::shared_ptr<visitor> guest) {
    checksum_options options;
    options.block_bytes = guest->wish.block_bytes;
    options.chunk_bytes = guest->wish.chunk_bytes;
    options.algorithm = digest_algorithm::sha256;
    options.with_blocks = guest->wish.with_blocks;
    options.ignore_allocation = guest->wish.ignore_allocation;
    options.depth = options_.options.depth;
    const map_terms terms{
        options, options_.patience, guest->stop.get_token(), {guest->lease->disk(), guest->lease->alias()}};
    const auto read = co_await send_map(guest->link, *guest->disk, terms);
    co_return read;
}

awaitable<std::uint64_t> running_server::give_samples(std::shared_ptr<visitor> guest,
                                                      std::array<std::byte, 32> binding) {
    sampling_options options;
    options.block_bytes = guest->wish.block_bytes;
    options.depth = options_.options.depth;
    options.threads = options_.options.threads;
    options.kept_bytes = std::min(options.kept_bytes, options_.options.memory_bytes / 2);
    const sample_terms terms{
        options, options_.patience, guest->stop.get_token(), {guest->lease->disk(), guest->lease->alias()}, binding};
    const auto read = co_await serve_samples(guest->link, *guest->disk, terms);
    co_return read;
}

void running_server::begin_session(const std::shared_ptr<visitor>& guest, std::array<std::byte, 32> binding) {
    sync_request request;
    request.options = options_for(options_.options, guest->wish);
    request.records = options_.records;
    request.cancel = guest->stop.get_token();
    guest->wrote = true;
    far_end far;
    far.here = guest->wish.role == asked_role::source ? side::target : side::source;
    (far.here == side::source ? request.source : request.target) = guest->disk.get();
    if (guest->wish.mode == session_mode::compare) {
        request = as_comparison(std::move(request));
        request.options.keep_differential = guest->wish.keep_differential;
    }
    std::unique_ptr<byte_stream> stream = std::move(guest->link.stream);
    if (guest->lanes_agreed > 1) {
        auto striped = std::make_unique<striped_stream>(guest->strand, std::move(stream));
        guest->more_lanes = striped->lane_gate();
        stream = std::move(striped);
    }
    far.link = std::make_shared<channel>(guest->strand, pool_.get_executor(), std::move(stream), guest->link.meter,
                                         channel_options{options_.patience, guest->peer});
    far.binding = binding;
    far.alias = guest->lease->alias();
    std::make_shared<session>(pool_.get_executor(), std::move(request), guest->wish.mode, std::move(far),
                              [this, guest](sync_report report) { session_ended(guest, report); })
        ->start();
}

void running_server::session_ended(const std::shared_ptr<visitor>& guest, const sync_report& report) {
    for (const std::string& text : report.warnings)
        log(severity::warning, "warning", with(guest->fields(), "message", as_logged(*guest, text)));
    guest->wrote = !report.failure || report.bytes.written != 0 || report.failure->kind() == error_kind::flush_failed;
    if (!report.failure) log_end(*guest, report);
    leave(guest, report.failure, true);
}

// Over ssh the log is what the peer's user reads.
std::string running_server::as_logged(const visitor& guest, const std::string& text) const {
    if (!acceptors_.empty() || !guest.lease) return text;
    return discreet(text, {guest.lease->disk(), guest.lease->alias()});
}

void running_server::log_end(const visitor& guest, const sync_report& report) {
    event_fields list = with(guest.fields(), "export", guest.wish.export_name);
    const std::pair<const char*, std::uint64_t> counts[] = {
        {"changed", report.bytes.changed},       {"zeroed", report.bytes.zeroed},
        {"written", report.bytes.written},       {"to_target", report.to_target.total()},
        {"to_source", report.to_source.total()},
    };
    for (const auto& [key, value] : counts) list.emplace_back(key, std::to_string(value));
    list.emplace_back("verified", to_string(report.verified));
    log(severity::info, "session-end", std::move(list));
}

void running_server::leave(const std::shared_ptr<visitor>& guest, std::optional<error> failure, bool was_session) {
    dismiss(guest);
    if (failure) {
        event_fields list = guest->fields();
        if (!guest->wish.export_name.empty()) list.emplace_back("export", guest->wish.export_name);
        list.emplace_back("kind", to_string(failure->kind()));
        list.emplace_back("message", as_logged(*guest, failure->what()));
        const bool told = acceptors_.empty() && guest->told;
        const severity level = told ? severity::info : was_session ? severity::error : severity::warning;
        log(level, was_session ? "session-failed" : "refused", std::move(list));
    }
    if (guest->link.stream) guest->link.stream->close();
    // A stranger that was refused is not the one session, nor is a look before it.
    const bool the_one = was_session && guest->wish.role != asked_role::sampler;
    if (options_.once && (the_one || acceptors_.empty())) {
        if (!stopping_) result_ = std::move(failure);
        stop();
    }
    if (!guest->disk) return gone(guest);
    // To close a disk may take time: a server is waited for, a cache is written.
    boost::asio::post(pool_.get_executor(), [this, guest] {
        if (!guest->wrote) remove_if_untouched(*guest->disk);
        guest->disk.reset();
        boost::asio::post(network_, [this, guest] { gone(guest); });
    });
}

void running_server::gone(const std::shared_ptr<visitor>& guest) {
    guest->lease.reset();
    guests_.remove(guest);
    end_when_idle();
}

std::size_t running_server::sessions() const {
    return static_cast<std::size_t>(
        std::count_if(guests_.begin(), guests_.end(), [](const auto& guest) { return guest->in_session; }));
}

// ---- life and end ----

void running_server::take_stdio(int in, int out) {
    auto guest = std::make_shared<visitor>(network_.get_executor());
    guest->peer = "standard input and output";
    guest->link = join_descriptors(guest->strand, in, out, options_.limit, guest->peer);
    guests_.push_back(guest);
    boost::asio::co_spawn(guest->strand, converse(guest), [this, guest](std::exception_ptr failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (...) {
            leave(guest, caught_error(""), false);
        }
    });
}

void running_server::stop() {
    if (std::exchange(stopping_, true)) return;
    log(severity::info, "stopping", {{"sessions", std::to_string(sessions())}});
    boost::system::error_code ignored;
    for (tcp::acceptor& each : acceptors_) each.close(ignored);
    for (const auto& guest : guests_) {
        guest->stop.request_stop();
        guest->close();
        // A session says its own last words. Whoever reads a map may take any time for it.
        if ((!guest->in_session || only_looks(guest->wish)) && guest->link.stream) guest->link.stream->close();
    }
    end_when_idle();
}

void running_server::end_when_idle() {
    if (stopping_ && guests_.empty()) tick_.cancel();
}

void running_server::tend() {
    pool_.tend();
    tick_.expires_after(std::chrono::milliseconds(guests_.empty() ? 250 : 5));
    tick_.async_wait([this](boost::system::error_code) {
        if (!stopping_ || !guests_.empty()) tend();
    });
}

std::optional<error> running_server::run(std::stop_token stop_asked) {
    const std::stop_callback on_stop(stop_asked, [this] { boost::asio::post(network_, [this] { stop(); }); });
    tend();
    network_.run();
    return std::move(result_);
}

void check(const server_options& options) {
    check_options(options.options, 0);
    if (!options.credentials && !options.insecure_plaintext)
        throw error(error_kind::usage, "a server needs to know its peers",
                    {.operation = "listen", .hint = "give --key, or --cert, --cert-key and --ca"});
    if (options.listen.empty() && options.sockets.empty())
        throw error(error_kind::usage, "there is nowhere to listen",
                    {.operation = "listen", .hint = "give --listen ADDR:PORT"});
    if (options.connections_max < 1 || options.connections_max > lanes_max)
        throw error(error_kind::usage, "a session may have 1 to " + std::to_string(lanes_max) + " connections");
    if (options.exports.empty())
        throw error(error_kind::usage, "there is nothing to offer",
                    {.operation = "listen", .hint = "give --export NAME=DISK, with ,target if peers may write to it"});
}

}  // namespace

std::optional<error> serve(const server_options& options, server_listener& listener, std::stop_token stop) {
    check(options);
    running_server server(options, listener);
    server.listen();
    return server.run(std::move(stop));
}

std::optional<error> serve_stdio(const server_options& given, server_listener& listener, int in, int out,
                                 std::stop_token stop) {
    server_options options = given;
    options.once = true;
    options.credentials.reset();
    check_options(options.options, 0);
    running_server server(options, listener);
    server.take_stdio(in, out);
    return server.run(std::move(stop));
}

}  // namespace reprotect
