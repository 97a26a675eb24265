# What every target of this project is compiled with.

# ccache makes the second build quick, in another clone too: what it keeps is named by paths from the tree's top, and debug
# information may name another clone's folder. Its sloppiness lets it see through precompiled headers.
find_program(CCACHE_PROGRAM ccache)
mark_as_advanced(CCACHE_PROGRAM)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER AND PROJECT_IS_TOP_LEVEL)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
        CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_ABSSTDERR=1 ${CCACHE_PROGRAM})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        add_compile_options(-fpch-preprocess)
    endif()
endif()

# Messages of assertions name a file as the tree does, wherever it was built.
# ccache names it by its path from the build folder.
cmake_path(RELATIVE_PATH PROJECT_SOURCE_DIR BASE_DIRECTORY ${PROJECT_BINARY_DIR} OUTPUT_VARIABLE way_to_top)
add_compile_options(-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -fmacro-prefix-map=${way_to_top}/=)

if(REPROTECT_SANITIZE)
    add_compile_options(-fsanitize=${REPROTECT_SANITIZE} -fno-omit-frame-pointer -g1)
    add_link_options(-fsanitize=${REPROTECT_SANITIZE})
    if(REPROTECT_SANITIZE MATCHES "undefined")
        # The check of vptr makes a pipe to see whether memory is readable, and so lies where descriptors run out.
        add_compile_options(-fno-sanitize-recover=undefined -fno-sanitize=vptr)
    endif()
    if(REPROTECT_SANITIZE MATCHES "thread")
        # ThreadSanitizer does not know fences, and g++ refuses them with -Werror.
        add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
    endif()
endif()

# Warnings as errors for developers only: a newer compiler must not break somebody's install.
function(reprotect_target_defaults target)
    if(NOT REPROTECT_DEVELOPER)
        return()
    endif()
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        # g++ 12 sees overlapping and overlong copies in plain std::string assignments (GCC bugs 105651 and 105329).
        target_compile_options(${target} PRIVATE
            -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND REPROTECT_SANITIZE)
        # The instrumentation itself hides initialisation from it, and that Asio's coroutine frames are freed as they were made.
        target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized -Wno-mismatched-new-delete)
        if(REPROTECT_SANITIZE MATCHES "thread")
            target_compile_options(${target} PRIVATE -Wno-tsan)  # Asio's any_executor counts with fences
        endif()
    endif()
endfunction()
