// The fields that payloads consist of, written and read; their grammar stands in frame.hpp.
//
// A reader remembers the first rule that was broken and from then on gives zeroes and nothings, so that the code that
// reads a message reads like its grammar and asks once, at the end. Loops ask `good()`, and every count was checked
// against the bytes that are left before it is handed out.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "reprotect/digest.hpp"
#include "reprotect/extent.hpp"
#include "wire/frame.hpp"

namespace reprotect {

/// Appends to `out`, which it borrows.
class field_writer {
public:
    explicit field_writer(std::vector<std::byte>& out) : out_(out) {}

    void byte(unsigned value) { out_.push_back(static_cast<std::byte>(value)); }
    void flag(bool value) { byte(value ? 1 : 0); }
    void number(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) byte(static_cast<unsigned>(value & 0x7f) | 0x80);
        byte(static_cast<unsigned>(value));
    }
    void raw(std::span<const std::byte> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
    void text(std::string_view value, std::size_t max) {
        value = value.substr(0, max);
        number(value.size());
        raw(std::as_bytes(std::span(value)));
    }

private:
    std::vector<std::byte>& out_;
};

/// Bytes that `number` takes.
constexpr std::size_t number_bytes(std::uint64_t value) noexcept {
    std::size_t result = 1;
    for (; value >= 0x80; value >>= 7) ++result;
    return result;
}

/// Reads from bytes that it borrows.
class field_reader {
public:
    explicit field_reader(std::span<const std::byte> bytes) : left_(bytes) {}

    bool good() const noexcept { return failed_ == wire_error{}; }
    std::size_t left() const noexcept { return left_.size(); }

    /// The first refusal stays.
    void refuse(wire_error why) noexcept {
        if (good()) failed_ = why;
        left_ = {};
    }

    std::uint8_t byte() noexcept {
        const std::span<const std::byte> one = raw(1);
        return one.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(one[0]);
    }
    bool flag() noexcept {
        const std::uint8_t value = byte();
        if (value > 1) refuse(wire_error::bad_flag);
        return value == 1;
    }
    /// Bits of which only those in `known` may be set.
    unsigned flags(unsigned known) noexcept {
        const unsigned value = byte();
        if ((value & ~known) != 0) refuse(wire_error::bad_flag);
        return good() ? value : 0;
    }
    std::uint64_t number() noexcept {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const std::uint64_t part = byte();
            if (!good()) return 0;
            // The tenth byte has one bit left, and no form but the shortest counts.
            if ((shift == 63 && part > 1) || (shift != 0 && part == 0)) break;
            value |= (part & 0x7f) << shift;
            if (part < 0x80) return value;
        }
        refuse(wire_error::bad_number);
        return 0;
    }
    std::uint64_t number_up_to(std::uint64_t max, wire_error otherwise) noexcept {
        const std::uint64_t value = number();
        if (value > max) refuse(otherwise);
        return good() ? value : 0;
    }
    std::uint32_t number32(wire_error otherwise) noexcept {
        return static_cast<std::uint32_t>(number_up_to(UINT32_MAX, otherwise));
    }
    /// A count of things that take at least so many bytes each.
    std::size_t count(std::size_t least_bytes_each, std::size_t max = SIZE_MAX) noexcept {
        const std::uint64_t value = number();
        if (value > max || value > left_.size() / least_bytes_each) refuse(wire_error::bad_count);
        return good() ? static_cast<std::size_t>(value) : 0;
    }
    std::span<const std::byte> raw(std::size_t count) noexcept {
        if (count > left_.size()) {
            refuse(wire_error::truncated);
            return {};
        }
        const std::span<const std::byte> result = left_.first(count);
        left_ = left_.subspan(count);
        return result;
    }
    std::span<const std::byte> rest() noexcept { return raw(left_.size()); }
    template <std::size_t Count>
    std::array<std::byte, Count> array() noexcept {
        std::array<std::byte, Count> result{};
        const std::span<const std::byte> bytes = raw(Count);
        std::copy(bytes.begin(), bytes.end(), result.begin());
        return result;
    }
    digest value() noexcept { return {array<16>()}; }
    std::string text(std::size_t max) {
        const std::uint64_t length = number();
        if (length > max) refuse(wire_error::bad_text);
        const std::span<const std::byte> bytes = raw(good() ? static_cast<std::size_t>(length) : 0);
        return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    /// A range that ends within `wire_offset_max`.
    extent range() noexcept {
        const std::uint64_t offset = number_up_to(wire_offset_max, wire_error::bad_range);
        const std::uint64_t length = number_up_to(wire_offset_max - offset, wire_error::bad_range);
        return {offset, length};
    }

    /// What was read, if no rule was broken and nothing is left.
    template <typename Value>
    wire_result<std::decay_t<Value>> done(Value&& result) {
        if (good() && !left_.empty()) refuse(wire_error::trailing_bytes);
        if (!good()) return make_error_code(failed_);
        return std::forward<Value>(result);
    }
    boost::system::error_code failure() const noexcept {
        return good() ? boost::system::error_code() : make_error_code(failed_);
    }

private:
    std::span<const std::byte> left_;
    wire_error failed_{};  // 0: none
};

/// A frame with what `write` writes to a field_writer.
template <typename Write>
void append_frame(std::vector<std::byte>& out, frame_kind kind, Write write) {
    const std::size_t frame = begin_frame(out, kind);
    field_writer to(out);
    write(to);
    end_frame(out, frame);
}

}  // namespace reprotect
