// A target that was made and came to nothing is taken away again, and nothing else ever is: not what holds data, not
// another file that has the name by now, not what somebody else uses, not what was there before.
#include <catch2/catch.hpp>

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/device_doubles.hpp"
#include "support/failures.hpp"
#include "support/loop_device.hpp"
#include "support/other_process.hpp"
#include "support/server_rig.hpp"
#include "support/sync_rig.hpp"
#include "support/temp_dir.hpp"
#include "support/tool_rig.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

std::unique_ptr<device> create(const std::string& path, bool direct = false) {
    return open_device(path, {.mode = reprotect::access::read_write, .direct = direct, .create = true});
}

bool exists(const std::string& path) {
    return std::filesystem::exists(std::filesystem::symlink_status(path));
}

}  // namespace

TEST_CASE("a file that was created and not written to is removed, whatever size it was given", "[device]") {
    const temp_dir folder;
    const std::string path = folder.file("new.img");
    for (const std::string& name : {path, "raw:" + path}) {
        for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1} << 30}) {
            for (const bool direct : {false, true}) {
                INFO(name << ", " << size << (direct ? " bytes, direct" : " bytes"));
                const auto disk = create(name, direct);
                REQUIRE(disk->properties().created);
                if (size != 0) disk->resize(size);
                remove_if_untouched(*disk);
                CHECK_FALSE(exists(path));
                remove_if_untouched(*disk);  // it is gone: nothing is left to do
                CHECK_FALSE(exists(path));
            }
        }
    }
}

TEST_CASE("a created file that a byte was written to stays, on every file system", "[device]") {
    const temp_dir folder;
    struct place {
        std::string type;
        std::uint64_t bytes;
        std::vector<std::string> options;
    };
    std::vector<place> places{{"tmpfs", 64 << 20, {}}};
    if (loop_devices_available())
        places.insert(places.end(), {{"ext4", 64 << 20, {"-O", "inline_data"}},
                                     {"xfs", std::uint64_t{320} << 20, {}},
                                     {"btrfs", 192 << 20, {}}});
    for (const place& each : places) {
        for (const bool flushed : {false, true}) {
            INFO(each.type << (flushed ? ", flushed" : ", in the cache"));
            const temp_dir mount_folder;
            const mounted_file_system there(each.type, mount_folder.path(), each.bytes, each.options);
            const std::string path = there.file("new.img");
            {
                const auto disk = create(path);
                disk->resize(10);
                disk->write(9, random_bytes(1, 1));
                if (flushed) disk->flush();
                remove_if_untouched(*disk);
                CHECK(exists(path));
            }
            CHECK(read_whole_file(path).back() == random_bytes(1, 1)[0]);
            std::filesystem::remove(path);
            remove_if_untouched(*create(path));
            CHECK_FALSE(exists(path));
        }
    }
}

TEST_CASE("another file that has a created file's name by now stays, and so does a link there", "[device]") {
    const temp_dir folder;
    const std::string path = folder.file("new.img"), other = folder.file("other.img");
    {
        const auto disk = create(path);
        write_whole_file(other, {});
        std::filesystem::rename(other, path);
        remove_if_untouched(*disk);
        CHECK(exists(path));
        std::filesystem::remove(path);
    }
    const auto disk = create(path);
    std::filesystem::rename(path, other);
    std::filesystem::create_symlink(other, path);
    remove_if_untouched(*disk);
    CHECK(exists(path));
    CHECK(exists(other));
}

