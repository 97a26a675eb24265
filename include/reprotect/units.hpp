// Sizes, rates and durations as people write and read them. GB (powers of 1000) and GiB (powers of 1024) never mix silently.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace reprotect {

/// Bytes of "4096", "64KiB", "1.5GiB" (powers of 1024) or "45GB" (powers of 1000).
/// Throws `error` (usage) with a hint for a bare K/M/G/T, a sign, an unknown unit, a fraction of a byte, or more than 2^63-1.
std::uint64_t parse_size(std::string_view text);

/// Bytes a second of "45MB/s", "60MiB/s" or "100Mbit/s". Throws `error` (usage).
double parse_rate(std::string_view text);

/// "1.50 GiB", "512 B": powers of 1024, three significant digits or the exact byte count below 1 KiB.
std::string format_size(std::uint64_t bytes);

/// "1.50 GB/s": powers of 1000.
std::string format_rate(double bytes_per_second);

/// "0.35 s", "12 s", "3 min 20 s", "1 h 04 min".
std::string format_duration(double seconds);

/// "2026-11-22T09:17:35Z", now.
std::string utc_now();

}  // namespace reprotect
