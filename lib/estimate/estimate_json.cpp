// An estimate as JSON, in the order of the command line's contract (DESIGN: estimate --json). Money is text, since a
// JSON number would be read as a binary fraction.
#include <boost/json.hpp>

#include <algorithm>

#include "base/utf8.hpp"
#include "estimate/spread_json.hpp"
#include "reprotect/estimate.hpp"

namespace reprotect {
namespace {

namespace json = boost::json;

json::array phases_of(const std::vector<estimate_phase>& phases) {
    json::array result;
    for (const estimate_phase& phase : phases) {
        json::object one{{"name", valid_utf8(phase.name)}};
        for (const json::key_value_pair& field : spread_json(phase.seconds, "_s")) one.insert(field);
        one["reason"] = valid_utf8(phase.reason);
        one["overlapping"] = phase.overlapping;
        result.push_back(std::move(one));
    }
    return result;
}

void put(json::object& into, const char* name, const std::optional<spread<double>>& value) {
    if (value)
        into[name] = spread_json(*value);
    else
        into[name] = nullptr;
}

// Rates in bytes a second.
json::object rates_of(const probe_result& seen) {
    json::object rates;
    put(rates, "source_read", seen.rates.source_read);
    put(rates, "target_read", seen.rates.target_read);
    const auto digests = [&](const char* name, thread_rates digest_rates::*which) {
        std::optional<spread<double>> rate;
        if (seen.rates.digest) {
            const thread_rates& by = (*seen.rates.digest).*which;
            rate = spread<double>{std::min(by.one, by.all), by.all, std::max(by.one, by.all)};
        }
        put(rates, name, rate);
    };
    digests("digest", &digest_rates::session);
    digests("digest_reread", &digest_rates::proof);
    put(rates, "compression", seen.rates.encode);
    put(rates, "write", seen.rates.write ? std::optional(seen.rates.write->whole) : std::nullopt);
    put(rates, "write_scattered", seen.rates.write ? std::optional(seen.rates.write->scattered) : std::nullopt);
    put(rates, "link_to_target", seen.link ? std::optional(seen.link->to_target) : std::nullopt);
    put(rates, "link_to_source", seen.link ? std::optional(seen.link->to_source) : std::nullopt);
    put(rates, "round_trip_s", seen.link ? std::optional(seen.link->round_trip_s) : std::nullopt);
    return rates;
}

json::object probe_of(const probe_result& seen) {
    json::object out;
    out["read_source_bytes"] = seen.read_source_bytes;
    out["read_target_bytes"] = seen.read_target_bytes;
    out["blocks_sampled"] = seen.blocks_sampled;
    out["seed"] = seen.seed;
    out["out_of_budget"] = seen.out_of_budget;
    out["source_data_bytes"] = seen.source_data;
    out["target_data_bytes"] = seen.target_data;
    out["common_data_bytes"] = seen.common_data;
    out["changed"] = spread_json(seen.changed_given.value_or(seen.changed), "_bytes");
    out["changed_given"] = seen.changed_given.has_value();
    out["none_changed"] = seen.none_changed;
    put(out, "zero_share", seen.zero_share);
    put(out, "compression_ratio", seen.compression_ratio);
    out["rates"] = rates_of(seen);
    out["crossed"] = json::object{{"to_target", seen.crossed_to_target}, {"to_source", seen.crossed_to_source}};
    return out;
}

}  // namespace

std::string to_json(const estimate& result) {
    json::object out;
    out["model"] = valid_utf8(result.model);
    out["phases"] = phases_of(result.phases);
    out["total"] = spread_json(result.total_s, "_s");
    out["egress"] = json::object{{"to_target", spread_json(result.to_target, "_bytes")},
                                 {"to_source", spread_json(result.to_source, "_bytes")}};
    if (result.cost)
        out["cost"] = json::object{{"currency", valid_utf8(result.cost->currency)},
                                   {"low", to_string(result.cost->amount.low)},
                                   {"likely", to_string(result.cost->amount.likely)},
                                   {"high", to_string(result.cost->amount.high)},
                                   {"basis", valid_utf8(result.cost->basis)}};
    else
        out["cost"] = nullptr;
    out["full_copy"] =
        json::object{{"needed", result.full_copy.needed}, {"reason", valid_utf8(result.full_copy.reason)}};
    json::array assumptions;
    for (const estimate_assumption& each : result.assumptions)
        assumptions.push_back(json::object{
            {"name", valid_utf8(each.name)}, {"value", valid_utf8(each.value)}, {"source", valid_utf8(each.source)}});
    out["assumptions"] = std::move(assumptions);
    if (result.probe) out["probe"] = probe_of(*result.probe);
    json::array notes;
    for (const std::string& note : result.notes) notes.emplace_back(valid_utf8(note));
    out["notes"] = std::move(notes);
    json::array readings;
    for (const unit_reading& reading : result.readings)
        readings.push_back(json::object{{"units", reading.name},
                                        {"as_given", reading.as_given},
                                        {"phases", phases_of(reading.phases)},
                                        {"total", spread_json(reading.total_s, "_s")}});
    out["readings"] = std::move(readings);
    return json::serialize(out);
}

}  // namespace reprotect
