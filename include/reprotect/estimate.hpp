// Estimates: how long, how many bytes and how much money, before anything moves, from what is known of the disks.
//
// A workload says what is known; what it leaves out, a model fills in by a default, and the estimate lists that with
// its source. Nothing here reads a disk. Sizes are bytes, rates bytes a second: units are for whoever parses and
// prints.
//
//   const model_registry models;
//   workload machine;
//   machine.disks = {{.name = "root", .used_bytes = 127'000'000'000}};
//   machine.disks[0].changed_bytes = exactly<std::uint64_t>(45'000'000'000);
//   machine.effective_rate = exactly(45e6);
//   estimate result = models.find("asr-2018").run(machine);
//   add_cost(result, default_price_book(), "azure:westeurope", "azure:northeurope");
//   std::cout << to_json(result);
//
// Several disks are one machine's, and their sync begins at the same time. The vendor's models add them up, since one
// appliance takes them in turn at one rate. `pipeline` lets each disk have rates of its own and takes the slowest
// disk of each stage, but adds up what they share: the link, and the processors that compress and encrypt.
#pragma once

#include "reprotect/digest.hpp"
#include "reprotect/geometry.hpp"
#include "reprotect/prices.hpp"
#include "reprotect/probe.hpp"
#include "reprotect/spread.hpp"
#include "reprotect/sync.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

/// What became of the target's data. All but `usable` need a full copy.
enum class target_state { usable, missing, deleted, corrupted, out_of_reach };
/// "usable", "missing", "deleted", "corrupted", "out-of-reach".
const char* to_string(target_state state) noexcept;
/// Throws `error` (usage) with the words that there are.
target_state parse_target_state(std::string_view text);

/// Bytes a second of one disk. A rate with error bars is `low` where it is slow.
struct disk_rates {
    std::optional<spread<double>> source_read{};
    std::optional<spread<double>> target_read{};
    std::optional<spread<double>> target_write{};
};

struct workload_disk {
    std::string name{};                                    ///< for messages; may be empty where there is one disk only
    std::optional<std::uint64_t> size_bytes{};             ///< size or used must be known
    std::optional<std::uint64_t> used_bytes{};             ///< data on the source; at most the size
    std::optional<std::uint64_t> target_used_bytes{};      ///< data on the target; at most the size; 0: a full copy
    std::optional<spread<std::uint64_t>> changed_bytes{};  ///< source data that the target lacks; at most what is used
    target_state target = target_state::usable;
    disk_rates rates{};     ///< where absent, the workload's
    disk_rates measured{};  ///< by a probe: what counts where neither has any
};

/// What lies between the two sides.
struct workload_link {
    bool one_machine = false;              ///< both disks are on one machine: no bytes cross, nothing else counts
    std::optional<spread<double>> rate{};  ///< of all connections together: bytes a second, the same both ways
    std::optional<spread<double>> round_trip_s{};  ///< seconds
    std::optional<link_rates> measured{};          ///< with one connection: what counts where those are absent
    std::optional<double> limit_to_target{};       ///< bytes a second: `--limit` of the source's side
    std::optional<double> limit_to_source{};       ///< `--limit` of the target's side
    std::optional<unsigned> connections{};         ///< 1 to 16
};

/// What the processors that both sides share do for a byte: seconds of one core. What is fast enough to be bound by them
/// (disks in a cache, peers on one machine) is estimated by these.
struct processor_costs {
    unsigned cores = 1;
    double source_read_s = 0;  ///< read and digested; with reread as it needs it
    double target_read_s = 0;
    double verify_s = 0;  ///< read again and digested
    double write_s = 0;   ///< of changed data
    double encode_s = 0;  ///< compressed, encrypted, sent, received and unpacked; nothing crosses on one machine
};

struct estimate_assumption {
    std::string name{};
    std::string value{};
    std::string source{};
};

/// What is to be estimated. What is absent is assumed, and listed as such where the model needs it.
struct workload {
    std::vector<workload_disk> disks{};  ///< at least one
    disk_rates rates{};                  ///< of each disk that says nothing else
    workload_link link{};

    std::optional<spread<double>> compression_ratio{};  ///< what goes in by what comes out; pipeline
    std::optional<spread<double>> zero_share{};         ///< of the changed data, what is zero blocks: 0 to 1; pipeline
    std::optional<spread<double>> digest_rate{};        ///< bytes a second that one disk's threads digest; pipeline
    std::optional<spread<double>> proof_rate{};         ///< likewise of SHA-256, which reread takes besides; pipeline
    std::optional<spread<double>> encode_rate{};  ///< bytes a second that compression and encryption take in; pipeline
    std::optional<processor_costs> processors{};  ///< only where both sides share them; pipeline
    /// What was guessed to get at figures above; add_probe says it. The model that uses them lists it. pipeline
    std::vector<estimate_assumption> guessed{};
    std::uint32_t block_bytes = block_bytes_default;
    std::uint32_t chunk_bytes = chunk_bytes_default;
    digest_algorithm algorithm = digest_algorithm::xxh3;
    verify_level verify = verify_level::root;

