// Assertions for a caller's bugs: on in release builds too, because a wrong write costs more than a branch.
#pragma once

namespace reprotect {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace reprotect

#define REPROTECT_ASSERT(expression) \
    ((expression) ? static_cast<void>(0) : ::reprotect::assertion_failed(#expression, __FILE__, __LINE__))
