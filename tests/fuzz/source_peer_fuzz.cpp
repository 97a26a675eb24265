// The source's state machine, with a target that may be hostile; see
// machine_rig.hpp.
#include "fuzz/machine_rig.hpp"

namespace reprotect::fuzz {

void source_peer(input bytes) {
    chooser choose(bytes);
    machine_rig(choose, machine_rig::source).run();
}

}  // namespace reprotect::fuzz
