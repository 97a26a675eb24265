// What measuring a link takes of it: traffic is billed.
#include "support/server_rig.hpp"

#include "reprotect/probe.hpp"
#include "reprotect/remote.hpp"
#include "support/bytes.hpp"
#include "support/failures.hpp"

using namespace reprotect;
using namespace reprotect::test;

TEST_CASE("measuring a link takes no more of it than it may, in several transfers", "[sync][wire]") {
    const temp_dir folder;
    const std::string path = folder.file("disk");
    write_whole_file(path, random_bytes(7, 1 << 20));
    server_rig server;
    server.offer("disk", path, export_role::source);
    server.start();
    far_probed_disk far = probe_remote_disk(server.disk("disk"), {}, server.how());
    const link_traffic most{2 << 20, 4 << 20}, before = traffic_of(*far.disk);
    const link_rates rates = measure_link(*far.disk, peer_role::target, 5, {}, most);
    const link_traffic after = traffic_of(*far.disk);
    CHECK(rates.to_target.low > 0);
    CHECK(rates.to_source.low > 0);
    CHECK(after.sent - before.sent > most.sent / 2);
    CHECK(after.sent - before.sent < most.sent + (64 << 10));
    CHECK(after.received - before.received > most.received / 2);
    CHECK(after.received - before.received < most.received + (64 << 10));
    // So little that it cannot be measured is the caller's mistake, and takes nothing.
    for (const link_traffic& little : {link_traffic{(64 << 10) - 1, 4 << 20}, link_traffic{2 << 20, (64 << 10) - 1}})
        require_failure(failure_of([&] { measure_link(*far.disk, peer_role::target, 5, {}, little); }),
                        error_kind::usage, "not measured with less than");
    CHECK(traffic_of(*far.disk).sent - after.sent < 1000);
    CHECK(rates.to_target.low < rates.to_target.high);  // of one transfer alone nothing is known of how it varies
}
