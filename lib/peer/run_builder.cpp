// Rounding needs one position only: below it everything is decided, and a data run may reach back to it but never before it.
#include "peer/run_builder.hpp"

#include <algorithm>

namespace reprotect {

void append_run(std::deque<source_run>& runs, const source_run& run) {
    if (run.range.empty()) return;
    if (!runs.empty() && runs.back().kind == run.kind && runs.back().range.end() == run.range.offset)
        runs.back().range.length += run.range.length;
    else
        runs.push_back(run);
}

void run_builder::add(const std::vector<allocation_run>& runs, std::deque<source_run>& into) {
    const auto down = [this](std::uint64_t at) { return at & ~(grain_ - 1); };
    for (const allocation_run& run : runs) {
        const std::uint64_t end = std::min(run.range.end(), disk_bytes_);
        if (run.kind == content::data) {
            emit(down(run.range.offset), source_content::zero, into);
            emit(std::min(down(end + grain_ - 1), disk_bytes_), source_content::data, into);
        } else {
            emit(end == disk_bytes_ ? end : down(end), source_content::zero, into);
        }
    }
}

void run_builder::emit(std::uint64_t end, source_content kind, std::deque<source_run>& into) {
    if (end <= built_to_) return;
    const extent range{built_to_, end - built_to_};
    built_to_ = end;
    if (!within_) {
        append_run(into, {range, kind});
        return;
    }
    std::uint64_t position = range.offset;
    for (const extent& part : within_->within(range)) {
        append_run(into, {{position, part.offset - position}, source_content::skip});
        append_run(into, {part, kind});
        position = part.end();
    }
    append_run(into, {{position, range.end() - position}, source_content::skip});
}

}  // namespace reprotect
