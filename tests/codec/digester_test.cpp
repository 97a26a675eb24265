// Digests against published vectors, against libxxhash's own plain build, and against values frozen here: a digest that
// changes makes every saved map and every peer of another version wrong.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#define XXH_STATIC_LINKING_ONLY  // for XXH3_generateSecret_fromSeed
#include <xxhash.h>

#include "codec/digester.hpp"
#include "reprotect/error.hpp"
#include "support/bytes.hpp"

using namespace reprotect;
using test::random_bytes;

namespace {

std::array<std::byte, 32> counting_nonce(unsigned first) {
    std::array<std::byte, 32> nonce{};
    for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::byte>(first + i);
    return nonce;
}

digest_secret some_secret() {
    return derive_secret(counting_nonce(0), counting_nonce(100));
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string hex_of(std::span<const std::byte> bytes) {
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += 16) {
        digest part;
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 16, part.bytes.begin());
        text += to_hex(part);
    }
    return text;
}

std::string hex_of(XXH128_hash_t hash) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    return hex_of(std::as_bytes(std::span(canonical.digest)));
}

// The buffer that xxHash's published test vectors are over.
std::vector<std::byte> published_buffer(std::size_t length) {
    std::vector<std::byte> buffer(length);
    std::uint64_t state = 2654435761u;
    for (std::byte& byte : buffer) {
        byte = static_cast<std::byte>(state >> 56);
        state *= 11400714785074694797ull;
    }
    return buffer;
}

}  // namespace

TEST_CASE("xxh3 under the default secret gives the published XXH3-128 vectors", "[codec]") {
    struct vector {
        std::size_t length;
        std::uint64_t low, high;
    };
    const vector published[] = {
        {0, 0x6001C324468D497Full, 0x99AA06D3014798D8ull},    {1, 0xC44BDFF4074EECDBull, 0xA6CD5E9392000F6Aull},
        {6, 0x3E7039BDDA43CFC6ull, 0x082AFE0B8162D12Aull},    {12, 0x061A192713F69AD9ull, 0x6E3EFD8FC7802B18ull},
        {24, 0x1E7044D28B1B901Dull, 0x0CE966E4678D3761ull},   {48, 0xF942219AED80F67Bull, 0xA002AC4E5478227Eull},
        {81, 0x5E8BAFB9F95FB803ull, 0x4952F58181AB0042ull},   {222, 0xF1AEBD597CEC6B3Aull, 0x337E09641B948717ull},
        {403, 0xCDEB804D65C6DEA4ull, 0x1B6DE21E332DD73Dull},  {512, 0x617E49599013CB6Bull, 0x18D2D110DCC9BCA1ull},
        {2048, 0xDD59E2C3A5F038E0ull, 0xF736557FD47073A5ull}, {2240, 0x6E73A90539CF2948ull, 0xCCB134FBFA7CE49Dull},
        {2367, 0xCB37AEB9E5D361EDull, 0xE89C0F6FF369B427ull},
    };
    digest_secret secret;
    XXH3_generateSecret_fromSeed(secret.bytes.data(), 0);  // with a seed of 0 this is the default secret itself
    const digester with(digest_algorithm::xxh3, secret);
    for (const vector& each : published) {
        INFO("length " << each.length);
        CHECK(to_hex(with.bytes(published_buffer(each.length))) == hex_of(XXH128_hash_t{each.low, each.high}));
    }
}

TEST_CASE("xxh3 under a secret equals libxxhash's plain build at every length and alignment", "[codec]") {
    const digest_secret secret = some_secret();
    const digester with(digest_algorithm::xxh3, secret);
    const std::vector<std::byte> data = random_bytes(1, 70'000);
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i <= 600; ++i) lengths.push_back(i);
    for (const std::size_t around : {1024u, 4096u, 16384u, 65536u})
        for (std::size_t i = around - 2; i <= around + 2; ++i) lengths.push_back(i);
    for (const std::size_t length : lengths) {
        const std::size_t begin = length % 67;
        const auto expected =
            XXH3_128bits_withSecret(data.data() + begin, length, secret.bytes.data(), secret.bytes.size());
        INFO("length " << length);
        REQUIRE(to_hex(with.bytes(std::span(data).subspan(begin, length))) == hex_of(expected));
    }
}

