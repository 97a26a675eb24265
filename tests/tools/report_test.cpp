// What the verbs print: the documents that scripts rely on, and the summaries that people read.
#include <catch2/catch.hpp>

#include "support/loop_device.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

constexpr std::size_t mib = 1 << 20;

// A source and an aged copy of it: two blocks and a bit differ.
struct aged_pair {
    std::string source;
    std::string target;
    explicit aged_pair(const tool_rig& rig) : source(rig.random_disk("source", 1, 4 * mib + 100)) {
        auto bytes = read_whole_file(source);
        bytes[10] ^= std::byte{1};
        bytes[2 * mib + 5000] ^= std::byte{1};
        bytes[4 * mib + 99] ^= std::byte{1};
        target = rig.file("target");
        write_whole_file(target, bytes);
    }
};

void check_contract(const boost::json::object& document) {
    for (const char* key : {"disk", "allocated_source", "allocated_target", "read_source", "read_target",
                            "reread_source", "compared", "same", "changed", "zeroed", "deallocated", "written"})
        CHECK(at_path(document, std::string("bytes.") + key).is_number());
    for (const char* way : {"to_target", "to_source"}) {
        for (const char* key : {"payload", "digests", "overhead", "total"})
            CHECK(at_path(document, std::string("wire.") + way + "." + key).is_number());
    }
    for (const char* key : {"total", "scan", "transfer", "flush", "verify"})
        CHECK(at_path(document, std::string("seconds.") + key).is_number());
    CHECK(at_path(document, "mode").is_string());
    CHECK(at_path(document, "reason").is_string());
    CHECK(document.contains("root"));
    CHECK(at_path(document, "verified").is_string());
}

TEST_CASE("sync --json reports what the contract lists", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    const command_result result = rig.run({"sync", pair.source, pair.target, "--json"});
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    const auto document = parse_json(result.output);
    check_contract(document);
    CHECK(text_at(document, "mode") == "differential");
    CHECK(text_at(document, "verified") == "root");
    CHECK(at_path(document, "root").is_null());
    CHECK(count_at(document, "bytes.disk") == 4 * mib + 100);
    CHECK(count_at(document, "bytes.changed") == 2 * 4096 + 100);
    CHECK(count_at(document, "bytes.written") == 2 * 4096 + 100);
    CHECK(count_at(document, "bytes.read_source") == 4 * mib + 100);
    CHECK_FALSE(document.contains("error"));
    CHECK(same_bytes(pair.source, pair.target));
}

TEST_CASE("sync under sha256 gives the root that checksum gives, and reread says so", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    const auto document =
        parse_json(rig.run({"sync", pair.source, pair.target, "--json", "--digest=sha256", "--verify=reread"}).output);
    CHECK(text_at(document, "verified") == "reread");
    const std::string root = text_at(document, "root");
    CHECK(root.size() == 32);
    CHECK(text_at(parse_json(rig.run({"checksum", pair.target, "--json"}).output), "root") == root);
    CHECK(has(rig.run({"checksum", pair.source}).output, root));
}

TEST_CASE("a missing target is made and filled, with the reason", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 2 * mib + 3);
    const auto planned = parse_json(rig.run({"sync", source, rig.file("target"), "--dry-run", "--json"}).output);
    CHECK(text_at(planned, "mode") == "full");
    CHECK_FALSE(std::filesystem::exists(rig.file("target")));
    const auto document = parse_json(rig.run({"sync", source, rig.file("target"), "--json"}).output);
    CHECK(text_at(document, "mode") == "full");
    CHECK(text_at(document, "reason") == "target missing");
    CHECK(same_bytes(source, rig.file("target")));
}

TEST_CASE("a dry run counts what it would write and writes nothing", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    const auto before = read_whole_file(pair.target);
    const auto document = parse_json(rig.run({"sync", pair.source, pair.target, "--dry-run", "--json"}).output);
    CHECK(count_at(document, "bytes.changed") == 2 * 4096 + 100);
    CHECK((read_whole_file(pair.target) == before));
    const command_result text = rig.run({"sync", pair.source, pair.target, "--dry-run"});
    CHECK(text.exit_code == 0);
    CHECK(has(text.output, "nothing was written"));
    CHECK_FALSE(std::filesystem::exists(rig.records()));
}

