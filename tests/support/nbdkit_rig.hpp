// Disks that fail on demand. nbdkit serves an image through a script: an NBD export. nbdfuse shows such a server as a file and
// losetup makes a block device of that file: then the kernel's whole path lies between a test and the fault, page cache,
// writeback, loop driver and FUSE.
//
// The script asks a file "on-OPERATION" of the rig's folder before it carries out a request; that file holds the rules that
// the test has set. They come and go while the device is in use: the file is always there, and is replaced by a rename. In a
// rule, $3 is the count and $4 the offset in bytes.
// Everything has a private folder and socket and ends with the rig, by process id: first the server, so that nothing below
// can wait for it, then what stands on it.
#pragma once

#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/owned_descriptor.hpp"
#include "reprotect/extent.hpp"
#include "support/bytes.hpp"
#include "support/loop_device.hpp"
#include "support/process.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

namespace reprotect::test {

/// A TCP port of 127.0.0.1 that nobody has at the moment; somebody may take it before the server that is meant to.
inline unsigned free_port() {
    const owned_descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
        throw std::runtime_error("no free port");
    return ntohs(address.sin_port);
}

/// nbdkit in the foreground on a unix socket of its own, or a TCP port of 127.0.0.1. `words` are filters, plugin and parameters.
class nbdkit_server {
public:
    enum class transport { unix_socket, tcp };

    nbdkit_server(const std::filesystem::path& folder, const std::vector<std::string>& words,
                  transport over = transport::unix_socket)
        : socket_((folder / "socket").string()) {
        const std::string ready = (folder / "nbdkit.pid").string();
        for (int tries = 0; tries < 10; ++tries) {
            std::filesystem::remove(ready);
            std::vector<std::string> command{"nbdkit", "--foreground", "--exit-with-parent", "--pidfile", ready};
            if (over == transport::tcp) {
                port_ = free_port();
                command.insert(command.end(), {"--ipaddr", "127.0.0.1", "--port", std::to_string(port_)});
            } else {
                command.insert(command.end(), {"--unix", socket_});
            }
            command.insert(command.end(), words.begin(), words.end());
            process_.emplace(command);
            // It writes that file when it listens, and ends where the port is somebody else's by now.
            wait_until([&] { return std::filesystem::exists(ready) || !process_->runs(); });
            if (process_->runs() || over != transport::tcp) break;
        }
        if (!std::filesystem::exists(ready) || !process_->runs())
            throw std::runtime_error("nbdkit does not come up: " + process_->errors());
    }

    const std::string& socket() const noexcept { return socket_; }
    unsigned port() const noexcept { return port_; }
    std::string uri() const { return "nbd+unix:///?socket=" + socket_; }

    /// As if its machine were switched off.
    void kill() { process_.reset(); }
    /// It neither answers nor goes away.
    void stall() const {
        if (process_) process_->send(SIGSTOP);
    }
    void go_on() const {
        if (process_) process_->send(SIGCONT);
    }

private:
    std::string socket_;
    unsigned port_ = 0;
    std::optional<process> process_;
};

/// A server's disk as a file, without a kernel driver of NBD.
class nbd_file {
public:
    nbd_file(const std::filesystem::path& folder, const nbdkit_server& server) : mount_point_(folder / "mount") {
        std::filesystem::create_directory(mount_point_);
        // Named after the folder: a mount without a name of its own would make all such disks one disk to those who ask.
        process_.emplace(std::vector<std::string>{"nbdfuse", "-o", "fsname=" + folder.string(), mount_point_.string(),
                                                  server.uri()});
        std::error_code ignored;
        if (!wait_until([&] { return std::filesystem::exists(path(), ignored); })) {
            unmount();
            throw std::runtime_error("nbdfuse does not come up: " + process_->errors());
        }
    }
    nbd_file(const nbd_file&) = delete;
    nbd_file& operator=(const nbd_file&) = delete;
    ~nbd_file() { unmount(); }

    std::string path() const { return (mount_point_ / "nbd").string(); }

private:
    void unmount() const {
        for (int tries = 0; tries < 50; ++tries) {
            if (run_command({"umount", mount_point_.string()}).ok()) return;
            ::usleep(20'000);
        }
        run_command({"umount", "--lazy", mount_point_.string()});
    }

    std::filesystem::path mount_point_;
    std::optional<process> process_;
};

/// An export that fails as the test says.
class failing_server {
public:
    explicit failing_server(std::span<const std::byte> content) {
        write_whole_file(image(), content);
        heal();
        write_script();
        server_.emplace(folder_.path(), std::vector<std::string>{"sh", folder_.file("script")});
    }
    failing_server(const failing_server&) = delete;
    failing_server& operator=(const failing_server&) = delete;

    nbdkit_server& server() { return *server_; }
    /// As `open_device` takes it.
    std::string name() const { return server_->uri(); }

    /// What the medium holds, whatever the caches show.
    std::vector<std::byte> medium() const { return read_whole_file(image()); }
    std::vector<std::byte> medium(extent where) const {
        const auto all = medium();
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(where.offset);
        return {begin, begin + static_cast<std::ptrdiff_t>(where.length)};
    }

