// What the two agents have in common: a command line, mutual TLS, a line of a protocol of their own, and the session.
//
// The main thread runs the network, a pool of threads does what blocks. All that a session uses is handed to it in
// `run_session`: stream, disk, executors, records, listener and limit. So one process may run any number of sessions.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <reprotect/open_device.hpp>
#include <reprotect/remote.hpp>
#include <reprotect/units.hpp>

#include <algorithm>
#include <bit>
#include <csignal>
#include <iostream>
#include <map>

namespace agents {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using reprotect::error;
using reprotect::error_kind;
using tls_stream = asio::ssl::stream<tcp::socket>;

/// One line to standard error. Words of the other side may be in it, so nothing that steers a terminal comes through.
inline void say(const std::string& who, std::string what) {
    std::replace_if(
        what.begin(), what.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    std::cerr << who + ": " + what + "\n";
}

inline std::string in_one_line(const error& why) {
    return why.detail().hint.empty() ? why.what() : std::string(why.what()) + " (" + why.detail().hint + ")";
}

/// What ended an agent or a coroutine of its own.
inline error failure_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const error& why) {
        return why;
    } catch (const boost::system::system_error& why) {
        return error(error_kind::peer, "network: " + why.code().message());
    } catch (const std::exception& why) {
        return error(error_kind::peer, why.what());
    }
}

struct arguments {
    std::string host, port, certificates, state;
    std::shared_ptr<reprotect::rate_limiter> limit;
    std::map<std::string, std::string> disks{};  // by the name that both sides say

    static arguments parse(int count, char** words) {
        const error usage(error_kind::usage, "usage: ADDRESS PORT CERTIFICATES STATE RATE NAME=DISK...",
                          {.hint = "see the top of the agent's source"});
        if (count < 7) throw usage;
        const auto rate = static_cast<std::uint64_t>(reprotect::parse_rate(words[5]));
        arguments line{words[1], words[2], words[3], words[4], reprotect::make_rate_limiter(rate)};
        for (const std::string& word : std::vector<std::string>(words + 6, words + count)) {
            const auto equals = word.find('=');
            const std::string name = word.substr(0, equals);
            const auto bad = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_");
            if (equals == 0 || equals > 64 || bad != std::string::npos) throw usage;
            if (!line.disks.emplace(name, word.substr(equals + 1)).second) throw usage;
        }
        return line;
    }
};

/// Each side shows a certificate that the authority signed, and believes no other.
inline asio::ssl::context mutual_tls(const std::string& folder) try {
    asio::ssl::context tls(asio::ssl::context::tls);
    SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_3_VERSION);
    tls.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
    tls.load_verify_file(folder + "/authority.pem");
    tls.use_certificate_chain_file(folder + "/certificate.pem");
    tls.use_private_key_file(folder + "/key.pem", asio::ssl::context::pem);
    return tls;
} catch (const boost::system::system_error& why) {
    throw error(error_kind::usage, "the certificates in " + folder + ": " + why.what());
}

/// Closes a connection that takes too long before its session begins, or is there at a stop; a session sees to both.
class deadline {
public:
    deadline(tls_stream& stream, std::stop_token stop)
        : timer_(stream.get_executor(), std::chrono::seconds(10)), at_stop_(stop, [&stream] { close(stream); }) {
        timer_.async_wait([&stream, armed = armed_](boost::system::error_code failure) {
            if (!failure && *armed) close(stream);
        });
    }
    ~deadline() { *armed_ = false; }

private:
    static void close(tls_stream& stream) {
        boost::system::error_code ignored;
        stream.lowest_layer().close(ignored);
    }
    asio::steady_timer timer_;
    std::stop_callback<std::function<void()>> at_stop_;
    std::shared_ptr<bool> armed_ = std::make_shared<bool>(true);  // shared with a handler that may be queued already
};

/// Byte by byte, since what follows the line belongs to the session.
inline awaitable<std::string> read_line(tls_stream* from) {
    std::string line;
    while (line.size() <= 64) {
        char next = 0;
        const asio::mutable_buffer one(&next, 1);
        co_await asio::async_read(*from, one, use_awaitable);
        if (next == '\n') co_return line;
        line += next;
    }
    throw error(error_kind::peer, "the other side sent no line but more than 64 bytes");
}

inline awaitable<void> write_line(tls_stream* to, std::string line) {
    line += '\n';
    const asio::const_buffer bytes(line.data(), line.size());
    co_await asio::async_write(*to, bytes, use_awaitable);
}

