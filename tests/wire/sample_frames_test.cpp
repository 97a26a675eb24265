// The frames of a sampling at their limits: what is one too many, or beyond the disk, is refused before it takes
// memory. Their bytes are held against golden ones in frame_test.cpp.
#include <catch2/catch.hpp>
#include <numeric>

#include "support/aborts.hpp"
#include "wire/fields.hpp"
#include "wire/frame_samples.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint32_t block = block_bytes_default;

template <typename Value>
void check_refused(const wire_result<Value>& result, wire_error why) {
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().message() == make_error_code(why).message());
}

bytes numbers(const std::vector<std::uint64_t>& values) {
    bytes out;
    field_writer to(out);
    for (const std::uint64_t each : values) to.number(each);
    return out;
}

geometry disk_of(std::uint64_t size) {
    return {size, chunk_bytes_default, block};
}

bytes payload_of(const wire_sample_wish& wish, const geometry& shape) {
    bytes out;
    append(out, wish, shape);
    return split(out).at(0).payload;
}

std::vector<wire_sample> samples_of(std::size_t count, bool zero) {
    return std::vector<wire_sample>(count, zero ? wire_sample{{}, true} : wire_sample{digest_from(1), false});
}

TEST_CASE("stretches reach to the disk's end, whole blocks or not, and no further", "[wire]") {
    for (const std::uint64_t size : {std::uint64_t{10} * block, std::uint64_t{9} * block + 1}) {
        const auto wish = decode_sample_wish(numbers({0, 2, 3, 0, 5}), disk_of(size));
        REQUIRE(wish.has_value());
        CHECK_FALSE(wish->keep);
        CHECK((wish->stretches == std::vector<extent>{{2 * block, 3 * block}, {5 * block, size - 5 * block}}));
        CHECK((payload_of(*wish, disk_of(size)) == numbers({0, 2, 3, 0, 5})));
        check_refused(decode_sample_wish(numbers({0, 0, 11}), disk_of(size)), wire_error::bad_range);
        check_refused(decode_sample_wish(numbers({0, 10, 1}), disk_of(size)), wire_error::bad_range);
        check_refused(decode_sample_wish(numbers({0, UINT64_MAX, 1}), disk_of(size)), wire_error::bad_range);
        check_refused(decode_sample_wish(numbers({0, 1, UINT64_MAX}), disk_of(size)), wire_error::bad_range);
        check_refused(decode_sample_wish(numbers({0, 1, 0}), disk_of(size)), wire_error::bad_range);
    }
    check_refused(decode_sample_wish(numbers({2, 0, 1}), disk_of(block)), wire_error::bad_flag);
    check_refused(decode_sample_wish(numbers({1}), disk_of(block)), wire_error::truncated);
    check_refused(decode_sample_wish(numbers({0, 0, 1}), disk_of(0)), wire_error::bad_range);
}

TEST_CASE("a sample is of at most 4096 stretches and 256 MiB", "[wire]") {
    const geometry shape = disk_of(std::uint64_t{1} << 40);
    wire_sample_wish wish;
    for (std::uint64_t i = 0; i < sample_stretches_max; ++i) wish.stretches.push_back({2 * i * block, block});
    bytes payload = payload_of(wish, shape);
    const auto found = decode_sample_wish(payload, shape);
    REQUIRE(found.has_value());
    CHECK((found->stretches == wish.stretches));
    for (const std::uint64_t each : {1, 1}) payload.push_back(static_cast<std::byte>(each));
    check_refused(decode_sample_wish(payload, shape), wire_error::bad_count);

    const std::uint64_t most = sample_bytes_max / block;
    CHECK(decode_sample_wish(numbers({0, 5, most}), shape).has_value());
    CHECK(decode_sample_wish(numbers({0, 5, most - 1, 7, 1}), shape).has_value());
    check_refused(decode_sample_wish(numbers({0, 5, most + 1}), shape), wire_error::bad_count);
    check_refused(decode_sample_wish(numbers({0, 5, most, 7, 1}), shape), wire_error::bad_count);
    // The last block counts as what it has.
    CHECK(decode_sample_wish(numbers({0, 1, most}), disk_of(sample_bytes_max + block)).has_value());
}

TEST_CASE("blocks to be weighed are the disk's, in order, each once, and at most 4096", "[wire]") {
    const geometry shape = disk_of(9 * block + 1);
    const auto found = decode_weigh_wish(numbers({0, 1, 9}), shape);
    REQUIRE(found.has_value());
    CHECK((*found == std::vector<std::uint64_t>{0, block, 9 * block}));
    check_refused(decode_weigh_wish(numbers({1, 0}), shape), wire_error::bad_range);
    check_refused(decode_weigh_wish(numbers({1, 1}), shape), wire_error::bad_range);
    check_refused(decode_weigh_wish(numbers({10}), shape), wire_error::bad_range);
    check_refused(decode_weigh_wish(numbers({UINT64_MAX}), shape), wire_error::bad_range);
    check_refused(decode_weigh_wish({}, shape), wire_error::truncated);
    std::vector<std::uint64_t> many(weigh_blocks_max);
    std::iota(many.begin(), many.end(), 0);
    const geometry large = disk_of(2 * weigh_blocks_max * block);
    CHECK(decode_weigh_wish(numbers(many), large).has_value());
    many.push_back(weigh_blocks_max);
    check_refused(decode_weigh_wish(numbers(many), large), wire_error::bad_count);
}

