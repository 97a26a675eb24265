// Every count of a report in cases made by hand, and its JSON.
#include <catch2/catch.hpp>

#include <boost/json.hpp>

#include <set>

#include "support/device_doubles.hpp"
#include "support/naive_digests.hpp"
#include "support/sync_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;

namespace {

namespace json = boost::json;

std::set<std::string> keys_of(const json::value& value) {
    std::set<std::string> keys;
    for (const auto& each : value.as_object()) keys.insert(std::string(each.key()));
    return keys;
}

std::string text_of(const byte_counts& counts) {
    sync_report report;
    report.bytes = counts;
    return json::serialize(json::parse(to_json(report)).at("bytes"));
}

void check_counts(const byte_counts& found, const byte_counts& expected) {
    INFO("found    " << text_of(found));
    INFO("expected " << text_of(expected));
    CHECK(found == expected);
}

constexpr std::uint64_t c = small_chunk, b = small_block;

}  // namespace

TEST_CASE("the counts of a full copy onto a missing target are exact", "[sync]") {
    memory_device source(16 * c), target(0);
    fill(source, {2 * c, 4 * c}, 1);
    target.mutable_properties().created = true;
    const sync_report report = run_sync(source, target);
    require_synced(report, source, target);
    CHECK(report.mode == sync_mode::full);
    CHECK(report.reason == "target missing");
    check_counts(report.bytes, {.disk = 16 * c,
                                .allocated_source = 4 * c,
                                .allocated_target = 0,
                                .read_source = 4 * c,
                                .read_target = 0,
                                .changed = 4 * c,
                                .written = 4 * c});
    CHECK(report.verified == proof_level::root);
}

TEST_CASE("a target that holds no data is a full copy, and says why", "[sync]") {
    memory_device source(4 * c), target(4 * c);
    fill(source, {0, c}, 1);
    const sync_report report = run_sync(source, target);
    require_synced(report, source, target);
    CHECK(report.mode == sync_mode::full);
    CHECK(report.reason == "target holds no data");
    CHECK(report.bytes.compared == 0);
}

TEST_CASE("a dry run without a target counts as onto a missing one", "[sync]") {
    memory_device source(8 * c);
    fill(source, {0, 3 * c}, 1);
    sync_request request;
    request.source = &source;
    request.options = small_sync_options();
    request.options.dry_run = true;
    const sync_report report = sync(request);
    require_ok(report);
    CHECK(report.dry_run);
    CHECK(report.mode == sync_mode::full);
    CHECK(report.reason == "target missing");
    CHECK(report.bytes.changed == 3 * c);
    CHECK(report.bytes.written == 0);
    CHECK(report.verified == proof_level::none);
}

TEST_CASE("the counts of a differential are exact where the target punches", "[sync]") {
    memory_device source(16 * c), target(16 * c);
    fill(source, {0, 8 * c}, 1);  // chunks 0-7 hold data on both
    copy_content(source, target);
    fill(target, {3 * b, 2 * b}, 2);                 // two blocks changed in chunk 0
    source.write(c, std::vector<std::byte>(b));      // one allocated block of zeroes in chunk 1: zeroed
    fill(source, {8 * c, c}, 3);                     // chunk 8: the target has a hole
    source.write(9 * c, std::vector<std::byte>(c));  // chunk 9: zeroes against a hole: no change
    fill(target, {10 * c, 2 * c}, 4);                // chunks 10-11: the source has a hole: given back unread
    const sync_report report = run_sync(source, target);
    require_synced(report, source, target);
    CHECK(report.mode == sync_mode::differential);
    CHECK(report.reason == "both disks hold data");
    check_counts(report.bytes, {.disk = 16 * c,
                                .allocated_source = 10 * c,
                                .allocated_target = 10 * c,
                                .read_source = 10 * c,
                                .read_target = 8 * c,
                                .reread_source = 0,
                                .compared = 8 * c,
                                .same = 8 * c - 3 * b,
                                .changed = 2 * b + c,
                                .zeroed = b,
                                .deallocated = 2 * c,
                                .written = 2 * b + c});
    CHECK(report.to_source.total() + report.to_target.total() == 0);
}

