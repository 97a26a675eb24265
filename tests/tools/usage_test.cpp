// The command line itself: what is understood, what is refused before any disk is opened, and how that is said.
#include <catch2/catch.hpp>

#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

struct bad_line {
    std::vector<std::string> words;
    std::string says;
};

TEST_CASE("a command line that makes no sense ends with 2, one clear line and a hint", "[tool]") {
    const std::vector<bad_line> lines{
        {{}, "a verb is missing"},
        {{"--json"}, "a verb is missing"},
        {{"synk", "a", "b"}, "did you mean 'sync'?"},
        {{"estimat", "a"}, "did you mean 'estimate'?"},
        {{"sync"}, "SOURCE and TARGET is missing"},
        {{"sync", "a"}, "TARGET is missing"},
        {{"checksum"}, "DISK is missing"},
        {{"bench", "a", "b"}, "'b' is one disk too many"},
        {{"sync", "a", "b", "c"}, "'c' is one disk too many"},
        {{"diff", "a", "b", "--", "-q"}, "'-q' is one disk too many"},
        {{"diff", "a", "b", "--quite"}, "did you mean --quiet?"},
        {{"sync", "", "b"}, "a disk's name is empty"},
        {{"sync", "a", "b", "--alow-larger"}, "did you mean --allow-larger?"},
        {{"sync", "a", "b", "--dry"}, "did you mean --dry-run?"},
        {{"diff", "a", "b", "--verify=root"}, "diff has no option --verify"},
        {{"map", "a", "--depth", "3"}, "map has no option --depth"},
        {{"sync", "a", "b", "--verify"}, "--verify needs a value"},
        {{"sync", "a", "b", "--reverse=false"}, "--reverse takes no value"},
        {{"sync", "a", "b", "--yes=false"}, "--yes takes no value"},
        {{"sync", "a", "b", "--dry-run=no"}, "--dry-run takes no value"},
        {{"--dry-run=true", "sync", "a", "b"}, "--dry-run takes no value"},
        {{"sync", "a", "b", "--quiet="}, "--quiet takes no value"},
        {{"sync", "a", "b", "-y=false"}, "-y takes no value"},
        {{"sync", "a", "b", "--verify=twice"}, "--verify takes root or reread, not 'twice'"},
        {{"sync", "a", "b", "--progress", "loud"}, "--progress takes auto or bar or json or none, not 'loud'"},
        {{"sync", "a", "b", "--digest", "md5"}, "--digest takes xxh3 or sha256, not 'md5'"},
        {{"sync", "a", "b", "--depth", "0"}, "--depth takes a number from 1 to 256, not '0'"},
        {{"sync", "a", "b", "--depth", "257"}, "--depth"},
        {{"sync", "a", "b", "--depth", "4x"}, "--depth"},
        {{"sync", "a", "b", "--depth=-1"}, "--depth"},
        {{"sync", "a", "b", "--threads", "0"}, "--threads"},
        {{"sync", "a", "b", "--memory", "64M"}, "--memory: "},
        {{"sync", "a", "b", "--memory", "1KiB"}, "--memory 1.00 KiB is too little"},
        {{"sync", "a", "b", "--limit", "fast"}, "--limit: "},
        {{"sync", "a", "b", "--limit", "0MB/s"}, "--limit: "},
        {{"sync", "a", "b", "--key", "k"}, "--key is for a disk of a peer"},
        {{"diff", "a", "b", "--cert", "k"}, "--cert is for a disk of a peer"},
        {{"checksum", "a", "--insecure-plaintext"}, "--insecure-plaintext is for a disk of a peer"},
        {{"sync", "a", "b", "--ssh", "ssh"}, "--ssh is for a disk of a peer"},
        {{"sync", "a", "b", "--remote-tool", "r"}, "--remote-tool is for a disk of a peer"},
        {{"sync", "a", "b", "--retry", "3"}, "--retry is for a disk of a peer"},
        {{"sync", "a", "b", "--max-egress", "1GB"}, "--max-egress is for a disk of a peer"},
        {{"sync", "a", "reprotect://h/x", "--key", "k", "--max-egress", "1G"}, "--max-egress: "},
        {{"sync", "a", "reprotect://h/x", "--key", "k", "--max-egress", "0"}, "--max-egress 0 would send nothing"},
        {{"sync", "a", "reprotect://h/x", "--key", "k", "--retry", "often"}, "--retry takes a number"},
        {{"sync", "a", "b", "--source-generation", ""}, "--source-generation is empty"},
        {{"diff", "a", "b", "--retry", "3"}, "diff has no option --retry"},
        {{"map", "a", "--key", "k"}, "map has no option --key"},
        {{"sync", "reprotect://h/x", "ssh://h/x"}, "are both a peer's"},
        {{"diff", "reprotect://h/x", "reprotect://h/y", "--key", "k"}, "are both a peer's"},
        {{"sync", "a", "reprotect://h/x"}, "needs a key"},
        {{"checksum", "reprotect://h/x"}, "reprotect key new FILE"},
        {{"sync", "a", "reprotect://h", "--key", "k"}, "reprotect://HOST[:PORT]/NAME"},
        {{"sync", "a", "reprotect://h/x", "--key", "k", "--insecure-plaintext"}, "give one of them"},
        {{"sync", "a", "reprotect://h/x", "--cert", "c"}, "--cert, --cert-key and --ca go together"},
        {{"sync", "a", "reprotect://h/x", "--cert", "c", "--cert-key", "d", "--ca", "e", "--key", "k"}, "give one of"},
        {{"sync", "a", "reprotect://h/x", "--key", "k", "--ssh", "ssh"}, "--ssh is for ssh://"},
        {{"sync", "ssh://h/x", "a", "--key", "k"}, "--key is for reprotect://"},
        {{"sync", "ssh://h/x", "a", "--ssh", "  "}, "--ssh holds no command"},
        {{"sync", "ssh://h/x", "a", "--source-allocation", "f"}, "--source-allocation is for a disk of this machine"},
        {{"sync", "a", "ssh://h/x", "--target-allocation", "f"}, "--target-allocation is for a disk of this machine"},
        {{"checksum", "ssh://h/x", "--digest", "xxh3"}, "sha256 alone"},
        {{"map", "ssh://h/x"}, "sync, diff and checksum"},
        {{"bench", "reprotect://h/x"}, "sync, diff and checksum"},
        {{"sync", "a", "b", "--block-size", "5000"}, "--block-size"},
        {{"sync", "a", "b", "--block-size", "256"}, "--block-size"},
        {{"sync", "a", "b", "--block-size", "8GiB"}, "--block-size 8GiB is too large"},
        {{"sync", "a", "b", "--chunk-size", "32MiB"}, "--chunk-size"},
        {{"sync", "a", "b", "--allow-larger", "--truncate"}, "give one of them"},
        {{"sync", "a", "b", "--state", ""}, "--state"},
        {{"checksum", "a", "-o", "m", "--digest", "xxh3"}, "--digest xxh3 and a digest map do not go together"},
        {{"checksum", "a", "--against", "m", "--digest", "xxh3"}, "do not go together"},
    };
    for (const bad_line& line : lines) {
        std::vector<std::string> command{tool_path};
        command.insert(command.end(), line.words.begin(), line.words.end());
        const command_result result = run_command(command);
        INFO("said: " << result.errors);
        CAPTURE(line.words);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, "reprotect: "));
        CHECK(has(result.errors, line.says));
        CHECK(has(result.errors, "\n  hint: "));
        const bool json = std::find(line.words.begin(), line.words.end(), "--json") != line.words.end();
        CHECK(result.output.empty() == !json);
    }
}

