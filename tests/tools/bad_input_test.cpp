// What users get wrong, and what goes wrong under them: each ends with its exit code and says what, where and what to do.
#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "support/loop_device.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

constexpr std::size_t mib = 1 << 20;

// A refusal: code 3, the disk named, a hint, and a document that says the same.
void check_refused(const command_result& result, const std::string& kind, const std::string& names) {
    INFO("said: " << result.errors << "\nprinted: " << result.output);
    CHECK(result.exit_code == 3);
    CHECK(has(result.errors, names));
    CHECK(has(result.errors, "\n  hint: "));
    const auto document = parse_json(result.output);
    CHECK(count_at(document, "error.code") == 3);
    CHECK(text_at(document, "error.kind") == kind);
    CHECK(has(text_at(document, "error.message") + text_at(document, "error.device"), names));
    for (const char* key : {"code", "kind", "message", "device", "offset", "length", "holder", "hint"})
        CHECK(at_path(document, "error").as_object().contains(key));
}

TEST_CASE("a source that is missing is named, and no target is made", "[tool]") {
    const tool_rig rig;
    check_refused(rig.run({"sync", rig.file("missing"), rig.file("target"), "--json"}), "not_found", "missing");
    CHECK_FALSE(std::filesystem::exists(rig.file("target")));
    check_refused(rig.run({"diff", rig.file("missing"), rig.file("target"), "--json"}), "not_found", "missing");
    check_refused(rig.run({"checksum", rig.file("missing"), "--json"}), "not_found", "missing");
    check_refused(rig.run({"map", rig.file("missing"), "--json"}), "not_found", "missing");
}

TEST_CASE("a target in a folder that is missing is refused", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 5000);
    for (const std::string name : {"nowhere/target", "newdir/", "nowhere/newdir/"}) {
        check_refused(rig.run({"sync", source, rig.file(name), "--json"}), "not_found", name);
        check_refused(rig.run({"sync", source, rig.file(name), "--json", "--dry-run"}), "not_found", name);
        CHECK(std::distance(std::filesystem::directory_iterator(rig.folder()), {}) == 1);
    }
    CHECK(has(rig.run({"sync", source, rig.file("newdir/")}).errors, "leave the slash out"));
}

TEST_CASE("a dry run refuses the target that a sync would not make", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 5000);
    std::filesystem::create_symlink("nothing", rig.file("dangling"));
    for (const std::string& target : {rig.file("dangling"), std::string("/dev/reprotect-no-such-disk")}) {
        check_refused(rig.run({"sync", source, target, "--json"}), "not_found", target);
        check_refused(rig.run({"sync", source, target, "--json", "--dry-run"}), "not_found", target);
    }
    CHECK(rig.run({"sync", source, rig.file("new"), "--dry-run"}).exit_code == 0);
    CHECK(rig.run({"sync", source, "raw:" + rig.file("new"), "--dry-run"}).exit_code == 0);
}

TEST_CASE("a device that is missing is not made as a file under /dev", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 5000);
    const std::string name = "/dev/reprotect-no-such-disk";
    struct remover {
        std::string path;
        ~remover() { ::unlink(path.c_str()); }
    } const afterwards{name};
    for (const std::string prefix : {"", "raw:"}) {
        check_refused(rig.run({"sync", source, prefix + name, "--json"}), "not_found", "reprotect-no-such-disk");
        CHECK_FALSE(std::filesystem::exists(name));
    }
}

TEST_CASE("a directory is no disk", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 5000);
    check_refused(rig.run({"sync", rig.folder().string(), rig.file("target"), "--json"}), "unsuitable",
                  rig.folder().string());
    check_refused(rig.run({"sync", source, rig.folder().string(), "--json"}), "unsuitable", rig.folder().string());
    CHECK_FALSE(std::filesystem::exists(rig.file("target")));
}

