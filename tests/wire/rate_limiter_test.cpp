// The limiter in simulated time: senders that take leave, wake late, pause and share, and every window of five seconds
// of what they wrote.
#include <catch2/catch.hpp>

#include <limits>
#include <random>
#include <thread>

#include "reprotect/error.hpp"
#include "reprotect/rate_limiter.hpp"
#include "support/aborts.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using moment = rate_limiter::clock::time_point;

constexpr nanoseconds window = 5s;
constexpr moment beginning{1'000'000s};

struct written {
    moment when;
    std::uint64_t bytes;
};

struct sender {
    nanoseconds late_max = 0ns;   // a timer fires up to this much after it was due
    bool always_latest = false;   // and always by that much
    bool random_sizes = false;    // else always a whole piece
    nanoseconds pause_max = 0ns;  // now and then it has nothing to write, for up to this long
    moment ready = beginning;     // for its next write
};

// What the senders write in `length`, in the order of time.
std::vector<written> run(std::uint64_t rate, std::vector<sender> senders, nanoseconds length, std::uint64_t seed = 1) {
    const auto limiter = make_rate_limiter(rate);
    std::mt19937_64 random(seed);
    const auto up_to = [&](nanoseconds most) {
        return most == 0ns ? 0ns : nanoseconds(random() % static_cast<std::uint64_t>(most.count() + 1));
    };
    std::vector<written> all;
    for (;;) {
        auto next = std::min_element(senders.begin(), senders.end(),
                                     [](const sender& a, const sender& b) { return a.ready < b.ready; });
        const moment now = next->ready;
        if (now > beginning + length) break;
        const std::size_t bytes = next->random_sizes ? 1 + random() % limiter->piece_bytes() : limiter->piece_bytes();
        const moment leave = limiter->reserve(bytes, now);
        moment when = now;
        if (leave > now) when = leave + (next->always_latest ? next->late_max : up_to(next->late_max));
        all.push_back({when, bytes});
        next->ready = when;
        if (random() % 64 == 0) next->ready += up_to(next->pause_max);
    }
    std::sort(all.begin(), all.end(), [](const written& a, const written& b) { return a.when < b.when; });
    return all;
}

// The most that any window holds, both its ends included.
std::uint64_t most_in_a_window(const std::vector<written>& all) {
    std::uint64_t most = 0;
    std::uint64_t sum = 0;
    std::size_t first = 0;
    for (const written& last : all) {
        sum += last.bytes;
        while (last.when - all[first].when > window) sum -= all[first++].bytes;
        most = std::max(most, sum);
    }
    return most;
}

// The least that any window holds which lies before the last write, both its ends excluded: it begins just after a
// write.
std::uint64_t least_in_a_window(const std::vector<written>& all) {
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t sum = 0;
    std::size_t end = 1;
    for (std::size_t begin = 0; begin < all.size(); ++begin) {
        while (end < all.size() && all[end].when - all[begin].when < window) sum += all[end++].bytes;
        if (end == all.size()) break;
        least = std::min(least, sum);
        if (end > begin + 1)
            sum -= all[begin + 1].bytes;
        else
            ++end;
    }
    return least;
}

void check_at_most(std::uint64_t rate, const std::vector<written>& all) {
    CHECK(static_cast<double>(most_in_a_window(all)) <= 1.02 * 5 * static_cast<double>(rate));
}

void check_at_least(std::uint64_t rate, const std::vector<written>& all) {
    CHECK(static_cast<double>(least_in_a_window(all)) >= 0.98 * 5 * static_cast<double>(rate));
}

