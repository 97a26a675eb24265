// A frame waits in its lane until the run takes it; then its bytes are read as the channel reads them.
#include "simulator/simulated_link.hpp"

#include <algorithm>
#include <utility>

#include "wire/message_codec.hpp"
#include "wire/session_frames.hpp"

namespace reprotect::test {
namespace {

constexpr auto data_lane = static_cast<std::size_t>(message_class::data);

constexpr std::size_t number_of(side value) noexcept {
    return static_cast<std::size_t>(value);
}

error refusal(const std::string& what) {
    return error(error_kind::peer, "the far side broke the rules of the wire: " + what);
}

}  // namespace

simulated_link::simulated_link(options how, dice& random, std::shared_ptr<buffer_pool> pool_of_target,
                               std::function<void(std::size_t)> released)
    : how_(how),
      random_(random),
      builder_(how.shape, std::move(released)),
      reader_(how.shape, std::move(pool_of_target)) {}

std::size_t simulated_link::lane_of(message_class kind) const noexcept {
    if (how_.kind == link_kind::memory) return 0;
    if (how_.kind == link_kind::lanes || kind == message_class::data) return static_cast<std::size_t>(kind);
    return 0;
}

// ---- out ----

void simulated_link::send(side from, message&& what) {
    if (cut_) return;
    const message_class kind = class_of(what);
    if (how_.kind == link_kind::memory) {
        frame whole;
        whole.whole = std::move(what);
        return put(other(from), 0, std::move(whole));
    }
    if (auto* data = std::get_if<chunk_data>(&what)) {
        builder_.add(std::move(*data));
        return;
    }
    const auto grant = [this](std::uint64_t messages, std::uint64_t bytes) {
        granted_ = {std::max(granted_.messages, messages), std::max(granted_.bytes, bytes)};
    };
    if (const auto* opening = std::get_if<hello>(&what); opening && from == side::target)
        grant(opening->data_messages, opening->data_bytes);
    if (const auto* more = std::get_if<credit>(&what)) grant(more->data_messages, more->data_bytes);
    std::vector<std::byte> bytes;
    append(bytes, what);
    send_frames(other(from), lane_of(kind), std::move(bytes));
}

void simulated_link::send_goodbye(side from) {
    if (cut_) return;
    std::vector<std::byte> bytes;
    append(bytes, wire_goodbye{});
    send_frames(other(from), lane_of(message_class::control), std::move(bytes));
}

void simulated_link::flush_data() {
    if (cut_) return;
    thread_local batch_encoder with;
    while (auto next = builder_.take_rest()) {
        frame whole;
        whole.holds = with.encode(std::move(*next), how_.level, random_.one_in(4));
        whole.bytes = whole.holds->head;
        whole.bytes.insert(whole.bytes.end(), whole.holds->body().begin(), whole.holds->body().end());
        if (random_.one_in(2)) whole.holds.reset();  // small enough for the socket's buffer
        put(side::target, data_lane, std::move(whole));
    }
}

// A message may be parted over frames.
void simulated_link::send_frames(side to, std::size_t lane, std::vector<std::byte>&& bytes) {
    for (std::size_t begin = 0; begin < bytes.size();) {
        const auto header = decode_header(std::span(bytes).subspan(begin).first<frame_header_bytes>());
        const std::size_t length = frame_header_bytes + header.value().length;
        const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
        frame part;
        part.bytes.assign(first, first + static_cast<std::ptrdiff_t>(length));
        put(to, lane, std::move(part));
        begin += length;
    }
}

void simulated_link::put(side to, std::size_t lane, frame&& what) {
    what.number = sent_++;
    if (how_.corrupts) corrupt(what);
    to_[number_of(to)][lane].push_back(std::move(what));
}

// What a source says of its holes is believed, and what is agreed on at the beginning holds: to keep those as they were
// said is up to TLS, and they are left alone. All else must be found out.
void simulated_link::corrupt(frame& what) {
    const auto header = decode_header(std::span<const std::byte>(what.bytes).first<frame_header_bytes>());
    const frame_kind kind = header.value().kind;
    if (kind == frame_kind::hello || kind == frame_kind::allocation) return;
    const frame_corruption& how = *how_.corrupts;
    if (how.kind && kind != *how.kind) return;
    const std::uint64_t number = corruptible_++;
    if (how.for_good ? number < how.nth : number != how.nth) return;
    corrupted_ = true;
    corrupted_data_ = corrupted_data_ || kind == frame_kind::data;
    what.bytes[random_.below(what.bytes.size())] ^= static_cast<std::byte>(1u << random_.below(8));
}

// ---- in ----

void simulated_link::arriving_at(side to, std::vector<std::size_t>& ready) const {
    const lanes& waiting = to_[number_of(to)];
    for (std::size_t i = 0; i < waiting.size(); ++i) {
        if (waiting[i].empty()) continue;
        // On one connection a batch is never before what was said ahead of it.
        const bool behind = how_.kind == link_kind::stream && i == data_lane && !waiting[0].empty() &&
                            waiting[0].front().number < waiting[i].front().number;
        if (!behind) ready.push_back(i);
    }
}

bool simulated_link::quiet(side to) const noexcept {
    return std::all_of(to_[number_of(to)].begin(), to_[number_of(to)].end(), [](auto& lane) { return lane.empty(); });
}

arrival simulated_link::take(side to, std::size_t lane) {
    std::deque<frame>& waiting = to_[number_of(to)][lane];
    frame next = std::move(waiting.front());
    waiting.pop_front();
    next.holds.reset();
    arrival result;
    if (next.whole)
        result.messages.push_back(std::move(*next.whole));
    else
        parse(to, next, result);
    return result;
}

void simulated_link::parse(side to, const frame& from, arrival& into) {
    const std::span<const std::byte> bytes(from.bytes);
    const auto header = decode_header(bytes.first<frame_header_bytes>());
    const auto payload = bytes.subspan(frame_header_bytes);
    if (!header) {
        into.refused = refusal(header.error().message());
    } else if (header->length != payload.size()) {
        // What follows is taken for this frame, or this for the next: some rule breaks sooner or later.
        into.refused = refusal("a frame of another length");
    } else if (header->kind == frame_kind::data) {
        if (to == side::source)
            into.refused = refusal("data for a source");
        else
            parse_batch(from, into);
    } else if (header->kind == frame_kind::goodbye) {
        const auto parting = decode_goodbye(payload);
        if (parting)
            into.goodbye = true;
        else
            into.refused = refusal(parting.error().message());
    } else if (header->kind == frame_kind::keep_alive) {
        // A corrupted kind only: none is sent.
    } else {
        auto value = decode(header->kind, payload);
        if (value)
            into.messages.push_back(std::move(*value));
        else
            into.refused = refusal(value.error().message());
    }
}

void simulated_link::parse_batch(const frame& from, arrival& into) {
    thread_local decompressor with;
    thread_local const auto scratch = std::make_shared<buffer_pool>(batch_raw_bytes_max);
    const auto payload = std::span<const std::byte>(from.bytes).subspan(frame_header_bytes);
    const auto header =
        payload.size() < batch_header_bytes
            ? wire_result<batch_header>(wire_error::truncated)
            : decode_batch_header(payload.first<batch_header_bytes>(), static_cast<std::uint32_t>(payload.size()));
    if (!header) {
        into.refused = refusal(header.error().message());
        return;
    }
    const auto rest = payload.subspan(batch_header_bytes);
    if (received_.messages > granted_.messages) {
        into.refused = refusal("more data than it may send");
        return;
    }
    const data_allowance left{granted_.messages - received_.messages,
                              granted_.bytes - std::min(granted_.bytes, received_.bytes)};
    auto opened = reader_.open(*header, rest.first(header->head_bytes), left);
    if (!opened) {
        into.refused = refusal(opened.error().message());
        return;
    }
    received_.messages += opened->complete.size();
    received_.bytes += opened->payload_bytes;
    if (const auto filled = fill(*opened, rest.subspan(header->head_bytes), with, *scratch); !filled) {
        into.refused = refusal(filled.error().message());
        return;
    }
    for (chunk_data& each : opened->complete) into.messages.emplace_back(std::move(each));
}

// ---- the end ----

void simulated_link::cut() {
    if (std::exchange(cut_, true)) return;
    for (lanes& direction : to_)
        for (auto& lane : direction)
            while (!lane.empty() && random_.one_in(2)) lane.pop_back();
}

}  // namespace reprotect::test
