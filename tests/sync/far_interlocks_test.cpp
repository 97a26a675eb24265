// The interlocks and records where source and target are in two processes, as far as one of them knows of the other: one disk on
// both ends, a target that somebody uses, and a direction that is the wrong one.
#include "support/peer_pair.hpp"
#include "support/server_rig.hpp"

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/device_doubles.hpp"
#include "support/disk_users.hpp"
#include "support/failures.hpp"
#include "support/loop_device.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t c = small_chunk;
constexpr auto read_write = reprotect::access::read_write;

struct ends {
    sync_report source, target;
};

struct sides {
    device* source = nullptr;
    device* target = nullptr;
    state_store* at_source = nullptr;
    state_store* at_target = nullptr;
};

ends run(const sides& what, const std::function<void(peer_pair&)>& prepare = {}) {
    peer_pair pair;
    pair.source.disk = what.source;
    pair.target.disk = what.target;
    pair.source.records = what.at_source;
    pair.target.records = what.at_target;
    pair.source.far_name = "target.example:1";
    pair.target.far_name = "source.example:2";
    if (prepare) prepare(pair);
    auto [source, target] = pair.run();
    return {std::move(source), std::move(target)};
}

// Both ends refuse with this kind, and nothing was written or recorded.
void check_refused(const ends& what, error_kind kind, const std::string& phrase) {
    for (const sync_report* each : {&what.source, &what.target}) {
        const error why = require_failure(*each, kind);
        CHECK_THAT(why.what(), Catch::Contains(phrase));
        CHECK(exit_code(why.kind()) == 3);
        CHECK(each->bytes.written == 0);
    }
}

std::optional<std::string> field(const device_identity& of, const std::string& key) {
    for (const auto& [name, value] : of.fields)
        if (name == key) return value;
    return std::nullopt;
}

bool no_loop_devices() {
    if (loop_devices_available()) return false;
    WARN("no loop devices here");
    return true;
}

// A disk with a file system that is mounted, and the file that it lies in.
struct mounted_disk {
    mounted_disk() {
        make_sparse_file(file, bytes);
        loop.emplace(file);
        run_checked({"mkfs.ext4", "-q", "-F", loop->path()});
        there.emplace(std::vector<std::string>{loop->path()}, folder.file("mount"));
    }
    std::string path() const { return loop->path(); }
    /// Leaves the file alone.
    void let_go() {
        there.reset();
        loop.reset();
    }

    static constexpr std::uint64_t bytes = 4 << 20;
    temp_dir folder;
    const std::string file = folder.file("disk.img");
    std::optional<loop_device> loop;
    std::optional<mounted> there;
};

}  // namespace

TEST_CASE("one file on both ends is refused, by whatever name", "[sync][wire]") {
    const temp_dir folder;
    const std::string file = folder.file("disk.img"), hard = folder.file("hard.img"), soft = folder.file("soft.img");
    const auto content = random_bytes(1, 8 * c);
    write_whole_file(file, content);
    std::filesystem::create_hard_link(file, hard);
    std::filesystem::create_symlink(file, soft);
    for (const std::string& name : {file, hard, soft, "raw:" + file}) {
        INFO(name);
        const auto source = open_device(file), target = open_device(name, {read_write});
        test_store records;
        check_refused(run({source.get(), target.get(), nullptr, &records}), error_kind::same_disk, "are one disk");
        CHECK_FALSE(records.find_target(target->identity()));
        // A comparison harms nobody.
        const ends compared = run({source.get(), target.get()},
                                  [](peer_pair& pair) { pair.source.compare_only = pair.target.compare_only = true; });
        require_ok(compared.source);
        require_ok(compared.target);
        CHECK_FALSE(compared.target.different());
    }
    CHECK(read_whole_file(file) == content);
}

