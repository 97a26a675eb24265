// The files of digest maps and differentials: golden bytes, every flipped bit, every truncation, and files whose
// checksums fit but whose fields lie.
#include "plan/file_format.hpp"

#include "codec/digester.hpp"
#include "reprotect/error.hpp"
#include "support/bytes.hpp"
#include "support/places.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <filesystem>
#include <functional>
#include <random>

using namespace reprotect;

namespace {

using file_bytes = std::vector<std::byte>;

file_bytes golden(const std::string& name) {
    return test::read_whole_file(std::string(test::tests_folder) + "/plan/golden/" + name);
}

digest pattern(std::size_t start) {
    digest result;
    for (std::size_t i = 0; i < result.bytes.size(); ++i) result.bytes[i] = static_cast<std::byte>((start + i) % 256);
    return result;
}

digest_map plain_map() {
    digest_map map({8 * 1048576 + 5000, 1048576, 4096}, digest_algorithm::sha256);
    map.set_label("/dev/vdb, 2026-11-22T10:00:00Z");
    map.set(1, pattern(1));
    map.set(2, pattern(2));
    map.set(8, pattern(8));
    return map;
}

digest_map blocks_map() {
    digest_map map({4 * 4096 + 700, 4096, 2048}, digest_algorithm::sha256, true);
    map.set(0, pattern(10), {pattern(100), pattern(101)});
    map.set(3, pattern(13), {pattern(130), pattern(131)});
    map.set(4, pattern(14), {pattern(140)});
    return map;
}

digest_map pages_map() {
    digest_map map({6000 * 4096, 4096, 512}, digest_algorithm::sha256);
    map.set_label("pages");
    for (std::uint64_t i = 0; i < 5000; ++i) map.set(500 + i, pattern(i % 251));
    return map;
}

differential three_changes() {
    constexpr std::uint64_t ten_gib = 10ull << 30;
    differential value(ten_gib + 1);
    value.add({{4096, 8192}, change_kind::data, change_reason::changed});
    value.add({{12288, 1048576}, change_kind::zero, change_reason::source_hole});
    value.add({{ten_gib, 1}, change_kind::data, change_reason::target_hole});
    return value;
}

template <typename Result>
boost::system::error_code code_of(const Result& result) {
    return result ? boost::system::error_code{} : result.error().code;
}

bool both_refuse(std::span<const std::byte> file) {
    return !parse_digest_map(file) && !parse_differential(file);
}

// A file with fields changed and its checksums made to fit again, as a liar would.
class forged {
public:
    explicit forged(file_bytes file) : file_(std::move(file)) {}

    template <typename Integer>
    forged& put(std::size_t at, Integer value) {
        for (std::size_t i = 0; i < sizeof(Integer); ++i)
            file_[at + i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
        return *this;
    }
    template <typename Integer>
    forged& put_in_body(std::size_t at, Integer value) {
        return put(body() + at, value);
    }
    forged& cut_body(std::size_t bytes) {
        file_.resize(file_.size() - bytes);
        return put<std::uint64_t>(48, get(48, 8) - bytes);
    }

    // For bodies of one page.
    file_bytes done() {
        const std::size_t start = body();
        const digest page = sha256_128(std::span(file_).subspan(start));
        std::memcpy(file_.data() + start - 32, page.bytes.data(), 16);
        const digest head = sha256_128(std::span(file_).first(start - 16));
        std::memcpy(file_.data() + start - 16, head.bytes.data(), 16);
        return file_;
    }

private:
    std::uint64_t get(std::size_t at, std::size_t count) const {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < count; ++i) value |= std::to_integer<std::uint64_t>(file_[at + i]) << (8 * i);
        return value;
    }
    std::size_t body() const { return file_.size() - get(48, 8); }

