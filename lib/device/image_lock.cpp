// QEMU locks images by single bytes of the file, with locks of the open file description (F_OFD_SETLK, fcntl(2)):
// a user takes a shared lock on byte 100 + n for each permission n that it uses, and on 200 + n for each that it does not
// grant to others; then it tests whether somebody holds the opposite byte. Permissions: 0 consistent reads, 1 writes, 2 writes
// that change no content, 3 resizes. (https://www.qemu.org/docs/master/system/qemu-block-drivers.html, "Disk image file
// locking".) Holding all of both ranges keeps every QEMU tool out that respects locks.
// All of these locks are shared ones, so two of us would both get them: our own byte is what only one can have.
#include "device/image_lock.hpp"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr off_t used_first = 100;     // specified by QEMU
constexpr off_t refused_first = 200;  // specified by QEMU
constexpr off_t permissions = 4;
constexpr off_t writing_first = 1;               // permissions 1 to 3 change the file or its size
constexpr off_t own_byte = 0x72657072'6f746563;  // ours: "reprotec", far beyond any image and any other tool's locks

struct lock_range {
    off_t first;
    off_t count;
};

struct flock describe(short type, lock_range range) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = range.first;
    lock.l_len = range.count;
    return lock;
}

bool held_by_others(int descriptor, lock_range range) {
    struct flock lock = describe(F_WRLCK, range);
    return ::fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

image_lock::result set(int descriptor, short type, lock_range range) {
    struct flock lock = describe(type, range);
    for (;;) {
        if (::fcntl(descriptor, F_OFD_SETLK, &lock) == 0) return image_lock::result::held;
        if (errno == EINTR) continue;
        return errno == EAGAIN || errno == EACCES ? image_lock::result::refused : image_lock::result::unsupported;
    }
}

}  // namespace

image_users find_image_users(int descriptor) {
    image_users users;
    users.writers = held_by_others(descriptor, {used_first + writing_first, permissions - writing_first});
    users.any = users.writers || held_by_others(descriptor, {used_first, permissions}) ||
                held_by_others(descriptor, {refused_first, permissions});
    return users;
}

bool is_sync_locked(int descriptor) {
    return held_by_others(descriptor, {own_byte, 1});
}

image_lock::image_lock(int descriptor) : descriptor_(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0)) {
    if (descriptor_) return;
    error_detail detail;
    detail.operation = "lock";
    detail.hint = "raise the limit of descriptors (ulimit -n)";
    throw system_error(error_kind::device_io, errno, std::move(detail));
}

image_lock::~image_lock() {
    // The description outlives this object in the device, so closing the duplicate would not unlock.
    if (!descriptor_) return;
    set(descriptor_.get(), F_UNLCK, {used_first, permissions});
    set(descriptor_.get(), F_UNLCK, {refused_first, permissions});
    set(descriptor_.get(), F_UNLCK, {own_byte, 1});
}

image_lock::result image_lock::hold_against_syncs(strength how) {
    return set(descriptor_.get(), how == strength::exclusive ? F_WRLCK : F_RDLCK, {own_byte, 1});
}

image_lock::result image_lock::hold_against_machines() {
    const result used = set(descriptor_.get(), F_RDLCK, {used_first, permissions});
    return used != result::held ? used : set(descriptor_.get(), F_RDLCK, {refused_first, permissions});
}

}  // namespace reprotect
