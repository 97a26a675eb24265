// Coroutines, since it is a dialogue; a watch on the clock closes the stream, which ends whatever is awaited.
#include "wire/opening.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <span>
#include <utility>

#include "base/utf8.hpp"
#include "codec/random.hpp"
#include "wire/awaited.hpp"
#include "wire/deadline.hpp"
#include "wire/tls_failure.hpp"

namespace reprotect {
namespace {

using boost::asio::awaitable;

constexpr auto parting_patience = std::chrono::seconds(5);  // guessed: a refusal should arrive, and cost little

auto start_read(byte_stream& from, const boost::asio::any_io_executor& on, boost::asio::mutable_buffer into) {
    return awaited([&from, on, into](byte_stream::handler done) { from.async_read_some(on, into, std::move(done)); });
}

auto start_write(byte_stream& to, const boost::asio::any_io_executor& on, boost::asio::const_buffer from) {
    return awaited([&to, on, from](byte_stream::handler done) { to.async_write_some(on, from, std::move(done)); });
}

const char* name_of(wire_side side) noexcept {
    switch (side) {
        case wire_side::source_peer:
            return "source";
        case wire_side::target_peer:
            return "target";
        case wire_side::client:
            return "client";
        case wire_side::server:
            return "server";
    }
    return "peer";
}

std::string versions(const preamble& of) {
    return of.version_min == of.version_max
               ? "version " + std::to_string(of.version_min)
               : "versions " + std::to_string(of.version_min) + " to " + std::to_string(of.version_max);
}

bool comes_first(wire_side side) noexcept {
    return side == wire_side::client || side == wire_side::source_peer;
}

}  // namespace

awaitable<void> write_all(byte_stream& to, std::span<const std::byte> bytes) {
    const auto on = co_await boost::asio::this_coro::executor;
    while (!bytes.empty()) {
        const boost::asio::const_buffer left(bytes.data(), bytes.size());
        const auto count = co_await start_write(to, on, left);
        bytes = bytes.subspan(count);
    }
}

awaitable<void> read_all(byte_stream& from, std::span<std::byte> into) {
    const auto on = co_await boost::asio::this_coro::executor;
    while (!into.empty()) {
        const boost::asio::mutable_buffer left(into.data(), into.size());
        const auto count = co_await start_read(from, on, left);
        into = into.subspan(count);
    }
}

opening::opening(byte_stream& stream, terms agreed) : stream_(stream), terms_(std::move(agreed)) {
    ours_.side = terms_.side;
    ours_.nonce = random_nonce();
    our_bytes_ = encode(ours_);
}

awaitable<void> opening::meet_peer() {
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, stream_, terms_.patience);
    timed_out_ = [&limit] { return limit.passed(); };
    co_await exchange_preambles();
    co_await exchange_confirms();
}

awaitable<wire_answer> opening::ask(wire_request wish) {
    std::vector<std::byte> frame;
    append(frame, wish);
    auto answer = co_await ask_by(std::move(frame));
    co_return answer;
}

awaitable<wire_answer> opening::ask(wire_join wish) {
    std::vector<std::byte> frame;
    append(frame, wish);
    auto answer = co_await ask_by(std::move(frame));
    co_return answer;
}

awaitable<wire_answer> opening::ask_by(std::vector<std::byte> frame) {
    const auto on = co_await boost::asio::this_coro::executor;
    deadline<byte_stream> limit(on, stream_, terms_.patience);
    timed_out_ = [&limit] { return limit.passed(); };
    co_await exchange_preambles();
    transcript_.insert(transcript_.end(), frame.begin(), frame.end());
    co_await send(std::move(frame));
    // It opens the disk first, which may take longer than words.
    limit.extend(terms_.answer_patience);
    const auto payload = co_await receive_frame(frame_kind::answer);
    const wire_result<wire_answer> answer = decode_answer(payload);
    if (!answer) fail("its answer: " + answer.error().message());
    if (answer->refused) {
        const error& why = *answer->refused;
        error_detail detail = why.detail();
        for (std::string* part : {&detail.device, &detail.hint, &detail.holder}) *part = on_one_line(*part);
        throw error(why.kind() == error_kind::interrupted ? error_kind::peer : why.kind(),
                    terms_.far_name + " refused: " + on_one_line(why.what()), std::move(detail));
    }
    co_await exchange_confirms();
    wire_answer agreed = *answer;
    co_return agreed;
}

