// Integers as bytes, lowest first: how they stand in files and on the wire, whatever the machine's own order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace reprotect::little_endian {

/// The integer at an offset, of `Bytes` bytes where it is shorter than its type (a u24). The bytes must be there.
template <typename Integer, std::size_t Bytes = sizeof(Integer)>
constexpr Integer load(std::span<const std::byte> bytes, std::size_t at) {
    static_assert(Bytes <= sizeof(Integer));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < Bytes; ++i) value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
    return static_cast<Integer>(value);
}

/// The same way back; a value that needs more than `Bytes` bytes loses its upper ones.
template <std::size_t Bytes = 0, typename Integer>
constexpr void store(std::span<std::byte> bytes, std::size_t at, Integer value) {
    constexpr std::size_t integer_bytes = sizeof(Integer);
    static_assert(Bytes <= integer_bytes);
    for (std::size_t i = 0; i < (Bytes == 0 ? integer_bytes : Bytes); ++i)
        bytes[at + i] = static_cast<std::byte>(std::uint64_t{value} >> (8 * i));
}

}  // namespace reprotect::little_endian
