// A sampler and its server, each against one that breaks the rules, says nothing, or goes: one side is real, the
// other is a socket that a test speaks over by hand.
#include <catch2/catch.hpp>

#include "support/device_doubles.hpp"
#include "support/gate.hpp"
#include "support/sample_rig.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace reprotect::test::sampling;

TEST_CASE("a server refuses what no client may ask, and reads nothing for it", "[sync][wire]") {
    const geometry larger{2 * disk_bytes, chunk_bytes_default, block};
    struct row {
        const char* what;
        bytes said;
        std::string why;
        bool greeted = true, told = true;
    };
    const std::vector<row> rows{
        {"before it has greeted", layout_question(), "no place here", false},
        {"a greeting again", frame_of(wire_sampler_hello{}), "no place here"},
        {"an answer", some_samples(1), "no place here"},
        {"a stretch beyond the disk", sample_question({{disk_bytes, block}}, false, larger), ""},
        {"a stretch over its end", sample_question({{0, disk_bytes + block}}, false, larger), ""},
        {"a block beyond it", weigh_question({disk_bytes}, larger), ""},
        {"no stretch", {std::byte(67), std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}}, ""},
        {"an empty stretch",
         {std::byte(67), std::byte{3}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0}},
         ""},
        {"more of an echo than there may be",
         {std::byte(73), std::byte{4}, std::byte{0}, std::byte{0}, std::byte{0x81}, std::byte{0x80}, std::byte{0x80},
          std::byte{0x08}},
         ""},
        {"more filler than there may be", some_filler(filler_bytes_max + 1), "filler that there may not be"},
        {"filler of nothing", no_filler(), "filler that there may not be"},
        {"a block to be weighed twice", twice_weighed(), ""},
        {"a frame that is none",
         {std::byte{200}, std::byte{0}, std::byte{0}, std::byte{0}},
         "unknown kind",
         true,
         false},
    };
    for (const row& each : rows) {
        INFO(each.what);
        memory_device memory = random_disk();
        recording_device disk(memory);
        server_side server(disk);
        if (each.greeted) REQUIRE(server.greet());
        server.other.say(each.said);
        const auto told = told_by(server.other);
        server.other.end();
        require_failure(server.wait(), error_kind::peer, "broke the rules of the wire");
        CHECK(told.has_value() == each.told);
        if (told) CHECK_THAT(told->what(), Catch::Contains(each.why));
        CHECK(disk.reads.empty());
    }
}

TEST_CASE("a question may overtake an answer, two may not", "[sync][wire]") {
    memory_device memory = random_disk();
    gate reading;
    hooked_device disk(memory, [&](device_call call, extent) {
        if (call == device_call::read) reading.pass();
    });
    server_side server(disk);
    REQUIRE(server.greet());
    const bytes question = sample_question({{0, block}});
    server.other.say(question);
    REQUIRE(reading.reached());
    server.other.say(question);
    const bool third = GENERATE(false, true);
    if (third) server.other.say(question);
    if (third) std::this_thread::sleep_for(500ms);  // or the second is answered before the third comes
    reading.open();
    unsigned answers = 0;
    bool told = false;
    while (const auto frame = server.other.hear()) {
        told = frame->kind == frame_kind::failed;
        if (told) break;
        if (frame->kind != frame_kind::samples_end) continue;
        ++answers;
        if (answers == 2) break;
    }
    server.other.end();
    const auto failure = server.wait();
    CHECK_FALSE(reading.forced());
    if (third) {
        require_failure(failure, error_kind::peer, "a question before the last one was answered");
        CHECK(answers == 0);
        CHECK(told);
    } else {
        CHECK_FALSE(failure);
        CHECK(answers == 2);
        CHECK(server.read_bytes == 2 * block);
    }
}

