# For measuring: release code for this very processor, with names for a profiler. Never ship it.
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG -g1 -march=native -fno-omit-frame-pointer" CACHE STRING "")
