// The paper estimate as a user runs it: the vendor's row, disks by option and by list, prices, and what makes no sense.
#include <catch2/catch.hpp>

#include "support/bytes.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/temp_dir.hpp"
#include "support/tool_rig.hpp"

#include <algorithm>
#include <filesystem>
#include <thread>

namespace {

using namespace reprotect::test;

boost::json::object estimate_json(std::vector<std::string> words) {
    words.insert(words.begin(), {tool_path, "estimate", "--json"});
    const command_result result = run_command(words);
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    return parse_json(result.output);
}

double number_at(const boost::json::object& document, const std::string& path) {
    return at_path(document, path).to_number<double>();
}

TEST_CASE("the vendor's row is estimated phase by phase, with what was assumed and what it costs", "[tool]") {
    const std::vector<std::string> row{"--model", "asr-2018",  "--size", "1TB",    "--used",
                                       "127GB",   "--changed", "45GB",   "--rate", "45MB/s"};
    const auto document = estimate_json(row);
    CHECK(text_at(document, "model") == "asr-2018");
    const auto& phases = document.at("phases").as_array();
    REQUIRE(phases.size() == 3);
    CHECK(phases[0].at("name") == "checksum");
    CHECK(phases[0].at("likely_s").to_number<double>() == Approx(127e9 / 45e6));
    CHECK(phases[1].at("likely_s").to_number<double>() == Approx(1000));
    CHECK(phases[2].at("low_s").to_number<double>() == Approx(1200));
    CHECK(number_at(document, "total.low_s") == Approx(127e9 / 45e6 + 1000 + 1200));
    CHECK(number_at(document, "egress.to_target.likely_bytes") == Approx(45e9));
    CHECK(document.at("cost").is_null());
    CHECK_FALSE(at_path(document, "full_copy.needed").as_bool());

    std::vector<std::string> line{tool_path, "estimate"};
    line.insert(line.end(), row.begin(), row.end());
    line.insert(line.end(), {"--egress-from", "azure:westeurope", "--egress-to", "azure:northeurope"});
    const command_result text = run_command(line);
    CHECK(text.exit_code == 0);
    CHECK(has(text.output, "checksum     47 min 02 s"));
    CHECK(has(text.output, "cost"));
    CHECK(has(text.output, "USD"));
    CHECK(has(text.output, "if meant as"));
}

TEST_CASE("every default of an estimate is printed with where it comes from", "[tool]") {
    const command_result result = run_command({tool_path, "estimate", "--used", "127GB", "--changed", "30GB..60GB"});
    CHECK(result.exit_code == 0);
    for (const char* const part :
         {"model         pipeline", "assumed", "link rate", "guess", "to target", "full copy     no"})
        CHECK(has(result.output, part));
}

TEST_CASE("several disks of one machine are estimated together", "[tool]") {
    const auto one = estimate_json({"--used", "10GB", "--changed", "1GB", "--link", "100Mbit/s", "--source-read",
                                    "1GB/s", "--target-read", "1GB/s", "--target-write", "1GB/s"});
    const auto both =
        estimate_json({"--disk", "root,used=10GB,changed=1GB", "--disk", "data,used=10GB,changed=1GB", "--link",
                       "100Mbit/s", "--source-read", "1GB/s", "--target-read", "1GB/s", "--target-write", "1GB/s"});
    CHECK(number_at(both, "egress.to_target.likely_bytes") ==
          Approx(2 * number_at(one, "egress.to_target.likely_bytes")).epsilon(0.01));
    CHECK(number_at(both, "total.likely_s") > 1.5 * number_at(one, "total.likely_s"));
    const auto lost = estimate_json({"--used", "10GB", "--target", "deleted"});
    CHECK(at_path(lost, "full_copy.needed").as_bool());
    CHECK(has(text_at(lost, "full_copy.reason"), "deleted"));
}

TEST_CASE("a price book of one's own replaces the shipped one, which is a beginning for it", "[tool]") {
    const tool_rig rig;
    const command_result shipped = run_command({tool_path, "estimate", "--list-prices", "--json"});
    REQUIRE(shipped.exit_code == 0);
    CHECK(text_at(parse_json(shipped.output), "format") == "reprotect-prices-1");
    const std::string file = rig.text_file("prices.json", shipped.output);
    const command_result listed = run_command({tool_path, "estimate", "--list-prices", "--prices", file});
    CHECK(listed.exit_code == 0);
    CHECK(has(listed.output, "azure out"));
    // What a price leaves open, and which regions it is for, stands beside it.
    const boost::json::object book = parse_json(shipped.output);
    for (const auto& price : book.at("prices").as_array())
        if (const auto* const note = price.as_object().if_contains("note"))
            CHECK(has(listed.output, std::string("; ") + note->as_string().c_str()));
    CHECK(has(listed.output, "\nzone azure europe: "));
    CHECK(has(listed.output, "westeurope"));
    const std::string nameless = rig.text_file(
        "nameless.json", R"({"format": "reprotect-prices-1", "kind": "contract", "prices": [{"provider": "a",
        "direction": "out", "from": "x", "to": "y", "unit": "GB", "tiers": [{"price": "1"}], "currency": "EUR",
        "date": "2026-11", "source": "made up"}]})");
    CHECK(run_checked({tool_path, "estimate", "--list-prices", "--prices", nameless}) ==
          "price book: contract prices\na out x -> y: 1.00 EUR/GB  (2026-11; made up)");
    const command_result broken =
        run_command({tool_path, "estimate", "--list-prices", "--prices",
                     rig.text_file("bad.json", "{\n\"format\": \"reprotect-prices-1\",\n7}")});
    CHECK(broken.exit_code == 2);
    CHECK(has(broken.errors, "line 3"));
}