TEST_CASE("a server tells that its disk fails to read, and not where it lies", "[sync][wire]") {
    memory_device memory = random_disk();
    const bool layout = GENERATE(false, true);
    hooked_device disk(memory, [&](device_call call, extent where) {
        if (call != (layout ? device_call::allocation : device_call::read)) return;
        throw error(error_kind::device_io, "read of /dev/vdb failed: bad sector",
                    {.device = "/dev/vdb", .operation = "read", .offset = where.offset});
    });
    server_side server(disk);
    REQUIRE(server.greet());
    server.other.say(layout ? layout_question() : sample_question({{0, block}}));
    const auto told = told_by(server.other);
    require_failure(told, error_kind::device_io, "bad sector");
    CHECK_THAT(told->what(), !Catch::Contains("vdb") && Catch::Contains("alias"));
    CHECK(told->detail().device == "alias");
    server.other.end();
    require_failure(server.wait(), error_kind::device_io, "/dev/vdb");
}

TEST_CASE("a server says that it is alive while it reads, and stops reading for a client that has gone",
          "[sync][wire]") {
    constexpr std::uint64_t size = sample_bytes_max;
    memory_device memory = random_disk(size);
    std::atomic<std::uint64_t> read_bytes = 0;
    gate reading;
    hooked_device disk(memory, [&](device_call call, extent where) {
        if (call != device_call::read) return;
        read_bytes += where.length;
        reading.pass();
        std::this_thread::sleep_for(2ms);
    });
    server_side server(disk, 1s);
    REQUIRE(server.greet());
    server.other.say(sample_question({{0, size}}, false, {size, chunk_bytes_default, block}));
    REQUIRE(reading.reached());
    // The patience is over three times while the disk does not answer.
    for (unsigned heard_alive = 0; heard_alive < 12; ++heard_alive) {
        const auto alive = server.other.hear_all();
        REQUIRE(alive);
        REQUIRE(alive->kind == frame_kind::keep_alive);
        bytes ours;
        append_keep_alive(ours);
        server.other.say(ours);
    }
    server.other.end();
    reading.open();
    require_failure(server.wait(), error_kind::peer, "was lost");
    CHECK_FALSE(reading.forced());
    CHECK(read_bytes < size / 2);
}

TEST_CASE("a server ends with a client that says nothing, or takes nothing", "[sync][wire]") {
    memory_device disk = random_disk();
    SECTION("silence before it greets") {
        server_side server(disk, 200ms);
        require_failure(server.wait(), error_kind::peer, "nothing was heard");
    }
    SECTION("silence afterwards") {
        server_side server(disk, 1s);
        REQUIRE(server.greet());
        require_failure(server.wait(), error_kind::peer, "nothing was heard");
    }
    SECTION("signs of life, or filler, and nothing else") {
        server_side server(disk, 10s, 1 << 20, 1h, 1s);
        bytes alive;
        append_keep_alive(alive);
        if (GENERATE(false, true)) alive = some_filler(1);
        const auto begun = std::chrono::steady_clock::now();
        while (server.other.socket.available() == 0 && server.other.say(alive) &&
               std::chrono::steady_clock::now() - begun < 30s)
            std::this_thread::sleep_for(5ms);
        require_failure(told_by(server.other), error_kind::peer, "asked nothing");
        server.other.end();
        require_failure(server.wait(), error_kind::peer, "asked nothing");
        CHECK(std::chrono::steady_clock::now() - begun < 30s);
    }
    SECTION("nothing is taken") {
        server_side server(disk, 1s);
        REQUIRE(server.greet());
        server.other.say(frame_of(wire_echo_wish{filler_bytes_max}));
        bytes alive;
        append_keep_alive(alive);
        const auto begun = std::chrono::steady_clock::now();
        while (server.other.say(alive) && std::chrono::steady_clock::now() - begun < 20s)
            std::this_thread::sleep_for(20ms);
        require_failure(server.wait(), error_kind::peer, "took nothing");
    }
}

TEST_CASE("a server that is stopped stops reading", "[sync][wire]") {
    memory_device memory = random_disk();
    gate reading;
    hooked_device disk(memory, [&](device_call call, extent) {
        if (call == device_call::read) reading.pass();
    });
    server_side server(disk);
    REQUIRE(server.greet());
    server.other.say(sample_question({{0, block}}));
    REQUIRE(reading.reached());
    server.stop.request_stop();
    reading.open();
    require_failure(told_by(server.other), error_kind::interrupted, "");
    server.other.end();
    require_failure(server.wait(), error_kind::interrupted, "");
}

