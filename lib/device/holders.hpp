// Who uses a disk, with what the interlocks need to judge it.
#pragma once

#include <span>
#include <vector>

#include "base/owned_descriptor.hpp"
#include "device/topology.hpp"
#include "reprotect/interlock.hpp"

namespace reprotect {

enum class use_kind {
    mount,
    swap,
    block_layer,  ///< a loop device, device-mapper, md, bcache
    process,      ///< has it open
    image_lock,   ///< QEMU's
    sync_lock,    ///< another sync
};

struct disk_user {
    use_kind kind = use_kind::process;
    holder shown;
    int process = 0;  ///< of a process
    /// A target with this user is refused: everyone but a process that merely has it open for reading.
    bool refuses() const noexcept { return kind != use_kind::process || shown.writes; }
};

/// A file of the disk's footprint that this process holds locks on; seen through that descriptor, they are its own.
struct held_file {
    disk_node node;
    int descriptor = -1;
};

/// The topmost users first (a mount before the loop device below it), so that their hints stand in the order to follow.
/// `lies_on` is the disk's footprint. Throws where /proc cannot be read.
std::vector<disk_user> find_users(const native_handle& disk, const std::vector<footing>& lies_on,
                                  std::span<const held_file> held = {});

/// Takes out the process that has a file open for us, and QEMU's locks: they are its own, it would not run if somebody else held
/// them.
void remove_server(std::vector<disk_user>& users, int server);

/// The file that a footing stands for, opened for reading; nothing where its name leads elsewhere by now.
owned_descriptor open_footing(const footing& place);

/// "open in process 4711 (qemu-system-x86)"
std::string describe_process(int process);

}  // namespace reprotect
