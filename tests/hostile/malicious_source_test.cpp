// What a source may do to an honest target: one table of every rule that can be broken on the way from the first byte
// to the last, and what the target makes of it. None of it writes before valid data came, none makes a record clean,
// none takes memory or time without end.
//
// What stands in the code and cannot be reached over a wire, so in no row:
// - `wrong_kind`: what is no message is told from one before it is decoded ("within a session"); `not_ours` and a
//   preamble that is truncated or too long: the opening compares the magic itself, and reads as many bytes as a
//   preamble has.
// - "an event that a target does not expect": events are this side's own. "a second hello", "a message before its
//   hello", "a disk of more than 2^62 bytes", and sizes of chunks and blocks in the target peer: the session and the
//   codec refuse those.
// - "a frame after its goodbye": a target whose source has said its goodbye is done, whatever follows.
// - "more extents than any disk should have": half a GiB of them. "gave signs of life, and nothing else": ten minutes
//   of it.
#include "hostile/malicious_peer.hpp"

#include <limits>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using liar = lying_source;

constexpr std::uint64_t beyond = std::numeric_limits<std::uint64_t>::max();

hello marked_hello(const liar& it) {
    hello mine = it.sound_hello();
    mine.disk.name = "MARKED-NAME";
    mine.generation = "MARKED-GENERATION";
    mine.disk.place.identity.fields = {{"MARKED-KEY", "MARKED-VALUE"}};
    footing foot;
    foot.node.world_wide_name = "MARKED-UNIT";
    foot.range = {1, 1};
    mine.disk.place.written = {{foot}};
    return mine;
}
// Says a hello with these bytes in place of its own.
void say_altered(liar& it, std::string_view marker, std::ptrdiff_t offset, std::initializer_list<unsigned> bytes) {
    it.open();
    it.say_frame(frame_kind::hello, altered(payload_of(marked_hello(it)), marker, offset, bytes));
}
void say_altered_at(liar& it, std::size_t at, std::initializer_list<unsigned> bytes) {
    it.open();
    auto payload = payload_of(it.sound_hello());
    for (const unsigned each : bytes) payload.at(at++) = static_cast<std::byte>(each);
    it.say_frame(frame_kind::hello, payload);
}
void greet_with(liar& it, void (*change)(hello&)) {
    it.open();
    hello mine = it.sound_hello();
    change(mine);
    it.say(mine);
}
void say_run(liar& it, std::uint64_t offset, std::uint64_t length) {
    it.greet();
    it.say(allocation{{{{offset, length}, source_content::data}}});
}
void say_allocation(liar& it, const by_hand& payload) {
    it.greet();
    it.say_frame(frame_kind::allocation, payload);
}
void say_before_its_time(liar& it, const message& what) {
    it.greet();
    it.say(what);
}
const outcome& recorded_session() {
    static const outcome session = attack<liar>({}, [](liar& it) { it.tell_the_truth(); });
    return session;
}
// Its data waits until it is due, and is said again where it is asked for again.
void replay_patiently(liar& it) {
    it.open();
    for (auto left = std::span(recorded_session().said).subspan(recorded_session().said_in_opening); !left.empty();) {
        const auto header = decode_header(left.first<frame_header_bytes>());
        const auto frame = left.first(frame_header_bytes + header->length);
        left = left.subspan(frame.size());
        const bool data = header->kind == frame_kind::data;
        if (data) it.hear_digests();
        it.say(frame);
        if (header->kind == frame_kind::hello) it.theirs = it.hear_message<hello>(frame_kind::hello);
        if (!data) continue;
        it.hear_frame(frame_kind::resend);
        it.say(frame);
        return it.hear_last_word();
    }
}
template <typename Message>
void say_wrong_way(liar& it) {
    it.greet();
    it.say(Message{});
}
void say_failure(liar& it, const by_hand& payload) {
    it.greet();
    it.say_frame(frame_kind::failed, payload);
}
void disagree(liar& it) {
    it.say(it.sound_preamble());
    it.hear(preamble_bytes);
}

