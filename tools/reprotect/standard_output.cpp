// Plain writes, repeated until all is out.
#include "standard_output.hpp"

#include <unistd.h>

#include <cerrno>

namespace reprotect::tool {

int write_output(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return 0;
}

}  // namespace reprotect::tool
