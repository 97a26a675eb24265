# What tools/test builds and what gets installed. cmake -C tools/presets/release.cmake -S . -B build/release
set(CMAKE_GENERATOR Ninja CACHE INTERNAL "")
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
