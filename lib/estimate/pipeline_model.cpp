// This engine. Reading both disks, the link and writing overlap, so the slowest of them sets the time; opening the
// session, the last flush and a second reading (`--verify=reread`) come before and after.
//
//   source read    used data (all of the disk with reread, which ignores allocation), at the disk's rate or that of
//                  digests
//   target read    the target's data, likewise; nothing for a full copy
//   link           to the target: changed data without zero blocks, by the compression ratio, plus framing, TLS and the
//                  session's own messages; with reread 16 bytes a chunk of proofs.
//                  To the source: 16 bytes for each chunk with data, 5 bytes for each block of chunks that changed.
//                  Both directions at once; at the link's rate, `--limit`, or what the connections' windows carry in a
//                  round trip, whatever is least. A measured rate is one connection's: where a window may have held it
//                  back, several connections carry more. Compression and encryption belong to it and may be what is slowest.
//   target write   changed data without zero blocks
//   contention     where both sides share processors, memory and perhaps a disk, what overlaps is in each other's way
//   processors     where both sides share them and a probe measured it: all of the work by what a byte of it costs
//   flush          what has not been written out when the last block comes
//   verify         the whole target once more, with reread
//
// How many chunks hold data, and how many of them changed, depends on how both are scattered; the bounds of `low` and
// `high` are those of any disk (data in whole chunks, or in pieces of 64 KiB, the grain of allocation; changes side
// by side, or each block in a chunk of its own).
//
// Several disks: each stage of a disk takes as long as that disk takes, and the slowest disk counts. Link and
// processors are shared, so their bytes add up. The upper end counts a disk's reads and writes one after the other.
#include <algorithm>
#include <cmath>

#include "estimate/models.hpp"
#include "reprotect/units.hpp"