TEST_CASE("sha256 digests are the first half of published SHA-256 values", "[codec]") {
    const digester with(digest_algorithm::sha256, some_secret());
    const std::pair<std::string_view, const char*> published[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb924"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039"},
    };
    for (const auto& [text, hex] : published) {
        CHECK(to_hex(with.bytes(bytes_of(text))) == hex);
        CHECK(to_hex(sha256_128(bytes_of(text))) == hex);
    }
    const std::string million(1'000'000, 'a');
    CHECK(to_hex(sha256_128(bytes_of(million))) == "cdc76e5c9914fb9281a1c7e284d73e67");
}

TEST_CASE("sha256 does not depend on the secret, xxh3 does", "[codec]") {
    const digest_secret one = some_secret(), other = random_secret();
    const auto text = bytes_of("the same bytes");
    CHECK(digester(digest_algorithm::sha256, one).bytes(text) == digester(digest_algorithm::sha256, other).bytes(text));
    CHECK(digester(digest_algorithm::xxh3, one).bytes(text) != digester(digest_algorithm::xxh3, other).bytes(text));
    const std::vector<std::byte> block = random_bytes(2, 4096);
    CHECK(digester(digest_algorithm::xxh3, one).bytes(block) != digester(digest_algorithm::xxh3, other).bytes(block));
}