    file_bytes file_;
};

format_error map_failure(forged& file) {
    const format_result<digest_map> result = parse_digest_map(file.done());
    return result ? format_error{} : static_cast<format_error>(result.error().code.value());
}

format_error differential_failure(forged& file) {
    const format_result<differential> result = parse_differential(file.done());
    return result ? format_error{} : static_cast<format_error>(result.error().code.value());
}

digest_map random_map(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::uint32_t block = 512u << (random() % 4);
    const auto chunk = static_cast<std::uint32_t>(4096 * (1 + random() % 5));
    const bool fits = chunk % block == 0;
    const geometry shape{random() % (1 << 20), fits ? chunk : 4096, block};
    const bool with_blocks = random() % 2 == 0;
    digest_map map(shape, digest_algorithm::sha256, with_blocks);
    map.set_label(std::string(random() % 40, static_cast<char>(' ' + random() % 90)));
    const auto any = [&] {
        digest value;
        for (std::byte& b : value.bytes) b = static_cast<std::byte>(random());
        return value;
    };
    for (std::uint64_t at = 0; at < shape.chunk_count(); at += 1 + random() % 3) {
        std::vector<digest> blocks(with_blocks ? shape.blocks_in(at) : 0);
        std::generate(blocks.begin(), blocks.end(), any);
        map.set(at, any(), blocks);
    }
    return map;
}

differential random_differential(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::uint64_t disk_bytes = random() >> (1 + random() % 50);
    differential value(disk_bytes);
    for (std::uint64_t at = 0; at < disk_bytes && value.changes().size() < 50;) {
        const std::uint64_t length = std::min<std::uint64_t>(1 + random() % (disk_bytes / 20 + 1), disk_bytes - at);
        const auto reason = static_cast<change_reason>(1 + random() % 3);
        const bool hole = reason == change_reason::source_hole;
        value.add({{at, length}, hole ? change_kind::zero : change_kind::data, reason});
        at += length + (random() % 2 == 0 ? 0 : random() % (disk_bytes / 20 + 1));
    }
    return value;
}

struct caught {
    error_kind kind = error_kind::interrupted;
    std::string message;
    error_detail detail;
};

caught catch_error(const std::function<void()>& run) {
    try {
        run();
    } catch (const error& e) {
        return {e.kind(), e.what(), e.detail()};
    }
    return {};
}

}  // namespace

TEST_CASE("the bytes of version 1 files never change", "[plan]") {
    CHECK(serialize(plain_map()) == golden("map-v1.bin"));
    CHECK(serialize(blocks_map()) == golden("map-blocks-v1.bin"));
    CHECK(serialize(pages_map()) == golden("map-pages-v1.bin"));
    CHECK(serialize(three_changes()) == golden("differential-v1.bin"));
}

TEST_CASE("files of version 1 load", "[plan]") {
    const auto plain = parse_digest_map(golden("map-v1.bin"));
    REQUIRE(plain.has_value());
    CHECK(*plain == plain_map());
    const auto blocks = parse_digest_map(golden("map-blocks-v1.bin"));
    REQUIRE(blocks.has_value());
    CHECK(*blocks == blocks_map());
    const auto pages = parse_digest_map(golden("map-pages-v1.bin"));
    REQUIRE(pages.has_value());
    CHECK(*pages == pages_map());
    const auto changes = parse_differential(golden("differential-v1.bin"));
    REQUIRE(changes.has_value());
    CHECK(*changes == three_changes());
}

TEST_CASE("every flipped bit of a file is found", "[plan]") {
    for (const char* name : {"map-v1.bin", "map-blocks-v1.bin", "differential-v1.bin"}) {
        file_bytes file = golden(name);
        std::size_t missed = 0;
        for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
            const std::byte mask{static_cast<unsigned char>(1u << (bit % 8))};
            file[bit / 8] ^= mask;
            if (!both_refuse(file)) ++missed;
            file[bit / 8] ^= mask;
        }
        CAPTURE(name);
        CHECK(missed == 0);
    }
}

TEST_CASE("every truncation and extension of a file is found", "[plan]") {
    for (const char* name : {"map-v1.bin", "map-blocks-v1.bin", "differential-v1.bin"}) {
        CAPTURE(name);
        const file_bytes file = golden(name);
        std::size_t missed = 0;
        for (std::size_t length = 0; length < file.size(); ++length)
            if (!both_refuse(std::span(file).first(length))) ++missed;
        CHECK(missed == 0);
        file_bytes longer = file;
        for (int i = 0; i < 40; ++i) {
            longer.push_back(std::byte{0});
            if (!both_refuse(longer)) ++missed;
        }
        CHECK(code_of(parse_digest_map(longer)) == make_error_code(format_error::bad_length));
        CHECK(code_of(parse_digest_map(std::span(file).first(file.size() - 1))) ==
              make_error_code(format_error::bad_length));
        CHECK(missed == 0);
    }
}

