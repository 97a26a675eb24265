// Sockets that systemd opened for this process before it began (sd_listen_fds(3)).
#pragma once

#include <vector>

namespace reprotect::tool {

/// The descriptors, listening and not passed on to programs that are started from here; none where there are none for
/// this very process. The variables that told of them are gone afterwards. Throws `usage` for what is no listening TCP
/// socket.
std::vector<int> take_activated_sockets();

}  // namespace reprotect::tool
