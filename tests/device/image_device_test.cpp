// Disks inside images: what the conformance suite does not ask of them. Who may use the image, which files it lies in, and the
// life of the server behind it.
#include "reprotect/error.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/loop_device.hpp"
#include "support/process.hpp"
#include "support/run_command.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t megabyte = 1 << 20;
constexpr open_options to_write{.mode = access::read_write};

std::string make_image(const std::string& path, const std::string& format, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"qemu-img", "create", "-q", "-f", format};
    command.insert(command.end(), more.begin(), more.end());
    command.push_back(path);
    if (more.empty() || more[0] != "-b") command.emplace_back("4M");
    run_checked(command);
    return format + ":" + path;
}

// And it says what to do.
void require_refusal(const std::optional<error>& failure, error_kind kind, const std::string& part) {
    require_failure(failure, kind, part);
    CHECK_FALSE(failure->detail().hint.empty());
}

int server_of(const device& disk) {
    REQUIRE(disk.lies_in().size() >= 1);
    return disk.lies_in()[0].server;
}

bool runs(int process) {
    std::ifstream status("/proc/" + std::to_string(process) + "/stat");
    std::string line;
    return std::getline(status, line) && line.find(") Z ") == std::string::npos;
}

// For a child that will be killed: libnbd makes the folder of a server's socket in /tmp, and only the living can remove it. So
// the child's /tmp is the test's own folder, which takes all that lies in it along. False where only root could do that.
bool move_temporary_files(const temp_dir& folder) {
    return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount(folder.path().c_str(), "/tmp", nullptr, MS_BIND, nullptr) == 0;
}

