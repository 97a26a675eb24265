// What keeps a target ours while it is written: against second syncs, virtual machines, mounts and anyone who opens it.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "reprotect/error.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/disk_users.hpp"
#include "support/loop_device.hpp"
#include "support/other_process.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t mebibyte = 1 << 20;

// A target that is held, with a source that is none of its names.
struct held_target {
    explicit held_target(const std::string& name, bool direct = false)
        : source(mebibyte),
          target(open_device("raw:" + name, {.mode = access::read_write, .direct = direct})),
          guard(guard_target(*target, source)) {}
    memory_device source;
    std::unique_ptr<device> target;
    std::unique_ptr<target_guard> guard;
};

std::string make_image(const temp_dir& directory, const std::string& name, std::uint64_t size_bytes = 16 * mebibyte) {
    make_sparse_file(directory.file(name), size_bytes);
    return directory.file(name);
}

bool loops() {
    if (loop_devices_available()) return true;
    WARN("no loop devices here: not tested");
    return false;
}

// Calls `check` like an engine at work until it throws, at most so long.
std::optional<error> check_for(target_guard& guard, milliseconds duration) {
    const auto end = steady_clock::now() + duration;
    do {
        try {
            guard.check();
        } catch (const error& failed) {
            return failed;
        }
        std::this_thread::sleep_for(milliseconds(2));
    } while (steady_clock::now() < end);
    return std::nullopt;
}

// Another process opens the disk, tells 'r', and waits; then it does `more` and tells 'd'.
std::function<void(other_process::side&)> opener(
    const std::string& disk, int flags, std::function<void(int)> more = [](int) {}) {
    return [disk, flags, more](other_process::side& side) {
        const int descriptor = ::open(disk.c_str(), flags | O_CLOEXEC);
        side.tell(descriptor >= 0 ? 'r' : 'f');
        side.wait();
        more(descriptor);
        side.tell('d');
        side.wait();
    };
}

void write_a_byte(int descriptor) {
    if (::pwrite(descriptor, "x", 1, 0) != 1) ::_exit(4);
}

bool is_process(const error& failed, pid_t id) {
    return failed.kind() == error_kind::in_use &&
           failed.detail().holder.find("process " + std::to_string(id)) != std::string::npos;
}

}  // namespace

