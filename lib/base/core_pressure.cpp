// The account's first line, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", says in microseconds for how long at least one
// task waited since the machine started.
#include "base/core_pressure.hpp"

#include <charconv>
#include <fstream>
#include <string_view>
#include <utility>

namespace reprotect {
namespace {

// Measured: a sync that takes both of two cores reads 75 to 90%, one that a link holds back below 20%.
constexpr double high = 0.5;

}  // namespace

core_pressure::core_pressure(std::string account) : account_(std::move(account)), waited_us_(waited_us()) {}

bool core_pressure::is_high() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::micro> passed = now - std::exchange(since_, now);
    const std::uint64_t waited = waited_us(), before = std::exchange(waited_us_, waited);
    return waited > before && static_cast<double>(waited - before) > high * passed.count();
}

std::uint64_t core_pressure::waited_us() const {
    std::ifstream file(account_);
    std::string line;
    std::getline(file, line);
    constexpr std::string_view name = "total=";
    const std::size_t at = line.find(name);
    std::uint64_t value = 0;
    if (at != std::string::npos) std::from_chars(line.data() + at + name.size(), line.data() + line.size(), value);
    return value;
}

}  // namespace reprotect
