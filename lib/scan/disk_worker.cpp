// A chunk is read in pieces that fit the second-level cache, and each piece is digested right after it was read. Where all its
// bytes are wanted afterwards they land at their place in a pooled buffer; where none are, every piece uses the same small one.
// Where it shows block by block which are, a piece is read right behind those that are kept so far: where nothing changed, each
// piece lies where the one before it lay, and where all did, nothing is moved.
#include "scan/disk_worker.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/assert.hpp"
#include "base/caught_error.hpp"

namespace reprotect {
namespace {

constexpr std::size_t runs_per_query = 4096;

// A thread's own aligned memory, grown on demand and kept.
std::span<std::byte> scratch(std::size_t bytes) {
    struct aligned {
        std::byte* data = nullptr;
        std::size_t size = 0;
        ~aligned() { release(); }
        void release() noexcept {
            if (data) ::operator delete (data, std::align_val_t{buffer_pool::alignment});
            data = nullptr;
            size = 0;
        }
    };
    thread_local aligned memory;
    if (memory.size < bytes) {
        memory.release();
        memory.data = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{buffer_pool::alignment}));
        memory.size = bytes;
    }
    return {memory.data, bytes};
}

constexpr std::uint64_t aligned(std::uint64_t offset) {
    return (offset + buffer_pool::alignment - 1) / buffer_pool::alignment * buffer_pool::alignment;
}

