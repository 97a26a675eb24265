// Bash completion, asked as bash asks it: COMP_WORDS is set and COMPREPLY read.
#include <catch2/catch.hpp>

#include <sstream>

#include "support/tool_rig.hpp"

namespace {

using namespace reprotect::test;

// What the last of `words` could become.
std::vector<std::string> complete(const std::vector<std::string>& words, const std::string& folder = "/") {
    const std::string script = R"(
        cd "$1" || exit 1; shift
        source ")" + std::string(source_folder) +
                               R"(/tools/completion/reprotect.bash" || exit 1
        complete -p reprotect > /dev/null || exit 1
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _reprotect
        printf '%s\n' "${COMPREPLY[@]}")";
    std::vector<std::string> command{"bash", "--norc", "-c", script, "bash", folder};
    command.insert(command.end(), words.begin(), words.end());
    const command_result result = run_command(command);
    REQUIRE(result.exit_code == 0);
    std::vector<std::string> found;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) {
        if (!line.empty()) found.push_back(line);
    }
    std::sort(found.begin(), found.end());
    return found;
}

using words = std::vector<std::string>;

TEST_CASE("completion offers the verbs and the words that options take", "[tool]") {
    CHECK(complete({"reprotect", ""}) ==
          words{"bench", "checksum", "diff", "estimate", "help", "key", "map", "serve", "sync"});
    CHECK(complete({"reprotect", "s"}) == words{"serve", "sync"});
    CHECK(complete({"reprotect", "key", ""}) == words{"new", "show"});
    CHECK(complete({"reprotect", "key", "n"}) == words{"new"});
    CHECK(complete({"reprotect", "--v"}) == words{"--version"});
    CHECK(complete({"reprotect", "sync", "--verify", ""}) == words{"reread", "root"});
    CHECK(complete({"reprotect", "sync", "--verify", "=", "re"}) == words{"reread"});
    CHECK(complete({"reprotect", "sync", "--verify", "="}) == words{"reread", "root"});
    CHECK(complete({"reprotect", "diff", "--progress", "j"}) == words{"json"});
    CHECK(complete({"reprotect", "checksum", "--digest", ""}) == words{"sha256", "xxh3"});
    CHECK(complete({"reprotect", "sync", "--re"}) == words{"--remote-tool", "--retry", "--reverse"});
    CHECK(complete({"reprotect", "diff", "--re"}) == words{"--remote-tool"});
    CHECK(complete({"reprotect", "map", "--re"}).empty());
}

TEST_CASE("completion offers files where a disk or a file is wanted", "[tool]") {
    const temp_dir folder;
    write_whole_file(folder.file("disk.img"), {});
    write_whole_file(folder.file("other"), {});
    std::filesystem::create_directory(folder.file("directory"));
    CHECK(complete({"reprotect", "sync", "di"}, folder.path().string()) == words{"directory", "disk.img"});
    CHECK(complete({"reprotect", "sync", "disk.img", "o"}, folder.path().string()) == words{"other"});
    CHECK(complete({"reprotect", "checksum", "-o", "o"}, folder.path().string()) == words{"other"});
    CHECK(complete({"reprotect", "sync", "--state", "di"}, folder.path().string()) == words{"directory"});
    CHECK(complete({"reprotect", "sync", "--state", "=", "di"}, folder.path().string()) == words{"directory"});
    for (const std::string option : {"--key", "--cert", "--cert-key", "--ca"})
        CHECK(complete({"reprotect", "serve", option, "o"}, folder.path().string()) == words{"other"});
    CHECK(complete({"reprotect", "key", "new", "o"}, folder.path().string()) == words{"other"});
    CHECK(complete({"reprotect", "serve", "o"}, folder.path().string()).empty());
}

TEST_CASE("completion offers exactly the options that each verb's help lists", "[tool]") {
    for (const std::string verb : {"sync", "diff", "estimate", "checksum", "map", "bench", "serve", "key"}) {
        std::istringstream help(run_command({tool_path, verb, "--help"}).output);
        words listed;
        for (std::string line; std::getline(help, line);) {
            const std::size_t dashes = line.find("--");
            if (!line.starts_with("  -") || dashes == std::string::npos || dashes > 6) continue;
            listed.push_back(line.substr(dashes, line.find(' ', dashes) - dashes));
        }
        std::sort(listed.begin(), listed.end());
        CAPTURE(verb);
        CHECK(listed.size() >= 3);
        CHECK(complete({"reprotect", verb, "--"}) == listed);
    }
}

}  // namespace
