// Opening by name: what is taken, what is refused and in which words, and that looking does not touch.
#include "reprotect/open_device.hpp"
#include "reprotect/error.hpp"
#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr open_options to_write{.mode = access::read_write};
constexpr open_options to_create{.mode = access::read_write, .create = true};

// What opening failed with, checked for what every refusal has.
error refusal(const std::string& name, const open_options& options = {}) {
    try {
        open_device(name, options);
    } catch (const error& failed) {
        CHECK(failed.detail().operation == "open");
        CHECK(failed.detail().device == name);
        CHECK_FALSE(failed.detail().hint.empty());
        return failed;
    }
    throw std::logic_error(name + " was opened");
}

TEST_CASE("a name that is no disk is refused by what it is", "[device]") {
    const temp_dir directory;
    CHECK(refusal("").kind() == error_kind::usage);
    CHECK(refusal("raw:").kind() == error_kind::usage);
    CHECK(refusal("gopher://x/y").kind() == error_kind::usage);
    CHECK_THAT(refusal("foo:bar").detail().hint, Catch::Contains("./foo:bar"));
    CHECK(refusal(directory.file("missing")).kind() == error_kind::not_found);
    CHECK(refusal(directory.file("missing"), to_write).kind() == error_kind::not_found);
    CHECK(refusal(directory.file("none/missing"), to_create).kind() == error_kind::not_found);
    const error slash = refusal(directory.file("newdir/"), to_create);
    CHECK(slash.kind() == error_kind::not_found);
    CHECK_THAT(slash.what(), Catch::Contains("ends in a slash"));
    CHECK(refusal(directory.file("newdir/")).kind() == error_kind::not_found);
    CHECK(refusal(directory.file(std::string(300, 'x'))).kind() == error_kind::usage);
    CHECK(refusal("/dev/null").kind() == error_kind::unsuitable);
    CHECK(refusal("/dev/zero", to_write).kind() == error_kind::unsuitable);
    CHECK_THAT(refusal("/dev/zero").what(), Catch::Contains("a character device"));

    const error folder = refusal(directory.path().string(), to_write);
    CHECK(folder.kind() == error_kind::unsuitable);
    CHECK_THAT(folder.what(), Catch::Contains("a directory"));

    make_sparse_file(directory.file("file"), 10);
    CHECK(refusal(directory.file("file/below")).kind() == error_kind::not_found);
    std::filesystem::create_symlink("circle", directory.file("circle"));
    CHECK(refusal(directory.file("circle")).kind() == error_kind::not_found);

    const std::string path = directory.file("socket");
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    CHECK(refusal(path).kind() == error_kind::unsuitable);
    CHECK_THAT(refusal(path, to_write).what(), Catch::Contains("a socket"));
    ::close(socket);
}

TEST_CASE("a fifo is refused without waiting for its other end", "[device]") {
    const temp_dir directory;
    REQUIRE(::mkfifo(directory.file("fifo").c_str(), 0600) == 0);
    ::alarm(20);  // ends the test where it blocks
    CHECK_THAT(refusal(directory.file("fifo")).what(), Catch::Contains("a fifo"));
    CHECK(refusal(directory.file("fifo"), to_write).kind() == error_kind::unsuitable);
    ::alarm(0);
}

TEST_CASE("a peer's disk is no device, and the hint says what it goes with", "[device]") {
    for (const char* name : {"reprotect://host/disk", "ssh://host/disk"}) {
        CAPTURE(name);
        const error refused = refusal(name);
        CHECK(refused.kind() == error_kind::usage);
        CHECK_THAT(refused.what(), Catch::Contains("a peer's disk"));
        CHECK_THAT(refused.detail().hint, Catch::Contains("sync, diff and checksum"));
        CHECK_THAT(refused.detail().hint, Catch::Contains("one of the two disks at most"));
    }
}

