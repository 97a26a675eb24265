// A sync between two programs of the tool, `serve` and `sync`, over a link that takes its time, and what may happen to
// it: one of the programs is killed or asked to stop, or the link is cut or falls silent, at whatever moment.
// Afterwards both have ended, whoever of them was left; what they left on the disk and on record is there to be looked
// at.
#pragma once

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/device_sync.hpp"
#include "support/long_link.hpp"
#include "support/served.hpp"
#include "support/tool_rig.hpp"

namespace reprotect::test {

/// Two disks as files, one at the server and one at the client, and the key of both.
class far_pair {
public:
    static constexpr std::uint64_t block_bytes = 4096;

    struct shape {
        bool push = false;  ///< the target is the server's
        unsigned connections = 1;
        std::uint64_t disk_bytes = 8 << 20;  ///< whole blocks
    };

    /// The target holds nothing that the source does.
    far_pair(const shape& how, std::mt19937_64& random)
        : how_(how),
          source_(tool_.random_disk("source", random(), how.disk_bytes)),
          target_(tool_.random_disk("target", random(), how.disk_bytes)),
          key_(tool_.file("wire.key")) {
        require_run({tool_path, "key", "new", "--quiet", key_});
    }

    const shape& how() const noexcept { return how_; }
    const tool_rig& tool() const noexcept { return tool_; }
    const std::string& target() const noexcept { return target_; }
    /// Of the target's side.
    std::string records() const { return how_.push ? served::records_of(tool_) : tool_.records(); }

    /// Half of the source is written again in one run, and some of the rest here and there, in few bytes or many. All
    /// of it is random, so that nothing is zero and no block can be sent in less than its length.
    void change_source(std::mt19937_64& random) {
        const int file = ::open(source_.c_str(), O_WRONLY | O_CLOEXEC);
        const auto write = [&](std::uint64_t at, std::uint64_t count) {
            const auto bytes = random_bytes(random(), std::min(count, how_.disk_bytes - at));
            if (::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(at)) !=
                static_cast<ssize_t>(bytes.size()))
                throw std::runtime_error("cannot write " + source_);
        };
        write(random() % (how_.disk_bytes / 2), how_.disk_bytes / 2);
        for (unsigned i = 0; i < 60; ++i) write(random() % how_.disk_bytes, 1 + random() % (i % 2 == 0 ? 8 : 30'000));
        ::close(file);
    }

    std::vector<std::byte> source_bytes() const { return content_of(source_); }
    std::vector<std::byte> target_bytes() const { return content_of(target_); }
    /// How many blocks are not the same in both.
    std::uint64_t differing_blocks() const {
        const auto one = source_bytes(), other = target_bytes();
        REQUIRE(one.size() == how_.disk_bytes);
        REQUIRE(other.size() == how_.disk_bytes);
        std::uint64_t count = 0;
        for (std::size_t at = 0; at < one.size(); at += block_bytes)
            if (std::memcmp(one.data() + at, other.data() + at, block_bytes) != 0) ++count;
        return count;
    }

    std::optional<state_record> record() const {
        return open_state_directory(records())->find_target(open_source(target_)->identity());
    }
    void forget_record() const { std::filesystem::remove_all(records()); }
    bool says_dirty() const { return a_record_says_dirty(records()); }

    std::vector<std::string> server_options() const {
        return {"--export", "disk=" + (how_.push ? target_ + ",target" : source_), "--depth", "4", "--key", key_};
    }
    /// Of a client of the server that is behind this port.
    std::vector<std::string> client_line(const std::string& port) const {
        const std::string far = "reprotect://127.0.0.1:" + port + "/disk";
        return tool_.command({"sync", how_.push ? source_ : far, how_.push ? far : target_, "--chunk-size", "64KiB",
                              "--depth", "4", "--connections", std::to_string(how_.connections), "--key", key_,
                              "--json", "--progress", "none"});
    }

private:
    static std::vector<std::byte> content_of(const std::string& path) {
        std::vector<std::byte> bytes(std::filesystem::file_size(path));
        std::ifstream file(path, std::ios::binary);
        file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        if (!file) throw std::runtime_error("cannot read " + path);
        return bytes;
    }
    static void require_run(const std::vector<std::string>& line) {
        const command_result done = run_command(line);
        INFO(done.errors);
        REQUIRE(done.exit_code == 0);
    }

    shape how_;
    tool_rig tool_;
    std::string source_, target_, key_;
};

enum class breach { client_killed, server_killed, client_stopped, server_stopped, link_cut, link_stalled };
constexpr breach all_breaches[] = {breach::client_killed,  breach::server_killed, breach::client_stopped,
                                   breach::server_stopped, breach::link_cut,      breach::link_stalled};

inline const char* to_string(breach what) {
    switch (what) {
        case breach::client_killed:
            return "kill -9 of the client";
        case breach::server_killed:
            return "kill -9 of the server";
        case breach::client_stopped:
            return "SIGTERM of the client";
        case breach::server_stopped:
            return "SIGTERM of the server";
        case breach::link_cut:
            return "the link cut";
        case breach::link_stalled:
            return "the link silent, then cut";
    }
    return "?";
}

/// One sync over the link; a stall has to be known when it is made. Nobody is left when it goes.
class link_session {
public:
    using duration = std::chrono::duration<double>;
    using toward = long_link::toward;

