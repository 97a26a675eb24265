// The end-to-end bench, run once with every contender on disks of a few MiB: so that it does not rot, and so that its
// check of the writers' results runs over every way of syncing that it knows. No figure is looked at. It takes about half
// a minute.
#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <sstream>

#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

const std::string bench = std::string(source_folder) + "/bench/end_to_end";

const std::string built = std::filesystem::path(tool_path).parent_path();

// The bench on small disks in the rig's folder, with the tool and the maker of the disks of a folder: by default those
// that were built beside the tests. All that it makes is in the rig's folder.
command_result run_bench(const tool_rig& rig, std::vector<std::string> words, const std::string& build = built) {
    std::filesystem::create_directories(rig.file("temporary"));
    std::filesystem::create_directories(rig.file("first"));  // programs that stand before the system's
    words.insert(words.begin(),
                 {"env", "TMPDIR=" + rig.file("temporary"), "PATH=" + rig.file("first") + ":" + std::getenv("PATH"),
                  bench, "--build", build, "--disk", "16MiB", "--data", "4MiB"});
    return run_command(words);
}

// The lines about contenders that cannot run here.
std::string left_out(const command_result& result) {
    std::istringstream lines(result.errors);
    std::string all;
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("left out: ")) all += line + "\n";
    return all;
}

void check_nothing_left(const tool_rig& rig) {
    CHECK(std::filesystem::is_empty(rig.file("temporary")));
    CHECK(run_command({"losetup", "--noheadings", "--output", "BACK-FILE"}).output.find(rig.file("temporary")) ==
          std::string::npos);
}

// What was counted between the two sides is what reprotect itself counted, and holds what has to cross.
void check_streams(const boost::json::value& streams, const std::string& output) {
    std::set<std::string> counted;
    for (const boost::json::value& each : streams.at("contenders").as_array()) {
        const std::string workload = each.at("workload").as_string().c_str();
        const std::string contender = each.at("contender").as_string().c_str();
        INFO(workload << ", " << contender);
        const bool local = contender.find("local") != std::string::npos;
        REQUIRE(each.at("counted").is_null() == local);
        if (local) continue;
        counted.insert(workload + ", " + contender);
        const boost::json::value& wire = each.at("counted");
        const auto to_target = wire.at("to_target").to_number<std::int64_t>();
        const auto to_source = wire.at("to_source").to_number<std::int64_t>();
        CHECK(to_target > 0);
        CHECK(to_source > 0);
        CHECK(output.find(std::to_string(to_target)) != std::string::npos);
        const bool ours = contender.starts_with("reprotect");
        REQUIRE(wire.at("own").is_object() == ours);
        if (ours) {
            CHECK(wire.at("own").at("to_target").at("total").to_number<std::int64_t>() == to_target);
            CHECK(wire.at("own").at("to_source").at("total").to_number<std::int64_t>() == to_source);
        }
        if (workload == "s2" && ours) CHECK(to_target + to_source < 64 * 1024);
        if (workload == "s3i") CHECK(to_target > 4 * 1024 * 1024 / 32 * 31);
        CHECK(each.at("parts").is_object() == (contender == "reprotect push"));
        if (contender == "reprotect push" && workload != "s2") {
            CHECK(each.at("parts").at("to_target").at("payload").to_number<std::int64_t>() > 0);
            CHECK(each.at("timed").at("before_flush_bytes_per_second").to_number<double>() > 0);
        }
    }
    CHECK(counted.size() == 21);
    // The data of 4 MiB less the 1/32 that the target alone has; in s1 a twentieth, and what the source alone has.
    const boost::json::object& floors = streams.at("floors").as_object();
    CHECK(floors.size() == 3);
    const auto changed = [&](const char* workload) {
        return floors.at(workload).at("changed").to_number<std::int64_t>();
    };
    CHECK(changed("s3") == 4 * 1024 * 1024 * 31 / 32);
    CHECK(changed("s3i") == 4 * 1024 * 1024 * 31 / 32);
    CHECK(changed("s1") > 4 * 1024 * 1024 / 32);
    CHECK(changed("s1") < 4 * 1024 * 1024 / 8);
}

