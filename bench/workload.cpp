// Makes the disks that the end-to-end figures are measured on: one sparse disk with data in extents of 64 KiB to 64 MiB
// at random places, half of it incompressible and half log text, every 4 KiB block unique; and a copy in which 5% of
// the data differs (two thirds of the bytes in single 4 KiB blocks, one third in four long runs), with 1/32 of the data
// allocated on each side only.
//
//   reprotect_workload FOLDER [DISK_MIB [DATA_MIB [SCALE]]]     default 8192 2048 1
//
// writes FOLDER/source, FOLDER/same (identical, for W2) and FOLDER/changed (for W1). The same arguments give the same
// bytes. With a SCALE the disk is that many times as large: each extent begins SCALE times as far from the start, with
// the same length and the same bytes, so that 64 TiB carry what 8 GiB carry.
//
//   reprotect_workload --restore PRISTINE TARGET
//
// makes TARGET what PRISTINE is, bytes and holes, in place: it writes and punches only where they differ, so that what
// was cached and what was laid out well stays so between two runs. All data of both is read meanwhile.
//
//   reprotect_workload --read DEPTH FILE...
//
// reads the data of all files at once, in pieces of 1 MiB by DEPTH threads a file, and does nothing with it: the bound
// for a comparison.
//
//   reprotect_workload --warm [--holes] FILE...
//
// brings the files' data into the page cache, and their holes out of it, or with --holes into it, too.
//
//   reprotect_workload --equal FILE FILE
//
// ends with 1 where the two differ in size or bytes; what is a hole in both is not read.
//
//   reprotect_workload --pack DISK FILE
//
// writes the data of DISK to FILE one after the other, without a hole: a file that anyone reads whole.
//
//   reprotect_workload --incompressible FOLDER DISK_MIB DATA_MIB
//
// writes such disks with data that is incompressible, all of it.
//
//   reprotect_workload --changed SOURCE TARGET
//
// writes to its standard output the blocks of SOURCE that hold more than zeroes and differ from TARGET's: what a sync has
// to send at least, before it is compressed. The disks are of one size.
//
//   reprotect_workload --relay PORT HOST TO_PORT FILE [--delay 50ms] [--jitter 1ms] [--rate 1Gbit/s] [--in-flight 4MiB]
//
// hands on every connection to PORT of 127.0.0.1 (0: a free one, which it prints) to TO_PORT of HOST, a numeric address,
// until SIGTERM. When the last connection is over after that, it writes to FILE how many bytes went to HOST and how many
// came back: those that the programs handed to TCP, so without its headers and repetitions. Each direction takes the delay,
// so that a round trip takes two, and has the rate; the bytes in flight are those of a connection, 4 MiB if nothing is said.
//
// It shares nothing with the library, which it helps to measure.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "relay.hpp"

namespace {

constexpr std::uint64_t kib = 1024, mib = 1024 * kib, block = 4 * kib, slot = 64 * kib;

struct piece {
    std::uint64_t offset, length;
};

// Where the data of the disk goes on a disk that is `scale` times as large: a piece as a whole, to its scaled offset.
struct layout {
    std::vector<piece> pieces;  // sorted
    std::uint64_t scale;

    std::uint64_t place(std::uint64_t offset) const {
        const auto after = std::upper_bound(pieces.begin(), pieces.end(), offset,
                                            [](std::uint64_t at, const piece& each) { return at < each.offset; });
        const std::uint64_t start = std::prev(after)->offset;
        return start * scale + (offset - start);
    }
};

enum class content { mixed, incompressible };

// A block's bytes follow from its place and a generation: random words, or lines of a log that carry both.
void make_block(std::uint64_t offset, std::uint64_t generation, char* into, content what) {
    std::mt19937_64 random(offset * 0x9E3779B97F4A7C15ull + generation);
    if (what == content::incompressible || (offset / mib) % 2 == 0) {
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
    file(const std::filesystem::path& path, int flags)
        : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0600)), name_(path.string()) {
        if (descriptor_ < 0) fail("cannot open");
    }
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    ~file() { ::close(descriptor_); }

