// A peer that speaks the real protocol as far as a test wants, and then breaks one rule of it: it is source or target,
// and talks over a socket pair to a real session (`async_sync_with_peer`) whose disk, in memory, counts what is done.
//
// What it says is made by the wire's own encoders, or by hand where those would refuse. It blocks, on a thread of its
// own, and stops in the middle of a sentence when the other side has ended: whoever attacks learns nothing else. The
// honest side runs on a context that has only so long; whether it ended, how, in which time and in how much memory is
// what `attack` returns.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/little_endian.hpp"
#include "plan/digest_tree.hpp"
#include "reprotect/remote.hpp"
#include "support/device_doubles.hpp"
#include "support/sync_rig.hpp"
#include "wire/data_batch.hpp"
#include "wire/fields.hpp"
#include "wire/message_codec.hpp"
#include "wire/opening.hpp"
#include "wire/session_frames.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <fstream>
#include <functional>
#include <future>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace reprotect::test {

using payload_bytes_of = std::vector<std::byte>;
using local_socket = boost::asio::local::stream_protocol::socket;

/// What both sides agree on in a row of a table, and what is expected of the honest one.
struct scene {
    error_kind kind = error_kind::peer;
    session_mode mode = session_mode::sync;
    bool reread = false;
    bool narrow = false;      ///< windows as small as options make them, blocks of 512 bytes, many chunks
    bool many = false;        ///< more chunks than any window, all of them zero
    bool valid_data = false;  ///< some was sent before: the target may have been written to
    std::uint64_t egress_max = 0, back_max = 0;  ///< of the honest side's options: to the target, to the source
    std::chrono::milliseconds patience{20'000};

    std::uint32_t block_bytes() const noexcept { return narrow || many ? 512 : small_block; }
    std::uint32_t chunk_bytes() const noexcept { return many ? chunk_bytes_min : small_chunk; }
    std::uint64_t chunks() const noexcept { return many ? 4100 : narrow ? 70 : 6; }
    /// The last chunk is a short one.
    geometry shape() const noexcept {
        return {chunks() * chunk_bytes() - chunk_bytes() + 700, chunk_bytes(), block_bytes()};
    }
    sync_options options() const {
        sync_options result = small_sync_options();
        result.block_bytes = block_bytes();
        result.chunk_bytes = chunk_bytes();
        result.verify = reread ? verify_level::reread : verify_level::root;
        result.dry_run = mode == session_mode::dry_run;
        result.egress_max = egress_max;
        if (back_max != 0) result.traffic_max = {{{back_max, 1ull << 40}}, "what may come back"};
        if (!narrow) return result;
        result.depth = 1;
        result.memory_bytes = memory_minimum(result);
        return result;
    }
    /// What the honest side's disk holds, and another content.
    std::vector<std::byte> honest_bytes() const { return content(1); }
    std::vector<std::byte> other_bytes() const { return content(2); }

private:
    std::vector<std::byte> content(std::uint64_t seed) const {
        return many ? std::vector<std::byte>(shape().disk_bytes) : random_bytes(seed, shape().disk_bytes);
    }
};

/// Bytes that grow: a payload by hand.
class by_hand {
public:
    by_hand& byte(unsigned value) { return field_writer(bytes_).byte(value), *this; }
    by_hand& number(std::uint64_t value) { return field_writer(bytes_).number(value), *this; }
    by_hand& raw(std::span<const std::byte> some) { return field_writer(bytes_).raw(some), *this; }
    by_hand& zeroes(std::size_t count) { return bytes_.resize(bytes_.size() + count), *this; }
    by_hand& text(std::string_view some) { return raw(std::as_bytes(std::span(some))); }
    operator std::span<const std::byte>() const noexcept { return bytes_; }
    std::span<const std::byte> first(std::size_t count) const { return std::span(bytes_).first(count); }

