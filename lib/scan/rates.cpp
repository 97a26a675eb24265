// Rates of the processor come from threads that repeat a piece of work until their time is up: they are made first,
// then started together, and what all did is divided by the time from the start to the last one's end. A disk is read
// by threads that take the next chunk that holds data, in offset order, until the end or the deadline.
//
// Digests run over 256 KiB that stay in the cache, in blocks, since that is how the workers meet them. Copies run over
// more than most caches hold, since a rate out of the cache bounds nothing. The text is words drawn by Zipf's law from
// a small language: zstd makes about a third of it, as it does of logs and sources.
#include "reprotect/rates.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <thread>

#include "base/assert.hpp"
#include "base/buffer_pool.hpp"
#include "base/caught_error.hpp"
#include "codec/compressor.hpp"
#include "codec/digester.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t piece_bytes = disk_worker::piece_bytes;
constexpr std::size_t copy_bytes_all = 512u << 20;  // for all threads together, both sides of the copy
constexpr std::size_t copy_bytes_one = 32u << 20;   // guessed: twice this is beyond most last-level caches
constexpr std::size_t copy_bytes_least = 64u << 10;
constexpr std::size_t runs_per_query = 4096;
constexpr unsigned threads_max = 4096;

double seconds_since(steady::time_point begin) {
    return std::chrono::duration<double>(steady::now() - begin).count();
}

steady::duration duration_of(double seconds) {
    return std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(seconds));
}

error interrupted(const std::string& device = {}) {
    return error(error_kind::interrupted, "interrupted", {.device = device});
}

error no_memory(const std::string& device = {}) {
    const char* hint = device.empty() ? "use fewer --threads" : "use a smaller --depth or --chunk-size";
    return error(error_kind::device_io, (device.empty() ? "" : device + ": ") + "out of memory",
                 {.device = device, .hint = hint});
}

// Threads that begin together; the first exception of any is kept, and stops the rest by their own look at `failed`.
class crew {
public:
    /// As many as the system gives, up to `count`; at least one, or it throws. Each runs `work` once `go` is called.
    crew(unsigned count, std::string device, std::function<void()> work)
        : device_(std::move(device)), work_(std::move(work)) {
        threads_.reserve(count);
        for (unsigned i = 0; i < count; ++i) {
            try {
                threads_.emplace_back([this] { run(); });
            } catch (const std::exception& why) {
                if (threads_.empty())
                    throw error(error_kind::device_io, std::string("no thread could be started: ") + why.what(),
                                {.operation = "start", .hint = "raise the limit of processes and threads (ulimit -u)"});
                break;
            }
        }
    }
    crew(const crew&) = delete;
    crew& operator=(const crew&) = delete;
    ~crew() { start(false); }

    unsigned size() const noexcept { return static_cast<unsigned>(threads_.size()); }
    bool failed() const noexcept { return failed_; }

    /// Starts all and waits for their end; the seconds that it took. Throws what one of them threw.
    double go() {
        const auto begin = steady::now();
        start(true);
        for (std::jthread& thread : threads_) thread.join();
        const double seconds = seconds_since(begin);
        if (failure_) throw *failure_;
        return seconds;
    }

private:
    void start(bool in_earnest) {
        const std::lock_guard lock(mutex_);
        if (started_) return;
        started_ = true;
        in_earnest_ = in_earnest;
        ready_.notify_all();
    }

    void run() {
        {
            std::unique_lock lock(mutex_);
            ready_.wait(lock, [this] { return started_; });
            if (!in_earnest_) return;
        }
        try {
            work_();
        } catch (const std::bad_alloc&) {
            fail(no_memory(device_));
        } catch (...) {
            fail(caught_error(device_));
        }
    }

    void fail(error why) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::move(why);
        failed_ = true;
    }

    const std::string device_;
    const std::function<void()> work_;
    std::mutex mutex_;
    std::condition_variable ready_;
    bool started_ = false;
    bool in_earnest_ = false;
    std::atomic<bool> failed_{false};
    std::optional<error> failure_;
    std::vector<std::jthread> threads_;  // last: they end before the rest goes
};

// Makes a thread's own data and returns the work to repeat, which says how many bytes it did.
using work_maker = std::function<std::function<std::uint64_t()>()>;

struct measured {
    double bytes_per_second = 0;
    unsigned threads = 0;
};

measured repeat(unsigned threads, double seconds, const std::stop_token& cancel, const work_maker& make) {
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<unsigned> preparing{0};
    std::mutex mutex;
    std::condition_variable prepared;
    std::optional<steady::time_point> begin;
    steady::time_point end;
    crew* all = nullptr;
    crew workers(threads, {}, [&] {
        const auto leave = [&] {
            const std::lock_guard lock(mutex);
            --preparing;
            prepared.notify_all();
        };
        std::function<std::uint64_t()> work;
        try {
            work = make();
            work();  // whatever the first call has to bring into the cache
        } catch (...) {
            leave();
            throw;
        }
        leave();
        {
            std::unique_lock lock(mutex);
            prepared.wait(lock, [&] { return preparing == 0; });
            if (!begin) {
                begin = steady::now();
                end = *begin + duration_of(seconds);
            }
        }
        std::uint64_t done = 0;
        do {
            done += work();
        } while (steady::now() < end && !cancel.stop_requested() && !all->failed());
        bytes += done;
    });
    all = &workers;
    preparing = workers.size();
    workers.go();
    if (cancel.stop_requested()) throw interrupted();
    return {static_cast<double>(bytes) / seconds_since(*begin), workers.size()};
}

