// The relay of reprotect_workload, for the bench and for use by hand: that of the tests, told on the command line how
// long the link is, until a signal ends it; then it writes the bytes of both directions, and for a link with a rate what
// share of it was used toward the server, and how many connections there were. Reads its own sizes and rates, since it
// shares nothing with the library.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/long_link.hpp"

namespace relaying {

using reprotect::test::long_link;

struct unit {
    const char* name;
    double times;
};

// "1.5GiB" by its units, as a whole number; what is no such number, or less than `least`, is said to be none.
inline std::uint64_t amount(const std::string& text, double least, std::initializer_list<unit> units) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (end != text.c_str())
        for (const unit& each : units)
            if (std::strcmp(end, each.name) == 0 && number * each.times >= least && number * each.times < 0x1p62)
                return static_cast<std::uint64_t>(std::llround(number * each.times));
    std::string known;
    for (const unit& each : units) known += std::string(known.empty() ? "" : ", ") + (*each.name ? each.name : "none");
    throw std::runtime_error("no number with a unit (" + known + ") or out of range: '" + text + "'");
}

// PORT HOST TO_PORT FILE [--delay TIME] [--jitter TIME] [--rate RATE] [--in-flight SIZE]
inline void relay(const std::vector<const char*>& words) {
    const auto port = [](const char* word) {
        const std::uint64_t number = amount(word, 0, {{"", 1}});
        if (number > 0xffff) throw std::runtime_error(std::string("no port: ") + word);
        return static_cast<std::uint16_t>(number);
    };
    boost::system::error_code unknown;
    const boost::asio::ip::address host = boost::asio::ip::make_address(words.at(1), unknown);
    if (unknown) throw std::runtime_error(std::string("no numeric address: ") + words.at(1));
    long_link::options how{.server = {host, port(words.at(2))}, .port = port(words.at(0))};
    const char* const report = words.at(3);
    reprotect::test::link_way way;
    for (std::size_t i = 4; i < words.size(); i += 2) {
        const std::string option = words[i], value = i + 1 < words.size() ? words[i + 1] : "";
        const auto time = [&] {
            return std::chrono::nanoseconds(amount(value, 0, {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}));
        };
        if (option == "--delay")
            way.delay = time();
        else if (option == "--jitter")
            way.jitter = time();
        else if (option == "--rate")
            way.bytes_per_second = amount(
                value, 1, {{"Mbit/s", 1e6 / 8}, {"Gbit/s", 1e9 / 8}, {"MB/s", 1e6}, {"GB/s", 1e9}, {"MiB/s", 0x1p20}});
        else if (option == "--in-flight")
            way.in_flight_bytes_max = amount(value, 1, {{"", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}});
        else
            throw std::runtime_error("no option of a relay: " + option);
    }
    how.to_server = how.to_client = way;

    sigset_t endings;
    sigemptyset(&endings);
    sigaddset(&endings, SIGTERM);
    sigaddset(&endings, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &endings, nullptr);  // before there is a thread, which inherits it
    std::optional<long_link> made;
    try {
        made.emplace(std::move(how));
    } catch (const boost::system::system_error& why) {
        throw std::runtime_error("cannot listen on " + std::string(words.at(0)) + ": " + why.code().message());
    }
    long_link& link = *made;
    std::printf("%u\n", static_cast<unsigned>(link.port()));
    std::fflush(stdout);
    int which = 0;
    ::sigwait(&endings, &which);
    link.finish();
    std::ofstream out(report);
    out << link.carried(long_link::toward::server).taken << ' ' << link.carried(long_link::toward::client).taken;
    if (way.bytes_per_second)  // once what it carries is known
        out << ' ' << link.share(long_link::toward::server) << ' ' << link.connections();
    if (!(out << std::endl)) throw std::runtime_error(std::string("cannot write: ") + report);
}

}  // namespace relaying
