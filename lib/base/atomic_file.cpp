// Writes beside the old file and renames over it. The order is what makes it safe: the content is on stable storage before
// the name points to it (fsync, rename), and the name is before the caller goes on (fsync of the directory).
// A process that is killed between leaves a file ".reprotect-*.tmp" behind and the old content in place.
#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

#include "base/owned_descriptor.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

error file_error(const std::string& operation, const std::filesystem::path& path, int code) {
    error_detail detail;
    detail.device = path.string();
    detail.operation = operation;
    switch (code) {
        case ENOENT:
            detail.hint = "check the path " + path.string();
            return system_error(error_kind::not_found, code, std::move(detail));
        case EACCES:
        case EPERM:
        case EROFS:
            detail.hint = "choose a place that this user may use, or run as a user who may use " + path.string();
            return system_error(error_kind::permission, code, std::move(detail));
        case ENOTDIR:
        case EISDIR:
        case ELOOP:
        case ENAMETOOLONG:
            detail.hint = "name a regular file";
            return system_error(error_kind::unsuitable, code, std::move(detail));
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            detail.hint = "make room on the file system that holds " + path.string();
            break;
        default:
            detail.hint = "check the file system that holds " + path.string();
            break;
    }
    return system_error(error_kind::device_io, code, std::move(detail));
}

error not_a_file(const std::string& operation, const std::filesystem::path& path) {
    error_detail detail;
    detail.device = path.string();
    detail.operation = operation;
    detail.hint = "name a regular file";
    return error(error_kind::unsuitable, operation + " of " + path.string() + " refused: it is not a regular file",
                 std::move(detail));
}

// A name that nobody else picks; short, so that it fits wherever the file's own name does.
std::string temporary_name() {
    std::uint64_t value = 0;
    if (::getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value))
        value = static_cast<std::uint64_t>(::getpid());
    char text[40];
    std::snprintf(text, sizeof text, ".reprotect-%016llx.tmp", static_cast<unsigned long long>(value));
    return text;
}

// Removes the temporary file unless it was renamed.
class temporary_entry {
public:
    temporary_entry(int directory, std::string name) : directory_(directory), name_(std::move(name)) {}
    temporary_entry(const temporary_entry&) = delete;
    temporary_entry& operator=(const temporary_entry&) = delete;
    ~temporary_entry() {
        if (!renamed_) ::unlinkat(directory_, name_.c_str(), 0);
    }
    const char* name() const noexcept { return name_.c_str(); }
    void renamed() noexcept { renamed_ = true; }

private:
    int directory_;
    std::string name_;
    bool renamed_ = false;
};

}  // namespace

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content, mode_t mode) {
    const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    const std::string name = path.filename().string();
    if (name.empty() || name == "." || name == "..") throw not_a_file("write", path);

    const owned_descriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) throw file_error("open", parent, errno);

    // A rename would put the file in a device node's place without a word.
    struct stat status {};
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) throw not_a_file("write", path);
    } else if (errno != ENOENT) {
        throw file_error("write", path, errno);
    }

    const std::string temporary = temporary_name();
    owned_descriptor file(
        ::openat(directory.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file) throw file_error("write", path, errno);
    temporary_entry entry(directory.get(), temporary);

    for (std::size_t done = 0; done < content.size();) {
        const ssize_t count = ::write(file.get(), content.data() + done, content.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw file_error("write", path, errno);
        done += static_cast<std::size_t>(count);
    }
    if (::fsync(file.get()) != 0) throw file_error("flush", path, errno);
    file.reset();
    if (::renameat(directory.get(), entry.name(), directory.get(), name.c_str()) != 0)
        throw file_error("write", path, errno);
    entry.renamed();
    if (::fsync(directory.get()) != 0) throw file_error("flush", parent, errno);
}

void flush_directory(const std::filesystem::path& directory) {
    const owned_descriptor descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!descriptor) throw file_error("open", directory, errno);
    if (::fsync(descriptor.get()) != 0) throw file_error("flush", directory, errno);
}

std::vector<std::byte> read_whole_file(const std::filesystem::path& path, std::uint64_t max_bytes, final_link link) {
    // O_NONBLOCK: a FIFO is refused below, and must not make the open wait for a writer.
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (link == final_link::refuse ? O_NOFOLLOW : 0);
    const owned_descriptor file(::open(path.c_str(), flags));
    if (!file) throw file_error("open", path, errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw file_error("open", path, errno);
    if (!S_ISREG(status.st_mode)) throw not_a_file("read", path);

    const auto too_long = [&] {
        error_detail detail;
        detail.device = path.string();
        detail.operation = "read";
        detail.hint = "check that this is the file you mean";
        return error(error_kind::corrupt_file,
                     "read of " + path.string() + " refused: it is longer than " + std::to_string(max_bytes) + " bytes",
                     std::move(detail));
    };
    if (static_cast<std::uint64_t>(status.st_size) > max_bytes) throw too_long();

    // The file may grow while it is read: one byte more than expected is asked for, so that its end is seen.
    std::vector<std::byte> content(static_cast<std::size_t>(status.st_size) + 1);
    std::size_t done = 0;
    for (;;) {
        if (done == content.size()) {
            if (done > max_bytes) throw too_long();
            content.resize(std::min<std::size_t>(done * 2, static_cast<std::size_t>(max_bytes) + 1));
        }
        const ssize_t count = ::read(file.get(), content.data() + done, content.size() - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw file_error("read", path, errno);
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    content.resize(done);
    return content;
}

}  // namespace reprotect