TEST_CASE("an estimate of what makes no sense ends with 2 and says which option", "[tool]") {
    struct bad_line {
        std::vector<std::string> words;
        std::string says;
    };
    const bad_line lines[] = {
        {{}, "needs to know how much there is"},
        {{"a", "b", "c"}, "too many"},
        {{"--used", "10G"}, "--used: "},
        {{"--used", "-1"}, "--used"},
        {{"--size", "1GB", "--used", "2GB"}, "hint: --used is at most --size"},
        {{"--used", "1GB", "--changed", "2GB"}, "hint: --changed is at most --used"},
        {{"--disk", "a,size=1GB,used=2GB"}, "hint: used= is at most size="},
        {{"--used", "1GB", "--compression", "0.5"}, "hint: --compression takes 1"},
        {{"--used", "1GB", "--round-trip", "2h"}, "hint: --round-trip takes 0s to 1h"},
        {{"--used", "1GB", "--model", "asr-2023", "--initial-replication", "0s"}, "hint: --initial-replication takes"},
        {{"--used", "1GB", "--changed", "3MB..2MB"}, "--changed: '3MB..2MB' is not in order"},
        {{"--used", "1GB", "--changed", "1..2..3..4"}, "has too many parts"},
        {{"--used", "1GB", "--rate", "0MB/s"}, "hint: give a rate above zero"},
        {{"--used", "1GB", "--rate", "45MB/s"}, "--rate is for the model asr-2018, and this estimate is by pipeline"},
        {{"--used", "1GB", "--model", "asr-2023", "--rate", "45MB/s"}, "--rate is for the model asr-2018"},
        {{"--used", "1GB", "--disk-rate", "45MB/s"}, "--disk-rate is for the model asr-2023"},
        {{"--used", "1GB", "--model", "asr-2018", "--link", "45MB/s"}, "--link is for the model pipeline"},
        {{"--used", "1GB", "--model", "asr-2018", "--limit", "45MB/s"}, "--limit is for the model pipeline"},
        {{"--model", "asr-2018", "--disk", "a,used=1GB,source-read=1MB/s"},
         "a rate of --disk is for the model pipeline"},
        {{"--used", "1GB", "--depth", "4"}, "--depth is for a look at disks"},
        {{"--list-prices", "--size", "10GB"}, "--list-prices and --size do not go together"},
        {{"--list-prices", "nonsense"}, "'nonsense' is named"},
        {{"--used", "1GB", "--model", "asr-2019"}, "asr-2018"},
        {{"--used", "1GB", "--round-trip", "20"}, "--round-trip: '20' is no duration"},
        {{"--used", "1GB", "--initial-replication", "m"}, "is no duration"},
        {{"--used", "1GB", "--compression", "x"}, "--compression: 'x' is no number"},
        {{"--used", "1GB", "--zero-share", "30"}, "is no percentage"},
        {{"--used", "1GB", "--zero-share", "130%"}, "more than all"},
        {{"--used", "1GB", "--target", "gone"}, "--target: "},
        {{"--disk", "used=1GB"}, "does not begin with a name"},
        {{"--disk", "a,used"}, "is no KEY=VALUE"},
        {{"--disk", "a,colour=red"}, "a disk has no 'colour'"},
        {{"--disk", "a,used=1K"}, "--disk: a: used: "},
        {{"--disk", "a,used=1GB", "--used", "1GB"}, "do not go together"},
        {{"--used", "1GB", "--egress-from", "azure:westeurope"}, "go together"},
        {{"--used", "1GB", "--egress-from", "azure:atlantis", "--egress-to", "internet"}, "atlantis"},
    };
    for (const bad_line& bad : lines) {
        std::vector<std::string> words{tool_path, "estimate"};
        words.insert(words.end(), bad.words.begin(), bad.words.end());
        const command_result result = run_command(words);
        INFO(bad.says << " in: " << result.errors);
        CHECK(result.exit_code == 2);
        CHECK(has(result.errors, bad.says));
        CHECK(result.output.empty());
    }
    const command_result no_book =
        run_command({tool_path, "estimate", "--used", "1GB", "--prices", "/nonexistent/book.json"});
    CHECK(no_book.exit_code == 3);
    CHECK(has(no_book.errors, "/nonexistent/book.json"));
    CHECK(no_book.output.empty());
}

}  // namespace

