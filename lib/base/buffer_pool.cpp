// A stack of free buffers under one mutex, taken twice a chunk.
#include "base/buffer_pool.hpp"

#include <new>
#include <utility>

#include "base/assert.hpp"

namespace reprotect {

buffer::buffer(buffer&& other) noexcept
    : pool_(std::move(other.pool_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

buffer& buffer::operator=(buffer&& other) noexcept {
    if (this != &other) {
        if (data_) pool_->give_back(data_, size_);
        pool_ = std::move(other.pool_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

buffer::~buffer() {
    if (data_) pool_->give_back(data_, size_);
}

buffer_pool::~buffer_pool() {
    for (std::byte* data : free_) ::operator delete (data, std::align_val_t{alignment});
}

buffer buffer_pool::take(std::size_t bytes) {
    REPROTECT_ASSERT(bytes != 0 && bytes <= buffer_bytes_);
    const bool whole = bytes == buffer_bytes_;
    std::byte* data = nullptr;
    if (whole) {
        const std::lock_guard lock(mutex_);
        if (!free_.empty()) {
            data = free_.back();
            free_.pop_back();
        } else {
            free_.reserve(++buffers_);  // so that giving back never allocates
        }
    }
    if (!data) data = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{alignment}));
    return buffer(shared_from_this(), data, bytes);
}

void buffer_pool::give_back(std::byte* data, std::size_t bytes) noexcept {
    if (bytes != buffer_bytes_) return ::operator delete (data, std::align_val_t{alignment});
    const std::lock_guard lock(mutex_);
    free_.push_back(data);
}

}  // namespace reprotect
