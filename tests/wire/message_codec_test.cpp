// The peers' messages there and back, at their limits and parted; and payloads that break each rule. Golden bytes, cuts
// and flipped bits of every kind are in frame_test.cpp.
#include <catch2/catch.hpp>

#include "support/aborts.hpp"
#include "wire/fields.hpp"
#include "wire/frame_samples.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t largest = UINT64_MAX;

// The messages that a message's frames are read as.
template <typename Message>
std::vector<Message> back(const Message& value) {
    std::vector<Message> result;
    for (const split_frame& frame : split(framed(message{value}))) {
        auto found = decode(frame.header.kind, frame.payload);
        REQUIRE(found.has_value());
        REQUIRE(std::holds_alternative<Message>(*found));
        result.push_back(std::get<Message>(std::move(*found)));
    }
    return result;
}

template <typename Message>
Message one(const Message& value) {
    auto result = back(value);
    REQUIRE(result.size() == 1);
    return std::move(result[0]);
}

// Numbers after one another, as a payload.
bytes of(std::initializer_list<std::uint64_t> values) {
    bytes out;
    field_writer to(out);
    for (const std::uint64_t each : values) to.number(each);
    return out;
}

bytes operator+(bytes a, const bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

void check_refused(frame_kind kind, const bytes& payload, wire_error why) {
    const auto result = decode(kind, payload);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().message() == make_error_code(why).message());
}

TEST_CASE("a hello carries all that it says, but not the paths of footings", "[wire]") {
    const hello value = sample_hello();
    const hello found = one(value);
    CHECK(found.mode == value.mode);
    CHECK(found.shape == value.shape);
    CHECK(found.algorithm == value.algorithm);
    CHECK(found.reread);
    CHECK_FALSE(found.permits.allow_larger);
    CHECK(found.permits.truncate);
    CHECK(found.permits.reverse);
    CHECK_FALSE(found.findings.full_copy);
    CHECK(found.findings.resizes);
    CHECK_FALSE(found.whole);
    CHECK(found.wants_differential);
    CHECK(found.findings.reason == "the target is blank");
    CHECK(found.nonce == value.nonce);
    CHECK(found.disk.name == "/dev/vdb");
    CHECK(found.disk.place.identity == value.disk.place.identity);
    CHECK(found.disk.place.machine == value.disk.place.machine);
    CHECK(found.disk.place.kernel.empty());
    REQUIRE(found.disk.place.written.size() == 2);
    REQUIRE(found.disk.place.written[0].size() == 2);
    CHECK(found.disk.place.written[0][0].node == disk_node::file(64769, 12345));
    CHECK(found.disk.place.written[0][0].range == whole_node);
    CHECK(found.disk.place.written[0][0].exact);
    CHECK(found.disk.place.written[0][0].path.empty());
    CHECK_FALSE(found.disk.place.written[0][1].exact);
    CHECK(found.disk.place.written[1].empty());
    REQUIRE(found.disk.place.read.size() == 1);
    CHECK(found.disk.place.read[0][0].node.what == disk_node::kind::unit);
    CHECK(found.disk.place.read[0][0].node.world_wide_name == "naa.5000c500");
    CHECK(found.digest_entries == 4096);
    CHECK(found.allocation_runs == 300);
    CHECK(found.data_messages == 64);
    CHECK(found.proof_chunks == std::uint64_t{1} << 40);

    hello other;
    other.mode = session_mode::dry_run;
    other.algorithm = digest_algorithm::sha256;
    other.permits.allow_larger = true;
    other.findings.full_copy = true;
    const hello again = one(other);
    CHECK(again.mode == session_mode::dry_run);
    CHECK(again.algorithm == digest_algorithm::sha256);
    CHECK(again.permits.allow_larger);
    CHECK_FALSE(again.permits.reverse);
    CHECK(again.findings.full_copy);
    CHECK(again.whole);
    CHECK_FALSE(again.wants_differential);
    CHECK_FALSE(again.reread);
}