TEST_CASE("a server's export that is the client's own disk is refused, and its path is not told", "[sync][wire]") {
    const temp_dir folder;
    const std::string file = folder.file("disk.img"), other = folder.file("other-name.img");
    const auto content = random_bytes(1, 8 * c);
    write_whole_file(file, content);
    std::filesystem::create_hard_link(file, other);
    const bool push = GENERATE(true, false);
    server_rig server;
    server.offer("disk", other, push ? export_role::target : export_role::source);
    server.start();
    const auto disk = open_device(file, {push ? reprotect::access::read_only : read_write});
    sync_request request;
    (push ? request.source : request.target) = disk.get();
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    const error why = require_failure(report, error_kind::same_disk);
    CHECK_THAT(std::string(why.what()) + why.detail().device + why.detail().hint, !Catch::Contains("other-name.img"));
    CHECK(server.logged("session-failed", "kind") == "same_disk");
    CHECK(read_whole_file(file) == content);
}

TEST_CASE("a loop device and the file below it are one disk on two ends, too", "[sync][wire]") {
    if (no_loop_devices()) return;
    const temp_dir folder;
    const std::string file = folder.file("disk.img");
    const auto content = random_bytes(1, 8 * c);
    write_whole_file(file, content);
    const loop_device loop(file);
    for (const bool onto_file : {true, false}) {
        const auto source = open_device(onto_file ? loop.path() : file);
        const auto target = open_device(onto_file ? file : loop.path(), {read_write});
        check_refused(run({source.get(), target.get()}), error_kind::same_disk, "are one disk");
    }
    CHECK(read_whole_file(file) == content);
}