TEST_CASE("damage to a body is located to its page", "[plan]") {
    const file_bytes file = golden("map-pages-v1.bin");
    const std::size_t body = file.size() - (16 + 5000 * 16);
    for (const auto& [damaged, page] : {std::pair{body + 5, body},
                                        {body + 65535, body},
                                        {body + 65536, body + 65536},
                                        {file.size() - 1, body + 65536}}) {
        file_bytes bad = file;
        bad[damaged] ^= std::byte{4};
        const auto result = parse_digest_map(bad);
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().code == make_error_code(format_error::bad_page_sum));
        CHECK(result.error().offset == page);
    }
    file_bytes bad = file;
    bad[body - 17] ^= std::byte{1};  // a page's checksum
    CHECK(code_of(parse_digest_map(bad)) == make_error_code(format_error::bad_head_sum));
}

TEST_CASE("a file of the other kind, of another version or of something else is refused by name", "[plan]") {
    CHECK(code_of(parse_digest_map(golden("differential-v1.bin"))) == make_error_code(format_error::wrong_kind));
    CHECK(code_of(parse_differential(golden("map-v1.bin"))) == make_error_code(format_error::wrong_kind));
    forged newer(golden("map-v1.bin"));
    CHECK(map_failure(newer.put<std::uint32_t>(8, 2)) == format_error::unknown_version);
    CHECK(code_of(parse_digest_map({})) == make_error_code(format_error::not_ours));
    CHECK(code_of(parse_digest_map(file_bytes(4096))) == make_error_code(format_error::not_ours));
}

TEST_CASE("a digest map whose checksums fit and whose fields lie is refused", "[plan]") {
    const auto plain = [] { return forged(golden("map-v1.bin")); };
    const auto check = [](forged file, format_error expected) {
        CHECK(make_error_code(map_failure(file)) == make_error_code(expected));
    };
    {
        forged untouched = plain();
        REQUIRE(map_failure(untouched) == format_error{});  // forging itself makes sound files
    }
    check(plain().put<std::uint64_t>(16, 1ull << 63), format_error::bad_disk_size);
    check(plain().put<std::uint64_t>(16, ~0ull), format_error::bad_disk_size);
    for (const std::uint32_t chunk : {0u, 1u, 2048u, 4097u, 1u << 25, ~0u})
        check(plain().put(24, chunk), format_error::bad_geometry);
    for (const std::uint32_t block : {0u, 1u, 256u, 4095u, 1u << 17, ~0u})
        check(plain().put(28, block), format_error::bad_geometry);
    for (const std::uint32_t algorithm : {0u, 1u, 3u, 258u, ~0u})
        check(plain().put(32, algorithm), format_error::bad_algorithm);
    check(plain().put<std::uint32_t>(36, 2), format_error::bad_flags);
    check(plain().put<std::uint32_t>(36, 1), format_error::bad_run);  // blocks are announced and missing
    check(plain().put<std::uint32_t>(60, 1), format_error::bad_reserved);
    for (const int letter : {0x00, 0x0a, 0x1b, 0x7f, 0x80, 0xff})
        check(plain().put(70, static_cast<std::uint8_t>(letter)), format_error::bad_label);
    for (const std::uint64_t count : {0ull, 1ull, 3ull, 1ull << 32, ~0ull})
        check(plain().put(40, count), format_error::bad_count);

    // Runs: first chunk at 0 and 64 of the body, count at 8 and 72; the disk has 9 chunks.
    for (const std::uint64_t first : {8ull, 9ull, 1ull << 63, ~0ull})
        check(plain().put_in_body(0, first), format_error::bad_run);
    for (const std::uint64_t count : {0ull, 9ull, 1ull << 60, ~0ull})
        check(plain().put_in_body(8, count), format_error::bad_run);
    for (const std::uint64_t first : {0ull, 1ull, 2ull, 3ull, 9ull, ~0ull})  // before, within, adjacent, beyond
        check(plain().put_in_body(48, first), format_error::bad_run);
    for (const std::uint64_t count : {0ull, 2ull, ~0ull}) check(plain().put_in_body(56, count), format_error::bad_run);
    check(plain().cut_body(1), format_error::bad_run);
    check(plain().cut_body(16), format_error::bad_run);
    check(plain().cut_body(31), format_error::bad_run);
    check(plain().cut_body(32), format_error::bad_count);
}

