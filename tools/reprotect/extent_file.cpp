// A file with a zero byte near its start is taken for a differential, whose loader then judges it; all else is text.
#include "extent_file.hpp"

#include "reprotect/differential.hpp"
#include "reprotect/digest_map.hpp"
#include "reprotect/error.hpp"
#include "reprotect/units.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <sstream>

#include "console.hpp"

namespace reprotect::tool {
namespace {

constexpr std::uint64_t text_bytes_max = 256u << 20;  // guessed: ten million extents
constexpr std::size_t probe_bytes = 64;

error_kind kind_of(int number) {
    if (number == ENOENT || number == ENOTDIR) return error_kind::not_found;
    return number == EACCES || number == EPERM ? error_kind::permission : error_kind::device_io;
}

std::string read_file(const std::string& path, const std::string& option) {
    const auto fail = [&](int number) {
        return system_error(kind_of(number), number,
                            {.device = path,
                             .operation = "reading",
                             .holder = {},
                             .hint = fmt::format("{} takes a file with extents", option)});
    };
    // Non-blocking, so that a pipe without a writer is refused below instead of waited for.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) throw fail(errno);
    struct closer {
        int descriptor;
        ~closer() { ::close(descriptor); }
    } const guard{descriptor};
    struct stat info {};
    if (::fstat(descriptor, &info) != 0) throw fail(errno);
    if (!S_ISREG(info.st_mode)) {
        throw make_error(error_kind::unsuitable, fmt::format("{} {} is no regular file", option, path),
                         {.device = path, .hint = "give a file saved by 'diff -o', or lines \"offset length\""});
    }
    if (static_cast<std::uint64_t>(info.st_size) > text_bytes_max) {
        throw make_error(error_kind::usage,
                         fmt::format("{} {} is larger than {}", option, path, format_size(text_bytes_max)),
                         {.device = path, .hint = "give a file of extents, not a disk"});
    }
    std::string content;
    std::string part(64 * 1024, '\0');
    for (;;) {
        const ssize_t got = ::read(descriptor, part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw fail(errno);
        if (got == 0) return content;
        content.append(part, 0, static_cast<std::size_t>(got));
    }
}

// Sets built from unsorted lines would cost O(n) a line, so the lines are sorted first.
extent_set sorted_set(std::vector<extent> ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const extent& a, const extent& b) { return a.offset < b.offset; });
    extent_set result;
    for (const extent& range : ranges) result.add(range);
    return result;
}

extent_set parse_text(const std::string& content, const std::string& path, const std::string& option) {
    std::vector<extent> ranges;
    std::istringstream lines(content);
    std::string line;
    for (std::size_t number = 1; std::getline(lines, line); ++number) {
        if (const std::size_t comment = line.find('#'); comment != std::string::npos) line.resize(comment);
        std::istringstream words(line);
        std::string offset;
        std::string length;
        if (!(words >> offset)) continue;
        words >> length;
        try {
            const extent range{parse_size(offset), parse_size(length)};
            if (range.length > std::numeric_limits<std::int64_t>::max() - range.offset)
                throw error(error_kind::usage, "offset and length together are too large");
            ranges.push_back(range);
        } catch (const error& problem) {
            throw make_error(error_kind::usage, fmt::format("{} {}, line {}: {}", option, path, number, problem.what()),
                             {.device = path, .hint = "each line is \"offset length\", as in \"0 64KiB\""});
        }
    }
    return sorted_set(std::move(ranges));
}

bool is_saved_value(const std::string& path) {
    try {
        load_digest_map(path);
        return true;
    } catch (const error&) {
    }
    try {
        load_differential(path);
        return true;
    } catch (const error&) {
        return false;
    }
}

}  // namespace

loaded_extents load_extents(const std::string& path, const std::string& option) {
    const std::string content = read_file(path, option);
    if (content.substr(0, probe_bytes).find('\0') == std::string::npos) return {parse_text(content, path, option), {}};
    const differential loaded = load_differential(path);
    return {loaded.extents(), loaded.disk_bytes()};
}

void check_extents(const loaded_extents& loaded, const device& disk, const std::string& option) {
    if (loaded.disk_bytes && *loaded.disk_bytes != disk.size()) {
        throw make_error(error_kind::size_mismatch,
                         fmt::format("{}: the differential was made for a disk of {} bytes, but {} has {}", option,
                                     *loaded.disk_bytes, disk.name(), disk.size()),
                         {.device = disk.name(), .hint = "make it again with 'reprotect diff -o' of these disks"});
    }
    if (loaded.extents.empty()) return;
    const extent last = loaded.extents[loaded.extents.count() - 1];
    if (last.end() > disk.size()) {
        throw make_error(error_kind::usage,
                         fmt::format("{}: the extent at {} of {} bytes ends beyond {}, which has {} bytes", option,
                                     last.offset, last.length, disk.name(), disk.size()),
                         {.device = disk.name(), .hint = "check that the extents are of this disk"});
    }
}

void check_output(const std::string& path, const std::vector<device*>& disks) {
    const auto refuse = [&](const std::string& why) {
        return make_error(
            error_kind::usage, fmt::format("-o {}: {}", path, why),
            {.device = path, .hint = "give the name of a new file, or of a map or differential to replace"});
    };
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        const std::string folder = std::filesystem::path(path).parent_path().string();
        const bool named = errno == ENOENT && path.back() != '/';
        if (named && ::access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) == 0) return;
        throw refuse(fmt::format("no file can be made there: {}", std::strerror(errno)));
    }
    for (device* const disk : disks) {
        const auto native = disk->native();
        struct stat other {};
        if (native && ::fstat(native->descriptor, &other) == 0 && other.st_dev == info.st_dev &&
            other.st_ino == info.st_ino)
            throw refuse(fmt::format("that is the disk {} itself", disk->name()));
    }
    if (!S_ISREG(info.st_mode)) throw refuse("it exists and is no regular file");
    if (info.st_size != 0 && !is_saved_value(path))
        throw refuse("it exists and is neither a digest map nor a differential; it will not be replaced");
}

}  // namespace reprotect::tool
