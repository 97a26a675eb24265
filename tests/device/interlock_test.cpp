// Who uses a disk, and who is refused as a target for it: real mounts, loop devices, partitions, swap and QEMU.
#include "reprotect/interlock.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/disk_users.hpp"
#include "support/loop_device.hpp"
#include "support/other_process.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t mebibyte = 1 << 20;

std::unique_ptr<device> open_target(const std::string& name) {
    return open_device("raw:" + name, {.mode = access::read_write});
}

// The refusal of a target; fails the test where it is accepted.
error refusal(device& target) {
    memory_device source(mebibyte);
    try {
        guard_target(target, source);
    } catch (const error& refused) {
        return refused;
    }
    FAIL(target.name() << " was accepted as a target");
    throw;
}
error refusal(const std::string& target) {
    return refusal(*open_target(target));
}

bool accepted(const std::string& target) {
    memory_device source(mebibyte);
    const auto disk = open_target(target);
    guard_target(*disk, source)->check();
    return true;
}

std::optional<holder> find_holder(const std::string& disk, const std::string& beginning) {
    const auto opened = open_device("raw:" + disk);
    for (const holder& each : find_holders(*opened))
        if (each.who.starts_with(beginning)) return each;
    return std::nullopt;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::string make_image(const temp_dir& directory, const std::string& name, std::uint64_t size_bytes = 16 * mebibyte) {
    make_sparse_file(directory.file(name), size_bytes);
    return directory.file(name);
}

std::string make_file_system(const temp_dir& directory, const std::string& name) {
    const std::string image = make_image(directory, name);
    run_checked({"mkfs.ext4", "-q", "-F", image});
    return image;
}

bool loops() {
    if (loop_devices_available()) return true;
    WARN("no loop devices here: not tested");
    return false;
}

}  // namespace

TEST_CASE("a stopped machine's disk is accepted as a target", "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_file_system(directory, "disk.img");
    CHECK(find_holders(*open_device(image)).empty());
    CHECK(accepted(image));
    if (!loops()) return;
    const loop_device loop(image);
    CHECK_FALSE(find_holder(loop.path(), "loop device"));
    CHECK_FALSE(find_holder(loop.path(), "mounted"));
    CHECK(accepted(loop.path()));
}

TEST_CASE("a mounted block device is refused with its mount point", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const loop_device loop(make_file_system(directory, "disk.img"));
    const mounted mount({loop.path()}, directory.file("a mount"));
    const error refused = refusal(loop.path());
    CHECK(refused.kind() == error_kind::in_use);
    CHECK(refused.detail().holder.starts_with("mounted on " + mount.path()));
    CHECK(refused.detail().hint.starts_with("umount " + mount.path()));
    CHECK(refused.detail().device == "raw:" + loop.path());
    CHECK(contains(refused.what(), "mounted on " + mount.path()));
    const auto seen = find_holder(loop.path(), "mounted on");
    REQUIRE(seen);
    CHECK(seen->writes);
}

TEST_CASE("an image behind a mounted loop device is refused with both steps to free it", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_file_system(directory, "disk.img");
    const loop_device loop(image);
    const mounted mount({loop.path()}, directory.file("mnt"));
    const error refused = refusal(image);
    CHECK(refused.kind() == error_kind::in_use);
    // Starts with: another losetup of this machine may try out our loop device at this very moment.
    CHECK(refused.detail().holder.starts_with("mounted on " + mount.path() + " (through " + loop.path() +
                                              "); loop device " + loop.path()));
    CHECK(refused.detail().hint.starts_with("umount " + mount.path() + ", then losetup -d " + loop.path()));
}

TEST_CASE("a disk that is mounted read-only is refused as a target and accepted as a source", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_file_system(directory, "disk.img");
    const std::string other = make_image(directory, "other.img");
    const loop_device loop(image);
    const mounted mount({"-o", "ro", loop.path()}, directory.file("mnt"));
    CHECK(refusal(loop.path()).kind() == error_kind::in_use);
    CHECK(refusal(image).kind() == error_kind::in_use);
    for (const std::string& name : {loop.path(), image}) {
        const auto source = open_device(name);
        const auto target = open_target(other);
        CHECK_NOTHROW(guard_target(*target, *source)->check());
        const std::vector<holder> holders = find_holders(*source);
        CHECK_FALSE(holders.empty());
        for (const holder& each : holders)
            CHECK((each.writes && !contains(each.who, "(losetup)") ? each.who : "") == std::string());
    }
}

