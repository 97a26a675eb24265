// A probe of two disks: what it says of them holds, it reads what it was asked to and nothing twice, and it writes nothing.
#include "reprotect/probe.hpp"

#include "reprotect/error.hpp"
#include "reprotect/estimate.hpp"
#include "reprotect/memory_device.hpp"

#include "support/bytes.hpp"
#include "support/failures.hpp"
#include "support/temp_dir.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <mutex>
#include <thread>

namespace {

using namespace reprotect;
using namespace reprotect::test;

constexpr std::uint64_t block = 4096;
constexpr std::uint64_t mib = 1 << 20;

// Knows what was read of it, and that it was read once; refuses writes.
class watched final : public device_decorator {
public:
    using device_decorator::device_decorator;
    void read(std::uint64_t offset, std::span<std::byte> into) override {
        {
            const std::lock_guard lock(mutex_);
            if (seen_.overlaps({offset, into.size()})) twice_ = true;
            seen_.add({offset, into.size()});
        }
        device_decorator::read(offset, into);
    }
    void write(std::uint64_t, std::span<const std::byte>) override { written_ = true; }
    void write_zeroes(std::uint64_t, std::uint64_t) override { written_ = true; }
    bool discard(std::uint64_t, std::uint64_t) override { return written_ = true; }
    void flush() override { written_ = true; }
    void resize(std::uint64_t) override { written_ = true; }

    const extent_set& seen() const { return seen_; }
    bool untouched() const { return !twice_ && !written_; }

private:
    std::mutex mutex_;
    extent_set seen_;
    bool twice_ = false;
    std::atomic<bool> written_ = false;
};

struct pair_rig {
    explicit pair_rig(std::uint64_t source_bytes, std::uint64_t target_bytes = 0)
        : source(source_bytes, "source"), target(target_bytes == 0 ? source_bytes : target_bytes, "target") {}

    // Both get the same bytes; then some of the target's blocks are others.
    void fill(extent where, bool compressible = false) {
        std::vector<std::byte> bytes = random_bytes(where.offset + 1, where.length);
        if (compressible)
            for (std::size_t i = 0; i < bytes.size(); ++i)
                if (i % 4 != 0) bytes[i] = std::byte{1};
        source.write(where.offset, bytes);
        target.write(where.offset, bytes);
    }
    void change(std::uint64_t index) {
        const std::array<std::byte, 8> other{std::byte{0xee}, std::byte{1}};
        target.write(index * block, other);
        ++changed_blocks;
    }
    probe_result run(probe_options options = {}) {
        const digest_secret secret = random_secret();
        const auto ours = make_probed_disk(watched_source, {}, secret);
        const auto theirs = make_probed_disk(watched_target, {}, secret);
        if (!options.seed) options.seed = 7;
        const probe_result result = probe(*ours, theirs.get(), options);
        CHECK(watched_source.untouched());
        CHECK(watched_target.untouched());
        return result;
    }
    std::uint64_t changed_bytes() const { return changed_blocks * block; }

    memory_device source, target;
    watched watched_source{source}, watched_target{target};
    std::uint64_t changed_blocks = 0;
};

}  // namespace

TEST_CASE("a probe's interval holds what changed, and it read what it says, once", "[probe]") {
    pair_rig rig(64 * mib);
    rig.fill({0, 48 * mib});
    for (std::uint64_t i = 0; i < 48 * mib / block; i += 17) rig.change(i);
    probe_options options;
    options.blocks_max = 2000;
    const probe_result seen = rig.run(options);
    CHECK(seen.source_data == 48 * mib);
    CHECK(seen.target_data == 48 * mib);
    CHECK(seen.common_data == 48 * mib);
    CHECK(seen.changed.low <= rig.changed_bytes());
    CHECK(seen.changed.high >= rig.changed_bytes());
    CHECK(seen.changed.low < seen.changed.likely);
    CHECK_FALSE(seen.none_changed);
    CHECK(seen.blocks_sampled == 2000);
    CHECK(seen.read_source_bytes == rig.watched_source.seen().total());
    CHECK(seen.read_target_bytes == rig.watched_target.seen().total());
    CHECK(seen.read_source_bytes < 48 * mib / 2);
    CHECK(seen.rates.source_read);
    CHECK(seen.rates.target_read);
}

