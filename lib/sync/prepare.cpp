// The order matters: options, sizes, whose disk it is, who uses it, and only then what is known of it.
#include "sync/prepare.hpp"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/assert.hpp"
#include "base/buffer_pool.hpp"
#include "base/caught_error.hpp"
#include "base/utf8.hpp"
#include "codec/digester.hpp"
#include "device/same_disk.hpp"
#include "reprotect/units.hpp"
#include "sync/traffic_bound.hpp"

namespace reprotect {
namespace {

std::optional<std::uint64_t> fit_sizes(const sync_request& request, device& source, device& target, session_mode mode) {
    const std::uint64_t want = source.size();
    const std::uint64_t have = target.size();
    // A dry run has its target open for reading only.
    const bool resizable = target.properties().resizable ||
                           (mode == session_mode::dry_run && target.properties().kind == device_kind::file);
    if (have == want) return std::nullopt;
    const std::string both = target.name() + " has " + std::to_string(have) + " bytes (" + format_size(have) +
                             "), the source " + source.name() + " has " + std::to_string(want) + " (" +
                             format_size(want) + ")";
    if (have < want) {
        if (resizable) return want;
        throw error(
            error_kind::size_mismatch, "the target is too small: " + both,
            {.device = target.name(), .operation = "open", .hint = "use a target of at least the source's size"});
    }
    if (request.options.truncate) {
        if (want == 0)
            throw error(error_kind::size_mismatch, "the source is empty, the target would be: " + both,
                        {.device = source.name(), .operation = "open", .hint = "check the source's name"});
        if (resizable) return want;
        throw error(
            error_kind::size_mismatch, "only a file can be truncated: " + both,
            {.device = target.name(), .operation = "open", .hint = "use --allow-larger to leave its tail as it is"});
    }
    if (request.options.allow_larger) return std::nullopt;
    throw error(error_kind::size_mismatch, "the target is larger: " + both,
                {.device = target.name(),
                 .operation = "open",
                 .hint = resizable ? "use --truncate to cut it, or --allow-larger to leave its tail as it is"
                                   : "use --allow-larger to leave its tail as it is"});
}

bool cache_dropped_of(device& disk) try { return disk.drop_cache(); } catch (...) {
    throw caught_error(disk.name());
}

// A source that is on record as a target: did the sync onto it end well?
void look_at_source_record(const sync_request& request, const state_record& record, device& target,
                           preparation& known) {
    if (record.status == target_status::clean) return;
    const std::string why = request.source->name() + " is on record as a target whose sync did not end well (from " +
                            record.source_name + ", last at " + record.updated + ")";
    if (record.source == target.identity())
        throw error(
            error_kind::recorded_source, why + ", and the target is the disk that it was to be made equal to",
            {.device = target.name(),
             .operation = "open",
             .hint = "finish the sync onto " + request.source->name() +
                     " first; if the disk that it was made from is lost, remove its record from the state directory"});
    known.warnings.push_back(why + ": what is copied may be a mixture");
    if (record.status == target_status::poisoned && !cache_dropped_of(*request.source))
        known.warnings.push_back("the cache of " + request.source->name() + " cannot be passed");
}

// Is the target on record as the source of this very pair? That is the record whose target is our source.
void refuse_recorded_source(const sync_request& request, device& target, preparation& known) {
    std::optional<state_record> record;
    try {
        record = request.records->find_target(request.source->identity());
    } catch (const error& why) {
        // Without --reverse it is refused: what cannot be read may say that the direction is wrong.
        if (why.kind() != error_kind::corrupt_file || !request.options.reverse) throw;
        known.warnings.push_back(std::string("the source's state record is ignored: ") + why.what());
        return;
    }
    if (!record) return;
    look_at_source_record(request, *record, target, known);
    if (record->source != target.identity()) return;
    if (request.options.reverse) {
        known.reversed = true;
        known.warnings.push_back("the direction is reversed: " + target.name() + " was the source of this pair");
        return;
    }
    throw error(error_kind::recorded_source,
                target.name() + " is on record as the source of this pair (synced onto " + record->target_name +
                    ", last at " + record->updated + ")",
                {.device = target.name(),
                 .operation = "open",
                 .hint = "if the direction is meant to turn round, say so with --reverse"});
}

digest digest_of_chunk(const geometry& shape, std::span<const std::byte> bytes) {
    const digester sha(digest_algorithm::sha256, {});
    std::vector<digest> blocks;
    for (std::size_t at = 0; at < bytes.size(); at += shape.block_bytes)
        blocks.push_back(sha.bytes(bytes.subspan(at, std::min<std::size_t>(shape.block_bytes, bytes.size() - at))));
    return sha.chunk(bytes.size(), blocks);
}

// Some of what a map tells is read again: whether nobody wrote to the target since. Where not, says the first that differs.
std::optional<extent> find_difference(device& target, const digest_map& finished) {
    constexpr std::uint64_t samples = 16;  // a guess: some milliseconds
    const geometry& shape = finished.shape();
    buffer space = std::make_shared<buffer_pool>(shape.chunk_bytes)->take();
    std::mt19937_64 random(std::random_device{}());
    for (std::uint64_t i = 0, count = shape.chunk_count(); i < std::min(samples, count); ++i) {
        // One of each stretch, so that all parts of the disk are looked at.
        const std::uint64_t begin = count * i / std::min(samples, count),
                            end = count * (i + 1) / std::min(samples, count);
        const std::uint64_t chunk = begin + random() % (end - begin);
        const extent range = shape.chunk(chunk);
        const std::span<std::byte> bytes = space.bytes().first(range.length);
        target.read(range.offset, bytes);
        const auto expected = finished.find(chunk);
        const bool zero = std::all_of(bytes.begin(), bytes.end(), [](std::byte each) { return each == std::byte{0}; });
        if (expected ? digest_of_chunk(shape, bytes) != *expected : !zero) return range;
    }
    return std::nullopt;
}

// What an interrupted sync finished need not be read again, if it was of this very state of the source.
void look_at_finished(const sync_request& request, device& target, const state_record& record, preparation& known) {
    const std::string what = "what an earlier sync onto " + target.name() + " finished is read again: ";
    const auto ignore = [&](const std::string& why) { known.warnings.push_back(what + why); };
    std::optional<digest_map> finished;
    try {
        finished = request.records->find_finished(target.identity());
    } catch (const error& why) {
        return ignore(why.what());
    }
    if (record.generation != known.generation)
        return ignore(record.generation.empty()
                          ? "it named no generation"
                          : "it was of generation " + record.generation + ", not " + known.generation);
    if (!finished || finished->shape().disk_bytes == 0) return ignore("nothing was kept yet");
    const geometry& shape = finished->shape();
    if (finished->label() != record.session) return ignore("what was kept is of another session");
    if (record.source_size != request.source->size() || record.target_size != target.size() || known.resize_to)
        return ignore("a disk's size has changed");
    if (finished->algorithm() != digest_algorithm::sha256 || shape.chunk_bytes != request.options.chunk_bytes ||
        shape.block_bytes != request.options.block_bytes || shape.disk_bytes > request.source->size())
        return ignore("it was kept in other units");
    if (request.options.within || request.options.verify == verify_level::reread)
        return ignore("--within and --verify=reread read all that they are told to");
    if (const auto other = find_difference(target, *finished))
        return ignore("at " + std::to_string(other->offset) + " the target does not hold what was written to it");
    known.finished = std::move(finished);
}

void look_at_records(const sync_request& request, device& target, preparation& known) {
    if (!request.records) return;
    refuse_recorded_source(request, target, known);
    std::optional<state_record> record;
    try {
        record = request.records->find_target(target.identity());
    } catch (const error& why) {
        if (why.kind() != error_kind::corrupt_file) throw;
        known.warnings.push_back(std::string("the target's state record is ignored and nothing is trusted: ") +
                                 why.what());
        known.had_record = true;
        known.was_poisoned = true;  // it may have said so
        known.distrust_target = true;
        if (!cache_dropped_of(target)) known.warnings.push_back("the cache of " + target.name() + " cannot be passed");
        return;
    }
    if (!record) return;
    known.had_record = true;
    known.was_poisoned = record->status == target_status::poisoned;
    known.was_clean = record->status == target_status::clean && record->source == request.source->identity() &&
                      record->source_size == request.source->size();
    const bool same_source = record->source == request.source->identity();
    if (!same_source)
        known.warnings.push_back("the target's state record is of another source (" + record->source_name +
                                 ") and is ignored");
    else if (record->source_size != request.source->size())
        known.warnings.push_back("the target's state record is ignored: the source had " +
                                 std::to_string(record->source_size) + " bytes then, and has " +
                                 std::to_string(request.source->size()) + " now");
    if (record->status == target_status::poisoned) {
        known.distrust_target = true;
        if (!cache_dropped_of(target))
            throw error(error_kind::unsuitable,
                        "an earlier flush of " + target.name() +
                            " failed, and its cache cannot be passed: what the medium holds cannot be known",
                        {.device = target.name(),
                         .operation = "open",
                         .hint = "make the target anew (remove the file, or restart the machine that holds the cache) "
                                 "and sync again"});
        known.warnings.push_back("an earlier flush of " + target.name() +
                                 " failed: it is read past the cache and nothing known of it is trusted");
    } else if (record->status == target_status::dirty) {
        known.warnings.push_back("an earlier sync onto " + target.name() +
                                 " did not finish; this one goes on from there");
        if (!known.generation.empty() && same_source) look_at_finished(request, target, *record, known);
    }
}

void look_at_source_users(const sync_request& request, preparation& known) {
    const auto who = find_source_writer(*request.source);
    if (!who) return;
    known.source_in_use = *who;
    known.warnings.push_back("the source " + request.source->name() + " is in use (" + *who +
                             "): what is sent is what was read, at different moments");
}

void look_at_holders(const sync_request& request, device& target, session_mode mode, preparation& known) {
    if (!request.options.interlocks || mode == session_mode::compare) return;
    look_at_source_users(request, known);
    if (mode == session_mode::sync) {
        known.guard = guard_target(target, *request.source);
        return;
    }
    if (!request.target) return;
    if (would_change(target, *request.source))
        known.warnings.push_back("a sync would be refused: source and target are one disk");
    for (const holder& who : find_holders(target))
        known.warnings.push_back("a sync would be refused while the target is in use: " + who.who);
}

bool holds_no_data(device& target) try {
    if (target.size() == 0) return true;
    const auto runs = target.allocation({0, target.size()}, 1);
    return !runs.empty() && runs.front().kind == content::zero && runs.front().range.length == target.size();
} catch (...) {
    throw caught_error(target.name());
}

}  // namespace

session_mode mode_of(const sync_options& options) noexcept {
    return options.dry_run ? session_mode::dry_run : session_mode::sync;
}

sync_request as_comparison(sync_request request) {
    request.options.keep_differential = true;
    request.options.dry_run = false;
    request.records = nullptr;
    return request;
}

void check_unchanged_size(device& disk) try {
    const std::uint64_t now = disk.current_size();
    if (now == disk.size()) return;
    throw error(
        error_kind::size_changed,
        disk.name() + " changed its size from " + std::to_string(disk.size()) + " to " + std::to_string(now) +
            " bytes since it was opened",
        {.device = disk.name(), .operation = "open", .hint = "make sure that nothing resizes it, and run again"});
} catch (...) {
    throw caught_error(disk.name());
}

std::optional<std::string> find_source_writer(const device& source) {
    for (const holder& each : find_holders(source))
        if (each.writes) return each.who;
    return std::nullopt;
}

void check_request(const sync_request& request, session_mode mode) {
    REPROTECT_ASSERT(request.source != nullptr);
    REPROTECT_ASSERT(request.target != nullptr || mode == session_mode::dry_run);
    check_options(request.options, request.source->size());
}

void check_options(const sync_options& options, std::uint64_t source_bytes) {
    check_geometry({source_bytes, options.chunk_bytes, options.block_bytes});
    if (options.depth < 1 || options.depth > 256)
        throw error(error_kind::usage, "a depth of " + std::to_string(options.depth) + " is out of range",
                    {.hint = "--depth takes 1 to 256"});
    if (options.memory_bytes < memory_minimum(options))
        throw error(error_kind::usage, format_size(options.memory_bytes) + " of memory is too little for these options",
                    {.hint = "--memory takes at least " + format_size(memory_minimum(options)) +
                             " here; smaller --depth or --chunk-size need less"});
    if (options.allow_larger && options.truncate)
        throw error(error_kind::usage, "a larger target cannot be both cut and left as it is",
                    {.hint = "use one of --allow-larger and --truncate"});
    if (!options.source_generation.empty() && options.algorithm != digest_algorithm::sha256)
        throw error(error_kind::usage, "a generation of the source wants digests that can be kept",
                    {.hint = "use --digest sha256 with --source-generation"});
    if (options.source_generation.size() > generation_max)
        throw error(error_kind::usage, "a generation's name has at most " + std::to_string(generation_max) + " bytes");
    if (options.egress_max != 0 && options.egress_max < egress_least)
        throw error(error_kind::usage, format_size(options.egress_max) + " are too few for a session with a peer",
                    {.hint = "--max-egress takes at least " + format_size(egress_least)});
    if (!options.traffic_max.empty() && !allows_minimum(options.traffic_max, options)) {
        const traffic_step least = traffic_minimum(options);
        throw error(error_kind::usage,
                    on_one_line(options.traffic_max.name) + " is too little for a session with a peer",
                    {.hint = "it must allow at least " + format_size(least.to_target) + " to the target and " +
                             format_size(least.to_source) + " to the source"});
    }
    if (!options.within) return;
    if (options.verify == verify_level::reread)
        throw error(error_kind::usage, "a sync within an extent set cannot be proved by reading the whole target again",
                    {.hint = "leave out --within or --verify=reread"});
    const std::uint64_t size = source_bytes;
    for (const extent& range : *options.within) {
        const bool aligned =
            range.offset % options.block_bytes == 0 && (range.end() % options.block_bytes == 0 || range.end() == size);
        if (aligned && range.end() <= size) continue;
        throw error(
            error_kind::usage,
            "the extent at " + std::to_string(range.offset) + ", length " + std::to_string(range.length) +
                ", does not fall on blocks of the source",
            {.offset = range.offset,
             .length = range.length,
             .hint = "extents to stay within begin and end on multiples of --block-size, or at the disk's end"});
    }
}

preparation prepare_session(const sync_request& request, device& target, session_mode mode) {
    device& source = *request.source;
    preparation known;
    check_unchanged_size(source);
    check_unchanged_size(target);
    if (mode == session_mode::sync && target.properties().read_only)
        throw error(error_kind::unsuitable, target.name() + " is open for reading only",
                    {.device = target.name(), .operation = "open", .hint = "open the target for writing"});
    if (mode == session_mode::sync || request.target) {
        // A comparison takes sizes as they are: the target is zero beyond its end, and what it has beyond is not looked at.
        if (mode != session_mode::compare)
            known.resize_to = fit_sizes(request, source, target, mode);
        else if (source.size() != target.size())
            known.warnings.push_back("the sizes differ (" + std::to_string(source.size()) + " and " +
                                     std::to_string(target.size()) + " bytes); the source's is compared");
    }
    look_at_holders(request, target, mode, known);
    if (mode == session_mode::sync && request.records && !request.options.within)
        known.generation = request.options.source_generation;
    if (mode != session_mode::compare) look_at_records(request, target, known);

    const bool missing = !request.target || target.properties().created;
    if (missing || (!known.distrust_target && holds_no_data(target))) {
        known.mode = sync_mode::full;
        known.reason = missing ? "target missing" : "target holds no data";
    } else {
        known.reason = "both disks hold data";
    }
    return known;
}

preparation prepare_source(const sync_request& request, session_mode mode) {
    preparation known;
    check_unchanged_size(*request.source);
    if (request.options.interlocks && mode != session_mode::compare) look_at_source_users(request, known);
    return known;
}

void prepare_far_target(const sync_request& request, device& target, session_mode mode, preparation& known) {
    if (mode != session_mode::compare && request.records) refuse_recorded_source(request, target, known);
}

state_record make_record(const device& source, const device& target, std::uint64_t target_size,
                         const std::string& session, const std::string& generation, target_status status) {
    state_record record;
    record.source = source.identity();
    record.target = target.identity();
    record.source_name = source.name();
    record.target_name = target.name();
    record.source_size = source.size();
    record.target_size = target_size;
    record.session = session;
    record.generation = generation;
    record.status = status;
    record.updated = utc_now();
    return record;
}

}  // namespace reprotect
