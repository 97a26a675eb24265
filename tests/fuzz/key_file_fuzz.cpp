// The content of a key file, read through a file that has no name.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "fuzz/fuzzers.hpp"
#include "reprotect/error.hpp"
#include "reprotect/key.hpp"

namespace reprotect::fuzz {
namespace {

struct nameless_file {
    int descriptor = ::memfd_create("key", MFD_CLOEXEC);
    nameless_file() { promise(descriptor >= 0 && ::fchmod(descriptor, 0600) == 0, "there is a file to read from"); }
    nameless_file(const nameless_file&) = delete;
    nameless_file& operator=(const nameless_file&) = delete;
    ~nameless_file() { ::close(descriptor); }
};

}  // namespace

void key_file(input bytes) {
    static const nameless_file file;
    promise(::ftruncate(file.descriptor, 0) == 0 &&
                ::pwrite(file.descriptor, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
            "the file holds the bytes");
    try {
        const shared_key key = load_key_file("/proc/self/fd/" + std::to_string(file.descriptor));
        promise(bytes.size() == 80 || bytes.size() == 81, "a key is one line of its length");
        promise(key_id(key).size() == 16, "a key has a name");
    } catch (const error& why) {
        promise(why.kind() == error_kind::corrupt_file, "what holds no key is a corrupt file");
    }
}

}  // namespace reprotect::fuzz
