// LISTEN_PID says whom the sockets are for, LISTEN_FDS how many there are, from descriptor 3 on. The protocol is so
// small that no library is needed for it.
#include "socket_activation.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>

#include "console.hpp"

namespace reprotect::tool {
namespace {

constexpr int first_descriptor = 3;    // specified: SD_LISTEN_FDS_START
constexpr int descriptors_max = 1024;  // guessed: beyond any unit's sockets

std::optional<int> number_in(const char* variable) {
    const char* const value = std::getenv(variable);
    if (value == nullptr) return std::nullopt;
    const std::string text = value;
    int number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

int socket_option(int descriptor, int option) {
    int value = 0;
    socklen_t length = sizeof value;
    return ::getsockopt(descriptor, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

bool listens(int descriptor) {
    const int domain = socket_option(descriptor, SO_DOMAIN);
    return socket_option(descriptor, SO_ACCEPTCONN) == 1 && socket_option(descriptor, SO_TYPE) == SOCK_STREAM &&
           (domain == AF_INET || domain == AF_INET6);
}

}  // namespace

std::vector<int> take_activated_sockets() {
    const bool ours = number_in("LISTEN_PID") == ::getpid();
    const int count = number_in("LISTEN_FDS").value_or(0);
    for (const char* const variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(variable);
    std::vector<int> sockets;
    if (!ours) return sockets;
    for (int i = 0; i < std::min(count, descriptors_max); ++i) {
        const int descriptor = first_descriptor + i;
        if (!listens(descriptor)) {
            throw make_error(
                error_kind::usage,
                fmt::format("descriptor {}, handed over by LISTEN_FDS, is no listening TCP socket", descriptor),
                {.device = {}, .hint = "in the socket's unit write ListenStream=PORT and Accept=no"});
        }
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
        sockets.push_back(descriptor);
    }
    return sockets;
}

}  // namespace reprotect::tool
