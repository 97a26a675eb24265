// A server takes requests in units of its own, of a length of its own, and may offer several connections; a device takes any
// range from any thread. What lies between: cutting, reading around a part of a unit, and choosing the connection that has
// least to do.
//
// Everything that a server says is checked against what was asked: allocation only ever says which bytes need not be read,
// and a range that it leaves out is data.
#include "device/nbd_device.hpp"

#include "device/range_check.hpp"
#include "reprotect/error.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace reprotect {
namespace {

// Guessed: on one machine there are no cores for more, and a network gains from a few.
constexpr unsigned connections_wanted = 4;
// A server may promise more connections than it serves (qemu-nbd --shared=1 leaves the next one waiting), and then the first
// one has to do.
constexpr std::chrono::milliseconds further_connection_patience{500};
constexpr std::uint64_t fast_zero_bytes_max = 1ull << 30;   // requests carry lengths of 32 bits
constexpr std::uint64_t slow_zero_bytes_max = 32ull << 20;  // as much as a write: the server may have to write them
constexpr std::uint64_t allocation_bytes_max = 1ull << 31;
constexpr std::uint64_t answer_bytes_min = 64 << 10;  // runs of the session are no shorter either
constexpr int answers_max = 256;                      // then the caller gets a chance to stop
constexpr std::uint32_t sector_bytes = 512;

[[noreturn]] void refuse(error_kind kind, const std::string& name, const std::string& why, std::string hint) {
    throw error(kind, "cannot open " + name + ": " + why,
                {.device = name, .operation = "open", .hint = std::move(hint)});
}

}  // namespace

nbd_device::nbd_device(std::string name, const nbd_endpoint& server, device_identity identity,
                       const open_options& options, const nature& how)
    : name_(std::move(name)), identity_(std::move(identity)) {
    nbd_patience patience{options.patience, options.patience, 10 * options.patience};
    connections_.push_back(std::make_unique<nbd_connection>(name_, server, patience));
    facts_ = connections_.front()->facts();
    const bool writing = options.mode == access::read_write;
    if (facts_.size_bytes == 0)
        refuse(error_kind::unsuitable, name_, "the export has no size, so no disk is behind it",
               "check the export's name, and what the server was given");
    if (facts_.size_bytes % facts_.unit_bytes != 0)
        refuse(error_kind::unsuitable, name_,
               "its size, " + std::to_string(facts_.size_bytes) +
                   " bytes, is no multiple of the unit that the server asks for, " + std::to_string(facts_.unit_bytes),
               "the last bytes cannot be reached: let the server offer the disk with smaller units");
    if (writing && facts_.read_only)
        refuse(error_kind::unsuitable, name_, "the server offers it for reading only",
               "let the server offer it writable, if that is meant");
    if (writing && !facts_.flushes)
        refuse(error_kind::unsuitable, name_, "the server offers no flush, so nothing could be known to be on its disk",
               "serve the disk with a server that flushes (qemu-nbd, nbdkit file)");

    if (facts_.takes_connections) {
        patience.greeting = std::min(patience.greeting, further_connection_patience);
        while (connections_.size() < how.connections_max) {
            std::unique_ptr<nbd_connection> next;
            try {
                next = std::make_unique<nbd_connection>(name_, server, patience);
            } catch (const error&) {
                break;  // it serves no more of us
            }
            if (next->facts() != facts_)
                refuse(error_kind::peer, name_, "the server describes the export differently on every connection",
                       "check that the address leads to one server, and that nobody resizes the disk");
            connections_.push_back(std::move(next));
        }
    }
    properties_.physical_sector = std::max(sector_bytes, static_cast<std::uint32_t>(facts_.unit_bytes));
    properties_.read_only = !writing;
    // Without a promise to be fast it may write the zeroes; where the allocation is known, that is no more than is there now.
    properties_.punches_holes =
        writing && how.punches && facts_.zeroes && (facts_.zeroes_fast || facts_.tells_allocation);
    zeroes_fast_ = facts_.zeroes_fast;
    if (!identity_.fields.empty()) identity_.fields.emplace_back("size", std::to_string(facts_.size_bytes));
}

void nbd_device::disconnect() {
    for (const auto& each : connections_) each->disconnect();
}