TEST_CASE("a hint of a usage error leads to --help", "[tool]") {
    CHECK(has(run_command({tool_path}).errors, "--help"));
    CHECK(has(run_command({tool_path, "sync", "a"}).errors, "reprotect sync --help"));
    CHECK(has(run_command({tool_path, "nonsense"}).errors, "--help"));
}

TEST_CASE("a usage error with --json is a document too", "[tool]") {
    const command_result result = run_command({tool_path, "sync", "a", "--json"});
    CHECK(result.exit_code == 2);
    const auto document = parse_json(result.output);
    CHECK(count_at(document, "error.code") == 2);
    CHECK(text_at(document, "error.kind") == "usage");
}

TEST_CASE("help is given for the tool and for each verb, with examples, and lists no verb that is not there",
          "[tool]") {
    for (const std::string flag : {"--help", "-h", "help"}) {
        const command_result help = run_command({tool_path, flag});
        CHECK(help.exit_code == 0);
        CHECK(help.errors.empty());
        for (const std::string verb : {"sync", "diff", "estimate", "checksum", "map", "bench", "serve", "key"})
            CHECK(has(help.output, "\n  " + verb + " "));
        CHECK(has(help.output, "reprotect://HOST[:PORT]/NAME"));
        CHECK(has(help.output, "ssh://[USER@]HOST[:PORT]/PATH"));
        CHECK(has(help.output, "Exit codes"));
    }
    for (const std::string verb : {"sync", "diff", "estimate", "checksum", "map", "bench", "serve", "key"}) {
        for (const std::string flag : {"--help", "-h"}) {
            const command_result help = run_command({tool_path, verb, flag});
            CHECK(help.exit_code == 0);
            CHECK(has(help.output, "Usage: reprotect " + verb));
            CHECK(has(help.output, "Examples:\n  reprotect " + verb));
        }
    }
    CHECK(has(run_command({tool_path, "--version"}).output, "reprotect "));
    CHECK(has(run_command({tool_path, "diff", "--help"}).output, "-o, --output FILE           save the differential"));
    CHECK(has(run_command({tool_path, "checksum", "--help"}).output, "FILE           save the digest map"));
}

