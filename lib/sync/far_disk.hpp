// The disk at the other end of a session, for code that asks a disk for its name, identity and size. Nobody reads or writes it here.
#pragma once

#include <string>

#include "base/assert.hpp"
#include "peer/message.hpp"
#include "reprotect/device.hpp"

namespace reprotect {

class far_disk final : public device {
public:
    /// Its identity is told from that of a disk of this machine by the machine that it is on.
    far_disk(std::string name, const disk_facts& facts, std::uint64_t bytes)
        : name_(std::move(name)), identity_(facts.place.identity), bytes_(bytes) {
        identity_.fields.emplace_back("machine", facts.place.machine);
    }

    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return bytes_; }
    void read(std::uint64_t, std::span<std::byte>) override { out_of_reach(); }
    void write(std::uint64_t, std::span<const std::byte>) override { out_of_reach(); }
    void write_zeroes(std::uint64_t, std::uint64_t) override { out_of_reach(); }
    void flush() override { out_of_reach(); }

private:
    [[noreturn]] static void out_of_reach() { assertion_failed("a far disk is not touched here", __FILE__, __LINE__); }

    std::string name_;
    device_identity identity_;
    device_properties properties_;
    std::uint64_t bytes_;
};

}  // namespace reprotect