std::vector<std::byte> random_piece(std::uint64_t seed) {
    std::vector<std::byte> bytes(piece_bytes);
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(bytes.data() + at, &word, sizeof word);
    }
    return bytes;
}

std::vector<std::byte> text_piece() {
    constexpr std::size_t words_max = 4000;
    std::mt19937_64 random(1);
    std::vector<std::string> words(words_max);
    for (std::string& word : words)
        for (std::uint64_t letters = 2 + random() % 8; letters > 0; --letters)
            word += static_cast<char>('a' + std::min(random() % 26, random() % 26));
    std::string text;
    while (text.size() < piece_bytes) {
        // The rank by Zipf's law: its logarithm is spread evenly.
        const double even = static_cast<double>(random() >> 11) / 9007199254740992.0;
        const auto rank = static_cast<std::size_t>(std::pow(static_cast<double>(words_max), even)) - 1;
        text += words[std::min(rank, words_max - 1)];
        text += random() % 12 == 0 ? "\n" : " ";
    }
    const auto bytes = std::as_bytes(std::span(text)).first(piece_bytes);
    return {bytes.begin(), bytes.end()};
}

work_maker copying(unsigned threads) {
    const std::size_t bytes = std::clamp(copy_bytes_all / (2 * std::size_t{threads}), copy_bytes_least, copy_bytes_one);
    return [bytes]() -> std::function<std::uint64_t()> {
        const auto from = std::make_shared<std::vector<std::byte>>(bytes, std::byte{1});  // std::function copies
        const auto to = std::make_shared<std::vector<std::byte>>(bytes);
        // A piece at a time, so that a cancel does not wait for the whole.
        return [from, to, at = std::size_t{0}]() mutable {
            if (at == from->size()) at = 0;
            const std::size_t count = std::min(piece_bytes, from->size() - at);
            std::memcpy(to->data() + at, from->data() + at, count);
            at += count;
            return std::uint64_t{count};
        };
    };
}

work_maker digesting(digest_algorithm algorithm, std::uint32_t block_bytes) {
    return [=]() -> std::function<std::uint64_t()> {
        const auto data = std::make_shared<std::vector<std::byte>>(random_piece(1));  // std::function copies
        return [data, block_bytes, with = digester(algorithm, random_secret())] {
            for (std::size_t at = 0; at < data->size(); at += block_bytes) {
                const auto block = std::span(*data).subspan(at, std::min<std::size_t>(block_bytes, data->size() - at));
                data->front() ^= with.bytes(block).bytes[0];  // a digest that is used is a digest that is computed
            }
            return std::uint64_t{data->size()};
        };
    };
}

compression_rate compressing(int level, const std::string& content, const rate_options& options,
                             const std::stop_token& cancel) {
    const std::vector<std::byte> data = content == "text" ? text_piece() : random_piece(2);
    std::atomic<std::size_t> made{0};
    const work_maker make = [&]() -> std::function<std::uint64_t()> {
        const auto with = std::make_shared<compressor>();  // std::function copies
        const auto into = std::make_shared<std::vector<std::byte>>(compressor::bound(data.size()));
        return [&, with, into] {
            const auto used = with->compress(data, level, *into);
            REPROTECT_ASSERT(used.has_value());
            made = used->size();
            return std::uint64_t{data.size()};
        };
    };
    compression_rate result;
    result.level = level;
    result.content = content;
    result.bytes_per_second = repeat(1, options.seconds, cancel, make).bytes_per_second;
    result.ratio = static_cast<double>(data.size()) / static_cast<double>(made);
    return result;
}

void check(const rate_options& options) {
    check_geometry({0, options.chunk_bytes, options.block_bytes});
    const auto refuse = [](const std::string& what, const std::string& hint) {
        throw error(error_kind::usage, what + " is out of range", {.hint = hint});
    };
    if (options.depth < 1 || options.depth > 256)
        refuse("a depth of " + std::to_string(options.depth), "--depth takes 1 to 256");
    if (options.threads > threads_max)
        refuse(std::to_string(options.threads) + " threads", "--threads takes 1 to " + std::to_string(threads_max));
    if (!(options.seconds > 0 && options.seconds <= 60) || !(options.disk_seconds > 0 && options.disk_seconds <= 3600))
        refuse("the time to measure for", "give more than 0 seconds, at most 60 a figure and 3600 a disk");
}

class reading {
public:
    reading(device& disk, const rate_options& options, const std::stop_token& cancel)
        : disk_(disk),
          options_(options),
          cancel_(cancel),
          shape_{disk.size(), options.chunk_bytes, options.block_bytes},
          read_max_(disk.properties().direct ? options.chunk_bytes
                                             : std::min(std::uint32_t{piece_bytes}, options.chunk_bytes)),
          pool_(std::make_shared<buffer_pool>(read_max_)) {}

