// What waits for such a connection is asked again whenever something happened to it.
#include "support/frail_link.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <utility>

namespace reprotect::test {
namespace {

struct waiting {
    boost::asio::any_io_executor on;
    byte_stream::handler done;
};

// One direction.
struct way {
    frailty how;
    std::deque<std::byte> buffered;
    std::uint64_t carried = 0;
    std::function<bool()> read, write;  // what waits: tries again, and says whether it is over
};

}  // namespace

struct frail_link::link {  // shared by both ends
    way ways[2];
    bool cut = false;
    bool closed[2] = {false, false};

    void cut_where_due() {
        for (const way& each : ways) cut = cut || each.carried >= each.how.cut_after;
    }
    bool gone() const noexcept {
        return std::any_of(std::begin(ways), std::end(ways),
                           [](const way& each) { return each.carried >= each.how.swallow_after; });
    }
    // Whatever waits may go on now; each step may let another one.
    void stir() {
        for (bool again = true; again;) {
            again = false;
            for (way& each : ways) {
                for (std::function<bool()> way::*which : {&way::read, &way::write}) {
                    if (!(each.*which) || !(each.*which)()) continue;
                    each.*which = nullptr;
                    again = true;
                }
            }
        }
    }
    static void answer(const waiting& who, boost::system::error_code failure, std::size_t count) {
        boost::asio::post(who.on, [done = who.done, failure, count] { done(failure, count); });
    }
};

class frail_link::end final : public byte_stream {
public:
    end(std::shared_ptr<link> whole, std::size_t number) : link_(std::move(whole)), number_(number) {}
    ~end() override { close(); }

    void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                         handler done) override {
        way& from = link_->ways[1 - number_];
        from.read = [&whole = *link_, &from, into, me = number_, who = waiting{on, std::move(done)}] {
            boost::system::error_code failure;
            const std::size_t count = std::min({into.size(), from.buffered.size(), from.how.piece_bytes_max});
            if (whole.closed[me])
                failure = boost::asio::error::operation_aborted;
            else if (count == 0 && (whole.cut || (whole.closed[1 - me] && !whole.gone())))
                failure = boost::asio::error::eof;
            else if (count == 0)
                return false;
            if (!failure) {
                std::copy_n(from.buffered.begin(), count, static_cast<std::byte*>(into.data()));
                from.buffered.erase(from.buffered.begin(), from.buffered.begin() + static_cast<std::ptrdiff_t>(count));
            }
            link::answer(who, failure, failure ? 0 : count);
            return true;
        };
        link_->stir();
    }

    void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                          handler done) override {
        way& to = link_->ways[number_];
        to.write = [&whole = *link_, &to, from, me = number_, who = waiting{on, std::move(done)}] {
            if (whole.closed[me]) return link::answer(who, boost::asio::error::operation_aborted, 0), true;
            if (whole.cut || (whole.closed[1 - me] && !whole.gone()))
                return link::answer(who, boost::asio::error::broken_pipe, 0), true;
            const std::uint64_t left = std::min(to.how.cut_after, to.how.stall_after) - to.carried;
            const std::size_t room =
                to.how.buffered_bytes_max - std::min(to.how.buffered_bytes_max, to.buffered.size());
            const std::size_t count =
                static_cast<std::size_t>(std::min<std::uint64_t>({from.size(), to.how.piece_bytes_max, room, left}));
            if (from.size() == 0) return link::answer(who, {}, 0), true;
            if (count == 0) return false;
            const auto* bytes = static_cast<const std::byte*>(from.data());
            const std::uint64_t arrives =
                whole.gone() ? 0 : std::min<std::uint64_t>(count, to.how.swallow_after - to.carried);
            to.buffered.insert(to.buffered.end(), bytes, bytes + arrives);
            to.carried += count;
            whole.cut_where_due();
            link::answer(who, {}, count);
            return true;
        };
        link_->stir();
    }

    void close() noexcept override {
        if (std::exchange(link_->closed[number_], true)) return;
        try {
            link_->stir();
        } catch (...) {
            // Out of memory: the test's time runs out, and says so.
        }
    }

private:
    std::shared_ptr<link> link_;
    std::size_t number_;
};

frail_link::frail_link(frailty to_second, frailty to_first) : link_(std::make_shared<link>()) {
    link_->ways[0].how = to_second;
    link_->ways[1].how = to_first;
    link_->cut_where_due();
}

std::unique_ptr<byte_stream> frail_link::first() {
    return std::make_unique<end>(link_, 0);
}

std::unique_ptr<byte_stream> frail_link::second() {
    return std::make_unique<end>(link_, 1);
}

}  // namespace reprotect::test
