// Makes the disks that the end-to-end figures are measured on: one sparse disk with data in extents of 64 KiB to 64 MiB
// at random places, half of it incompressible and half log text, every 4 KiB block unique; and a copy in which 5% of
// the data differs (two thirds of the bytes in single 4 KiB blocks, one third in four long runs), with 1/32 of the data
// allocated on each side only.
//
//   reprotect_workload FOLDER [DISK_MIB [DATA_MIB]]     default 8192 2048
//
// writes FOLDER/source, FOLDER/same (identical, for W2) and FOLDER/changed (for W1). The same arguments give the same
// bytes.
//
//   reprotect_workload --restore PRISTINE TARGET
//
// makes TARGET what PRISTINE is, bytes and holes, in place: it writes and punches only where they differ, so that what
// was cached and what was laid out well stays so between two runs. It shares nothing with the library, which it helps
// to measure.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::uint64_t kib = 1024, mib = 1024 * kib, block = 4 * kib, slot = 64 * kib;

struct piece {
    std::uint64_t offset, length;
};

// A block's bytes follow from its place and a generation: random words, or lines of a log that carry both.
void make_block(std::uint64_t offset, std::uint64_t generation, char* into) {
    std::mt19937_64 random(offset * 0x9E3779B97F4A7C15ull + generation);
    if ((offset / mib) % 2 == 0) {
        for (std::size_t at = 0; at < block; at += 8) {
            const std::uint64_t word = random();
            std::memcpy(into + at, &word, 8);
        }
        return;
    }
    static constexpr const char* words[] = {"accepted", "connection", "from", "closed", "session", "opened", "for",
                                            "user",     "root",       "disk", "read",   "error",   "block",  "retry"};
    std::string text;
    while (text.size() < block) {
        text += "Nov 22 10:" + std::to_string(random() % 60) + ":" + std::to_string(random() % 60) + " host daemon[" +
                std::to_string(random() % 32768) + "]: ";
        for (int i = 0; i < 8; ++i) text += std::string(words[random() % std::size(words)]) + ' ';
        text += "id=" + std::to_string(random() % 1000000) + "\n";
    }
    std::memcpy(into, text.data(), block);
}

class file {
public:
    file(const std::filesystem::path& path, std::uint64_t size)
        : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {
        if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(size)) != 0)
            throw std::runtime_error("cannot make " + path.string());
    }
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    ~file() { ::close(descriptor_); }

    void write(std::uint64_t offset, const char* data, std::uint64_t length) {
        if (::pwrite(descriptor_, data, length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
            throw std::runtime_error("a write failed; is the disk full?");
    }
    void fill(piece where, std::uint64_t generation) {
        std::vector<char> bytes(std::min(where.length, mib));
        for (std::uint64_t done = 0; done < where.length; done += bytes.size()) {
            const std::uint64_t length = std::min<std::uint64_t>(bytes.size(), where.length - done);
            for (std::uint64_t at = 0; at < length; at += block)
                make_block(where.offset + done + at, generation, bytes.data() + at);
            write(where.offset + done, bytes.data(), length);
        }
    }

private:
    int descriptor_;
};

std::vector<piece> place_data(std::uint64_t disk, std::uint64_t data, std::mt19937_64& random) {
    std::vector<bool> taken(disk / slot);
    std::vector<piece> pieces;
    std::uint64_t left = data / slot;
    while (left != 0) {
        const std::uint64_t largest =
            std::min<std::uint64_t>({left, 64 * mib / slot, std::max<std::uint64_t>(1, taken.size() / 64)});
        // Lengths spread evenly over the powers of two.
        std::uint64_t length = 1;
        while (length * 2 <= largest && random() % 5 != 0) length *= 2;
        const std::uint64_t first = random() % (taken.size() - length + 1);
        if (std::any_of(taken.begin() + static_cast<std::ptrdiff_t>(first),
                        taken.begin() + static_cast<std::ptrdiff_t>(first + length), [](bool used) { return used; })) {
            if (random() % 4 != 0) continue;
            length = 1;
            if (taken[first]) continue;
        }
        for (std::uint64_t i = 0; i < length; ++i) taken[first + i] = true;
        pieces.push_back({first * slot, length * slot});
        left -= length;
    }
    std::sort(pieces.begin(), pieces.end(), [](piece a, piece b) { return a.offset < b.offset; });
    return pieces;
}

// The pieces cut to whole slots, in random order: what is taken from it is spread over the disk.
std::vector<std::uint64_t> shuffled_slots(const std::vector<piece>& pieces, std::mt19937_64& random) {
    std::vector<std::uint64_t> slots;
    for (const piece& each : pieces)
        for (std::uint64_t at = 0; at < each.length; at += slot) slots.push_back(each.offset + at);
    std::shuffle(slots.begin(), slots.end(), random);
    return slots;
}

// Where the next data (SEEK_DATA) or hole (SEEK_HOLE) begins; the end where there is none.
std::uint64_t seek(int descriptor, std::uint64_t from, int what, std::uint64_t size) {
    const off_t found = ::lseek(descriptor, static_cast<off_t>(from), what);
    if (found < 0 && errno != ENXIO) throw std::runtime_error("this file system does not tell holes");
    return found < 0 ? size : static_cast<std::uint64_t>(found);
}

void punch(int descriptor, std::uint64_t begin, std::uint64_t end) {
    if (seek(descriptor, begin, SEEK_DATA, end) >= end) return;  // a hole already
    if (::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                    static_cast<off_t>(end - begin)) != 0)
        throw std::runtime_error("this file system does not punch holes");
}

