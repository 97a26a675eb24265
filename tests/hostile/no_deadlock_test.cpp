// Nothing blocks for good, whatever is as small as can be: both directions full, connections that take a few bytes at a
// time, one of them or several lanes, and windows at one. Whole sessions first, whose windows are as small as their
// options make them; then the two peers over two channels, driven here, since no option makes every window one.
//
// The time that a context has is the watchdog: what blocks makes a test fail, not hang.
#include "support/peer_pair.hpp"

#include <netinet/tcp.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "codec/random.hpp"
#include "peer/source_peer.hpp"
#include "peer/target_peer.hpp"
#include "scan/disk_worker.hpp"
#include "support/alike.hpp"
#include "support/frail_link.hpp"
#include "wire/channel.hpp"
#include "wire/metered_link.hpp"
#include "wire/striped_stream.hpp"

#include <algorithm>
#include <deque>

namespace {

using namespace reprotect;
using namespace reprotect::test;
using boost::asio::ip::tcp;

constexpr std::size_t stream_bytes_min = 128;  // specified: stream.hpp
constexpr std::chrono::seconds watchdog{60};

// ---- ways from one side to the other ----

using stream_pair = std::pair<std::unique_ptr<byte_stream>, std::unique_ptr<byte_stream>>;

// As little as the system lets a socket buffer. Segments are short, too: where one is longer than half a window, TCP
// waits for its timers, which is slow and shows nothing.
using segment_bytes_max = boost::asio::detail::socket_option::integer<IPPROTO_TCP, TCP_MAXSEG>;

stream_pair over_tcp(boost::asio::io_context& network) {
    tcp::acceptor acceptor(network);
    acceptor.open(tcp::v4());
    acceptor.set_option(tcp::acceptor::receive_buffer_size(1));  // inherited, and before the window is agreed on
    acceptor.set_option(tcp::acceptor::send_buffer_size(1));
    acceptor.set_option(segment_bytes_max(256));
    acceptor.bind({boost::asio::ip::address_v4::loopback(), 0});
    acceptor.listen();
    tcp::socket near(network, tcp::v4());
    near.set_option(tcp::socket::receive_buffer_size(1));
    near.set_option(tcp::socket::send_buffer_size(1));
    near.set_option(segment_bytes_max(256));
    near.connect(acceptor.local_endpoint());
    tcp::socket far = acceptor.accept();
    near.set_option(tcp::no_delay(true));
    far.set_option(tcp::no_delay(true));
    return {make_stream(std::move(near)), make_stream(std::move(far))};
}

stream_pair over_frail_link(boost::asio::io_context&) {
    frailty how;
    how.buffered_bytes_max = stream_bytes_min;
    frail_link link(how, how);
    return {link.first(), link.second()};
}

struct way {
    const char* name;
    stream_pair (*lane)(boost::asio::io_context&);
    unsigned lanes;

    stream_pair connect(boost::asio::io_context& network) const {
        stream_pair first = lane(network);
        if (lanes == 1) return first;
        auto near = std::make_unique<striped_stream>(network.get_executor(), std::move(first.first));
        auto far = std::make_unique<striped_stream>(network.get_executor(), std::move(first.second));
        for (unsigned i = 1; i < lanes; ++i) {
            stream_pair more = lane(network);
            CHECK(near->lane_gate().add(std::move(more.first)));
            CHECK(far->lane_gate().add(std::move(more.second)));
        }
        return {std::move(near), std::move(far)};
    }
};
const way ways[] = {
    {"TCP", over_tcp, 1},
    {"TCP, 2 lanes", over_tcp, 2},
    {"TCP, 4 lanes", over_tcp, 4},
    {"128 bytes", over_frail_link, 1},
    {"128 bytes, 2 lanes", over_frail_link, 2},
    {"128 bytes, 4 lanes", over_frail_link, 4},
};

// ---- disks ----

enum class differs { everywhere, in_half, in_scattered_blocks };
constexpr differs all_differences[] = {differs::everywhere, differs::in_half, differs::in_scattered_blocks};

struct two_disks {
    memory_device source, target;
    std::vector<std::byte> before;

