// Disks of every kind that `open_device` knows, each on something of its own that goes with it: what a conformance suite
// runs over.
#pragma once

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/temp_dir.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reprotect::test {

struct rig_kind {
    std::string name;
    std::string file_system;   ///< "ext4", …; empty for memory
    unsigned loop_sector = 0;  ///< not 0: a loop device with such sectors over the file
    bool direct = false;
    std::uint64_t size_unit = 1;  ///< the disk's size is rounded up to this
};

/// Those that need loop devices (all but memory and tmpfs) are left out where there are none.
inline std::vector<rig_kind> all_rig_kinds() {
    std::vector<rig_kind> kinds = {{"memory", "", 0, false, 1}, {"file on tmpfs", "tmpfs", 0, false, 1}};
    if (!loop_devices_available()) return kinds;
    kinds.insert(kinds.end(), {{"file on ext4", "ext4", 0, false, 1},
                               {"file on xfs", "xfs", 0, false, 1},
                               {"file on ext4, direct", "ext4", 0, true, 1},
                               {"file on xfs, direct", "xfs", 0, true, 1},
                               {"file on tmpfs, direct", "tmpfs", 0, true, 1},
                               {"loop device", "ext4", 512, false, 512},
                               {"loop device, direct", "ext4", 512, true, 512},
                               {"loop device of 4096-byte sectors", "ext4", 4096, false, 4096},
                               {"loop device of 4096-byte sectors, direct", "ext4", 4096, true, 4096}});
    return kinds;
}

/// The same by name, for messages of a test framework.
inline std::ostream& operator<<(std::ostream& out, const rig_kind& kind) {
    return out << kind.name;
}

class disk_rig {
public:
    disk_rig(const rig_kind& kind, std::uint64_t size_bytes) : kind_(kind) {
        if (!kind.file_system.empty()) {
            mounted_.emplace(kind.file_system, directory_.path(), std::uint64_t{320} << 20);
            file_ = mounted_->file("disk.img");
        }
        replace(size_bytes);
    }

    /// Another disk of that kind, blank.
    void replace(std::uint64_t size_bytes) {
        size_bytes = (size_bytes + kind_.size_unit - 1) / kind_.size_unit * kind_.size_unit;
        if (in_memory()) {
            device_ = std::make_unique<memory_device>(size_bytes);
            return;
        }
        device_.reset();
        loop_.reset();
        std::filesystem::remove(file_);
        make_sparse_file(file_, size_bytes);
        if (kind_.loop_sector != 0) loop_.emplace(file_, loop_options{.sector_bytes = kind_.loop_sector});
        reopen();
    }

    device& disk() { return *device_; }
    const rig_kind& kind() const { return kind_; }
    /// The file below, or empty.
    const std::string& file() const { return file_; }
    /// What `open_device` was given, or empty.
    std::string name() const { return loop_ ? loop_->path() : file_; }
    loop_device* loop() { return loop_ ? &*loop_ : nullptr; }
    bool in_memory() const { return !mounted_; }

    /// A new descriptor; does nothing in memory.
    void reopen() {
        if (in_memory()) return;
        device_.reset();
        device_ = open_device(name(), {.mode = access::read_write, .direct = kind_.direct});
    }

private:
    rig_kind kind_;
    temp_dir directory_;
    std::optional<mounted_file_system> mounted_;
    std::string file_;
    std::optional<loop_device> loop_;
    std::unique_ptr<device> device_;
};

}  // namespace reprotect::test