    std::uint64_t size() const { return static_cast<std::uint64_t>(::lseek(descriptor_, 0, SEEK_END)); }
    void resize(std::uint64_t size) {
        if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) fail("cannot resize");
    }
    void read(std::uint64_t offset, char* into, std::uint64_t length) const {
        while (length != 0) {
            const ssize_t got = ::pread(descriptor_, into, length, static_cast<off_t>(offset));
            if (got <= 0) fail("cannot read");
            const auto step = static_cast<std::uint64_t>(got);
            into += step, offset += step, length -= step;
        }
    }
    void write(std::uint64_t offset, const char* data, std::uint64_t length) {
        if (::pwrite(descriptor_, data, length, static_cast<off_t>(offset)) != static_cast<ssize_t>(length))
            fail("cannot write; is the disk full?");
    }
    void punch(std::uint64_t begin, std::uint64_t end) {
        if (next(begin, SEEK_DATA, end) >= end) return;  // a hole already
        if (::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                        static_cast<off_t>(end - begin)) != 0)
            fail("cannot punch holes");
    }
    void flush() {
        if (::fsync(descriptor_) != 0) fail("cannot flush");
    }

    // Where the next data (SEEK_DATA) or hole (SEEK_HOLE) begins; the end where there is none.
    std::uint64_t next(std::uint64_t from, int what, std::uint64_t end) const {
        const off_t found = ::lseek(descriptor_, static_cast<off_t>(from), what);
        if (found < 0 && errno != ENXIO) fail("cannot tell the holes");
        return found < 0 ? end : static_cast<std::uint64_t>(found);
    }
    void forget(std::uint64_t begin, std::uint64_t end) const {
        ::posix_fadvise(descriptor_, static_cast<off_t>(begin), static_cast<off_t>(end - begin), POSIX_FADV_DONTNEED);
    }
    std::vector<piece> data() const {
        const std::uint64_t end = size();
        std::vector<piece> found;
        for (std::uint64_t at = 0; (at = next(at, SEEK_DATA, end)) < end;) {
            const std::uint64_t hole = next(at, SEEK_HOLE, end);
            found.push_back({at, hole - at});
            at = hole;
        }
        return found;
    }

private:
    [[noreturn]] void fail(const char* what) const {
        throw std::runtime_error(std::string(what) + ": " + name_ + ": " + std::strerror(errno));
    }
    int descriptor_;
    std::string name_;
};

// Pieces of at most 1 MiB, cut at multiples of it.
std::vector<piece> cut(const std::vector<piece>& pieces) {
    std::vector<piece> small;
    for (const piece& each : pieces)
        for (std::uint64_t at = each.offset, end = at + each.length; at < end;) {
            const std::uint64_t length = std::min(end - at, mib - at % mib);
            small.push_back({at, length});
            at += length;
        }
    return small;
}

// The holes of a file with these pieces of data.
std::vector<piece> between(const std::vector<piece>& data, std::uint64_t size) {
    std::vector<piece> holes;
    std::uint64_t at = 0;
    for (const piece& each : data) {
        if (each.offset > at) holes.push_back({at, each.offset - at});
        at = each.offset + each.length;
    }
    if (size > at) holes.push_back({at, size - at});
    return holes;
}

