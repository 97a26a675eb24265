// What a call threw, as a value that a test can look at.
#pragma once

#include <catch2/catch.hpp>

#include "reprotect/error.hpp"

#include <optional>
#include <string>

namespace reprotect::test {

std::optional<error> failure_of(auto&& call) {
    try {
        call();
    } catch (const error& why) {
        return why;
    }
    return std::nullopt;
}

/// It failed, as that kind, and its message has that part.
inline void require_failure(const std::optional<error>& failure, error_kind kind, const std::string& part) {
    REQUIRE(failure);
    INFO(failure->what());
    CHECK(to_string(failure->kind()) == std::string(to_string(kind)));
    CHECK_THAT(failure->what(), Catch::Contains(part));
}

}  // namespace reprotect::test