TEST_CASE("a hello with more than it may hold is cut, and fits its frame", "[wire]") {
    hello value = sample_hello();
    value.shape = {wire_offset_max, chunk_bytes_max, block_bytes_max};
    value.disk.name = std::string(5000, 'n');
    value.findings.reason = std::string(5000, 'r');
    disk_place& place = value.disk.place;
    place.identity.fields.assign(40, {std::string(1100, 'k'), std::string(1100, 'v')});
    place.identity.fields[1].second.back() = 'w';
    place.machine = place.kernel = std::string(100, 'm');
    const footing far{{disk_node::kind::unit, largest, largest, std::string(300, 'u')}, {largest, 5}, true, {}};
    const footing moved{disk_node::block(1), {4096, whole_node.length}, true, {}};
    place.written.assign(50, {far, moved});
    place.read.assign(50, {moved});
    value.digest_entries = value.allocation_runs = value.data_messages = value.proof_chunks = largest;

    const hello found = one(value);
    CHECK(found.shape == value.shape);
    CHECK(found.disk.name.size() == 4096);
    CHECK(found.findings.reason.size() == 4096);
    const auto& fields = found.disk.place.identity.fields;
    REQUIRE(fields.size() == 32);
    CHECK(fields[0].second.size() == 1024);
    CHECK(fields[0].second == fields[2].second);
    CHECK(fields[0].second != fields[1].second);  // they differ where they were cut
    CHECK(found.disk.place.machine.size() == 64);
    CHECK(found.disk.place.written.size() == 50);
    CHECK(found.disk.place.read.size() == 14);
    CHECK(found.disk.place.written[31].size() == 2);
    CHECK(found.disk.place.written[32].empty());
    CHECK(found.disk.place.written[0][0].node.world_wide_name.size() == 256);
    CHECK(found.disk.place.written[0][0].range == extent{wire_offset_max, 0});
    CHECK(found.disk.place.written[0][1].range == extent{4096, wire_offset_max - 4096});
    CHECK(found.proof_chunks == largest);
}

TEST_CASE("allocation comes back, also of the largest disk", "[wire]") {
    const allocation whole{{{{0, wire_offset_max}, source_content::skip}}};
    const allocation found = one(whole);
    REQUIRE(found.runs.size() == 1);
    CHECK(found.runs[0].range == extent{0, wire_offset_max});
    CHECK(found.runs[0].kind == source_content::skip);
    const allocation last = one(allocation{{{{wire_offset_max - 1, 1}, source_content::zero}}});
    CHECK(last.runs[0].range == extent{wire_offset_max - 1, 1});
    CHECK(last.runs[0].kind == source_content::zero);
}

