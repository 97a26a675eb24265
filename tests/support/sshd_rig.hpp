// An sshd of the test's own on 127.0.0.1, with keys and configuration in a folder that goes with it. It lets in the
// user who runs the test, by key alone, and nobody else; nothing of the user's own ssh configuration is read or
// written.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "support/process.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

namespace reprotect::test {

class sshd_rig {
public:
    sshd_rig() {
        if (!std::filesystem::exists(program)) {
            why_not_ = std::string(program) + " is not installed";
            return;
        }
        // As root it gives up rights in this folder, which a service manager makes elsewhere.
        if (::geteuid() == 0 && ::mkdir("/run/sshd", 0755) != 0 && errno != EEXIST) {
            why_not_ = "there is no /run/sshd";
            return;
        }
        make_key("host");
        key_ = new_key();
        make_key("other-host");
        // A port that was free a moment ago may be somebody's by now.
        for (int attempt = 0; attempt < 5 && why_not_.empty() && !listens_; ++attempt) start();
        if (!listens_ && why_not_.empty()) why_not_ = "sshd does not start: " + running_->errors();
    }

    /// Why there is no sshd here; empty where there is one.
    const std::string& why_not() const noexcept { return why_not_; }

    /// "ssh://127.0.0.1:40123", for a path to follow.
    std::string address() const { return "ssh://127.0.0.1:" + std::to_string(port_); }

    /// For --ssh: with the key that is let in, or with another one, and the sshd's host key known.
    std::string command() const { return command_with(key_); }
    std::string command_with(const std::string& key) const { return command_of(key, known_as(folder_.file("host"))); }
    /// The same, but what is known is another host key.
    std::string command_of_another_host() const { return command_of(key_, known_as(folder_.file("other-host"))); }

    /// A key that is let in, under the options of an authorized_keys line, as `command="..."`.
    std::string new_key(const std::string& options = {}) {
        const std::string key = stranger();
        std::ofstream(folder_.file("authorized"), std::ios::app)
            << options << (options.empty() ? "" : " ") << public_part(key) << "\n";
        return key;
    }
    /// A key that is not.
    std::string stranger() { return make_key("key-" + std::to_string(++made_)); }

private:
    static constexpr const char* program = "/usr/sbin/sshd";  // it wants to be called by its whole path

    std::string make_key(const std::string& name) {
        const command_result made =
            run_command({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder_.file(name)});
        if (!made.ok()) why_not_ = "ssh-keygen does not make a key: " + made.errors;
        return folder_.file(name);
    }
    static std::string public_part(const std::string& key) {
        std::ifstream file(key + ".pub");
        std::string line;
        std::getline(file, line);
        return line;
    }

    // A file of known hosts that calls this port's host key that one. The port is part of the name.
    std::string known_as(const std::string& host_key) const {
        const std::string file = host_key + ".known-" + std::to_string(port_);
        std::ofstream(file) << "[127.0.0.1]:" << port_ << " " << public_part(host_key) << "\n";
        return file;
    }
    static std::string command_of(const std::string& key, const std::string& known_hosts) {
        return "ssh -F none -i " + key + " -o UserKnownHostsFile=" + known_hosts +
               " -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes";
    }

    static int tcp_socket() { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }
    static sockaddr_in loopback(unsigned port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        return address;
    }
    static unsigned free_port() {
        const int socket = tcp_socket();
        sockaddr_in address = loopback(0);
        socklen_t length = sizeof address;
        const bool bound = ::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
                           ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0;
        ::close(socket);
        if (!bound) throw std::runtime_error("no free port");
        return ntohs(address.sin_port);
    }
    bool answers() const {
        const int socket = tcp_socket();
        const sockaddr_in address = loopback(port_);
        const bool connected = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        ::close(socket);
        return connected;
    }

    void start() {
        port_ = free_port();
        std::ofstream(folder_.file("config"))
            << "ListenAddress 127.0.0.1\nPort " << port_ << "\nHostKey " << folder_.file("host")
            << "\nAuthorizedKeysFile " << folder_.file("authorized")
            << "\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
               "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin yes\n"
               "AcceptEnv none\nLogLevel ERROR\n"
               // The default takes a tenth of a second longer.
               "KexAlgorithms curve25519-sha256\n";
        running_ =
            std::make_unique<process>(std::vector<std::string>{program, "-D", "-e", "-f", folder_.file("config")});
        wait_until([this] { return !running_->runs() || answers(); });
        listens_ = running_->runs();
    }

    temp_dir folder_;
    int made_ = 0;
    std::string why_not_;
    std::string key_;
    unsigned port_ = 0;
    bool listens_ = false;
    std::unique_ptr<process> running_;
};

}  // namespace reprotect::test