nbd_connection& nbd_device::quietest() {
    return **std::min_element(connections_.begin(), connections_.end(),
                              [](const auto& a, const auto& b) { return a->in_flight() < b->in_flight(); });
}

extent nbd_device::whole_units_around(extent range) const {
    const std::uint64_t unit = facts_.unit_bytes;
    const std::uint64_t begin = range.offset / unit * unit;
    const std::uint64_t end = (range.end() + unit - 1) / unit * unit;  // the size is a whole number of units
    return {begin, end - begin};
}

extent nbd_device::whole_units_within(extent range) const {
    const std::uint64_t unit = facts_.unit_bytes;
    const std::uint64_t begin = (range.offset + unit - 1) / unit * unit;
    const std::uint64_t end = range.end() / unit * unit;
    return begin < end ? extent{begin, end - begin} : extent{range.offset, 0};
}

void nbd_device::read_units(extent range, std::span<std::byte> into) {
    nbd_connection& connection = quietest();
    for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t part = std::min(range.length - done, facts_.request_bytes_max);
        connection.read(range.offset + done, into.subspan(done, part));
        done += part;
    }
}

void nbd_device::read(std::uint64_t offset, std::span<std::byte> into) {
    check_range(name_, "read", {offset, into.size(), size()});
    if (into.empty()) return;
    const extent wanted{offset, into.size()};
    const extent whole = whole_units_around(wanted);
    if (whole == wanted) return read_units(wanted, into);
    std::vector<std::byte> around(whole.length);
    read_units(whole, around);
    std::memcpy(into.data(), around.data() + (offset - whole.offset), into.size());
}

void nbd_device::write_units(extent range, std::span<const std::byte> from) {
    nbd_connection& connection = quietest();
    for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t part = std::min(range.length - done, facts_.request_bytes_max);
        connection.write(range.offset + done, from.subspan(done, part));
        done += part;
    }
}

// Less than the units that it touches.
void nbd_device::write_part(extent range, std::span<const std::byte> from) {
    const std::lock_guard lock(part_);
    const extent whole = whole_units_around(range);
    std::vector<std::byte> around(whole.length);
    read_units(whole, around);
    std::memcpy(around.data() + (range.offset - whole.offset), from.data(), from.size());
    write_units(whole, around);
}

void nbd_device::write(std::uint64_t offset, std::span<const std::byte> from) {
    check_range(name_, "write", {offset, from.size(), size()});
    if (from.empty()) return;
    const extent wanted{offset, from.size()};
    const extent middle = whole_units_within(wanted);
    if (middle.empty()) return write_part(wanted, from);
    const std::uint64_t head = middle.offset - offset;
    const std::uint64_t tail = wanted.end() - middle.end();
    if (head != 0) write_part({offset, head}, from.first(head));
    write_units(middle, from.subspan(head, middle.length));
    if (tail != 0) write_part({middle.end(), tail}, from.last(tail));
}

void nbd_device::zero_units(extent range) {
    nbd_connection& connection = quietest();
    for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t left = range.length - done;
        if (zeroes_fast_) {
            const std::uint64_t part = std::min(left, fast_zero_bytes_max);
            if (connection.zero({range.offset + done, part}, true))
                done += part;
            else
                zeroes_fast_ = false;
        } else if (facts_.zeroes) {
            const std::uint64_t part = std::min(left, slow_zero_bytes_max);
            connection.zero({range.offset + done, part}, false);
            done += part;
        } else {
            const std::uint64_t part = std::min({left, std::uint64_t{1} << 20, facts_.request_bytes_max});
            const std::vector<std::byte> zeroes(part);
            connection.write(range.offset + done, zeroes);
            done += part;
        }
    }
}

void nbd_device::write_zeroes(std::uint64_t offset, std::uint64_t length) {
    check_range(name_, "write_zeroes", {offset, length, size()});
    if (length == 0) return;
    const extent wanted{offset, length};
    const extent middle = whole_units_within(wanted);
    const auto zero_part = [this](extent range) {
        if (range.empty()) return;
        const std::vector<std::byte> zeroes(range.length);
        write_part(range, zeroes);
    };
    if (middle.empty()) return zero_part(wanted);
    zero_part({offset, middle.offset - offset});
    zero_units(middle);
    zero_part({middle.end(), wanted.end() - middle.end()});
}

