// State records: nothing but what was written is ever read back, and only for the disk that it was written of.
#include "reprotect/state_record.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "reprotect/error.hpp"
#include "support/disk_users.hpp"
#include "support/other_process.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

state_record example() {
    state_record record;
    record.source.fields = {{"kind", "file"}, {"fs", "fsid:0102"}, {"inode", "17"}, {"birth", "1790000000.5"}};
    record.target.fields = {{"kind", "block"}, {"wwn", "naa.5000c500a1b2c3d4"}, {"size", "1073741824"}};
    record.source_name = "/disks/new disk: 100%.img";
    record.target_name = "/dev/sd\nb\xff";
    record.source_size = 1073741824;
    record.target_size = 18446744073709551615ull;
    record.session = "00112233445566778899aabbccddeeff";
    record.status = target_status::poisoned;
    record.updated = "2026-11-22T10:00:00Z";
    return record;
}

error_kind kind_of(const std::function<void()>& run) {
    try {
        run();
    } catch (const error& failed) {
        return failed.kind();
    }
    FAIL("nothing was thrown");
    throw;
}

std::filesystem::path only_file(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) files.push_back(entry.path());
    REQUIRE(files.size() == 1);
    return files[0];
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

bool refused(const std::string& text) {
    try {
        parse_state_record(text, "origin");
        return false;
    } catch (const error& failed) {
        return failed.kind() == error_kind::corrupt_file && failed.detail().device == "origin" &&
               !failed.detail().hint.empty();
    }
}

}  // namespace

TEST_CASE("a state record comes back as it was, whatever its names are", "[sync][state]") {
    state_record record = example();
    for (const target_status status : {target_status::clean, target_status::dirty, target_status::poisoned}) {
        record.status = status;
        CHECK(parse_state_record(serialize(record), "origin") == record);
    }
    record.source.fields = {{"a: b", "c: d"}, {"", ""}, {"%41", "sha256: x\n"}, {"same", "1"}, {"same", "2"}};
    CHECK(parse_state_record(serialize(record), "origin") == record);
    CHECK(parse_state_record(serialize({}), "origin") == state_record());
}

TEST_CASE("a state record is text with the same bytes for ever", "[sync][state]") {
    CHECK(serialize(example()) ==
          "reprotect state record 1\n"
          "source.kind: file\n"
          "source.fs: fsid:0102\n"
          "source.inode: 17\n"
          "source.birth: 1790000000.5\n"
          "target.kind: block\n"
          "target.wwn: naa.5000c500a1b2c3d4\n"
          "target.size: 1073741824\n"
          "source_name: /disks/new disk: 100%25.img\n"
          "target_name: /dev/sd%0ab%ff\n"
          "source_size: 1073741824\n"
          "target_size: 18446744073709551615\n"
          "session: 00112233445566778899aabbccddeeff\n"
          "status: poisoned\n"
          "updated: 2026-11-22T10:00:00Z\n"
          "sha256: ed308f2cf32f4f181077940d6e60aa36e93e02274354658ff24d82f85db4d045\n");
}

TEST_CASE("every flipped bit, cut and added byte in a state record is found", "[sync][state]") {
    const std::string text = serialize(example());
    int missed = 0;
    for (std::size_t at = 0; at < text.size(); ++at)
        for (int bit = 0; bit < 8; ++bit) {
            std::string flipped = text;
            flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
            missed += refused(flipped) ? 0 : 1;
        }
    for (std::size_t length = 0; length < text.size(); ++length) missed += refused(text.substr(0, length)) ? 0 : 1;
    CHECK(missed == 0);
    CHECK(refused(text + "\n"));
    CHECK(refused(text + text));
    CHECK(refused(" " + text));
    CHECK(refused(std::string(70000, 'x')));
}

TEST_CASE("a field that is unknown, missing, doubled or moved is refused under a good checksum, too", "[sync][state]") {
    const std::string text = serialize(example());
    const auto signed_again = [](const std::string& body) {
        return body + "sha256: " + run_command({"sha256sum"}, body).output.substr(0, 64) + "\n";
    };
    const std::string body = text.substr(0, text.rfind("sha256: "));
    REQUIRE(signed_again(body) == text);
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string changed = body;
        changed.replace(changed.find(from), from.size(), to);
        return signed_again(changed);
    };
    CHECK(refused(with("updated: ", "future: 1\nupdated: ")));
    CHECK(refused(with("session: 00112233445566778899aabbccddeeff\n", "")));
    CHECK(refused(with("status: poisoned\n", "status: poisoned\nstatus: poisoned\n")));
    CHECK(refused(with("status: poisoned\n", "status: clean\nstatus: poisoned\n")));
    CHECK(refused(with("status: poisoned\n", "status: whatever\n")));
    CHECK(refused(with("source_size: 1073741824\n", "source_size: 01073741824\n")));
    CHECK(refused(with("target_size: 18446744073709551615\n", "target_size: 18446744073709551616\n")));
    CHECK(refused(with("source_size: 1073741824\ntarget_size: 18446744073709551615\n",
                       "target_size: 18446744073709551615\nsource_size: 1073741824\n")));
    CHECK(refused(with("/dev/sd%0ab", "/dev/sd%0Ab")));
    CHECK(refused(with("state record 1\n", "state record 2\n")));
}

