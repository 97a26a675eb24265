// Single promises of the peers, each in the smallest session that shows it.
#include <catch2/catch.hpp>

#include "peer/small_session.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace reprotect::test::small;

TEST_CASE("only changed blocks are written, and each chunk is read once on each side", "[peer]") {
    memory_device source_disk(40 * chunk), target_disk(40 * chunk);
    fill(source_disk, 0, 40 * chunk, 1);
    copy_disk(source_disk, target_disk);
    fill(target_disk, 3 * chunk + block, block, 2);
    fill(target_disk, 7 * chunk + 2 * block, 3 * block, 3);
    fill(target_disk, 9 * chunk - 100, 200, 4);  // the end of one chunk and the start of the next
    recorder source(source_disk), target(target_disk);
    peer_rig rig(source, target, source_of(40 * chunk), target_of(40 * chunk), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.writes ==
          extent_set{{3 * chunk + block, block}, {7 * chunk + 2 * block, 3 * block}, {9 * chunk - block, 2 * block}});
    CHECK(target.zeroes.empty());
    CHECK_FALSE(source.read_twice);
    CHECK_FALSE(target.read_twice);
    CHECK(source.reads.total() == 40 * chunk);
    CHECK(rig.source().counts().changed_compared == 6 * block);
    CHECK(rig.target().counts().written == 6 * block);
    CHECK(rig.target().counts().compared == 40 * chunk);
    CHECK(rig.flushes == 1);
}

TEST_CASE("equal disks are not written, but flushed: an earlier session's writes may still be in the cache", "[peer]") {
    memory_device source_disk(5 * chunk + 77), target_disk(5 * chunk + 77);
    fill(source_disk, 0, source_disk.size(), 1);
    copy_disk(source_disk, target_disk);
    recorder target(target_disk);
    peer_rig rig(source_disk, target, source_of(source_disk.size()), target_of(source_disk.size()), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.writes.empty());
    CHECK(rig.begun_writing == 0);
    CHECK(rig.flushes == 1);
}

