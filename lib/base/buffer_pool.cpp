// A stack of free buffers under one mutex, taken twice a chunk.
#include "base/buffer_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/assert.hpp"

namespace reprotect {
namespace {

constexpr std::size_t huge_page_bytes = 2 << 20;  // x86-64's, and of 64-bit Arm with pages of 4 KiB

std::byte* allocate(std::size_t bytes, std::size_t alignment) {
    return static_cast<std::byte*>(::operator new (bytes, std::align_val_t{alignment}));
}

void release(std::byte* data, std::size_t alignment) noexcept {
    ::operator delete (data, std::align_val_t{alignment});
}

constexpr std::size_t rounded_up(std::size_t bytes, std::size_t to) {
    return (bytes + to - 1) / to * to;
}

// Of how much memory at once buffers are made, and how it is aligned.
constexpr std::size_t slab_bytes(std::size_t buffer_bytes) {
    return buffer_bytes < buffer_pool::large_bytes ? buffer_bytes : rounded_up(buffer_bytes, huge_page_bytes);
}
constexpr std::size_t slab_alignment(std::size_t buffer_bytes) {
    return buffer_bytes < buffer_pool::large_bytes ? buffer_pool::alignment : huge_page_bytes;
}

}  // namespace

// A whole buffer of which parts are out.
struct buffer::shared_memory {
    std::byte* data;
    std::size_t used = 0;  // from its beginning on
    std::size_t parts = 0;
};

buffer::buffer(buffer&& other) noexcept
    : pool_(std::move(other.pool_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      within_(std::exchange(other.within_, nullptr)) {}

buffer& buffer::operator=(buffer&& other) noexcept {
    if (this != &other) {
        give_back();
        pool_ = std::move(other.pool_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
        within_ = std::exchange(other.within_, nullptr);
    }
    return *this;
}

buffer::~buffer() {
    give_back();
}

void buffer::give_back() noexcept {
    if (data_) pool_->give_back(data_, size_, within_);
}

buffer_pool::buffer_pool(std::size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}

buffer_pool::~buffer_pool() {
    for (std::byte* slab : slabs_) release(slab, slab_alignment(buffer_bytes_));
}

buffer buffer_pool::take(std::size_t bytes) {
    REPROTECT_ASSERT(bytes != 0 && bytes <= buffer_bytes_);
    const bool large = buffer_bytes_ >= large_bytes;
    if (large && bytes <= buffer_bytes_ / 2) return take_part(bytes);
    if (!large && bytes != buffer_bytes_) return buffer(shared_from_this(), allocate(bytes, alignment), bytes, nullptr);
    const std::lock_guard lock(mutex_);
    return buffer(shared_from_this(), take_whole(), bytes, nullptr);
}

std::byte* buffer_pool::take_whole() {
    if (free_.empty()) {
        const std::size_t slab = slab_bytes(buffer_bytes_), count = slab / buffer_bytes_;
        slabs_.reserve(slabs_.size() + 1);
        free_.reserve((slabs_.size() + 1) * count);  // so that giving back never allocates
        slabs_.push_back(allocate(slab, slab_alignment(buffer_bytes_)));
        // A wish: without it, all that changes is the time that the first touch of each page takes.
        if (buffer_bytes_ >= large_bytes) ::madvise(slabs_.back(), slab, MADV_HUGEPAGE);
        for (std::size_t i = count; i-- > 0;) free_.push_back(slabs_.back() + i * buffer_bytes_);
    }
    std::byte* whole = free_.back();
    free_.pop_back();
    return whole;
}

buffer buffer_pool::take_part(std::size_t bytes) {
    const std::size_t room = rounded_up(bytes, alignment);
    const std::lock_guard lock(mutex_);
    if (parting_ && room > buffer_bytes_ - parting_->used)
        parting_.release();  // its parts, of which there are, free it
    if (!parting_) {
        auto fresh = std::make_unique<shared_memory>();
        fresh->data = take_whole();
        parting_ = std::move(fresh);
    }
    buffer part(shared_from_this(), parting_->data + parting_->used, bytes, parting_.get());
    parting_->used += room;
    ++parting_->parts;
    return part;
}

void buffer_pool::give_back(std::byte* data, std::size_t bytes, shared_memory* within) noexcept {
    if (buffer_bytes_ < large_bytes && bytes != buffer_bytes_) return release(data, alignment);
    const std::lock_guard lock(mutex_);
    if (!within) return free_.push_back(data);
    if (--within->parts != 0) return;
    within->used = 0;
    if (within == parting_.get()) return;
    free_.push_back(within->data);
    delete within;
}

}  // namespace reprotect
