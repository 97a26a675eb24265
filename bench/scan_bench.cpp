// How fast a disk that is in memory already becomes a digest map, by the number of reads in flight.
//
// A sparse file in the page cache is bounded by the kernel's copy (`pread`: the same data, as many threads, in the same
// pieces), then by the hash (`pread_xxh3`: and a bare hash of each block). A memory device is bounded by a copy of its
// pages (`memcpy`). The threads are made anew at each call on either side. More reads than processors show what the
// wake-ups cost; a disk that has to be waited for is what they are for.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <thread>

#include "floor.hpp"
#include "reprotect/checksum.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "scan/disk_worker.hpp"

namespace reprotect::bench {
namespace {

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t piece_bytes = disk_worker::piece_bytes;

std::uint64_t data_bytes() {
    return sized(512 * mib, 16 * mib);
}
std::uint64_t extent_bytes() {
    return sized(8 * mib, 2 * mib);
}

// Data and holes by turns, from the start.
std::vector<std::uint64_t> data_offsets() {
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < data_bytes() / extent_bytes(); ++i) offsets.push_back(2 * i * extent_bytes());
    return offsets;
}

void fill(const std::function<void(std::uint64_t, std::span<const std::byte>)>& write) {
    for (const std::uint64_t offset : data_offsets()) write(offset, random_bytes(extent_bytes(), offset + 1));
}

// A file of its own in the folder for temporary ones, gone with the process; its writing leaves it in the page cache.
class cached_file {
public:
    cached_file() : path_((std::filesystem::temp_directory_path() / "reprotect-bench-XXXXXX").string()) {
        descriptor_ = ::mkstemp(path_.data());
        if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(2 * data_bytes())) != 0)
            throw std::runtime_error("cannot make " + path_);
        fill([this](std::uint64_t offset, std::span<const std::byte> bytes) {
            if (::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset)) !=
                static_cast<ssize_t>(bytes.size()))
                throw std::runtime_error("cannot write " + path_);
        });
    }
    cached_file(const cached_file&) = delete;
    cached_file& operator=(const cached_file&) = delete;
    ~cached_file() {
        ::close(descriptor_);
        ::unlink(path_.c_str());
    }

    const std::string& path() const noexcept { return path_; }
    int descriptor() const noexcept { return descriptor_; }

private:
    std::string path_;
    int descriptor_ = -1;
};

// Every piece of the data once, by `threads` threads that each have a buffer of one piece.
void each_piece(unsigned threads, const std::function<void(std::uint64_t offset, std::span<std::byte> buffer)>& use) {
    const std::vector<std::uint64_t> offsets = data_offsets();
    const std::uint64_t per_extent = extent_bytes() / piece_bytes;
    std::atomic<std::uint64_t> next = 0;
    std::vector<std::jthread> running;
    for (unsigned i = 0; i < threads; ++i) {
        running.emplace_back([&] {
            std::vector<std::byte> buffer(piece_bytes);
            for (std::uint64_t at = next++; at < offsets.size() * per_extent; at = next++)
                use(offsets[at / per_extent] + at % per_extent * piece_bytes, buffer);
        });
    }
}

void scan(device& disk, unsigned depth) {
    checksum_options options;
    options.algorithm = digest_algorithm::xxh3;
    options.depth = depth;
    benchmark::DoNotOptimize(checksum(disk, options));
}

void scan_cached_file(benchmark::State& state) {
    static const cached_file file;
    const auto disk = open_device("raw:" + file.path());
    const auto depth = static_cast<unsigned>(state.range(0));
    const auto read = [&](std::uint64_t offset, std::span<std::byte> buffer) {
        if (::pread(file.descriptor(), buffer.data(), buffer.size(), static_cast<off_t>(offset)) !=
            static_cast<ssize_t>(buffer.size()))
            throw std::runtime_error("cannot read " + file.path());
    };
    const auto read_and_hash = [&](std::uint64_t offset, std::span<std::byte> buffer) {
        read(offset, buffer);
        bare_xxh3(buffer, block_bytes_default);
    };
    against(
        state, amount{unit::bytes, data_bytes(), threads::many}, [&] { scan(*disk, depth); },
        floor{"pread", [&] { each_piece(depth, read); }},
        floor{"pread_xxh3", [&] { each_piece(depth, read_and_hash); }});
}
BENCHMARK(scan_cached_file)->ArgName("depth")->Arg(1)->Arg(4)->Arg(16)->Unit(benchmark::kMillisecond)->UseRealTime();

void scan_memory(benchmark::State& state) {
    static memory_device disk(2 * data_bytes());
    static const bool filled = (fill([](auto offset, auto bytes) { disk.write(offset, bytes); }), true);
    static const std::vector<std::byte> plain = random_bytes(2 * data_bytes(), 9);
    benchmark::DoNotOptimize(filled);
    const auto depth = static_cast<unsigned>(state.range(0));
    const auto copy = [](std::uint64_t offset, std::span<std::byte> buffer) {
        std::memcpy(buffer.data(), plain.data() + offset, buffer.size());
        benchmark::ClobberMemory();
    };
    against(
        state, amount{unit::bytes, data_bytes(), threads::many}, [&] { scan(disk, depth); },
        floor{"memcpy", [&] { each_piece(depth, copy); }});
}
BENCHMARK(scan_memory)->ArgName("depth")->Arg(1)->Arg(4)->Arg(16)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace reprotect::bench
