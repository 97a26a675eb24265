// One stream over several lanes, all in one thread: order, lanes that come and
// go, and heads that lie.
#include "wire/striped_stream.hpp"

#include "base/little_endian.hpp"
#include "support/bytes.hpp"
#include "support/frail_link.hpp"

#include <catch2/catch.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <vector>

using namespace reprotect;
using namespace reprotect::test;

namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::seconds;

constexpr std::size_t segment = striped_stream::segment_bytes_max;

// Two striped streams over as many links as a test wants.
class lanes {
    asio::io_context context_{1};  // outlives the streams

public:
    explicit lanes(frailty first = {}) {
        links_.push_back(std::make_unique<frail_link>(first, first));
        near = std::make_unique<striped_stream>(on(), links_[0]->first());
        far = std::make_unique<striped_stream>(on(), links_[0]->second());
    }
    void add(frailty how = {}) {
        links_.push_back(std::make_unique<frail_link>(how, how));
        CHECK(near->lane_gate().add(links_.back()->first()));
        CHECK(far->lane_gate().add(links_.back()->second()));
    }
    asio::any_io_executor on() { return context_.get_executor(); }
    void run(seconds limit = seconds(60)) {
        context_.restart();
        context_.run_for(limit);
    }
    void run_ready() {
        context_.restart();
        context_.poll();
    }

    // All of it, in pieces of at most so many bytes.
    void write(striped_stream& to, std::span<const std::byte> data, std::size_t most, error_code& end) {
        end = {};
        if (data.empty()) return;
        const std::size_t next = std::min(most, data.size());
        to.async_write_some(on(), {data.data(), next},
                            [this, &to, data, most, &end](error_code why, std::size_t count) {
                                end = why;
                                if (!why) write(to, data.subspan(count), most, end);
                            });
    }
    void read(striped_stream& from, std::span<std::byte> into, std::size_t most, error_code& end) {
        end = {};
        if (into.empty()) return;
        const std::size_t next = std::min(most, into.size());
        from.async_read_some(on(), {into.data(), next},
                             [this, &from, into, most, &end](error_code why, std::size_t count) {
                                 end = why;
                                 if (!why) read(from, into.subspan(count), most, end);
                             });
    }

    std::unique_ptr<striped_stream> near, far;

private:
    std::vector<std::unique_ptr<frail_link>> links_;
};

constexpr auto joining_max = std::chrono::milliseconds(20);

// A stream whose lanes' far ends are in the test's hands.
struct heads {
    heads() {
        link();
        stream = std::make_unique<striped_stream>(context.get_executor(), links[0]->first(), joining_max);
    }
    void link() {
        links.push_back(std::make_unique<frail_link>(frailty{}, frailty{}));
        ends.push_back(links.back()->second());
    }
    void add() {
        link();
        CHECK(stream->lane_gate().add(links.back()->first()));
    }
    void say(std::size_t lane, std::uint64_t position, std::uint32_t length, std::size_t bytes) {
        auto all = std::make_shared<std::vector<std::byte>>(striped_stream::head_bytes + bytes, std::byte{7});
        little_endian::store<8>(std::span(*all), 0, position);
        little_endian::store<4>(std::span(*all), 8, length);
        ends[lane]->async_write_some(context.get_executor(), {all->data(), all->size()},
                                     [all](error_code, std::size_t) {});
        run();
    }
    void ask() {
        answered = false;
        stream->async_read_some(context.get_executor(), {into.data(), into.size()},
                                [this](error_code why, std::size_t count) {
                                    answered = true;
                                    failure = why;
                                    got = count;
                                });
        run();
    }
    void run() {
        context.restart();
        context.poll();
    }
    // Until no lane can join any more.
    void wait() {
        context.restart();
        context.run_for(100 * joining_max);
    }

    asio::io_context context{1};
    std::vector<std::unique_ptr<frail_link>> links;
    std::vector<std::unique_ptr<byte_stream>> ends;
    std::unique_ptr<striped_stream> stream;
    std::vector<std::byte> into = std::vector<std::byte>(4096);
    bool answered = false;
    error_code failure;
    std::size_t got = 0;
};

const error_code bad = boost::system::errc::make_error_code(boost::system::errc::bad_message);

}  // namespace

TEST_CASE("bytes cross any number of lanes in order, both ways at once", "[wire]") {
    const unsigned seed = GENERATE(1u, 2u, 3u, 4u, 5u, 6u);
    std::mt19937_64 random(seed);
    const auto frail = [&] {
        frailty how;
        how.piece_bytes_max = 1 + random() % 40000;
        how.buffered_bytes_max = 1 + random() % 200000;
        return how;
    };
    lanes it(frail());
    const std::vector<std::byte> forth = random_bytes(seed, (1 << 20) + seed), back = random_bytes(seed + 100, 700000);
    std::vector<std::byte> at_far(forth.size()), at_near(back.size());
    error_code ends[4];
    it.write(*it.near, forth, 1 + random() % 300000, ends[0]);
    it.write(*it.far, back, 1 + random() % 300000, ends[1]);
    it.read(*it.far, at_far, 1 + random() % 300000, ends[2]);
    it.read(*it.near, at_near, 1 + random() % 300000, ends[3]);
    for (unsigned i = 1; i < seed; ++i) {
        it.run_ready();
        it.add(frail());  // while bytes flow
    }
    it.run();
    for (const error_code& end : ends) CHECK(end == error_code());
    CHECK(at_far == forth);
    CHECK(at_near == back);
    CHECK(it.near->lane_gate().lanes() == seed);
}

