// A peer's disk, sampled through a server: what it gives is what a disk of this machine gives, over TLS and without;
// its link is measured; and what happens where either side stops. What the two sides may say to each other is
// sample_rules_test.cpp's.
#include "support/server_rig.hpp"

#include "reprotect/probe.hpp"

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "reprotect/remote.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/sync_rig.hpp"
#include "wire/sample_frames.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;
using namespace std::chrono_literals;
using bytes = std::vector<std::byte>;

constexpr std::uint32_t block = block_bytes_default;
constexpr std::uint64_t blocks = 300;
constexpr std::uint64_t disk_bytes = blocks * block - 1000;  // the last block is a short one

// Random blocks, with zeroes and repeats among them, and a hole.
bytes content_of_disk() {
    bytes content = random_bytes(7, disk_bytes);
    const auto put = [&](std::uint64_t first, std::uint64_t count, std::byte value) {
        const std::size_t end = std::min<std::size_t>((first + count) * block, content.size());
        std::fill(content.begin() + static_cast<std::ptrdiff_t>(first * block),
                  content.begin() + static_cast<std::ptrdiff_t>(end), value);
    };
    put(3, 5, std::byte{0});
    put(20, 8, std::byte{'a'});
    put(100, 64, std::byte{0});
    put(blocks - 1, 1, std::byte{0});
    return content;
}

// A sparse file with that content: zeroes of 256 KiB and more are no data there.
std::string make_disk(const temp_dir& folder) {
    const std::string path = folder.file("the-servers-own-path.img");
    const bytes content = content_of_disk();
    make_sparse_file(path, content.size());
    const auto disk = open_device(path, {access::read_write});
    disk->write(0, std::span(content).first(100 * block));
    disk->write(164 * block, std::span(content).subspan(164 * block));
    disk->flush();
    return path;
}

std::vector<extent> some_stretches() {
    return {{0, 4 * block}, {4 * block, block}, {20 * block, 30 * block}, {(blocks - 2) * block, 2 * block - 1000}};
}

void check_same(const stretch_samples& one, const stretch_samples& other) {
    REQUIRE(one.blocks.size() == other.blocks.size());
    for (std::size_t i = 0; i < one.blocks.size(); ++i) {
        INFO("block " << i);
        CHECK((one.blocks[i] == other.blocks[i]));
    }
}

// All that can be asked of a far disk, against the same asked of it here.
void check_alike(far_probed_disk& far, const std::string& path) {
    const auto device = open_device(path);
    const auto here = make_probed_disk(*device, {}, far.secret);
    CHECK(far.disk->size() == disk_bytes);
    CHECK((far.disk->allocation({}) == here->allocation({})));
    CHECK(far.disk->allocation({}).size() >= 2);
    const stretch_samples seen = far.disk->sample(some_stretches(), true, {});
    check_same(seen, here->sample(some_stretches(), true, {}));
    CHECK(seen.seconds > 0);
    CHECK(seen.blocks.back().zero);
    std::vector<std::uint64_t> offsets{0, block, 9 * block};
    for (std::uint64_t i = 20; i < 50; ++i) offsets.push_back(i * block);
    const auto weights = far.disk->weigh(offsets, {});
    auto expected = here->weigh(offsets, {});
    std::uint64_t raw = 0;
    for (const packed_batch& each : expected) raw += each.raw_bytes;
    CHECK(raw == 32 * block);  // block 9 was not sampled
    // What would tell of a few blocks alone is told by no peer.
    std::erase_if(expected, [](const packed_batch& each) { return each.raw_bytes < 12 * block; });
    REQUIRE(weights.size() == expected.size());
    REQUIRE(weights.size() >= 2);
    CHECK(far.disk->weigh(std::vector<std::uint64_t>{20 * block}, {}).empty());
    for (std::size_t i = 0; i < weights.size(); ++i) {
        CHECK(weights[i].raw_bytes == expected[i].raw_bytes);
        CHECK(weights[i].packed_bytes == expected[i].packed_bytes);
    }
}

bool positive(const spread<double>& each) {
    return each.low > 0 && each.low <= each.likely && each.likely <= each.high;
}

}  // namespace

