// Disks of every kind that `open_device` knows, each on something of its own that goes with it: what a conformance suite
// runs over.
#pragma once

#include "reprotect/memory_device.hpp"
#include "reprotect/open_device.hpp"
#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/nbdkit_rig.hpp"
#include "support/process.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reprotect::test {

struct rig_kind {
    std::string name;
    std::string file_system;   ///< "ext4", …; empty for memory and what is below a server
    unsigned loop_sector = 0;  ///< not 0: a loop device with such sectors over the file
    bool direct = false;
    std::uint64_t size_unit = 1;  ///< the disk's size is rounded up to this
    /// An NBD server; SOCKET, PORT, FILE and PIDFILE, which goes with a port, stand for the rig's own.
    std::vector<std::string> server = {};
    std::string format = {};  ///< of an image that qemu-nbd opens for us
    bool shows_holes = true;  ///< zeroing makes a hole that the allocation shows

    bool is_remote() const { return !server.empty() || !format.empty(); }
    bool in_memory() const { return file_system.empty() && !is_remote(); }
};

/// Those that need loop devices (all but memory, tmpfs and servers) are left out where there are none.
inline std::vector<rig_kind> all_rig_kinds() {
    std::vector<rig_kind> kinds = {{"memory", "", 0, false, 1}, {"file on tmpfs", "tmpfs", 0, false, 1}};
    if (loop_devices_available())
        kinds.insert(kinds.end(), {{"file on ext4", "ext4", 0, false, 1},
                                   {"file on xfs", "xfs", 0, false, 1},
                                   {"file on btrfs", "btrfs", 0, false, 1},
                                   {"file on ext4, direct", "ext4", 0, true, 1},
                                   {"file on xfs, direct", "xfs", 0, true, 1},
                                   {"file on tmpfs, direct", "tmpfs", 0, true, 1},
                                   {"loop device", "ext4", 512, false, 512},
                                   {"loop device, direct", "ext4", 512, true, 512},
                                   {"loop device of 4096-byte sectors", "ext4", 4096, false, 4096},
                                   {"loop device of 4096-byte sectors, direct", "ext4", 4096, true, 4096}});
    const auto nbdkit = [](std::vector<std::string> words) {
        words.insert(words.begin(), {"nbdkit", "--foreground", "--exit-with-parent"});
        return words;
    };
    kinds.push_back({"NBD, nbdkit", "", 0, false, 1, nbdkit({"--unix", "SOCKET", "file", "FILE"})});
    kinds.push_back({"NBD over TCP", "", 0, false, 1,
                     nbdkit({"--ipaddr", "127.0.0.1", "--port", "PORT", "--pidfile", "PIDFILE", "file", "FILE"})});
    kinds.push_back({"NBD in units of 4096 bytes", "", 0, false, 4096,
                     nbdkit({"--unix", "SOCKET", "--filter=blocksize-policy", "file", "FILE", "blocksize-minimum=4096",
                             "blocksize-preferred=4096", "blocksize-maximum=65536", "blocksize-error-policy=error"})});
    kinds.push_back({"NBD of a server that can do little", "", 0, false, 1,
                     nbdkit({"--unix", "SOCKET", "--filter=noextents", "--filter=nozero", "--filter=noparallel", "file",
                             "FILE", "zeromode=none"}),
                     "", false});
    kinds.push_back(
        {"NBD, qemu-nbd",
         "",
         0,
         false,
         512,
         {"qemu-nbd", "--persistent", "--shared=8", "--format=raw", "--discard=unmap", "--socket=SOCKET", "FILE"}});
    kinds.push_back({"qcow2", "", 0, false, 512, {}, "qcow2"});
    kinds.push_back({"vmdk", "", 0, false, 512, {}, "vmdk", false});
    kinds.push_back({"vhdx", "", 0, false, 512, {}, "vhdx", false});
    kinds.push_back({"vpc", "", 0, false, 512, {}, "vpc", false});
    return kinds;
}

class disk_rig {
public:
    disk_rig(const rig_kind& kind, std::uint64_t size_bytes) : kind_(kind) {
        if (!kind.file_system.empty()) {
            mounted_.emplace(kind.file_system, directory_.path(), std::uint64_t{320} << 20);
            file_ = mounted_->file("disk.img");
        } else if (kind.is_remote()) {
            file_ = directory_.file("disk.img");
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
        server_.reset();
        std::filesystem::remove(file_);
        if (!kind_.format.empty()) {
            std::vector<std::string> command{"qemu-img", "create", "-q", "-f", kind_.format};
            if (kind_.format == "vpc") command.insert(command.end(), {"-o", "force_size=on"});
            command.insert(command.end(), {file_, std::to_string(size_bytes)});
            run_checked(command);
        } else {
            make_sparse_file(file_, size_bytes);
        }
        if (kind_.loop_sector != 0) loop_.emplace(file_, loop_options{.sector_bytes = kind_.loop_sector});
        if (!kind_.server.empty()) serve();
        reopen();
    }

    device& disk() { return *device_; }
    const rig_kind& kind() const { return kind_; }
    /// The file below, or empty.
    const std::string& file() const { return file_; }
    /// What `open_device` was given, or empty.
    std::string name() const {
        if (!kind_.format.empty()) return kind_.format + ":" + file_;
        if (!kind_.server.empty()) return uri_;
        return loop_ ? loop_->path() : file_;
    }
    loop_device* loop() { return loop_ ? &*loop_ : nullptr; }
    bool in_memory() const { return kind_.in_memory(); }

    /// A new descriptor; does nothing in memory.
    void reopen() {
        if (in_memory()) return;
        device_.reset();
        device_ = open_device(name(), {.mode = access::read_write, .direct = kind_.direct});
    }

private:
    void serve() {
        // Somebody may take a free port before the server does; then it ends, and another one is tried.
        for (int tries = 0; tries < 10; ++tries) {
            const std::string socket = directory_.file("socket");
            const std::string port = std::to_string(free_port());
            const std::string listening = directory_.file("listening");
            std::filesystem::remove(socket);
            std::filesystem::remove(listening);
            std::vector<std::string> command = kind_.server;
            bool over_tcp = false;
            for (std::string& word : command) {
                over_tcp = over_tcp || word == "PORT";
                if (word == "FILE") word = file_;
                if (word == "PORT") word = port;
                if (word == "PIDFILE") word = listening;
                if (const auto at = word.find("SOCKET"); at != std::string::npos) word.replace(at, 6, socket);
            }
            uri_ = over_tcp ? "nbd://127.0.0.1:" + port + "/" : "nbd+unix:///?socket=" + socket;
            server_.emplace(command);
            // Whoever has the port would answer, too: ours writes its file when the port is its own.
            const auto answers = [&] {
                return (!over_tcp || std::filesystem::exists(listening)) &&
                       run_command({"nbdinfo", "--size", uri_}).ok();
            };
            wait_until([&] { return !server_->runs() || answers(); }, std::chrono::seconds(3));
            if (server_->runs() && answers()) return;
            server_.reset();
        }
        throw std::runtime_error("no NBD server comes up: " + kind_.server[0]);
    }

    rig_kind kind_;
    temp_dir directory_;
    std::optional<mounted_file_system> mounted_;
    std::string file_;
    std::string uri_;
    std::optional<loop_device> loop_;
    std::optional<process> server_;
    std::unique_ptr<device> device_;
};

}  // namespace reprotect::test
