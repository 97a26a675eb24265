// What a target may do to an honest source: the same table with the roles changed. A source writes nothing, so what
// there is to protect is its memory, its time, its users' trust in "the target is equal", and the bytes of its disk
// that nobody asked for.
//
// What stands in the code and cannot be reached over a wire, so in no row: what malicious_source_test.cpp names, for
// this side; "a second hello", which the session refuses first; and of `resend` the place behind a set to stay within,
// which the peers' own tests reach.
// Nor "digests of what it was not told of": that holds while the source still asks its disk, a race that a row would
// win now and then.
#include "hostile/malicious_peer.hpp"

#include <limits>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using liar = lying_target;

constexpr std::uint64_t beyond = std::numeric_limits<std::uint64_t>::max();
constexpr std::chrono::milliseconds short_patience{1'000};  // a busy machine needs less between two words

void greet_with(liar& it, void (*change)(hello&)) {
    it.be_greeted();
    hello mine = it.sound_hello();
    change(mine);
    it.say(mine);
}
void say_entry(liar& it, digest_entry one) {
    it.be_told_allocation();
    it.say(chunk_digests{{std::move(one)}});
}
digest_entry entry_of(digest_entry::kind what, std::uint64_t first, std::uint64_t count) {
    digest_entry one;
    one.what = what;
    one.first_chunk = first;
    one.count = count;
    return one;
}
void say_digests(liar& it, const by_hand& payload) {
    it.be_told_allocation();
    it.say_frame(frame_kind::chunk_digests, payload);
}
template <typename Message>
void say_wrong_way(liar& it) {
    it.greet();
    it.say(Message{});
}
void say_cuts(liar& it, std::uint64_t chunk, std::size_t count) {
    it.be_asked();
    it.say(block_digests{chunk, std::vector<digest_cut>(count)});
}
// All that was sent is asked for again.
void ask_again(liar& it, std::uint64_t chunk) {
    it.be_sent_all();
    it.say(resend{chunk});
    it.hear_frame(frame_kind::end_of_data);
    it.say(resend{chunk});
}
const outcome& recorded_session() {
    static const outcome session = attack<liar>({}, [](liar& it) { it.tell_the_truth(); });
    return session;
}
// Each word when the source has said what it answers.
void replay_patiently(liar& it) {
    it.be_greeted();
    std::uint64_t cuts = 0;
    for (auto left = std::span(recorded_session().said).subspan(recorded_session().said_in_opening); !left.empty();) {
        const auto header = decode_header(left.first<frame_header_bytes>());
        const auto frame = left.first(frame_header_bytes + header->length);
        left = left.subspan(frame.size());
        it.say(frame);
        if (header->kind == frame_kind::hello) it.hear_frame(frame_kind::allocation);
        if (header->kind == frame_kind::chunk_digests) {
            for (std::uint64_t i = 0; i < it.shape.chunk_count(); ++i) it.hear_frame(frame_kind::narrow);
        }
        if (header->kind == frame_kind::block_digests && ++cuts == it.shape.chunk_count())
            it.hear_frame(frame_kind::end_of_data);
    }
}
void disagree(liar& it) {
    it.say(it.sound_preamble());
    it.hear(preamble_bytes);
}

const breach<liar> table[] = {
    // ---- the opening ----
    {"somebody who speaks ssh", [](liar& it) { it.say("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"); },
     "it is no reprotect: it began with \"SSH-2.0-OpenSSH_\""},
    {"a version that is not known yet",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.version_min = mine.version_max = 2;
         it.say(mine);
     },
     "it speaks version 2 of the wire, this side version 1"},
    {"no version",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.version_min = mine.version_max = 0;
         it.say(mine);
     },
     "a range of versions that holds none"},
    {"a side of another dialogue",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.side = wire_side::server;
         it.say(mine);
     },
     "it is a server, and so this source has nothing to say to it"},
    {"the preamble is sent back", [](liar& it) { it.say(it.hear(preamble_bytes)); },
     "it is a source, and so this source has nothing to say to it"},
    {"the nonce is sent back",
     [](liar& it) {
         auto bytes = it.hear(preamble_bytes);
         bytes[20] = std::byte{2};
         it.say(bytes);
     },
     "it sent our own words back"},
    {"the confirm is sent back", [](liar& it) { disagree(it), it.say(it.hear(frame_header_bytes + 32)); },
     "the two sides do not agree on what was said"},
    {"a whole session is replayed", [](liar& it) { it.say(recorded_session().said); },
     "the two sides do not agree on what was said"},
    {"a session is replayed behind an opening of this one, each word in its time", replay_patiently,
     "a root that is not ours"},

    // ---- frames and order ----
    {"a kind that there is not", [](liar& it) { it.greet(), it.say_frame(200, {}); }, "a frame of an unknown kind"},
    {"a credit longer than its kind may be", [](liar& it) { it.greet(), it.say_frame(24, {}, 41); },
     "a frame that is longer than its kind may be"},
    {"a list of 16 MiB", [](liar& it) { it.greet(), it.say_frame(18, {}, 0xffffff); },
     "a frame that is longer than its kind may be"},
    {"it ends within a frame", [](liar& it) { it.greet(), it.say_frame(18, by_hand().zeroes(3), 100); },
     "the connection was closed by liar.example:1"},
    {"a join within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::join, {}); },
     "a frame of kind 4 within a session"},
    {"the end of a map within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::map_end, {}); },
     "a frame of kind 54 within a session"},
    {"a message before its hello",
     [](liar& it) {
         it.be_greeted(), it.say(credit{1, 1, 1, 1});
     },
     "a message before its hello"},
    {"data before its hello",
     [](liar& it) { it.be_greeted(), it.say(data_of(0, 1, by_hand().entry(0, {}, 1).run(0, 1), by_hand().byte(1))); },
     "more chunks than may be sent"},
    {"a goodbye before its hello", [](liar& it) { it.be_greeted(), it.say_beside(wire_goodbye{}); },
     "a goodbye before the end"},
    {"a second hello", [](liar& it) { it.greet(), it.say(it.sound_hello()); }, "a hello that was not due"},

    // ---- the hello ----
    {"a hello that is cut",
     [](liar& it) {
         it.be_greeted();
         auto payload = payload_of(it.sound_hello());
         payload.pop_back();
         it.say_frame(frame_kind::hello, payload);
     },
     "kind 16: a frame that ends within a field"},
    {"a hello with something behind it",
     [](liar& it) {
         it.be_greeted();
         auto payload = payload_of(it.sound_hello());
         payload.push_back({});
         it.say_frame(frame_kind::hello, payload);
     },
     "kind 16: a frame with bytes behind its last field"},
    {"a disk of 2^64 - 1 bytes",
     [](liar& it) {
         it.be_greeted();
         auto payload = payload_of(it.sound_hello());
         std::fill_n(payload.begin() + 1, 9, std::byte{0xff});
         payload[10] = std::byte{1};
         it.say_frame(frame_kind::hello, payload);
     },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"a name of 8 KiB",
     [](liar& it) {
         it.be_greeted();
         it.say_frame(frame_kind::hello, altered(payload_of(it.sound_hello()), "the target", -1, {0x80, 0x40}));
     },
     "kind 16: a text beyond its limit"},
    {"other chunks", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.chunk_bytes *= 2; }); },
     "a hello that does not answer ours"},
    {"other blocks", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.block_bytes /= 2; }); },
     "a hello that does not answer ours"},
    {"another digest", [](liar& it) { greet_with(it, [](hello& mine) { mine.algorithm = digest_algorithm::sha256; }); },
     "a hello that does not answer ours"},
    {"another mode", [](liar& it) { greet_with(it, [](hello& mine) { mine.mode = session_mode::compare; }); },
     "a hello that does not answer ours"},
    {"another proof", [](liar& it) { greet_with(it, [](hello& mine) { mine.reread = true; }); },
     "a hello that does not answer ours"},
    {"a window of nothing", [](liar& it) { greet_with(it, [](hello& mine) { mine.digest_entries = 0; }); },
     "a window that was not offered"},
    {"a window larger than was offered",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.digest_entries += 1; }); }, "a window that was not offered"},
    {"a window of 2^64 - 1", [](liar& it) { greet_with(it, [](hello& mine) { mine.digest_entries = beyond; }); },
     "a window that was not offered"},
    {"the hello is sent back",
     [](liar& it) { it.be_greeted(), it.say(it.theirs); },
     "source and target are one disk",
     {.kind = error_kind::same_disk}},

    {"finished chunks of no generation",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.finished_bytes = small_chunk; }); },
     "a claim of finished chunks that cannot be"},
    {"half a chunk that is finished",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.generation = "one", mine.finished_bytes = small_block; }); },
     "a claim of finished chunks that cannot be"},
    {"more chunks finished than there are",
     [](liar& it) {
         greet_with(it, [](hello& mine) { mine.generation = "one", mine.finished_bytes = 1000 * small_chunk; });
     },
     "a claim of finished chunks that cannot be"},
    {"finished chunks where all is to be read again",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.generation = "one", mine.finished_bytes = small_chunk; }); },
     "a claim of finished chunks that cannot be",
     {.reread = true}},
    {"finished chunks in a comparison",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.generation = "one", mine.finished_bytes = small_chunk; }); },
     "a claim of finished chunks that cannot be",
     {.mode = session_mode::compare}},

    // ---- chunk digests ----
    {"digests with a gap", [](liar& it) { say_entry(it, entry_of(digest_entry::kind::zero, 1, 1)); },
     "chunk digests out of order"},
    {"digests of a chunk twice",
     [](liar& it) {
         say_entry(it, entry_of(digest_entry::kind::zero, 0, 1));
         it.say(chunk_digests{{entry_of(digest_entry::kind::zero, 0, 1)}});
     },
     "chunk digests out of order"},
    {"a hole beyond the disk", [](liar& it) { say_entry(it, entry_of(digest_entry::kind::hole, 0, 7)); },
     "chunk digests out of order"},
    {"a hole of 2^62 chunks", [](liar& it) { say_entry(it, entry_of(digest_entry::kind::hole, 0, wire_offset_max)); },
     "chunk digests out of order"},
    {"digests behind the last chunk",
     [](liar& it) {
         say_entry(it, entry_of(digest_entry::kind::hole, 0, it.shape.chunk_count()));
         it.say(chunk_digests{{entry_of(digest_entry::kind::hole, it.shape.chunk_count(), 1)}});
     },
     "chunk digests out of order"},
    {"digests at chunk 2^64 - 1", [](liar& it) { say_digests(it, by_hand().number(beyond).byte(1)); },
     "kind 18: a range that is empty, out of order or out of bounds"},
    {"a hole that wraps", [](liar& it) { say_digests(it, by_hand().number(0).byte(2).number(beyond)); },
     "kind 18: a range that is empty, out of order or out of bounds"},
    {"a hole of no chunk", [](liar& it) { say_digests(it, by_hand().number(0).byte(2).number(0)); },
     "kind 18: a count that the frame cannot hold, or beyond its limit"},
    {"an entry that there is not", [](liar& it) { say_digests(it, by_hand().number(0).byte(3)); },
     "kind 18: a value that this version does not have"},
    {"digests of nothing", [](liar& it) { say_digests(it, by_hand().number(0)); },
     "kind 18: a frame that ends within a field"},
    {"half a digest", [](liar& it) { say_digests(it, by_hand().number(0).byte(0).zeroes(8)); },
     "kind 18: a frame that ends within a field"},
    {"more entries than a frame may hold",
     [](liar& it) { say_digests(it, by_hand().number(0).raw(std::vector<std::byte>(16'385, std::byte{1}))); },
     "kind 18: a count that the frame cannot hold, or beyond its limit"},
    {"2^64 - 1 cuts", [](liar& it) { say_digests(it, by_hand().number(0).byte(4).zeroes(16).number(beyond)); },
     "kind 18: a count that the frame cannot hold, or beyond its limit"},
    {"cuts that repeat without end",
     [](liar& it) { say_digests(it, by_hand().number(0).byte(4).zeroes(16).number(50'000).zeroes(10).number(beyond)); },
     "kind 18: a count that the frame cannot hold, or beyond its limit"},
    {"few bytes for very many cuts",
     [](liar& it) {
         by_hand many;
         many.number(0);
         for (int i = 0; i < 100; ++i) many.byte(4).zeroes(16).number(50'000).zeroes(10).number(49'998);
         say_digests(it, many);
     },
     "kind 18: a count that the frame cannot hold, or beyond its limit"},
    {"one cut too few with a digest",
     [](liar& it) {
         digest_entry one = entry_of(digest_entry::kind::digest, 0, 1);
         one.cuts.resize(7);
         say_entry(it, one);
     },
     "a wrong number of block digests"},
    {"more entries than granted",
     [](liar& it) { it.be_told_allocation(), it.say(it.entries_from(0, it.theirs.digest_entries + 1)); },
     "more chunk digests than it may send",
     {.narrow = true}},

    // ---- block digests ----
    {"block digests that nobody asked for", [](liar& it) { it.be_told_allocation(), it.say(it.cuts_of(0)); },
     "block digests that were not asked for"},
    {"block digests twice", [](liar& it) { it.be_asked(), it.say(it.cuts_of(0)), it.say(it.cuts_of(0)); },
     "block digests that were not asked for"},
    {"block digests of a chunk that there is not", [](liar& it) { say_cuts(it, it.shape.chunk_count(), 8); },
     "block digests that were not asked for"},
    {"block digests of chunk 2^64 - 1",
     [](liar& it) { it.be_asked(), it.say_frame(frame_kind::block_digests, by_hand().number(beyond).zeroes(5)); },
     "kind 20: a range that is empty, out of order or out of bounds"},
    {"one block digest too few", [](liar& it) { say_cuts(it, 0, 7); }, "a wrong number of block digests"},
    {"one block digest too many", [](liar& it) { say_cuts(it, 0, 9); }, "a wrong number of block digests"},
    {"no block digests", [](liar& it) { say_cuts(it, 0, 0); }, "a wrong number of block digests"},
    {"block digests of a whole disk", [](liar& it) { say_cuts(it, 0, 50'000); }, "a wrong number of block digests"},
    {"block digests that end within one",
     [](liar& it) { it.be_asked(), it.say_frame(frame_kind::block_digests, by_hand().number(0).zeroes(3)); },
     "kind 20: a frame that ends within a field"},

    // ---- asking again ----
    {"asking again for what was not sent", [](liar& it) { it.be_asked(), it.say(resend{0}); },
     "asking again for a chunk that was not sent"},
    {"asking again before there is anything", [](liar& it) { it.greet(), it.say(resend{0}); },
     "asking again for a chunk that was not sent"},
    {"asking again beyond the disk", [](liar& it) { it.be_sent_all(), it.say(resend{it.shape.chunk_count()}); },
     "asking again for a chunk that was not sent"},
    {"asking again for chunk 2^64 - 1",
     [](liar& it) { it.be_sent_all(), it.say_frame(frame_kind::resend, by_hand().number(beyond)); },
     "kind 23: a range that is empty, out of order or out of bounds"},
    {"asking again and again", [](liar& it) { ask_again(it, 0); }, "asking again and again for chunks that were sent"},
    {"asking again in a dry run",
     [](liar& it) {
         it.be_told_allocation(), it.say(it.entries_from(0, 1)), it.hear_frame(frame_kind::narrow), it.say(resend{0});
     },
     "asking again for a chunk that was not sent",
     {.mode = session_mode::dry_run}},

    // ---- what only a source says ----
    {"a target that says what it holds",
     [](liar& it) {
         it.greet(), it.say(allocation{{{{0, small_block}, source_content::data}}});
     },
     "a message that only a source sends"},
    {"a target that asks for block digests", say_wrong_way<narrow>, "a message that only a source sends"},
    {"a target that decides", say_wrong_way<verdict>, "a message that only a source sends"},
    {"a target that ends", say_wrong_way<end_of_data>, "a message that only a source sends"},
    {"a target that sends proofs",
     [](liar& it) {
         it.greet(), it.say(proof{0, 1, {}});
     },
     "a message that only a source sends"},
    {"a target that sends data with bytes",
     [](liar& it) { it.greet(), it.say(data_of(0, 1, by_hand().entry(0, {}, 1).run(0, 1), by_hand().byte(1))); },
     "more chunks than may be sent"},
    {"a target that sends data without bytes",
     [](liar& it) { it.greet(), it.say(data_of(0, 0, by_hand().entry(0, {}, 1).run(0, 1, true), {})); },
     "a message that only a source sends"},

    // ---- ends ----
    {"the end before there is anything", [](liar& it) { it.greet(), it.say(applied{}); }, "the end before ours"},
    {"the end before the source's", [](liar& it) { it.be_asked(), it.say(applied{}); }, "the end before ours"},
    {"an end with another root", [](liar& it) { it.be_sent_all(), it.say(applied{}); }, "a root that is not ours"},
    {"a target that claims to be equal from the start, and is not believed",
     [](liar& it) {
         it.be_told_allocation();
         it.say(it.entries_from(0, it.shape.chunk_count()));
         it.hear_frame(frame_kind::narrow);
         applied done;
         done.root = it.root_of(it.content);
         it.say(done);
     },
     "the end before ours"},
    {"a proof that nobody asked for", [](liar& it) { it.be_sent_all(), it.say(proved{true}); },
     "a proof that was not asked for"},
    {"a proof before all digests were sent",
     [](liar& it) {
         it.proofs_granted = 0;
         it.be_sent_all();
         it.say_applied();
         it.say(proved{true});
     },
     "a proof that was not asked for",
     {.reread = true}},
    {"a proof's flag of 2",
     [](liar& it) { it.be_sent_all(), it.say_applied(), it.say_frame(frame_kind::proved, by_hand().byte(2)); },
     "kind 28: a flag that this version does not have",
     {.reread = true}},
    {"an end that is cut", [](liar& it) { it.be_sent_all(), it.say_frame(frame_kind::applied, by_hand().zeroes(16)); },
     "kind 26: a frame that ends within a field"},
    {"a goodbye before the end", [](liar& it) { it.be_sent_all(), it.say_beside(wire_goodbye{}); },
     "a goodbye before the end"},
    {"it ends without a goodbye", [](liar& it) { it.be_sent_all(), it.say_applied(); },
     "the connection was closed by liar.example:1"},

    // ---- beside the messages ----
    {"a status of a side that there is not",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::status, by_hand().byte(3).zeroes(8)); },
     "kind 49: a value that this version does not have"},
    {"extents from a target",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::changes, by_hand().number(0).byte(5).number(small_block)); },
     "extents that nobody asked for"},
    {"credits of 2^64 - 1, and then nothing",
     [](liar& it) {
         it.be_asked();
         it.say(credit{beyond, beyond, beyond, beyond});
         for (std::uint64_t chunk = 0; chunk < it.shape.chunk_count(); ++chunk) it.say(it.cuts_of(chunk));
         it.hear_frame(frame_kind::end_of_data);
     },
     "the connection was closed by liar.example:1"},
    {"a failure in words that steer a terminal",
     [](liar& it) {
         it.greet();
         it.say_frame(frame_kind::failed, by_hand().number(99).number(9).text("\x1b[31mred\n").zeroes(6));
     },
     "the target at liar.example:1: \\x1b[31mred\\x0a"},
    {"credits without end",
     [](liar& it) {
         it.greet();
         std::vector<std::byte> many;
         for (std::uint64_t i = 0; i < 1000; ++i) append(many, message(credit{i, i, i, i}));
         for (int i = 0; i < 100; ++i) it.say(many);
     },
     "the connection was closed by liar.example:1"},
    {"credits without end, where they are paid for",
     [](liar& it) {
         it.greet();
         std::vector<std::byte> many;
         for (std::uint64_t i = 0; i < 1000; ++i) append(many, message(credit{i, i, i, i}));
         for (int i = 0; i < 1000; ++i) it.say(many);
         it.hear_last_word();
     },
     "stopped before what may come back was exceeded",
     {.kind = error_kind::limit, .back_max = 2 << 20}},
    {"statuses without end, where they are paid for, when all was sent",
     [](liar& it) {
         it.be_sent_all();
         wire_status status;
         status.counts = target_counts{};
         std::vector<std::byte> many;
         for (int i = 0; i < 1000; ++i) append(many, status);
         for (int i = 0; i < 1000; ++i) it.say(many);
         it.hear_last_word();
     },
     "stopped before what may come back was exceeded",
     {.kind = error_kind::limit, .valid_data = true, .back_max = 2 << 20}},
};

// Each takes its time: all of them at once.
const breach<liar> slow_table[] = {
    {"nothing at all", [](liar& it) { it.stay(); }, "it said nothing for too long", {.patience = short_patience}},
    {"a byte now and then in place of a preamble",
     [](liar& it) {
         for (const std::byte each : encode(it.sound_preamble())) {
             it.say(by_hand().byte(std::to_integer<unsigned>(each)));
             std::this_thread::sleep_for(std::chrono::milliseconds(100));
         }
     },
     "it said nothing for too long",
     {.patience = short_patience}},
    {"nothing in place of a hello",
     [](liar& it) { it.be_greeted(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"nothing after the hello",
     [](liar& it) { it.greet(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"no block digests, though asked for them",
     [](liar& it) { it.be_asked(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"no end, though all was sent",
     [](liar& it) { it.be_sent_all(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"no goodbye, though all is done",
     [](liar& it) { it.be_sent_all(), it.say_applied(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
};

}  // namespace

TEST_CASE("a target that breaks a rule is refused by name and in time", "[hostile][wire]") {
    for (const auto& row : table) check_refused(row, attack<liar>(row.in, row.how));
}

TEST_CASE("a target that says nothing is given up", "[hostile][wire]") {
    check_all_refused_at_once<liar>(slow_table);
}

TEST_CASE("the target that lies can tell the truth, too", "[hostile][wire]") {
    for (const scene& where : {scene{}, scene{.reread = true}}) {
        const outcome end = attack<liar>(where, [](liar& it) { it.tell_the_truth(); });
        INFO(end.trouble);
        REQUIRE(end.report);
        require_ok(*end.report);
    }
}