    /// Of a data frame's head.
    by_hand& entry(std::uint64_t chunk, const digest& value, std::uint64_t runs) {
        return number(chunk).raw(value.bytes).number(runs);
    }
    by_hand& run(std::uint64_t skipped, std::uint64_t count, bool zero = false) {
        return number(skipped).number(count << 1 | (zero ? 1 : 0));
    }

private:
    std::vector<std::byte> bytes_;
};

/// A frame as it crosses, of whatever length.
inline std::vector<std::byte> frame_of(unsigned kind, std::span<const std::byte> payload,
                                       std::optional<std::uint32_t> length = {}) {
    std::vector<std::byte> bytes(frame_header_bytes);
    little_endian::store<1>(std::span(bytes), 0, kind);
    little_endian::store<3>(std::span(bytes), 1, length.value_or(static_cast<std::uint32_t>(payload.size())));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}
inline std::vector<std::byte> frame_of(frame_kind kind, std::span<const std::byte> payload) {
    return frame_of(static_cast<unsigned>(kind), payload);
}

/// A data frame of any sizes.
inline std::vector<std::byte> data_of(unsigned codec, std::uint32_t raw_bytes, std::span<const std::byte> head,
                                      std::span<const std::byte> body, std::optional<std::uint32_t> head_bytes = {}) {
    std::vector<std::byte> payload(batch_header_bytes);
    little_endian::store<1>(std::span(payload), 0, codec);
    little_endian::store<3>(std::span(payload), 1, raw_bytes);
    little_endian::store<3>(std::span(payload), 4, head_bytes.value_or(static_cast<std::uint32_t>(head.size())));
    payload.insert(payload.end(), head.begin(), head.end());
    payload.insert(payload.end(), body.begin(), body.end());
    return frame_of(frame_kind::data, payload);
}

/// The payload of a message's frame, to be altered.
inline std::vector<std::byte> payload_of(const message& what) {
    std::vector<std::byte> frame;
    append(frame, what);
    frame.erase(frame.begin(), frame.begin() + frame_header_bytes);
    return frame;
}

/// With the byte at `offset` from where `marker` begins replaced.
inline std::vector<std::byte> altered(std::vector<std::byte> payload, std::string_view marker, std::ptrdiff_t offset,
                                      std::initializer_list<unsigned> bytes) {
    const auto bits = std::as_bytes(std::span(marker));
    auto at = std::search(payload.begin(), payload.end(), bits.begin(), bits.end());
    if (at == payload.end()) throw std::logic_error("there is nothing of what is to be altered");
    at += offset;
    for (const unsigned each : bytes) *at++ = static_cast<std::byte>(each);
    return payload;
}

class malicious_peer {
public:
    /// The other side has ended: there is nobody to talk to any more.
    struct over {};

    /// The descriptor of a connected socket is taken over.
    malicious_peer(int descriptor, wire_side side, const scene& where)
        : in(where),
          shape(where.shape()),
          context_(1),
          socket_(context_, boost::asio::local::stream_protocol(), descriptor),
          side_(side) {}
    malicious_peer(const malicious_peer&) = delete;
    malicious_peer& operator=(const malicious_peer&) = delete;

    const scene in;
    const geometry shape;
    std::vector<std::byte> said;      ///< all of it, for replays
    std::size_t said_in_opening = 0;  ///< of which the preamble and the confirm are
    std::array<std::byte, 32> binding{};

    // ---- as bytes ----

    void say(std::span<const std::byte> bytes) {
        said.insert(said.end(), bytes.begin(), bytes.end());
        while (!bytes.empty()) {
            wait_for(POLLOUT);
            const auto count = ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count < 0 && errno == EAGAIN) continue;
            if (count < 0) throw over();
            bytes = bytes.subspan(static_cast<std::size_t>(count));
        }
    }
    void say(std::string_view text) { say(std::as_bytes(std::span(text))); }
    std::vector<std::byte> hear(std::size_t count) {
        std::vector<std::byte> bytes(count);
        for (std::size_t at = 0; at < count;) {
            wait_for(POLLIN);
            const auto got = ::recv(socket_.native_handle(), bytes.data() + at, count - at, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) throw over();
            at += static_cast<std::size_t>(got);
        }
        return bytes;
    }

    /// Says no more, and listens to the end: who hangs up with words unheard would cut off his own last ones.
    void hang_up() {
        ::shutdown(socket_.native_handle(), SHUT_WR);
        while (true) hear(1);  // until `over`
    }

    /// Listens, and neither says nor ends anything, until the other side does.
    void stay() {
        while (true) hear(1);
    }

    // ---- the opening ----