TEST_CASE("a hole on both sides is not read, however long it is", "[peer]") {
    const std::uint64_t size = std::uint64_t{1} << 45;  // 32 TiB
    memory_device source_disk(size), target_disk(size);
    fill(source_disk, size / 2, block, 1);
    recorder source(source_disk), target(target_disk);
    peer_rig rig(source, target, source_of(size), target_of(size), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(source.reads.total() <= 2 * chunk);
    CHECK(target.reads.empty());
    CHECK(target.writes == extent_set{{size / 2, block}});
}

TEST_CASE("a hole on the target is filled without comparing, zero blocks left out", "[peer]") {
    memory_device source_disk(2 * chunk), target_disk(2 * chunk);
    fill(source_disk, 0, block, 1);
    source_disk.write(block, std::vector<std::byte>(block));  // allocated zeroes
    fill(source_disk, 2 * block, block, 2);
    recorder target(target_disk);
    peer_rig rig(source_disk, target, source_of(2 * chunk), target_of(2 * chunk), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.writes == extent_set{{0, block}, {2 * block, block}});
    CHECK(target.zeroes.empty());
    CHECK(rig.source().counts().changed_uncompared == 2 * block);
    CHECK(rig.target().counts().compared == 0);
}

TEST_CASE("a hole on the source is punched unread where the target punches", "[peer]") {
    memory_device source_disk(64 * chunk), target_disk(64 * chunk);
    fill(target_disk, 0, 64 * chunk, 1);
    fill(source_disk, 10 * chunk, 2 * chunk, 2);
    recorder target(target_disk);
    peer_rig rig(source_disk, target, source_of(64 * chunk), target_of(64 * chunk), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.reads == extent_set{{10 * chunk, 2 * chunk}});
    CHECK(rig.target().counts().deallocated == 62 * chunk);
    CHECK(contents(source_disk, 64 * chunk) == contents(target_disk, 64 * chunk));
}

TEST_CASE("where the target cannot punch, only what is not zero is zeroed", "[peer]") {
    memory_device source_disk(16 * chunk), target_disk(16 * chunk);
    target_disk.write(0, std::vector<std::byte>(16 * chunk));  // all allocated, all zero
    fill(target_disk, 5 * chunk + block, block, 1);
    recorder target(target_disk);
    target_config config = target_of(16 * chunk);
    config.punches_holes = false;
    peer_rig rig(source_disk, target, source_of(16 * chunk), config, 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.reads.total() == 16 * chunk);
    CHECK(target.zeroes == extent_set{{5 * chunk + block, block}});
    CHECK(target.writes.empty());
    CHECK(rig.source().counts().zeroed == block);
}

TEST_CASE("a partial last block is exact", "[peer]") {
    const std::uint64_t size = 3 * chunk + 2 * block + 511;
    memory_device source_disk(size), target_disk(size);
    fill(source_disk, 0, size, 1);
    copy_disk(source_disk, target_disk);
    fill(target_disk, size - 1, 1, 99);
    recorder target(target_disk);
    peer_rig rig(source_disk, target, source_of(size), target_of(size), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.writes == extent_set{{size - 511, 511}});
}

TEST_CASE("a smaller target counts as zero beyond its end", "[peer]") {
    const std::uint64_t size = 6 * chunk, small = 2 * chunk + 100;
    memory_device source_disk(size), target_disk(small);
    fill(source_disk, 0, size, 1);
    std::vector<std::byte> head(small);
    source_disk.read(0, head);
    target_disk.write(0, head);
    target_config config = target_of(small);
    config.resize_needed = true;
    peer_rig rig(source_disk, target_disk, source_of(size), config, 7);
    rig.on_work = [&](std::size_t, const action& what) -> std::optional<event> {
        if (!std::holds_alternative<begin_writing>(what)) return std::nullopt;
        target_disk.resize(size);
        ++rig.begun_writing;
        return writing_begun{};
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(contents(source_disk, size) == contents(target_disk, size));
}

TEST_CASE("a target of another size is resized even where nothing differs", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(chunk);
    target_config config = target_of(chunk);
    config.resize_needed = true;
    peer_rig rig(source_disk, target_disk, source_of(4 * chunk), config, 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(rig.begun_writing == 1);
    CHECK(rig.flushes == 1);
}

TEST_CASE("evicted chunks have only their changed blocks read again, and are counted", "[peer]") {
    memory_device source_disk(64 * chunk), target_disk(64 * chunk);
    fill(source_disk, 0, 64 * chunk, 1);
    copy_disk(source_disk, target_disk);
    for (std::uint64_t i = 0; i < 64; ++i)
        fill(target_disk, i * chunk + (i % 8) * block, block, static_cast<unsigned>(i) + 5);
    source_config config = source_of(64 * chunk);
    config.buffers_max = 2;
    target_config other = target_of(64 * chunk);
    other.push_percent = 101;
    std::uint64_t most_evicted = 0;
    for (std::uint64_t seed = 1; seed < 10; ++seed) {
        memory_device fresh(64 * chunk);
        copy_disk(target_disk, fresh);
        peer_rig rig(source_disk, fresh, config, other, seed);
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));
        CHECK(contents(source_disk, 64 * chunk) == contents(fresh, 64 * chunk));
        CHECK(rig.source().counts().reread % block == 0);
        CHECK(rig.source().counts().reread <= 64 * block);
        CHECK(rig.source().counts().read == 64 * chunk);
        most_evicted = std::max(most_evicted, rig.source().counts().reread);
    }
    CHECK(most_evicted > 0);
}

TEST_CASE("block digests are pushed unasked once most chunks differ", "[peer]") {
    memory_device source_disk(200 * chunk), target_disk(200 * chunk);
    fill(source_disk, 0, 200 * chunk, 1);
    fill(target_disk, 0, 200 * chunk, 2);
    source_config config = source_of(200 * chunk);
    config.digest_entries = 8;
    std::size_t asked = 0, pushed = 0;
    peer_rig rig(source_disk, target_disk, config, target_of(200 * chunk), 3);
    rig.on_message = [&](message& what) {
        if (std::holds_alternative<narrow>(what)) ++asked;
        if (auto* digests = std::get_if<chunk_digests>(&what))
            for (const digest_entry& entry : digests->entries) pushed += !entry.cuts.empty();
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(asked + pushed == 200);
    CHECK(pushed > 120);
}

TEST_CASE("a collision of 40 bits stays within the set to stay within", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    fill(target_disk, 0, 4 * chunk, 2);
    auto expected = contents(target_disk, 4 * chunk);
    source_config config = source_of(4 * chunk);
    config.within = extent_set{{chunk + block, 2 * block}};
    peer_rig rig(source_disk, target_disk, config, target_of(4 * chunk), 3);
    rig.on_message = [&](message& what) {
        auto* digests = std::get_if<block_digests>(&what);
        if (!digests) return;
        std::vector<std::byte> bytes(block);
        for (std::uint32_t i = 1; i < 3; ++i) {
            source_disk.read(chunk + i * block, bytes);
            digests->cuts[i] = cut(rig.source().digests()->bytes(bytes));
        }
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    source_disk.read(chunk + block, std::span(expected).subspan(chunk + block, 2 * block));
    CHECK(contents(target_disk, 4 * chunk) == expected);
}

TEST_CASE("a chunk that is asked for again and is all zero goes without a payload", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    source_disk.write(0, std::vector<std::byte>(4 * chunk));
    fill(target_disk, chunk, 2 * block, 2);
    peer_rig rig(source_disk, target_disk, source_of(4 * chunk), target_of(4 * chunk), 3);
    bool asked_again = false;
    rig.on_message = [&](message& what) {
        if (auto* digests = std::get_if<block_digests>(&what))
            digests->cuts[0] = cut(rig.source().digests()->bytes(std::vector<std::byte>(block)));
        asked_again = asked_again || std::holds_alternative<resend>(what);
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(asked_again);
    CHECK(contents(source_disk, 4 * chunk) == contents(target_disk, 4 * chunk));
}

TEST_CASE("a target lowers the window of digests that it is offered", "[peer]") {
    memory_device source_disk(64 * chunk), target_disk(64 * chunk);
    fill(source_disk, 0, 64 * chunk, 1);
    copy_disk(source_disk, target_disk);
    source_config config = source_of(64 * chunk);
    config.digest_entries = 1'000'000;
    target_config other = target_of(64 * chunk);
    other.digest_entries = 3;
    peer_rig rig(source_disk, target_disk, config, other, 3);
    std::uint64_t ahead = 0, sent = 0, decided = 0;
    rig.on_message = [&](message& what) {
        if (auto* digests = std::get_if<chunk_digests>(&what)) sent += digests->entries.size();
        if (auto* decision = std::get_if<verdict>(&what)) decided = decision->below_chunk;
        ahead = std::max(ahead, sent - std::min(sent, decided));
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(ahead <= 2 * 3);  // verdicts are on their way while more is sent
}

TEST_CASE("a collision of 40 bits is caught by the chunk's digest and the chunk sent whole", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    copy_disk(source_disk, target_disk);
    fill(target_disk, chunk, 2 * block, 2);
    const bool hide_all = GENERATE(false, true);
    peer_rig rig(source_disk, target_disk, source_of(4 * chunk), target_of(4 * chunk), 3);
    std::size_t resends = 0;
    rig.on_message = [&](message& what) {
        if (auto* digests = std::get_if<block_digests>(&what)) {
            std::vector<std::byte> bytes(block);
            for (std::uint32_t i = 0; i < (hide_all ? 2u : 1u); ++i) {
                source_disk.read(chunk + i * block, bytes);
                digests->cuts[i] = cut(rig.source().digests()->bytes(bytes));
            }
        }
        resends += std::holds_alternative<resend>(what);
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(contents(source_disk, 4 * chunk) == contents(target_disk, 4 * chunk));
    CHECK(resends == (hide_all ? 0 : 1));  // where no block seems to differ, all of them go at once
    CHECK(rig.source().counts().reread == (hide_all ? 0 : chunk));
}

TEST_CASE("collisions among block digests that come unasked are caught, too, and nothing was kept for them", "[peer]") {
    memory_device source_disk(64 * chunk), target_disk(64 * chunk);
    fill(source_disk, 0, 64 * chunk, 1);
    copy_disk(source_disk, target_disk);
    for (std::uint64_t i = 0; i < 64; ++i)
        fill(target_disk, i * chunk + block, 2 * block, static_cast<unsigned>(i) + 9);
    const bool hide_all = GENERATE(false, true);
    source_config config = source_of(64 * chunk);
    config.buffers_max = GENERATE(1u, 8u);
    config.digest_entries = 8;
    target_config other = target_of(64 * chunk);
    other.push_percent = 0;
    peer_rig rig(source_disk, target_disk, config, other, 3);
    std::uint64_t hidden = 0, resends = 0;
    rig.on_message = [&](message& what) {
        resends += std::holds_alternative<resend>(what);
        auto* digests = std::get_if<chunk_digests>(&what);
        if (!digests) return;
        for (digest_entry& entry : digests->entries) {
            if (entry.cuts.empty()) continue;
            ++hidden;
            std::vector<std::byte> bytes(block);
            for (std::uint32_t i = 1; i < (hide_all ? 3u : 2u); ++i) {
                source_disk.read(entry.first_chunk * chunk + i * block, bytes);
                entry.cuts[i] = cut(rig.source().digests()->bytes(bytes));
            }
        }
    };
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(contents(source_disk, 64 * chunk) == contents(target_disk, 64 * chunk));
    CHECK(hidden > 32);
    CHECK(resends == (hide_all ? 0 : hidden));
    CHECK(rig.source().counts().read == 64 * chunk);
    CHECK(rig.source().counts().reread >= hidden * chunk);
}

TEST_CASE("a source that changes while it is read: what is sent is what was hashed", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        memory_device source_disk(32 * chunk), target_disk(32 * chunk);
        fill(source_disk, 0, 32 * chunk, 1);
        copy_disk(source_disk, target_disk);
        for (std::uint64_t i = 0; i < 32; ++i)
            fill(target_disk, i * chunk + block, 2 * block, static_cast<unsigned>(i) + 9);
        source_config config = source_of(32 * chunk);
        config.buffers_max = 2;
        std::mt19937_64 random(seed);
        peer_rig rig(source_disk, target_disk, config, target_of(32 * chunk), seed);
        rig.on_step = [&](std::uint64_t step) {
            if (step % 3 == 0) fill(source_disk, random() % (32 * 8) * block, block, static_cast<unsigned>(step));
        };
        bool asked_again = false;
        rig.on_message = [&](message& what) { asked_again = asked_again || std::holds_alternative<resend>(what); };
        INFO("seed " << seed);
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));  // equal roots: the target holds exactly what the source hashed
        CHECK_FALSE(asked_again);
    }
}

TEST_CASE("lost writes are found by reading again", "[peer]") {
    class loser final : public device_decorator {
    public:
        explicit loser(device& inner) : device_decorator(inner) {}
        void write(std::uint64_t offset, std::span<const std::byte> from) override {
            if (offset != chunk + block) device_decorator::write(offset, from);
        }
    };
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    copy_disk(source_disk, target_disk);
    fill(target_disk, chunk + block, block, 2);
    loser target(target_disk);
    source_config config = source_of(4 * chunk);
    SECTION("not by the root alone") {
        peer_rig rig(source_disk, target, config, target_of(4 * chunk), 3);
        REQUIRE(rig.run());
        CHECK(ended_well(rig));
    }
    SECTION("with reread") {
        config.reread = true;
        peer_rig rig(source_disk, target, config, target_of(4 * chunk), 3);
        REQUIRE(rig.run());
        CHECK(ended_badly(rig.target_end).kind() == error_kind::verification);
        CHECK(ended_badly(rig.target_end).detail().offset == chunk);
    }
}

TEST_CASE("a reread ignores allocation on both sides", "[peer]") {
    // Both devices call data a hole.
    memory_device source_disk(8 * chunk), target_disk(8 * chunk);
    fill(source_disk, 2 * chunk, chunk, 1);
    fill(target_disk, 5 * chunk, chunk, 2);
    allocated_device source(source_disk, {}), target(target_disk, {});
    source_config config = source_of(8 * chunk);
    SECTION("trusted, false hints hide a difference") {
        peer_rig rig(source, target, config, target_of(8 * chunk), 3);
        REQUIRE(rig.run());
        CHECK(contents(source_disk, 8 * chunk) != contents(target_disk, 8 * chunk));
    }
    SECTION("ignored, they do not") {
        config.reread = true;
        peer_rig rig(source, target, config, target_of(8 * chunk), 3);
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));
        CHECK(contents(source_disk, 8 * chunk) == contents(target_disk, 8 * chunk));
    }
}

TEST_CASE("what lies outside the set to stay within is neither read nor touched", "[peer]") {
    const extent_set within{{chunk + block, 2 * block}, {5 * chunk, 3 * chunk}};
    for (const bool tamper : {false, true}) {
        memory_device source_disk(12 * chunk), target_disk(12 * chunk);
        fill(source_disk, 0, 12 * chunk, 1);
        fill(target_disk, 0, 12 * chunk, 2);
        source_disk.write_zeroes(6 * chunk, chunk);
        const auto before = contents(target_disk, 12 * chunk);
        recorder source(source_disk), target(target_disk);
        source_config config = source_of(12 * chunk);
        config.within = within;
        peer_rig rig(source, target, config, target_of(12 * chunk), 3);
        bool tampered = false;
        rig.on_message = [&](message& what) {
            // A chunk asked for again must stay within as well.
            auto* data = std::get_if<chunk_data>(&what);
            if (!tamper || tampered || !data || data->chunk != 1) return;
            data->payload.bytes()[block] ^= std::byte{1};
            tampered = true;
        };
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));
        for (const recorder* each : {&source, &target})
            for (const extent& range : each->reads) CHECK(within.contains(range));
        for (const extent_set* each : {&target.writes, &target.zeroes})
            for (const extent& range : *each) CHECK(within.contains(range));
        auto expected = before;
        for (const extent& range : within)
            source_disk.read(range.offset, std::span(expected).subspan(range.offset, range.length));
        CHECK(contents(target_disk, 12 * chunk) == expected);
    }
}

