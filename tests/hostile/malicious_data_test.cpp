// What a source may do to an honest target once there is something to send: data whose batch, head, body or place is
// wrong, more of it than was granted, ends that are none, and false proofs. See malicious_source_test.cpp for all that
// comes before.
#include "hostile/malicious_peer.hpp"

#include <zstd.h>

#include "base/little_endian.hpp"
#include "wire/data_batch.hpp"

#include <algorithm>
#include <limits>

namespace {

using namespace reprotect;
using namespace reprotect::test;

using liar = lying_source;

constexpr std::uint64_t beyond = std::numeric_limits<std::uint64_t>::max();
constexpr unsigned raw = 0, zstd = 1, split = 2;

// Once the target has digested all: a data frame, by hand.
void say_data(liar& it, unsigned codec, std::uint32_t raw_bytes, const by_hand& head, std::span<const std::byte> body) {
    it.be_told_digests();
    it.say(data_of(codec, raw_bytes, head, body));
}
void say_head(liar& it, const by_hand& head) {
    say_data(it, raw, small_block, head, random_bytes(1, small_block));
}
by_hand one_block(const liar&, std::uint64_t chunk = 0) {
    by_hand head;
    head.entry(chunk, {}, 1).run(0, 1);
    return head;
}
// A body that says it is zstd, for one block.
void say_compressed(liar& it, std::span<const std::byte> body) {
    say_data(it, zstd, small_block, one_block(it), body);
}
std::vector<std::byte> compressed(std::size_t zeroes, bool says_size = true) {
    const std::vector<std::byte> bytes(zeroes);
    std::vector<std::byte> space(ZSTD_compressBound(zeroes));
    ZSTD_CCtx* with = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(with, ZSTD_c_contentSizeFlag, says_size ? 1 : 0);
    space.resize(ZSTD_compress2(with, space.data(), space.size(), bytes.data(), bytes.size()));
    ZSTD_freeCCtx(with);
    return space;
}
// A frame of one block of `holds` bytes that claims `says` of them: in a one-segment frame its size stands behind magic
// and flags.
std::vector<std::byte> bomb(std::size_t holds, std::uint16_t says) {
    auto body = compressed(holds);
    body.resize(4);
    body.push_back(std::byte{0x60});  // one segment, two bytes of size, no dictionary
    little_endian::store<2>(std::span(body.insert(body.end(), 2, std::byte{}), 2), 0,
                            static_cast<unsigned>(says - 256));
    const unsigned block = 1 | 1 << 1 | static_cast<unsigned>(holds) << 3;  // last, RLE
    for (unsigned i = 0; i < 3; ++i) body.push_back(static_cast<std::byte>(block >> (8 * i)));
    body.push_back(std::byte{7});
    return body;
}
// Many chunks without a payload: zeroes, whatever the target holds there.
by_hand zero_chunks(const liar& it, std::uint64_t first, std::uint64_t count) {
    by_hand head;
    for (std::uint64_t chunk = first; chunk < first + count; ++chunk)
        head.entry(chunk, {}, 1).run(0, it.shape.blocks_in(chunk), true);
    return head;
}
// With narrow windows: the target has planned so much as its first window of digests holds.
std::uint64_t be_told_first_window(liar& it) {
    it.allocate();
    std::uint64_t entries = 0;
    while (entries < it.theirs.digest_entries)
        entries += it.hear_message<chunk_digests>(frame_kind::chunk_digests).entries.size();
    return entries;
}
void prove_falsely(liar& it, const message& what) {
    it.be_told_digests();
    if (!it.in.many)
        for (std::uint64_t chunk = 0; chunk < it.shape.chunk_count(); ++chunk) it.say(it.true_data(chunk));
    it.say_end();
    it.hear_frame(frame_kind::applied);
    it.say(what);
    it.hear_last_word();
}

const breach<liar> table[] = {
    // ---- data: the batch ----
    {"a codec that there is not",
     [](liar& it) { say_data(it, 3, small_block, one_block(it), random_bytes(1, small_block)); },
     "a value that this version does not have"},
    {"a compressed body with nothing in it", [](liar& it) { say_data(it, zstd, small_block, one_block(it), {}); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a split body with nothing in it", [](liar& it) { say_data(it, split, small_block, one_block(it), {}); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a split body that marks all, none, or pieces that it has not",
     [](liar& it) { say_data(it, split, small_block, one_block(it), by_hand().byte(1)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a batch shorter than its head's sizes",
     [](liar& it) { it.be_told_digests(), it.say_frame(22, by_hand().zeroes(7), 6); },
     "a frame that ends within a field"},
    {"a batch of 16 MiB", [](liar& it) { say_data(it, zstd, 0xffffff, one_block(it), compressed(small_block)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a head of 16 MiB", [](liar& it) { it.be_told_digests(), it.say(data_of(raw, 0, {}, {}, 0xffffff)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a head longer than its frame", [](liar& it) { it.be_told_digests(), it.say(data_of(raw, 0, {}, {}, 1)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a raw body of another length",
     [](liar& it) { say_data(it, raw, small_block, one_block(it), random_bytes(1, small_block - 1)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a compressed body that is no shorter", [](liar& it) { say_compressed(it, random_bytes(1, small_block)); },
     "a batch whose sizes are beyond their limits or do not fit each other"},
    {"a batch of nothing", [](liar& it) { say_data(it, raw, 0, {}, {}); },
     "a batch that holds more or less than its runs say"},
    {"bytes that belong to no chunk", [](liar& it) { say_data(it, raw, 1, {}, by_hand().byte(1)); },
     "a batch that holds more or less than its runs say"},
    {"more bytes than the runs",
     [](liar& it) { say_data(it, raw, small_block + 1, one_block(it), random_bytes(1, small_block + 1)); },
     "a batch that holds more or less than its runs say"},
    {"a chunk of which not one byte is there", [](liar& it) { say_data(it, raw, 0, one_block(it), {}); },
     "a batch that holds more or less than its runs say"},
    {"two chunks left open",
     [](liar& it) {
         by_hand head = one_block(it, 0);
         head.raw(one_block(it, 1));
         say_data(it, raw, 100, head, random_bytes(1, 100));
     },
     "a batch that holds more or less than its runs say"},
    {"another chunk begun behind one that is open",
     [](liar& it) {
         say_data(it, raw, 100, one_block(it), random_bytes(1, 100));
         it.say(data_of(raw, 100, one_block(it, 1), random_bytes(1, 100)));
     },
     "a batch that holds more or less than its runs say"},

    // ---- data: the head ----
    {"data for the chunk behind the last", [](liar& it) { say_head(it, one_block(it, it.shape.chunk_count())); },
     "a chunk that the disk does not have"},
    {"data for chunk 2^64 - 1", [](liar& it) { say_head(it, one_block(it, beyond)); },
     "a chunk that the disk does not have"},
    {"a chunk without runs", [](liar& it) { say_head(it, by_hand().entry(0, {}, 0)); },
     "a count that the frame cannot hold, or beyond its limit"},
    {"2^64 - 1 runs", [](liar& it) { say_head(it, by_hand().entry(0, {}, beyond).run(0, 1)); },
     "a count that the frame cannot hold, or beyond its limit"},
    {"a run of nothing", [](liar& it) { say_head(it, by_hand().entry(0, {}, 1).run(0, 0)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a run that begins beyond its chunk", [](liar& it) { say_head(it, by_hand().entry(0, {}, 1).run(9, 1)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a run that ends beyond its chunk", [](liar& it) { say_head(it, by_hand().entry(0, {}, 1).run(7, 2)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a run beyond the last chunk, which is short",
     [](liar& it) { say_head(it, by_hand().entry(it.shape.chunk_count() - 1, {}, 1).run(0, 2)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a run that skips 2^64 - 1 blocks", [](liar& it) { say_head(it, by_hand().entry(0, {}, 1).run(beyond, 1)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a run of 2^63 - 1 blocks", [](liar& it) { say_head(it, by_hand().entry(0, {}, 1).run(1, beyond >> 1)); },
     "a run of blocks that is empty, or beyond its chunk"},
    {"a head that ends within a digest", [](liar& it) { say_head(it, by_hand().number(0).zeroes(15)); },
     "a frame that ends within a field"},
    {"a head with a number that could be shorter", [](liar& it) { say_head(it, by_hand().byte(0x80).byte(0)); },
     "a number that is longer than it needs to be"},

    // ---- data: bombs ----
    {"what is no zstd", [](liar& it) { say_compressed(it, by_hand().zeroes(100)); }, "not exactly one zstd frame"},
    {"a frame that does not say its size", [](liar& it) { say_compressed(it, compressed(small_block, false)); },
     "a zstd frame that does not say its size"},
    {"a frame that announces more than the batch", [](liar& it) { say_compressed(it, compressed(16 << 20)); },
     "a zstd frame of another size than announced"},
    {"a frame that announces less", [](liar& it) { say_compressed(it, compressed(small_block - 1)); },
     "a zstd frame of another size than announced"},
    {"a frame that holds more than it announces", [](liar& it) { say_compressed(it, bomb(100'000, small_block)); },
     "a corrupt zstd frame"},
    {"a frame that holds less than it announces", [](liar& it) { say_compressed(it, bomb(100, small_block)); },
     "a corrupt zstd frame"},
    {"two frames",
     [](liar& it) {
         auto body = compressed(small_block);
         const auto more = compressed(small_block);
         body.insert(body.end(), more.begin(), more.end());
         say_compressed(it, body);
     },
     "not exactly one zstd frame"},
    {"half a frame",
     [](liar& it) {
         auto body = bomb(small_block, small_block);
         body.pop_back();
         say_compressed(it, body);
     },
     "not exactly one zstd frame"},
    {"a frame that wants a dictionary",
     [](liar& it) {
         auto body = bomb(small_block, small_block);
         body[4] = std::byte{0x61};
         body.insert(body.begin() + 5, std::byte{9});
         say_compressed(it, body);
     },
     "a zstd frame that wants a dictionary"},
    {"frames to be skipped", [](liar& it) { say_compressed(it, by_hand().text("\x50\x2a\x4d\x18").zeroes(100)); },
     "not exactly one zstd frame"},

    // ---- data: order and credits ----
    {"data for a chunk that is not planned yet",
     [](liar& it) { it.greet(), it.say(data_of(raw, 0, zero_chunks(it, 0, 1), {})); },
     "data that does not fit its chunk"},
    {"data in a dry run",
     [](liar& it) { it.be_told_digests(), it.say(it.true_data(0)); },
     "data where nothing is to be written",
     {.mode = session_mode::dry_run}},
    {"data in a comparison",
     [](liar& it) { it.be_told_digests(), it.say(it.true_data(0)); },
     "data where nothing is to be written",
     {.mode = session_mode::compare}},
    {"data for a chunk that was decided",
     [](liar& it) {
         it.be_told_digests(), it.say(verdict{2, 10, 0}), it.say(it.true_data(0));
     },
     "data for a chunk that was decided"},
    {"zeroes for what it said it would leave alone, which no digest tells of",
     [](liar& it) {
         it.greet();
         it.say(allocation{{{{0, small_block}, source_content::skip},
                            {{small_block, it.shape.disk_bytes - small_block}, source_content::data}}});
         it.hear_digests();
         std::vector<std::byte> seen = it.content;
         std::fill_n(seen.begin(), small_block, std::byte{});
         by_hand head;
         head.entry(0, it.chunk_digest_of(seen, 0), 2).run(0, 1, true).run(0, it.shape.blocks_in(0) - 1);
         it.say(data_of(raw, static_cast<std::uint32_t>(small_chunk - small_block), head,
                        it.bytes_of_chunk(0).subspan(small_block)));
     },
     "data for what it said it would leave alone"},
    {"data for a chunk twice",
     [](liar& it) {
         it.be_told_digests();
         auto twice = it.true_data(0);
         const auto again = it.true_data(0);
         twice.insert(twice.end(), again.begin(), again.end());
         it.say(twice);
     },
     "data for a chunk twice",
     {.valid_data = true}},
    {"data for a chunk that was written",
     [](liar& it) {
         it.be_told_digests();
         it.say(it.true_data(0));
         it.hear_frame(frame_kind::credit);
         it.say(it.true_data(0));
     },
     "data for a chunk twice",
     {.narrow = true, .valid_data = true}},
    {"more bytes than granted",
     [](liar& it) {
         be_told_first_window(it);
         const auto first = it.shape.chunk(0).length;
         by_hand head = it.head_of(0);
         head.raw(it.head_of(1));
         it.say(data_of(raw, static_cast<std::uint32_t>(2 * first), head, std::span(it.content).first(2 * first)));
     },
     "more chunks than may be sent",
     {.narrow = true}},
    {"more chunks with bytes than granted",
     [](liar& it) {
         be_told_first_window(it);
         by_hand head;
         for (std::uint64_t chunk = 0; chunk <= it.theirs.data_messages; ++chunk) head.raw(one_block(it, chunk));
         const auto bytes = static_cast<std::uint32_t>((it.theirs.data_messages + 1) * 512);
         it.say(data_of(raw, bytes, head, random_bytes(1, bytes)));
     },
     "more chunks than may be sent",
     {.narrow = true}},
    {"more chunks without bytes than granted",
     [](liar& it) {
         const std::uint64_t told = be_told_first_window(it);
         it.say(verdict{0, told + it.theirs.digest_entries, 0});
         for (std::uint64_t more = 0; more < it.theirs.digest_entries;)
             more += it.hear_message<chunk_digests>(frame_kind::chunk_digests).entries.size();
         it.say(data_of(raw, 0, zero_chunks(it, 0, it.theirs.data_messages + 1), {}));
     },
     "more data than it may send",
     {.narrow = true}},
    {"more chunks than granted, in a batch that is still being unpacked",
     [](liar& it) {
         const std::uint64_t told = be_told_first_window(it);
         it.say(verdict{0, told + it.theirs.digest_entries, 0});
         for (std::uint64_t more = 0; more < it.theirs.digest_entries;)
             more += it.hear_message<chunk_digests>(frame_kind::chunk_digests).entries.size();
         by_hand head = one_block(it);
         head.raw(zero_chunks(it, 1, it.theirs.data_messages));
         auto both = data_of(zstd, 512, head, compressed(512));
         const auto second = data_of(raw, 0, zero_chunks(it, 0, 1), {});
         both.insert(both.end(), second.begin(), second.end());
         it.say(both);
     },
     "more data than it may send",
     {.narrow = true}},
    {"a chunk's digest that is wrong twice",
     [](liar& it) {
         it.be_told_digests();
         by_hand head;
         head.entry(0, {}, 1).run(0, 8);
         it.say(data_of(raw, small_chunk, head, it.bytes_of_chunk(0)));
         it.hear_frame(frame_kind::resend);
         it.say(data_of(raw, small_chunk, head, it.bytes_of_chunk(0)));
         it.hear_last_word();
     },
     "the digest of what the source sent does not match, twice",
     {.kind = error_kind::verification}},
    {"bytes that are not those of the digest, twice",
     [](liar& it) {
         it.be_told_digests();
         const auto others = random_bytes(99, small_chunk);
         it.say(data_of(raw, small_chunk, it.head_of(0), others));
         it.hear_frame(frame_kind::resend);
         it.say(data_of(raw, small_chunk, it.head_of(0), others));
         it.hear_last_word();
     },
     "the digest of what the source sent does not match, twice",
     {.kind = error_kind::verification}},

    // ---- ends and proofs ----
    {"an end with another root",
     [](liar& it) {
         it.be_told_digests();
         end_of_data end;
         end.root.bytes.fill(std::byte{1});
         it.say(end);
         it.hear_last_word();
     },
     "the roots of source and target differ after the sync",
     {.kind = error_kind::verification}},
    {"an end that leaves out what differs",
     [](liar& it) {
         it.be_told_digests();
         end_of_data end;
         end.root = it.root_of(it.content);
         it.say(end);
         it.hear_last_word();
     },
     "the roots of source and target differ after the sync",
     {.kind = error_kind::verification}},
    {"an end that takes data back",
     [](liar& it) {
         it.be_told_digests();
         end_of_data end;
         end.data_sent = 3;
         it.say(end);
         it.say(end);
     },
     "an end that goes back"},
    {"an end after the end",
     [](liar& it) {
         it.be_told_digests();
         end_of_data end;
         std::vector<std::byte> both;
         append(both, message(end));
         end.data_sent = 1;
         append(both, message(end));
         it.say(both);
     },
     "an end after the end"},
    {"an end without what it counts",
     [](liar& it) {
         it.be_told_digests();
         end_of_data end;
         end.data_sent = 3;
         it.say(end);
         it.say_beside(wire_goodbye{});
     },
     "a goodbye before the end"},
    {"an end before there is anything, and a goodbye",
     [](liar& it) {
         it.greet();
         it.say(end_of_data{});
         it.say_beside(wire_goodbye{});
     },
     "a goodbye before the end"},
    {"a proof before the end",
     [](liar& it) {
         it.be_told_digests(), it.say(proof{0, 1, {}});
     },
     "proofs out of order",
     {.reread = true}},
    {"a proof where none was asked for",
     [](liar& it) {
         it.be_told_digests(), it.say(proof{0, 1, {}});
     },
     "proofs out of order"},
    {"a proof of other bytes",
     [](liar& it) {
         prove_falsely(it, proof{0, it.shape.chunk_count(), std::vector<digest>(it.shape.chunk_count())});
     },
     "the target does not hold what was written to it",
     {.kind = error_kind::verification, .reread = true, .valid_data = true}},
    {"a proof that leaves chunks out",
     [](liar& it) {
         prove_falsely(it, proof{1, 1, {}});
     },
     "proofs out of order",
     {.reread = true, .valid_data = true}},
    {"a proof of more than the disk",
     [](liar& it) {
         prove_falsely(it, proof{0, it.shape.chunk_count() + 1, {}});
     },
     "proofs out of order",
     {.reread = true, .valid_data = true}},
    {"more proofs than granted",
     [](liar& it) {
         prove_falsely(it, proof{0, it.shape.chunk_count(), {}});
     },
     "more proofs than it may send",
     {.reread = true, .many = true}},
    {"a proof of 2^64 - 1 digests",
     [](liar& it) {
         it.be_told_digests();
         it.say_frame(frame_kind::proof, by_hand().number(0).number(beyond).byte(1).zeroes(16));
     },
     "kind 27: a range that is empty, out of order or out of bounds",
     {.reread = true}},
    {"a proof of more digests than it has",
     [](liar& it) {
         it.be_told_digests();
         it.say_frame(frame_kind::proof, by_hand().number(0).number(1 << 30).byte(1).zeroes(16));
     },
     "kind 27: a count that the frame cannot hold, or beyond its limit",
     {.reread = true}},
    {"a proof of nothing",
     [](liar& it) { it.be_told_digests(), it.say_frame(frame_kind::proof, by_hand().number(0).number(0).byte(0)); },
     "kind 27: a count that the frame cannot hold, or beyond its limit",
     {.reread = true}},
    {"a proof's flag of 2",
     [](liar& it) { it.be_told_digests(), it.say_frame(frame_kind::proof, by_hand().number(0).number(1).byte(2)); },
     "kind 27: a flag that this version does not have",
     {.reread = true}},
};

}  // namespace

TEST_CASE("a source whose data breaks a rule is refused by name, in time, and before anything false is written",
          "[hostile][wire]") {
    for (const auto& row : table) check_refused(row, attack<liar>(row.in, row.how));
}