    disk_rate run() {
        disk_rate result;
        result.direct = disk_.properties().direct;
        result.piece_bytes = read_max_;
        {
            const std::uint64_t useful = std::max<std::uint64_t>(shape_.chunk_count(), 1);
            crew readers(static_cast<unsigned>(std::min<std::uint64_t>(options_.depth, useful)), disk_.name(),
                         [this] { work(); });
            result.depth = readers.size();
            end_ = steady::now() + duration_of(options_.disk_seconds);
            result.seconds = readers.go();
        }
        if (cancel_.stop_requested()) throw interrupted(disk_.name());
        result.read_bytes = read_bytes_;
        result.whole = position_ >= shape_.disk_bytes;
        return result;
    }

private:
    bool over() const { return stopped_ || cancel_.stop_requested() || steady::now() >= end_; }

    // The next chunk with data in it. Called with the mutex held.
    std::optional<extent> next() {
        while (position_ < shape_.disk_bytes && !over()) {
            while (!runs_.empty() && runs_.front().range.end() <= position_) runs_.pop_front();
            if (runs_.empty()) {
                const auto more = disk_.allocation({position_, shape_.disk_bytes - position_}, runs_per_query);
                REPROTECT_ASSERT(!more.empty() && more.back().range.end() > position_);
                runs_.assign(more.begin(), more.end());
            }
            const allocation_run& run = runs_.front();
            if (run.kind == content::zero) {
                position_ = run.range.end();
                continue;
            }
            const extent chunk = shape_.chunk(position_ / shape_.chunk_bytes);
            position_ = chunk.end();
            return chunk;
        }
        return std::nullopt;
    }

    void work() {
        try {
            buffer into = pool_->take();
            for (;;) {
                std::optional<extent> chunk;
                {
                    const std::lock_guard lock(mutex_);
                    chunk = next();
                }
                if (!chunk) return;
                for (std::uint64_t at = chunk->offset; at < chunk->end(); at += into.bytes().size()) {
                    const std::uint64_t count = std::min<std::uint64_t>(into.bytes().size(), chunk->end() - at);
                    disk_.read(at, into.bytes().first(count));
                }
                const std::lock_guard lock(mutex_);
                read_bytes_ += chunk->length;
            }
        } catch (...) {
            stopped_ = true;
            throw;
        }
    }

    device& disk_;
    const rate_options& options_;
    const std::stop_token& cancel_;
    const geometry shape_;
    const std::uint32_t read_max_;
    std::shared_ptr<buffer_pool> pool_;  // as a pool must be: its buffers hold it
    steady::time_point end_;
    std::atomic<bool> stopped_{false};
    std::mutex mutex_;  // guards all below
    std::deque<allocation_run> runs_;
    std::uint64_t position_ = 0;
    std::uint64_t read_bytes_ = 0;
};

}  // namespace

namespace {

// By one thread and by all; `threads` becomes how many that were.
thread_rates by_one_and_all(unsigned& threads, const rate_options& options, const std::stop_token& cancel,
                            const std::function<work_maker(unsigned)>& maker) {
    thread_rates result;
    result.one = repeat(1, options.seconds, cancel, maker(1)).bytes_per_second;
    if (threads == 1) {
        result.all = result.one;
        return result;
    }
    const measured all = repeat(threads, options.seconds, cancel, maker(threads));
    result.all = all.bytes_per_second;
    threads = all.threads;
    return result;
}

unsigned threads_of(const rate_options& options) {
    return options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

machine_rates measure_machine(const rate_options& options, std::stop_token cancel) try {
    check(options);
    machine_rates rates;
    rates.threads = threads_of(options);
    const auto both = [&](const std::function<work_maker(unsigned)>& maker) {
        return by_one_and_all(rates.threads, options, cancel, maker);
    };
    rates.copy = both(copying);
    rates.xxh3 = both([&](unsigned) { return digesting(digest_algorithm::xxh3, options.block_bytes); });
    rates.sha256 = both([&](unsigned) { return digesting(digest_algorithm::sha256, options.block_bytes); });
    for (const int level : {1, 3})
        for (const char* content : {"text", "random"})
            rates.zstd.push_back(compressing(level, content, options, cancel));
    return rates;
} catch (const std::bad_alloc&) {
    throw no_memory();
}

thread_rates measure_digests(digest_algorithm algorithm, const rate_options& options, std::stop_token cancel) try {
    check(options);
    unsigned threads = threads_of(options);
    return by_one_and_all(threads, options, cancel,
                          [&](unsigned) { return digesting(algorithm, options.block_bytes); });
} catch (const std::bad_alloc&) {
    throw no_memory();
}

disk_rate measure_disk(device& disk, const rate_options& options, std::stop_token cancel) try {
    check(options);
    return reading(disk, options, cancel).run();
} catch (const std::bad_alloc&) {
    throw no_memory(disk.name());
}

}  // namespace reprotect