TEST_CASE("samples come back however many frames they take", "[wire]") {
    std::vector<wire_sample> all;
    const auto add = [&](std::size_t count, bool zero) {
        const auto some = samples_of(count, zero);
        all.insert(all.end(), some.begin(), some.end());
    };
    const std::size_t in_frame = *frame_max(frame_kind::samples) / sizeof(digest);
    const std::size_t first = GENERATE(1, 7) + in_frame * GENERATE(0, 1) - GENERATE(0, 1);
    add(first, false);
    add(100'000, true);
    for (unsigned i = 0; i < 60'000; ++i) add(1, i % 2 == 0);
    bytes out;
    append_samples(out, all);
    std::vector<wire_sample> found;
    for (const split_frame& each : split(out)) {
        CHECK(each.header.kind == frame_kind::samples);
        const auto some = decode_samples(each.payload, all.size() - found.size());
        REQUIRE(some.has_value());
        found.insert(found.end(), some->begin(), some->end());
    }
    CHECK((found == all));
    out.clear();
    append_samples(out, {});
    CHECK(out.empty());
}

TEST_CASE("samples are refused beyond what is still to come, before they take memory", "[wire]") {
    CHECK(decode_samples(numbers({10 << 1 | 1}), 10).has_value());
    check_refused(decode_samples(numbers({10 << 1 | 1}), 9), wire_error::bad_count);
    check_refused(decode_samples(numbers({UINT64_MAX}), SIZE_MAX / 4), wire_error::bad_count);
    check_refused(decode_samples(numbers({UINT64_MAX - 1}), SIZE_MAX), wire_error::truncated);
    check_refused(decode_samples(numbers({0}), 10), wire_error::bad_count);
    check_refused(decode_samples(numbers({1}), 10), wire_error::bad_count);
    check_refused(decode_samples({}, 10), wire_error::truncated);
    // Runs take turns.
    check_refused(decode_samples(numbers({1 << 1 | 1, 1 << 1 | 1}), 10), wire_error::bad_run);
    bytes two = numbers({2 << 1 | 0});
    two.resize(two.size() + 2 * sizeof(digest));
    CHECK(decode_samples(two, 2).has_value());
    check_refused(decode_samples(two, 1), wire_error::bad_count);
    two.pop_back();
    check_refused(decode_samples(two, 2), wire_error::truncated);
}

TEST_CASE("weights are of something, and no more than may be", "[wire]") {
    CHECK(decode_weights({}).has_value());
    check_refused(decode_weights(numbers({0, 1, 1})), wire_error::bad_value);
    check_refused(decode_weights(numbers({1, 0, 1})), wire_error::bad_value);
    CHECK(decode_weights(bytes(3 * weigh_blocks_max, std::byte{1})).has_value());
    check_refused(decode_weights(bytes(3 * weigh_blocks_max + 3, std::byte{1})), wire_error::bad_count);
}

TEST_CASE("a disk's size and an echo's bytes have their limits", "[wire]") {
    bytes disk(32);
    const auto with = [&](std::uint64_t size) {
        bytes payload = disk;
        field_writer(payload).number(size);
        return decode_sampled_disk(payload);
    };
    CHECK(with(wire_offset_max).has_value());
    check_refused(with(wire_offset_max + 1), wire_error::bad_range);
    CHECK(decode_echo_wish(numbers({filler_bytes_max})).has_value());
    check_refused(decode_echo_wish(numbers({filler_bytes_max + 1})), wire_error::bad_count);
}

TEST_CASE("filler is parted into frames, and none is none", "[wire]") {
    bytes out;
    const std::size_t most = *frame_max(frame_kind::filler);
    append_filler(out, bytes(2 * most + 1));
    const auto frames = split(out);
    REQUIRE(frames.size() == 3);
    CHECK(frames[2].payload.size() == 1);
    out.clear();
    append_filler(out, {});
    CHECK(out.empty());
}

TEST_CASE("a wish that could not be read back is the caller's mistake", "[wire]") {
    const geometry shape = disk_of(10 * block);
    bytes out;
    CHECK(aborts([&] { append(out, wire_sample_wish{}, shape); }));
    CHECK(aborts([&] { append(out, wire_sample_wish{false, {{1, block}}}, shape); }));
    CHECK(aborts([&] { append(out, wire_sample_wish{false, {{block, block}, {0, block}}}, shape); }));
    CHECK(aborts([&] { append_weigh_wish(out, std::vector<std::uint64_t>{1}, shape); }));
}

}  // namespace
