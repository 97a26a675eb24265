// A filter on the whole, not a list of what to look for: what has a slash in it, or speaks of a process, is not said.
#include "sync/discretion.hpp"

#include <cctype>

namespace reprotect {
namespace {

bool is_word(const std::string& text, std::size_t at) {
    return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
}

std::string replaced(std::string text, const known_as& names) {
    for (std::size_t at = text.find(names.disk); !names.disk.empty() && at != std::string::npos;) {
        const bool whole = (at == 0 || !is_word(text, at - 1)) && !is_word(text, at + names.disk.size());
        if (whole) text.replace(at, names.disk.size(), names.alias);
        at = text.find(names.disk, at + (whole ? names.alias.size() : 1));
    }
    return text;
}

bool tells_too_much(std::string text, const known_as& names) {
    // Only as a whole: the peer chose that name, and might have chosen a slash.
    const auto part_of_name = [](const std::string& in, std::size_t at) {
        return at < in.size() && (is_word(in, at) || in[at] == '/' || in[at] == '.' || in[at] == '-' || in[at] == '_');
    };
    const std::size_t length = names.far.size();
    for (std::size_t at = length == 0 ? std::string::npos : text.find(names.far); at != std::string::npos;) {
        const bool whole = length > 1 && (at == 0 || !part_of_name(text, at - 1)) && !part_of_name(text, at + length);
        if (whole) text.erase(at, length);
        at = text.find(names.far, at + (whole ? 0 : 1));
    }
    return text.find('/') != std::string::npos || text.find("process ") != std::string::npos;
}

const char* sentence_of(error_kind kind) {
    switch (kind) {
        case error_kind::not_found:
            return "cannot be opened: there is no such disk";
        case error_kind::permission:
            return "cannot be opened: the system does not let the server";
        case error_kind::unsuitable:
        case error_kind::container:
        case error_kind::corrupt_file:
            return "is not fit for this";
        case error_kind::in_use:
            return "is in use";
        case error_kind::same_disk:
            return "is the source itself";
        case error_kind::size_mismatch:
        case error_kind::size_changed:
            return "has another size";
        case error_kind::recorded_source:
            return "is on record as the source of this pair";
        case error_kind::no_space:
            return "has no space left";
        case error_kind::flush_failed:
            return "could not be flushed";
        case error_kind::verification:
            return "does not hold what was written to it";
        default:
            return "failed";
    }
}

}  // namespace

std::string discreet(const std::string& text, const known_as& names) {
    if (names.alias.empty()) return text;
    const std::string shown = replaced(text, names);
    return tells_too_much(shown, names)
               ? "there is something to know of " + names.alias + "; it stands in the log there"
               : shown;
}

error discreet(const error& why, const known_as& names) {
    if (names.alias.empty()) return why;
    error_detail detail = why.detail();
    const bool of_disk = !detail.device.empty();
    if (of_disk) detail.device = names.alias;
    for (std::string* part : {&detail.hint, &detail.holder}) {
        *part = replaced(*part, names);
        if (tells_too_much(*part, names)) part->clear();
    }
    std::string text = replaced(why.what(), names);
    if (tells_too_much(text, names)) {
        text = names.alias + " " + sentence_of(why.kind());
        if (detail.hint.empty()) detail.hint = "the log of the other side says more";
    }
    return error(why.kind(), text, std::move(detail));
}

}  // namespace reprotect