const breach<liar> table[] = {
    // ---- versions and sides ----
    {"somebody who speaks HTTP", [](liar& it) { it.say("HTTP/1.1 400 Bad Request\r\n\r\n"); },
     "it is no reprotect: it began with \"HTTP/1.1 400 Bad\""},
    {"a magic whose line end was rewritten",
     [](liar& it) {
         auto bytes = encode(it.sound_preamble());
         bytes[14] = std::byte{10};
         it.say(bytes);
     },
     "it is no reprotect"},
    {"a version that is not known yet",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.version_min = 2, mine.version_max = 9;
         it.say(mine);
     },
     "it speaks versions 2 to 9 of the wire, this side version 1"},
    {"no version",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.version_min = mine.version_max = 0;
         it.say(mine);
     },
     "a range of versions that holds none"},
    {"versions in the wrong order",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.version_min = 3, mine.version_max = 1;
         it.say(mine);
     },
     "a range of versions that holds none"},
    {"a side that there is not",
     [](liar& it) {
         auto bytes = encode(it.sound_preamble());
         bytes[20] = std::byte{5};
         it.say(bytes);
     },
     "an unknown side"},
    {"a side of another dialogue",
     [](liar& it) {
         preamble mine = it.sound_preamble();
         mine.side = wire_side::client;
         it.say(mine);
     },
     "it is a client, and so this target has nothing to say to it"},
    {"reserved bytes are used",
     [](liar& it) {
         auto bytes = encode(it.sound_preamble());
         bytes[23] = std::byte{1};
         it.say(bytes);
     },
     "a reserved byte is not zero"},
    {"it ends within its preamble", [](liar& it) { it.say(by_hand().raw(encode(it.sound_preamble())).first(30)); },
     "it closed the connection before a session began"},

    // ---- reflection, replay, splice ----
    {"the preamble is sent back", [](liar& it) { it.say(it.hear(preamble_bytes)); },
     "it is a target, and so this target has nothing to say to it"},
    {"the nonce is sent back",
     [](liar& it) {
         auto bytes = it.hear(preamble_bytes);
         bytes[20] = std::byte{1};
         it.say(bytes);
     },
     "it sent our own words back"},
    {"the confirm is sent back",
     [](liar& it) {
         disagree(it);
         it.say(it.hear(frame_header_bytes + 32));
     },
     "the two sides do not agree on what was said"},
    {"a whole session is replayed", [](liar& it) { it.say(recorded_session().said); },
     "the two sides do not agree on what was said"},
    {"a session is replayed behind an opening of this one",
     [](liar& it) {
         it.open();
         it.say(std::span(recorded_session().said).subspan(recorded_session().said_in_opening));
     },
     "data that does not fit its chunk"},
    {"a session is replayed behind an opening of this one, each word in its time",
     replay_patiently,
     "the digest of what the source sent does not match, twice",
     {.kind = error_kind::verification}},
    {"the hello is sent back",
     [](liar& it) {
         it.greet();
         it.say(it.theirs);
     },
     "a hello that was not due"},

    // ---- the opening's frames ----
    {"no confirm but another frame",
     [](liar& it) {
         disagree(it);
         it.say_frame(frame_kind::keep_alive, {});
     },
     "a frame of another kind than was due"},
    {"a confirm that is too short",
     [](liar& it) {
         disagree(it);
         it.say_frame(frame_kind::confirm, by_hand().zeroes(31));
     },
     "the two sides do not agree on what was said"},
    {"a confirm that is too long",
     [](liar& it) {
         disagree(it);
         it.say_frame(frame_kind::confirm, by_hand().zeroes(33));
     },
     "a frame that is longer than its kind may be"},
    {"an unknown kind in place of the confirm",
     [](liar& it) {
         disagree(it);
         it.say_frame(200, by_hand().zeroes(32));
     },
     "a frame of an unknown kind"},

    // ---- frames ----
    {"a kind that there is not",
     [](liar& it) {
         it.greet();
         it.say_frame(200, {});
     },
     "a frame of an unknown kind"},
    {"a hello longer than its kind may be",
     [](liar& it) {
         it.open();
         it.say_frame(16, {}, 128 * 1024 + 1);
     },
     "a frame that is longer than its kind may be"},
    {"a narrow longer than its kind may be",
     [](liar& it) {
         it.greet();
         it.say_frame(19, {}, 11);
     },
     "a frame that is longer than its kind may be"},
    {"data longer than any may be",
     [](liar& it) {
         it.greet();
         it.say_frame(22, {}, 0xffffff);
     },
     "a frame that is longer than its kind may be"},
    {"a sign of life with something in it",
     [](liar& it) {
         it.greet();
         it.say_frame(frame_kind::keep_alive, by_hand().byte(1));
     },
     "a frame that is longer than its kind may be"},
    {"it ends within a frame",
     [](liar& it) {
         it.greet();
         it.say_frame(17, by_hand().zeroes(3), 100);
     },
     "the connection was closed by liar.example:1"},
    {"a request within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::request, {}); },
     "a frame of kind 1 within a session"},
    {"an answer within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::answer, {}); },
     "a frame of kind 2 within a session"},
    {"a confirm within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::confirm, {}); },
     "a frame of kind 3 within a session"},
    {"a join within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::join, {}); },
     "a frame of kind 4 within a session"},
    {"a piece of a map within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::map_piece, {}); },
     "a frame of kind 53 within a session"},
    {"the end of a map within a session", [](liar& it) { it.greet(), it.say_frame(frame_kind::map_end, {}); },
     "a frame of kind 54 within a session"},

    // ---- order: before the hello ----
    {"a message before its hello", [](liar& it) { it.open(), it.say(narrow{0}); }, "a frame before its hello"},
    {"a status before its hello", [](liar& it) { it.open(), it.say_beside(wire_status{}); },
     "a frame before its hello"},
    {"a goodbye before its hello", [](liar& it) { it.open(), it.say_beside(wire_goodbye{}); },
     "a frame before its hello"},
    {"data before its hello",
     [](liar& it) { it.open(), it.say(data_of(0, 1, by_hand().zeroes(20), by_hand().byte(1))); },
     "data before the hello"},
    {"a second hello", [](liar& it) { it.greet(), it.say(it.sound_hello()); }, "a hello that was not due"},

    // ---- the hello ----
    {"a hello of nothing", [](liar& it) { it.open(), it.say_frame(frame_kind::hello, {}); },
     "kind 16: a frame that ends within a field"},
    {"a hello with something behind it",
     [](liar& it) {
         it.open();
         auto payload = payload_of(it.sound_hello());
         payload.push_back({});
         it.say_frame(frame_kind::hello, payload);
     },
     "kind 16: a frame with bytes behind its last field"},
    {"a mode that there is not", [](liar& it) { say_altered_at(it, 0, {4}); },
     "kind 16: a value that this version does not have"},
    {"a number of 65 bits",
     [](liar& it) {
         say_altered_at(it, 1, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2});
     },
     "kind 16: a number that is longer than it needs to be, or than 64 bits"},
    {"a number that could be shorter",
     [](liar& it) {
         say_altered_at(it, 1, {0x80, 0});
     },
     "kind 16: a number that is longer than it needs to be"},
    {"a disk of 2^64 - 1 bytes",
     [](liar& it) {
         say_altered_at(it, 1, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1});
     },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"chunks of no bytes", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.chunk_bytes = 0; }); },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"chunks of 4 GiB", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.chunk_bytes = 0xfffff000; }); },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"blocks that are no power of two",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.block_bytes = 5000; }); },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"a name longer than the hello", [](liar& it) { say_altered(it, "MARKED-NAME", -1, {0x7f}); }, "kind 16: a "},
    {"a name of 8 KiB",
     [](liar& it) {
         say_altered(it, "MARKED-NAME", -1, {0x80, 0x40});
     },
     "kind 16: a text beyond its limit"},
    {"a name of 2^64 - 1 bytes",
     [](liar& it) {
         say_altered(it, "MARKED-NAME", -1, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1});
     },
     "kind 16: a text beyond its limit"},
    {"33 pairs of an identity", [](liar& it) { say_altered(it, "MARKED-KEY", -2, {33}); },
     "kind 16: a count that the frame cannot hold, or beyond its limit"},
    {"a footing of a kind that there is not", [](liar& it) { say_altered(it, "MARKED-UNIT", -4, {9}); },
     "kind 16: a value that this version does not have"},
    {"65 footings", [](liar& it) { say_altered(it, "MARKED-UNIT", -5, {65}); },
     "kind 16: a count that the frame cannot hold, or beyond its limit"},
    {"65 lists of footings", [](liar& it) { say_altered(it, "MARKED-UNIT", -6, {65}); },
     "kind 16: a count that the frame cannot hold, or beyond its limit"},
    {"a footing's flag of 2", [](liar& it) { say_altered(it, "MARKED-UNIT", 13, {2}); },
     "kind 16: a flag that this version does not have"},
    {"a footing that ends beyond 2^64",
     [](liar& it) {
         say_altered(it, "MARKED-UNIT", 11, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1});
     },
     "kind 16: a range that is empty, out of order or out of bounds"},
    {"another mode", [](liar& it) { greet_with(it, [](hello& mine) { mine.mode = session_mode::dry_run; }); },
     "began another session than was agreed on"},
    {"other blocks", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.block_bytes = 512; }); },
     "began another session than was agreed on"},
    {"other chunks", [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.chunk_bytes = chunk_bytes_max; }); },
     "began another session than was agreed on"},
    {"another digest", [](liar& it) { greet_with(it, [](hello& mine) { mine.algorithm = digest_algorithm::sha256; }); },
     "began another session than was agreed on"},
    {"another proof", [](liar& it) { greet_with(it, [](hello& mine) { mine.reread = true; }); },
     "began another session than was agreed on"},
    {"a window of nothing", [](liar& it) { greet_with(it, [](hello& mine) { mine.digest_entries = 0; }); },
     "a window of nothing"},
    {"a smaller disk",
     [](liar& it) { greet_with(it, [](hello& mine) { mine.shape.disk_bytes -= 1; }); },
     "the target is larger",
     {.kind = error_kind::size_mismatch}},
    {"a disk of 2^62 bytes, all of it data",
     [](liar& it) {
         hello mine = it.sound_hello();
         mine.shape.disk_bytes = wire_offset_max;
         it.greet(mine);
         it.say(allocation{{{{0, wire_offset_max}, source_content::data}}});
         it.hear_frame(frame_kind::chunk_digests);
     },
     "the connection was closed by liar.example:1",
     {.valid_data = true}},

    {"a generation of 384 bytes",
     [](liar& it) {
         say_altered(it, "MARKED-GENERATION", -1, {0x80, 3});
     },
     "kind 16: a text beyond its limit"},
    {"more finished than any disk holds",
     [](liar& it) {
         it.open();
         auto payload = payload_of(it.sound_hello());
         payload.pop_back();
         it.say_frame(frame_kind::hello, by_hand().raw(payload).number(beyond));
     },
     "kind 16: a disk's, chunk's or block's size out of bounds"},
    {"more bytes than the target would have",
     [](liar& it) {
         it.be_told_digests();
         std::vector<std::byte> many;
         for (int i = 0; i < 1000; ++i) append(many, message(verdict{0, 10, 0}));
         for (int i = 0; i < 100; ++i) it.say(many);
         it.hear_last_word();
     },
     "stopped before more than 262144 bytes",
     {.kind = error_kind::limit, .egress_max = 256 << 10}},
    {"a limit that is reached before what was counted came",
     [](liar& it) {
         it.be_told_digests();
         it.say(verdict{0, 10, 3});
         it.say(failed{error(error_kind::limit, "enough")});
     },
     "the source at liar.example:1: enough",
     {.kind = error_kind::limit}},

    // ---- allocation ----
    {"allocation with a gap", [](liar& it) { say_run(it, small_block, small_block); }, "allocation out of order"},
    {"allocation of a range twice",
     [](liar& it) {
         say_run(it, 0, small_block);
         it.say(allocation{{{{0, small_block}, source_content::data}}});
     },
     "allocation out of order"},
    {"allocation beyond the disk", [](liar& it) { say_run(it, 0, it.shape.disk_bytes + small_block); },
     "allocation out of order"},
    {"allocation that ends within a block", [](liar& it) { say_run(it, 0, small_block + 1); },
     "allocation out of order"},
    {"allocation at 2^64 - 1", [](liar& it) { say_allocation(it, by_hand().number(beyond).number(0)); },
     "kind 17: a range that is empty, out of order or out of bounds"},
    {"allocation that wraps", [](liar& it) { say_allocation(it, by_hand().number(1).number(beyond - 3)); },
     "kind 17: a range that is empty, out of order or out of bounds"},
    {"allocation of nothing", [](liar& it) { say_allocation(it, by_hand().number(0)); },
     "kind 17: a frame that ends within a field"},
    {"content that there is not", [](liar& it) { say_allocation(it, by_hand().number(0).number(4095 << 2 | 3)); },
     "kind 17: a value that this version does not have"},
    {"more runs than a frame may hold", [](liar& it) { say_allocation(it, by_hand().number(0).zeroes(16'385)); },
     "kind 17: a count that the frame cannot hold, or beyond its limit"},
    {"more allocation than granted",
     [](liar& it) {
         it.greet();
         allocation all;
         for (std::uint64_t i = 0; i <= it.theirs.allocation_runs; ++i)
             all.runs.push_back({{i * 512, 512}, i % 2 == 0 ? source_content::data : source_content::zero});
         it.say(all);
     },
     "more allocation than it may send",
     {.narrow = true}},

    // ---- narrowing and verdicts ----
    {"asking for a chunk's blocks at 2^64 - 1",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::narrow, by_hand().number(beyond)); },
     "kind 19: a range that is empty, out of order or out of bounds"},
    {"asking before there is anything", [](liar& it) { say_before_its_time(it, narrow{0}); },
     "asking for block digests that are not to be had"},
    {"asking beyond the disk", [](liar& it) { it.be_told_digests(), it.say(narrow{it.shape.chunk_count()}); },
     "asking for block digests that are not to be had"},
    {"asking twice", [](liar& it) { it.be_told_digests(), it.say(narrow{1}), it.say(narrow{1}); },
     "asking for block digests that are not to be had"},
    {"a verdict on what is not planned",
     [](liar& it) {
         say_before_its_time(it, verdict{1, 100'000, 0});
     },
     "a verdict that goes back"},
    {"a verdict at 2^64 - 1",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::verdict, by_hand().number(beyond).number(0).number(0)); },
     "kind 21: a range that is empty, out of order or out of bounds"},
    {"a verdict that takes chunks back",
     [](liar& it) {
         it.be_told_digests(), it.say(verdict{3, 100, 0}), it.say(verdict{2, 100, 0});
     },
     "a verdict that goes back"},
    {"a verdict that takes entries back",
     [](liar& it) {
         it.be_told_digests(), it.say(verdict{3, 100, 0}), it.say(verdict{3, 99, 0});
     },
     "a verdict that goes back"},
    {"a verdict that takes data back",
     [](liar& it) {
         it.be_told_digests(), it.say(verdict{3, 100, 1}), it.say(verdict{3, 100, 0});
     },
     "a verdict that goes back"},
    {"a verdict that grants 2^64 - 1 entries",
     [](liar& it) {
         it.be_told_digests(), it.say(verdict{0, beyond, 0});
     },
     "a verdict on what was not sent"},

    // ---- what only a target says ----
    {"a source that sends chunk digests",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::chunk_digests, by_hand().number(0).byte(1)); },
     "a message that only a target sends"},
    {"a source that sends block digests", say_wrong_way<block_digests>, "a message that only a target sends"},
    {"a source that asks again", say_wrong_way<resend>, "a message that only a target sends"},
    {"a source that grants", say_wrong_way<credit>, "a message that only a target sends"},
    {"a source that says applied", say_wrong_way<applied>, "a message that only a target sends"},
    {"a source that says proved", say_wrong_way<proved>, "a message that only a target sends"},

    // ---- beside the messages ----
    {"a status of a side that there is not",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::status, by_hand().byte(3).zeroes(8)); },
     "kind 49: a value that this version does not have"},
    {"a status that ends early", [](liar& it) { it.greet(), it.say_frame(frame_kind::status, by_hand().byte(1)); },
     "kind 49: a frame that ends within a field"},
    {"a notice of 5000 bytes", [](liar& it) { it.greet(), it.say_frame(50, {}, 5000); },
     "a frame that is longer than its kind may be"},
    {"a goodbye that ends early", [](liar& it) { it.greet(), it.say_frame(frame_kind::goodbye, by_hand().number(1)); },
     "kind 52: a frame that ends within a field"},
    {"a goodbye before the end", [](liar& it) { it.be_told_digests(), it.say_beside(wire_goodbye{}); },
     "a goodbye before the end"},
    {"extents that nobody asked for",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::changes, by_hand().number(0).byte(5).number(small_block)); },
     "extents that nobody asked for"},
    {"an extent that ends within a block",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::changes, by_hand().number(0).byte(5).number(1)); },
     "an extent that does not fall on blocks",
     {.mode = session_mode::compare}},
    {"an extent beyond the disk",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::changes, by_hand().number(beyond).byte(5).number(1)); },
     "kind 51: a range that is empty, out of order or out of bounds",
     {.mode = session_mode::compare}},
    {"extents that go back",
     [](liar& it) {
         it.greet();
         for (int i = 0; i < 2; ++i) it.say_frame(frame_kind::changes, by_hand().number(0).byte(5).number(small_block));
     },
     "kind 51: a range that is empty, out of order or out of bounds",
     {.mode = session_mode::compare}},
    {"an extent of a kind that there is not",
     [](liar& it) { it.greet(), it.say_frame(frame_kind::changes, by_hand().number(0).byte(13).number(small_block)); },
     "kind 51: a value that this version does not have",
     {.mode = session_mode::compare}},

    // ---- what a failure says ----
    {"a failure of a kind that is not known, in words that steer a terminal",
     [](liar& it) { say_failure(it, by_hand().number(99).number(9).text("\x1b[31mred\n").zeroes(6)); },
     "the source at liar.example:1: \\x1b[31mred\\x0a"},
    {"a failure with a 0 in its words",
     [](liar& it) { say_failure(it, by_hand().number(1).number(2).zeroes(2).zeroes(6)); },
     "kind 29: a text beyond its limit"},
    {"a failure with a flag that there is not",
     [](liar& it) { say_failure(it, by_hand().number(1).zeroes(5).byte(4).byte(0)); },
     "kind 29: a flag that this version does not have"},
    {"a failure with an errno that there is not",
     [](liar& it) { say_failure(it, by_hand().number(1).zeroes(6).number(5000)); },
     "kind 29: a value that this version does not have"},
    {"a failure that says nothing", [](liar& it) { say_failure(it, by_hand().number(15).zeroes(7)); },
     "the source at liar.example:1"},

    // ---- floods ----
    {"warnings without end",
     [](liar& it) {
         it.greet();
         std::vector<std::byte> many;
         for (int i = 0; i < 1000; ++i) append(many, wire_notice{std::string(100, 'w')});
         for (int i = 0; i < 100; ++i) it.say(many);
     },
     "more beside its messages than there may be"},
    {"signs of life without end",
     [](liar& it) {
         it.greet();
         for (int i = 0; i < 100; ++i) it.say(by_hand().raw(std::vector<std::byte>(4000, std::byte{48})));
     },
     "a frame that is longer than its kind may be"},
    {"signs of life and of progress without end",
     [](liar& it) {
         it.greet();
         std::vector<std::byte> many;
         for (int i = 0; i < 1000; ++i) append_keep_alive(many), append(many, wire_status{});
         for (int i = 0; i < 100; ++i) it.say(many);
     },
     "the connection was closed by liar.example:1"},
};

