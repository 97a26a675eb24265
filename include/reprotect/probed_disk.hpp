// A disk to be sampled, here or at a peer: what a probe reads of one, and of the link to it. A probe of two disks is
// probe.hpp's.
#pragma once

#include "reprotect/device.hpp"
#include "reprotect/digest.hpp"
#include "reprotect/extent.hpp"
#include "reprotect/geometry.hpp"
#include "reprotect/spread.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace reprotect {

/// How a disk is sampled; both sides of a probe need the same `block_bytes`.
struct sampling_options {
    std::uint32_t block_bytes = block_bytes_default;
    unsigned depth = 16;   ///< reads in flight, 1 to 256
    unsigned threads = 0;  ///< cap; 0: as many as a sync would use
    /// Sampled data that is kept for `weigh`; what comes beyond is not weighed.
    std::uint64_t kept_bytes = 64ull << 20;
};

/// One block that was read. Digests of two disks of one probe can be compared with each other, and with no others.
struct block_sample {
    digest value{};
    bool zero = false;
    friend bool operator==(const block_sample&, const block_sample&) = default;
};

/// What reading some stretches brought and took.
struct stretch_samples {
    std::vector<block_sample> blocks;  ///< of all stretches in order; a stretch has ceil(length / block_bytes)
    double seconds = 0;                ///< for all of them, digested, with the depth that there is
    double processor_seconds = 0;      ///< of the threads that read and digested
};

/// What compression made of sampled blocks, up to 1 MiB at a time, as a sync batches them.
struct packed_batch {
    std::uint64_t raw_bytes = 0;
    std::uint64_t packed_bytes = 0;  ///< as it would be sent: raw where compression saves too little
    double processor_seconds = 0;
};

/// A disk to be probed, here or at a peer. From one thread at a time; two disks may be called at the same time.
class probed_disk {
public:
    virtual ~probed_disk() = default;
    virtual const std::string& name() const = 0;
    virtual std::uint64_t size() const = 0;
    /// As device::allocation, of the whole disk.
    virtual std::vector<allocation_run> allocation(std::stop_token cancel) = 0;
    /// Reads stretches that begin on block boundaries (and end there, or at the disk's end), in offset order, not
    /// overlapping. `keep`: for `weigh`, up to `kept_bytes`.
    virtual stretch_samples sample(std::span<const extent> stretches, bool keep, std::stop_token cancel) = 0;
    /// Compresses sampled blocks at these offsets, rising, each once; those that were not kept are left out.
    virtual std::vector<packed_batch> weigh(std::span<const std::uint64_t> offsets, std::stop_token cancel) = 0;
};

/// A disk of this machine. `secret` keys the digests (both disks of a probe need the same). Borrows the device.
std::unique_ptr<probed_disk> make_probed_disk(device& disk, const sampling_options& options,
                                              const digest_secret& secret);

/// Bytes that crossed a connection, as the side that asked counted them; or that may cross it at most.
struct link_traffic {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
};

/// A link as it was measured.
struct link_rates {
    spread<double> round_trip_s{};
    spread<double> to_target{};  ///< bytes a second
    spread<double> to_source{};
};

}  // namespace reprotect
