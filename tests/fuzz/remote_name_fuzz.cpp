// The name of a peer's disk. What comes out of it becomes arguments of ssh and
// a request to a server.
#include <string>

#include "fuzz/fuzzers.hpp"
#include "reprotect/connect.hpp"
#include "reprotect/error.hpp"

namespace reprotect::fuzz {

void remote_name(input bytes) {
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    reprotect::remote_name name;
    try {
        name = parse_remote_name(text);
    } catch (const error& why) {
        promise(why.kind() == error_kind::usage, "a name is refused as the user's mistake");
        return;
    }
    const bool ssh = name.how == reprotect::remote_name::scheme::ssh;
    promise(names_peer(text), "what is read as a peer's disk looks like one");
    promise(!name.host.empty() && name.host.front() != '-', "ssh cannot take the host for an option");
    promise(name.user.empty() || (ssh && name.user.front() != '-'), "ssh cannot take the user for an option");
    promise(!name.disk.empty() && name.disk.size() <= (ssh ? 4096u : 255u),
            "the disk has a name of a length that can be asked for");
    promise(ssh || name.disk.find('/') == std::string::npos, "an export is no path");
}

}  // namespace reprotect::fuzz
