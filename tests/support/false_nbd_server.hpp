// An NBD server that can be made to lie: it speaks the protocol by hand
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md) on a unix socket, and a test changes what it says.
// Each connection has a thread; all end with the server.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/temp_dir.hpp"

namespace reprotect::test {

class false_nbd_server {
public:
    // Flags of an export, and commands, as the protocol numbers them.
    enum : std::uint16_t {
        has_flags = 1,
        read_only = 2,
        send_flush = 4,
        send_trim = 32,
        send_zeroes = 64,
        multi_conn = 256,
        fast_zero = 2048
    };
    enum : std::uint16_t { read = 0, write = 1, disconnect = 2, flush = 3, trim = 4, zeroes = 6, block_status = 7 };

    struct request {
        std::uint16_t type = 0;
        std::uint64_t cookie = 0;
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
    };

    class connection;
    /// What is said in a session. Set before the first client comes.
    struct script {
        std::uint64_t size = 1 << 20;
        std::uint16_t flags = has_flags | send_flush | send_zeroes;
        bool greets = true;
        bool tells_allocation = true;
        std::vector<std::uint32_t> block_sizes = {};  ///< minimum, preferred, maximum; empty: nothing is said
        /// Answers a request; false ends the connection. By default everything succeeds, and reads are full of 0x5a.
        std::function<bool(connection&, const request&)> answer = {};
        /// Called for each connection but the first, before its greeting.
        std::function<void(script&)> before_next = {};
    };

    class connection {
    public:
        connection(int socket, const script& says) : socket_(socket), says_(says) {}

        void send(const std::string& bytes) const {
            for (std::size_t at = 0; at < bytes.size();) {
                const ssize_t sent = ::send(socket_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
                if (sent <= 0) return;
                at += static_cast<std::size_t>(sent);
            }
        }
        /// A structured answer; done says that it is the last part.
        void reply(const request& to, bool done, std::uint16_t type, const std::string& payload) const {
            send(number(0x668e33ef, 4) + number(done ? 1 : 0, 2) + number(type, 2) + number(to.cookie, 8) +
                 number(payload.size(), 4) + payload);
        }
        void succeed(const request& to) const { reply(to, true, 0, {}); }
        void fail(const request& to, std::uint32_t code) const {
            reply(to, true, 0x8001, number(code, 4) + number(0, 2));
        }
        void data(const request& to, bool done, std::uint64_t offset, const std::string& bytes) const {
            reply(to, done, 1, number(offset, 8) + bytes);
        }
        void allocation(const request& to, const std::vector<std::pair<std::uint32_t, std::uint32_t>>& runs) const {
            std::string payload = number(1, 4);
            for (const auto& [length, flags] : runs) payload += number(length, 4) + number(flags, 4);
            reply(to, true, 5, payload);
        }

        void serve() {
            if (!says_.greets) return wait_for_end();
            send("NBDMAGICIHAVEOPT" + number(3, 2));
            if (receive(4).empty() || !negotiate()) return;
            for (;;) {
                const std::string head = receive(28);
                if (head.empty()) return;
                request asked{static_cast<std::uint16_t>(value(head, 6, 2)), value(head, 8, 8), value(head, 16, 8),
                              static_cast<std::uint32_t>(value(head, 24, 4))};
                if (asked.type == disconnect) return;
                if (asked.type == write && receive(asked.length).empty()) return;
                if (says_.answer ? !says_.answer(*this, asked) : !answer_well(asked)) return;
            }
        }

        /// As an honest server would.
        bool answer_well(const request& asked) const {
            if (asked.type == read)
                data(asked, true, asked.offset, std::string(asked.length, '\x5a'));
            else if (asked.type == block_status)
                allocation(asked, {{asked.length, 0}});
            else
                succeed(asked);
            return true;
        }

        void wait_for_end() const {
            char byte = 0;
            while (::recv(socket_, &byte, 1, 0) > 0) {
            }
        }

        static std::string number(std::uint64_t value, int bytes) {
            std::string text;
            for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
            return text;
        }

    private:
        static std::uint64_t value(const std::string& bytes, std::size_t at, int count) {
            std::uint64_t result = 0;
            for (int index = 0; index < count; ++index)
                result = result << 8 | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(index)]);
            return result;
        }

