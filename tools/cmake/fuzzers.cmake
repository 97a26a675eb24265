# Fuzzers: one libFuzzer executable for each tests/fuzz/*_fuzz.cpp; clang only.
file(GLOB fuzz_sources CONFIGURE_DEPENDS tests/fuzz/*_fuzz.cpp)
foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM name)
    add_executable(${name} ${source})
    target_include_directories(${name} PRIVATE lib tests)
    target_link_libraries(${name} PRIVATE reprotect ${REPROTECT_PRIVATE_LIBRARIES})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endforeach()