TEST_CASE("a peer's disk that is sampled gives what it gives where it is, over TLS and without", "[sync][wire]") {
    const temp_dir folder;
    const std::string path = make_disk(folder);
    server_rig server;
    // A peer may look at either.
    server.offer("disk", path, GENERATE(export_role::source, export_role::target));
    connect_options how = server.how();
    if (GENERATE(false, true)) {
        server.options.insecure_plaintext = true;
        how.credentials.reset();
        how.insecure_plaintext = true;
    }
    server.start();
    {
        far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, how);
        CHECK(far.disk->name() == server.disk("disk"));
        check_alike(far, path);
    }
    CHECK(server.logged("session-begin", "client") == "sampler");
    CHECK(server.logged("session-end", "read") == std::to_string(37 * block - 1000));
    CHECK(server.count("session-failed") == 0);
}

TEST_CASE("a sync right after a look has its session, also where there is to be only one", "[sync][wire]") {
    const temp_dir folder;
    const std::string path = make_disk(folder);
    server_rig server;
    server.offer("disk", path, export_role::source);
    server.options.once = GENERATE(false, true);
    if (!server.options.once) server.options.sessions_max = 1;
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    check_same(far.disk->sample(some_stretches(), true, {}), far.disk->sample(some_stretches(), true, {}));
    // It has not let go yet when the sync comes.
    std::thread late([&] {
        std::this_thread::sleep_for(200ms);
        far.disk.reset();
    });
    memory_device here(disk_bytes, "here");
    sync_request request;
    request.target = &here;
    const sync_report report = sync_with_remote(request, server.disk("disk"), server.how());
    late.join();
    require_ok(report);
    CHECK(bytes_of(here) == read_whole_file(path));
    if (server.options.once) CHECK_FALSE(server.wait());
}

TEST_CASE("what is more than one question may ask is asked in parts", "[sync][wire]") {
    const temp_dir folder;
    // Every second of many small blocks, and then more than 256 MiB at once, of which little is data.
    constexpr std::uint64_t size = sample_bytes_max + (40 << 20) + 512;
    const std::string path = folder.file("disk.img");
    make_sparse_file(path, size);
    const auto device = open_device(path, {access::read_write});
    for (std::uint64_t at = 0; at < 9000; at += 3) device->write(at * 512, random_bytes(at, 512));
    server_rig server;
    server.offer("disk", path, export_role::source);
    server.start();
    sampling_options options;
    options.block_bytes = 512;
    far_probed_disk far = probe_remote_disk(server.disk("disk"), options, server.how());
    const auto here = make_probed_disk(*device, options, far.secret);
    std::vector<extent> stretches;
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t at = 0; at < 9000; at += 2) {
        stretches.push_back({at * 512, 512});
        offsets.push_back(at * 512);
    }
    REQUIRE(stretches.size() > sample_stretches_max);
    const stretch_samples small = far.disk->sample(stretches, true, {});
    check_same(small, here->sample(stretches, true, {}));
    std::uint64_t raw = 0, raw_here = 0;
    for (const packed_batch& each : far.disk->weigh(offsets, {})) raw += each.raw_bytes;
    for (const packed_batch& each : here->weigh(offsets, {})) raw_here += each.raw_bytes;
    CHECK(raw == raw_here);
    CHECK(raw != 0);
    const std::vector<extent> all{{0, size}};
    const stretch_samples whole = far.disk->sample(all, false, {});
    const stretch_samples whole_here = here->sample(all, false, {});
    CHECK((whole.blocks == whole_here.blocks));
}

TEST_CASE("a link is measured both ways, whichever side the far disk is", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    // What the server sends is held back.
    server.options.limit = make_rate_limiter(2 << 20);
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    const link_rates as_source = measure_link(*far.disk, peer_role::source, 0.5);
    CHECK(positive(as_source.round_trip_s));
    CHECK(positive(as_source.to_target));
    CHECK(positive(as_source.to_source));
    CHECK(as_source.to_target.likely < 0.5 * as_source.to_source.likely);
    const link_rates as_target = measure_link(*far.disk, peer_role::target, 0.5);
    CHECK(as_target.to_source.likely < 0.5 * as_target.to_target.likely);
    // It serves on afterwards.
    CHECK(far.disk->sample(some_stretches(), false, {}).blocks.size() == 37);
    memory_device near(4096);
    const auto here = make_probed_disk(near, {}, random_secret());
    require_failure(failure_of([&] { measure_link(*here, peer_role::source, 1); }), error_kind::usage, "no link");
}

