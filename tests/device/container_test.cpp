// Containers named as raw paths are refused; a fixed vhd is its data; random data is taken for neither.
#include "reprotect/error.hpp"
#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <string_view>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using bytes = std::vector<std::byte>;
constexpr open_options to_write{.mode = access::read_write};

void store_big_endian(bytes& into, std::size_t at, std::uint64_t value, std::size_t count) {
    for (std::size_t index = count; index-- > 0; value >>= 8) into[at + index] = static_cast<std::byte>(value & 0xff);
}

// A footer as the specification has it, valid down to its checksum.
bytes vhd_footer(std::uint32_t type, std::uint64_t data_bytes) {
    bytes footer(512);
    std::memcpy(footer.data(), "conectix", 8);
    store_big_endian(footer, 8, 2, 4);
    store_big_endian(footer, 12, 0x00010000, 4);
    store_big_endian(footer, 16, ~std::uint64_t{0}, 8);
    store_big_endian(footer, 40, data_bytes, 8);
    store_big_endian(footer, 48, data_bytes, 8);
    store_big_endian(footer, 60, type, 4);
    std::uint32_t sum = 0;
    for (const std::byte byte : footer) sum += std::to_integer<std::uint32_t>(byte);
    store_big_endian(footer, 64, static_cast<std::uint32_t>(~sum), 4);
    return footer;
}

bytes with_head(std::string_view mark, std::size_t size) {
    bytes content = random_bytes(1, size);
    std::memcpy(content.data(), mark.data(), mark.size());
    return content;
}

std::string detected(const bytes& content) {
    memory_device disk(content.size());
    disk.write(0, content);
    return detect_container(disk);
}

bytes fixed_vhd(std::size_t data_bytes) {
    bytes content = random_bytes(5, data_bytes);
    const bytes footer = vhd_footer(2, data_bytes);
    content.insert(content.end(), footer.begin(), footer.end());
    return content;
}

