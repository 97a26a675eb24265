// What every device answers when it has nothing better: all data, no discard, no resize; the text form of an identity;
// and the device whose allocation is handed in.
#include "reprotect/device.hpp"

#include "device/range_check.hpp"

#include <algorithm>

namespace reprotect {
namespace {

// Serial numbers come from hardware and may hold anything: what would break "key=value, one line" is written as %XX.
void append_escaped(std::string& text, const std::string& value) {
    static constexpr char digits[] = "0123456789abcdef";
    for (const char letter : value) {
        const auto code = static_cast<unsigned char>(letter);
        if (code > 0x20 && code < 0x7f && letter != '%') {
            text += letter;
        } else {
            text += '%';
            text += digits[code >> 4];
            text += digits[code & 15];
        }
    }
}

}  // namespace

void throw_out_of_range(const std::string& device, const char* operation, const checked_range& range) {
    throw error(error_kind::device_io,
                std::string(operation) + " of " + device + " refused: " + std::to_string(range.length) +
                    " bytes at offset " + std::to_string(range.offset) + " do not lie within the disk's " +
                    std::to_string(range.disk_bytes) + " bytes",
                {.device = device,
                 .operation = operation,
                 .offset = range.offset,
                 .length = range.length,
                 .holder = {},
                 .hint = "stay within size()"});
}

std::string device_identity::text() const {
    std::string result;
    for (const auto& [key, value] : fields) {
        if (!result.empty()) result += ' ';
        append_escaped(result, key);
        result += '=';
        append_escaped(result, value);
    }
    return result;
}

bool device::discard(std::uint64_t offset, std::uint64_t length) {
    check_range(name(), "discard", {offset, length, size()});
    return false;
}

void device::resize(std::uint64_t bytes) {
    throw error(error_kind::unsuitable,
                "resize of " + name() + " to " + std::to_string(bytes) + " bytes refused: its size is fixed",
                {.device = name(),
                 .operation = "resize",
                 .offset = {},
                 .length = bytes,
                 .holder = {},
                 .hint = "grow or cut the disk with the tool that made it, then run the sync again"});
}

std::vector<allocation_run> device::allocation(extent within, std::size_t /*runs_max*/) {
    check_range(name(), "allocation", {within.offset, within.length, size()});
    if (within.empty()) return {};
    return {{within, content::data}};
}

std::vector<allocation_run> allocated_device::allocation(extent within, std::size_t runs_max) {
    check_range(name(), "allocation", {within.offset, within.length, size()});
    runs_max = std::max<std::size_t>(runs_max, 1);
    std::vector<allocation_run> runs;
    auto next =
        std::partition_point(data_.begin(), data_.end(), [&](const extent& e) { return e.end() <= within.offset; });
    std::uint64_t position = within.offset;
    while (position < within.end() && runs.size() < runs_max) {
        const bool in_data = next != data_.end() && next->offset <= position;
        std::uint64_t end = within.end();
        if (next != data_.end()) end = std::min(end, in_data ? next->end() : next->offset);
        runs.push_back({{position, end - position}, in_data ? content::data : content::zero});
        position = end;
        if (in_data) ++next;
    }
    return runs;
}

}  // namespace reprotect