// ---- a look at disks ----

namespace {

struct two_images {
    two_images() {
        const auto content = random_bytes(1, 32 << 20);
        write_whole_file(source, content);
        auto stale = content;
        for (std::size_t at = 0; at < stale.size(); at += 10 * 4096) stale[at] ^= std::byte{1};
        write_whole_file(target, stale);
    }
    temp_dir folder;
    std::string source = folder.file("source"), target = folder.file("target");
    std::uint64_t changed = ((32u << 20) / 4096 + 9) / 10 * 4096;
};

}  // namespace

TEST_CASE("two disks are looked at, and the estimate says what it read and how sure it is", "[tool]") {
    const two_images images;
    const auto document = estimate_json({images.source, images.target, "--seed", "3", "--sample", "20%"});
    CHECK(text_at(document, "model") == "pipeline");
    CHECK(number_at(document, "probe.seed") == 3);
    CHECK(number_at(document, "probe.changed.low_bytes") <= static_cast<double>(images.changed));
    CHECK(number_at(document, "probe.changed.high_bytes") >= static_cast<double>(images.changed));
    CHECK(number_at(document, "probe.read_source_bytes") < (32 << 20) * 0.5);
    CHECK(number_at(document, "probe.blocks_sampled") > 1000);
    CHECK(number_at(document, "probe.rates.source_read.likely") > 0);
    CHECK(at_path(document, "cost").is_null());
    CHECK(number_at(document, "egress.to_target.likely_bytes") == 0);  // both are here
    // Written to is neither.
    CHECK(read_whole_file(images.source) == random_bytes(1, 32 << 20));

    const command_result text = run_command({tool_path, "estimate", images.source, images.target, "--sample", "20%",
                                             "--probe-write", images.folder.file("scratch")});
    INFO(text.errors);
    CHECK(text.exit_code == 0);
    for (const char* const part : {"sampled", "--seed", "changed", "(90%)", "compresses", "processors", "total"}) {
        INFO(part);
        CHECK(has(text.output, part));
    }
    CHECK_FALSE(has(text.output, "target write rate"));  // measured, so not assumed
    CHECK_FALSE(std::filesystem::exists(images.folder.file("scratch")));
}