namespace reprotect {
namespace {

constexpr double KiB = 1024, MiB = 1024 * KiB;

// README, bytes between two processes: 0.13 MB of framing and 0.15 MB of TLS for 107.25 MB of payload.
constexpr double framing_share = 0.0026;
// README, the same: what a session of identical disks sends beside digests, 18 KB and 25 KB; half and twice that
// guessed.
constexpr spread<double> session_to_target{9e3, 18e3, 36e3};
constexpr spread<double> session_to_source{12e3, 25e3, 50e3};
constexpr double chunk_digest_bytes = 16, cut_bytes = 5;  // specified: frame.hpp
constexpr double allocation_grain = 64 * KiB;             // specified: DESIGN, allocation
// README, bytes between two processes: identical disks with 2 GiB of data in 4 KiB pieces and longer ones; 72 KB of
// digests are 2.2 times what 2 GiB in whole chunks have.
constexpr double scatter_of_data = 2.2;
constexpr double run_of_changes = 64 * KiB;         // guessed: changes come in runs of about this
constexpr spread<double> round_trips{3.4, 3.9, 6};  // measured by bench/long_links; 6 guessed
constexpr double window_bytes = 4 * MiB;      // guessed: what systems let be in flight; as bench/long_links has it
constexpr unsigned connections_default = 16;  // as many as help, and this many at most
// As lib/sync/lane_controller.cpp has it: what any kernel lets be in flight; and how many connections a sync begins
// with, one more for each 25 ms of a round trip. More are opened where that helps, which nobody has seen before a sync.
constexpr double window_least = 256 * KiB;
constexpr double round_trip_of_a_connection = 0.025;
constexpr unsigned connections_at_first = 4;
constexpr double round_trip_least = 0.001;     // guessed: nearer than that, no window holds a connection back
constexpr double unflushed_likely = 32 * MiB;  // the engine writes out from the first 32 MiB on
constexpr double unflushed_high = 512 * MiB;   // guessed: what a disk's own cache may hold
// bench/predictions: of the other stages, how much the longest is longer where both sides share a machine.
constexpr spread<double> contention_share{0, 0.25, 1};
// On one machine. bench/predictions: opening disks, two records that are flushed, the last flush of what is clean.
constexpr spread<double> opening_here{0.005, 0.02, 0.1};
constexpr spread<double> disk_rate_default{45e6, 60e6, 200e6};
constexpr spread<double> link_rate_default{25e6, 125e6, 125e6};
constexpr spread<double> round_trip_default{0.001, 0.02, 0.1};
constexpr spread<double> ratio_default{1, 1.6, 3};
constexpr spread<double> encode_default{0.71e9, 0.78e9, 0.85e9};
constexpr double xxh3_rate = 24e9, sha256_rate = 1.36e9;
constexpr double limit_shows = 0.9;          // guessed: of a limit, what a measurement that it held back comes to
constexpr double spread_that_counts = 0.01;  // of a printed figure

spread<double> real(const spread<std::uint64_t>& value) {
    return {static_cast<double>(value.low), static_cast<double>(value.likely), static_cast<double>(value.high)};
}

// Bytes at a rate: the most bytes at the least rate take longest.
spread<double> seconds_for(const spread<double>& bytes, const spread<double>& rate) {
    return {bytes.low / rate.high, bytes.likely / rate.likely, bytes.high / rate.low};
}

template <typename Join>
spread<double> each(const spread<double>& left, const spread<double>& right, Join join) {
    return {join(left.low, right.low), join(left.likely, right.likely), join(left.high, right.high)};
}
spread<double> plus(const spread<double>& left, const spread<double>& right) {
    return each(left, right, [](double a, double b) { return a + b; });
}
spread<double> larger(const spread<double>& left, const spread<double>& right) {
    return each(left, right, [](double a, double b) { return std::max(a, b); });
}
spread<double> smaller(const spread<double>& left, const spread<double>& right) {
    return each(left, right, [](double a, double b) { return std::min(a, b); });
}

// Bytes a second of what does both to each.
spread<double> one_after_the_other(const spread<double>& left, const spread<double>& right) {
    return each(left, right, [](double a, double b) { return 1 / (1 / a + 1 / b); });
}

spread<std::uint64_t> whole(const spread<double>& bytes) {
    const auto up = [](double value) { return static_cast<std::uint64_t>(std::ceil(value)); };
    return {up(bytes.low), up(bytes.likely), up(bytes.high)};
}

// What one disk asks of each stage: bytes.
struct demand {
    double source_read = 0;
    double target_read = 0;
    double verify = 0;
    spread<double> raw;                                   // sent and written: changed data without zero blocks
    spread<double> digests;                               // towards the source
    bool data_scatters = false, changes_scatter = false;  // what is guessed of it decides on `digests`
    double proofs = 0;                                    // towards the target
};

demand demand_of(const settled_disk& disk, const workload& what, const spread<double>& zero_share) {
    const bool reread = what.verify == verify_level::reread;
    const double size = static_cast<double>(disk.size), used = static_cast<double>(disk.used);
    const double chunk = what.chunk_bytes, block = what.block_bytes;
    const spread<double> changed = real(disk.changed);
    demand result;
    result.source_read = reread ? size : used;
    result.verify = reread ? size : 0;
    result.raw = {changed.low * (1 - zero_share.high), changed.likely * (1 - zero_share.likely),
                  changed.high * (1 - zero_share.low)};
    const double chunks_of_disk = std::ceil(size / chunk);
    if (reread) result.proofs = chunk_digest_bytes * chunks_of_disk;
    if (disk.full_copy) return result;

    const double target_data = reread ? size : static_cast<double>(disk.target_used);
    result.target_read = target_data;
    const double dense = std::min(std::ceil(target_data / chunk), chunks_of_disk);
    const spread<double> chunks{dense, std::min(dense * scatter_of_data, chunks_of_disk),
                                std::min(std::ceil(target_data / std::min(allocation_grain, chunk)), chunks_of_disk)};
    // A run of changes hits a chunk or not: the share of chunks that none hits falls with the runs that fit into one.
    const double share = used > 0 ? std::min(changed.likely / used, 1.0) : 0;
    const double scattered = 1 - std::pow(1 - share, std::max(chunk / run_of_changes, 1.0));
    const spread<double> hit{std::min(std::ceil(changed.low / chunk), chunks.low),
                             std::clamp(chunks.likely * scattered,
                                        std::min(std::ceil(changed.likely / chunk), chunks.likely), chunks.likely),
                             std::min(std::ceil(changed.high / block), chunks.high)};
    // Blocks of zeroes are told as runs, so no more cuts cross than the target has blocks with data.
    const double cuts_max = cut_bytes * std::ceil(static_cast<double>(disk.target_used) / block);
    const auto digests = [&](double of_chunks, double changed_chunks) {
        return chunk_digest_bytes * of_chunks + std::min(cut_bytes * (chunk / block) * changed_chunks, cuts_max);
    };
    result.data_scatters = chunks.low < chunks.high;
    result.changes_scatter = hit.low < hit.high;
    result.digests = {digests(chunks.low, hit.low), digests(chunks.likely, hit.likely), digests(chunks.high, hit.high)};
    return result;
}

estimate_scope scope_of(const std::vector<settled_disk>& disks, bool through_peer) {
    estimate_scope scope;
    scope.through_peer = through_peer;
    for (const settled_disk& disk : disks) {
        scope.full_copy = scope.full_copy || disk.full_copy;
        scope.read_bytes += disk.used;
        scope.changed_bytes += disk.changed.likely;
    }
    return scope;
}

class pipeline final : public estimate_model {
public:
    std::string name() const override { return "pipeline"; }
    std::string summary() const override {
        return "this engine: reading, sending and writing overlap, and the slowest sets the time";
    }

