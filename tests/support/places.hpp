// Where the tests are, and the tool that was built with them. Known to one generated file alone (tools/cmake/tests.cmake), so
// that the others compile to the same wherever the tree lies.
#pragma once

namespace reprotect::test {

extern const char* const tool_path;
extern const char* const source_folder;
extern const char* const tests_folder;

}  // namespace reprotect::test