TEST_CASE("the digest that a sync will use is measured, and makes it slower where it is", "[tool]") {
    const two_images images;
    const auto look = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {images.source, images.target, "--sample", "30%"});
        return estimate_json(more);
    };
    const auto processors = [](const boost::json::object& document) {
        for (const auto& phase : document.at("phases").as_array())
            if (phase.at("name") == "processors") return phase.at("likely_s").to_number<double>();
        return 0.0;
    };
    const auto plain = look({}), sha256 = look({"--digest", "sha256"});
    CHECK(number_at(sha256, "probe.rates.digest.likely") < number_at(plain, "probe.rates.digest.likely"));
    // Of both disks, on all cores at best.
    const double cores = std::max(std::thread::hardware_concurrency(), 1u);
    CHECK(processors(sha256) > (64 << 20) / number_at(sha256, "probe.rates.digest.high") / cores * 0.9);
    CHECK(number_at(plain, "probe.rates.digest_reread.likely") < number_at(plain, "probe.rates.digest.likely"));
}

TEST_CASE("with a seed a look samples the same blocks again", "[tool]") {
    const two_images images;
    const auto changed = [&](const char* seed) {
        const auto document = estimate_json({images.source, images.target, "--sample", "5%", "--seed", seed});
        return boost::json::serialize(at_path(document, "probe.changed"));
    };
    const std::string once = changed("7");
    CHECK(changed("7") == once);
    // Of some, one at least differs.
    CHECK((changed("8") != once || changed("9") != once || changed("10") != once));
}

TEST_CASE("without consent writing is an assumption that is printed", "[tool]") {
    const two_images images;
    const command_result text = run_command({tool_path, "estimate", images.source, images.target});
    CHECK(text.exit_code == 0);
    CHECK(has(text.output, "target write rate"));
}

TEST_CASE("of one disk a full copy is estimated, or what would be if so much had changed", "[tool]") {
    const two_images images;
    const auto whole = estimate_json({images.source});
    CHECK(at_path(whole, "full_copy.needed").as_bool());
    CHECK(number_at(whole, "egress.to_target.high_bytes") >= 32 << 20);
    CHECK(number_at(whole, "probe.read_target_bytes") == 0);
    const auto what_if = estimate_json({images.source, "--changed", "1MiB", "--link", "100Mbit/s"});
    CHECK_FALSE(at_path(what_if, "full_copy.needed").as_bool());
    CHECK(number_at(what_if, "egress.to_target.high_bytes") < 2 << 20);
    CHECK(number_at(what_if, "probe.changed.likely_bytes") == 1 << 20);
    CHECK(at_path(what_if, "probe.changed_given").as_bool());
    const command_result text =
        run_command({tool_path, "estimate", images.source, "--changed", "1MiB", "--target-read", "20MB/s"});
    CHECK(has(text.output, "changed       1.05 MB (1.00 MiB) (as given)"));
    CHECK_FALSE(has(text.output, "to copy"));
    CHECK(has(text.output, "used on the target of the disk"));
    CHECK(has(text.output, "target-read   1.7 s"));
    CHECK(has(run_command({tool_path, "estimate", images.source}).output, "to copy"));
}

