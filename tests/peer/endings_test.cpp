// How a session ends when it does not end well: stopped, failed, or with a peer that breaks the rules.
#include <catch2/catch.hpp>

#include <functional>

#include "peer/small_session.hpp"

using namespace reprotect;
using namespace reprotect::test;
using namespace reprotect::test::small;

TEST_CASE("data that does not give the source's digest is never written, and fails the second time", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    copy_disk(source_disk, target_disk);
    fill(target_disk, chunk, block, 2);
    const auto before = contents(target_disk, 4 * chunk);
    peer_rig rig(source_disk, target_disk, source_of(4 * chunk), target_of(4 * chunk), 3);
    rig.on_message = [&](message& what) {
        if (auto* data = std::get_if<chunk_data>(&what)) data->payload.bytes()[0] ^= std::byte{4};
    };
    REQUIRE(rig.run());
    CHECK(ended_badly(rig.target_end).kind() == error_kind::verification);
    CHECK(ended_badly(rig.target_end).detail().offset == chunk);
    CHECK(contents(target_disk, 4 * chunk) == before);
}

TEST_CASE("a source skips what its target calls finished only where somebody vouched for its state", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    source_config source = source_of(4 * chunk);
    target_config target = target_of(4 * chunk);
    target.generation = "monday";
    target.finished_bytes = 2 * chunk;
    bool skipped = false;
    SECTION("the target's user, who asked for the session") {
        skipped = true;
    }
    SECTION("its own") {
        source.takes_generation = false;
        source.generation = "monday";
        skipped = true;
    }
    SECTION("nobody") {
        source.takes_generation = false;
    }
    SECTION("somebody for another state") {
        source.generation = "tuesday";
    }
    SECTION("nobody by name") {
        target.generation.clear();
    }
    SECTION("half of a chunk") {
        target.finished_bytes += block;
    }
    SECTION("more than there is") {
        target.finished_bytes = 5 * chunk;
    }
    peer_rig rig(source_disk, target_disk, source, target, 1);
    REQUIRE(rig.run());
    if (skipped) {
        CHECK_FALSE(rig.source_end->has_value());
        CHECK(rig.source().finished_bytes() == 2 * chunk);
        CHECK(contents(target_disk, 2 * chunk) == std::vector<std::byte>(2 * chunk));
    } else {
        CHECK(ended_badly(rig.source_end).kind() == error_kind::peer);
        CHECK(contents(target_disk, 4 * chunk) == std::vector<std::byte>(4 * chunk));
    }
}

TEST_CASE("what is being punched is not finished", "[peer]") {
    target_config config = target_of(4 * chunk);
    config.keeps_finished = true;
    target_peer target(config);
    const auto drain = [&] {
        std::vector<action> all;
        while (auto next = target.next_action()) all.push_back(std::move(*next));
        return all;
    };
    const auto finished_bytes = [&]() -> std::uint64_t {
        target.handle(checkpoint_due{});
        for (const action& each : drain())
            if (const auto* kept = std::get_if<checkpoint>(&each)) return kept->finished.shape().disk_bytes;
        FAIL("no checkpoint");
        return 0;
    };
    hello opening;
    opening.shape = {4 * chunk, chunk, block};
    opening.digest_entries = 64;
    target.handle(message(opening));
    target.handle(
        message(allocation{{{{0, 2 * chunk}, source_content::data}, {{2 * chunk, 2 * chunk}, source_content::zero}}}));
    unsigned punches = 0;
    for (std::vector<action> work = drain(); !work.empty(); work = drain()) {
        for (const action& each : work) {
            if (std::holds_alternative<query_allocation>(each))
                target.handle(allocation_known{{{{0, 4 * chunk}, content::data}}});
            if (std::holds_alternative<begin_writing>(each)) target.handle(writing_begun{});
            if (const auto* read = std::get_if<read_chunk>(&each)) {
                chunk_read answer;
                answer.chunk = read->chunk;
                answer.blocks.resize(chunk / block, digest{{std::byte{7}}});
                answer.value = digest{{std::byte{9}}};
                target.handle(std::move(answer));
            }
            punches += std::holds_alternative<punch>(each) ? 1 : 0;
        }
    }
    REQUIRE(punches == 1);
    target.handle(message(verdict{4, 64, 0}));
    CHECK(finished_bytes() == 2 * chunk);
    target.handle(checkpointed{});
    target.handle(punched{2 * chunk});
    CHECK(finished_bytes() == 4 * chunk);
}