    void say(const preamble& mine) { say(encode(mine)); }
    preamble sound_preamble() const {
        preamble mine;
        mine.side = side_;
        mine.nonce.fill(std::byte{0x5a});
        return mine;
    }

    /// All of it, as it should be.
    void open() {
        borrowed_stream stream(socket_, said);
        opening::terms terms;
        terms.side = side_;
        terms.far_name = "the honest side";
        opening first(stream, std::move(terms));
        std::exception_ptr failure;
        boost::asio::co_spawn(
            context_, [](opening* what) -> boost::asio::awaitable<void> { co_await what->meet_peer(); }(&first),
            [&failure](std::exception_ptr why) { failure = why; });
        context_.run_for(patience);
        if (!context_.stopped()) throw std::runtime_error("the opening does not end");
        if (failure) throw over();
        binding = first.binding();
        said_in_opening = said.size();
    }

    // ---- frames ----

    void say(const message& what) {
        std::vector<std::byte> frame;
        append(frame, what);
        say(frame);
    }
    void say_frame(unsigned kind, std::span<const std::byte> payload, std::optional<std::uint32_t> length = {}) {
        say(frame_of(kind, payload, length));
    }
    void say_frame(frame_kind kind, std::span<const std::byte> payload) { say(frame_of(kind, payload)); }
    template <typename Frame>
    void say_beside(const Frame& what) {
        std::vector<std::byte> frame;
        append(frame, what);
        say(frame);
    }

    struct heard_frame {
        frame_kind kind;
        std::vector<std::byte> payload;
    };
    heard_frame hear_frame() {
        const auto head = hear(frame_header_bytes);
        const auto header = decode_header(std::span(head).first<frame_header_bytes>());
        if (!header) throw std::logic_error("the honest side sent no frame");
        return {header->kind, hear(header->length)};
    }
    /// The next of a kind; what comes before is not listened to.
    std::vector<std::byte> hear_frame(frame_kind kind) {
        while (true) {
            heard_frame next = hear_frame();
            if (next.kind == kind) return std::move(next.payload);
        }
    }
    template <typename Message>
    Message hear_message(frame_kind kind) {
        auto what = decode(kind, hear_frame(kind));
        if (!what) throw std::logic_error("the honest side sent a message that cannot be read");
        return std::get<Message>(std::move(*what));
    }

    /// Until the other side says that it failed, and why: what takes it a moment to find out must not be cut short.
    void hear_last_word() { hear_frame(frame_kind::failed); }

    // ---- digests ----

    std::vector<digest> block_digests_of(std::span<const std::byte> content, std::uint64_t chunk) const {
        std::vector<digest> blocks;
        for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
            const extent where = shape.block(chunk, i);
            blocks.push_back(digests->bytes(content.subspan(where.offset, where.length)));
        }
        return blocks;
    }
    digest chunk_digest_of(std::span<const std::byte> content, std::uint64_t chunk) const {
        return digests->chunk(shape.chunk(chunk).length, block_digests_of(content, chunk));
    }
    digest root_of(std::span<const std::byte> content) const {
        digest_map map(shape, digests->algorithm());
        const zero_digests zero(*digests, shape);
        for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
            const digest value = chunk_digest_of(content, chunk);
            if (value != zero.chunk(chunk)) map.set(chunk, value);
        }
        return tree_root(map, *digests);
    }
    std::optional<digester> digests;  ///< once both hellos are said

private:
    // For the opening alone; what is written is kept.
    class borrowed_stream final : public byte_stream {
    public:
        borrowed_stream(local_socket& socket, std::vector<std::byte>& said) : socket_(socket), said_(said) {}
        void async_read_some(const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into,
                             handler done) override {
            socket_.async_read_some(into, boost::asio::bind_executor(on, std::move(done)));
        }
        void async_write_some(const boost::asio::any_io_executor& on, boost::asio::const_buffer from,
                              handler done) override {
            const auto* bytes = static_cast<const std::byte*>(from.data());
            said_.insert(said_.end(), bytes, bytes + from.size());  // so little is taken at once
            socket_.async_write_some(from, boost::asio::bind_executor(on, std::move(done)));
        }
        void close() noexcept override {
            boost::system::error_code ignored;
            socket_.close(ignored);
        }

    private:
        local_socket& socket_;
        std::vector<std::byte>& said_;
    };

    static constexpr std::chrono::milliseconds patience{25'000};

    void wait_for(short what) {
        pollfd watched{socket_.native_handle(), what, 0};
        if (::poll(&watched, 1, static_cast<int>(patience.count())) == 0)
            throw std::runtime_error("the honest side says and takes nothing");
    }

    boost::asio::io_context context_;
    local_socket socket_;
    wire_side side_;
};