TEST_CASE("the session's secret is frozen and depends on every bit of both nonces and the binding", "[codec]") {
    CHECK(hex_of(some_secret().bytes) ==
          "be808627130f2fbf35006518d0f70de2ce3e240a1bb0627f09c200f9d695a86074f545a60ac75b29e314c0fc3bceb911c5ec49de542b"
          "3c3c766d3ca6fbb2ef650c168901e5f071c3c4d9001aeef8d4530fa572ceee1667b4c11bc345c3f946804acfedf44a6db83056926b31"
          "a9e907789f91f5fe0be22e9aa65cec30423cdcb6e2a6bd5c5daf366afa81152e94465f1a8029ac0394be86d285102243ec446f5efa5d"
          "4e13700fbb8f7913706ee05a3cbb5f595c23979a99a28ae26aed0f7009a9");
    std::set<std::string> seen{hex_of(some_secret().bytes)};
    for (std::size_t bit = 0; bit < 512; ++bit) {
        auto source = counting_nonce(0), target = counting_nonce(100);
        auto& nonce = bit < 256 ? source : target;
        nonce[bit / 8 % 32] ^= static_cast<std::byte>(1u << bit % 8);
        seen.insert(hex_of(derive_secret(source, target).bytes));
    }
    for (std::size_t bit = 0; bit < 256; ++bit) {
        std::array<std::byte, 32> binding{};
        binding[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        seen.insert(hex_of(derive_secret(counting_nonce(0), counting_nonce(100), binding).bytes));
    }
    CHECK(seen.size() == 769);
    CHECK_FALSE(seen.contains(hex_of(derive_secret(counting_nonce(100), counting_nonce(0)).bytes)));
    // Six parts, each of its own.
    std::set<std::string> parts;
    const std::string whole = hex_of(some_secret().bytes);
    for (std::size_t at = 0; at < whole.size(); at += 64) parts.insert(whole.substr(at, 64));
    CHECK(parts.size() == 6);
}

TEST_CASE("two random secrets differ", "[codec]") {
    CHECK(random_secret().bytes != random_secret().bytes);
}

TEST_CASE("digests of chunks, nodes and roots are frozen", "[codec]") {
    const digester sha(digest_algorithm::sha256, {});
    const digest one = sha.bytes(bytes_of("one")), two = sha.bytes(bytes_of("two"));
    const std::array both{one, two};
    CHECK(to_hex(sha.chunk(8192, both)) == "bf43d66b2b204d79355eec529e07ae95");
    CHECK(to_hex(sha.node(16384, one, two)) == "7645f114489efa89e655c35a84f9bf7a");
    CHECK(to_hex(sha.root({16384, 8192, 4096}, &one)) == "71c3266329549142061ebc45f02ff071");
    CHECK(to_hex(sha.root({0, 8192, 4096}, nullptr)) == "f1efa28dab239d9288bfaa27bce81fcf");
}

TEST_CASE("what is hashed above blocks is a prefix of kind, version and length, then the digests", "[codec]") {
    const digest_secret secret = some_secret();
    const digester xxh(digest_algorithm::xxh3, secret);
    const digest left = xxh.bytes(bytes_of("left")), right = xxh.bytes(bytes_of("right"));
    const auto by_hand = [&](unsigned kind, std::uint64_t length, std::vector<std::byte> rest) {
        std::vector<std::byte> input(16);
        input[0] = static_cast<std::byte>(kind);
        input[1] = std::byte{1};
        for (std::size_t i = 0; i < 8; ++i) input[8 + i] = static_cast<std::byte>(length >> 8 * i);
        input.insert(input.end(), rest.begin(), rest.end());
        return hex_of(XXH3_128bits_withSecret(input.data(), input.size(), secret.bytes.data(), secret.bytes.size()));
    };
    std::vector<std::byte> both(left.bytes.begin(), left.bytes.end());
    both.insert(both.end(), right.bytes.begin(), right.bytes.end());
    CHECK(to_hex(xxh.chunk(0x0102030405060708, std::array{left, right})) == by_hand(1, 0x0102030405060708, both));
    CHECK(to_hex(xxh.node(77, left, right)) == by_hand(2, 77, both));
    std::vector<std::byte> shape{std::byte{0}, std::byte{0}, std::byte{16}, std::byte{0},
                                 std::byte{0}, std::byte{2}, std::byte{0},  std::byte{0}};
    CHECK(to_hex(xxh.root({99, 1 << 20, 512}, nullptr)) == by_hand(3, 99, shape));
    shape.insert(shape.end(), left.bytes.begin(), left.bytes.end());
    CHECK(to_hex(xxh.root({99, 1 << 20, 512}, &left)) == by_hand(3, 99, shape));
}

TEST_CASE("no level's digest can be taken for another's", "[codec]") {
    for (const auto algorithm : {digest_algorithm::xxh3, digest_algorithm::sha256}) {
        const digester with(algorithm, some_secret());
        const digest a = with.bytes(bytes_of("a")), b = with.bytes(bytes_of("b"));
        const digest chunk = with.chunk(8192, std::array{a, b}), node = with.node(8192, a, b);
        CHECK(chunk != node);
        CHECK(with.chunk(8192, std::array{a, b}) != with.chunk(8191, std::array{a, b}));
        CHECK(with.node(8192, a, b) != with.node(8192, b, a));
        CHECK(with.root({8192, 8192, 4096}, &a) != with.root({8192, 8192, 512}, &a));
        CHECK(with.root({8192, 8192, 4096}, &a) != with.root({8192, 4096, 4096}, &a));
    }
}

TEST_CASE("digests of zeroes that are looked up equal computed ones, tails included", "[codec]") {
    for (const auto algorithm : {digest_algorithm::xxh3, digest_algorithm::sha256}) {
        const digester with(algorithm, some_secret());
        for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{511}, std::uint64_t{512},
                                         std::uint64_t{513}, std::uint64_t{4096}, std::uint64_t{8191},
                                         std::uint64_t{8192}, std::uint64_t{8193}, std::uint64_t{3 * 8192 + 4608}}) {
            INFO("size " << size);
            const geometry shape{size, 8192, 512};
            const zero_digests zero(with, shape);
            for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
                std::vector<digest> blocks;
                for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
                    blocks.push_back(with.bytes(std::vector<std::byte>(shape.block(chunk, i).length)));
                    CHECK(zero.block(chunk, i) == blocks.back());
                }
                CHECK(zero.chunk(chunk) == with.chunk(shape.chunk(chunk).length, blocks));
            }
        }
    }
}

TEST_CASE("names of digest algorithms go both ways, others are refused", "[codec]") {
    for (const auto algorithm : {digest_algorithm::xxh3, digest_algorithm::sha256})
        CHECK(parse_digest_algorithm(to_string(algorithm)) == algorithm);
    for (const char* text : {"", "md5", "XXH3", "sha256 ", "sha-256"}) {
        try {
            parse_digest_algorithm(text);
            FAIL("accepted " << text);
        } catch (const error& why) {
            CHECK(why.kind() == error_kind::usage);
            CHECK(why.detail().hint.find("sha256") != std::string::npos);
        }
    }
}
