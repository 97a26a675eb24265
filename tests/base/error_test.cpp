// Words and exit codes of errors, and what an error of a system call says.
#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace reprotect;

TEST_CASE("every kind of error has a stable word and the exit code of the contract", "[base]") {
    const std::vector<std::tuple<error_kind, std::string, int>> table{
        {error_kind::usage, "usage", 2},
        {error_kind::not_found, "not_found", 3},
        {error_kind::permission, "permission", 3},
        {error_kind::unsuitable, "unsuitable", 3},
        {error_kind::container, "container", 3},
        {error_kind::in_use, "in_use", 3},
        {error_kind::same_disk, "same_disk", 3},
        {error_kind::size_mismatch, "size_mismatch", 3},
        {error_kind::recorded_source, "recorded_source", 3},
        {error_kind::corrupt_file, "corrupt_file", 3},
        {error_kind::device_io, "device_io", 4},
        {error_kind::no_space, "no_space", 4},
        {error_kind::flush_failed, "flush_failed", 4},
        {error_kind::size_changed, "size_changed", 4},
        {error_kind::peer, "peer", 5},
        {error_kind::verification, "verification", 6},
        {error_kind::limit, "limit", 7},
        {error_kind::interrupted, "interrupted", 130},
    };
    std::set<std::string> words;
    for (const auto& [kind, word, code] : table) {
        CAPTURE(word);
        CHECK(to_string(kind) == word);
        CHECK(exit_code(kind) == code);
        words.insert(word);
    }
    // The table is complete: the last kind's number is the table's length.
    CHECK(table.size() == static_cast<std::size_t>(error_kind::interrupted) + 1);
    CHECK(words.size() == table.size());
}

TEST_CASE("an error keeps what it was told", "[base]") {
    const error e(error_kind::in_use, "the target is in use",
                  {.device = "/dev/vdb",
                   .operation = "open",
                   .offset = 0,
                   .length = 4096,
                   .holder = "mounted on /data",
                   .hint = "umount /data"});
    CHECK(e.kind() == error_kind::in_use);
    CHECK(std::string(e.what()) == "the target is in use");
    CHECK(e.detail().device == "/dev/vdb");
    CHECK(e.detail().offset == 0u);
    CHECK(e.detail().length == 4096u);
    CHECK(e.detail().holder == "mounted on /data");
    CHECK(e.detail().hint == "umount /data");
    const error bare(error_kind::limit, "stopped");
    CHECK_FALSE(bare.detail().offset);
    CHECK(bare.detail().hint.empty());
}

TEST_CASE("an error of a system call says what failed, where and why", "[base]") {
    const error e = system_error(error_kind::device_io, EIO,
                                 {.device = "disk.img", .operation = "read", .offset = 8192, .length = 4096});
    CHECK(std::string(e.what()) == "read of disk.img failed at offset 8192, length 4096: Input/output error");
    CHECK(e.kind() == error_kind::device_io);
    CHECK(e.detail().system_errno == EIO);
    CHECK(std::string(system_error(error_kind::device_io, EIO, {.operation = "poll"}).what()) ==
          "poll failed: Input/output error");
}

TEST_CASE("a full file system is told apart from a failing disk", "[base]") {
    for (const int code : {ENOSPC, EDQUOT, EFBIG}) {
        CAPTURE(code);
        const error e = system_error(error_kind::device_io, code, {.device = "disk.img", .operation = "write"});
        CHECK(e.kind() == error_kind::no_space);
        CHECK_FALSE(e.detail().hint.empty());
    }
    // A failed flush stays one, whatever its cause: the session is poisoned either way.
    CHECK(system_error(error_kind::flush_failed, ENOSPC, {.operation = "flush"}).kind() == error_kind::flush_failed);
    CHECK(system_error(error_kind::device_io, ENOSPC, {.operation = "write", .hint = "mine"}).detail().hint == "mine");
}
