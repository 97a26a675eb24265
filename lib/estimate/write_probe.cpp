// Writing as a sync's target does it: from one thread (a file takes one writer at a time), in pieces of a chunk, and
// blocks for themselves into data that is there. What is written does not compress, in case the device would.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <random>
#include <vector>

#include "device/created_file.hpp"
#include "reprotect/error.hpp"
#include "reprotect/open_device.hpp"
#include "reprotect/probe.hpp"

namespace reprotect {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t piece_bytes = 1 << 20;
constexpr std::size_t source_bytes = 48 << 20;  // beyond most caches, as what a sync writes
constexpr std::uint64_t block_stride = 20;      // one block of so many: as W1 of the benches, 5%
constexpr double pass_seconds = 5;              // a slow disk is known well before

double processor_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class scratch_file {
public:
    explicit scratch_file(const std::string& path) {
        check_scratch_file(path);
        open_options how;
        how.mode = access::read_write;
        how.create = true;
        disk_ = open_device(std::filesystem::absolute(path).string(), how);
        if (!disk_->properties().created)
            throw error(error_kind::unsuitable, path + " came up meanwhile, and a probe overwrites nothing",
                        {.device = path, .operation = "create", .hint = "name a file that is not there yet"});
    }
    ~scratch_file() {
        if (!disk_ || !disk_->properties().created) return;
        const auto native = disk_->native();
        if (native && is_named(*native)) ::unlink(native->path.c_str());
    }
    scratch_file(const scratch_file&) = delete;
    scratch_file& operator=(const scratch_file&) = delete;
    device& operator*() const noexcept { return *disk_; }

private:
    std::unique_ptr<device> disk_;
};

struct pass {
    double rate = 0;  // bytes a second
    std::uint64_t bytes = 0;
};

// `write` writes a piece and says how much, 0 at the end.
template <typename Write>
pass timed(device& disk, const std::stop_token& cancel, Write write) {
    pass result;
    const auto begin = steady::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(steady::now() - begin).count(); };
    while (elapsed() < pass_seconds) {
        if (cancel.stop_requested()) throw error(error_kind::interrupted, "interrupted", {.device = disk.name()});
        const std::uint64_t count = write();
        if (count == 0) break;
        result.bytes += count;
        if (result.bytes / device::writeback_bytes != (result.bytes - count) / device::writeback_bytes)
            disk.begin_writeback();
    }
    disk.flush();
    result.rate = static_cast<double>(result.bytes) / std::max(elapsed(), 1e-9);
    return result;
}

}  // namespace

void check_scratch_file(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0)
        throw error(error_kind::unsuitable, path + " is there already, and a probe overwrites nothing",
                    {.device = path, .operation = "create", .hint = "name a file that is not there yet"});
    std::error_code unknown;
    const std::filesystem::path folder = std::filesystem::absolute(path, unknown).parent_path();
    if (!unknown && !std::filesystem::is_directory(folder, unknown))
        throw error(error_kind::not_found, "there is no folder " + folder.string() + " for a scratch file",
                    {.device = path, .operation = "create", .hint = "name a file in a folder that is there"});
}

write_rates measure_writing(const std::string& path, std::uint32_t block_bytes, std::uint64_t bytes_max,
                            std::stop_token cancel) {
    const scratch_file file(path);
    device& disk = *file;
    const std::uint64_t size = std::max<std::uint64_t>(bytes_max / piece_bytes, 1) * piece_bytes;
    disk.resize(size);
    std::vector<std::byte> random(source_bytes);
    std::mt19937_64 generator(1);
    for (std::size_t i = 0; i < random.size(); i += sizeof(std::uint64_t)) {
        const std::uint64_t word = generator();
        std::memcpy(&random[i], &word, sizeof word);
    }

    const double before = processor_seconds();
    std::uint64_t at = 0;
    const pass whole = timed(disk, cancel, [&]() -> std::uint64_t {
        if (at == size) return 0;
        disk.write(at, std::span(random).subspan(at % (source_bytes - piece_bytes) / 4096 * 4096, piece_bytes));
        at += piece_bytes;
        return piece_bytes;
    });
    const double processor_s =
        (processor_seconds() - before) / static_cast<double>(std::max<std::uint64_t>(whole.bytes, 1));

    const std::uint64_t end = at;
    at = 0;
    const pass scattered = timed(disk, cancel, [&]() -> std::uint64_t {
        if (at + block_bytes > end) return 0;
        disk.write(at, std::span(random).subspan(at % (source_bytes - piece_bytes), block_bytes));
        at += block_stride * block_bytes;
        return block_bytes;
    });
    // Half and one and a half of it: what a cache takes for a moment it may not take for long.
    const auto around = [](double rate) { return spread<double>{rate / 2, rate, rate * 1.5}; };
    return {around(whole.rate), around(scattered.rate), processor_s};
}

}  // namespace reprotect
