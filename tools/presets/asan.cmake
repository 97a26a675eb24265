# Address and undefined-behaviour sanitizers, with the standard library's own checks. Use g++: clang 14 cannot assemble
# coroutines with them.
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -D_GLIBCXX_ASSERTIONS" CACHE STRING "")
set(REPROTECT_SANITIZE "address,undefined" CACHE STRING "")
