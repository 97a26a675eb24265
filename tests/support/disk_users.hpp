// Users of disks for tests: partitions without a partition table or udev, mounts, swap, and a QEMU tool that keeps an image open.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/run_command.hpp"

namespace reprotect::test {

/// Told to the kernel directly, as partprobe does; the loop device must have been made with `partitions`.
class partition {
public:
    struct place {
        std::uint64_t offset = 0;  ///< bytes
        std::uint64_t length = 0;  ///< bytes
    };
    partition(std::string disk, int number, place where, const std::filesystem::path& directory)
        : disk_(std::move(disk)), number_(std::to_string(number)) {
        run_checked(
            {"addpart", disk_, number_, std::to_string(where.offset / 512), std::to_string(where.length / 512)});
        const std::string disk_name = std::filesystem::path(disk_).filename();
        const std::string name = disk_name + "p" + number_;
        // Where neither devtmpfs nor udev makes the node, a node of our own does.
        path_ = "/dev/" + name;
        if (std::filesystem::exists(path_)) return;
        std::ifstream numbers("/sys/block/" + disk_name + "/" + name + "/dev");
        unsigned first = 0;
        unsigned second = 0;
        char colon = 0;
        numbers >> first >> colon >> second;
        path_ = (directory / name).string();
        if (::mknod(path_.c_str(), S_IFBLK | 0600, makedev(first, second)) != 0)
            throw std::runtime_error("mknod failed");
    }
    partition(const partition&) = delete;
    partition& operator=(const partition&) = delete;
    ~partition() { run_command({"delpart", disk_, number_}); }
    const std::string& path() const noexcept { return path_; }

private:
    std::string disk_;
    std::string number_;
    std::string path_;
};

class mounted {
public:
    mounted(const std::vector<std::string>& arguments, std::string mount_point) : mount_point_(std::move(mount_point)) {
        std::filesystem::create_directories(mount_point_);
        std::vector<std::string> command{"mount"};
        command.insert(command.end(), arguments.begin(), arguments.end());
        command.push_back(mount_point_);
        run_checked(command);
    }
    mounted(const mounted&) = delete;
    mounted& operator=(const mounted&) = delete;
    ~mounted() {
        for (int tries = 0; tries < 50 && !run_command({"umount", mount_point_}).ok(); ++tries)
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    const std::string& path() const noexcept { return mount_point_; }

private:
    std::string mount_point_;
};

class active_swap {
public:
    explicit active_swap(std::string path) : path_(std::move(path)) {
        run_checked({"mkswap", path_});
        run_checked({"swapon", path_});
    }
    active_swap(const active_swap&) = delete;
    active_swap& operator=(const active_swap&) = delete;
    ~active_swap() { run_command({"swapoff", path_}); }

private:
    std::string path_;
};

/// qemu-io with an image open, until the test ends.
class qemu_user {
public:
    explicit qemu_user(const std::vector<std::string>& options) {
        std::array<int, 2> input{};
        std::array<int, 2> output{};
        if (::pipe2(input.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0)
            throw std::runtime_error("pipe failed");
        std::vector<std::string> words{"qemu-io"};
        words.insert(words.end(), options.begin(), options.end());
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
        const int failed = ::posix_spawnp(&child_, "qemu-io", &actions, nullptr, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(input[0]);
        ::close(output[1]);
        input_ = input[1];
        output_ = output[0];
        if (failed != 0) throw std::runtime_error("qemu-io cannot be started");
        // Its prompt says that the image is open.
        char letter = 0;
        while (::read(output_, &letter, 1) == 1 && letter != '>') {
        }
        if (letter != '>') throw std::runtime_error("qemu-io cannot open the image");
    }
    qemu_user(const qemu_user&) = delete;
    qemu_user& operator=(const qemu_user&) = delete;
    ~qemu_user() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            ::waitpid(child_, nullptr, 0);
        }
        ::close(input_);
        ::close(output_);
    }

private:
    pid_t child_ = -1;
    int input_ = -1;
    int output_ = -1;
};

}  // namespace reprotect::test