TEST_CASE("a file that the far image is backed by is no target", "[sync][wire]") {
    const temp_dir folder;
    const std::string base = folder.file("base.img"), overlay = folder.file("overlay.qcow2");
    const auto content = random_bytes(1, 32 * c);
    write_whole_file(base, content);
    run_checked({"qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay});
    {
        const auto source = open_device("qcow2:" + overlay);
        const auto target = open_device(base, {read_write});
        check_refused(run({source.get(), target.get()}), error_kind::same_disk, "are one disk");
    }
    CHECK(read_whole_file(base) == content);
    // The other way round nothing but the overlay is written to.
    const auto source = open_device(base);
    const auto target = open_device("qcow2:" + overlay, {read_write});
    const ends what = run({source.get(), target.get()});
    require_ok(what.source);
    require_ok(what.target);
    CHECK(read_whole_file(base) == content);
}

TEST_CASE("a target that is mounted or held is refused on both ends, with its holder", "[sync][wire]") {
    if (no_loop_devices()) return;
    mounted_disk disk;
    const std::string file = disk.file;
    memory_device source(disk.bytes, "the source");
    fill(source, {0, disk.bytes}, 1);
    const auto refused = [&](const std::string& name, const std::string& phrase) {
        const auto before = read_whole_file(file);
        const auto target = open_device(name, {read_write});
        const ends what = run({&source, target.get()});
        check_refused(what, error_kind::in_use, phrase);
        CHECK_FALSE(what.source.failure->detail().holder.empty());
        CHECK(what.source.failure->detail().holder == what.target.failure->detail().holder);
        CHECK(what.source.failure->detail().hint == what.target.failure->detail().hint);
        CHECK_THAT(what.source.failure->what(), Catch::StartsWith("the target at target.example:1: "));
        CHECK(read_whole_file(file) == before);
    };
    refused(disk.path(), "mounted on");
    disk.there.reset();
    refused(file, disk.path().substr(5));
    disk.let_go();
    {
        const qemu_user qemu({"-f", "raw", file});
        refused(file, "QEMU");
    }
    const auto target = open_device(file, {read_write});
    require_synced(run({&source, target.get()}).target, source, *target);
}

TEST_CASE("a server refuses a mounted export; by whom it is held is for its own log", "[sync][wire]") {
    if (no_loop_devices()) return;
    const mounted_disk disk;
    server_rig server;
    server.offer("disk", disk.path(), export_role::target);
    server.start();
    memory_device source(disk.bytes, "the source");
    fill(source, {0, disk.bytes}, 1);
    const auto before = read_whole_file(disk.file);
    sync_request request;
    request.source = &source;
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    const error why = require_failure(report, error_kind::in_use);
    const std::string told = std::string(why.what()) + why.detail().device + why.detail().holder + why.detail().hint;
    CHECK_THAT(why.what(), Catch::Contains("disk is in use"));
    CHECK_THAT(why.detail().hint, Catch::Contains("log of the other side"));
    for (const std::string& path : {disk.path(), disk.folder.path().string()}) CHECK_THAT(told, !Catch::Contains(path));
    CHECK_THAT(server.logged("session-failed", "message"), Catch::Contains(disk.there->path()));
    CHECK(read_whole_file(disk.file) == before);
    CHECK(server.records->find_target(open_device(disk.path())->identity()) == std::nullopt);
}

TEST_CASE("a record at the target names the far source as its side does, with its machine", "[sync][wire]") {
    const temp_dir folder;
    const std::string file = folder.file("source.img");
    write_whole_file(file, random_bytes(1, 8 * c));
    const auto source = open_device(file);
    memory_device target(8 * c, "the target");
    test_store at_source, at_target;
    const ends what = run({source.get(), &target, &at_source, &at_target});
    require_ok(what.source);
    require_synced(what.target, *source, target);
    const auto record = at_target.find_target(target.identity());
    REQUIRE(record);
    CHECK(record->status == target_status::clean);
    CHECK_THAT(record->source_name, Catch::Contains(file) || Catch::Contains("source.example:2"));
    CHECK(record->source_size == 8 * c);
    REQUIRE(field(record->source, "machine"));
    CHECK(field(record->source, "machine")->size() == 64 / 2);
    // The same pair again is known; another source is warned of.
    const ends again = run({source.get(), &target, &at_source, &at_target});
    require_ok(again.target);
    CHECK(again.target.warnings.empty());
    CHECK(at_target.find_target(target.identity())->source == record->source);
    const auto other = open_device(folder.file("other.img"), {.mode = read_write, .create = true});
    other->resize(8 * c);
    CHECK(has_warning(run({other.get(), &target, nullptr, &at_target},
                          [](peer_pair& pair) { pair.source.options.dry_run = pair.target.options.dry_run = true; })
                          .target,
                      "state record is of another source"));
    CHECK_FALSE(at_source.find_target(target.identity()));
    CHECK(at_source.find_source(source->identity()).empty());

    // The same file of this machine, without a wire, is another source: warned of, not trusted, not refused.
    const sync_report local = run_sync(*source, target, small_sync_options(), &at_target);
    require_ok(local);
    CHECK(has_warning(local, "state record is of another source"));
    CHECK(local.bytes.written == 0);
}

TEST_CASE("a far target that is on record as the source is refused, unless that is meant", "[sync][wire]") {
    memory_device a(8 * c, "a"), b(8 * c, "b");
    fill(a, {0, 8 * c}, 1);
    test_store at_a, at_b;
    require_ok(run({&a, &b, &at_a, &at_b}).target);
    fill(b, {c, c}, 2);
    const auto before = bytes_of(a);
    // Only b's side has a record, and it is the source now.
    check_refused(run({&b, &a, &at_b, &at_a}), error_kind::recorded_source, "is on record as the source of this pair");
    CHECK(bytes_of(a) == before);
    CHECK_FALSE(at_a.find_target(a.identity()));
    const bool said_at_source = GENERATE(true, false);
    const ends meant = run({&b, &a, &at_b, &at_a}, [&](peer_pair& pair) {
        (said_at_source ? pair.source : pair.target).options.reverse = true;
    });
    require_ok(meant.source);
    require_synced(meant.target, b, a);
    CHECK(has_warning(meant.source, "the direction is reversed"));
    CHECK(has_warning(meant.target, "the direction is reversed"));
    CHECK(at_a.find_target(a.identity())->status == target_status::clean);
}

TEST_CASE("once turned round, the direction holds without being said again", "[sync][wire]") {
    memory_device a(8 * c, "a"), b(8 * c, "b");
    fill(a, {0, 8 * c}, 1);
    test_store at_a, at_b;
    const auto reversed = [](peer_pair& pair) { pair.source.options.reverse = true; };
    require_ok(run({&a, &b, &at_a, &at_b}).target);
    require_ok(run({&b, &a, &at_b, &at_a}, reversed).target);
    fill(b, {c, c}, 2);
    const ends again = run({&b, &a, &at_b, &at_a});
    require_ok(again.source);
    require_synced(again.target, b, a);
    check_refused(run({&a, &b, &at_a, &at_b}), error_kind::recorded_source, "is on record as the source of this pair");
    require_ok(run({&a, &b, &at_a, &at_b}, reversed).target);
    require_ok(run({&a, &b, &at_a, &at_b}).target);
}

TEST_CASE("a server's records keep the direction of pushes and pulls", "[sync][wire]") {
    const temp_dir folder;
    const std::string there = folder.file("there.img"), here = folder.file("here.img");
    write_whole_file(there, random_bytes(1, 8 * c));
    write_whole_file(here, random_bytes(2, 8 * c));
    server_rig server;
    server.offer("to", there, export_role::target);
    server.offer("from", there, export_role::source);
    server.start();
    const auto mine = make_memory_state_store();
    const auto sync_by = [&](bool push, bool reverse) {
        const auto disk = open_device(here, {push ? reprotect::access::read_only : read_write});
        sync_request request;
        (push ? request.source : request.target) = disk.get();
        request.records = mine.get();
        request.options.reverse = reverse;
        return sync_with_remote(request, server.disk(push ? "to" : "from"), server.how());
    };
    require_ok(sync_by(true, false));
    write_whole_file(there, random_bytes(3, 8 * c));
    const auto before = read_whole_file(here);
    const error why = require_failure(sync_by(false, false), error_kind::recorded_source);
    CHECK_THAT(why.detail().hint, Catch::Contains("--reverse"));
    CHECK_THAT(std::string(why.what()) + why.detail().device, !Catch::Contains("there.img"));
    CHECK_THAT(why.what(), !Catch::Contains("from is on record"));
    CHECK(server.logged("session-failed", "kind") == "recorded_source");
    CHECK(read_whole_file(here) == before);
    const sync_report meant = sync_by(false, true);
    require_ok(meant);
    CHECK(read_whole_file(here) == read_whole_file(there));
    // And now the other way is the wrong one: the record lies here.
    require_failure(sync_by(true, false), error_kind::recorded_source);
    require_ok(sync_by(true, true));
}

TEST_CASE("what one side warns of stands in both reports, once, and says whose it is", "[sync][wire]") {
    memory_device source(8 * c, "the source"), target(8 * c, "the target");
    fill(source, {0, 8 * c}, 1);
    test_store records;
    std::stop_source stop;
    hooked_device stopping(target, [&](device_call call, extent) {
        if (call == device_call::write) stop.request_stop();
    });
    run({&source, &stopping, nullptr, &records}, [&](peer_pair& pair) { pair.target.cancel = stop.get_token(); });
    REQUIRE(records.find_target(target.identity())->status == target_status::dirty);
    struct final : sync_listener {
        void on_warning(const std::string& text) override { heard.push_back(text); }
        std::vector<std::string> heard;
    } at_source, at_target;
    const ends what = run({&source, &target, nullptr, &records}, [&](peer_pair& pair) {
        pair.source.listener = &at_source;
        pair.target.listener = &at_target;
    });
    require_ok(what.source);
    require_synced(what.target, source, target);
    CHECK(what.source.warnings.size() == 1);
    CHECK(what.target.warnings.size() == 1);
    CHECK(at_source.heard == what.source.warnings);
    CHECK(at_target.heard == what.target.warnings);
    CHECK(has_warning(what.target, "an earlier sync onto the target did not finish"));
    CHECK(has_warning(what.source, "target.example:1: an earlier sync onto the target did not finish"));
    CHECK(records.find_target(target.identity())->status == target_status::clean);
}

TEST_CASE("a source that somebody writes to is said at both ends", "[sync][wire]") {
    if (no_loop_devices()) return;
    const mounted_disk disk;
    const auto source = open_device(disk.path());
    memory_device target(disk.bytes, "the target");
    const ends what = run({source.get(), &target});
    require_ok(what.source);
    require_ok(what.target);
    CHECK_THAT(what.source.source_in_use, Catch::Contains("mounted on"));
    CHECK(what.target.source_in_use == what.source.source_in_use);
    CHECK(has_warning(what.source, "is in use"));
    CHECK(has_warning(what.target, "source.example:2: the source " + disk.path() + " is in use"));
}
