# Thread sanitizer, for the tests in which threads meet.
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1" CACHE STRING "")
set(REPROTECT_SANITIZE "thread" CACHE STRING "")
set(REPROTECT_TEST_FOLDERS device hostile peer scan sync wire CACHE STRING "")  # where threads are