    /// After so many bytes in this direction a connection falls silent.
    struct stall {
        toward way;
        std::size_t connection;
        std::uint64_t after;
    };
    struct ends {
        command_result client, server;
        std::vector<std::string> server_log;
    };

    explicit link_session(const far_pair& pair, const std::optional<stall>& silence = {})
        : pair_(pair),
          silence_(silence),
          server_(pair.tool(), pair.server_options()),
          link_(way_to(server_.port(), silence)),
          client_(pair.client_line(std::to_string(link_.port()))) {
        // A signal before that would be handled by what it has of this program.
        const std::filesystem::path tool = std::filesystem::canonical(tool_path);
        std::error_code none;
        const std::string running = "/proc/" + std::to_string(client_.id()) + "/exe";
        wait_until([&] { return std::filesystem::read_symlink(running, none) == tool || !client_.runs(); });
    }

    long_link& link() noexcept { return link_; }
    process& client() noexcept { return client_; }
    process& server() noexcept { return server_.running(); }

    /// Returns once the target's side is on record as writing, or the client has ended without that.
    void wait_for_dirty() const {
        wait_until([&] { return pair_.says_dirty() || !client_.runs(); });
    }
    /// Returns once the connection is silent, or the client has ended without that.
    void wait_for_silence() const {
        wait_until([&] { return is_silent() || !client_.runs(); });
    }

    void wait_for_client() const {
        wait_until([&] { return !client_.runs(); }, limit);
    }

    void suffer(breach what) {
        switch (what) {
            case breach::client_killed:
                return client_.send(SIGKILL);
            case breach::server_killed:
                return server().send(SIGKILL);
            case breach::client_stopped:
                return client_.send(SIGTERM);
            case breach::server_stopped:
                server_stops_ = true;
                return server().send(SIGTERM);
            case breach::link_cut:
            case breach::link_stalled:
                return link_.stop();
        }
    }

    /// Both have ended: the client and the server's session by themselves, in far less than their patience of a minute.
    ends end() {
        ends all;
        all.client = client_.wait(limit);
        auto finished = std::async(std::launch::async, [&] { link_.finish(); });
        if (finished.wait_for(limit) != std::future_status::ready) {
            server().send(SIGKILL);
            finished.wait();
            FAIL("the server holds on to a connection whose client is gone; it said: " << server().errors());
        }
        if (!server_stops_) server().send(SIGTERM);  // a second one would have it quit at once
        all.server = server().wait(limit);
        all.server_log = server_.log();
        return all;
    }

private:
    // An idle machine takes some milliseconds; a sanitizer and others' work much more.
    static constexpr std::chrono::milliseconds limit{30'000};

    static long_link::options way_to(const std::string& port, const std::optional<stall>& silence) {
        long_link::options how;
        how.server = {boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(std::stoul(port))};
        how.to_server.delay = how.to_client.delay = std::chrono::milliseconds(1);
        // So that a session takes some tenths of a second, in which more than one connection is of use.
        how.to_server.bytes_per_second = how.to_client.bytes_per_second = 60'000'000;
        how.to_server.in_flight_bytes_max = how.to_client.in_flight_bytes_max = 256 << 10;
        if (silence)
            how.faults = [silence](std::size_t number) {
                connection_faults faults;
                if (number == silence->connection)
                    (silence->way == toward::server ? faults.to_server : faults.to_client).stall_after = silence->after;
                return faults;
            };
        return how;
    }
    bool is_silent() const {
        return silence_ && link_.connections() > silence_->connection &&
               link_.carried(silence_->way, silence_->connection).delivered >= silence_->after;
    }

    const far_pair& pair_;
    const std::optional<stall> silence_;
    served server_;
    long_link link_;
    process client_;
    bool server_stops_ = false;
};

}  // namespace reprotect::test
