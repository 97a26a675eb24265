// bench: what this machine does in a second, and what a disk of it gives. The disk is opened first, so that a name that
// makes no sense is said at once, and only ever to be read: directly, which leaves the cache as it is, and then as it
// is. For that it is always opened again: the server of an image, which was asked to pass its own cache by, does so
// though nothing here says that the disk is direct.
#include "reprotect/open_device.hpp"
#include "reprotect/rates.hpp"
#include "reprotect/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "report_text.hpp"
#include "run.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

struct disk_figures {
    std::string name;
    std::uint64_t size = 0;
    std::optional<disk_rate> direct;  ///< absent: the disk cannot be read past the cache
    std::optional<disk_rate> cached;  ///< absent: not asked for
};

// What is being measured, shown and told while it lasts.
class current_step {
public:
    current_step(const arguments& line, const surroundings& around) : mode_(line.progress), around_(around) {
        auto said = reading_words();
        around.signals.set_messages(std::move(said.first_stop), std::move(said.second_stop));
        around.signals.set_status([this] {
            const std::lock_guard lock(mutex_);
            around_.out.line_unless_held_up(mode_ == progress_mode::json ? as_json() : "reprotect: " + what_);
        });
    }
    current_step(const current_step&) = delete;
    current_step& operator=(const current_step&) = delete;
    ~current_step() {
        around_.signals.set_status({});
        around_.out.clear_status();
    }

    void is(const std::string& what) {
        std::string shown;
        {
            const std::lock_guard lock(mutex_);
            what_ = what;
            shown = mode_ == progress_mode::json ? as_json() : what_;
        }
        // Without the mutex: standard error may take its time, and SIGUSR1 wants it meanwhile.
        if (mode_ == progress_mode::none || !console::takes_more()) return;
        if (mode_ == progress_mode::json) {
            around_.out.line(shown);
        } else {
            around_.out.status(shown.substr(0, console::columns() - 1));
        }
    }

private:
    std::string as_json() const { return json_object().text("event", "progress").text("phase", what_).str(); }

    const progress_mode mode_;
    const surroundings& around_;
    std::mutex mutex_;
    std::string what_ = "starting";
};

std::unique_ptr<device> open_to_read(const arguments& line, bool direct) {
    return open_device(line.disks[0], {.mode = access::read_only, .direct = direct, .create = false});
}

std::string json_of(const thread_rates& rates) {
    return json_object().number("one", rates.one).number("all", rates.all).str();
}

std::string json_of(const std::optional<disk_rate>& rate) {
    if (!rate) return "null";
    json_object json;
    if (const auto figure = rate->bytes_per_second()) {
        json.number("bytes_per_second", *figure);
    } else {
        json.null("bytes_per_second");
    }
    return json.number("read", rate->read_bytes)
        .number("seconds", rate->seconds)
        .number("depth", std::uint64_t{rate->depth})
        .number("piece_size", std::uint64_t{rate->piece_bytes})
        .boolean("whole", rate->whole)
        .str();
}

// Reads in flight: --threads caps all the threads of a disk, and each of them reads.
unsigned depth_of(const arguments& line) {
    const unsigned threads = line.options.threads;
    return threads != 0 ? std::min(line.options.depth, threads) : line.options.depth;
}

std::string document(const arguments& line, const machine_rates& machine, const std::optional<disk_figures>& disk) {
    json_array zstd;
    for (const compression_rate& rate : machine.zstd) {
        zstd.add(json_object()
                     .number("level", static_cast<std::uint64_t>(rate.level))
                     .text("content", rate.content)
                     .number("bytes_per_second", rate.bytes_per_second)
                     .number("ratio", rate.ratio)
                     .str());
    }
    json_object json;
    json.number("threads", std::uint64_t{machine.threads})
        .number("block_size", std::uint64_t{line.options.block_bytes})
        .number("chunk_size", std::uint64_t{line.options.chunk_bytes})
        .number("depth", std::uint64_t{depth_of(line)})
        .raw("copy", json_of(machine.copy))
        .raw("xxh3", json_of(machine.xxh3))
        .raw("sha256", json_of(machine.sha256))
        .raw("zstd", zstd.str());
    if (!disk) return json.null("disk").str() + "\n";
    return json.raw("disk", json_object()
                                .text("name", disk->name)
                                .number("size", disk->size)
                                .raw("direct", json_of(disk->direct))
                                .raw("cached", json_of(disk->cached))
                                .str())
               .str() +
           "\n";
}

std::string text_of(const disk_rate& rate) {
    const auto figure = rate.bytes_per_second();
    if (!figure) return "there is no data to read";
    return fmt::format("{:<11} {} in {}{}; {} read{} of {} in flight", format_rate(*figure),
                       format_size(rate.read_bytes), format_duration(rate.seconds),
                       rate.whole ? ", all of its data" : "", rate.depth, rate.depth == 1 ? "" : "s",
                       format_size(rate.piece_bytes));
}

std::string text(const machine_rates& machine, const std::optional<disk_figures>& disk) {
    summary lines;
    lines.add("", fmt::format("{:<11} {} thread{}", "1 thread", machine.threads, machine.threads == 1 ? "" : "s"));
    const auto add = [&](const char* name, const thread_rates& rates) {
        lines.add(name, fmt::format("{:<11} {}", format_rate(rates.one), format_rate(rates.all)));
    };
    add("memory copy", machine.copy);
    add("xxh3 digest", machine.xxh3);
    add("sha256 digest", machine.sha256);
    for (const compression_rate& rate : machine.zstd) {
        lines.add(fmt::format("zstd level {}, {}", rate.level, rate.content),
                  fmt::format("{:<11} {:.2f} to 1", format_rate(rate.bytes_per_second), rate.ratio));
    }
    if (!disk) return lines.str();
    lines.add("disk", fmt::format("{}, {}", escape(disk->name), format_size(disk->size)));
    lines.add("read past the cache", disk->direct ? text_of(*disk->direct) : "not possible with this disk");
    if (disk->cached) lines.add("read as it is", text_of(*disk->cached));
    return lines.str();
}

}  // namespace

outcome run_bench(const arguments& line, const surroundings& around) {
    rate_options options;
    options.block_bytes = line.options.block_bytes;
    options.chunk_bytes = line.options.chunk_bytes;
    options.depth = depth_of(line);
    options.threads = line.options.threads;

    std::unique_ptr<device> disk;
    if (!line.disks.empty()) disk = open_to_read(line, true);
    machine_rates machine;
    std::optional<disk_figures> figures;
    {
        current_step step(line, around);
        const std::stop_token cancel = around.signals.token();
        if (disk) {
            figures = disk_figures{line.disks[0], disk->size(), {}, {}};
            step.is("reading " + escape(line.disks[0]));
            if (disk->properties().direct) figures->direct = measure_disk(*disk, options, cancel);
            if (!line.direct) {
                disk.reset();  // before the next: a server may take one at a time
                disk = open_to_read(line, false);
                figures->cached = measure_disk(*disk, options, cancel);
            }
            disk.reset();
        }
        step.is("measuring the processor");
        machine = measure_machine(options, cancel);
    }
    outcome result;
    if (line.json) {
        result.output = document(line, machine, figures);
    } else if (!line.quiet) {
        result.output = text(machine, figures);
    }
    return result;
}

}  // namespace reprotect::tool
