// The target's state machine, with a source that may be hostile; see
// machine_rig.hpp.
#include "fuzz/machine_rig.hpp"

namespace reprotect::fuzz {

void target_peer(input bytes) {
    chooser choose(bytes);
    machine_rig(choose, machine_rig::target).run();
}

}  // namespace reprotect::fuzz