TEST_CASE("data for a chunk that is being punched, since its source called it empty, is a breach", "[peer]") {
    target_peer target(target_of(2 * chunk));
    hello opening;
    opening.shape = {2 * chunk, chunk, block};
    opening.digest_entries = 64;
    target.handle(message(opening));
    target.handle(message(allocation{{{{0, 2 * chunk}, source_content::zero}}}));
    target.handle(allocation_known{{{{0, 2 * chunk}, content::data}}});
    target.handle(writing_begun{});
    bool punching = false;
    std::optional<error> why;
    const auto look = [&] {
        while (auto next = target.next_action()) {
            punching = punching || std::holds_alternative<punch>(*next);
            if (const auto* over = std::get_if<finished>(&*next)) why = over->why;
        }
    };
    look();
    REQUIRE(punching);
    REQUIRE(!why);
    target.handle(message(chunk_data{1, {{0, 1, true}}, {}, {}}));
    look();
    REQUIRE(why);
    CHECK(why->kind() == error_kind::peer);
    CHECK(std::string(why->what()).find("called empty") != std::string::npos);
}

TEST_CASE("a stop lets what is being written end, then flushes", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        INFO("seed " << seed);
        memory_device source_disk(64 * chunk), target_disk(64 * chunk);
        fill(source_disk, 0, 64 * chunk, 1);
        fill(target_disk, 0, 64 * chunk, 2);
        peer_rig rig(source_disk, target_disk, source_of(64 * chunk), target_of(64 * chunk), seed);
        rig.on_step = [&](std::uint64_t step) {
            if (step == 40 + seed * 3) rig.stop();
        };
        REQUIRE(rig.run());
        CHECK(ended_badly(rig.source_end).kind() == error_kind::interrupted);
        CHECK(ended_badly(rig.target_end).kind() == error_kind::interrupted);
        CHECK(rig.flushes == rig.begun_writing);
    }
}

TEST_CASE("a stop at any step of a session that punches ends it", "[peer]") {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        for (std::uint64_t at = 0; at < 40; ++at) {
            INFO("seed " << seed << ", step " << at);
            memory_device source_disk(16 * chunk), target_disk(16 * chunk);
            fill(source_disk, 4 * chunk, block, 1);
            fill(target_disk, 0, 16 * chunk, 2);
            peer_rig rig(source_disk, target_disk, source_of(16 * chunk), target_of(16 * chunk), seed);
            rig.on_step = [&](std::uint64_t step) {
                if (step == at) rig.stop();
            };
            REQUIRE(rig.run());
            CHECK(rig.flushes == rig.begun_writing);
        }
    }
}

TEST_CASE("a failed action ends both sides with its error, and is not tried again", "[peer]") {
    for (const std::size_t side : {0u, 1u}) {
        for (unsigned nth = 0; nth < 30; ++nth) {
            memory_device source_disk(16 * chunk), target_disk(16 * chunk);
            fill(source_disk, 0, 16 * chunk, 1);
            fill(target_disk, 0, 16 * chunk, 2);
            peer_rig rig(source_disk, target_disk, source_of(16 * chunk), target_of(16 * chunk), nth + 1);
            unsigned seen = 0;
            bool flush_failed = false;
            rig.on_work = [&](std::size_t on, const action& what) -> std::optional<event> {
                if (flush_failed) CHECK_FALSE(std::holds_alternative<flush_target>(what));
                if (on != side || seen++ != nth) return std::nullopt;
                flush_failed = std::holds_alternative<flush_target>(what);
                return action_failed{error(error_kind::device_io, "broken", {.offset = 4711})};
            };
            REQUIRE(rig.run());
            if (seen <= nth) continue;
            const auto& mine = side == 0 ? rig.source_end : rig.target_end;
            const auto& other = side == 0 ? rig.target_end : rig.source_end;
            CHECK(ended_badly(mine).detail().offset == 4711);
            CHECK(ended_badly(other).kind() == error_kind::device_io);
        }
    }
}

