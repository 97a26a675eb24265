# Asks the Catch2 executable for its tests and writes them down for ctest, each with its tags as labels.
# Run after each link: cmake -D TESTS=executable -D OUTPUT=file -D FOLDER=working directory
#   -D CATCH_VERSION=version -P list_catch_tests.cmake
# Both Catch2 2 and 3 wrap long names in their readable lists, so names are asked for by themselves, once for each tag.
cmake_minimum_required(VERSION 3.25)

# Brackets and semicolons mean something in a CMake list, so names go through lists with stand-ins for them.
string(ASCII 1 opening)
string(ASCII 2 closing)
string(ASCII 3 semicolon)

if(CATCH_VERSION VERSION_GREATER_EQUAL 3)
    set(list_names --list-tests --verbosity quiet)
    set(no_match_fails "")
else()
    set(list_names --list-test-names-only)
    set(no_match_fails " --warn NoTests")  # else a name that is not found would be a test that passes
endif()

# Catch2 2 ends with the number of tests as its status, so the status says nothing: an empty list does.
function(names_of result)
    execute_process(COMMAND ${TESTS} ${list_names} ${ARGN} OUTPUT_VARIABLE text ERROR_VARIABLE errors
                    RESULT_VARIABLE status WORKING_DIRECTORY ${FOLDER})
    if(NOT status MATCHES "^[0-9]+$")
        message(FATAL_ERROR "${TESTS} could not list its tests: ${status}\n${errors}")
    endif()
    string(REPLACE "[" ${opening} text "${text}")
    string(REPLACE "]" ${closing} text "${text}")
    string(REPLACE ";" ${semicolon} text "${text}")
    string(REPLACE "\n" ";" text "${text}")
    list(FILTER text EXCLUDE REGEX "^ *$")
    set(${result} "${text}" PARENT_SCOPE)
endfunction()

execute_process(COMMAND ${TESTS} --list-tags OUTPUT_VARIABLE tags_text ERROR_QUIET)
string(REGEX MATCHALL "\\[[A-Za-z0-9_-]+\\]" tags "${tags_text}")
names_of(all)
if(NOT all)
    message(FATAL_ERROR "${TESTS} lists no tests")
endif()

foreach(tag IN LISTS tags)
    names_of(tagged "${tag}")
    string(REGEX REPLACE "[][]" "" word "${tag}")
    foreach(name IN LISTS tagged)
        string(MD5 key "${name}")
        list(APPEND labels_${key} ${word})
    endforeach()
endforeach()

set(text "")
foreach(name IN LISTS all)
    string(MD5 key "${name}")
    string(REPLACE ${opening} "[" name "${name}")
    string(REPLACE ${closing} "]" name "${name}")
    string(REPLACE ${semicolon} ";" name "${name}")
    string(REGEX REPLACE "([][\\,\"])" "\\\\\\1" pattern "${name}")
    set(properties "TIMEOUT 120 LABELS [==[${labels_${key}}]==]")
    if("serial" IN_LIST labels_${key})
        string(APPEND properties " RUN_SERIAL TRUE")
    endif()
    if("slow" IN_LIST labels_${key})
        string(REPLACE "TIMEOUT 120" "TIMEOUT 600" properties "${properties}")
    endif()
    string(APPEND text "add_test([==[${name}]==] [==[${TESTS}]==] [==[${pattern}]==]${no_match_fails})\n")
    string(APPEND text "set_tests_properties([==[${name}]==] PROPERTIES WORKING_DIRECTORY [==[${FOLDER}]==] ${properties})\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
