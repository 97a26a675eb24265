// Lines of paths in JSON texts, whatever stands around them.
#include "estimate/json_lines.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace reprotect;

TEST_CASE("the line of a path is where its value begins, or of what is around it", "[estimate][json]") {
    const std::string text =
        "{\n \"a\": [1,\n  {\"b\": \"x\\\"]}\\\\\",\n   \"c\"\n:\n7}],\n \"ab\": {},\n \"d\": [ ]\n}\n";
    const auto line = [&](const char* path) { return find_json_path(text, path).line; };
    CHECK(line("") == 1);
    CHECK(line("a") == 2);
    CHECK(line("a[0]") == 2);
    CHECK(line("a[1]") == 3);
    CHECK(line("a[1].b") == 3);
    CHECK(line("a[1].c") == 6);
    CHECK(line("ab") == 7);
    CHECK(line("d") == 8);
    // What is not there has the line of the innermost value around it.
    CHECK(line("a[1].missing") == 3);
    CHECK(line("a[7]") == 2);
    CHECK(line("d[0]") == 8);
    CHECK(line("ab.x") == 7);
    CHECK(line("missing") == 1);
    CHECK(find_json_path("7", "").line == 1);
}

TEST_CASE("a field that stands twice in one object is found, at its second place", "[estimate][json]") {
    CHECK_FALSE(find_repeated_field(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"));
    const auto found = find_repeated_field("{\"b\": [{}, {\"a\": 1,\n\"c\": 2,\n\"a\": 3}]}");
    REQUIRE(found);
    CHECK(found->path == "b[1].a");
    CHECK(found->line == 3);
}

TEST_CASE("an offset's line counts the line ends before it", "[estimate][json]") {
    CHECK(line_at("", 0) == 1);
    CHECK(line_at("a\nb\n", 1) == 1);
    CHECK(line_at("a\nb\n", 2) == 2);
    CHECK(line_at("a\nb\n", 99) == 3);
}