TEST_CASE("a disk that may not be opened is refused for lack of permission", "[tool]") {
    if (::geteuid() != 0) {
        WARN("needs root to become another user");
        return;
    }
    const tool_rig rig;
    std::filesystem::permissions(rig.folder(), std::filesystem::perms{0755});
    std::filesystem::copy_file(tool_path, rig.file("tool"));
    const std::string source = rig.random_disk("source", 1, 5000);
    const std::string secret = rig.random_disk("secret", 2, 5000);
    ::chmod(secret.c_str(), 0600);
    process_options nobody;
    nobody.user = 65534;
    const std::vector<std::vector<std::string>> lines{
        {rig.file("tool"), "sync", secret, "/tmp/reprotect-never-made", "--json", "--state", rig.records()},
        {rig.file("tool"), "sync", source, secret, "--json", "--state", rig.records()},
        {rig.file("tool"), "checksum", secret, "--json"},
    };
    for (const auto& line : lines) check_refused(process(line, nobody).wait(), "permission", "secret");
    const command_result denied = process({rig.file("tool"), "sync", source, rig.file("new"), "--json"}, nobody).wait();
    check_refused(denied, "permission", "new");
    const std::string hint = text_at(parse_json(denied.output), "error.hint");
    INFO(hint);
    CHECK(has(hint, "write to " + rig.folder().string() + ","));
}

TEST_CASE("records that a full file system has no room for say so, not that a right is missing", "[tool]") {
    if (::geteuid() != 0) {
        WARN("needs root to mount");
        return;
    }
    const tool_rig rig;
    const mounted_file_system full("tmpfs", rig.folder(), mib);
    const std::string source = rig.random_disk("source", 1, 5000);
    const std::string target = rig.random_disk("target", 2, 5000);
    const auto before = read_whole_file(target);
    std::filesystem::create_directory(full.file("records"));
    CHECK_THROWS(write_whole_file(full.file("filler"), random_bytes(3, 2 * mib)));
    const command_result result =
        run_command({tool_path, "sync", source, target, "--json", "--state", full.file("records")});
    INFO(result.errors);
    const auto document = parse_json(result.output);
    CHECK(text_at(document, "error.kind") == "no_space");
    CHECK(has(text_at(document, "error.message"), "state record cannot be kept"));
    CHECK(has(text_at(document, "error.hint"), "make room"));
    CHECK((read_whole_file(target) == before));
}

TEST_CASE("records that cannot be kept refuse the sync, and the new target is taken away", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 5000);
    rig.text_file("records", "a file where a directory should be");
    const command_result result = rig.run({"sync", source, rig.file("target")});
    INFO(result.errors);
    CHECK(result.exit_code != 0);
    CHECK(has(result.errors, "records"));
    CHECK(has(result.errors, "\n  hint: "));
    CHECK_FALSE(std::filesystem::exists(rig.file("target")));
}

TEST_CASE("an empty source makes an empty target, and never empties one that holds data", "[tool]") {
    const tool_rig rig;
    const std::string empty = rig.random_disk("empty", 1, 0);
    CHECK(rig.run({"sync", empty, rig.file("target")}).exit_code == 0);
    CHECK(std::filesystem::file_size(rig.file("target")) == 0);
    CHECK(rig.run({"diff", empty, rig.file("target")}).exit_code == 0);
    CHECK(rig.run({"checksum", empty}).exit_code == 0);
    CHECK(rig.run({"map", empty}).exit_code == 0);
    const std::string full = rig.random_disk("full", 2, 5000);
    check_refused(rig.run({"sync", empty, full, "--json"}), "size_mismatch", "full");
    CHECK(std::filesystem::file_size(full) == 5000);
}

TEST_CASE("sizes that are a multiple of nothing sync to the byte", "[tool]") {
    const tool_rig rig;
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{511}, std::size_t{4095}, std::size_t{4097}, mib - 1, 3 * mib + 777}) {
        CAPTURE(size);
        const std::string source = rig.random_disk("source", size, size);
        const std::string target = rig.random_disk("target", size + 1, size);
        CHECK(rig.run({"diff", source, target}).exit_code == 1);
        const command_result result = rig.run({"sync", source, target, "--verify=reread"});
        INFO(result.errors);
        CHECK(result.exit_code == 0);
        CHECK(same_bytes(source, target));
        CHECK(rig.run({"diff", source, target}).exit_code == 0);
    }
}

