// Chunk buffers that are reused: aligned for direct I/O, the last one returned handed out first, because it is still in cache.
// The pool does not bound their number; the peers do (their windows are the memory formula).
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace reprotect {

class buffer_pool;

/// One buffer; goes back to its pool when destroyed. Movable, empty when default-constructed or moved from.
class buffer {
public:
    buffer() = default;
    buffer(buffer&& other) noexcept;
    buffer& operator=(buffer&& other) noexcept;
    ~buffer();

    explicit operator bool() const noexcept { return data_ != nullptr; }
    std::span<std::byte> bytes() noexcept { return {data_, size_}; }
    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

private:
    friend class buffer_pool;
    buffer(std::shared_ptr<buffer_pool> pool, std::byte* data, std::size_t size) noexcept
        : pool_(std::move(pool)), data_(data), size_(size) {}

    std::shared_ptr<buffer_pool> pool_;  // shared: a message may outlive the side that filled it
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Thread-safe.
class buffer_pool : public std::enable_shared_from_this<buffer_pool> {
public:
    static constexpr std::size_t alignment = 4096;  // the largest logical sector in use

    explicit buffer_pool(std::size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;
    ~buffer_pool();

    /// A whole one.
    buffer take() { return take(buffer_bytes_); }
    /// At least one byte, and no more than a whole one has. Only whole ones are kept for the next who needs one.
    buffer take(std::size_t bytes);

private:
    friend class buffer;
    void give_back(std::byte* data, std::size_t bytes) noexcept;

    const std::size_t buffer_bytes_;
    std::mutex mutex_;
    std::vector<std::byte*> free_;
    std::size_t buffers_ = 0;  // made so far
};

}  // namespace reprotect
