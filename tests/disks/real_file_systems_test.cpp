// Disks as they are: a file system with real files failed over, both copies lived on, and the stale one is made equal
// again.
//
// Each kind starts as one image with files of this machine. Its copy becomes the target, and then both are mounted and
// aged, each in its own way. The stale target is synced twice, as an image file and, another copy of it, through loop
// devices. After that it is judged by everyone but this library: cmp, the file system's own checker, the kernel (or
// ntfs-3g) that mounts it, and the SHA-256 of every file. What had to be written is counted block by block before.
//
// The images lie on a tmpfs, so that four file systems take seconds; what a slow disk does is not the question here.
//
// REPROTECT_SOAK=N ages and syncs N times in a row instead of once; the target of one
// round is the stale copy of the next.
#include <catch2/catch.hpp>

#include <cstring>

#include "reprotect/open_device.hpp"
#include "support/real_file_system.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

// The bytes that a sync has to bring (blocks that differ and are not zero in the source) and those that it has to zero.
struct needed_bytes {
    std::uint64_t data = 0;
    std::uint64_t zero = 0;
    std::uint64_t source_data = 0;  ///< blocks of the source that are not zero
};

needed_bytes count_needed(const std::string& source, const std::string& target) {
    std::ifstream a(source, std::ios::binary), b(target, std::ios::binary);
    constexpr std::size_t block = 4096;
    const std::vector<char> zero(block);
    std::vector<char> of_a(block), of_b(block);
    needed_bytes needed;
    while (a.read(of_a.data(), block) && b.read(of_b.data(), block)) {
        const bool is_zero = std::memcmp(of_a.data(), zero.data(), block) == 0;
        if (!is_zero) needed.source_data += block;
        if (std::memcmp(of_a.data(), of_b.data(), block) != 0) (is_zero ? needed.zero : needed.data) += block;
    }
    return needed;
}

class stale_pair {
public:
    explicit stale_pair(const file_system_kind& kind) : kind_(kind), files_("tmpfs", folder_.path(), 2048ull << 20) {
        make_sparse_file(source(), kind.image_bytes);
        std::vector<std::string> make = kind.make;
        make.push_back(source());
        run_checked(make);
        with_mounted(source(), [](const auto& root) { populate(root, 24 << 20); });
        run_checked({"cp", "--sparse=always", source(), target()});
    }

    std::string source() const { return files_.file("source.img"); }
    std::string target() const { return files_.file("target.img"); }
    std::string second_target() const { return files_.file("second_target.img"); }

    /// The source is used, and so is the target, after it was lost.
    void age(std::uint64_t round) {
        with_mounted(target(), [&](const auto& root) { live_on(root, 1000 + round); });
        with_mounted(source(), [&](const auto& root) { live_on(root, 2000 + round); });
        run_checked({"cp", "--sparse=always", target(), second_target()});
        listing_ = listing_of(source());
    }

    /// What anyone but this library says of a target.
    void judge(const std::string& image) {
        const command_result compared = run_command({"cmp", source(), image});
        INFO(compared.output << compared.errors);
        REQUIRE(compared.exit_code == 0);
        for (std::vector<std::string> check : kind_.check) {
            check.push_back(image);
            const command_result said = run_command(check);
            INFO(said.output << said.errors);
            CHECK(said.exit_code == 0);
        }
        CHECK((listing_of(image) == listing_));
    }

private:
    template <typename Work>
    void with_mounted(const std::string& image, Work work) {
        mounted_image mounted(kind_, image, folder_.path() / "mounted");
        work(mounted.path());
        mounted.unmount();
    }

    // Mounting writes: a copy is looked at, so that the pair stays as it is.
    std::string listing_of(const std::string& image) {
        std::string found;
        const std::string copy = files_.file("copy.img");
        run_checked({"cp", "--sparse=always", image, copy});
        with_mounted(copy, [&](const auto& root) { found = listing(root); });
        std::filesystem::remove(copy);
        return found;
    }

    const file_system_kind& kind_;
    temp_dir folder_;
    mounted_file_system files_;
    std::string listing_;
};

// To the byte: what differs is written and nothing else.
sync_report sync_exactly(const std::string& source_name, const std::string& target_name, const needed_bytes& needed) {
    const auto source = open_device(source_name);
    const auto target = open_device(target_name, {access::read_write});
    const sync_report report = run_sync(*source, *target, {});
    require_ok(report);
    CHECK(report.mode == sync_mode::differential);
    CHECK(report.verified == proof_level::root);
    CHECK(report.bytes.written == needed.data);
    CHECK(report.bytes.changed == needed.data);
    const sync_report after = diff(request_of(*source, *target, {}));
    require_ok(after);
    CHECK_FALSE(after.different());
    return report;
}

void sync_both_ways(stale_pair& pair) {
    const needed_bytes needed = count_needed(pair.source(), pair.target());
    INFO("needed: " << needed.data << " of data, " << needed.zero << " of zeroes, of " << needed.source_data);
    REQUIRE(needed.data > 100'000);
    REQUIRE(needed.zero > 0);
    REQUIRE(needed.data < needed.source_data / 4);
    {
        INFO("image to image");
        const sync_report report = sync_exactly(pair.source(), pair.target(), needed);
        CHECK(report.bytes.zeroed + report.bytes.deallocated >= needed.zero);
        pair.judge(pair.target());
    }
    INFO("loop device to loop device");
    {
        const loop_device source(pair.source(), {.read_only = true});
        const loop_device target(pair.second_target());
        const sync_report report = sync_exactly(source.path(), target.path(), needed);
        CHECK(report.bytes.zeroed == needed.zero);
        CHECK(run_command({"cmp", source.path(), target.path()}).exit_code == 0);
    }
    pair.judge(pair.second_target());
}

void sync_aged(const std::string& name) {
    const auto kinds = file_system_kinds();
    const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& each) { return each.name == name; });
    REQUIRE(kind != kinds.end());
    if (const std::string missing = missing_for(*kind); !missing.empty()) {
        WARN(missing);
        return;
    }
    stale_pair pair(*kind);
    for (unsigned round = 1; round <= soak_rounds(1); ++round) {
        INFO("round " << round);
        pair.age(round);
        sync_both_ways(pair);
    }
}

TEST_CASE("a stale ext4 becomes equal, and e2fsck, the kernel and every file agree", "[disks][slow][no-tsan][soak]") {
    sync_aged("ext4");
}

TEST_CASE("a stale xfs becomes equal, and xfs_repair, the kernel and every file agree",
          "[disks][slow][no-tsan][soak]") {
    sync_aged("xfs");
}

TEST_CASE("a stale btrfs becomes equal, and its checker, the kernel and every file agree",
          "[disks][slow][serial][no-tsan][soak]") {
    sync_aged("btrfs");
}

TEST_CASE("a stale NTFS becomes equal, and its tools, its mount and every file agree", "[disks][slow][no-tsan][soak]") {
    sync_aged("ntfs");
}

}  // namespace
