// A BIO of our own stands between OpenSSL and the socket. It reads ahead, and what OpenSSL writes it collects: several records
// go out in one system call, which over loopback takes a third of the kernel's time. What passes is counted, and where a limit
// says "not yet" the wait is for the clock instead of the socket.
#include "wire/tls_stream.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>
#include <vector>

namespace reprotect {
namespace {

constexpr std::size_t read_ahead_bytes = 128 * 1024;  // measured: eight records a system call
constexpr std::size_t written_at_once = 128 * 1024;   // measured: eight records a system call, and still in the cache

}  // namespace

struct tls_stream::core : std::enable_shared_from_this<core> {
    using tcp = boost::asio::ip::tcp;

    core(tcp::socket connected, std::shared_ptr<wire_meter> counts, std::shared_ptr<void> kept)
        : socket(std::move(connected)),
          meter(std::move(counts)),
          keeps(std::move(kept)),
          timer(socket.get_executor()) {}
    core(const core&) = delete;
    core& operator=(const core&) = delete;
    ~core() { SSL_free(ssl); }

    // The operation until it is done, waiting where it has to. `attempt` returns what SSL_read and its like return; what it left
    // to be sent goes out before it is done, where that is `sending`.
    void drive(const boost::asio::any_io_executor& on, bool sending, std::function<int()> attempt, handler done);
    boost::system::error_code failure_of(int ssl_error);
    int read(char* into, std::size_t count);
    int write(const char* from, std::size_t count);
    bool flush();

    // The BIO's: what recv and send return, in its terms.
    int receive(char* into, std::size_t wanted, std::size_t* count);
    int collect(const char* from, std::size_t offered, std::size_t* count);

    tcp::socket socket;
    std::shared_ptr<wire_meter> meter;
    std::shared_ptr<void> keeps;
    ssl_st* ssl = nullptr;
    std::vector<char> out;  // records that are not sent yet
    std::size_t out_begin = 0;
    int taken = 0;                    // bytes of the write under way that are in records
    boost::asio::steady_timer timer;  // for leave to write
    std::size_t leave_bytes = 0;
    rate_limiter::clock::time_point leave_from{};
    bool waits_for_leave = false;
    bool saw_end = false;
    bool closed = false;
    boost::system::error_code why;  // of the last system call
};

namespace {

// What a BIO calls knows its stream by a pointer of two functions, so that `core` can stay private.
struct bio_calls {
    std::function<int(char*, std::size_t, std::size_t*)> receive;
    std::function<int(const char*, std::size_t, std::size_t*)> send;
};

bio_calls& calls_of(BIO* bio) {
    return *static_cast<bio_calls*>(BIO_get_data(bio));
}

int bio_read(BIO* bio, char* into, std::size_t wanted, std::size_t* count) {
    BIO_clear_retry_flags(bio);
    const int result = calls_of(bio).receive(into, wanted, count);
    if (result < 0) BIO_set_retry_read(bio);
    return result > 0;
}

int bio_write(BIO* bio, const char* from, std::size_t offered, std::size_t* count) {
    BIO_clear_retry_flags(bio);
    return calls_of(bio).send(from, offered, count);
}

long bio_control(BIO*, int command, long, void*) {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int bio_destroy(BIO* bio) {
    delete static_cast<bio_calls*>(BIO_get_data(bio));
    return 1;
}

BIO_METHOD* bio_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "metered socket");
        if (!made) throw std::bad_alloc();
        BIO_meth_set_read_ex(made, bio_read);
        BIO_meth_set_write_ex(made, bio_write);
        BIO_meth_set_ctrl(made, bio_control);
        BIO_meth_set_destroy(made, bio_destroy);
        return made;
    }();
    return method;
}

}  // namespace

tls_stream::tls_stream(boost::asio::ip::tcp::socket socket, std::shared_ptr<wire_meter> meter,
                       boost::asio::ssl::context& context, end which, std::shared_ptr<void> keeps)
    : core_(std::make_shared<core>(std::move(socket), std::move(meter), std::move(keeps))) {
    core& self = *core_;
    boost::system::error_code ignored;
    self.socket.native_non_blocking(true, ignored);
    self.ssl = SSL_new(context.native_handle());
    BIO* bio = self.ssl ? BIO_new(bio_method()) : nullptr;
    if (!bio) throw std::bad_alloc();
    BIO_set_data(bio, new bio_calls{[&self](char* into, std::size_t wanted, std::size_t* count) {
                                        return self.receive(into, wanted, count);
                                    },
                                    [&self](const char* from, std::size_t offered, std::size_t* count) {
                                        return self.collect(from, offered, count);
                                    }});
    BIO_set_init(bio, 1);
    SSL_set_bio(self.ssl, bio, bio);
    SSL_set_mode(self.ssl,
                 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_set_read_ahead(self.ssl, 1);
    SSL_set_default_read_buffer_len(self.ssl, read_ahead_bytes);
    if (which == end::client)
        SSL_set_connect_state(self.ssl);
    else
        SSL_set_accept_state(self.ssl);
}

tls_stream::~tls_stream() {
    close();
}

void tls_stream::close() noexcept {
    core_->closed = true;
    boost::system::error_code ignored;
    core_->socket.close(ignored);
    try {
        core_->timer.cancel();
    } catch (...) {
        // It ends by itself.
    }
}

ssl_st* tls_stream::handle() noexcept {
    return core_->ssl;
}

boost::asio::ip::tcp::socket& tls_stream::socket() noexcept {
    return core_->socket;
}

void tls_stream::async_handshake(const boost::asio::any_io_executor& on, handler done) {
    core_->drive(
        on, true, [self = core_.get()] { return SSL_do_handshake(self->ssl); }, std::move(done));
}

void tls_stream::async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                                 handler done) {
    core_->drive(
        on, false, [self = core_.get(), into] { return self->read(static_cast<char*>(into.data()), into.size()); },
        std::move(done));
}

