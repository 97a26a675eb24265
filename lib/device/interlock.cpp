// What keeps a target ours from before the first write to the end. The order is the point: first what only one of us can have
// (our own lock byte, O_EXCL on a block device), then the look round, then what keeps others out, then a second
// look at what could have slipped between.
//
// Others may have the target open for a moment and mean no harm: a second sync that is about to be refused, a tool that looks
// at a disk and finds it locked. So a process that merely has it open is given a second to go away before it counts, at the
// start and later; whoever stands on the disk (a mount, swap, a VM's locks) counts at once.
//
// From then on a file is under a write lease where that is to be had (nobody else has it open, and we only once), and
// everything is under a watch for foreign writes where the kernel offers one. Where the lease is not to be had or was broken
// by an opener, the look round is repeated at a low rate.
#include "reprotect/interlock.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/owned_descriptor.hpp"
#include "device/holders.hpp"
#include "device/image_lock.hpp"
#include "device/same_disk.hpp"
#include "device/topology.hpp"
#include "device/write_watch.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds patience{1000};       // guessed: what a tool needs to find a disk locked and go away
constexpr milliseconds patience_max{10000};  // guessed: for many who leave one by one
// Shorter: a rival that waits for our claim as long as we wait for it to go away would make both give up.
constexpr milliseconds claim_patience{200};    // guessed
constexpr milliseconds retry_pause{10};        // guessed
constexpr milliseconds scan_interval{2000};    // guessed: how long an unseen reader-turned-writer may stay unseen
constexpr milliseconds suspect_interval{100};  // guessed: the same, while somebody has it open for writing
// Looking round takes at most 2% of the time, on hosts with many processes, too, until that would be too seldom.
constexpr int scan_cost_divisor = 50;             // guessed
constexpr milliseconds scan_interval_max{10000};  // guessed

error in_use(const std::string& name, const std::string& who, const std::string& hint) {
    error_detail detail;
    detail.device = name;
    detail.operation = "hold";
    detail.holder = who;
    detail.hint = hint;
    return error(error_kind::in_use, "target " + name + " is in use: " + who, std::move(detail));
}

// All of them in one error, so that the way out is one list of steps.
error in_use(const std::string& name, const std::vector<disk_user>& users) {
    std::string who;
    std::string hint;
    for (const disk_user& each : users) {
        who += (who.empty() ? "" : "; ") + each.shown.who;
        hint += (hint.empty() ? "" : ", then ") + each.shown.hint;
    }
    return in_use(name, who, hint);
}

std::vector<disk_user> refusing(std::vector<disk_user> users) {
    std::erase_if(users, [](const disk_user& each) { return !each.refuses(); });
    return users;
}

bool all_processes(const std::vector<disk_user>& users) {
    return std::all_of(users.begin(), users.end(),
                       [](const disk_user& each) { return each.kind == use_kind::process; });
}

class native_guard final : public target_guard {
public:
    /// `server`: a process that has it open for us, with locks of QEMU's kind; 0 for none.
    native_guard(std::string name, const native_handle& target, int server)
        : name_(std::move(name)),
          server_(server),
          descriptor_(::fcntl(target.descriptor, F_DUPFD_CLOEXEC, 0)),
          path_(target.path),
          lies_on_(footprint(descriptor_.get(), path_)),
          watch_(descriptor_.get(), server),
          lease_(descriptor_.get()) {
        struct stat status {};
        if (!descriptor_ || ::fstat(descriptor_.get(), &status) != 0) {
            error_detail detail;
            detail.device = name_;
            detail.operation = "hold";
            throw system_error(error_kind::device_io, errno, std::move(detail));
        }
        is_file_ = S_ISREG(status.st_mode);
        lock_against_syncs();
        refuse_removed();  // what was removed while another held it
        if (!is_file_) claim_block_device();
        lock_files_below();
        wait_until_unused();
        if (server_ == 0) keep_machines_out();
        if (watch_.working()) watch_.foreign_writer();  // what was written until here is read by the sync like all else
        next_scan_ = clock::now() + scan_interval;
    }

    void check() override;

private:
    native_handle handle() const { return {descriptor_.get(), path_}; }
    std::vector<disk_user> users() const {
        std::vector<disk_user> found = find_users(handle(), lies_on_, held_);
        if (server_ != 0) remove_server(found, server_);
        return found;
    }

    void lock_against_syncs();
    void lock_files_below();
    void claim_block_device();
    void wait_until_unused();
    void keep_machines_out();
    bool has_other_descriptions() const;
    void refuse_removed();
    void scan(clock::time_point now);
    [[noreturn]] void fail(error why) {
        failure_ = why;
        throw why;
    }

