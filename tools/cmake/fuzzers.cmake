# Fuzzers: one libFuzzer program, fuzz_NAME, for each tests/fuzz/NAME_fuzz.cpp; `fuzzers` is all of them. clang only.
# What they run is compiled for them, instrumented, out of the library's own files, without those that hold coroutines:
# clang 14 cannot assemble these under the address sanitizer ("Cannot represent a difference across sections"). Nor is
# there more than the fuzzers reach, so that a change costs a minute.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "REPROTECT_FUZZ needs clang: cmake -C tools/presets/fuzz.cmake")
endif()
set(fuzz_folder ${PROJECT_SOURCE_DIR}/tests/fuzz)

file(GLOB fuzzed_sources CONFIGURE_DEPENDS lib/base/*.cpp lib/codec/*.cpp lib/plan/*.cpp lib/peer/*.cpp
     lib/wire/data_batch.cpp lib/wire/frame.cpp lib/wire/key.cpp lib/wire/message_codec.cpp lib/wire/sample_frames.cpp
     lib/wire/session_frames.cpp
     lib/device/container.cpp lib/device/device.cpp lib/device/memory_device.cpp lib/scan/disk_worker.cpp
     lib/sync/remote_name.cpp lib/sync/state_record.cpp)
file(GLOB fuzz_helpers CONFIGURE_DEPENDS ${fuzz_folder}/*.cpp)
list(FILTER fuzz_helpers EXCLUDE REGEX "(_fuzz|_test|/main)\\.cpp$")
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${fuzz_folder}/*_fuzz.cpp)

add_library(reprotect_fuzzed STATIC EXCLUDE_FROM_ALL ${fuzzed_sources} ${fuzz_helpers} ${fuzz_sources})
target_include_directories(reprotect_fuzzed PUBLIC include lib tests)
target_link_libraries(reprotect_fuzzed PUBLIC Boost::headers Threads::Threads ${REPROTECT_PRIVATE_LIBRARIES})
get_target_property(library_headers reprotect PRECOMPILE_HEADERS)
target_precompile_headers(reprotect_fuzzed PRIVATE ${library_headers})

add_custom_target(fuzzers)
foreach(source IN LISTS fuzz_sources)
    cmake_path(GET source STEM name)
    string(REGEX REPLACE "_fuzz$" "" name ${name})
    add_executable(fuzz_${name} EXCLUDE_FROM_ALL ${fuzz_folder}/main.cpp)
    target_compile_definitions(fuzz_${name} PRIVATE REPROTECT_FUZZER=${name})
    target_link_libraries(fuzz_${name} PRIVATE reprotect_fuzzed)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers fuzz_${name})
endforeach()