TEST_CASE("the same seed samples the same blocks, another one others", "[probe]") {
    const auto seen_with = [](std::uint64_t seed) {
        pair_rig rig(32 * mib);
        rig.fill({0, 32 * mib});
        probe_options options;
        options.seed = seed;
        options.blocks_max = 500;
        CHECK(rig.run(options).seed == seed);
        return rig.watched_source.seen();
    };
    const extent_set first = seen_with(1);
    CHECK(first == seen_with(1));
    CHECK_FALSE(first == seen_with(2));
}

TEST_CASE("where nothing was seen to change, an upper bound is given", "[probe]") {
    pair_rig rig(32 * mib);
    rig.fill({0, 32 * mib});
    probe_options options;
    options.blocks_max = 1000;
    const probe_result seen = rig.run(options);
    CHECK(seen.none_changed);
    CHECK(seen.changed.low == 0);
    CHECK(seen.changed.likely == 0);
    CHECK(seen.changed.high > 0);
    CHECK(seen.changed.high < 32 * mib / 100);
    CHECK_FALSE(seen.zero_share);
}

TEST_CASE("all of the data sampled is no estimate any more", "[probe]") {
    pair_rig rig(8 * mib);
    rig.fill({0, 8 * mib});
    for (const std::uint64_t each : {3u, 700u, 1500u, 2047u}) rig.change(each);
    probe_options options;
    options.share = 1.0;
    const probe_result seen = rig.run(options);
    CHECK(seen.changed == exactly(rig.changed_bytes()));
    CHECK(seen.read_source_bytes == 8 * mib);
}

TEST_CASE("what the source alone holds has changed, but for zeroes; what the target alone holds costs nothing",
          "[probe]") {
    pair_rig rig(64 * mib);
    rig.source.write(0, random_bytes(1, 16 * mib));
    rig.source.write(16 * mib, std::vector<std::byte>(16 * mib));  // zeroes that are allocated
    rig.target.write(40 * mib, random_bytes(2, 8 * mib));
    const probe_result seen = rig.run();
    CHECK(seen.common_data == 0);
    CHECK(seen.changed.low <= 16 * mib);
    CHECK(seen.changed.high >= 16 * mib);
    CHECK(seen.changed.likely > 14 * mib);
    CHECK(seen.changed.likely < 18 * mib);
    CHECK(seen.read_target_bytes == 0);
}

TEST_CASE("zeroes among what changed are told, and what compression makes of the rest", "[probe]") {
    pair_rig rig(64 * mib);
    rig.fill({0, 64 * mib}, true);
    for (std::uint64_t i = 0; i < 64 * mib / block; i += 4) {
        rig.change(i);
        if (i % 8 == 0) rig.source.write(i * block, std::vector<std::byte>(block));
    }
    const probe_result seen = rig.run();
    REQUIRE(seen.zero_share);
    CHECK(seen.zero_share->low < 0.5);
    CHECK(seen.zero_share->high > 0.5);
    CHECK(seen.zero_share->high - seen.zero_share->low < 0.1);
    REQUIRE(seen.compression_ratio);
    CHECK(seen.compression_ratio->low > 1.5);
    CHECK(seen.compression_ratio->high < 5);
    CHECK(seen.rates.encode);
}

TEST_CASE("without a target all is to be copied, and only the source is read", "[probe]") {
    pair_rig rig(32 * mib);
    rig.fill({0, 16 * mib});
    const auto ours = make_probed_disk(rig.watched_source, {}, random_secret());
    const probe_result seen = probe(*ours, nullptr, {});
    CHECK(seen.changed.likely == 16 * mib);
    CHECK(rig.watched_target.seen().empty());
    CHECK(rig.watched_source.untouched());
}

