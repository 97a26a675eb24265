# Fuzzers: clang with libFuzzer, address and undefined-behaviour sanitizers. Tests are built elsewhere.
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_CXX_COMPILER clang++ CACHE STRING "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_CXX_FLAGS "-fsanitize=fuzzer-no-link" CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1" CACHE STRING "")
set(REPROTECT_DEVELOPER OFF CACHE BOOL "")
set(REPROTECT_FUZZ ON CACHE BOOL "")
set(REPROTECT_SANITIZE "address,undefined" CACHE STRING "")
