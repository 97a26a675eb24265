// Chunk buffers that are reused: aligned for direct I/O, the last one returned handed out first, because it is still in cache.
// The pool does not bound their number; the peers do (their windows are the memory formula).
//
// Fresh memory is dear: each page is cleared by the kernel at its first touch, after a fault of its own. Large buffers therefore
// lie in huge pages, where the system gives any, and what needs up to a quarter of one shares it with its neighbours instead of
// coming from the heap, which returns what is free and asks for it again. So at most a third more is in use than was asked for.
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
    struct shared_memory;
    buffer(std::shared_ptr<buffer_pool> pool, std::byte* data, std::size_t size, shared_memory* within) noexcept
        : pool_(std::move(pool)), data_(data), size_(size), within_(within) {}
    void give_back() noexcept;

    std::shared_ptr<buffer_pool> pool_;  // shared: a message may outlive the side that filled it
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    shared_memory* within_ = nullptr;  // what this is a part of
};

/// Thread-safe.
class buffer_pool : public std::enable_shared_from_this<buffer_pool> {
public:
    static constexpr std::size_t alignment = 4096;  // the largest logical sector in use
    /// From here on memory is shared and lies in huge pages, if the size fits those. Guessed.
    static constexpr std::size_t large_bytes = 1 << 20;

    explicit buffer_pool(std::size_t buffer_bytes);
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;
    ~buffer_pool();

    /// A whole one.
    buffer take() { return take(buffer_bytes_); }
    /// At least one byte, and no more than a whole one has. Where those are large, up to a quarter of one is a part of one, free
    /// again when all its parts are, and more than three quarters a whole one.
    buffer take(std::size_t bytes);

private:
    friend class buffer;
    using shared_memory = buffer::shared_memory;
    std::size_t slab_bytes() const noexcept;  // of the memory that is allocated at once
    bool is_whole(std::size_t bytes) const noexcept;
    std::byte* take_whole();  // with the mutex held
    buffer take_part(std::size_t bytes);
    void give_back(std::byte* data, std::size_t bytes, shared_memory* within) noexcept;

    const std::size_t buffer_bytes_;
    const bool large_;
    std::mutex mutex_;  // guards all below
    std::vector<std::byte*> slabs_;
    std::vector<std::byte*> free_;            // has room for all that there are
    std::unique_ptr<shared_memory> parting_;  // the next part comes from here; one that is full belongs to its parts
};

}  // namespace reprotect