/// A source: what it claims to hold is `content`.
class lying_source : public malicious_peer {
public:
    lying_source(int descriptor, const scene& where)
        : malicious_peer(descriptor, wire_side::source_peer, where), content(where.other_bytes()) {}

    std::vector<std::byte> content;

    hello sound_hello() const {
        hello mine;
        mine.mode = in.mode;
        mine.shape = shape;
        mine.reread = in.reread;
        mine.nonce.fill(std::byte{7});
        mine.disk.name = "the source";
        mine.disk.place.identity.fields = {{"kind", "lie"}};
        mine.digest_entries = 100'000;
        return mine;
    }

    /// Each goes on from where the one before ends.
    void greet() { greet(sound_hello()); }
    void greet(const hello& mine) {
        open();
        say(mine);
        theirs = hear_message<hello>(frame_kind::hello);
        digests.emplace(mine.algorithm, derive_secret(mine.nonce, theirs.nonce, binding));
    }
    void allocate() {
        greet();
        say(allocation{{{{0, shape.disk_bytes}, source_content::data}}});
    }
    /// The target has digested its disk, and waits.
    void be_told_digests() {
        allocate();
        hear_digests();
    }
    void hear_digests() {
        std::uint64_t entries = 0;
        while (told.size() < shape.chunk_count()) {
            auto part = hear_message<chunk_digests>(frame_kind::chunk_digests);
            for (digest_entry& each : part.entries) {
                ++entries;
                for (std::uint64_t i = 0; i < each.count; ++i) told.push_back(each);
            }
            if (entries >= theirs.digest_entries && told.size() < shape.chunk_count())
                say(verdict{0, entries + theirs.digest_entries, 0});
        }
    }
    /// The whole session, without a lie.
    void tell_the_truth() {
        be_told_digests();
        for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) say(true_data(chunk));
        say_end();
        hear_frame(frame_kind::applied);
        if (in.reread) prove();
        say_beside(wire_goodbye{});
        hear_frame(frame_kind::goodbye);
    }
    void say_end() {
        end_of_data end;
        end.data_sent = in.many ? 0 : shape.chunk_count();
        end.root = root_of(content);
        say(end);
    }
    void prove() {
        proof all;
        all.count = shape.chunk_count();
        for (std::uint64_t chunk = 0; chunk < all.count; ++chunk)
            all.digests.push_back(sha256_128(bytes_of_chunk(chunk)));
        say(all);
        hear_frame(frame_kind::proved);
    }

    /// A chunk's whole content, raw.
    std::vector<std::byte> true_data(std::uint64_t chunk) const {
        return data_of(0, static_cast<std::uint32_t>(shape.chunk(chunk).length), head_of(chunk), bytes_of_chunk(chunk));
    }
    by_hand head_of(std::uint64_t chunk) const {
        by_hand head;
        head.entry(chunk, chunk_digest_of(content, chunk), 1).run(0, shape.blocks_in(chunk));
        return head;
    }
    std::span<const std::byte> bytes_of_chunk(std::uint64_t chunk) const {
        const extent where = shape.chunk(chunk);
        return std::span(content).subspan(where.offset, where.length);
    }

    hello theirs;
    std::vector<digest_entry> told;  ///< one for each chunk
};

/// A target: it claims to hold `content`.
class lying_target : public malicious_peer {
public:
    lying_target(int descriptor, const scene& where)
        : malicious_peer(descriptor, wire_side::target_peer, where), content(where.other_bytes()) {}

    std::vector<std::byte> content;
    hello theirs;
    std::uint64_t proofs_granted = 4096;
    std::uint64_t told_to = 0;  ///< the source's allocation is known up to there

    hello sound_hello() const {
        hello mine = theirs;
        mine.nonce.fill(std::byte{9});
        mine.disk.name = "the target";
        mine.disk.place = {};
        mine.disk.place.identity.fields = {{"kind", "lie"}};
        mine.allocation_runs = mine.data_messages = 4096;
        mine.proof_chunks = proofs_granted;
        mine.data_bytes = 8 << 20;
        return mine;
    }