TEST_CASE("the end-to-end bench runs every contender and reports each", "[tool][slow][no-tsan]") {
    const tool_rig rig;
    const std::string figures = rig.file("figures.json");
    const command_result result = run_bench(rig, {"--runs", "1", "--all", "--json", figures});
    if (!result.ok() && result.errors.find(" is missing") != std::string::npos) {
        WARN(result.errors);
        return;
    }
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);

    const std::vector<std::byte> bytes = read_whole_file(figures);
    const boost::json::value document = boost::json::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const bool all_there = left_out(result).empty();
    if (!all_there) WARN(left_out(result));
    std::set<std::string> seen;
    for (const boost::json::value& each : document.at("results").as_array()) {
        const std::string workload = each.at("workload").as_string().c_str();
        const std::string contender = each.at("contender").as_string().c_str();
        INFO(workload << ", " << contender);
        CHECK(each.at("walls_s").as_array().size() == 1);
        CHECK((all_there ? each.at("ratio").is_number() : each.as_object().contains("ratio")));
        if (workload.starts_with("s1") || workload.starts_with("s2") || workload.starts_with("s3"))
            CHECK(each.at("server_peak_kib").is_number() == (contender.find("local") == std::string::npos));
        CHECK(seen.insert(workload + ", " + contender).second);
        CHECK(result.output.find(contender) != std::string::npos);
    }
    for (const char* tools_own :
         {"w1, reprotect sync", "w2, reprotect diff", "w3, reprotect sync", "bare, reprotect diff"})
        CHECK(seen.count(tools_own) == 1);
    if (all_there) CHECK(seen.size() == 64);
    if (left_out(result).find("left out: s1, ") == std::string::npos)
        check_streams(document.at("streams"), result.output);
    check_nothing_left(rig);
}

struct stat told(const std::string& path) {
    struct stat all {};
    REQUIRE(::stat(path.c_str(), &all) == 0);
    return all;
}