awaitable<std::variant<wire_request, wire_join>> opening::receive_request() {
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, stream_, terms_.patience);
    timed_out_ = [&limit] { return limit.passed(); };
    co_await exchange_preambles();
    const auto first = co_await receive_frame();
    std::variant<wire_request, wire_join> asked;
    if (first.kind == frame_kind::join) {
        const wire_result<wire_join> wish = decode_join(first.payload);
        if (!wish) fail("its request: " + wish.error().message());
        asked = *wish;
    } else {
        if (first.kind != frame_kind::request) fail("a frame of another kind than was due");
        wire_result<wire_request> wish = decode_request(first.payload);
        if (!wish) fail("its request: " + wish.error().message());
        asked = std::move(*wish);
    }
    co_return asked;
}

awaitable<void> opening::accept(wire_answer agreed) {
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, stream_, terms_.patience);
    timed_out_ = [&limit] { return limit.passed(); };
    std::vector<std::byte> frame;
    append(frame, agreed);
    transcript_.insert(transcript_.end(), frame.begin(), frame.end());
    co_await send(std::move(frame));
    co_await exchange_confirms();
}

awaitable<void> opening::refuse(error why) {
    const auto on = co_await boost::asio::this_coro::executor;
    const deadline<byte_stream> limit(on, stream_, parting_patience);
    timed_out_ = [&limit] { return limit.passed(); };
    std::vector<std::byte> frame;
    wire_answer refused;
    refused.refused = std::move(why);
    append(frame, refused);
    try {
        co_await send(std::move(frame));
        // Read on until the client ends: a socket that is closed with something unread in it may lose our last words.
        std::array<std::byte, 4096> rest{};
        while (true) {
            co_await receive(rest.data(), rest.size());
        }
    } catch (const error&) {
        // It has ended, or was too slow to.
    }
}

awaitable<void> opening::exchange_preambles() {
    std::vector<std::byte> bytes(our_bytes_.begin(), our_bytes_.end());
    co_await send(std::move(bytes));
    std::array<std::byte, preamble_bytes> theirs{};
    // A magic that is none is found before something else's shorter words end: they may never send the rest.
    constexpr std::size_t magic_bytes = 16;
    co_await receive(theirs.data(), magic_bytes);
    if (!std::equal(theirs.begin(), theirs.begin() + magic_bytes, our_bytes_.begin())) {
        const std::string words(reinterpret_cast<const char*>(theirs.data()), magic_bytes);
        fail("it is no reprotect: it began with \"" + tls::escaped(words) + "\"", "check the address and the port");
    }
    co_await receive(theirs.data() + magic_bytes, theirs.size() - magic_bytes);
    take_preamble(theirs);
}

void opening::take_preamble(std::array<std::byte, preamble_bytes> theirs) {
    const wire_result<preamble> read = decode_preamble(theirs);
    if (!read) fail("its first bytes: " + read.error().message(), "check the address and the port");
    if (!fit_together(ours_.side, read->side))
        fail(std::string("it is a ") + name_of(read->side) + ", and so this " + name_of(ours_.side) +
                 " has nothing to say to it",
             "one side must be the source and the other the target, or one a client and the other a server");
    if (read->nonce == ours_.nonce) fail("it sent our own words back");
    if (!meet(ours_, *read))
        fail("it speaks " + versions(*read) + " of the wire, this side " + versions(ours_),
             "update the side that speaks the older version");
    theirs_ = read->side;
    const auto& first = comes_first(ours_.side) ? our_bytes_ : theirs;
    const auto& second = comes_first(ours_.side) ? theirs : our_bytes_;
    transcript_.assign(first.begin(), first.end());
    transcript_.insert(transcript_.end(), second.begin(), second.end());
}

