# Tests: one Catch2 executable from tests/**/*.cpp, every TEST_CASE a ctest test; then the tests that are scripts.
set(tests_folder ${PROJECT_SOURCE_DIR}/tests)

find_package(Catch2 REQUIRED)
if(Catch2_VERSION VERSION_LESS 3)
    set(catch_header <catch2/catch.hpp>)
    set(catch_include)
else()
    # Catch2 3 has its headers apart and some names moved; a folder of our own answers to the old ones.
    set(catch_include ${PROJECT_BINARY_DIR}/catch)
    file(CONFIGURE OUTPUT ${catch_include}/catch2/catch.hpp CONTENT
"#pragma once
#include <catch2/catch_all.hpp>
using Catch::Approx;
namespace Catch {
using Matchers::EndsWith;
using Matchers::Equals;
using Matchers::StartsWith;
inline Matchers::StringContainsMatcher Contains(const std::string& part) { return Matchers::ContainsSubstring(part); }
}
")
endif()

file(GLOB_RECURSE test_sources CONFIGURE_DEPENDS tests/*.cpp)
list(FILTER test_sources EXCLUDE REGEX "^${tests_folder}/((package|readme|lint)/|fuzz/main\\.cpp$)")
set(REPROTECT_TEST_FOLDERS "" CACHE STRING "Folders of tests/ that are built, beside support; all where empty")
if(REPROTECT_TEST_FOLDERS)
    foreach(each IN LISTS REPROTECT_TEST_FOLDERS)
        if(NOT IS_DIRECTORY ${tests_folder}/${each})
            message(FATAL_ERROR "REPROTECT_TEST_FOLDERS names no folder of tests/: ${each}")
        endif()
    endforeach()
    list(JOIN REPROTECT_TEST_FOLDERS "|" some)
    list(FILTER test_sources INCLUDE REGEX "^${tests_folder}/(support|${some})/")
endif()
if(test_sources)
    # tests/support/places.hpp
    set(places ${PROJECT_BINARY_DIR}/test_places.cpp)
    file(CONFIGURE OUTPUT ${places} CONTENT
"#include \"support/places.hpp\"

const char* const reprotect::test::tool_path = \"@PROJECT_BINARY_DIR@/reprotect\";
const char* const reprotect::test::source_folder = \"@PROJECT_SOURCE_DIR@\";
const char* const reprotect::test::tests_folder = \"@tests_folder@\";
" @ONLY)
    # The library's objects come first: of inline functions that the tests have, too, their copies are linked, which are
    # optimised and sanitized as ever. The tests themselves are compiled in half the time.
    set(library_objects)
    if(NOT BUILD_SHARED_LIBS)
        set(library_objects $<TARGET_OBJECTS:reprotect>)
    endif()
    add_executable(reprotect_tests ${library_objects} ${test_sources} ${places})
    if(REPROTECT_SANITIZE MATCHES "undefined")
        target_compile_options(reprotect_tests PRIVATE -fno-sanitize=undefined)
    elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
        target_compile_options(reprotect_tests PRIVATE -O1)
    endif()
    target_include_directories(reprotect_tests PRIVATE tests lib)
    target_include_directories(reprotect_tests SYSTEM PRIVATE ${catch_include})
    target_link_libraries(reprotect_tests PRIVATE reprotect ${REPROTECT_PRIVATE_LIBRARIES} Catch2::Catch2WithMain)
    target_precompile_headers(reprotect_tests PRIVATE ${catch_header}
        <algorithm> <array> <chrono> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string>
        <thread> <vector>)
    reprotect_target_defaults(reprotect_tests)
    if(TARGET reprotect_tool)
        add_dependencies(reprotect_tests reprotect_tool)
    endif()

    # The list of tests is made after each link, so that a new TEST_CASE is a new ctest test without a new configure.
    set(catch_list ${PROJECT_BINARY_DIR}/reprotect_tests.cmake)
    add_custom_command(TARGET reprotect_tests POST_BUILD
        COMMAND ${CMAKE_COMMAND} -D TESTS=$<TARGET_FILE:reprotect_tests> -D OUTPUT=${catch_list}
                -D FOLDER=${PROJECT_BINARY_DIR} -D CATCH_VERSION=${Catch2_VERSION}
                -P ${PROJECT_SOURCE_DIR}/tools/cmake/list_catch_tests.cmake
        BYPRODUCTS ${catch_list} VERBATIM)
    file(WRITE ${PROJECT_BINARY_DIR}/include_catch_tests.cmake
"if(EXISTS \"${catch_list}\")
    include(\"${catch_list}\")
else()
    add_test(reprotect_tests_NOT_BUILT reprotect_tests_NOT_BUILT)
endif()
")
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY TEST_INCLUDE_FILES
                 ${PROJECT_BINARY_DIR}/include_catch_tests.cmake)
endif()

# Scripts. Each speaks for itself; a sanitised library is nothing to install.
function(add_script_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT;LABELS" "COMMAND")
    add_test(NAME ${name} COMMAND ${arg_COMMAND} WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

foreach(rule layers asio public_includes co_await words length opening top_level)
    add_script_test(lint_${rule} COMMAND ${tests_folder}/lint/lint ${rule} TIMEOUT 60 LABELS lint)
endforeach()
add_script_test(lint_rules_bite COMMAND ${tests_folder}/lint/lint_test TIMEOUT 60 LABELS lint)

if(NOT REPROTECT_SANITIZE)
    add_script_test(package_serves_an_outside_project COMMAND ${tests_folder}/package/run ${PROJECT_BINARY_DIR}
                    TIMEOUT 300 LABELS "package;slow")
endif()

# The README's example, as it stands there.
add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/readme_example.cpp
    COMMAND ${tests_folder}/readme/extract ${PROJECT_SOURCE_DIR}/README.md > ${PROJECT_BINARY_DIR}/readme_example.cpp
    DEPENDS ${PROJECT_SOURCE_DIR}/README.md ${tests_folder}/readme/extract VERBATIM)
add_executable(readme_example ${PROJECT_BINARY_DIR}/readme_example.cpp)
target_link_libraries(readme_example PRIVATE reprotect)
reprotect_target_defaults(readme_example)
set(readme_tool)
if(TARGET reprotect_tool)
    set(readme_tool $<TARGET_FILE:reprotect_tool>)
endif()
add_script_test(readme_example_does_what_it_says
                COMMAND ${tests_folder}/readme/run $<TARGET_FILE:readme_example> ${readme_tool} TIMEOUT 60 LABELS readme)
