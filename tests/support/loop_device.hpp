// A loop device over a file, detached when the test ends, and a file system mounted from an image, unmounted likewise.
#pragma once

#include "support/run_command.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace reprotect::test {

struct loop_options {
    unsigned sector_bytes = 512;
    bool read_only = false;
    bool partitions = false;       ///< the kernel looks for a partition table
    std::uint64_t offset = 0;      ///< bytes into the file
    std::uint64_t size_limit = 0;  ///< bytes; 0: to the end of the file
    bool direct = false;           ///< the loop driver itself goes past the backing file's cache
};

class loop_device {
public:
    /// Throws where no loop device can be made; see `loop_devices_available`.
    explicit loop_device(const std::string& file, const loop_options& options = {}) {
        std::vector<std::string> command{"losetup", "--find", "--show"};
        if (options.sector_bytes != 512) {
            command.push_back("--sector-size");
            command.push_back(std::to_string(options.sector_bytes));
        }
        if (options.read_only) command.push_back("--read-only");
        if (options.partitions) command.push_back("--partscan");
        if (options.direct) command.push_back("--direct-io=on");
        if (options.offset != 0) {
            command.push_back("--offset");
            command.push_back(std::to_string(options.offset));
        }
        if (options.size_limit != 0) {
            command.push_back("--sizelimit");
            command.push_back(std::to_string(options.size_limit));
        }
        command.push_back(file);
        path_ = run_checked(command);
    }
    loop_device(const loop_device&) = delete;
    loop_device& operator=(const loop_device&) = delete;
    ~loop_device() { detach(); }

    /// "/dev/loop3"
    const std::string& path() const noexcept { return path_; }

    /// The kernel takes the backing file's new size.
    void refresh_size() { run_checked({"losetup", "--set-capacity", path_}); }

    /// Partitions as "/dev/loop3p1", …; with `partitions` among the options. Some kernels know no partition tables: partx does.
    void find_partitions() {
        const std::string name = std::filesystem::path(path_).filename().string();
        if (!std::filesystem::exists("/sys/block/" + name + "/" + name + "p1")) run_command({"partx", "--add", path_});
    }

    /// Waits a moment for the kernel to let go of the file, which it does when the last opener is gone.
    void detach() {
        if (path_.empty()) return;
        run_command({"losetup", "--detach", path_});
        const std::string sign =
            "/sys/block/" + std::filesystem::path(path_).filename().string() + "/loop/backing_file";
        for (int tries = 0; tries < 100 && std::filesystem::exists(sign); ++tries)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        path_.clear();
    }

private:
    std::string path_;
};

/// A file system mounted in `directory`: "tmpfs", "ramfs", or one that `mkfs.TYPE` makes on a sparse image beside the mount point.
class mounted_file_system {
public:
    /// `directory` is an existing, private one; the image and the mount point are made in it. xfs needs 300 MiB or more.
    mounted_file_system(const std::string& type, const std::filesystem::path& directory, std::uint64_t size_bytes,
                        const std::vector<std::string>& mkfs_options = {}) {
        mount_point_ = directory / (type + ".mnt");
        std::filesystem::create_directory(mount_point_);
        if (type == "tmpfs" || type == "ramfs") {
            run_checked({"mount", "-t", type, "-o", "size=" + std::to_string(size_bytes), type, mount_point_.string()});
        } else {
            const std::filesystem::path image = directory / (type + ".img");
            run_checked({"truncate", "--size", std::to_string(size_bytes), image.string()});
            std::vector<std::string> make{"mkfs." + type, "-q"};
            make.insert(make.end(), mkfs_options.begin(), mkfs_options.end());
            make.push_back(image.string());
            run_checked(make);
            run_checked({"mount", "-o", "loop", image.string(), mount_point_.string()});
        }
        mounted_ = true;
    }
    mounted_file_system(const mounted_file_system&) = delete;
    mounted_file_system& operator=(const mounted_file_system&) = delete;
    ~mounted_file_system() { unmount(); }

    const std::filesystem::path& path() const noexcept { return mount_point_; }
    std::string file(const std::string& name) const { return (mount_point_ / name).string(); }

    void remount_read_only() { run_checked({"mount", "-o", "remount,ro", mount_point_.string()}); }

    void unmount() {
        if (!mounted_) return;
        // A loop worker or an indexer may hold it for a moment; a lazy unmount is the last resort.
        for (int tries = 0; tries < 50; ++tries) {
            if (run_command({"umount", mount_point_.string()}).ok()) {
                mounted_ = false;
                return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        run_command({"umount", "--lazy", mount_point_.string()});
        mounted_ = false;
    }

private:
    std::filesystem::path mount_point_;
    bool mounted_ = false;
};

/// Whether this machine lets us make loop devices at all; tried once. Where not, a test says so with WARN and returns.
inline bool loop_devices_available() {
    static const bool available = [] {
        const detail::memory_file probe(std::string(4096, '\0'));
        const std::string name = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(probe.descriptor());
        const command_result made = run_command({"losetup", "--find", "--show", name});
        if (!made.ok()) return false;
        run_command({"losetup", "--detach", made.output.substr(0, made.output.find('\n'))});
        return true;
    }();
    return available;
}

}  // namespace reprotect::test