// Threads that each run the same function; the first exception comes out of join().
class crew {
public:
    void add(std::size_t count, std::function<void()> work) {
        for (std::size_t i = 0; i < count; ++i)
            threads_.emplace_back([this, work] {
                try {
                    work();
                } catch (...) {
                    const std::lock_guard lock(mutex_);
                    if (!failure_) failure_ = std::current_exception();
                }
            });
    }
    void join() {
        threads_.clear();
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    std::mutex mutex_;
    std::exception_ptr failure_;
    std::vector<std::jthread> threads_;
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

void restore(const char* from, const char* into) {
    const file pristine(from, O_RDONLY);
    file target(into, O_RDWR | O_CREAT);
    const std::uint64_t size = pristine.size();
    target.resize(size);
    const std::vector<piece> data = pristine.data();
    for (const piece& hole : between(data, size)) target.punch(hole.offset, hole.offset + hole.length);

    const std::vector<piece> pieces = cut(data);
    std::atomic<std::size_t> next = 0;
    crew workers;
    workers.add(std::max(1u, std::thread::hardware_concurrency()), [&] {
        std::vector<char> wanted(mib), held(mib);
        for (std::size_t i; (i = next++) < pieces.size();) {
            const auto [offset, length] = pieces[i];
            pristine.read(offset, wanted.data(), length);
            // Data that is zero is written over a hole, too, so that it is allocated again.
            if (target.next(offset, SEEK_HOLE, size) < offset + length) {
                target.write(offset, wanted.data(), length);
                continue;
            }
            target.read(offset, held.data(), length);
            const auto differs = [&](std::uint64_t at) {
                return at < length &&
                       std::memcmp(wanted.data() + at, held.data() + at, std::min(block, length - at)) != 0;
            };
            for (std::uint64_t at = 0; at < length; at += block) {
                const std::uint64_t first = at;
                while (differs(at)) at += block;
                if (at > first) target.write(offset + first, wanted.data() + first, std::min(at, length) - first);
            }
        }
    });
    workers.join();
    target.flush();
}

enum class holes { skip, read, forget };

void read_all(std::size_t depth, holes what, const std::vector<const char*>& names) {
    struct reading {
        explicit reading(const char* name) : disk(name, O_RDONLY) {}
        file disk;
        std::vector<piece> pieces;
        std::atomic<std::size_t> next = 0;
    };
    std::vector<std::unique_ptr<reading>> all;
    for (const char* name : names) {
        reading& each = *all.emplace_back(std::make_unique<reading>(name));
        const std::uint64_t size = each.disk.size();
        const std::vector<piece> data = each.disk.data();
        if (what == holes::forget)
            for (const piece& hole : between(data, size)) each.disk.forget(hole.offset, hole.offset + hole.length);
        each.pieces = cut(what == holes::read ? std::vector<piece>{{0, size}} : data);
    }
    crew readers;
    for (const auto& each : all)
        readers.add(depth, [&from = *each] {
            std::vector<char> bytes(mib);
            for (std::size_t i; (i = from.next++) < from.pieces.size();)
                from.disk.read(from.pieces[i].offset, bytes.data(), from.pieces[i].length);
        });
    readers.join();
}

bool equal(const char* one, const char* other) {
    const file left(one, O_RDONLY), right(other, O_RDONLY);
    const std::uint64_t size = left.size();
    if (size != right.size()) return false;
    std::vector<piece> data;
    for (std::uint64_t at = 0; at < size;) {
        at = std::min(left.next(at, SEEK_DATA, size), right.next(at, SEEK_DATA, size));
        // Up to the nearer end of data of those that have it here.
        std::uint64_t end = size;
        for (const file* each : {&left, &right})
            if (const std::uint64_t hole = each->next(at, SEEK_HOLE, size); hole > at) end = std::min(end, hole);
        if (end > at) data.push_back({at, end - at});
        at = end;
    }
    const std::vector<piece> pieces = cut(data);
    std::atomic<std::size_t> next = 0;
    std::atomic<bool> same = true;
    crew workers;
    workers.add(std::max(1u, std::thread::hardware_concurrency()), [&] {
        std::vector<char> a(mib), b(mib);
        for (std::size_t i; same && (i = next++) < pieces.size();) {
            left.read(pieces[i].offset, a.data(), pieces[i].length);
            right.read(pieces[i].offset, b.data(), pieces[i].length);
            if (std::memcmp(a.data(), b.data(), pieces[i].length) != 0) same = false;
        }
    });
    workers.join();
    return same;
}

void pack(const char* disk, const char* into) {
    const file from(disk, O_RDONLY);
    file packed(into, O_RDWR | O_CREAT | O_TRUNC);
    std::vector<char> bytes(mib);
    std::uint64_t end = 0;
    for (const piece& each : cut(from.data())) {
        from.read(each.offset, bytes.data(), each.length);
        packed.write(end, bytes.data(), each.length);
        end += each.length;
    }
    packed.flush();
}

void print_changed(const char* source_name, const char* target_name) {
    const file source(source_name, O_RDONLY), target(target_name, O_RDONLY);
    if (source.size() != target.size()) throw std::runtime_error("the disks differ in size");
    const std::vector<char> zeroes(block);
    std::vector<char> wanted(mib), held(mib);
    for (const auto& [offset, length] : cut(source.data())) {
        source.read(offset, wanted.data(), length);
        target.read(offset, held.data(), length);
        for (std::uint64_t at = 0; at < length; at += block) {
            const std::uint64_t size = std::min(block, length - at);
            const char* bytes = wanted.data() + at;
            if (std::memcmp(bytes, held.data() + at, size) == 0 || std::memcmp(bytes, zeroes.data(), size) == 0)
                continue;
            if (std::fwrite(bytes, 1, size, stdout) != size) throw std::runtime_error("cannot write the blocks");
        }
    }
    if (std::fflush(stdout) != 0) throw std::runtime_error("cannot write the blocks");
}

void make(const std::filesystem::path& folder, std::uint64_t disk, std::uint64_t data, std::uint64_t scale,
          content what) {
    if (data == 0 || data > disk / 2)
        throw std::runtime_error("the data must be at least 1 MiB and at most half of the disk");
    if (scale == 0 || scale > (std::uint64_t{1} << 62) / disk) throw std::runtime_error("the scale is out of range");
    std::filesystem::create_directories(folder);

    std::mt19937_64 random(20261122);
    const layout where{place_data(disk, data, random), scale};
    const std::vector<std::uint64_t> slots = shuffled_slots(where.pieces, random);
    constexpr int anew = O_RDWR | O_CREAT | O_TRUNC;
    file source(folder / "source", anew), same(folder / "same", anew), changed(folder / "changed", anew);
    for (file* each : {&source, &same, &changed}) each->resize(disk * scale);
    const std::uint64_t only = data / 32 / slot;  // slots that are allocated on one side only
    std::vector<std::uint64_t> source_only(slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(only));
    std::vector<std::uint64_t> target_only(slots.begin() + static_cast<std::ptrdiff_t>(only),
                                           slots.begin() + static_cast<std::ptrdiff_t>(2 * only));
    std::sort(source_only.begin(), source_only.end());
    std::sort(target_only.begin(), target_only.end());
    std::vector<char> bytes(slot);
    for (const piece& each : where.pieces) {
        for (std::uint64_t at = each.offset; at < each.offset + each.length; at += slot) {
            for (std::uint64_t i = 0; i < slot; i += block) make_block(at + i, 0, bytes.data() + i, what);
            const bool on_source = !std::binary_search(target_only.begin(), target_only.end(), at);
            const bool on_target = !std::binary_search(source_only.begin(), source_only.end(), at);
            const std::uint64_t place = where.place(at);
            if (on_source) source.write(place, bytes.data(), slot);
            if (on_source) same.write(place, bytes.data(), slot);
            if (on_target) changed.write(place, bytes.data(), slot);
        }
    }
    // 5% of the data: two thirds in single blocks, one third in four runs.
    const auto change = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t generation) {
        const std::uint64_t place = where.place(offset);
        for (std::uint64_t at = 0; at < length; at += block) {
            make_block(offset + at, generation, bytes.data(), what);
            changed.write(place + at, bytes.data(), block);
        }
    };
    const std::uint64_t differing = data / 20;
    const std::uint64_t singles = differing * 2 / 3 / block;
    // One a slot, which are enough: 5% × 2/3 of the data in blocks are fewer than 15/16 of it in slots.
    for (std::uint64_t i = 0; i < singles; ++i) change(slots[2 * only + i] + random() % 4 * 4 * block, block, 1);
    std::vector<piece> longest = where.pieces;
    std::sort(longest.begin(), longest.end(), [](piece a, piece b) { return a.length > b.length; });
    for (std::size_t i = 0; i < std::min<std::size_t>(4, longest.size()); ++i)
        change(longest[i].offset, std::min(longest[i].length, differing / 3 / 4 / block * block), 2);
}

}  // namespace

