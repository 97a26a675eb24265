// Two ways in which the kernel tells that somebody else touches the file we write: a lease and fanotify.
#pragma once

#include "base/owned_descriptor.hpp"

namespace reprotect {

/// A write lease (F_SETLEASE, fcntl(2)): the kernel grants it only while nobody else has the file open, and makes the next
/// one who opens it wait until we let go, at most /proc/sys/fs/lease-break-time seconds. Regular files only.
class write_lease {
public:
    /// `descriptor` is duplicated; the lease belongs to its open description.
    explicit write_lease(int descriptor);
    write_lease(const write_lease&) = delete;
    write_lease& operator=(const write_lease&) = delete;
    ~write_lease() { release(); }

    enum class result { held, others_have_it_open, unsupported };
    result take();
    void release() noexcept;
    bool held() const noexcept { return held_; }

    enum class waiting { nobody, reader, writer };
    /// Who waits in open(2) for us. A lease that the kernel took away counts as a writer. Only while held.
    waiting who_waits() const noexcept;

private:
    owned_descriptor descriptor_;
    bool held_ = false;
};

/// Sees writes that other processes make through read-write descriptors, by fanotify(7). Not those through a mapping.
class write_watch {
public:
    /// `server`: a process that writes on our behalf; 0 for none.
    explicit write_watch(int descriptor, int server = 0);

    /// False where the kernel, the file system or our rights do not allow it.
    bool working() const noexcept { return static_cast<bool>(events_); }
    /// The process that wrote since the last call: its id, 0 where nobody did, -1 for one that is not told.
    int foreign_writer();

private:
    owned_descriptor events_;
    int server_;
};

}  // namespace reprotect