TEST_CASE("what may cross for a far disk is a limit, and what crossed is counted", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.start();
    const auto within = [](const link_traffic& crossed, const link_traffic& most) {
        return crossed.sent <= most.sent + (32 << 10) && crossed.received <= most.received;
    };
    SECTION("a link is measured with half of it") {
        const link_traffic most{1 << 20, 2 << 20};
        far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how(), {}, most);
        const link_rates rates = measure_link(*far.disk, peer_role::source, 5);
        CHECK(positive(rates.to_target));
        const link_traffic crossed = traffic_of(*far.disk);
        CHECK(crossed.sent >= 64 << 10);
        CHECK(crossed.received >= 64 << 10);
        CHECK(crossed.sent < most.sent * 6 / 10);
        CHECK(crossed.received < most.received * 6 / 10);
        CHECK(far.disk->sample(some_stretches(), false, {}).blocks.size() == 37);
    }
    SECTION("too little to measure a link with") {
        const link_traffic most{100'000, 100'000};
        far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how(), {}, most);
        require_failure(failure_of([&] { measure_link(*far.disk, peer_role::source, 5); }), error_kind::limit,
                        "more than may cross");
        CHECK(within(traffic_of(*far.disk), most));
    }
    SECTION("answers come to its end, or questions") {
        const bool back = GENERATE(false, true);
        const link_traffic most = back ? link_traffic{UINT64_MAX, 40'000} : link_traffic{20'000, UINT64_MAX};
        far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how(), {}, most);
        const auto ask = [&] {
            for (unsigned i = 0; i < 10'000; ++i) far.disk->sample(std::vector<extent>{{0, block}}, false, {});
        };
        require_failure(failure_of(ask), error_kind::limit, "more than may cross");
        CHECK(within(traffic_of(*far.disk), most));
        require_failure(failure_of(ask), error_kind::limit, "more than may cross");
    }
    SECTION("whatever comes is held to it, too") {
        const auto look = [&] { probe_remote_disk(server.disk("disk"), {}, server.how(), {}, {UINT64_MAX, 100}); };
        require_failure(failure_of(look), error_kind::limit, "more than may cross");
    }
    memory_device near(4096);
    const auto here = make_probed_disk(near, {}, random_secret());
    require_failure(failure_of([&] { traffic_of(*here); }), error_kind::usage, "no link");
}

TEST_CASE("two samplings of one disk have digests that cannot be compared", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.start();
    far_probed_disk one = probe_remote_disk(server.disk("disk"), {}, server.how());
    far_probed_disk other = probe_remote_disk(server.disk("disk"), {}, server.how());
    CHECK(one.secret.bytes != other.secret.bytes);
    const auto of_one = one.disk->sample(some_stretches(), false, {}),
               of_other = other.disk->sample(some_stretches(), false, {});
    for (std::size_t i = 0; i < of_one.blocks.size(); ++i) CHECK(of_one.blocks[i].value != of_other.blocks[i].value);
}

TEST_CASE("a sampler has a reader's rights and holds a reader's lease", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::target);
    server.start();
    require_failure(failure_of([&] { probe_remote_disk(server.disk("other"), {}, server.how()); }),
                    error_kind::not_found, "there is no export named");
    {
        far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
        memory_device source(disk_bytes);
        sync_request request;
        request.source = &source;
        request.options = small_sync_options();
        require_failure(sync_with_remote(request, server.disk("disk"), server.how()).failure, error_kind::in_use,
                        "in use by another session");
        checksum_options options;
        CHECK_NOTHROW(checksum_remote(server.disk("disk"), options, server.how()));
    }
    server.stop();
    require_failure(failure_of([&] { probe_remote_disk(server.disk("disk"), {}, server.how()); }), error_kind::peer,
                    "connecting to");
}

