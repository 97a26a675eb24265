// One disk read in parallel into a digest map. A walker hands out chunks that hold data, in offset order, asking for allocation
// a piece at a time; `depth` threads read, digest and enter their results.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "reprotect/checksum.hpp"

#include "base/assert.hpp"
#include "base/caught_error.hpp"
#include "peer/run_builder.hpp"
#include "plan/digest_tree.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect {
namespace {

constexpr std::uint64_t grain_max = 64 * 1024;
constexpr std::size_t runs_per_query = 4096;

class scan {
public:
    scan(device& disk, const checksum_options& options)
        : disk_(disk),
          options_(options),
          shape_{disk.size(), options.chunk_bytes, options.block_bytes},
          digests_(std::make_shared<const digester>(
              options.algorithm, options.algorithm == digest_algorithm::xxh3 ? random_secret() : digest_secret{})),
          worker_(disk, shape_, shape_.disk_bytes, digests_, std::make_shared<buffer_pool>(options.chunk_bytes)),
          zero_(*digests_, shape_),
          builder_(shape_.disk_bytes, std::min<std::uint64_t>(grain_max, options.block_bytes * 16ull), std::nullopt),
          map_(shape_, options.algorithm, options.with_blocks) {}

    checksum_report run(sync_listener* listener, const std::stop_token& cancel) {
        const auto started = std::chrono::steady_clock::now();
        const auto progress = [&](sync_phase phase) {
            if (!listener) return;
            const std::lock_guard lock(mutex_);
            sync_progress now;
            now.phase = phase;
            now.total_bytes = shape_.disk_bytes;
            now.done_bytes = phase == sync_phase::done ? shape_.disk_bytes : position_;
            now.data_done_bytes = read_bytes_;
            now.data_known_bytes = known_bytes_;
            now.data_known_final = builder_.built_to() == shape_.disk_bytes;
            now.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
            listener->on_progress(now);
        };
        {
            std::vector<std::jthread> threads;
            start(threads);
            std::unique_lock lock(mutex_);
            while (running_ != 0) {
                idle_.wait_for(lock, std::chrono::milliseconds(100), [this] { return running_ == 0; });
                if (cancel.stop_requested() && !failure_)
                    failure_ = error(error_kind::interrupted, "interrupted", {.device = disk_.name()});
                lock.unlock();
                try {
                    progress(sync_phase::scan);
                } catch (...) {
                    // The threads borrow this object: they end first.
                    listener = nullptr;
                    const std::lock_guard stop(mutex_);
                    if (!failure_) failure_ = caught_listener_error();
                }
                lock.lock();
            }
        }
        if (failure_) throw *failure_;
        check_size();
        try {
            progress(sync_phase::done);
        } catch (...) {
            throw caught_listener_error();
        }
        checksum_report report;
        report.root = tree_root(map_, *digests_);
        report.map = std::move(map_);
        report.read_bytes = read_bytes_;
        report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
        return report;
    }

private:
    void check_size() {
        try {
            if (disk_.current_size() == disk_.size()) return;
        } catch (...) {
            throw caught_error(disk_.name());
        }
        throw error(error_kind::size_changed, disk_.name() + " changed its size while it was read",
                    {.device = disk_.name(), .operation = "read", .hint = "run it again"});
    }

    // The next chunk with data in it; nothing at the end or after a failure. Called with the mutex held.
    std::optional<read_chunk> next() {
        while (!failure_ && position_ < shape_.disk_bytes) {
            const std::uint64_t chunk = position_ / shape_.chunk_bytes;
            const extent whole = shape_.chunk(chunk);
            while (builder_.built_to() < whole.end()) learn();
            while (!runs_.empty() && runs_.front().range.end() <= whole.offset) runs_.pop_front();
            // A long hole is passed in one step.
            const source_run& first = runs_.front();
            if (first.kind == source_content::zero && first.range.end() >= whole.end()) {
                position_ = first.range.end() == shape_.disk_bytes
                                ? shape_.disk_bytes
                                : first.range.end() / shape_.chunk_bytes * shape_.chunk_bytes;
                continue;
            }
            read_chunk read;
            read.chunk = chunk;
            for (const source_run& run : runs_) {
                if (run.range.offset >= whole.end()) break;
                if (run.kind == source_content::data) read.data.add(intersect(run.range, whole));
            }
            position_ = whole.end();
            known_bytes_ += read.data.total();
            if (!read.data.empty()) return read;
        }
        return std::nullopt;
    }

    void learn() {
        const extent rest{asked_to_, shape_.disk_bytes - asked_to_};
        std::vector<allocation_run> answer{{rest, content::data}};
        if (!options_.ignore_allocation) answer = disk_.allocation(rest, runs_per_query);
        REPROTECT_ASSERT(!answer.empty() && answer.back().range.end() > asked_to_);
        asked_to_ = answer.back().range.end();
        builder_.add(answer, runs_);
    }

    // Where the system gives no more threads, those that there are must do.
    void start(std::vector<std::jthread>& threads) {
        for (unsigned i = 0; i < options_.depth; ++i) {
            const std::lock_guard lock(mutex_);
            try {
                threads.emplace_back([this] { work(); });
                ++running_;
            } catch (const std::exception& why) {
                if (threads.empty())
                    failure_ =
                        error(error_kind::device_io, std::string("no thread could be started: ") + why.what(),
                              {.operation = "start", .hint = "raise the limit of processes and threads (ulimit -u)"});
                break;
            }
        }
    }

    void work() {
        try {
            std::unique_lock lock(mutex_);
            while (auto read = next()) {
                lock.unlock();
                chunk_read result = worker_.read(*read);
                lock.lock();
                read_bytes_ += result.read_bytes;
                if (result.value == zero_.chunk(result.chunk)) continue;
                if (!options_.with_blocks) result.blocks.clear();
                map_.set(result.chunk, result.value, result.blocks);
            }
        } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = caught_error(disk_.name());
        }
        const std::lock_guard lock(mutex_);
        --running_;
        idle_.notify_one();
    }

    device& disk_;
    const checksum_options& options_;
    geometry shape_;
    std::shared_ptr<const digester> digests_;  // as the worker takes it
    disk_worker worker_;
    zero_digests zero_;

    std::mutex mutex_;  // guards all below
    std::condition_variable idle_;
    run_builder builder_;
    std::deque<source_run> runs_;
    std::uint64_t asked_to_ = 0;  // what the allocation is known of; not all of it may be in runs yet
    std::uint64_t position_ = 0;
    std::uint64_t known_bytes_ = 0;
    std::uint64_t read_bytes_ = 0;
    unsigned running_ = 0;
    digest_map map_;
    std::optional<error> failure_;
};

}  // namespace

checksum_report checksum(device& disk, const checksum_options& options, sync_listener* listener,
                         std::stop_token cancel) {
    check_geometry({disk.size(), options.chunk_bytes, options.block_bytes});
    if (options.depth < 1 || options.depth > 256)
        throw error(error_kind::usage, "a depth of " + std::to_string(options.depth) + " is out of range",
                    {.hint = "--depth takes 1 to 256"});
    return scan(disk, options).run(listener, cancel);
}

}  // namespace reprotect
