# Thread sanitizer, for the tests that .ci/run picks by label: keep both alike.
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1" CACHE STRING "")
set(REPROTECT_SANITIZE "thread" CACHE STRING "")
set(REPROTECT_TEST_FOLDERS device hostile peer scan sync wire CACHE STRING "")