constexpr std::chrono::milliseconds short_patience{1'000};  // a busy machine needs less between two words

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
    {"signs of life in place of a preamble",
     [](liar& it) {
         it.say(std::vector<std::byte>(12, std::byte{48}));
         it.stay();
     },
     "it said nothing for too long",
     {.patience = short_patience}},
    {"nothing after the preamble",
     [](liar& it) { disagree(it), it.stay(); },
     "it said nothing for too long",
     {.patience = short_patience}},
    {"nothing in place of a hello",
     [](liar& it) { it.open(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"half a hello",
     [](liar& it) {
         it.open();
         it.say_frame(16, by_hand().zeroes(20), 200);
         it.stay();
     },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"nothing after the hello",
     [](liar& it) { it.greet(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"nothing but half of what was announced",
     [](liar& it) { it.be_told_digests(), it.say_end(), it.stay(); },
     "nothing was heard from liar.example:1 for 1 s",
     {.patience = short_patience}},
    {"it takes nothing",
     [](liar& it) {
         it.greet();
         it.say(allocation{{{{0, it.shape.disk_bytes}, source_content::data}}});
         // Signs of life, so that it is not for its silence that it is given up.
         for (int i = 0; i < 400; ++i) {  // until it is given up
             std::this_thread::sleep_for(std::chrono::milliseconds(100));
             std::vector<std::byte> life;
             append_keep_alive(life);
             it.say(life);
         }
     },
     "took nothing of what was sent for 1 s",
     {.many = true, .patience = short_patience}},
    {"a breach, after which it does not hang up", [](liar& it) { it.be_told_digests(), it.say(resend{}), it.stay(); },
     "a message that only a target sends"},
};

}  // namespace

TEST_CASE("a source that breaks a rule is refused by name, in time, and before anything is written",
          "[hostile][wire]") {
    for (const auto& row : table) check_refused(row, attack<liar>(row.in, row.how));
}

TEST_CASE("a source that says nothing, or takes nothing, is given up", "[hostile][wire]") {
    check_all_refused_at_once<liar>(slow_table);
}

TEST_CASE("the source that lies can tell the truth, too", "[hostile][wire]") {
    for (const scene& where : {scene{}, scene{.reread = true}}) {
        const outcome end = attack<liar>(where, [](liar& it) { it.tell_the_truth(); });
        INFO(end.trouble);
        REQUIRE(end.report);
        require_ok(*end.report);
        CHECK(end.record == "clean");
        CHECK_FALSE(end.intact);
    }
}
