# For daily work: assertions, debug information, a little optimisation. cmake -C tools/presets/dev.cmake -S . -B build/dev
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g" CACHE STRING "")
