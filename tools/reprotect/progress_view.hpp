// Progress on standard error: a bar for people, a JSON object a line for programs, and one line on demand (SIGUSR1).
#pragma once

#include "reprotect/progress.hpp"

#include <chrono>
#include <deque>
#include <mutex>
#include <string>

#include "console.hpp"

namespace reprotect::tool {

enum class progress_mode { none, bar, json };

/// A percentage that never goes back, and a rate over the last seconds. Safe to call from any thread.
class progress_view final : public sync_listener {
public:
    /// `rereads`: a verify phase will follow the scan, which the percentage leaves room for.
    progress_view(console& out, progress_mode mode, bool rereads);
    ~progress_view() override;

    void on_progress(const sync_progress& now) override;
    void on_warning(const std::string& text) override;

    /// Prints a line at once, whatever the mode; not where standard error is held up for longer than a moment.
    void say_now();

private:
    struct sample {
        double seconds = 0;
        std::uint64_t bytes = 0;
    };
    struct estimate {
        double bytes_per_second = 0;  ///< 0: not known yet
        double seconds = -1;          ///< negative: not known yet
        bool at_least = true;
    };

    double percent_of(const sync_progress& now) const;
    estimate estimate_end() const;
    std::string eta_text(const estimate& end) const;
    std::string bar_line() const;
    std::string plain_line() const;
    std::string json_line() const;

    console& out_;
    const progress_mode mode_;
    const bool rereads_;
    std::mutex mutex_;
    sync_progress now_;
    double percent_ = 0;
    std::string last_;  ///< of the phase done
    std::deque<sample> samples_;
    std::chrono::steady_clock::time_point drawn_{};
};

}  // namespace reprotect::tool