    void be_greeted() {
        open();
        theirs = hear_message<hello>(frame_kind::hello);
    }
    void greet() {
        be_greeted();
        greet(sound_hello());
    }
    void greet(const hello& mine) {
        say(mine);
        digests.emplace(mine.algorithm, derive_secret(theirs.nonce, mine.nonce, binding));
    }
    void be_told_allocation() {
        greet();
        while (told_to < shape.disk_bytes)
            told_to = hear_message<allocation>(frame_kind::allocation).runs.back().range.end();
    }
    /// As true entries as it can.
    chunk_digests entries_from(std::uint64_t first, std::uint64_t count) const {
        chunk_digests all;
        for (std::uint64_t chunk = first; chunk < first + count; ++chunk) {
            digest_entry one;
            one.first_chunk = chunk;
            one.value = chunk_digest_of(content, chunk);
            all.entries.push_back(one);
        }
        return all;
    }
    /// The source has asked for the block digests of every chunk, and waits.
    void be_asked() {
        be_told_allocation();
        say(entries_from(0, shape.chunk_count()));
        for (std::uint64_t i = 0; i < shape.chunk_count(); ++i) hear_frame(frame_kind::narrow);
    }
    block_digests cuts_of(std::uint64_t chunk) const {
        block_digests cuts;
        cuts.chunk = chunk;
        for (const digest& each : block_digests_of(content, chunk)) cuts.cuts.push_back(cut(each));
        return cuts;
    }
    /// The source has sent all, and waits.
    void be_sent_all() {
        be_asked();
        for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) say(cuts_of(chunk));
        end = hear_message<end_of_data>(frame_kind::end_of_data);
    }
    void tell_the_truth() {
        be_sent_all();
        say_applied();
        if (in.reread) {
            for (std::uint64_t proved_to = 0; proved_to < shape.chunk_count();)
                proved_to += hear_message<proof>(frame_kind::proof).count;
            say(proved{true});
        }
        hear_frame(frame_kind::goodbye);
        say_beside(wire_goodbye{});
    }
    void say_applied() {
        applied done;
        done.root = end.root;
        say(done);
    }

    end_of_data end;
};

// ---- the honest side ----

/// The most memory that this process held since `begin`, over what it held then. The kernel's count of resident pages,
/// so that what nobody touches costs nothing; zero where the kernel does not let a process begin it anew.
class memory_watch {
public:
    memory_watch() {
        std::ofstream reset("/proc/self/clear_refs");
        reset << "5" << std::flush;
        works_ = static_cast<bool>(reset);
        before_ = kib("VmRSS:");
    }
    std::uint64_t grown_bytes() const {
        const std::uint64_t peak = kib("VmHWM:");
        return works_ && peak > before_ ? (peak - before_) << 10 : 0;
    }

private:
    static std::uint64_t kib(const std::string& field) {
        std::ifstream status("/proc/self/status");
        for (std::string word; status >> word;) {
            std::uint64_t value = 0;
            if (word == field && status >> value) return value;
        }
        return 0;
    }
    bool works_ = false;
    std::uint64_t before_ = 0;
};

struct outcome {
    std::optional<sync_report> report;  ///< none: the honest side did not end
    std::string trouble;                ///< of the malicious side, which is the test's own
    unsigned changes = 0;               ///< calls that change the disk
    bool intact = false;                ///< it holds what it held
    std::string record;                 ///< "none", "dirty", "clean"
    double seconds = 0;
    std::uint64_t grown_bytes = 0;
    std::vector<std::byte> said;  ///< by the malicious side
    std::size_t said_in_opening = 0;
};