TEST_CASE("the disks of the end-to-end bench are restored in place, bytes and holes, and scaled with the same data",
          "[tool]") {
    const tool_rig rig;
    const std::string maker = built + "/reprotect_workload";
    if (!std::filesystem::exists(maker)) {
        WARN(maker << " is missing");
        return;
    }
    const auto make = [&](std::vector<std::string> words) {
        words.insert(words.begin(), maker);
        INFO(words[1]);
        REQUIRE(run_command(words).exit_code == 0);
    };
    make({rig.file("one"), "16", "4"});
    const std::string source = rig.file("one/source"), same = rig.file("one/same"), changed = rig.file("one/changed");
    CHECK(run_command({"cmp", source, same}).exit_code == 0);
    CHECK(run_command({"cmp", source, changed}).exit_code == 1);

    // Every way to spoil a target: other blocks, data that was a hole, a hole that was data, another size.
    const std::string target = rig.file("target");
    make({"--restore", changed, target});
    const std::string other_name = rig.file("other name");
    std::filesystem::create_hard_link(target, other_name);
    REQUIRE(run_command({"cp", "--sparse=never", source, target}).ok());
    REQUIRE(run_command({"truncate", "-s", "+1M", target}).ok());
    make({"--restore", changed, target});
    CHECK(run_command({"cmp", changed, target}).exit_code == 0);
    make({"--pack", changed, rig.file("packed")});
    make({"--pack", target, rig.file("packed4")});
    CHECK(run_command({"cmp", rig.file("packed"), rig.file("packed4")}).exit_code == 0);
    CHECK(told(target).st_ino == told(other_name).st_ino);
    REQUIRE(run_command({"truncate", "-s", "0", target}).ok());
    make({"--restore", changed, target});
    CHECK(run_command({"cmp", changed, target}).exit_code == 0);

    make({rig.file("four"), "16", "4", "4"});
    CHECK(told(rig.file("four/source")).st_size == 4 * told(source).st_size);
    make({"--pack", source, rig.file("packed")});
    make({"--pack", rig.file("four/source"), rig.file("packed4")});
    CHECK(told(rig.file("packed")).st_size > 3 * 1024 * 1024);
    CHECK(run_command({"cmp", rig.file("packed"), rig.file("packed4")}).exit_code == 0);
    make({"--pack", rig.file("four/changed"), rig.file("packed4")});
    make({"--pack", changed, rig.file("packed")});
    CHECK(run_command({"cmp", rig.file("packed"), rig.file("packed4")}).exit_code == 0);

    CHECK(run_command({maker, "--equal", source, same}).exit_code == 0);
    CHECK(run_command({maker, "--equal", source, changed}).exit_code == 1);
    REQUIRE(run_command({"truncate", "-s", "16M", rig.file("hole")}).ok());
    CHECK(run_command({maker, "--equal", source, rig.file("hole")}).exit_code == 1);
    CHECK(run_command({maker, "--equal", rig.file("hole"), source}).exit_code == 1);
    REQUIRE(run_command({"cp", "--sparse=never", source, rig.file("full")}).ok());
    CHECK(run_command({maker, "--equal", source, rig.file("full")}).exit_code == 0);
    CHECK(run_command({maker, "--equal", rig.file("full"), source}).exit_code == 0);
    REQUIRE(run_command({"truncate", "-s", "+1", rig.file("full")}).ok());
    CHECK(run_command({maker, "--equal", rig.file("full"), source}).exit_code == 1);
    // What has to cross: nothing, all data, or the blocks that differ.
    const auto print_changed = [&](const std::string& from, const std::string& to) {
        const std::string into = rig.file("printed");
        const command_result result =
            run_command({"sh", "-c", "exec \"$0\" --changed \"$1\" \"$2\" >\"$3\"", maker, from, to, into});
        INFO(result.errors);
        REQUIRE(result.exit_code == 0);
        return read_whole_file(into);
    };
    CHECK(print_changed(source, same).empty());
    make({"--pack", source, rig.file("packed")});
    CHECK(print_changed(source, rig.file("hole")) == read_whole_file(rig.file("packed")));
    CHECK(print_changed(rig.file("hole"), source).empty());
    write_whole_file(rig.file("zeroes"), std::vector<std::byte>(16 * 1024 * 1024));
    CHECK(print_changed(rig.file("zeroes"), source).empty());
    std::vector<std::byte> one = read_whole_file(source);
    std::vector<std::byte> expected;
    for (const std::size_t block : {std::size_t{0}, std::size_t{1}, std::size_t{7}, one.size() / 4096 - 1}) {
        one.at(block * 4096 + 4095) ^= std::byte{1};
        expected.insert(expected.end(), one.begin() + static_cast<std::ptrdiff_t>(block * 4096),
                        one.begin() + static_cast<std::ptrdiff_t>(block * 4096 + 4096));
    }
    write_whole_file(rig.file("other"), one);
    CHECK(print_changed(rig.file("other"), source) == expected);

    make({"--incompressible", rig.file("noise"), "16", "4"});
    make({"--pack", rig.file("noise/source"), rig.file("packed")});
    const auto whole = told(rig.file("packed")).st_size;
    CHECK(whole > 3 * 1024 * 1024);
    REQUIRE(run_command({"gzip", rig.file("packed")}).ok());
    CHECK(told(rig.file("packed.gz")).st_size > whole);
    CHECK(run_command({"cmp", rig.file("noise/source"), rig.file("noise/changed")}).exit_code == 1);
    make({"--warm", source, changed});
    make({"--warm", "--holes", source, changed});
    make({"--read", "16", source, changed});
}