TEST_CASE("a sync of equal disks says plainly that nothing differed", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.copy(source, "target");
    const command_result result = rig.run({"sync", source, target});
    CHECK(result.exit_code == 0);
    CHECK(has(result.output, "nothing differed"));
    CHECK(result.errors.empty());
    CHECK(has(rig.run({"diff", source, target}).output, "nothing differs"));
    const command_result quiet = rig.run({"sync", source, target, "--quiet"});
    CHECK(quiet.output.empty());
    CHECK(quiet.errors.empty());
}

TEST_CASE("a target that was cut or grown was changed, and both sizes are told", "[tool]") {
    const tool_rig rig;
    std::vector<std::byte> content = random_bytes(1, 4 * mib);
    content.resize(8 * mib);
    write_whole_file(rig.file("source"), content);
    content.resize(12 * mib);
    write_whole_file(rig.file("larger"), content);
    content.resize(4 * mib);
    write_whole_file(rig.file("smaller"), content);
    for (const auto& [name, option, sizes] :
         {std::tuple{"larger", "--truncate", "12.0 MiB -> 8.00 MiB"}, {"smaller", "--yes", "4.00 MiB -> 8.00 MiB"}}) {
        const command_result planned = rig.run({"sync", rig.file("source"), rig.file(name), option, "--dry-run"});
        INFO(planned.output << planned.errors);
        CHECK(has(planned.output, "the target would change"));
        CHECK(has(planned.output, sizes));
        const command_result result = rig.run({"sync", rig.file("source"), rig.file(name), option});
        INFO(result.output << result.errors);
        CHECK(has(result.output, "done, the target was changed"));
        CHECK(has(result.output, sizes));
        const command_result again = rig.run({"sync", rig.file("source"), rig.file(name), option});
        CHECK(has(again.output, "nothing differed"));
        CHECK_FALSE(has(again.output, "->  8.00 MiB"));
        CHECK_FALSE(has(again.output, "\nsize"));
    }
}

TEST_CASE("another size is a difference, also where all that is missing is zeroes", "[tool]") {
    const tool_rig rig;
    std::vector<std::byte> content = random_bytes(1, mib);
    write_whole_file(rig.file("short"), content);
    content.resize(2 * mib);
    write_whole_file(rig.file("long"), content);
    for (const std::string option : {"--json", "--allow-larger", "--extents"})
        CHECK(rig.run({"diff", rig.file("long"), rig.file("short"), option}).exit_code == 1);
    const command_result smaller = rig.run({"diff", rig.file("long"), rig.file("short")});
    CHECK(smaller.exit_code == 1);
    CHECK(has(smaller.output, "the sizes differ"));
    CHECK(has(smaller.output, "1.00 MiB (1048576 bytes) smaller than the source"));
    const command_result larger = rig.run({"diff", rig.file("short"), rig.file("long")});
    CHECK(larger.exit_code == 1);
    CHECK(has(larger.output, "larger than the source; --allow-larger overlooks it"));
    CHECK(rig.run({"diff", rig.file("short"), rig.file("long"), "--allow-larger"}).exit_code == 0);
    const std::string part = rig.text_file("part", "0 64KiB\n");
    CHECK(rig.run({"diff", rig.file("long"), rig.file("short"), "--within", part}).exit_code == 0);
}

TEST_CASE("the summary's values stand one below the other", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    const std::string text = rig.run({"sync", pair.source, pair.target}).output;
    std::size_t column = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        CAPTURE(line);
        const std::size_t gap = line.find("  ");
        REQUIRE(gap != std::string::npos);
        const std::size_t value = line.find_first_not_of(' ', gap);
        if (column == 0) column = value;
        CHECK(value == column);
        CHECK(line.size() <= 160);
    }
    for (const char* row : {"mode", "read", "compared", "changed", "written", "verified", "time"})
        CHECK(has(text, row));
}

