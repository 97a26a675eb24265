// Numbers are drawn so that the narrow cases come often: windows of one, chunks of one block, faults at the first
// calls.
#include "simulator/run_plan.hpp"

#include <algorithm>

namespace reprotect::test {
namespace {

std::uint64_t window(dice& random) {
    return random.one_in(3) ? 1 : random.one_in(2) ? 2 + random.below(4) : 1 + random.of_any_size(64);
}

extent_set random_within(dice& random, std::uint64_t size, std::uint32_t block) {
    extent_set within;
    const std::uint64_t blocks = (size + block - 1) / block;
    for (std::uint64_t i = random.below(4); i > 0 && size != 0; --i) {
        const std::uint64_t first = random.below(blocks) * block;
        within.add({first, std::min(size - first, (1 + random.below(24)) * block)});
    }
    return within;
}

disk_faults::failure failure_of(dice& random, bool of_target) {
    disk_faults::failure result;
    result.call = of_target ? random.pick({device_call::read, device_call::write, device_call::write,
                                           device_call::write_zeroes, device_call::flush, device_call::flush,
                                           device_call::allocation, device_call::resize, device_call::drop_cache})
                            : random.pick({device_call::read, device_call::read, device_call::allocation});
    const bool rare = result.call == device_call::flush || result.call == device_call::resize ||
                      result.call == device_call::drop_cache;
    result.nth = rare ? 0 : random.of_any_size(result.call == device_call::allocation ? 4 : 40);
    result.for_good = random.one_in(2);
    if (result.call == device_call::write && random.one_in(2)) result.kind = error_kind::no_space;
    if (result.call == device_call::flush && random.one_in(2)) result.kind = error_kind::flush_failed;
    return result;
}

frame_corruption corruption(dice& random) {
    frame_corruption result;
    switch (random.below(3)) {
        case 0:
            result.kind = frame_kind::data;
            result.for_good = random.one_in(3);
            break;
        case 1:
            result.kind = random.pick({frame_kind::chunk_digests, frame_kind::narrow, frame_kind::block_digests,
                                       frame_kind::verdict, frame_kind::credit, frame_kind::end_of_data,
                                       frame_kind::applied, frame_kind::proof});
            break;
        default:
            break;
    }
    result.nth = random.of_any_size(result.kind ? 4 : 60);
    return result;
}

// A source that changes while it is read matters most where it is read twice: where chunks are let go before they are
// sent.
void squeeze(run_plan& plan, dice& random) {
    plan.reads_max[0] = 4 + random.below(8);
    plan.buffers_max = 2 + random.below(3);
    plan.digest_entries = {16, 16};
    plan.push_percent = 101;
    if (!plan.options.within && random.one_in(2)) plan.options.verify = verify_level::reread;
    plan.eagerness = {1, 6, 6, 1};
    for (std::uint64_t n = 4 + random.below(12); n > 0; --n) plan.source_changes_at.push_back(random.below(500));
}

void tell(std::string& text, const char* what, const std::optional<std::uint64_t>& when) {
    if (when) text += std::string(", ") + what + " " + std::to_string(*when);
}

void tell(std::string& text, const std::string& whose, const disk_faults& faults) {
    for (const auto& each : faults.failures)
        text += ", " + whose + ": " + to_string(each.call) + " " + std::to_string(each.nth) + " fails" +
                (each.for_good ? " for good" : "");
    tell(text, "the machine stops at write", faults.stops_at_write);
    tell(text, faults.misdirects ? "misplaces write" : "loses write", faults.loses_write);
    if (faults.false_hints) text += ", " + whose + " tells anything of its holes";
}

}  // namespace

std::string to_text(const run_plan& plan) {
    const char* const modes[] = {"sync", "dry run", "comparison"};
    const char* const links[] = {"in memory", "over a stream", "over lanes"};
    std::string text = modes[static_cast<std::size_t>(plan.mode)];
    text += std::string(" ") + links[static_cast<std::size_t>(plan.link)] + (plan.rereads() ? ", read again" : "") +
            (plan.options.within ? ", within extents" : "") + ", blocks of " +
            std::to_string(plan.options.block_bytes) + ", chunks of " + std::to_string(plan.options.chunk_bytes);
    tell(text, "source", plan.disks[0]);
    tell(text, "target", plan.disks[1]);
    tell(text, "not saved: record", plan.save_fails);
    if (plan.corrupts) {
        const frame_corruption& how = *plan.corrupts;
        text += ", corrupted: frame " + std::to_string(how.nth) + (how.for_good ? " and all after it" : "");
        if (how.kind) text += " of kind " + std::to_string(static_cast<unsigned>(*how.kind));
    }
    tell(text, "cut at step", plan.cut_at);
    tell(text, "crash at step", plan.crash_at);
    tell(text, "killed at step", plan.kill_at);
    tell(text, plan.stopped == side::source ? "stop of the source at step" : "stop of the target at step",
         plan.stop_at);
    if (!plan.options.source_generation.empty()) text += ", " + plan.options.source_generation;
    for (const std::uint64_t each : plan.checkpoints_at) tell(text, "checkpoint at step", each);
    for (const std::uint64_t each : plan.source_changes_at) tell(text, "source changes at step", each);
    for (const std::uint64_t each : plan.target_changes_at) tell(text, "target changes at step", each);
    return text;
}

run_plan plan_run(dice& random, const device& source, const device& target) {
    run_plan plan;
    sync_options& options = plan.options;
    plan.mode = random.one_in(8) ? random.pick({session_mode::dry_run, session_mode::compare}) : session_mode::sync;
    options.dry_run = plan.mode == session_mode::dry_run;
    options.block_bytes = random.pick({512u, 512u, 1024u, 4096u});
    // Mostly few blocks: what goes on goes on between chunks.
    options.chunk_bytes = std::max(4096u, options.block_bytes * static_cast<std::uint32_t>(1 + random.of_any_size(31)));
    if (random.one_in(2)) options.chunk_bytes = 4096;
    options.algorithm = random.one_in(6) ? digest_algorithm::sha256 : digest_algorithm::xxh3;
    options.keep_differential = plan.mode == session_mode::compare || random.one_in(2);
    options.interlocks = false;
    if (random.one_in(5))
        options.verify = verify_level::reread;
    else if (random.one_in(3))
        options.within = random_within(random, source.size(), options.block_bytes);
    if (plan.mode == session_mode::sync && !options.within && !plan.rereads() && random.one_in(2)) {
        options.source_generation = "named";
        options.algorithm = digest_algorithm::sha256;
        options.block_bytes = 512;
        options.chunk_bytes = 4096;
        for (std::uint64_t n = random.below(6); n > 0; --n) plan.checkpoints_at.push_back(random.of_any_size(600));
    }
    options.allow_larger = source.size() == 0 || !target.properties().resizable || random.one_in(2);
    options.truncate = !options.allow_larger;

    plan.link = random.pick({link_kind::memory, link_kind::stream, link_kind::stream, link_kind::lanes});
    plan.level = random.pick({1, 3});
    plan.reads_max = {window(random), window(random)};
    plan.digest_entries = {window(random), window(random)};
    plan.buffers_max = window(random);
    plan.applies_max = window(random);
    plan.allocation_runs = window(random);
    plan.data_messages = window(random);
    plan.data_bytes = window(random) * 512;
    plan.proof_chunks = window(random);
    plan.push_percent = random.pick({50u, 0u, 101u});
    for (unsigned& each : plan.eagerness) each = random.pick({1u, 1u, 6u, 40u});
    for (disk_faults& each : plan.disks)
        if (random.one_in(3)) each.runs_per_answer = 1 + random.below(3);
    // Nobody is to believe them then.
    if (plan.rereads())
        for (disk_faults& each : plan.disks) each.false_hints = random.one_in(2);
    return plan;
}

void plan_faults(run_plan& plan, dice& random, const simulated_disk& target) {
    const bool wire = plan.link != link_kind::memory;
    disk_faults& of_target = plan.disks[1];
    for (std::uint64_t i = 1 + random.below(2); i > 0; --i) {
        const std::uint64_t step = random.of_any_size(600);
        switch (random.below(12)) {
            case 0:
                plan.disks[0].failures.push_back(failure_of(random, false));
                break;
            case 1:
            case 2:
                of_target.failures.push_back(failure_of(random, true));
                break;
            case 3:
                of_target.failures.push_back({device_call::flush, 0, random.one_in(2), error_kind::device_io});
                break;
            case 4:
                plan.save_fails = random.below(3);
                break;
            case 5:
                if (wire) plan.corrupts = corruption(random);
                break;
            case 6:
                if (wire) plan.cut_at = step;
                break;
            case 7:
                (random.one_in(3) ? plan.kill_at : plan.crash_at) = step;
                break;
            case 8:
                of_target.stops_at_write = random.of_any_size(40);
                break;
            case 9:
                plan.stop_at = step;
                plan.stopped = random.pick({side::source, side::target});
                break;
            case 10:
                if (random.one_in(2)) {
                    squeeze(plan, random);
                    break;
                }
                for (auto* when : {&plan.source_changes_at, &plan.target_changes_at})
                    for (std::uint64_t n = random.one_in(2) ? 1 + random.below(4) : 0; n > 0; --n)
                        when->push_back(random.of_any_size(600));
                break;
            default:
                // Only who reads everything again, past the cache, can find out about this.
                if (!plan.rereads() || !target.passes_cache) break;
                of_target.loses_write = random.of_any_size(20);
                of_target.misdirects = random.one_in(2);
        }
    }
}

}  // namespace reprotect::test
