// A sparse disk in memory: a map from page number to page. One lock, shared by readers; it exists for tests and dry runs,
// where being right and simple counts for more than being fast.
#include "reprotect/memory_device.hpp"

#include "device/range_check.hpp"
#include "reprotect/error.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>

namespace reprotect {
namespace {

// Two memory disks are never the same one, not even those of two processes.
std::string new_instance() {
    static const std::string process = [] {
        std::random_device random;
        return std::to_string((std::uint64_t{random()} << 32) | random());
    }();
    static std::atomic<std::uint64_t> count{0};
    return process + "-" + std::to_string(++count);
}

// Calls `visit(page number, offset in the page, length, offset in the range)` for each page that a range touches.
template <typename Visit>
void for_each_page(std::uint64_t offset, std::uint64_t length, std::uint64_t page_bytes, Visit visit) {
    for (std::uint64_t done = 0; done < length;) {
        const std::uint64_t at = (offset + done) % page_bytes;
        const std::uint64_t part = std::min(page_bytes - at, length - done);
        visit((offset + done) / page_bytes, static_cast<std::size_t>(at), static_cast<std::size_t>(part),
              static_cast<std::size_t>(done));
        done += part;
    }
}

}  // namespace

memory_device::memory_device(std::uint64_t size_bytes, std::string name) : name_(std::move(name)), size_(size_bytes) {
    identity_.fields = {{"kind", "memory"}, {"instance", new_instance()}};
    properties_.kind = device_kind::memory;
    properties_.punches_holes = true;
    properties_.resizable = true;
}

void memory_device::check(std::uint64_t offset, std::uint64_t length, const char* operation) const {
    check_range(name_, operation, {offset, length, size_});
}

void memory_device::read(std::uint64_t offset, std::span<std::byte> into) {
    const std::shared_lock lock(mutex_);
    check(offset, into.size(), "read");
    for_each_page(offset, into.size(), page_bytes,
                  [&](std::uint64_t number, std::size_t at, std::size_t part, std::size_t done) {
                      const auto found = pages_.find(number);
                      if (found == pages_.end()) {
                          std::memset(into.data() + done, 0, part);
                      } else {
                          std::memcpy(into.data() + done, found->second.get() + at, part);
                      }
                  });
}

void memory_device::write(std::uint64_t offset, std::span<const std::byte> from) {
    const std::unique_lock lock(mutex_);
    check(offset, from.size(), "write");
    for_each_page(offset, from.size(), page_bytes,
                  [&](std::uint64_t number, std::size_t at, std::size_t part, std::size_t done) {
                      page& into = pages_[number];
                      if (!into) into = std::make_unique<std::byte[]>(page_bytes);
                      std::memcpy(into.get() + at, from.data() + done, part);
                  });
}

void memory_device::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    const std::unique_lock lock(mutex_);
    check(offset, length, "write_zeroes");
    if (properties_.punches_holes) {
        // Only what exists is visited, so that a hole of any size costs nothing.
        const std::uint64_t end = offset + length;
        for (auto at = pages_.lower_bound(offset / page_bytes); at != pages_.end() && at->first * page_bytes < end;) {
            const extent whole{at->first * page_bytes, page_bytes};
            const extent part = intersect(whole, {offset, length});
            if (part == whole || (part.offset == whole.offset && part.end() == size_)) {
                at = pages_.erase(at);
            } else {
                std::memset(at->second.get() + (part.offset - whole.offset), 0, part.length);
                ++at;
            }
        }
        return;
    }
    for_each_page(offset, length, page_bytes,
                  [&](std::uint64_t number, std::size_t at, std::size_t part, std::size_t /*done*/) {
                      page& into = pages_[number];
                      if (!into) into = std::make_unique<std::byte[]>(page_bytes);
                      std::memset(into.get() + at, 0, part);
                  });
}

void memory_device::resize(std::uint64_t bytes) {
    const std::unique_lock lock(mutex_);
    if (!properties_.resizable) device::resize(bytes);
    if (bytes < size_) {
        pages_.erase(pages_.lower_bound(bytes / page_bytes + (bytes % page_bytes != 0 ? 1 : 0)), pages_.end());
        const auto last = pages_.find(bytes / page_bytes);
        if (last != pages_.end())
            std::memset(last->second.get() + bytes % page_bytes, 0, page_bytes - bytes % page_bytes);
    }
    size_ = bytes;
}

std::vector<allocation_run> memory_device::allocation(extent within, std::size_t runs_max) {
    const std::shared_lock lock(mutex_);
    check(within.offset, within.length, "allocation");
    runs_max = std::max<std::size_t>(runs_max, 1);
    std::vector<allocation_run> runs;
    std::uint64_t position = within.offset;
    auto next = pages_.lower_bound(position / page_bytes);
    while (position < within.end() && runs.size() < runs_max) {
        std::uint64_t end = position;
        while (next != pages_.end() && next->first * page_bytes <= end && end < within.end()) {
            end = (next->first + 1) * page_bytes;
            ++next;
        }
        const content kind = end > position ? content::data : content::zero;
        if (kind == content::zero) end = next == pages_.end() ? within.end() : next->first * page_bytes;
        end = std::min(end, within.end());
        runs.push_back({{position, end - position}, kind});
        position = end;
    }
    return runs;
}

}  // namespace reprotect
