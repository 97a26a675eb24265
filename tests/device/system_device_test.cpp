// What files and block devices do with the system: holes, caches, full disks, failed flushes, and who they are.
#include "reprotect/error.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/disk_rig.hpp"
#include "support/loop_device.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <thread>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using bytes = std::vector<std::byte>;
constexpr open_options to_write{.mode = access::read_write};
constexpr std::uint64_t megabyte = 1 << 20;

bool without_loops() {
    if (loop_devices_available()) return false;
    WARN("no loop devices can be made here: not tested");
    return true;
}

error failure_of(auto&& call) {
    try {
        call();
    } catch (const error& failed) {
        return failed;
    }
    throw std::logic_error("it did not fail");
}

bytes read_range(device& disk, std::uint64_t offset, std::size_t length) {
    bytes content(length);
    disk.read(offset, content);
    return content;
}

void write_file_range(const std::string& name, std::uint64_t offset, const bytes& data) {
    const int descriptor = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
    const ssize_t put = ::pwrite(descriptor, data.data(), data.size(), static_cast<off_t>(offset));
    ::fsync(descriptor);
    ::close(descriptor);
    REQUIRE(put == static_cast<ssize_t>(data.size()));
}

std::uint64_t cached_bytes(const std::string& name) {
    return std::stoull(run_checked({"fincore", "--bytes", "--noheadings", "--output", "RES", name}));
}

class unmount_at_end {
public:
    explicit unmount_at_end(std::string mount_point) : mount_point_(std::move(mount_point)) {}
    unmount_at_end(const unmount_at_end&) = delete;
    unmount_at_end& operator=(const unmount_at_end&) = delete;
    ~unmount_at_end() { run_command({"umount", mount_point_}); }

private:
    std::string mount_point_;
};

TEST_CASE("allocation of a file that changes meanwhile ends and still covers its range", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("busy");
    make_sparse_file(name, 8 * megabyte);
    const auto disk = open_device(name);
    std::atomic<bool> stop{false};
    std::thread changing([&] {
        const int descriptor = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
        const bytes data = random_bytes(1, 4096);
        for (std::uint64_t round = 0; !stop; ++round) {
            const auto offset = static_cast<off_t>(round * 7 % 2048 * 4096);
            if (round % 2 == 0) {
                if (::pwrite(descriptor, data.data(), data.size(), offset) < 0) break;
            } else {
                ::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset - offset % 65'536, 65'536);
            }
        }
        ::close(descriptor);
    });
    bool covered = true;
    for (int round = 0; round < 200; ++round) {
        std::uint64_t position = 0;
        for (const allocation_run& run : disk->allocation({0, 8 * megabyte}, 1 << 20)) {
            covered = covered && run.range.offset == position && !run.range.empty();
            position = run.range.end();
        }
        covered = covered && position == 8 * megabyte;
    }
    stop = true;
    changing.join();
    CHECK(covered);
}

TEST_CASE("a file that shrank is not reported as a hole", "[device]") {
    const temp_dir directory;
    make_sparse_file(directory.file("disk"), megabyte);
    const auto disk = open_device(directory.file("disk"));
    make_sparse_file(directory.file("disk"), 0);
    CHECK(disk->allocation({0, megabyte}, 10) == std::vector<allocation_run>{{{0, megabyte}, content::data}});
}