TEST_CASE("a disk with a mounted partition is refused and its other partition is accepted", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img", 32 * mebibyte);
    const loop_device loop(image, {.partitions = true});
    const partition first(loop.path(), 1, {mebibyte, 12 * mebibyte}, directory.path());
    const partition second(loop.path(), 2, {16 * mebibyte, 12 * mebibyte}, directory.path());
    run_checked({"mkfs.ext4", "-q", "-F", first.path()});
    const mounted mount({first.path()}, directory.file("mnt"));

    CHECK(contains(refusal(first.path()).detail().holder, "mounted on " + mount.path()));
    CHECK(contains(refusal(loop.path()).detail().holder, "mounted on " + mount.path() + " (through /dev/"));
    CHECK(contains(refusal(image).detail().holder, "mounted on " + mount.path()));
    CHECK(accepted(second.path()));

    // Writers to the whole disk write to its partition.
    other_process writer([&](other_process::side& side) {
        const int descriptor = ::open(loop.path().c_str(), O_RDWR);
        side.tell(descriptor >= 0 ? 'r' : 'f');
        side.wait();
    });
    REQUIRE(writer.wait() == 'r');
    CHECK(contains(refusal(second.path()).detail().holder, "process " + std::to_string(writer.id())));
}

TEST_CASE("swap is refused, on a block device and in a file", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = directory.file("swap.img");
    write_whole_file(image, random_bytes(1, 4 * mebibyte));  // swap wants no holes
    std::filesystem::permissions(image, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    {
        const loop_device loop(image);
        const active_swap swap(loop.path());
        CHECK(contains(refusal(loop.path()).detail().holder, "swap"));
        CHECK(contains(refusal(loop.path()).detail().hint, "swapoff " + loop.path()));
        CHECK(find_holder(image, "swap (through " + loop.path() + ")"));
    }
    std::optional<active_swap> swap;
    try {
        swap.emplace(image);
    } catch (const std::runtime_error& failed) {
        WARN("the file system does not take a swap file: not tested: " << failed.what());
        return;
    }
    const auto seen = find_holder(image, "swap");
    REQUIRE(seen);
    CHECK(seen->hint == "swapoff " + image);
    swap.reset();
    CHECK_FALSE(find_holder(image, "swap"));
}

TEST_CASE("an image under a loop device is refused, by the file and not by its name", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device loop(image);
    CHECK(refusal(image).detail().holder.starts_with("loop device " + loop.path()));
    CHECK(refusal(image).detail().hint.starts_with("losetup -d " + loop.path()));

    // The name goes to another file, the loop device keeps the old one.
    const std::string moved = directory.file("moved.img");
    std::filesystem::rename(image, moved);
    make_image(directory, "disk.img");
    CHECK(accepted(image));
    CHECK(refusal(moved).kind() == error_kind::in_use);

    // The kernel has no name for it at all.
    const std::string link = directory.file("link.img");
    std::filesystem::create_hard_link(moved, link);
    std::filesystem::remove(moved);
    CHECK(refusal(link).kind() == error_kind::in_use);

    const loop_device second(link);
    CHECK(contains(refusal(loop.path()).detail().holder, "loop device " + second.path()));
}

TEST_CASE("loop devices over separate parts of a file do not hinder each other", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device first(image, {.size_limit = 8 * mebibyte});
    const loop_device second(image, {.offset = 8 * mebibyte});
    CHECK(accepted(first.path()));
    CHECK(accepted(second.path()));
}

TEST_CASE("every device of a mounted btrfs is refused", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const loop_device first(make_image(directory, "a.img", 128 * mebibyte));
    const loop_device second(make_image(directory, "b.img", 128 * mebibyte));
    if (!run_command({"mkfs.btrfs", "-q", first.path(), second.path()}).ok() ||
        !run_command({"btrfs", "device", "scan", first.path(), second.path()}).ok()) {
        WARN("no btrfs here: not tested");
        return;
    }
    const mounted mount({first.path()}, directory.file("mnt"));
    for (const std::string& disk : {first.path(), second.path()})
        CHECK(contains(refusal(disk).detail().holder, "mounted on " + mount.path()));
    // An image on it lies on its devices, whatever number the kernel made up for the file system.
    const std::string inner = mount.path() + "/inner.img";
    make_sparse_file(inner, mebibyte);
    CHECK(same_disk(*open_device(inner), *open_device(first.path())));
}

TEST_CASE("what the block layer has on a disk is named with the command that frees it", "[device][interlock]") {
    if (!loops()) return;
    struct layer {
        std::string name;
        std::vector<std::pair<std::string, std::string>> files;
        std::string who;
        std::string hint;
    };
    const std::vector<layer> layers{
        {"dm-3", {{"dm/name", "my--vg-root"}, {"dm/uuid", "LVM-abc"}}, "dm-3 (LVM my--vg-root)", "vgchange -an my-vg"},
        {"dm-4",
         {{"dm/name", "safe"}, {"dm/uuid", "CRYPT-LUKS2-x"}},
         "dm-4 (encrypted volume safe)",
         "cryptsetup close safe"},
        {"dm-5", {{"dm/name", "mpatha"}, {"dm/uuid", "mpath-3600"}}, "dm-5 (multipath mpatha)", "multipath -f mpatha"},
        {"dm-6", {{"dm/name", "other"}, {"dm/uuid", ""}}, "dm-6 (device-mapper other)", "dmsetup remove other"},
        {"md127", {{"md/level", "raid1"}}, "md127 (RAID, raid1)", "mdadm --stop /dev/md127"},
        {"bcache0", {{"bcache/stop", ""}}, "bcache0 (bcache)", "echo 1 > /sys/block/bcache0/bcache/stop"},
    };
    const temp_dir directory;
    const loop_device loop(make_image(directory, "disk.img"));
    const std::string holders = directory.file("holders");
    const std::string block = directory.file("block");
    for (const layer& each : layers) {
        for (const std::string& place : {holders, block}) {
            std::filesystem::create_directories(place + "/" + each.name);
            std::ofstream(place + "/" + each.name + "/dev") << "253:" << (&each - layers.data()) << "\n";
        }
        for (const auto& [file, content] : each.files) {
            const std::filesystem::path path = block + "/" + each.name + "/" + file;
            std::filesystem::create_directories(path.parent_path());
            std::ofstream(path) << content << "\n";
        }
    }
    // This machine need not have these drivers: a private view of /sys shows what they would say.
    other_process seer([&](other_process::side& side) {
        const std::string real = "/sys/block/" + std::filesystem::path(loop.path()).filename().string() + "/holders";
        if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount(holders.c_str(), real.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
            ::mount(block.c_str(), "/sys/block", nullptr, MS_BIND, nullptr) != 0) {
            side.tell('u');
            return;
        }
        std::ofstream out(directory.file("seen"));
        for (const holder& each : find_holders(*open_device(loop.path()))) out << each.who << "|" << each.hint << "\n";
        out.close();
        side.tell();
    });
    const char result = seer.wait();
    if (result == 'u') {
        WARN("no private mounts here: not tested");
        return;
    }
    REQUIRE(result == 'r');
    std::ifstream in(directory.file("seen"));
    const std::string seen((std::istreambuf_iterator<char>(in)), {});
    for (const layer& each : layers) CHECK(contains(seen, each.who + "|" + each.hint + "\n"));
}

TEST_CASE("a process that has a disk open is refused if it can write and accepted if it reads", "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    std::vector<std::string> disks{image};
    std::optional<loop_device> loop;
    if (loops()) disks.push_back(loop.emplace(make_image(directory, "loop.img")).path());
    for (const std::string& disk : disks) {
        for (const int mode : {O_RDWR, O_WRONLY, O_RDONLY}) {
            other_process user([&](other_process::side& side) {
                side.tell(::open(disk.c_str(), mode) >= 0 ? 'r' : 'f');
                side.wait();
            });
            REQUIRE(user.wait() == 'r');
            const std::string process = "process " + std::to_string(user.id());
            if (mode == O_RDONLY) {
                CHECK(accepted(disk));
                const auto seen = find_holder(disk, "open for reading in " + process);
                REQUIRE(seen);
                CHECK_FALSE(seen->writes);
            } else {
                const error refused = refusal(disk);
                CHECK(refused.kind() == error_kind::in_use);
                CHECK(contains(refused.detail().holder, "open for writing in " + process + " ("));
                CHECK(contains(refused.detail().hint, "stop process " + std::to_string(user.id())));
            }
        }
    }
}

TEST_CASE("a writer behind a loop device is seen from the loop device", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device loop(image);
    other_process user([&](other_process::side& side) {
        side.tell(::open(image.c_str(), O_RDWR) >= 0 ? 'r' : 'f');
        side.wait();
    });
    REQUIRE(user.wait() == 'r');
    CHECK(contains(refusal(loop.path()).detail().holder, "process " + std::to_string(user.id())));
}

TEST_CASE("an image that QEMU has open is refused, for writing and for reading", "[device][interlock]") {
    if (!run_command({"qemu-io", "--version"}).ok()) {
        WARN("no qemu-io here: not tested");
        return;
    }
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    {
        const qemu_user user({"-f", "raw", image});
        CHECK(contains(refusal(image).detail().holder, "locked by QEMU"));
        const auto seen = find_holder(image, "locked by QEMU");
        REQUIRE(seen);
        CHECK(seen->writes);
        if (loops()) {
            const loop_device loop(image);
            CHECK(contains(refusal(loop.path()).detail().holder, "locked by QEMU (through " + image + ")"));
            CHECK(find_holder(loop.path(), "locked by QEMU (through " + image + ")"));
        }
    }
    {
        const qemu_user user({"-r", "-f", "raw", image});
        CHECK(refusal(image).kind() == error_kind::in_use);
        const auto seen = find_holder(image, "locked by QEMU for reading");
        REQUIRE(seen);
        CHECK_FALSE(seen->writes);
    }
    CHECK(accepted(image));
}

TEST_CASE("a device without a native handle has no holders and is told from others by identity",
          "[device][interlock]") {
    memory_device a(mebibyte, "a");
    memory_device b(mebibyte, "b");
    CHECK(find_holders(a).empty());
    CHECK_NOTHROW(guard_target(a, b)->check());
    CHECK_THROWS_AS(guard_target(a, a), error);
}
