// The verb bench: its document, its table, what it refuses, and that it only ever reads.
#include <catch2/catch.hpp>

#include <sys/stat.h>

#include <cstdlib>

#include "support/nbdkit_rig.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

constexpr std::size_t mib = 1 << 20;

double number_at(const boost::json::object& document, const std::string& path) {
    return at_path(document, path).to_number<double>();
}

TEST_CASE("bench without a disk says what the machine does, as a document with every key", "[tool]") {
    const tool_rig rig;
    const command_result result =
        rig.run({"bench", "--json", "--threads", "2", "--depth", "4", "--block-size", "8KiB"});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    CHECK(result.errors.empty());
    const auto document = parse_json(result.output);
    for (const std::string key : {"copy", "xxh3", "sha256"})
        for (const std::string threads : {".one", ".all"}) CHECK(number_at(document, key + threads) > 0);
    CHECK(count_at(document, "threads") == 2);
    CHECK(count_at(document, "depth") == 2);  // what --threads leaves of it
    CHECK(count_at(document, "block_size") == 8192);
    CHECK(count_at(document, "chunk_size") == mib);
    CHECK(document.at("zstd").as_array().size() == 4);
    for (const auto& each : document.at("zstd").as_array()) {
        const auto& rate = each.as_object();
        CHECK(rate.at("level").to_number<int>() >= 1);
        CHECK_FALSE(rate.at("content").as_string().empty());
        CHECK(rate.at("bytes_per_second").to_number<double>() > 0);
        CHECK(rate.at("ratio").to_number<double>() > 0.9);
    }
    CHECK(document.at("disk").is_null());
}

TEST_CASE("bench of a disk says how fast it is read, in a table with units and in a document", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, 5 * mib + 100);
    const command_result text = rig.run({"bench", disk});
    INFO(text.errors << text.output);
    REQUIRE(text.exit_code == 0);
    for (const char* part :
         {"memory copy", "xxh3 digest", "sha256 digest", "zstd level 1, text", "zstd level 3, random",
          "read past the cache", "read as it is", "B/s", "5.00 MiB in ", "all of its data", " to 1"})
        CHECK(has(text.output, part));
    CHECK(has(text.output, disk));
    CHECK(has(text.output, "all of its data; 6 reads of 256 KiB in flight"));

    const command_result result = rig.run({"bench", disk, "--json", "--direct", "--quiet"});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    const auto document = parse_json(result.output);
    CHECK(text_at(document, "disk.name") == disk);
    CHECK(count_at(document, "disk.size") == 5 * mib + 100);
    CHECK(at_path(document, "disk.cached").is_null());
    if (at_path(document, "disk.direct").is_null()) {
        WARN("the file system of the temporary directory knows no direct I/O");
        return;
    }
    CHECK(count_at(document, "disk.direct.read") == 5 * mib + 100);
    CHECK(number_at(document, "disk.direct.bytes_per_second") > 0);
    CHECK(number_at(document, "disk.direct.seconds") > 0);
    CHECK(count_at(document, "disk.direct.depth") == 6);  // as many as there are chunks
    CHECK(count_at(document, "disk.direct.piece_size") == mib);
    CHECK(at_path(document, "disk.direct.whole").as_bool());
}

TEST_CASE("bench tells the depth and the piece that it read with, not those that were asked for", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, 5 * mib);
    const auto document = parse_json(rig.run({"bench", disk, "--json", "--threads", "1", "--depth", "16"}).output);
    CHECK(count_at(document, "depth") == 1);
    CHECK(count_at(document, "disk.cached.depth") == 1);
    CHECK(count_at(document, "disk.cached.piece_size") == 256 * 1024);
    if (!at_path(document, "disk.direct").is_null()) {
        CHECK(count_at(document, "disk.direct.depth") == 1);
        CHECK(count_at(document, "disk.direct.piece_size") == mib);
    }
    const command_result text = rig.run({"bench", disk, "--threads", "2", "--chunk-size", "64KiB"});
    INFO(text.errors << text.output);
    CHECK(has(text.output, "all of its data; 2 reads of 64.0 KiB in flight"));
}

TEST_CASE("bench reads an image as it is through the cache, and not by the server that passes it by", "[tool]") {
    const tool_rig rig;
    const std::string found = run_command({"sh", "-c", "command -v qemu-nbd"}).output;
    const std::string image = rig.file("disk.qcow2");
    if (found.empty() || !run_command({"qemu-img", "create", "-q", "-f", "qcow2", image, "4M"}).ok()) {
        WARN("qemu is not installed");
        return;
    }
    std::filesystem::create_directories(rig.file("first"));
    const std::string log = rig.text_file("log", "");
    const std::string between = rig.text_file("first/qemu-nbd", "#!/bin/sh\necho \"$*\" >>'" + log + "'\nexec " +
                                                                    found.substr(0, found.find('\n')) + " \"$@\"\n");
    std::filesystem::permissions(between, std::filesystem::perms::owner_all);
    process_options here;
    here.environment = {"PATH=" + rig.file("first") + ":" + std::getenv("PATH")};
    const auto servers = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"bench", "qcow2:" + image, "--json"});
        rig.text_file("log", "");
        const command_result result = process(rig.command(words), here).wait();
        INFO(result.errors);
        CHECK(result.exit_code == 0);
        CHECK(at_path(parse_json(result.output), "disk.direct").is_null());
        const std::vector<std::byte> bytes = read_whole_file(log);
        return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    const std::string both = servers({});
    const std::size_t past = both.find("--cache=none"), through = both.rfind("--cache=writeback");
    CHECK(past != std::string::npos);
    REQUIRE(through != std::string::npos);
    CHECK(past < through);
    CHECK_FALSE(has(servers({"--direct"}), "--cache=writeback"));
}