int main(int count, char** arguments) try {
    const std::vector<const char*> words(arguments + 1, arguments + count);
    const auto mode = [&](const char* name, std::size_t least) {
        return words.size() >= least && std::strcmp(words[0], name) == 0;
    };
    if (mode("--restore", 3) && words.size() == 3) {
        restore(words[1], words[2]);
    } else if (mode("--equal", 3) && words.size() == 3) {
        if (equal(words[1], words[2])) return 0;
        std::fprintf(stderr, "reprotect_workload: %s and %s differ\n", words[1], words[2]);
        return 1;
    } else if (mode("--pack", 3) && words.size() == 3) {
        pack(words[1], words[2]);
    } else if (mode("--incompressible", 4) && words.size() == 4) {
        make(words[1], std::stoull(words[2]) * mib, std::stoull(words[3]) * mib, 1, content::incompressible);
    } else if (mode("--changed", 3) && words.size() == 3) {
        print_changed(words[1], words[2]);
    } else if (mode("--relay", 5)) {
        relaying::relay({words.begin() + 1, words.end()});
    } else if (mode("--read", 3)) {
        read_all(std::stoull(words[1]), holes::skip, {words.begin() + 2, words.end()});
    } else if (mode("--warm", 2)) {
        const bool too = std::strcmp(words[1], "--holes") == 0;
        read_all(4, too ? holes::read : holes::forget, {words.begin() + (too ? 2 : 1), words.end()});
    } else if (!words.empty() && words.size() <= 4 && words[0][0] != '-') {
        const auto number = [&](std::size_t at, std::uint64_t otherwise) -> std::uint64_t {
            return words.size() > at ? std::stoull(words[at]) : otherwise;
        };
        make(words[0], number(1, 8192) * mib, number(2, 2048) * mib, number(3, 1), content::mixed);
    } else {
        std::fprintf(
            stderr,
            "usage: reprotect_workload FOLDER [DISK_MIB [DATA_MIB [SCALE]]]\n"
            "       reprotect_workload --restore PRISTINE TARGET\n"
            "       reprotect_workload --read DEPTH FILE...\n"
            "       reprotect_workload --warm [--holes] FILE...\n"
            "       reprotect_workload --equal FILE FILE\n"
            "       reprotect_workload --pack DISK FILE\n"
            "       reprotect_workload --incompressible FOLDER DISK_MIB DATA_MIB\n"
            "       reprotect_workload --changed SOURCE TARGET\n"
            "       reprotect_workload --relay PORT HOST TO_PORT FILE [--delay TIME] [--jitter TIME] [--rate RATE]\n"
            "                                  [--in-flight SIZE]\n");
        return 2;
    }
    return 0;
} catch (const std::exception& why) {
    std::fprintf(stderr, "reprotect_workload: %s\n", why.what());
    return 1;
}
