// What this machine can do in a second: copy, digest, compress, and read a disk. The bounds of any sync.
#pragma once

#include "reprotect/device.hpp"
#include "reprotect/digest.hpp"
#include "reprotect/geometry.hpp"

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace reprotect {

struct rate_options {
    std::uint32_t block_bytes = block_bytes_default;  ///< what a digest covers
    std::uint32_t chunk_bytes = chunk_bytes_default;  ///< what a disk's thread takes at once, at most 16 MiB
    unsigned depth = 16;                              ///< reads in flight, 1 to 256
    unsigned threads = 0;                             ///< what "all" stands for; 0: as many as there are cores
    double seconds = 0.2;                             ///< for each figure of the processor; above 0, at most 60
    double disk_seconds = 3;                          ///< at most, for a disk; above 0, at most 3600
};

/// Bytes a second, by one thread and by all together.
struct thread_rates {
    double one = 0;
    double all = 0;
};

/// One thread's.
struct compression_rate {
    int level = 0;
    std::string content;          ///< "text" or "random"
    double bytes_per_second = 0;  ///< of what goes in
    double ratio = 1;             ///< what goes in by what comes out
};

struct machine_rates {
    unsigned threads = 0;  ///< what "all" stood for; fewer than asked for where the system gives no more
    thread_rates copy;     ///< memory to memory, more than most caches hold
    thread_rates xxh3;     ///< blocks that are in the cache, as they are when they were just read
    thread_rates sha256;
    std::vector<compression_rate> zstd;
};

/// A disk read in offset order by `depth` threads. Chunks that are one hole are passed over, as a sync does.
struct disk_rate {
    std::uint64_t read_bytes = 0;
    double seconds = 0;
    unsigned depth = 0;             ///< reads in flight: fewer than asked for where there are fewer chunks or threads
    std::uint32_t piece_bytes = 0;  ///< of one read, at most
    bool direct = false;            ///< past the page cache
    bool whole = false;             ///< all data of the disk was read; else the time was up
    /// Absent where there was no data to read.
    std::optional<double> bytes_per_second() const noexcept {
        if (read_bytes == 0 || !(seconds > 0)) return std::nullopt;
        return static_cast<double>(read_bytes) / seconds;
    }
};

/// Measures the processor and the memory; takes about 10 times `options.seconds`, and memory of at most 512 MiB and
/// 256 KiB a thread, whatever the depth and the chunk are. Throws `error`: usage, `interrupted` when cancelled,
/// `device_io` where there is no memory or no thread.
machine_rates measure_machine(const rate_options& options = {}, std::stop_token cancel = {});

/// Digests alone, of blocks by this algorithm; takes about twice `options.seconds`. Throws as `measure_machine`.
thread_rates measure_digests(digest_algorithm algorithm, const rate_options& options = {}, std::stop_token cancel = {});

/// Reads a disk, and never writes. Each byte is read at most once. Memory is depth × chunk for a direct device, which is
/// 16 MiB by default and 4 GiB at most, and no option bounds it further; for others it is depth × the lesser of the chunk
/// and 256 KiB, 64 MiB at most. Throws `error`: usage, `interrupted` when cancelled, `device_io` where there is no memory
/// or no thread, and what the device throws.
disk_rate measure_disk(device& disk, const rate_options& options = {}, std::stop_token cancel = {});

}  // namespace reprotect
