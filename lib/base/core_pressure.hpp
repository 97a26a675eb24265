// Whether this machine has more to compute than cores to do it on, by the kernel's account of who waited for one
// (pressure stall information: https://docs.kernel.org/accounting/psi.html).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace reprotect {

class core_pressure {
public:
    /// `account` is for tests.
    explicit core_pressure(std::string account = "/proc/pressure/cpu");

    /// Of the time since the last call, or since this was made, somebody waited for a core for more than half. False where
    /// the kernel keeps no account. Costs a few system calls.
    bool is_high();

private:
    std::uint64_t waited_us() const;

    std::string account_;
    std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
    std::uint64_t waited_us_;
};

}  // namespace reprotect