    estimate run(const workload& what) const override;
};

// The link's share of an estimate: bytes both ways, then what they take.
struct crossing {
    spread<double> to_target, to_source, raw;
    spread<double> ratio{1, 1, 1};
    spread<double> session_to_target, session_to_source;  // of it: what a session sends whatever the disks hold
    bool data_scatters = false, changes_scatter = false;
};

// What the bytes rest on that nobody gave, where it shows.
void assume_crossing(assumption_list& assumptions, const crossing& bytes) {
    if (bytes.data_scatters)
        assumptions.add(
            "chunks that hold data", short_number(scatter_of_data) + " times those that it would fill",
            "likely, of one disk (README, bytes between two processes); at least as many as it would fill, at most "
            "one for each 64 KiB of data");
    if (bytes.changes_scatter)
        assumptions.add("runs of changes", format_size(static_cast<std::uint64_t>(run_of_changes)),
                        "a guess, and likely; at least all next to each other, at most each block by itself");
    const auto shows = [](const spread<double>& part, const spread<double>& of) {
        return part.high - part.low > spread_that_counts * of.high;
    };
    if (shows(bytes.session_to_target, bytes.to_target) || shows(bytes.session_to_source, bytes.to_source))
        assumptions.add("what a session sends besides",
                        show_size(whole(bytes.session_to_target)) + " to the target, " +
                            show_size(whole(bytes.session_to_source)) + " to the source",
                        "README, bytes between two processes; half and twice that are guesses");
}

// Of a link that was measured with one connection.
spread<double> carried_by(const spread<double>& one, const spread<double>& round_trip, unsigned connections) {
    const bool held_back = round_trip.likely >= round_trip_least && one.likely * round_trip.likely > window_least;
    if (!held_back || connections == 1) return one;
    const auto at_first = 1 + static_cast<unsigned>(std::min(round_trip.likely, 1.0) / round_trip_of_a_connection);
    const unsigned likely = std::min({connections, connections_at_first, at_first});
    return {one.low, one.likely * likely, one.high * connections};
}

void add_link(estimate& into, assumption_list& assumptions, const workload& what, const crossing& bytes) {
    const workload_link& link = what.link;
    const std::optional<link_rates>& seen = link.measured;
    const spread<double> round_trip = assumptions.take<spread<double>>(
        seen && !link.round_trip_s ? std::optional(seen->round_trip_s) : link.round_trip_s, round_trip_default,
        "link round trip in seconds", show_number, "not given: a guess, from one building to two continents");
    const spread<double> encode = assumptions.take<spread<double>>(
        what.encode_rate, encode_default, "compression and encryption", show_rate,
        "not given: README, data that does not compress between two processes on two cores");
    const unsigned connections = assumptions.take<unsigned>(
        link.connections, connections_default, "connections", [](const unsigned& n) { return std::to_string(n); },
        "not given: as many as help, at most 16");

    struct {
        spread<double> to_target, to_source;
    } rate;
    if (link.rate || !seen) {
        rate.to_target = rate.to_source =
            assumptions.take<spread<double>>(link.rate, link_rate_default, "link rate", show_rate,
                                             "not given: a guess, 1 Gbit/s, a fifth of it at worst");
    } else {
        rate = {carried_by(seen->to_target, round_trip, connections),
                carried_by(seen->to_source, round_trip, connections)};
        if (rate.to_target != seen->to_target || rate.to_source != seen->to_source)
            assumptions.add(
                "link rate",
                show_rate(rate.to_target) + " to the target, " + show_rate(rate.to_source) + " to the source",
                "measured with one connection, " + format_rate(seen->to_target.likely) + " and " +
                    format_rate(seen->to_source.likely) +
                    ", which such a round trip may have held back; a guess that the link has more: likely for the "
                    "connections that a sync begins with (at most 4), at best for all " +
                    std::to_string(connections));
    }
    if (round_trip.high > 0) {
        assumptions.add("in flight on a connection", format_size(static_cast<std::uint64_t>(window_bytes)),
                        "a guess: what systems let be in flight");
        const auto windows = [&](double seconds) {
            return seconds > 0 ? connections * window_bytes / seconds
                               : std::max(rate.to_target.high, rate.to_source.high);
        };
        const spread<double> most{windows(round_trip.high), windows(round_trip.likely), windows(round_trip.low)};
        rate = {smaller(rate.to_target, most), smaller(rate.to_source, most)};
    }
    const auto limited = [](const spread<double>& carried, const std::optional<double>& limit) {
        return limit ? smaller(carried, exactly(*limit)) : carried;
    };
    const spread<double> there = seconds_for(bytes.to_target, limited(rate.to_target, link.limit_to_target));
    const spread<double> back = seconds_for(bytes.to_source, limited(rate.to_source, link.limit_to_source));
    const spread<double> encoding = seconds_for(bytes.raw, encode);
    std::string reason = show_size(whole(bytes.to_target)) + " to the target and " + show_size(whole(bytes.to_source)) +
                         " to the source, at " + show_rate(rate.to_target) +
                         (rate.to_source == rate.to_target ? "" : " there and " + show_rate(rate.to_source) + " back");
    if (link.limit_to_target) reason += ", at most " + format_rate(*link.limit_to_target) + " to the target";
    if (link.limit_to_source) reason += ", at most " + format_rate(*link.limit_to_source) + " to the source";
    if (encoding.likely > std::max(there.likely, back.likely))
        reason += "; compression and encryption are what is slow";
    // Whether a figure of the user's is what the time rests on.
    const bool slow_back = back.likely > there.likely;
    const std::optional<double>& limit = slow_back ? link.limit_to_source : link.limit_to_target;
    const double carried = slow_back ? rate.to_source.likely : rate.to_target.likely;
    // What was measured under the limit may come out a little below it.
    const double limit_share = seen && !link.rate ? limit_shows : 1;
    const bool given = encoding.likely <= std::max(there.likely, back.likely) &&
                       ((limit && *limit * limit_share <= carried) || (link.rate && link.rate->likely <= carried));
    assume_crossing(assumptions, bytes);
    if (round_trip.high > 0)
        assumptions.add("round trips to open and close a session", show_number(round_trips),
                        "measured by bench/long_links; the upper end is a guess");
    const spread<double> opening{round_trips.low * round_trip.low, round_trips.likely * round_trip.likely,
                                 round_trips.high * round_trip.high};
    into.phases.insert(into.phases.begin(),
                       {"opening", opening, "round trips for connecting, TLS, the first and the last words"});
    into.phases.push_back({"link", larger(larger(there, back), encoding), reason, true, given});
    into.to_target = whole(bytes.to_target);
    into.to_source = whole(bytes.to_source);
}

// Where both sides share the cores, what each stage asks of them adds up.
void add_processors(estimate& into, const processor_costs& costs, double source_bytes, double target_bytes,
                    const spread<double>& raw) {
    const auto seconds = [&](double changed) {
        const double changes = changed * (costs.write_s + costs.encode_s);
        return (source_bytes * costs.source_read_s + target_bytes * costs.target_read_s + changes) / costs.cores;
    };
    into.phases.push_back({"processors",
                           {seconds(raw.low), seconds(raw.likely), seconds(raw.high)},
                           "all that both sides do, on " + std::to_string(costs.cores) +
                               (costs.cores == 1 ? " core" : " cores that they share"),
                           true});
}

// All but the longest of the stages that overlap.
void add_contention(estimate& into, assumption_list& assumptions) {
    spread<double> longest, all;
    for (const estimate_phase& phase : into.phases) {
        if (!phase.overlapping || phase.name == "processors") continue;
        all = plus(all, phase.seconds);
        longest = larger(longest, phase.seconds);
    }
    const auto times = [](double seconds, double share) { return seconds * share; };
    const spread<double> beside = each(all, longest, [](double sum, double most) { return sum - most; });
    if (beside.high > 0)
        assumptions.add("contention", show_number(contention_share) + " of all but the longest",
                        "measured by bench/predictions where both sides share a machine; the upper end is a guess");
    into.phases.push_back({"contention", each(beside, contention_share, times),
                           "what overlaps shares processors and memory: a part of all but the longest"});
}

estimate pipeline::run(const workload& what) const {
    check_workload(what);
    estimate result;
    result.model = name();
    assumption_list assumptions(result.assumptions);
    const bool reread = what.verify == verify_level::reread;
    const std::vector<settled_disk> disks = settle_disks(what, assumptions, {.with_target = true, .with_size = true});

    const spread<double> zero_share =
        assumptions.take<spread<double>>(what.zero_share, exactly(0.0), "share of zero blocks in what changed",
                                         show_number, "not given: none, so that no saving is promised");
    const bool sha256 = what.algorithm == digest_algorithm::sha256;
    const spread<double> digest_rate = assumptions.take<spread<double>>(
        what.digest_rate, exactly(sha256 ? sha256_rate : xxh3_rate), "digest rate", show_rate,
        sha256 ? "not given: README, SHA-256 of one thread" : "not given: README, XXH3 of one thread");
    // What else a thread digests: of the source as it is read, of the target as it is read again.
    spread<double> proof_rate, source_digest_rate = digest_rate;
    if (reread) {
        proof_rate = assumptions.take<spread<double>>(what.proof_rate, exactly(sha256_rate), "SHA-256 for reread",
                                                      show_rate, "not given: README, SHA-256 of one thread");
        source_digest_rate = one_after_the_other(digest_rate, proof_rate);
    }
    // Whether a stage, of the disks that have it, rests on rates that were given.
    struct resting {
        bool on_any = false, on_all = true;
        void on(bool given_rate) {
            on_any = true;
            on_all = on_all && given_rate;
        }
        bool given() const { return on_any && on_all; }
    };
    resting source_read_rests, target_read_rests, target_write_rests, verify_rests;
    const auto own_or_all = [&](std::optional<spread<double>> disk_rates::*kind, const settled_disk& disk) {
        const std::optional<spread<double>>& own = disk.given->rates.*kind;
        return own ? own : what.rates.*kind;
    };
    const auto rate_of = [&](std::optional<spread<double>> disk_rates::*kind, const char* which,
                             const settled_disk& disk) {
        if (const auto given_rate = own_or_all(kind, disk)) return *given_rate;
        return assumptions.take<spread<double>>(
            disk.given->measured.*kind, disk_rate_default, std::string(which) + " rate of " + disk.label, show_rate,
            "not given: from what the vendor's example reaches (45 MB/s) over the cap of Azure standard disks up to "
            "S50 (60 MB/s) to that of a P30 (200 MB/s)");
    };

    spread<double> source_read, target_read, target_write, flush, verify;
    double target_serial = 0;  // the slowest disk's reads and writes, if they share its throughput
    double read_source_bytes = 0, read_target_bytes = 0, verify_bytes = 0;
    crossing bytes;
    for (const settled_disk& disk : disks) {
        const demand needs = demand_of(disk, what, zero_share);
        const auto is_given = [&](std::optional<spread<double>> disk_rates::*kind) {
            return own_or_all(kind, disk).has_value();
        };
        const spread<double> reads =
            smaller(rate_of(&disk_rates::source_read, "source read", disk), source_digest_rate);
        source_read_rests.on(is_given(&disk_rates::source_read) && reads.likely < source_digest_rate.likely);
        source_read = larger(source_read, seconds_for(exactly(needs.source_read), reads));
        spread<double> target_reading;
        if (needs.target_read > 0 || needs.verify > 0) {
            const spread<double> rate = rate_of(&disk_rates::target_read, "target read", disk);
            const bool read_given = is_given(&disk_rates::target_read);
            if (needs.target_read > 0) target_read_rests.on(read_given && rate.likely < digest_rate.likely);
            if (needs.verify > 0) verify_rests.on(read_given && rate.likely < proof_rate.likely);
            target_reading = seconds_for(exactly(needs.target_read), smaller(rate, digest_rate));
            if (reread && !read_given && disk.given->measured.target_read)
                assumptions.add("rate of reading again of " + disk.label, show_rate(rate),
                                "as measured, perhaps in a cache; the second reading goes past it");
            if (reread) verify = larger(verify, seconds_for(exactly(needs.verify), smaller(rate, proof_rate)));
        }
        target_read = larger(target_read, target_reading);
        const spread<double> writes = rate_of(&disk_rates::target_write, "target write", disk);
        target_write_rests.on(is_given(&disk_rates::target_write));
        const spread<double> writing = seconds_for(needs.raw, writes);
        target_write = larger(target_write, writing);
        target_serial = std::max(target_serial, target_reading.high + writing.high);
        flush = larger(flush, {0, std::min(needs.raw.likely, unflushed_likely) / writes.likely,
                               std::min(needs.raw.high, unflushed_high) / writes.low});
        read_source_bytes += needs.source_read;
        read_target_bytes += needs.target_read;
        verify_bytes += needs.verify;
        bytes.raw = plus(bytes.raw, needs.raw);
        const auto framed = [](double value) { return value * (1 + framing_share); };
        bytes.session_to_target = plus(bytes.session_to_target, session_to_target);
        bytes.session_to_source = plus(bytes.session_to_source, session_to_source);
        bytes.data_scatters = bytes.data_scatters || needs.data_scatters;
        bytes.changes_scatter = bytes.changes_scatter || needs.changes_scatter;
        bytes.to_target = plus(bytes.to_target, plus(session_to_target, exactly(framed(needs.proofs))));
        bytes.to_source =
            plus(bytes.to_source, plus(session_to_source, {framed(needs.digests.low), framed(needs.digests.likely),
                                                           framed(needs.digests.high)}));
    }

    const std::string of_disks = disks.size() > 1 ? "; the slowest of the disks, side by side" : "";
    const auto size_text = [](double value) { return decimal_size(static_cast<std::uint64_t>(value)); };
    result.phases.push_back({"source-read", source_read,
                             size_text(read_source_bytes) +
                                 (reread ? ", the whole disk: reread ignores allocation" : ", all used data, once") +
                                 of_disks,
                             true, source_read_rests.given()});
    result.phases.push_back({"target-read", target_read,
                             (read_target_bytes > 0 ? size_text(read_target_bytes) + " to compare with"
                                                    : std::string("nothing to compare with")) +
                                 of_disks,
                             true, target_read_rests.given()});
    if (!what.link.one_machine) {
        bytes.ratio =
            assumptions.take<spread<double>>(what.compression_ratio, ratio_default, "compression ratio", show_number,
                                             "not given: README, content half of which does not compress (1.6); from "
                                             "content that does not at all to a guess of 3");
        const spread<double> packed{bytes.raw.low / bytes.ratio.high, bytes.raw.likely / bytes.ratio.likely,
                                    bytes.raw.high / bytes.ratio.low};
        bytes.to_target = each(bytes.to_target, packed, [](double a, double b) { return a + b * (1 + framing_share); });
        add_link(result, assumptions, what, bytes);
    }
    result.phases.push_back({"target-write", target_write,
                             show_size(whole(bytes.raw)) + " of changed data; zeroes and holes cost nothing" + of_disks,
                             true, target_write_rests.given()});
    if (what.processors) {
        add_processors(result, *what.processors, read_source_bytes, read_target_bytes, bytes.raw);
        add_contention(result, assumptions);
        assumptions.add("opening disks and records in seconds", show_number(opening_here),
                        "measured by bench/predictions; both ends are guesses");
        const double verifying = verify_bytes * what.processors->verify_s / what.processors->cores;
        verify_rests.on_all = verify_rests.on_all && verifying <= verify.likely;
        verify = larger(verify, exactly(verifying));
        result.phases.insert(result.phases.begin(),
                             {"records", opening_here, "opening the disks, records, and a flush of what is clean"});
    }
    result.phases.push_back({"flush", flush, "what is still in caches when the last block is written" + of_disks, false,
                             target_write_rests.given()});
    if (reread)
        result.phases.push_back({"verify", verify, size_text(verify_bytes) + ", the target read again" + of_disks,
                                 false, verify_rests.given()});
    assumptions.add("in caches at the last flush", show_binary_size({0, 32ull << 20, 512ull << 20}),
                    "at most what was written; the engine writes out early, the upper end is a guess");

    for (const estimate_assumption& each : what.guessed) assumptions.add(each.name, each.value, each.source);

    result.full_copy = full_copy_of(what);
    result.scope = scope_of(disks, !what.link.one_machine);
    result.total_s = total_of(result.phases);
    const estimate_phase* slowest = nullptr;
    double slowest_high = 0;
    for (const estimate_phase& phase : result.phases) {
        if (!phase.overlapping) continue;
        if (slowest == nullptr || phase.seconds.likely > slowest->seconds.likely) slowest = &phase;
        slowest_high = std::max(slowest_high, phase.seconds.high);
    }
    result.total_s.high += std::max(target_serial - slowest_high, 0.0);
    result.notes.emplace_back("reading, link and writing overlap: the slowest sets the time, most likely " +
                              slowest->name);
    result.notes.emplace_back(
        "the upper end of the total counts the target's reads and writes one after the other, since one disk serves "
        "both");
    if (disks.size() > 1)
        result.notes.emplace_back(
            "the disks are synced side by side: each reads and writes at its own rate, link and processors are shared");
    return result;
}

}  // namespace

std::shared_ptr<const estimate_model> make_pipeline() {
    return std::make_shared<pipeline>();
}

}  // namespace reprotect
