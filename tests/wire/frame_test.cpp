// Preambles, headers and the frames beside the messages: against golden bytes from a second implementation, at their
// limits, and hostile.
#include <catch2/catch.hpp>

#include "support/aborts.hpp"
#include "support/failures.hpp"
#include "support/places.hpp"
#include "wire/fields.hpp"
#include "wire/frame_samples.hpp"
#include "wire/written_again.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

bytes golden(const std::string& name) {
    return read_whole_file(std::string(tests_folder) + "/wire/golden/" + name);
}

preamble sample_preamble() {
    return {1, 0x0203, wire_side::client, count_up<32>(200)};
}

bytes encoded(const preamble& value) {
    const auto made = encode(value);
    return {made.begin(), made.end()};
}

template <typename Value>
void check_refused(const wire_result<Value>& result, wire_error why) {
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().message() == make_error_code(why).message());
}

// A payload of the fields that `write` puts there.
template <typename Write>
bytes payload_of(Write write) {
    bytes out;
    field_writer to(out);
    write(to);
    return out;
}

template <typename Value>
Value back(const Value& value, wire_result<Value> (*decode_it)(std::span<const std::byte>)) {
    bytes out;
    append(out, value);
    const auto frames = split(out);
    REQUIRE(frames.size() == 1);
    const auto result = decode_it(frames[0].payload);
    REQUIRE(result.has_value());
    return *result;
}

TEST_CASE("the preamble's bytes are what they were in the first version", "[wire]") {
    CHECK((encoded(sample_preamble()) == golden("preamble-v1.bin")));
    const auto found = decode_preamble(golden("preamble-v1.bin"));
    REQUIRE(found.has_value());
    CHECK(*found == sample_preamble());
}

TEST_CASE("a preamble that breaks a rule is refused by it", "[wire]") {
    const bytes good = encoded(sample_preamble());
    const auto with = [&](std::size_t at, unsigned value) {
        bytes changed = good;
        changed[at] = static_cast<std::byte>(value);
        return decode_preamble(changed);
    };
    for (std::size_t at = 0; at < 16; ++at) check_refused(with(at, 0), wire_error::not_ours);
    check_refused(with(16, 0), wire_error::bad_versions);  // from version 0
    check_refused(with(17, 3), wire_error::bad_versions);  // from 0x301 to 0x203
    check_refused(with(20, 0), wire_error::bad_side);
    check_refused(with(20, 5), wire_error::bad_side);
    for (std::size_t at = 21; at < 24; ++at) check_refused(with(at, 1), wire_error::bad_reserved);
    for (std::size_t length = 0; length < good.size(); ++length)
        check_refused(decode_preamble(std::span(good).first(length)), wire_error::truncated);
    bytes longer = good;
    longer.push_back({});
    check_refused(decode_preamble(longer), wire_error::trailing_bytes);
    check_refused(decode_preamble(std::as_bytes(std::span("HTTP/1.1 400 ", 13))), wire_error::not_ours);
}

TEST_CASE("two sides meet at the highest version that both speak", "[wire]") {
    const auto of = [](std::uint16_t least, std::uint16_t most) {
        return preamble{least, most, wire_side::client, {}};
    };
    CHECK(meet(of(1, 1), of(1, 1)) == wire_version::first);
    CHECK(meet(of(1, 1), of(1, 7)) == wire_version::first);
    CHECK(meet(of(1, 5), of(2, 3)) == static_cast<wire_version>(3));
    CHECK(meet(of(2, 3), of(3, 9)) == static_cast<wire_version>(3));
    CHECK_FALSE(meet(of(1, 2), of(3, 9)));
    CHECK_FALSE(meet(of(3, 9), of(1, 2)));
}

TEST_CASE("only source and target peer, and client and server, fit together", "[wire]") {
    const std::array all{wire_side::source_peer, wire_side::target_peer, wire_side::client, wire_side::server};
    unsigned fitting = 0;
    for (const auto a : all)
        for (const auto b : all) fitting += fit_together(a, b) ? 1 : 0;
    CHECK(fitting == 4);
    CHECK(fit_together(wire_side::source_peer, wire_side::target_peer));
    CHECK(fit_together(wire_side::target_peer, wire_side::source_peer));
    CHECK(fit_together(wire_side::client, wire_side::server));
    CHECK(fit_together(wire_side::server, wire_side::client));
}

