// Where blocking work runs: the library's own pool, or an agent's.
#pragma once

#include <boost/asio/any_io_executor.hpp>

namespace reprotect {

/// Any Asio executor whose threads may block in device calls (a `thread_pool` of twice the depth is the usual one).
using worker_executor = boost::asio::any_io_executor;

}  // namespace reprotect