    /// Requests of an operation ("pread", "pwrite", "flush", "trim", "zero") that touch the range fail with "EIO", "ENOSPC", …
    void fail(const std::string& operation, const std::string& code, extent where = everything) const {
        add_rule(operation, where, "echo " + code + " >&2; exit 1");
    }
    /// The same, once: of requests that run side by side only one makes the folder.
    void fail_once(const std::string& operation, const std::string& code, extent where = everything) {
        const std::string mark = "'" + folder_.file("failed-" + std::to_string(++failures_)) + "'";
        add_rule(operation, where, "if mkdir " + mark + " 2>/dev/null; then echo " + code + " >&2; exit 1; fi");
    }
    /// Each request of an operation takes that much longer.
    void delay(const std::string& operation, unsigned milliseconds) const {
        add_rule(operation, everything, "sleep " + std::to_string(milliseconds / 1000.0));
    }
    /// Writes that touch the range are acknowledged and forgotten.
    void lose_writes(extent where = everything) const { add_rule("pwrite", where, "cat >/dev/null; exit 0"); }
    /// Writes that touch the range land that much further on.
    void misdirect_writes(extent where, std::uint64_t shift) const {
        add_rule("pwrite", where, "set -- \"$1\" \"$2\" \"$3\" $(($4+" + std::to_string(shift) + "))");
    }
    /// Zeroing is acknowledged and not done.
    void ignore_zeroing() const {
        add_rule("zero", everything, "exit 0");
        add_rule("trim", everything, "exit 0");
    }
    /// All faults are gone.
    void heal() const {
        for (const char* operation : operations) {
            std::ofstream(rules(operation) + ".new").close();
            std::filesystem::rename(rules(operation) + ".new", rules(operation));
        }
    }

    /// How many requests of an operation reached the server.
    std::size_t requests(const std::string& operation) const {
        std::ifstream log(folder_.file("log"));
        std::size_t count = 0;
        for (std::string line; std::getline(log, line);) count += line == operation ? 1 : 0;
        return count;
    }

    /// To clients that come from now on, the range is a hole that reads as zeroes, whatever it holds.
    void claim_hole(extent where) const {
        std::ofstream(folder_.file("extents"))
            << "0 " << where.offset << '\n'
            << where.offset << ' ' << where.length << " hole,zero\n"
            << where.end() << ' ' << std::filesystem::file_size(image()) - where.end() << '\n';
    }

    static constexpr extent everything{0, std::uint64_t{1} << 62};

protected:
    const std::filesystem::path& folder() const { return folder_.path(); }

private:
    static constexpr const char* operations[] = {"pread", "pwrite", "flush", "trim", "zero"};

    std::string image() const { return folder_.file("image"); }
    std::string rules(const std::string& operation) const { return folder_.file("on-" + operation); }

    // Each request sees the old rules or the new ones.
    void add_rule(const std::string& operation, extent where, const std::string& action) const {
        const std::string path = rules(operation);
        std::filesystem::copy_file(path, path + ".new", std::filesystem::copy_options::overwrite_existing);
        std::string condition;
        if (operation != "flush")
            condition = "if [ $4 -lt " + std::to_string(where.end()) + " ] && [ $(($4+$3)) -gt " +
                        std::to_string(where.offset) + " ]; then " + action + "; fi";
        else
            condition = action;
        std::ofstream(path + ".new", std::ios::app) << condition << '\n';
        std::filesystem::rename(path + ".new", path);
    }

    void write_script() const {
        const std::string path = folder_.file("script");
        std::ofstream(path) << "#!/bin/sh\ncd '" << folder_.path().string() << "' || exit 1\n"
                            << R"(case $1 in pread|pwrite|flush|trim|zero)
    echo "$1" >>log
    . "./on-$1" ;;
esac
case $1 in
thread_model) echo parallel ;;
get_size) stat -c %s image ;;
can_write|can_flush|can_trim|can_zero) exit 0 ;;
can_extents) if [ -e extents ]; then exit 0; else exit 3; fi ;;
extents) cat extents ;;
pread) exec dd if=image iflag=skip_bytes,count_bytes,fullblock bs=256K skip="$4" count="$3" status=none ;;
pwrite) exec dd of=image oflag=seek_bytes iflag=fullblock bs=256K seek="$4" conv=notrunc status=none ;;
trim|zero) exec fallocate --punch-hole --offset "$4" --length "$3" image ;;
flush) exit 0 ;;
*) exit 2 ;;
esac
)";
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    }

    temp_dir folder_;
    unsigned failures_ = 0;
    std::optional<nbdkit_server> server_;
};

/// The same as a block device.
class failing_disk : public failing_server {
public:
    struct options {
        bool loop_direct =
            true;  ///< the loop driver goes past nbdfuse's cache, so that what the server holds can be read
        unsigned sector_bytes = 512;
    };

    explicit failing_disk(std::span<const std::byte> content) : failing_disk(content, options{}) {}
    failing_disk(std::span<const std::byte> content, const options& how)
        : failing_server(content),
          file_(folder(), server()),
          loop_(file_.path(), loop_options{.sector_bytes = how.sector_bytes, .direct = how.loop_direct}) {}
    ~failing_disk() { server().kill(); }

    /// "/dev/loop3"
    const std::string& path() const { return loop_.path(); }

private:
    nbd_file file_;
    loop_device loop_;
};

/// Empty where such devices can be made here, else why not; tried once.
inline const std::string& why_no_failing_disks() {
    static const std::string why = []() -> std::string {
        if (!loop_devices_available()) return "no loop devices";
        for (const char* program : {"nbdkit", "nbdfuse"})
            if (!run_command({program, "--version"}).ok()) return std::string("no ") + program;
        if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no /dev/fuse";
        return {};
    }();
    return why;
}

/// True, and said, where a test that needs them has to be left out.
inline bool no_failing_disks() {
    if (why_no_failing_disks().empty()) return false;
    WARN("no block device that fails can be made here: " << why_no_failing_disks());
    return true;
}

}  // namespace reprotect::test
