// What a figure, a name or a price that makes no sense is refused with: always `usage`, always with a hint.
#pragma once

#include "reprotect/error.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <string>

namespace reprotect::test {

inline std::string refusal(const std::function<void()>& act) {
    try {
        act();
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::usage);
        CHECK(exit_code(why.kind()) == 2);
        CHECK_FALSE(why.detail().hint.empty());
        return why.what();
    }
    FAIL("accepted");
    return {};
}

inline bool mentions(const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
}

}  // namespace reprotect::test
