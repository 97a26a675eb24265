// A stack of free buffers under one mutex, taken twice a chunk.
#include "base/buffer_pool.hpp"

#include <new>
#include <utility>

namespace reprotect {

buffer::buffer(buffer&& other) noexcept
    : pool_(std::move(other.pool_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

buffer& buffer::operator=(buffer&& other) noexcept {
    if (this != &other) {
        if (data_) pool_->give_back(data_);
        pool_ = std::move(other.pool_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

buffer::~buffer() {
    if (data_) pool_->give_back(data_);
}

buffer_pool::~buffer_pool() {
    for (std::byte* data : free_) ::operator delete (data, std::align_val_t{alignment});
}

buffer buffer_pool::take() {
    std::byte* data = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (!free_.empty()) {
            data = free_.back();
            free_.pop_back();
        }
    }
    if (!data) {
        {
            const std::lock_guard lock(mutex_);
            free_.reserve(++buffers_);  // so that giving back never allocates
        }
        data = static_cast<std::byte*>(::operator new (buffer_bytes_, std::align_val_t{alignment}));
    }
    return buffer(shared_from_this(), data, buffer_bytes_);
}

void buffer_pool::give_back(std::byte* data) noexcept {
    const std::lock_guard lock(mutex_);
    free_.push_back(data);
}

}  // namespace reprotect