TEST_CASE("diff ends with 1 and lists its extents", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    const command_result json = rig.run({"diff", pair.source, pair.target, "--json"});
    CHECK(json.exit_code == 1);
    const auto document = parse_json(json.output);
    check_contract(document);
    const auto extents = at_path(document, "extents").as_array();
    REQUIRE(extents.size() == 3);
    CHECK(count_at(extents[1].as_object(), "offset") == 2 * mib + 4096);
    CHECK(count_at(extents[1].as_object(), "length") == 4096);
    CHECK(text_at(extents[1].as_object(), "kind") == "data");
    CHECK(count_at(extents[2].as_object(), "length") == 100);

    const command_result lines = rig.run({"diff", pair.source, pair.target, "--extents"});
    CHECK(lines.exit_code == 1);
    CHECK(has(lines.output, "0 4096 data"));
    CHECK(std::count(lines.output.begin(), lines.output.end(), '\n') == 3);
    CHECK(rig.run({"diff", pair.source, pair.source}).exit_code == 0);
}

TEST_CASE("what diff found can be handed to sync, saved or as lines", "[tool]") {
    const tool_rig rig;
    for (const bool saved : {true, false}) {
        const aged_pair pair(rig);
        const std::string changes = rig.file("changes");
        std::filesystem::remove(changes);
        if (saved) {
            CHECK(rig.run({"diff", pair.source, pair.target, "-o", changes, "--quiet"}).exit_code == 1);
        } else {
            rig.text_file("changes", "# from diff\n" + rig.run({"diff", pair.source, pair.target, "--extents"}).output);
        }
        const auto document =
            parse_json(rig.run({"sync", pair.source, pair.target, "--within", changes, "--json"}).output);
        CHECK(count_at(document, "bytes.read_source") <= 16 * 4096);
        CHECK(same_bytes(pair.source, pair.target));
        std::filesystem::remove(pair.target);
        rig.random_disk("other", 9, 5000);
        if (saved) CHECK(rig.run({"sync", rig.file("other"), rig.file("new"), "--within", changes}).exit_code == 3);
    }
}

TEST_CASE("only what --within names is written", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    const std::string target = rig.random_disk("target", 2, mib);
    const auto old = read_whole_file(target);
    CHECK(rig.run({"sync", source, target, "--within", rig.text_file("part", "64KiB 8192\n")}).exit_code == 0);
    const auto now = read_whole_file(target);
    const auto wanted = read_whole_file(source);
    for (std::size_t i = 0; i < mib; i += 4096) {
        const bool inside = i >= 65536 && i < 65536 + 8192;
        const auto& expected = inside ? wanted : old;
        CHECK(std::equal(now.begin() + static_cast<std::ptrdiff_t>(i),
                         now.begin() + static_cast<std::ptrdiff_t>(i + 4096),
                         expected.begin() + static_cast<std::ptrdiff_t>(i)));
    }
}

TEST_CASE("an allocation that is handed in saves reading", "[tool]") {
    const tool_rig rig;
    auto bytes = random_bytes(1, 4 * mib);
    std::fill(bytes.begin() + mib, bytes.end(), std::byte{0});
    write_whole_file(rig.file("source"), bytes);
    write_whole_file(rig.file("target"), random_bytes(2, mib));
    const std::string data = rig.text_file("data", "0 1MiB\n");
    const auto document = parse_json(
        rig.run({"sync", rig.file("source"), rig.file("target"), "--source-allocation", data, "--json"}).output);
    CHECK(count_at(document, "bytes.read_source") == mib);
    CHECK(same_bytes(rig.file("source"), rig.file("target")));
}