TEST_CASE("runs whose block digests are cut are refused", "[plan]") {
    for (const std::size_t bytes : {1u, 16u, 32u, 48u, 64u}) {
        CAPTURE(bytes);
        forged file(golden("map-blocks-v1.bin"));
        CHECK(make_error_code(map_failure(file.cut_body(bytes))) == make_error_code(format_error::bad_run));
    }
}

TEST_CASE("lengths of a head that no file can have are refused before they are added up", "[plan]") {
    const file_bytes sound = golden("map-v1.bin");
    CHECK(*format_length(sound) == sound.size());
    CHECK(*format_length(std::span(sound).first(format_fixed_bytes)) == sound.size());
    CHECK(code_of(format_length(std::span(sound).first(format_fixed_bytes - 1))) ==
          make_error_code(format_error::too_short));
    const auto with = [&](std::size_t at, std::uint64_t value, std::size_t count) {
        file_bytes head = sound;
        for (std::size_t i = 0; i < count; ++i) head[at + i] = static_cast<std::byte>(value >> (8 * i));
        return code_of(format_length(head));
    };
    CHECK_FALSE(with(56, 4096, 4));
    CHECK(with(56, 4097, 4) == make_error_code(format_error::bad_label));
    CHECK(with(56, 0xffffffff, 4) == make_error_code(format_error::bad_label));
    CHECK_FALSE(with(48, 0x7fffffffffffffff, 8));
    CHECK(with(48, 0x8000000000000000, 8) == make_error_code(format_error::bad_length));
    CHECK(with(48, ~0ull, 8) == make_error_code(format_error::bad_length));
    // The loader itself: lengths that would fit only if they wrapped.
    for (const std::uint64_t body : {~0ull, ~0ull - 200, 0x7fffffffffffffffull}) {
        file_bytes bad = sound;
        for (std::size_t i = 0; i < 8; ++i) bad[48 + i] = static_cast<std::byte>(body >> (8 * i));
        CHECK(code_of(parse_digest_map(bad)) == make_error_code(format_error::bad_length));
    }
}

TEST_CASE("huge counts of chunks and blocks do not wrap", "[plan]") {
    // Chunks of 16 MiB in blocks of 512 B: 2^15 blocks a chunk, on the largest disk.
    digest_map map({0x7fffffffffffffff, 16 << 20, 512}, digest_algorithm::sha256, true);
    map.set(3, pattern(1), std::vector<digest>(32768, pattern(2)));
    const file_bytes file = serialize(map);
    REQUIRE(parse_digest_map(file).has_value());
    const std::size_t body = file.size() - (16 + 16 + 32768 * 16);
    for (const std::uint64_t count : {2ull, 16ull, 1ull << 38, (1ull << 39) - 4, 1ull << 49, 1ull << 61, ~0ull}) {
        file_bytes bad = file;
        for (std::size_t i = 0; i < 8; ++i) bad[body + 8 + i] = static_cast<std::byte>(count >> (8 * i));
        const std::size_t pages = (file.size() - body + 65535) / 65536;
        const digest page = sha256_128(std::span(bad).subspan(body, 65536));
        std::memcpy(bad.data() + body - 16 - pages * 16, page.bytes.data(), 16);
        const digest head = sha256_128(std::span(bad).first(body - 16));
        std::memcpy(bad.data() + body - 16, head.bytes.data(), 16);
        CAPTURE(count);
        CHECK(code_of(parse_digest_map(bad)) == make_error_code(format_error::bad_run));
    }
}

