// qemu-nbd knows the formats; libnbd starts it with a socket that it finds as descriptor 3 (socket activation), so that there
// is no port and no name to choose and nobody else can connect first. It serves one client and ends when that one is gone,
// however that came to pass.
//
// Two things stand between: a shell that says the server's process number and hands it a place for its complaints, and setsid,
// so that the terminal's Ctrl-C, which stops a sync with a flush at its end, does not end the server before that flush.
// QEMU ends with its client only once that client has been greeted. Until then the shell's child watches a pipe of ours: when it
// breaks, we are dead, and the server goes, too.
//
// Which files the disk lies in, backing chain included, is read from the server's open descriptors: that is what it really
// opened, whatever the images name.
#include "device/image_device.hpp"

#include "reprotect/error.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "device/posix_device.hpp"
#include "device/topology.hpp"

namespace reprotect {
namespace {

constexpr int lowest_given_descriptor = 10;  // 3 is the socket's
constexpr std::chrono::seconds closing_patience{
    20};  // guessed: all was flushed before; only tables may be left to write
constexpr std::chrono::milliseconds closing_pause{5};

[[noreturn]] void refuse(error_kind kind, const std::string& name, const std::string& why, std::string hint) {
    throw error(kind, "cannot open " + name + ": " + why,
                {.device = name, .operation = "open", .hint = std::move(hint)});
}

// QEMU's options are separated by commas; one that belongs to a value is doubled.
std::string quoted(const std::string& value) {
    std::string doubled;
    for (const char letter : value) doubled.append(letter == ',' ? 2 : 1, letter);
    return doubled;
}

// What a server is given while it starts: a file of memory for what it writes to its standard error, and the pipe that says
// whether we live. The descriptors that it inherits are open in this process only as long as one server starts at a time.
class server_birth {
public:
    server_birth() : lock_(one_at_a_time()) {
        log_ = owned_descriptor(::memfd_create("qemu-nbd", MFD_CLOEXEC));
        given_log_ = owned_descriptor(::fcntl(log_.get(), F_DUPFD, lowest_given_descriptor));
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        const owned_descriptor watched(ends[0]);
        lifeline_ = owned_descriptor(ends[1]);
        given_pipe_ = owned_descriptor(::fcntl(watched.get(), F_DUPFD, lowest_given_descriptor));
    }
    server_birth(const server_birth&) = delete;
    server_birth& operator=(const server_birth&) = delete;
    // However it went, we are alive, and see to it ourselves from here on.
    ~server_birth() {
        if (lifeline_) [[maybe_unused]]
            const ssize_t told = ::write(lifeline_.get(), "\n", 1);
    }

    bool complete() const { return log_ && given_log_ && lifeline_ && given_pipe_; }
    std::string log_number() const { return std::to_string(given_log_.get()); }
    std::string pipe_number() const { return std::to_string(given_pipe_.get()); }
    std::string text() const {
        std::string text(64 << 10, '\0');
        const ssize_t length = ::pread(log_.get(), text.data(), text.size(), 0);
        text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
        return text;
    }

private:
    static std::mutex& one_at_a_time() {
        static std::mutex mutex;
        return mutex;
    }

