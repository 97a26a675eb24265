// kill -9 of the tool at random moments of local syncs, between files and between loop devices. After each: what the record
// says is true, nobody holds the target any more, and the next sync ends equal.
// 20 rounds; REPROTECT_SOAK=500 makes 500 (some minutes). The seed is printed by a failure; REPROTECT_SEED takes one.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "support/device_sync.hpp"
#include "support/loop_device.hpp"
#include "support/sparse_disk.hpp"
#include "support/tool_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

constexpr std::uint64_t disk_bytes = 8 << 20;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* const set = std::getenv(variable);
    return set && *set ? std::strtoull(set, nullptr, 10) : otherwise;
}

struct pair_kind {
    const char* name;
    bool loop = false;
    bool direct = false;
    bool new_target = false;  // the target is missing before each round
    bool reread = false;
};

const pair_kind kinds[] = {
    {.name = "files"},
    {.name = "files, direct, read again", .direct = true, .reread = true},
    {.name = "onto a new file", .new_target = true},
    {.name = "loop devices", .loop = true, .reread = true},
    {.name = "loop devices, direct", .loop = true, .direct = true},
};

class killed_pair {
public:
    killed_pair(const pair_kind& kind, std::mt19937_64& random) : kind_(kind), random_(random) {
        source_file_ = tool_.random_disk("source", random_(), disk_bytes);
        if (!kind.new_target) target_file_ = tool_.random_disk("target", random_(), disk_bytes);
        if (kind.new_target) target_file_ = tool_.file("target");
        if (kind.loop) source_loop_.emplace(source_file_);
        if (kind.loop) target_loop_.emplace(target_file_);
        line_ = tool_.command({"sync", source(), target(), "--chunk-size", "64KiB", "--depth", "4", "--quiet"});
        if (kind.direct) line_.push_back("--direct");
        if (kind.reread) line_.push_back("--verify=reread");
        prepare_round();
        const auto begin = std::chrono::steady_clock::now();
        require_equal_after_a_run();
        usual_ = std::chrono::steady_clock::now() - begin;
    }

    // Returns what the record said after the kill.
    std::string round() {
        prepare_round();
        const std::vector<std::byte> before =
            kind_.new_target ? std::vector<std::byte>() : read_whole_file(target_file_);
        const auto record_before = record();
        // Anywhere, or, every other time, once the first byte may have been written.
        const bool once_begun = random_() % 2 == 0;
        const auto pause = usual_ * (static_cast<double>(random_() % 1000) / (once_begun ? 3000 : 1000));
        INFO("killed " << pause.count() << " s after the " << (once_begun ? "record" : "start"));
        {
            process killed(line_);
            if (once_begun) wait_until([&] { return says_dirty() || has_ended(killed); });
            std::this_thread::sleep_for(pause);
            killed.send(SIGKILL);
            const int code = killed.wait().exit_code;
            REQUIRE((code == 0 || code == 128 + SIGKILL));
        }
        const auto known = record();
        const bool of_this_round = known && (!record_before || known->session != record_before->session);
        const bool is_there = std::filesystem::exists(target_file_);
        const auto after = is_there ? read_whole_file(target_file_) : std::vector<std::byte>();
        std::string said = known ? reprotect::to_string(known->status) : "none";
        if (!of_this_round) {
            // Nothing was written. A new file may be there, of no size yet.
            CHECK((after == before));
            said = "nothing begun";
        } else if (known->status == target_status::clean) {
            CHECK((after == read_whole_file(source_file_)));
        } else {
            CHECK(known->status == target_status::dirty);
        }
        require_equal_after_a_run();
        return said;
    }

private:
    const std::string& source() const { return source_loop_ ? source_loop_->path() : source_file_; }
    const std::string& target() const { return target_loop_ ? target_loop_->path() : target_file_; }

    // Much of the disk is new to the target, in pieces, with zeroes among them.
    void prepare_round() {
        if (kind_.new_target) std::filesystem::remove(target_file_);
        const auto disk = open_target(source());
        age(*disk, random_, 40);
        fill(*disk, {random_() % (disk_bytes / 2), disk_bytes / 2}, random_());
        disk->flush();
    }

    std::optional<state_record> record() const {
        if (!std::filesystem::exists(target_file_)) return std::nullopt;
        return open_state_directory(tool_.records())->find_target(open_source(target())->identity());
    }
    // By the store's files alone: opening the target would be in the way.
    bool says_dirty() const {
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(tool_.records(), ignored)) {
            std::ifstream file(entry.path());
            const std::string text((std::istreambuf_iterator<char>(file)), {});
            if (has(text, "dirty")) return true;
        }
        return false;
    }
    static bool has_ended(const process& program) {
        std::ifstream file("/proc/" + std::to_string(program.id()) + "/stat");
        const std::string text((std::istreambuf_iterator<char>(file)), {});
        return has(text, ") Z ");
    }

    void require_equal_after_a_run() const {
        const command_result done = run_command(line_);
        INFO(done.errors);
        REQUIRE(done.exit_code == 0);  // 3 would be a target that somebody still holds
        REQUIRE(same_bytes(source_file_, target_file_));
        REQUIRE(record().has_value());
        CHECK(record()->status == target_status::clean);
    }

    const pair_kind& kind_;
    std::mt19937_64& random_;
    tool_rig tool_;
    std::string source_file_, target_file_;
    std::optional<loop_device> source_loop_, target_loop_;
    std::vector<std::string> line_;
    std::chrono::duration<double> usual_{};
};

}  // namespace

TEST_CASE("a sync that is killed at any moment leaves a record that is true, and the next one ends equal",
          "[faults][soak]") {
    const std::uint64_t seed = number_from("REPROTECT_SEED", std::random_device()());
    const std::uint64_t rounds = number_from("REPROTECT_SOAK", 20);
    std::mt19937_64 random(seed);
    const bool with_loops = loop_devices_available();
    if (!with_loops) WARN("no loop devices here: files only");
    std::map<std::string, unsigned> said;
    std::uint64_t done = 0;
    for (std::size_t at = 0; at < std::size(kinds); ++at) {
        const pair_kind& kind = kinds[at];
        const std::uint64_t share = rounds * (at + 1) / std::size(kinds) - rounds * at / std::size(kinds);
        if (share == 0 || (kind.loop && !with_loops)) continue;
        INFO("REPROTECT_SEED=" << seed << " REPROTECT_SOAK=" << rounds << ", " << kind.name);
        killed_pair pair(kind, random);
        for (std::uint64_t number = 0; number < share; ++number, ++done) {
            INFO("round " << number);
            ++said[pair.round()];
        }
    }
    // Rounds that all ended before the first write, or after the last, would show nothing.
    INFO("REPROTECT_SEED=" << seed);
    CHECK((said["dirty"] > 0 || done < 10));
    if (rounds > 20)
        for (const auto& [what, count] : said) WARN(what << ": " << count << " of " << done);
}
