// Names that are no UTF-8 become text that is.
#include "base/utf8.hpp"

#include <catch2/catch.hpp>

using namespace reprotect;

TEST_CASE("valid UTF-8 stays as it is", "[base]") {
    for (const std::string text :
         {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF", "a\x7F"})
        CHECK(valid_utf8(text) == text);
}

TEST_CASE("what is not UTF-8 becomes the replacement character, a byte at a time", "[base]") {
    const std::string bad = "\xEF\xBF\xBD";
    CHECK(valid_utf8("x\xFF") == "x" + bad);
    CHECK(valid_utf8("\xC3") == bad);                                // cut short
    CHECK(valid_utf8("\xC0\xAF") == bad + bad);                      // overlong
    CHECK(valid_utf8("\xE0\x80\xAF") == bad + bad + bad);            // overlong
    CHECK(valid_utf8("\xED\xA0\x80") == bad + bad + bad);            // a surrogate
    CHECK(valid_utf8("\xF4\x90\x80\x80") == bad + bad + bad + bad);  // beyond U+10FFFF
    CHECK(valid_utf8("a\x80z") == "a" + bad + "z");
}
