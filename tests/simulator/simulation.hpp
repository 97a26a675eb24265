// A seed's whole story: two disks, some runs that may go wrong, whatever befalls the disks between them, and a last run
// that meets no fault and must end in equality; sometimes one more, which must find nothing left to do.
#pragma once

#include <string>

#include "simulator/simulated_run.hpp"

namespace reprotect::test {

struct simulation_result {
    std::string broken;       ///< the property that did not hold, in which run; empty: all did
    std::string story;        ///< what was planned and what came of it, a line each
    std::uint64_t trace = 0;  ///< equal where the same happened
};

simulation_result simulate(std::uint64_t seed, tally& counts);

}  // namespace reprotect::test