TEST_CASE(
    "a slow lane gets less, and holds the fast one up by no more than "
    "its own segment",
    "[wire]") {
    frailty slow;
    slow.stall_after = striped_stream::head_bytes + segment + 10;  // one segment, and a little of the second
    lanes it(slow);
    it.add();
    const std::vector<std::byte> data = random_bytes(9, 10 * segment);
    std::vector<std::byte> into(data.size());
    error_code written, read;
    it.write(*it.near, data, data.size(), written);
    it.read(*it.far, into, into.size(), read);
    it.run(seconds(1));
    // What was read ends where the slow lane's second segment begins.
    std::size_t same = 0;
    while (same < data.size() && into[same] == data[same]) ++same;
    CHECK(same >= 2 * segment);
    CHECK(same < data.size());
}

TEST_CASE("a write is over when the next may go, and one of nothing when all before it is on its way", "[wire]") {
    frailty stuck;
    stuck.stall_after = 100;
    lanes it(stuck);
    it.add();
    const std::vector<std::byte> data = random_bytes(1, 2 * segment);
    unsigned over = 0;
    bool drained = false;
    const auto count = [&](error_code, std::size_t) { ++over; };
    it.near->async_write_some(it.on(), {data.data(), data.size()}, [&](error_code why, std::size_t taken) {
        CHECK_FALSE(why);
        CHECK(taken == segment);
        ++over;
    });
    it.run_ready();
    CHECK(over == 1);
    it.near->async_write_some(it.on(), {data.data(), 10}, count);
    it.run_ready();
    CHECK(over == 2);  // by the lane that is free
    it.near->async_write_some(it.on(), {}, [&](error_code, std::size_t) { drained = true; });
    it.run_ready();
    CHECK_FALSE(drained);
    it.near->close();
    it.run();
    CHECK(drained);
}

TEST_CASE("a head that lies ends the stream", "[wire]") {
    heads it;
    it.ask();
    CHECK_FALSE(it.answered);
    SECTION("a segment of nothing") {
        it.say(0, 0, 0, 0);
    }
    SECTION("a segment that is too long") {
        it.say(0, 0, segment + 1, 10);
    }
    SECTION("a place that nobody else can bring bytes before") {
        it.say(0, 5, 10, 10);
        CHECK_FALSE(it.answered);
        it.wait();
    }
    SECTION("the same place twice") {
        it.add();
        it.say(1, 0, 10, 10);
        CHECK(it.got == 10);
        it.ask();
        it.say(0, 9, 10, 10);
    }
    SECTION("places that overlap") {
        it.add();
        it.say(0, 4, 10, 10);
        it.say(1, 0, 10, 10);
        CHECK(it.got == 10);
        it.ask();
    }
    CHECK(it.answered);
    CHECK(it.failure == bad);
}

TEST_CASE("what the other lanes bring is read before a lane's end counts", "[wire]") {
    heads it;
    it.add();
    it.say(0, 0, 4, 4);
    it.ask();
    CHECK(it.got == 4);
    it.ends[0]->close();
    it.ask();
    CHECK_FALSE(it.answered);
    it.say(1, 4, 100, 100);
    CHECK(it.answered);
    CHECK(it.failure == error_code());
    CHECK(it.got == 100);
    SECTION("until that ends, too") {
        it.ends[1]->close();
        it.run();
        it.ask();
        CHECK(it.answered);
        CHECK(it.failure == asio::error::eof);
    }
    SECTION("or what is due can come from nobody") {
        it.say(1, 200, 10, 10);
        it.ask();
        CHECK(it.answered);
        CHECK(it.failure == asio::error::eof);
    }
}

TEST_CASE("a lane that ends before it carried anything is nobody's loss", "[wire]") {
    heads it;
    it.add();
    it.ends[1]->close();
    it.run();
    it.say(0, 0, 10, 10);
    it.ask();
    CHECK(it.got == 10);
    it.say(0, 11, 10, 10);
    it.ask();
    it.wait();
    CHECK(it.failure == bad);  // and not the end of that lane
}

TEST_CASE("a stream whose lanes have all ended unused has ended", "[wire]") {
    heads it;
    it.add();
    for (const auto& end : it.ends) end->close();
    it.run();
    it.ask();
    CHECK(it.answered);
    CHECK(it.failure == asio::error::eof);
}

TEST_CASE("bytes of a lane that this side knows of may overtake those of one that it does not know yet", "[wire]") {
    heads it;
    it.say(0, 10, 5, 5);
    it.ask();
    CHECK_FALSE(it.answered);
    it.link();
    it.say(1, 0, 10, 10);
    CHECK_FALSE(it.answered);
    CHECK(it.stream->lane_gate().add(it.links.back()->first()));
    it.run();
    CHECK(it.answered);
    CHECK(it.failure == error_code());
    CHECK(it.got == 10);
    it.ask();
    CHECK(it.got == 5);
    // And from then on nobody is waited for.
    it.ask();
    it.wait();
    CHECK_FALSE(it.answered);
}

TEST_CASE("closing a striped stream, or letting it go, ends what waits", "[wire]") {
    heads it;
    it.add();
    it.ask();
    const bool let_go = GENERATE(false, true);
    const auto gate = it.stream->lane_gate();
    if (let_go)
        it.stream.reset();
    else
        it.stream->close();
    it.run();
    CHECK(it.answered);
    CHECK(it.failure == asio::error::operation_aborted);
    it.link();
    CHECK_FALSE(gate.add(it.links.back()->first()));
}