    two_disks(std::uint64_t bytes, std::uint32_t block, differs where)
        : source(bytes, "the source"), target(bytes, "the target") {
        std::vector<std::byte> content = random_bytes(1, bytes);
        source.write(0, content);
        const auto other = random_bytes(2, bytes);
        for (std::uint64_t at = 0, number = 0; at < bytes; at += block, ++number) {
            const bool changed = where == differs::everywhere || (where == differs::in_half && at < bytes / 2) ||
                                 (where == differs::in_scattered_blocks && number % 3 == 1);
            const std::size_t length = std::min<std::uint64_t>(block, bytes - at);
            if (changed)
                std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(at), length,
                            content.begin() + static_cast<std::ptrdiff_t>(at));
        }
        target.write(0, content);
        before = std::move(content);
    }
    bool equal() { return bytes_of(source) == bytes_of(target); }
};

// ---- both peers, driven ----

struct small_windows {
    source_config source;
    target_config target;
};

small_windows windows_of_one(const geometry& shape, session_mode mode, bool reread) {
    small_windows one;
    one.source.mode = mode;
    one.source.shape = shape;
    one.source.reread = reread;
    one.source.nonce = random_nonce();
    one.source.reads_max = one.source.buffers_max = one.source.digest_entries = 1;
    one.source.keep_differential = mode == session_mode::compare;
    one.target.disk_bytes = shape.disk_bytes;
    one.target.nonce = random_nonce();
    one.target.reads_max = one.target.applies_max = one.target.allocation_runs = one.target.digest_entries = 1;
    one.target.data_messages = one.target.data_bytes = one.target.proof_chunks = 1;
    return one;
}