TEST_CASE("a disk is checked against its map", "[tool]") {
    const tool_rig rig;
    const aged_pair pair(rig);
    for (const bool blocks : {false, true}) {
        std::vector<std::string> words{"checksum", pair.source, "-o", rig.file("map")};
        if (blocks) words.emplace_back("--blocks");
        REQUIRE(rig.run(words).exit_code == 0);
        CHECK(rig.run({"checksum", pair.source, "--against", rig.file("map")}).exit_code == 0);
        const command_result differs = rig.run({"checksum", pair.target, "--against", rig.file("map"), "--json"});
        CHECK(differs.exit_code == 1);
        const auto document = parse_json(differs.output);
        CHECK(at_path(document, "different").as_bool());
        const auto extents = at_path(document, "extents").as_array();
        REQUIRE(extents.size() == 3);
        CHECK(count_at(extents[1].as_object(), "offset") == (blocks ? 2 * mib + 4096 : 2 * mib));
        const std::string text = rig.run({"checksum", pair.target, "--against", rig.file("map")}).output;
        CHECK(has(text, blocks ? "2101248 4096 data" : "2097152 1048576 data"));
        CHECK(has(text, "source, 2"));  // what the map is of, and when it was made
    }
}

TEST_CASE("a disk of another size than its map's differs, also where what both hold is equal", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, 2 * mib);
    REQUIRE(rig.run({"checksum", disk, "-o", rig.file("map")}).exit_code == 0);
    std::filesystem::resize_file(disk, 3 * mib);
    const command_result result = rig.run({"checksum", disk, "--against", rig.file("map")});
    CHECK(result.exit_code == 1);
    CHECK(has(result.output, "sizes differ"));
}

TEST_CASE("checksum takes the map's cut, and refuses another that is asked for", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, mib);
    REQUIRE(rig.run({"checksum", disk, "-o", rig.file("map"), "--chunk-size", "64KiB"}).exit_code == 0);
    CHECK(rig.run({"checksum", disk, "--against", rig.file("map")}).exit_code == 0);
    const command_result refused = rig.run({"checksum", disk, "--against", rig.file("map"), "--chunk-size", "1MiB"});
    CHECK(refused.exit_code == 2);
    CHECK(has(refused.errors, "--chunk-size"));
}

TEST_CASE("a root under xxh3 is not shown, since it means nothing outside the run", "[tool]") {
    const tool_rig rig;
    const std::string disk = rig.random_disk("disk", 1, mib);
    CHECK(at_path(parse_json(rig.run({"checksum", disk, "--digest", "xxh3", "--json"}).output), "root").is_null());
    CHECK(has(rig.run({"checksum", disk, "--digest", "xxh3"}).output, "means nothing outside this run"));
}

TEST_CASE("map shows size, allocation, record and who holds a disk", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, mib);
    make_sparse_file(source, 8 * mib);
    const auto fresh = parse_json(rig.run({"map", source, "--json"}).output);
    CHECK(count_at(fresh, "size") == 8 * mib);
    CHECK(text_at(fresh, "kind") == "file");
    CHECK(count_at(fresh, "allocation.data") == mib);
    CHECK(count_at(fresh, "allocation.holes") == 7 * mib);
    CHECK(count_at(fresh, "allocation.extents") == 1);
    CHECK(at_path(fresh, "record").is_null());
    CHECK(at_path(fresh, "container").is_null());
    CHECK(rig.run({"map", source, "--extents"}).output == "0 1048576 data\n");

    REQUIRE(rig.run({"sync", source, rig.file("target")}).exit_code == 0);
    const auto target = parse_json(rig.run({"map", rig.file("target"), "--json", "--extents"}).output);
    CHECK(text_at(target, "record.status") == "clean");
    CHECK(text_at(target, "record.source") == source);
    CHECK(at_path(target, "extents").as_array().size() == 1);
    const auto after = parse_json(rig.run({"map", source, "--json"}).output);
    CHECK(at_path(after, "source_of").as_array().size() == 1);
    CHECK(has(rig.run({"map", rig.file("target")}).output, "clean"));
}