TEST_CASE("a comparison finds exactly the differing blocks and writes nothing", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        const std::uint64_t size = 1 + random() % 300'000;
        memory_device source_disk(size), target_disk(size);
        fill_randomly(source_disk, random);
        if (seed % 2) copy_disk(source_disk, target_disk);
        age_randomly(target_disk, random, 6);
        target_disk.mutable_properties().punches_holes = true;
        recorder target(target_disk);
        source_config config = source_of(size);
        config.mode = session_mode::compare;
        config.keep_differential = true;
        peer_rig rig(source_disk, target, config, target_of(size), seed);
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));
        CHECK(target.writes.empty());
        CHECK(target.zeroes.empty());
        CHECK(rig.flushes == 0);
        const auto ours = contents(source_disk, size), theirs = contents(target_disk, size);
        extent_set data, zero;
        for (std::uint64_t at = 0; at < size; at += block) {
            const std::uint64_t length = std::min<std::uint64_t>(block, size - at);
            if (std::equal(&ours[at], &ours[at] + length, &theirs[at])) continue;
            const bool zeroes =
                std::all_of(&ours[at], &ours[at] + length, [](std::byte b) { return b == std::byte{0}; });
            (zeroes ? zero : data).add({at, length});
        }
        extent_set found_data, found_zero;
        for (const change& each : rig.source().changes().changes())
            (each.kind == change_kind::zero ? found_zero : found_data).add(each.range);
        CHECK(found_data == data);
        CHECK(found_zero == zero);
    }
}

