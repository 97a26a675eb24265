// A peer that speaks the real protocol as far as a test wants, and then breaks one rule of it: it is source or target,
// and talks over a socket pair to a real session (`async_sync_with_peer`) whose disk, in memory, counts what is done.
//
// What it says is made by the wire's own encoders, or by hand where those would refuse. It blocks, on a thread of its
// own, and stops in the middle of a sentence when the other side has ended: whoever attacks learns nothing else. The
// honest side runs on a context that has only so long; whether it ended, how, in which time and in how much memory is
// what `attack` returns.
#pragma once

#include "base/owned_descriptor.hpp"
#include "codec/digester.hpp"
#include "reprotect/remote.hpp"
#include "support/sync_rig.hpp"
#include "wire/fields.hpp"
#include "wire/message_codec.hpp"
#include "wire/session_frames.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace reprotect::test {

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
std::vector<std::byte> frame_of(unsigned kind, std::span<const std::byte> payload,
                                std::optional<std::uint32_t> length = {});
std::vector<std::byte> frame_of(frame_kind kind, std::span<const std::byte> payload);

/// A data frame of any sizes.
std::vector<std::byte> data_of(unsigned codec, std::uint32_t raw_bytes, std::span<const std::byte> head,
                               std::span<const std::byte> body, std::optional<std::uint32_t> head_bytes = {});

/// The payload of a message's frame, to be altered.
std::vector<std::byte> payload_of(const message& what);

/// With the byte at `offset` from where `marker` begins replaced.
std::vector<std::byte> altered(std::vector<std::byte> payload, std::string_view marker, std::ptrdiff_t offset,
                               std::initializer_list<unsigned> bytes);

class malicious_peer {
public:
    /// The other side has ended: there is nobody to talk to any more.
    struct over {};

    /// The descriptor of a connected socket is taken over.
    malicious_peer(int descriptor, wire_side side, const scene& where)
        : in(where), shape(where.shape()), descriptor_(descriptor), side_(side) {}
    virtual ~malicious_peer() = default;
    malicious_peer(const malicious_peer&) = delete;
    malicious_peer& operator=(const malicious_peer&) = delete;

    const scene in;
    const geometry shape;
    std::vector<std::byte> said;      ///< all of it, for replays
    std::size_t said_in_opening = 0;  ///< of which the preamble and the confirm are
    std::array<std::byte, 32> binding{};

    // ---- as bytes ----

    void say(std::span<const std::byte> bytes);
    void say(std::string_view text) { say(std::as_bytes(std::span(text))); }
    std::vector<std::byte> hear(std::size_t count);

    /// Says no more, and listens to the end: who hangs up with words unheard would cut off his own last ones.
    void hang_up();

    /// Listens, and neither says nor ends anything, until the other side does.
    void stay();

    // ---- the opening ----

    void say(const preamble& mine) { say(encode(mine)); }
    preamble sound_preamble() const;

    /// All of it, as it should be.
    void open();

    // ---- frames ----

    void say(const message& what);
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
    heard_frame hear_frame();
    /// The next of a kind; what comes before is not listened to.
    std::vector<std::byte> hear_frame(frame_kind kind);
    template <typename Message>
    Message hear_message(frame_kind kind) {
        auto what = decode(kind, hear_frame(kind));
        if (!what) throw std::logic_error("the honest side sent a message that cannot be read");
        return std::get<Message>(std::move(*what));
    }

    /// Until the other side says that it failed, and why: what takes it a moment to find out must not be cut short.
    void hear_last_word() { hear_frame(frame_kind::failed); }

    // ---- digests ----

    std::vector<digest> block_digests_of(std::span<const std::byte> content, std::uint64_t chunk) const;
    digest chunk_digest_of(std::span<const std::byte> content, std::uint64_t chunk) const {
        return digests->chunk(shape.chunk(chunk).length, block_digests_of(content, chunk));
    }
    digest root_of(std::span<const std::byte> content) const;
    std::optional<digester> digests;  ///< once both hellos are said

private:
    static constexpr std::chrono::milliseconds patience{25'000};

    void wait_for(short what);

    const owned_descriptor descriptor_;
    const wire_side side_;
};

/// A source: what it claims to hold is `content`.
class lying_source : public malicious_peer {
public:
    lying_source(int descriptor, const scene& where)
        : malicious_peer(descriptor, wire_side::source_peer, where), content(where.other_bytes()) {}

    std::vector<std::byte> content;

    hello sound_hello() const;

    /// Each goes on from where the one before ends.
    void greet() { greet(sound_hello()); }
    void greet(const hello& mine);
    void allocate();
    /// The target has digested its disk, and waits.
    void be_told_digests();
    void hear_digests();
    /// The whole session, without a lie.
    void tell_the_truth();
    void say_end();
    void prove();

    /// A chunk's whole content, raw.
    std::vector<std::byte> true_data(std::uint64_t chunk) const;
    by_hand head_of(std::uint64_t chunk) const;
    std::span<const std::byte> bytes_of_chunk(std::uint64_t chunk) const;

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

    hello sound_hello() const;

    void be_greeted();
    void greet();
    void greet(const hello& mine);
    void be_told_allocation();
    /// As true entries as it can.
    chunk_digests entries_from(std::uint64_t first, std::uint64_t count) const;
    /// The source has asked for the block digests of every chunk, and waits.
    void be_asked();
    block_digests cuts_of(std::uint64_t chunk) const;
    /// The source has sent all, and waits.
    void be_sent_all();
    void tell_the_truth();
    void say_applied();

    end_of_data end;
};

// ---- the honest side ----

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

/// One session of an honest side in this role with a liar, who is made of a socket's descriptor, follows the script and
/// then hangs up. Touches nothing of Catch: may be run on any thread. `limit` is for the honest side.
outcome attack(const scene& where, peer_role honest,
               const std::function<std::unique_ptr<malicious_peer>(int)>& make_liar,
               const std::function<void(malicious_peer&)>& script, std::chrono::seconds limit);

template <typename Liar>
outcome attack(const scene& where, const std::function<void(Liar&)>& script,
               std::chrono::seconds limit = std::chrono::seconds(60)) {
    return attack(
        where, std::is_same_v<Liar, lying_source> ? peer_role::target : peer_role::source,
        [&where](int descriptor) { return std::make_unique<Liar>(descriptor, where); },
        [&script](malicious_peer& it) { script(static_cast<Liar&>(it)); }, limit);
}

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
void check_refused(const char* rule, const char* words, const scene& in, const outcome& end, std::uint64_t sessions);

template <typename Liar>
void check_refused(const breach<Liar>& row, const outcome& end, std::uint64_t sessions = 1) {
    check_refused(row.rule, row.words, row.in, end, sessions);
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
