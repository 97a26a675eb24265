// Pressure on the cores, by accounts that the test writes.
#include "base/core_pressure.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "../support/temp_dir.hpp"

namespace {

using namespace reprotect;
using namespace std::chrono_literals;

void keep(const std::string& account, std::uint64_t waited_us) {
    std::ofstream(account) << "some avg10=99.00 avg60=99.00 avg300=99.00 total=" << waited_us
                           << "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=77777777777777\n";
}

TEST_CASE("pressure on the cores is high where for more than half of the time somebody waited", "[base]") {
    test::temp_dir dir;
    const std::string account = dir.file("cpu");
    keep(account, 5'000'000'000);
    core_pressure pressure(account);
    std::this_thread::sleep_for(10ms);
    CHECK_FALSE(pressure.is_high());
    keep(account, 5'060'000'000);  // a minute, of some milliseconds
    CHECK(pressure.is_high());
    CHECK_FALSE(pressure.is_high());  // since then nobody waited
    std::this_thread::sleep_for(40ms);
    keep(account, 5'060'010'000);
    CHECK_FALSE(pressure.is_high());
}

TEST_CASE("without an account of waiting there is no pressure on the cores", "[base]") {
    test::temp_dir dir;
    const std::string account = dir.file("cpu");
    core_pressure pressure(account);
    CHECK_FALSE(pressure.is_high());
    std::ofstream(account) << "some avg10=99.00\n";
    CHECK_FALSE(pressure.is_high());
    keep(account, 60'000'000);
    CHECK(pressure.is_high());
    std::ofstream(account) << "total=many\n";
    CHECK_FALSE(pressure.is_high());
}

}  // namespace
