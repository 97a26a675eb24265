// A server in this process, on a thread of its own: exports, keys, and what it logged.
#pragma once

#include <catch2/catch.hpp>

#include "reprotect/connect.hpp"
#include "reprotect/serve.hpp"
#include "support/process.hpp"
#include "support/temp_dir.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace reprotect::test {

class server_rig final : private server_listener {
public:
    server_rig() {
        options.listen = {"127.0.0.1:0"};
        options.options.depth = 4;
        options.records = records.get();
        key.name = "laptop";
        key.key = generate_key();
    }
    ~server_rig() { stop(); }

    server_options options;
    named_key key;
    std::unique_ptr<state_store> records = make_memory_state_store();

    void offer(const std::string& name, const std::string& disk, export_role role) {
        options.exports.push_back({name, disk, role});
    }

    /// With the key, unless credentials were set.
    void start() {
        if (launch()) return;
        stop();
        FAIL("the server does not listen: " << (result_ ? result_->what() : "no reason given"));
    }

    /// Why it does not listen.
    std::optional<error> refuse_to_start() {
        CHECK_FALSE(launch());
        return stop();
    }

    /// Waits for its end; how it ended, if it failed.
    std::optional<error> stop() {
        stop_.request_stop();
        return wait();
    }
    std::optional<error> wait() {
        if (thread_.joinable()) thread_.join();
        return result_;
    }

    std::string address() const {
        const std::lock_guard lock(mutex_);
        return address_;
    }
    std::string disk(const std::string& name) const { return "reprotect://" + address() + "/" + name; }

    connect_options how() const {
        connect_options result;
        result.credentials = key;
        result.patience = std::chrono::milliseconds(20'000);
        return result;
    }

    std::vector<server_event> events() const {
        const std::lock_guard lock(mutex_);
        return events_;
    }
    /// The value of a field of the last event of this name; waits for one.
    std::string logged(const std::string& event, const std::string& field) const {
        std::string value;
        wait_until([&] { return find(event, field, value); });
        return value;
    }

    /// How many events of this name there were.
    std::size_t count(const std::string& event) const {
        const std::lock_guard lock(mutex_);
        return static_cast<std::size_t>(
            std::count_if(events_.begin(), events_.end(), [&](const auto& each) { return each.name == event; }));
    }

private:
    // Whether it came to listen.
    bool launch() {
        if (!options.credentials && !options.insecure_plaintext) options.credentials = std::vector<named_key>{key};
        thread_ = std::thread([this] {
            try {
                result_ = serve(options, *this, stop_.get_token());
            } catch (const error& why) {
                result_ = why;
            }
            ended_ = true;
        });
        return wait_until([this] { return ended_ || !address().empty(); }) && !ended_;
    }

    bool find(const std::string& event, const std::string& field, std::string& value) const {
        const std::lock_guard lock(mutex_);
        for (auto at = events_.rbegin(); at != events_.rend(); ++at) {
            if (at->name != event) continue;
            for (const auto& [key_name, text] : at->fields)
                if (key_name == field) value = text;
            return true;
        }
        return false;
    }

    void on_event(const server_event& what) override {
        const std::lock_guard lock(mutex_);
        events_.push_back(what);
    }
    void on_listening(const std::vector<std::string>& addresses) override {
        const std::lock_guard lock(mutex_);
        address_ = addresses.at(0);
    }

    mutable std::mutex mutex_;
    std::string address_;
    std::vector<server_event> events_;
    std::stop_source stop_;
    std::optional<error> result_;
    std::atomic<bool> ended_ = false;
    std::thread thread_;
};

}  // namespace reprotect::test