TEST_CASE("of two disks that are both here, whoever tells of a link is told what a sync over it takes", "[tool]") {
    const two_images images;
    // An interval misses now and then, so it is the same sample each time.
    const std::vector<std::string> look{images.source, images.target, "--sample", "20%", "--seed", "3"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), look.begin(), look.end());
        return estimate_json(more);
    };
    const auto changed = static_cast<double>(images.changed);
    for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
             {"--egress-from", "azure:westeurope", "--egress-to", "azure:northeurope"},
             {"--link", "1MB/s"},
             {"--limit", "1MB/s"},
             {"--round-trip", "20ms"},
             {"--compression", "1"},
             {"--connections", "2"}}) {
        INFO(more[0]);
        const auto document = with(more);
        CHECK(number_at(document, "egress.to_target.high_bytes") >= changed);
        CHECK(has(boost::json::serialize(document.at("notes")), "since " + more[0] + " was given"));
        if (more[0] == "--link" || more[0] == "--limit") CHECK(number_at(document, "total.likely_s") > changed / 1.5e6);
        if (more[0] == "--egress-from") CHECK(text_at(document, "cost.high") != "0.00");
    }
    CHECK(number_at(with({"--zero-share", "0%"}), "egress.to_target.high_bytes") == 0);
    const command_result both =
        run_command({tool_path, "estimate", images.source, images.target, "--one-machine", "--link", "1MB/s"});
    CHECK(both.exit_code == 2);
    CHECK(has(both.errors, "--one-machine and --link do not go together"));
}

TEST_CASE("a target that is missing or holds nothing is estimated as a full copy, as a sync makes it", "[tool]") {
    const two_images images;
    const std::string missing = images.folder.file("missing"), hole = images.folder.file("hole");
    make_sparse_file(hole, 32 << 20);
    for (const std::string& target : {missing, hole}) {
        INFO(target);
        const auto document = estimate_json({images.source, target, "--link", "1GB/s"});
        const command_result synced = run_command({tool_path, "sync", images.source, target, "--dry-run", "--json",
                                                   "--state", images.folder.file("records")});
        const auto real = parse_json(synced.output);
        CHECK(text_at(real, "mode") == "full");
        CHECK(at_path(document, "full_copy.needed").as_bool());
        CHECK(has(text_at(document, "full_copy.reason"), text_at(real, "reason").substr(7)));
        CHECK(number_at(document, "egress.to_target.likely_bytes") >= 32 << 20);
        const auto& phases = document.at("phases").as_array();
        const bool reads_target = std::any_of(phases.begin(), phases.end(), [](const boost::json::value& phase) {
            return phase.at("name") == "target-read" && phase.at("high_s").to_number<double>() > 0;
        });
        CHECK_FALSE(reads_target);
    }
    CHECK_FALSE(std::filesystem::exists(missing));
    CHECK(has(run_command({tool_path, "estimate", images.source, missing}).output,
              missing + " is not there: a sync makes it"));
}

TEST_CASE("what a target that nobody looks at lacks is an assumption, and printed as one", "[tool]") {
    const two_images images;
    const auto document = estimate_json({images.source, "--target", "usable"});
    CHECK_FALSE(at_path(document, "full_copy.needed").as_bool());
    CHECK(number_at(document, "egress.to_target.likely_bytes") < 0.6 * (32 << 20));
    const std::string assumed = boost::json::serialize(document.at("assumptions"));
    CHECK(has(assumed, "\"changed of the disk\""));
    CHECK(has(assumed, "\"used on the target of the disk\""));
}

