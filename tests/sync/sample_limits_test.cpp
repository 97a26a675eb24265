// How much a server gives to who looks at a disk, and for how long, whatever is asked and however it is taken.
#include <catch2/catch.hpp>

#include "support/device_doubles.hpp"
#include "support/sample_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace reprotect::test::sampling;

TEST_CASE("what is kept for weighing is bounded by both sides", "[sync][wire]") {
    memory_device disk = random_disk();
    disk.write(0, random_bytes(1, disk_bytes));
    const auto [ours, theirs, told] =
        GENERATE(table<std::uint64_t, std::uint64_t, std::uint64_t>({{24 * block, UINT64_MAX, 16},
                                                                     {UINT64_MAX, 36 * block, 32},
                                                                     {UINT64_MAX, 0, 0},
                                                                     {100 * block, 100 * block, 60}}));
    server_side server(disk, 20s, ours);
    REQUIRE(server.greet(theirs));
    server.other.say(sample_question({{0, 60 * block}}, true));
    while (const auto frame = server.other.hear())
        if (frame->kind == frame_kind::samples_end) break;
    CHECK(server.weighed(60) == told * block);
}

TEST_CASE("what a few blocks weigh is told to nobody", "[sync][wire]") {
    memory_device disk = random_disk();
    disk.write(0, random_bytes(1, disk_bytes));
    server_side server(disk);
    REQUIRE(server.greet());
    server.other.say(sample_question({{0, 60 * block}}, true));
    while (const auto frame = server.other.hear())
        if (frame->kind == frame_kind::samples_end) break;
    CHECK(server.weighed(1) == 0);
    CHECK(server.weighed(11) == 0);
    CHECK(server.weighed(12) == 12 * block);
    CHECK(server.weighed(16 + 11) == 16 * block);  // a batch, and what is left over
    CHECK(server.weighed(16 + 12) == 28 * block);
}

TEST_CASE("a server answers no more than a probe asks, and tells why", "[sync][wire]") {
    memory_device disk = random_disk();
    disk.write(0, random_bytes(1, disk_bytes));
    server_side server(disk, 20s, 1 << 20);
    REQUIRE(server.greet());
    bytes question;
    std::string why;
    std::uint64_t least = 0, most = 0;
    SECTION("of the layout") {
        question = layout_question();
        why = "the layout again and again";
        least = most = 8;
    }
    SECTION("of blocks") {
        question = sample_question({{0, disk_bytes}});
        why = "more to be sampled than there is on the disk";
        least = 1;
        most = 1 + (16 << 20) / disk_bytes;
    }
    SECTION("of weights") {
        std::vector<std::uint64_t> offsets;
        for (std::uint64_t i = 0; i < blocks; ++i) offsets.push_back(i * block);
        server.other.say(sample_question({{0, disk_bytes}}, true));
        while (const auto frame = server.other.hear())
            if (frame->kind == frame_kind::samples_end) break;
        question = weigh_question(offsets);
        why = "the same blocks to be weighed again and again";
        least = 4;
        most = 1 + 4ull * (1 << 20) / disk_bytes;
    }
    SECTION("of filler") {
        question = frame_of(wire_echo_wish{filler_bytes_max});
        why = "filler without end";
        least = most = 24;
    }
    std::uint64_t answers = 0;
    std::optional<error> told;
    while (!told && answers < 1000) {
        server.other.say(question);
        for (auto frame = server.other.hear(); frame; frame = server.other.hear()) {
            if (frame->kind == frame_kind::failed) told = std::get<failed>(*decode(frame->kind, frame->payload)).why;
            const bool last = frame->kind == frame_kind::allocation || frame->kind == frame_kind::samples_end ||
                              frame->kind == frame_kind::weights || frame->kind == frame_kind::echo;
            answers += last ? 1 : 0;
            if (last || told) break;
        }
    }
    server.other.end();
    require_failure(told, error_kind::peer, why);
    require_failure(server.wait(), error_kind::peer, why);
    CHECK(answers >= least);
    CHECK(answers <= most);
}

TEST_CASE("a server lets nobody look for ever", "[sync][wire]") {
    memory_device memory = random_disk();
    hooked_device disk(memory, [&](device_call call, extent) {
        if (call == device_call::read) std::this_thread::sleep_for(50ms);  // slower than any disk that is waited for
    });
    server_side server(disk, 20s, 1 << 20, 1s);
    REQUIRE(server.greet());
    const bool idle = GENERATE(false, true);
    const auto begun = std::chrono::steady_clock::now();
    std::optional<error> told;
    while (!told && std::chrono::steady_clock::now() - begun < 60s) {
        if (!idle) server.other.say(sample_question({{0, block}}));
        while (const auto frame = server.other.hear()) {
            if (frame->kind == frame_kind::failed) told = std::get<failed>(*decode(frame->kind, frame->payload)).why;
            if (told || frame->kind == frame_kind::samples_end) break;
        }
    }
    server.other.end();
    require_failure(told, error_kind::peer, "for longer than it may");
    require_failure(server.wait(), error_kind::peer, "for longer than it may");
    CHECK(std::chrono::steady_clock::now() - begun < 30s);
}

TEST_CASE("a look may last beyond its time by what slow disks take to read what it asks for", "[sync][wire]") {
    constexpr std::uint64_t size = 16 << 20;
    memory_device memory = random_disk(size);
    const bool in_one = GENERATE(false, true);
    std::atomic<std::uint64_t> reads = 0;
    hooked_device disk(memory, [&](device_call call, extent) {
        if (call != device_call::read) return;
        if (!in_one) std::this_thread::sleep_for(10ms);                 // half of what a slow one may take
        if (in_one && reads == 0) std::this_thread::sleep_for(1200ms);  // 14 MB a second
        ++reads;
    });
    server_side server(disk, 20s, 1 << 20, 1s);
    REQUIRE(server.greet());
    std::vector<extent> stretches;
    for (std::uint64_t i = 0; i < 150; ++i) stretches.push_back({2 * i * block, block});
    if (in_one) stretches = {{0, size}};
    server.other.say(sample_question(stretches, false, {size, chunk_bytes_default, block}));
    std::optional<heard> frame = server.other.hear();
    while (frame && frame->kind == frame_kind::samples) frame = server.other.hear();
    REQUIRE(frame);
    CHECK(frame->kind == frame_kind::samples_end);
    server.other.end();
    CHECK_FALSE(server.wait());
    CHECK(reads >= (in_one ? 1 : 150));
}

TEST_CASE("who takes what was asked for slowly, and yet takes it, is given up", "[sync][wire]") {
    memory_device disk = random_disk();
    server_side server(disk, 10s, 1 << 20, 2s);
    REQUIRE(server.greet());
    server.other.say(frame_of(wire_echo_wish{filler_bytes_max}));
    bytes alive;
    append_keep_alive(alive);
    const auto begun = std::chrono::steady_clock::now();
    std::vector<std::byte> piece(8192);
    boost::system::error_code failure;
    while (!failure && server.other.say(alive) && std::chrono::steady_clock::now() - begun < 30s) {
        std::this_thread::sleep_for(10ms);  // 800 KB a second, of 16 MiB
        server.other.socket.read_some(boost::asio::buffer(piece), failure);
    }
    require_failure(server.wait(), error_kind::peer, "took what was sent too slowly");
    CHECK(std::chrono::steady_clock::now() - begun < 25s);
}
