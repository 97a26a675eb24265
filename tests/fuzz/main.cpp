// One fuzzer as a libFuzzer program: tools/cmake/fuzzers.cmake compiles this
// file once for each and says which.
#include <cstddef>
#include <cstdint>

#include "fuzz/fuzzers.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    reprotect::fuzz::REPROTECT_FUZZER(std::as_bytes(std::span(data, size)));
    return 0;
}