TEST_CASE("a created file that somebody else holds stays, and one that is let go within a moment is removed",
          "[device]") {
    const temp_dir folder;
    const std::string path = folder.file("new.img");
    const auto disk = create(path);
    const auto open_and_wait = [&](other_process::side& side) {
        const auto again = open_device(path, {.mode = reprotect::access::read_write});
        side.tell();
        side.wait();
    };
    {
        other_process holder(open_and_wait);
        REQUIRE(holder.wait() == 'r');
        remove_if_untouched(*disk);
        CHECK(exists(path));
    }
    {
        // Another sync of this process has it for its target.
        const memory_device source(1 << 20);
        const auto again = open_device(path, {.mode = reprotect::access::read_write});
        const auto guard = guard_target(*again, source);
        remove_if_untouched(*disk);
        CHECK(exists(path));
    }
    other_process passer([&](other_process::side& side) {
        const auto again = open_device(path, {.mode = reprotect::access::read_write});
        side.tell();
        ::usleep(100'000);
    });
    REQUIRE(passer.wait() == 'r');
    remove_if_untouched(*disk);
    CHECK_FALSE(exists(path));
}

TEST_CASE("a file that was there before stays, however empty, and so does what is no file", "[device]") {
    const temp_dir folder;
    const std::string path = folder.file("old.img");
    write_whole_file(path, {});
    const auto disk = create(path);
    CHECK_FALSE(disk->properties().created);
    remove_if_untouched(*disk);
    CHECK(exists(path));
    memory_device memory(0);
    memory.mutable_properties().created = true;
    remove_if_untouched(memory);
}

TEST_CASE("a sync of the tool that is refused, or fails before its first write, leaves no new file", "[device][tool]") {
    const tool_rig rig;
    const std::string source = rig.random_disk("source", 1, 100'000);
    const std::string fresh = rig.file("new.img");
    const std::string too_far = rig.text_file("too-far", "0 1000000\n");
    const std::string odd = rig.text_file("odd", "512 512\n");
    struct row {
        std::vector<std::string> options;
        int code;
        std::string says;
    };
    const row rows[] = {
        {{"--target-allocation", too_far}, 2, "ends beyond"},
        {{"--target-allocation", rig.text_file("garbage", "nothing\n")}, 2, "is no size"},
        {{"--target-allocation", rig.file("missing")}, 3, "missing"},
        {{"--within", odd}, 2, "does not fall on blocks of the source"},
        {{"--within", rig.text_file("whole", "0 100000\n"), "--verify=reread"}, 2, "cannot be proved"},
    };
    for (const row& each : rows) {
        CAPTURE(each.options);
        std::vector<std::string> line{"sync", source, fresh};
        line.insert(line.end(), each.options.begin(), each.options.end());
        const command_result result = rig.run(line);
        INFO("said: " << result.errors);
        CHECK(result.exit_code == each.code);
        CHECK(has(result.errors, each.says));
        CHECK_FALSE(exists(fresh));
        // What was there before is not taken away, though it is as empty.
        write_whole_file(fresh, {});
        CHECK(rig.run(line).exit_code == each.code);
        CHECK(exists(fresh));
        std::filesystem::remove(fresh);
    }
    CHECK(rig.run({"sync", source, fresh}).exit_code == 0);
    CHECK(same_bytes(source, fresh));
}

TEST_CASE("a new target that cannot be as large as its source is gone again, and its record too", "[device][tool]") {
    if (::geteuid() != 0 || !loop_devices_available()) {
        WARN("nothing can be mounted here: not tested");
        return;
    }
    const tool_rig rig;
    const mounted_file_system large("tmpfs", rig.folder(), 16 << 20);
    const mounted_file_system small("ext4", rig.folder(), 16 << 20);
    make_sparse_file(large.file("huge.img"), std::uint64_t{20} << 40);  // ext4 has no file of more than 16 TiB
    const std::string fresh = small.file("new.img");
    const command_result result = rig.run({"sync", large.file("huge.img"), fresh});
    INFO("said: " << result.errors);
    CHECK(result.exit_code == 4);
    CHECK(has(result.errors, "File too large"));
    CHECK_FALSE(exists(fresh));
    CHECK((!exists(rig.records()) || std::filesystem::is_empty(rig.records())));
}

TEST_CASE("a server takes a target away that it made for a push which came to nothing", "[device][wire]") {
    const temp_dir folder;
    const std::string fresh = folder.file("new.img");
    server_rig server;
    server.offer("new", fresh, export_role::target);
    server.options.options.memory_bytes = 12 << 20;
    server.start();
    memory_device inner(20 * small_chunk, "here");
    fill(inner, {0, inner.size()}, 1);
    std::atomic<bool> made = false;
    hooked_device broken(inner, [&](device_call call, extent) {
        if (call != device_call::read) return;
        if (exists(fresh)) made = true;
        throw error(error_kind::device_io, "read of here failed", {.device = "here", .operation = "read"});
    });
    sync_request request;
    request.source = &broken;
    request.options = small_sync_options();
    const auto push = [&] { return sync_with_remote(request, server.disk("new"), server.how()); };
    require_failure(push(), error_kind::device_io);
    CHECK(made);
    CHECK(wait_until([&] { return !exists(fresh); }));

    request.source = &inner;
    request.options.chunk_bytes = chunk_bytes_max;
    request.options.memory_bytes = 1 << 30;
    CHECK_THAT(require_failure(push(), error_kind::usage).what(), Catch::Contains("too little"));
    CHECK(wait_until([&] { return !exists(fresh); }));

    request.options = small_sync_options();
    require_ok(push());
    CHECK_FALSE(server.stop());
    CHECK(read_whole_file(fresh) == bytes_of(inner));
}