    std::optional<spread<double>> effective_rate{};  ///< bytes a second for reading and sending; asr-2018
    std::optional<double> disk_rate{};               ///< the disk's throughput, bytes a second; asr-2023
    std::optional<double> initial_replication_s{};   ///< how long the first copy of all disks took; asr-2023
};

/// Throws `error` (usage) that says which figure of which disk makes no sense and what was expected: no disk, neither
/// size nor used, a size above 2^62, used above size, changed above used, a spread out of order, a rate that is not
/// above zero.
void check_workload(const workload& what);

struct estimate_phase {
    std::string name{};
    spread<double> seconds{};
    std::string reason{};      ///< what it is made of, one sentence
    bool overlapping = false;  ///< runs beside the other overlapping ones; of these, the slowest counts
    bool given = false;        ///< a rate or a limit that was given sets it: how earlier runs went says nothing of it
};

/// The same inputs read in other units, for figures whose source does not tell GB from GiB.
struct unit_reading {
    std::string name{};  ///< "GB and MB/s"
    bool as_given = false;
    std::vector<estimate_phase> phases{};
    spread<double> total_s{};
};

struct cost_estimate {
    std::string currency{};
    spread<money> amount{};
    std::string basis{};  ///< "list prices …" or "contract prices …": the book's kind, name and date
};

struct full_copy_estimate {
    bool needed = false;
    std::string reason{};  ///< why, naming the disks, or why not
};

/// What tells runs that are alike from others: how long one took says something of the next only where these are.
struct estimate_scope {
    bool through_peer = false;  ///< what is sent crosses a link
    bool full_copy = false;
    std::uint64_t read_bytes = 0;     ///< of the sources' data
    std::uint64_t changed_bytes = 0;  ///< of that, what is likely to be sent or written
    friend bool operator==(const estimate_scope&, const estimate_scope&) = default;
};

struct estimate {
    std::string model{};
    std::vector<estimate_phase> phases{};
    spread<double> total_s{};
    spread<std::uint64_t> to_target{};  ///< bytes that leave the source's side
    spread<std::uint64_t> to_source{};  ///< bytes that leave the target's side
    std::optional<cost_estimate> cost{};
    full_copy_estimate full_copy;
    estimate_scope scope;
    std::vector<estimate_assumption> assumptions{};  ///< one for each input that was not given
    std::vector<std::string> notes{};                ///< what a reader should know, e.g. that a total is a lower bound
    std::optional<probe_result> probe{};             ///< where the disks were looked at; whoever did sets it
    std::vector<unit_reading> readings{};  ///< the vendor's models: whole decimal or binary units read as others
};

/// A way to estimate. Without state: `run` may be called from several threads at once.
class estimate_model {
public:
    virtual ~estimate_model() = default;
    /// The word that chooses it: "asr-2018".
    virtual std::string name() const = 0;
    /// One line for a list of models.
    virtual std::string summary() const = 0;
    /// Throws `error` (usage) for a workload that makes no sense; a model of one's own calls `check_workload` first.
    virtual estimate run(const workload& what) const = 0;
};

/// The models that there are, by name: a value, to which an agent adds its own. Holds `asr-2018`, `asr-2023` and
/// `pipeline` from the start.
class model_registry {
public:
    model_registry();

    /// Throws `error` (usage) for a name that is taken.
    void add(std::shared_ptr<const estimate_model> model);

    /// Lives as long as a registry that holds it. Throws `error` (usage) with the names that there are.
    const estimate_model& find(std::string_view name) const;

    std::vector<std::string> names() const;

private:
    // Shared: copies of a registry hold the same models, which never change.
    std::vector<std::shared_ptr<const estimate_model>> models_;
};

/// What was billed in the same month before, for the tiers of a price.
struct billed_before {
    std::optional<std::uint64_t> source_bytes{};  ///< that left the source's region
    std::optional<std::uint64_t> target_bytes{};
};

/// Prices the bytes of both directions, each where it leaves and where it arrives, and lists each price with its
/// source. The places are named as `price_book::find` takes them. Throws `error` (usage) as that does, and where the
/// two directions are billed in different currencies.
void add_cost(estimate& to, const price_book& book, std::string_view source_place, std::string_view target_place,
              const billed_before& before = {});

/// One JSON document, as the command line's contract has it (estimate --json). Money is text: "0.90".
std::string to_json(const estimate& result);

}  // namespace reprotect