void tls_stream::async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                                  handler done) {
    core_->drive(
        on, true,
        [self = core_.get(), from] { return self->write(static_cast<const char*>(from.data()), from.size()); },
        std::move(done));
}

// All records that are here already.
int tls_stream::core::read(char* into, std::size_t count) {
    std::size_t total = 0;
    while (total < count) {
        const int got = SSL_read(ssl, into + total, static_cast<int>(std::min(count - total, written_at_once)));
        if (got <= 0) return total == 0 ? got : static_cast<int>(total);
        total += static_cast<std::size_t>(got);
    }
    return static_cast<int>(total);
}

// Into records; when these are sent it is done. Called again until then.
int tls_stream::core::write(const char* from, std::size_t count) {
    for (const int wanted = static_cast<int>(std::min(count, written_at_once)); taken < wanted;) {
        const int put = SSL_write(ssl, from + taken, wanted - taken);
        if (put <= 0) return put;
        taken += put;
    }
    return taken;
}

void tls_stream::core::drive(const boost::asio::any_io_executor& on, bool sending, std::function<int()> attempt,
                             handler done) {
    const auto complete = [&](boost::system::error_code problem, std::size_t count) {
        boost::asio::post(on, [done = std::move(done), problem, count] { done(problem, count); });
    };
    if (closed) return complete(boost::asio::error::operation_aborted, 0);
    ERR_clear_error();
    waits_for_leave = false;
    why = {};
    const int result = attempt();
    const int ssl_error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
    const boost::system::error_code failure = ssl_error == SSL_ERROR_NONE || ssl_error == SSL_ERROR_WANT_READ
                                                  ? boost::system::error_code()
                                                  : failure_of(ssl_error);
    const bool sent = flush();
    if (failure) return complete(failure, 0);
    if (sending && !sent && why) return complete(why, 0);
    if (result > 0 && (sent || !sending)) {
        if (sending) taken = 0;
        return complete({}, static_cast<std::size_t>(result));
    }
    auto again = boost::asio::bind_executor(on, [self = shared_from_this(), on, sending, attempt = std::move(attempt),
                                                 done = std::move(done)](boost::system::error_code problem) mutable {
        if (self->closed) problem = boost::asio::error::operation_aborted;
        if (problem) return done(problem, 0);
        self->drive(on, sending, std::move(attempt), std::move(done));
    });
    if (!sending || sent) {
        socket.async_wait(tcp::socket::wait_read, std::move(again));
    } else if (waits_for_leave) {
        timer.expires_at(leave_from);
        timer.async_wait(std::move(again));
    } else {
        socket.async_wait(tcp::socket::wait_write, std::move(again));
    }
}

boost::system::error_code tls_stream::core::failure_of(int ssl_error) {
    if (closed) return boost::asio::error::operation_aborted;
    if (ssl_error == SSL_ERROR_ZERO_RETURN) return boost::asio::error::eof;
    const unsigned long code = ERR_get_error();
    if (why) return why;
    if (saw_end && (code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING))
        return boost::asio::ssl::error::stream_truncated;
    if (code != 0) return {static_cast<int>(code), boost::asio::error::get_ssl_category()};
    return boost::asio::ssl::error::stream_truncated;
}

// More than 0: it went; 0: it never will; less: not now.
int tls_stream::core::receive(char* into, std::size_t wanted, std::size_t* count) {
    *count = 0;
    const std::uint64_t left = meter->received_bytes_max - std::min(meter->received_bytes, meter->received_bytes_max);
    if (left == 0) {
        why = boost::asio::error::message_size;
        return 0;
    }
    for (;;) {
        const ssize_t got = ::recv(socket.native_handle(), into,
                                   static_cast<std::size_t>(std::min<std::uint64_t>(wanted, left)), MSG_DONTWAIT);
        if (got > 0) {
            meter->received_bytes += static_cast<std::uint64_t>(got);
            *count = static_cast<std::size_t>(got);
            return 1;
        }
        if (got == 0) {
            saw_end = true;
            return 0;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return -1;
        why = {errno, boost::asio::error::get_system_category()};
        return 0;
    }
}

int tls_stream::core::collect(const char* from, std::size_t offered, std::size_t* count) {
    out.insert(out.end(), from, from + offered);
    *count = offered;
    return 1;
}

// True when all is sent; else `why` says what failed, or nothing: not now.
bool tls_stream::core::flush() {
    while (out_begin < out.size()) {
        std::size_t offered = out.size() - out_begin;
        if (meter->limit) {
            // Leave that a short write did not use is kept: who has taken it does not ask again for the same bytes.
            const auto now = rate_limiter::clock::now();
            if (leave_bytes == 0) {
                const std::size_t piece = std::min(offered, std::max<std::size_t>(meter->limit->piece_bytes(), 1));
                leave_from = meter->limit->reserve(piece, now);
                leave_bytes = piece;
            }
            waits_for_leave = leave_from > now;
            if (waits_for_leave) return false;
            offered = std::min(offered, leave_bytes);
        }
        const ssize_t sent =
            ::send(socket.native_handle(), out.data() + out_begin, offered, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) why = {errno, boost::asio::error::get_system_category()};
            return false;
        }
        meter->sent_bytes += static_cast<std::uint64_t>(sent);
        if (meter->limit) leave_bytes -= static_cast<std::size_t>(sent);
        out_begin += static_cast<std::size_t>(sent);
    }
    out.clear();
    out_begin = 0;
    return true;
}

}  // namespace reprotect
