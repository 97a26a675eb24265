// The controller in a simulation: encoders whose speed and ratio are those of zstd's levels, and a link behind a
// socket's buffer. What counts is where the level settles, what gets across, and how often it changes.
#include <catch2/catch.hpp>

#include <deque>
#include <limits>
#include <random>
#include <tuple>
#include <utility>

#include "support/aborts.hpp"
#include "wire/level_controller.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr double MB = 1e6;
constexpr double batch_bytes = 1 << 20;
constexpr double copied_a_second = 2'000 * MB;  // into the socket, with TLS
constexpr double never = std::numeric_limits<double>::infinity();

// About what one core does at zstd's levels: the shape counts, not the figures.
struct content {
    std::array<double, 15> speeds;  // raw bytes a second
    std::array<double, 15> ratios;  // encoded by raw

    double speed(int level) const { return speeds[static_cast<std::size_t>(level - 1)]; }
    double ratio(int level) const { return ratios[static_cast<std::size_t>(level - 1)]; }
};
const content usual{{510 * MB, 400 * MB, 300 * MB, 270 * MB, 150 * MB, 110 * MB, 90 * MB, 75 * MB, 60 * MB, 45 * MB,
                     38 * MB, 28 * MB, 14 * MB, 11 * MB, 8 * MB},
                    {.42, .40, .385, .38, .365, .355, .35, .347, .344, .342, .341, .340, .338, .337, .335}};
const content incompressible{usual.speeds, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};

constexpr double mbit(double count) {
    return count * MB / 8;
}

class simulation {
public:
    simulation(unsigned encoders, double link_bytes_per_second, content data = usual)
        : controller(encoders), link(link_bytes_per_second), what(data), encoders_(encoders) {}

    level_controller controller;
    double link;                     // bytes a second; may change between runs
    content what;                    // as well
    double supply = never;           // raw bytes a second that the disks bring
    double socket_buffer = 256'000;  // bytes

    double sent_raw = 0;  // in all
    int changes = 0;      // of the level
    std::deque<std::pair<double, int>> history;

    double now() const { return now_; }

    void run(double seconds) {
        const double end = now_ + seconds;
        for (;;) {
            start_encoders();
            start_writing();
            double next = std::min({write_ends_, arrives_, end});
            for (const batch& one : pipeline_)
                if (!one.encoded) next = std::min(next, one.ends);
            pass(next);
            if (now_ >= end) return;
            finish();
        }
    }

private:
    struct batch {
        int level;
        double seconds;
        double ends;
        double bytes;
        bool encoded = false;
    };

    // Room for as many encoded batches as there are encoders, beside those that are being encoded.
    std::size_t pipeline_max() const { return 2 * encoders_ + 1; }

    void start_encoders() {
        while (waiting_ > 0 && encoding_ < encoders_ && pipeline_.size() < pipeline_max()) {
            const int level = controller.level();
            const double seconds = batch_bytes / what.speed(level) * spread_(random_);
            const double ratio = what.ratio(level);
            const double bytes = ratio < 1 ? batch_bytes * ratio * spread_(random_) : batch_bytes;
            pipeline_.push_back({level, seconds, now_ + seconds, bytes});
            --waiting_;
            ++encoding_;
        }
        if (arrives_ == never && waiting_ < 4) arrives_ = now_ + batch_bytes / supply;
    }

    // A write ends when all of it is in the socket's buffer, which the link empties.
    void start_writing() {
        if (write_ends_ != never || pipeline_.empty() || !pipeline_.front().encoded) return;
        const double bytes = pipeline_.front().bytes;
        buffered_ += bytes;
        write_ends_ = now_ + std::max((buffered_ - socket_buffer) / link, bytes / copied_a_second);
    }

    void pass(double until) {
        const double passed = until - now_;
        if (write_ends_ == never) idle_ += passed;
        buffered_ = std::max(0.0, buffered_ - passed * link);
        now_ = until;
    }

