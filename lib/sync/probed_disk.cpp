// A disk of this machine, for a probe: stretches become tasks of a chunk each on workers of the same kind as a sync's, so
// that rates seen here are rates seen there. Each piece is digested while it is in cache, as in a scan.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "base/buffer_pool.hpp"
#include "base/caught_error.hpp"
#include "codec/compressor.hpp"
#include "codec/digester.hpp"
#include "reprotect/probed_disk.hpp"
#include "scan/disk_worker.hpp"
#include "sync/worker_pool.hpp"

namespace reprotect {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::uint64_t task_bytes = 1 << 20;
constexpr std::size_t batch_bytes = 1 << 20;  // as the wire batches data
constexpr std::size_t batch_bytes_least = 64 << 10;
constexpr std::size_t batches_least = 12;
constexpr int level = 3;  // what a sync begins with
constexpr std::size_t runs_per_query = 4096;

double seconds_since(steady::time_point begin) {
    return std::chrono::duration<double>(steady::now() - begin).count();
}

// Of the calling thread alone.
double processor_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool all_zero(std::span<const std::byte> data) {
    return data.empty() || (data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// Some blocks of one stretch: what a thread takes at once.
struct piece {
    extent range;
    std::size_t first_block = 0;  // in the answer
};

class local_disk final : public probed_disk {
public:
    local_disk(device& disk, const sampling_options& options, const digest_secret& secret)
        : disk_(disk), options_(options), digests_(digest_algorithm::xxh3, secret), size_(disk.size()) {
        check_geometry({0, std::max(options.block_bytes, chunk_bytes_min), options.block_bytes});
        if (options.depth < 1 || options.depth > 256)
            throw error(error_kind::usage, "a depth of " + std::to_string(options.depth) + " is out of range",
                        {.hint = "--depth takes 1 to 256"});
    }

    const std::string& name() const override { return disk_.name(); }
    std::uint64_t size() const override { return size_; }

    std::vector<allocation_run> allocation(std::stop_token cancel) override {
        std::vector<allocation_run> all;
        for (std::uint64_t at = 0; at < size_;) {
            if (cancel.stop_requested()) throw interrupted();
            for (const allocation_run& run : disk_.allocation({at, size_ - at}, runs_per_query)) {
                REPROTECT_ASSERT(run.range.offset == at && !run.range.empty());
                at = run.range.end();
                if (!all.empty() && all.back().kind == run.kind)
                    all.back().range.length += run.range.length;
                else
                    all.push_back(run);
            }
        }
        return all;
    }

    stretch_samples sample(std::span<const extent> stretches, bool keep, std::stop_token cancel) override;
    std::vector<packed_batch> weigh(std::span<const std::uint64_t> offsets, std::stop_token cancel) override;

private:
    error interrupted() const { return error(error_kind::interrupted, "interrupted", {.device = disk_.name()}); }
    std::vector<piece> pieces_of(std::span<const extent> stretches, std::size_t& blocks) const;
    void read(const piece& what, std::span<block_sample> into, bool keep);
    void keep_block(std::uint64_t offset, std::span<const std::byte> data);

    device& disk_;
    const sampling_options options_;
    const digester digests_;
    const std::uint64_t size_;
    std::mutex kept_mutex_;  // guards what is kept
    std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> kept_;
    std::uint64_t kept_bytes_ = 0;
    bool kept_sorted_ = true;
    std::shared_ptr<buffer_pool> buffers_ = std::make_shared<buffer_pool>(disk_worker::piece_bytes);
    std::optional<worker_pool> workers_;  // last: its tasks use the rest
};

std::vector<piece> local_disk::pieces_of(std::span<const extent> stretches, std::size_t& blocks) const {
    std::vector<piece> pieces;
    std::uint64_t reached = 0;
    for (const extent& stretch : stretches) {
        const bool ends_well = stretch.end() == size_ || stretch.length % options_.block_bytes == 0;
        if (stretch.empty() || stretch.offset < reached || stretch.length > size_ - std::min(size_, stretch.offset) ||
            stretch.offset % options_.block_bytes != 0 || !ends_well)
            throw error(error_kind::usage, "a stretch that cannot be sampled", {.device = disk_.name()});
        reached = stretch.end();
        for (std::uint64_t at = stretch.offset; at < stretch.end(); at += task_bytes) {
            const extent part{at, std::min<std::uint64_t>(task_bytes, stretch.end() - at)};
            pieces.push_back({part, blocks});
            blocks += (part.length + options_.block_bytes - 1) / options_.block_bytes;
        }
    }
    return pieces;
}

void local_disk::keep_block(std::uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(kept_mutex_);
    if (kept_bytes_ + data.size() > options_.kept_bytes) return;
    kept_bytes_ += data.size();
    kept_sorted_ = false;
    kept_.emplace_back(offset, std::vector(data.begin(), data.end()));
}

void local_disk::read(const piece& what, std::span<block_sample> into, bool keep) {
    constexpr std::size_t at_once = disk_worker::piece_bytes;  // whole blocks: both are powers of two
    static_assert(at_once >= block_bytes_max);
    buffer memory = buffers_->take();
    std::size_t index = 0;
    for (std::uint64_t at = what.range.offset; at < what.range.end();) {
        const auto bytes = memory.bytes().first(std::min<std::uint64_t>(at_once, what.range.end() - at));
        disk_.read(at, bytes);
        for (std::size_t from = 0; from < bytes.size(); from += options_.block_bytes) {
            const auto block = std::span<const std::byte>(bytes).subspan(
                from, std::min<std::size_t>(options_.block_bytes, bytes.size() - from));
            block_sample& seen = into[index++];
            seen.value = digests_.bytes(block);
            seen.zero = all_zero(block);
            if (keep && !seen.zero) keep_block(at + from, block);
        }
        at += bytes.size();
    }
}

stretch_samples local_disk::sample(std::span<const extent> stretches, bool keep, std::stop_token cancel) {
    stretch_samples result;
    std::size_t blocks = 0;
    const std::vector<piece> pieces = pieces_of(stretches, blocks);
    if (pieces.empty()) return result;
    result.blocks.resize(blocks);
    if (!workers_)
        workers_.emplace(options_.threads == 0 ? options_.depth : std::min(options_.depth, options_.threads));

    std::mutex mutex;
    std::condition_variable changed;
    std::size_t next = 0, running = 0;
    std::optional<error> failure;
    // As many tasks in turn as reads may be in flight; each takes a piece and then queues the next, so that the workers
    // see which of them sleep.
    const auto begin = steady::now();
    std::function<void()> work = [&] {
        const double before = processor_seconds();
        std::unique_lock lock(mutex);
        if (next < pieces.size() && !failure && !cancel.stop_requested()) {
            const piece& mine = pieces[next];
            const std::size_t end = ++next < pieces.size() ? pieces[next].first_block : blocks;
            lock.unlock();
            std::optional<error> why;
            try {
                read(mine, std::span(result.blocks).subspan(mine.first_block, end - mine.first_block), keep);
            } catch (...) {
                why = caught_error(disk_.name());
            }
            lock.lock();
            if (why && !failure) failure = std::move(why);
        }
        result.processor_seconds += processor_seconds() - before;
        if (next < pieces.size() && !failure && !cancel.stop_requested())
            return workers_->get_executor().execute([&work] { work(); });
        --running;
        changed.notify_all();
    };
    const std::size_t tasks = std::min<std::size_t>(options_.depth, pieces.size());
    {
        const std::lock_guard lock(mutex);
        running = tasks;
    }
    for (std::size_t i = 0; i < tasks; ++i) workers_->get_executor().execute([&work] { work(); });
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(5), [&] { return running == 0; })) {
        lock.unlock();
        workers_->tend();
        lock.lock();
    }
    if (failure) throw *failure;
    if (cancel.stop_requested()) throw interrupted();
    result.seconds = seconds_since(begin);
    return result;
}

std::vector<packed_batch> local_disk::weigh(std::span<const std::uint64_t> offsets, std::stop_token cancel) {
    if (!std::exchange(kept_sorted_, true)) std::ranges::sort(kept_, {}, [](const auto& each) { return each.first; });
    std::vector<const std::vector<std::byte>*> blocks;
    std::size_t total = 0;
    for (const std::uint64_t offset : offsets) {
        const auto at = std::ranges::lower_bound(kept_, offset, {}, [](const auto& each) { return each.first; });
        if (at == kept_.end() || at->first != offset) continue;
        blocks.push_back(&at->second);
        total += at->second.size();
    }
    // Some batches at least, to tell how they vary.
    const std::size_t full = std::clamp(total / batches_least, batch_bytes_least, batch_bytes);
    std::vector<packed_batch> batches;
    std::vector<std::byte> raw, packed(compressor::bound(batch_bytes + options_.block_bytes));
    compressor with;
    const auto finish = [&] {
        if (raw.empty()) return;
        const double before = processor_seconds();
        const auto used = with.compress(raw, level, packed);
        packed_batch batch;
        batch.processor_seconds = processor_seconds() - before;
        batch.raw_bytes = batch.packed_bytes = raw.size();
        if (used && used->size() < raw.size() - raw.size() / 32) batch.packed_bytes = used->size();
        batches.push_back(batch);
        raw.clear();
    };
    for (const std::vector<std::byte>* each : blocks) {
        if (cancel.stop_requested()) throw interrupted();
        raw.insert(raw.end(), each->begin(), each->end());
        if (raw.size() >= full) finish();
    }
    finish();
    return batches;
}

}  // namespace

std::unique_ptr<probed_disk> make_probed_disk(device& disk, const sampling_options& options,
                                              const digest_secret& secret) {
    return std::make_unique<local_disk>(disk, options, secret);
}

}  // namespace reprotect