    std::unique_lock<std::mutex> lock_;
    owned_descriptor log_, given_log_, lifeline_, given_pipe_;
};

struct server_words {
    int process = 0;
    std::string complaint;
};

// The first line is the process number.
server_words parse(const std::string& log) {
    server_words words;
    const std::size_t line = log.find('\n');
    words.process = std::atoi(log.c_str());
    if (line != std::string::npos) words.complaint = log.substr(line + 1);
    std::replace(words.complaint.begin(), words.complaint.end(), '\n', ' ');
    while (words.complaint.ends_with(' ')) words.complaint.pop_back();
    // The options that it was given are ours, not the reader's.
    constexpr std::string_view options_end = ",discard=unmap': ";
    if (const std::size_t at = words.complaint.find(options_end); at != std::string::npos)
        words.complaint = "qemu-nbd: " + words.complaint.substr(at + options_end.size());
    return words;
}

std::vector<std::string> command(std::string_view format, const std::string& path, bool is_block,
                                 const open_options& options, const server_birth& birth) {
    std::string image = "driver=" + std::string(format) + ",file.driver=" + (is_block ? "host_device" : "file") +
                        ",file.filename=" + quoted(path) + ",discard=unmap";
    constexpr const char* script = R"(
exec </dev/null >/dev/null 2>>"/proc/self/fd/$0"
echo $$ >&2
{ read -r alive <"/proc/self/fd/$1" || kill -KILL $$; } 3<&- 2>/dev/null &
shift
LC_ALL=C exec setsid qemu-nbd "$@")";
    std::vector<std::string> words = {"/bin/sh",           "-c",           script,       birth.log_number(),
                                      birth.pipe_number(), "--image-opts", "--shared=1", "--discard=unmap"};
    if (options.mode == access::read_only) words.emplace_back("--read-only");
    words.emplace_back(options.direct ? "--cache=none" : "--cache=writeback");
    words.push_back(std::move(image));
    return words;
}

[[noreturn]] void refuse_for_complaint(const std::string& name, std::string_view format, const std::string& complaint,
                                       const error& why) {
    const auto says = [&](const char* words) { return complaint.find(words) != std::string::npos; };
    if (says("failed to execute") || says("setsid: not found"))
        refuse(error_kind::unsuitable, name, "qemu-nbd is not installed, which opens images",
               "install it (Debian: apt install qemu-utils)");
    if (complaint.empty())
        refuse(error_kind::device_io, name, std::string("qemu-nbd did not serve it: ") + why.what(),
               "try `qemu-img check` on it");
    if (says("lock") && says("using"))
        refuse(error_kind::in_use, name, complaint, "stop the virtual machine or QEMU tool that uses it");
    if (says("Permission denied"))
        refuse(error_kind::permission, name, complaint, "run it as root or as a user who may open all of its files");
    if (says("No such file"))
        refuse(error_kind::not_found, name, complaint,
               "an image that it builds upon is missing: `qemu-img info --backing-chain` names them");
    refuse(error_kind::unsuitable, name, complaint,
           "`qemu-img check -f " + std::string(format) + "` tells more about the image");
}

// What it has from us, and did not open itself.
bool is_inherited(int server, int number) {
    return ::syscall(SYS_kcmp, ::getpid(), server, KCMP_FILE, number, number) == 0;
}

// The server's files and block devices, those it writes to first.
std::vector<image_device::lower> files_of(int server, const std::string& name) {
    std::vector<image_device::lower> files;
    const std::string folder = "/proc/" + std::to_string(server) + "/fd/";
    for (const std::string& number : directory_entries(folder)) {
        struct stat status {};
        if (::stat((folder + number).c_str(), &status) != 0) continue;
        if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) continue;
        if (is_inherited(server, std::atoi(number.c_str()))) continue;
        std::error_code gone;
        std::string path = std::filesystem::read_symlink(folder + number, gone).string();
        if (gone || path.starts_with("/memfd:")) continue;
        std::ifstream info("/proc/" + std::to_string(server) + "/fdinfo/" + number);
        unsigned long flags = 0;
        for (std::string line; std::getline(info, line);)
            if (line.starts_with("flags:")) flags = std::strtoul(line.c_str() + 6, nullptr, 8);
        const bool written = (flags & O_ACCMODE) != O_RDONLY;
        owned_descriptor own(
            ::open((folder + number).c_str(), (written ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
        if (!own)
            refuse(error_kind::permission, name, "the files that it lies in cannot be looked at (" + path + ")",
                   "run it as root or as the owner of its files");
        files.push_back({std::move(own), std::move(path), written});
    }
    std::stable_partition(files.begin(), files.end(), [](const auto& each) { return each.written; });
    return files;
}

bool holds(const std::vector<image_device::lower>& files, const native_handle& wanted) {
    struct stat own {};
    if (::fstat(wanted.descriptor, &own) != 0) return false;
    return std::any_of(files.begin(), files.end(), [&](const image_device::lower& each) {
        struct stat status {};
        return ::fstat(each.descriptor.get(), &status) == 0 && status.st_dev == own.st_dev &&
               status.st_ino == own.st_ino;
    });
}

}  // namespace

// libnbd would send a signal first and then wait without end; a server that closes its image in peace needs neither.
image_device::~image_device() {
    disk_->disconnect();
    const auto deadline = std::chrono::steady_clock::now() + closing_patience;
    siginfo_t ended{};
    while (::waitid(P_PID, static_cast<id_t>(server_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0) {
        if (std::chrono::steady_clock::now() >= deadline) {
            ::kill(server_, SIGKILL);
            return;
        }
        std::this_thread::sleep_for(closing_pause);
    }
}

std::vector<lower_file> image_device::lies_in() const {
    std::vector<lower_file> list;
    for (const lower& each : files_) list.push_back({{each.descriptor.get(), each.path}, each.written, server_});
    return list;
}

std::unique_ptr<device> open_image_inside(const std::string& name, std::string_view format, const std::string& path,
                                          std::unique_ptr<device> image, const open_options& options) {
    const server_birth birth;
    if (!birth.complete())
        refuse(error_kind::device_io, name, "no descriptors are left", "raise the limit of descriptors (ulimit -n)");
    const native_handle handle = image->native().value();
    const nbd_endpoint server{
        {}, command(format, handle.path, image->properties().kind == device_kind::block_device, options, birth)};
    device_identity identity{{{"kind", std::string(format)}}};
    for (const auto& [key, value] : image->identity().fields) identity.fields.emplace_back("image_" + key, value);

    // The other formats keep zeroed blocks as data, which the next sync would zero again.
    std::unique_ptr<nbd_device> disk;
    try {
        disk = std::make_unique<nbd_device>(name, server, std::move(identity), options,
                                            nbd_device::nature{1, format == "qcow2"});
    } catch (const error& why) {
        if (why.kind() == error_kind::unsuitable) throw;
        refuse_for_complaint(name, format, parse(birth.text()).complaint, why);
    }
    const int process = parse(birth.text()).process;
    std::vector<image_device::lower> files = files_of(process, name);
    // A name that was turned round meanwhile must not bring in a disk that was not looked at.
    if (!holds(files, handle))
        refuse(error_kind::device_io, name, "qemu-nbd opened another file than " + path,
               "somebody replaced it meanwhile; try again");
    return std::make_unique<image_device>(std::move(disk), std::move(files), process);
}

}  // namespace reprotect
