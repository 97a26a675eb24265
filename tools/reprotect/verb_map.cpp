// map: everything that is known of a disk before it is touched.
#include "reprotect/interlock.hpp"
#include "reprotect/units.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "content.hpp"
#include "report_text.hpp"
#include "run.hpp"
#include "text.hpp"

namespace reprotect::tool {
namespace {

std::string kind_text(const device& disk) {
    switch (disk.properties().kind) {
        case device_kind::file:
            return "file";
        case device_kind::block_device:
            return "block device";
        case device_kind::memory:
            return "memory";
        case device_kind::other:
            break;
    }
    // "nbd", "qcow2": what a disk is says its identity first.
    const auto& fields = disk.identity().fields;
    return !fields.empty() && fields[0].first == "kind" ? fields[0].second : "other";
}

struct disk_facts {
    std::string content;
    std::string container;  ///< empty: raw
    extent_set data;
    std::vector<holder> holders;
    std::optional<state_record> record;
    std::uint64_t finished_bytes = 0;  ///< kept of an unfinished sync
    std::vector<state_record> as_source;
    std::string record_problem;
};

extent_set data_of(device& disk, const std::stop_token& cancel) {
    constexpr std::size_t runs_max = 4096;
    extent_set data;
    const std::uint64_t size = disk.size();
    for (std::uint64_t position = 0; position < size;) {
        if (cancel.stop_requested())
            throw error(error_kind::interrupted, "interrupted while the allocation was listed");
        for (const allocation_run& run : disk.allocation({position, size - position}, runs_max)) {
            if (run.kind == content::data) data.add(run.range);
            position = run.range.end();
        }
    }
    return data;
}

// A container is shown as what it is instead of refused: nothing is compared or written here.
std::unique_ptr<device> open_any(const arguments& line) {
    const open_options how{access::read_only, line.direct, false};
    try {
        return open_device(line.disks[0], how);
    } catch (const error& problem) {
        // "vmdk:disk.qcow2" is a wrong word, not the name of a file.
        if (problem.kind() != error_kind::container || ::access(line.disks[0].c_str(), F_OK) != 0) throw;
        return open_device("raw:" + line.disks[0], how);
    }
}

disk_facts look_at(device& disk, const arguments& line, const surroundings& around) {
    disk_facts facts;
    facts.container = detect_container(disk);
    facts.content = facts.container.empty() ? describe_content(disk) : facts.container + " image";
    facts.data = data_of(disk, around.signals.token());
    facts.holders = find_holders(disk);
    try {
        const auto records = open_records(line);
        facts.record = records->find_target(disk.identity());
        facts.as_source = records->find_source(disk.identity());
        const auto finished = facts.record ? records->find_finished(disk.identity()) : std::nullopt;
        if (finished && finished->label() == facts.record->session) facts.finished_bytes = finished->shape().disk_bytes;
    } catch (const error& problem) {
        facts.record_problem = problem.what();
        around.out.warning(fmt::format("{}; the record is not shown", problem.what()));
    }
    return facts;
}

json_object record_json(const state_record& record) {
    json_object json;
    json.text("status", to_string(record.status))
        .text("source", record.source_name)
        .text("target", record.target_name)
        .number("source_size", record.source_size)
        .number("target_size", record.target_size)
        .text("session", record.session)
        .text_or_null("generation", record.generation)
        .text("updated", record.updated);
    return json;
}

// What became of the sync, for people.
std::string record_text(const state_record& record, std::uint64_t finished_bytes) {
    std::string what = to_string(record.status);
    if (record.status == target_status::dirty)
        what += " (a sync onto it did not finish; the same again goes on from there)";
    if (record.status == target_status::poisoned) what += " (a flush failed: what it holds is in doubt)";
    if (!record.generation.empty()) what += fmt::format(", generation {}", escape(record.generation));
    if (finished_bytes != 0) what += fmt::format(", finished up to {}", format_size(finished_bytes));
    return what;
}

std::string document(const device& disk, const disk_facts& facts, bool with_extents) {
    const device_properties& properties = disk.properties();
    json_object identity;
    for (const auto& [key, value] : disk.identity().fields) identity.text(key, value);
    json_array holders;
    for (const holder& one : facts.holders)
        holders.add(json_object().text("who", one.who).text("hint", one.hint).boolean("writes", one.writes).str());
    json_array as_source;
    for (const state_record& record : facts.as_source) as_source.add(record_json(record).str());
    const std::uint64_t data = facts.data.total();

    json_object json;
    json.text("disk", disk.name())
        .number("size", disk.size())
        .text("kind", kind_text(disk))
        .number("logical_sector", std::uint64_t{properties.logical_sector})
        .number("physical_sector", std::uint64_t{properties.physical_sector})
        .raw("identity", identity.str())
        .text("content", facts.content)
        .text_or_null("container", facts.container)
        .raw("allocation", json_object()
                               .number("data", data)
                               .number("holes", disk.size() - data)
                               .number("extents", std::uint64_t{facts.data.count()})
                               .str())
        .raw("holders", holders.str())
        .raw("record",
             facts.record ? record_json(*facts.record).number("finished_bytes", facts.finished_bytes).str() : "null")
        .raw("source_of", as_source.str());
    if (with_extents) {
        json_array extents;
        for (const extent& range : facts.data)
            extents.add(
                json_object().number("offset", range.offset).number("length", range.length).text("kind", "data").str());
        json.raw("extents", extents.str());
    }
    return json.str() + "\n";
}

std::string text(const device& disk, const disk_facts& facts) {
    const device_properties& properties = disk.properties();
    const std::uint64_t data = facts.data.total();
    summary lines;
    lines.add("disk", escape(disk.name()));
    lines.add("kind", kind_text(disk));
    lines.add("size", fmt::format("{} ({} bytes)", format_size(disk.size()), disk.size()));
    lines.add("sectors", fmt::format("{} logical, {} physical", properties.logical_sector, properties.physical_sector));
    lines.add("identity", escape(disk.identity().text()));
    lines.add("holds", escape(facts.content));
    if (!facts.container.empty()) {
        lines.add(
            "container",
            fmt::format("{}; sync, diff and checksum refuse it as a raw disk (raw:PATH takes its bytes as they are)",
                        facts.container));
    }
    lines.add("allocation", properties.kind == device_kind::block_device
                                ? "all data (a block device does not tell)"
                                : fmt::format("{} data in {} extents, {} holes", format_size(data), facts.data.count(),
                                              format_size(disk.size() - data)));
    if (facts.holders.empty()) lines.add("in use", "by nobody that can be seen from here");
    for (const holder& one : facts.holders) {
        lines.add("in use", fmt::format("{}{}{}", escape(one.who), one.writes ? "" : ", reading only",
                                        one.hint.empty() ? "" : " (to release: " + escape(one.hint) + ")"));
    }
    if (facts.record) {
        lines.add("record",
                  fmt::format("target of {}, {}, {}", escape(facts.record->source_name),
                              record_text(*facts.record, facts.finished_bytes), escape(facts.record->updated)));
    } else if (facts.record_problem.empty()) {
        lines.add("record", "none as a target");
    }
    for (const state_record& record : facts.as_source) {
        lines.add("record", fmt::format("source of {}, {}, {}", escape(record.target_name), to_string(record.status),
                                        escape(record.updated)));
    }
    return lines.str();
}

}  // namespace

outcome run_map(const arguments& line, const surroundings& around) {
    const auto disk = open_any(line);
    const disk_facts facts = look_at(*disk, line, around);
    if (line.json) return {0, document(*disk, facts, line.extents)};
    if (line.extents) {
        std::string lines;
        for (const extent& range : facts.data) lines += fmt::format("{} {} data\n", range.offset, range.length);
        return {0, lines};
    }
    return {0, line.quiet ? "" : text(*disk, facts)};
}

}  // namespace reprotect::tool