TEST_CASE("map and the question name what is on a disk", "[tool]") {
    const tool_rig rig;
    const auto holds = [&](const std::string& name) {
        return text_at(parse_json(rig.run({"map", rig.file(name), "--json"}).output), "content");
    };
    make_sparse_file(rig.file("ext4"), 16 * mib);
    run_checked({"mkfs.ext4", "-q", "-L", "data", rig.file("ext4")});
    CHECK(holds("ext4") == "ext4 file system 'data'");
    make_sparse_file(rig.file("swap"), 16 * mib);
    run_checked({"mkswap", "-q", rig.file("swap")});
    CHECK(holds("swap") == "swap space");
    make_sparse_file(rig.file("blank"), 16 * mib);
    CHECK(holds("blank") == "nothing (reads as zeroes)");
    rig.random_disk("random", 1, 5000);
    CHECK(holds("random") == "data of no known kind");
    const auto sign = [&](const std::string& name, std::size_t offset, const std::string& magic) {
        std::vector<std::byte> bytes(mib, std::byte{0});
        for (std::size_t i = 0; i < magic.size(); ++i) bytes[offset + i] = static_cast<std::byte>(magic[i]);
        write_whole_file(rig.file(name), bytes);
        return holds(name);
    };
    CHECK(sign("xfs", 0, "XFSB") == "xfs file system");
    CHECK(sign("btrfs", 0x10040, "_BHRfS_M") == "btrfs file system");
    CHECK(sign("ntfs", 3, "NTFS    ") == "ntfs file system");
    CHECK(sign("gpt", 512, "EFI PART") == "GPT partition table");
    CHECK(sign("luks", 0, "LUKS\xba\xbe") == "LUKS encrypted volume");
    CHECK(sign("lvm", 0x218, "LVM2 001") == "LVM physical volume");
    std::string table(66, '\0');
    table[4] = '\x83';
    table[64] = '\x55';
    table[65] = '\xaa';
    CHECK(sign("mbr", 446, table) == "MBR partition table");
}

TEST_CASE("what map could not read is told without steering the terminal", "[tool]") {
    if (no_failing_disks()) return;
    const tool_rig rig;
    const failing_disk disk(random_bytes(1, mib));
    disk.fail("pread", "EIO", {64 * 1024, mib / 2});
    const std::string name = rig.file("x\x1b[2J");
    std::filesystem::create_symlink(disk.path(), name);
    const command_result mapped = rig.run({"map", name});
    INFO(mapped.output << mapped.errors);
    CHECK(has(mapped.output, "unknown ("));
    CHECK(has(mapped.output, "\\x1b[2J"));
    CHECK_FALSE(has(mapped.output, "\x1b"));
}

TEST_CASE("block devices are synced like files", "[tool]") {
    if (!loop_devices_available()) {
        WARN("no loop devices here");
        return;
    }
    const tool_rig rig;
    const aged_pair images(rig);
    std::filesystem::resize_file(images.source, 4 * mib);
    std::filesystem::resize_file(images.target, 4 * mib);
    const loop_device source(images.source);
    const loop_device target(images.target);
    CHECK(rig.run({"diff", source.path(), target.path()}).exit_code == 1);
    const command_result result = rig.run({"sync", source.path(), target.path(), "--direct"});
    INFO(result.errors);
    CHECK(result.exit_code == 0);
    CHECK(rig.run({"diff", source.path(), target.path()}).exit_code == 0);
    const auto mapped = parse_json(rig.run({"map", target.path(), "--json"}).output);
    CHECK(text_at(mapped, "kind") == "block device");
    CHECK(text_at(mapped, "record.status") == "clean");
}

TEST_CASE("a disk on record as the source of its pair is a target only with --reverse", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, mib);
    const std::string b = rig.random_disk("b", 2, mib);
    REQUIRE(rig.run({"sync", a, b}).exit_code == 0);
    rig.random_disk("b", 3, mib);
    const command_result refused = rig.run({"sync", b, a, "--json"});
    INFO(refused.errors);
    CHECK(refused.exit_code == 3);
    CHECK(text_at(parse_json(refused.output), "error.kind") == "recorded_source");
    CHECK(has(refused.errors, "--reverse"));
    CHECK(rig.run({"sync", b, a, "--reverse"}).exit_code == 0);
    CHECK(same_bytes(a, b));
}

}  // namespace
