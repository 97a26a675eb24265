// How a malicious peer speaks, what it claims, and the honest side that it meets.
#include "hostile/malicious_peer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/little_endian.hpp"
#include "plan/digest_tree.hpp"
#include "support/device_doubles.hpp"
#include "support/memory_watch.hpp"
#include "wire/data_batch.hpp"
#include "wire/opening.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <stdexcept>
#include <thread>
#include <utility>

namespace reprotect::test {
namespace {

using local_socket = boost::asio::local::stream_protocol::socket;

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

}  // namespace

std::vector<std::byte> frame_of(unsigned kind, std::span<const std::byte> payload,
                                std::optional<std::uint32_t> length) {
    std::vector<std::byte> bytes(frame_header_bytes);
    little_endian::store<1>(std::span(bytes), 0, kind);
    little_endian::store<3>(std::span(bytes), 1, length.value_or(static_cast<std::uint32_t>(payload.size())));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

std::vector<std::byte> frame_of(frame_kind kind, std::span<const std::byte> payload) {
    return frame_of(static_cast<unsigned>(kind), payload);
}

std::vector<std::byte> data_of(unsigned codec, std::uint32_t raw_bytes, std::span<const std::byte> head,
                               std::span<const std::byte> body, std::optional<std::uint32_t> head_bytes) {
    std::vector<std::byte> payload(batch_header_bytes);
    little_endian::store<1>(std::span(payload), 0, codec);
    little_endian::store<3>(std::span(payload), 1, raw_bytes);
    little_endian::store<3>(std::span(payload), 4, head_bytes.value_or(static_cast<std::uint32_t>(head.size())));
    payload.insert(payload.end(), head.begin(), head.end());
    payload.insert(payload.end(), body.begin(), body.end());
    return frame_of(frame_kind::data, payload);
}

std::vector<std::byte> payload_of(const message& what) {
    std::vector<std::byte> frame;
    append(frame, what);
    frame.erase(frame.begin(), frame.begin() + frame_header_bytes);
    return frame;
}

std::vector<std::byte> altered(std::vector<std::byte> payload, std::string_view marker, std::ptrdiff_t offset,
                               std::initializer_list<unsigned> bytes) {
    const auto bits = std::as_bytes(std::span(marker));
    auto at = std::search(payload.begin(), payload.end(), bits.begin(), bits.end());
    if (at == payload.end()) throw std::logic_error("there is nothing of what is to be altered");
    at += offset;
    for (const unsigned each : bytes) *at++ = static_cast<std::byte>(each);
    return payload;
}

void malicious_peer::say(std::span<const std::byte> bytes) {
    said.insert(said.end(), bytes.begin(), bytes.end());
    while (!bytes.empty()) {
        wait_for(POLLOUT);
        const auto count = ::send(descriptor_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EAGAIN) continue;
        if (count < 0) throw over();
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

std::vector<std::byte> malicious_peer::hear(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t at = 0; at < count;) {
        wait_for(POLLIN);
        const auto got = ::recv(descriptor_.get(), bytes.data() + at, count - at, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) continue;
        if (got <= 0) throw over();
        at += static_cast<std::size_t>(got);
    }
    return bytes;
}

void malicious_peer::hang_up() {
    ::shutdown(descriptor_.get(), SHUT_WR);
    while (true) hear(1);  // until `over`
}

void malicious_peer::stay() {
    while (true) hear(1);
}

preamble malicious_peer::sound_preamble() const {
    preamble mine;
    mine.side = side_;
    mine.nonce.fill(std::byte{0x5a});
    return mine;
}

void malicious_peer::open() {
    boost::asio::io_context context(1);
    // Of a copy of the descriptor, since the opening closes its stream where it fails.
    local_socket socket(context, boost::asio::local::stream_protocol(), ::fcntl(descriptor_.get(), F_DUPFD_CLOEXEC, 0));
    borrowed_stream stream(socket, said);
    opening::terms terms;
    terms.side = side_;
    terms.far_name = "the honest side";
    opening first(stream, std::move(terms));
    std::exception_ptr failure;
    boost::asio::co_spawn(
        context, [](opening* what) -> boost::asio::awaitable<void> { co_await what->meet_peer(); }(&first),
        [&failure](std::exception_ptr why) { failure = why; });
    context.run_for(patience);
    if (!context.stopped()) throw std::runtime_error("the opening does not end");
    if (failure) throw over();
    binding = first.binding();
    said_in_opening = said.size();
}

void malicious_peer::say(const message& what) {
    std::vector<std::byte> frame;
    append(frame, what);
    say(frame);
}

malicious_peer::heard_frame malicious_peer::hear_frame() {
    const auto head = hear(frame_header_bytes);
    const auto header = decode_header(std::span(head).first<frame_header_bytes>());
    if (!header) throw std::logic_error("the honest side sent no frame");
    return {header->kind, hear(header->length)};
}

std::vector<std::byte> malicious_peer::hear_frame(frame_kind kind) {
    while (true) {
        heard_frame next = hear_frame();
        if (next.kind == kind) return std::move(next.payload);
    }
}

std::vector<digest> malicious_peer::block_digests_of(std::span<const std::byte> content, std::uint64_t chunk) const {
    std::vector<digest> blocks;
    for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
        const extent where = shape.block(chunk, i);
        blocks.push_back(digests->bytes(content.subspan(where.offset, where.length)));
    }
    return blocks;
}

digest malicious_peer::root_of(std::span<const std::byte> content) const {
    digest_map map(shape, digests->algorithm());
    const zero_digests zero(*digests, shape);
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) {
        const digest value = chunk_digest_of(content, chunk);
        if (value != zero.chunk(chunk)) map.set(chunk, value);
    }
    return tree_root(map, *digests);
}

void malicious_peer::wait_for(short what) {
    pollfd watched{descriptor_.get(), what, 0};
    if (::poll(&watched, 1, static_cast<int>(patience.count())) == 0)
        throw std::runtime_error("the honest side says and takes nothing");
}

hello lying_source::sound_hello() const {
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

void lying_source::greet(const hello& mine) {
    open();
    say(mine);
    theirs = hear_message<hello>(frame_kind::hello);
    digests.emplace(mine.algorithm, derive_secret(mine.nonce, theirs.nonce, binding));
}

void lying_source::allocate() {
    greet();
    say(allocation{{{{0, shape.disk_bytes}, source_content::data}}});
}

void lying_source::be_told_digests() {
    allocate();
    hear_digests();
}

void lying_source::hear_digests() {
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

void lying_source::tell_the_truth() {
    be_told_digests();
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) say(true_data(chunk));
    say_end();
    hear_frame(frame_kind::applied);
    if (in.reread) prove();
    say_beside(wire_goodbye{});
    hear_frame(frame_kind::goodbye);
}

void lying_source::say_end() {
    end_of_data end;
    end.data_sent = in.many ? 0 : shape.chunk_count();
    end.root = root_of(content);
    say(end);
}

void lying_source::prove() {
    proof all;
    all.count = shape.chunk_count();
    for (std::uint64_t chunk = 0; chunk < all.count; ++chunk) all.digests.push_back(sha256_128(bytes_of_chunk(chunk)));
    say(all);
    hear_frame(frame_kind::proved);
}

std::vector<std::byte> lying_source::true_data(std::uint64_t chunk) const {
    return data_of(0, static_cast<std::uint32_t>(shape.chunk(chunk).length), head_of(chunk), bytes_of_chunk(chunk));
}

by_hand lying_source::head_of(std::uint64_t chunk) const {
    by_hand head;
    head.entry(chunk, chunk_digest_of(content, chunk), 1).run(0, shape.blocks_in(chunk));
    return head;
}

std::span<const std::byte> lying_source::bytes_of_chunk(std::uint64_t chunk) const {
    const extent where = shape.chunk(chunk);
    return std::span(content).subspan(where.offset, where.length);
}

hello lying_target::sound_hello() const {
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

void lying_target::be_greeted() {
    open();
    theirs = hear_message<hello>(frame_kind::hello);
}

void lying_target::greet() {
    be_greeted();
    greet(sound_hello());
}

void lying_target::greet(const hello& mine) {
    say(mine);
    digests.emplace(mine.algorithm, derive_secret(theirs.nonce, mine.nonce, binding));
}

void lying_target::be_told_allocation() {
    greet();
    while (told_to < shape.disk_bytes)
        told_to = hear_message<allocation>(frame_kind::allocation).runs.back().range.end();
}

chunk_digests lying_target::entries_from(std::uint64_t first, std::uint64_t count) const {
    chunk_digests all;
    for (std::uint64_t chunk = first; chunk < first + count; ++chunk) {
        digest_entry one;
        one.first_chunk = chunk;
        one.value = chunk_digest_of(content, chunk);
        all.entries.push_back(one);
    }
    return all;
}

void lying_target::be_asked() {
    be_told_allocation();
    say(entries_from(0, shape.chunk_count()));
    for (std::uint64_t i = 0; i < shape.chunk_count(); ++i) hear_frame(frame_kind::narrow);
}

block_digests lying_target::cuts_of(std::uint64_t chunk) const {
    block_digests cuts;
    cuts.chunk = chunk;
    for (const digest& each : block_digests_of(content, chunk)) cuts.cuts.push_back(cut(each));
    return cuts;
}

void lying_target::be_sent_all() {
    be_asked();
    for (std::uint64_t chunk = 0; chunk < shape.chunk_count(); ++chunk) say(cuts_of(chunk));
    end = hear_message<end_of_data>(frame_kind::end_of_data);
}

void lying_target::tell_the_truth() {
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

void lying_target::say_applied() {
    applied done;
    done.root = end.root;
    say(done);
}

outcome attack(const scene& where, peer_role honest,
               const std::function<std::unique_ptr<malicious_peer>(int)>& make_liar,
               const std::function<void(malicious_peer&)>& script, std::chrono::seconds limit) {
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
        request.role = honest;
        request.stream = make_stream(std::move(here));
        request.disk = &watched;
        request.options = where.options();
        request.compare_only = where.mode == session_mode::compare;
        request.records = &records;
        request.far_name = "liar.example:1";
        request.patience = where.patience;
        async_sync_with_peer(network.get_executor(), workers.get_executor(), std::move(request),
                             [&](sync_report report) { result.report = std::move(report); });
        std::thread liar([&result, &script, &make_liar, descriptor = there.release()] {
            const auto it = make_liar(descriptor);
            try {
                script(*it);
            } catch (const malicious_peer::over&) {
                // As it should be.
            } catch (const std::exception& why) {
                result.trouble = why.what();
            }
            try {
                it->hang_up();
            } catch (const malicious_peer::over&) {
                // As it should be.
            } catch (const std::exception& why) {
                result.trouble += std::string(" hanging up: ") + why.what();
            }
            result.said = std::move(it->said);
            result.said_in_opening = it->said_in_opening;
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

void check_refused(const char* rule, const char* words, const scene& in, const outcome& end, std::uint64_t sessions) {
    INFO(rule);
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
    CHECK(to_string(why.kind()) == std::string(to_string(in.kind)));
    CHECK_THAT(said, Catch::Contains(words));
    CHECK(said.size() < 600);
    CHECK(std::all_of(said.begin(), said.end(), [](char each) { return each >= 0x20 && each != 0x7F; }));
    CHECK(end.report->verified == proof_level::none);
    CHECK(end.record != "clean");
    if (!in.valid_data) {
        CHECK(end.changes == 0);
        CHECK(end.intact);
    }
    CHECK(end.seconds < 30);
    CHECK(end.grown_bytes < sessions * (64 << 20) * sanitizer_memory);
}

}  // namespace reprotect::test
