// Files that are the old one or the new one.
#include "base/atomic_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "reprotect/error.hpp"
#include "support/bytes.hpp"
#include "support/disk_users.hpp"
#include "support/temp_dir.hpp"

namespace {

using reprotect::error;
using reprotect::error_kind;
using reprotect::final_link;
using reprotect::write_file_atomically;
using reprotect::test::random_bytes;
using reprotect::test::temp_dir;
namespace fs = std::filesystem;

error_kind kind_of(const std::function<void()>& run) {
    try {
        run();
    } catch (const error& failed) {
        CHECK_FALSE(failed.detail().device.empty());
        CHECK_FALSE(failed.detail().hint.empty());
        return failed.kind();
    }
    FAIL("nothing was thrown");
    throw;
}

std::size_t entries(const fs::path& directory) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("a file written atomically reads back, and nothing else is left", "[base]") {
    const temp_dir directory;
    const fs::path path = directory.path() / "file";
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{3000001}}) {
        const auto content = random_bytes(size, size);
        write_file_atomically(path, content);
        CHECK(reprotect::read_whole_file(path, size) == content);
        CHECK(entries(directory.path()) == 1);
    }
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a write replaces a link and does not go through it", "[base]") {
    const temp_dir directory;
    const fs::path real = directory.path() / "real";
    const fs::path link = directory.path() / "link";
    write_file_atomically(real, random_bytes(1, 10));
    fs::create_symlink(real, link);
    CHECK(reprotect::read_whole_file(link, 10) == random_bytes(1, 10));
    CHECK(kind_of([&] { reprotect::read_whole_file(link, 10, final_link::refuse); }) == error_kind::unsuitable);
    write_file_atomically(link, random_bytes(2, 20));
    CHECK_FALSE(fs::is_symlink(link));
    CHECK(reprotect::read_whole_file(real, 10) == random_bytes(1, 10));
    CHECK(reprotect::read_whole_file(link, 20) == random_bytes(2, 20));
}

TEST_CASE("what is no regular file is neither replaced nor read", "[base]") {
    const temp_dir directory;
    const fs::path pipe = directory.path() / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(kind_of([&] { write_file_atomically(pipe, {}); }) == error_kind::unsuitable);
    CHECK(kind_of([&] { reprotect::read_whole_file(pipe, 10); }) == error_kind::unsuitable);
    CHECK(kind_of([&] { write_file_atomically(directory.path(), {}); }) == error_kind::unsuitable);
    CHECK(kind_of([&] { reprotect::read_whole_file(directory.path(), 10); }) == error_kind::unsuitable);
    CHECK(kind_of([&] { write_file_atomically("/dev/null", {}); }) == error_kind::unsuitable);
    CHECK(fs::is_character_file("/dev/null"));
    CHECK(kind_of([&] { reprotect::read_whole_file("/dev/zero", 10); }) == error_kind::unsuitable);
}

TEST_CASE("a file that is missing or too long is an error of its kind", "[base]") {
    const temp_dir directory;
    const fs::path path = directory.path() / "file";
    CHECK(kind_of([&] { reprotect::read_whole_file(path, 10); }) == error_kind::not_found);
    CHECK(kind_of([&] { write_file_atomically(directory.path() / "no" / "file", {}); }) == error_kind::not_found);
    write_file_atomically(path, random_bytes(1, 11));
    CHECK(kind_of([&] { reprotect::read_whole_file(path, 10); }) == error_kind::corrupt_file);
    // Says that it is empty and is not: the length that the system states is no bound.
    CHECK(kind_of([&] { reprotect::read_whole_file("/proc/self/status", 10); }) == error_kind::corrupt_file);
    CHECK(reprotect::read_whole_file("/proc/self/status", 100000).size() > 100);
}

TEST_CASE("a write that fails leaves the old file and nothing else", "[base]") {
    const temp_dir directory;
    const reprotect::test::mounted small({"-t", "tmpfs", "-o", "size=64k", "tmpfs"}, directory.file("mnt"));
    const fs::path path = fs::path(small.path()) / "file";
    const auto old = random_bytes(1, 5000);
    write_file_atomically(path, old);
    CHECK(kind_of([&] { write_file_atomically(path, random_bytes(2, 200000)); }) == error_kind::no_space);
    CHECK(reprotect::read_whole_file(path, 5000) == old);
    CHECK(entries(small.path()) == 1);
    reprotect::test::run_checked({"mount", "-o", "remount,ro", small.path()});
    CHECK(kind_of([&] { write_file_atomically(path, old); }) == error_kind::permission);
}