    std::string name_;
    int server_;
    owned_descriptor descriptor_;  // the device's own open description, which locks and lease belong to
    std::string path_;
    std::vector<footing> lies_on_;
    bool is_file_ = false;
    owned_descriptor claim_;               // of a block device
    std::vector<owned_descriptor> below_;  // files that a loop device stands on
    std::vector<held_file> held_;
    std::vector<image_lock> locks_;
    write_watch watch_;
    write_lease lease_;
    clock::time_point next_scan_;
    std::optional<clock::time_point> writer_since_;  // somebody has it open for writing since
    std::optional<error> failure_;
};

// A second sync is told so at once and goes away, instead of waiting for us to do so. QEMU's bytes come later, on the same
// description; on a block device these are locks of its node.
void native_guard::lock_against_syncs() {
    locks_.emplace_back(descriptor_.get());
    switch (locks_.back().hold_against_syncs(image_lock::strength::exclusive)) {
        case image_lock::result::held:
            return;
        case image_lock::result::refused:
            break;
        case image_lock::result::unsupported: {
            const int code = errno;
            error_detail detail;
            detail.device = name_;
            detail.operation = "lock";
            detail.hint =
                code == EBADF ? "open the target for writing" : "mount its file system with support for locks";
            throw system_error(error_kind::unsuitable, code, std::move(detail));
        }
    }
    // The other one's name helps more than the fact.
    std::string who = "target of another sync";
    for (const disk_user& each : users())
        if (each.kind == use_kind::process && each.shown.writes) who += ", " + each.shown.who;
    throw in_use(name_, who, "wait for that sync to end, or stop it");
}

// A loop device's file is locked through a descriptor of our own, so that neither a VM nor a second sync starts on the file.
void native_guard::lock_files_below() {
    for (std::size_t index = 1; index < lies_on_.size() && lies_on_[index].exact; ++index) {
        if (lies_on_[index].node.what != disk_node::kind::file) continue;
        owned_descriptor file = open_footing(lies_on_[index]);
        if (!file) continue;
        image_lock lock(file.get());
        if (lock.hold_against_syncs(image_lock::strength::shared) == image_lock::result::refused)
            throw in_use(name_, "target of another sync (through " + lies_on_[index].path + ")",
                         "wait for that sync to end, or stop it");
        held_.push_back({lies_on_[index].node, file.get()});
        below_.push_back(std::move(file));
        locks_.push_back(std::move(lock));
    }
}

// The claim is on the device, not on its name, and covers the partitions of a disk and the disk of a partition. It is opened
// for reading: closing a descriptor that could write makes udev look at the disk again.
void native_guard::claim_block_device() {
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor_.get());
    const clock::time_point deadline = clock::now() + claim_patience;
    for (;;) {
        claim_ = owned_descriptor(::open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
        // systemd-udevd holds a shared lock while it probes, and keeps away while we hold an exclusive one
        // (https://systemd.io/BLOCK_DEVICE_LOCKING/); so do other tools that change disks.
        if (claim_ && ::flock(claim_.get(), LOCK_EX | LOCK_NB) == 0) break;
        const int code = errno;
        const bool claimed = static_cast<bool>(claim_);
        if (!claimed && code != EBUSY) {
            error_detail detail;
            detail.device = name_;
            detail.operation = "exclusive open";
            detail.hint = "check that /proc is mounted and that this user may open " + path_;
            throw system_error(code == EACCES || code == EPERM ? error_kind::permission : error_kind::device_io, code,
                               std::move(detail));
        }
        claim_.reset();
        const std::vector<disk_user> seen = refusing(users());
        if (!all_processes(seen)) throw in_use(name_, seen);
        if (clock::now() >= deadline) {
            if (!seen.empty()) throw in_use(name_, seen);
            throw in_use(
                name_,
                claimed ? "another process holds a lock (flock) on it" : "somebody holds it exclusively (O_EXCL)",
                "look for a mount in another mount namespace or container, a file system's external journal, or "
                "another sync");
        }
        std::this_thread::sleep_for(retry_pause);
    }
}

// The write lease is granted only if the description that asks is the only one that is open.
bool native_guard::has_other_descriptions() const {
    struct stat own {};
    if (::fstat(descriptor_.get(), &own) != 0) return true;
    for (const std::string& name : directory_entries("/proc/self/fd")) {
        const int number = std::atoi(name.c_str());
        struct stat status {};
        if (::fstat(number, &status) != 0 || status.st_ino != own.st_ino || status.st_dev != own.st_dev) continue;
        if (::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_FILE, descriptor_.get(), number) != 0) return true;
    }
    return false;
}