TEST_CASE("the counts of a differential are exact where the target cannot punch", "[sync]") {
    memory_device source(16 * c + 100), target(16 * c + 100);
    fill(source, {0, 4 * c}, 1);
    copy_content(source, target);
    fill(target, {10 * c, c + 10}, 4);  // the source has a hole: read, and what is not zero is zeroed
    target.write(12 * c, std::vector<std::byte>(c));
    target.mutable_properties().punches_holes = false;
    const sync_report report = run_sync(source, target);
    require_synced(report, source, target);
    // Pages of 4 KiB are what the memory device allocates.
    check_counts(report.bytes, {.disk = 16 * c + 100,
                                .allocated_source = 4 * c,
                                .allocated_target = 6 * c + b,
                                .read_source = 4 * c,
                                .read_target = 6 * c + b,
                                .compared = 6 * c + b,
                                .same = 5 * c,
                                .changed = 0,
                                .zeroed = c + b,
                                .deallocated = 0,
                                .written = 0});
}

TEST_CASE("allocation is counted as the device tells it, however few runs it tells at a time", "[sync]") {
    class terse final : public device_decorator {
    public:
        explicit terse(device& disk) : device_decorator(disk) {}
        std::vector<allocation_run> allocation(extent within, std::size_t) override {
            return device_decorator::allocation(within, 1);
        }
    };
    memory_device source_disk(64 * c), target_disk(64 * c);
    for (std::uint64_t at = 0; at < 60 * c; at += 3 * b) fill(source_disk, {at, b}, at);
    for (std::uint64_t at = b; at < 60 * c; at += 5 * b) fill(target_disk, {at, 2 * b}, at);
    const auto allocated = [](device& disk) {
        std::uint64_t total = 0;
        for (const auto& run : disk.allocation({0, disk.size()}, 100'000))
            total += run.kind == content::data ? run.range.length : 0;
        return total;
    };
    const std::uint64_t ours = allocated(source_disk), theirs = allocated(target_disk);
    terse source(source_disk), target(target_disk);
    const sync_report report = run_sync(source, target);
    require_synced(report, source_disk, target_disk);
    CHECK(report.bytes.allocated_source == ours);
    CHECK(report.bytes.allocated_target == theirs);
}

TEST_CASE("what is read again for the proof is not counted as read for the comparison", "[sync]") {
    memory_device source(8 * c), target(8 * c);
    fill(source, {0, 2 * c}, 1);
    sync_options options = small_sync_options();
    options.verify = verify_level::reread;
    const sync_report report = run_sync(source, target, options);
    require_synced(report, source, target);
    CHECK(report.verified == proof_level::reread);
    CHECK(report.cache_passed);  // memory has no cache to pass
    // Allocation is ignored on both sides.
    check_counts(report.bytes, {.disk = 8 * c,
                                .allocated_source = 8 * c,
                                .allocated_target = 8 * c,
                                .read_source = 8 * c,
                                .read_target = 8 * c,
                                .compared = 8 * c,
                                .same = 6 * c,
                                .changed = 2 * c,
                                .written = 2 * c});
    CHECK(report.seconds.verify >= 0);
}

TEST_CASE("a comparison reads what either side holds and lists what differs", "[sync]") {
    memory_device source(8 * c), target(8 * c);
    fill(source, {0, 2 * c}, 1);
    copy_content(source, target);
    fill(target, {b, b}, 2);
    fill(source, {4 * c, b}, 3);
    fill(target, {6 * c, b}, 4);
    const sync_report report = diff(request_of(source, target));
    require_ok(report);
    CHECK(report.different());
    REQUIRE(report.differential.has_value());
    CHECK(report.differential->changes() ==
          std::vector<change>{{{b, b}, change_kind::data, change_reason::changed},
                              {{4 * c, b}, change_kind::data, change_reason::target_hole},
                              {{6 * c, b}, change_kind::zero, change_reason::source_hole}});
    CHECK(report.bytes.changed == 2 * b);
    CHECK(report.bytes.zeroed == b);
    CHECK(report.bytes.deallocated == 0);
    CHECK(report.bytes.written == 0);
    CHECK(report.verified == proof_level::none);
    CHECK_FALSE(diff(request_of(source, source)).different());
}

TEST_CASE("the root is told under sha256, for whole disks, and is that of a slow recursion", "[sync]") {
    std::mt19937_64 random(5);
    memory_device source(20 * c + 77), target(20 * c + 77);
    fill_sparsely(source, random);
    sync_options options = small_sync_options();
    CHECK_FALSE(run_sync(source, target, options).root.has_value());
    options.algorithm = digest_algorithm::sha256;
    const digester sha(digest_algorithm::sha256, {});
    const geometry shape{source.size(), small_chunk, small_block};
    CHECK(run_sync(source, target, options).root == naive_root(sha, shape, bytes_of(source)));
    checksum_options same;
    same.block_bytes = small_block;
    same.chunk_bytes = small_chunk;
    CHECK(run_sync(source, target, options).root == checksum(target, same).root);
    options.within = extent_set{{0, c}};
    CHECK_FALSE(run_sync(source, target, options).root.has_value());
}

TEST_CASE("the JSON of a report has the contract's keys", "[sync]") {
    memory_device source(8 * c, "the source"), target(8 * c, "the target");
    fill(source, {0, 2 * c}, 1);
    sync_options options = small_sync_options();
    options.algorithm = digest_algorithm::sha256;
    const sync_report report = run_sync(source, target, options);
    const json::value value = json::parse(to_json(report));
    const std::set<std::string> contract{"mode", "reason", "bytes", "wire", "seconds", "root", "verified"};
    for (const std::string& key : contract) CHECK(keys_of(value).contains(key));
    CHECK(keys_of(value.at("bytes")) == std::set<std::string>{"disk", "allocated_source", "allocated_target",
                                                              "read_source", "read_target", "reread_source", "compared",
                                                              "same", "changed", "zeroed", "deallocated", "written"});
    CHECK(keys_of(value.at("wire")) == std::set<std::string>{"to_target", "to_source"});
    for (const char* way : {"to_target", "to_source"})
        CHECK(keys_of(value.at("wire").at(way)) == std::set<std::string>{"payload", "digests", "overhead", "total"});
    CHECK(keys_of(value.at("seconds")) == std::set<std::string>{"total", "scan", "transfer", "flush", "verify"});
    CHECK(value.at("mode") == "full");
    CHECK(value.at("bytes").at("written") == 2 * c);
    CHECK(value.at("root") == json::value(to_hex(*report.root)));
    CHECK(value.at("verified") == "root");
    CHECK_FALSE(keys_of(value).contains("error"));
    CHECK_FALSE(keys_of(value).contains("extents"));
    CHECK(json::parse(to_json(run_sync(source, target))).at("root").is_null());
}

TEST_CASE("the JSON of a comparison has its extents", "[sync]") {
    memory_device source(8 * c), target(8 * c);
    fill(source, {0, b}, 1);
    fill(target, {2 * c, b}, 2);
    const json::value value = json::parse(to_json(diff(request_of(source, target))));
    const json::array& extents = value.at("extents").as_array();
    REQUIRE(extents.size() == 2);
    CHECK(extents[0].at("offset") == 0);
    CHECK(extents[0].at("length") == b);
    CHECK(extents[0].at("kind") == "data");
    CHECK(extents[1].at("offset") == 2 * c);
    CHECK(extents[1].at("kind") == "zero");
}

TEST_CASE("the JSON of a failure has what there is of the report, and the error", "[sync]") {
    memory_device source_disk(8 * c, "the source"), target(8 * c, "the target");
    fill(source_disk, {0, 8 * c}, 1);
    hooked_device source(source_disk, [](device_call call, extent where) {
        if (call == device_call::read && where.offset == 5 * c)
            throw error(error_kind::device_io, "a bad sector",
                        {.device = "the source", .operation = "read", .offset = where.offset, .length = where.length});
    });
    const sync_report report = run_sync(source, target);
    require_failure(report, error_kind::device_io);
    const json::value value = json::parse(to_json(report));
    CHECK(value.at("mode") == "full");
    CHECK(value.at("verified") == "none");
    CHECK(value.at("bytes").at("disk") == 8 * c);
    const json::value& why = value.at("error");
    CHECK(keys_of(why) ==
          std::set<std::string>{"code", "kind", "message", "device", "offset", "length", "holder", "hint"});
    CHECK(why.at("code") == 4);
    CHECK(why.at("kind") == "device_io");
    CHECK(why.at("message") == "a bad sector");
    CHECK(why.at("device") == "the source");
    CHECK(why.at("offset") == 5 * c);
    CHECK(why.at("length") == c);
    CHECK(why.at("holder").is_null());
    const json::value bare = json::parse(to_json(*report.failure));
    CHECK(keys_of(bare) == std::set<std::string>{"error"});
    CHECK(bare.at("error") == why);
}

TEST_CASE("a failed sync reports what it had done until then", "[sync]") {
    memory_device source_disk(100 * c), target(100 * c);
    fill(source_disk, {0, 100 * c}, 1);
    hooked_device source(source_disk, [](device_call call, extent where) {
        if (call == device_call::read && where.offset == 60 * c) throw error(error_kind::device_io, "a bad sector");
    });
    const sync_report report = run_sync(source, target);
    require_failure(report, error_kind::device_io);
    CHECK(report.bytes.read_source > 0);
    CHECK(report.bytes.read_source < 100 * c);
    CHECK(report.bytes.written > 0);
    CHECK(report.bytes.written <= report.bytes.changed);
    CHECK(report.seconds.total > 0);
    CHECK(report.seconds.scan > 0);
}
