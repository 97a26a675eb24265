// What deciding costs: a source peer and a target peer in one thread, without any I/O. Answers to their reads are made
// up, so what is left is the messages, the bookkeeping, and the list of block digests that comes with each chunk.
//
// Rate: chunks a second, both sides together. It has to be well above the rate at which the chunks of both disks can be
// hashed (`xxh3`, one core), because all deciding happens on one strand; above 1 in `of_xxh3` deciding is not the
// bottleneck even if hashing had a core for itself.
#include <deque>
#include <stdexcept>
#include <variant>

#include "floor.hpp"
#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"

namespace reprotect::bench {
namespace {

constexpr std::uint32_t blocks_per_chunk = chunk_bytes_default / block_bytes_default;

std::uint64_t chunk_total() {
    return sized(8192, 512);
}

digest numbered(std::uint64_t value) {
    digest result;
    std::memcpy(result.bytes.data(), &value, sizeof value);
    return result;
}

// A disk whose chunks all hold data; on one of the two sides the first block of `percent` of them is another.
class made_up_disk {
public:
    explicit made_up_disk(std::uint64_t percent) : percent_(percent) {}

    event answer(action&& what) const {
        if (auto* query = std::get_if<query_allocation>(&what))
            return allocation_known{{{query->within, content::data}}};
        auto& read = std::get<read_chunk>(what);
        chunk_read result;
        result.chunk = read.chunk;
        result.read_bytes = read.data.total();
        result.blocks.assign(blocks_per_chunk, numbered(1));
        const bool changed = read.chunk * percent_ % 100 < percent_;
        if (changed) result.blocks.front() = numbered(2);
        result.value = numbered(changed ? 4 : 3);
        return result;
    }

private:
    std::uint64_t percent_;
};

// Until neither side has anything to do. Answers come in order, as from a disk that takes no time.
void decide(std::uint64_t percent) {
    source_config ours;
    ours.mode = session_mode::compare;
    ours.shape = {chunk_total() * chunk_bytes_default, chunk_bytes_default, block_bytes_default};
    ours.keep_differential = true;
    target_config theirs;
    theirs.disk_bytes = ours.shape.disk_bytes;
    source_peer source(std::move(ours));
    target_peer target(std::move(theirs));
    const made_up_disk source_disk(percent);
    const made_up_disk target_disk(0);
    std::deque<event> to_source;
    std::deque<event> to_target;
    const auto carry_out = [](auto& peer, const made_up_disk& disk, std::deque<event>& own, std::deque<event>& other) {
        while (auto next = peer.next_action()) {
            if (auto* out = std::get_if<send>(&*next)) {
                other.emplace_back(std::move(out->what));
            } else if (auto* end = std::get_if<finished>(&*next)) {
                if (end->why) throw std::runtime_error(end->why->what());
            } else {
                own.push_back(disk.answer(std::move(*next)));
            }
        }
    };
    for (;;) {
        carry_out(source, source_disk, to_source, to_target);
        carry_out(target, target_disk, to_target, to_source);
        if (to_source.empty() && to_target.empty()) break;
        if (!to_source.empty()) {
            source.handle(std::move(to_source.front()));
            to_source.pop_front();
        }
        if (!to_target.empty()) {
            target.handle(std::move(to_target.front()));
            to_target.pop_front();
        }
    }
    if (!source.is_finished() || !target.is_finished()) throw std::runtime_error("the peers wait for ever");
    benchmark::DoNotOptimize(source.changes());
}

void peers_decide(benchmark::State& state) {
    const auto percent = static_cast<std::uint64_t>(state.range(0));
    const std::vector<std::byte> chunk = random_bytes(chunk_bytes_default, 10);
    against(
        state, amount{unit::items, chunk_total()}, [&] { decide(percent); },
        floor{"xxh3", [&] {
                  for (std::uint64_t i = 0; i < 2 * chunk_total(); ++i) bare_xxh3(chunk, block_bytes_default);
              }});
}
BENCHMARK(peers_decide)->ArgName("percent")->Arg(0)->Arg(5)->Arg(100)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reprotect::bench