bool all_zero(std::span<const std::byte> data) {
    return data.empty() || (data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// Of the bytes that a chunk's runs will have, one part a run; of a zero run nothing.
std::vector<std::span<const std::byte>> parts_of(const geometry& shape, const chunk_data& data) {
    const std::span<const std::byte> payload = data.payload.bytes();
    std::vector<std::span<const std::byte>> parts;
    parts.reserve(data.runs.size());
    std::uint64_t packed_to = 0;
    for (const block_run& run : data.runs) {
        const extent range = bytes_of(shape, data.chunk, run);
        const std::uint64_t place = data.packed ? packed_to : range.offset;
        parts.push_back(run.zero ? std::span<const std::byte>() : payload.subspan(place, range.length));
        packed_to += parts.back().size();
    }
    return parts;
}

}  // namespace

disk_worker::disk_worker(device& disk, const geometry& shape, std::uint64_t readable_bytes,
                         std::shared_ptr<const digester> digests, std::shared_ptr<buffer_pool> pool)
    : disk_(disk),
      shape_(shape),
      readable_bytes_(readable_bytes),
      digests_(std::move(digests)),
      pool_(std::move(pool)),
      zero_(*digests_, shape) {}

event disk_worker::perform(action&& what) const noexcept {
    try {
        if (auto* query = std::get_if<query_allocation>(&what))
            return allocation_known{disk_.allocation(query->within, runs_per_query)};
        if (auto* chunk = std::get_if<read_chunk>(&what)) return read(*chunk);
        if (auto* chunk = std::get_if<apply_chunk>(&what)) return perform(check(std::move(*chunk)));
        if (auto* chunk = std::get_if<read_proof>(&what)) return read_again(*chunk);
        if (auto* holes = std::get_if<punch>(&what)) {
            punched result;
            for (const extent& range : holes->ranges) result.bytes += give_back(range);
            return result;
        }
        if (std::holds_alternative<flush_target>(what)) {
            disk_.flush();
            return target_flushed{};
        }
        if (std::holds_alternative<drop_cache>(what)) return cache_dropped{disk_.drop_cache()};
    } catch (...) {
        return action_failed{caught_error(disk_.name())};
    }
    assertion_failed("an action that a disk carries out", __FILE__, __LINE__);
}

// Reads what lies within the disk; the rest is zero.
void disk_worker::read_range(extent range, std::span<std::byte> into) const {
    const std::uint64_t within = intersect(range, {0, readable_bytes_}).length;
    if (within != 0) disk_.read(range.offset, into.first(within));
    if (within < range.length) std::memset(into.data() + within, 0, range.length - within);
}

// Of what lies within the disk; returns how much that is.
std::uint64_t disk_worker::give_back(extent range) const {
    const extent within = intersect(range, {0, readable_bytes_});
    if (!within.empty()) disk_.write_zeroes(within.offset, within.length);
    return within.length;
}

chunk_read disk_worker::read(const read_chunk& what) const {
    const extent whole = shape_.chunk(what.chunk);
    const std::uint32_t count = shape_.blocks_in(what.chunk);
    chunk_read result;
    result.chunk = what.chunk;
    result.again = what.again;
    for (const extent& range : what.punch) result.deallocated_bytes += give_back(range);

    result.blocks.resize(count, zero_.block(what.chunk, 0));
    if (count != 0) result.blocks[count - 1] = zero_.block(what.chunk, count - 1);
    const bool packs = what.keep_bytes && (what.again || !what.cuts.empty());
    REPROTECT_ASSERT(what.cuts.empty() || (what.cuts.size() == count && !what.want_proof));
    const bool placed = what.keep_bytes || what.want_proof;
    std::span<std::byte> bytes;
    if (what.keep_bytes) {
        result.bytes = pool_->take();
        bytes = result.bytes.bytes().first(whole.length);
    } else if (what.want_proof) {
        bytes = scratch(shape_.chunk_bytes).first(whole.length);
    }
    if (what.want_proof && !what.again)
        for (const extent& gap : what.data.gaps(whole))
            std::memset(bytes.data() + (gap.offset - whole.offset), 0, gap.length);

    // One large transfer where nothing is cached anyway.
    const std::size_t piece_max =
        disk_.properties().direct ? shape_.chunk_bytes : std::min<std::size_t>(piece_bytes, shape_.chunk_bytes);
    std::uint64_t packed_to = 0;
    for (const extent& range : what.data) {
        for (std::uint64_t at = range.offset; at < range.end();) {
            const extent piece{at, std::min<std::uint64_t>(piece_max, range.end() - at)};
            const std::uint64_t begin = at - whole.offset;
            const std::uint64_t place = packs ? std::min(aligned(packed_to), begin) : begin;
            const std::span<std::byte> into =
                placed ? bytes.subspan(place, piece.length) : scratch(piece_max).first(piece.length);
            read_range(piece, into);
            for (std::uint64_t done = 0; done < piece.length; done += shape_.block_bytes) {
                const std::uint64_t length = std::min<std::uint64_t>(shape_.block_bytes, piece.length - done);
                const auto block = static_cast<std::uint32_t>((begin + done) / shape_.block_bytes);
                const digest value = result.blocks[block] = digests_->bytes(into.subspan(done, length));
                if (!packs || (!what.again && !is_to_be_sent(what, block, value))) continue;
                if (packed_to != place + done) std::memmove(bytes.data() + packed_to, into.data() + done, length);
                packed_to += length;
            }
            at = piece.end();
        }
        result.read_bytes += intersect(range, {0, readable_bytes_}).length;
    }
    if (packs) pack(result, packed_to);
    if (what.again) return result;
    result.value = digests_->chunk(whole.length, result.blocks);
    if (what.want_proof) result.proof = sha256_128(bytes);
    if (what.unless == result.value) result.bytes = {};
    return result;
}

// By the rule of the source's peer, which counts on it.
bool disk_worker::is_to_be_sent(const read_chunk& what, std::uint32_t block, const digest& value) const {
    return what.cuts[block] != cut(value) && value != zero_.block(what.chunk, block);
}

// Only so many bytes at the buffer's beginning are kept.
void disk_worker::pack(chunk_read& what, std::uint64_t bytes) const {
    what.packed = true;
    buffer whole = std::move(what.bytes);
    if (bytes == 0) return;
    if (bytes > whole.bytes().size() / 2) {
        what.bytes = std::move(whole);
        return;
    }
    what.bytes = pool_->take(bytes);
    std::memcpy(what.bytes.bytes().data(), whole.bytes().data(), bytes);
}

// What the chunk will have, from our own block digests and the bytes that came. Where it is wrong, our own go back.
chunk_applied disk_worker::digest_of(apply_chunk& what) const {
    const std::uint64_t chunk = what.data.chunk;
    const std::uint32_t count = shape_.blocks_in(chunk);
    std::vector<digest> fresh = what.blocks;
    if (fresh.empty())
        for (std::uint32_t i = 0; i < count; ++i) fresh.push_back(zero_.block(chunk, i));
    const auto parts = parts_of(shape_, what.data);
    for (std::size_t at = 0; at < parts.size(); ++at) {
        const block_run& run = what.data.runs[at];
        const std::uint64_t length = bytes_of(shape_, chunk, run).length;
        for (std::uint32_t i = 0; i < run.count; ++i) {
            const std::uint64_t begin = std::uint64_t{i} * shape_.block_bytes;
            fresh[run.first + i] = run.zero ? zero_.block(chunk, run.first + i)
                                            : digests_->bytes(parts[at].subspan(
                                                  begin, std::min<std::uint64_t>(shape_.block_bytes, length - begin)));
        }
    }
    chunk_applied result;
    result.chunk = chunk;
    result.value = digests_->chunk(shape_.chunk(chunk).length, fresh);
    result.matched = result.value == what.data.value;
    if (!result.matched) result.blocks = std::move(what.blocks);
    return result;
}

chunk_applied disk_worker::write(const apply_chunk& what, chunk_applied&& checked) const {
    if (!checked.matched) return std::move(checked);
    const extent whole = shape_.chunk(what.data.chunk);
    const auto parts = parts_of(shape_, what.data);
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const block_run& run = what.data.runs[i];
        const extent range = bytes_of(shape_, what.data.chunk, run);
        if (!run.zero) {
            disk_.write(whole.offset + range.offset, parts[i]);
            checked.written_bytes += range.length;
        } else if (!what.skip_zero_runs) {
            disk_.write_zeroes(whole.offset + range.offset, range.length);
        }
    }
    return std::move(checked);
}

checked_chunk disk_worker::check(apply_chunk&& what) const noexcept {
    checked_chunk result{std::move(what), chunk_applied{}};
    try {
        result.result = digest_of(result.what);
    } catch (...) {
        result.result = action_failed{caught_error(disk_.name())};
    }
    return result;
}

event disk_worker::perform(checked_chunk&& what) const noexcept {
    if (auto* failed = std::get_if<action_failed>(&what.result)) return std::move(*failed);
    try {
        return write(what.what, std::get<chunk_applied>(std::move(what.result)));
    } catch (...) {
        return action_failed{caught_error(disk_.name())};
    }
}

proof_read disk_worker::read_again(const read_proof& what) const {
    const extent whole = shape_.chunk(what.chunk);
    const std::span<std::byte> bytes = scratch(shape_.chunk_bytes).first(whole.length);
    disk_.read(whole.offset, bytes);
    proof_read result;
    result.chunk = what.chunk;
    if (!what.expect_zero || !all_zero(bytes)) result.value = sha256_128(bytes);
    return result;
}

}  // namespace reprotect
