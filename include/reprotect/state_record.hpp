// The state record: what is known about a target between syncs, kept by its identity.
#pragma once

#include "reprotect/device.hpp"
#include "reprotect/digest_map.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect {

enum class target_status {
    clean,     ///< the last sync ended with equal roots and a good flush
    dirty,     ///< a sync began to write and did not finish
    poisoned,  ///< a flush failed: what the cache shows may not be on the medium
};
const char* to_string(target_status status) noexcept;

/// One pair's record. A record that does not fit in every field is ignored, and said to be.
struct state_record {
    device_identity source;
    device_identity target;
    std::string source_name;  ///< for messages only
    std::string target_name;
    std::uint64_t source_size = 0;  ///< bytes
    std::uint64_t target_size = 0;
    std::string session;     ///< 32 hex digits, new for each sync
    std::string generation;  ///< of the source, as its user names it; empty: nobody vouches that it stands still
    target_status status = target_status::dirty;
    std::string updated;  ///< UTC, ISO 8601
    friend bool operator==(const state_record&, const state_record&) = default;
};

/// Where records are kept; an agent may bring its own. Methods throw `error`.
class state_store {
public:
    virtual ~state_store() = default;

    /// The record whose target has this identity; none where there is none. Throws `corrupt_file` where it does not check out.
    virtual std::optional<state_record> find_target(const device_identity& target) = 0;

    /// Records that name this disk as their source.
    virtual std::vector<state_record> find_source(const device_identity& source) = 0;

    /// Durable when it returns. Replaces the record of the same target.
    virtual void save(const state_record& record) = 0;

    /// Forgets the record of a target, if there is one, and what was kept of it.
    virtual void remove(const device_identity& target) = 0;

    /// What an unfinished sync has finished, if the store keeps such: digests of the disk's beginning, labelled with the session's id.
    /// Durable when it returns; replaces the one of the same target. A store without these keeps nothing, and loses nothing but time.
    virtual void save_finished(const device_identity& target, const digest_map& finished) {
        (void)target, (void)finished;
    }
    /// Throws `corrupt_file` where it does not check out.
    virtual std::optional<digest_map> find_finished(const device_identity& target) {
        (void)target;
        return std::nullopt;
    }
    virtual void remove_finished(const device_identity& target) { (void)target; }
};

/// `/var/lib/reprotect` for root, else `$XDG_STATE_HOME/reprotect` or `~/.local/state/reprotect`.
std::filesystem::path default_state_directory();

/// Records as checksummed files in a directory, written by temporary file, fsync and rename; made (0700) at the first save.
std::unique_ptr<state_store> open_state_directory(const std::filesystem::path& directory);

/// Records in memory only.
std::unique_ptr<state_store> make_memory_state_store();

/// The file's text form, and back; `parse` throws `corrupt_file` for anything that is not exactly what `serialize` gave.
std::string serialize(const state_record& record);
state_record parse_state_record(std::string_view text, const std::string& origin);

}  // namespace reprotect