TEST_CASE("a path may hold colons where it cannot be taken for a scheme", "[device]") {
    const temp_dir directory;
    for (const std::string name : {"pci-0000:00:1f.2", "foo:bar", "qcow2:x"}) {
        make_sparse_file(directory.file(name), 4096);
        CHECK(open_device(directory.file(name))->size() == 4096);
        CHECK(open_device("raw:" + directory.file(name))->size() == 4096);
    }
    CHECK(refusal("2024-01-01T10:00:00.img").kind() == error_kind::not_found);
    CHECK(refusal("Disk:1").kind() == error_kind::not_found);
}

TEST_CASE("a missing file is created, empty and private, only where that was asked for", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("new.img");
    CHECK(refusal(name, {.mode = access::read_only, .create = true}).kind() == error_kind::not_found);
    CHECK_FALSE(std::filesystem::exists(name));
    {
        const auto disk = open_device(name, to_create);
        CHECK(disk->properties().created);
        CHECK(disk->size() == 0);
        disk->resize(8192);
        disk->write(8191, random_bytes(1, 1));
        disk->flush();
        disk->flush();
    }
    struct stat info {};
    REQUIRE(::stat(name.c_str(), &info) == 0);
    CHECK((info.st_mode & 077) == 0);
    const auto again = open_device(name, to_create);
    CHECK_FALSE(again->properties().created);
    CHECK(again->size() == 8192);

    std::filesystem::create_symlink("nowhere", directory.file("dangling"));
    const error refused = refusal(directory.file("dangling"), to_create);
    CHECK_THAT(refused.what(), Catch::Contains("symbolic link"));
    CHECK_FALSE(std::filesystem::exists(directory.file("nowhere")));
}

TEST_CASE("a regular file is opened through symbolic links, and what is opened is what the name led to", "[device]") {
    const temp_dir directory;
    make_sparse_file(directory.file("disk"), 5000);
    std::filesystem::create_symlink("disk", directory.file("link"));
    const auto disk = open_device(directory.file("link"), to_write);
    CHECK(disk->name() == directory.file("link"));
    CHECK(disk->size() == 5000);
    CHECK(disk->identity() == open_device(directory.file("disk"))->identity());
    std::filesystem::rename(directory.file("disk"), directory.file("moved"));
    const auto data = random_bytes(1, 5000);
    disk->write(0, data);
    CHECK((read_whole_file(directory.file("moved")) == data));
}