TEST_CASE("a peer that breaks the protocol is refused before anything is written", "[peer]") {
    using breaker = std::function<bool(message&)>;  // true: it was broken
    const std::vector<std::pair<const char*, breaker>> table{
        {"a chunk of no size",
         [](message& m) {
             auto* h = std::get_if<hello>(&m);
             return h && (h->shape.chunk_bytes = 0, true);
         }},
        {"a block that is no power of two",
         [](message& m) {
             auto* h = std::get_if<hello>(&m);
             return h && (h->shape.block_bytes = 5000, true);
         }},
        {"allocation beyond the end",
         [](message& m) {
             auto* a = std::get_if<allocation>(&m);
             return a && (a->runs.back().range.length += 1ull << 63, true);
         }},
        {"allocation with a gap",
         [](message& m) {
             auto* a = std::get_if<allocation>(&m);
             return a && (a->runs.front().range.offset += 4096, true);
         }},
        {"an empty run",
         [](message& m) {
             auto* a = std::get_if<allocation>(&m);
             return a && (a->runs.front().range.length = 0, true);
         }},
        {"digests out of order",
         [](message& m) {
             auto* d = std::get_if<chunk_digests>(&m);
             return d && (d->entries.front().first_chunk += 1, true);
         }},
        {"a run of too many chunks",
         [](message& m) {
             auto* d = std::get_if<chunk_digests>(&m);
             return d && (d->entries.front().count = ~0ull, true);
         }},
        {"block digests of a hole",
         [](message& m) {
             auto* d = std::get_if<chunk_digests>(&m);
             if (!d || !d->entries.front().cuts.empty()) return false;
             d->entries.front().what = digest_entry::kind::hole;
             d->entries.front().cuts.resize(chunk / block);
             return true;
         }},
        {"too few block digests",
         [](message& m) {
             auto* d = std::get_if<block_digests>(&m);
             return d && (d->cuts.pop_back(), true);
         }},
        {"block digests of another chunk",
         [](message& m) {
             auto* d = std::get_if<block_digests>(&m);
             return d && (d->chunk += 1'000'000, true);
         }},
        {"asking beyond the end",
         [](message& m) {
             auto* n = std::get_if<narrow>(&m);
             return n && (n->chunk = ~0ull, true);
         }},
        {"data beyond the end",
         [](message& m) {
             auto* d = std::get_if<chunk_data>(&m);
             return d && (d->chunk = ~0ull, true);
         }},
        {"blocks beyond the chunk",
         [](message& m) {
             auto* d = std::get_if<chunk_data>(&m);
             return d && (d->runs.back().count = ~0u, true);
         }},
        {"runs that overlap",
         [](message& m) {
             auto* d = std::get_if<chunk_data>(&m);
             return d && (d->runs.push_back(d->runs.front()), true);
         }},
        {"no runs",
         [](message& m) {
             auto* d = std::get_if<chunk_data>(&m);
             return d && (d->runs.clear(), true);
         }},
        {"a payload that is missing",
         [](message& m) {
             auto* d = std::get_if<chunk_data>(&m);
             return d && (d->payload = {}, true);
         }},
        {"a verdict on what was not sent",
         [](message& m) {
             auto* v = std::get_if<verdict>(&m);
             return v && (v->entries_granted += 1ull << 60, true);
         }},
        {"a verdict that goes back",
         [](message& m) {
             auto* v = std::get_if<verdict>(&m);
             return v && (v->below_chunk = ~0ull, true);
         }},
    };
    for (const auto& [name, breaks] : table) {
        INFO(name);
        bool broken = false;
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            memory_device source_disk(64 * chunk), target_disk(64 * chunk);
            fill(source_disk, 0, 64 * chunk, 1);
            copy_disk(source_disk, target_disk);
            for (std::uint64_t i = 0; i < 64; i += 2) fill(target_disk, i * chunk, block, static_cast<unsigned>(i) + 3);
            source_config config = source_of(64 * chunk);
            config.digest_entries = 16;
            target_config other = target_of(64 * chunk);
            other.push_percent = 101;
            peer_rig rig(source_disk, target_disk, config, other, seed);
            broken = false;
            const auto& breaks_one = breaks;
            extent_set written;
            rig.on_message = [&](message& what) {
                if (!broken) broken = breaks_one(what);
            };
            REQUIRE(rig.run());
            REQUIRE(broken);
            CHECK((ended_badly(rig.source_end).kind() == error_kind::peer));
            CHECK((ended_badly(rig.target_end).kind() == error_kind::peer));
        }
    }
}

TEST_CASE("roots that differ fail the sync", "[peer]") {
    memory_device source_disk(4 * chunk), target_disk(4 * chunk);
    fill(source_disk, 0, 4 * chunk, 1);
    peer_rig rig(source_disk, target_disk, source_of(4 * chunk), target_of(4 * chunk), 3);
    rig.on_message = [](message& what) {
        if (auto* end = std::get_if<end_of_data>(&what)) end->root.bytes[3] ^= std::byte{1};
    };
    REQUIRE(rig.run());
    CHECK(ended_badly(rig.target_end).kind() == error_kind::verification);
}

