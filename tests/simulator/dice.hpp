// The one source of chance of a simulation. A 64-bit Mersenne twister gives the same numbers everywhere, and no
// distribution of the standard library is used, whose numbers differ from one library to the next: so a seed means the
// same run on every machine.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>

namespace reprotect::test {

class dice {
public:
    explicit dice(std::uint64_t seed) : engine_(seed) {}

    /// 0 to `count` - 1; `count` is not 0. The bias of a remainder does not matter here.
    std::uint64_t below(std::uint64_t count) { return engine_() % count; }
    bool one_in(std::uint64_t count) { return below(count) == 0; }

    template <typename Value>
    Value pick(std::initializer_list<Value> from) {
        return *(from.begin() + static_cast<std::ptrdiff_t>(below(from.size())));
    }

    /// 0 to about `most`, small numbers as likely as large ones.
    std::uint64_t of_any_size(std::uint64_t most) { return below(1 + (most >> below(12))); }

    void fill(std::span<std::byte> bytes) {
        for (std::size_t at = 0; at < bytes.size(); at += 8) {
            const std::uint64_t word = engine_();
            for (std::size_t i = at; i < std::min(at + 8, bytes.size()); ++i)
                bytes[i] = static_cast<std::byte>(word >> (8 * (i - at)));
        }
    }

private:
    std::mt19937_64 engine_;
};

}  // namespace reprotect::test
