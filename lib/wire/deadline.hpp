// A limit on the time that something may take: when it is over, what is waited for is closed, and the wait ends with an error.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <memory>

namespace reprotect {

/// Closes what it watches (a socket, a stream) when time is up, unless it is destroyed before. Lives and rings on `on`, which
/// serialises its handlers; what it watches lives longer.
template <typename Closable>
class deadline {
public:
    deadline(const boost::asio::any_io_executor& on, Closable& what, std::chrono::milliseconds patience)
        : state_(std::make_shared<state>(on, what)) {
        extend(patience);
    }
    deadline(const deadline&) = delete;
    deadline& operator=(const deadline&) = delete;
    ~deadline() {
        state_->armed = false;
        state_->timer.cancel();
    }

    /// So long from now.
    void extend(std::chrono::milliseconds patience) {
        state_->timer.expires_after(patience);
        state_->timer.async_wait(boost::asio::bind_executor(
            state_->timer.get_executor(), [shared = state_](boost::system::error_code failure) {
                // One that was due already when it was extended is not cancelled any more.
                const bool early = shared->armed && shared->timer.expiry() > std::chrono::steady_clock::now();
                if (failure || !shared->armed || early) return;
                shared->passed = true;
                shared->close();
            }));
    }
    bool passed() const noexcept { return state_->passed; }

private:
    struct state {
        state(const boost::asio::any_io_executor& on, Closable& closes) : timer(on), what(closes) {}
        void close() {
            boost::system::error_code ignored;
            if constexpr (requires { what.close(ignored); })
                what.close(ignored);
            else if constexpr (requires { what.close(); })
                what.close();
            else
                what.cancel();
        }
        boost::asio::steady_timer timer;
        Closable& what;  // looked at while armed only
        bool armed = true;
        bool passed = false;
    };
    std::shared_ptr<state> state_;  // shared with a handler that may be queued already
};

}  // namespace reprotect
