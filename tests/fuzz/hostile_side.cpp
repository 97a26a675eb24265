// What the side that is not under test may say once it is hostile: its own
// words altered, or others of any kind, with numbers that lie at limits and
// digests that are right every other time, so that some of them are believed.
#include <algorithm>
#include <type_traits>

#include "fuzz/machine_rig.hpp"
#include "plan/digest_tree.hpp"
#include "wire/message_codec.hpp"

namespace reprotect::fuzz {
namespace {

// One that either side would take from the other.
hello sound_hello(const source_config& of) {
    hello words;
    words.mode = of.mode;
    words.shape = of.shape;
    words.algorithm = of.algorithm;
    words.reread = of.reread;
    words.digest_entries = 1;
    return words;
}

digest any_digest(chooser& choose) {
    digest value;
    value.bytes.fill(static_cast<std::byte>(choose.byte()));
    return value;
}

void alter(std::uint64_t& number, chooser& choose) {
    number = choose.wild(number);
}

void alter(std::uint32_t& number, chooser& choose) {
    number = static_cast<std::uint32_t>(choose.wild(number));
}

void alter(digest& value, chooser& choose) {
    value.bytes[choose.below(value.bytes.size())] ^= static_cast<std::byte>(choose.byte());
}

// One member of a list, the list being made shorter or longer now and then.
template <typename Entry, typename Alter>
void alter_list(std::vector<Entry>& list, chooser& choose, Alter alter_entry) {
    const unsigned how = choose.byte();
    if (how % 8 == 0 && !list.empty())
        list.pop_back();
    else if (how % 8 == 1)
        list.push_back(list.empty() ? Entry{} : list.front());
    else if (!list.empty())
        alter_entry(list[how / 8 % list.size()]);
}

struct alteration {
    chooser& choose;

