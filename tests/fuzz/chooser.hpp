// A fuzzer's bytes as a row of choices. When they are used up every choice is
// the first one, and `over` says so.
#pragma once

#include <array>
#include <cstdint>

#include "base/little_endian.hpp"
#include "fuzz/fuzzers.hpp"

namespace reprotect::fuzz {

class chooser {
public:
    explicit chooser(input bytes) : left_(bytes) {}

    bool over() const noexcept { return left_.empty(); }
    std::size_t left() const noexcept { return left_.size(); }

    std::uint8_t byte() noexcept {
        const input one = raw(1);
        return one.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(one[0]);
    }
    bool flag() noexcept { return (byte() & 1) != 0; }
    /// From 0 to `count` - 1; at most 256 of them can be had.
    std::size_t below(std::size_t count) noexcept { return count == 0 ? 0 : byte() % count; }
    std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept { return low + byte() % (high - low + 1); }

    /// A number that is likely to lie at a limit: near `near`, near a power of
    /// two, or any.
    std::uint64_t wild(std::uint64_t near) noexcept {
        const unsigned how = byte();
        const std::uint64_t step = how >> 4;
        switch (how & 7) {
            case 0:
            case 1:
                return near;
            case 2:
                return near + step + 1;
            case 3:
                return near - step - 1;
            case 4:
                return step;
            case 5:
                return (std::uint64_t{1} << (byte() & 63)) + step - 8;
            case 6:
                return UINT64_MAX - step;
            default: {
                std::array<std::byte, 8> all{};
                for (std::byte& each : all) each = static_cast<std::byte>(byte());
                return little_endian::load<std::uint64_t>(all, 0);
            }
        }
    }

    /// Fewer where there are not so many.
    input raw(std::size_t count) noexcept {
        const input result = left_.first(count < left_.size() ? count : left_.size());
        left_ = left_.subspan(result.size());
        return result;
    }

private:
    input left_;
};

}  // namespace reprotect::fuzz