TEST_CASE("a larger target is refused until an option says what becomes of its tail", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib + 5);
    const std::string target = rig.random_disk("target", 2, mib + 9000);
    const auto before = read_whole_file(target);
    const command_result refused = rig.run({"sync", source, target, "--json"});
    check_refused(refused, "size_mismatch", "target");
    CHECK(has(refused.errors, "--allow-larger"));
    CHECK(has(refused.errors, "--truncate"));
    CHECK((read_whole_file(target) == before));

    CHECK(rig.run({"sync", source, target, "--allow-larger"}).exit_code == 0);
    const auto after = read_whole_file(target);
    CHECK(after.size() == before.size());
    CHECK(std::equal(after.begin() + mib + 5, after.end(), before.begin() + mib + 5));
    CHECK(rig.run({"diff", source, target, "--allow-larger"}).exit_code == 0);
    CHECK(rig.run({"diff", source, target}).exit_code == 1);

    CHECK(rig.run({"sync", source, target, "--truncate"}).exit_code == 0);
    CHECK(same_bytes(source, target));
}

TEST_CASE("a disk is not synced onto itself under another name", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, 9000);
    std::filesystem::create_symlink(disk, rig.file("symlink"));
    std::filesystem::create_hard_link(disk, rig.file("hardlink"));
    for (const std::string& name : {disk, rig.file("symlink"), rig.file("hardlink")})
        check_refused(rig.run({"sync", disk, name, "--json"}), "same_disk", "disk");
}

TEST_CASE("a container under a raw path is refused with the prefix to use", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 9000);
    auto bytes = random_bytes(3, 9000);
    const std::string magic = "QFI\xfb";
    for (std::size_t i = 0; i < magic.size(); ++i) bytes[i] = static_cast<std::byte>(magic[i]);
    bytes[4] = bytes[5] = bytes[6] = std::byte{0};
    bytes[7] = std::byte{3};
    write_whole_file(rig.file("image"), bytes);
    for (const auto& words : {std::vector<std::string>{"sync", source, rig.file("image"), "--json"},
                              std::vector<std::string>{"sync", rig.file("image"), rig.file("new"), "--json"}}) {
        const command_result result = rig.run(words);
        check_refused(result, "container", "image");
        CHECK(has(result.errors, "qcow2:"));
    }
    CHECK_FALSE(std::filesystem::exists(rig.file("new")));
    const command_result mapped = rig.run({"map", rig.file("image"), "--json"});
    CHECK(mapped.exit_code == 0);
    CHECK(text_at(parse_json(mapped.output), "container") == "qcow2");
}

TEST_CASE("a target that is mounted is refused, with who holds it and how to let go", "[tool]") {
    if (!loop_devices_available()) {
        WARN("no loop devices here");
        return;
    }
    const tool_rig rig;
    const mounted_file_system mounted("ext4", rig.folder(), 16 * mib);
    const std::string source = rig.random_disk("source", 1, 16 * mib);
    const command_result result = rig.run({"sync", source, rig.file("ext4.img"), "--json"});
    check_refused(result, "in_use", "ext4.img");
    CHECK(has(result.errors, "umount"));
    const std::string holder = text_at(parse_json(result.output), "error.holder");
    CHECK(has(holder, "mounted on"));
    // Said once: what the message names needs no line of its own.
    const std::size_t said = result.errors.find(holder);
    REQUIRE(said != std::string::npos);
    CHECK(result.errors.find(holder, said + 1) == std::string::npos);
    const auto holders =
        at_path(parse_json(rig.run({"map", rig.file("ext4.img"), "--json"}).output), "holders").as_array();
    CHECK(holders.size() >= 1);
}

