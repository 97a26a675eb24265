// A state record is a small text file that a person can read and only this code should write:
//
//   reprotect state record 1
//   source.kind: file              one line for each identity field, in the identity's order
//   target.kind: file
//   source_name: /disks/new.img
//   …
//   sha256: <64 hex digits>        of every byte before this line
//
// Names and values are escaped (%XX), so a line is a field whatever the disk is called. Parsing accepts exactly what
// serialising gives: it reads the fields, writes them again and compares. That refuses unknown, missing, doubled and
// reordered fields without a rule for each.
#include "reprotect/state_record.hpp"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <span>

#include "base/atomic_file.hpp"
#include "reprotect/error.hpp"

namespace reprotect {
namespace {

constexpr std::string_view first_line = "reprotect state record 1\n";
constexpr std::uint64_t record_bytes_max =
    64 * 1024;  // guessed: names of 4 KiB, three times that when escaped, and to spare
constexpr std::string_view digits = "0123456789abcdef";
constexpr std::string_view file_suffix = ".record";
constexpr std::string_view finished_suffix = ".finished";

std::string sha256_hex(std::string_view text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
    unsigned length = 0;
    if (EVP_Digest(text.data(), text.size(), value.data(), &length, EVP_sha256(), nullptr) != 1 || length != 32)
        throw error(error_kind::device_io, "SHA-256 is not available: OpenSSL refused it");
    std::string hex;
    for (std::size_t at = 0; at < length; ++at) {
        hex += digits[value[at] >> 4];
        hex += digits[value[at] & 15];
    }
    return hex;
}

// Printable ASCII stays, so that a person can read it, except what ends a key or begins an escape.
std::string escape(std::string_view text, std::string_view special) {
    std::string safe;
    for (const char letter : text) {
        const auto byte = static_cast<unsigned char>(letter);
        if (byte >= 0x20 && byte < 0x7f && special.find(letter) == std::string_view::npos) {
            safe += letter;
        } else {
            safe += '%';
            safe += digits[byte >> 4];
            safe += digits[byte & 15];
        }
    }
    return safe;
}

std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%' || at + 2 >= text.size()) {
            plain += text[at];
            continue;
        }
        // What is no digit gives some byte; writing it again then differs.
        const std::size_t high = digits.find(text[at + 1]) & 15;
        const std::size_t low = digits.find(text[at + 2]) & 15;
        plain += static_cast<char>(high * 16 + low);
        at += 2;
    }
    return plain;
}

void append(std::string& text, std::string_view key, std::string_view value) {
    text.append(escape(key, "%: ")).append(": ").append(escape(value, "%")).append("\n");
}

error corrupt(const std::string& origin, const std::string& why) {
    error_detail detail;
    detail.device = origin;
    detail.operation = "read";
    detail.hint =
        "move " + origin +
        " away and run the next sync with --verify=reread, since it is not known any more whether a flush failed";
    return error(error_kind::corrupt_file, "state record " + origin + " does not check out: " + why, std::move(detail));
}