TEST_CASE("long lists are parted over frames, and nothing is lost between them", "[wire]") {
    allocation runs;
    for (std::uint64_t i = 0, at = 512; i < 40'000; ++i) {
        const std::uint64_t length = 1 + (i * 7919) % (std::uint64_t{1} << 40 >> i % 40);
        runs.runs.push_back({{at, length}, static_cast<source_content>(i % 3)});
        at += length;
    }
    std::vector<source_run> found;
    const auto parts = back(runs);
    CHECK(parts.size() == 3);
    for (const allocation& part : parts) found.insert(found.end(), part.runs.begin(), part.runs.end());
    REQUIRE(found.size() == runs.runs.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        REQUIRE(found[i].range == runs.runs[i].range);
        REQUIRE(found[i].kind == runs.runs[i].kind);
    }

    using kind = digest_entry::kind;
    chunk_digests digests;
    std::uint64_t chunk = 77;
    const auto add = [&](kind what, std::uint64_t count, std::size_t cuts) {
        digest_entry entry{what, chunk, count,
                           what == kind::digest ? digest_from(static_cast<unsigned>(chunk)) : digest{},
                           std::vector<digest_cut>(cuts, count_up<5>(static_cast<unsigned>(chunk)))};
        digests.entries.push_back(std::move(entry));
        chunk += count;
    };
    for (unsigned i = 0; i < 5; ++i) add(kind::digest, 1, 32768);
    for (unsigned i = 0; i < 20'000; ++i) add(kind::zero, 1, 0);
    for (unsigned i = 0; i < 20'000; ++i) add(kind::digest, 1, i % 3);
    add(kind::hole, std::uint64_t{1} << 50, 0);
    add(kind::digest, 1, 0);
    std::vector<digest_entry> entries;
    for (chunk_digests& part : back(digests))
        for (digest_entry& each : part.entries) entries.push_back(std::move(each));
    REQUIRE(entries.size() == digests.entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
        REQUIRE((entries[i].what == digests.entries[i].what));
        REQUIRE(entries[i].first_chunk == digests.entries[i].first_chunk);
        REQUIRE(entries[i].count == digests.entries[i].count);
        REQUIRE(entries[i].value == digests.entries[i].value);
        REQUIRE((entries[i].cuts == digests.entries[i].cuts));
    }

    proof proofs{5, 50'000, {}};
    for (unsigned i = 0; i < 50'000; ++i) proofs.digests.push_back(digest_from(i));
    proof joined;
    for (const proof& part : back(proofs)) {
        CHECK(part.first_chunk == 5 + joined.count);
        CHECK(part.count == part.digests.size());
        joined.count += part.count;
        joined.digests.insert(joined.digests.end(), part.digests.begin(), part.digests.end());
    }
    CHECK((joined.digests == proofs.digests));
    CHECK(one(proof{0, wire_offset_max, {}}).count == wire_offset_max);
}

TEST_CASE("a list of nothing is no frame", "[wire]") {
    CHECK(framed(allocation{}).empty());
    CHECK(framed(chunk_digests{}).empty());
    CHECK(framed(proof{7, 0, {}}).empty());
    CHECK(one(block_digests{7, {}}).cuts.empty());
}

TEST_CASE("cuts that repeat are sent once, in one form only, and never become more than a frame could hold", "[wire]") {
    const digest_cut zero = count_up<5>(1), other = count_up<5>(50);
    std::vector<digest_cut> cuts(256, zero);
    CHECK(framed(block_digests{3, cuts}).size() < 20);
    for (const std::size_t at : {0u, 1u, 100u, 101u, 254u, 255u}) {
        cuts[at] = other;
        CHECK((one(block_digests{3, cuts}).cuts == cuts));
        const chunk_digests pushed{{{digest_entry::kind::digest, 7, 1, {}, cuts}}};
        CHECK((one(pushed).entries.at(0).cuts == cuts));
    }
    // chunk 0, then a cut, the same again with 52,427 more, and as a third in another form.
    const std::vector<std::byte> cut_bytes(zero.begin(), zero.end());
    const auto bytes = [&](std::vector<std::vector<std::byte>> parts) {
        std::vector<std::byte> all{std::byte{0}};
        for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
        return all;
    };
    const std::vector<std::byte> none{std::byte{0}};
    const std::vector<std::byte> many{std::byte{0xca}, std::byte{0x99}, std::byte{3}};  // 52,426 + 2 is the limit
    const std::vector<std::byte> too_many{std::byte{0xcb}, std::byte{0x99}, std::byte{3}};
    REQUIRE(decode(frame_kind::block_digests, bytes({cut_bytes, cut_bytes, many})).has_value());
    CHECK_FALSE(decode(frame_kind::block_digests, bytes({cut_bytes, cut_bytes, too_many})).has_value());
    CHECK_FALSE(decode(frame_kind::block_digests, bytes({cut_bytes, cut_bytes, none, cut_bytes})).has_value());
    CHECK_FALSE(decode(frame_kind::block_digests, bytes({cut_bytes, cut_bytes})).has_value());
}

TEST_CASE("the small messages come back with any number", "[wire]") {
    CHECK(one(narrow{wire_offset_max}).chunk == wire_offset_max);
    CHECK(one(resend{1}).chunk == 1);
    const block_digests digests = one(block_digests{3, std::vector<digest_cut>(32768, count_up<5>(9))});
    CHECK(digests.chunk == 3);
    CHECK((digests.cuts == std::vector<digest_cut>(32768, count_up<5>(9))));
    const verdict decided = one(verdict{wire_offset_max, largest, largest});
    CHECK(decided.below_chunk == wire_offset_max);
    CHECK(decided.entries_granted == largest);
    CHECK(decided.data_sent == largest);
    const credit granted = one(credit{1, largest, 2, 3});
    CHECK(granted.allocation_runs == 1);
    CHECK(granted.data_messages == largest);
    CHECK(granted.data_bytes == 2);
    CHECK(granted.proof_chunks == 3);
    const source_counts all{largest, largest, largest, largest, largest, largest};
    CHECK(one(end_of_data{largest, digest_from(1), all}).counts.zeroed == largest);
    const end_of_data end = one(end_of_data{8, digest_from(1), {1, 2, 3, 4, 5, 6}});
    CHECK(end.data_sent == 8);
    CHECK(end.root == digest_from(1));
    CHECK(end.counts.changed_uncompared == 5);
    const applied done = one(applied{digest_from(2), {1, 2, 3, 4, 5}});
    CHECK(done.root == digest_from(2));
    CHECK(done.counts.deallocated == 4);
    CHECK(one(proved{true}).cache_passed);
    CHECK_FALSE(one(proved{false}).cache_passed);
}

TEST_CASE("a failure travels whole, and what is too long of it is cut", "[wire]") {
    const error found = one(failed{sample_error()}).why;
    CHECK(found.kind() == error_kind::device_io);
    CHECK(found.what() == std::string(sample_error().what()));
    CHECK(found.detail().device == "/dev/vdb");
    CHECK(found.detail().operation == "read");
    CHECK(found.detail().offset == std::uint64_t{1} << 40);
    CHECK(found.detail().length == 4096);
    CHECK(found.detail().holder == "qemu (pid 7)");
    CHECK(found.detail().hint == "look at the kernel's log");
    CHECK(found.detail().system_errno == 5);

    const error bare = one(failed{error(error_kind::limit, "")}).why;
    CHECK_FALSE(bare.detail().offset);
    CHECK_FALSE(bare.detail().length);
    const std::string text(5000, 'x');
    const error cut = one(failed{error(error_kind::peer, text,
                                       {.device = text,
                                        .operation = text,
                                        .offset = largest,
                                        .length = largest,
                                        .holder = text,
                                        .hint = text,
                                        .system_errno = 4095})})
                          .why;
    CHECK(std::string(cut.what()).size() == 4096);
    CHECK(cut.detail().hint.size() == 1024);
    CHECK(cut.detail().system_errno == 4095);
    CHECK(one(failed{error(error_kind::peer, "", {.system_errno = 4096})}).why.detail().system_errno == 0);
    CHECK(one(failed{error(error_kind::peer, "", {.system_errno = -1})}).why.detail().system_errno == 0);
}

TEST_CASE("the kinds of errors have the numbers that they had, and an unknown one is the peer's", "[wire]") {
    const std::array kinds{error_kind::usage,        error_kind::not_found,     error_kind::permission,
                           error_kind::unsuitable,   error_kind::container,     error_kind::in_use,
                           error_kind::same_disk,    error_kind::size_mismatch, error_kind::recorded_source,
                           error_kind::corrupt_file, error_kind::device_io,     error_kind::no_space,
                           error_kind::flush_failed, error_kind::size_changed,  error_kind::peer,
                           error_kind::verification, error_kind::limit,         error_kind::interrupted};
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto frames = split(framed(failed{error(kinds[i], "why")}));
        CHECK(frames.at(0).payload.at(0) == static_cast<std::byte>(i + 1));
        CHECK((one(failed{error(kinds[i], "why")}).why.kind() == kinds[i]));
    }
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{19}, largest}) {
        const auto found = decode(frame_kind::failed, of({number, 0, 0, 0, 0, 0, 0, 0}));
        REQUIRE(found.has_value());
        CHECK(std::get<failed>(*found).why.kind() == error_kind::peer);
    }
}

TEST_CASE("data, and lists with gaps, are the caller's mistakes", "[wire]") {
    const auto refuses = [](auto value) { return aborts([&] { framed(message{std::move(value)}); }); };
    CHECK(refuses(chunk_data{}));
    CHECK(refuses(allocation{{{{0, 1}, source_content::data}, {{2, 1}, source_content::data}}}));
    CHECK(refuses(allocation{{{{0, 0}, source_content::data}}}));
    CHECK(refuses(allocation{{{{1, wire_offset_max}, source_content::data}}}));
    using kind = digest_entry::kind;
    CHECK(refuses(chunk_digests{{{kind::zero, 0, 1, {}, {}}, {kind::zero, 2, 1, {}, {}}}}));
    CHECK(refuses(chunk_digests{{{kind::zero, 0, 2, {}, {}}}}));
    CHECK(refuses(chunk_digests{{{kind::hole, 0, 0, {}, {}}}}));
    CHECK(refuses(proof{0, 2, {digest{}}}));
}

TEST_CASE("allocation that breaks a rule is refused by it", "[wire]") {
    const auto kind = frame_kind::allocation;
    REQUIRE(decode(kind, of({0, 0})).has_value());
    check_refused(kind, of({0}), wire_error::truncated);
    check_refused(kind, of({0, 3}), wire_error::bad_value);
    check_refused(kind, of({wire_offset_max + 1, 0}), wire_error::bad_range);
    check_refused(kind, of({wire_offset_max, 0}), wire_error::bad_range);
    check_refused(kind, of({1, (wire_offset_max - 1) << 2}), wire_error::bad_range);
    check_refused(kind, of({0, (wire_offset_max - 1) << 2, 0}), wire_error::bad_range);
    check_refused(kind, of({0}) + bytes(16385), wire_error::bad_count);
    CHECK(decode(kind, of({0}) + bytes(16384)).has_value());
    check_refused(kind, bytes(256 * 1024 + 1), wire_error::too_long);
}

TEST_CASE("digests that break a rule are refused by it", "[wire]") {
    const auto kind = frame_kind::chunk_digests;
    const bytes value(16);
    REQUIRE(decode(kind, of({0, 0}) + value).has_value());
    check_refused(kind, of({0}), wire_error::truncated);
    check_refused(kind, of({0, 3}) + value, wire_error::bad_value);
    check_refused(kind, of({0, 5}) + value, wire_error::bad_value);  // a zero chunk with cuts
    check_refused(kind, of({0, 2, 0}), wire_error::bad_count);
    check_refused(kind, of({0, 2, wire_offset_max + 1}), wire_error::bad_range);
    check_refused(kind, of({wire_offset_max, 1}), wire_error::bad_range);
    check_refused(kind, of({wire_offset_max + 1, 1}), wire_error::bad_range);
    check_refused(kind, of({0, 2, wire_offset_max, 1}), wire_error::bad_range);
    check_refused(kind, of({0, 4}) + value + of({0}), wire_error::bad_count);
    check_refused(kind, of({0, 4}) + value + of({2}) + bytes(9), wire_error::truncated);
    check_refused(kind, of({0, 4}) + value + of({largest}) + bytes(9), wire_error::bad_count);
    check_refused(kind, of({0}) + bytes(16385, std::byte{1}), wire_error::bad_count);

    check_refused(frame_kind::block_digests, of({0}) + bytes(6), wire_error::truncated);
    check_refused(frame_kind::block_digests, of({wire_offset_max + 1}), wire_error::bad_range);
    check_refused(frame_kind::narrow, of({wire_offset_max + 1}), wire_error::bad_range);
    check_refused(frame_kind::narrow, of({1, 1}), wire_error::trailing_bytes);
    check_refused(frame_kind::verdict, of({1, 1}), wire_error::truncated);
    check_refused(frame_kind::proved, of({2}), wire_error::bad_flag);
}

TEST_CASE("proofs that break a rule are refused by it", "[wire]") {
    const auto kind = frame_kind::proof;
    REQUIRE(decode(kind, of({0, 1, 1}) + bytes(16)).has_value());
    check_refused(kind, of({0, 0, 0}), wire_error::bad_count);
    check_refused(kind, of({0, 2, 1}) + bytes(16), wire_error::bad_count);
    check_refused(kind, of({0, wire_offset_max, 1}) + bytes(16), wire_error::bad_count);
    check_refused(kind, of({0, 1, 1}) + bytes(17), wire_error::trailing_bytes);
    check_refused(kind, of({0, 1, 0}) + bytes(16), wire_error::trailing_bytes);
    check_refused(kind, of({0, 1, 2}) + bytes(16), wire_error::bad_flag);
    check_refused(kind, of({1, wire_offset_max, 0}), wire_error::bad_range);
}

TEST_CASE("a hello that breaks a rule is refused by it", "[wire]") {
    const bytes nonce(32);
    const auto kind = frame_kind::hello;
    // mode, disk, chunk, block, algorithm, flags | nonce | name, pairs, machine, kernel, written, read, reason |
    // windows
    const bytes start = of({1, 4096, 4096, 512, 1, 0}) + nonce;
    const bytes windows = of({0, 1, 1, 1, 1, 1}), end = windows + of({0, 0, 0});
    REQUIRE(decode(kind, start + of({0, 0, 0, 0, 0, 0}) + end).has_value());
    for (const std::uint64_t mode : {0, 4}) check_refused(kind, of({mode}), wire_error::bad_value);
    check_refused(kind, of({1, wire_offset_max + 1}), wire_error::bad_geometry);
    check_refused(kind, of({1, 4096, 4096, 0}), wire_error::bad_geometry);
    check_refused(kind, of({1, 4096, 0, 512}), wire_error::bad_geometry);
    check_refused(kind, of({1, 4096, (std::uint64_t{1} << 32) + 4096, 512}), wire_error::bad_geometry);
    check_refused(kind, of({1, 4096, 4096, 512, 3}), wire_error::bad_value);
    check_refused(kind, start + of({4097}) + bytes(5000), wire_error::bad_text);
    check_refused(kind, start + of({largest}), wire_error::bad_text);
    check_refused(kind, start + of({0, 33}) + bytes(100), wire_error::bad_count);
    check_refused(kind, start + of({0, 2, 0}), wire_error::bad_count);
    check_refused(kind, start + of({0, 1, 1025}) + bytes(2000), wire_error::bad_text);
    check_refused(kind, start + of({0, 0, 65}) + bytes(100), wire_error::bad_text);
    check_refused(kind, start + of({0, 0, 0, 65}) + bytes(100), wire_error::bad_text);
    check_refused(kind, start + of({0, 0, 0, 0, 65}) + bytes(100), wire_error::bad_count);      // lists
    check_refused(kind, start + of({0, 0, 0, 0, 1, 65}) + bytes(1000), wire_error::bad_count);  // footings
    check_refused(kind, start + of({0, 0, 0, 0, 1, 2}) + bytes(13), wire_error::bad_count);
    // The room is one for both: 40 lists here, 25 there.
    check_refused(kind, start + of({0, 0, 0, 0, 40}) + bytes(40) + of({25}) + bytes(100), wire_error::bad_count);
    const auto with = [&](const bytes& footing) { return start + of({0, 0, 0, 0, 1, 1}) + footing + of({0}) + end; };
    REQUIRE(decode(kind, with(of({1, 1, 1, 0, 0, 1, 1}))).has_value());
    check_refused(kind, with(of({0, 1, 1, 0, 0, 1, 1})), wire_error::bad_value);
    check_refused(kind, with(of({4, 1, 1, 0, 0, 1, 1})), wire_error::bad_value);
    check_refused(kind, with(of({1, 1, 1, 257}) + bytes(300)), wire_error::bad_text);
    check_refused(kind, with(of({1, 1, 1, 0, 1, wire_offset_max, 1})), wire_error::bad_range);
    check_refused(kind, with(of({1, 1, 1, 0, wire_offset_max + 1, 0, 1})), wire_error::bad_range);
    check_refused(kind, with(of({1, 1, 1, 0, 0, 1, 2})), wire_error::bad_flag);
    // egress_max, generation, finished_bytes
    const bytes before = start + of({0, 0, 0, 0, 0, 0}) + windows;
    REQUIRE(decode(kind, before + of({largest, 255}) + bytes(255) + of({wire_offset_max})).has_value());
    check_refused(kind, before + of({0, 256}) + bytes(300), wire_error::bad_text);
    check_refused(kind, before + of({0, 0, wire_offset_max + 1}), wire_error::bad_geometry);
}

TEST_CASE("a failure that breaks a rule is refused by it", "[wire]") {
    const auto kind = frame_kind::failed;
    check_refused(kind, of({1, 4097}) + bytes(4200, std::byte{'x'}), wire_error::bad_text);
    check_refused(kind, of({1, 1, 0, 0, 0, 0, 0, 0, 0}), wire_error::bad_text);  // a zero byte
    for (unsigned field = 0; field < 4; ++field)
        check_refused(kind, of({1, 0}) + bytes(field) + of({1025}) + bytes(2000), wire_error::bad_text);
    check_refused(kind, of({1, 0, 0, 0, 0, 0, 4, 0}), wire_error::bad_flag);
    check_refused(kind, of({1, 0, 0, 0, 0, 0, 1, 0}), wire_error::truncated);
    check_refused(kind, of({1, 0, 0, 0, 0, 0, 0, 4096}), wire_error::bad_value);
}

TEST_CASE("a frame that is no message is not read as one", "[wire]") {
    for (unsigned number = 0; number < 256; ++number) {
        const auto kind = static_cast<frame_kind>(number);
        if (!frame_max(kind)) {
            check_refused(kind, {}, wire_error::unknown_kind);
        } else if (number < 16 || number >= 48 || kind == frame_kind::data) {
            check_refused(kind, {}, wire_error::wrong_kind);
        }
    }
}

}  // namespace