TEST_CASE("a far disk that nobody asks for a while is still there", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.options.patience = 1200ms;
    server.start();
    connect_options how = server.how();
    how.patience = 1200ms;
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, how);
    std::this_thread::sleep_for(2600ms);
    CHECK(far.disk->sample(some_stretches(), false, {}).blocks.size() == 37);
    CHECK(server.count("session-failed") == 0);
}

TEST_CASE("stretches and blocks that cannot be are refused before anything is asked", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    const std::vector<std::vector<extent>> wrong{
        {{1, block}},               // unaligned
        {{0, block - 1}},           // in the middle of a block
        {{0, 0}},                   // nothing
        {{0, disk_bytes + 1}},      // out of the disk
        {{blocks * block, block}},  // beyond it
        {{std::uint64_t{1} << 63, std::uint64_t{1} << 63}},
        {{block, block}, {0, block}},      // descending
        {{0, 2 * block}, {block, block}},  // overlapping
    };
    for (const auto& each : wrong)
        require_failure(failure_of([&] { far.disk->sample(each, false, {}); }), error_kind::usage, "cannot be sampled");
    for (const std::uint64_t each : {std::uint64_t{1}, blocks * block})
        require_failure(failure_of([&] { far.disk->weigh(std::vector{each}, {}); }), error_kind::usage,
                        "cannot be weighed");
    CHECK(far.disk->sample({}, false, {}).blocks.empty());
    CHECK(far.disk->weigh({}, {}).empty());
    CHECK(far.disk->sample(some_stretches(), false, {}).blocks.size() == 37);
    require_failure(failure_of([&] { probe_remote_disk(server.disk("disk"), {.block_bytes = 1000}, server.how()); }),
                    error_kind::usage, "block");
}

TEST_CASE("a disk without a byte can be looked at", "[sync][wire]") {
    const temp_dir folder;
    make_sparse_file(folder.file("disk.img"), 0);
    server_rig server;
    server.offer("disk", folder.file("disk.img"), export_role::source);
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    CHECK(far.disk->size() == 0);
    CHECK(far.disk->allocation({}).empty());
}

TEST_CASE("sampling that is cancelled ends at once, and so does the server's reading", "[sync][wire]") {
    const temp_dir folder;
    constexpr std::uint64_t size = 1ull << 40;  // minutes of reading
    make_sparse_file(folder.file("disk.img"), size);
    server_rig server;
    server.offer("disk", folder.file("disk.img"), export_role::source);
    server.options.options.depth = 1;
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    std::stop_source stop;
    std::jthread stopper([&] {
        std::this_thread::sleep_for(50ms);
        stop.request_stop();
    });
    const std::vector<extent> all{{0, size}};
    require_failure(failure_of([&] { far.disk->sample(all, false, stop.get_token()); }), error_kind::interrupted,
                    "interrupted");
    // It may have been between two questions when its client went.
    CHECK(wait_until([&] { return server.count("session-failed") + server.count("session-end") == 1; }));
    CHECK(failure_of([&] { far.disk->allocation({}); }));
}

TEST_CASE("a cancel before there is a far disk ends connecting", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.start();
    std::stop_source stop;
    stop.request_stop();
    require_failure(failure_of([&] { probe_remote_disk(server.disk("disk"), {}, server.how(), stop.get_token()); }),
                    error_kind::interrupted, "interrupted");
}

TEST_CASE("a server that stops ends a sampling, and its client hears of it", "[sync][wire]") {
    const temp_dir folder;
    server_rig server;
    server.offer("disk", make_disk(folder), export_role::source);
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    CHECK_FALSE(server.stop());
    CHECK(server.logged("session-failed", "kind") == "interrupted");
    require_failure(failure_of([&] { far.disk->sample(some_stretches(), false, {}); }), error_kind::peer, "");
    // And again, as long as anybody asks.
    require_failure(failure_of([&] { far.disk->allocation({}); }), error_kind::peer, "");
}