TEST_CASE("a message before the hello is refused", "[peer]") {
    target_peer target(target_of(chunk));
    target.handle(message(narrow{0}));
    CHECK(target.is_finished());
    source_peer source(source_of(chunk));
    source.handle(message(resend{0}));
    CHECK(source.is_finished());
}

namespace {

// A source alone, under a limit; `granting` is a target that grants all there is, and `work` does what the source asks for.
struct limited_source {
    explicit limited_source(source_config config) : source(std::move(config)) {
        auto opening = std::get<hello>(std::get<send>(*source.next_action()).what);
        source.handle(payload_allowed{std::uint64_t{1} << 40});
        opening.nonce.fill(std::byte{1});
        opening.allocation_runs = opening.data_messages = opening.data_bytes = opening.proof_chunks = UINT64_MAX;
        source.handle(message(opening));
    }
    // What it says until it pauses or has no more to say.
    template <typename Message>
    std::vector<Message> say() {
        std::vector<Message> said;
        while (auto next = source.next_action()) {
            if (std::holds_alternative<query_allocation>(*next))
                source.handle(allocation_known{{{std::get<query_allocation>(*next).within, holds}}});
            if (const auto* read = std::get_if<read_chunk>(&*next)) {
                chunk_read answer;
                answer.chunk = read->chunk;
                answer.blocks.resize(chunk / block, digest{{std::byte{7}}});
                answer.value = digest{{std::byte{9}}};
                answer.proof = digest{{std::byte{5}}};
                source.handle(std::move(answer));
            }
            auto* out = std::get_if<send>(&*next);
            if (!out) continue;
            if (auto* one = std::get_if<Message>(&out->what)) said.push_back(std::move(*one));
            if (auto* end = std::get_if<end_of_data>(&out->what)) root = end->root;
        }
        return said;
    }
    void hear_digests(std::uint64_t count, std::byte value) {
        chunk_digests all;
        for (std::uint64_t i = 0; i < count; ++i) {
            digest_entry one;
            one.first_chunk = i;
            one.count = 1;
            one.value = digest{{value}};
            one.cuts.resize(chunk / block, digest_cut{std::byte{1}});
            all.entries.push_back(std::move(one));
        }
        source.handle(message(std::move(all)));
    }
    void look_again() { source.handle(payload_allowed{std::uint64_t{1} << 40}); }

    content holds = content::data;
    digest root;
    source_peer source;
};

constexpr std::uint64_t said_at_once = 48 * 1024;  // a message more than it may

}  // namespace

TEST_CASE("a source under a limit says only so much between two looks at it, whatever its target grants", "[peer]") {
    constexpr std::uint64_t chunks = 5000;
    source_config config = source_of(chunks * chunk);
    config.digest_entries = config.reads_max = config.buffers_max = chunks;
    std::uint64_t looks = 0;
    const auto check = [&](auto& it, const auto& bytes_of, auto said) {
        std::uint64_t count = 0;
        while (true) {
            std::uint64_t bytes = 0;
            for (const auto& each : said) bytes += bytes_of(each), ++count;
            CHECK(bytes <= said_at_once);
            if (!it.source.is_paused()) return count;
            REQUIRE(++looks < 1000);
            it.look_again();
            said = it.template say<typename decltype(said)::value_type>();
        }
    };
    SECTION("of what it holds") {
        config.within.emplace();
        for (std::uint64_t at = 0; at < chunks * chunk; at += 2 * block) config.within->add({at, block});
        limited_source it(config);
        check(
            it, [](const allocation& each) { return 12 * each.runs.size(); }, it.say<allocation>());
        CHECK(looks > 5);
    }
    SECTION("of zeroes, which are no payload") {
        limited_source it(config);
        it.holds = content::zero;
        it.say<allocation>();
        it.hear_digests(chunks, std::byte{3});
        const auto size = [](const chunk_data& each) { return 48 + 4 * each.runs.size(); };
        CHECK(check(it, size, it.say<chunk_data>()) == chunks);
        CHECK(looks > 5);
    }
    SECTION("of proofs") {
        config.reread = true;
        limited_source it(config);
        it.say<allocation>();
        it.hear_digests(chunks, std::byte{9});
        it.say<narrow>();
        REQUIRE(it.source.has_ended_data());
        CHECK(it.source.proofs_left() == chunks);
        applied end;
        end.root = it.root;
        it.source.handle(message(end));
        const auto size = [](const proof& each) { return 16 * each.digests.size(); };
        check(it, size, it.say<proof>());
        CHECK(it.source.proofs_left() == 0);
        CHECK(looks > 1);
    }
}