TEST_CASE("the end-to-end bench gives a wrong result no time, and leaves nothing behind", "[tool]") {
    const tool_rig rig;
    const std::string broken = rig.file("broken");
    std::filesystem::create_directories(broken);
    std::ofstream(broken + "/reprotect") << "#!/bin/sh\ncase $1 in serve | key) exec '" << tool_path
                                         << "' \"$@\" ;; esac\nexit 0\n";
    std::filesystem::permissions(broken + "/reprotect", std::filesystem::perms::owner_all);
    std::filesystem::create_symlink(built + "/reprotect_workload", broken + "/reprotect_workload");
    for (const char* workload : {"w1", "w3", "sparse-sync", "n1-nbdkit", "s1"}) {
        INFO(workload);
        const command_result result = run_bench(rig, {"--runs", "1", "--only", workload}, broken);
        INFO(result.errors);
        if (result.errors.find(" is missing") != std::string::npos) {
            WARN(result.errors);
            return;
        }
        if (!left_out(result).empty()) {
            WARN(left_out(result));
            continue;
        }
        CHECK(result.exit_code == 1);
        CHECK(result.errors.find("did not make the target equal") != std::string::npos);
        check_nothing_left(rig);
    }
}

TEST_CASE("the end-to-end bench leaves out what needs a loop device, an xfs or direct reads that there are not",
          "[tool]") {
    if (::geteuid() != 0) {
        WARN("needs root, without which these are left out for that");
        return;
    }
    struct lack {
        std::string program;
        std::string workloads;
        std::string said;
    };
    for (const lack& each : {lack{"losetup", "cold-loop,sparse", "no loop device: not today"},
                             lack{"mount", "sparse", "no xfs: not today"}, lack{"dd", "cold", "no direct I/O"}}) {
        INFO(each.program);
        const tool_rig rig;
        std::filesystem::create_directories(rig.file("first"));
        const std::string program = rig.text_file("first/" + each.program, "#!/bin/sh\necho not today >&2\nexit 1\n");
        std::filesystem::permissions(program, std::filesystem::perms::owner_all);
        const command_result result = run_bench(rig, {"--runs", "1", "--only", each.workloads});
        INFO(result.errors);
        if (result.errors.find(" is missing") != std::string::npos) {
            WARN(result.errors);
            return;
        }
        CHECK(result.exit_code == 0);
        std::istringstream lines(left_out(result));
        for (std::string line; std::getline(lines, line);) {
            if (line.find("not installed") == std::string::npos &&
                line.find("no loop device: losetup: ") == std::string::npos)
                CHECK(line.find(each.said) != std::string::npos);
        }
        CHECK_FALSE(left_out(result).empty());
        CHECK(result.output.find("reprotect") == std::string::npos);
        check_nothing_left(rig);
    }
}

TEST_CASE("the end-to-end bench refuses a file for its figures that cannot be written, before it makes a disk",
          "[tool]") {
    const tool_rig rig;
    const command_result result = run_bench(rig, {"--only", "w2", "--json", rig.file("nowhere/figures")});
    INFO(result.errors);
    if (result.errors.find(" is missing") != std::string::npos) {
        WARN(result.errors);
        return;
    }
    CHECK(result.exit_code == 1);
    CHECK(result.errors.find("cannot write " + rig.file("nowhere/figures")) != std::string::npos);
    CHECK(result.errors.find("making") == std::string::npos);
    check_nothing_left(rig);
}

TEST_CASE("the end-to-end bench refuses what it does not know", "[tool]") {
    const tool_rig rig;
    CHECK(run_bench(rig, {"--only", "w9"}).exit_code == 2);
    CHECK(run_bench(rig, {"--runs", "0"}).exit_code == 2);
    CHECK(run_bench(rig, {"--data", "12MiB"}).exit_code == 2);
    CHECK(run_bench(rig, {"--fast"}).exit_code == 2);
}

}  // namespace