bool nbd_device::discard(std::uint64_t offset, std::uint64_t length) {
    check_range(name_, "discard", {offset, length, size()});
    if (!facts_.trims) return false;
    const extent middle = whole_units_within({offset, length});
    nbd_connection& connection = quietest();
    for (std::uint64_t done = 0; done < middle.length;) {
        const std::uint64_t part = std::min(middle.length - done, fast_zero_bytes_max);
        connection.trim({middle.offset + done, part});
        done += part;
    }
    return true;
}

// Where the answer is lost, so is the knowledge whether the server's disk took what it acknowledged: that is a failed flush.
void nbd_device::flush() {
    const auto fail = [this](const std::string& why, int code) {
        flush_failed_ = true;
        throw error(error_kind::flush_failed, "flush of " + name_ + " failed: " + why,
                    {.device = name_,
                     .operation = "flush",
                     .hint = "what was written may not be on the server's disk: find the cause there, then sync again",
                     .system_errno = code});
    };
    if (flush_failed_) fail("an earlier flush failed, and is not tried again", 0);
    try {
        connections_.front()->flush();
    } catch (const error& why) {
        const std::string text = why.what();
        const std::string start = "flush of " + name_ + " failed: ";
        fail(text.starts_with(start) ? text.substr(start.size()) : text, why.detail().system_errno);
    }
}

std::vector<allocation_run> nbd_device::allocation(extent within, std::size_t runs_max) {
    check_range(name_, "allocation", {within.offset, within.length, size()});
    if (!facts_.tells_allocation) return device::allocation(within, runs_max);
    std::vector<allocation_run> runs;
    nbd_connection& connection = quietest();
    std::uint64_t at = within.offset;
    const auto add = [&](std::uint64_t end, content kind) {
        end = std::min(end, within.end());
        if (end <= at) return true;
        if (!runs.empty() && runs.back().kind == kind) {
            runs.back().range.length += end - at;
        } else {
            if (runs.size() >= std::max<std::size_t>(runs_max, 1)) return false;
            runs.push_back({{at, end - at}, kind});
        }
        at = end;
        return true;
    };
    for (int answers = 0; at < within.end() && answers < answers_max; ++answers) {
        const std::uint64_t begin = at;
        const extent asked = whole_units_around({at, std::min(within.end() - at, allocation_bytes_max)});
        std::uint64_t place = asked.offset;
        bool room = true;
        for (const nbd_connection::status& each : ask_allocation(connection, asked)) {
            const extent said{place, each.length};
            place = said.end();
            // A run that ends within a unit is data there, whatever it is.
            const extent whole = whole_units_within(said);
            if (each.reads_as_zero && !whole.empty())
                room = add(whole.offset, content::data) && add(whole.end(), content::zero);
            else if (!each.reads_as_zero)
                room = add(place, content::data);
            if (!room) return runs;
        }
        // Whoever answers in crumbs, or not at all, is not asked as often as it has crumbs.
        if (at - begin < answer_bytes_min && !add(std::min(begin + answer_bytes_min, asked.end()), content::data))
            return runs;
    }
    return runs;
}

// Not to be told is no reason to fail: it is all data then.
std::vector<nbd_connection::status> nbd_device::ask_allocation(nbd_connection& connection, extent range) {
    try {
        return connection.allocation(range);
    } catch (const error& why) {
        if (why.kind() != error_kind::device_io) throw;
        return {{range.length, false}};
    }
}

// ---- opening by name ----

namespace {

std::string percent_decoded(std::string_view text) {
    std::string decoded;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto digit = [&](std::size_t index) {
            return index < text.size() && std::isxdigit(static_cast<unsigned char>(text[index])) != 0;
        };
        if (text[at] == '%' && digit(at + 1) && digit(at + 2)) {
            decoded += static_cast<char>(std::stoi(std::string(text.substr(at + 1, 2)), nullptr, 16));
            at += 2;
        } else {
            decoded += text[at];
        }
    }
    return decoded;
}

