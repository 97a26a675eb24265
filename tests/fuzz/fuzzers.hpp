// The fuzzers: functions that take any bytes, run one piece of the library on
// them and throw where a promise of that piece does not hold; sanitizers and
// the library's own assertions see the rest. Each stands in NAME_fuzz.cpp and
// is used twice: main.cpp makes a libFuzzer program of it (tools/fuzz), and
// replay_test.cpp feeds it the checked-in inputs of seeds/NAME.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string_view>

namespace reprotect::fuzz {

using input = std::span<const std::byte>;

/// Of the code under test; never caught by a fuzzer.
class broken_promise : public std::logic_error {
    using std::logic_error::logic_error;
};

inline void promise(bool holds, const char* what) {
    if (!holds) throw broken_promise(what);
}

void compressed(input bytes);
void container(input bytes);
void data_batch(input bytes);
void frame(input bytes);
void key_file(input bytes);
void map_file(input bytes);
void peer_text(input bytes);
void preamble(input bytes);
void remote_name(input bytes);
void source_peer(input bytes);
void state_record(input bytes);
void target_peer(input bytes);
void units(input bytes);

struct fuzzer {
    std::string_view name;
    void (*run)(input bytes);
};

inline constexpr fuzzer fuzzers[] = {
    {"compressed", compressed},
    {"container", container},
    {"data_batch", data_batch},
    {"frame", frame},
    {"key_file", key_file},
    {"map_file", map_file},
    {"peer_text", peer_text},
    {"preamble", preamble},
    {"remote_name", remote_name},
    {"source_peer", source_peer},
    {"state_record", state_record},
    {"target_peer", target_peer},
    {"units", units},
};

}  // namespace reprotect::fuzz