TEST_CASE("a header of an unknown kind, or longer than its kind may be, is refused", "[wire]") {
    unsigned kinds = 0;
    for (unsigned kind = 0; kind < 256; ++kind) {
        const auto max = frame_max(static_cast<frame_kind>(kind));
        const auto of = [&](std::uint32_t length) {
            const std::array header{static_cast<std::byte>(kind), static_cast<std::byte>(length),
                                    static_cast<std::byte>(length >> 8), static_cast<std::byte>(length >> 16)};
            return decode_header(header);
        };
        if (!max) {
            check_refused(of(0), wire_error::unknown_kind);
            continue;
        }
        ++kinds;
        REQUIRE(*max <= frame_max_of_all);
        const auto longest = of(*max);
        REQUIRE(longest.has_value());
        CHECK(*longest == frame_header{static_cast<frame_kind>(kind), *max});
        check_refused(of(*max + 1), wire_error::too_long);
        check_refused(of(0xffffff), wire_error::too_long);
    }
    CHECK(kinds == 4 + 14 + 7 + 11);
}

TEST_CASE("a frame that outgrows its kind is the caller's mistake", "[wire]") {
    CHECK(aborts([] {
        bytes out;
        const std::size_t frame = begin_frame(out, frame_kind::proved);
        out.resize(out.size() + 2);
        end_frame(out, frame);
    }));
}

TEST_CASE("every frame's bytes are those of the grammar", "[wire]") {
    const bytes expected = golden("frames-v1.bin");
    const auto wanted = split(expected);
    const auto made = split(sample_frames());
    REQUIRE(made.size() == wanted.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
        INFO("frame " << i << " of kind " << static_cast<unsigned>(wanted[i].header.kind));
        CHECK((made[i].whole == wanted[i].whole));
        if (wanted[i].header.kind == frame_kind::data) continue;
        const auto again = written_again(wanted[i].header.kind, wanted[i].payload);
        REQUIRE(again.has_value());
        CHECK((*again == wanted[i].whole));
    }
}

TEST_CASE("a frame that is cut at any byte is refused", "[wire]") {
    for (const split_frame& frame : split(golden("frames-v1.bin"))) {
        switch (frame.header.kind) {
            case frame_kind::data:  // data_batch_test.cpp
            case frame_kind::notice:
            case frame_kind::map_piece:
            case frame_kind::filler:
                continue;
            default:
                break;
        }
        INFO("kind " << static_cast<unsigned>(frame.header.kind));
        for (std::size_t length = 0; length < frame.payload.size(); ++length) {
            const auto again = written_again(frame.header.kind, std::span(frame.payload).first(length));
            // A list may end after an entry; it is then that shorter list.
            if (!again) continue;
            const bool list =
                frame.header.kind == frame_kind::allocation || frame.header.kind == frame_kind::changes ||
                frame.header.kind == frame_kind::chunk_digests || frame.header.kind == frame_kind::block_digests ||
                frame.header.kind == frame_kind::sample_wish || frame.header.kind == frame_kind::samples ||
                frame.header.kind == frame_kind::weigh_wish || frame.header.kind == frame_kind::weights;
            CHECK(list);
            CHECK((split(*again).at(0).payload ==
                   bytes(frame.payload.begin(), frame.payload.begin() + static_cast<std::ptrdiff_t>(length))));
        }
    }
}

TEST_CASE("a frame with any bit flipped is refused or is the one encoding of another value", "[wire]") {
    unsigned refused = 0;
    for (const split_frame& frame : split(golden("frames-v1.bin"))) {
        if (frame.header.kind == frame_kind::data) continue;  // data_batch_test.cpp
        for (std::size_t bit = 0; bit < 8 * frame.payload.size(); ++bit) {
            bytes damaged = frame.payload;
            damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
            const auto again = written_again(frame.header.kind, damaged);
            if (!again) {
                ++refused;
                continue;
            }
            const bytes found = split(*again).at(0).payload;
            // An error of a kind that is not known becomes `peer`, 15; all else is written as it was read.
            const bool holds_error = frame.header.kind == frame_kind::failed || frame.header.kind == frame_kind::answer;
            if (holds_error && found != damaged) {
                const std::size_t at = frame.header.kind == frame_kind::answer ? 1 : 0;
                CHECK(found[at] == std::byte{15});
                damaged[at] = std::byte{15};
            }
            REQUIRE((found == damaged));
        }
    }
    CHECK(refused > 100);
}

