// One disk under many names, and disks that are not one although they look alike.
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "reprotect/error.hpp"
#include "reprotect/interlock.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/disk_users.hpp"
#include "support/loop_device.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t mebibyte = 1 << 20;

bool same(const std::string& a, const std::string& b) {
    const auto first = open_device("raw:" + a);
    const auto second = open_device("raw:" + b);
    const bool forward = same_disk(*first, *second);
    CHECK(forward == same_disk(*second, *first));
    return forward;
}

std::string make_image(const temp_dir& directory, const std::string& name, std::uint64_t size_bytes = 16 * mebibyte) {
    make_sparse_file(directory.file(name), size_bytes);
    return directory.file(name);
}

bool loops() {
    if (loop_devices_available()) return true;
    WARN("no loop devices here: not tested");
    return false;
}

// A disk of an agent's own, told from others by nothing but its identity.
class named_device final : public device_decorator {
public:
    named_device(device& inner, device_identity identity) : device_decorator(inner), identity_(std::move(identity)) {}
    const device_identity& identity() const override { return identity_; }

private:
    device_identity identity_;
};

}  // namespace

TEST_CASE("a file is the same disk by symbolic link, hard link and bind mount", "[device][interlock]") {
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const std::string copy = make_image(directory, "copy.img");
    std::filesystem::create_symlink(image, directory.file("symbolic"));
    std::filesystem::create_hard_link(image, directory.file("hard"));
    CHECK(same(image, image));
    CHECK(same(image, directory.file("symbolic")));
    CHECK(same(image, directory.file("hard")));
    CHECK_FALSE(same(image, copy));

    const mounted view({"--bind", directory.path().string()}, directory.file("view"));
    CHECK(same(image, view.path() + "/disk.img"));
    CHECK_FALSE(same(copy, view.path() + "/disk.img"));
}

TEST_CASE("a file is the same disk as the loop devices over it, also nested", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const std::string other = make_image(directory, "other.img");
    const loop_device outer(image);
    const loop_device again(image);
    const loop_device nested(outer.path());
    const loop_device separate(other);
    CHECK(same(image, outer.path()));
    CHECK(same(outer.path(), again.path()));
    CHECK(same(nested.path(), outer.path()));
    CHECK(same(nested.path(), image));
    CHECK(same(nested.path(), again.path()));
    CHECK_FALSE(same(separate.path(), outer.path()));
    CHECK_FALSE(same(other, nested.path()));
}

TEST_CASE("loop devices over one file are the same disk only where their ranges meet", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device head(image, {.size_limit = 8 * mebibyte});
    const loop_device tail(image, {.offset = 8 * mebibyte});
    const loop_device across(image, {.offset = 8 * mebibyte - 4096, .size_limit = 8192});
    CHECK_FALSE(same(head.path(), tail.path()));
    CHECK(same(head.path(), across.path()));
    CHECK(same(tail.path(), across.path()));
    CHECK(same(head.path(), image));
    CHECK(same(tail.path(), image));
}

TEST_CASE("a partition is the same disk as its parent and not as its sibling", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device loop(image, {.partitions = true});
    const partition first(loop.path(), 1, {mebibyte, 4 * mebibyte}, directory.path());
    const partition second(loop.path(), 2, {8 * mebibyte, 4 * mebibyte}, directory.path());
    CHECK(same(first.path(), loop.path()));
    CHECK(same(second.path(), image));
    CHECK_FALSE(same(first.path(), second.path()));

    const loop_device over_first(image, {.offset = mebibyte, .size_limit = mebibyte});
    CHECK(same(over_first.path(), first.path()));
    CHECK_FALSE(same(over_first.path(), second.path()));
}

TEST_CASE("an image lies within the disk of its file system, and beside other images there", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string outer = make_image(directory, "outer.img", 32 * mebibyte);
    run_checked({"mkfs.ext4", "-q", "-F", outer});
    const loop_device loop(outer);
    const mounted mount({loop.path()}, directory.file("mnt"));
    make_sparse_file(mount.path() + "/a.img", mebibyte);
    make_sparse_file(mount.path() + "/b.img", mebibyte);
    CHECK(same(mount.path() + "/a.img", loop.path()));
    CHECK(same(mount.path() + "/a.img", outer));
    CHECK_FALSE(same(mount.path() + "/a.img", mount.path() + "/b.img"));
    const loop_device inner(mount.path() + "/a.img");
    CHECK(same(inner.path(), outer));
    CHECK_FALSE(same(inner.path(), mount.path() + "/b.img"));
}

TEST_CASE("a target that is its source by another name is refused before who uses it matters", "[device][interlock]") {
    if (!loops()) return;
    const temp_dir directory;
    const std::string image = make_image(directory, "disk.img");
    const loop_device loop(image);
    const auto source = open_device(image);
    const auto target = open_device(loop.path(), {.mode = access::read_write});
    try {
        guard_target(*target, *source);
        FAIL("accepted");
    } catch (const error& refused) {
        CHECK(refused.kind() == error_kind::same_disk);
        CHECK(refused.detail().device == loop.path());
        CHECK(refused.detail().hint == "name two different disks");
    }
}

TEST_CASE("without native handles equal identities mean one disk, and empty ones mean nothing", "[device][interlock]") {
    memory_device a(mebibyte, "a");
    memory_device b(mebibyte, "b");
    const device_identity export_one{{{"kind", "nbd"}, {"export", "one"}}};
    const device_identity export_two{{{"kind", "nbd"}, {"export", "two"}}};
    named_device first(a, export_one);
    CHECK(same_disk(first, first));
    named_device again(b, export_one);
    named_device other(b, export_two);
    named_device nameless(a, {});
    named_device nameless_too(b, {});
    CHECK(same_disk(first, again));
    CHECK_FALSE(same_disk(first, other));
    CHECK_FALSE(same_disk(nameless, nameless_too));
}