std::uint64_t parse_number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class directory_store final : public state_store {
public:
    explicit directory_store(std::filesystem::path directory) : directory_(std::move(directory)) {}

    std::optional<state_record> find_target(const device_identity& target) override {
        std::optional<state_record> record = load(path_of(target));
        // The name is a digest of the identity; the fields are what counts.
        if (record && record->target != target) return std::nullopt;
        return record;
    }

    std::vector<state_record> find_source(const device_identity& source) override {
        std::vector<state_record> found;
        std::error_code failed;
        std::filesystem::directory_iterator entries(directory_, failed);
        if (failed == std::errc::no_such_file_or_directory) return found;
        if (failed) throw directory_error("read", failed.value());
        std::vector<std::filesystem::path> paths;
        for (; entries != std::filesystem::directory_iterator(); entries.increment(failed)) {
            if (failed) throw directory_error("read", failed.value());
            if (is_record_name(entries->path().filename().string())) paths.push_back(entries->path());
        }
        std::sort(paths.begin(), paths.end());
        for (const std::filesystem::path& path : paths) {
            std::optional<state_record> record = load(path);
            if (record && record->source == source) found.push_back(std::move(*record));
        }
        return found;
    }

    void save(const state_record& record) override {
        make_directory();
        const std::string text = serialize(record);
        const std::filesystem::path path = path_of(record.target);
        if (text.size() > record_bytes_max) {
            error_detail detail;
            detail.device = path.string();
            detail.operation = "write";
            detail.hint = "use shorter names for the disks";
            throw error(error_kind::usage, "state record " + path.string() + " would be longer than 64 KiB",
                        std::move(detail));
        }
        try {
            write_file_atomically(path, std::as_bytes(std::span(text)));
        } catch (const error& failed) {
            throw explain(failed);
        }
    }

    void remove(const device_identity& target) override {
        remove_finished(target);
        remove_file(path_of(target));
    }

    void save_finished(const device_identity& target, const digest_map& finished) override {
        make_directory();
        try {
            reprotect::save(finished, path_of(target, finished_suffix));
        } catch (const error& failed) {
            throw explain(failed);
        }
    }

    std::optional<digest_map> find_finished(const device_identity& target) override {
        try {
            return load_digest_map(path_of(target, finished_suffix));
        } catch (const error& failed) {
            if (failed.kind() == error_kind::not_found) return std::nullopt;
            throw;
        }
    }

    void remove_finished(const device_identity& target) override { remove_file(path_of(target, finished_suffix)); }

private:
    void remove_file(const std::filesystem::path& path) {
        if (::unlink(path.c_str()) != 0) {
            if (errno == ENOENT) return;
            throw directory_error("remove from", errno);
        }
        try {
            flush_directory(directory_);
        } catch (const error& failed) {
            throw explain(failed);
        }
    }

    // For its owner alone: who could write to it could swap records. Each new level is made durable in the one above.
    void make_directory() {
        std::vector<std::filesystem::path> missing;
        std::error_code failed;
        for (std::filesystem::path level = directory_; !std::filesystem::exists(level, failed);
             level = level.parent_path()) {
            if (failed) throw directory_error("make", failed.value());
            missing.push_back(level);
        }
        for (; !missing.empty(); missing.pop_back()) {
            if (::mkdir(missing.back().c_str(), 0700) != 0 && errno != EEXIST) throw directory_error("make", errno);
            try {
                flush_directory(missing.back().parent_path());
            } catch (const error& reason) {
                throw explain(reason);
            }
        }
        if (!std::filesystem::is_directory(directory_, failed)) throw directory_error("make", ENOTDIR);
    }

    std::optional<state_record> load(const std::filesystem::path& path) {
        try {
            const std::vector<std::byte> content = read_whole_file(path, record_bytes_max, final_link::refuse);
            return parse_state_record(as_text(content), path.string());
        } catch (const error& failed) {
            if (failed.kind() == error_kind::not_found) return std::nullopt;
            if (failed.kind() == error_kind::corrupt_file) throw corrupt_once(failed, path);
            throw explain(failed);
        }
    }

    // Too long a file has no hint of ours yet.
    static error corrupt_once(const error& failed, const std::filesystem::path& path) {
        const std::string prefix = "state record ";
        const std::string what = failed.what();
        return what.starts_with(prefix) ? failed : corrupt(path.string(), what);
    }

    error explain(const error& failed) const {
        error_detail detail = failed.detail();
        // A full file system is not helped by a right to write to it.
        if (failed.kind() != error_kind::no_space || detail.hint.empty()) detail.hint = hint();
        return error(failed.kind(), "state record cannot be kept: " + std::string(failed.what()), std::move(detail));
    }

    error directory_error(const std::string& operation, int code) const {
        error_detail detail;
        detail.device = directory_.string();
        detail.operation = operation;
        detail.hint = "make room on the file system that holds " + directory_.string();  // kept where it is full
        const bool denied = code == EACCES || code == EPERM || code == EROFS;
        const error plain = system_error(denied ? error_kind::permission : error_kind::device_io, code, detail);
        return explain(plain);
    }

    std::string hint() const {
        return "choose a state directory that this user may write to (--state DIR) instead of " + directory_.string();
    }

    std::filesystem::path path_of(const device_identity& target, std::string_view suffix = file_suffix) const {
        return directory_ / (sha256_hex(target.text()) + std::string(suffix));
    }

    static bool is_record_name(std::string_view name) {
        return name.size() == 64 + file_suffix.size() && name.ends_with(file_suffix) &&
               name.substr(0, 64).find_first_not_of(digits) == std::string_view::npos;
    }

    std::filesystem::path directory_;
};