TEST_CASE("an image of every format takes a sync and holds it, as its own tools see", "[device]") {
    temp_dir folder;
    const std::string raw = folder.file("source.img");
    make_sparse_file(raw, 4 * megabyte);
    const auto source = open_device(raw, to_write);
    source->write(megabyte - 5, random_bytes(1, 10'000));
    source->write(3 * megabyte, random_bytes(2, 777));
    for (const std::string format : {"qcow2", "vmdk", "vhdx", "vpc"}) {
        CAPTURE(format);
        const std::string path = folder.file("target." + format);
        const std::string name =
            make_image(path, format,
                       format == "vpc" ? std::vector<std::string>{"-o", "force_size=on"} : std::vector<std::string>{});
        {
            const auto target = open_device(name, to_write);
            target->write(2 * megabyte, random_bytes(3, 5000));  // must go again
            require_synced(run_sync(*source, *target), *source, *target);
        }
        CHECK(run_command({"qemu-img", "compare", "-f", "raw", "-F", format, raw, path}).output ==
              "Images are identical.\n");
        if (format != "vpc") CHECK(run_command({"qemu-img", "check", "-q", "-f", format, path}).ok());
        // And back, from the image.
        const std::string back = folder.file("back." + format);
        make_sparse_file(back, 4 * megabyte);
        const auto again = open_device(name);
        const auto fresh = open_device(back, to_write);
        require_synced(run_sync(*again, *fresh), *again, *fresh);
        CHECK(bytes_of(*source) == bytes_of(*fresh));
    }
}

TEST_CASE("a fixed vhd is its data by its plain name and by vpc", "[device]") {
    temp_dir folder;
    const std::string path = folder.file("fixed.vhd");
    run_checked({"qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, "4M"});
    CHECK(open_device(path)->size() == 4 * megabyte);
    CHECK(open_device("vpc:" + path)->size() == 4 * megabyte);
}

TEST_CASE("a word that is not the image's format is refused, and a missing image is not made", "[device]") {
    temp_dir folder;
    make_image(folder.file("a.qcow2"), "qcow2");
    require_refusal(failure_of([&] { open_device("vmdk:" + folder.file("a.qcow2")); }), error_kind::container,
                    "is qcow2, not vmdk");
    make_sparse_file(folder.file("raw"), 4096);
    require_refusal(failure_of([&] { open_device("qcow2:" + folder.file("raw")); }), error_kind::container,
                    "no qcow2 image");
    const auto missing =
        failure_of([&] { open_device("qcow2:" + folder.file("none"), {.mode = access::read_write, .create = true}); });
    require_refusal(missing, error_kind::not_found, "not made here");
    CHECK_THAT(missing->detail().hint, Catch::Contains("qemu-img create -f qcow2"));
    CHECK_FALSE(std::filesystem::exists(folder.file("none")));
    require_refusal(failure_of([&] { open_device("qcow2:" + folder.path().string()); }), error_kind::unsuitable,
                    "directory");
}

TEST_CASE("a name with commas, colons and blanks is the file of that name", "[device]") {
    temp_dir folder;
    const std::string name = make_image(folder.file("a,file.driver=null, b:c,,d.qcow2"), "qcow2");
    CHECK(open_device(name)->size() == 4 * megabyte);
}

TEST_CASE("a damaged image and a missing backing file are told in qemu's words", "[device]") {
    temp_dir folder;
    make_image(folder.file("base.qcow2"), "qcow2");
    const std::string over =
        make_image(folder.file("over.qcow2"), "qcow2", {"-b", folder.file("base.qcow2"), "-F", "qcow2"});
    std::filesystem::remove(folder.file("base.qcow2"));
    const auto begin = std::chrono::steady_clock::now();
    require_refusal(failure_of([&] { open_device(over); }), error_kind::not_found, "base.qcow2");
    const std::string broken = make_image(folder.file("broken.qcow2"), "qcow2");
    std::fstream(folder.file("broken.qcow2"), std::ios::in | std::ios::out | std::ios::binary)
        .seekp(20)
        .write("\xff\xff\xff\xff", 4);
    require_refusal(failure_of([&] { open_device(broken); }), error_kind::unsuitable, "qemu-nbd");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));  // told, not found out by waiting
}

TEST_CASE("an image that a machine uses is refused in either role, by QEMU's own locks", "[device]") {
    temp_dir folder;
    const std::string name = make_image(folder.file("used.qcow2"), "qcow2");
    {
        process machine({"qemu-io", "-c", "sleep 60000", folder.file("used.qcow2")});
        // Not by opening it inside: our own server's lock could keep the machine out.
        const auto file = open_device("raw:" + folder.file("used.qcow2"));
        REQUIRE(wait_until([&] {
            const auto holders = find_holders(*file);
            return std::any_of(holders.begin(), holders.end(),
                               [](const holder& each) { return each.who.find("locked") != std::string::npos; });
        }));
        require_refusal(failure_of([&] { open_device(name); }), error_kind::in_use, "lock");
        require_refusal(failure_of([&] { open_device(name, to_write); }), error_kind::in_use, "lock");
    }
    const auto ours = open_device(name, to_write);
    CHECK_FALSE(run_command({"qemu-io", "-c", "read 0 512", folder.file("used.qcow2")}).ok());
    require_refusal(failure_of([&] { open_device(name, to_write); }), error_kind::in_use, "lock");
}

TEST_CASE("a target that the source's image builds upon is refused, and the other way is not", "[device]") {
    temp_dir folder;
    const std::string raw = folder.file("base.raw");
    make_sparse_file(raw, 4 * megabyte);
    make_image(folder.file("middle.qcow2"), "qcow2", {"-b", raw, "-F", "raw"});
    const std::string top =
        make_image(folder.file("top.qcow2"), "qcow2", {"-b", folder.file("middle.qcow2"), "-F", "qcow2"});
    {
        const auto source = open_device(top);
        CHECK(source->lies_in().size() == 3);
        const auto base = open_device(raw, to_write);
        require_refusal(failure_of([&] { guard_target(*base, *source); }), error_kind::same_disk, "builds upon");
        const auto itself = open_device("raw:" + folder.file("top.qcow2"), to_write);
        require_refusal(failure_of([&] { guard_target(*itself, *source); }), error_kind::same_disk, "same disk");
        CHECK(same_disk(*itself, *source));
        CHECK_FALSE(same_disk(*base, *source));
    }
    const auto source = open_device(raw);
    const auto overlay = open_device(top, to_write);
    CHECK_FALSE(failure_of([&] { guard_target(*overlay, *source); }));
}

TEST_CASE("whoever has a target's image open for writing is seen, and our own server is not", "[device]") {
    temp_dir folder;
    const std::string name = make_image(folder.file("target.qcow2"), "qcow2");
    const auto target = open_device(name, to_write);
    memory_device source(4 * megabyte);
    CHECK(find_holders(*target).empty());
    {
        const auto guard = guard_target(*target, source);
        guard->check();
    }
    process other({"sh", "-c", "exec 3<>\"$0\"; echo open >&2; exec sleep 60", folder.file("target.qcow2")});
    REQUIRE(other.says("open"));
    REQUIRE(find_holders(*target).size() == 1);
    require_refusal(failure_of([&] { guard_target(*target, source); }), error_kind::in_use, "open for writing");
}

TEST_CASE("the server of an image ends with its device, and with the process that is killed", "[device]") {
    temp_dir folder;
    const std::string name = make_image(folder.file("a.qcow2"), "qcow2");
    int server = 0;
    {
        const auto disk = open_device(name, to_write);
        server = server_of(*disk);
        CHECK(runs(server));
    }
    CHECK_FALSE(runs(server));

    int pipe_ends[2];
    REQUIRE(::pipe2(pipe_ends, O_CLOEXEC) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto disk = open_device(move_temporary_files(folder) ? "qcow2:/tmp/a.qcow2" : name, to_write);
        const int own = disk->lies_in()[0].server;
        if (::write(pipe_ends[1], &own, sizeof own) != sizeof own) ::_exit(1);
        ::pause();
    }
    REQUIRE(::read(pipe_ends[0], &server, sizeof server) == sizeof server);
    CHECK(runs(server));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(wait_until([&] { return !runs(server); }));
    for (const int end : pipe_ends) ::close(end);
    CHECK(open_device(name, to_write)->size() == 4 * megabyte);
}

TEST_CASE("a process that is killed while it opens an image leaves nothing that holds it", "[device]") {
    temp_dir folder;
    const std::string name = make_image(folder.file("a.qcow2"), "qcow2");
    for (int milliseconds = 1; milliseconds <= 21; milliseconds += 2) {
        CAPTURE(milliseconds);
        const pid_t child = ::fork();
        if (child == 0) {
            const auto disk = open_device(move_temporary_files(folder) ? "qcow2:/tmp/a.qcow2" : name, to_write);
            ::pause();
        }
        ::usleep(static_cast<useconds_t>(milliseconds) * 1000);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        std::optional<error> last;
        CHECK(wait_until([&] { return !(last = failure_of([&] { open_device(name, to_write); })); },
                         std::chrono::seconds(10)));
        if (last) UNSCOPED_INFO(last->what());
    }
}

TEST_CASE("a write to a target's image by somebody else ends the sync, and a look at it does not", "[device]") {
    temp_dir folder;
    const std::string path = folder.file("target.qcow2");
    const auto target = open_device(make_image(path, "qcow2"), to_write);
    memory_device source(4 * megabyte);
    const auto guard = guard_target(*target, source);
    target->write(0, random_bytes(1, 100'000));
    target->flush();
    guard->check();
    // Another one who tries, and is refused.
    CHECK(failure_of([&] { open_device("qcow2:" + path, to_write); }));
    guard->check();
    run_checked({"dd", "if=/dev/zero", "of=" + path, "bs=512", "count=1", "seek=300", "conv=notrunc"});
    const auto seen = failure_of([&] { guard->check(); });
    require_refusal(seen, error_kind::in_use, "wrote to it");
    require_refusal(failure_of([&] { guard->check(); }), error_kind::in_use, "wrote to it");
}

TEST_CASE("a block device that holds a target's image is claimed", "[device]") {
    if (!loop_devices_available()) {
        WARN("no loop devices can be made here");
        return;
    }
    temp_dir folder;
    make_sparse_file(folder.file("disk"), 8 * megabyte);
    const loop_device loop(folder.file("disk"));
    make_image(loop.path(), "qcow2");
    const auto target = open_device("qcow2:" + loop.path(), to_write);
    memory_device source(4 * megabyte);
    const auto guard = guard_target(*target, source);
    const int claimed = ::open(loop.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
    CHECK(claimed < 0);
    if (claimed >= 0) ::close(claimed);
    target->write(0, random_bytes(1, 4096));
    guard->check();
}

TEST_CASE("a server of an image that dies is an error, not a hang", "[device]") {
    temp_dir folder;
    const auto disk = open_device(make_image(folder.file("a.qcow2"), "qcow2"), to_write);
    ::kill(server_of(*disk), SIGKILL);
    std::vector<std::byte> some(4096);
    require_refusal(failure_of([&] { disk->read(0, some); }), error_kind::peer, "failed: ");
}

TEST_CASE("what the server inherits from us is not taken for a file of the image", "[device]") {
    temp_dir folder;
    const std::string ours = folder.file("ours");
    make_sparse_file(ours, 4 * megabyte);
    const int inherited = ::open(ours.c_str(), O_RDWR);  // without O_CLOEXEC, as a shell's redirections are
    REQUIRE(inherited >= 0);
    const auto source = open_device(make_image(folder.file("a.qcow2"), "qcow2"));
    CHECK(source->lies_in().size() == 1);
    ::close(inherited);
    const auto target = open_device(ours, to_write);
    CHECK_FALSE(same_disk(*source, *target));
}

TEST_CASE("Ctrl-C reaches the sync and not the server, so that the flush still has one", "[device]") {
    temp_dir folder;
    const auto disk = open_device(make_image(folder.file("a.qcow2"), "qcow2"), to_write);
    CHECK(::getpgid(server_of(*disk)) != ::getpgid(0));
    CHECK(::getsid(server_of(*disk)) != ::getsid(0));
}

}  // namespace