TEST_CASE("opening a file, also for writing, does not touch it", "[device]") {
    const temp_dir directory;
    write_whole_file(directory.file("disk"), random_bytes(1, 9000));
    struct stat before {};
    struct stat after {};
    REQUIRE(::stat(directory.file("disk").c_str(), &before) == 0);
    ::usleep(20'000);  // more than the clock of a file's times may lag
    CHECK(open_device(directory.file("disk"), {.mode = access::read_write, .direct = true, .create = true})->size() ==
          9000);
    REQUIRE(::stat(directory.file("disk").c_str(), &after) == 0);
    CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    CHECK(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
    CHECK(before.st_blocks == after.st_blocks);
    CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1);
}

TEST_CASE("who may not open a disk is told so", "[device]") {
    if (::geteuid() != 0) {
        WARN("not run as root: permissions cannot be tested");
        return;
    }
    const temp_dir directory;
    make_sparse_file(directory.file("secret"), 4096);
    REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
    REQUIRE(::chmod(directory.file("secret").c_str(), 0600) == 0);
    const auto refused_as_nobody = [&](const std::string& name, const open_options& options, const std::string& hint) {
        const pid_t child = ::fork();
        if (child == 0) {
            int code = 1;
            try {
                if (::setegid(65534) == 0 && ::seteuid(65534) == 0) open_device(directory.file(name), options);
            } catch (const error& failed) {
                const bool told = failed.detail().hint.find(hint) != std::string::npos;
                code = failed.kind() != error_kind::permission ? 2 : told ? 0 : 3;
            } catch (...) {
                code = 4;
            }
            ::_exit(code);
        }
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    };
    refused_as_nobody("secret", {}, "may read the disk");
    refused_as_nobody("secret", to_write, "may write");
    // Where there is no file yet, the folder is what the right is missing for.
    refused_as_nobody("new", to_create, "right to write to " + directory.path().string() + ",");
}

TEST_CASE("an immutable file and a read-only file system are read but not written", "[device]") {
    if (!loop_devices_available()) {
        WARN("no loop devices can be made here: not tested");
        return;
    }
    const temp_dir directory;
    mounted_file_system mounted("ext4", directory.path(), 16 << 20);
    make_sparse_file(mounted.file("disk"), 4096);
    run_checked({"chattr", "+i", mounted.file("disk")});
    CHECK(open_device(mounted.file("disk"))->properties().read_only);
    const error immutable = refusal(mounted.file("disk"), to_write);
    CHECK(immutable.kind() == error_kind::permission);
    CHECK_THAT(immutable.detail().hint, Catch::Contains("lsattr"));
    run_checked({"chattr", "-i", mounted.file("disk")});
    CHECK_FALSE(open_device(mounted.file("disk"), to_write)->properties().read_only);

    mounted.remount_read_only();
    CHECK(open_device(mounted.file("disk"))->size() == 4096);
    const error refused = refusal(mounted.file("disk"), to_write);
    CHECK(refused.kind() == error_kind::unsuitable);
    CHECK_THAT(refused.what(), Catch::Contains("read-only file system"));
    CHECK(refusal(mounted.file("new"), to_create).kind() == error_kind::unsuitable);
}

TEST_CASE("a read-only block device is read but not opened for writing", "[device]") {
    if (!loop_devices_available()) {
        WARN("no loop devices can be made here: not tested");
        return;
    }
    const temp_dir directory;
    write_whole_file(directory.file("disk"), random_bytes(1, 8192));
    const loop_device loop(directory.file("disk"), {.read_only = true});
    const auto disk = open_device(loop.path());
    CHECK(disk->properties().read_only);
    CHECK(disk->size() == 8192);
    CHECK_FALSE(disk->properties().punches_holes);
    const error refused = refusal(loop.path(), to_write);
    CHECK(refused.kind() == error_kind::unsuitable);
    CHECK_THAT(refused.what(), Catch::Contains("read-only"));
    CHECK_THAT(refused.detail().hint, Catch::Contains("blockdev --setrw"));
}

TEST_CASE("a block device with nothing behind it is refused", "[device]") {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int free_number = control < 0 ? -1 : ::ioctl(control, LOOP_CTL_GET_FREE);
    if (control >= 0) ::close(control);
    if (free_number < 0) {
        WARN("no loop devices can be made here: not tested");
        return;
    }
    const error refused = refusal("/dev/loop" + std::to_string(free_number));
    CHECK((refused.kind() == error_kind::unsuitable || refused.kind() == error_kind::not_found));
}

TEST_CASE("a file under another's lease is in use, and opening it does not wait", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("leased");
    make_sparse_file(name, 4096);
    int ready[2];
    int done[2];
    REQUIRE(::pipe(ready) == 0);
    REQUIRE(::pipe(done) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGIO, SIG_IGN);
        const int held = ::open(name.c_str(), O_RDWR);
        char answer = ::fcntl(held, F_SETLEASE, F_WRLCK) == 0 ? 'y' : 'n';
        if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
        ::close(done[1]);
        if (::read(done[0], &answer, 1) != 0) ::_exit(1);
        ::_exit(0);
    }
    char answer = 0;
    REQUIRE(::read(ready[0], &answer, 1) == 1);
    REQUIRE(answer == 'y');
    const auto begin = std::chrono::steady_clock::now();
    const error refused = refusal(name, to_write);
    CHECK(refused.kind() == error_kind::in_use);
    CHECK_THAT(refused.what(), Catch::Contains("lease"));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    for (const int end : {ready[0], ready[1], done[0], done[1]}) ::close(end);
    int status = 0;
    ::waitpid(child, &status, 0);
}

}  // namespace
