// Compression both ways, and hostile frames: made by hand after RFC 8878, cut, damaged bit by bit, and bombs.
#include <catch2/catch.hpp>

#include <zstd.h>

#include <fstream>
#include <random>

#include "codec/compressor.hpp"
#include "support/aborts.hpp"
#include "support/bytes.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

using bytes = std::vector<std::byte>;

bytes text_of(std::size_t count) {
    static constexpr std::string_view line = "the service goes on as it did before, at offset ";
    std::string text;
    while (text.size() < count) text += std::string(line) + std::to_string(text.size() * 7919 % 104729) + "\n";
    const auto all = std::as_bytes(std::span(text)).first(count);
    return {all.begin(), all.end()};
}

bytes compressed(const bytes& data, int level = 1) {
    compressor with;
    bytes into(compressor::bound(data.size()));
    const auto used = with.compress(data, level, into);
    REQUIRE(used.has_value());
    return {used->begin(), used->end()};
}

constexpr std::byte untouched{0xA5};

// Decompresses into the middle of a larger buffer, whose rest must stay as it is.
boost::system::result<bytes> decompressed(const bytes& frame, std::size_t size) {
    constexpr std::size_t margin = 4096;
    static decompressor with;
    bytes around(size + 2 * margin, untouched);
    const auto result = with.decompress(frame, std::span(around).subspan(margin, size));
    for (std::size_t i = 0; i < margin; ++i)
        if (around[i] != untouched || around[margin + size + i] != untouched) FAIL("wrote outside the buffer");
    if (!result) return result.error();
    const auto begin = around.begin() + static_cast<std::ptrdiff_t>(margin);
    return bytes(begin, begin + static_cast<std::ptrdiff_t>(size));
}

void check_refused(const bytes& frame, std::size_t size, compression_error why) {
    const auto result = decompressed(frame, size);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error() == make_error_code(why));
    CHECK_FALSE(result.error().message().empty());
}

// A frame put together by hand. RFC 8878: magic, descriptor, fields, then blocks of a 3-byte head each.
class hand_made {
public:
    explicit hand_made(unsigned descriptor) { add({0x28, 0xB5, 0x2F, 0xFD, descriptor}); }
    hand_made& add(std::initializer_list<unsigned> values) {
        for (const unsigned value : values) frame_.push_back(static_cast<std::byte>(value));
        return *this;
    }
    hand_made& size4(std::uint32_t size) { return add({size, size >> 8, size >> 16, size >> 24}); }
    /// `count` times the letter.
    hand_made& run(std::uint32_t count, bool last) {
        const std::uint32_t head = (last ? 1 : 0) | 1 << 1 | count << 3;
        return add({head, head >> 8, head >> 16, 'r'});
    }
    operator const bytes&() const { return frame_; }

private:
    bytes frame_;
};
constexpr unsigned size4_one_segment = 0xA0;
constexpr unsigned size8_one_segment = 0xE0;
constexpr unsigned size4_with_window = 0x80;
constexpr unsigned no_size_with_window = 0x00;
constexpr unsigned with_dictionary_id = 0x01;

// Address space that the process ever had, in KiB.
std::uint64_t peak_memory() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        std::uint64_t value = 0;
        if (word == "VmPeak:" && status >> value) return value;
    }
    return 0;
}

TEST_CASE("what was compressed comes back, at every size, content and level", "[codec]") {
    compressor with;
    decompressor back;
    for (const std::size_t size : {0, 1, 2, 511, 512, 4096, 4097, 65536, 131072, 131073, 1 << 20}) {
        const std::array contents{bytes(size), text_of(size), random_bytes(size, size)};
        for (const int level : {compressor::level_min, 3, 9}) {
            for (const bytes& data : contents) {
                bytes into(compressor::bound(size));
                const auto used = with.compress(data, level, into);
                REQUIRE(used.has_value());
                REQUIRE(used->size() <= into.size());
                bytes found(size);
                REQUIRE(back.decompress(*used, found).has_value());
                REQUIRE((found == data));
            }
        }
    }
    const bytes data = text_of(10'000);
    CHECK((decompressed(compressed(data, compressor::level_max), data.size()).value() == data));
}

TEST_CASE("a context that was used compresses as a fresh one does", "[codec]") {
    const bytes data = text_of(100'000);
    compressor used;
    bytes into(compressor::bound(1 << 20));
    REQUIRE(used.compress(random_bytes(1, 1 << 20), 7, into).has_value());
    bytes too_short(100);
    REQUIRE_FALSE(used.compress(random_bytes(2, 4096), 1, too_short).has_value());
    const auto again = used.compress(data, 3, into);
    REQUIRE(again.has_value());
    CHECK((bytes(again->begin(), again->end()) == compressed(data, 3)));
}

TEST_CASE("data that does not shrink does not fit into a buffer shorter than itself, other data does", "[codec]") {
    compressor with;
    bytes into(65535);
    CHECK_FALSE(with.compress(random_bytes(1, 65536), 1, into).has_value());
    CHECK_FALSE(with.compress(random_bytes(1, 65536), 3, std::span(into).first(0)).has_value());
    const auto used = with.compress(text_of(65536), 1, into);
    REQUIRE(used.has_value());
    CHECK(used->size() < 65536 / 3);
}

TEST_CASE("a level out of range is the caller's mistake", "[codec]") {
    const bytes data = text_of(100);
    for (const int level : {0, -1, compressor::level_max + 1})
        CHECK(aborts([&] {
            bytes into(compressor::bound(data.size()));
            compressor().compress(data, level, into);
        }));
}

TEST_CASE("a frame of another size than announced is refused before it is decoded", "[codec]") {
    const bytes frame = compressed(text_of(5000));
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4999}, std::size_t{5001},
                                   std::size_t{10000}, std::size_t{1} << 20})
        check_refused(frame, size, compression_error::wrong_size);
    check_refused(compressed({}), 1, compression_error::wrong_size);
}

