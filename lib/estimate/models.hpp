// The shipped models, and what they have in common.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "reprotect/estimate.hpp"

namespace reprotect {

std::shared_ptr<const estimate_model> make_asr_2018();
std::shared_ptr<const estimate_model> make_asr_2023();
std::shared_ptr<const estimate_model> make_pipeline();

/// Notes what is assumed, once for each name.
class assumption_list {
public:
    explicit assumption_list(std::vector<estimate_assumption>& into) : into_(into) {}

    void add(std::string name, std::string value, std::string source);

    /// The value, or the default, which is then noted.
    template <typename Value>
    Value take(const std::optional<Value>& given, const Value& otherwise, const std::string& name,
               const std::function<std::string(const Value&)>& shown, const std::string& source) {
        if (given) return *given;
        add(name, shown(otherwise), source);
        return otherwise;
    }

private:
    std::vector<estimate_assumption>& into_;
};

/// A disk with every size decided.
struct settled_disk {
    std::string label;  ///< "disk root", or "the disk" where it is the only one without a name
    std::uint64_t size = 0;
    std::uint64_t used = 0;
    std::uint64_t target_used = 0;
    spread<std::uint64_t> changed;  ///< all that is used where a full copy is needed
    bool full_copy = false;
    const workload_disk* given = nullptr;
};

/// What a model asks for.
struct settle_options {
    bool with_target = false;          ///< how much the target holds
    bool with_size = false;            ///< the disk's size
    bool used_may_be_unknown = false;  ///< where the changed part is given and the target is usable
};

/// Fills in sizes, each with its assumption. Throws `error` (usage) where nothing is known of a disk.
std::vector<settled_disk> settle_disks(const workload& what, assumption_list& assumptions, settle_options options);

full_copy_estimate full_copy_of(const workload& what);

/// "12", "2.4": short, for values of assumptions.
std::string short_number(double value);
/// "45.0 MB/s", or "45.0 to 200 MB/s, likely 60.0 MB/s".
std::string show_rate(const spread<double>& rate);
/// Powers of 1000, as rates are: "127 GB".
std::string show_size(const spread<std::uint64_t>& bytes);
std::string decimal_size(std::uint64_t bytes);
/// Powers of 1024.
std::string show_binary_size(const spread<std::uint64_t>& bytes);
std::string show_binary_rate(const spread<double>& rate);
std::string show_number(const spread<double>& value);

/// The sum of all phases, or, of those that overlap, the slowest.
spread<double> total_of(const std::vector<estimate_phase>& phases);

/// Both readings of the units, and the mixed one, where the workload's figures are whole decimal or binary units.
std::vector<unit_reading> read_in_other_units(const workload& what,
                                              const std::function<estimate(const workload&)>& run);

}  // namespace reprotect