    void finish() {
        if (arrives_ <= now_) {
            ++waiting_;
            arrives_ = never;
        }
        if (write_ends_ <= now_) {
            sent_raw += batch_bytes;
            pipeline_.pop_front();
            write_ends_ = never;
        }
        for (batch& one : pipeline_) {
            if (one.encoded || one.ends > now_) continue;
            one.encoded = true;
            --encoding_;
            const int before = controller.level();
            batch_observation seen;
            seen.level = one.level;
            seen.raw_bytes = static_cast<std::uint64_t>(batch_bytes);
            seen.encoded_bytes = static_cast<std::uint64_t>(one.bytes);
            seen.encode_seconds = one.seconds;
            seen.seconds = now_ - observed_;
            seen.wire_idle_seconds = idle_;
            seen.encoders_waiting = waiting_;
            controller.observe(seen);
            observed_ = now_;
            idle_ = 0;
            if (controller.level() != before) {
                ++changes;
                history.emplace_back(now_, controller.level());
            }
        }
    }

    unsigned encoders_;
    std::mt19937_64 random_{1};
    std::uniform_real_distribution<double> spread_{0.85, 1.15};
    std::deque<batch> pipeline_;  // in order; written from the front
    unsigned waiting_ = 0;
    unsigned encoding_ = 0;
    double now_ = 0;
    double observed_ = 0;
    double idle_ = 0;
    double buffered_ = 0;
    double write_ends_ = never;
    double arrives_ = never;
};

// Raw bytes a second that get across at a level, in the long run.
double throughput(unsigned encoders, double link, int level, const content& what = usual) {
    return std::min(encoders * what.speed(level), link / what.ratio(level));
}

int best_level(unsigned encoders, double link, const content& what = usual) {
    int best = level_controller::level_min;
    for (int level = best; level <= level_controller::level_max; ++level)
        if (throughput(encoders, link, level, what) > throughput(encoders, link, best, what)) best = level;
    return best;
}

// How often the level goes from up to down or back within that time.
int turns(const simulation& one, double from) {
    int count = 0;
    for (std::size_t i = 2; i < one.history.size(); ++i) {
        const auto [a, b, c] = std::tuple(one.history[i - 2], one.history[i - 1], one.history[i]);
        if (a.first >= from && (b.second > a.second) != (c.second > b.second)) ++count;
    }
    return count;
}