TEST_CASE("a bomb ends where the buffer does, and takes no memory", "[codec]") {
    // 200 KB that would be 200 MB.
    hand_made bomb(size4_one_segment);
    bomb.size4(4096);
    for (unsigned i = 0; i < 50'000; ++i) bomb.run(4096, i == 49'999);
    hand_made wide(size4_with_window);
    wide.add({0x80}).size4(4096).run(4096, true);  // a window of 64 MiB
    hand_made endless(size8_one_segment);
    endless.add({0, 0, 0, 0, 0, 0, 0, 0x40}).run(131'072, true);  // announces 4 EiB
    bytes honest = compressed(bytes(512 << 20 >> 4));             // 32 MiB in 1 KiB

    decompressed(compressed(text_of(4096)), 4096);  // the context is there
    const std::uint64_t before = peak_memory();
    check_refused(bomb, 4096, compression_error::corrupt);
    check_refused(endless, 4096, compression_error::wrong_size);
    check_refused(honest, 4096, compression_error::wrong_size);
    decompressed(wide, 4096);  // may be taken: the window is not needed
    CHECK(peak_memory() - before < 8192);
}

TEST_CASE("a frame that decodes to more or less than it says is refused", "[codec]") {
    CHECK((decompressed(hand_made(size4_one_segment).size4(1000).run(1000, true), 1000).value() ==
           bytes(1000, std::byte{'r'})));
    check_refused(hand_made(size4_one_segment).size4(1000).run(999, true), 1000, compression_error::corrupt);
    check_refused(hand_made(size4_one_segment).size4(1000).run(1001, true), 1000, compression_error::corrupt);
    check_refused(hand_made(size4_one_segment).size4(1000).run(600, false).run(600, true), 1000,
                  compression_error::corrupt);
    check_refused(hand_made(size4_one_segment).size4(1000).run(1000, false), 1000, compression_error::not_a_frame);
}

TEST_CASE("frames without a size, with a dictionary, skippable, old or none at all are refused", "[codec]") {
    check_refused(hand_made(no_size_with_window).add({0x50}).run(1000, true), 1000, compression_error::unknown_size);
    check_refused(hand_made(size4_one_segment | with_dictionary_id).add({7}).size4(1000).run(1000, true), 1000,
                  compression_error::dictionary);
    const auto raw = [](std::initializer_list<unsigned> values) {
        bytes made;
        for (const unsigned value : values) made.push_back(static_cast<std::byte>(value));
        return made;
    };
    const bytes skippable = raw({0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0});
    check_refused(skippable, 0, compression_error::not_a_frame);
    bytes behind = skippable;
    const bytes good = compressed(text_of(1000));
    behind.insert(behind.end(), good.begin(), good.end());
    check_refused(behind, 1000, compression_error::not_a_frame);
    for (const unsigned version : {0x1Eu, 0x22u, 0x23u, 0x24u, 0x25u, 0x26u, 0x27u}) {
        bytes old = good;
        old[0] = static_cast<std::byte>(version);
        check_refused(old, 1000, compression_error::not_a_frame);
    }
    check_refused({}, 0, compression_error::not_a_frame);
    check_refused({}, 1000, compression_error::not_a_frame);
    check_refused(raw({0x28, 0xB5, 0x2F, 0xFD}), 0, compression_error::not_a_frame);
    check_refused(random_bytes(1, 5000), 5000, compression_error::not_a_frame);
}

TEST_CASE("a frame that is cut, or has something behind it, is refused", "[codec]") {
    const bytes frame = compressed(text_of(5000));
    for (std::size_t length = 0; length < frame.size(); ++length)
        REQUIRE_FALSE(
            decompressed(bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)), 5000).has_value());
    bytes longer = frame;
    longer.push_back(std::byte{0});
    check_refused(longer, 5000, compression_error::not_a_frame);
    // A second frame, also an empty one, would decode into the same buffer.
    const bytes empty = compressed({});
    longer = frame;
    longer.insert(longer.end(), empty.begin(), empty.end());
    check_refused(longer, 5000, compression_error::not_a_frame);
    longer = empty;
    longer.insert(longer.end(), frame.begin(), frame.end());
    check_refused(longer, 5000, compression_error::wrong_size);
}

TEST_CASE("a damaged frame is refused or fills the buffer, and touches nothing else", "[codec]") {
    const bytes data = text_of(3000);
    const bytes frame = compressed(data, 3);
    for (std::size_t bit = 0; bit < 8 * frame.size(); ++bit) {
        bytes damaged = frame;
        damaged[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        decompressed(damaged, data.size());
    }
    std::mt19937_64 random(1);
    for (unsigned i = 0; i < 3000; ++i) {
        bytes damaged = frame;
        for (std::uint64_t edits = 1 + random() % 8; edits > 0; --edits)
            damaged[6 + random() % (damaged.size() - 6)] = static_cast<std::byte>(random());
        decompressed(damaged, data.size());
    }
    CHECK((decompressed(frame, data.size()).value() == data));
}

}  // namespace
