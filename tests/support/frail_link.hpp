// Two streams that are joined in memory, and what may happen to such a connection: it carries a few bytes at a time, is cut
// after its n-th byte in either direction, or falls silent there. All of it on one thread, that of its context.
#pragma once

#include "reprotect/stream.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

namespace reprotect::test {

/// What one direction does to the bytes that are sent in it. A direction that carried `cut_after` bytes ends the connection:
/// what was carried arrives, then both sides find it closed. After `stall_after` bytes nothing is carried any more. After
/// `swallow_after` bytes in either direction what is sent in both is taken, and never arrives; nor does anybody's end.
struct frailty {
    static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t cut_after = never;
    std::uint64_t stall_after = never;
    std::uint64_t swallow_after = never;
    std::size_t piece_bytes_max = 64 * 1024;     ///< of one read or write
    std::size_t buffered_bytes_max = 64 * 1024;  ///< sent, and not yet read
};

class frail_link {
public:
    /// Both ends are to be driven by one context, on one thread.
    frail_link(frailty to_second, frailty to_first);

    std::unique_ptr<byte_stream> first();
    std::unique_ptr<byte_stream> second();

private:
    struct link;
    class end;
    std::shared_ptr<link> link_;
};

}  // namespace reprotect::test