        std::string receive(std::size_t length) const {
            std::string bytes(length, '\0');
            for (std::size_t at = 0; at < length;) {
                const ssize_t got = ::recv(socket_, bytes.data() + at, length - at, 0);
                if (got <= 0) return {};
                at += static_cast<std::size_t>(got);
            }
            return bytes;
        }

        void reply_option(std::uint64_t option, std::uint32_t type, const std::string& payload) const {
            send(number(0x3e889045565a9, 8) + number(option, 4) + number(type, 4) + number(payload.size(), 4) +
                 payload);
        }

        bool negotiate() const {
            constexpr std::uint32_t acknowledge = 1, info = 3, context = 4, unsupported = 0x80000001;
            for (;;) {
                const std::string head = receive(16);
                if (head.empty()) return false;
                const std::uint64_t option = value(head, 8, 4);
                const std::size_t length = value(head, 12, 4);
                if (length != 0 && receive(length).empty()) return false;
                if (option == 8) {  // structured answers
                    reply_option(option, acknowledge, {});
                } else if (option == 10 && says_.tells_allocation) {
                    reply_option(option, context, number(1, 4) + "base:allocation");
                    reply_option(option, acknowledge, {});
                } else if (option == 10) {
                    reply_option(option, acknowledge, {});
                } else if (option == 7) {  // go
                    reply_option(option, info, number(0, 2) + number(says_.size, 8) + number(says_.flags, 2));
                    if (!says_.block_sizes.empty()) {
                        std::string sizes = number(3, 2);
                        for (const std::uint32_t each : says_.block_sizes) sizes += number(each, 4);
                        reply_option(option, info, sizes);
                    }
                    reply_option(option, acknowledge, {});
                    return true;
                } else {
                    reply_option(option, unsupported, {});
                }
            }
        }

        int socket_;
        const script& says_;
    };

    explicit false_nbd_server(script says)
        : says_(std::move(says)), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path().copy(address.sun_path, sizeof address.sun_path - 1);
        if (::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(socket_, 16) != 0)
            throw std::runtime_error("no socket for a false server");
        accepting_ = std::thread([this] { accept(); });
    }
    false_nbd_server(const false_nbd_server&) = delete;
    false_nbd_server& operator=(const false_nbd_server&) = delete;
    ~false_nbd_server() {
        ::shutdown(socket_, SHUT_RDWR);
        accepting_.join();
        ::close(socket_);
        {
            const std::lock_guard lock(mutex_);
            for (const int client : clients_) ::shutdown(client, SHUT_RDWR);
        }
        for (std::thread& each : threads_) each.join();
        for (const int client : clients_) ::close(client);
    }

    std::string path() const { return folder_.file("socket"); }
    std::string uri() const { return "nbd+unix:///?socket=" + path(); }
    std::size_t connections() {
        const std::lock_guard lock(mutex_);
        return clients_.size();
    }

private:
    void accept() {
        for (;;) {
            const int client = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) return;
            const std::lock_guard lock(mutex_);
            if (!clients_.empty() && says_.before_next) says_.before_next(says_);
            clients_.push_back(client);
            threads_.emplace_back([client, says = says_] {
                connection(client, says).serve();
                ::shutdown(client, SHUT_RDWR);
            });
        }
    }

    temp_dir folder_;
    script says_;
    int socket_;
    std::thread accepting_;
    std::mutex mutex_;
    std::vector<int> clients_;
    std::vector<std::thread> threads_;
};

}  // namespace reprotect::test