TEST_CASE("containers are told by their marks", "[device]") {
    CHECK(detected(with_head("QFI\xfb", 10'000)) == "qcow2");
    CHECK(detected(with_head("KDMV", 10'000)) == "vmdk");
    CHECK(detected(with_head("COWD", 10'000)) == "vmdk");
    CHECK(detected(with_head("# Disk DescriptorFile\nversion=1\n", 300)) == "vmdk");
    CHECK(detected(with_head("vhdxfile", 10'000)) == "vhdx");

    bytes dynamic = vhd_footer(3, 1 << 20);
    dynamic.resize(10'000);
    CHECK(detected(dynamic) == "vpc");
    bytes differencing = random_bytes(1, 9'000);
    const bytes footer = vhd_footer(4, 1 << 20);
    differencing.insert(differencing.end(), footer.begin(), footer.end());
    CHECK(detected(differencing) == "vpc");
    CHECK(detected(fixed_vhd(10'240)) == "fixed-vhd");
}

TEST_CASE("raw data is not taken for a container", "[device]") {
    CHECK(detected({}).empty());
    CHECK(detected(bytes(3)).empty());
    CHECK(detected(with_head("QFI", 3)).empty());
    for (const std::size_t size : {1u, 511u, 512u, 513u, 100'000u}) CHECK(detected(random_bytes(size, size)).empty());
    CHECK(detected(bytes(1 << 20)).empty());
    CHECK(detected(with_head("conectix", 10'000)).empty());

    // Any flipped bit of a footer makes it data: its checksum is wrong.
    const bytes good = fixed_vhd(2048);
    for (std::size_t at = 2048; at < good.size(); at += 7) {
        bytes flipped = good;
        flipped[at] ^= std::byte{0x10};
        CAPTURE(at);
        CHECK(detected(flipped).empty());
    }
    // Its size must be that of the data before it.
    bytes longer = random_bytes(1, 512);
    longer.insert(longer.end(), good.begin(), good.end());
    CHECK(detected(longer).empty());
}

TEST_CASE("a container named as a raw path is refused with the name to use, unless raw: says so", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("disk.img");
    write_whole_file(name, with_head("QFI\xfb", 10'000));
    for (const auto mode : {access::read_only, access::read_write}) {
        try {
            open_device(name, {.mode = mode});
            FAIL("a container was opened as a raw disk");
        } catch (const error& refused) {
            CHECK(refused.kind() == error_kind::container);
            CHECK_THAT(refused.what(), Catch::Contains("qcow2"));
            CHECK_THAT(refused.detail().hint, Catch::Contains("qcow2:" + name) && Catch::Contains("raw:" + name));
        }
    }
    CHECK(open_device("raw:" + name, to_write)->size() == 10'000);
}

TEST_CASE("a container on a block device is refused too", "[device]") {
    if (!loop_devices_available()) {
        WARN("no loop devices can be made here: not tested");
        return;
    }
    const temp_dir directory;
    write_whole_file(directory.file("a"), with_head("QFI\xfb", 10'240));
    const loop_device loop(directory.file("a"));
    CHECK_THROWS_AS(open_device(loop.path()), error);
    CHECK(open_device("raw:" + loop.path())->size() == 10'240);
    // What a block device ends with is its content.
    write_whole_file(directory.file("b"), fixed_vhd(10'240));
    const loop_device other(directory.file("b"));
    CHECK(open_device(other.path())->size() == 10'752);
}

TEST_CASE("a fixed vhd is its data, and its footer is out of reach", "[device]") {
    const temp_dir directory;
    const std::string name = directory.file("disk.vhd");
    const bytes content = fixed_vhd(65'536);
    write_whole_file(name, content);
    for (const bool direct : {false, true}) {
        CAPTURE(direct);
        const auto disk = open_device(name, {.mode = access::read_write, .direct = direct});
        CHECK(disk->size() == 65'536);
        CHECK(disk->current_size() == 65'536);
        CHECK_FALSE(disk->properties().resizable);
        CHECK_THROWS_AS(disk->resize(131'072), error);
        bytes read(65'536);
        disk->read(0, read);
        CHECK(std::equal(read.begin(), read.end(), content.begin()));
        CHECK_THROWS_AS(disk->write(65'535, random_bytes(1, 2)), error);
        disk->write(0, random_bytes(9, 65'536));
        disk->write_zeroes(60'000, 5'536);
        disk->flush();
        CHECK(disk->allocation({0, 65'536}, 100).back().range.end() == 65'536);
        const bytes now = read_whole_file(name);
        REQUIRE(now.size() == content.size());
        CHECK(std::equal(now.begin() + 65'536, now.end(), content.begin() + 65'536));
        write_whole_file(name, content);
    }
    CHECK(open_device("raw:" + name)->size() == 65'536 + 512);
}

TEST_CASE("a raw disk whose guest wrote a vhd footer into its last sector is not cut without a word", "[device]") {
    const temp_dir directory;
    const bytes forged = fixed_vhd((1 << 20) - 512);
    write_whole_file(directory.file("disk.img"), forged);
    try {
        open_device(directory.file("disk.img"));
        FAIL("it was opened");
    } catch (const error& refused) {
        CHECK(refused.kind() == error_kind::container);
        CHECK_THAT(refused.detail().hint, Catch::Contains("raw:"));
    }
    CHECK(open_device("raw:" + directory.file("disk.img"))->size() == 1 << 20);
    write_whole_file(directory.file("disk.VHD"), forged);
    CHECK(open_device(directory.file("disk.VHD"))->size() == (1 << 20) - 512);
}

TEST_CASE("what qemu-img makes is told apart", "[device]") {
    if (!run_command({"qemu-img", "--version"}).ok()) {
        WARN("qemu-img is not here: only hand-made marks were tested");
        return;
    }
    const temp_dir directory;
    const auto made = [&](const std::vector<std::string>& how) {
        const std::string name = directory.file("disk");
        std::filesystem::remove(name);
        std::vector<std::string> command{"qemu-img", "create", "-q"};
        command.insert(command.end(), how.begin(), how.end());
        command.insert(command.end(), {name, "4M"});
        run_checked(command);
        return detect_container(*open_device("raw:" + name));
    };
    CHECK(made({"-f", "raw"}).empty());
    CHECK(made({"-f", "qcow2"}) == "qcow2");
    CHECK(made({"-f", "vmdk"}) == "vmdk");
    CHECK(made({"-f", "vmdk", "-o", "subformat=monolithicFlat"}) == "vmdk");
    CHECK(made({"-f", "vhdx"}) == "vhdx");
    CHECK(made({"-f", "vpc"}) == "vpc");
    CHECK(made({"-f", "vpc", "-o", "subformat=fixed"}) == "fixed-vhd");
    CHECK(made({"-f", "vpc", "-o", "subformat=fixed,force_size"}) == "fixed-vhd");
    CHECK(open_device(directory.file("disk"))->size() == 4 << 20);
}

}  // namespace