// A run in a folder, so that the disks' names are the bare words.
command_result run_in(const tool_rig& rig, const std::vector<std::string>& words) {
    std::vector<std::string> line{"sh",      "-c",         "cd \"$0\" && exec \"$@\"", rig.folder().string(), tool_path,
                                  "--state", rig.records()};
    line.insert(line.end(), words.begin(), words.end());
    return run_command(line);
}

TEST_CASE("a disk is what its name says, whatever signs stand in it", "[tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 10000);
    const std::string bystander = rig.random_disk("a", 2, 10000);
    const auto before = read_whole_file(bystander);
    for (const std::string name : {"[a]", "[a,b]", "[a, a]", "++", "-", "{}", "%%", "a=b", "'a'", "\"a\""}) {
        CAPTURE(name);
        const std::string target = rig.random_disk("./" + name, 3, 10000);
        const command_result differs = run_in(rig, {"diff", "source", name});
        INFO(differs.errors);
        CHECK(differs.exit_code == 1);
        const command_result result = run_in(rig, {"sync", "source", name});
        INFO(result.errors);
        CHECK(result.exit_code == 0);
        CHECK(same_bytes(source, target));
        CHECK((read_whole_file(bystander) == before));
        CHECK_FALSE(std::filesystem::exists(rig.file("b")));
        CHECK(run_in(rig, {"diff", "--quiet", "--", name, "source"}).exit_code == 0);
    }
    CHECK(run_in(rig, {"checksum", "source", "-o", "[a]x"}).exit_code == 0);
    CHECK(std::filesystem::exists(rig.file("[a]x")));
}

TEST_CASE("arguments come in any order, and the last of an option wins", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, 10000);
    const std::string b = rig.copy(a, "b");
    CHECK(rig.run({"diff", a, b}).exit_code == 0);
    CHECK(rig.run({"diff", "--json", a, "--depth", "2", b}).exit_code == 0);
    const command_result before = rig.run({"--depth", "2", "--quiet", "diff", a, b});
    CHECK(before.exit_code == 0);
    CHECK(before.output.empty());
    CHECK(rig.run({"diff", a, b, "--depth", "999", "--depth=4"}).exit_code == 0);
    CHECK(run_command({tool_path, "diff", "--quiet", "--", a, b}).exit_code == 0);
}

TEST_CASE("a disk whose name starts with a dash can be named after two dashes", "[tool]") {
    const tool_rig rig;
    rig.random_disk("-odd", 1, 5000);
    const std::string line =
        "cd '" + rig.folder().string() + "' && '" + std::string(tool_path) + "' map --json -- -odd";
    const command_result result = run_command({"sh", "-c", line});
    CHECK(result.exit_code == 0);
    CHECK(has(result.output, "-odd"));
}

TEST_CASE("options that every verb shares are taken by every verb", "[tool]") {
    const tool_rig rig;
    const std::string a = rig.random_disk("a", 1, 10000);
    const std::string b = rig.copy(a, "b");
    for (const std::string verb : {"sync", "diff", "checksum", "map", "bench"}) {
        std::vector<std::string> words{verb, a, "--json", "--progress", "none", "--dry-run", "--yes"};
        if (verb == "sync" || verb == "diff") words.insert(words.begin() + 2, b);
        if (verb != "map" && verb != "bench") {
            for (const std::string more : {"--threads=2", "--depth=2", "--memory=256MiB", "--block-size=4KiB",
                                           "--chunk-size=1MiB", "--digest=sha256", "--limit=60MiB/s"})
                words.push_back(more);
        }
        const command_result result = rig.run(words);
        INFO(verb << " said: " << result.errors);
        CHECK(result.exit_code == 0);
        CHECK_NOTHROW(parse_json(result.output));
    }
}

}  // namespace
