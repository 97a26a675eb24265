// Values that messages and the frames beside them have in common, as fields.
#pragma once

#include <utility>

#include "peer/message.hpp"
#include "wire/fields.hpp"

namespace reprotect {

constexpr unsigned number_of(session_mode mode) noexcept {
    switch (mode) {
        case session_mode::sync:
            return 1;
        case session_mode::dry_run:
            return 2;
        case session_mode::compare:
            return 3;
    }
    return 0;
}

inline session_mode read_mode(field_reader& from) noexcept {
    const unsigned number = from.byte();
    for (const auto mode : {session_mode::sync, session_mode::dry_run, session_mode::compare})
        if (number_of(mode) == number) return mode;
    from.refuse(wire_error::bad_value);
    return session_mode::sync;
}

// Maps and differentials in files have the same numbers.
constexpr unsigned number_of(digest_algorithm algorithm) noexcept {
    return static_cast<unsigned>(algorithm);
}

inline digest_algorithm read_algorithm(field_reader& from) noexcept {
    const unsigned number = from.byte();
    for (const auto algorithm : {digest_algorithm::xxh3, digest_algorithm::sha256})
        if (number_of(algorithm) == number) return algorithm;
    from.refuse(wire_error::bad_value);
    return digest_algorithm::xxh3;
}

inline std::uint64_t read_chunk(field_reader& from) noexcept {
    return from.number_up_to(wire_offset_max, wire_error::bad_range);
}

inline void write_counts(field_writer& to, const source_counts& counts) {
    for (const std::uint64_t each : {counts.allocated, counts.read, counts.reread, counts.changed_compared,
                                     counts.changed_uncompared, counts.zeroed})
        to.number(each);
}

inline source_counts read_source_counts(field_reader& from) noexcept {
    source_counts counts;
    for (std::uint64_t* each : {&counts.allocated, &counts.read, &counts.reread, &counts.changed_compared,
                                &counts.changed_uncompared, &counts.zeroed})
        *each = from.number();
    return counts;
}

inline void write_counts(field_writer& to, const target_counts& counts) {
    for (const std::uint64_t each :
         {counts.allocated, counts.read, counts.compared, counts.deallocated, counts.written})
        to.number(each);
}

inline target_counts read_target_counts(field_reader& from) noexcept {
    target_counts counts;
    for (std::uint64_t* each :
         {&counts.allocated, &counts.read, &counts.compared, &counts.deallocated, &counts.written})
        *each = from.number();
    return counts;
}

}  // namespace reprotect
