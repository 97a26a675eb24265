// What the benches share: the floor beside each figure, sizes that shrink for a test, and random bytes.
//
// A floor is the least that has to be done by any means (hash these bytes, read these bytes, copy them), written as a
// bare loop. It is timed in the same run, right after what is measured and as often, and a row shows
//   rate        of what is measured
//   <floor>     the rate of each floor
//   of_<floor>  the one divided by the other: 1 is the bound
// so that a figure from a busy or unknown machine still says how far from the bound the code is. Work of one thread is
// timed by what the thread was given of its processor, work of several by the clock on the wall.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace reprotect::bench {

/// With REPROTECT_BENCH_SMALL=1 everything is small, and all benches together take seconds: they run as a test.
inline bool small() {
    const char* set = std::getenv("REPROTECT_BENCH_SMALL");
    return set && std::string(set) == "1";
}
inline std::uint64_t sized(std::uint64_t usual, std::uint64_t in_a_test) {
    return small() ? in_a_test : usual;
}

enum class unit { bytes, items };
enum class threads { one, many };

template <typename Work>
struct floor {
    const char* name;
    Work work;
};
template <typename Work>
floor(const char*, Work) -> floor<Work>;

inline double seconds_of(threads working) {
    timespec now{};
    ::clock_gettime(working == threads::one ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct amount {
    unit what = unit::bytes;
    std::uint64_t count = 0;  ///< done by each call
    threads working = threads::one;
};

/// Times `work` and then every floor, called as often; each call does the amount that is said.
template <typename Work, typename... Floors>
void against(benchmark::State& state, amount each_call, Work&& work, floor<Floors>... floors) {
    const auto counter = [&](double rate) {
        return benchmark::Counter(
            rate, benchmark::Counter::kDefaults,
            each_call.what == unit::bytes ? benchmark::Counter::kIs1024 : benchmark::Counter::kIs1000);
    };
    const double begin = seconds_of(each_call.working);
    for (auto _ : state) work();
    const double seconds = seconds_of(each_call.working) - begin;
    const auto calls = static_cast<std::int64_t>(state.iterations());
    const double done = static_cast<double>(each_call.count) * static_cast<double>(calls);
    state.counters["rate"] = counter(done / seconds);
    const auto add = [&](auto& bound) {
        bound.work();  // whatever the first call has to bring into the cache
        const double bound_begin = seconds_of(each_call.working);
        for (std::int64_t i = 0; i < calls; ++i) bound.work();
        const double bound_seconds = seconds_of(each_call.working) - bound_begin;
        state.counters[bound.name] = counter(done / bound_seconds);
        state.counters[std::string("of_") + bound.name] = bound_seconds / seconds;
    };
    (add(floors), ...);
}

inline std::vector<std::byte> random_bytes(std::uint64_t count, std::uint64_t seed) {
    std::vector<std::byte> bytes(count);
    std::mt19937_64 random(seed);
    for (std::uint64_t at = 0; at < count; at += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(bytes.data() + at, &word, std::min<std::uint64_t>(sizeof word, count - at));
    }
    return bytes;
}

/// Every block hashed by a bare XXH3-128 with a secret, nothing kept: what any 128-bit digest of these bytes costs.
inline void bare_xxh3(std::span<const std::byte> data, std::uint64_t block_bytes) {
    static const std::vector<std::byte> secret = random_bytes(192, 1);
    for (std::uint64_t at = 0; at < data.size(); at += block_bytes) {
        benchmark::DoNotOptimize(XXH3_128bits_withSecret(
            data.data() + at, std::min<std::uint64_t>(block_bytes, data.size() - at), secret.data(), secret.size()));
    }
}

}  // namespace reprotect::bench
