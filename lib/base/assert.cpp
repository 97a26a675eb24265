// Prints the broken assertion and aborts: continuing could harm a disk.
#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace reprotect {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
    std::fprintf(stderr, "reprotect: internal error: %s does not hold (%s:%d)\n", expression, file, line);
    std::abort();
}

}  // namespace reprotect
