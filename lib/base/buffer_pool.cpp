// A stack of free buffers under one mutex, taken a few times a chunk.
#include "base/buffer_pool.hpp"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define REPROTECT_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REPROTECT_ADDRESS_SANITIZER
#endif
#endif
#ifdef REPROTECT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

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

// Of sizes that fill huge pages: others would leave a part of each unused.
constexpr bool fills_huge_pages(std::size_t bytes) {
    return bytes % huge_page_bytes == 0 || (bytes >= buffer_pool::large_bytes && huge_page_bytes % bytes == 0);
}

// The address sanitizer is told what of shared memory nobody may touch.
void forbid([[maybe_unused]] const std::byte* data, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef REPROTECT_ADDRESS_SANITIZER
    __asan_poison_memory_region(data, bytes);
#endif
}
void permit([[maybe_unused]] const std::byte* data, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef REPROTECT_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(data, bytes);
#endif
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

buffer_pool::buffer_pool(std::size_t buffer_bytes)
    : buffer_bytes_(buffer_bytes), large_(fills_huge_pages(buffer_bytes)) {}

buffer_pool::~buffer_pool() {
    for (std::byte* slab : slabs_) {
        permit(slab, slab_bytes());
        release(slab, large_ ? huge_page_bytes : alignment);
    }
}

std::size_t buffer_pool::slab_bytes() const noexcept {
    return large_ ? std::max(buffer_bytes_, huge_page_bytes) : buffer_bytes_;
}

buffer buffer_pool::take(std::size_t bytes) {
    REPROTECT_ASSERT(bytes != 0 && bytes <= buffer_bytes_);
    if (large_ && bytes <= buffer_bytes_ / 4) return take_part(bytes);
    if (!is_whole(bytes)) return buffer(shared_from_this(), allocate(bytes, alignment), bytes, nullptr);
    const std::lock_guard lock(mutex_);
    buffer whole(shared_from_this(), take_whole(), bytes, nullptr);
    permit(whole.data_, bytes);
    return whole;
}

// With less of it unused than a quarter.
bool buffer_pool::is_whole(std::size_t bytes) const noexcept {
    return bytes == buffer_bytes_ || (large_ && bytes > buffer_bytes_ / 4 * 3);
}

std::byte* buffer_pool::take_whole() {
    if (free_.empty()) {
        const std::size_t count = slab_bytes() / buffer_bytes_;
        slabs_.reserve(slabs_.size() + 1);
        free_.reserve((slabs_.size() + 1) * count);  // so that giving back never allocates
        std::byte* slab = allocate(slab_bytes(), large_ ? huge_page_bytes : alignment);
        slabs_.push_back(slab);
        // A wish: without it, all that changes is the time that the first touch of each page takes.
        if (large_) ::madvise(slab, slab_bytes(), MADV_HUGEPAGE);
        forbid(slab, slab_bytes());
        for (std::size_t i = count; i-- > 0;) free_.push_back(slab + i * buffer_bytes_);
    }
    std::byte* whole = free_.back();
    free_.pop_back();
    return whole;
}

buffer buffer_pool::take_part(std::size_t bytes) {
    const std::size_t room = rounded_up(bytes, alignment);
    const std::lock_guard lock(mutex_);
    if (parting_ && room > buffer_bytes_ - parting_->used) static_cast<void>(parting_.release());  // its parts free it
    if (!parting_) {
        auto fresh = std::make_unique<shared_memory>();
        fresh->data = take_whole();
        parting_ = std::move(fresh);
    }
    buffer part(shared_from_this(), parting_->data + parting_->used, bytes, parting_.get());
    permit(part.data_, bytes);
    parting_->used += room;
    ++parting_->parts;
    return part;
}

void buffer_pool::give_back(std::byte* data, std::size_t bytes, shared_memory* within) noexcept {
    if (!within && !is_whole(bytes)) return release(data, alignment);
    const std::lock_guard lock(mutex_);
    forbid(data, bytes);
    if (!within) return free_.push_back(data);
    if (--within->parts != 0) return;
    free_.push_back(within->data);
    if (within == parting_.get())
        parting_.reset();
    else
        delete within;
}

}  // namespace reprotect