class memory_store final : public state_store {
public:
    std::optional<state_record> find_target(const device_identity& target) override {
        const std::scoped_lock lock(mutex_);
        for (const state_record& each : records_)
            if (each.target == target) return each;
        return std::nullopt;
    }
    std::vector<state_record> find_source(const device_identity& source) override {
        const std::scoped_lock lock(mutex_);
        std::vector<state_record> found;
        for (const state_record& each : records_)
            if (each.source == source) found.push_back(each);
        return found;
    }
    void save(const state_record& record) override {
        const std::scoped_lock lock(mutex_);
        std::erase_if(records_, [&](const state_record& each) { return each.target == record.target; });
        records_.push_back(record);
    }
    void remove(const device_identity& target) override {
        const std::scoped_lock lock(mutex_);
        std::erase_if(records_, [&](const state_record& each) { return each.target == target; });
        finished_.erase(target.text());
    }
    void save_finished(const device_identity& target, const digest_map& finished) override {
        const std::scoped_lock lock(mutex_);
        finished_.insert_or_assign(target.text(), finished);
    }
    std::optional<digest_map> find_finished(const device_identity& target) override {
        const std::scoped_lock lock(mutex_);
        const auto at = finished_.find(target.text());
        return at == finished_.end() ? std::nullopt : std::optional(at->second);
    }
    void remove_finished(const device_identity& target) override {
        const std::scoped_lock lock(mutex_);
        finished_.erase(target.text());
    }

private:
    std::mutex mutex_;
    std::vector<state_record> records_;
    std::map<std::string, digest_map> finished_;
};

}  // namespace

const char* to_string(target_status status) noexcept {
    switch (status) {
        case target_status::clean:
            return "clean";
        case target_status::dirty:
            return "dirty";
        case target_status::poisoned:
            return "poisoned";
    }
    return "unknown";
}

std::string serialize(const state_record& record) {
    std::string text(first_line);
    for (const auto& [name, value] : record.source.fields) append(text, "source." + name, value);
    for (const auto& [name, value] : record.target.fields) append(text, "target." + name, value);
    append(text, "source_name", record.source_name);
    append(text, "target_name", record.target_name);
    append(text, "source_size", std::to_string(record.source_size));
    append(text, "target_size", std::to_string(record.target_size));
    append(text, "session", record.session);
    if (!record.generation.empty()) append(text, "generation", record.generation);
    append(text, "status", to_string(record.status));
    append(text, "updated", record.updated);
    append(text, "sha256", sha256_hex(text));
    return text;
}

state_record parse_state_record(std::string_view text, const std::string& origin) {
    if (text.size() > record_bytes_max) throw corrupt(origin, "it is longer than 64 KiB");
    if (!text.starts_with(first_line)) throw corrupt(origin, "it does not begin with \"reprotect state record 1\"");
    state_record record;
    std::string_view rest = text.substr(first_line.size());
    while (!rest.empty()) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const std::size_t colon = line.find(": ");
        if (colon == std::string_view::npos) throw corrupt(origin, "a line has no field");
        const std::string_view key = line.substr(0, colon);
        std::string value = unescape(line.substr(colon + 2));
        if (key.starts_with("source."))
            record.source.fields.emplace_back(unescape(key.substr(7)), std::move(value));
        else if (key.starts_with("target."))
            record.target.fields.emplace_back(unescape(key.substr(7)), std::move(value));
        else if (key == "source_name")
            record.source_name = std::move(value);
        else if (key == "target_name")
            record.target_name = std::move(value);
        else if (key == "source_size")
            record.source_size = parse_number(value);
        else if (key == "target_size")
            record.target_size = parse_number(value);
        else if (key == "session")
            record.session = std::move(value);
        else if (key == "generation")
            record.generation = std::move(value);
        else if (key == "status")
            record.status = value == "clean"      ? target_status::clean
                            : value == "poisoned" ? target_status::poisoned
                                                  : target_status::dirty;
        else if (key == "updated")
            record.updated = std::move(value);
        else if (key != "sha256")
            throw corrupt(origin, "it has an unknown field");
    }
    if (serialize(record) != text) throw corrupt(origin, "its content does not fit its checksum and form");
    return record;
}

std::filesystem::path default_state_directory() {
    if (::geteuid() == 0) return "/var/lib/reprotect";
    const char* state = std::getenv("XDG_STATE_HOME");
    if (state != nullptr && state[0] == '/') return std::filesystem::path(state) / "reprotect";
    const char* home = std::getenv("HOME");
    if (home != nullptr && home[0] == '/') return std::filesystem::path(home) / ".local/state/reprotect";
    error_detail detail;
    detail.operation = "find";
    detail.hint = "name a state directory (--state DIR), or set HOME";
    throw error(error_kind::usage, "no place for state records: neither XDG_STATE_HOME nor HOME is an absolute path",
                std::move(detail));
}

std::unique_ptr<state_store> open_state_directory(const std::filesystem::path& directory) {
    // Absolute, so that a record stays where it is when the process changes its directory, and its path can be acted on.
    return std::make_unique<directory_store>(std::filesystem::absolute(directory).lexically_normal());
}

std::unique_ptr<state_store> make_memory_state_store() {
    return std::make_unique<memory_store>();
}

}  // namespace reprotect
