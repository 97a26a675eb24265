// Sizes, rates and durations: what is read exactly, what is refused with which hint, and what is printed.
#include "reprotect/units.hpp"

#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <limits>
#include <random>
#include <utility>

using namespace reprotect;

namespace {

struct refused {
    std::string message;
    std::string hint;
};

template <typename Parse>
refused refusal(Parse parse, const std::string& text) {
    try {
        (void)parse(text);
    } catch (const error& e) {
        CHECK(e.kind() == error_kind::usage);
        CHECK_FALSE(e.detail().hint.empty());
        return {e.what(), e.detail().hint};
    }
    FAIL("accepted: " << text);
    return {};
}

refused size_refusal(const std::string& text) {
    return refusal(parse_size, text);
}
refused rate_refusal(const std::string& text) {
    return refusal(parse_rate, text);
}

bool mentions(const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("sizes are read exactly", "[base]") {
    CHECK(parse_size("0") == 0);
    CHECK(parse_size("4096") == 4096);
    CHECK(parse_size("0004096B") == 4096);
    CHECK(parse_size("512B") == 512);
    CHECK(parse_size("64KiB") == 65536);
    CHECK(parse_size("1MiB") == 1048576);
    CHECK(parse_size("1.5GiB") == 1610612736);
    CHECK(parse_size("2TiB") == 2199023255552);
    CHECK(parse_size("1PiB") == 1ull << 50);
    CHECK(parse_size("7EiB") == 7ull << 60);
    CHECK(parse_size("1kB") == 1000);
    CHECK(parse_size("1KB") == 1000);
    CHECK(parse_size("45GB") == 45000000000);
    CHECK(parse_size("1.5MB") == 1500000);
    CHECK(parse_size("3TB") == 3000000000000);
    CHECK(parse_size("1PB") == 1000000000000000);
    CHECK(parse_size("9EB") == 9000000000000000000);
    CHECK(parse_size("0.5KiB") == 512);
    CHECK(parse_size("0.0009765625KiB") == 1);
    CHECK(parse_size("1.000000001GB") == 1000000001);
    CHECK(parse_size("1.50000000000000000000000000GiB") == 1610612736);
    CHECK(parse_size("4096.0") == 4096);
    // A double has 53 bits; these need all of 63, and 60 digits behind the point.
    CHECK(parse_size("9223372036854775807") == 9223372036854775807ull);
    CHECK(parse_size("9.223372036854775807EB") == 9223372036854775807ull);
    CHECK(parse_size("0.000000000000000000867361737988403547205962240695953369140625EiB") == 1);
    CHECK(parse_size("4.000000000000000000867361737988403547205962240695953369140625EiB") == (4ull << 60) + 1);
}

TEST_CASE("a bare letter is refused with both things that it could mean", "[base]") {
    for (const auto& [text, binary, decimal] : {std::tuple{"45G", "45GiB", "45GB"},
                                                {"64K", "64KiB", "64kB"},
                                                {"64k", "64KiB", "64kB"},
                                                {"1.5T", "1.5TiB", "1.5TB"},
                                                {"10M", "10MiB", "10MB"},
                                                {"3g", "3GiB", "3GB"},
                                                {"2P", "2PiB", "2PB"}}) {
        CAPTURE(text);
        const std::string hint = size_refusal(text).hint;
        CHECK(hint == std::string("write ") + binary + " or " + decimal);
        CHECK(rate_refusal(std::string(text) + "/s").hint ==
              std::string("write ") + binary + "/s or " + decimal + "/s");
        CHECK(rate_refusal(text).hint == std::string("write ") + binary + "/s or " + decimal + "/s");
    }
}

TEST_CASE("a fraction of a byte is refused", "[base]") {
    for (const char* text : {"0.3KiB", "0.5", "1.1B", "1.0001kB", "0.00048828125KiB", "1.0000000001GB", "0.1GiB"}) {
        CAPTURE(text);
        CHECK(mentions(size_refusal(text).message, "fraction of a byte"));
    }
}

TEST_CASE("a size of more than 2^63-1 bytes is refused", "[base]") {
    for (const char* text :
         {"9223372036854775808", "8EiB", "16EiB", "9.3EB", "10EB", "18446744073709551616", "18446744073709551617",
          "99999999999999999999999999", "9007199254740992KiB", "99999999999999999999EiB", "9223372036854775807.5KiB"}) {
        CAPTURE(text);
        CHECK(mentions(size_refusal(text).message, "2^63-1"));
    }
}

TEST_CASE("what is no size is refused", "[base]") {
    for (const char* text : {"",    " ",    "+1",  "-1",     "-4096", " 4096",  "4096 ",    "45 GB",  "4 096", "nan",
                             "inf", "0x10", "1e3", "1,5GiB", ".5GiB", "5.GiB",  "1.5.2GiB", ".",      "GiB",   "1gib",
                             "1Gb", "1gb",  "1Gi", "1GIB",   "1iB",   "1GiB/s", "1GiBs",    "1\nGiB", "４KiB"}) {
        CAPTURE(text);
        const refused answer = size_refusal(text);
        CHECK(mentions(answer.message, "is no size"));
    }
    CHECK(mentions(size_refusal("").message, "empty"));
    CHECK_THROWS_AS(parse_size(std::string_view("4096\0", 5)), error);
    const std::string hostile = size_refusal("1\x1b[2J").message;
    CHECK(hostile.find('\x1b') == std::string::npos);
    CHECK(size_refusal(std::string(100000, 'x')).message.size() < 200);
}

TEST_CASE("rates are read in bytes a second", "[base]") {
    CHECK(parse_rate("1B/s") == 1);
    CHECK(parse_rate("45MB/s") == 45e6);
    CHECK(parse_rate("60MiB/s") == 60 * 1048576.0);
    CHECK(parse_rate("1.5GiB/s") == 1610612736.0);
    CHECK(parse_rate("2kB/s") == 2000);
    CHECK(parse_rate("2KiB/s") == 2048);
    CHECK(parse_rate("3GB/s") == 3e9);
    CHECK(parse_rate("8bit/s") == 1);
    CHECK(parse_rate("8kbit/s") == 1000);
    CHECK(parse_rate("100Mbit/s") == 12.5e6);
    CHECK(parse_rate("10Gbit/s") == 1.25e9);
    CHECK(parse_rate("0.5B/s") == 0.5);
}

TEST_CASE("a rate of zero is refused: zero never means unlimited", "[base]") {
    for (const char* text : {"0B/s", "0MB/s", "0.000Gbit/s"}) {
        CAPTURE(text);
        CHECK(mentions(rate_refusal(text).message, "zero"));
    }
}

TEST_CASE("what is no rate is refused", "[base]") {
    for (const char* text : {"",        "45",    "45/s",   "45MB",     "45Mbps",    "45MBps",  "45 MB/s", "45MB /s",
                             "-45MB/s", "+1B/s", "nanB/s", "infB/s",   "100mbit/s", "100Mb/s", "100mb/s", "1e3B/s",
                             "MB/s",    "/s",    "45MB/h", "45MB/s/s", "45MB/S",    "1.MB/s"}) {
        CAPTURE(text);
        CHECK(mentions(rate_refusal(text).message, "is no rate"));
    }
    CHECK(rate_refusal("45MB").hint == "write 45MB/s");
    CHECK(rate_refusal("100Mbit").hint == "write 100Mbit/s");
    CHECK(mentions(rate_refusal(std::string(400, '9') + "B/s").message, "out of range"));
    CHECK(mentions(rate_refusal("99999999999999999999B/s").message, "out of range"));
    CHECK(mentions(rate_refusal("9EiB/s").message, "out of range"));
}

TEST_CASE("sizes are printed with three digits in powers of 1024", "[base]") {
    CHECK(format_size(0) == "0 B");
    CHECK(format_size(512) == "512 B");
    CHECK(format_size(1023) == "1023 B");
    CHECK(format_size(1024) == "1.00 KiB");
    CHECK(format_size(1536) == "1.50 KiB");
    CHECK(format_size(10234) == "9.99 KiB");
    CHECK(format_size(10239) == "10.0 KiB");
    CHECK(format_size(10240) == "10.0 KiB");
    CHECK(format_size(102399) == "100 KiB");
    CHECK(format_size(1023 * 1024) == "1023 KiB");
    CHECK(format_size(1048575) == "1.00 MiB");
    CHECK(format_size(1610612736) == "1.50 GiB");
    CHECK(format_size(1ull << 40) == "1.00 TiB");
    CHECK(format_size(std::numeric_limits<std::uint64_t>::max()) == "16.0 EiB");
}

TEST_CASE("what is printed for a size is the size within half a percent", "[base]") {
    std::mt19937_64 random(11);
    for (int i = 0; i < 2000; ++i) {
        const std::uint64_t bytes = random() >> (1 + random() % 62);
        std::string text = format_size(bytes);
        CAPTURE(bytes, text);
        REQUIRE(text.size() <= 8);
        const double value = std::stod(text);
        const std::string unit = text.substr(text.find(' ') + 1);
        const double factor = static_cast<double>(parse_size("1" + unit));
        REQUIRE(value * factor == Approx(static_cast<double>(bytes)).epsilon(0.00501));
    }
}

TEST_CASE("rates are printed with three digits in powers of 1000", "[base]") {
    CHECK(format_rate(0) == "0 B/s");
    CHECK(format_rate(512) == "512 B/s");
    CHECK(format_rate(999.4) == "999 B/s");
    CHECK(format_rate(999.6) == "1.00 kB/s");
    CHECK(format_rate(45e6) == "45.0 MB/s");
    CHECK(format_rate(1.5e9) == "1.50 GB/s");
    CHECK(format_rate(999.9e6) == "1.00 GB/s");
    CHECK(format_rate(123.4e12) == "123 TB/s");
    CHECK(format_rate(123456e12) == "123456 TB/s");
    CHECK(format_rate(-1) == "unknown");
    CHECK(format_rate(std::numeric_limits<double>::infinity()) == "unknown");
    CHECK(format_rate(std::numeric_limits<double>::quiet_NaN()) == "unknown");
}

TEST_CASE("durations are printed in the two units that matter", "[base]") {
    CHECK(format_duration(0) == "0.00 s");
    CHECK(format_duration(0.35) == "0.35 s");
    CHECK(format_duration(0.996) == "1.0 s");
    CHECK(format_duration(3.21) == "3.2 s");
    CHECK(format_duration(9.96) == "10 s");
    CHECK(format_duration(12.4) == "12 s");
    CHECK(format_duration(59.4) == "59 s");
    CHECK(format_duration(59.6) == "1 min 00 s");
    CHECK(format_duration(200) == "3 min 20 s");
    CHECK(format_duration(3599.7) == "1 h 00 min");
    CHECK(format_duration(3840) == "1 h 04 min");
    CHECK(format_duration(360000) == "100 h 00 min");
    CHECK(format_duration(-1) == "unknown");
    CHECK(format_duration(1e300) == "unknown");
    CHECK(format_duration(std::numeric_limits<double>::quiet_NaN()) == "unknown");
}
