// The built tool, run against disks in a directory of its own, with its records kept there too.
#pragma once

#include "support/bytes.hpp"
#include "support/places.hpp"
#include "support/process.hpp"
#include "support/run_command.hpp"
#include "support/temp_dir.hpp"

#include <boost/json.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace reprotect::test {

class tool_rig {
public:
    std::string file(const std::string& name) const { return folder_.file(name); }
    const std::filesystem::path& folder() const noexcept { return folder_.path(); }
    std::string records() const { return folder_.file("records"); }

    /// argv with the tool and the state directory put in.
    std::vector<std::string> command(std::vector<std::string> words) const {
        words.insert(words.begin(), tool_path);
        words.insert(words.end(), {"--state", records()});
        return words;
    }
    command_result run(const std::vector<std::string>& words) const { return run_command(command(words)); }

    /// A disk of random bytes.
    std::string random_disk(const std::string& name, std::uint64_t seed, std::size_t bytes) const {
        write_whole_file(file(name), random_bytes(seed, bytes));
        return file(name);
    }
    std::string copy(const std::string& from, const std::string& name) const {
        std::filesystem::copy_file(from, file(name), std::filesystem::copy_options::overwrite_existing);
        return file(name);
    }
    std::string text_file(const std::string& name, const std::string& content) const {
        std::ofstream(file(name)) << content;
        return file(name);
    }

    /// Flips one bit of a file.
    static void damage(const std::string& path, std::size_t offset) {
        std::vector<std::byte> bytes = read_whole_file(path);
        bytes.at(offset) ^= std::byte{1};
        write_whole_file(path, bytes);
    }

    /// Two sparse files of a TiB and an allocation that calls the source all data, so that a sync reads for minutes unless
    /// it is stopped; the first MiB differs. Costs no space to speak of.
    struct slow_pair {
        std::string source;
        std::string target;
        std::string allocation;
    };
    slow_pair make_slow_pair() const {
        constexpr std::uint64_t size = 1ull << 40;
        slow_pair made{random_disk("slow.source", 7, 1 << 20), file("slow.target"),
                       text_file("slow.allocation", "0 " + std::to_string(size) + "\n")};
        make_sparse_file(made.source, size);
        make_sparse_file(made.target, size);
        return made;
    }

private:
    temp_dir folder_;
};

inline bool same_bytes(const std::string& a, const std::string& b) {
    return read_whole_file(a) == read_whole_file(b);
}

inline bool has(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

inline boost::json::object parse_json(const std::string& text) {
    return boost::json::parse(text).as_object();
}

/// The value at "bytes.written".
inline boost::json::value at_path(const boost::json::object& document, const std::string& path) {
    boost::json::value found = document;
    for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find('.', begin), path.size());
        found = boost::json::value(found.as_object().at(path.substr(begin, end - begin)));
        begin = end + 1;
    }
    return found;
}

inline std::uint64_t count_at(const boost::json::object& document, const std::string& path) {
    return at_path(document, path).to_number<std::uint64_t>();
}

inline std::string text_at(const boost::json::object& document, const std::string& path) {
    return std::string(at_path(document, path).as_string());
}

}  // namespace reprotect::test