TEST_CASE("a differential whose checksums fit and whose fields lie is refused", "[plan]") {
    const auto sound = [] { return forged(golden("differential-v1.bin")); };
    const auto check = [](forged file, format_error expected) {
        CHECK(make_error_code(differential_failure(file)) == make_error_code(expected));
    };
    for (const std::size_t at : {24u, 28u, 32u, 36u, 60u})
        check(sound().put<std::uint32_t>(at, 1), format_error::bad_reserved);
    check(sound().put<std::uint64_t>(16, 1ull << 63), format_error::bad_disk_size);
    check(sound().put<std::uint64_t>(16, 10ull << 30),
          format_error::bad_change);  // the last change ends beyond the disk
    for (const std::uint64_t count : {0ull, 2ull, 4ull, ~0ull}) check(sound().put(40, count), format_error::bad_count);
    for (const int kind : {0, 3, 255})
        check(sound().put_in_body(16, static_cast<std::uint8_t>(kind)), format_error::bad_change);
    for (const int reason : {0, 4, 255})
        check(sound().put_in_body(17, static_cast<std::uint8_t>(reason)), format_error::bad_change);
    for (std::size_t at = 18; at < 24; ++at) check(sound().put_in_body<std::uint8_t>(at, 1), format_error::bad_change);
    for (const std::uint64_t length : {0ull, 8193ull, ~0ull, ~0ull - 4095})
        check(sound().put_in_body(8, length), format_error::bad_change);
    for (const std::uint64_t offset : {4097ull, 12288ull, ~0ull})
        check(sound().put_in_body(0, offset), format_error::bad_change);
    // A neighbour of the same kind and reason has to be merged.
    check(sound().put_in_body<std::uint8_t>(24 + 16, 1).put_in_body<std::uint8_t>(24 + 17, 1),
          format_error::bad_change);
    check(sound().cut_body(1), format_error::bad_change);
    check(sound().cut_body(24), format_error::bad_count);
}

TEST_CASE("random bytes are refused and allocate nothing to speak of", "[plan]") {
    const file_bytes sound = golden("map-v1.bin");
    for (std::uint64_t seed = 1; seed <= 5000; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        file_bytes file = test::random_bytes(seed, random() % 400);
        if (random() % 2 == 0 && file.size() > 12) std::memcpy(file.data(), sound.data(), 12);
        REQUIRE(both_refuse(file));
    }
}

TEST_CASE("random changes under sound checksums never load as something that saves differently", "[plan]") {
    const file_bytes map = golden("map-blocks-v1.bin");
    const file_bytes changes = golden("differential-v1.bin");
    std::size_t loaded = 0;
    for (std::uint64_t seed = 1; seed <= 5000; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        for (const file_bytes& file : {map, changes}) {
            forged bad(file);
            for (std::uint64_t i = 0; i <= random() % 3; ++i) {
                std::size_t at = 8 + random() % (file.size() - 8);
                if (at >= 48 && at < 60) at = 16;  // lengths would move the checksums
                bad.put(at, static_cast<std::uint8_t>(random() % 3 == 0 ? random() : random() % 5));
            }
            const file_bytes made = bad.done();
            if (const auto as_map = parse_digest_map(made)) {
                ++loaded;
                REQUIRE(serialize(*as_map) == made);
            }
            if (const auto as_differential = parse_differential(made)) {
                ++loaded;
                REQUIRE(serialize(*as_differential) == made);
            }
        }
    }
    CHECK(loaded > 100);  // else nothing was tested
}

TEST_CASE("random digest maps and differentials come back as they were saved", "[plan]") {
    const test::temp_dir dir;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        const digest_map map = random_map(seed);
        const auto parsed = parse_digest_map(serialize(map));
        REQUIRE(parsed.has_value());
        REQUIRE(*parsed == map);
        const differential value = random_differential(seed);
        const auto parsed_value = parse_differential(serialize(value));
        REQUIRE(parsed_value.has_value());
        REQUIRE(*parsed_value == value);
        if (seed > 10) continue;
        save(map, dir.file("map"));
        REQUIRE(load_digest_map(dir.file("map")) == map);
        save(value, dir.file("differential"));
        REQUIRE(load_differential(dir.file("differential")) == value);
    }
}

TEST_CASE("a map of an empty disk and an empty differential are files too", "[plan]") {
    const digest_map map({0, 4096, 512}, digest_algorithm::sha256);
    const auto parsed = parse_digest_map(serialize(map));
    REQUIRE(parsed.has_value());
    CHECK(*parsed == map);
    CHECK(serialize(map).size() == format_fixed_bytes + 16);
    const auto value = parse_differential(serialize(differential(5)));
    REQUIRE(value.has_value());
    CHECK(*value == differential(5));
}

TEST_CASE("a map under xxh3 is not saved", "[plan]") {
    const test::temp_dir dir;
    const digest_map map({1 << 20, 4096, 512}, digest_algorithm::xxh3);
    const caught failure = catch_error([&] { save(map, dir.file("map")); });
    CHECK(failure.kind == error_kind::usage);
    CHECK(failure.detail.hint.find("sha256") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(dir.file("map")));
}