const std::vector<std::uint64_t> rates{1'000, 1'001, 9'999, 65'537, 1'000'000, 45'000'000, 1'250'000'000};

TEST_CASE("any five seconds hold what the rate says, within 2%, while there is something to write", "[wire]") {
    for (const std::uint64_t rate : rates) {
        CAPTURE(rate);
        for (const nanoseconds late :
             {0ns, nanoseconds(100us), nanoseconds(5ms), nanoseconds(25ms), nanoseconds(39ms)}) {
            for (const bool always_latest : {false, true}) {
                CAPTURE(late.count(), always_latest);
                sender one{.late_max = late, .always_latest = always_latest, .random_sizes = true};
                const auto alone = run(rate, {one}, 13s);
                check_at_most(rate, alone);
                check_at_least(rate, alone);
                const auto shared = run(rate, {one, {.late_max = late}}, 13s);
                check_at_most(rate, shared);
                check_at_least(rate, shared);
            }
        }
    }
}

TEST_CASE("a limit of 10 GB/s is kept by a timer that is a hundred pieces late", "[wire]") {
    const std::uint64_t rate = 10'000'000'000;
    const auto all = run(rate, {{.late_max = 3ms}}, 12s);
    check_at_most(rate, all);
    check_at_least(rate, all);
}

TEST_CASE("a pause earns nothing: no five seconds hold more than 2% above the rate", "[wire]") {
    for (const std::uint64_t rate : rates) {
        for (const nanoseconds pause : {nanoseconds(30ms), nanoseconds(100ms), nanoseconds(500ms), nanoseconds(7s)}) {
            CAPTURE(rate, pause.count());
            const sender one{.late_max = 10ms, .random_sizes = true, .pause_max = pause};
            check_at_most(rate, run(rate, {one}, 60s));
            check_at_most(rate, run(rate, {one, one}, 30s, 2));
        }
    }
}

TEST_CASE("many sharers together keep to the rate", "[wire]") {
    const std::uint64_t rate = 1'000'000;
    for (const nanoseconds late : {nanoseconds(0), nanoseconds(20ms), nanoseconds(50ms)}) {
        const auto all = run(rate, std::vector<sender>(300, {.late_max = late}), 20s);
        check_at_most(rate, all);
        if (late <= 20ms) check_at_least(rate, all);
    }
}

TEST_CASE("timers that are later than what is caught up never lead to more than the rate", "[wire]") {
    for (const nanoseconds late : {nanoseconds(60ms), nanoseconds(190ms), nanoseconds(1s)}) {
        const auto all = run(1'000'000, {{.late_max = late}, {.late_max = late}}, 60s);
        check_at_most(1'000'000, all);
    }
}

TEST_CASE("the first bytes are due at once, and what follows when they are done", "[wire]") {
    const auto limiter = make_rate_limiter(1'000'000);
    CHECK(limiter->reserve(1'000, beginning) == beginning);
    CHECK(limiter->reserve(2'000, beginning) == beginning + 1ms);
    CHECK(limiter->reserve(0, beginning) == beginning + 3ms);
    CHECK(limiter->reserve(1, beginning) == beginning + 3ms);
}

TEST_CASE("after a pause the schedule begins anew", "[wire]") {
    const auto limiter = make_rate_limiter(1'000'000);
    limiter->reserve(1'000, beginning);
    const moment later = beginning + 10s;
    CHECK(limiter->reserve(1'000, later) == later);
    CHECK(limiter->reserve(1'000, later) == later + 1ms);
}

TEST_CASE("fractions of a nanosecond add up without drift", "[wire]") {
    // A byte takes 333 and a third of a nanosecond; asked for ahead of time, so that nothing is ever late.
    const std::uint64_t rate = 3'000'000;
    const auto limiter = make_rate_limiter(rate);
    for (std::uint64_t i = 0; i < rate; ++i) limiter->reserve(1, beginning);
    CHECK(limiter->reserve(1, beginning) == beginning + 1s);
}

TEST_CASE("a piece is about ten milliseconds long, at least a byte, at most 256 KiB", "[wire]") {
    CHECK(make_rate_limiter(1)->piece_bytes() == 1);
    CHECK(make_rate_limiter(1'000)->piece_bytes() == 10);
    CHECK(make_rate_limiter(1'000'000)->piece_bytes() == 10'000);
    CHECK(make_rate_limiter(1'000'000'000)->piece_bytes() == 256 << 10);
    CHECK(make_rate_limiter(std::numeric_limits<std::uint64_t>::max())->piece_bytes() == 256 << 10);
}

TEST_CASE("the smallest and the largest rate are kept, too", "[wire]") {
    const auto slow = make_rate_limiter(1);
    CHECK(slow->reserve(1, beginning) == beginning);
    CHECK(slow->reserve(1, beginning) == beginning + 1s);
    const auto fast = make_rate_limiter(std::numeric_limits<std::uint64_t>::max());
    for (int i = 0; i < 1000; ++i) CHECK(fast->reserve(fast->piece_bytes(), beginning) == beginning);
}

TEST_CASE("a rate of 0 and more than a piece at a time are refused", "[wire]") {
    try {
        make_rate_limiter(0);
        FAIL("a limiter that lets nothing through");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::usage);
        CHECK_FALSE(why.detail().hint.empty());
    }
    CHECK(aborts([] { make_rate_limiter(1'000)->reserve(11, beginning); }));
}

TEST_CASE("leave that threads take at the same time is not given twice", "[wire]") {
    const auto limiter = make_rate_limiter(1'000'000);
    constexpr unsigned each = 100'000;
    std::atomic<unsigned> ready = 0;
    std::vector<std::thread> threads;
    std::array<std::vector<moment>, 4> given;
    for (auto& mine : given)
        threads.emplace_back([&] {
            mine.reserve(each);
            ++ready;
            while (ready < given.size()) std::this_thread::yield();
            for (unsigned i = 0; i < each; ++i) mine.push_back(limiter->reserve(1'000, beginning));
        });
    for (auto& thread : threads) thread.join();
    std::vector<moment> all;
    for (const auto& some : given) all.insert(all.end(), some.begin(), some.end());
    std::sort(all.begin(), all.end());
    bool each_once = true;
    for (std::size_t i = 0; i < all.size(); ++i) each_once = each_once && all[i] == beginning + i * nanoseconds(1ms);
    CHECK(each_once);
}

}  // namespace
