// Real file systems that are full: the one that a target file lies on, and the one that the records lie on. A filler takes all
// but a little of the room, so that the sync meets the end in its middle; then it goes, and the next sync must end equal.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/owned_descriptor.hpp"
#include "support/device_sync.hpp"
#include "support/loop_device.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t mib = 1 << 20;

std::uint64_t free_bytes(const std::filesystem::path& folder) {
    struct statvfs info {};
    if (::statvfs(folder.c_str(), &info) != 0) throw std::runtime_error("statvfs failed");
    return std::uint64_t{info.f_bavail} * info.f_frsize;
}

// Data takes the room, not a reservation: what a file system makes of those differs.
class filler {
public:
    filler(const mounted_file_system& where, std::uint64_t leave_bytes) : path_(where.file("filler")) {
        const owned_descriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        std::vector<std::byte> part = random_bytes(99, mib);
        while (leave_bytes == 0 || free_bytes(where.path()) > leave_bytes) {
            const ssize_t put = ::write(file.get(), part.data(), part.size());
            if (put <= 0 && part.size() == 1) break;
            if (put <= 0) part.resize(part.size() > 4096 ? 4096 : 1);  // down to the last byte
            if (++parts_ % 8 == 0) ::fsync(file.get());                // until then the room is not known to be taken
        }
        ::fsync(file.get());
    }
    filler(const filler&) = delete;
    filler& operator=(const filler&) = delete;
    ~filler() { remove(); }
    // The room is there again when it returns.
    void remove() {
        if (::unlink(path_.c_str()) != 0) return;
        const owned_descriptor folder(
            ::open(std::filesystem::path(path_).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ::syncfs(folder.get());
    }

private:
    std::string path_;
    unsigned parts_ = 0;
};

struct file_system_kind {
    const char* type;
    std::uint64_t bytes;
};

const file_system_kind kinds[] = {{"ext4", 64 * mib}, {"xfs", 300 * mib}, {"btrfs", 128 * mib}};

}  // namespace

TEST_CASE("a target whose file system fills up ends with 4 and no_space, and is made good once there is room",
          "[faults]") {
    if (!loop_devices_available()) {
        WARN("no loop devices here");
        return;
    }
    for (const file_system_kind& kind : kinds) {
        for (const bool direct : {false, true}) {
            const bool exists = !direct;
            INFO(kind.type << (direct ? ", direct" : ", cached") << (exists ? ", a sparse target" : ", a new one"));
            const tool_rig tool;
            const mounted_file_system full(kind.type, tool.folder(), kind.bytes);
            const std::string source = tool.random_disk("source", 31, 18 * mib);
            const std::string target = full.file("target");
            if (exists) {
                write_whole_file(target, random_bytes(32, mib));
                make_sparse_file(target, 18 * mib);
            }
            filler taken(full, 9 * mib);
            std::vector<std::string> words{"sync", source, target, "--json"};
            if (direct) words.push_back("--direct");
            const command_result failed = tool.run(words);
            INFO(failed.errors);
            CHECK(failed.exit_code == 4);
            const auto report = parse_json(failed.output);
            CHECK(text_at(report, "error.kind") == "no_space");
            CHECK(text_at(report, "error.device") == target);
            CHECK(text_at(report, "verified") == "none");
            CHECK(count_at(report, "bytes.written") != 0);
            CHECK(has(failed.errors, "No space left on device"));
            CHECK(has(failed.errors, target));
            const auto records = open_state_directory(tool.records());
            CHECK(recorded(*records, target) == "dirty");
            CHECK_FALSE(same_bytes(source, target));

            taken.remove();
            const command_result again = tool.run(words);
            INFO(again.errors);
            CHECK(again.exit_code == 0);
            CHECK(has(again.errors, "did not finish"));
            CHECK(recorded(*records, target) == "clean");
            CHECK(same_bytes(source, target));
        }
    }
}

TEST_CASE("where the record finds no room, nothing is written to the target", "[faults]") {
    if (!loop_devices_available()) {
        WARN("no loop devices here");
        return;
    }
    for (const char* type : {"tmpfs", "ext4"}) {
        INFO(type);
        const tool_rig tool;
        const bool on_tmpfs = std::string(type) == "tmpfs";
        const mounted_file_system full(type, tool.folder(), on_tmpfs ? 64 << 10 : 16 * mib,
                                       on_tmpfs ? std::vector<std::string>{} : std::vector<std::string>{"-m", "0"});
        const std::string state = full.file("state");
        std::filesystem::create_directory(state);
        filler taken(full, 0);
        const std::string source = tool.random_disk("source", 33, mib);
        const std::string target = tool.random_disk("target", 34, mib);
        const auto before = read_whole_file(target);
        const std::vector<std::string> command{tool_path, "sync", source, target, "--json", "--state", state};
        const command_result failed = run_command(command);
        INFO(failed.errors);
        CHECK(failed.exit_code == 4);
        CHECK(text_at(parse_json(failed.output), "error.kind") == "no_space");
        CHECK(has(failed.errors, state));
        CHECK((read_whole_file(target) == before));
        CHECK(count_at(parse_json(failed.output), "bytes.written") == 0);

        taken.remove();
        const command_result again = run_command(command);
        INFO(again.errors);
        CHECK(again.exit_code == 0);
        CHECK(same_bytes(source, target));
    }
}
