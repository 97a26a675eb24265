// File systems as people have them, in image files: made, mounted, filled with this machine's own files, aged, checked
// by their own tools, and listed file by file. ext4, xfs and btrfs are mounted by the kernel over a loop device, NTFS
// by ntfs-3g.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/process.hpp"
#include "support/run_command.hpp"

namespace reprotect::test {

struct file_system_kind {
    std::string name;
    std::uint64_t image_bytes = 0;
    std::vector<std::string> make;                ///< the image's name is put after it
    std::vector<std::vector<std::string>> check;  ///< likewise; read-only, each ends with 0 where all is well
    std::vector<std::string> mount;               ///< loop device and mount point are put after it; empty: ntfs-3g
};

inline std::vector<file_system_kind> file_system_kinds() {
    constexpr std::uint64_t mib = 1 << 20;
    return {
        {"ext4", 192 * mib, {"mkfs.ext4", "-q", "-F"}, {{"e2fsck", "-f", "-n"}}, {"mount", "-t", "ext4"}},
        {"xfs", 320 * mib, {"mkfs.xfs", "-q"}, {{"xfs_repair", "-n", "-f"}}, {"mount", "-t", "xfs", "-o", "nouuid"}},
        {"btrfs", 192 * mib, {"mkfs.btrfs", "-q"}, {{"btrfs", "check", "--readonly"}}, {"mount", "-t", "btrfs"}},
        {"ntfs",
         160 * mib,
         {"mkntfs", "-F", "-Q", "-q"},
         {{"ntfsfix", "--no-action"}, {"ntfs-3g.probe", "--readwrite"}},
         {}},
    };
}

/// Everything that this kind needs; else what is missing, as a sentence.
inline std::string missing_for(const file_system_kind& kind) {
    if (!loop_devices_available()) return "no loop device can be made here";
    std::vector<std::string> programs{kind.make[0]};
    for (const auto& command : kind.check) programs.push_back(command[0]);
    if (kind.mount.empty()) programs.emplace_back("ntfs-3g");
    for (const std::string& program : programs)
        if (run_command({program, "--version"}).exit_code == 127) return program + " is not installed";
    if (kind.mount.empty()) {
        if (!std::filesystem::exists("/dev/fuse")) return "there is no /dev/fuse";
        return {};
    }
    std::ifstream list("/proc/filesystems");
    for (std::string word; list >> word;)
        if (word == kind.name) return {};
    run_command({"modprobe", "-q", kind.name});
    std::ifstream again("/proc/filesystems");
    for (std::string word; again >> word;)
        if (word == kind.name) return {};
    return "the kernel knows no " + kind.name;
}

/// An image mounted until the object goes. When `unmount` returns, nobody holds the image any more and all is in it.
class mounted_image {
public:
    mounted_image(const file_system_kind& kind, std::string image, const std::filesystem::path& mount_point)
        : image_(std::move(image)), mount_point_(mount_point), is_btrfs_(kind.name == "btrfs") {
        std::filesystem::create_directories(mount_point);
        std::vector<std::string> command = kind.mount;
        if (!command.empty()) {
            loop_.emplace(image_);
            command.insert(command.end(), {loop_->path(), mount_point_.string()});
            run_checked(command);
            mounted_ = true;
            return;
        }
        // In the foreground: what it still writes after the unmount is in the image when it has ended.
        command = {"ntfs-3g", "-o", "no_detach", image_, mount_point_.string()};
        server_ = std::make_unique<process>(command);
        mounted_ = true;
        const auto here = [&] { return run_command({"mountpoint", "-q", mount_point_.string()}).ok(); };
        if (wait_until(here, std::chrono::seconds(20))) return;
        const std::string said = server_->errors();
        unmount();
        throw std::runtime_error("ntfs-3g does not mount " + image_ + ": " + said);
    }
    mounted_image(const mounted_image&) = delete;
    mounted_image& operator=(const mounted_image&) = delete;
    ~mounted_image() {
        try {
            unmount();
        } catch (...) {
            run_command({"umount", "--lazy", mount_point_.string()});
        }
    }

    const std::filesystem::path& path() const noexcept { return mount_point_; }

