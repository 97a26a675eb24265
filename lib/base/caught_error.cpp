// The exception is thrown again to look at its type.
#include "base/caught_error.hpp"

#include <new>

namespace reprotect {

error caught_error(const std::string& device) {
    const std::string at = device.empty() ? "" : device + ": ";
    error_detail detail;
    detail.device = device;
    try {
        throw;
    } catch (const error& why) {
        if (!why.detail().device.empty() || device.empty()) return why;
        detail = why.detail();
        detail.device = device;
        return error(why.kind(), at + why.what(), std::move(detail));
    } catch (const std::bad_alloc&) {
        detail.hint = "use a smaller --depth or --memory";
        return error(error_kind::device_io, at + "out of memory", std::move(detail));
    } catch (const std::exception& why) {
        return error(error_kind::device_io, at + why.what(), std::move(detail));
    } catch (...) {
        return error(error_kind::device_io, at + "failed for a reason that it did not give", std::move(detail));
    }
}

error caught_listener_error() {
    const std::string why = caught_error("").what();
    return error(error_kind::interrupted, "stopped, because the progress listener failed: " + why);
}

}  // namespace reprotect
