// One suite over every implementation of a device. A disk is compared with a model of it, a plain vector of bytes.
#include "reprotect/error.hpp"
#include "support/disk_rig.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <thread>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using bytes = std::vector<std::byte>;

constexpr std::uint64_t megabyte = 1 << 20;

bytes read_all(device& disk) {
    bytes content(disk.size());
    // Odd pieces, so that direct transfers have heads and tails.
    for (std::size_t at = 0; at < content.size();) {
        const std::size_t part = std::min<std::size_t>(content.size() - at, 300'007);
        disk.read(at, std::span(content).subspan(at, part));
        at += part;
    }
    return content;
}

// Not CHECK(a == b), which would print both on failure.
bool same(const bytes& a, const bytes& b) {
    return a == b;
}

error_kind kind_of_failure(auto&& call) {
    try {
        call();
    } catch (const error& failed) {
        return failed.kind();
    }
    throw std::logic_error("it did not fail");
}

void warn_without_loops() {
    if (!loop_devices_available()) WARN("no loop devices can be made here: only memory and tmpfs were tested");
}

class random_ranges {
public:
    random_ranges(std::uint64_t seed, std::uint64_t size) : random_(seed), size_(size) {}
    extent next(std::uint64_t length_max) {
        const std::uint64_t offset = random_() % size_;
        const std::uint64_t length = 1 + random_() % length_max;
        return {offset, std::min(length, size_ - offset)};
    }
    std::uint64_t number(std::uint64_t below) { return random_() % below; }

private:
    std::mt19937_64 random_;
    std::uint64_t size_;
};

TEST_CASE("every device reads back what was written and zeroed at odd places", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 2 * megabyte + 4095);
            bytes model(rig.disk().size());
            random_ranges ranges(7, model.size());
            for (int round = 0; round < 300; ++round) {
                const extent range = ranges.next(round % 3 == 0 ? 200'000 : 9'000);
                switch (ranges.number(4)) {
                    case 0: {
                        rig.disk().write_zeroes(range.offset, range.length);
                        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length,
                                    std::byte{0});
                        break;
                    }
                    case 1: {
                        bytes read(range.length);
                        rig.disk().read(range.offset, read);
                        REQUIRE(std::equal(read.begin(), read.end(),
                                           model.begin() + static_cast<std::ptrdiff_t>(range.offset)));
                        break;
                    }
                    default: {
                        // From memory at any address.
                        const bytes data = random_bytes(static_cast<std::uint64_t>(round), range.length + 3);
                        const auto from = std::span(data).subspan(ranges.number(4), range.length);
                        rig.disk().write(range.offset, from);
                        std::copy(from.begin(), from.end(), model.begin() + static_cast<std::ptrdiff_t>(range.offset));
                    }
                }
            }
            CHECK(same(read_all(rig.disk()), model));
            rig.disk().flush();
            rig.disk().drop_cache();
            CHECK(same(read_all(rig.disk()), model));
            rig.reopen();
            CHECK(same(read_all(rig.disk()), model));
            CHECK(rig.disk().current_size() == model.size());
        }
    }
}

TEST_CASE("every device ends at its exact size", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 4096);
            // 261,632 is 511 sectors of 512: a block device that does not end at a page.
            for (const std::uint64_t wanted :
                 {261'632u, 1u, 511u, 512u, 4095u, 4096u, 4097u, 65'536u - 511u, 65'536u + 511u}) {
                CAPTURE(wanted);
                rig.replace(wanted);
                device& disk = rig.disk();
                REQUIRE(disk.size() == (wanted + kind.size_unit - 1) / kind.size_unit * kind.size_unit);
                const bytes data = random_bytes(wanted, disk.size());
                disk.write(0, data);
                CHECK(same(read_all(disk), data));
                const std::byte last{0x5a};
                disk.write(disk.size() - 1, std::span(&last, 1));
                disk.flush();
                std::byte read{};
                disk.read(disk.size() - 1, std::span(&read, 1));
                CHECK(read == last);
                CHECK(disk.current_size() == disk.size());
                disk.write_zeroes(0, disk.size());
                CHECK(same(read_all(disk), bytes(disk.size())));
                CHECK(disk.current_size() == disk.size());
            }
        }
    }
}

