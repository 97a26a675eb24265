// One stream over several connections: a session that one connection cannot fill a long fat pipe with.
//
// What is written is cut into segments, each with a head of its own (position: u64, length: u32, both little endian), and each goes
// to whichever lane is free. A reader takes the lanes' segments by position. Every lane carries rising positions, so the segment that
// is due is at the front of one of them: nothing is put in order in memory, what is ahead of its time waits in the kernel's
// buffers, and the far side's lane is held up by TCP.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>

#include "reprotect/stream.hpp"

namespace reprotect {

/// A write is over when the next one may go: its bytes were copied. A lane that fails ends the stream once what the others bring is
/// used up. All lanes, and the stream, are used on one executor that serialises its handlers.
class striped_stream final : public byte_stream {
    struct core;

public:
    static constexpr std::size_t head_bytes = 12;
    static constexpr std::size_t segment_bytes_max = 128 * 1024 - head_bytes;

    /// A lane that the other side knows already is added here within `joining_max`: as long as an opening may take.
    striped_stream(const boost::asio::any_io_executor& on, std::unique_ptr<byte_stream> first,
                   std::chrono::milliseconds joining_max = std::chrono::seconds(10));
    ~striped_stream() override;

    void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                         handler done) override;
    void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                          handler done) override;
    void close() noexcept override;

    /// Adds lanes for as long as the stream lives and is open. May be copied; used on the stream's executor.
    class gate {
    public:
        /// False, and the lane is closed, where the stream has ended.
        bool add(std::unique_ptr<byte_stream> lane) const;
        std::size_t lanes() const noexcept;

    private:
        friend class striped_stream;
        std::weak_ptr<core> core_;
    };
    gate lane_gate() const;

private:
    std::shared_ptr<core> core_;  // shared with handlers that are still to run
};

}  // namespace reprotect
