// A disk that an NBD server offers (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), through libnbd.
#pragma once

#include "device/nbd_connection.hpp"
#include "reprotect/device.hpp"
#include "reprotect/open_device.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace reprotect {

class nbd_device final : public device {
public:
    /// What is known of the disk beyond what its server says.
    struct nature {
        unsigned connections_max = 1;  ///< used where the server promises that a flush covers all of them
        bool punches = true;           ///< false: zeroing is known to leave data
    };
    nbd_device(std::string name, const nbd_endpoint& server, device_identity identity, const open_options& options,
               const nature& how);

    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return facts_.size_bytes; }
    void read(std::uint64_t offset, std::span<std::byte> into) override;
    void write(std::uint64_t offset, std::span<const std::byte> from) override;
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override;
    bool discard(std::uint64_t offset, std::uint64_t length) override;
    void flush() override;
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override;

    /// Tells the server that nothing more comes. Every later call fails.
    void disconnect();

    std::size_t connection_count() const noexcept { return connections_.size(); }

private:
    nbd_connection& quietest();
    static std::vector<nbd_connection::status> ask_allocation(nbd_connection& connection, extent range);
    void read_units(extent range, std::span<std::byte> into);
    void write_units(extent range, std::span<const std::byte> from);
    void write_part(extent range, std::span<const std::byte> from);
    void zero_units(extent range);
    extent whole_units_around(extent range) const;
    extent whole_units_within(extent range) const;

    std::string name_;
    device_identity identity_;
    device_properties properties_;
    nbd_export facts_;
    std::vector<std::unique_ptr<nbd_connection>> connections_;
    std::mutex part_;  // a unit that is read, changed and written back is one thread's
    std::atomic<bool> zeroes_fast_{false};
    std::atomic<bool> flush_failed_{false};
};

/// "nbd://host[:port]/export", "nbd+unix:///export?socket=PATH", and the same with nbds for TLS.
std::unique_ptr<device> open_nbd(const std::string& uri, const open_options& options);

}  // namespace reprotect
