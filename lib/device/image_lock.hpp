// The locks that say "this file is a disk in use": QEMU's, which keep a VM from starting on it, and one of our own.
#pragma once

#include "base/owned_descriptor.hpp"

namespace reprotect {

/// What others hold of QEMU's lock bytes.
struct image_users {
    bool any = false;
    bool writers = false;  ///< may write, or resize
};

/// Others than the description behind the descriptor. Nothing where the file system knows no locks.
image_users find_image_users(int descriptor);

/// True where another sync holds the file.
bool is_sync_locked(int descriptor);

/// Holds the lock bytes of one file until it is destroyed or the process dies.
class image_lock {
public:
    /// `descriptor` is duplicated: the locks belong to its open description, and are released explicitly.
    explicit image_lock(int descriptor);
    image_lock(const image_lock&) = delete;
    image_lock& operator=(const image_lock&) = delete;
    image_lock(image_lock&&) noexcept = default;
    image_lock& operator=(image_lock&&) = delete;
    ~image_lock();

    enum class result { held, refused, unsupported };
    /// Our own byte, against a second sync. `exclusive` needs a descriptor that may write; shared ones exclude exclusive ones.
    enum class strength { shared, exclusive };
    result hold_against_syncs(strength how);

    /// Says to QEMU that the file is read and written here, and that nobody else may. Does not look whether somebody does.
    result hold_against_machines();

private:
    owned_descriptor descriptor_;
};

}  // namespace reprotect