TEST_CASE("a corrupt map is refused with its path, where and what to do", "[plan]") {
    const test::temp_dir dir;
    file_bytes file = golden("map-pages-v1.bin");
    const std::size_t body = file.size() - (16 + 5000 * 16);
    file[body + 70000] ^= std::byte{1};
    test::write_whole_file(dir.file("map"), file);
    const caught failure = catch_error([&] { load_digest_map(dir.file("map")); });
    CHECK(failure.kind == error_kind::corrupt_file);
    CHECK(failure.message.find(dir.file("map")) != std::string::npos);
    CHECK(failure.message.find(std::to_string(body + 65536)) != std::string::npos);
    CHECK(failure.message.find("checksum") != std::string::npos);
    CHECK(failure.detail.device == dir.file("map"));
    CHECK(failure.detail.offset == body + 65536);
    CHECK(failure.detail.hint.find("reprotect checksum") != std::string::npos);

    test::write_whole_file(dir.file("map"), golden("map-v1.bin"));
    const caught other = catch_error([&] { load_differential(dir.file("map")); });
    CHECK(other.kind == error_kind::corrupt_file);
    CHECK(other.message.find("other kind") != std::string::npos);
    CHECK(other.detail.hint.find("reprotect diff") != std::string::npos);
}

TEST_CASE("a disk image that is named as a map is refused without reading it", "[plan]") {
    const test::temp_dir dir;
    test::make_sparse_file(dir.file("disk"), 1ull << 42);
    const caught failure = catch_error([&] { load_digest_map(dir.file("disk")); });
    CHECK(failure.kind == error_kind::corrupt_file);
    CHECK(failure.message.find("neither") != std::string::npos);

    // Even one that starts like a map does: its length is not the one that the head gives.
    file_bytes head = golden("map-v1.bin");
    test::write_whole_file(dir.file("disk"), head);
    std::filesystem::resize_file(dir.file("disk"), 1ull << 42);
    CHECK(catch_error([&] { load_digest_map(dir.file("disk")); }).message.find("extended") != std::string::npos);
}

TEST_CASE("a map that is missing, empty, short or a directory is refused", "[plan]") {
    const test::temp_dir dir;
    CHECK(catch_error([&] { load_digest_map(dir.file("none")); }).kind == error_kind::not_found);
    CHECK(catch_error([&] { load_differential(dir.file("none")); }).kind == error_kind::not_found);
    CHECK(catch_error([&] { load_digest_map(dir.path()); }).kind == error_kind::unsuitable);
    test::write_whole_file(dir.file("map"), {});
    CHECK(catch_error([&] { load_digest_map(dir.file("map")); }).kind == error_kind::corrupt_file);
    const file_bytes file = golden("map-v1.bin");
    for (const std::size_t length :
         {std::size_t{1}, std::size_t{8}, std::size_t{63}, std::size_t{64}, file.size() - 1}) {
        test::write_whole_file(dir.file("map"), std::span(file).first(length));
        CAPTURE(length);
        CHECK(catch_error([&] { load_digest_map(dir.file("map")); }).kind == error_kind::corrupt_file);
    }
}

TEST_CASE("a map that cannot be saved leaves the old one and nothing else", "[plan]") {
    const test::temp_dir dir;
    std::filesystem::create_directory(dir.file("taken"));
    CHECK(catch_error([&] { save(plain_map(), dir.file("taken")); }).kind == error_kind::unsuitable);
    CHECK(catch_error([&] { save(plain_map(), dir.file("no/such/folder")); }).kind == error_kind::not_found);
    save(plain_map(), dir.file("map"));
    save(blocks_map(), dir.file("map"));
    CHECK(load_digest_map(dir.file("map")) == blocks_map());
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 2);
}

TEST_CASE("every way in which a file can be wrong has words of its own", "[plan]") {
    std::vector<std::string> seen;
    for (int value = 1; value <= static_cast<int>(format_error::bad_change); ++value) {
        const std::string message = make_error_code(static_cast<format_error>(value)).message();
        CHECK(message != "unknown");
        CHECK(std::find(seen.begin(), seen.end(), message) == seen.end());
        seen.push_back(message);
    }
}