struct progress_printer final : reprotect::sync_listener {
    explicit progress_printer(std::string name) : disk(std::move(name)) {}
    void on_progress(const reprotect::sync_progress& now) override {
        say(disk, to_string(now.phase) + (" " + reprotect::format_size(now.done_bytes)));
    }
    void on_warning(const std::string& text) override { say(disk, "warning: " + text); }
    std::string disk;
};

/// What an agent owns, and its sessions borrow.
struct agent {
    reprotect::peer_role role;
    arguments line;
    std::map<std::string, std::unique_ptr<reprotect::device>> disks{};
    std::unique_ptr<reprotect::state_store> records = reprotect::open_state_directory(line.state);
    std::stop_source stop{};
    asio::ssl::context tls = mutual_tls(line.certificates);
    asio::io_context network{1};
    asio::signal_set signals{network, SIGINT, SIGTERM};
    asio::thread_pool workers{16};  // after the network, so that they are joined before it goes
    std::size_t unfinished = line.disks.size();
    int code = 0;

    agent(reprotect::peer_role as, arguments words) : role(as), line(std::move(words)) {
        const bool writes = role == reprotect::peer_role::target;
        const auto mode = writes ? reprotect::access::read_write : reprotect::access::read_only;
        for (const auto& [name, path] : line.disks) disks[name] = reprotect::open_device(path, {.mode = mode});
        signals.async_wait([this](boost::system::error_code failure, int) {
            if (failure) return;
            signals.clear();  // a second signal ends the process at once; a target's record says that it is dirty
            code = exit_code(error_kind::interrupted);
            stop.request_stop();
        });
    }

    /// Once for each disk: prints a line of JSON, and ends the wait for signals after the last.
    void finish(const std::string& name, const std::string& report, const std::optional<error>& failure) {
        std::cout << "{\"name\":\"" + name + "\",\"report\":" + report + "}" << std::endl;
        if (failure) say(name, in_one_line(*failure));
        if (failure) code = std::max(code, exit_code(failure->kind()));
        if (--unfinished == 0) signals.cancel();
    }

    /// For `co_spawn`: a disk whose coroutine threw is finished, too.
    auto finisher(const std::string& name) {
        return [this, name](std::exception_ptr thrown) {
            if (!thrown) return;
            const error why = failure_of(thrown);
            finish(name, to_json(why), why);
        };
    }

    /// Not `async_resolve`, which would make a thread.
    auto resolve() { return tcp::resolver(network).resolve(line.host, line.port); }
};

/// What both ends of this very connection know, and nobody else.
inline std::array<std::byte, 32> exported_secret(tls_stream& stream) {
    const std::string label = "EXPORTER-reprotect";
    std::array<unsigned char, 32> secret{};
    if (SSL_export_keying_material(stream.native_handle(), secret.data(), 32, label.data(), label.size(), nullptr, 0,
                                   0) != 1)
        throw error(error_kind::peer, "TLS gave no secret");
    return std::bit_cast<std::array<std::byte, 32>>(secret);
}

/// The session. `name` is a disk of this agent's; the other side runs the same with its own.
inline awaitable<void> run_session(agent* self, std::string name, tls_stream stream) {
    progress_printer progress(name);
    reprotect::peer_request request;
    request.role = self->role;
    request.far_name = stream.lowest_layer().remote_endpoint().address().to_string();
    request.secret = exported_secret(stream);
    request.stream = reprotect::make_stream(std::move(stream));
    request.disk = self->disks.at(name).get();
    request.disk_name = name;
    request.records = self->records.get();
    request.listener = &progress;
    request.cancel = self->stop.get_token();
    request.limit = self->line.limit;
    const auto report = co_await reprotect::async_sync_with_peer(
        self->network.get_executor(), self->workers.get_executor(), std::move(request), use_awaitable);
    self->finish(name, to_json(report), report.failure);
}

/// `body` spawns what the agent does. Runs it to its end; an error before it begins is one line, too.
template <typename Body>
int run_agent(reprotect::peer_role role, int count, char** words, Body body) try {
    agent self(role, arguments::parse(count, words));
    [[maybe_unused]] const auto kept = body(self);
    self.network.run();
    return self.code;
} catch (...) {
    const error why = failure_of(std::current_exception());
    say(words[0], in_one_line(why));
    return exit_code(why.kind());
}

}  // namespace agents