std::vector<std::string> parameters(std::string_view query, std::string_view key) {
    std::vector<std::string> values;
    while (!query.empty()) {
        const std::size_t end = std::min(query.find_first_of("&;"), query.size());
        const std::string_view pair = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        const std::size_t equals = pair.find('=');
        if (equals != std::string_view::npos && percent_decoded(pair.substr(0, equals)) == key)
            values.push_back(percent_decoded(pair.substr(equals + 1)));
    }
    return values;
}

std::optional<std::string> parameter(std::string_view query, std::string_view key) {
    const std::vector<std::string> values = parameters(query, key);
    return values.empty() ? std::nullopt : std::optional(values.front());
}

// libnbd without the mend of CVE-2024-7383 (Debian 12's 1.14) takes any certificate where it finds no authority to check it by,
// or has no host name to check it for: so it is only asked where it checks.
void check_tls(const std::string& uri, bool over_unix, std::string_view query) {
    if (parameter(query, "tls-psk-file")) return;
    constexpr const char* hint =
        "write nbds://HOST/EXPORT?tls-certificates=FOLDER with ca-cert.pem in it, or USER@ and tls-psk-file=FILE";
    if (over_unix)
        refuse(error_kind::usage, uri, "a certificate cannot be checked where the server has no host name", hint);
    const auto folder = parameter(query, "tls-certificates");
    if (!folder) refuse(error_kind::usage, uri, "it names nothing that the server could be known by", hint);
    if (::access((*folder + "/ca-cert.pem").c_str(), R_OK) != 0)
        refuse(error_kind::not_found, uri, *folder + "/ca-cert.pem: " + std::generic_category().message(errno), hint);
}

// Who the disk is: the server and the export, however they were written. libnbd parses the name again to connect, so what it
// might understand in another way is refused.
device_identity identity_of(const std::string& uri) {
    std::string_view rest = uri;
    const std::string_view scheme = rest.substr(0, rest.find(':'));
    const bool over_unix = scheme.ends_with("+unix");
    rest.remove_prefix(rest.find("://") + 3);
    if (uri.find('#') != std::string::npos || uri.find('\0') != std::string::npos)
        refuse(error_kind::usage, uri.c_str(), "it holds a # or a zero byte", "write %23 for a # in a name");
    const std::size_t query_at = std::min(rest.find('?'), rest.size());
    const std::string_view query = rest.substr(std::min(query_at + 1, rest.size()));
    rest = rest.substr(0, query_at);
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    std::string authority(rest.substr(0, slash));
    const std::string export_name = percent_decoded(rest.substr(std::min(slash + 1, rest.size())));
    for (const std::string_view key : {"socket", "tls-certificates", "tls-psk-file"})
        if (parameters(query, key).size() > 1)
            refuse(error_kind::usage, uri, "it has " + std::string(key) + " more than once", "leave one of them");
    if (scheme.starts_with("nbds")) check_tls(uri, over_unix, query);

    std::string server;
    if (over_unix) {
        const auto socket = parameter(query, "socket");
        if (!socket || socket->empty())
            refuse(error_kind::usage, uri, "the name has no socket", "write nbd+unix:///EXPORT?socket=PATH");
        std::error_code failed;
        const auto path = std::filesystem::weakly_canonical(*socket, failed);
        server = "unix:" + (failed ? *socket : path.string());
    } else {
        authority.erase(0, authority.find('@') == std::string::npos ? 0 : authority.find('@') + 1);
        std::transform(authority.begin(), authority.end(), authority.begin(),
                       [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
        if (authority.empty())
            refuse(error_kind::usage, uri, "the name has no server", "write nbd://HOST[:PORT]/EXPORT");
        const std::size_t colon = authority.rfind(':');
        if (colon == std::string::npos || authority.find(']', colon) != std::string::npos) authority += ":10809";
        server = authority;
    }
    return {{{"kind", "nbd"}, {"server", server}, {"export", export_name}}};
}

}  // namespace

std::unique_ptr<device> open_nbd(const std::string& uri, const open_options& options) {
    return std::make_unique<nbd_device>(uri, nbd_endpoint{uri, {}}, identity_of(uri), options,
                                        nbd_device::nature{connections_wanted, true});
}

}  // namespace reprotect
