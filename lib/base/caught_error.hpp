// Whatever a device, a store or a listener of somebody else's throws, as the one error type that is reported.
#pragma once

#include <string>

#include "reprotect/error.hpp"

namespace reprotect {

/// The exception being handled, as an error that names the device; call it within a catch block. An `error` stays as it is,
/// but for a device's name that it lacks; anything else becomes `device_io`.
error caught_error(const std::string& device);

/// The same for what a listener threw: it ends the work as a cancel does, and says why.
error caught_listener_error();

}  // namespace reprotect
