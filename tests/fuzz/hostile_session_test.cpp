// The machines' fuzzers, steered: a session of each kind gets so and so far, then the other side turns hostile, for
// every such point and every kind of hostile word. The bytes are those that machine_rig.hpp takes for choices.
#include <catch2/catch.hpp>

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "fuzz/fuzzers.hpp"
#include "support/bytes.hpp"

using namespace reprotect;

namespace {

using choices = std::vector<std::byte>;

void put(choices& to, std::initializer_list<unsigned> values) {
    for (const unsigned value : values) to.push_back(static_cast<std::byte>(value));
}

// Steps, as machine_rig::step numbers them.
constexpr unsigned deliver = 0, work = 12, released = 24, tampered = 25, forged = 26, repeated = 29, breach = 30;
constexpr unsigned at_target = 128;

// Three chunks. `kind`: the bits that choose mode and options, of which 64 wants two extents named.
choices session(unsigned kind, std::size_t steps) {
    choices all;
    put(all, {0, 0, 126, kind, 3, 5, 11});
    if ((kind & 64) != 0) put(all, {0, 5, 20, 4});
    put(all, {0, 3, 3, 5, 11, 1, 5, 0});  // the target: as large, windows, block digests are pushed
    put(all, {0xfc, 0x91});               // what both hold: alike, different, holes
    static constexpr unsigned cycle[] = {deliver, deliver + at_target, work, work + at_target, released};
    for (std::size_t i = 0; i < steps; ++i) put(all, {cycle[i % std::size(cycle)]});
    return all;
}

// Sync; with proofs; within extents; with a target that punches; dry run; compare.
constexpr unsigned kinds[] = {0, 40, 65, 130, 3, 4};
constexpr std::size_t steps_max = 45;  // by then most sessions are over

void run_all(const choices& input) {
    CHECK_NOTHROW(fuzz::source_peer(input));
    CHECK_NOTHROW(fuzz::target_peer(input));
}

}  // namespace

TEST_CASE("a breach at any step of a session ends it", "[fuzz]") {
    for (const unsigned kind : kinds) {
        for (std::size_t steps = 0; steps < steps_max; ++steps) {
            for (unsigned which = 0; which < 12; ++which) {
                choices input = session(kind, steps);
                put(input, {breach, which});
                INFO("kind " << kind << ", " << steps << " steps, breach " << which);
                run_all(input);
            }
        }
    }
}

TEST_CASE("hostile words at any step of a session break no promise", "[fuzz]") {
    std::uint64_t seed = 0;
    for (const unsigned kind : kinds) {
        for (std::size_t steps = 0; steps < steps_max; ++steps) {
            for (unsigned word = 0; word < 9; ++word) {
                for (const unsigned how : {forged, tampered, repeated}) {
                    choices input = session(kind, steps);
                    // Said over and over, so that windows are overrun, too.
                    for (unsigned times = 0; times < 4; ++times) {
                        put(input, {how, times, word});
                        // Few bits, since small numbers are what limits lie near.
                        for (const std::byte each : test::random_bytes(++seed, 7))
                            input.push_back(each & static_cast<std::byte>(times % 2 == 0 ? 0x11 : 0xff));
                    }
                    INFO("kind " << kind << ", " << steps << " steps, word " << word << ", how " << how);
                    run_all(input);
                }
            }
        }
    }
}