void native_guard::wait_until_unused() {
    const clock::time_point last_deadline = clock::now() + patience_max;
    clock::time_point deadline = clock::now() + patience;
    std::size_t fewest = SIZE_MAX;
    for (;; std::this_thread::sleep_for(retry_pause)) {
        const std::vector<disk_user> everyone = users();
        const std::vector<disk_user> seen = refusing(everyone);
        // While they leave one after the other, the rest may be about to.
        if (seen.size() < fewest) deadline = std::min(last_deadline, clock::now() + patience);
        fewest = std::min(fewest, seen.size());
        const bool late = clock::now() >= deadline;
        if (!seen.empty()) {
            if (late || !all_processes(seen)) throw in_use(name_, seen);
            continue;
        }
        if (!is_file_ || server_ != 0) return;  // the server has it open, so no lease is to be had
        const write_lease::result lease = lease_.take();
        if (lease != write_lease::result::others_have_it_open) return;
        if (!everyone.empty() || has_other_descriptions()) return;  // readers, or ourselves: the scans have to do
        if (late)
            throw in_use(name_, "somebody who cannot be seen from here has it open",
                         "look for another container, the NFS server, or a program that has mapped the file");
    }
}

void native_guard::keep_machines_out() {
    for (image_lock& lock : locks_) lock.hold_against_machines();  // where there are no locks, QEMU takes none either
    // One that started since the look round holds its bytes or has seen ours.
    for (disk_user& each : users())
        if (each.kind == use_kind::image_lock) throw in_use(name_, {each});
}

// A file without a name goes when it is closed, and all that was written to it.
void native_guard::refuse_removed() {
    struct stat status {};
    if (!is_file_ || ::fstat(descriptor_.get(), &status) != 0 || status.st_nlink != 0) return;
    error_detail detail;
    detail.device = name_;
    detail.operation = "hold";
    detail.hint = "find out who removed it, then run the sync again";
    fail(error(error_kind::device_io, "target " + name_ + " was removed: what is written to it would be lost",
               std::move(detail)));
}

void native_guard::check() {
    if (failure_) throw *failure_;
    refuse_removed();
    if (watch_.working())
        if (const int writer = watch_.foreign_writer(); writer != 0)
            fail(in_use(name_, (writer > 0 ? describe_process(writer) : "another process") + " wrote to it meanwhile",
                        "stop that process, then run the sync again"));
    if (lease_.held()) {
        const write_lease::waiting who = lease_.who_waits();
        if (who == write_lease::waiting::nobody) return;
        // With nothing that would see a write, the attempt must count.
        if (who == write_lease::waiting::writer && !watch_.working())
            fail(in_use(name_, "somebody opened it for writing meanwhile",
                        "find out who wanted to write to it, then run the sync again"));
        lease_.release();
        next_scan_ = clock::now() + suspect_interval;
        return;
    }
    const clock::time_point now = clock::now();
    if (now >= next_scan_) scan(now);
}

void native_guard::scan(clock::time_point now) {
    const std::vector<disk_user> everyone = users();
    const std::vector<disk_user> seen = refusing(everyone);
    if (!seen.empty()) {
        if (!writer_since_) writer_since_ = now;
        if (!all_processes(seen) || now - *writer_since_ >= patience) fail(in_use(name_, seen));
    } else {
        writer_since_.reset();
        // Without anybody left the door can be shut again.
        if (is_file_ && server_ == 0 && everyone.empty() && lease_.take() == write_lease::result::held) return;
    }
    const clock::time_point end = clock::now();
    const clock::duration pause = seen.empty() ? scan_interval : suspect_interval;
    const clock::duration affordable = std::min<clock::duration>((end - now) * scan_cost_divisor, scan_interval_max);
    next_scan_ = end + (seen.empty() ? std::max(pause, affordable) : pause);
}

// What an image is written to: its files, held one by one, without what their server holds already.
class image_guard final : public target_guard {
public:
    explicit image_guard(const device& target) {
        for (const lower_file& each : target.lies_in())
            if (each.written) files_.push_back(std::make_unique<native_guard>(target.name(), each.handle, each.server));
    }

    void check() override {
        for (const auto& each : files_) each->check();
    }

private:
    std::vector<std::unique_ptr<native_guard>> files_;
};

// A device of which the system knows nothing: its own server or owner has to keep others away.
class no_guard final : public target_guard {
public:
    void check() override {}
};

}  // namespace

std::unique_ptr<target_guard> guard_target(device& target, const device& source) {
    if (would_change(target, source)) {
        error_detail detail;
        detail.device = target.name();
        detail.operation = "hold";
        detail.hint = "name two different disks";
        throw error(error_kind::same_disk,
                    "target " + target.name() + " and source " + source.name() +
                        " are the same disk, or one lies within the other or builds upon it",
                    std::move(detail));
    }
    if (!target.lies_in().empty()) return std::make_unique<image_guard>(target);
    if (!target.native()) return std::make_unique<no_guard>();
    return std::make_unique<native_guard>(target.name(), *target.native(), 0);
}

}  // namespace reprotect