TEST_CASE("zeroing a range leaves its neighbours as they were", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 64 * 1024 + 512);
            const std::uint64_t size = rig.disk().size();
            for (const extent range :
                 {extent{0, 1}, extent{1, 4094}, extent{4095, 2}, extent{4096, 4096}, extent{511, 512},
                  extent{512, 512}, extent{100, 20'000}, extent{8192, 8193}, extent{size - 1, 1},
                  extent{size - 4097, 4097}, extent{0, size}, extent{size, 0}, extent{5, 0}}) {
                CAPTURE(range.offset, range.length);
                bytes model = random_bytes(range.offset + range.length, size);
                rig.disk().write(0, model);
                rig.disk().write_zeroes(range.offset, range.length);
                std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, std::byte{0});
                CHECK(same(read_all(rig.disk()), model));
                CHECK(rig.disk().current_size() == size);
            }
        }
    }
}

TEST_CASE("allocation covers a range without gaps and calls no data zero", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 3 * megabyte + 77);
            device& disk = rig.disk();
            random_ranges ranges(11, disk.size());
            for (int count = 0; count < 12; ++count) {
                const extent range = ranges.next(40'000);
                disk.write(range.offset, random_bytes(range.offset, range.length));
            }
            disk.write_zeroes(megabyte, 100'000);
            const bytes content = read_all(disk);

            for (int count = 0; count < 60; ++count) {
                const extent within = count == 0 ? extent{0, disk.size()} : ranges.next(disk.size());
                const std::size_t runs_max = count % 2 == 0 ? 1000 : 1 + ranges.number(3);
                CAPTURE(within.offset, within.length, runs_max);
                std::uint64_t position = within.offset;
                while (position < within.end()) {
                    const auto runs = disk.allocation({position, within.end() - position}, runs_max);
                    REQUIRE(!runs.empty());
                    REQUIRE(runs.size() <= runs_max);
                    for (const allocation_run& run : runs) {
                        REQUIRE(run.range.offset == position);
                        REQUIRE(run.range.length > 0);
                        REQUIRE(run.range.end() <= within.end());
                        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(run.range.offset);
                        if (run.kind == content::zero)
                            REQUIRE(std::all_of(begin, begin + static_cast<std::ptrdiff_t>(run.range.length),
                                                [](std::byte byte) { return byte == std::byte{0}; }));
                        position = run.range.end();
                    }
                }
            }
            CHECK(disk.allocation({5, 0}, 10).empty());
            CHECK(disk.allocation({0, 10}, 0).size() == 1);
        }
    }
}

TEST_CASE("a device that punches holes shows them, and a block device is all data", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 4 * megabyte);
            device& disk = rig.disk();
            if (kind.loop_sector != 0) {
                CHECK_FALSE(disk.properties().punches_holes);
                CHECK(disk.allocation({0, disk.size()}, 10) ==
                      std::vector<allocation_run>{{{0, disk.size()}, content::data}});
                continue;
            }
            if (!kind.shows_holes) {
                CHECK_FALSE(disk.properties().punches_holes);
                disk.write(0, random_bytes(1, disk.size()));
                disk.write_zeroes(0, disk.size());
                CHECK(same(read_all(disk), bytes(disk.size())));
                continue;
            }
            CHECK(disk.properties().punches_holes);
            CHECK(disk.allocation({0, disk.size()}, 10) ==
                  std::vector<allocation_run>{{{0, disk.size()}, content::zero}});
            disk.write(megabyte, random_bytes(1, megabyte));
            disk.flush();
            CHECK(disk.allocation({0, disk.size()}, 10) ==
                  std::vector<allocation_run>{{{0, megabyte}, content::zero},
                                              {{megabyte, megabyte}, content::data},
                                              {{2 * megabyte, 2 * megabyte}, content::zero}});
            disk.write_zeroes(0, disk.size());
            disk.flush();
            CHECK(disk.allocation({0, disk.size()}, 10) ==
                  std::vector<allocation_run>{{{0, disk.size()}, content::zero}});
            if (!rig.in_memory() && kind.format.empty()) CHECK(allocated_bytes(rig.file()) < 64 * 1024);
        }
    }
}

