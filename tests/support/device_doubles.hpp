// Devices and a state store that stand in for real ones: one that fails at a chosen call, one that remembers what was done to
// it, and a log that devices and a store share, so that a test sees the order of things. All thread-safe.
#pragma once

#include "reprotect/device.hpp"
#include "reprotect/error.hpp"
#include "reprotect/state_record.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace reprotect::test {

enum class device_call { read, write, write_zeroes, flush, allocation, resize, current_size, drop_cache };

inline const char* to_string(device_call call) {
    static constexpr const char* names[] = {"read",       "write",  "write_zeroes", "flush",
                                            "allocation", "resize", "current_size", "drop_cache"};
    return names[static_cast<std::size_t>(call)];
}

/// Asks `before` ahead of every call; what that throws is the call's failure, and the disk is not touched.
class hooked_device : public device_decorator {
public:
    using hook = std::function<void(device_call, extent)>;
    hooked_device(device& disk, hook before) : device_decorator(disk), before_(std::move(before)) {}

    std::uint64_t current_size() override {
        before_(device_call::current_size, {});
        return device_decorator::current_size();
    }
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        before_(device_call::read, {offset, into.size()});
        device_decorator::read(offset, into);
    }
    void write(std::uint64_t offset, std::span<const std::byte> from) override {
        before_(device_call::write, {offset, from.size()});
        device_decorator::write(offset, from);
    }
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override {
        before_(device_call::write_zeroes, {offset, length});
        device_decorator::write_zeroes(offset, length);
    }
    void flush() override {
        before_(device_call::flush, {});
        device_decorator::flush();
    }
    void resize(std::uint64_t bytes) override {
        before_(device_call::resize, {0, bytes});
        device_decorator::resize(bytes);
    }
    std::vector<allocation_run> allocation(extent within, std::size_t runs_max) override {
        before_(device_call::allocation, within);
        return device_decorator::allocation(within, runs_max);
    }
    bool drop_cache() override {
        before_(device_call::drop_cache, {});
        return device_decorator::drop_cache();
    }

private:
    hook before_;
};

/// Fails its n-th call (counted from 0), and all after it where `sticky`. The error is what a device throws; `raise` may
/// throw something else instead.
class failing_device final : public hooked_device {
public:
    failing_device(device& disk, std::uint64_t nth, bool sticky, std::function<void()> raise = {})
        : hooked_device(disk, [this](device_call call, extent where) { count(call, where); }),
          nth_(nth),
          sticky_(sticky),
          raise_(std::move(raise)) {}

    struct failure {
        device_call call;
        extent where;
    };
    /// What failed, in order.
    std::vector<failure> failures() const {
        const std::lock_guard lock(mutex_);
        return failures_;
    }
    unsigned flushes_after_failed_flush() const { return late_flushes_; }

private:
    void count(device_call call, extent where) {
        if (call == device_call::flush && flush_failed_) ++late_flushes_;
        const std::uint64_t number = calls_++;
        if (sticky_ ? number < nth_ : number != nth_) return;
        if (call == device_call::flush) flush_failed_ = true;
        {
            const std::lock_guard lock(mutex_);
            failures_.push_back({call, where});
        }
        if (raise_) raise_();
        error_detail detail;
        detail.device = name();
        detail.operation = to_string(call);
        if (where.length != 0) {
            detail.offset = where.offset;
            detail.length = where.length;
        }
        throw error(call == device_call::flush ? error_kind::flush_failed : error_kind::device_io,
                    std::string(to_string(call)) + " of " + name() + " failed", std::move(detail));
    }

    const std::uint64_t nth_;
    const bool sticky_;
    const std::function<void()> raise_;
    std::atomic<std::uint64_t> calls_{0};
    std::atomic<bool> flush_failed_{false};
    std::atomic<unsigned> late_flushes_{0};
    mutable std::mutex mutex_;
    std::vector<failure> failures_;
};

/// Remembers which bytes were read, written and zeroed, and what was done twice.
class recording_device final : public device_decorator {
public:
    explicit recording_device(device& disk) : device_decorator(disk) {}

    void read(std::uint64_t offset, std::span<std::byte> into) override {
        note(reads, read_twice, {offset, into.size()});
        device_decorator::read(offset, into);
    }
    void write(std::uint64_t offset, std::span<const std::byte> from) override {
        note(writes, written_twice, {offset, from.size()});
        device_decorator::write(offset, from);
    }
    void write_zeroes(std::uint64_t offset, std::uint64_t length) override {
        note(zeroes, written_twice, {offset, length});
        device_decorator::write_zeroes(offset, length);
    }
    void flush() override {
        ++flushes;
        device_decorator::flush();
    }

    // To look at once the work is done.
    extent_set reads, writes, zeroes, read_twice, written_twice;
    std::atomic<unsigned> flushes{0};

private:
    void note(extent_set& set, extent_set& twice, extent range) {
        const std::lock_guard lock(mutex_);
        for (const extent& again : set.within(range)) twice.add(again);
        set.add(range);
    }
    std::mutex mutex_;
};

/// What happened, in order.
class event_log {
public:
    void add(std::string what) {
        const std::lock_guard lock(mutex_);
        events_.push_back(std::move(what));
    }
    std::vector<std::string> all() const {
        const std::lock_guard lock(mutex_);
        return events_;
    }
    std::size_t count(const std::string& what) const {
        const std::vector<std::string> events = all();
        return static_cast<std::size_t>(std::count(events.begin(), events.end(), what));
    }
    /// The place of the first and of the last one; the number of all where there is none.
    std::size_t first(const std::string& what) const {
        const std::vector<std::string> events = all();
        return static_cast<std::size_t>(std::find(events.begin(), events.end(), what) - events.begin());
    }
    std::size_t last(const std::string& what) const {
        const std::vector<std::string> events = all();
        for (std::size_t i = events.size(); i-- > 0;)
            if (events[i] == what) return i;
        return events.size();
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> events_;
};

/// Logs each call by its name.
class logging_device final : public hooked_device {
public:
    logging_device(device& disk, event_log& log)
        : hooked_device(disk, [&log](device_call call, extent) { log.add(to_string(call)); }) {}
};

/// Keeps records in memory, logs each save as "dirty", "clean" or "poisoned", and may fail.
class test_store final : public state_store {
public:
    explicit test_store(event_log* log = nullptr) : log_(log) {}

    std::optional<state_record> find_target(const device_identity& target) override {
        if (on_find) on_find();
        return inner_->find_target(target);
    }
    std::vector<state_record> find_source(const device_identity& source) override {
        return inner_->find_source(source);
    }
    void save(const state_record& record) override {
        if (on_save) on_save(record);
        inner_->save(record);
        if (log_) log_->add(reprotect::to_string(record.status));
    }
    void remove(const device_identity& target) override { inner_->remove(target); }
    void save_finished(const device_identity& target, const digest_map& finished) override {
        if (on_save_finished) on_save_finished(finished);
        inner_->save_finished(target, finished);
    }
    std::optional<digest_map> find_finished(const device_identity& target) override {
        return inner_->find_finished(target);
    }
    void remove_finished(const device_identity& target) override { inner_->remove_finished(target); }

    /// May throw in place of the call.
    std::function<void()> on_find;
    std::function<void(const state_record&)> on_save;
    std::function<void(const digest_map&)> on_save_finished;

private:
    std::unique_ptr<state_store> inner_ = make_memory_state_store();
    event_log* log_;
};

}  // namespace reprotect::test