TEST_CASE("a held file makes those who open it wait until it is checked, and readers then pass",
          "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    held_target held(image);
    CHECK_NOTHROW(held.guard->check());
    CHECK(::open(image.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0);
    CHECK(errno == EWOULDBLOCK);

    other_process reader(opener(image, O_RDONLY));
    CHECK(reader.wait(100) == 0);
    CHECK_FALSE(check_for(*held.guard, milliseconds(50)));
    CHECK(reader.wait() == 'r');
    CHECK_FALSE(check_for(*held.guard, milliseconds(1500)));

    // When the reader is gone the door is shut again.
    reader.end();
    CHECK_FALSE(check_for(*held.guard, milliseconds(2500)));
    CHECK(::open(image.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0);
}

TEST_CASE("who opens a held file for writing and goes away does no harm", "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    held_target held(image);
    other_process passer(opener(image, O_RDWR));
    CHECK(passer.wait(100) == 0);
    CHECK_FALSE(check_for(*held.guard, milliseconds(50)));
    CHECK(passer.wait() == 'r');
    passer.end();
    CHECK_FALSE(check_for(*held.guard, milliseconds(1500)));
}

TEST_CASE("who writes to a held target ends the sync, however short it was", "[device][interlock]") {
    const temp_dir directory;
    std::vector<std::string> disks{make_image(directory, "disk.img")};
    std::optional<loop_device> loop;
    if (loops()) disks.push_back(loop.emplace(make_image(directory, "loop.img")).path());
    for (const std::string& disk : disks) {
        held_target held(disk);
        held.target->write(0, random_bytes(1, 65536));
        held.target->write_zeroes(4096, 4096);
        held.target->flush();
        CHECK_NOTHROW(held.guard->check());  // our own writes are ours
        other_process writer(opener(disk, O_RDWR, write_a_byte));
        std::this_thread::sleep_for(milliseconds(50));
        CHECK_FALSE(check_for(*held.guard, milliseconds(50)));
        REQUIRE(writer.wait() == 'r');
        writer.go();
        REQUIRE(writer.wait() == 'd');
        const pid_t id = writer.id();
        writer.end();
        const auto failed = check_for(*held.guard, milliseconds(0));
        REQUIRE(failed);
        CHECK(is_process(*failed, id));
        CHECK(std::string(failed->what()).find("wrote to it meanwhile") != std::string::npos);
        CHECK_THROWS_AS(held.guard->check(), error);
    }
}

TEST_CASE("who keeps a held target open for writing ends the sync", "[device][interlock]") {
    const temp_dir directory;
    std::vector<std::string> disks{make_image(directory, "disk.img")};
    std::optional<loop_device> loop;
    if (loops()) disks.push_back(loop.emplace(make_image(directory, "loop.img")).path());
    for (const std::string& disk : disks) {
        held_target held(disk);
        other_process writer(opener(disk, O_WRONLY));
        const auto failed = check_for(*held.guard, milliseconds(40000));
        REQUIRE(failed);
        CHECK(is_process(*failed, writer.id()));
    }
}

TEST_CASE("a device that is open twice has no lease and is watched all the same", "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    held_target held(image, true);
    if (!held.target->properties().direct) {
        WARN("no direct transfers on this file system: not tested");
        return;
    }
    other_process writer(opener(image, O_RDWR, write_a_byte));
    REQUIRE(writer.wait() == 'r');
    CHECK_NOTHROW(held.guard->check());
    writer.go();
    REQUIRE(writer.wait() == 'd');
    const auto failed = check_for(*held.guard, milliseconds(0));
    REQUIRE(failed);
    CHECK(is_process(*failed, writer.id()));
}

TEST_CASE("a loop device that is made over a held file ends the sync", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    held_target held(image);
    std::optional<error> failed;
    std::thread engine([&] { failed = check_for(*held.guard, milliseconds(40000)); });
    std::optional<loop_device> loop;
    try {
        loop.emplace(image);
    } catch (const std::exception&) {
    }
    engine.join();
    REQUIRE(loop);
    REQUIRE(failed);
    CHECK(failed->detail().holder.find("loop device " + loop->path()) != std::string::npos);
}

TEST_CASE("no QEMU tool opens a held target, and all do when it is released", "[device][interlock]") {
    if (!run_command({"qemu-io", "--version"}).ok()) {
        WARN("no qemu-io here: not tested");
        return;
    }
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const std::vector<std::string> write{"qemu-io", "-f", "raw", "-c", "write 0 4096", image};
    const std::vector<std::string> read{"qemu-io", "-r", "-f", "raw", "-c", "read 0 4096", image};
    const auto refused = [](const command_result& result) {
        return !result.ok() && (result.errors + result.output).find("lock") != std::string::npos;
    };
    {
        held_target held(image);
        std::optional<error> failed;
        std::atomic<bool> done = false;
        std::thread engine([&] {
            while (!done && !failed) failed = check_for(*held.guard, milliseconds(5));
        });
        const command_result writer = run_command(write);
        const command_result reader = run_command(read);
        done = true;
        engine.join();
        CHECK(refused(writer));
        CHECK(refused(reader));
        CHECK_FALSE(failed);  // they were kept out, so the sync goes on
        held.guard.reset();
        // Released, although the device is still open.
        CHECK(find_holders(*open_device("raw:" + image)).empty());
        CHECK(run_command(write).ok());
    }
    CHECK(run_command(write).ok());
    CHECK(run_command(read).ok());
    if (!loops()) return;
    const loop_device loop(image);
    {
        held_target held(loop.path());
        CHECK(refused(run_command(write)));
        CHECK(refused(run_command({"qemu-io", "-f", "host_device", "-c", "write 0 4096", loop.path()})));
    }
    CHECK(run_command(write).ok());
}

TEST_CASE("a held block device can neither be mounted nor claimed, nor can its partitions", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img", 32 * mebibyte);
    const loop_device loop(image, {.partitions = true});
    const partition part(loop.path(), 1, {mebibyte, 16 * mebibyte}, directory.path());
    run_checked({"mkfs.ext4", "-q", "-F", part.path()});
    const auto mounts = [&] {
        try {
            const mounted mount({part.path()}, directory.file("mnt"));
            return true;
        } catch (const std::exception&) {
            return false;
        }
    };
    const auto claims = [](const std::string& disk) {
        const int descriptor = ::open(disk.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
        if (descriptor >= 0) ::close(descriptor);
        return descriptor >= 0;
    };
    {
        held_target held(loop.path());
        CHECK_FALSE(mounts());
        CHECK_FALSE(claims(part.path()));
    }
    {
        held_target held(part.path());
        CHECK_FALSE(mounts());
        CHECK_FALSE(claims(loop.path()));
    }
    CHECK(mounts());
    CHECK(claims(loop.path()));
}

TEST_CASE("a target that somebody claims or locks in a way that shows no holder is refused", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const loop_device loop(make_image(directory, "disk.img"));
    for (const bool exclusive : {true, false}) {
        other_process user([&](other_process::side& side) {
            const int descriptor = ::open(loop.path().c_str(), O_RDONLY | (exclusive ? O_EXCL : 0));
            if (!exclusive && ::flock(descriptor, LOCK_EX) != 0) side.tell('f');
            side.tell(descriptor >= 0 ? 'r' : 'f');
            side.wait();
        });
        REQUIRE(user.wait() == 'r');
        try {
            held_target held(loop.path());
            FAIL("accepted");
        } catch (const error& refused) {
            CHECK(refused.kind() == error_kind::in_use);
            CHECK(refused.detail().holder.find(exclusive ? "O_EXCL" : "flock") != std::string::npos);
        }
    }
}

TEST_CASE("a second sync of this process is refused, too", "[device][interlock]") {
    const temp_dir directory;
    std::vector<std::string> disks{make_image(directory, "disk.img")};
    std::optional<loop_device> loop;
    if (loops()) disks.push_back(loop.emplace(make_image(directory, "loop.img")).path());
    for (const std::string& disk : disks) {
        memory_device source(mebibyte);
        const auto second = open_device("raw:" + disk, {.mode = access::read_write});
        {
            held_target held(disk);
            try {
                guard_target(*second, source);
                FAIL("accepted");
            } catch (const error& refused) {
                CHECK(refused.kind() == error_kind::in_use);
            }
            CHECK_NOTHROW(held.guard->check());
        }
        CHECK_NOTHROW(guard_target(*second, source)->check());
    }
}

TEST_CASE("a guard is released by kill -9 of its process", "[device][interlock]") {
    const temp_dir directory;
    std::vector<std::string> disks{make_image(directory, "disk.img")};
    std::optional<loop_device> loop;
    if (loops()) disks.push_back(loop.emplace(make_image(directory, "loop.img")).path());
    for (const std::string& disk : disks) {
        other_process owner([&](other_process::side& side) {
            held_target held(disk);
            side.tell();
            side.wait();
        });
        REQUIRE(owner.wait() == 'r');
        CHECK_THROWS_AS(held_target(disk), error);
        owner.end();
        CHECK_NOTHROW(held_target(disk).guard->check());
    }
}

TEST_CASE("of many syncs that want one target at the same moment exactly one gets it, every time",
          "[device][interlock]") {
    const temp_dir directory;
    struct arena {
        std::string disk;
        int rounds;
    };
    std::vector<arena> arenas{{make_image(directory, "disk.img"), 40}};
    std::optional<loop_device> loop;
    std::optional<loop_device> bare;
    if (loops()) {
        arenas.push_back({loop.emplace(make_image(directory, "loop.img")).path(), 20});
        // Without a file that can be found and locked, as any other block device.
        arenas.push_back({bare.emplace(make_image(directory, "bare.img")).path(), 20});
        std::filesystem::remove(directory.file("bare.img"));
    }
    constexpr int rivals = 6;
    for (const arena& each : arenas) {
        for (int round = 0; round < each.rounds; ++round) {
            std::vector<std::unique_ptr<other_process>> processes;
            for (int rival = 0; rival < rivals; ++rival)
                processes.push_back(std::make_unique<other_process>([&](other_process::side& side) {
                    side.wait();
                    try {
                        held_target held(each.disk);
                        side.tell('w');
                        side.wait();
                        held.guard->check();  // who tried in vain did not harm it
                        side.tell('k');
                        side.wait();
                    } catch (const error& refused) {
                        side.tell(refused.kind() == error_kind::in_use ? 'l' : 'x');
                    }
                }));
            for (const auto& process : processes) process->go();
            std::string results;
            int winners = 0;
            int losers = 0;
            other_process* winner = nullptr;
            for (const auto& process : processes) {
                const char result = process->wait();
                results += result == 0 ? '0' : result;
                losers += result == 'l' ? 1 : 0;
                if (result != 'w') continue;
                ++winners;
                winner = process.get();
            }
            INFO(each.disk << ", round " << round << ": " << results);
            REQUIRE(winners == 1);
            REQUIRE(losers == rivals - 1);
            winner->go();
            REQUIRE(winner->wait() == 'k');
        }
    }
}
