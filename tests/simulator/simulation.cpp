// Disks are small and rich in what is special: holes of every size, zeroes that are allocated, tails of odd length.
#include "simulator/simulation.hpp"

#include <algorithm>
#include <optional>

namespace reprotect::test {
namespace {

std::uint64_t random_size(dice& random) {
    switch (random.below(8)) {
        case 0:
            return random.below(6);
        case 1:
            return 4096 * random.below(30);
        case 2:
            return 512 * random.below(200);
        case 3:
        case 4:
            return random.of_any_size(160'000);
        default:
            return random.below(400'000);
    }
}

void write_randomly(simulated_disk& disk, dice& random) {
    for (std::uint64_t at = 0; at < disk.size();) {
        const std::uint64_t length = std::min(disk.size() - at, 512 * (1 + random.of_any_size(64)));
        std::vector<std::byte> bytes(length);
        const auto kind = random.below(8);
        if (kind >= 2) random.fill(bytes);  // 1: zeroes that are allocated
        if (kind >= 1 && kind < 5) disk.overwrite({at, length}, bytes);
        at += length;
    }
}

void edit_randomly(simulated_disk& disk, dice& random, std::uint64_t edits) {
    for (; edits > 0 && disk.size() != 0; --edits) {
        const std::uint64_t at = random.below(disk.size());
        const std::uint64_t length = std::min(disk.size() - at, 1 + random.of_any_size(9000));
        std::vector<std::byte> bytes(length);
        switch (random.below(4)) {
            case 0:
                disk.overwrite({at, length}, {});
                break;
            case 1:
                disk.overwrite({at, length}, bytes);
                break;
            case 2:
                random.fill(bytes);
                disk.overwrite({at, length}, bytes);
                break;
            default: {
                const std::byte one = disk.shown()[at] ^ std::byte{1};
                disk.overwrite({at, 1}, {&one, 1});
            }
        }
    }
}

void copy_content(simulated_disk& from, simulated_disk& to) {
    const std::uint64_t size = std::min(from.size(), to.size());
    if (size == 0) return;
    for (const allocation_run& run : from.allocation({0, size}, ~std::size_t{0}))
        if (run.kind == content::data)
            to.overwrite(run.range, std::span(from.shown()).subspan(run.range.offset, run.range.length));
}

std::string to_text(const run_end& end) {
    if (end.refused) return std::string("refused: ") + end.refused->what();
    std::string text = end.crashed ? "ended, " : "";
    text += std::to_string(end.steps) + " steps, " + std::to_string(end.data_messages) + " data messages";
    const char* const names[] = {"source", "target"};
    for (std::size_t i = 0; i < 2; ++i)
        text += std::string(", ") + names[i] +
                (end.done[i]      ? " done"
                 : end.failure[i] ? std::string(" failed: ") + end.failure[i]->what()
                                  : " open");
    return text;
}

class simulation {
public:
    simulation(std::uint64_t seed, tally& counts)
        : random_(seed),
          counts_(counts),
          // Braces, since within them one is drawn after the other.
          source_{"source", random_size(random_), random_.pick({512u, 4096u}), random_},
          target_{"target", random_.one_in(4) ? random_size(random_) : source_.size(), random_.pick({512u, 4096u}),
                  random_} {
        set_up();
        store_.on_save = [this](const state_record& record) { on_save(record); };
    }

    simulation_result tell() {
        const std::uint64_t rough = random_.pick({0u, 1u, 1u, 2u});
        for (std::uint64_t i = 0; i < rough && broken_.empty(); ++i) {
            run_plan plan = plan_run(random_, source_, target_);
            plan_faults(plan, random_, target_);
            run(plan, "run " + std::to_string(i + 1));
            between_runs();
        }
        run_to_equality();
        return {broken_, story_, trace_};
    }

private:
    void set_up() {
        device_properties& ours = target_.mutable_properties();
        ours.punches_holes = !random_.one_in(3);
        ours.resizable = target_.size() < source_.size() || random_.one_in(2);
        ours.direct = random_.one_in(8);
        target_.passes_cache = !random_.one_in(6);
        write_randomly(source_, random_);
        switch (random_.below(4)) {
            case 0:
                break;
            case 1:
                write_randomly(target_, random_);
                break;
            default:
                copy_content(source_, target_);
                edit_randomly(target_, random_, random_.of_any_size(80));
        }
        source_.settle();
        target_.settle();
    }

    void on_save(const state_record&) {
        if (!save_fails_ || saves_++ != *save_fails_) return;
        ++counts_["record not saved"];
        if (current_) current_->on_disturbance();
        throw error(error_kind::device_io, "the record cannot be saved");
    }

    run_end run(run_plan plan, const std::string& name) {
        if (!plan.options.source_generation.empty())
            plan.options.source_generation = "generation " + std::to_string(generation_);
        save_fails_ = plan.save_fails;
        saves_ = 0;
        const std::uint64_t size_before = target_.size();
        simulated_run one(plan, source_, target_, store_, settled_, random_, counts_);
        current_ = &one;
        run_end end = one.go();
        current_ = nullptr;
        trace_ = trace_ * 31 + one.trace();
        if (!one.checked().broken().empty())
            broken_ = name + ", step " + std::to_string(end.steps) + ": " + one.checked().broken();
        for (const extent& each : one.checked().flushed()) settled_.add(each);
        // A checkpoint may follow a write that failed.
        for (const error& each : target_.failed())
            if (each.detail().offset && each.detail().length)
                settled_.remove({*each.detail().offset, *each.detail().length});
        if (target_.flush_failed() || target_.lost_a_write() || target_.size() != size_before ||
            one.checked().altered())
            settled_ = {};
        if (one.checked().source_changed()) settled_ = {};
        // Who vouches for a state knows when it is another: of the source, and of a target that others wrote to, or that lied.
        if (one.checked().source_changed() || one.checked().altered() || target_.lost_a_write()) ++generation_;
        if (target_.lost_a_write()) ++counts_["lied"];
        // Who lies is not believed for ever. And a flush that failed without the record saying so was told as a
        // warning.
        const auto record = store_.find_target(target_.identity());
        const bool forgotten = target_.flush_failed() && (!record || record->status != target_status::poisoned);
        if (target_.lost_a_write() || forgotten) target_.restart();
        story_ += name + ": " + to_text(plan) + "; " + to_text(end) + "\n";
        count(plan, end);
        return end;
    }

    void count(const run_plan& plan, const run_end& end) {
        ++counts_[end.refused ? "refused" : end.done[1] ? "done" : "failed"];
        counts_["steps"] += end.steps;
        counts_["longest"] = std::max(counts_["longest"], end.steps);
        if (target_.flush_failed()) ++counts_["flush failed"];
        if (!source_.failed().empty()) ++counts_["source failed"];
        if (!target_.failed().empty()) ++counts_["target failed"];
        if (plan.rereads() && end.done[0]) ++counts_["read again"];
        if (plan.options.within && end.done[0]) ++counts_["within"];
    }

    // Machines are restarted, caches forget, the source's machine works on.
    void between_runs() {
        if (target_.stopped() || random_.one_in(5)) {
            story_ += "the target's machine starts again\n";
            target_.restart();
        }
        if (random_.one_in(5)) {
            story_ += "the target's cache forgets\n";
            target_.evict();
        }
        if (!random_.one_in(3)) return;
        story_ += "the source is edited\n";
        edit_randomly(source_, random_, 1 + random_.below(6));
        source_.settle();
        settled_ = {};
        ++generation_;
    }

    void run_to_equality() {
        for (unsigned tries = 0; broken_.empty(); ++tries) {
            run_plan plan = plan_run(random_, source_, target_);
            plan.mode = session_mode::sync;
            plan.options.dry_run = false;
            last_ = plan.options;
            const run_end end = run(plan, "last run");
            if (!broken_.empty()) return;
            const bool cannot_know = end.refused && end.refused->kind() == error_kind::unsuitable;
            if (cannot_know && !target_.passes_cache && tries == 0) {
                // What was promised: the machine is restarted, and nothing of its cache is left.
                ++counts_["refused as poisoned"];
                target_.restart();
                target_.passes_cache = true;
                continue;
            }
            if (end.refused) broken_ = std::string("last run refused: ") + end.refused->what();
            if (!end.done[0] || !end.done[1]) broken_ = "last run is not done";
            break;
        }
        if (!broken_.empty() || !random_.one_in(4)) return;
        run_plan plan = plan_run(random_, source_, target_);
        plan.mode = session_mode::sync;
        plan.options.dry_run = false;
        if (last_.within) {
            plan.options.verify = verify_level::root;
            for (disk_faults& each : plan.disks) each.false_hints = false;
            plan.options.block_bytes = last_.block_bytes;
            plan.options.chunk_bytes = last_.chunk_bytes;
        }
        plan.options.within = last_.within;
        const run_end end = run(plan, "one more run");
        if (broken_.empty() && end.data_messages != 0) broken_ = "one more run finds something to send";
    }

    dice random_;
    tally& counts_;
    simulated_disk source_, target_;
    test_store store_;
    std::optional<std::uint64_t> save_fails_;
    std::uint64_t saves_ = 0;
    std::uint64_t generation_ = 1;  // of the source, for runs that name it
    simulated_run* current_ = nullptr;
    extent_set settled_;  // written, flushed, and touched by nobody since
    sync_options last_;
    std::string broken_, story_;
    std::uint64_t trace_ = 0;
};

}  // namespace

simulation_result simulate(std::uint64_t seed, tally& counts) {
    return simulation(seed, counts).tell();
}

}  // namespace reprotect::test
