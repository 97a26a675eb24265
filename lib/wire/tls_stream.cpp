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

constexpr std::size_t read_ahead_bytes = 128 * 1024;  // measured: 3% faster than 32 KiB, as 256 KiB
constexpr std::size_t written_at_once = 128 * 1024;  // measured: 6% faster than 64 KiB, 13% than 32 KiB; 256 KiB as 128

}  // namespace

struct tls_stream::core : std::enable_shared_from_this<core> {
    using tcp = boost::asio::ip::tcp;

    // What is to be done, until it is; shared by the handlers that wait for the socket.
    struct operation {
        enum class kind { shake_hands, read, write } what;
        boost::asio::any_io_executor on;
        handler done;
        char* into = nullptr;
        const char* from = nullptr;
        std::size_t bytes = 0;
    };

    core(tcp::socket connected, std::shared_ptr<wire_meter> counts, std::shared_ptr<void> kept)
        : socket(std::move(connected)),
          meter(std::move(counts)),
          keeps(std::move(kept)),
          timer(socket.get_executor()) {}
    core(const core&) = delete;
    core& operator=(const core&) = delete;
    ~core() { SSL_free(ssl); }

    void drive(const std::shared_ptr<operation>& what);
    void wait(const std::shared_ptr<operation>& what, bool for_leave, bool to_write);
    int attempt(const operation& what);
    int read(char* into, std::size_t count);
    int write(const char* from, std::size_t count);
    boost::system::error_code failure_of(int ssl_error);
    bool flush();

    // OpenSSL's way to the socket. Nothing may be thrown through it.
    static BIO_METHOD* bio_method();
    static core& behind(BIO* bio) { return *static_cast<core*>(BIO_get_data(bio)); }
    static int bio_read(BIO* bio, char* into, std::size_t wanted, std::size_t* count) noexcept;
    static int bio_write(BIO* bio, const char* from, std::size_t offered, std::size_t* count) noexcept;
    static long bio_control(BIO* bio, int command, long number, void* pointer) noexcept;

    tcp::socket socket;
    std::shared_ptr<wire_meter> meter;
    std::shared_ptr<void> keeps;
    ssl_st* ssl = nullptr;
    std::vector<char> out;  // records that are not sent yet
    std::size_t out_begin = 0;
    int taken = 0;                    // bytes of the write under way that are in records
    boost::asio::steady_timer timer;  // for leave to write
    write_leave leave;
    bool waits_for_leave = false;
    bool closed = false;
    boost::system::error_code why;  // of the last system call
};

BIO_METHOD* tls_stream::core::bio_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "metered socket");
        if (!made) throw std::bad_alloc();
        BIO_meth_set_read_ex(made, bio_read);
        BIO_meth_set_write_ex(made, bio_write);
        BIO_meth_set_ctrl(made, bio_control);
        return made;
    }();
    return method;
}

tls_stream::tls_stream(boost::asio::ip::tcp::socket socket, std::shared_ptr<wire_meter> meter,
                       boost::asio::ssl::context& context, end which, std::shared_ptr<void> keeps)
    : core_(std::make_shared<core>(std::move(socket), std::move(meter), std::move(keeps))) {
    core& self = *core_;
    boost::system::error_code ignored;
    self.socket.native_non_blocking(true, ignored);
    self.ssl = SSL_new(context.native_handle());
    BIO* bio = self.ssl ? BIO_new(core::bio_method()) : nullptr;
    if (!bio) throw std::bad_alloc();
    BIO_set_data(bio, &self);
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
    core_->drive(std::make_shared<core::operation>(
        core::operation{core::operation::kind::shake_hands, on, std::move(done), nullptr, nullptr, 0}));
}

void tls_stream::async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                                 handler done) {
    core_->drive(std::make_shared<core::operation>(core::operation{
        core::operation::kind::read, on, std::move(done), static_cast<char*>(into.data()), nullptr, into.size()}));
}

void tls_stream::async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                                  handler done) {
    if (from.size() == 0) return boost::asio::post(on, [done = std::move(done)] { done({}, 0); });
    core_->drive(
        std::make_shared<core::operation>(core::operation{core::operation::kind::write, on, std::move(done), nullptr,
                                                          static_cast<const char*>(from.data()), from.size()}));
}

