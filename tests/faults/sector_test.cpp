// Block devices of 512 and of 4096 byte sectors against each other, with sizes that fit and that do not, and loop devices
// whose file is cut while they are synced: the loop driver goes on to tell the old size, so that the error of a read, or a
// look at the file itself, is all that can be seen.
#include <catch2/catch.hpp>

#include <unistd.h>

#include "reprotect/open_device.hpp"
#include "support/device_doubles.hpp"
#include "support/device_sync.hpp"
#include "support/loop_device.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t whole = 3 << 20;

bool no_loop_devices() {
    if (loop_devices_available()) return false;
    WARN("no loop devices here");
    return true;
}

struct sectored_disk {
    std::string file;
    loop_device loop;
    sectored_disk(const tool_rig& tool, const std::string& name, std::uint64_t seed, std::uint64_t bytes,
                  unsigned sector)
        : file(tool.random_disk(name, seed, bytes)), loop(file, loop_options{.sector_bytes = sector}) {}
    std::string path() const { return loop.path(); }
    std::vector<std::byte> medium() const { return read_whole_file(file); }
};

}  // namespace

TEST_CASE("disks of 512 and of 4096 byte sectors are synced onto each other, byte for byte", "[faults]") {
    if (no_loop_devices()) return;
    for (const unsigned from : {512u, 4096u}) {
        for (const unsigned to : {512u, 4096u}) {
            for (const bool direct : {false, true}) {
                INFO(from << " onto " << to << (direct ? ", direct" : ", cached"));
                const tool_rig tool;
                const sectored_disk source(tool, "source", 41, whole, from);
                const sectored_disk target(tool, "target", 42, whole, to);
                {
                    // Changes smaller than a sector, and zeroes that begin and end within one.
                    const auto disk = open_target(target.path());
                    auto content = source.medium();
                    content[whole / 2 + 700] ^= std::byte{1};
                    content[whole - 1] ^= std::byte{1};
                    disk->write(0, content);
                    disk->flush();
                    const auto changed = open_target(source.path());
                    changed->write_zeroes(whole / 4 + 512, 70'000);
                    changed->flush();
                }
                std::vector<std::string> words{"sync",   source.path(),  target.path(), "--verify=reread",
                                               "--json", "--block-size", "512"};
                if (direct) words.push_back("--direct");
                const command_result done = tool.run(words);
                INFO(done.errors);
                REQUIRE(done.exit_code == 0);
                CHECK((source.medium() == target.medium()));
                const auto report = parse_json(done.output);
                CHECK(text_at(report, "verified") == "reread");
                CHECK(count_at(report, "bytes.written") == 3 * 512);
                CHECK(count_at(report, "bytes.zeroed") == 69'632);
            }
        }
    }
}

TEST_CASE("a disk of 4096 byte sectors that is a part of one smaller or larger is refused or exact", "[faults]") {
    if (no_loop_devices()) return;
    struct row {
        std::uint64_t source_bytes;
        unsigned source_sector;
        std::uint64_t target_bytes;
        unsigned target_sector;
        bool larger;  // the target: exact with --allow-larger
    };
    const row rows[] = {
        {whole + 512, 512, whole, 4096, false},        {whole + 3584, 512, whole + 4096, 4096, true},
        {whole, 4096, whole + 512, 512, true},         {whole, 4096, whole - 512, 512, false},
        {whole + 4096, 4096, whole + 512, 512, false},
    };
    for (const row& each : rows) {
        for (const bool direct : {false, true}) {
            INFO(each.source_bytes << " of " << each.source_sector << " onto " << each.target_bytes << " of "
                                   << each.target_sector << (direct ? ", direct" : ", cached"));
            const tool_rig tool;
            const sectored_disk source(tool, "source", 43, each.source_bytes, each.source_sector);
            const sectored_disk target(tool, "target", 44, each.target_bytes, each.target_sector);
            const auto before = target.medium();
            std::vector<std::string> words{"sync", source.path(), target.path()};
            if (direct) words.push_back("--direct");
            const command_result refused = tool.run(words);
            INFO(refused.errors);
            CHECK(refused.exit_code == 3);
            CHECK((target.medium() == before));
            words.push_back("--allow-larger");
            const command_result allowed = tool.run(words);
            INFO(allowed.errors);
            CHECK(allowed.exit_code == (each.larger ? 0 : 3));
            auto wanted = each.larger ? source.medium() : before;
            wanted.insert(wanted.end(), before.begin() + static_cast<long>(wanted.size()), before.end());
            CHECK((target.medium() == wanted));
        }
    }
}

TEST_CASE("a disk that tells of half a sector at its end is never said to be equal when it is not", "[faults]") {
    if (no_loop_devices()) return;
    // The kernel takes a file of whole + 512 bytes for a disk of that size, and reads and writes its end in no way.
    for (const bool as_source : {false, true}) {
        for (const bool direct : {false, true}) {
            INFO((as_source ? "as source" : "as target") << (direct ? ", direct" : ", cached"));
            const tool_rig tool;
            const sectored_disk source(tool, "source", 45, whole + 512, as_source ? 4096 : 512);
            const sectored_disk target(tool, "target", 46, whole + 512, as_source ? 512 : 4096);
            std::vector<std::string> words{"sync", source.path(), target.path()};
            if (direct) words.push_back("--direct");
            const command_result ended = tool.run(words);
            INFO(ended.errors);
            if (ended.exit_code == 0) {
                CHECK((source.medium() == target.medium()));
            } else {
                CHECK((ended.exit_code == 3 || ended.exit_code == 4));
                CHECK(has(ended.errors, as_source ? source.path() : target.path()));
            }
        }
    }
}

TEST_CASE("a loop device whose file is cut during the sync is an error, never a success", "[faults]") {
    if (no_loop_devices()) return;
    // Late: all that is cut off was read before. Early: it is yet to be read.
    for (const bool late : {false, true}) {
        for (const bool of_source : {true, false}) {
            for (const bool direct : {true, false}) {
                INFO((late ? "late, " : "early, ")
                     << (of_source ? "the source's" : "the target's") << (direct ? ", direct" : ", cached"));
                const tool_rig tool;
                const sectored_disk source(tool, "source", 47, whole, 512);
                const sectored_disk target(tool, "target", 47, whole, 512);
                {
                    const auto disk = open_target(target.path());
                    disk->write(0, random_bytes(48, 4096));
                    disk->flush();
                }
                const std::string cut = of_source ? source.file : target.file;
                const auto from = open_source(source.path(), direct);
                const auto to = open_target(target.path(), direct);
                std::atomic<unsigned> reads{0};
                const auto hook = [&](device_call call, extent) {
                    const bool due = late ? call == device_call::flush : call == device_call::read && ++reads == 4;
                    if (due && ::truncate(cut.c_str(), whole / 2) != 0) throw std::runtime_error("truncate failed");
                };
                hooked_device watched_source(*from, late ? hooked_device::hook([](device_call, extent) {}) : hook);
                hooked_device watched_target(*to, late ? hook : hooked_device::hook([](device_call, extent) {}));
                const auto records = make_memory_state_store();
                const sync_report report = run_sync(watched_source, watched_target, pair_sync_options(), records.get());
                REQUIRE(report.failure);
                INFO(report.failure->what());
                CHECK((report.failure->kind() == error_kind::size_changed ||
                       report.failure->kind() == error_kind::device_io));
                CHECK(report.failure->detail().device == (of_source ? source.path() : target.path()));
                const auto record = records->find_target(to->identity());
                CHECK((!record || record->status == target_status::dirty));
            }
        }
    }
}