    void unmount() {
        if (!mounted_) return;
        const bool gone = wait_until(
            [&] {
                return run_command({"umount", mount_point_.string()}).ok() ||
                       !run_command({"mountpoint", "-q", mount_point_.string()}).ok();
            },
            std::chrono::seconds(10));
        mounted_ = false;
        if (!gone) run_command({"umount", "--lazy", mount_point_.string()});
        if (server_) server_->wait();
        if (!loop_) return;
        const std::string loop = loop_->path();
        loop_.reset();
        // The loop device lets go of the image a moment after the unmount.
        wait_until(
            [&] {
                return run_command({"losetup", "--associated", image_}).output.empty();
            },
            std::chrono::seconds(10));
        // The kernel remembers a btrfs by its name of itself, and a copy that is mounted next has the same.
        if (is_btrfs_) run_command({"btrfs", "device", "scan", "--forget", loop});
    }

private:
    std::string image_;
    std::filesystem::path mount_point_;
    bool is_btrfs_;
    bool mounted_ = false;
    std::optional<loop_device> loop_;  // all but NTFS
    std::unique_ptr<process> server_;  // NTFS only
};

/// Files of this machine, up to about `bytes_max` in all, and some of its own that ageing works on: a log, a big file.
inline void populate(const std::filesystem::path& root, std::uint64_t bytes_max) {
    namespace fs = std::filesystem;
    constexpr std::uint64_t one_max = 1 << 20;
    constexpr unsigned files_max = 1500;
    const fs::path from = "/usr/share";
    std::uint64_t bytes = 0;
    unsigned files = 0;
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(from, fs::directory_options::skip_permission_denied, ignored), end;
         at != end && bytes < bytes_max && files < files_max; at.increment(ignored)) {
        if (!at->is_regular_file(ignored) || at->is_symlink(ignored)) continue;
        const std::uint64_t size = at->file_size(ignored);
        if (size == 0 || size > one_max) continue;
        const fs::path to = root / "share" / fs::relative(at->path(), from);
        fs::create_directories(to.parent_path());
        fs::copy_file(at->path(), to);
        bytes += size;
        ++files;
    }
    // A machine with an empty /usr/share has files of ours instead.
    for (std::uint64_t seed = 0; bytes < bytes_max / 2; bytes += 300'000, ++seed)
        write_whole_file((root / ("made." + std::to_string(seed))).string(), random_bytes(seed, 300'000));
    std::ofstream log(root / "service.log");
    for (unsigned line = 0; line < 20'000; ++line) log << line << " the service goes on as it did before\n";
    write_whole_file((root / "big.bin").string(), random_bytes(99, 12 << 20));
    make_sparse_file((root / "sparse.bin").string(), 40 << 20);
}

/// A while of use: files come, go, change in place and are renamed, the log grows, the big file gets a hole and
/// a stretch of zeroes. Another seed, another life.
inline void live_on(const std::filesystem::path& root, std::uint64_t seed) {
    namespace fs = std::filesystem;
    std::mt19937_64 random(seed);
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(root))
        if (!entry.is_symlink() && entry.is_regular_file() && entry.path().filename() != "sparse.bin")
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    const std::string name = "life." + std::to_string(seed);
    for (const fs::path& file : files) {
        const auto what = random() % 40;
        if (file.parent_path() == root && (file.filename() == "service.log" || file.filename() == "big.bin")) continue;
        if (what == 0) {
            fs::remove(file);
        } else if (what == 1 && fs::file_size(file) != 0) {
            std::fstream inside(file, std::ios::binary | std::ios::in | std::ios::out);
            inside.seekp(static_cast<std::streamoff>(random() % fs::file_size(file)));
            inside << name;
        } else if (what == 2) {
            fs::rename(file, file.parent_path() / (file.filename().string() + "." + name));
        }
    }
    if (seed > 5) fs::remove_all(root / ("life." + std::to_string(seed - 5)));  // many rounds must not fill the disk
    fs::create_directories(root / name / "deep" / "down");
    for (unsigned i = 0; i < 60; ++i)
        write_whole_file((root / name / "deep" / ("new." + std::to_string(i))).string(),
                         random_bytes(random(), random() % 30'000));
    fs::create_symlink("deep/new.1", root / name / "link");
    fs::create_hard_link(root / "service.log", root / name / "same.log");
    std::ofstream log(root / "service.log", std::ios::app);
    for (unsigned line = 0; line < 5'000; ++line) log << name << " " << line << " and on it goes\n";
    log.close();
    // Some file systems cannot punch; each can be overwritten with zeroes.
    const std::string big = (root / "big.bin").string();
    const std::string hole = std::to_string((random() % 80) * 65536);
    run_command({"fallocate", "--punch-hole", "--offset", hole, "--length", "1048576", big});
    std::fstream zeroed(big, std::ios::binary | std::ios::in | std::ios::out);
    zeroed.seekp(static_cast<std::streamoff>((100 + random() % 80) * 65536));
    const std::vector<char> zeroes(512 << 10);
    zeroed.write(zeroes.data(), static_cast<std::streamsize>(zeroes.size()));
    zeroed.close();
    std::fstream sparse(root / "sparse.bin", std::ios::binary | std::ios::in | std::ios::out);
    sparse.seekp(static_cast<std::streamoff>(random() % (40 << 20)));
    sparse << name;
}

/// Every entry with its kind, mode, size, time, links and link target, and the SHA-256 of every file, made by other
/// programs.
inline std::string listing(const std::filesystem::path& root) {
    return run_checked({"sh", "-ec",
                        "cd \"$0\"; find . -mindepth 1 -printf '%p %y %m %s %T@ %n %l\\n' | LC_ALL=C sort;"
                        "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum",
                        root.string()});
}

/// REPROTECT_SOAK where it is set, else `usual`.
inline unsigned soak_rounds(unsigned usual) {
    const char* const set = std::getenv("REPROTECT_SOAK");
    return set != nullptr ? static_cast<unsigned>(std::strtoul(set, nullptr, 10)) : usual;
}

}  // namespace reprotect::test
