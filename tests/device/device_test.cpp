// What a device answers by default, identities as text, a handed-in allocation, and what only a memory device does.
#include "reprotect/device.hpp"
#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "support/bytes.hpp"

#include <catch2/catch.hpp>

namespace {

using namespace reprotect;
using runs = std::vector<allocation_run>;

// As little as a device can be.
class plain_device final : public device {
public:
    const std::string& name() const override { return name_; }
    const device_identity& identity() const override { return identity_; }
    const device_properties& properties() const override { return properties_; }
    std::uint64_t size() const override { return 1000; }
    void read(std::uint64_t, std::span<std::byte>) override {}
    void write(std::uint64_t, std::span<const std::byte>) override {}
    void write_zeroes(std::uint64_t, std::uint64_t) override {}
    void flush() override {}

private:
    std::string name_ = "plain";
    device_identity identity_;
    device_properties properties_;
};

TEST_CASE("a device that knows no better is all data, cannot discard and cannot be resized", "[device]") {
    plain_device disk;
    CHECK(disk.allocation({10, 90}, 1) == runs{{{10, 90}, content::data}});
    CHECK(disk.allocation({10, 0}, 1).empty());
    CHECK_THROWS_AS(disk.allocation({10, 991}, 1), error);
    CHECK_FALSE(disk.discard(0, 1000));
    CHECK_THROWS_AS(disk.discard(1, 1000), error);
    CHECK_FALSE(disk.drop_cache());
    CHECK(disk.current_size() == 1000);
    CHECK_FALSE(disk.native());
    try {
        disk.resize(5);
        FAIL("it was resized");
    } catch (const error& failed) {
        CHECK(failed.kind() == error_kind::unsuitable);
        CHECK_FALSE(failed.detail().hint.empty());
    }
}

TEST_CASE("an identity's text is one line, whatever the hardware calls itself", "[device]") {
    CHECK(device_identity{{{"kind", "file"}, {"inode", "7"}}}.text() == "kind=file inode=7");
    CHECK(device_identity{{{"serial", "A b\n\x7f%\xff"}}}.text() == "serial=A%20b%0a%7f%25%ff");
    CHECK(device_identity{}.text().empty());
    CHECK(device_identity{{{"a", "b"}}} != device_identity{{{"a", "c"}}});
}

TEST_CASE("a handed-in allocation is what its device reports, and no more", "[device]") {
    memory_device disk(1000);
    disk.write(0, test::random_bytes(1, 1000));
    allocated_device allocated(disk, extent_set{{100, 50}, {300, 100}, {900, 200}});
    CHECK(allocated.allocation({0, 1000}, 100) == runs{{{0, 100}, content::zero},
                                                       {{100, 50}, content::data},
                                                       {{150, 150}, content::zero},
                                                       {{300, 100}, content::data},
                                                       {{400, 500}, content::zero},
                                                       {{900, 100}, content::data}});
    CHECK(allocated.allocation({120, 200}, 100) ==
          runs{{{120, 30}, content::data}, {{150, 150}, content::zero}, {{300, 20}, content::data}});
    CHECK(allocated.allocation({0, 1000}, 2) == runs{{{0, 100}, content::zero}, {{100, 50}, content::data}});
    CHECK(allocated.allocation({0, 1000}, 0) == runs{{{0, 100}, content::zero}});
    CHECK(allocated.allocation({150, 150}, 9) == runs{{{150, 150}, content::zero}});
    CHECK(allocated.allocation({150, 0}, 9).empty());
    CHECK_THROWS_AS(allocated.allocation({0, 1001}, 9), error);
    CHECK(allocated_device(disk, {}).allocation({0, 1000}, 9) == runs{{{0, 1000}, content::zero}});
    // All else goes to the device below.
    std::vector<std::byte> read(1000);
    allocated.read(0, read);
    CHECK(read == test::random_bytes(1, 1000));
}

TEST_CASE("a memory device without holes keeps the zeroes it is given as data", "[device]") {
    memory_device disk(4096 * 4);
    disk.mutable_properties().punches_holes = false;
    disk.write_zeroes(4096, 4096);
    CHECK(disk.allocation({0, disk.size()}, 9) ==
          runs{{{0, 4096}, content::zero}, {{4096, 4096}, content::data}, {{8192, 8192}, content::zero}});
}

TEST_CASE("a memory device of exabytes costs what was written to it", "[device]") {
    memory_device disk(std::uint64_t{1} << 62);
    const auto data = test::random_bytes(1, 10);
    disk.write(disk.size() - 10, data);
    CHECK(disk.allocation({0, disk.size()}, 9).size() == 2);
    disk.write_zeroes(0, disk.size());
    CHECK(disk.allocation({0, disk.size()}, 9) == runs{{{0, disk.size()}, content::zero}});
}

}  // namespace