TEST_CASE("a frame with a byte behind it is refused", "[wire]") {
    for (const split_frame& frame : split(golden("frames-v1.bin"))) {
        bytes longer = frame.payload;
        longer.push_back(std::byte{0x80});  // the beginning of a number where a list goes on
        const auto kind = frame.header.kind;
        if (kind == frame_kind::data || kind == frame_kind::notice || kind == frame_kind::map_piece ||
            kind == frame_kind::filler || frame_max(kind) == 0u)
            continue;
        INFO("kind " << static_cast<unsigned>(kind));
        CHECK_FALSE(written_again(kind, longer).has_value());
    }
}

TEST_CASE("a number has one form, and 64 bits", "[wire]") {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{16383},
                                      std::uint64_t{16384}, std::uint64_t{1} << 63, UINT64_MAX}) {
        const bytes made = payload_of([&](field_writer& to) { to.number(value); });
        CHECK(made.size() == number_bytes(value));
        field_reader from(made);
        CHECK(from.number() == value);
        CHECK(from.done(0).has_value());
    }
    const auto refusal = [](std::initializer_list<unsigned> values) {
        bytes made;
        for (const unsigned value : values) made.push_back(static_cast<std::byte>(value));
        field_reader from(made);
        CHECK(from.number() == 0);
        return from.failure();
    };
    CHECK(refusal({0x80, 0x00}) == wire_error::bad_number);
    CHECK(refusal({0xff, 0x80, 0x00}) == wire_error::bad_number);
    CHECK(refusal({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}) == wire_error::bad_number);
    CHECK(refusal({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00}) == wire_error::bad_number);
    CHECK(refusal({0x80}) == wire_error::truncated);
    CHECK(refusal({}) == wire_error::truncated);
}

TEST_CASE("a request's fields come back, with and without extents", "[wire]") {
    wire_request value = sample_request();
    const wire_request found = back(value, decode_request);
    CHECK(found.export_name == value.export_name);
    CHECK(found.role == value.role);
    CHECK(found.mode == value.mode);
    CHECK(found.block_bytes == value.block_bytes);
    CHECK(found.chunk_bytes == value.chunk_bytes);
    CHECK(found.algorithm == value.algorithm);
    CHECK(found.reread);
    CHECK(found.permits.truncate);
    CHECK_FALSE(found.permits.allow_larger);
    CHECK_FALSE(found.permits.reverse);
    CHECK(found.ignore_allocation);
    CHECK_FALSE(found.with_blocks);
    CHECK(found.keep_differential);
    CHECK((found.within == value.within));
    CHECK(found.tool_version == "0.1.0");

    value.within.reset();
    value.with_blocks = true;
    value.tool_version = std::string(100, 'v');
    value.export_name = std::string(4096, '\xff');
    const wire_request other = back(value, decode_request);
    CHECK_FALSE(other.within);
    CHECK(other.with_blocks);
    CHECK(other.tool_version == std::string(64, 'v'));
    CHECK(other.export_name == value.export_name);

    value.within = extent_set{};
    CHECK((back(value, decode_request).within == extent_set{}));
    value.within = extent_set{{0, wire_offset_max}};
    CHECK((back(value, decode_request).within == value.within));
}

