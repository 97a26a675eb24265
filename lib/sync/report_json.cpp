// The report as JSON, in the order of the command line's contract (DESIGN: sync --json, diff --json).
#include <boost/json.hpp>

#include "base/utf8.hpp"
#include "reprotect/sync.hpp"

namespace reprotect {
namespace {

namespace json = boost::json;

json::value text_or_null(const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(valid_utf8(text));
}

template <typename Number>
json::value number_or_null(const std::optional<Number>& number) {
    return number ? json::value(*number) : json::value(nullptr);
}

json::object bytes_of(const byte_counts& bytes) {
    return {{"disk", bytes.disk},
            {"allocated_source", bytes.allocated_source},
            {"allocated_target", bytes.allocated_target},
            {"read_source", bytes.read_source},
            {"read_target", bytes.read_target},
            {"reread_source", bytes.reread_source},
            {"compared", bytes.compared},
            {"same", bytes.same},
            {"changed", bytes.changed},
            {"zeroed", bytes.zeroed},
            {"deallocated", bytes.deallocated},
            {"written", bytes.written}};
}

json::object wire_of(const wire_counts& wire) {
    return {{"payload", wire.payload}, {"digests", wire.digests}, {"overhead", wire.overhead}, {"total", wire.total()}};
}

json::object error_of(const error& why) {
    const error_detail& detail = why.detail();
    return {{"code", exit_code(why.kind())},           {"kind", to_string(why.kind())},
            {"message", valid_utf8(why.what())},       {"device", text_or_null(detail.device)},
            {"offset", number_or_null(detail.offset)}, {"length", number_or_null(detail.length)},
            {"holder", text_or_null(detail.holder)},   {"hint", text_or_null(detail.hint)}};
}

}  // namespace

std::string to_json(const error& why) {
    return json::serialize(json::object{{"error", error_of(why)}});
}

std::string to_json(const sync_report& report) {
    json::object out;
    // A refusal may come before either is known.
    out["mode"] = report.reason.empty() ? json::value(nullptr) : json::value(to_string(report.mode));
    out["reason"] = text_or_null(report.reason);
    out["dry_run"] = report.dry_run;
    out["bytes"] = bytes_of(report.bytes);
    out["wire"] = json::object{{"to_target", wire_of(report.to_target)}, {"to_source", wire_of(report.to_source)}};
    out["seconds"] = json::object{{"total", report.seconds.total},
                                  {"scan", report.seconds.scan},
                                  {"transfer", report.seconds.transfer},
                                  {"flush", report.seconds.flush},
                                  {"verify", report.seconds.verify}};
    out["resized_from"] = number_or_null(report.resized_from);
    out["digest"] = to_string(report.algorithm);
    out["root"] = report.root ? json::value(to_hex(*report.root)) : json::value(nullptr);
    out["verified"] = to_string(report.verified);
    out["partial"] = report.trusted_bytes == 0
                         ? json::value(nullptr)
                         : json::value{{"generation", valid_utf8(report.generation)},
                                       {"not_read", {{{"offset", 0}, {"length", report.trusted_bytes}}}}};
    out["attempts"] = report.attempts;
    out["connections"] = report.connections;
    out["cache_passed"] =
        report.verified == proof_level::reread ? json::value(report.cache_passed) : json::value(nullptr);
    out["source_in_use"] = text_or_null(report.source_in_use);
    json::array warnings;
    for (const std::string& text : report.warnings) warnings.emplace_back(valid_utf8(text));
    out["warnings"] = std::move(warnings);
    if (report.differential) {
        json::array extents;
        for (const change& each : report.differential->changes())
            extents.push_back(json::object{{"offset", each.range.offset},
                                           {"length", each.range.length},
                                           {"kind", to_string(each.kind)},
                                           {"reason", to_string(each.reason)}});
        out["extents"] = std::move(extents);
    }
    if (report.failure) out["error"] = error_of(*report.failure);
    return json::serialize(out);
}

}  // namespace reprotect