namespace {

enum class asked { allocation, sample, weigh, echo, filler };

// Greets, then asks one thing.
awaitable<void> ask_once(connection* link, asked what, std::chrono::milliseconds patience,
                         std::optional<std::chrono::milliseconds> turn_max) {
    sample_client client(*link, block, patience, turn_max);
    const std::array<std::byte, 32> binding{};
    co_await client.begin(binding, 1 << 20);
    std::vector<allocation_run> runs;
    stretch_samples samples;
    std::vector<packed_batch> batches;
    double seconds = 0;
    const std::vector<extent> stretches{{0, 4 * block}, {8 * block, 2 * block}};
    const std::vector<std::uint64_t> offsets{0, block};
    if (what == asked::allocation) {
        co_await client.allocation(&runs);
    } else if (what == asked::sample) {
        co_await client.sample(stretches, false, &samples);
    } else if (what == asked::weigh) {
        co_await client.weigh(offsets, &batches);
    } else if (what == asked::filler) {
        co_await client.exchange_filler(filler_bytes_max, 0, &seconds);
    } else {
        co_await client.exchange_filler(1000, 2000, &seconds);
    }
}

struct client_side : real_side {
    explicit client_side(asked what, std::chrono::milliseconds patience = 20s,
                         std::optional<std::chrono::milliseconds> turn_max = {}) {
        start(ask_once(&link, what, patience, turn_max));
    }

    // What it asks, once it has been greeted.
    std::optional<heard> question() {
        other.hear();
        other.say(frame_of(wire_sampled_disk{{}, disk_bytes}));
        auto frame = other.hear();
        while (frame && frame->kind == frame_kind::filler) frame = other.hear();
        return frame;
    }
};

bytes runs_of(std::vector<source_run> runs) {
    return frame_of(message{allocation{std::move(runs)}});
}

bytes weights_of(const std::vector<wire_weight>& list) {
    bytes out;
    append_weights(out, list);
    return out;
}

}  // namespace

TEST_CASE("a client that is answered by the rules has its answer", "[sync][wire]") {
    const source_content data = source_content::data, zero = source_content::zero;
    const auto end = frame_of(wire_samples_end{1, 1});
    const std::pair<asked, bytes> rows[] = {
        {asked::allocation, joined({runs_of({{{0, 100}, data}}), runs_of({{{100, disk_bytes - 100}, zero}})})},
        {asked::sample, joined({some_samples(6), end})},
        {asked::sample, joined({some_samples(1), some_samples(2), some_samples(3, true), end})},
        {asked::weigh, weights_of({{block, block, 1}, {block, 10, 1}})},
        {asked::weigh, weights_of({})},
        {asked::echo, joined({some_filler(1999), some_filler(1), frame_of(wire_echo{1000})})},
    };
    for (const auto& [what, answer] : rows) {
        client_side client(what);
        REQUIRE(client.question());
        client.other.say(answer);
        CHECK_FALSE(client.wait());
    }
}

TEST_CASE("a client finds out a server that answers something else than was asked", "[sync][wire]") {
    const source_content data = source_content::data;
    const auto end = frame_of(wire_samples_end{1, 1});
    struct row {
        const char* what;
        asked question;
        bytes answer;
    };
    const std::vector<row> rows{
        {"an allocation that does not begin at the beginning", asked::allocation,
         runs_of({{{1, disk_bytes - 1}, data}})},
        {"one with a gap", asked::allocation, joined({runs_of({{{0, 9}, data}}), runs_of({{{10, 9}, data}})})},
        {"one that goes back", asked::allocation, joined({runs_of({{{0, 9}, data}}), runs_of({{{8, 9}, data}})})},
        {"one beyond the disk", asked::allocation, runs_of({{{0, disk_bytes + 1}, data}})},
        {"one that passes something over", asked::allocation, runs_of({{{0, disk_bytes}, source_content::skip}})},
        {"samples for an allocation", asked::allocation, some_samples(1)},
        {"too many samples", asked::sample, joined({some_samples(7), end})},
        {"too many, in two", asked::sample, joined({some_samples(6), some_samples(1)})},
        {"too many zeroes", asked::sample, many_zeroes()},
        {"too few", asked::sample, joined({some_samples(5), end})},
        {"none", asked::sample, end},
        {"weights for samples", asked::sample, weights_of({})},
        {"weights of more than was asked for", asked::weigh, weights_of({{block, 1, 1}, {block + 1, 1, 1}})},
        {"what grows", asked::weigh, weights_of({{block, block + 1, 1}})},
        {"samples for weights", asked::weigh, some_samples(1)},
        {"an echo of less", asked::echo, joined({some_filler(2000), frame_of(wire_echo{999})})},
        {"too little filler", asked::echo, joined({some_filler(1999), frame_of(wire_echo{1000})})},
        {"too much", asked::echo, some_filler(2001)},
        {"filler of nothing", asked::echo, no_filler()},
        {"a session's message", asked::echo, frame_of(message{proved{true}})},
        {"a frame that is none", asked::weigh, {std::byte{200}, std::byte{0}, std::byte{0}, std::byte{0}}},
    };
    for (const row& each : rows) {
        INFO(each.what);
        client_side client(each.question);
        REQUIRE(client.question());
        client.other.say(each.answer);
        require_failure(client.wait(), error_kind::peer, "broke the rules of the wire");
    }
}