void restore(const char* from, const char* into) {
    const int pristine = ::open(from, O_RDONLY | O_CLOEXEC);
    const int target = ::open(into, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const off_t end = pristine < 0 ? -1 : ::lseek(pristine, 0, SEEK_END);
    if (end < 0 || target < 0 || ::ftruncate(target, end) != 0)
        throw std::runtime_error(std::string("cannot restore ") + into + " from " + from);
    const auto size = static_cast<std::uint64_t>(end);
    std::vector<char> wanted(slot), held(slot);
    for (std::uint64_t at = 0; at < size;) {
        const std::uint64_t data = seek(pristine, at, SEEK_DATA, size);
        if (data > at) punch(target, at, data);
        const std::uint64_t hole = data < size ? seek(pristine, data, SEEK_HOLE, size) : size;
        for (at = data; at < hole;) {
            const std::uint64_t length = std::min(slot, hole - at);
            const auto got = static_cast<ssize_t>(length);
            const auto place = static_cast<off_t>(at);
            if (::pread(pristine, wanted.data(), length, place) != got ||
                ::pread(target, held.data(), length, place) != got)
                throw std::runtime_error("a read failed");
            // Data that is zero is written over a hole, too, so that it is allocated again.
            const bool allocated = seek(target, at, SEEK_HOLE, size) >= at + length;
            if ((!allocated || std::memcmp(wanted.data(), held.data(), length) != 0) &&
                ::pwrite(target, wanted.data(), length, place) != got)
                throw std::runtime_error("a write failed; is the disk full?");
            at += length;
        }
    }
    ::close(pristine);
    if (::fsync(target) != 0 || ::close(target) != 0)
        throw std::runtime_error("the disk did not take what was written");
}

}  // namespace

int main(int count, char** arguments) try {
    if (count == 4 && std::strcmp(arguments[1], "--restore") == 0) {
        restore(arguments[2], arguments[3]);
        return 0;
    }
    if (count < 2 || count > 4) {
        std::fprintf(stderr,
                     "usage: reprotect_workload FOLDER [DISK_MIB [DATA_MIB]]\n"
                     "       reprotect_workload --restore PRISTINE TARGET\n");
        return 2;
    }
    const std::filesystem::path folder = arguments[1];
    const std::uint64_t disk = (count > 2 ? std::stoull(arguments[2]) : 8192) * mib;
    const std::uint64_t data = (count > 3 ? std::stoull(arguments[3]) : 2048) * mib;
    if (data == 0 || data > disk / 2)
        throw std::runtime_error("the data must be at least 1 MiB and at most half of the disk");
    std::filesystem::create_directories(folder);

    std::mt19937_64 random(20261122);
    const std::vector<piece> pieces = place_data(disk, data, random);
    const std::vector<std::uint64_t> slots = shuffled_slots(pieces, random);
    file source(folder / "source", disk), same(folder / "same", disk), changed(folder / "changed", disk);
    const std::uint64_t only = data / 32 / slot;  // slots that are allocated on one side only
    std::vector<std::uint64_t> source_only(slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(only));
    std::vector<std::uint64_t> target_only(slots.begin() + static_cast<std::ptrdiff_t>(only),
                                           slots.begin() + static_cast<std::ptrdiff_t>(2 * only));
    std::sort(source_only.begin(), source_only.end());
    std::sort(target_only.begin(), target_only.end());
    std::vector<char> bytes(slot);
    for (const piece& each : pieces) {
        for (std::uint64_t at = each.offset; at < each.offset + each.length; at += slot) {
            for (std::uint64_t i = 0; i < slot; i += block) make_block(at + i, 0, bytes.data() + i);
            const bool on_source = !std::binary_search(target_only.begin(), target_only.end(), at);
            const bool on_target = !std::binary_search(source_only.begin(), source_only.end(), at);
            if (on_source) source.write(at, bytes.data(), slot);
            if (on_source) same.write(at, bytes.data(), slot);
            if (on_target) changed.write(at, bytes.data(), slot);
        }
    }
    // 5% of the data: two thirds in single blocks, one third in four runs.
    const std::uint64_t differing = data / 20;
    const std::uint64_t singles = differing * 2 / 3 / block;
    for (std::uint64_t i = 0; i < singles; ++i) {
        const std::uint64_t where = slots[2 * only + i % (slots.size() - 2 * only)] + (i / slots.size()) % 16 * block;
        changed.fill({where + random() % 4 * 4 * block, block}, 1);
    }
    std::vector<piece> longest = pieces;
    std::sort(longest.begin(), longest.end(), [](piece a, piece b) { return a.length > b.length; });
    for (std::size_t i = 0; i < std::min<std::size_t>(4, longest.size()); ++i)
        changed.fill({longest[i].offset, std::min(longest[i].length, differing / 3 / 4 / block * block)}, 2);
    return 0;
} catch (const std::exception& why) {
    std::fprintf(stderr, "reprotect_workload: %s\n", why.what());
    return 1;
}
