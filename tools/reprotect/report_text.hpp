// A report as a person reads it: a short aligned summary.
#pragma once

#include "reprotect/sync.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace reprotect::tool {

/// Lines of a name and a value, the values one below the other.
class summary {
public:
    void add(std::string_view name, std::string value);
    std::string str() const;

private:
    std::vector<std::pair<std::string, std::string>> rows_;
};

struct named_pair {
    std::string source;
    std::string target;
    bool far_source = false;  ///< what was sent went to the source, then
    std::string cost{};       ///< of what crossed, or empty
};

/// Of a sync, finished or not. Names are escaped.
std::string sync_summary(const sync_report& report, const named_pair& names, bool dry_run);

/// Of a comparison that finished. `sizes_differ`: how, or empty.
std::string diff_summary(const sync_report& report, const named_pair& names, const std::string& sizes_differ);

}  // namespace reprotect::tool