TEST_CASE("a client finds out a server that greets it wrongly", "[sync][wire]") {
    client_side client(asked::sample);
    const auto greeting = client.other.hear();
    REQUIRE(greeting);
    const auto theirs = decode_sampler_hello(greeting->payload);
    REQUIRE(theirs.has_value());
    const bool reflected = GENERATE(false, true);
    client.other.say(reflected ? frame_of(wire_sampled_disk{theirs->nonce, disk_bytes}) : frame_of(wire_samples_end{}));
    require_failure(client.wait(), error_kind::peer, reflected ? "our own words" : "no place here");
}

TEST_CASE("a client hears why a server fails, and knows one that goes or falls silent", "[sync][wire]") {
    SECTION("why") {
        client_side client(asked::sample);
        REQUIRE(client.question());
        client.other.say(frame_of(message{failed{error(error_kind::device_io, "the disk\nfailed")}}));
        require_failure(client.wait(), error_kind::device_io, "the other side: the disk");
    }
    SECTION("an end") {
        client_side client(asked::allocation);
        REQUIRE(client.question());
        client.other.say(runs_of({{{0, 100}, source_content::data}}));  // and no more: it does not cover the disk
        client.other.end();
        require_failure(client.wait(), error_kind::peer, "was lost");
    }
    SECTION("silence") {
        client_side client(asked::weigh, 1s);
        REQUIRE(client.question());
        require_failure(client.wait(), error_kind::peer, "nothing was heard");
    }
    SECTION("it takes slowly what is sent to it") {
        client_side client(asked::filler, 10s, 2s);
        client.other.hear();
        client.other.say(frame_of(wire_sampled_disk{{}, disk_bytes}));
        const auto begun = std::chrono::steady_clock::now();
        std::vector<std::byte> piece(8192);
        boost::system::error_code failure;
        while (!failure && std::chrono::steady_clock::now() - begun < 30s) {
            std::this_thread::sleep_for(10ms);  // 800 KB a second, of 16 MiB
            client.other.socket.read_some(boost::asio::buffer(piece), failure);
        }
        require_failure(client.wait(), error_kind::peer, "took what was sent too slowly");
        CHECK(std::chrono::steady_clock::now() - begun < 25s);
    }
    SECTION("signs of life for ever, or an answer that never ends, which it answers meanwhile") {
        const asked what = GENERATE(asked::weigh, asked::echo);
        client_side client(what, 8s, 4s);  // it says something every second
        REQUIRE(client.question());
        bytes alive;
        append_keep_alive(alive);
        if (what == asked::echo) alive = some_filler(1);  // 2,000 were asked for
        unsigned answered = 0;
        std::thread listening([&] {
            while (const auto frame = client.other.hear_all())
                answered += frame->kind == frame_kind::keep_alive ? 1 : 0;
        });
        const auto begun = std::chrono::steady_clock::now();
        while (client.other.say(alive) && std::chrono::steady_clock::now() - begun < 30s)
            std::this_thread::sleep_for(5ms);
        require_failure(client.wait(), error_kind::peer, "no whole answer");
        CHECK(std::chrono::steady_clock::now() - begun < 30s);
        client.other.cut();
        listening.join();
        CHECK(answered >= 2);
    }
}