TEST_CASE("threads on ranges that do not overlap do not disturb one another", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 2 * megabyte);
            device& disk = rig.disk();
            constexpr std::size_t threads = 4;
            constexpr std::size_t rounds = 6;
            // Strips that share pages and sectors with their neighbours, short ones among them.
            std::vector<extent> strips;
            random_ranges ranges(23, disk.size());
            for (std::uint64_t at = 0; at < disk.size();) {
                const std::uint64_t length =
                    std::min(disk.size() - at, 1 + ranges.number(ranges.number(2) == 0 ? 1500 : 30'000));
                strips.push_back({at, length});
                at += length;
            }
            disk.write(0, random_bytes(99, disk.size()));
            bytes model(disk.size());
            std::vector<std::thread> workers;
            std::atomic<bool> wrong{false};
            for (std::size_t worker = 0; worker < threads; ++worker) {
                workers.emplace_back([&, worker] {
                    try {
                        for (std::size_t round = 0; round < rounds; ++round) {
                            for (std::size_t index = worker; index < strips.size(); index += threads) {
                                const extent strip = strips[index];
                                bytes data = random_bytes(index * 1000 + round, strip.length);
                                if ((index / threads + round) % 3 == 0) {
                                    std::fill(data.begin(), data.end(), std::byte{0});
                                    disk.write_zeroes(strip.offset, strip.length);
                                } else {
                                    disk.write(strip.offset, data);
                                }
                                bytes read(strip.length);
                                disk.read(strip.offset, read);
                                if (read != data) wrong = true;
                                std::copy(data.begin(), data.end(),
                                          model.begin() + static_cast<std::ptrdiff_t>(strip.offset));
                            }
                        }
                    } catch (const std::exception&) {
                        wrong = true;
                    }
                });
            }
            for (std::thread& worker : workers) worker.join();
            CHECK_FALSE(wrong);
            CHECK(same(read_all(disk), model));
            disk.flush();
            disk.drop_cache();
            CHECK(same(read_all(disk), model));
        }
    }
}

TEST_CASE("a range that leaves the disk is refused before anything is touched", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 8192);
            device& disk = rig.disk();
            const bytes before = random_bytes(3, disk.size());
            disk.write(0, before);
            bytes buffer(2, std::byte{0xee});
            const std::uint64_t size = disk.size();
            for (const std::uint64_t offset : {size - 1, size, size + 1, ~std::uint64_t{0}, ~std::uint64_t{0} - 1}) {
                CAPTURE(offset);
                CHECK(kind_of_failure([&] { disk.read(offset, buffer); }) == error_kind::device_io);
                CHECK(kind_of_failure([&] { disk.write(offset, buffer); }) == error_kind::device_io);
                CHECK(kind_of_failure([&] { disk.write_zeroes(offset, 2); }) == error_kind::device_io);
                CHECK(kind_of_failure([&] { disk.discard(offset, 2); }) == error_kind::device_io);
                CHECK(kind_of_failure([&] { disk.allocation({offset, 2}, 1); }) == error_kind::device_io);
            }
            try {
                disk.write(size - 1, buffer);
            } catch (const error& failed) {
                CHECK(failed.detail().device == disk.name());
                CHECK(failed.detail().operation == "write");
                CHECK(failed.detail().offset == size - 1);
                CHECK(failed.detail().length == 2);
            }
            CHECK(same(read_all(disk), before));
            CHECK(disk.current_size() == size);
            CHECK(buffer == bytes(2, std::byte{0xee}));
            disk.read(size, std::span<std::byte>());
            disk.write(size, std::span<const std::byte>());
        }
    }
}

TEST_CASE("a device grows with zeroes and is cut where it can be resized, and refuses where not", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 10'000);
            device& disk = rig.disk();
            const std::uint64_t size = disk.size();
            bytes model = random_bytes(5, size);
            disk.write(0, model);
            if (!disk.properties().resizable) {
                CHECK((kind.loop_sector != 0 || kind.is_remote()));
                CHECK(kind_of_failure([&] { disk.resize(2 * size); }) == error_kind::unsuitable);
                CHECK(disk.size() == size);
                continue;
            }
            disk.resize(5001);
            CHECK(disk.size() == 5001);
            CHECK(disk.current_size() == 5001);
            disk.resize(50'000);
            model.resize(5001);
            model.resize(50'000);
            CHECK(same(read_all(disk), model));
            disk.resize(0);
            CHECK(disk.size() == 0);
            CHECK(disk.allocation({0, 0}, 1).empty());
            disk.resize(4096);
            CHECK(same(read_all(disk), bytes(4096)));
            disk.flush();
        }
    }
}