TEST_CASE("bench of a disk without a byte has no rate, and of a tiny one has", "[tool]") {
    const tool_rig rig;
    write_whole_file(rig.file("empty"), {});
    const auto empty = parse_json(rig.run({"bench", rig.file("empty"), "--json"}).output);
    CHECK(count_at(empty, "disk.size") == 0);
    CHECK(count_at(empty, "disk.cached.read") == 0);
    CHECK(at_path(empty, "disk.cached.bytes_per_second").is_null());
    const auto tiny = parse_json(rig.run({"bench", rig.random_disk("tiny", 1, 1), "--json"}).output);
    CHECK(count_at(tiny, "disk.cached.read") == 1);
    CHECK(number_at(tiny, "disk.cached.bytes_per_second") > 0);
}

TEST_CASE("bench refuses what is no disk, as the other verbs do, and measures nothing then", "[tool]") {
    const tool_rig rig;
    const std::string container = rig.text_file("disk.qcow2", std::string("QFI\xfb", 4) + std::string("\0\0\0\3", 4));
    std::filesystem::resize_file(container, mib);
    struct refusal {
        std::string name;
        std::string kind;
    };
    for (const refusal& each : {refusal{rig.file("missing"), "not_found"}, refusal{rig.folder().string(), "unsuitable"},
                                refusal{container, "container"}}) {
        const command_result result = rig.run({"bench", each.name, "--json", "--progress", "json"});
        INFO(result.errors);
        CHECK(result.exit_code == 3);
        const auto document = parse_json(result.output);
        CHECK(text_at(document, "error.kind") == each.kind);
        CHECK_FALSE(text_at(document, "error.hint").empty());
        CHECK_FALSE(has(result.errors, "measuring"));
    }
    for (const std::vector<std::string>& words : {std::vector<std::string>{"bench", "a", "b"},
                                                  {"bench", ""},
                                                  {"bench", "--depth", "0"},
                                                  {"bench", "--depth", "257"},
                                                  {"bench", "--block-size", "1000"},
                                                  {"bench", "--digest", "xxh3"},
                                                  {"bench", "--chunk-size", "4K"}}) {
        CAPTURE(words);
        CHECK(rig.run(words).exit_code == 2);
    }
}

TEST_CASE("bench names the disk and the place where a read fails", "[tool]") {
    if (no_failing_disks()) return;
    const tool_rig rig;
    const failing_disk disk(random_bytes(1, 4 * mib));
    disk.fail("pread", "EIO", {2 * mib, 2 * mib});
    for (const bool direct : {false, true}) {
        std::vector<std::string> words{"bench", disk.path(), "--json", "--depth", "1", "--chunk-size", "64KiB"};
        if (direct) words.emplace_back("--direct");
        const command_result result = rig.run(words);
        INFO(result.errors);
        CHECK(result.exit_code == 4);
        const auto document = parse_json(result.output);
        CHECK(text_at(document, "error.kind") == "device_io");
        CHECK(text_at(document, "error.device") == disk.path());
        CHECK(count_at(document, "error.offset") >= mib);
        CHECK(has(result.errors, disk.path()));
    }
}

TEST_CASE("bench never opens a disk for writing", "[tool]") {
    if (::geteuid() != 0) {
        WARN("needs root to become another user");
        return;
    }
    const tool_rig rig;
    std::filesystem::permissions(rig.folder(), std::filesystem::perms{0755});
    std::filesystem::copy_file(tool_path, rig.file("tool"));
    const std::string disk = rig.random_disk("disk", 1, 3 * mib);
    ::chmod(disk.c_str(), 0444);
    const auto time = std::filesystem::last_write_time(disk);
    process_options nobody;
    nobody.user = 65534;
    const command_result result = process({rig.file("tool"), "bench", disk, "--json"}, nobody).wait();
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    CHECK(count_at(parse_json(result.output), "disk.cached.read") == 3 * mib);
    CHECK(std::filesystem::last_write_time(disk) == time);
    CHECK((read_whole_file(disk) == random_bytes(1, 3 * mib)));
}

TEST_CASE("bench stops soon at a signal and ends with 130", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, mib);
    process running(rig.command({"bench", disk, "--json", "--progress", "json"}));
    REQUIRE(running.says("measuring the processor"));
    running.send(SIGINT);
    const command_result result = running.wait();
    INFO(result.errors);
    CHECK(result.exit_code == 130);
    CHECK(text_at(parse_json(result.output), "error.kind") == "interrupted");
    CHECK(has(result.errors, "stopping"));
    CHECK(has(result.errors, "reading "));
}

TEST_CASE("bench says at SIGUSR1 what it measures", "[tool]") {
    const tool_rig rig;
    process running(rig.command({"bench", "--progress", "json"}));
    REQUIRE(running.says("measuring the processor"));
    const std::string before = running.errors();
    running.send(SIGUSR1);
    CHECK(wait_until([&] { return running.errors().size() > before.size(); }));
    CHECK(running.wait().exit_code == 0);
}

}  // namespace