TEST_CASE("what can be refused without a look is refused before one", "[tool]") {
    const two_images images;
    // Whoever reads of the source fails.
    const failing_server source(random_bytes(1, 1 << 20));
    source.fail("pread", "EIO");
    const std::string scratch = images.folder.file("scratch"), past = images.folder.file("past");
    std::filesystem::create_directory(past);
    std::ofstream(images.folder.file("notes")) << "no history\n";
    struct bad_line {
        std::vector<std::string> words;
        int code;
        std::string says;
    };
    const bad_line lines[] = {
        {{"--egress-from", "azure:atlantis", "--egress-to", "internet"}, 2, "atlantis"},
        {{"--egress-from", "azure:westeurope", "--egress-to", "internet", "--prices", past}, 3, "past"},
        {{"--history", images.folder.file("notes")}, 3, "holds no history"},
        {{"--compression", "5000"}, 2, "--compression"},
        {{"--round-trip", "2h"}, 2, "--round-trip"},
        {{"--probe-write", images.target}, 3, "is there already"},
        {{"--probe-write", images.folder.file("no/scratch")}, 3, "there is no folder"},
    };
    for (const bad_line& bad : lines) {
        std::vector<std::string> words{tool_path, "estimate", source.name(), images.target, "--probe-write", scratch};
        words.insert(words.end(), bad.words.begin(), bad.words.end());
        const command_result result = run_command(words);
        INFO(bad.says << ": " << result.errors);
        CHECK(result.exit_code == bad.code);
        CHECK(has(result.errors, bad.says));
        CHECK(result.output.empty());
        CHECK_FALSE(std::filesystem::exists(scratch));
    }
}

TEST_CASE("a look at a disk that cannot be read fails with 4 and names it", "[tool]") {
    const two_images images;
    const failing_server source(random_bytes(1, 1 << 20));
    source.fail("pread", "EIO");
    const command_result unreadable = run_command({tool_path, "estimate", source.name(), images.target});
    INFO(unreadable.errors);
    CHECK(unreadable.exit_code == 4);
    CHECK(has(unreadable.errors, source.name()));
    CHECK(unreadable.output.empty());
    const command_result document =
        run_command({tool_path, "estimate", images.source, source.name(), "--json", "--quiet"});
    CHECK(document.exit_code == 4);
    CHECK(text_at(parse_json(document.output), "error.kind") == "device_io");
    CHECK(text_at(parse_json(document.output), "error.device") == source.name());
}

TEST_CASE("a look at disks that cannot be is refused, saying why", "[tool]") {
    const two_images images;
    const auto refused = [&](std::vector<std::string> words, int code, const std::string& part) {
        words.insert(words.begin(), {tool_path, "estimate"});
        const command_result result = run_command(words);
        INFO(part << ": " << result.errors);
        CHECK(result.exit_code == code);
        CHECK(has(result.errors, part));
        CHECK(result.output.empty());
    };
    const std::string &source = images.source, &target = images.target;
    refused({images.folder.file("nowhere"), target}, 3, "nowhere");
    refused({source, images.folder.file("nowhere/file")}, 3, "nowhere/file");
    refused({source, images.folder.file("nowhere/")}, 3, "nowhere/");
    refused({source, "/dev/no-such-disk"}, 3, "there is no device /dev/no-such-disk");
    refused({source, target, target}, 2, "too many");
    refused({source, target, "--used", "3GB"}, 2, "--used is for an estimate on paper");
    refused({source, target, "--changed", "3GB"}, 2, "--changed is what a look at both disks finds out");
    refused({source, target, "--budget", "10"}, 2, "--budget");
    refused({source, target, "--budget", "1ms"}, 2, "--budget is too short");
    refused({source, target, "--budget", "99999999h"}, 2, "--budget is too long");
    refused({source, target, "--sample", "0%"}, 2, "looks at nothing");
    refused({source, target, "--sample", "120%"}, 2, "more than all");
    refused({source, target, "--sample", "2%", "--budget", "3s"}, 2, "give one of them");
    refused({source, target, "--seed", "-1"}, 2, "--seed");
    refused({source, target, "--probe-write", source}, 3, "is there already");
    refused({"--budget", "3s", "--used", "1GB"}, 2, "none is named");
    CHECK(read_whole_file(source) == random_bytes(1, 32 << 20));
}