// A peer at its end of a channel: what a session does, without what a session adds. Work is done at once, and its
// answer comes like any other event.
template <typename Peer>
class driven_peer final : public channel_user {
public:
    driven_peer(boost::asio::io_context& network, boost::asio::thread_pool& workers,
                std::unique_ptr<byte_stream> stream, device& disk, Peer peer)
        : peer_(std::move(peer)), disk_(disk) {
        const channel::strand strand(network.get_executor());
        auto meter = std::make_shared<wire_meter>();
        stream = metered(std::move(stream), strand, meter);
        link_ = std::make_shared<channel>(strand, workers.get_executor(), std::move(stream), meter,
                                          channel_options{std::chrono::milliseconds(60'000), "the other one"});
    }
    ~driven_peer() { link_->detach(); }
    driven_peer(const driven_peer&) = delete;
    driven_peer& operator=(const driven_peer&) = delete;

    void start(const std::optional<geometry>& shape) {
        boost::asio::post(link_->executor(), [this, shape] {
            link_->start(*this);
            if (shape) prepare(*shape);
            pump();
        });
    }

    std::optional<std::optional<error>> end;  ///< with nothing inside: well
    bool parted = false;
    Peer& peer() noexcept { return peer_; }

private:
    void prepare(const geometry& shape) {
        shape_ = shape;
        pool_ = std::make_shared<buffer_pool>(shape.chunk_bytes);
        link_->set_shape(shape, pool_);
    }
    void on_message(message&& what) override {
        if (const auto* opening = std::get_if<hello>(&what); opening && !pool_) prepare(opening->shape);
        events_.emplace_back(std::move(what));
        pump();
    }
    void on_frame(session_frame&& what) override {
        if (!std::holds_alternative<wire_goodbye>(what)) return;
        heard_goodbye_ = true;
        part();
    }
    void on_payload_released(std::uint64_t bytes) override {
        if constexpr (std::is_same_v<Peer, source_peer>) {
            events_.emplace_back(payload_released{bytes});
            pump();
        }
    }
    void on_lost(const error& why) override {
        if (!end) end.emplace(why);
    }

    void pump() {
        while (true) {
            while (auto next = peer_.next_action()) carry_out(std::move(*next));
            if (events_.empty()) return;
            event next = std::move(events_.front());
            events_.pop_front();
            peer_.handle(std::move(next));
        }
    }
    void carry_out(action&& what) {
        if (auto* out = std::get_if<reprotect::send>(&what)) {
            bool flush = std::holds_alternative<end_of_data>(out->what);
            link_->send(std::move(out->what));
            if constexpr (std::is_same_v<Peer, source_peer>) flush = flush || peer_.wants_data_credit();
            if (flush) link_->flush_data();
        } else if (auto* done = std::get_if<finished>(&what)) {
            end.emplace(std::move(done->why));
            link_->send(session_frame(wire_goodbye{}));
            part();
        } else if (std::holds_alternative<begin_writing>(what)) {
            events_.emplace_back(writing_begun{});
        } else {
            if (!worker_) worker_.emplace(disk_, *shape_, disk_.size(), peer_.digests(), pool_);
            events_.push_back(worker_->perform(std::move(what)));
        }
    }
    void part() {
        if (end && heard_goodbye_) link_->finish([this] { parted = true; });
    }

    Peer peer_;
    device& disk_;
    std::shared_ptr<channel> link_;
    std::optional<geometry> shape_;
    std::shared_ptr<buffer_pool> pool_;
    std::optional<disk_worker> worker_;
    std::deque<event> events_;
    bool heard_goodbye_ = false;
};

}  // namespace

TEST_CASE("no session blocks where both ways are full, buffers tiny and windows as small as can be",
          "[hostile][sync]") {
    enum kind { synced, read_again, dry, compared };
    constexpr std::uint32_t block = 512, chunk = 256 << 10;
    for (const way& over : ways) {
        for (const kind what : {synced, read_again, dry, compared}) {
            for (const differs where : all_differences) {
                INFO(over.name << ", kind " << what << ", difference " << static_cast<int>(where));
                two_disks disks(8 * chunk + 700, block, where);
                peer_pair pair;
                auto [near, far] = over.connect(pair.network());
                pair.source.stream = std::move(near);
                pair.target.stream = std::move(far);
                pair.source.disk = &disks.source;
                pair.target.disk = &disks.target;
                for (peer_request* each : {&pair.source, &pair.target}) {
                    each->options.block_bytes = block;
                    each->options.chunk_bytes = chunk;
                    each->options.depth = 1;
                    each->options.verify = what == read_again ? verify_level::reread : verify_level::root;
                    each->options.dry_run = what == dry;
                    each->options.memory_bytes = memory_minimum(each->options);
                    each->compare_only = what == compared;
                }
                const auto [source, target] = pair.run(watchdog);
                require_ok(source);
                require_ok(target);
                check_alike(source, target);
                CHECK(source.different());
                const bool writes = what == synced || what == read_again;
                CHECK((writes ? disks.equal() : bytes_of(disks.target) == disks.before));
                if (what != compared) continue;
                REQUIRE(source.differential);
                REQUIRE(target.differential);
                CHECK(source.differential->changes() == target.differential->changes());
            }
        }
    }
}

TEST_CASE("no two peers block where every window is one and the way between them is full", "[hostile][sync]") {
    constexpr geometry shape{20 * small_chunk + 700, small_chunk, small_block};
    for (const way& over : ways) {
        for (const bool reread : {false, true}) {
            for (const session_mode mode : {session_mode::sync, session_mode::dry_run, session_mode::compare}) {
                if (reread && mode != session_mode::sync) continue;
                for (const differs where : all_differences) {
                    INFO(over.name << ", mode " << static_cast<int>(mode) << (reread ? ", read again" : "")
                                   << ", difference " << static_cast<int>(where));
                    two_disks disks(shape.disk_bytes, shape.block_bytes, where);
                    boost::asio::io_context network(1);
                    boost::asio::thread_pool workers(2);
                    auto [near, far] = over.connect(network);
                    small_windows one = windows_of_one(shape, mode, reread);
                    driven_peer<source_peer> source(network, workers, std::move(near), disks.source,
                                                    source_peer(std::move(one.source)));
                    driven_peer<target_peer> target(network, workers, std::move(far), disks.target,
                                                    target_peer(std::move(one.target)));
                    target.start(std::nullopt);
                    source.start(shape);
                    const auto until = std::chrono::steady_clock::now() + watchdog;
                    while (!(source.parted && target.parted) && std::chrono::steady_clock::now() < until)
                        network.run_one_for(std::chrono::seconds(1));
                    workers.stop();
                    workers.join();
                    REQUIRE(source.end);
                    REQUIRE(target.end);
                    if (*source.end) FAIL((*source.end)->what());
                    if (*target.end) FAIL((*target.end)->what());
                    CHECK(source.parted);
                    CHECK(target.parted);
                    CHECK((mode == session_mode::sync ? disks.equal() : bytes_of(disks.target) == disks.before));
                }
            }
        }
    }
}