TEST_CASE("disks of different sizes are compared as far as both go", "[probe]") {
    for (const std::uint64_t target : {20 * mib + 512, 40 * mib}) {
        pair_rig rig(30 * mib + 1536, target);
        rig.source.write(0, random_bytes(1, 30 * mib + 1536));
        rig.target.write(0, random_bytes(1, std::min(target, 30 * mib + 1536)));
        probe_options options;
        options.share = 1.0;
        const probe_result seen = rig.run(options);
        const std::uint64_t beyond = target < 30 * mib ? 30 * mib + 1536 - 20 * mib : 0;
        CHECK(seen.changed.likely >= beyond);
        CHECK(seen.changed.likely <= beyond + 2 * block);
    }
}

TEST_CASE("a budget ends a probe of a slow disk in time", "[probe]") {
    class slow final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        void read(std::uint64_t offset, std::span<std::byte> into) override {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            device_decorator::read(offset, into);
        }
    };
    pair_rig rig(64 * mib);
    rig.fill({0, 64 * mib});
    slow source(rig.watched_source);
    const digest_secret secret = random_secret();
    const auto ours = make_probed_disk(source, {}, secret);
    const auto theirs = make_probed_disk(rig.watched_target, {}, secret);
    probe_options options;
    options.budget_s = 1;
    const auto begin = std::chrono::steady_clock::now();
    const probe_result seen = probe(*ours, theirs.get(), options);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    CHECK(seen.out_of_budget);
    CHECK(seen.blocks_sampled > 0);
    CHECK(seen.blocks_sampled < 10'000);
    CHECK(took < 6);  // what was begun is finished; without a budget it would be thirteen seconds and more
}

TEST_CASE("what a probe begins with is small, whatever the budget", "[probe]") {
    // As if a disk took so long: what it reads is what counts here, not how long a machine takes for it.
    class slow final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        void read(std::uint64_t offset, std::span<std::byte> into) override {
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            device_decorator::read(offset, into);
        }
    };
    pair_rig rig(256 * mib);
    rig.fill({0, 96 * mib});
    const auto alone = random_bytes(9, 96 * mib);
    rig.source.write(128 * mib, alone);
    slow source(rig.watched_source);
    const digest_secret secret = random_secret();
    const auto ours = make_probed_disk(source, {}, secret);
    const auto theirs = make_probed_disk(rig.watched_target, {}, secret);
    probe_options options;
    options.budget_s = 0.1;
    const probe_result seen = probe(*ours, theirs.get(), options);
    CHECK(seen.out_of_budget);
    CHECK(seen.blocks_sampled == 32);  // sixteen of what both have, and of what the source alone has
    CHECK(seen.read_source_bytes <= 2 * mib);
}

