// Bytes for tests: seeded random content, and whole files read, written and cut in one call.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace reprotect::test {

/// The same seed gives the same bytes, everywhere (splitmix64).
inline std::vector<std::byte> random_bytes(std::uint64_t seed, std::size_t count) {
    std::vector<std::byte> result(count);
    for (std::size_t at = 0; at < count; at += 8) {
        seed += 0x9E3779B97F4A7C15ull;
        std::uint64_t word = seed;
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
        word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
        word ^= word >> 31;
        const std::size_t part = count - at < 8 ? count - at : 8;
        std::memcpy(result.data() + at, &word, part);
    }
    return result;
}

inline std::vector<std::byte> read_whole_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot open " + path);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<std::byte> result(text.size());
    if (!text.empty()) std::memcpy(result.data(), text.data(), text.size());
    return result;
}

/// Replaces the file's content.
inline void write_whole_file(const std::string& path, std::span<const std::byte> content) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    file.flush();
    if (!file) throw std::runtime_error("cannot write " + path);
}

/// Makes the file where it is missing and sets its size; new bytes are a hole.
inline void make_sparse_file(const std::string& path, std::uint64_t size_bytes) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0) throw std::runtime_error("cannot open " + path);
    const int failed = ::ftruncate(descriptor, static_cast<off_t>(size_bytes));
    ::close(descriptor);
    if (failed != 0) throw std::runtime_error("cannot cut " + path);
}

/// Bytes that the file takes on its file system.
inline std::uint64_t allocated_bytes(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) throw std::runtime_error("cannot stat " + path);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

}  // namespace reprotect::test
