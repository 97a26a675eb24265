// Sessions whose two sides know each other by a stream alone: equal disks at the end, equal counts on both sides.
#include "support/peer_pair.hpp"

#include "reprotect/memory_device.hpp"
#include "support/bytes.hpp"

namespace {

using namespace reprotect;
using namespace reprotect::test;

}  // namespace

TEST_CASE("two peers over a stream make the target equal, and count alike", "[sync][wire]") {
    memory_device source(1 << 20, "source"), target(1 << 20, "target");
    source.write(0, random_bytes(1, 1 << 20));
    target.write(0, random_bytes(1, 1 << 20));
    target.write(40960, random_bytes(2, 12288));
    target.write_zeroes(500 * 1024, 100 * 1024);
    peer_pair pair;
    pair.source.disk = &source;
    pair.target.disk = &target;
    const auto [sent, received] = pair.run();
    require_ok(sent);
    require_synced(received, source, target);
    CHECK(sent.bytes == received.bytes);
    CHECK(sent.bytes.changed != 0);
    CHECK(sent.verified == proof_level::root);
    CHECK(received.verified == proof_level::root);
    CHECK(sent.to_target.total() == received.to_target.total());
    CHECK(sent.to_source.total() == received.to_source.total());
    CHECK(sent.to_target.payload == received.to_target.payload);
    CHECK(sent.to_target.payload >= 100 * 1024);
    CHECK(sent.to_source.digests == received.to_source.digests);
}