TEST_CASE("a request that does not fit its frame fails at the client, and says what to do", "[wire]") {
    bytes out;
    wire_request value = sample_request();
    value.export_name = std::string(4097, 'x');
    require_failure(failure_of([&] { append(out, value); }), error_kind::usage, "4097 bytes");
    value = sample_request();
    extent_set many;
    for (std::uint64_t i = 0; i < 300'000; ++i) many.add({i * 131072, 65536});
    value.within = many;
    const auto why = failure_of([&] { append(out, value); });
    require_failure(why, error_kind::usage, "300000 extents");
    CHECK_FALSE(why->detail().hint.empty());
    CHECK(out.empty());
}

TEST_CASE("a request that breaks a rule is refused by it", "[wire]") {
    const auto refusal = [](auto change_it, auto write_extents, unsigned lanes = 1) {
        std::vector<std::uint64_t> fields{2, 1, 512, 4096, 1, 128};
        change_it(fields);
        return decode_request(payload_of([&](field_writer& to) {
            to.text("name", 9999);
            for (const std::uint64_t each : fields) each < 512 ? to.byte(static_cast<unsigned>(each)) : to.number(each);
            to.text("1", 64);
            to.byte(lanes);
            write_extents(to);
        }));
    };
    const auto as_is = [](auto&) {};
    const auto none = [](field_writer& to) { to.number(0); };
    const auto set = [](std::size_t at, std::uint64_t value) {
        return [=](std::vector<std::uint64_t>& fields) { fields[at] = value; };
    };
    const auto extents = [](std::vector<std::uint64_t> values) {
        return [=](field_writer& to) {
            for (const std::uint64_t each : values) to.number(each);
        };
    };
    REQUIRE(refusal(as_is, none).has_value());
    REQUIRE(refusal(as_is, none, 16).has_value());
    check_refused(refusal(as_is, none, 0), wire_error::bad_value);
    check_refused(refusal(as_is, none, 17), wire_error::bad_value);
    check_refused(refusal(set(0, 0), none), wire_error::bad_value);
    CHECK(refusal(set(0, 4), none).has_value());
    check_refused(refusal(set(0, 5), none), wire_error::bad_value);
    check_refused(refusal(set(1, 4), none), wire_error::bad_value);
    check_refused(refusal(set(2, 513), none), wire_error::bad_geometry);
    check_refused(refusal(set(3, 4097), none), wire_error::bad_geometry);
    check_refused(refusal(set(3, std::uint64_t{1} << 40), none), wire_error::bad_geometry);
    check_refused(refusal(set(4, 3), none), wire_error::bad_value);
    check_refused(refusal(as_is, extents({5, 0, 1})), wire_error::bad_count);
    check_refused(refusal(as_is, extents({UINT64_MAX})), wire_error::bad_count);
    check_refused(refusal(as_is, extents({1, 0, 0})), wire_error::bad_range);
    check_refused(refusal(as_is, extents({2, 0, 1, 0, 1})), wire_error::bad_range);
    check_refused(refusal(as_is, extents({1, wire_offset_max + 1, 1})), wire_error::bad_range);
    check_refused(refusal(as_is, extents({1, 1, wire_offset_max})), wire_error::bad_range);
    check_refused(refusal(as_is, extents({2, 1, wire_offset_max - 1, 1, 1})), wire_error::bad_range);
    check_refused(decode_request(payload_of([&](field_writer& to) { to.text(std::string(4097, 'x'), 9999); })),
                  wire_error::bad_text);
}

TEST_CASE("answers, status, notices, goodbyes and a map's end come back", "[wire]") {
    CHECK_FALSE(back(wire_answer{}, decode_answer).refused);
    wire_answer several;
    several.lanes = 2;
    several.token = count_up<32>(1);
    CHECK(back(several, decode_answer).lanes == 2);
    CHECK(back(several, decode_answer).token == several.token);
    check_refused(decode_answer(payload_of([](field_writer& to) { to.byte(1), to.byte(0); })), wire_error::bad_value);
    check_refused(decode_answer(payload_of([](field_writer& to) { to.byte(1), to.byte(17); })), wire_error::bad_value);
    CHECK(back(wire_join{count_up<32>(3)}, decode_join).token == count_up<32>(3));
    const auto refused = back(wire_answer{sample_error()}, decode_answer).refused;
    REQUIRE(refused);
    CHECK(refused->kind() == error_kind::device_io);
    CHECK(refused->detail().holder == "qemu (pid 7)");

    const wire_status status = back(wire_status{sample_target_counts(), 1, 2}, decode_status);
    REQUIRE(std::holds_alternative<target_counts>(status.counts));
    CHECK(std::get<target_counts>(status.counts).compared == 9);
    CHECK(status.decided_bytes == 1);
    CHECK(status.proved_bytes == 2);
    CHECK(std::holds_alternative<source_counts>(back(wire_status{}, decode_status).counts));
    wire_status most{source_counts{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, UINT64_MAX,
                     UINT64_MAX};
    CHECK(std::get<source_counts>(back(most, decode_status).counts).zeroed == UINT64_MAX);

    CHECK(back(wire_notice{std::string("a\0b", 3)}, decode_notice).text == std::string("a\0b", 3));
    CHECK(back(wire_notice{std::string(5000, 'x')}, decode_notice).text.size() == 4096);
    const wire_goodbye goodbye = back(wire_goodbye{1, 3, std::string(2000, 'x')}, decode_goodbye);
    CHECK(goodbye.flush_us == 1);
    CHECK(goodbye.verify_us == 3);
    CHECK(goodbye.source_in_use.size() == 1024);
    const wire_map_end end = back(wire_map_end{1, 2, 3, digest_from(9)}, decode_map_end);
    CHECK(end.total_bytes == 1);
    CHECK(end.read_bytes == 2);
    CHECK(end.duration_us == 3);
    CHECK(end.root == digest_from(9));
    CHECK(back(wire_confirm{count_up<32>(9)}, decode_confirm).mac == count_up<32>(9));
}

TEST_CASE("changes are parted over frames, and each frame stands for itself", "[wire]") {
    std::vector<change> all;
    for (std::uint64_t i = 0; i < 100'000; ++i)
        all.push_back({{i << 40, (std::uint64_t{1} << 40) - i % 2},
                       i % 3 == 0 ? change_kind::zero : change_kind::data,
                       static_cast<change_reason>(i % 3 + 1)});
    bytes out;
    append_changes(out, all);
    std::vector<change> found;
    const auto frames = split(out);
    CHECK(frames.size() > 2);
    for (const split_frame& frame : frames) {
        const std::uint64_t from = found.empty() ? 0 : found.back().range.end();
        const auto part = decode_changes(frame.payload, {from, all.back().range.end() - from});
        REQUIRE(part.has_value());
        found.insert(found.end(), part->begin(), part->end());
    }
    CHECK((found == all));
    out.clear();
    append_changes(out, {});
    CHECK(out.empty());
}

TEST_CASE("changes out of order, out of bounds or of no kind are refused", "[wire]") {
    const auto refusal = [](std::vector<std::uint64_t> values, extent inside = {0, 8192}) {
        return decode_changes(payload_of([&](field_writer& to) {
                                  for (const std::uint64_t each : values) to.number(each);
                              }),
                              inside);
    };
    REQUIRE(refusal({0, 5, 4096, 0, 5, 4096}).has_value());
    REQUIRE(refusal({4096, 5, 4096}, {4096, 4096}).has_value());
    check_refused(refusal({4095, 5, 4096}, {4096, 4096}), wire_error::bad_range);
    check_refused(refusal({0, 5, 8193}), wire_error::bad_range);
    check_refused(refusal({8193, 5, 1}), wire_error::bad_range);
    check_refused(refusal({1, 5, 4096, 1, 5, 4095}), wire_error::bad_range);
    check_refused(refusal({0, 5, 0}), wire_error::bad_range);
    check_refused(refusal({0, 5, UINT64_MAX}, {0, UINT64_MAX}), wire_error::bad_range);
    check_refused(refusal({0, 4, 1}), wire_error::bad_value);  // no reason
    check_refused(refusal({0, 1, 1}), wire_error::bad_value);  // no kind
    check_refused(refusal({0, 3 << 2 | 1, 1}), wire_error::bad_value);
    check_refused(refusal({}), wire_error::truncated);
}

TEST_CASE("a map's file is parted into pieces", "[wire]") {
    const bytes file = random_bytes(1, 600'000);
    bytes out;
    append_map_pieces(out, file);
    bytes joined;
    for (const split_frame& frame : split(out)) joined.insert(joined.end(), frame.payload.begin(), frame.payload.end());
    CHECK(split(out).size() == 3);
    CHECK((joined == file));
}

TEST_CASE("every rule of the wire has words of its own", "[wire]") {
    std::vector<std::string> seen{"unknown"};
    for (int value = 1; value <= static_cast<int>(wire_error::too_many_chunks); ++value) {
        const std::string message = wire_category().message(value);
        CHECK(std::find(seen.begin(), seen.end(), message) == seen.end());
        seen.push_back(message);
    }
    CHECK(wire_category().message(0) == "unknown");
}

}  // namespace