TEST_CASE("where one disk of a probe fails, the other is not waited for", "[probe]") {
    // Answers once it is told to stop.
    class endless final : public probed_disk {
    public:
        const std::string& name() const override { return name_; }
        std::uint64_t size() const override { return mib; }
        std::vector<allocation_run> allocation(std::stop_token cancel) override {
            if (wait_for_allocation) wait(cancel);
            return {{{0, mib}, content::data}};
        }
        stretch_samples sample(std::span<const extent>, bool, std::stop_token cancel) override {
            wait(cancel);
            return {};
        }
        std::vector<packed_batch> weigh(std::span<const std::uint64_t>, std::stop_token) override { return {}; }
        bool wait_for_allocation = false, stopped = false;

    private:
        void wait(const std::stop_token& cancel) {
            for (unsigned i = 0; i < 2000 && !cancel.stop_requested(); ++i)
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            stopped = cancel.stop_requested();
            throw error(error_kind::interrupted, "interrupted", {.device = name_});
        }
        std::string name_ = "endless";
    };
    class broken final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        bool breaks_allocation = false;
        void read(std::uint64_t, std::span<std::byte>) override { throw error(error_kind::device_io, "broken"); }
        std::vector<allocation_run> allocation(extent range, std::size_t most) override {
            if (breaks_allocation) throw error(error_kind::device_io, "broken");
            return device_decorator::allocation(range, most);
        }
    };
    const auto [allocation, broken_source] = GENERATE(table<bool, bool>({{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
    memory_device memory(mib);
    memory.write(0, random_bytes(1, mib));
    broken device(memory);
    device.breaks_allocation = allocation;
    const auto failing = make_probed_disk(device, {}, random_secret());
    endless other;
    other.wait_for_allocation = allocation;
    try {
        broken_source ? probe(*failing, &other, {}) : probe(other, failing.get(), {});
        FAIL("it ended well");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::device_io);
    }
    CHECK(other.stopped);
}

TEST_CASE("a disk that cannot be read fails a probe, naming it", "[probe]") {
    class broken final : public device_decorator {
    public:
        using device_decorator::device_decorator;
        void read(std::uint64_t offset, std::span<std::byte>) override {
            throw error(error_kind::device_io, "cannot read " + name(),
                        {.device = name(), .operation = "read", .offset = offset});
        }
    };
    pair_rig rig(8 * mib);
    rig.fill({0, 8 * mib});
    broken target(rig.target);
    const digest_secret secret = random_secret();
    const auto ours = make_probed_disk(rig.source, {}, secret);
    const auto theirs = make_probed_disk(target, {}, secret);
    try {
        probe(*ours, theirs.get(), {});
        FAIL("it ended well");
    } catch (const error& why) {
        CHECK(why.kind() == error_kind::device_io);
        CHECK(why.detail().device == "target");
    }
}

TEST_CASE("a cancelled probe ends", "[probe]") {
    pair_rig rig(8 * mib);
    rig.fill({0, 8 * mib});
    std::stop_source stop;
    stop.request_stop();
    probe_options options;
    options.cancel = stop.get_token();
    CHECK_THROWS_AS(rig.run(options), error);
}

TEST_CASE("options of a probe that make no sense are refused", "[probe]") {
    pair_rig rig(mib);
    probe_options options;
    options.budget_s = 0;
    CHECK_THROWS_AS(rig.run(options), error);
    options.budget_s = std::nan("");
    CHECK_THROWS_AS(rig.run(options), error);
    options = {};
    options.share = 1.5;
    CHECK_THROWS_AS(rig.run(options), error);
    CHECK_THROWS_AS(make_probed_disk(rig.source, {.block_bytes = 1000}, random_secret()), error);
    CHECK_THROWS_AS(make_probed_disk(rig.source, {.depth = 0}, random_secret()), error);
}

TEST_CASE("a stretch off the blocks, backwards or beyond the disk is refused", "[probe]") {
    memory_device disk(mib + 512);
    const auto probed = make_probed_disk(disk, {}, random_secret());
    const std::vector<std::vector<extent>> bad{
        {{512, 4096}}, {{0, 100}},          {{4096, 4096}, {0, 4096}}, {{0, 0}}, {{0, 8192}, {4096, 4096}},
        {{mib, 4096}}, {{1ull << 60, 4096}}};
    for (const auto& each : bad) CHECK_THROWS_AS(probed->sample(each, false, {}), error);
    const std::vector<extent> tail{{mib - 4096, 4096 + 512}};
    CHECK(probed->sample(tail, false, {}).blocks.size() == 2);
}

TEST_CASE("writing is measured on a file of its own, which is gone afterwards", "[probe]") {
    const temp_dir folder;
    const std::string path = folder.file("scratch");
    const write_rates seen = measure_writing(path, 4096, 8 * mib);
    CHECK(seen.whole.low > 0);
    CHECK(seen.whole.low < seen.whole.high);
    CHECK(seen.scattered.likely > 0);
    CHECK_FALSE(std::filesystem::exists(path));

    CHECK_NOTHROW(check_scratch_file(path));
    CHECK_THROWS_AS(check_scratch_file(folder.file("nowhere/scratch")), error);
    std::ofstream(path) << "mine";
    CHECK_THROWS_AS(check_scratch_file(path), error);
    CHECK_THROWS_AS(measure_writing(path, 4096, 8 * mib), error);
    CHECK(std::filesystem::file_size(path) == 4);
    std::stop_source stop;
    stop.request_stop();
    CHECK_THROWS_AS(measure_writing(folder.file("other"), 4096, 8 * mib, stop.get_token()), error);
    CHECK_FALSE(std::filesystem::exists(folder.file("other")));
}

TEST_CASE("a file that took the scratch file's place meanwhile is left alone", "[probe]") {
    const temp_dir folder;
    const std::string path = folder.file("scratch"), other = folder.file("other");
    std::ofstream(other) << "mine";
    std::thread mover([&] {
        const auto begin = std::chrono::steady_clock::now();
        while (!std::filesystem::exists(path) && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20))
            std::this_thread::yield();
        std::filesystem::rename(other, path);
    });
    CHECK_NOTHROW(measure_writing(path, 4096, 64 * mib));
    mover.join();
    CHECK(std::filesystem::file_size(path) == 4);
}

TEST_CASE("what nobody looked at stays unknown", "[probe]") {
    probe_result seen;
    seen.source_size = 100 * mib;
    seen.source_data = 60 * mib;
    seen.changed = exactly(60 * mib);
    workload told;
    told.disks = {{.name = "root"}};
    add_probe(told, seen, true);
    CHECK(told.disks[0].used_bytes == 60 * mib);
    CHECK_FALSE(told.disks[0].target_used_bytes);
    CHECK_FALSE(told.disks[0].changed_bytes);
    CHECK_FALSE(model_registry().find("pipeline").run(told).full_copy.needed);
    seen.target_seen = true;
    add_probe(told, seen, true);
    CHECK(told.disks[0].target_used_bytes == std::uint64_t{0});
    CHECK(model_registry().find("pipeline").run(told).full_copy.needed);
}

TEST_CASE("what a probe saw becomes the workload's, and what was said before stands", "[probe]") {
    probe_result seen;
    seen.source_size = seen.target_size = 100 * mib;
    seen.target_seen = true;
    seen.source_data = 60 * mib;
    seen.target_data = 50 * mib;
    seen.common_data = 50 * mib;
    seen.changed = {mib, 2 * mib, 3 * mib};
    seen.rates.source_read = exactly(1e9);
    seen.rates.source_processor_s = 1e-9;
    seen.rates.write = write_rates{exactly(5e8), exactly(1e8), 1e-9};
    workload told;
    told.disks = {{.name = "root"}};
    told.disks[0].rates.source_read = exactly(5e6);
    add_probe(told, seen, true);
    CHECK(told.disks[0].used_bytes == 60 * mib);
    CHECK(told.disks[0].changed_bytes == seen.changed);
    CHECK(told.disks[0].rates.source_read == exactly(5e6));
    CHECK(told.disks[0].measured.target_write == exactly(1e8));  // a few blocks all over it
    REQUIRE(told.processors);
    CHECK(told.processors->target_read_s == Approx(1e-9));
    const estimate result = model_registry().find("pipeline").run(told);
    CHECK(std::ranges::any_of(result.phases, [](const auto& each) { return each.name == "processors"; }));

    workload apart;
    add_probe(apart, seen, false);
    CHECK_FALSE(apart.processors);
}

TEST_CASE("a share bounds all that is read, long stretches and what the source alone holds included", "[probe]") {
    for (const double share : {0.02, 0.1, 0.5}) {
        CAPTURE(share);
        pair_rig rig(192 * mib);
        rig.fill({0, 96 * mib});
        rig.source.write(96 * mib, random_bytes(5, 64 * mib));
        probe_options options;
        options.share = share;
        const probe_result seen = rig.run(options);
        const double of_source = static_cast<double>(seen.read_source_bytes) / (160 * mib);
        const double of_target = static_cast<double>(seen.read_target_bytes) / (96 * mib);
        CHECK(of_source <= share * 1.01);
        CHECK(of_target <= share * 1.01);
        CHECK(of_target >= share * 0.99);
        CHECK(seen.rates.source_read);
    }
    // Of little data a few blocks, whatever their share is.
    pair_rig small(mib);
    small.fill({0, mib});
    probe_options options;
    options.share = 0.001;
    CHECK(small.run(options).blocks_sampled == 16);
}

TEST_CASE("what the sync will digest with is measured, and what it takes besides is counted", "[probe]") {
    pair_rig rig(32 * mib);
    rig.fill({0, 32 * mib});
    probe_options options;
    options.algorithm = digest_algorithm::sha256;
    probe_result seen = rig.run(options);
    REQUIRE(seen.rates.digest);
    CHECK(seen.rates.digest->session.one > 0);
    CHECK(seen.rates.digest->session.one < seen.rates.digest->sampled.one);
    CHECK(seen.rates.digest->proof.one < seen.rates.digest->sampled.one);
    const std::string json = [&] {
        estimate shown;
        shown.probe = seen;
        return to_json(shown);
    }();
    CHECK_THAT(json, Catch::Contains("\"digest\":{\"low\":"));

    seen.rates.digest = digest_rates{{1e9, 2e9}, {2e9, 4e9}, {10e9, 20e9}};
    seen.rates.source_processor_s = 0.5e-9;
    seen.rates.target_processor_s = 0.6e-9;
    const auto costs = [&](digest_algorithm algorithm, verify_level verify) {
        workload what;
        what.algorithm = algorithm;
        what.verify = verify;
        add_probe(what, seen, true);
        REQUIRE(what.processors);
        CHECK(what.digest_rate == spread<double>{1e9, 2e9, 2e9});
        CHECK(what.proof_rate == spread<double>{2e9, 4e9, 4e9});
        return *what.processors;
    };
    const processor_costs sha256 = costs(digest_algorithm::sha256, verify_level::root);
    CHECK(sha256.source_read_s == Approx(0.5e-9 + 0.9e-9));
    CHECK(sha256.target_read_s == Approx(0.6e-9 + 0.9e-9));
    // What is measured may be less than its part was.
    seen.rates.digest->sampled.one = 1e9;
    CHECK(costs(digest_algorithm::sha256, verify_level::root).source_read_s == Approx(1e-9));
    seen.rates.digest->sampled.one = 10e9;
    const processor_costs plain = costs(digest_algorithm::xxh3, verify_level::root);
    CHECK(plain.source_read_s == Approx(0.5e-9));
    const processor_costs reread = costs(digest_algorithm::xxh3, verify_level::reread);
    CHECK(reread.source_read_s == Approx(0.5e-9 + 0.5e-9));
    CHECK(reread.target_read_s == Approx(0.6e-9));
    CHECK(reread.verify_s == Approx(0.6e-9 - 0.1e-9 + 0.5e-9));
}

TEST_CASE("of a sync with a cap on its threads no more digest, and no more processors count", "[probe]") {
    pair_rig rig(32 * mib);
    rig.fill({0, 32 * mib});
    probe_options options;
    options.algorithm = digest_algorithm::sha256;
    options.threads = 1;
    probe_result seen = rig.run(options);
    REQUIRE(seen.rates.digest);
    for (const thread_rates& each : {seen.rates.digest->session, seen.rates.digest->proof}) CHECK(each.all == each.one);

    seen.rates.source_processor_s = 1e-9;
    const unsigned cores = std::max(std::thread::hardware_concurrency(), 1u);
    const auto cores_of = [&](unsigned threads, bool one_process) {
        seen.threads = threads;
        workload what;
        what.link.one_machine = one_process;
        add_probe(what, seen, true);
        REQUIRE(what.processors);
        return what.processors->cores;
    };
    CHECK(cores_of(1, true) == 1);
    CHECK(cores_of(0, true) == cores);
    CHECK(cores_of(cores + 1, true) == cores);
    CHECK(cores_of(1, false) == cores);
    // More threads than the system gives are no reason to fail.
    pair_rig another(32 * mib);
    another.fill({0, 32 * mib});
    options.threads = 4096;
    CHECK(another.run(options).rates.digest);
}

TEST_CASE("without a target that was looked at, what it holds is assumed, not nothing", "[probe]") {
    pair_rig rig(8 * mib);
    rig.fill({0, 8 * mib});
    const auto ours = make_probed_disk(rig.watched_source, {}, random_secret());
    const probe_result seen = probe(*ours, nullptr, {});
    workload what_if;
    what_if.disks = {{.changed_bytes = exactly(mib)}};
    what_if.rates.target_read = exactly(1e6);
    add_probe(what_if, seen, false);
    CHECK_FALSE(what_if.disks[0].target_used_bytes);
    const estimate result = model_registry().find("pipeline").run(what_if);
    for (const estimate_phase& phase : result.phases)
        if (phase.name == "target-read") CHECK(phase.seconds.likely == Approx(8 * 1.048576));
    CHECK(std::ranges::any_of(result.assumptions,
                              [](const auto& each) { return each.name == "used on the target of the disk"; }));
    // One that is empty holds nothing.
    memory_device empty(0, "empty");
    const digest_secret secret = random_secret();
    const auto again = make_probed_disk(rig.source, {}, secret), nothing = make_probed_disk(empty, {}, secret);
    workload beside;
    add_probe(beside, probe(*again, nothing.get(), {}), false);
    CHECK(beside.disks[0].target_used_bytes == 0);
}

TEST_CASE("rates that the user gave stand against those that a probe saw", "[probe]") {
    probe_result seen;
    seen.source_size = seen.target_size = seen.source_data = seen.target_data = 100 * mib;
    seen.target_seen = true;
    seen.rates.source_read = seen.rates.target_read = exactly(1e9);
    seen.rates.one_round = true;
    seen.link = link_rates{exactly(0.0001), exactly(5e6), exactly(6e6)};
    workload what;
    what.rates.source_read = exactly(1e6);
    add_probe(what, seen, false);
    const estimate result = model_registry().find("pipeline").run(what);
    for (const estimate_phase& phase : result.phases) {
        if (phase.name == "source-read") CHECK(phase.seconds.likely == Approx(104.8576));
        if (phase.name == "target-read") CHECK(phase.seconds.likely == Approx(0.1048576));
    }
    const auto assumes = [](const estimate& of, const std::string& name) {
        return std::ranges::any_of(of.assumptions, [&](const auto& each) { return each.name == name; });
    };
    CHECK(assumes(result, "spread of the read rates"));
    // Where both were given, nothing rests on it.
    what = {};
    what.rates.source_read = what.rates.target_read = exactly(1e6);
    add_probe(what, seen, false);
    CHECK_FALSE(assumes(model_registry().find("pipeline").run(what), "spread of the read rates"));
    // What the other machine digests is not known, nor what a disk does past its cache.
    what = {};
    what.verify = verify_level::reread;
    seen.rates.digest = digest_rates{{1e9, 2e9}, {2e9, 4e9}, {10e9, 20e9}};
    add_probe(what, seen, false);
    for (const char* const name : {"digest rate of the other machine", "rate of reading again of the disk"})
        CHECK(assumes(model_registry().find("pipeline").run(what), name));
}