TEST_CASE("a directory keeps one record a target, for its owner alone", "[sync][state]") {
    const temp_dir temporary;
    const std::filesystem::path directory = temporary.path() / "some" / "state";
    const auto store = open_state_directory(directory);
    const state_record record = example();
    CHECK_FALSE(store->find_target(record.target));
    CHECK(store->find_source(record.source).empty());
    CHECK_NOTHROW(store->remove(record.target));
    CHECK_FALSE(std::filesystem::exists(directory));  // looking makes nothing

    store->save(record);
    CHECK(store->find_target(record.target) == record);
    CHECK(store->find_source(record.source) == std::vector<state_record>{record});
    CHECK(store->find_source(record.target).empty());
    struct stat info {};
    REQUIRE(::stat(directory.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
    const std::filesystem::path file = only_file(directory);
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(file.filename().string().size() == 64 + std::string(".record").size());

    state_record newer = record;
    newer.status = target_status::clean;
    newer.source.fields[2].second = "18";
    store->save(newer);
    CHECK(only_file(directory) == file);
    CHECK(open_state_directory(directory)->find_target(record.target) == newer);
    CHECK(store->find_source(record.source).empty());

    store->remove(record.target);
    CHECK_FALSE(store->find_target(record.target));
    CHECK(std::filesystem::is_empty(directory));
}

TEST_CASE("a record is not found for a disk that differs in any field of its identity", "[sync][state]") {
    const temp_dir temporary;
    const auto on_disk = open_state_directory(temporary.path() / "state");
    const auto in_memory = make_memory_state_store();
    const state_record record = example();
    for (state_store* store : {on_disk.get(), in_memory.get()}) {
        store->save(record);
        for (std::size_t field = 0; field < record.target.fields.size(); ++field) {
            device_identity other = record.target;
            other.fields[field].second += "1";
            CHECK_FALSE(store->find_target(other));
            other = record.target;
            other.fields[field].first += "x";
            CHECK_FALSE(store->find_target(other));
            other = record.target;
            other.fields.erase(other.fields.begin() + static_cast<std::ptrdiff_t>(field));
            CHECK_FALSE(store->find_target(other));
        }
        for (std::size_t field = 0; field < record.source.fields.size(); ++field) {
            device_identity other = record.source;
            other.fields[field].second += "1";
            CHECK(store->find_source(other).empty());
        }
        CHECK(store->find_target(record.target) == record);
        store->remove(record.target);
        CHECK_FALSE(store->find_target(record.target));
    }
}

TEST_CASE("a record that lies under another disk's name is ignored", "[sync][state]") {
    const temp_dir temporary;
    const std::filesystem::path directory = temporary.path() / "state";
    const auto store = open_state_directory(directory);
    state_record other = example();
    other.target.fields[1].second = "naa.5000c500a1b2c3d5";
    store->save(other);
    const std::filesystem::path wrong = only_file(directory);
    const std::string content = serialize(example());
    put(wrong, content);
    CHECK_FALSE(store->find_target(other.target));
}

TEST_CASE("files that are no records are left alone", "[sync][state]") {
    const temp_dir temporary;
    const auto store = open_state_directory(temporary.path());
    put(temporary.path() / "notes.txt", "hello");
    put(temporary.path() / ".reprotect-0123.tmp", "half");
    put(temporary.path() / (std::string(64, 'G') + ".record"), "no digest");
    std::filesystem::create_directory(temporary.path() / "folder");
    const state_record record = example();
    store->save(record);
    CHECK(store->find_source(record.source) == std::vector<state_record>{record});
}

TEST_CASE("a corrupt record is an error that names the file and the way out", "[sync][state]") {
    const temp_dir temporary;
    const auto store = open_state_directory(temporary.path());
    const state_record record = example();
    store->save(record);
    const std::filesystem::path file = only_file(temporary.path());
    const std::string good = content_of(file);
    for (const std::string& bad : {std::string(), good.substr(0, good.size() / 2), std::string(100000, 'x')}) {
        put(file, bad);
        try {
            store->find_target(record.target);
            FAIL("a corrupt record was read");
        } catch (const error& failed) {
            CHECK(failed.kind() == error_kind::corrupt_file);
            CHECK(failed.detail().device == file.string());
            CHECK(std::string(failed.what()).find(file.string()) != std::string::npos);
            CHECK(failed.detail().hint.find("move " + file.string() + " away") != std::string::npos);
        }
        CHECK(kind_of([&] { store->find_source(record.source); }) == error_kind::corrupt_file);
    }
    store->save(record);  // a new one takes its place
    CHECK(store->find_target(record.target) == record);
}

TEST_CASE("records are neither read nor written through symbolic links", "[sync][state]") {
    const temp_dir temporary;
    const std::filesystem::path directory = temporary.path() / "state";
    const auto store = open_state_directory(directory);
    const state_record record = example();
    store->save(record);
    const std::filesystem::path file = only_file(directory);
    const std::filesystem::path elsewhere = temporary.path() / "elsewhere";
    std::filesystem::rename(file, elsewhere);
    std::filesystem::create_symlink(elsewhere, file);
    CHECK(kind_of([&] { store->find_target(record.target); }) == error_kind::unsuitable);

    const std::string before = content_of(elsewhere);
    state_record newer = record;
    newer.status = target_status::clean;
    store->save(newer);
    CHECK_FALSE(std::filesystem::is_symlink(file));
    CHECK(content_of(elsewhere) == before);
}

TEST_CASE("a state directory that cannot be written to is a clear error", "[sync][state]") {
    const temp_dir temporary;
    const state_record record = example();
    put(temporary.path() / "file", "");
    CHECK_THROWS_AS(open_state_directory(temporary.path() / "file")->save(record), error);
    CHECK_THROWS_AS(open_state_directory(temporary.path() / "file" / "state")->save(record), error);

    const mounted small({"-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs"}, temporary.file("mnt"));
    const auto store = open_state_directory(small.path() + "/state");
    store->save(record);
    run_checked({"mount", "-o", "remount,ro", small.path()});
    state_record newer = record;
    newer.status = target_status::clean;
    for (const auto& run :
         std::vector<std::function<void()>>{[&] { store->save(newer); }, [&] { store->remove(record.target); },
                                            [&] { open_state_directory(small.path() + "/other")->save(record); }}) {
        try {
            run();
            FAIL("nothing was thrown");
        } catch (const error& failed) {
            CHECK(failed.kind() == error_kind::permission);
            CHECK(failed.detail().device.starts_with(small.path()));
            CHECK(failed.detail().hint.find("--state") != std::string::npos);
        }
    }
    CHECK(store->find_target(record.target) == record);

    run_checked({"mount", "-o", "remount,rw", small.path()});
    run_command({"dd", "if=/dev/zero", "of=" + small.path() + "/fill", "bs=4k"});
    CHECK(kind_of([&] { store->save(newer); }) == error_kind::no_space);
    CHECK(store->find_target(record.target) == record);  // the old one is whole
}

TEST_CASE("a process that is killed while it saves leaves a whole record", "[sync][state]") {
    const temp_dir temporary;
    const state_record record = example();
    const std::filesystem::path directory = temporary.path() / "state";
    for (int round = 0; round < 25; ++round) {
        other_process writer([&](other_process::side& side) {
            const auto store = open_state_directory(directory);
            state_record mine = record;
            store->save(mine);
            side.tell();
            for (std::uint64_t count = 0;; ++count) {
                mine.source_size = count;
                mine.source_name.assign(static_cast<std::size_t>(count % 3000), 'n');
                store->save(mine);
            }
        });
        REQUIRE(writer.wait() == 'r');
        ::usleep(static_cast<useconds_t>(500 + 370 * round));
        writer.end();
        const auto found = open_state_directory(directory)->find_target(record.target);
        REQUIRE(found);
        CHECK(found->target == record.target);
    }
}

TEST_CASE("the state directory of root is the system's", "[sync][state]") {
    if (::geteuid() == 0) CHECK(default_state_directory() == "/var/lib/reprotect");
    other_process user([](other_process::side& side) {
        if (::setuid(65534) != 0) side.tell('f');
        ::setenv("HOME", "/home/u", 1);
        ::unsetenv("XDG_STATE_HOME");
        bool right = default_state_directory() == "/home/u/.local/state/reprotect";
        ::setenv("XDG_STATE_HOME", "/home/u/state", 1);
        right = right && default_state_directory() == "/home/u/state/reprotect";
        side.tell(right ? 'r' : 'w');
    });
    CHECK(user.wait() == 'r');
}