TEST_CASE("dropping the cache keeps the content, and works on local disks", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 4 * megabyte + 512);
            const bytes model = random_bytes(17, rig.disk().size());
            rig.disk().write(0, model);
            rig.disk().flush();
            // Memory has no cache; the medium of a tmpfs is the cache; a server's cache is out of reach.
            const bool on_a_medium = kind.in_memory() || (!kind.is_remote() && kind.file_system != "tmpfs");
            CHECK(rig.disk().drop_cache() == on_a_medium);
            CHECK(same(read_all(rig.disk()), model));
            CHECK(rig.disk().drop_cache() == on_a_medium);
        }
    }
}

TEST_CASE("a discard leaves the neighbours as they were, and zeroing afterwards zeroes", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 256 * 1024);
            device& disk = rig.disk();
            bytes model = random_bytes(29, disk.size());
            disk.write(0, model);
            disk.discard(1000, 100'000);
            disk.write_zeroes(1000, 100'000);
            std::fill_n(model.begin() + 1000, 100'000, std::byte{0});
            CHECK(same(read_all(disk), model));
            disk.flush();
            disk.drop_cache();
            CHECK(same(read_all(disk), model));
        }
    }
}

TEST_CASE("a device says what it is", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, 64 * 1024);
            const device_properties& properties = rig.disk().properties();
            CHECK_FALSE(properties.read_only);
            CHECK_FALSE(properties.created);
            CHECK_FALSE(rig.disk().identity().fields.empty());
            const device_identity before = rig.disk().identity();
            if (rig.in_memory()) {
                CHECK(properties.kind == device_kind::memory);
                CHECK_FALSE(rig.disk().native());
                CHECK(memory_device(1).identity() != memory_device(1).identity());
                continue;
            }
            if (kind.is_remote()) {
                CHECK(properties.kind == device_kind::other);
                CHECK_FALSE(properties.direct);
                CHECK_FALSE(rig.disk().native());
                CHECK(rig.disk().lies_in().size() == (kind.format.empty() ? 0 : 1));
                rig.reopen();
                CHECK(rig.disk().identity() == before);
                continue;
            }
            CHECK(properties.direct == (kind.direct && kind.file_system != "tmpfs"));
            if (kind.loop_sector != 0) {
                CHECK(properties.kind == device_kind::block_device);
                CHECK(properties.logical_sector == kind.loop_sector);
                CHECK(properties.physical_sector >= kind.loop_sector);
            } else {
                CHECK(properties.kind == device_kind::file);
                if (!properties.direct) CHECK(properties.logical_sector == 1);
            }
            REQUIRE(rig.disk().native());
            CHECK(rig.disk().native()->descriptor >= 0);
            CHECK(rig.disk().native()->path == rig.name());
            rig.reopen();
            CHECK(rig.disk().identity() == before);
        }
    }
}

TEST_CASE("a disk that shrank is named when it is read, and nothing is filled up", "[device]") {
    warn_without_loops();
    for (const rig_kind& kind : all_rig_kinds()) {
        if (kind.file_system.empty()) continue;
        DYNAMIC_SECTION(kind.name) {
            disk_rig rig(kind, megabyte);
            rig.disk().write(0, random_bytes(41, megabyte));
            rig.disk().flush();
            make_sparse_file(rig.file(), 40'960);
            if (rig.loop() != nullptr) rig.loop()->refresh_size();
            CHECK(rig.disk().size() == megabyte);
            CHECK(rig.disk().current_size() == 40'960);
            bytes buffer(16'384);
            try {
                rig.disk().read(32'768, buffer);
                FAIL("a read past the new end succeeded");
            } catch (const error& failed) {
                CHECK(failed.kind() == error_kind::size_changed);
                CHECK(failed.detail().offset == 40'960);
                CHECK_THAT(failed.what(), Catch::Contains("ended at 40960") && Catch::Contains("shrank"));
            }
            if (rig.loop() != nullptr)
                CHECK(kind_of_failure([&] { rig.disk().write(32'768, buffer); }) == error_kind::size_changed);
        }
    }
}

}  // namespace