TEST_CASE("the level settles within two of the best for the link, and what gets across is near the most", "[wire]") {
    for (const double socket_buffer : {256e3, 4e6}) {
        for (const unsigned encoders : {1u, 2u, 8u}) {
            for (const double link :
                 {mbit(2), mbit(20), mbit(50), mbit(100), mbit(200), mbit(500), mbit(1000), mbit(2500), mbit(10'000)}) {
                const int best = best_level(encoders, link);
                CAPTURE(socket_buffer, encoders, link, best);
                simulation one(encoders, link);
                one.socket_buffer = socket_buffer;
                one.run(30);
                const double before = one.sent_raw;
                one.run(60);
                const double rate = (one.sent_raw - before) / 60;
                CHECK(std::abs(one.controller.level() - best) <= 2);
                CHECK(rate >= 0.95 * throughput(encoders, link, best));
                // A better level is looked for, but less and less often.
                CHECK(turns(one, 30) <= 12);
            }
        }
    }
}

TEST_CASE("the first batches are compressed at the lowest level, and on a fast link all", "[wire]") {
    CHECK(level_controller(1).level() == 1);
    for (const unsigned encoders : {1u, 2u}) {
        simulation one(encoders, mbit(10'000));
        one.run(60);
        CHECK(one.controller.level() == 1);
        CHECK(one.changes == 0);
    }
    // Encoders in lock-step fill the wire and leave it dry by turns.
    level_controller together(8);
    for (int i = 0; i < 1000; ++i) {
        const bool last = i % 8 == 7;
        together.observe({.level = together.level(),
                          .raw_bytes = 1 << 20,
                          .encoded_bytes = 400'000,
                          .encode_seconds = 0.05,
                          .seconds = last ? 0.05 : 0,
                          .wire_idle_seconds = last ? 0.03 : 0,
                          .encoders_waiting = 8});
        REQUIRE(together.level() == 1);
    }
}

TEST_CASE("on 20 Mbit/s the level is 9 or more within three seconds", "[wire]") {
    for (const double socket_buffer : {256e3, 4e6}) {
        for (const unsigned encoders : {1u, 2u, 8u}) {
            CAPTURE(encoders, socket_buffer);
            simulation one(encoders, mbit(20));
            one.socket_buffer = socket_buffer;
            one.run(3);
            CHECK(one.controller.level() >= 9);
        }
    }
}

TEST_CASE("a slower machine stays lower", "[wire]") {
    content slow = usual;
    for (double& speed : slow.speeds) speed /= 8;
    simulation one(1, mbit(20), slow);
    one.run(60);
    const int best = best_level(1, mbit(20), slow);
    CHECK(best < 12);
    CHECK(std::abs(one.controller.level() - best) <= 2);
}

TEST_CASE("the level falls within a second when the link becomes fast, and rises again when it becomes slow",
          "[wire]") {
    for (const double socket_buffer : {256e3, 4e6}) {
        for (const unsigned encoders : {1u, 2u, 8u}) {
            CAPTURE(encoders, socket_buffer);
            simulation one(encoders, mbit(20));
            one.socket_buffer = socket_buffer;
            one.run(20);
            REQUIRE(one.controller.level() >= 13);
            one.link = mbit(10'000);
            one.run(1);
            CHECK(one.controller.level() <= 2);
            one.run(9);
            CHECK(one.controller.level() <= 2);
            one.link = mbit(20);
            one.run(4);
            CHECK(one.controller.level() >= 9);
        }
    }
}

TEST_CASE("a level that failed is clear of its ban once the link is much slower", "[wire]") {
    simulation one(2, mbit(1000));
    one.run(60);  // by now the ban lasts for many seconds
    REQUIRE(one.controller.level() <= 6);
    one.link = mbit(20);
    one.run(5);
    CHECK(one.controller.level() >= 9);
}

TEST_CASE("a raise that the encoders cannot keep up with is undone", "[wire]") {
    content cliff = usual;
    for (std::size_t i = 4; i < cliff.speeds.size(); ++i) cliff.speeds[i] = 2 * MB;
    simulation one(2, mbit(100), cliff);
    one.run(20);
    int highest = 0;
    double above = 0;  // seconds
    for (std::size_t i = 0; i < one.history.size(); ++i) {
        highest = std::max(highest, one.history[i].second);
        if (one.history[i].second > 4)
            above += (i + 1 < one.history.size() ? one.history[i + 1].first : one.now()) - one.history[i].first;
    }
    CHECK(highest > 4);
    CHECK(one.controller.level() <= 4);
    CHECK(above < 8);
}

TEST_CASE("where the disks are the bottleneck the level stays", "[wire]") {
    simulation one(2, mbit(1000));
    one.supply = 20 * MB;
    one.run(30);
    CHECK(one.controller.level() == 1);

    simulation later(2, mbit(50));
    later.run(20);
    const int before = later.controller.level();
    later.supply = 2 * MB;
    later.run(5);
    const int changes = later.changes;
    later.run(30);
    CHECK(later.changes == changes);
    CHECK(std::abs(later.controller.level() - before) <= 2);
}

TEST_CASE("data that does not shrink raises nothing", "[wire]") {
    simulation one(2, mbit(20), incompressible);
    one.run(60);
    CHECK(one.controller.level() == 1);
    one.what = usual;
    one.run(5);
    CHECK(one.controller.level() >= 9);
}

TEST_CASE("batches that were begun before a change are not judged", "[wire]") {
    level_controller one(4);
    const auto seen = [&](int level) {
        one.observe({.level = level,
                     .raw_bytes = 1 << 20,
                     .encoded_bytes = 400'000,
                     .encode_seconds = 0.001,
                     .seconds = 0.1,
                     .wire_idle_seconds = 0,
                     .encoders_waiting = 0});
    };
    for (int i = 0; i < 3; ++i) seen(1);
    const int raised = one.level();
    REQUIRE(raised > 1);
    for (int i = 0; i < 100; ++i) seen(1);
    CHECK(one.level() == raised);
    for (int i = 0; i < 100; ++i) seen(one.level());
    CHECK(one.level() == level_controller::level_max);
}

// One span of batches: the shares of its time that the wire was idle and the encoders busy.
void feed(level_controller& one, double idle, double busy, unsigned waiting) {
    const int level = one.level();
    for (int i = 0; i < 3; ++i)
        one.observe({.level = level,
                     .raw_bytes = 1 << 20,
                     .encoded_bytes = 400'000,
                     .encode_seconds = 0.1 * busy,
                     .seconds = 0.1,
                     .wire_idle_seconds = 0.1 * idle,
                     .encoders_waiting = waiting});
}

TEST_CASE("encoders that wait for a core take none from others: the level goes down, and not up", "[wire]") {
    level_controller one(2, 3);
    const auto seen = [&](double encode_seconds, double core_share) {
        for (int i = 0; i < 3; ++i)
            one.observe({.level = one.level(),
                         .raw_bytes = 1 << 20,
                         .encoded_bytes = 400'000,
                         .encode_seconds = encode_seconds,
                         .core_seconds = encode_seconds * core_share,
                         .seconds = 0.1,
                         .wire_idle_seconds = 0,
                         .encoders_waiting = 0});
    };
    CHECK(one.level() == 3);
    for (int i = 0; i < 4; ++i) seen(0.01, 1);
    const int raised = one.level();
    REQUIRE(raised > 4);
    seen(0.08, 0.5);
    CHECK(one.level() == raised - 1);
    // Between the two bounds it stays,
    for (int i = 0; i < 20; ++i) seen(0.03, 0.5);
    CHECK(one.level() == raised - 1);
    for (int i = 0; i < 20; ++i) seen(0.08, 0.5);
    CHECK(one.level() == level_controller::level_min);
    // and what is next to nothing is taken from nobody: it was batches that waited for each other.
    for (int i = 0; i < 20; ++i) seen(0.01, 0.5);
    CHECK(one.level() == level_controller::level_max);
}

TEST_CASE("where the encoders have next to nothing to do, the level rises by more at once", "[wire]") {
    const auto after_one_span = [](double busy) {
        level_controller one(1);
        feed(one, 0, busy, 0);
        return one.level();
    };
    CHECK(after_one_span(0.03) == 5);
    CHECK(after_one_span(0.15) == 3);
}

TEST_CASE("a wire that is idle at times, with nothing waiting, changes nothing", "[wire]") {
    level_controller one(1);
    for (int i = 0; i < 100; ++i) feed(one, 0.3, 0.1, 0);
    CHECK(one.level() == 1);
}

TEST_CASE("where the encoders have work to do, a level is watched for two spans before it is raised", "[wire]") {
    level_controller one(1);
    for (const int level : {1, 2, 2, 3, 3, 4}) {
        feed(one, 0, 0.5, 0);
        CHECK(one.level() == level);
    }
}

TEST_CASE("just after it went down, the level goes on only where the wire is idle for most of the time", "[wire]") {
    level_controller one(1);
    for (int i = 0; i < 12; ++i) feed(one, 0, 0.5, 0);
    REQUIRE(one.level() == 7);
    feed(one, 0.2, 1, 4);
    const int lowered = one.level();
    REQUIRE(lowered < 7);
    feed(one, 0.2, 1, 4);
    CHECK(one.level() == lowered);
    feed(one, 0.2, 1, 4);
    CHECK(one.level() < lowered);
    const int again = one.level();
    feed(one, 0.8, 1, 4);
    CHECK((one.level() < again || again == 1));
}

TEST_CASE("a pause that was not counted as time does not count as idleness either", "[wire]") {
    level_controller one(4);
    for (int i = 0; i < 100; ++i)
        one.observe({.level = one.level(),
                     .raw_bytes = 1 << 20,
                     .encoded_bytes = 400'000,
                     .encode_seconds = 0.001,
                     .seconds = i % 3 == 0 ? 0.0 : 0.1,
                     .wire_idle_seconds = i % 3 == 0 ? 5.0 : 0.0,
                     .encoders_waiting = 1});
    CHECK(one.level() == level_controller::level_max);
}

TEST_CASE("a few small batches, as a session begins with, say nothing of the link", "[wire]") {
    level_controller one(2, 3);
    const auto small = [&] {
        one.observe({.level = one.level(),
                     .raw_bytes = 100'000,
                     .encoded_bytes = 60'000,
                     .encode_seconds = 0.0001,
                     .core_seconds = 0.0001,
                     .seconds = 0.1,
                     .wire_idle_seconds = 0,
                     .encoders_waiting = 0});
    };
    for (int i = 0; i < 10; ++i) small();
    CHECK(one.level() == 3);
    for (int i = 0; i < 10; ++i) small();
    CHECK(one.level() > 3);
}

TEST_CASE("batches that take no time at all are borne", "[wire]") {
    level_controller one(1);
    for (int i = 0; i < 1000; ++i) one.observe({.level = one.level(), .raw_bytes = 1, .encoded_bytes = 1});
    CHECK(one.level() == 1);
    CHECK(aborts([] { level_controller none(0); }));
    CHECK(aborts([] { level_controller(1).observe({.level = 16}); }));
    CHECK(aborts([] { level_controller(1).observe({.level = 0}); }));
}

}  // namespace
