// A disk of a machine that may stop at any moment. It has what lies between a program and a medium: a cache that every
// reader is answered from, the writes that no flush has covered yet, and the medium.
//
//   write -> shown (the cache) and unflushed -> flush -> medium
//   the machine stops: each unflushed write reaches the medium in any part, by sectors of 512 bytes, or not at all
//   a flush fails: the same, and the cache goes on showing everything as if it were there (as Linux does)
//
// Faults are planned ahead by the number of the call. For one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reprotect/device.hpp"
#include "reprotect/error.hpp"
#include "simulator/dice.hpp"
#include "support/device_doubles.hpp"

namespace reprotect::test {

/// What a disk will do wrong. Calls are counted from 0.
struct disk_faults {
    struct failure {
        device_call call = device_call::read;
        std::uint64_t nth = 0;  ///< of its kind
        bool for_good = false;  ///< and all after it
        error_kind kind = error_kind::device_io;
    };
    std::vector<failure> failures{};
    std::optional<std::uint64_t> stops_at_write{};  ///< the machine stops within it; writes of zeroes count
    std::optional<std::uint64_t> loses_write{};     ///< which the cache shows and the medium never gets
    bool misdirects = false;                        ///< but gets somewhere else
    bool false_hints = false;                       ///< `allocation` says anything
    std::uint64_t runs_per_answer = ~0ull;          ///< of `allocation`
};

class simulated_disk final : public device {
public:
    static constexpr std::uint64_t sector_bytes = 512;  // what a power cut leaves whole

    /// All holes. Holes are whole multiples of `grain` bytes.
    simulated_disk(std::string name, std::uint64_t bytes, std::uint64_t grain, dice& random);

    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return shown_.size(); }
    void read(std::uint64_t offset, std::span<std::byte> into) override;
    void write(std::uint64_t offset, std::span<const std::byte> from) override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    void flush() override;
    void resize(std::uint64_t bytes) override;
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override;
    bool drop_cache() override;

    device_properties& mutable_properties() noexcept { return properties_; }
    void set_faults(disk_faults faults);
    bool passes_cache = true;  ///< `drop_cache` does something

    /// Asked ahead of every call (with what is to be written), told after every read.
    std::function<void(device_call, extent, std::span<const std::byte>)> before;
    std::function<void(extent, std::span<const std::byte>)> after_read;

    // What is done to it behind the back of whoever has it open.

    /// Somebody else writes; `from` empty: gives the range back.
    void overwrite(extent range, std::span<const std::byte> from);
    /// Everything is on the medium; for setting up.
    void settle();
    void stop() { stopped_ = true; }
    /// The machine starts again, and has lost what a crash loses.
    void restart();
    /// The cache forgets all that it believes to be on the medium.
    void evict();

    bool stopped() const noexcept { return stopped_; }
    const std::vector<std::byte>& shown() const noexcept { return shown_; }
    const std::vector<std::byte>& medium() const noexcept { return medium_; }
    /// What failed since `set_faults`, in order.
    const std::vector<error>& failed() const noexcept { return failed_; }
    bool flush_failed() const noexcept { return flush_failed_; }
    bool lost_a_write() const noexcept { return lost_a_write_; }

private:
    struct pending_write {
        std::uint64_t offset;
        std::vector<std::byte> bytes;
    };

    void begin(device_call call, extent where, std::span<const std::byte> from);
    void put(extent where, std::span<const std::byte> from, bool hole);
    void show(extent where, std::span<const std::byte> from, bool hole);
    void let_chance_write();
    void show_medium();

    std::string name_;
    device_identity identity_;
    device_properties properties_;
    std::uint64_t grain_;
    dice& random_;
    std::vector<std::byte> shown_, medium_;
    std::vector<bool> allocated_;  // by grains, of what is shown
    std::vector<pending_write> unflushed_;
    disk_faults faults_;
    std::vector<std::uint64_t> calls_;  // by kind
    std::uint64_t writes_ = 0;
    std::vector<error> failed_;
    bool stopped_ = false, flush_failed_ = false, lost_a_write_ = false;
    bool doubtful_ = false;  // since a flush failed, what it says of its holes is worth nothing
};

}  // namespace reprotect::test