TEST_CASE("a dry run counts what a sync would do and does none of it", "[peer]") {
    memory_device source_disk(16 * chunk), target_disk(16 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    fill(target_disk, 0, 8 * chunk, 1);
    fill(target_disk, block, block, 2);
    recorder target(target_disk);
    source_config config = source_of(16 * chunk);
    config.mode = session_mode::dry_run;
    peer_rig rig(source_disk, target, config, target_of(16 * chunk), 7);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(target.writes.empty());
    CHECK(target.zeroes.empty());
    CHECK(rig.begun_writing == 0);
    CHECK(rig.source().counts().changed_compared == block);
    CHECK(rig.target().counts().deallocated == 4 * chunk);
}

TEST_CASE("a chunk with more runs than the window of allocation goes on", "[peer]") {
    const geometry shape{4 * 64 * block, 64 * block, block};
    memory_device source_disk(shape.disk_bytes), target_disk(shape.disk_bytes);
    fill(source_disk, 0, shape.disk_bytes, 1);
    source_config config = source_of(shape.disk_bytes);
    config.shape = shape;
    config.within.emplace();
    for (std::uint64_t at = 0; at < shape.disk_bytes; at += 2 * block) config.within->add({at, block});
    target_config other = target_of(shape.disk_bytes);
    other.allocation_runs = GENERATE(1u, 3u, 17u, 40u);
    peer_rig rig(source_disk, target_disk, config, other, 3);
    REQUIRE(rig.run());
    REQUIRE(ended_well(rig));
    CHECK(rig.target().counts().written == config.within->total());
}

TEST_CASE("a hole punched late is still flushed", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        memory_device source_disk(8 * chunk), target_disk(8 * chunk);
        fill(target_disk, 0, 3 * chunk + block, 1);
        peer_rig rig(source_disk, target_disk, source_of(8 * chunk), target_of(8 * chunk), seed);
        REQUIRE(rig.run());
        REQUIRE(ended_well(rig));
        CHECK(rig.flushes == 1);
        CHECK(rig.target().counts().deallocated == 3 * chunk + block);
    }
}
