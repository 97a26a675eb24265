# Benches: one Google Benchmark executable from bench/*_bench.cpp, run once and small as a test, so that they do not rot; and
# the small one that makes the disks which bench/end_to_end measures on.
# The workload's relay is the one of the tests.
add_executable(reprotect_workload bench/workload.cpp tests/support/long_link.cpp)
target_include_directories(reprotect_workload PRIVATE tests)
reprotect_target_defaults(reprotect_workload)

# How good a probe's intervals are.
add_executable(reprotect_intervals bench/intervals.cpp)
target_link_libraries(reprotect_intervals PRIVATE reprotect)
reprotect_target_defaults(reprotect_intervals)
add_test(NAME intervals_run_once COMMAND reprotect_intervals --pairs 20 --blocks 1000 --disk 64 --check-wide)
set_tests_properties(intervals_run_once PROPERTIES TIMEOUT 300 LABELS bench)

# And how good its predictions are: small and once, for the script not to rot.
if(TARGET reprotect_tool AND NOT REPROTECT_SANITIZE)
    add_test(NAME predictions_run_once COMMAND ${PROJECT_SOURCE_DIR}/bench/predictions --sizes 64,32 --rounds 1
                                               --build ${PROJECT_BINARY_DIR})
    set_tests_properties(predictions_run_once PROPERTIES TIMEOUT 300 LABELS "bench;slow")
endif()

file(GLOB bench_sources CONFIGURE_DEPENDS bench/*_bench.cpp)
if(NOT bench_sources OR REPROTECT_SANITIZE)
    return()
endif()
find_package(benchmark REQUIRED)
add_executable(reprotect_bench ${bench_sources})
target_include_directories(reprotect_bench PRIVATE bench lib)
target_link_libraries(reprotect_bench PRIVATE reprotect ${REPROTECT_PRIVATE_LIBRARIES} benchmark::benchmark_main)
reprotect_target_defaults(reprotect_bench)
add_test(NAME benches_run_once COMMAND reprotect_bench --benchmark_min_time=0.001)
set_tests_properties(benches_run_once PROPERTIES
    TIMEOUT 300 LABELS bench RUN_SERIAL TRUE ENVIRONMENT "REPROTECT_BENCH_SMALL=1"
    FAIL_REGULAR_EXPRESSION "ERROR OCCURRED;error occurred")