    void operator()(hello& what) const {
        switch (choose.below(12)) {
            case 0:
                return alter(what.shape.disk_bytes, choose);
            case 1:
                return alter(what.shape.chunk_bytes, choose);
            case 2:
                return alter(what.shape.block_bytes, choose);
            case 3:
                what.mode = static_cast<session_mode>(choose.below(3));
                return;
            case 4:
                what.reread = !what.reread;
                return;
            case 5:
                what.algorithm =
                    what.algorithm == digest_algorithm::xxh3 ? digest_algorithm::sha256 : digest_algorithm::xxh3;
                return;
            case 6:
                what.nonce[0] ^= std::byte{1};
                return;
            case 7:
                return alter(what.digest_entries, choose);
            case 8:
                return alter(what.allocation_runs, choose);
            case 9:
                return alter(what.data_messages, choose);
            case 10:
                return alter(what.proof_chunks, choose);
            default:
                what.whole = !what.whole;
        }
    }
    void operator()(allocation& what) const {
        alter_list(what.runs, choose, [this](source_run& run) {
            switch (choose.below(3)) {
                case 0:
                    return alter(run.range.offset, choose);
                case 1:
                    return alter(run.range.length, choose);
                default:
                    run.kind = static_cast<source_content>(choose.below(3));
            }
        });
    }
    void operator()(chunk_digests& what) const {
        alter_list(what.entries, choose, [this](digest_entry& entry) {
            switch (choose.below(5)) {
                case 0:
                    return alter(entry.first_chunk, choose);
                case 1:
                    return alter(entry.count, choose);
                case 2:
                    entry.what = static_cast<digest_entry::kind>(choose.below(3));
                    return;
                case 3:
                    entry.cuts.resize(choose.below(16));
                    return;
                default:
                    return alter(entry.value, choose);
            }
        });
    }
    void operator()(narrow& what) const { alter(what.chunk, choose); }
    void operator()(block_digests& what) const {
        if (choose.flag()) return alter(what.chunk, choose);
        alter_list(what.cuts, choose, [this](digest_cut& cut) { cut[0] ^= static_cast<std::byte>(choose.byte()); });
    }
    void operator()(verdict& what) const {
        std::uint64_t* const numbers[] = {&what.below_chunk, &what.entries_granted, &what.data_sent};
        alter(*numbers[choose.below(3)], choose);
    }
    void operator()(chunk_data& what) const {
        switch (choose.below(5)) {
            case 0:
                return alter(what.chunk, choose);
            case 1:
                return alter(what.value, choose);
            case 2:
                what.payload = {};
                return;
            case 3:
                if (what.payload) what.payload.bytes()[choose.byte()] ^= std::byte{1};
                return;
            default:
                alter_list(what.runs, choose, [this](block_run& run) {
                    if (choose.flag()) return alter(run.first, choose);
                    alter(run.count, choose);
                });
        }
    }
    void operator()(resend& what) const { alter(what.chunk, choose); }
    void operator()(credit& what) const {
        std::uint64_t* const numbers[] = {&what.allocation_runs, &what.data_messages, &what.data_bytes,
                                          &what.proof_chunks};
        alter(*numbers[choose.below(4)], choose);
    }
    void operator()(end_of_data& what) const {
        if (choose.flag()) return alter(what.data_sent, choose);
        alter(what.root, choose);
    }
    void operator()(applied& what) const { alter(what.root, choose); }
    void operator()(proof& what) const {
        switch (choose.below(3)) {
            case 0:
                return alter(what.first_chunk, choose);
            case 1:
                return alter(what.count, choose);
            default:
                alter_list(what.digests, choose, [this](digest& value) { alter(value, choose); });
        }
    }
    void operator()(proved& what) const { what.cache_passed = !what.cache_passed; }
    void operator()(failed&) const {}
};

template <typename Message>
std::optional<message> copy_of(const Message& what) {
    if constexpr (std::is_copy_constructible_v<Message>)
        return message(what);
    else
        return std::nullopt;  // a buffer has one owner
}

}  // namespace

// To the side under test, whatever it awaits.
void machine_rig::say(message&& what) {
    if (under_test_ == target && !target_) {
        auto* opening = std::get_if<hello>(&what);
        if (!opening || !begin_target(*opening)) return;
    }
    honest_ = false;
    hand_message(under_test_, std::move(what));
}

void machine_rig::tamper() {
    const std::size_t first = choose_.byte();
    for (std::size_t i = 0; i < message_classes; ++i) {
        auto& queue = sides_[under_test_].coming[(first + i) % message_classes];
        if (queue.empty()) continue;
        honest_ = false;
        std::visit(alteration{choose_}, queue.front());
        return deliver(under_test_, queue);
    }
}

void machine_rig::drop_or_repeat() {
    const unsigned how = choose_.byte();
    auto& queue = sides_[under_test_].coming[how / 2 % message_classes];
    if (queue.empty()) return;
    honest_ = false;
    if (how % 2 == 0) {
        const auto* data = std::get_if<chunk_data>(&queue.front());
        if (data && data->payload) unreleased_.push_back(data->payload.bytes().size());
        queue.pop_front();
    } else if (auto twice = std::visit([](const auto& what) { return copy_of(what); }, queue.front())) {
        queue.push_back(std::move(*twice));
    }
}

std::optional<message> machine_rig::decoded() {
    const auto kind = static_cast<frame_kind>(
        choose_.between(static_cast<unsigned>(frame_kind::hello), static_cast<unsigned>(frame_kind::failed)));
    auto value = decode(kind, choose_.raw(choose_.byte()));
    if (!value) return std::nullopt;
    return std::move(*value);
}

message machine_rig::forged() {
    return under_test_ == source ? forged_for_source() : forged_for_target();
}

message machine_rig::forged_for_source() {
    const geometry& shape = source_config_.shape;
    const std::uint64_t chunks = shape.chunk_count();
    const std::uint64_t near = chunks == 0 ? 0 : choose_.byte() % chunks;
    const auto right_digest = [&](std::uint64_t chunk) {
        const bool right = choose_.flag() && source_->digests() && chunk < chunks;
        return right ? chunk_digest(source, chunk, *source_->digests()) : any_digest(choose_);
    };
    switch (choose_.below(9)) {
        case 0: {
            hello answer = sound_hello(source_config_);
            answer.digest_entries = choose_.wild(source_config_.digest_entries);
            answer.allocation_runs = choose_.wild(4);
            answer.data_messages = choose_.wild(4);
            answer.data_bytes = choose_.wild(2048);
            answer.proof_chunks = choose_.wild(4);
            return answer;
        }
        case 1:
        case 2: {
            chunk_digests list;
            digest_entry entry;
            entry.what = static_cast<digest_entry::kind>(choose_.below(3));
            entry.first_chunk = choose_.wild(chunks_delivered_);
            entry.count = entry.what == digest_entry::kind::hole ? choose_.wild(1) : 1;
            entry.value = right_digest(entry.first_chunk);
            if (choose_.byte() % 4 == 0 && entry.first_chunk < chunks)
                entry.cuts.resize(choose_.wild(shape.blocks_in(entry.first_chunk)) % 64);
            list.entries.push_back(std::move(entry));
            return list;
        }
        case 3:
        case 4: {
            block_digests cuts{choose_.wild(near), {}};
            if (cuts.chunk < chunks) cuts.cuts.resize(choose_.wild(shape.blocks_in(cuts.chunk)) % 64);
            for (digest_cut& each : cuts.cuts) each.fill(static_cast<std::byte>(choose_.byte()));
            return cuts;
        }
        case 5:
            return resend{choose_.wild(near)};
        case 6:
            return credit{choose_.wild(4), choose_.wild(data_sent_ + 1), choose_.wild(2048), choose_.wild(chunks)};
        case 7: {
            applied end;
            end.root = choose_.flag() && source_->root() ? *source_->root() : any_digest(choose_);
            return end;
        }
        default:
            if (choose_.flag()) return proved{choose_.flag()};
            return failed{error(error_kind::device_io, "a target that says so")};
    }
}

message machine_rig::forged_for_target() {
    if (!target_ || !target_->digests()) {
        hello opening = sound_hello(source_config_);
        opening.mode = static_cast<session_mode>(choose_.below(3));
        opening.reread = choose_.flag();
        opening.digest_entries = choose_.wild(4);
        alteration{choose_}(opening);
        return opening;
    }
    const geometry& shape = target_->shape();
    const std::uint64_t chunks = shape.chunk_count();
    const std::uint64_t near = chunks == 0 ? 0 : choose_.byte() % chunks;
    switch (choose_.below(9)) {
        case 0:
        case 1: {
            allocation list;
            const std::uint64_t offset = choose_.wild(allocated_to_);
            const std::uint64_t blocks = choose_.byte() * std::uint64_t{shape.block_bytes};
            const std::uint64_t left = offset <= shape.disk_bytes ? shape.disk_bytes - offset : 0;
            list.runs.push_back(
                {{offset, choose_.wild(std::min(blocks, left))}, static_cast<source_content>(choose_.below(3))});
            return list;
        }
        case 2:
            return narrow{choose_.wild(near)};
        case 3:
            return verdict{choose_.wild(near), choose_.wild(entries_delivered_ + 1), choose_.wild(data_delivered_)};
        case 4:
        case 5:
            if (chunks != 0) return forged_data();
            return narrow{0};
        case 6: {
            end_of_data end;
            end.data_sent = choose_.wild(last_end_ ? last_end_->data_sent + 1 : data_delivered_);
            // Right, or what a target would take for right that believed each chunk by itself, or wrong.
            const std::size_t which = choose_.below(3);
            end.root = which == 0 ? true_root() : which == 1 ? root_with(written_) : any_digest(choose_);
            return end;
        }
        case 7: {
            proof some;
            some.first_chunk = choose_.wild(near);
            some.count = choose_.wild(1);
            if (choose_.flag()) some.digests.resize(choose_.flag() ? some.count % 64 : choose_.below(4));
            return some;
        }
        default:
            return failed{error(error_kind::device_io, "a source that says so")};
    }
}

// Data for a chunk, with the digest that the chunk will have if the target's
// disk stays as it is, or another.
chunk_data machine_rig::forged_data() {
    const geometry& shape = target_->shape();
    chunk_data data;
    data.chunk = choose_.wild(choose_.byte() % shape.chunk_count());
    const std::uint64_t chunk = data.chunk < shape.chunk_count() ? data.chunk : 0;
    const extent whole = shape.chunk(chunk);
    std::vector<std::byte> held = content(target, whole);
    std::uint32_t next = 0;
    for (std::size_t i = 0, count = choose_.below(3) + 1; i < count && next < shape.blocks_in(chunk); ++i) {
        const unsigned how = choose_.byte();
        block_run run{next + (how & 3), 1 + (how >> 2 & 3), (how & 16) != 0};
        if ((how & 224) == 224) run.first = static_cast<std::uint32_t>(choose_.wild(run.first));
        const std::byte value = run.zero ? std::byte{0} : static_cast<std::byte>(how);
        for (std::uint64_t at = std::uint64_t{run.first} * shape.block_bytes;
             at < (std::uint64_t{run.first} + run.count) * shape.block_bytes && at < held.size(); ++at)
            held[at] = value;
        next = run.first + run.count;
        data.runs.push_back(run);
        if (!run.zero && !data.payload) data.payload = target_pool_->take();
    }
    if (data.payload) std::copy(held.begin(), held.end(), data.payload.bytes().begin());
    const digester& with = *target_->digests();
    std::vector<digest> blocks;
    for (std::uint32_t i = 0; i < shape.blocks_in(chunk); ++i) {
        const extent block = shape.block(chunk, i);
        blocks.push_back(with.bytes(input(held).subspan(block.offset - whole.offset, block.length)));
    }
    data.value = choose_.byte() % 4 != 0 ? with.chunk(whole.length, blocks) : any_digest(choose_);
    return data;
}

// ---- what cannot be taken for anything but a breach ----

void machine_rig::breach() {
    peer_state& it = sides_[under_test_];
    if (it.has_ended) return;
    // A target that is told to end listens no more, and is to end anyway.
    if (it.told_to_end) return;
    if (under_test_ == target && !target_ && !begin_target(sound_hello(source_config_))) return;
    honest_ = false;
    const std::size_t works = it.works.size();
    hand_message(under_test_, under_test_ == source ? breach_of_target() : breach_of_source());
    promise(it.has_ended && it.why && it.why->kind() == error_kind::peer,
            "a breach ends a session, as the peer's fault");
    promise(it.works.size() == works, "after a breach nothing is begun");
    const auto& said = sides_[1 - under_test_].coming[static_cast<std::size_t>(message_class::control)];
    promise(!said.empty() && std::holds_alternative<failed>(said.back()), "who breaks the protocol is told so");
}

message machine_rig::breach_of_source() {
    const bool greeted = target_->digests() != nullptr;
    const std::uint64_t chunks = greeted ? target_->shape().chunk_count() : 0;
    switch (choose_.below(greeted ? 12 : 10)) {
        case 0:
            return chunk_digests{};
        case 1:
            return block_digests{};
        case 2:
            return resend{0};
        case 3:
            return credit{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
        case 4:
            return applied{};
        case 5:
            return proved{true};
        case 6:
            return allocation{
                {{{source_config_.shape.disk_bytes + (std::uint64_t{1} << 40), 1}, source_content::data}}};
        case 7:
            return narrow{chunks};
        case 8:
            return verdict{chunks + 1, 0, 0};
        case 9:
            return proof{};
        case 10:
            return chunk_data{chunks, {{0, 1, true}}, {}, {}};
        default:
            return sound_hello(source_config_);
    }
}

message machine_rig::breach_of_target() {
    const bool greeted = source_->digests() != nullptr;
    const std::uint64_t chunks = source_config_.shape.chunk_count();
    switch (choose_.below(greeted ? 11 : 10)) {
        case 0:
            return allocation{};
        case 1:
            return narrow{0};
        case 2:
            return verdict{};
        case 3:
            return chunk_data{0, {{0, 1, true}}, {}, {}};
        case 4:
            return end_of_data{};
        case 5:
            return proof{};
        case 6:
            return chunk_digests{{{digest_entry::kind::zero, chunks, 1, {}, {}}}};
        case 7:
            return block_digests{chunks, {}};
        case 8:
            return resend{chunks};
        case 9:
            if (!greeted) return credit{1, 1, 1, 1};
            if (source_config_.reread) return narrow{0};
            return proved{true};
        default:
            return sound_hello(source_config_);
    }
}

}  // namespace reprotect::fuzz