TEST_CASE("a file system without holes is said to have none, and zeroes are written", "[device]") {
    if (::geteuid() != 0) {
        WARN("not run as root: a file system cannot be mounted");
        return;
    }
    const temp_dir directory;
    mounted_file_system mounted("ramfs", directory.path(), megabyte);
    const std::string name = mounted.file("disk");
    write_whole_file(name, random_bytes(1, 100'000));
    {
        const auto disk = open_device(name, to_write);
        CHECK_FALSE(disk->properties().punches_holes);
        disk->write_zeroes(10, 99'990);
        CHECK((read_range(*disk, 10, 99'990) == bytes(99'990)));
        CHECK_FALSE(disk->discard(0, 4096));
        CHECK(disk->allocation({0, 100'000}, 9) == std::vector<allocation_run>{{{0, 100'000}, content::data}});
        CHECK_FALSE(disk->drop_cache());
        disk->flush();
    }
    const auto created = open_device(mounted.file("new"), {.mode = access::read_write, .create = true});
    CHECK_FALSE(created->properties().punches_holes);
}

TEST_CASE("after the cache was dropped a block device reads what the medium holds", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    make_sparse_file(directory.file("disk"), megabyte);
    const loop_device loop(directory.file("disk"));
    const auto disk = open_device(loop.path());
    CHECK((read_range(*disk, 0, 8192) == bytes(8192)));
    // Under the device, so that its cache does not learn of it.
    const bytes data = random_bytes(1, 8192);
    write_file_range(directory.file("disk"), 0, data);
    REQUIRE((read_range(*disk, 0, 8192) == bytes(8192)));
    disk->drop_cache();
    CHECK((read_range(*disk, 0, 8192) == data));
}

TEST_CASE("dropping the cache of a file leaves none of it in memory", "[device]") {
    if (without_loops()) return;
    if (!run_command({"fincore", "--version"}).ok()) {
        WARN("fincore is not here: not tested");
        return;
    }
    const temp_dir directory;
    mounted_file_system mounted("ext4", directory.path(), 64 << 20);
    const std::string name = mounted.file("disk");
    make_sparse_file(name, 4 * megabyte);
    {
        const auto disk = open_device(name, to_write);
        disk->write(0, random_bytes(1, 4 * megabyte));
        disk->flush();
        REQUIRE(cached_bytes(name) > megabyte);
        CHECK(disk->drop_cache());
        CHECK(cached_bytes(name) == 0);
    }
    // A loop device's content is cached once more, as its backing file's.
    {
        const loop_device loop(name);
        const auto disk = open_device(loop.path());
        CHECK(read_range(*disk, 0, 4 * megabyte).size() == 4 * megabyte);
        REQUIRE(cached_bytes(name) > megabyte);
        CHECK(disk->drop_cache());
        CHECK(cached_bytes(name) == 0);
    }
}

TEST_CASE("a cache that somebody holds on to is not said to be dropped", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    mounted_file_system mounted("ext4", directory.path(), 64 << 20);
    const std::string name = mounted.file("disk");
    write_whole_file(name, random_bytes(1, megabyte));
    const auto disk = open_device(name, to_write);
    disk->flush();
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    void* mapping = ::mmap(nullptr, megabyte, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    ::close(descriptor);
    REQUIRE(mapping != MAP_FAILED);
    CHECK_FALSE(disk->drop_cache());
    ::munmap(mapping, megabyte);
    CHECK(disk->drop_cache());
}

TEST_CASE("direct transfers leave the aligned middle out of the cache", "[device]") {
    if (without_loops()) return;
    if (!run_command({"fincore", "--version"}).ok()) {
        WARN("fincore is not here: not tested");
        return;
    }
    const temp_dir directory;
    mounted_file_system mounted("ext4", directory.path(), 64 << 20);
    const std::string name = mounted.file("disk");
    make_sparse_file(name, 4 * megabyte + 100);
    const auto disk = open_device(name, {.mode = access::read_write, .direct = true});
    REQUIRE(disk->properties().direct);
    const bytes data = random_bytes(1, 4 * megabyte + 100);
    disk->write(0, data);
    CHECK(cached_bytes(name) <= 16 * 1024);
    CHECK((read_range(*disk, 50, 4 * megabyte) == bytes(data.begin() + 50, data.begin() + 50 + 4 * megabyte)));
    CHECK(cached_bytes(name) <= 16 * 1024);
}

TEST_CASE("direct reads of a block device see the medium at once", "[device]") {
    if (without_loops()) return;
    for (const unsigned sector : {512u, 4096u}) {
        const temp_dir directory;
        make_sparse_file(directory.file("disk"), megabyte);
        const loop_device loop(directory.file("disk"), {.sector_bytes = sector});
        const auto disk = open_device(loop.path(), {.mode = access::read_only, .direct = true});
        REQUIRE(disk->properties().direct);
        CHECK((read_range(*disk, 0, 65'536) == bytes(65'536)));
        const bytes data = random_bytes(1, 65'536);
        write_file_range(directory.file("disk"), 0, data);
        CHECK((read_range(*disk, 0, 65'536) == data));
        // Unaligned, from the middle: whole pages are direct all the same.
        const bytes part = read_range(*disk, 100, 60'000);
        CHECK(std::equal(part.begin() + 3996, part.begin() + 3996 + 49'152, data.begin() + 4096));
    }
}

TEST_CASE("a full file system is an error of its own kind", "[device]") {
    const temp_dir directory;
    if (::geteuid() != 0) {
        WARN("not run as root: a small file system cannot be mounted");
        return;
    }
    mounted_file_system mounted("tmpfs", directory.path(), 256 * 1024);
    make_sparse_file(mounted.file("disk"), megabyte);
    const auto disk = open_device(mounted.file("disk"), to_write);
    const error full = failure_of([&] { disk->write(0, random_bytes(1, megabyte)); });
    CHECK(full.kind() == error_kind::no_space);
    CHECK(full.detail().operation == "write");
    CHECK(*full.detail().offset >= 4096);
    CHECK(*full.detail().offset + *full.detail().length == megabyte);
    CHECK_FALSE(full.detail().hint.empty());
}

TEST_CASE("a flush that failed is said to have failed, and is never tried again", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    mounted_file_system mounted("tmpfs", directory.path(), 512 * 1024);
    make_sparse_file(mounted.file("disk"), 4 * megabyte);
    // The writes go to the loop device's cache; its backing file has no room when they are written back.
    const loop_device loop(mounted.file("disk"));
    const auto disk = open_device(loop.path(), to_write);
    disk->write(0, random_bytes(1, 2 * megabyte));
    const error failed = failure_of([&] { disk->flush(); });
    CHECK(failed.kind() == error_kind::flush_failed);
    CHECK(failed.detail().system_errno != 0);
    CHECK_FALSE(failed.detail().hint.empty());
    const error again = failure_of([&] { disk->flush(); });
    CHECK(again.kind() == error_kind::flush_failed);
    CHECK(again.detail().system_errno == 0);
    CHECK_THAT(again.what(), Catch::Contains("an earlier one failed"));
}

TEST_CASE("a file's identity goes with the file and ends with it", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("disk");
    make_sparse_file(name, 4096);
    const device_identity first = open_device(name)->identity();
    CHECK_THAT(first.text(),
               Catch::StartsWith("kind=file fs=") && Catch::Contains(" inode=") && Catch::Contains(" birth="));
    CHECK(open_device("raw:" + name, to_write)->identity() == first);

    std::filesystem::create_hard_link(name, directory.file("link"));
    CHECK(open_device(directory.file("link"))->identity() == first);
    std::filesystem::remove(directory.file("link"));
    std::filesystem::rename(name, directory.file("moved"));
    make_sparse_file(directory.file("moved"), 8192);
    CHECK(open_device(directory.file("moved"))->identity() == first);
    std::filesystem::copy_file(directory.file("moved"), directory.file("copy"));
    CHECK(open_device(directory.file("copy"))->identity() != first);

    // A new file may be given the same inode; its birth differs.
    std::filesystem::remove(directory.file("moved"));
    ::usleep(20'000);  // more than the clock of a file's times may lag
    for (int count = 0; count < 20; ++count) {
        const std::string next = directory.file("next" + std::to_string(count));
        make_sparse_file(next, 4096);
        CHECK(open_device(next)->identity() != first);
    }
}

TEST_CASE("a loop device's identity is its backing file's, whatever its number", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    make_sparse_file(directory.file("a"), megabyte);
    make_sparse_file(directory.file("b"), megabyte);
    const device_identity file = open_device(directory.file("a"))->identity();
    device_identity first;
    {
        const loop_device loop(directory.file("a"));
        first = open_device(loop.path())->identity();
        CHECK_THAT(first.text(), Catch::StartsWith("kind=loop ") && Catch::Contains(" inode="));
        CHECK(first != file);
        const loop_device other(directory.file("b"));
        CHECK(open_device(other.path())->identity() != first);
        const loop_device shifted(directory.file("a"), {.offset = 65'536});
        CHECK(open_device(shifted.path())->identity() != first);
        const loop_device limited(directory.file("a"), {.size_limit = 65'536});
        CHECK(open_device(limited.path())->identity() != first);
        const loop_device limited_to_all(directory.file("a"), {.size_limit = megabyte});
        CHECK(open_device(limited_to_all.path())->identity() != first);
    }
    const loop_device elsewhere(directory.file("b"));  // takes the number that has become free
    const loop_device again(directory.file("a"));
    CHECK(open_device(again.path())->identity() == first);
    CHECK(open_device(elsewhere.path())->identity() != first);
    // A deleted backing file is not mistaken for a new one of the same name.
    std::filesystem::remove(directory.file("a"));
    make_sparse_file(directory.file("a"), megabyte);
    CHECK(open_device(again.path())->identity() != first);
    const loop_device fresh(directory.file("a"));
    CHECK(open_device(fresh.path())->identity() != open_device(again.path())->identity());
}

TEST_CASE("a loop device over another one is told from the one below", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    make_sparse_file(directory.file("a"), megabyte);
    const loop_device below(directory.file("a"));
    const loop_device above(below.path());
    const device_identity lower = open_device(below.path())->identity();
    const device_identity upper = open_device(above.path())->identity();
    CHECK(lower != upper);
    CHECK_THAT(upper.text(), Catch::Contains("backing=loop") && Catch::Contains("inode="));
    CHECK(open_device(above.path())->drop_cache() == open_device(below.path())->drop_cache());
}

TEST_CASE("partitions have identities of their own", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    make_sparse_file(directory.file("disk"), 8 * megabyte);
    const command_result made =
        run_command({"sfdisk", "--quiet", directory.file("disk")}, "label: gpt\nsize=2M\nsize=2M\n");
    if (!made.ok()) {
        WARN("sfdisk is not here: not tested");
        return;
    }
    loop_device loop(directory.file("disk"), {.partitions = true});
    loop.find_partitions();
    if (!std::filesystem::exists(loop.path() + "p2")) {
        WARN("loop devices have no partitions here: not tested");
        return;
    }
    const auto first = open_device(loop.path() + "p1", to_write);
    const auto second = open_device(loop.path() + "p2");
    CHECK(first->size() == 2 * megabyte);
    CHECK(first->identity() != second->identity());
    CHECK(first->identity() != open_device(loop.path())->identity());
    CHECK_THAT(second->identity().text(), Catch::Contains("partition=2") && Catch::Contains("inode="));
    const bytes data = random_bytes(1, 10'000);
    first->write(5, data);
    CHECK((read_range(*first, 5, 10'000) == data));
    CHECK((read_range(*second, 0, 20'000) == bytes(20'000)));
}

TEST_CASE("a loop device is not taken for a file that hides its backing file", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    const std::filesystem::path folder = directory.path() / "tmpfs.mnt";
    std::filesystem::create_directory(folder);
    const std::string name = (folder / "disk").string();
    make_sparse_file(name, megabyte);
    const loop_device loop(name);
    CHECK_THAT(open_device(loop.path())->identity().text(), Catch::Contains("birth="));
    std::filesystem::create_directory(directory.path() / "over");
    mounted_file_system over("tmpfs", directory.path() / "over", megabyte);
    run_checked({"mount", "--bind", over.path().string(), folder.string()});
    const unmount_at_end bound(folder.string());
    make_sparse_file(name, megabyte);
    const loop_device impostor(name);
    const device_identity hidden = open_device(loop.path())->identity();
    const device_identity other = open_device(impostor.path())->identity();
    CHECK(hidden != other);
    CHECK_THAT(hidden.text(), Catch::Contains("disk=seq:"));
}

TEST_CASE("the cache of an overlay's file is not said to be passed", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    mounted_file_system mounted("ext4", directory.path(), 64 << 20);
    for (const char* name : {"lower", "upper", "work", "merged"})
        std::filesystem::create_directory(mounted.path() / name);
    const std::string options =
        "lowerdir=" + mounted.file("lower") + ",upperdir=" + mounted.file("upper") + ",workdir=" + mounted.file("work");
    if (!run_command({"mount", "-t", "overlay", "-o", options, "overlay", mounted.file("merged")}).ok()) {
        WARN("overlays cannot be mounted here: not tested");
        return;
    }
    const unmount_at_end merged(mounted.file("merged"));
    const std::string name = mounted.file("merged/disk");
    write_whole_file(name, random_bytes(1, megabyte));
    const auto disk = open_device(name, to_write);
    disk->flush();
    CHECK_FALSE(disk->drop_cache());
}

TEST_CASE("zeroing a part of a page spares what another thread writes to its other part", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    constexpr std::uint64_t pages = 256;
    make_sparse_file(directory.file("disk"), pages * 4096);
    const loop_device loop(directory.file("disk"));
    const auto disk = open_device(loop.path(), to_write);
    const bytes data = random_bytes(1, 2048);
    for (int round = 0; round < 10; ++round) {
        disk->write(0, random_bytes(2, pages * 4096));
        disk->flush();
        disk->drop_cache();
        std::thread zeroing([&] {
            for (std::uint64_t page = 0; page < pages; ++page) disk->write_zeroes(page * 4096, 2048);
        });
        for (std::uint64_t page = 0; page < pages; ++page) disk->write(page * 4096 + 2048, data);
        zeroing.join();
        disk->flush();
        disk->drop_cache();
        const bytes content = read_range(*disk, 0, pages * 4096);
        std::uint64_t wrong = 0;
        for (std::uint64_t page = 0; page < pages; ++page) {
            const auto begin = content.begin() + static_cast<std::ptrdiff_t>(page * 4096);
            if (std::any_of(begin, begin + 2048, [](std::byte byte) { return byte != std::byte{0}; })) ++wrong;
            if (!std::equal(data.begin(), data.end(), begin + 2048)) ++wrong;
        }
        CHECK(wrong == 0);
    }
}

// Ends a process that asks a device to discard.
bool forbid_discards() {
    static constexpr std::uint32_t discard_request = BLKDISCARD;
    std::array<sock_filter, 6> program = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + sizeof(std::uint64_t)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, discard_request, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST_CASE("a discard is never trusted to zero: zeroing a block device asks for none", "[device]") {
    if (without_loops()) return;
    const temp_dir directory;
    make_sparse_file(directory.file("disk"), megabyte);
    const loop_device loop(directory.file("disk"));
    const auto disk = open_device(loop.path(), to_write);
    disk->write(0, random_bytes(1, megabyte));
    const auto ends_in_child = [&](auto&& call) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (!forbid_discards()) ::_exit(9);
            try {
                call();
            } catch (...) {
                ::_exit(8);
            }
            ::_exit(0);
        }
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    };
    CHECK(ends_in_child([&] { disk->write_zeroes(0, megabyte / 2); }) == 0);
    CHECK((read_range(*disk, 0, megabyte / 2) == bytes(megabyte / 2)));
    CHECK(ends_in_child([&] { disk->discard(0, megabyte / 2); }) == -SIGSYS);
}

TEST_CASE("a loop device whose file was cut is refused, and a partition of one knows where it lies", "[device]") {
    if (!loop_devices_available()) {
        WARN("no loop devices can be made here");
        return;
    }
    const temp_dir directory;
    const std::string file = directory.file("disk");
    make_sparse_file(file, 16 * megabyte);
    // One partition, from 1 MiB to 11 MiB.
    REQUIRE(run_command({"sfdisk", "-q", file}, "start=2048, size=20480\n").ok());
    loop_device loop(file, {.partitions = true});
    loop.find_partitions();
    if (!std::filesystem::exists(loop.path() + "p1")) {
        WARN("this kernel makes no partitions of loop devices");
        return;
    }
    const auto whole = open_device(loop.path());
    const auto part = open_device(loop.path() + "p1");
    CHECK(part->current_size() == 10 * megabyte);
    make_sparse_file(file, 11 * megabyte);
    CHECK(part->current_size() == 10 * megabyte);
    CHECK(whole->current_size() == 11 * megabyte);
    make_sparse_file(file, 10 * megabyte);
    CHECK(part->current_size() == 9 * megabyte);
    for (const std::string& name : {loop.path(), loop.path() + "p1"}) {
        try {
            open_device(name);
            FAIL("a disk that is not all there was opened");
        } catch (const error& failed) {
            CHECK(failed.kind() == error_kind::unsuitable);
            CHECK_THAT(failed.what(), Catch::Contains("loop device's file ends"));
        }
    }
}

}  // namespace
