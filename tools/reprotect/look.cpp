// One sampling of both disks, and the model that the line names run over it.
#include "look.hpp"

#include "reprotect/connect.hpp"
#include "reprotect/probe.hpp"
#include "reprotect/remote.hpp"

#include <fmt/format.h>

#include <memory>

#include "remote_options.hpp"

namespace reprotect::tool {
namespace {

constexpr double link_seconds = 1;  // long enough for TCP to find out what the link carries
// Of what may cross. Half of it may go to measuring, at least 64 KiB each way; long stretches have up to 2 MiB of digests.
constexpr std::uint64_t link_bytes_least = 512 << 10, stretch_bytes_least = 8 << 20;

// Then its processors are ours.
bool is_here(const arguments& line) {
    return !line.remote.disk || is_at_loopback(line.disks[*line.remote.disk]);
}

probe_result sample(const arguments& line, const disks_here& here, const surroundings& around,
                    const traffic_step& most) {
    sampling_options how;
    how.block_bytes = line.options.block_bytes;
    how.depth = line.options.depth;
    how.threads = line.options.threads;
    probe_options options = line.estimate.probing;
    options.algorithm = line.options.algorithm;
    options.threads = line.options.threads;
    options.cancel = around.signals.token();
    std::unique_ptr<probed_disk> source, target;
    std::optional<link_rates> link;
    digest_secret secret = random_secret();
    probed_disk* far_disk = nullptr;
    const bool far_source = line.remote.disk == 0;
    if (line.remote.disk) {
        const link_traffic may_cross =
            far_source ? link_traffic{most.to_source, most.to_target} : link_traffic{most.to_target, most.to_source};
        far_probed_disk far = probe_remote_disk(line.disks[*line.remote.disk], how, make_connect_options(line),
                                                options.cancel, may_cross);
        secret = far.secret;
        // Under a limit, what crosses goes to blocks first: a link that is not measured is an assumption that is printed.
        if (std::min(may_cross.sent, may_cross.received) >= link_bytes_least)
            link = measure_link(*far.disk, far_source ? peer_role::source : peer_role::target, link_seconds,
                                options.cancel);
        options.stretches = options.stretches && may_cross.received >= stretch_bytes_least;
        options.blocks_max = std::min(options.blocks_max, std::max<std::uint64_t>(may_cross.received / 64, 1));
        far_disk = far.disk.get();
        (far_source ? source : target) = std::move(far.disk);
    }
    if (here.source != nullptr) source = make_probed_disk(*here.source, how, secret);
    if (here.target != nullptr) target = make_probed_disk(*here.target, how, secret);
    probe_result seen = probe(*source, target.get(), options);
    seen.link = link;
    if (far_disk != nullptr) {
        const link_traffic crossed = traffic_of(*far_disk);
        seen.crossed_to_target = far_source ? crossed.received : crossed.sent;
        seen.crossed_to_source = far_source ? crossed.sent : crossed.received;
        (far_source ? source : target).reset();  // or it would go on saying that it is there
    }
    if (!line.estimate.probe_write.empty())
        seen.rates.write = measure_writing(line.estimate.probe_write, how.block_bytes, 256ull << 20, options.cancel);
    return seen;
}

}  // namespace

looked_estimate look(const arguments& line, const disks_here& here, const surroundings& around,
                     const std::optional<traffic_bill>& bill, const traffic_step& most) {
    const estimate_arguments& asked = line.estimate;
    const model_registry models;
    const estimate_model& model = models.find(asked.model);
    workload what = asked.what;
    if (what.disks.empty()) what.disks.emplace_back();
    // What is wrong without a look is told without one: it takes its time, and may write a scratch file.
    check_workload(what);
    const std::optional<history> past =
        asked.history_file.empty() ? std::nullopt : std::optional(load_history(asked.history_file));
    if (!asked.probe_write.empty()) check_scratch_file(asked.probe_write);
    probe_result seen = sample(line, here, around, most);
    if (line.disks.size() == 1) seen.changed_given = what.disks.front().changed_bytes;
    const bool across = !asked.across.empty();
    if (line.disks.size() == 2 && !line.remote.disk && !across) what.link.one_machine = true;
    const bool missing = line.disks.size() == 2 && here.target == nullptr && line.remote.disk != 1;
    if (missing) what.disks.front().target = target_state::missing;
    // One ssh is one connection.
    if (line.remote.disk && parse_remote_name(line.disks[*line.remote.disk]).how == remote_name::scheme::ssh)
        what.link.connections = 1;
    add_probe(what, seen, line.disks.size() == 2 && is_here(line) && !across);
    looked_estimate result;
    result.crossed = {seen.crossed_to_source, seen.crossed_to_target};
    result.raw = model.run(what);
    if (line.remote.disk && is_here(line))
        result.raw.assumptions.push_back({"processors", "shared", "the peer's address is one of this machine"});
    if (across)
        result.raw.notes.push_back("both disks are on this machine; since " + asked.across +
                                   " was given, this is for two machines with a link between them, each like this one");
    if (missing) result.raw.notes.push_back(line.disks[1] + " is not there: a sync makes it, and copies all data");
    if (bill && line.remote.disk)
        result.raw.notes.push_back(fmt::format("what crossed for this look costs {} {}, and is not in the estimate",
                                               format_money(bill->cost(seen.crossed_to_target, seen.crossed_to_source)),
                                               bill->currency()));
    result.raw.probe = seen;
    if (bill) add_cost(result.raw, *bill);
    result.pair.source = as_history_disk(line.disks[0], here.source);
    if (line.disks.size() == 2) result.pair.target = as_history_disk(line.disks[1], here.target);
    result.shown = result.raw;
    if (!past) return result;
    const std::optional<history_pair> pair =
        line.disks.size() == 2 && !across ? std::optional(result.pair) : std::nullopt;
    result.shown = calibrate(result.raw, find_calibration(*past, result.raw, pair));
    return result;
}

}  // namespace reprotect::tool