TEST_CASE("a full file system ends the sync with 4 and says where there is no room", "[tool]") {
    if (::geteuid() != 0) {
        WARN("needs root to mount");
        return;
    }
    const tool_rig rig;
    const mounted_file_system small("tmpfs", rig.folder(), 2 * mib);
    const std::string source = rig.random_disk("source", 1, 8 * mib);
    const command_result result = rig.run({"sync", source, small.file("target"), "--json"});
    INFO(result.errors);
    CHECK(result.exit_code == 4);
    CHECK(has(result.errors, "target"));
    CHECK(has(result.errors, "\n  hint: "));
    const auto document = parse_json(result.output);
    CHECK(text_at(document, "error.kind") == "no_space");
    CHECK(count_at(document, "error.code") == 4);
    CHECK(count_at(document, "bytes.disk") == 8 * mib);
}

TEST_CASE("a source that shrinks meanwhile ends the sync with 4", "[tool]") {
    const tool_rig rig;
    const auto pair = rig.make_slow_pair();
    process sync(rig.command(
        {"sync", pair.source, pair.target, "--source-allocation", pair.allocation, "--json", "--progress", "json"}));
    REQUIRE(sync.says("\"phase\":\"scan\""));
    std::filesystem::resize_file(pair.source, 4 * mib);
    const command_result result = sync.wait();
    INFO(result.errors);
    CHECK(result.exit_code == 4);
    const auto document = parse_json(result.output);
    CHECK(text_at(document, "error.kind") == "size_changed");
    CHECK(has(text_at(document, "error.device"), "slow.source"));
}

TEST_CASE("a corrupt digest map is found and named, wherever its bit flipped", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, 3 * mib);
    REQUIRE(rig.run({"checksum", disk, "-o", rig.file("map")}).exit_code == 0);
    REQUIRE(rig.run({"checksum", disk, "--against", rig.file("map")}).exit_code == 0);
    const std::size_t size = std::filesystem::file_size(rig.file("map"));
    for (const std::size_t offset : {std::size_t{0}, size / 2, size - 1}) {
        rig.copy(rig.file("map"), "damaged");
        tool_rig::damage(rig.file("damaged"), offset);
        check_refused(rig.run({"checksum", disk, "--against", rig.file("damaged"), "--json"}), "corrupt_file",
                      "damaged");
    }
}

TEST_CASE("a corrupt differential is refused by --within", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.random_disk("target", 2, mib);
    const auto before = read_whole_file(target);
    REQUIRE(rig.run({"diff", source, target, "-o", rig.file("changes")}).exit_code == 1);
    tool_rig::damage(rig.file("changes"), std::filesystem::file_size(rig.file("changes")) - 1);
    check_refused(rig.run({"sync", source, target, "--within", rig.file("changes"), "--json"}), "corrupt_file",
                  "changes");
    CHECK((read_whole_file(target) == before));
}

TEST_CASE("a corrupt record is never believed, and is said to be corrupt", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.random_disk("target", 2, mib);
    REQUIRE(rig.run({"sync", source, target}).exit_code == 0);
    std::size_t records = 0;
    for (const auto& entry : std::filesystem::directory_iterator(rig.records())) {
        if (!entry.is_regular_file()) continue;
        tool_rig::damage(entry.path().string(), entry.file_size() / 2);
        ++records;
    }
    REQUIRE(records > 0);
    const command_result result = rig.run({"sync", source, target});
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    CHECK(has(result.errors, "warning: "));
    CHECK(has(result.errors, "does not check out"));
    CHECK(has(result.errors, rig.records()));
    const command_result mapped = rig.run({"map", target});
    CHECK(mapped.exit_code == 0);
}

TEST_CASE("a file of extents that makes no sense is refused with its line", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.random_disk("target", 2, mib);
    const auto within = [&](const std::string& text) {
        return rig.run({"sync", source, target, "--within", rig.text_file("extents", text)});
    };
    const auto before = read_whole_file(target);
    for (const auto& [text, says] : {std::pair{"0 4096\nhello world\n", "line 2"}, std::pair{"0\n", "line 1"},
                                     std::pair{"4096 -1\n", "line 1"}, std::pair{"0 2MiB\n", "ends beyond"}}) {
        const command_result result = within(text);
        INFO(result.errors);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, says));
        CHECK(has(result.errors, "\n  hint: "));
    }
    CHECK(rig.run({"sync", source, target, "--within", rig.file("missing")}).exit_code == 3);
    CHECK(rig.run({"sync", source, target, "--within", rig.folder().string()}).exit_code == 3);
    CHECK(rig.run({"sync", source, target, "--source-allocation", rig.text_file("extents", "0 2MiB")}).exit_code == 2);
    CHECK((read_whole_file(target) == before));
}

