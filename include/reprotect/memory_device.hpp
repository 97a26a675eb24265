// A disk in memory: sparse, resizable, for tests, agents and dry runs.
#pragma once

#include "reprotect/device.hpp"

#include <map>
#include <shared_mutex>

namespace reprotect {

/// Keeps 4 KiB pages; a page never written is a hole. Thread-safe as `device` asks.
class memory_device final : public device {
public:
    explicit memory_device(std::uint64_t size_bytes, std::string name = "memory");

    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return size_; }
    void read(std::uint64_t offset, std::span<std::byte> into) override;
    void write(std::uint64_t offset, std::span<const std::byte> from) override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    void flush() override {}
    void resize(std::uint64_t bytes) override;
    bool drop_cache() override { return true; }  // there is none
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override;

    /// For tests: what the engine sees of it. `punches_holes` may be switched off to behave like a plain block device.
    device_properties& mutable_properties() noexcept { return properties_; }

private:
    static constexpr std::uint64_t page_bytes = 4096;
    using page = std::unique_ptr<std::byte[]>;

    void check(std::uint64_t offset, std::uint64_t length, const char* operation) const;

    std::string name_;
    device_identity identity_;
    device_properties properties_;
    std::uint64_t size_;
    mutable std::shared_mutex mutex_;
    std::map<std::uint64_t, page> pages_;
};

}  // namespace reprotect
