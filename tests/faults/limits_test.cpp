// The tool with too little memory, too few descriptors and too few threads, in steps from hopeless to ample. Each run either
// syncs, or ends soon with an exit code and a message of its own: no crash, no hang, and no record that calls a target clean
// that is not equal. With ample limits it must succeed, so that the tables are known to reach far enough.
#include <catch2/catch.hpp>

#include <unistd.h>

#include "support/device_sync.hpp"
#include "support/process.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

constexpr std::uint64_t disk_bytes = 6 << 20;

bool no_prlimit() {
    if (run_command({"prlimit", "--version"}).ok()) return false;
    WARN("no prlimit here");
    return true;
}

struct limited_sync {
    tool_rig rig;
    std::string source = rig.random_disk("source", 51, disk_bytes);
    std::string target = rig.file("target");
    std::vector<std::byte> stale = random_bytes(52, disk_bytes);
    std::string tool = tool_path;

    // One run under a limit on a stale target; true where it ended in success.
    bool run(const std::string& limit, const std::vector<std::string>& more = {},
             const process_options& options = {}) const {
        INFO("prlimit " << limit);
        write_whole_file(target, stale);
        std::error_code none_yet;
        for (const auto& record : std::filesystem::directory_iterator(rig.records(), none_yet))
            std::filesystem::remove(record.path());  // of a run before, which the stale content would make a lie
        std::vector<std::string> words{"prlimit", limit, "--"};
        std::vector<std::string> sync{"sync", source, target};
        sync.insert(sync.end(), more.begin(), more.end());
        std::vector<std::string> command = rig.command(sync);
        command.front() = tool;
        words.insert(words.end(), command.begin(), command.end());
        process limited(words, options);
        const command_result ended = limited.wait(60s);
        INFO(ended.errors);
        const bool equal = same_bytes(source, target);
        // The program loader has words and a code of its own for what it cannot load, and so has a library that begins before us.
        const bool loaded = !has(ended.errors, "error while loading shared libraries") &&
                            !has(ended.errors, "Error in GnuTLS initialization");
        if (ended.exit_code == 0)
            CHECK(equal);
        else if (loaded) {
            CHECK((ended.exit_code == 3 || ended.exit_code == 4));
            CHECK(has(ended.errors, "reprotect: "));
        }
        if (!equal) CHECK(recorded(*open_state_directory(rig.records()), target) != "clean");
        return ended.exit_code == 0;
    }
    // What the limited runs left behind is in nobody's way.
    void require_made_good() const {
        const command_result done = rig.run({"sync", source, target});
        INFO(done.errors);
        REQUIRE(done.exit_code == 0);
        CHECK(same_bytes(source, target));
    }
};

}  // namespace

TEST_CASE("with any amount of memory the tool syncs or ends with an error of its own", "[faults]") {
    if (no_prlimit()) return;
    if (sanitized) {
        WARN("a sanitizer's shadow memory leaves nothing to limit");
        return;
    }
    for (const bool small : {true, false}) {
        const limited_sync pair;
        const std::vector<std::string> more = small ? std::vector<std::string>{"--memory", "8MiB", "--depth", "2"}
                                                    : std::vector<std::string>{"--verify=reread"};
        unsigned done = 0;
        unsigned tried = 0;
        bool ample = false;
        for (const unsigned mib : {8, 16, 24, 28, 32, 36, 40, 46, 52, 56, 60, 64, 80, 96, 128, 192, 1024}) {
            if (!small && mib % 16 != 0) continue;
            ample = pair.run("--as=" + std::to_string(std::uint64_t{mib} << 20), more);
            ++tried;
            done += ample ? 1 : 0;
            if (!ample && mib % 32 == 0) pair.require_made_good();
        }
        CHECK(ample);
        CHECK(done < tried);
    }
}

TEST_CASE("with any number of descriptors the tool syncs or ends with an error of its own", "[faults]") {
    if (no_prlimit()) return;
    for (const bool direct : {false, true}) {
        const limited_sync pair;
        const std::vector<std::string> more =
            direct ? std::vector<std::string>{"--direct"} : std::vector<std::string>{};
        bool ample = false;
        for (unsigned count = direct ? 6 : 1; count <= 24; count += direct ? 3 : 1)
            ample = pair.run("--nofile=" + std::to_string(count), more);
        CHECK(ample);
        pair.require_made_good();
    }
}

TEST_CASE("with any number of threads the tool syncs or ends with an error of its own", "[faults][no-tsan]") {
    if (no_prlimit()) return;
    if (::geteuid() != 0) {
        WARN("another user can only be taken as root");
        return;
    }
    limited_sync pair;
    // The built one may lie below a folder that other users cannot look into.
    pair.tool = pair.rig.copy(tool_path, "tool");
    std::filesystem::permissions(pair.tool, std::filesystem::perms{0755});
    // A user of this test's own, so that the limit counts nothing else. What is in the folder is that user's.
    process_options as_user;
    as_user.environment = {"LSAN_OPTIONS=detect_leaks=0"};  // it wants a process of its own
    as_user.user = 70'000'000u + static_cast<unsigned>(::getpid());
    write_whole_file(pair.target, pair.stale);
    std::filesystem::create_directory(pair.rig.records());
    for (const std::string& path : {pair.rig.folder().string(), pair.source, pair.target, pair.rig.records()})
        REQUIRE(::chown(path.c_str(), *as_user.user, *as_user.user) == 0);
    bool ample = false;
    for (const unsigned count : {1, 2, 3, 4, 5, 6, 8, 64}) {
        ample = pair.run("--nproc=" + std::to_string(count), {}, as_user);
        if (count >= 3) CHECK(ample);  // one that waits for the end, one for signals, one that works
    }
    CHECK(ample);
    pair.require_made_good();
}

TEST_CASE("a limit of a file's size is an error of the disk, not the end of the process", "[tool][faults]") {
    if (no_prlimit()) return;
    const limited_sync it;
    CHECK_FALSE(it.run("--fsize=" + std::to_string(disk_bytes / 2)));
}