// What SSL_read and its like return.
int tls_stream::core::attempt(const operation& what) {
    switch (what.what) {
        case operation::kind::read:
            return read(what.into, what.bytes);
        case operation::kind::write:
            return write(what.from, what.bytes);
        case operation::kind::shake_hands:
            break;
    }
    return SSL_do_handshake(ssl);
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

// The operation until it is done, waiting where it has to. What a write or a handshake left to be sent goes out before it is done.
void tls_stream::core::drive(const std::shared_ptr<operation>& what) {
    const auto complete = [&](boost::system::error_code problem, std::size_t count) {
        boost::asio::post(what->on, [what, problem, count] { what->done(problem, count); });
    };
    if (closed) return complete(boost::asio::error::operation_aborted, 0);
    ERR_clear_error();
    waits_for_leave = false;
    why = {};
    const bool sending = what->what != operation::kind::read;
    const int result = attempt(*what);
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
    wait(what, waits_for_leave, sending && !sent);
}

void tls_stream::core::wait(const std::shared_ptr<operation>& what, bool for_leave, bool to_write) {
    auto again =
        boost::asio::bind_executor(what->on, [self = shared_from_this(), what](boost::system::error_code problem) {
            if (problem) return what->done(problem, 0);
            try {
                self->drive(what);
            } catch (const std::bad_alloc&) {
                what->done(boost::asio::error::no_memory, 0);
            }
        });
    if (!to_write) {
        socket.async_wait(tcp::socket::wait_read, std::move(again));
    } else if (for_leave) {
        timer.expires_at(leave.due());
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
    if (code != 0 && ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return {static_cast<int>(code), boost::asio::error::get_ssl_category()};
    return boost::asio::ssl::error::stream_truncated;
}

int tls_stream::core::bio_read(BIO* bio, char* into, std::size_t wanted, std::size_t* count) noexcept {
    core& self = behind(bio);
    wire_meter& meter = *self.meter;
    BIO_clear_retry_flags(bio);
    *count = 0;
    const std::uint64_t left = meter.received_bytes_max - std::min(meter.received_bytes, meter.received_bytes_max);
    if (left == 0) {
        self.why = boost::asio::error::message_size;
        return 0;
    }
    const auto offered = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, left));
    ssize_t got = 0;
    do got = ::recv(self.socket.native_handle(), into, offered, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        meter.add(&wire_meter::received_bytes, static_cast<std::uint64_t>(got));
        *count = static_cast<std::size_t>(got);
        return 1;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    else if (got < 0)
        self.why = {errno, boost::asio::error::get_system_category()};
    return 0;
}

int tls_stream::core::bio_write(BIO* bio, const char* from, std::size_t offered, std::size_t* count) noexcept {
    core& self = behind(bio);
    BIO_clear_retry_flags(bio);
    *count = 0;
    try {
        self.out.insert(self.out.end(), from, from + offered);
    } catch (const std::bad_alloc&) {
        self.why = boost::asio::error::no_memory;
        return 0;
    }
    *count = offered;
    return 1;
}

long tls_stream::core::bio_control(BIO*, int command, long, void*) noexcept {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// True when all is sent; else `why` says what failed, or nothing: not now.
bool tls_stream::core::flush() {
    while (out_begin < out.size()) {
        std::size_t offered = out.size() - out_begin;
        if (meter->limit) {
            offered = leave.take(*meter->limit, offered, rate_limiter::clock::now());
            waits_for_leave = offered == 0;
            if (waits_for_leave) return false;
        }
        const ssize_t sent =
            ::send(socket.native_handle(), out.data() + out_begin, offered, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) why = {errno, boost::asio::error::get_system_category()};
            return false;
        }
        meter->add(&wire_meter::sent_bytes, static_cast<std::uint64_t>(sent));
        if (meter->limit) leave.used(static_cast<std::size_t>(sent));
        out_begin += static_cast<std::size_t>(sent);
    }
    out.clear();
    out_begin = 0;
    return true;
}

}  // namespace reprotect