/// One session of an honest side with `Liar`, who follows the script and then hangs up. Touches nothing of Catch: may
/// be run on any thread. `limit` is for the honest side.
template <typename Liar>
outcome attack(const scene& where, const std::function<void(Liar&)>& script,
               std::chrono::seconds limit = std::chrono::seconds(60)) {
    constexpr bool at_target = std::is_same_v<Liar, lying_source>;
    outcome result;
    memory_device disk(where.shape().disk_bytes, "the honest disk");
    const std::vector<std::byte> before = where.honest_bytes();
    disk.write(0, before);
    std::atomic<unsigned> changes = 0;
    hooked_device watched(disk, [&changes](device_call call, extent) {
        if (call == device_call::write || call == device_call::write_zeroes || call == device_call::resize) ++changes;
    });
    test_store records;
    const memory_watch memory;
    const auto begun = std::chrono::steady_clock::now();
    {
        boost::asio::io_context network(1);
        boost::asio::thread_pool workers(2);
        local_socket here(network), there(network);
        boost::asio::local::connect_pair(here, there);
        // So that a side which takes nothing holds up the first of many messages, not what the kernel has no more room for.
        if (where.many) here.set_option(local_socket::send_buffer_size(1));
        peer_request request;
        request.role = at_target ? peer_role::target : peer_role::source;
        request.stream = make_stream(std::move(here));
        request.disk = &watched;
        request.options = where.options();
        request.compare_only = where.mode == session_mode::compare;
        request.records = &records;
        request.far_name = "liar.example:1";
        request.patience = where.patience;
        async_sync_with_peer(network.get_executor(), workers.get_executor(), std::move(request),
                             [&](sync_report report) { result.report = std::move(report); });
        std::thread liar([&result, &script, &where, descriptor = there.release()] {
            Liar it(descriptor, where);
            try {
                script(it);
            } catch (const malicious_peer::over&) {
                // As it should be.
            } catch (const std::exception& why) {
                result.trouble = why.what();
            }
            try {
                it.hang_up();
            } catch (const malicious_peer::over&) {
                // As it should be.
            } catch (const std::exception& why) {
                result.trouble += std::string(" hanging up: ") + why.what();
            }
            result.said = std::move(it.said);
            result.said_in_opening = it.said_in_opening;
        });
        network.run_for(limit);
        if (!result.report) network.stop();
        workers.stop();
        workers.join();
        liar.join();
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    result.grown_bytes = memory.grown_bytes();
    result.changes = changes;
    result.intact = disk.size() == before.size() && bytes_of(disk) == before;
    const auto record = records.find_target(disk.identity());
    result.record = record ? to_string(record->status) : "none";
    return result;
}

/// By how much more memory a sanitizer takes: shadows, and what is freed and kept in quarantine.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t sanitizer_memory = 8;
#else
inline constexpr std::uint64_t sanitizer_memory = 1;
#endif

/// A row: a rule, how it is broken, and a part of what the honest side says then.
template <typename Liar>
struct breach {
    const char* rule;
    void (*how)(Liar&);
    const char* words;
    scene in{};
};

/// A clean failure, in words that a person can read; a disk that is as it was, unless some of what came was valid; a
/// record that claims nothing; an end in time, and no more memory than so many small sessions take.
template <typename Liar>
void check_refused(const breach<Liar>& row, const outcome& end, std::uint64_t sessions = 1) {
    INFO(row.rule);
    CHECK(end.trouble.empty());
    if (!end.report) {
        CHECK_FALSE("the honest side did not end");
        return;
    }
    if (!end.report->failure) {
        CHECK_FALSE("the honest side did not fail");
        return;
    }
    const error& why = *end.report->failure;
    const std::string said = why.what();
    INFO(said);
    CHECK(to_string(why.kind()) == std::string(to_string(row.in.kind)));
    CHECK_THAT(said, Catch::Contains(row.words));
    CHECK(said.size() < 600);
    CHECK(std::all_of(said.begin(), said.end(), [](char each) { return each >= 0x20 && each != 0x7F; }));
    CHECK(end.report->verified == proof_level::none);
    CHECK(end.record != "clean");
    if (!row.in.valid_data) {
        CHECK(end.changes == 0);
        CHECK(end.intact);
    }
    CHECK(end.seconds < 30);
    CHECK(end.grown_bytes < sessions * (64 << 20) * sanitizer_memory);
}

/// Rows that take their time are tried at once.
template <typename Liar>
void check_all_refused_at_once(const auto& rows) {
    std::vector<std::future<outcome>> running;
    for (const auto& row : rows)
        running.push_back(std::async(std::launch::async, [&row] { return attack<Liar>(row.in, row.how); }));
    std::size_t at = 0;
    for (const auto& row : rows) check_refused(row, running[at++].get(), running.size());
}

}  // namespace reprotect::test