awaitable<void> opening::exchange_confirms() {
    wire_confirm ours;
    ours.mac = mac(std::string("reprotect confirm 1 ") + name_of(ours_.side));
    std::vector<std::byte> frame;
    append(frame, ours);
    co_await send(std::move(frame));
    const auto payload = co_await receive_frame(frame_kind::confirm);
    const wire_result<wire_confirm> theirs = decode_confirm(payload);
    const std::array<std::byte, 32> expected = mac(std::string("reprotect confirm 1 ") + name_of(theirs_));
    if (!theirs || CRYPTO_memcmp(theirs->mac.data(), expected.data(), expected.size()) != 0)
        fail("the two sides do not agree on what was said: something between them changed it, or ends TLS",
             "connect them without a proxy that ends TLS");
}

std::array<std::byte, 32> opening::mac(const std::string& label) const {
    std::string input = label;
    input.push_back('\0');
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256(reinterpret_cast<const unsigned char*>(transcript_.data()), transcript_.size(), hash);
    input.append(reinterpret_cast<const char*>(hash), sizeof hash);
    std::array<std::byte, 32> result{};
    unsigned length = 0;
    HMAC(EVP_sha256(), terms_.secret.data(), static_cast<int>(terms_.secret.size()),
         reinterpret_cast<const unsigned char*>(input.data()), input.size(),
         reinterpret_cast<unsigned char*>(result.data()), &length);
    return result;
}

std::array<std::byte, 32> opening::binding() const {
    return mac("reprotect binding 1");
}

awaitable<void> opening::send(std::vector<std::byte> bytes) {
    boost::system::error_code failure;
    try {
        co_await write_all(stream_, bytes);
    } catch (const boost::system::system_error& why) {
        failure = why.code();
    }
    check_transfer(failure);
}

awaitable<void> opening::receive(std::byte* into, std::size_t count) {
    boost::system::error_code failure;
    try {
        const std::span<std::byte> whole(into, count);
        co_await read_all(stream_, whole);
    } catch (const boost::system::system_error& why) {
        failure = why.code();
    }
    check_transfer(failure);
}

void opening::check_transfer(const boost::system::error_code& failure) const {
    if (timed_out_()) fail("it said nothing for too long", "check that a reprotect of this kind listens there");
    if (!failure) return;
    // TLS refusals may come as late as this.
    if (terms_.explain) throw error(terms_.explain(failure));
    if (failure == boost::asio::error::eof || failure == boost::asio::error::connection_reset ||
        failure == boost::asio::error::broken_pipe)
        fail("it closed the connection before a session began",
             "see what it says itself: it may have refused this side, or be something else than reprotect");
    fail("the connection failed: " + failure.message());
}

awaitable<std::vector<std::byte>> opening::receive_frame(frame_kind kind) {
    auto frame = co_await receive_frame();
    if (frame.kind != kind) fail("a frame of another kind than was due");
    co_return std::move(frame.payload);
}

awaitable<opening::received_frame> opening::receive_frame() {
    std::array<std::byte, frame_header_bytes> head{};
    co_await receive(head.data(), head.size());
    const wire_result<frame_header> header = decode_header(head);
    if (!header) fail(header.error().message());
    received_frame frame;
    frame.kind = header->kind;
    frame.payload.resize(header->length);
    co_await receive(frame.payload.data(), frame.payload.size());
    // The MAC is over what else was said.
    if (frame.kind != frame_kind::confirm) {
        transcript_.insert(transcript_.end(), head.begin(), head.end());
        transcript_.insert(transcript_.end(), frame.payload.begin(), frame.payload.end());
    }
    co_return frame;
}

void opening::fail(const std::string& what, const std::string& hint) const {
    throw error(error_kind::peer, terms_.far_name + ": " + what, {.operation = "connect", .hint = hint});
}

}  // namespace reprotect
