// How much memory a process takes while it is attacked.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace reprotect::test {

/// The most memory that this process held since this was made, over what it held then. The kernel's count of resident pages,
/// so that what nobody touches costs nothing; zero where the kernel does not let a process begin it anew.
class memory_watch {
public:
    memory_watch() {
        std::ofstream reset("/proc/self/clear_refs");
        reset << "5" << std::flush;
        works_ = static_cast<bool>(reset);
        before_ = kib("VmRSS:");
    }
    std::uint64_t grown_bytes() const {
        const std::uint64_t peak = kib("VmHWM:");
        return works_ && peak > before_ ? (peak - before_) << 10 : 0;
    }

private:
    static std::uint64_t kib(const std::string& field) {
        std::ifstream status("/proc/self/status");
        for (std::string word; status >> word;) {
            std::uint64_t value = 0;
            if (word == field && status >> value) return value;
        }
        return 0;
    }
    bool works_ = false;
    std::uint64_t before_ = 0;
};

/// By how much more memory a sanitizer takes: shadows, and what is freed and kept in quarantine.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t sanitizer_memory = 8;
#else
inline constexpr std::uint64_t sanitizer_memory = 1;
#endif

}  // namespace reprotect::test
