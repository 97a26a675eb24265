// A server as a process of its own, `reprotect serve` on a free port of 127.0.0.1 that is read from its standard
// output; and what it logged, field by field. Its records are its own, as those of another machine would be.
#pragma once

#include <catch2/catch.hpp>

#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "support/tool_rig.hpp"

namespace reprotect::test {

class served {
public:
    /// Listens on 127.0.0.1:0 unless `launcher`, words before the tool's, brings it a socket.
    served(const tool_rig& rig, const std::vector<std::string>& options, const std::vector<std::string>& launcher = {})
        : process_(completed(rig, options, launcher)) {
        static const std::regex first("listening on 127\\.0\\.0\\.1:([0-9]+)\n");
        wait_until([&] {
            std::smatch found;
            const std::string said = process_.output();
            if (std::regex_search(said, found, first)) port_ = found[1];
            return !port_.empty() || !process_.runs();
        });
        INFO("said: " << process_.errors());
        REQUIRE_FALSE(port_.empty());
    }

    std::string port() const { return port_; }
    std::string disk(const std::string& name, const std::string& host = "127.0.0.1") const {
        return "reprotect://" + host + ":" + port_ + "/" + name;
    }
    process& running() noexcept { return process_; }

    static std::string records_of(const tool_rig& rig) { return rig.file("server.records"); }

    /// The lines of its log.
    std::vector<std::string> log() const {
        std::vector<std::string> lines;
        std::istringstream text(process_.errors());
        for (std::string line; std::getline(text, line);) lines.push_back(line);
        return lines;
    }

    /// A field of the nth event of this name, from 0 on, without its quotes; waits for the event. Empty: there is none.
    std::string logged(const std::string& event, const std::string& field, std::size_t nth = 0) const {
        std::string line;
        wait_until([&] {
            line = find(event, nth);
            return !line.empty();
        });
        std::smatch found;
        if (!std::regex_search(line, found, std::regex(" " + field + "=(\"((\\\\.|[^\"\\\\])*)\"|[^ ]*)"))) return {};
        return found[2].matched ? found[2].str() : found[1].str();
    }
    bool logs(const std::string& event, std::size_t nth = 0) const {
        return wait_until([&] { return !find(event, nth).empty(); });
    }

    /// The most memory that it held so far, in KiB, as the kernel counted it; 0 where it has ended.
    std::uint64_t peak_kib() const {
        std::ifstream status("/proc/" + std::to_string(process_.id()) + "/status");
        const std::string text(std::istreambuf_iterator<char>(status), {});
        std::smatch found;
        if (!std::regex_search(text, found, std::regex("VmHWM:\\s+([0-9]+) kB"))) return 0;
        return std::stoull(found[1]);
    }

    command_result stop() {
        process_.send(SIGTERM);
        return process_.wait();
    }

private:
    static std::vector<std::string> completed(const tool_rig& rig, const std::vector<std::string>& options,
                                              const std::vector<std::string>& launcher) {
        std::vector<std::string> words = launcher;
        words.insert(words.end(), {tool_path, "serve", "--state", records_of(rig)});
        if (launcher.empty()) words.insert(words.end(), {"--listen", "127.0.0.1:0"});
        words.insert(words.end(), options.begin(), options.end());
        return words;
    }

    std::string find(const std::string& event, std::size_t nth) const {
        for (const std::string& line : log())
            if (has(line + " ", " event=" + event + " ") && nth-- == 0) return line;
        return {};
    }

    process process_;
    std::string port_;
};

}  // namespace reprotect::test