TEST_CASE("what -o names is never a disk", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.random_disk("target", 2, mib);
    const std::string other = rig.random_disk("other", 3, mib);
    std::filesystem::create_symlink(source, rig.file("link"));
    const auto source_bytes = read_whole_file(source);
    const auto other_bytes = read_whole_file(other);
    for (const std::string& name :
         {source, target, other, rig.file("link"), std::string("/dev/null"), rig.folder().string()}) {
        CAPTURE(name);
        CHECK(rig.run({"diff", source, target, "-o", name}).exit_code == 2);
        CHECK(rig.run({"checksum", source, "-o", name}).exit_code == 2);
    }
    CHECK((read_whole_file(source) == source_bytes));
    CHECK((read_whole_file(other) == other_bytes));
    CHECK(std::filesystem::is_character_file("/dev/null"));
    CHECK(rig.run({"checksum", source, "-o", rig.file("nowhere/map")}).exit_code == 2);
    CHECK(rig.run({"checksum", source, "-o", rig.file("map")}).exit_code == 0);
    CHECK(rig.run({"checksum", target, "-o", rig.file("map")}).exit_code == 0);
    // A map is a file like any other, and may be the disk itself.
    CHECK(rig.run({"checksum", rig.file("map"), "-o", rig.file("map")}).exit_code == 2);
}

TEST_CASE("bytes in a name that could steer a terminal are shown escaped", "[tool]") {
    const tool_rig rig;
    const std::string name = rig.file("x\x1b[2J\n\xffy");
    const command_result missing = rig.run({"sync", name, rig.file("target"), "--json"});
    CHECK(missing.exit_code == 3);
    CHECK(has(missing.errors, "\\x1b[2J\\x0a\\xff"));
    CHECK_FALSE(has(missing.errors, "\x1b"));
    CHECK_NOTHROW(parse_json(missing.output));
    write_whole_file(name, random_bytes(1, 5000));
    const command_result synced = rig.run({"sync", name, rig.file("target")});
    CHECK(synced.exit_code == 0);
    CHECK_FALSE(has(synced.output, "\x1b"));
    const command_result mapped = rig.run({"map", name});
    CHECK_FALSE(has(mapped.output, "\x1b"));
    CHECK_NOTHROW(parse_json(rig.run({"map", name, "--json"}).output));
    CHECK_NOTHROW(parse_json(rig.run({"sync", name, rig.file("target"), "--json"}).output));
}

TEST_CASE("a result that cannot be delivered is no success", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    using output = process_options::output;
    for (const output how : {output::closed, output::broken_pipe, output::full}) {
        const std::string target = rig.random_disk("target", 2, mib);
        process_options options;
        options.standard_output = how;
        for (const std::string verb : {"diff", "sync"}) {
            const command_result result = process(rig.command({verb, source, target, "--json"}), options).wait();
            INFO(result.errors);
            CHECK(result.exit_code == 4);
            CHECK(has(result.errors, "standard output"));
        }
        // The sync itself went well, and no report was written into a disk.
        CHECK(same_bytes(source, target));
        CHECK((read_whole_file(source) == random_bytes(1, mib)));
    }
}

TEST_CASE("too few descriptors end in a clean error", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string line = "ulimit -n 6; exec '" + std::string(tool_path) + "' sync '" + source + "' '" +
                             rig.file("target") + "' --state '" + rig.records() + "'";
    const command_result result = run_command({"sh", "-c", line});
    INFO(result.errors);
    CHECK(result.exit_code >= 1);
    CHECK(result.exit_code < 126);
    CHECK(has(result.errors, "reprotect: "));
}

}  // namespace
