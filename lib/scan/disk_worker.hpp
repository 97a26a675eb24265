// The hands of a peer: carries out its actions on a device, digesting while the bytes are in cache. Blocking; any number of
// threads may call at once.
#pragma once

#include <memory>
#include <variant>

#include "base/buffer_pool.hpp"
#include "codec/digester.hpp"
#include "peer/action.hpp"
#include "reprotect/device.hpp"

namespace reprotect {

/// Whether the bytes that came are what was sent, and they themselves.
struct checked_chunk {
    apply_chunk what;
    std::variant<chunk_applied, action_failed> result;
    bool is_right() const noexcept {
        const auto* checked = std::get_if<chunk_applied>(&result);
        return checked && checked->matched;
    }
};

class disk_worker {
public:
    /// `readable_bytes`: where the disk ends; it counts as zero beyond.
    disk_worker(device& disk, const geometry& shape, std::uint64_t readable_bytes,
                std::shared_ptr<const digester> digests, std::shared_ptr<buffer_pool> pool);

    /// Answers query_allocation, read_chunk, punch, apply_chunk, flush_target, drop_cache and read_proof; a failure is
    /// `action_failed`. Other actions are not a disk's (asserted).
    event perform(action&& what) const noexcept;

    /// The same for apply_chunk in two halves, of which the second alone writes: for a disk with `properties().one_writer`.
    checked_chunk check(apply_chunk&& what) const noexcept;
    event perform(checked_chunk&& what) const noexcept;

    chunk_read read(const read_chunk& what) const;
    proof_read read_again(const read_proof& what) const;

    static constexpr std::size_t piece_bytes = 256 * 1024;  // measured: stays in a 1 MiB L2 between pread and digest

private:
    bool is_to_be_sent(const read_chunk& what, std::uint32_t block, const digest& value) const;
    void pack(chunk_read& what, std::uint64_t bytes) const;
    chunk_applied digest_of(apply_chunk& what) const;
    chunk_applied write(const apply_chunk& what, chunk_applied&& checked) const;
    std::uint64_t give_back(extent range) const;
    void read_range(extent range, std::span<std::byte> into) const;

    device& disk_;
    geometry shape_;
    std::uint64_t readable_bytes_;
    std::shared_ptr<const digester> digests_;
    std::shared_ptr<buffer_pool> pool_;  // shared with the messages that carry its buffers
    zero_digests zero_;
};

}  // namespace reprotect
